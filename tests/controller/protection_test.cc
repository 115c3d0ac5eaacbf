// SPDX-License-Identifier: Apache-2.0
//
// protection_test.cc -- a key opens memory of its own function and context's domain, and of nobody else's, however
// often one tries (item I1 of a device's check list); and what one tenant takes is bounded by what the device has.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "raw_client.hpp"
#include "rules/extents.hpp"
#include "sanitized.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint32_t own_key = 7 << 8 | 1;
constexpr std::uint32_t secret_key = 9 << 8 | 3;  ///< registered by the victim alone, with all rights
constexpr std::byte secret_byte{0x5e};

device_options three_functions() {
    device_options o;
    o.functions = 3;
    o.yield = true;
    o.violations_per_second = 0;  // they are to try as often as they like
    return o;
}

abi::vi_description unreliable() {
    auto d = raw_client::description(vi_number);
    d.reliability = static_cast<std::uint32_t>(reliability::unreliable);  // a refusal does not end the connection
    return d;
}

/// A thief and its friend, connected; a victim whose memory is full of one byte, and who has told them its key.
struct Theft {
    explicit Theft(const abi::vi_description& d = unreliable()) {
        EXPECT_TRUE(nic->start());
        for (raw_client* c : {&thief, &friendly}) {
            EXPECT_EQ(c->register_all(own_key), errc::ok);
            EXPECT_EQ(c->create(vi_number, d), errc::ok);
        }
        EXPECT_EQ(raw_client::connect(thief, vi_number, friendly, vi_number), errc::ok);
        EXPECT_EQ(victim.register_all(secret_key), errc::ok);
        std::ranges::fill(victim.data(0, data_bytes), secret_byte);
    }
    static constexpr std::size_t data_bytes = 1 << 20;
    std::unique_ptr<device> nic = device::create(three_functions()).value();
    raw_client thief{*nic, 1, 0};
    raw_client friendly{*nic, 2, 0};
    raw_client victim{*nic, 3, 0};
};

/// The victim's key or one near it; a VI's own function and domain decide what it means.
std::uint32_t guess(std::mt19937& random) {
    switch (random() % 4) {
        case 0:
            return secret_key;
        case 1:
            return secret_key ^ 1U << random() % 32;
        case 2:
            return static_cast<std::uint32_t>(random() % 64 << 8 | random() % 16);
        default:
            return static_cast<std::uint32_t>(random());
    }
}

TEST(protection, a_million_tries_with_another_functions_key_open_nothing) {
    Theft t;
    std::mt19937 random(20261123);
    constexpr std::uint32_t batch = raw_client::depth / 2;
    // Of its threads the thread sanitizer has seen all in a part of them.
    constexpr std::uint32_t tries = ::tests::thread_sanitized ? 100'000 : 1'000'000;
    std::uint32_t refused_here = 0;
    for (std::uint32_t n = 0; n < tries; n += batch) {
        std::array<bool, batch> local{};
        std::uint32_t last = 0;
        for (std::uint32_t i = 0; i < batch; ++i) {
            std::uint32_t key = guess(random);
            key = key == own_key ? secret_key : key;
            const std::uint64_t at = random() % Theft::data_bytes;
            local[i] = random() % 2 == 0;
            last = local[i] ? t.thief.post(vi_number, random() % 2 == 0 ? opcode::send : opcode::write, key, at, 8,
                                           raw_client::data_offset, own_key)
                            : t.thief.post(vi_number, opcode::write, own_key, 0, 8, raw_client::data_offset + at, key);
        }
        ASSERT_TRUE(t.thief.await_send(vi_number, last)) << n;
        for (std::uint32_t i = 0; i < batch; ++i) {
            const auto how = static_cast<status>(t.thief.send_slot(vi_number, last + 1 - batch + i).status);
            ASSERT_EQ(how, local[i] ? status::local_protection : status::success) << "try " << n + i;
            refused_here += local[i] ? 1U : 0U;
        }
    }
    const auto all_are = [](std::span<const std::byte> bytes, std::byte value) {
        return std::ranges::all_of(bytes, [value](std::byte b) { return b == value; });
    };
    EXPECT_TRUE(all_are(t.victim.data(0, Theft::data_bytes), secret_byte)) << "written to";
    EXPECT_TRUE(all_are(t.friendly.data(0, Theft::data_bytes), std::byte{0})) << "read, and sent on";
    // Each try was refused by one of the two functions that took part, and the victim has nothing to do with it.
    EXPECT_EQ(t.nic->status(1)->counters.protection_errors, refused_here);
    EXPECT_EQ(t.nic->status(2)->counters.protection_errors, tries - refused_here);
    EXPECT_EQ(t.nic->status(3)->counters.protection_errors, 0u);
}

TEST(protection, the_same_key_opens_what_its_own_function_has_registered) {
    Theft t;
    ASSERT_EQ(t.friendly.register_all(secret_key), errc::ok);
    std::ranges::fill(t.thief.data(0, 8), std::byte{0x77});
    const auto at = t.thief.post(vi_number, opcode::write, own_key, 0, 8, raw_client::data_offset + 64, secret_key);
    ASSERT_EQ(t.thief.await_send(vi_number, at), status::success);
    EXPECT_EQ(t.friendly.data(64, 1)[0], std::byte{0x77});
    EXPECT_EQ(t.victim.data(64, 1)[0], secret_byte);
}

/// A tenant writes the tables that say where its memory lies.  Pieces that do not follow each other bring nothing of
/// the engine's own memory into its window, and nothing lands beside them.
TEST(protection, of_the_engine_holds_against_tables_of_odd_pieces) {
    constexpr std::uint32_t odd_key = 12 << 8 | 1;
    constexpr std::uint64_t odd = 1ULL << 40;
    constexpr std::uint64_t first = raw_client::data_offset + 4096;
    constexpr std::uint64_t second = raw_client::data_offset + 8192;
    constexpr std::byte sent{0x77};
    for (const std::uint64_t bytes : {1U, 7U, 8U, 9U, 4096U}) {
        for (const std::uint64_t shift : {0U, 1U, 4U}) {
            for (const opcode o : {opcode::read, opcode::fetch_add}) {
                const bool is_honest = bytes == 4096 && shift == 0;
                Theft t(raw_client::description(vi_number));
                std::ranges::fill(t.thief.data(0, 16384), secret_byte);
                std::ranges::fill(t.friendly.data(0, 64), sent);
                vinic::rules::adopted_table table;
                table.offset = raw_client::data_offset + 65536;
                table.count = 2;
                auto* e = t.thief.at<abi::extent>(table.offset);
                e[0].address.store_relaxed(odd);
                e[0].bytes.store_relaxed(bytes);
                e[0].offset.store_relaxed(first + shift);
                e[1].address.store_relaxed(odd + bytes);
                e[1].bytes.store_relaxed(4096);
                e[1].offset.store_relaxed(second);
                t.thief.at<abi::process_entry>(abi::processes_offset)[0].adopted.store_release(table.word(1));
                ASSERT_EQ(t.thief.call(abi::verb::register_region, {odd_key, 1, 15, odd, 4096, abi::none64}).code,
                          errc::ok);
                const auto i = t.thief.post(vi_number, o, odd_key, odd - raw_client::data_offset,
                                            o == opcode::read ? 64 : 8, raw_client::data_offset, own_key);
                EXPECT_EQ(t.thief.await_send(vi_number, i) == status::success, is_honest);
                const auto seen = t.thief.data(0, 16384);
                EXPECT_EQ(std::ranges::all_of(seen, [](std::byte b) { return b == secret_byte; }), !is_honest)
                    << bytes << ' ' << shift;
                EXPECT_TRUE(std::ranges::all_of(seen, [](std::byte b) { return b == secret_byte || b == sent; }));
            }
        }
    }
}

/// Whose memory it is counts it, and nobody else does.
TEST(protection, of_a_receive_whose_memory_is_gone_is_counted_once_and_on_the_side_whose_memory_it_is) {
    constexpr std::uint32_t foreign_key = 11 << 8 | 1;
    constexpr std::uint32_t bytes = 600;
    for (const bool is_there : {true, false}) {
        for (const auto level : {reliability::delivery, reliability::unreliable}) {
            const auto nic = device::create(three_functions()).value();
            ASSERT_TRUE(nic->start());
            raw_client from(*nic, 1, 0);
            raw_client to(*nic, 2, 0);
            auto d = raw_client::description(vi_number);
            d.reliability = static_cast<std::uint32_t>(level);
            for (raw_client* c : {&from, &to}) {
                ASSERT_EQ(c->register_all(own_key), errc::ok);
                ASSERT_EQ(c->create(vi_number, d), errc::ok);
            }
            ASSERT_EQ(raw_client::connect(from, vi_number, to, vi_number), errc::ok);
            void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            ASSERT_NE(page, MAP_FAILED);
            const auto at = reinterpret_cast<std::uint64_t>(page);
            ASSERT_EQ(to.call(abi::verb::register_region, {foreign_key, 1, 15, at, 4096, abi::none64}).code, errc::ok);
            if (!is_there) {
                ::munmap(page, 4096);
            }
            const auto received = to.post_receive(vi_number, foreign_key, at - raw_client::data_offset, bytes);
            const auto how = from.await_send(vi_number, from.post(vi_number, opcode::send, own_key, 0, bytes));
            const auto told = to.await_receive(vi_number, received);
            ASSERT_TRUE(how && told);
            const bool breaks = !is_there && level != reliability::unreliable;
            EXPECT_EQ(*how, breaks ? status::remote_descriptor : status::success);
            EXPECT_EQ(static_cast<status>(told->status), is_there ? status::success : status::local_protection);
            EXPECT_EQ(nic->status(1)->counters.protection_errors, 0u);
            EXPECT_EQ(nic->status(2)->counters.protection_errors, is_there ? 0u : 1u);
            if (is_there) {
                ::munmap(page, 4096);
            }
        }
    }
}

TEST(protection, of_memory_of_a_process_in_another_pid_namespace_is_that_it_cannot_be_reached) {
    constexpr std::uint32_t foreign_key = 11 << 8 | 1;
    std::array<std::byte, 64> memory{};
    const auto at = reinterpret_cast<std::uint64_t>(memory.data());
    for (const bool is_seen : {true, false}) {
        const auto nic = device::create(three_functions()).value();
        ASSERT_TRUE(nic->start());
        raw_client from(*nic, 1, 0);
        raw_client to(*nic, 2, 0, is_seen ? ::getpid() : 0);
        for (raw_client* c : {&from, &to}) {
            ASSERT_EQ(c->register_all(own_key), errc::ok);
            ASSERT_EQ(c->create(vi_number), errc::ok);
        }
        ASSERT_EQ(raw_client::connect(from, vi_number, to, vi_number), errc::ok);
        ASSERT_EQ(to.call(abi::verb::register_region, {foreign_key, 1, 15, at, 64, abi::none64}).code, errc::ok);
        const auto i = from.post(vi_number, opcode::write, own_key, 0, 64, at, foreign_key);
        EXPECT_EQ(from.await_send(vi_number, i), is_seen ? status::success : status::unreachable_memory);
        if (!is_seen) {
            ASSERT_TRUE(from.await_link(vi_number, abi::link::error));
            EXPECT_EQ(abi::reason_of(from.entry(vi_number).state.load_acquire()), abi::break_reason::local_error)
                << "nobody died";
        }
    }
}

TEST(quotas, of_the_device_are_shared_by_its_functions_and_given_back) {
    device_options o = three_functions();
    o.vis_total = 3;
    const auto nic = device::create(o).value();
    ASSERT_TRUE(nic->start());
    raw_client other(*nic, 2, 0);
    {
        raw_client first(*nic, 1, 0);
        ASSERT_EQ(first.create(0), errc::ok);
        ASSERT_EQ(first.create(1), errc::ok);
        ASSERT_EQ(other.create(0), errc::ok);
        EXPECT_EQ(other.create(1), errc::limit_reached);
        EXPECT_EQ(first.create(2), errc::limit_reached);
        EXPECT_EQ(first.call(abi::verb::destroy_vi, {0}).code, errc::ok);
        EXPECT_EQ(other.create(1), errc::ok);
        EXPECT_EQ(first.create(0), errc::limit_reached);
    }
    EXPECT_EQ(other.create(2), errc::ok) << "what a client had when it left";
    o.vis_total = 0;
    EXPECT_EQ(device::create(o).error().code, errc::invalid_argument);
}

TEST(names, may_hold_any_bytes_and_are_listed_as_they_were_given) {
    const auto nic = device::create(three_functions()).value();
    ASSERT_TRUE(nic->start());
    raw_client c(*nic, 1, 0);
    std::vector<abi::address_key> given;
    for (std::uint32_t i = 0; i < 20; ++i) {
        abi::address_key a{};
        a.name_bytes = static_cast<std::uint16_t>(i % 3 == 0 ? abi::name_bytes_max : 2);
        a.discriminator_bytes = static_cast<std::uint16_t>(i % 2 == 0 ? abi::discriminator_bytes_max : i);
        a.name[0] = static_cast<char>(i);  // zero bytes lie behind it, and once in front
        std::memset(a.discriminator, static_cast<int>(i), a.discriminator_bytes);
        ASSERT_EQ(c.call(abi::verb::listen, {i}, a).code, errc::ok) << i;
        given.push_back(a);
    }
    std::vector<abi::address_key> listed;
    for (bool more = true; more;) {
        const auto r = listed.empty() ? c.call(abi::verb::names, {}) : c.call(abi::verb::names, {}, listed.back());
        ASSERT_EQ(r.code, errc::ok);
        ASSERT_LE(listed.size() + r.r[1], given.size());
        listed.resize(listed.size() + r.r[1]);
        std::memcpy(&listed[listed.size() - r.r[1]], r.payload.data(), r.r[1] * sizeof(abi::address_key));
        more = r.r[0] != 0;
    }
    ASSERT_EQ(listed.size(), given.size());
    for (const abi::address_key& a : given) {
        EXPECT_TRUE(
            std::ranges::any_of(listed, [&](const abi::address_key& b) { return std::memcmp(&a, &b, sizeof a) == 0; }));
    }
}

}  // namespace
}  // namespace vinic::controller
