// SPDX-License-Identifier: Apache-2.0
//
// tenancies.hpp -- who was given the memory of which function, and until when they may keep it.
//
//   Memory that was handed out once can stay mapped for ever.  So a function's window has one tenancy, and whatever way
//   rights change (a request, SIGHUP, a VF that comes back), the same question is asked of each window:
//
//     the same owner, still enabled, and may everybody who was ever given it still use the function?
//       yes: nothing happens, those who are in go on
//       no:  the function is reset; the next client gets memory that nobody else maps, and one that has attached before
//            and enters after it is of an earlier epoch
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "vinicd/peer.hpp"

namespace vinic::vinicd {

class tenancies {
public:
    tenancies(controller::device& d, const access& a) : device_(d), access_(a) {}

    /// A window went to p, who may use it.
    void hand_out(std::uint32_t function, std::uint32_t epoch, const peer& p);
    /// Rights may have changed.  The functions that were reset.
    std::vector<std::uint32_t> end_those_without_right();

private:
    static constexpr std::size_t holders_most = 64;
    struct rights {
        uid_t owner = 0;
        std::optional<gid_t> group;
        bool enabled = true;
        friend bool operator==(const rights&, const rights&) = default;
    };
    /// The tenancy of one window.
    struct tenancy {
        std::uint32_t epoch = 0;
        rights under;
        std::vector<peer> holders;  ///< each of other credentials; without their processes
        bool too_many = false;      ///< some are not in the list
    };
    [[nodiscard]] rights of(std::uint32_t function) const;
    [[nodiscard]] bool is_over(std::uint32_t function, const tenancy& t) const;

    controller::device& device_;
    const access& access_;
    std::map<std::uint32_t, tenancy> all_;  ///< by function
};

}  // namespace vinic::vinicd
