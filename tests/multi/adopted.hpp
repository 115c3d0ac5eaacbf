// SPDX-License-Identifier: Apache-2.0
//
// adopted.hpp -- memory of the program that a device adopts.
#pragma once

#include <sys/mman.h>

#include <atomic>

#include "multi/fixture.hpp"

namespace multi {

inline constexpr vinic::registration safely{vinic::adopt::safe};

/// Private anonymous pages, apart from everything that the running thread itself may touch.
class pages {
public:
    explicit pages(std::size_t bytes = 16 * page, int protection = PROT_READ | PROT_WRITE)
        : mapped_(::mmap(nullptr, bytes + 2 * apart, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)), bytes_(bytes) {
        require(mapped_ != MAP_FAILED, "memory can be mapped");
        data_ = static_cast<std::byte*>(mapped_) + apart;
        require(::mprotect(data_, bytes, protection) == 0, "memory can be made writable");
    }
    pages(const pages&) = delete;
    pages& operator=(const pages&) = delete;
    ~pages() { ::munmap(mapped_, bytes_ + 2 * apart); }
    [[nodiscard]] std::span<std::byte> bytes() const { return {data_, bytes_}; }
    [[nodiscard]] std::byte* data() const { return data_; }
    [[nodiscard]] std::size_t count() const { return bytes_ / page; }
    [[nodiscard]] std::atomic_ref<std::uint64_t> word(std::size_t of_page, std::size_t index) const {
        return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(data_ + of_page * page + index * 8));
    }

private:
    static constexpr std::size_t apart = 1 << 20;
    void* mapped_;
    std::size_t bytes_;
    std::byte* data_ = nullptr;
};

/// Fills it and registers it; adopted it must be.
[[nodiscard]] inline vinic::region adopt(endpoint& me, std::span<std::byte> memory, std::uint64_t seed) {
    fill(memory, seed);
    auto region = must(me.domain.register_memory(memory, vinic::access::all, safely));
    require(region.backing() == vinic::backing::adopted, "it is adopted");
    return region;
}

}  // namespace multi
