// SPDX-License-Identifier: Apache-2.0
//
// bench_endpoint.hpp -- one side's queues and buffers for one row of a table.
//
//   source: what this side sends or is read from.   sink: what arrives at this side.
//   Both are `buffers` pieces of `stride` bytes that are used in turn, so that a stream goes through
//   real memory instead of one hot line.
//
// Contents are checked outside the timed part: every source piece holds a pattern of its own,
// messages of streams carry their number in the first word, and when the clock has stopped every
// byte of every sink piece is compared with what must be there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "cli/bench_failure.hpp"
#include "cli/bench_options.hpp"
#include "cli/bench_pair.hpp"
#include "vinic/vinic.hpp"

namespace vinic::cli::bench {

/// Memory of the wanted kind, zeroed, and unmapped at the end if it is not the device's.
class work_memory {
public:
    work_memory(nic& device, memory_kind kind, std::size_t bytes);
    work_memory(const work_memory&) = delete;
    work_memory& operator=(const work_memory&) = delete;
    ~work_memory();
    [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }

private:
    buffer device_memory_;
    void* mapped_ = nullptr;
    std::span<std::byte> bytes_;
};

/// Fills with words that depend on `seed` and their place.
void fill_pattern(std::span<std::byte> bytes, std::uint64_t seed) noexcept;
/// The first byte that differs from fill_pattern's, if any.
[[nodiscard]] std::optional<std::size_t> find_difference(std::span<const std::byte> bytes, std::uint64_t seed,
                                                         std::size_t from = 0) noexcept;

/// Reads a byte of every cache line, so that the data really comes to this core.
inline void read_lines(std::span<const std::byte> bytes) noexcept {
    constexpr std::size_t line_bytes = 64;
    for (std::size_t at = 0; at < bytes.size(); at += line_bytes) {
        static_cast<void>(*static_cast<const volatile std::byte*>(&bytes[at]));
    }
}

/// What is outstanding on the send queue, so that unsignalled descriptors never overfill it.
class send_window {
public:
    send_window(std::uint32_t depth, std::uint32_t signal_every) noexcept
        : depth_(depth), signal_every_(signal_every) {}
    [[nodiscard]] bool room_for(std::uint32_t count) const noexcept { return posted_ - retired_ + count <= depth_; }
    [[nodiscard]] bool empty() const noexcept { return posted_ == retired_; }
    /// Counts one descriptor; true when it is to be signalled, as the last one of a run must be.
    [[nodiscard]] bool count_one(bool last) noexcept {
        ++posted_;
        if (++since_signal_ < signal_every_ && !last) {
            return false;
        }
        since_signal_ = 0;
        return true;
    }
    /// Cookie of the descriptor counted last.
    [[nodiscard]] std::uint64_t cookie() const noexcept { return posted_; }
    void retire(std::uint64_t cookie) noexcept { retired_ = cookie; }

private:
    std::uint32_t depth_;
    std::uint32_t signal_every_;
    std::uint32_t since_signal_ = 0;
    std::uint64_t posted_ = 0;
    std::uint64_t retired_ = 0;
};

/// The device's objects that all rows share.
struct device_side {
    nic device;
    vinic::domain domain;
    vinic::listener listener;  ///< the target's
    vinic::address address;

    device_side(session& with, const std::string& device_address, const std::string& directory,
                const std::string& name);
};

class endpoint {
public:
    /// Both sides call it together; returns connected, with cards exchanged.
    endpoint(session& with, device_side& on, const row& what);

    [[nodiscard]] std::span<std::byte> source_piece(std::uint64_t index) const noexcept {
        return source.bytes().subspan(index % what.source_buffers * stride, what.size_bytes);
    }
    [[nodiscard]] std::span<std::byte> sink_piece(std::uint64_t index) const noexcept {
        return sink.bytes().subspan(index % what.buffers * stride, what.size_bytes);
    }
    [[nodiscard]] segment source_segment(std::uint64_t index) const noexcept {
        return {source_region, index % what.source_buffers * stride, what.size_bytes};
    }
    [[nodiscard]] segment sink_segment(std::uint64_t index) const noexcept {
        return {sink_region, index % what.buffers * stride, what.size_bytes};
    }
    [[nodiscard]] remote_address peer_sink(std::uint64_t index) const noexcept {
        return peer.sink + index % what.buffers * stride;
    }
    [[nodiscard]] remote_address peer_source(std::uint64_t index) const noexcept {
        return peer.source + index % what.source_buffers * stride;
    }
    [[nodiscard]] bool stamped() const noexcept {
        // A piece may be written anew only when the message before is out of it.
        return what.size_bytes >= 8 && (what.inlined() || what.source_buffers >= what.depth);
    }

    /// Flags of the next descriptor; counts it.
    [[nodiscard]] send_flag next_flags(bool last) noexcept {
        const send_flag how = window.count_one(last) ? send_flag::none : send_flag::unsignalled;
        return what.inlined() ? how | send_flag::inlined : how;
    }
    /// Takes what is complete on the send queue, without waiting.
    void retire_some();
    /// Waits until nothing is outstanding.
    void retire_all();
    void post_receive(std::uint64_t index) {
        expect_ok("posting a receive", vi.post_receive(sink_segment(index), index));
    }

    /// Fills source pieces with their patterns and sinks with zeros.
    void prepare_contents();
    /// Compares sink piece by piece; `messages` were transferred in all.  `numbered`: the first word
    /// of piece p is the number of the last message that went there.
    void check_contents(std::uint64_t messages, bool numbered) const;

    session& with;
    row what;
    std::size_t stride;
    work_memory source;
    work_memory sink;
    region source_region;
    region sink_region;
    completion_queue send_cq;
    completion_queue receive_cq;
    virtual_interface vi;
    endpoint_card peer;
    send_window window;
};

}  // namespace vinic::cli::bench
