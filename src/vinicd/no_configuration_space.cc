// SPDX-License-Identifier: Apache-2.0
//
// no_configuration_space.cc -- linked as long as the controller has no configuration space: says so.
#include "controller/device.hpp"

namespace vinic::controller {

result<std::vector<std::byte>> device::configuration(std::uint32_t function) const {
    return std::unexpected(error{errc::not_supported, 0, "configuration space of " + function_name(function)});
}

}  // namespace vinic::controller
