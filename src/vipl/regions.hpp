// SPDX-License-Identifier: Apache-2.0
//
// regions.hpp -- which memory a memory handle names: looked at by every post and every completion,
// without a lock; changed by registration under one.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>
#include <vinic/vinic.hpp>

namespace vipl {

struct tag;

/// A hash table by key.  A record's key is what makes it valid; it is stored last and read again after
/// the rest, so a reader never mixes two records.  Tables that were outgrown stay until the end, for
/// readers that are inside; they double, so that is no more than once again as much.
class region_table {
public:
    /// Whether [address, address + bytes) lies in the region `key`, and the region carries `protection`
    /// (nullptr: whatever it carries).
    [[nodiscard]] bool covers(std::uint32_t key, std::uint64_t address, std::uint64_t bytes,
                              const void* protection) const noexcept {
        const record* r = find(key);
        if (r == nullptr) [[unlikely]] {
            return false;
        }
        const std::uint64_t base = r->address.load(std::memory_order_relaxed);
        const std::uint64_t length = r->length.load(std::memory_order_relaxed);
        const void* carries = r->protection.load(std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_acquire);
        return r->key.load(std::memory_order_relaxed) == key && address >= base && bytes <= length &&
               address - base <= length - bytes && (protection == nullptr || carries == protection);
    }
    [[nodiscard]] bool knows(std::uint32_t key) const noexcept { return find(key) != nullptr; }

    /// What only calls of the control path need.
    struct details {
        vinic::region region;
        tag* protection = nullptr;
        std::uint64_t address = 0;
        std::uint64_t length = 0;
        bool remote_write = false;
        bool remote_read = false;
        bool dead = false;  ///< deregistered, but a stopped transfer is inside
    };
    std::mutex mutex;  ///< for everything below
    std::map<std::uint32_t, details> all;

    /// May throw std::bad_alloc.
    void add(std::uint32_t key, std::uint64_t address, std::uint64_t length, const void* protection);
    void change(std::uint32_t key, const void* protection) noexcept;
    void remove(std::uint32_t key) noexcept;
    void clear() noexcept;

private:
    struct record {
        std::atomic<std::uint32_t> key{0};
        std::atomic<std::uint64_t> address{0};
        std::atomic<std::uint64_t> length{0};
        std::atomic<const void*> protection{nullptr};
    };
    struct table {
        explicit table(std::uint32_t bits)
            : shift(32 - bits), mask((1u << bits) - 1), records(new record[1u << bits]) {}
        std::uint32_t shift;
        std::uint32_t mask;
        std::uint32_t used = 0;  ///< with those that were removed
        std::unique_ptr<record[]> records;
    };
    static constexpr std::uint32_t removed = ~std::uint32_t{0};  // never a key

    [[nodiscard]] const record* find(std::uint32_t key) const noexcept {
        const table* t = current_.load(std::memory_order_acquire);
        if (t == nullptr || key == 0 || key == removed) [[unlikely]] {
            return nullptr;
        }
        for (std::uint32_t i = (key * 0x9E37'79B1u) >> t->shift;; i = (i + 1) & t->mask) {
            const std::uint32_t there = t->records[i].key.load(std::memory_order_acquire);
            if (there == key) [[likely]] {
                return &t->records[i];
            }
            if (there == 0) {
                return nullptr;
            }
        }
    }
    static void put(table& t, std::uint32_t key, std::uint64_t address, std::uint64_t length,
                    const void* protection) noexcept;

    std::atomic<table*> current_{nullptr};
    std::vector<std::unique_ptr<table>> tables_;  // newest last; readers may still look at older ones
};

}  // namespace vipl
