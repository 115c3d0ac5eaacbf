// SPDX-License-Identifier: Apache-2.0
//
// configuration_text.cc -- decoding and printing of configuration spaces.
#include "controller/configuration_text.hpp"

#include <algorithm>
#include <bitset>
#include <cstdio>
#include <string_view>

namespace vinic::controller {

using namespace pci;

namespace {

/// Little-endian numbers of an image; beyond its end are zeroes, as behind a capability that is cut off.
class reader {
public:
    explicit reader(configuration_view image) : image_(image) {}
    [[nodiscard]] std::uint8_t byte(std::uint32_t at) const {
        return at < space_bytes ? std::to_integer<std::uint8_t>(image_[at]) : std::uint8_t{0};
    }
    [[nodiscard]] std::uint16_t half(std::uint32_t at) const {
        return static_cast<std::uint16_t>(byte(at) | byte(at + 1) << 8);
    }
    [[nodiscard]] std::uint32_t word(std::uint32_t at) const { return half(at) | std::uint32_t{half(at + 2)} << 16; }
    [[nodiscard]] bool absent() const {
        return std::ranges::all_of(image_, [](std::byte b) { return b == std::byte{0xff}; });
    }

private:
    configuration_view image_;
};

struct capability {
    std::uint32_t at;
    std::uint16_t id;
};

std::vector<capability> capabilities(const reader& from) {
    std::vector<capability> found;
    std::bitset<256> seen;
    if ((from.half(command_status + 2) & status_capability_list) == 0) {
        return found;
    }
    for (std::uint32_t at = from.byte(capability_pointer) & ~3u; at >= 0x40 && !seen[at];
         at = from.byte(at + 1) & ~3u) {
        seen.set(at);
        found.push_back({at, from.byte(at)});
    }
    return found;
}

std::vector<capability> extended_capabilities(const reader& from) {
    std::vector<capability> found;
    std::bitset<space_bytes> seen;
    for (std::uint32_t at = extended; at >= extended && !seen[at] && from.word(at) != 0;
         at = from.word(at) >> 20 & ~3u) {
        seen.set(at);
        found.push_back({at, from.half(at)});
    }
    return found;
}

/// A memory BAR; 64-bit ones take two places.
struct base_register {
    std::uint32_t number;
    std::uint32_t at;
    std::uint64_t address;
    bool is_memory;
    bool is_64_bit;
    bool prefetchable;
};

std::vector<base_register> base_registers(const reader& from, std::uint32_t first) {
    std::vector<base_register> found;
    for (std::uint32_t number = 0; number < bar_count; ++number) {
        const std::uint32_t at = first + number * 4;
        const std::uint32_t low = from.word(at);
        const bool is_memory = (low & 1) == 0;
        const bool is_64_bit = is_memory && (low & 6) == 4 && number + 1 < bar_count;
        const std::uint64_t high = is_64_bit ? from.word(at + 4) : 0;
        if (low != 0 || high != 0) {
            found.push_back({.number = number,
                             .at = at,
                             .address = high << 32 | (low & (is_memory ? ~0xfu : ~3u)),
                             .is_memory = is_memory,
                             .is_64_bit = is_64_bit,
                             .prefetchable = is_memory && (low & 8) != 0});
        }
        number += is_64_bit ? 1 : 0;
    }
    return found;
}

std::string hexadecimal(std::uint64_t value, int digits) {
    char text[24];
    std::snprintf(text, sizeof text, "%0*llx", digits, static_cast<unsigned long long>(value));
    return text;
}

std::string flag(std::string_view name, bool set) { return std::string(name) + (set ? "+" : "-"); }

std::string position(std::uint16_t routing_id) {
    return hexadecimal(routing_id >> 8, 2) + ":" + hexadecimal(routing_id >> 3 & 0x1f, 2) + "." +
           hexadecimal(routing_id & 7, 1);
}

// -- names and values ---------------------------------------------------------------------------

class listing {
public:
    explicit listing(const reader& from) : from_(from) {}
    void add(std::uint32_t at, std::string name, std::uint64_t value) {
        values_.push_back({.offset = at, .name = std::move(name), .value = value});
    }
    void add_bars(std::uint32_t first, const std::string& prefix) {
        for (const base_register& bar : base_registers(from_, first)) {
            add(bar.at, prefix + std::to_string(bar.number), bar.address);
        }
    }
    void add_header();
    void add_capability(const capability& c);
    void add_extended(const capability& c);
    [[nodiscard]] std::vector<configuration_value> take() { return std::move(values_); }

private:
    const reader& from_;
    std::vector<configuration_value> values_;
};

void listing::add_header() {
    const std::uint16_t command = from_.half(command_status);
    add(vendor_device, "vendor_id", from_.half(vendor_device));
    add(vendor_device + 2, "device_id", from_.half(vendor_device + 2));
    add(command_status, "command.memory", (command & command_memory) != 0);
    add(command_status, "command.bus_master", (command & command_bus_master) != 0);
    add(command_status + 2, "status", from_.half(command_status + 2));
    add(revision_class, "revision", from_.byte(revision_class));
    add(revision_class + 1, "class", from_.word(revision_class) >> 8);
    add(header_type + 2, "header_type", from_.byte(header_type + 2));
    add_bars(bars, "bar");
    add(subsystem, "subsystem_vendor_id", from_.half(subsystem));
    add(subsystem + 2, "subsystem_id", from_.half(subsystem + 2));
    add(interrupt + 1, "interrupt_pin", from_.byte(interrupt + 1));
}

void listing::add_capability(const capability& c) {
    if (c.id == express_id) {
        const std::uint16_t version_type = from_.half(c.at + 2);
        const std::uint32_t can = from_.word(c.at + express_device_capabilities);
        add(c.at, "express.version", version_type & 0xf);
        add(c.at, "express.type", version_type >> 4 & 0xf);
        add(c.at + express_device_capabilities, "express.function_level_reset", (can & express_reset_capable) != 0);
    } else if (c.id == msix_id) {
        const std::uint32_t control = from_.word(c.at + msix_control) >> 16;
        add(c.at + 2, "msix.vectors", (control & 0x7ff) + 1);
        add(c.at + 2, "msix.masked", (control & msix_mask_all) != 0);
        add(c.at + 2, "msix.enabled", (control & msix_enable) != 0);
        add(c.at + msix_table, "msix.table_bar", from_.word(c.at + msix_table) & 7);
        add(c.at + msix_table, "msix.table_offset", from_.word(c.at + msix_table) & ~7u);
        add(c.at + msix_pending, "msix.pending_bar", from_.word(c.at + msix_pending) & 7);
        add(c.at + msix_pending, "msix.pending_offset", from_.word(c.at + msix_pending) & ~7u);
    } else {
        add(c.at, "capability", c.id);
    }
}

void listing::add_extended(const capability& c) {
    if (c.id != sriov_id) {
        add(c.at, "extended_capability", c.id);
        return;
    }
    const std::uint16_t control = from_.half(c.at + sriov_control);
    add(c.at + sriov_control, "sriov.enabled", (control & sriov_enable) != 0);
    add(c.at + sriov_control, "sriov.memory", (control & sriov_memory) != 0);
    add(c.at + sriov_initial_total, "sriov.vfs_initial", from_.half(c.at + sriov_initial_total));
    add(c.at + sriov_initial_total + 2, "sriov.vfs_total", from_.half(c.at + sriov_initial_total + 2));
    add(c.at + sriov_number, "sriov.vfs", from_.half(c.at + sriov_number));
    add(c.at + sriov_offset_stride, "sriov.first_vf_offset", from_.half(c.at + sriov_offset_stride));
    add(c.at + sriov_offset_stride + 2, "sriov.vf_stride", from_.half(c.at + sriov_offset_stride + 2));
    add(c.at + sriov_device + 2, "sriov.vf_device_id", from_.half(c.at + sriov_device + 2));
    add(c.at + sriov_pages_supported, "sriov.page_sizes_supported", from_.word(c.at + sriov_pages_supported));
    add(c.at + sriov_page_size, "sriov.page_size", from_.word(c.at + sriov_page_size));
    add_bars(c.at + sriov_bars, "sriov.vf_bar");
}

// -- lines --------------------------------------------------------------------------------------

std::string region_lines(const reader& from, std::uint32_t first, std::string_view indent, bool all_digits) {
    std::string text;
    for (const base_register& bar : base_registers(from, first)) {
        text += std::string(indent) + "Region " + std::to_string(bar.number) + ": ";
        text += bar.is_memory ? "Memory at " : "I/O ports at ";
        text += hexadecimal(bar.address, bar.is_64_bit && all_digits ? 16 : 8);
        if (bar.is_memory) {
            text += bar.is_64_bit ? " (64-bit, " : " (32-bit, ";
            text += bar.prefetchable ? "prefetchable)" : "non-prefetchable)";
        }
        text += "\n";
    }
    return text;
}

std::string header_lines(const reader& from, std::uint16_t routing_id) {
    const std::uint16_t command = from.half(command_status);
    std::string text = position(routing_id) + " Class [" + hexadecimal(from.half(revision_class + 2), 4) +
                       "]: Device [" + hexadecimal(from.half(vendor_device), 4) + ":" +
                       hexadecimal(from.half(vendor_device + 2), 4) + "] (rev " +
                       hexadecimal(from.byte(revision_class), 2) + ")\n";
    text += "\tSubsystem: Device [" + hexadecimal(from.half(subsystem), 4) + ":" +
            hexadecimal(from.half(subsystem + 2), 4) + "]\n";
    text += "\tControl: " + flag("I/O", (command & 1) != 0) + " " + flag("Mem", (command & command_memory) != 0) + " " +
            flag("BusMaster", (command & command_bus_master) != 0) + "\n";
    if (const int pin = from.byte(interrupt + 1); pin >= 1 && pin <= 4) {
        text += std::string("\tInterrupt: pin ") + static_cast<char>('A' + pin - 1) + "\n";
    }
    return text + region_lines(from, bars, "\t", false);
}

std::string capability_lines(const reader& from, const capability& c) {
    std::string text = "\tCapabilities: [" + hexadecimal(c.at, 2) + "] ";
    if (c.id == express_id) {
        const std::uint16_t version_type = from.half(c.at + 2);
        const bool integrated = (version_type >> 4 & 0xf) == express_type_integrated;
        text += "Express (v" + std::to_string(version_type & 0xf) + ") ";
        text += integrated ? "Root Complex Integrated Endpoint" : "type " + std::to_string(version_type >> 4 & 0xf);
        const std::uint32_t can = from.word(c.at + express_device_capabilities);
        return text + "\n\t\tDevCap: " + flag("FLReset", (can & express_reset_capable) != 0) + "\n";
    }
    if (c.id == msix_id) {
        const std::uint32_t control = from.word(c.at + msix_control) >> 16;
        const std::uint32_t table = from.word(c.at + msix_table);
        const std::uint32_t pending = from.word(c.at + msix_pending);
        text += "MSI-X: " + flag("Enable", (control & msix_enable) != 0) +
                " Count=" + std::to_string((control & 0x7ff) + 1) + " " +
                flag("Masked", (control & msix_mask_all) != 0) + "\n";
        text += "\t\tVector table: BAR=" + std::to_string(table & 7) + " offset=" + hexadecimal(table & ~7u, 8) + "\n";
        return text + "\t\tPBA: BAR=" + std::to_string(pending & 7) + " offset=" + hexadecimal(pending & ~7u, 8) + "\n";
    }
    return text + "number 0x" + hexadecimal(c.id, 2) + "\n";
}

std::string extended_lines(const reader& from, const capability& c) {
    std::string text =
        "\tCapabilities: [" + hexadecimal(c.at, 3) + " v" + std::to_string(from.half(c.at + 2) & 0xf) + "] ";
    if (c.id != sriov_id) {
        return text + "extended number 0x" + hexadecimal(c.id, 4) + "\n";
    }
    const auto number = [&](std::uint32_t at) { return std::to_string(from.half(c.at + at)); };
    const std::uint16_t control = from.half(c.at + sriov_control);
    text += "Single Root I/O Virtualization (SR-IOV)\n";
    text += "\t\tIOVCtl: " + flag("Enable", (control & sriov_enable) != 0) + " " +
            flag("MSE", (control & sriov_memory) != 0) + "\n";
    text += "\t\tInitial VFs: " + number(sriov_initial_total) + ", Total VFs: " + number(sriov_initial_total + 2) +
            ", Number of VFs: " + number(sriov_number) +
            ", Function Dependency Link: " + hexadecimal(from.byte(c.at + sriov_number + 2), 2) + "\n";
    text += "\t\tVF offset: " + number(sriov_offset_stride) + ", stride: " + number(sriov_offset_stride + 2) +
            ", Device ID: " + hexadecimal(from.half(c.at + sriov_device + 2), 4) + "\n";
    text += "\t\tSupported Page Size: " + hexadecimal(from.word(c.at + sriov_pages_supported), 8) +
            ", System Page Size: " + hexadecimal(from.word(c.at + sriov_page_size), 8) + "\n";
    return text + region_lines(from, c.at + sriov_bars, "\t\t", true);
}

}  // namespace

std::vector<configuration_value> decode_configuration(configuration_view image) {
    const reader from(image);
    listing values(from);
    values.add(0, "present", from.absent() ? 0 : 1);
    if (!from.absent()) {
        values.add_header();
        for (const capability& c : capabilities(from)) {
            values.add_capability(c);
        }
        for (const capability& c : extended_capabilities(from)) {
            values.add_extended(c);
        }
    }
    return values.take();
}

std::string configuration_text(std::uint16_t routing_id, configuration_view image) {
    const reader from(image);
    if (from.absent()) {
        return position(routing_id) + " is not there\n";
    }
    std::string text = header_lines(from, routing_id);
    for (const capability& c : capabilities(from)) {
        text += capability_lines(from, c);
    }
    for (const capability& c : extended_capabilities(from)) {
        text += extended_lines(from, c);
    }
    return text;
}

std::string configuration_dump(std::uint16_t routing_id, configuration_view image) {
    std::string text = position(routing_id) + " vinic\n";
    for (std::uint32_t line = 0; line < space_bytes; line += 16) {
        text += hexadecimal(line, 2) + ":";
        for (std::uint32_t i = 0; i < 16; ++i) {
            text += ' ';
            text += hexadecimal(std::to_integer<std::uint8_t>(image[line + i]), 2);
        }
        text += "\n";
    }
    return text + "\n";
}

}  // namespace vinic::controller
