// SPDX-License-Identifier: Apache-2.0
//
// ledger.hpp -- what participants of the mesh write down, so that somebody who outlives them can check it.
//
// Plain shared memory, made by the supervisor before it forks; vinic has no part in it.
//
//   link_record      one per connection ever asked for
//     side[0]        the client        posted     messages given to post, counted before the call
//     side[1]        the server        completed  messages that a completion reported as delivered
//                                      received   messages taken, each the next in order, bytes checked
//
//   When both sides have closed or are dead, for each direction whose receiver has lived:
//     received <= posted                  nothing invented or doubled
//     received >= completed               nothing lost (reliable connections)
#pragma once

#include <atomic>
#include <cstdarg>
#include <cstddef>
#include <cstdint>
#include <cstdio>

namespace torture {

inline constexpr std::uint32_t seats_max = 16;
inline constexpr std::uint32_t records_max = 1u << 17;

enum class side_state : std::uint32_t { none = 0, open = 1, closed = 2 };

struct side_record {
    std::atomic<side_state> state;
    std::atomic<std::uint32_t> seat;
    std::atomic<std::uint32_t> incarnation;
    std::atomic<std::uint64_t> posted;
    std::atomic<std::uint64_t> completed;
    std::atomic<std::uint64_t> received;
    std::atomic<std::uint64_t> adds_posted;  ///< fetch-adds of 1 to the other side's word
    std::atomic<std::uint64_t> adds_completed;
    std::atomic<std::uint64_t> word;  ///< this side's word at the end
};

struct link_record {
    std::atomic<std::uint64_t> id;  ///< 0 = free or checked
    std::atomic<bool> reliable;
    side_record side[2];
};

enum class phase : std::uint32_t {
    work = 0,    ///< everything at random
    settle = 1,  ///< nothing new; end all connections
    exam = 2,    ///< everybody talks with everybody once more
    leave = 3,
};

/// Kinds of things done, for the report.
enum tally : std::uint32_t {
    messages_sent,
    messages_received,
    reads,
    atomics,
    datagrams_sent,
    datagrams_received,
    links_made,
    links_refused,
    links_broken,
    registrations,
    slow_phases,
    tally_kinds,
};
inline constexpr const char* tally_names[tally_kinds] = {
    "messages sent", "messages received", "reads",        "atomics",       "datagrams sent", "datagrams received",
    "links made",    "links refused",     "links broken", "registrations", "slow phases",
};

struct seat {
    std::atomic<std::uint32_t> incarnation;       ///< of the process that sits here now
    std::atomic<std::uint32_t> dead_incarnation;  ///< this one and earlier ones are dead
    std::atomic<std::uint64_t> progress;          ///< rounds of its main loop
    std::atomic<std::uint64_t> acceptor_progress;
    std::atomic<const char*> doing;  ///< points to a literal: all participants are one program
    std::atomic<phase> done_with;    ///< the last phase whose work is finished
    std::atomic<std::uint64_t> tallies[tally_kinds];
};

struct ledger {
    std::atomic<phase> now;
    std::atomic<std::uint32_t> seats;
    std::atomic<std::uint64_t> next_record;
    std::atomic<std::uint32_t> failures;
    char failure[1024];  ///< what the first one said
    seat seat_of[seats_max];
    link_record records[records_max];

    /// Writes down why the run has failed; the first failure is kept.
    [[gnu::format(printf, 2, 3)]] void fail(const char* format, ...) noexcept {
        if (failures.fetch_add(1) == 0) {
            std::va_list arguments;
            va_start(arguments, format);
            std::vsnprintf(failure, sizeof failure, format, arguments);
            va_end(arguments);
        }
    }
    [[nodiscard]] bool is_dead(std::uint32_t seat_index, std::uint32_t incarnation) const noexcept {
        return incarnation <= seat_of[seat_index].dead_incarnation.load();
    }
    void count(std::uint32_t seat_index, tally what, std::uint64_t n = 1) noexcept {
        seat_of[seat_index].tallies[what].fetch_add(n, std::memory_order_relaxed);
    }
};

}  // namespace torture
