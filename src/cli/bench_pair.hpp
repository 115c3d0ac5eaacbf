// SPDX-License-Identifier: Apache-2.0
//
// bench_pair.hpp -- two processes on two cores that take turns at the same list of work.
//
//     run_pair ---- fork ----> target     (child, core B: receives, is written to)
//         '------------------> initiator  (this process, core A: measures and prints)
//
//   The fork happens before any NIC is opened.  Both run the same function with a session; what
//   they tell each other goes through one shared page that belongs to the benchmark alone, so that
//   nothing of the measured device is used for book-keeping.
//
//   A side that fails leaves its sentence in the page; the other one, wherever it spins, sees that
//   and gives up as well.  Nobody is left waiting.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "cli/bench_options.hpp"
#include "vinic/vinic.hpp"

namespace vinic::cli::bench {

enum class side : std::uint32_t { initiator = 0, target = 1 };

/// A word alone on its cache lines (two, since cores fetch lines in pairs).
struct alignas(128) lone_word {
    std::atomic<std::uint64_t> value{0};
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free, "two processes share it");

/// Where a process' memory lies in a shared file, so that the other one can find its own mapping
/// of the same bytes.  file 0: nowhere.
struct file_place {
    std::uint64_t device = 0;
    std::uint64_t file = 0;
    std::uint64_t offset = 0;
};

/// What one side tells the other about the memory of the current row.
struct endpoint_card {
    remote_address sink;
    remote_address source;
    file_place sink_place;
    std::uint32_t backing = 0;
};

/// The shared page.
struct control {
    lone_word arrived[2];  ///< meetings that each side has come to
    lone_word hand[2];     ///< the two lines of the bare hand-off, one writer each
    lone_word received;    ///< messages that the target has seen, told once at a stream's end
    lone_word count;       ///< how many operations the initiator wants next
    lone_word word;        ///< any other figure that the target reports
    endpoint_card cards[2];
    std::atomic<std::uint32_t> failed{0};  ///< 1 + side of the first that gave up
    char sentence[512]{};                  ///< why
};

class session {
public:
    session(side which, control& shared, int other_process) noexcept
        : side_(which), shared_(shared), other_process_(other_process) {}

    [[nodiscard]] bool initiator() const noexcept { return side_ == side::initiator; }
    [[nodiscard]] int other_process() const noexcept { return other_process_; }
    [[nodiscard]] control& shared() const noexcept { return shared_; }
    [[nodiscard]] endpoint_card& own_card() const noexcept { return shared_.cards[initiator() ? 0 : 1]; }
    [[nodiscard]] const endpoint_card& other_card() const noexcept { return shared_.cards[initiator() ? 1 : 0]; }

    /// Returns when both sides have called it as often.  Sleeps rather than burns its core, so that
    /// a passive target costs the measurement nothing.
    void meet();

    /// To be called in every loop that waits for the other side.  Mostly a counter; now and then it
    /// looks whether the other side still works and throws failure if not.
    void spin() {
        if ((++spins_ & 0xffff) == 0) [[unlikely]] {
            look();
        }
    }

    /// Throws failure if the other side has given up or gone.
    void look();

private:
    side side_;
    control& shared_;
    int other_process_;
    std::uint32_t spins_ = 0;
    std::uint64_t meetings_ = 0;
};

/// Runs `work` in both processes.  Returns when both are done; throws failure with the sentence of
/// the side that failed first.  The calling thread gets its old cores back.
void run_pair(core_pair cores, const std::function<void(session&)>& work);

}  // namespace vinic::cli::bench
