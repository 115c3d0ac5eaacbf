// SPDX-License-Identifier: Apache-2.0
//
// tables.cc -- entries of the tables: taken, given back, counted anew.
#include <algorithm>

#include "tables/memory.hpp"

namespace vinic::tables {

namespace {

struct table_shape {
    std::uint64_t offset;
    std::uint64_t entry_bytes;
    std::uint32_t capacity;
    std::uint64_t owner_at;
    const char* what;
};

const table_shape& shape(abi::table t) {
    static constexpr table_shape shapes[abi::table_kinds] = {
        {abi::domains_offset, sizeof(abi::domain_entry), abi::domain_count, offsetof(abi::domain_entry, owner),
         "protection domains"},
        {abi::regions_offset, sizeof(abi::region_entry), abi::region_count, offsetof(abi::region_entry, owner),
         "memory regions"},
        {abi::cqs_offset, sizeof(abi::cq_entry), abi::cq_count, offsetof(abi::cq_entry, owner), "completion queues"},
        {abi::vis_offset, sizeof(abi::vi_entry), abi::vi_count, offsetof(abi::vi_entry, owner), "virtual interfaces"},
        {abi::names_offset, sizeof(abi::name_entry), abi::name_count, offsetof(abi::name_entry, owner), "names"},
        {abi::requests_offset, sizeof(abi::request_entry), abi::request_count, offsetof(abi::request_entry, owner),
         "connection requests"},
    };
    return shapes[t];
}

}  // namespace

abi::word32& memory::owner_of(abi::table t, std::uint32_t i) const noexcept {
    const table_shape& s = shape(t);
    return *at<abi::word32>(s.offset + i * s.entry_bytes + s.owner_at);
}

result<std::uint32_t> memory::take(abi::table t) {
    const table_shape& s = shape(t);
    abi::table_marks& marks = header().marks[t];
    std::uint32_t backed_now = marks.backed.load_relaxed();
    if (marks.used.load_relaxed() == s.capacity) {
        return std::unexpected(
            fail(errc::limit_reached, 0, "all " + std::to_string(s.capacity) + " " + s.what + " are taken"));
    }
    // One in sixteen is free at least, so that finding it takes no longer in a large table.
    if (backed_now != s.capacity && marks.used.load_relaxed() + backed_now / 16 >= backed_now) {
        // A page at first, then an eighth more each time.
        const std::uint64_t begin = s.offset + backed_now * s.entry_bytes;
        const std::uint64_t want = std::max<std::uint64_t>(abi::page_size, backed_now * s.entry_bytes / 8);
        const std::uint64_t end =
            std::min(abi::align_up(begin + want, abi::page_size), s.offset + s.capacity * s.entry_bytes);
        const int e = os::allocate_storage(fd_.get(), begin, end - begin);
        if (e != 0 && marks.used.load_relaxed() == backed_now) {
            return std::unexpected(fail_storage(e, std::string("taking storage for more ") + s.what));
        }
        if (e == 0) {
            marks.cursor.store_relaxed(backed_now);
            backed_now = static_cast<std::uint32_t>((end - s.offset) / s.entry_bytes);
            marks.backed.store_release(backed_now);
        }
    }
    std::uint32_t i = marks.cursor.load_relaxed();
    for (;; ++i) {
        i = i < backed_now ? i : 0;
        if (owner_of(t, i).load_relaxed() == 0) {
            break;
        }
    }
    owner_of(t, i).store_release(owner_word());
    marks.used.add_single_writer(1);
    marks.cursor.store_relaxed(i + 1);
    return i;
}

void memory::give(abi::table t, std::uint32_t i) noexcept {
    owner_of(t, i).store_release(0);
    header().marks[t].used.add_single_writer(~std::uint32_t{0});
}

void memory::recount() noexcept {
    for (std::uint32_t t = 0; t < abi::table_kinds; ++t) {
        std::uint32_t used = 0;
        const auto kind = static_cast<abi::table>(t);
        for (std::uint32_t i = 0; i < backed(kind); ++i) {
            used += owner_of(kind, i).load_relaxed() != 0 ? 1u : 0u;
        }
        header().marks[t].used.store_relaxed(used);
    }
}

}  // namespace vinic::tables
