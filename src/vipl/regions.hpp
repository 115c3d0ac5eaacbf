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
/// the rest, so a reader never mixes two records.  Tables that were outgrown stay, for readers that
/// are inside and for witnesses; they double, so that is no more than once again as much.
class region_table {
public:
    /// Says for as long as the program runs whether a region is still registered: while `*word` is `key`.
    using witness = const std::atomic<std::uint32_t>*;

    /// How many bytes of the region `key` begin at `address`; 0: none, or it carries another tag than
    /// `protection`.  What carries none goes with every tag, and so does none.
    [[nodiscard]] std::uint64_t room(std::uint32_t key, std::uint64_t address, const void* protection,
                                     witness& word) const noexcept {
        const record* r = find(key);
        if (r == nullptr) [[unlikely]] {
            return 0;
        }
        word = &r->key;
        const std::uint64_t offset = address - r->address.load(std::memory_order_relaxed);
        const std::uint64_t length = r->length.load(std::memory_order_relaxed);
        const void* carries = r->protection.load(std::memory_order_relaxed);
        std::atomic_thread_fence(std::memory_order_acquire);
        return r->key.load(std::memory_order_relaxed) == key && offset < length &&
                       (carries == protection || protection == nullptr || carries == nullptr)
                   ? length - offset
                   : 0;
    }

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
        return t == nullptr ? nullptr : find(*t, key);
    }
    [[nodiscard]] static const record* find(const table& t, std::uint32_t key) noexcept {
        if (key == 0 || key == removed) [[unlikely]] {
            return nullptr;
        }
        for (std::uint32_t i = (key * 0x9E37'79B1u) >> t.shift;; i = (i + 1) & t.mask) {
            const std::uint32_t there = t.records[i].key.load(std::memory_order_acquire);
            if (there == key) [[likely]] {
                return &t.records[i];
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
