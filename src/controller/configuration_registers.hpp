// SPDX-License-Identifier: Apache-2.0
//
// configuration_registers.hpp -- where the registers of our functions' configuration spaces lie.
//
//   0x000  header                    PF and VFs; type 0 (PCI local bus header)
//   0x040  PCI Express capability    version 2, root complex integrated endpoint: it has no link to tell of
//   0x080  MSI-X capability          table and pending bits in BAR 2
//   0x100  SR-IOV capability         PF only; in a VF the list of extended capabilities is empty
//
//   Registers inside a capability are given as offsets from its start.
#pragma once

#include <cstddef>
#include <cstdint>

namespace vinic::controller::pci {

inline constexpr std::size_t space_bytes = 4096;
inline constexpr std::uint32_t bar_count = 6;

// -- header -------------------------------------------------------------------------------------
inline constexpr std::uint32_t vendor_device = 0x00;
inline constexpr std::uint32_t command_status = 0x04;
inline constexpr std::uint32_t command_memory = 1u << 1;
inline constexpr std::uint32_t command_bus_master = 1u << 2;
inline constexpr std::uint32_t status_capability_list = 1u << 4;  // of the upper half
inline constexpr std::uint32_t revision_class = 0x08;
inline constexpr std::uint32_t header_type = 0x0c;  // the third byte of that word
inline constexpr std::uint32_t bars = 0x10;
inline constexpr std::uint32_t bar_memory_64_prefetchable = 0xc;
inline constexpr std::uint32_t subsystem = 0x2c;
inline constexpr std::uint32_t capability_pointer = 0x34;
inline constexpr std::uint32_t interrupt = 0x3c;
inline constexpr std::uint32_t class_network_other = 0x028000;

// -- PCI Express --------------------------------------------------------------------------------
inline constexpr std::uint32_t express = 0x40;
inline constexpr std::uint8_t express_id = 0x10;
inline constexpr std::uint32_t express_version_type = 0x00;  // upper half: version, type
inline constexpr std::uint32_t express_type_integrated = 9;
inline constexpr std::uint32_t express_device_capabilities = 0x04;
inline constexpr std::uint32_t express_role_based_errors = 1u << 15;
inline constexpr std::uint32_t express_reset_capable = 1u << 28;
inline constexpr std::uint32_t express_device_control = 0x08;
inline constexpr std::uint32_t express_reset = 1u << 15;  ///< function-level reset; reads as 0

// -- MSI-X --------------------------------------------------------------------------------------
inline constexpr std::uint32_t msix = 0x80;
inline constexpr std::uint8_t msix_id = 0x11;
inline constexpr std::uint32_t msix_control = 0x00;  // upper half
inline constexpr std::uint32_t msix_mask_all = 1u << 14;
inline constexpr std::uint32_t msix_enable = 1u << 15;
inline constexpr std::uint32_t msix_table = 0x04;
inline constexpr std::uint32_t msix_pending = 0x08;
inline constexpr std::uint32_t msix_bar = 2;
inline constexpr std::uint32_t msix_entry_bytes = 16;

// -- SR-IOV -------------------------------------------------------------------------------------
inline constexpr std::uint32_t extended = 0x100;  ///< where the list of extended capabilities begins
inline constexpr std::uint32_t sriov = extended;
inline constexpr std::uint16_t sriov_id = 0x0010;
inline constexpr std::uint32_t sriov_control = 0x08;
inline constexpr std::uint32_t sriov_enable = 1u << 0;
inline constexpr std::uint32_t sriov_memory = 1u << 3;
inline constexpr std::uint32_t sriov_initial_total = 0x0c;
inline constexpr std::uint32_t sriov_number = 0x10;
inline constexpr std::uint32_t sriov_offset_stride = 0x14;
inline constexpr std::uint32_t sriov_device = 0x18;  // upper half
inline constexpr std::uint32_t sriov_pages_supported = 0x1c;
inline constexpr std::uint32_t sriov_page_size = 0x20;
inline constexpr std::uint32_t sriov_bars = 0x24;
/// 4 KiB, 8 KiB, 64 KiB, 256 KiB, 1 MiB and 4 MiB: what the specification demands.
inline constexpr std::uint32_t sriov_pages = 0x553;

}  // namespace vinic::controller::pci
