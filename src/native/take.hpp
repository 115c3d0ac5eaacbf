// SPDX-License-Identifier: Apache-2.0
//
// take.hpp -- taking receive completions out of a VI's ring: the part of polling that every message
// passes, inlined into completion_queue::poll.
#pragma once

#include <algorithm>
#include <cstring>

#include "placement/vi.hpp"
#include "tables/space.hpp"

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define VINIC_THREAD_SANITIZER
#endif
#elif defined(__SANITIZE_THREAD__)
#define VINIC_THREAD_SANITIZER
#endif

namespace vinic::detail {

/// Behind so many completions in one go there are probably more, and the lines of later ones can be asked
/// for.  Asked for too early they would be taken away from the sender, which is about to write them.
inline constexpr std::size_t backlog_least = 4;
inline constexpr std::uint32_t backlog_ahead = 6;

/// Moves the payload from the completion to where the descriptor wants it.
inline void vi_body::place_payload(const abi::receive_slot& slot, std::uint32_t at, completion& out) noexcept {
    const abi::receive_completion& c = slot.completion;
    const abi::segment& s = slot.descriptor.segments[0];
    const engine_mark mark(*nic_memory, *entry, abi::placing);
    tables::place p;
    if (slot.descriptor.segment_count == 1 && !polls_datagrams && c.length <= s.length &&
        tables::check(*nic_memory, polls_for, s.key, s.address, c.length,
                      static_cast<std::uint32_t>(access::local_write), p) &&
        !p.whole_space) [[likely]] {
        auto* const to = reinterpret_cast<std::byte*>(s.address);
        const auto* const from = reinterpret_cast<const std::byte*>(c.payload);
        if (rules::is_one_word(to, c.length)) [[likely]] {
            rules::store_word(to, from);
            return;
        }
        if (c.length <= abi::payload_in_completion) [[likely]] {
            rules::copy_ascending_any(to, from, c.length);
            return;
        }
    }
    place_pieces(slot, at, out);
}

inline std::size_t vi_body::take_receives(std::span<completion> out) noexcept {
    std::uint32_t at = receive_reported.load(std::memory_order_relaxed);
    std::uint64_t bytes = 0;
    std::size_t n = 0;
    for (; n < out.size(); ++n, ++at) {
        const abi::receive_slot& slot = receives.slots[at & receives.mask];
        const abi::receive_completion& c = slot.completion;
        // Acquire: pairs with the release in route::complete.
        if (!rules::has_arrived(c, at)) {
            break;
        }
#ifdef VINIC_THREAD_SANITIZER
        // The sender read our descriptor and wrote the completion, perhaps through another mapping of the
        // file, which the sanitizer takes for other memory: this is the part of the chain that it can see.
        (void)receive_posted.load(std::memory_order_acquire);
#endif
        if (n >= backlog_least) {
            __builtin_prefetch(&receives.slots[(at + backlog_ahead) & receives.mask].completion);
        }
        completion& done = out[n];
        done.cookie = slot.descriptor.cookie;
        done.vi_context = attributes.context;
        done.source = {};
        done.length = c.length;
        done.immediate = c.immediate;
        done.vi = index;
        done.status = static_cast<enum status>(c.status);
        done.opcode = (c.flags & abi::from_write) != 0 ? opcode::receive_write : opcode::receive;
        done.has_immediate = (c.flags & abi::has_immediate) != 0;
        if (polls_tellings) [[unlikely]] {
            std::uint64_t word = 0;
            std::memcpy(&word, c.payload, sizeof word);
            if (polls_datagrams) {
                done.source.value = word;
            } else if (word != rules::no_telling) {
                done.cookie = chooser.kind->told(chooser.table, word);
            }
        }
        if ((c.flags & abi::payload_inside) != 0 && c.length != 0) {
            place_payload(slot, at, done);
        }
        if (done.status == status::success) [[likely]] {
            bytes += c.length;
        } else {
            entry->counters[abi::rx_status_first + static_cast<std::uint32_t>(done.status)].add_single_writer(1);
        }
    }
    if (n != 0) {
        entry->counters[abi::rx_messages].add_single_writer(n);
        entry->counters[abi::rx_bytes].add_single_writer(bytes);
        receive_reported.store(at, std::memory_order_release);
    }
    return n;
}

}  // namespace vinic::detail
