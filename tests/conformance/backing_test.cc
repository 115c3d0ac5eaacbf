// SPDX-License-Identifier: Apache-2.0
//
// backing_test.cc -- which backing the library chooses, that adopting pages is invisible to the program, and the
// whole address space as one region.
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "fixture.hpp"

namespace conformance {
namespace {

/// Adopting pages needs userfaultfd; a machine that forbids it may give foreign regions instead.
bool machine_can_adopt() {
    const long fd = ::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (fd < 0)
        return false;
    ::close(static_cast<int>(fd));
    return true;
}

vinic::status write_to(pair& linked, vinic::remote_address to, std::size_t bytes) {
    EXPECT_EQ(linked.left.vi.post_write(linked.left.at(0, bytes), to, 1), vinic::errc::ok);
    return next(linked.left.sends).status;
}

TEST(backing, of_device_memory_is_native_at_any_offset) {
    auto nic = open_device();
    auto domain = must(nic.create_domain());
    const auto buffer = must(nic.allocate(16 * page));
    EXPECT_EQ(must(domain.register_memory(buffer.bytes(), vinic::access::all)).backing(), vinic::backing::native);
    EXPECT_EQ(must(domain.register_memory(buffer.bytes().subspan(333, 7000), vinic::access::all)).backing(),
              vinic::backing::native);
}

TEST(backing, of_memory_that_is_not_the_devices_is_foreign_unless_its_adoption_is_asked_for) {
    auto nic = open_device();
    auto domain = must(nic.create_domain());
    for (const auto kind : {memory_kind::anonymous, memory_kind::shared, memory_kind::unaligned}) {
        const arena memory(nic, kind, 64 * page);
        const auto made = must(domain.register_memory(memory.bytes(), rights_of(memory_kind::shared)));
        EXPECT_EQ(made.backing(), vinic::backing::foreign) << name(kind);
        EXPECT_EQ(made.foreign_reason(), vinic::foreign_reason::not_asked) << name(kind);
    }
}

TEST(backing, of_page_aligned_private_anonymous_memory_is_adopted_if_that_is_asked_for) {
    if (!machine_can_adopt())
        GTEST_SKIP() << "userfaultfd is not available";
    auto nic = open_device();
    auto domain = must(nic.create_domain());
    const arena memory(nic, memory_kind::anonymous, 64 * page);
    const auto whole = must(domain.register_memory(memory.bytes(), vinic::access::all, adopting));
    EXPECT_EQ(whole.backing(), vinic::backing::adopted);
    EXPECT_EQ(whole.foreign_reason(), vinic::foreign_reason::none);
    const auto again = must(domain.register_memory(memory.bytes().subspan(page, 10 * page), vinic::access::all));
    EXPECT_EQ(again.backing(), vinic::backing::adopted) << "pages that were adopted before";
}

TEST(backing, of_small_unaligned_and_stack_memory_is_foreign) {
    auto nic = open_device();
    auto domain = must(nic.create_domain());
    std::byte on_stack[200] = {};
    const auto heap = std::make_unique<std::byte[]>(100);
    EXPECT_EQ(must(domain.register_memory(on_stack, vinic::access::local_write, adopting)).backing(),
              vinic::backing::foreign);
    const auto small = must(domain.register_memory({heap.get() + 1, 99}, vinic::access::local_write, adopting));
    EXPECT_EQ(small.backing(), vinic::backing::foreign);
    EXPECT_EQ(small.foreign_reason(), vinic::foreign_reason::shares_pages);
}

TEST(backing, of_a_shared_mapping_is_foreign) {
    auto nic = open_device();
    auto domain = must(nic.create_domain());
    const arena memory(nic, memory_kind::shared, 64 * page);
    const auto made = must(domain.register_memory(memory.bytes(), vinic::access::local_write, adopting));
    EXPECT_EQ(made.backing(), vinic::backing::foreign);
    EXPECT_EQ(made.foreign_reason(), vinic::foreign_reason::not_private);
}

TEST(backing, of_read_only_memory_allows_sending_and_refuses_rights_to_write) {
    pair linked({}, handles::two);  // a store of one's own process would raise SIGSEGV, as any does there
    void* mapped = ::mmap(nullptr, 4 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    const std::span bytes(static_cast<std::byte*>(mapped), 4 * page);
    fill(bytes, 4);
    ASSERT_EQ(::mprotect(mapped, 4 * page, PROT_READ), 0);
    {
        const auto region = must(linked.left.domain.register_memory(bytes, vinic::access::none));
        ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 4 * page), 1), vinic::errc::ok);
        ASSERT_EQ(linked.left.vi.post_send({region, 0, 4 * page}, 2), vinic::errc::ok);
        EXPECT_EQ(next(linked.right.receives).status, vinic::status::success);
        EXPECT_EQ(next(linked.left.sends).status, vinic::status::success);
        EXPECT_TRUE(matches(linked.right.bytes(0, 4 * page), 4));
    }
    // Registering it for writing may be refused; if it is not, a peer's write must be, and the bytes stay.
    const auto writable = linked.right.domain.register_memory(bytes, rights_of(memory_kind::shared));
    if (writable) {
        EXPECT_NE(write_to(linked, writable->remote(), 100), vinic::status::success);
    }
    EXPECT_TRUE(matches(bytes, 4));
    ::munmap(mapped, 4 * page);
}

class each_kind : public testing::TestWithParam<memory_kind> {};

TEST_P(each_kind, of_memory_keeps_its_contents_through_registration_and_close) {
    auto nic = open_device();
    auto domain = must(nic.create_domain());
    const arena memory(nic, GetParam(), 50 * page);
    fill(memory.bytes(), 1);
    for (std::uint32_t round = 2; round < 12; ++round) {
        auto region = must(domain.register_memory(memory.bytes(), rights_of(GetParam()), registration_of(GetParam())));
        ASSERT_TRUE(matches(memory.bytes(), round - 1)) << "after registering";
        fill(memory.bytes(), round);
        must(region.close());
        ASSERT_TRUE(matches(memory.bytes(), round)) << "after closing";
    }
}

TEST_P(each_kind, of_memory_shows_both_sides_the_same_bytes) {
    endpoint_options options;
    options.kind = GetParam();
    options.memory_bytes = 40 * page;
    pair linked(options);
    fill(linked.left.bytes(), 17);
    EXPECT_EQ(write_to(linked, linked.right.remote(), 40 * page), vinic::status::success);
    EXPECT_TRUE(matches(linked.right.bytes(), 17)) << "what the peer wrote is read by plain loads";
    fill(linked.right.bytes(), 18);
    ASSERT_EQ(linked.left.vi.post_read(linked.left.at(0, 40 * page), linked.right.remote(), 2), vinic::errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, vinic::status::success);
    EXPECT_TRUE(matches(linked.left.bytes(), 18)) << "what plain stores wrote is read by the peer";
}

TEST_P(each_kind, of_memory_holds_what_peers_wrote_after_close) {
    endpoint_options options;
    options.kind = GetParam();
    pair linked(options);
    fill(linked.left.bytes(), 31);
    EXPECT_EQ(write_to(linked, linked.right.remote(), linked.left.bytes().size()), vinic::status::success);
    must(linked.right.memory.close());
    EXPECT_TRUE(matches(linked.right.bytes(), 31));
}

INSTANTIATE_TEST_SUITE_P(memory, each_kind, testing::ValuesIn(memory_kinds),
                         [](const auto& kind) { return name(kind.param); });

TEST(adopting, loses_no_write_of_another_thread) {
    // Each thread owns one word of every page, adds one to it, and knows what it must find there.
    constexpr std::size_t pages = 64;
    constexpr std::size_t threads = 3;
    auto nic = open_device();
    auto domain = must(nic.create_domain());
    const arena memory(nic, memory_kind::anonymous, pages * page);
    std::atomic<bool> stop = false;
    std::vector<std::future<std::uint64_t>> writers;
    for (std::size_t t = 0; t < threads; ++t) {
        writers.push_back(in_thread([&, t]() -> std::uint64_t {
            std::uint64_t lost = 0;
            for (std::uint64_t round = 0; !stop; ++round) {
                for (std::size_t p = 0; p < pages; ++p) {
                    auto* word = reinterpret_cast<std::uint64_t*>(memory.bytes().data() + p * page + t * 8);
                    const std::atomic_ref<std::uint64_t> cell(*word);
                    if (cell.load(std::memory_order_relaxed) != round)
                        ++lost;
                    cell.store(round + 1, std::memory_order_relaxed);
                }
            }
            return lost;
        }));
    }
    for (int round = 0; round < 40; ++round) {
        auto region = must(domain.register_memory(memory.bytes(), vinic::access::all, adopting));
        must(region.close());
    }
    stop = true;
    for (auto& writer : writers) EXPECT_EQ(writer.get(), 0u) << "writes were lost";
}

TEST(adopting, leaves_nothing_of_the_device_in_memory_that_lives_on) {
    // Memory stays mapped when a program has closed its device; what once was the device's must not hold on to its
    // locks.  On a disk no page moves, for it could not move back while another thread writes.
    if (!under_test().device.starts_with("shm:"))
        GTEST_SKIP() << "this placement has no device file";
    const std::string address = "shm:" + unique_name("conformance-adopting");
    std::atomic<bool> stop = false;
    auto other_thread = in_thread([&] {
        while (!stop) std::this_thread::sleep_for(1ms);
    });
    auto any = open_device();
    const arena memory(any, memory_kind::anonymous, 64 * page);
    for (std::uint32_t round = 0; round < 6; ++round) {
        vinic::open_options where;
        where.directory = round % 2 == 0 ? std::string() : std::filesystem::temp_directory_path().string();
        const auto keeper = must(vinic::nic::open(address, where));
        auto nic = vinic::nic::open(address, where);
        EXPECT_EQ(code_of(nic), vinic::errc::ok) << "closed in the round before, and still locked";
        if (!nic)
            break;
        auto domain = must(nic->create_domain());
        fill(memory.bytes(), round);
        auto region = must(domain.register_memory(memory.bytes(), rights_of(memory_kind::shared), adopting));
        EXPECT_TRUE(region.backing() == vinic::backing::adopted ||
                    region.foreign_reason() == vinic::foreign_reason::cannot_hold)
            << vinic::name(region.foreign_reason());
        must(region.close());
        EXPECT_TRUE(matches(memory.bytes(), round));
    }
    stop = true;
    other_thread.get();
}

TEST(adopting, keeps_untouched_pages_zero_and_neighbours_alone) {
    auto nic = open_device();
    auto domain = must(nic.create_domain());
    const arena memory(nic, memory_kind::anonymous, 32 * page);
    fill(memory.bytes().first(8 * page), 1);
    fill(memory.bytes().subspan(24 * page), 2);
    {
        const auto region =
            must(domain.register_memory(memory.bytes().subspan(8 * page, 16 * page), vinic::access::all, adopting));
        EXPECT_TRUE(all_are(memory.bytes().subspan(8 * page, 16 * page), std::byte{0}));
    }
    EXPECT_TRUE(all_are(memory.bytes().subspan(8 * page, 16 * page), std::byte{0}));
    EXPECT_TRUE(matches(memory.bytes().first(8 * page), 1));
    EXPECT_TRUE(matches(memory.bytes().subspan(24 * page), 2));
}

TEST(adopting, gives_pages_back_that_only_a_peer_has_written_and_leaves_the_others_untouched) {
    pair linked;
    constexpr std::size_t pages = 4096;
    const arena memory(linked.right.nic, memory_kind::anonymous, pages * page);
    {
        const auto region = must(linked.right.domain.register_memory(memory.bytes(), vinic::access::all, adopting));
        ASSERT_EQ(region.backing(), vinic::backing::adopted);
        fill(linked.left.bytes().first(page), 66);
        ASSERT_EQ(write_to(linked, region.remote(1000 * page), page), vinic::status::success);
        ASSERT_EQ(write_to(linked, region.remote((pages - 1) * page), page), vinic::status::success);
    }
    std::vector<unsigned char> resident(pages);
    ASSERT_EQ(::mincore(memory.bytes().data(), memory.bytes().size(), resident.data()), 0);
    EXPECT_LT(std::ranges::count_if(resident, [](unsigned char r) { return (r & 1) != 0; }), 64)
        << "closing a region must not make pages of what nobody has touched";
    EXPECT_TRUE(matches(memory.bytes().subspan(1000 * page, page), 66));
    EXPECT_TRUE(matches(memory.bytes().last(page), 66));
    EXPECT_TRUE(all_are(memory.bytes().first(1000 * page), std::byte{0}));
}

TEST(adopting, takes_whole_pages_out_of_an_unaligned_range_and_serves_every_byte) {
    pair linked;
    const arena memory(linked.right.nic, memory_kind::anonymous, 20 * page);
    fill(memory.bytes(), 0);
    const auto inside = memory.bytes().subspan(page / 2 + 3, 18 * page);
    const auto region = must(linked.right.domain.register_memory(inside, rights_of(memory_kind::shared), adopting));
    EXPECT_EQ(region.backing(), vinic::backing::mixed);
    EXPECT_EQ(region.foreign_reason(), vinic::foreign_reason::shares_pages);
    ASSERT_GE(linked.left.bytes().size(), 15 * page);
    fill(linked.left.bytes(), 55);
    EXPECT_EQ(write_to(linked, region.remote(3 * page - 5), 15 * page), vinic::status::success);
    EXPECT_TRUE(matches(inside.subspan(3 * page - 5, 15 * page), 55));
    EXPECT_EQ(write_to(linked, region.remote(0), 100), vinic::status::success);
    EXPECT_TRUE(matches(inside.first(100), 55)) << "the part before the first whole page";
    EXPECT_EQ(write_to(linked, region.remote(18 * page - 100), 100), vinic::status::success);
    EXPECT_TRUE(matches(inside.last(100), 55)) << "the part after the last whole page";
}

/// A pair in which both sides have registered their whole address space.
class whole_address_space : public testing::Test {
protected:
    pair linked;
    vinic::region left_all = must(linked.left.domain.register_address_space(vinic::access::all));
    vinic::region right_all = must(linked.right.domain.register_address_space(vinic::access::all));
    vinic::segment left_piece(const void* start, std::size_t bytes) const {
        return {start, static_cast<std::uint32_t>(bytes), left_all.key()};
    }
    vinic::remote_address right_place(const void* start) const {
        return {reinterpret_cast<std::uint64_t>(start), right_all.key()};
    }
};

TEST_F(whole_address_space, starts_at_address_zero) {
    EXPECT_EQ(left_all.address(), 0u);
    EXPECT_GT(left_all.length(), std::uint64_t{1} << 46);
}

TEST_F(whole_address_space, reaches_stack_heap_device_and_anonymous_memory) {
    std::byte on_stack[300] = {};
    const auto in_heap = std::make_unique<std::byte[]>(300);
    const arena anonymous(linked.right.nic, memory_kind::anonymous, page);
    fill(on_stack, 1);
    for (std::byte* const target : {in_heap.get(), linked.right.bytes().data(), anonymous.bytes().data() + 1}) {
        ASSERT_EQ(linked.left.vi.post_write(left_piece(on_stack, 300), right_place(target), 1), vinic::errc::ok);
        EXPECT_EQ(next(linked.left.sends).status, vinic::status::success);
        EXPECT_TRUE(matches({target, 300}, 1));
    }
}

TEST_F(whole_address_space, includes_memory_that_is_mapped_later) {
    const arena later(linked.right.nic, memory_kind::anonymous, 16 * page);
    fill(linked.left.bytes(), 6);
    EXPECT_EQ(write_to(linked, right_place(later.bytes().data()), 16 * page), vinic::status::success);
    EXPECT_TRUE(matches(later.bytes(), 6));
}

TEST_F(whole_address_space, crosses_from_adopted_and_device_pages_into_others) {
    must(left_all.close());
    must(right_all.close());
    const arena anonymous(linked.right.nic, memory_kind::anonymous, 24 * page);
    auto adopted = must(linked.right.domain.register_memory(anonymous.bytes().subspan(8 * page, 8 * page),
                                                            vinic::access::all, adopting));
    ASSERT_EQ(adopted.backing(), vinic::backing::adopted);
    right_all = must(linked.right.domain.register_address_space(vinic::access::all));
    fill(linked.left.bytes(), 61);
    const auto place = anonymous.bytes().subspan(5 * page + 7, 14 * page);
    EXPECT_EQ(write_to(linked, right_place(place.data()), place.size()), vinic::status::success);
    EXPECT_TRUE(matches(place, 61));
    fill(place, 62);
    ASSERT_EQ(linked.left.vi.post_read(linked.left.at(0, place.size()), right_place(place.data()), 2), vinic::errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, vinic::status::success);
    EXPECT_TRUE(matches(linked.left.bytes(0, place.size()), 62));

    // A region over the whole address space has these pages, too: they go back with it.
    must(adopted.close());
    EXPECT_EQ(write_to(linked, right_place(place.data()), place.size()), vinic::status::success);
    EXPECT_TRUE(matches(place, 62));
    must(right_all.close());
    EXPECT_TRUE(matches(place, 62));
}

/// An address where nothing is mapped, nor will be while the test runs.
void* hole() {
    void* mapped = ::mmap(nullptr, 16 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        throw std::runtime_error("mmap failed");
    ::munmap(mapped, 16 * page);
    return static_cast<std::byte*>(mapped) + 8 * page;
}

TEST_F(whole_address_space, refuses_a_target_where_nothing_is_mapped) {
    const auto ended = write_to(linked, right_place(hole()), 64);
    EXPECT_TRUE(ended == vinic::status::unreachable_memory || ended == vinic::status::remote_protection)
        << vinic::name(ended);
    EXPECT_TRUE(comes_to(linked.left.vi, vinic::vi_state::error));
}

TEST_F(whole_address_space, refuses_to_read_where_nothing_is_mapped) {
    ASSERT_EQ(linked.left.vi.post_read(linked.left.at(0, 64), right_place(hole()), 1), vinic::errc::ok);
    const auto ended = next(linked.left.sends).status;
    EXPECT_TRUE(ended == vinic::status::unreachable_memory || ended == vinic::status::remote_protection)
        << vinic::name(ended);
}

TEST_F(whole_address_space, refuses_to_send_from_where_nothing_is_mapped) {
    for (const std::size_t bytes : {8u, 600u}) {
        pair fresh;
        const auto all = must(fresh.left.domain.register_address_space(vinic::access::all));
        ASSERT_EQ(fresh.right.vi.post_receive(fresh.right.at(0, bytes), 1), vinic::errc::ok);
        const vinic::segment nowhere(hole(), static_cast<std::uint32_t>(bytes), all.key());
        ASSERT_EQ(fresh.left.vi.post_send(nowhere, 2), vinic::errc::ok);
        const auto ended = next(fresh.left.sends).status;
        EXPECT_TRUE(ended == vinic::status::unreachable_memory || ended == vinic::status::local_protection)
            << vinic::name(ended);
    }
}

TEST_F(whole_address_space, refuses_to_receive_where_nothing_is_mapped) {
    for (const std::size_t bytes : {8u, 600u}) {
        pair fresh;
        const auto all = must(fresh.right.domain.register_address_space(vinic::access::all));
        const vinic::segment nowhere(hole(), static_cast<std::uint32_t>(bytes), all.key());
        ASSERT_EQ(fresh.right.vi.post_receive(nowhere, 1), vinic::errc::ok);
        ASSERT_EQ(fresh.left.vi.post_send(fresh.left.at(0, bytes), 2), vinic::errc::ok);
        EXPECT_NE(next(fresh.right.receives).status, vinic::status::success);
        EXPECT_TRUE(comes_to(fresh.left.vi, vinic::vi_state::error));
    }
}

TEST_F(whole_address_space, gives_peers_no_more_than_its_rights) {
    const auto readable = must(linked.right.domain.register_address_space(vinic::access::remote_read));
    const vinic::remote_address place = {linked.right.remote().address, readable.key()};
    ASSERT_EQ(linked.left.vi.post_read(linked.left.at(0, 64), place, 1), vinic::errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, vinic::status::success);
    EXPECT_EQ(write_to(linked, place, 64), vinic::status::remote_protection);
}

}  // namespace
}  // namespace conformance
