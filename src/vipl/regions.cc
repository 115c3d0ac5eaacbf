// SPDX-License-Identifier: Apache-2.0
//
// regions.cc -- records in runs, and a larger table when they no longer fit.
#include "vipl/regions.hpp"

namespace vipl {

namespace {
constexpr std::uint32_t first_bits = 6;
}

void region_table::put(table& t, std::uint32_t key, std::uint64_t address, std::uint64_t length,
                       const void* protection) noexcept {
    std::uint32_t i = (key * 0x9E37'79B1u) >> t.shift;
    std::uint32_t there = 0;
    while ((there = t.records[i].key.load(std::memory_order_relaxed)) != 0 && there != removed) {
        i = (i + 1) & t.mask;
    }
    record& r = t.records[i];
    t.used += there == 0 ? 1 : 0;
    // Release: a reader that sees any of this sees that the record's old key has gone.
    std::atomic_thread_fence(std::memory_order_release);
    r.address.store(address, std::memory_order_relaxed);
    r.length.store(length, std::memory_order_relaxed);
    r.protection.store(protection, std::memory_order_relaxed);
    r.key.store(key, std::memory_order_release);
}

void region_table::add(std::uint32_t key, std::uint64_t address, std::uint64_t length, const void* protection) {
    table* now = current_.load(std::memory_order_relaxed);
    if (now == nullptr || (now->used + 1) * 2 > now->mask + 1) {
        std::uint32_t bits = first_bits;
        while ((all.size() + 1) * 4 > (std::size_t{1} << bits)) {
            ++bits;
        }
        auto grown = std::make_unique<table>(bits);
        tables_.reserve(tables_.size() + 1);
        for (std::uint32_t i = 0; now != nullptr && i <= now->mask; ++i) {
            const record& r = now->records[i];
            const std::uint32_t there = r.key.load(std::memory_order_relaxed);
            if (there != 0 && there != removed) {
                put(*grown, there, r.address.load(std::memory_order_relaxed), r.length.load(std::memory_order_relaxed),
                    r.protection.load(std::memory_order_relaxed));
            }
        }
        now = grown.get();
        current_.store(now, std::memory_order_release);
        tables_.push_back(std::move(grown));
    }
    put(*now, key, address, length, protection);
}

void region_table::change(std::uint32_t key, const void* protection) noexcept {
    if (const record* r = find(key); r != nullptr) {
        const_cast<record*>(r)->protection.store(protection, std::memory_order_relaxed);
    }
}

/// A record at the end of its run becomes free again, and with it those that were removed before it: so
/// registering and deregistering for ever does not fill the table.  Witnesses look into older tables too.
void region_table::remove(std::uint32_t key) noexcept {
    for (const auto& t : tables_) {
        const record* found = find(*t, key);
        if (found == nullptr) {
            continue;
        }
        auto i = static_cast<std::uint32_t>(found - t->records.get());
        t->records[i].key.store(removed, std::memory_order_release);
        if (t->records[(i + 1) & t->mask].key.load(std::memory_order_relaxed) != 0) {
            continue;
        }
        for (; t->records[i].key.load(std::memory_order_relaxed) == removed; i = (i - 1) & t->mask) {
            t->records[i].key.store(0, std::memory_order_release);
            --t->used;
        }
    }
}

/// The tables stay: a thread that uses the handle against the contract may be looking.
void region_table::clear() noexcept {
    all.clear();
    for (const auto& t : tables_) {
        for (std::uint32_t i = 0; i <= t->mask; ++i) {
            t->records[i].key.store(0, std::memory_order_release);
        }
        t->used = 0;
    }
}

}  // namespace vipl
