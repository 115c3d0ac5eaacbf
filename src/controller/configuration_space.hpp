// SPDX-License-Identifier: Apache-2.0
//
// configuration_space.hpp -- the PCI configuration spaces of a PF and its VFs, as a model without effects.
//
//   Function 0 is the PF, function n is VF n as the SR-IOV specification counts (our "vf0" is function 1).
//
//     PF: all registers of configuration_registers.hpp      VF: command.bus_master, MSI-X enable and mask,
//         VF Enable 0 -> 1: NumVFs functions come               function-level reset; everything else is
//         VF Enable 1 -> 0, or reset of the PF: they go         read-only and follows from the PF
//
//   - A VF is in its PF's hands: vendor and device read 0xffff, BARs read 0 and are computed from the PF's VF
//     BARs, memory is decoded when the PF says so.  What is written to a VF changes no byte of another function.
//   - NumVFs and the page size can be written only while VF Enable is 0; values that are not offered are refused:
//     the register keeps its value.
//   - Accesses are 1, 2 or 4 bytes, naturally aligned.  Others, and those to functions that are not there, read
//     all ones and write nothing, as a bus without an answer does.
//   - The administration may take a VF away and bring it back alone (set_present); it comes back as if reset.
//
//   Nothing happens here: effects say what a write asks for, queries what is in force.
//   Vendor and device numbers are the caller's; the defaults are assigned to nobody.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>
#include <vinic/words.hpp>

#include "controller/configuration_registers.hpp"

namespace vinic::controller {

struct configuration_options {
    std::uint32_t vfs_total = 64;             ///< 1 to 256
    std::uint64_t window_bytes = 4ULL << 30;  ///< BAR 0 of every function: a power of two, at least a page
    std::uint16_t vectors = 4;                ///< MSI-X vectors of a function: 1 to 2048
    std::uint16_t vendor_id = 0x5649;         ///< "VI"
    std::uint16_t device_id = 0x4e43;         ///< "NC", the PF
    std::uint16_t vf_device_id = 0x4e56;      ///< "NV"
    std::uint16_t subsystem_vendor_id = 0x5649;
    std::uint16_t subsystem_id = 1;
    std::uint8_t revision = 1;
    std::uint16_t pf_routing_id = 0x0100;  ///< bus << 8 | device << 3 | function
    std::uint16_t first_vf_offset = 1;     ///< at least 1
    std::uint16_t vf_stride = 1;           ///< at least 1
};

/// What a write asks for, or has changed.
struct configuration_effects {
    bool reset = false;       ///< function-level reset of the function written to; done here, to be done there
    bool functions = false;   ///< other functions are there than before
    bool bus_master = false;  ///< of the function written to
    bool memory = false;      ///< some function decodes memory where it did not, or no longer
    bool vectors = false;     ///< MSI-X enable or mask of the function written to
    friend bool operator==(const configuration_effects&, const configuration_effects&) = default;
};

/// Where a function's memory is.
struct bar_range {
    std::uint64_t address = 0;
    std::uint64_t bytes = 0;
    friend bool operator==(const bar_range&, const bar_range&) = default;
};

class configuration_space {
public:
    using image_bytes = std::array<std::byte, pci::space_bytes>;

    [[nodiscard]] static result<configuration_space> create(const configuration_options& options);

    // -- the bus ----------------------------------------------------------------------------------
    [[nodiscard]] std::uint32_t read(std::uint32_t function, std::uint32_t offset, std::uint32_t width) const noexcept;
    configuration_effects write(std::uint32_t function, std::uint32_t offset, std::uint32_t width,
                                std::uint32_t value) noexcept;
    /// All that can be read; 0xff everywhere if the function is not there.
    [[nodiscard]] image_bytes image(std::uint32_t function) const noexcept;
    /// What firmware and a driver would write: addresses from `base` on, `vfs` VFs, memory and bus master on.
    /// errc::invalid_argument: more VFs than there are, or no room above base.
    [[nodiscard]] result<void> bring_up(std::uint64_t base, std::uint32_t vfs);

    // -- administration ---------------------------------------------------------------------------
    /// Takes a VF away, or brings it back.  false: no such VF, or it was so already.
    bool set_present(std::uint32_t function, bool present) noexcept;
    /// Function-level reset from within; of the PF: all VFs go.
    void reset(std::uint32_t function) noexcept;

    // -- what is in force -------------------------------------------------------------------------
    [[nodiscard]] std::uint32_t vfs_total() const noexcept { return options_.vfs_total; }
    /// NumVFs while VF Enable is set, else 0.
    [[nodiscard]] std::uint32_t vfs_enabled() const noexcept;
    /// It answers: the PF, or an enabled VF that was not taken away.
    [[nodiscard]] bool exists(std::uint32_t function) const noexcept;
    [[nodiscard]] bool bus_master(std::uint32_t function) const noexcept;
    [[nodiscard]] bool msix_enabled(std::uint32_t function) const noexcept;
    /// All vectors of the function.
    [[nodiscard]] bool msix_masked(std::uint32_t function) const noexcept;
    /// Where BAR 0 (window) or 2 (vectors) is decoded; nothing when it is not.
    [[nodiscard]] std::optional<bar_range> bar(std::uint32_t function, std::uint32_t number) const noexcept;
    /// For functions up to vfs_total, there or not.
    [[nodiscard]] std::uint16_t routing_id(std::uint32_t function) const noexcept;
    /// For any function that could be there.
    [[nodiscard]] std::optional<std::uint32_t> function_at(std::uint16_t routing_id) const noexcept;

private:
    using registers = std::array<std::uint32_t, pci::space_bytes / sizeof(std::uint32_t)>;

    /// All that a VF owns.
    struct vf_state {
        bool bus_master = false;
        bool msix_enabled = false;
        bool msix_masked = false;
        bool taken_away = false;
    };

    explicit configuration_space(const configuration_options& options);
    void make_common(registers& of, std::uint16_t vendor, std::uint16_t device) const;
    void make_pf();
    [[nodiscard]] bool vfs_decode() const noexcept;
    [[nodiscard]] std::uint32_t pf_register(std::uint32_t at) const noexcept;
    [[nodiscard]] std::uint32_t register_of(std::uint32_t function, std::uint32_t at) const noexcept;
    [[nodiscard]] std::uint32_t pf_writable(std::uint32_t at) const noexcept;
    [[nodiscard]] std::uint32_t bar_writable(std::uint32_t number, bool of_vfs, bool upper) const noexcept;
    [[nodiscard]] bool accepts(std::uint32_t at, std::uint32_t value) const noexcept;
    configuration_effects write_pf(std::uint32_t at, std::uint32_t value) noexcept;
    configuration_effects write_vf(vf_state& vf, std::uint32_t at, std::uint32_t value) noexcept;
    void reset_vfs() noexcept;
    [[nodiscard]] std::uint64_t bar_bytes(std::uint32_t number) const noexcept;
    [[nodiscard]] std::uint64_t vf_bar_bytes(std::uint32_t number) const noexcept;
    [[nodiscard]] std::uint64_t bar_base(std::uint32_t at) const noexcept;

    configuration_options options_;
    registers pf_{};
    registers vf_{};  ///< what is the same in all VFs
    std::vector<vf_state> vfs_;
};

}  // namespace vinic::controller
