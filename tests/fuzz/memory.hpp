// SPDX-License-Identifier: Apache-2.0
//
// memory.hpp -- the memory of a script, and what should be in it.
//
//     area   |  source: read by sends, writes and peers' reads  |  sink: everything that is written  |
//
//   Every byte of every area has a cell that says what it must be, whether a region covers it or not: what lies
//   between and around the regions is the guard zone.  Sources and sinks are apart, so no transfer overlaps itself.
#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <vector>
#include <vinic/vinic.hpp>

namespace fuzz {

/// What a byte must be, or `unknown`: a failed transfer may have left anything there.
using cell = std::uint16_t;
inline constexpr cell unknown = 0x100;
using cells = std::vector<cell>;

enum class area_kind : std::uint8_t { device, anonymous, shared, heap };

class area {
public:
    /// `nic` is used by areas of device memory only.
    area(area_kind kind, vinic::nic* nic, int nic_number, std::size_t bytes, std::uint32_t seed);
    area(const area&) = delete;
    area& operator=(const area&) = delete;
    ~area();

    [[nodiscard]] area_kind kind() const { return kind_; }
    /// Whose device memory it is.
    [[nodiscard]] int nic() const { return nic_; }
    [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }
    [[nodiscard]] std::uint64_t address() const { return reinterpret_cast<std::uint64_t>(bytes_.data()); }
    [[nodiscard]] std::uint32_t half() const { return static_cast<std::uint32_t>(bytes_.size() / 2); }
    [[nodiscard]] bool holds(std::uint64_t at, std::uint64_t length) const {
        return at >= address() && length <= bytes_.size() && at - address() <= bytes_.size() - length;
    }
    cell& expected(std::uint64_t at) { return expected_[at - address()]; }
    /// Throws if the memory is not what it must be; an unknown byte becomes what it is.
    void check();

private:
    area_kind kind_;
    int nic_;
    vinic::buffer buffer_;
    std::vector<std::byte> heap_;
    void* mapped_ = nullptr;
    std::size_t mapped_bytes_ = 0;
    std::span<std::byte> bytes_;
    cells expected_;
};

class memory {
public:
    area& add(area_kind kind, vinic::nic* nic, int nic_number, std::size_t bytes);
    [[nodiscard]] std::size_t size() const { return areas_.size(); }
    [[nodiscard]] area& operator[](std::size_t i);
    /// Whether these bytes exist: addresses outside of all areas are never mapped ones.
    [[nodiscard]] bool exists(std::uint64_t address, std::uint64_t length) {
        return length == 0 || find(address, length) != nullptr;
    }
    /// Appends what must be there.
    void read(std::uint64_t address, std::uint64_t length, cells& to);
    void write(std::uint64_t address, std::span<const cell> from);
    void forget(std::uint64_t address, std::uint64_t length);
    [[nodiscard]] area* find(std::uint64_t address, std::uint64_t length);
    void check();

private:
    std::list<area> areas_;
};

}  // namespace fuzz
