// SPDX-License-Identifier: Apache-2.0
//
// season.hpp -- all plays of one scenario: one without a fault, to see the calls, and then a sample of the faults, or
// all.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "faults/trap.hpp"

namespace faults {

/// `play_once` plays with one plan, and returns what was wrong; `seen` is what it wrote down.  Plays `sample` faults
/// that depend on VINIC_SEED, all with VINIC_LONG, and only one with VINIC_FAULT.  Failures are those of the test
/// that calls it.
void play_all(const std::function<std::string(const plan&)>& play_once, const record& seen, std::uint32_t sample);

}  // namespace faults
