// SPDX-License-Identifier: Apache-2.0
//
// scribble_fuzz.cc -- libFuzzer chooses what is scribbled (scribble.hpp).
#include "scribble.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static vinic::cli::test::scribbled_device device;
    device.run(std::as_bytes(std::span(data, size)));
    return 0;
}
