// SPDX-License-Identifier: Apache-2.0
//
// hostile_test.cc -- tenants that write whatever they like, and victims that must not notice.
//
//   Two victims on functions of their own exchange messages and check every byte.  Meanwhile attackers, each on a
//   function of its own, overwrite their windows, ring for anything, ask for anything, name anybody's keys, and
//   change descriptors while the device reads them.  Seeds are printed.  With the address sanitizer, which sees more
//   than the test, it takes a minute for each number of engines, else five seconds; VINIC_LONG=1 makes that two
//   minutes, VINIC_HOSTILE_SECONDS as long as it says.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <random>

#include "raw_client.hpp"
#include "sanitized.hpp"

namespace vinic::controller {
namespace {

using random_source = std::mt19937_64;

constexpr std::uint32_t victims_key = 77 << 8 | 9;
constexpr std::uint32_t victims_vi = 0;

constexpr std::chrono::seconds usual_time{tests::address_sanitized ? 20 : 5};

std::chrono::milliseconds attack_time() {
    if (const char* seconds = std::getenv("VINIC_HOSTILE_SECONDS"); seconds != nullptr) {
        return std::chrono::seconds(std::strtoul(seconds, nullptr, 10));
    }
    const char* wanted = std::getenv("VINIC_LONG");
    return wanted != nullptr && *wanted != 0 ? std::chrono::minutes(2) : usual_time;
}

std::uint64_t below(random_source& r, std::uint64_t n) {
    return std::uniform_int_distribution<std::uint64_t>(0, n - 1)(r);
}

/// A number that is likely to hurt: around limits, or anything.
std::uint64_t nasty(random_source& r) {
    static constexpr std::uint64_t edges[] = {0,       1,        255,        4095,        65535,      65536,
                                              1 << 20, 1u << 31, 0xffffffff, 0x100000000, 1ULL << 63, ~0ULL};
    return below(r, 3) == 0 ? r() : edges[below(r, std::size(edges))] + below(r, 3) - 1;
}

// -- ways to attack -----------------------------------------------------------------------------

/// Everything the device might read: tables, mailbox, doorbells, rings.  With random and with structured garbage.
void scribble(raw_client& c, random_source& r) {
    const std::uint64_t ranges[][2] = {
        {0, 64 << 10},
        {abi::processes_offset, abi::page_size},
        {abi::names_offset, 1 << 16},
        {abi::requests_offset, 1 << 16},
        {abi::cqs_offset, 1 << 14},
        {abi::vis_offset, 1 << 14},
        {abi::identity_offset, abi::control_end - abi::identity_offset},
        {raw_client::rings_offset, 1 << 20},
    };
    const auto& range = ranges[below(r, std::size(ranges))];
    const std::uint64_t bytes = std::min<std::uint64_t>(range[1], 1 + below(r, 4096));
    std::byte* at = c.at<std::byte>(range[0] + below(r, range[1] - bytes + 1) / 8 * 8);
    const int kind = static_cast<int>(below(r, 3));
    for (std::uint64_t i = 0; i + 8 <= bytes; i += 8) {
        const std::uint64_t word = kind == 0 ? r() : kind == 1 ? ~0ULL : nasty(r);
        std::atomic_ref(*reinterpret_cast<std::uint64_t*>(at + i)).store(word, std::memory_order_relaxed);
    }
}

void ask_anything(raw_client& c, random_source& r) {
    abi::mailbox& box = *c.at<abi::mailbox>(abi::mailbox_offset(0));
    for (auto& b : box.request_payload) {
        b = static_cast<std::uint8_t>(below(r, 4) == 0 ? r() : 0);
    }
    std::array<std::uint64_t, 6> v{};
    for (auto& x : v) {
        x = below(r, 2) == 0 ? below(r, 16) : nasty(r);
    }
    std::array<std::byte, abi::mail_payload_bytes> payload{};
    std::memcpy(payload.data(), box.request_payload, payload.size());
    (void)c.call(static_cast<abi::verb>(below(r, 24)), v, std::span<const std::byte>(payload));
}

/// A VI whose description is half right, so that it comes to be, and then hurts.
void make_vi(raw_client& c, random_source& r) {
    const auto vi = static_cast<std::uint32_t>(below(r, 8));
    abi::vi_description d = raw_client::description(vi);
    d.cq[0] = static_cast<std::uint32_t>(below(r, 4));
    d.cq_bit[1] = static_cast<std::uint32_t>(below(r, 1 << 17));
    d.segments_max = static_cast<std::uint32_t>(1 + below(r, 256));
    d.inline_bytes_max = static_cast<std::uint32_t>(below(r, 1025));
    d.receiver_wait_ns = below(r, 3) == 0 ? abi::none64 : below(r, 100'000);
    d.reliability = static_cast<std::uint32_t>(below(r, 3));
    if (below(r, 4) == 0) {
        d.flags |= abi::is_datagram;
        d.reliability = 0;
    }
    (void)c.call(abi::verb::destroy_vi, {vi});
    (void)c.create(vi, d);
}

void connect_some(raw_client& c, random_source& r) {
    const auto a = static_cast<std::uint32_t>(below(r, 8));
    const auto b = static_cast<std::uint32_t>(below(r, 8));
    (void)c.call(abi::verb::disconnect, {a});
    (void)c.call(abi::verb::disconnect, {b});
    (void)raw_client::connect(c, a, c, b);
}

abi::send_descriptor garbage(random_source& r) {
    abi::send_descriptor d{};
    d.opcode = static_cast<std::uint8_t>(below(r, 7));
    d.flags = static_cast<std::uint8_t>(below(r, 8));
    d.segment_count = static_cast<std::uint16_t>(below(r, 4) == 0 ? nasty(r) : below(r, 4));
    d.inline_bytes = static_cast<std::uint16_t>(nasty(r));
    d.length = static_cast<std::uint32_t>(nasty(r));
    d.remote_address = below(r, 2) == 0 ? raw_client::data_offset + below(r, 1 << 20) : nasty(r);
    d.remote_key = below(r, 2) == 0 ? victims_key : static_cast<std::uint32_t>(nasty(r));
    std::uint64_t sum = 0;
    for (abi::segment& s : d.segments) {
        s = {below(r, 2) == 0 ? raw_client::data_offset + below(r, 1 << 20) : nasty(r),
             static_cast<std::uint32_t>(below(r, 2) == 0 ? below(r, 1 << 18) : nasty(r)),
             below(r, 2) == 0 ? victims_key : static_cast<std::uint32_t>(nasty(r))};
        sum += s.length;
    }
    if (below(r, 2) == 0) {
        d.segment_count = 2;
        d.length = static_cast<std::uint32_t>(sum);
    }
    return d;
}

void post_garbage(raw_client& c, random_source& r) {
    const auto vi = static_cast<std::uint32_t>(below(r, 8));
    for (int i = 0; i < 8; ++i) {
        c.post(vi, garbage(r));
    }
    const std::uint32_t at = c.post_receive(vi, victims_key, below(r, 1 << 20), static_cast<std::uint32_t>(nasty(r)));
    std::atomic_ref(c.receive_slot(vi, at).descriptor.segment_count)
        .store(static_cast<std::uint16_t>(nasty(r)), std::memory_order_relaxed);
    c.entry(vi).send_extra.store_relaxed(nasty(r));
    c.entry(vi).receive_extra.store_relaxed(nasty(r));
    c.ring(vi);
}

/// Changes a descriptor again and again while the device looks at it.
void flip(raw_client& c, random_source& r) {
    const auto vi = static_cast<std::uint32_t>(below(r, 8));
    const std::uint32_t i = c.post(vi, opcode::write, victims_key, 0, 1 << 16, raw_client::data_offset, victims_key);
    auto* words = reinterpret_cast<std::uint64_t*>(&c.send_slot(vi, i));
    for (int n = 0; n < 200; ++n) {
        std::atomic_ref(words[1 + below(r, 7)]).store(nasty(r), std::memory_order_relaxed);
        c.ring(static_cast<std::uint32_t>(below(r, abi::vi_count)));
    }
}

/// Sleeps on queues of no vector in particular, while vectors open and close.
void confuse_vectors(raw_client& c, random_source& r) {
    for (int i = 0; i < 16; ++i) {
        abi::cq_entry& cq = c.at<abi::cq_entry>(abi::cqs_offset)[below(r, 4)];
        cq.vector.store_relaxed(static_cast<std::uint32_t>(below(r, 2) == 0 ? below(r, 5) : nasty(r)));
        cq.bitmap.store_relaxed(abi::make_bitmap(raw_client::data_offset, 12));
        cq.armed.store_relaxed(1);
        cq.bell.store_relaxed(static_cast<std::uint32_t>(below(r, 2)));
        const auto vi = static_cast<std::uint32_t>(below(r, 8));
        c.entry(vi).notify[below(r, 2)].store_relaxed(1);
        c.post_receive(vi, victims_key, 0, 64);
        c.post(vi, opcode::send, victims_key, 0, 8);
    }
    (void)c.call(abi::verb::vector, {below(r, 5), nasty(r), below(r, 4), below(r, 2) == 0 ? 0 : below(r, 100'000)});
}

/// Takes its own pages away.
void punch(raw_client& c, random_source& r) {
    ::madvise(c.at<std::byte>(raw_client::rings_offset + below(r, 64) * abi::page_size), abi::page_size, MADV_REMOVE);
}

void attack(device& d, std::uint32_t function, std::uint64_t seed, const std::atomic<bool>& over) {
    random_source r(seed);
    while (!over.load()) {
        raw_client c(d, function, 0);
        c.patience_ns = 20'000'000;  // its own mailbox may be what it has spoilt
        (void)c.register_all(victims_key);
        for (int i = 0; i < 4; ++i) {
            make_vi(c, r);
        }
        const std::uint64_t rounds = 50 + below(r, 1000);
        for (std::uint64_t i = 0; i < rounds && !over.load(); ++i) {
            switch (below(r, 9)) {
                case 0:
                    scribble(c, r);
                    break;
                case 1:
                    ask_anything(c, r);
                    break;
                case 2:
                    flip(c, r);
                    break;
                case 3:
                    punch(c, r);
                    break;
                case 4:
                    confuse_vectors(c, r);
                    break;
                default:
                    post_garbage(c, r);
                    break;
            }
            if (below(r, 16) == 0) {
                connect_some(c, r);
            }
        }
    }
}

// -- victims ------------------------------------------------------------------------------------

/// Messages of all lengths from a to b, each byte looked at.  How many.
std::uint64_t exchange(raw_client& a, raw_client& b, std::uint64_t seed, std::chrono::milliseconds time) {
    random_source r(seed);
    const auto end = std::chrono::steady_clock::now() + time;
    std::uint64_t messages = 0;
    for (; std::chrono::steady_clock::now() < end; ++messages) {
        const auto bytes = static_cast<std::uint32_t>(below(r, 4) == 0 ? below(r, 200'000) : below(r, 64));
        const auto sent = a.data(0, bytes);
        const auto got = b.data(1 << 20, bytes);
        for (std::size_t i = 0; i < bytes; i += 64) {
            sent[i] = static_cast<std::byte>(messages + i / 64);
        }
        std::fill(got.begin(), got.end(), std::byte{0xee});
        const std::uint32_t receive = b.post_receive(victims_vi, victims_key, 1 << 20, 1 << 20);
        const std::uint32_t send = a.post(victims_vi, opcode::send, victims_key, 0, bytes);
        const auto c = b.await_receive(victims_vi, receive);
        if (!c || c->length != bytes || c->status != 0 || a.await_send(victims_vi, send) != status::success) {
            ADD_FAILURE() << "message " << messages << " of " << bytes << " bytes was lost or spoilt";
            return messages;
        }
        const bool inside = (c->flags & abi::payload_inside) != 0;
        if (std::memcmp(inside ? static_cast<const void*>(c->payload) : got.data(), sent.data(), bytes) != 0) {
            ADD_FAILURE() << "message " << messages << " arrived with other bytes";
            return messages;
        }
    }
    return messages;
}

class hostile_tenant : public testing::TestWithParam<std::uint32_t> {};

TEST_P(hostile_tenant, writes_nothing_that_reaches_another) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE("seed " + std::to_string(seed));
    device_options o;
    o.functions = 4;
    o.scheduling.engines = GetParam();
    o.yield = true;
    o.violations_per_second = 0;  // let them attack
    o.foreign_memory = false;     // the attackers' addresses are this process' own
    auto nic = device::create(o).value();
    ASSERT_TRUE(nic->start());
    raw_client a(*nic, 1, 0);
    raw_client b(*nic, 2, 0);
    for (raw_client* c : {&a, &b}) {
        ASSERT_EQ(c->register_all(victims_key), errc::ok);
        ASSERT_EQ(c->create(victims_vi), errc::ok);
    }
    ASSERT_EQ(raw_client::connect(a, victims_vi, b, victims_vi), errc::ok);
    const auto secret = a.data(600 << 20, 1 << 20);
    std::fill(secret.begin(), secret.end(), std::byte{0x77});
    std::atomic<bool> over{false};
    std::vector<std::thread> attackers;
    for (std::uint32_t i = 0; i < 2; ++i) {
        attackers.emplace_back([&, i] { attack(*nic, 3 + i, seed + i, over); });
    }
    const std::uint64_t messages = exchange(a, b, seed, attack_time());
    over.store(true);
    for (std::thread& t : attackers) {
        t.join();
    }
    EXPECT_GT(messages, 10u);
    EXPECT_TRUE(std::all_of(secret.begin(), secret.end(), [](std::byte x) { return x == std::byte{0x77}; }));
    for (const std::uint32_t victim : {1u, 2u}) {
        const auto s = nic->status(victim);
        EXPECT_EQ(s->counters.protection_errors, 0u) << s->name;
        EXPECT_EQ(s->counters.malformed_descriptors, 0u) << s->name;
    }
    EXPECT_GT(nic->status(3)->counters.malformed_descriptors + nic->status(4)->counters.malformed_descriptors, 0u)
        << "the attackers did not come to attack";
    RecordProperty("messages", std::to_string(messages));
}

INSTANTIATE_TEST_SUITE_P(engines, hostile_tenant, testing::Values(1, 2));

}  // namespace
}  // namespace vinic::controller
