// SPDX-License-Identifier: Apache-2.0
//
// bypass.h -- application bypass, shown: all five kinds of operation complete at the initiator
// while the target process is stopped.
#pragma once

#include "vinic_path.h"

namespace demo {

inline constexpr std::size_t bypass_sends = 16;

/// Receiver, before it is stopped: something to read, a word to count in, receives for the sends.
void prepare_bypass(device& device, vinic_path& path);

/// Sender, while the receiver is stopped.  Fails unless every operation completes with the right result.
/// The time that posting and completing took, without making and comparing the data.
std::chrono::nanoseconds run_bypass(device& device, vinic_path& path);

/// Receiver, after it continues: fails unless everything is where it belongs.
void confirm_bypass(device& device, vinic_path& path);

}  // namespace demo
