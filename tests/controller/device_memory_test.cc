// SPDX-License-Identifier: Apache-2.0
//
// device_memory_test.cc -- no memory for what a tenant wants is that tenant's error, never the device's end.
//
// Not inlined, or the compiler sees one half of a pair and warns.  While `failing`, every allocation of every thread
// but the test's own fails.
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <new>

#include "raw_client.hpp"

namespace {
std::atomic<bool> failing{false};
std::atomic<std::uint64_t> refused{0};
thread_local bool is_tester = false;
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes) {
    void* taken = nullptr;
    if (!is_tester && failing.load()) {
        ++refused;
    } else {
        taken = std::malloc(bytes == 0 ? 1 : bytes);
    }
    if (taken == nullptr) {
        throw std::bad_alloc();
    }
    return taken;
}
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    try {
        return operator new(bytes);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
[[gnu::noinline]] void operator delete(void* taken) noexcept { std::free(taken); }
[[gnu::noinline]] void operator delete(void* taken, std::size_t) noexcept { std::free(taken); }
[[gnu::noinline]] void operator delete(void* taken, const std::nothrow_t&) noexcept { std::free(taken); }

namespace vinic::controller {
namespace {

struct no_memory {
    no_memory() { failing.store(true); }
    ~no_memory() { failing.store(false); }
};

class device_memory : public testing::TestWithParam<std::uint32_t> {
protected:
    device_memory() {
        is_tester = true;
        device_options o;
        o.functions = 4;
        o.yield = true;
        o.scheduling.engines = GetParam();
        nic = device::create(o).value();
        EXPECT_TRUE(nic->start());
        for (std::uint32_t f = 1; f <= 4; ++f) {
            clients.push_back(std::make_unique<raw_client>(*nic, f, 0));
            EXPECT_EQ(clients.back()->register_all(region_key), errc::ok);
        }
    }
    raw_client& client(std::uint32_t function) { return *clients[function - 1]; }
    void connect(std::uint32_t a, std::uint32_t b, std::uint32_t vi) {
        EXPECT_EQ(client(a).create(vi), errc::ok);
        EXPECT_EQ(client(b).create(vi), errc::ok);
        EXPECT_EQ(raw_client::connect(client(a), vi, client(b), vi), errc::ok);
    }
    /// 8 bytes from 3 to 4, which have all that they need.
    void expect_others_go_on() {
        const std::uint32_t i = client(3).post(0, opcode::write, region_key, 0, 8, raw_client::data_offset, region_key);
        EXPECT_EQ(client(3).await_send(0, i), status::success);
    }
    std::unique_ptr<device> nic;
    std::vector<std::unique_ptr<raw_client>> clients;
};

TEST_P(device_memory, requests_that_need_memory_are_refused_and_succeed_later) {
    connect(3, 4, 0);
    raw_client& a = client(1);
    abi::address_key name{};
    name.name_bytes = 40;  // longer than what a string holds in itself
    std::fill_n(name.name, 40, 'x');
    abi::connect_mail to{};
    to.at = name;
    EXPECT_EQ(client(2).create(5), errc::ok);
    {
        const no_memory none;
        EXPECT_EQ(a.create(7), errc::out_of_memory);
        EXPECT_EQ(a.call(abi::verb::listen, {0}, name).code, errc::out_of_memory);
        EXPECT_EQ(client(2).call(abi::verb::connect, {5, 0, 0}, to).code, errc::out_of_memory);
        expect_others_go_on();
    }
    EXPECT_EQ(nic->status(1)->vis, 0u);
    EXPECT_EQ(a.create(7), errc::ok);
    EXPECT_EQ(a.call(abi::verb::listen, {0}, name).code, errc::ok);
    {
        const no_memory none;
        EXPECT_EQ(client(2).call(abi::verb::connect, {5, 0, 0}, to).code, errc::out_of_memory);
        EXPECT_EQ(client(2).link_of(5), abi::link::idle) << "nothing was begun";
    }
    EXPECT_EQ(client(2).call(abi::verb::connect, {5, 0, 0}, to).code, errc::ok);
    const auto taken = a.call(abi::verb::take_request, {0});
    EXPECT_EQ(taken.code, errc::ok);
    {
        const no_memory none;
        EXPECT_EQ(a.call(abi::verb::accept, {taken.r[0], 7, 0}).code, errc::ok) << "needs no memory";
    }
    EXPECT_TRUE(client(2).await_link(5, abi::link::connected));
    EXPECT_GT(refused.load(), 0u);
}

TEST_P(device_memory, a_message_that_outlives_its_lease_breaks_its_connection_and_no_other) {
    connect(3, 4, 0);
    connect(1, 2, 1);
    constexpr std::uint32_t bytes = 64 << 20;
    const std::uint64_t before = refused.load();
    {
        const no_memory none;
        const std::uint32_t i =
            client(1).post(1, opcode::write, region_key, 0, bytes, raw_client::data_offset, region_key);
        EXPECT_EQ(client(1).await_send(1, i), status::unreachable_memory);
        EXPECT_TRUE(client(1).await_link(1, abi::link::error));
        EXPECT_TRUE(client(2).await_link(1, abi::link::error));
        expect_others_go_on();
    }
    EXPECT_GT(refused.load(), before);
    connect(1, 2, 2);
    const std::uint32_t i = client(1).post(2, opcode::write, region_key, 0, bytes, raw_client::data_offset, region_key);
    EXPECT_EQ(client(1).await_send(2, i), status::success);
}

TEST_P(device_memory, waiting_for_a_receiver_and_dropping_a_context_need_none) {
    connect(3, 4, 0);
    abi::vi_description d = raw_client::description(1);
    d.receiver_wait_ns = 50'000'000;
    EXPECT_EQ(client(1).create(1, d), errc::ok);
    EXPECT_EQ(client(2).create(1, d), errc::ok);
    EXPECT_EQ(raw_client::connect(client(1), 1, client(2), 1), errc::ok);
    const no_memory none;
    std::uint32_t i = client(1).post(1, opcode::send, region_key, 0, 8);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
    (void)client(2).post_receive(1, region_key, 0, 64);
    EXPECT_EQ(client(1).await_send(1, i), status::success);
    i = client(1).post(1, opcode::send, region_key, 0, 8);
    EXPECT_EQ(client(1).await_send(1, i), status::receiver_not_ready);
    std::thread([this] {  // without the test's privilege
        clients[0].reset();
        clients[1].reset();
    })
        .join();
    EXPECT_EQ(nic->status(1)->vis + nic->status(2)->vis, 0u);
    expect_others_go_on();
}

INSTANTIATE_TEST_SUITE_P(engines, device_memory, testing::Values(1, 2));

}  // namespace
}  // namespace vinic::controller
