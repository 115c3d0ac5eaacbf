// SPDX-License-Identifier: Apache-2.0
//
// tenants.h -- the second act: vinicd, tenants that do not trust each other, and what each of them gets.
#pragma once

#include <string>
#include <vector>

namespace demo {

/// The first argument of a process that is a tenant.
inline constexpr const char* tenant_word = "--tenant";

/// What such a process does: streams messages from one function to another until standard input ends, and prints
/// how many bytes it moved in each tenth of a second.  `arguments`: two device addresses, bytes of a message.
int run_tenant(const std::vector<std::string>& arguments);

/// Starts vinicd, lets a tenant work alone and beside a greedy one, gives it a guarantee, stops vinicd.  Prints.
/// Fails on whatever is not as it must be.
void show_tenants();

}  // namespace demo
