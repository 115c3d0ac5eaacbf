// SPDX-License-Identifier: Apache-2.0
//
// tagged.hpp -- a kind of receiver that is only for tests, and an example: each buffer has a tag of 64 bits, and takes
// one message of that tag, whichever came first.  docs/kinds.md goes through it.
#pragma once

#include "rules/receivers.hpp"

namespace tagged {

namespace abi = vinic::abi;
namespace rules = vinic::rules;

enum state : std::uint32_t { is_free, posted, taken, arrived };

/// free --post--> posted --choose--> taken --tell--> arrived --told--> free; taken --release, reset--> posted.  The
/// owner writes it while it is free, and each step has one side that takes it.
struct alignas(64) buffer {
    abi::word64 tag;
    abi::word32 state;
    std::uint32_t key;
    std::uint64_t address;
    std::uint64_t cookie;
    std::uint32_t length;
};
inline constexpr std::uint64_t buffers_max = 16;

inline buffer* first_of(rules::receiver_table t) noexcept { return reinterpret_cast<buffer*>(t.data()); }

/// The buffer of this tag, claimed or not.
inline buffer* find(rules::receiver_table t, std::uint64_t tag, bool claim) noexcept {
    for (buffer* b = first_of(t); b != first_of(t) + buffers_max; ++b) {
        std::uint32_t expected = posted;
        if (b->tag.load_relaxed() != tag || b->state.load_acquire() != posted) {
            continue;
        }
        if (!claim) {
            return b;
        }
        if (b->state.compare_exchange(expected, taken)) {
            if (b->tag.load_relaxed() == tag) {
                return b;
            }
            b->state.store_release(posted);  // posted anew between the two looks
        }
    }
    return nullptr;
}

inline constexpr rules::receiver_kind kind{
    .number = 64,
    .table_bytes = buffers_max * sizeof(buffer),
    .choose =
        [](rules::receiver_table t, const rules::arrival& a, rules::landing& where) noexcept {
            const buffer* const b = find(t, a.tag, true);
            if (b == nullptr) {
                return rules::choice::wait;
            }
            where.segments[0] = {b->address, b->length, b->key};
            where.count = 1;
            where.telling = static_cast<std::uint64_t>(b - first_of(t));
            return rules::choice::place;
        },
    .has_place = [](rules::receiver_table t,
                    const rules::arrival& a) noexcept { return find(t, a.tag, false) != nullptr; },
    .release = [](rules::receiver_table t,
                  std::uint64_t telling) noexcept { first_of(t)[telling].state.store_release(posted); },
    .tell = [](rules::receiver_table t,
               std::uint64_t telling) noexcept { first_of(t)[telling].state.store_release(arrived); },
    .told =
        [](rules::receiver_table t, std::uint64_t telling) noexcept {
            if (telling >= buffers_max) {
                return std::uint64_t{0};  // a peer that lies
            }
            buffer& b = first_of(t)[telling];
            const std::uint64_t cookie = b.cookie;
            b.state.store_release(is_free);
            return cookie;
        },
    .reset =
        [](rules::receiver_table t) noexcept {
            for (buffer* b = first_of(t); b != first_of(t) + buffers_max; ++b) {
                std::uint32_t expected = taken;
                (void)b->state.compare_exchange(expected, posted);
            }
        },
};

}  // namespace tagged
