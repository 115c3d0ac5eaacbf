// SPDX-License-Identifier: Apache-2.0
//
// extents_test.cc -- how an engine finds what of a process' memory lies in its device file: what it is told is right,
// whatever the owner does meanwhile, and never leads out of the file, whatever the owner claims.
#include "rules/extents.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <atomic>
#include <thread>

namespace vinic::rules {
namespace {

/// A file of holes in which chunk `first_chunk` is the process'.
class extents_of_a_file : public testing::Test {
protected:
    static constexpr std::uint64_t file_bytes = 8 * abi::chunk_size;
    static constexpr std::uint64_t base = 0x5000'0000'0000;
    static constexpr std::uint32_t owner = 3;
    static constexpr std::uint64_t chunk = abi::first_chunk * abi::chunk_size;
    static constexpr std::uint64_t page = abi::page_size;

    extents_of_a_file()
        : file(static_cast<std::byte*>(
              ::mmap(nullptr, file_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0))),
          p(*reinterpret_cast<abi::process_entry*>(file + abi::processes_offset)) {
        reinterpret_cast<abi::word32*>(file + abi::chunk_owners_offset)[abi::first_chunk].store_relaxed(owner);
        p.base.store_relaxed(base);
    }
    ~extents_of_a_file() override { ::munmap(file, file_bytes); }
    [[nodiscard]] found_extent find(std::uint64_t address) const {
        return find_extent(file, file_bytes, p, owner, address);
    }
    void publish(std::uint64_t offset, std::uint64_t generation, std::initializer_list<std::uint64_t> addresses) {
        adopted_table t;
        t.offset = offset;
        auto* e = reinterpret_cast<abi::extent*>(file + offset);
        for (const std::uint64_t a : addresses) {
            e[t.count].address.store_relaxed(a);
            e[t.count].bytes.store_relaxed(2 * page);
            e[t.count].offset.store_relaxed(chunk + a % abi::chunk_size);
            ++t.count;
        }
        p.adopted.store_release(t.word(generation));
    }
    std::byte* file;
    abi::process_entry& p;
};

TEST_F(extents_of_a_file, are_buffers_page_by_page) {
    mark_native(file, chunk + 62 * page, 70 * page, true);
    EXPECT_FALSE(find(base + chunk + 61 * page).inside);
    EXPECT_EQ(find(base + chunk).until, base + chunk + 62 * page);
    for (std::uint64_t i = 62; i < 132; ++i) {
        const found_extent f = find(base + chunk + i * page + 5);
        EXPECT_TRUE(f.inside) << i;
        EXPECT_EQ(f.offset, chunk + i * page + 5);
        EXPECT_GT(f.until, base + chunk + i * page + 5);
        EXPECT_LE(f.until, base + chunk + 132 * page);
    }
    EXPECT_FALSE(find(base + chunk + 132 * page).inside);
    mark_native(file, chunk + 64 * page, 64 * page, false);
    EXPECT_TRUE(find(base + chunk + 63 * page).inside);
    EXPECT_FALSE(find(base + chunk + 64 * page).inside);
    EXPECT_FALSE(find(base + chunk + 127 * page).inside);
    EXPECT_TRUE(find(base + chunk + 128 * page).inside);
}

TEST_F(extents_of_a_file, are_no_buffers_in_chunks_of_others) {
    mark_native(file, chunk + abi::chunk_size, page, true);
    EXPECT_FALSE(find(base + chunk + abi::chunk_size).inside);
    EXPECT_FALSE(find(base).inside) << "the tables";
}

TEST_F(extents_of_a_file, are_adopted_pages_between_others) {
    publish(chunk, 1, {0x10000, 0x20000, 0x30000});
    EXPECT_EQ(find(0x1).until, 0x10000u);
    EXPECT_FALSE(find(0xffff).inside);
    EXPECT_TRUE(find(0x10000).inside);
    EXPECT_EQ(find(0x11fff).offset, chunk + 0x11fff);
    EXPECT_EQ(find(0x11fff).until, 0x12000u);
    EXPECT_FALSE(find(0x12000).inside);
    EXPECT_EQ(find(0x12000).until, 0x20000u);
    EXPECT_TRUE(find(0x30000).inside);
    EXPECT_FALSE(find(0x32000).inside);
    EXPECT_EQ(find(0x32000).until, base) << "buffers begin there";
}

TEST_F(extents_of_a_file, of_a_process_that_lies_never_lead_out_of_it) {
    for (const std::uint64_t word :
         std::initializer_list<std::uint64_t>{~0ULL, 1ULL << 41, adopted_table{abi::file_size - 128, 1024}.word(7),
                                              adopted_table{chunk, 2047}.word(7)}) {
        p.adopted.store_relaxed(word);
        EXPECT_FALSE(find(0x10000).inside) << word;
    }
    publish(chunk, 1, {0x10000, 0x20000});
    auto* e = reinterpret_cast<abi::extent*>(file + chunk);
    for (const std::uint64_t lie :
         std::initializer_list<std::uint64_t>{~0ULL, ~0ULL - page, file_bytes, file_bytes - page}) {
        e[0].offset.store_relaxed(lie);
        EXPECT_FALSE(find(0x10000).inside) << lie;
    }
    e[0].bytes.store_relaxed(~0ULL);
    EXPECT_FALSE(find(0x10000).inside);
    // What was adopted are whole pages; a message that comes in pieces relies on it.
    publish(chunk, 1, {0x10000});
    EXPECT_TRUE(find(0x10008).inside);
    e[0].offset.store_relaxed(chunk + 1);
    EXPECT_FALSE(find(0x10008).inside);
    publish(chunk, 2, {0x10000});
    e[0].bytes.store_relaxed(page + 7);
    EXPECT_FALSE(find(0x10008).inside);
    publish(chunk, 3, {0x10000});
    e[0].address.store_relaxed(0x10001);
    EXPECT_FALSE(find(0x10008).inside);
    publish(chunk, 4, {0x10000, 0x20000});
    e[1].address.store_relaxed(0);  // out of order
    EXPECT_GT(find(0x10000).until, 0x10000u) << "an answer ends behind the question, or a walk would not end";
    for (const std::uint64_t lie : std::initializer_list<std::uint64_t>{0ULL, ~0ULL, ~0ULL - file_bytes, 1ULL}) {
        p.base.store_relaxed(lie);
        for (const std::uint64_t at :
             std::initializer_list<std::uint64_t>{0ULL, 5ULL, chunk, file_bytes - 1, file_bytes, ~0ULL}) {
            const found_extent f = find(at);
            EXPECT_TRUE(!f.inside || (f.offset < file_bytes && f.offset % page == at % page)) << lie << ' ' << at;
        }
    }
}

/// The owner publishes again and again; what one extent says never changes, and is always found.
TEST_F(extents_of_a_file, are_found_while_others_come_and_go) {
    std::atomic<bool> end = false;
    publish(chunk, 1, {0x20000});
    std::thread owner_thread([&] {
        for (std::uint64_t n = 2; !end.load(); ++n) {
            const std::uint64_t place = chunk + n % 2 * adopted_table::bytes;
            if (n % 3 == 0) {
                publish(place, n, {0x10000, 0x14000, 0x20000, 0x30000});
            } else {
                publish(place, n, {0x20000, 0x30000 + n % 7 * 0x4000});
            }
        }
    });
    for (int i = 0; i < 200'000; ++i) {
        const found_extent f = find(0x20008);
        // Not inside: the table changed a hundred times meanwhile, which the system's scheduler can do.
        ASSERT_TRUE(!f.inside || (f.offset == chunk + 0x20008 && f.until == 0x22000)) << f.offset;
    }
    end.store(true);
    owner_thread.join();
}

}  // namespace
}  // namespace vinic::rules
