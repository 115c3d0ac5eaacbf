// SPDX-License-Identifier: Apache-2.0
//
// expect.hpp -- how the model tests state what they expect of a protocol and record what was visited.
#pragma once

#include <gtest/gtest.h>

#include <iostream>

#include "checker.hpp"

namespace vinic::model {

/// The protocol holds in every state; says how many there were.
template <class Protocol>
void expect_passes(const Protocol& protocol) {
    const verdict v = explore(protocol);
    EXPECT_TRUE(v.passed()) << v.text();
    std::cout << "    " << v.states << " states, " << v.transitions << " transitions, depth " << v.depth << "\n";
}

/// The checker finds a counter-example, and `problem` is a part of what it says.
template <class Protocol>
void expect_fails(const Protocol& protocol, const char* problem) {
    const verdict v = explore(protocol);
    EXPECT_FALSE(v.passed()) << "the bad twin was not found out";
    EXPECT_NE(v.problem.find(problem), std::string::npos) << v.text();
    EXPECT_FALSE(v.trace.empty());
    std::cout << "    " << v.states << " states until: " << v.problem << " (" << v.trace.size() << " steps)\n";
}

}  // namespace vinic::model
