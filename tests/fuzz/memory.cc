// SPDX-License-Identifier: Apache-2.0
//
// memory.cc -- areas of every kind, and what each byte must be.
#include "memory.hpp"

#include <sys/mman.h>

#include <iterator>
#include <string>

#include "input.hpp"

namespace fuzz {

namespace {

/// Nobody may touch what lies before and behind mapped areas.
constexpr std::size_t room_bytes = 64 * 1024;

}  // namespace

area::area(area_kind kind, vinic::nic* nic, int nic_number, std::size_t bytes, std::uint32_t seed)
    : kind_(kind), nic_(nic_number) {
    if (kind == area_kind::device) {
        auto made = nic->allocate(bytes);
        require(made.has_value(), "allocating device memory succeeds");
        buffer_ = std::move(*made);
        require(buffer_.size() >= bytes, "a buffer is as large as was asked for");
        bytes_ = buffer_.bytes();
        for (const std::byte b : bytes_) require(b == std::byte{0}, "device memory is zeroed");
    } else if (kind == area_kind::heap) {
        heap_.resize(bytes + 8);
        bytes_ = std::span(heap_).subspan((reinterpret_cast<std::uintptr_t>(heap_.data()) & 1) == 0 ? 1 : 2, bytes);
    } else {
        mapped_bytes_ = bytes + 2 * room_bytes;
        const int sharing = kind == area_kind::shared ? MAP_SHARED : MAP_PRIVATE;
        mapped_ = ::mmap(nullptr, mapped_bytes_, PROT_NONE, sharing | MAP_ANONYMOUS, -1, 0);
        if (mapped_ == MAP_FAILED)
            throw std::runtime_error("no memory for the script");
        bytes_ = {static_cast<std::byte*>(mapped_) + room_bytes, bytes};
        if (::mprotect(bytes_.data(), bytes, PROT_READ | PROT_WRITE) != 0)
            throw std::runtime_error("no memory for the script");
    }
    expected_.resize(bytes_.size());
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
        // Shifted, swapped and repeated pieces are all seen.
        expected_[i] = static_cast<cell>((i * 7 + (i >> 8) * 13 + seed * 131 + 1) & 0xff);
        bytes_[i] = static_cast<std::byte>(expected_[i]);
    }
}

area::~area() {
    if (mapped_bytes_ != 0)
        ::munmap(mapped_, mapped_bytes_);
}

void area::check() {
    for (std::size_t i = 0; i < bytes_.size(); ++i) {
        const auto is = std::to_integer<cell>(bytes_[i]);
        if (expected_[i] == unknown)
            expected_[i] = is;
        if (expected_[i] != is)
            throw violation("memory is what was sent there and nothing else: byte " + std::to_string(i) + " of " +
                            std::to_string(bytes_.size()) + " of an area of kind " +
                            std::to_string(static_cast<int>(kind_)) + " is " + std::to_string(is) + " and not " +
                            std::to_string(expected_[i]));
    }
}

area& memory::add(area_kind kind, vinic::nic* nic, int nic_number, std::size_t bytes) {
    return areas_.emplace_back(kind, nic, nic_number, bytes, static_cast<std::uint32_t>(areas_.size()));
}

area& memory::operator[](std::size_t i) { return *std::next(areas_.begin(), static_cast<std::ptrdiff_t>(i)); }

area* memory::find(std::uint64_t address, std::uint64_t length) {
    for (area& a : areas_) {
        if (a.holds(address, length))
            return &a;
    }
    return nullptr;
}

void memory::read(std::uint64_t address, std::uint64_t length, cells& to) {
    if (area* a = find(address, length); a != nullptr && length != 0) {
        const cell* from = &a->expected(address);
        to.insert(to.end(), from, from + length);
    }
}

void memory::write(std::uint64_t address, std::span<const cell> from) {
    area* a = find(address, from.size());
    for (std::size_t i = 0; a != nullptr && i < from.size(); ++i) a->expected(address + i) = from[i];
}

void memory::forget(std::uint64_t address, std::uint64_t length) {
    if (area* a = find(address, length); a != nullptr) {
        for (std::uint64_t i = 0; i < length; ++i) a->expected(address + i) = unknown;
    }
}

void memory::check() {
    for (area& a : areas_) a.check();
}

}  // namespace fuzz
