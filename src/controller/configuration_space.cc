// SPDX-License-Identifier: Apache-2.0
//
// configuration_space.cc -- reads and writes of the model.  Chapter numbers are those of the PCI Express base
// specification 5.0, whose chapter 9 is SR-IOV.
#include "controller/configuration_space.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <string>

#include "abi/layout.hpp"

namespace vinic::controller {

using namespace pci;

namespace {

constexpr std::uint32_t all_ones = ~std::uint32_t{0};
constexpr std::uint32_t vfs_max = 256;
constexpr std::uint32_t vectors_max = 2048;

constexpr std::uint32_t halves(std::uint32_t low, std::uint32_t high) { return low | high << 16; }
constexpr std::uint32_t width_mask(std::uint32_t width) { return width == 4 ? all_ones : (1u << width * 8) - 1; }
constexpr bool is_access(std::uint32_t offset, std::uint32_t width) {
    return (width == 1 || width == 2 || width == 4) && offset % width == 0 && offset < space_bytes;
}

error refuse(std::string why) { return {.code = errc::invalid_argument, .os_errno = 0, .doing = std::move(why)}; }

}  // namespace

// -- making -------------------------------------------------------------------------------------

result<configuration_space> configuration_space::create(const configuration_options& options) {
    if (options.vfs_total < 1 || options.vfs_total > vfs_max) {
        return std::unexpected(refuse("a configuration space has 1 to 256 VFs"));
    }
    // Half the address space at most, so that sums of addresses have room.
    const std::uint64_t most = (1ULL << 63) / std::bit_ceil(options.vfs_total + 1ULL);
    if (!std::has_single_bit(options.window_bytes) || options.window_bytes < abi::page_size ||
        options.window_bytes > most) {
        return std::unexpected(
            refuse("a window is a power of two of at least 4096 bytes that fits as often as needed"));
    }
    if (options.vectors < 1 || options.vectors > vectors_max) {
        return std::unexpected(refuse("a function has 1 to 2048 interrupt vectors"));
    }
    if (options.vendor_id == 0 || options.vendor_id == 0xffff) {
        return std::unexpected(refuse("vendor numbers 0 and 0xffff mean that nothing is there"));
    }
    const std::uint64_t last =
        options.pf_routing_id + std::uint64_t{options.first_vf_offset} + (options.vfs_total - 1ULL) * options.vf_stride;
    if (options.first_vf_offset == 0 || options.vf_stride == 0 || last > 0xffff) {
        return std::unexpected(refuse("routing identifiers of VFs do not fit: offset and stride are at least 1"));
    }
    return configuration_space(options);
}

configuration_space::configuration_space(const configuration_options& options)
    : options_(options), vfs_(options.vfs_total) {
    make_pf();
    // 9.3.4.1: vendor and device of a VF are 0xffff; software that looks for it must know of SR-IOV.
    make_common(vf_, 0xffff, 0xffff);
}

void configuration_space::make_common(registers& of, std::uint16_t vendor, std::uint16_t device) const {
    of = {};
    of[vendor_device / 4] = halves(vendor, device);
    of[command_status / 4] = halves(0, status_capability_list);
    of[revision_class / 4] = options_.revision | class_network_other << 8;
    of[subsystem / 4] = halves(options_.subsystem_vendor_id, options_.subsystem_id);
    of[capability_pointer / 4] = express;
    // No interrupt pin: MSI-X is all there is.
    of[(express + express_version_type) / 4] = halves(express_id | msix << 8, 2 | express_type_integrated << 4);
    of[(express + express_device_capabilities) / 4] = express_role_based_errors | express_reset_capable;
    of[(msix + msix_control) / 4] = halves(msix_id, options_.vectors - 1u);
    of[(msix + msix_table) / 4] = msix_bar;
    of[(msix + msix_pending) / 4] = static_cast<std::uint32_t>(bar_bytes(msix_bar) / 2) | msix_bar;
}

void configuration_space::make_pf() {
    make_common(pf_, options_.vendor_id, options_.device_id);
    for (const std::uint32_t number : {0u, msix_bar}) {
        pf_[bars / 4 + number] = bar_memory_64_prefetchable;
        pf_[(sriov + sriov_bars) / 4 + number] = bar_memory_64_prefetchable;
    }
    pf_[sriov / 4] = halves(sriov_id, 1);  // version 1, the last of its list
    pf_[(sriov + sriov_initial_total) / 4] = halves(options_.vfs_total, options_.vfs_total);
    pf_[(sriov + sriov_offset_stride) / 4] = halves(options_.first_vf_offset, options_.vf_stride);
    pf_[(sriov + sriov_device) / 4] = halves(0, options_.vf_device_id);
    pf_[(sriov + sriov_pages_supported) / 4] = sriov_pages;
    pf_[(sriov + sriov_page_size) / 4] = 1;
}

// -- memory -------------------------------------------------------------------------------------

std::uint64_t configuration_space::bar_bytes(std::uint32_t number) const noexcept {
    switch (number) {
        case 0:
            return options_.window_bytes;
        case msix_bar: {
            // Table and pending bits do not share a page: one half each.
            const std::uint64_t table = std::uint64_t{options_.vectors} * msix_entry_bytes;
            return 2 * std::bit_ceil(std::max(table, std::uint64_t{abi::page_size}));
        }
        default:
            return 0;
    }
}

/// 9.2.1.1.1: at least a page of the size that the host has chosen.
std::uint64_t configuration_space::vf_bar_bytes(std::uint32_t number) const noexcept {
    const std::uint64_t bytes = bar_bytes(number);
    const std::uint64_t page = std::uint64_t{pf_[(sriov + sriov_page_size) / 4]} * abi::page_size;
    return bytes == 0 ? 0 : std::max(bytes, page);
}

std::uint64_t configuration_space::bar_base(std::uint32_t at) const noexcept {
    return (std::uint64_t{pf_register(at + 4)} << 32 | pf_register(at)) & ~std::uint64_t{0xf};
}

std::optional<bar_range> configuration_space::bar(std::uint32_t function, std::uint32_t number) const noexcept {
    if (bar_bytes(number) == 0 || !exists(function)) {
        return std::nullopt;
    }
    if (function == 0) {
        const bool decoded = (pf_[command_status / 4] & command_memory) != 0;
        return decoded ? std::optional(bar_range{bar_base(bars + number * 4), bar_bytes(number)}) : std::nullopt;
    }
    if (!vfs_decode()) {
        return std::nullopt;
    }
    const std::uint64_t bytes = vf_bar_bytes(number);
    return bar_range{bar_base(sriov + sriov_bars + number * 4) + (function - 1) * bytes, bytes};
}

// -- queries ------------------------------------------------------------------------------------

std::uint32_t configuration_space::vfs_enabled() const noexcept {
    const bool enabled = (pf_[(sriov + sriov_control) / 4] & sriov_enable) != 0;
    return enabled ? pf_[(sriov + sriov_number) / 4] & 0xffff : 0;
}

bool configuration_space::vfs_decode() const noexcept {
    return vfs_enabled() != 0 && (pf_[(sriov + sriov_control) / 4] & sriov_memory) != 0;
}

bool configuration_space::exists(std::uint32_t function) const noexcept {
    return function == 0 || (function <= vfs_enabled() && !vfs_[function - 1].taken_away);
}

bool configuration_space::bus_master(std::uint32_t function) const noexcept {
    return exists(function) && (register_of(function, command_status) & command_bus_master) != 0;
}

bool configuration_space::msix_enabled(std::uint32_t function) const noexcept {
    return exists(function) && (register_of(function, msix + msix_control) & msix_enable << 16) != 0;
}

bool configuration_space::msix_masked(std::uint32_t function) const noexcept {
    return exists(function) && (register_of(function, msix + msix_control) & msix_mask_all << 16) != 0;
}

std::uint16_t configuration_space::routing_id(std::uint32_t function) const noexcept {
    const std::uint32_t from_pf = function == 0 ? 0 : options_.first_vf_offset + (function - 1) * options_.vf_stride;
    return static_cast<std::uint16_t>(options_.pf_routing_id + from_pf);
}

std::optional<std::uint32_t> configuration_space::function_at(std::uint16_t id) const noexcept {
    if (id == options_.pf_routing_id) {
        return 0;
    }
    const std::uint32_t first = routing_id(1);
    if (id < first || (id - first) % options_.vf_stride != 0) {
        return std::nullopt;
    }
    const std::uint32_t function = (id - first) / options_.vf_stride + 1;
    return function <= options_.vfs_total ? std::optional(function) : std::nullopt;
}

// -- reads --------------------------------------------------------------------------------------

/// VF BARs show no bit below their aperture, which grows with the page size chosen after them.
std::uint32_t configuration_space::pf_register(std::uint32_t at) const noexcept {
    const std::uint32_t vf_bars = sriov + sriov_bars;
    if (at >= vf_bars && at < vf_bars + bar_count * 4) {
        const std::uint32_t number = (at - vf_bars) / 4;
        const std::uint32_t kind = number % 2 == 0 ? pf_[at / 4] & 0xf : 0;
        return (pf_[at / 4] & bar_writable(number / 2 * 2, true, number % 2 != 0)) | kind;
    }
    return pf_[at / 4];
}

std::uint32_t configuration_space::register_of(std::uint32_t function, std::uint32_t at) const noexcept {
    if (function == 0) {
        return pf_register(at);
    }
    const vf_state& vf = vfs_[function - 1];
    std::uint32_t value = vf_[at / 4];
    if (at == command_status) {
        value |= vf.bus_master ? command_bus_master : 0;
    } else if (at == msix + msix_control) {
        value |= (vf.msix_enabled ? msix_enable << 16 : 0) | (vf.msix_masked ? msix_mask_all << 16 : 0);
    }
    return value;
}

std::uint32_t configuration_space::read(std::uint32_t function, std::uint32_t offset,
                                        std::uint32_t width) const noexcept {
    if (!is_access(offset, width) || !exists(function)) {
        return width >= 1 && width <= 4 ? width_mask(width) : all_ones;
    }
    return register_of(function, offset & ~3u) >> offset % 4 * 8 & width_mask(width);
}

configuration_space::image_bytes configuration_space::image(std::uint32_t function) const noexcept {
    image_bytes bytes;
    for (std::uint32_t at = 0; at < space_bytes; at += 4) {
        const std::uint32_t value = read(function, at, 4);
        for (std::uint32_t i = 0; i < 4; ++i) {
            bytes[at + i] = static_cast<std::byte>(value >> i * 8);
        }
    }
    return bytes;
}

// -- writes -------------------------------------------------------------------------------------

configuration_effects configuration_space::write(std::uint32_t function, std::uint32_t offset, std::uint32_t width,
                                                 std::uint32_t value) noexcept {
    if (!is_access(offset, width) || !exists(function)) {
        return {};
    }
    // Bytes that are not written keep what they read; no register of ours minds being written with that.
    const std::uint32_t at = offset & ~3u;
    const std::uint32_t shift = offset % 4 * 8;
    const std::uint32_t lanes = width_mask(width) << shift;
    const std::uint32_t whole = (register_of(function, at) & ~lanes) | (value << shift & lanes);
    return function == 0 ? write_pf(at, whole) : write_vf(vfs_[function - 1], at, whole);
}

std::uint32_t configuration_space::bar_writable(std::uint32_t number, bool of_vfs, bool upper) const noexcept {
    const std::uint64_t bytes = of_vfs ? vf_bar_bytes(number) : bar_bytes(number);
    const std::uint64_t mask = bytes == 0 ? 0 : ~(bytes - 1) & ~std::uint64_t{0xf};
    return static_cast<std::uint32_t>(upper ? mask >> 32 : mask);
}

std::uint32_t configuration_space::pf_writable(std::uint32_t at) const noexcept {
    const bool vfs_fixed = (pf_[(sriov + sriov_control) / 4] & sriov_enable) != 0;
    const std::uint32_t vf_bars = sriov + sriov_bars;
    if (at >= bars && at < bars + bar_count * 4) {
        const std::uint32_t number = (at - bars) / 4;
        return bar_writable(number / 2 * 2, false, number % 2 != 0);
    }
    if (at >= vf_bars && at < vf_bars + bar_count * 4) {
        const std::uint32_t number = (at - vf_bars) / 4;
        return bar_writable(number / 2 * 2, true, number % 2 != 0);
    }
    switch (at) {
        case command_status:
            return command_memory | command_bus_master;
        case msix + msix_control:
            return (msix_enable | msix_mask_all) << 16;
        case sriov + sriov_control:
            return sriov_enable | sriov_memory;
        case sriov + sriov_number:
            return vfs_fixed ? 0 : 0xffff;
        case sriov + sriov_page_size:
            return vfs_fixed ? 0 : all_ones;
        default:
            return 0;
    }
}

bool configuration_space::accepts(std::uint32_t at, std::uint32_t value) const noexcept {
    if (at == sriov + sriov_number) {
        return (value & 0xffff) <= options_.vfs_total;
    }
    if (at == sriov + sriov_page_size) {
        return std::has_single_bit(value) && (value & sriov_pages) != 0;
    }
    return true;
}

configuration_effects configuration_space::write_pf(std::uint32_t at, std::uint32_t value) noexcept {
    configuration_effects effects;
    if (at == express + express_device_control && (value & express_reset) != 0) {
        effects = {.reset = true,
                   .functions = vfs_enabled() != 0,
                   .bus_master = bus_master(0),
                   .memory = bar(0, 0).has_value() || vfs_decode(),
                   .vectors = msix_enabled(0) || msix_masked(0)};
        reset(0);
        return effects;
    }
    const std::uint32_t old = pf_[at / 4];
    const std::uint32_t mask = pf_writable(at);
    const std::uint32_t wanted = (old & ~mask) | (value & mask);
    if (wanted == old || !accepts(at, wanted)) {
        return effects;
    }
    pf_[at / 4] = wanted;
    const std::uint32_t changed = wanted ^ old;
    if (at == command_status) {
        effects.bus_master = (changed & command_bus_master) != 0;
        effects.memory = (changed & command_memory) != 0;
    } else if (at == msix + msix_control) {
        effects.vectors = true;
    } else if (at == sriov + sriov_control) {
        effects.functions = (changed & sriov_enable) != 0;
        effects.memory = (changed & sriov_memory) != 0;
        if (effects.functions) {
            reset_vfs();  // they come, or come again, as if reset
            effects.memory = effects.memory || (wanted & sriov_memory) != 0;
        }
    } else {
        effects.memory = at != sriov + sriov_number;
    }
    return effects;
}

/// 9.3.4 and 9.3.5: of a VF's registers these are its own; no other write arrives anywhere.
configuration_effects configuration_space::write_vf(vf_state& vf, std::uint32_t at, std::uint32_t value) noexcept {
    const vf_state old = vf;
    configuration_effects effects;
    if (at == command_status) {
        vf.bus_master = (value & command_bus_master) != 0;
    } else if (at == msix + msix_control) {
        vf.msix_enabled = (value & msix_enable << 16) != 0;
        vf.msix_masked = (value & msix_mask_all << 16) != 0;
    } else if (at == express + express_device_control && (value & express_reset) != 0) {
        vf = {};
        effects.reset = true;
    }
    effects.bus_master = vf.bus_master != old.bus_master;
    effects.vectors = vf.msix_enabled != old.msix_enabled || vf.msix_masked != old.msix_masked;
    return effects;
}

// -- administration -----------------------------------------------------------------------------

void configuration_space::reset_vfs() noexcept {
    for (vf_state& vf : vfs_) {
        vf = {.bus_master = false, .msix_enabled = false, .msix_masked = false, .taken_away = vf.taken_away};
    }
}

void configuration_space::reset(std::uint32_t function) noexcept {
    if (function == 0) {
        make_pf();
        reset_vfs();
    } else if (function <= options_.vfs_total) {
        vf_state& vf = vfs_[function - 1];
        vf = {.bus_master = false, .msix_enabled = false, .msix_masked = false, .taken_away = vf.taken_away};
    }
}

bool configuration_space::set_present(std::uint32_t function, bool present) noexcept {
    if (function == 0 || function > options_.vfs_total || vfs_[function - 1].taken_away == !present) {
        return false;
    }
    vfs_[function - 1] = {.bus_master = false, .msix_enabled = false, .msix_masked = false, .taken_away = !present};
    return true;
}

result<void> configuration_space::bring_up(std::uint64_t base, std::uint32_t vfs) {
    if (vfs > options_.vfs_total) {
        return std::unexpected(refuse("there are " + std::to_string(options_.vfs_total) + " VFs"));
    }
    (void)write(0, sriov + sriov_control, 2, 0);
    std::uint64_t next = base;
    bool fits = true;
    const auto place = [&](std::uint32_t at, std::uint64_t bytes, std::uint64_t count) {
        const std::uint64_t start = (next + bytes - 1) & ~(bytes - 1);
        fits = fits && start >= next && start < 1ULL << 63;
        next = start + bytes * count;
        (void)write(0, at, 4, static_cast<std::uint32_t>(start));
        (void)write(0, at + 4, 4, static_cast<std::uint32_t>(start >> 32));
    };
    for (const std::uint32_t number : {0u, msix_bar}) {
        place(bars + number * 4, bar_bytes(number), 1);
        place(sriov + sriov_bars + number * 4, vf_bar_bytes(number), options_.vfs_total);
    }
    if (!fits || next > 1ULL << 63) {
        return std::unexpected(refuse("the functions' memory does not fit above that address"));
    }
    (void)write(0, command_status, 2, command_memory | command_bus_master);
    (void)write(0, sriov + sriov_number, 2, vfs);
    (void)write(0, sriov + sriov_control, 2, sriov_enable | sriov_memory);
    for (std::uint32_t function = 1; function <= vfs; ++function) {
        (void)write(function, command_status, 2, command_bus_master);
    }
    return {};
}

}  // namespace vinic::controller
