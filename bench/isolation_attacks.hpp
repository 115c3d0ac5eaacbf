// SPDX-License-Identifier: Apache-2.0
//
// isolation_attacks.hpp -- the ways to be a bad neighbour.  docs/isolation.md says what each of them is after.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace vinic::bench {

/// A tenant that attacks: made ready by its constructor, then one step after the other.
class attack {
public:
    virtual ~attack() = default;
    /// As much as can be posted now.  False: nothing could, the device is at it; come again a little later.
    virtual bool step() = 0;
    /// Descriptors posted, doorbells rung, requests made: whatever this attack does.
    [[nodiscard]] std::uint64_t operations() const { return operations_; }

protected:
    std::uint64_t operations_ = 0;
};

/// `name`: "A1" to "A21", or "L64": a load of messages of 64 bytes.  `path` is the socket of a vinicd; the attack uses
/// `function` and, where it wants another end for its messages, `peer`.  Throws.
[[nodiscard]] std::unique_ptr<attack> make_attack(const std::string& name, const std::string& path,
                                                  std::uint32_t function, std::uint32_t peer);

}  // namespace vinic::bench
