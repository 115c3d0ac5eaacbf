// SPDX-License-Identifier: Apache-2.0
//
// peer.hpp -- the other side of a scenario: a process whose calls do not fail, and that tells what arrived.
#pragma once

#include <cstdint>

#include "multi/fixture.hpp"

namespace faults {

/// What a scenario asks of the peer, in the first bytes of a message; the answer is a message too.
struct request {
    enum class kind : std::uint64_t {
        echo,         ///< the whole message comes back
        write_to_me,  ///< the peer fills [address, address + bytes) with `seed` by an RDMA write
        read_of_me,   ///< the peer reads it and looks whether it is what `seed` fills
        tell_memory,  ///< where the peer's own memory is: device memory, and foreign memory with `foreign` set
    };
    kind what = kind::echo;
    std::uint64_t address = 0;
    std::uint64_t key = 0;
    std::uint64_t bytes = 0;
    std::uint64_t seed = 0;
    std::uint64_t foreign = 0;
};

struct answer {
    std::uint64_t status = 0;  ///< of the peer's operation: vinic::status
    std::uint64_t wrong = 0;   ///< bytes that were not as they should be
    std::uint64_t address = 0;
    std::uint64_t key = 0;
};

inline constexpr std::size_t message_bytes_max = 16 << 10;
inline constexpr std::size_t peer_memory_bytes = 64 << 10;
inline constexpr const char* peer_name = "peer";

/// Says "ready", then serves one connection after the other until it hears a word.
void be_peer(const multi::directory& d, multi::channel& parent);

}  // namespace faults
