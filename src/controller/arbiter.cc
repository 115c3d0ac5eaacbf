// SPDX-License-Identifier: Apache-2.0
//
// arbiter.cc -- the arbiter with the product's rules.
#include "controller/arbiter.hpp"

namespace vinic::controller {

template class basic_arbiter<hclock_rules>;

}  // namespace vinic::controller
