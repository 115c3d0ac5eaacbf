// SPDX-License-Identifier: Apache-2.0
//
// open.cc -- the one file that knows all placements.
#include "native/open.hpp"

#include "direct/provider.hpp"
#include "isolated/provider.hpp"

namespace vinic::detail {

result<opened> open_device(std::string_view address, const open_options& options) {
    return address.starts_with("vinicd:") ? isolated::open(address, options) : direct::open(address, options);
}

}  // namespace vinic::detail
