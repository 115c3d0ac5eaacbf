// SPDX-License-Identifier: Apache-2.0
//
// drop_context_test.cc -- a process that had much goes: slice by slice everything is ended, and nothing of others.
#include <gtest/gtest.h>

#include "raw_client.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint32_t vis = 100;
constexpr std::uint32_t names = 50;
constexpr std::uint32_t regions = 5000;
constexpr std::uint32_t datagram = 200;

abi::address_key name_of(const std::string& text) {
    abi::address_key a{};
    a.name_bytes = static_cast<std::uint16_t>(text.size());
    std::copy(text.begin(), text.end(), a.name);
    return a;
}

/// Two processes of function 1, one of function 2.
class dropped_context : public testing::Test {
protected:
    dropped_context() {
        device_options o;
        o.functions = 2;
        o.yield = true;
        nic = device::create(o).value();
        EXPECT_TRUE(nic->start());
        going = std::make_unique<raw_client>(*nic, 1, 0);
        sibling = std::make_unique<raw_client>(*nic, 1, 1);
        other = std::make_unique<raw_client>(*nic, 2, 0);
    }
    /// 100 connections to the other function, names, regions, a datagram VI of many names.
    void fill() {
        for (std::uint32_t i = 0; i < vis; ++i) {
            EXPECT_EQ(going->create(i), errc::ok);
            EXPECT_EQ(other->create(i), errc::ok);
            EXPECT_EQ(raw_client::connect(*going, i, *other, i), errc::ok);
        }
        abi::vi_description d = raw_client::description(datagram);
        d.flags |= abi::is_datagram;
        d.reliability = 0;
        EXPECT_EQ(going->create(datagram, d), errc::ok);
        for (std::uint32_t i = 0; i < names; ++i) {
            EXPECT_EQ(listen(*going, i), errc::ok);
            EXPECT_EQ(going->call(abi::verb::bind, {datagram}, name_of("d" + std::to_string(i))).code, errc::ok);
        }
        for (std::uint32_t i = 1; i <= regions; ++i) {
            EXPECT_EQ(going
                          ->call(abi::verb::register_region,
                                 {i << 8 | 1, 1, 15, raw_client::data_offset, 4096, raw_client::data_offset})
                          .code,
                      errc::ok);
        }
    }
    static errc listen(raw_client& c, std::uint32_t i) {
        return c.call(abi::verb::listen, {i}, name_of("l" + std::to_string(i))).code;
    }
    errc ask(std::uint32_t vi, std::uint32_t entry, const std::string& whom) {
        abi::connect_mail mail{};
        mail.at = name_of(whom);
        return other->call(abi::verb::connect, {vi, 0, entry}, mail).code;
    }
    [[nodiscard]] abi::request_stage answer(std::uint32_t entry) const {
        return static_cast<abi::request_stage>(
            other->at<abi::request_entry>(abi::requests_offset)[entry].state.load_acquire());
    }
    std::unique_ptr<device> nic;
    std::unique_ptr<raw_client> going;
    std::unique_ptr<raw_client> sibling;
    std::unique_ptr<raw_client> other;
};

TEST_F(dropped_context, everything_that_it_had_is_ended_and_what_its_sibling_has_stays) {
    fill();
    EXPECT_EQ(listen(*sibling, 1000), errc::ok);
    EXPECT_EQ(sibling
                  ->call(abi::verb::register_region,
                         {9000u << 8 | 1, 1, 15, raw_client::data_offset, 4096, raw_client::data_offset})
                  .code,
              errc::ok);
    for (std::uint32_t i = 0; i < 3; ++i) {
        EXPECT_EQ(other->create(300 + i), errc::ok);
        EXPECT_EQ(ask(300 + i, i, i == 2 ? "l1000" : "l7"), errc::ok);
    }
    EXPECT_NE(going->call(abi::verb::take_request, {7}).r[0], 0u);
    EXPECT_EQ(listen(*sibling, 3), errc::name_in_use);
    going.reset();
    EXPECT_EQ(nic->status(1)->vis, 0u);
    EXPECT_EQ(nic->status(1)->regions, 1u);
    EXPECT_EQ(nic->status(1)->contexts, 1u);
    for (std::uint32_t i = 0; i < vis; ++i) {
        EXPECT_TRUE(other->await_link(i, abi::link::error)) << i;
    }
    EXPECT_EQ(answer(0), abi::request_stage::failed) << "it was taken, and will not be answered";
    EXPECT_EQ(answer(1), abi::request_stage::failed);
    EXPECT_EQ(other->link_of(300), abi::link::idle);
    EXPECT_NE(sibling->call(abi::verb::take_request, {1000}).r[0], 0u) << "the one for the sibling is still there";
    for (std::uint32_t i = 0; i < names; ++i) {
        EXPECT_EQ(listen(*sibling, i), errc::ok) << "the name is free again";
        EXPECT_EQ(sibling->call(abi::verb::resolve, {}, name_of("d" + std::to_string(i))).code, errc::no_listener);
    }
    // The place is free again, and empty.
    going = std::make_unique<raw_client>(*nic, 1, 0);
    EXPECT_EQ(going->create(0), errc::ok);
    EXPECT_EQ(going->register_all(region_key), errc::ok);
}

/// It may poll while its function is taken from it, and must not take that for a disconnect of its own.
TEST_F(dropped_context, a_living_owner_never_reads_a_reason_that_is_not_the_devices_end) {
    fill();
    std::uint32_t misled = 0;
    std::thread polls([&] {
        for (std::uint32_t gone = 0; gone != vis;) {
            gone = 0;
            for (std::uint32_t i = 0; i < vis; ++i) {
                const std::uint64_t state = going->entry(i).state.load_acquire();
                gone += abi::link_of(state) == abi::link::none ? 1u : 0u;
                if (abi::link_of(state) == abi::link::error && abi::reason_of(state) != abi::break_reason::peer_died) {
                    ++misled;
                }
            }
        }
    });
    EXPECT_TRUE(nic->reset(1));
    nic->settle();
    polls.join();
    EXPECT_EQ(misled, 0u);
}

TEST_F(dropped_context, others_ask_and_are_answered_while_it_goes) {
    fill();
    std::atomic<bool> over{false};
    std::uint64_t answered = 0;
    std::thread asks([&] {
        while (!over.load()) {
            EXPECT_EQ(sibling->call(abi::verb::resolve, {}, name_of("nobody")).code, errc::no_listener);
            ++answered;
        }
    });
    going.reset();
    over.store(true);
    asks.join();
    RecordProperty("answered", std::to_string(answered));
    EXPECT_EQ(nic->status(1)->vis + nic->status(1)->regions, 0u);
    EXPECT_EQ(nic->status(1)->contexts, 1u);
}

TEST_F(dropped_context, requests_are_taken_in_order_and_end_with_their_name) {
    EXPECT_EQ(listen(*going, 1), errc::ok);
    EXPECT_EQ(listen(*going, 11), errc::ok);
    for (std::uint32_t i = 0; i < 4; ++i) {
        EXPECT_EQ(other->create(i), errc::ok);
        EXPECT_EQ(ask(i, i, i == 3 ? "l11" : "l1"), errc::ok);
    }
    std::uint64_t last = 0;
    for (int i = 0; i < 2; ++i) {
        const auto taken = going->call(abi::verb::take_request, {1});
        EXPECT_EQ(taken.code, errc::ok);
        EXPECT_GT(taken.r[0], last);
        last = taken.r[0];
    }
    EXPECT_EQ(other->call(abi::verb::give_up, {2}).code, errc::ok);
    EXPECT_EQ(going->call(abi::verb::take_request, {1}).code, errc::not_done);
    EXPECT_EQ(going->call(abi::verb::unlisten, {1}).code, errc::ok);
    EXPECT_EQ(answer(0), abi::request_stage::closed);
    EXPECT_EQ(answer(1), abi::request_stage::closed);
    EXPECT_NE(answer(3), abi::request_stage::closed);
    EXPECT_EQ(going->call(abi::verb::unlisten, {1}).code, errc::invalid_handle);
    EXPECT_EQ(going->call(abi::verb::take_request, {11}).code, errc::ok);
}

}  // namespace
}  // namespace vinic::controller
