// SPDX-License-Identifier: Apache-2.0
//
// configuration_text.hpp -- the 4096 bytes of a configuration space in words.
//
//   Reads any bytes, whoever made them: lists of capabilities that lead in a circle or out of the space end there.
//   What it has no words for, it names by its number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "controller/configuration_registers.hpp"

namespace vinic::controller {

using configuration_view = std::span<const std::byte, pci::space_bytes>;

/// One register, or a part of one.
struct configuration_value {
    std::uint32_t offset = 0;  ///< of its first byte
    std::string name;          ///< "sriov.vfs_total"
    std::uint64_t value = 0;
    friend bool operator==(const configuration_value&, const configuration_value&) = default;
};

/// Everything that has a name, in the order of offsets inside each capability.  For a function that is not there (0xff
/// everywhere) only "present" = 0.
[[nodiscard]] std::vector<configuration_value> decode_configuration(configuration_view image);

/// As lspci -vv says it, as far as we have it.
[[nodiscard]] std::string configuration_text(std::uint16_t routing_id, configuration_view image);

/// As lspci -xxxx prints it and lspci -F reads it.
[[nodiscard]] std::string configuration_dump(std::uint16_t routing_id, configuration_view image);

}  // namespace vinic::controller
