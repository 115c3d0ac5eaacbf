// SPDX-License-Identifier: Apache-2.0
//
// face_test.cc -- what interfaces of another shape are built on: waiting in two halves, the open domain, moving
// VIs and regions between domains, what peers did, and descriptors of many segments.
#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::access;
using vinic::errc;
using vinic::status;

// -- waiting in two halves ---------------------------------------------------------------------

TEST(two_half_wait, gives_no_ticket_while_something_is_ready) {
    pair linked;
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), 1), errc::ok);
    ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 8), 2), errc::ok);
    ASSERT_TRUE(comes_true([&] { return !must(linked.right.receives.prepare_wait()).has_value(); }));
    EXPECT_EQ(next(linked.right.receives).cookie, 1u);
    EXPECT_TRUE(comes_true([&] {  // "something is ready" may be said once too often, never once too seldom
        vinic::completion none;
        EXPECT_EQ(linked.right.receives.poll({&none, 1}), 0u);
        return must(linked.right.receives.prepare_wait()).has_value();
    }));
}

TEST(two_half_wait, ends_when_a_completion_comes) {
    pair linked;
    for (int round = 0; round < 50; ++round) {
        ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), 1), errc::ok);
        auto arrived = in_thread([&] {
            vinic::completion one;
            while (linked.right.receives.poll({&one, 1}) == 0) {
                if (const auto ticket = must(linked.right.receives.prepare_wait())) {
                    linked.right.receives.commit_wait(*ticket, patience);
                }
            }
            return one.status;
        });
        ASSERT_EQ(linked.left.vi.post_send(linked.left.at(0, 8), 2), errc::ok);
        ASSERT_EQ(arrived.get(), status::success);
        (void)next(linked.left.sends);
    }
}

TEST(two_half_wait, ends_by_wake_and_a_ticket_from_before_does_not_sleep) {
    pair linked;
    const auto ticket = must(linked.right.receives.prepare_wait());
    ASSERT_TRUE(ticket.has_value());
    linked.right.receives.wake();
    linked.right.receives.commit_wait(*ticket, vinic::forever);
    std::atomic<bool> end = false;
    auto waits = in_thread([&] {
        while (!end) {
            if (const auto next_ticket = must(linked.right.receives.prepare_wait())) {
                linked.right.receives.commit_wait(*next_ticket, vinic::forever);
            }
        }
    });
    end = true;
    linked.right.receives.wake();
    waits.get();
}

TEST(two_half_wait, is_refused_by_an_empty_handle) {
    vinic::completion_queue none;
    EXPECT_EQ(code_of(none.prepare_wait()), errc::invalid_handle);
    none.commit_wait({}, patience);
    none.wake();
}

// -- domains -----------------------------------------------------------------------------------

status sent(endpoint& side, const vinic::segment& what) {
    EXPECT_EQ(side.vi.post_send(what, 1), errc::ok);
    return next(side.sends).status;
}

TEST(open_domain, vi_uses_memory_of_every_domain_of_its_nic) {
    pair linked;
    must(linked.left.vi.disconnect());
    must(linked.right.vi.disconnect());
    const auto open = must(linked.left.nic.create_open_domain());
    must(linked.left.vi.set_domain(open));
    must(linked.right.vi.set_domain(must(linked.right.nic.create_open_domain())));
    connect(linked.right.nic, linked.left.vi, linked.right.vi);
    for (const std::size_t bytes : {std::size_t{8}, std::size_t{5000}}) {
        fill(linked.left.bytes(0, bytes), 3);
        ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, bytes), 1), errc::ok);
        EXPECT_EQ(sent(linked.left, linked.left.at(0, bytes)), status::success);
        EXPECT_EQ(next(linked.right.receives).status, status::success);
        EXPECT_TRUE(matches(linked.right.bytes(0, bytes), 3));
    }
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 64), linked.right.remote(100), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
}

TEST(open_domain, vi_is_refused_memory_of_another_nic) {
    pair linked({}, handles::two);
    must(linked.left.vi.disconnect());
    must(linked.right.vi.disconnect());
    must(linked.left.vi.set_domain(must(linked.left.nic.create_open_domain())));
    connect(linked.right.nic, linked.left.vi, linked.right.vi);
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), 1), errc::ok);
    EXPECT_EQ(sent(linked.left, linked.right.at(0, 8)), status::local_protection);
}

TEST(open_domain, memory_serves_vis_of_every_domain_of_its_nic) {
    pair linked({}, handles::two);
    auto open = must(linked.left.nic.create_open_domain());
    const auto from = must(open.register_memory(linked.left.bytes(), access::all));
    auto open_there = must(linked.right.nic.create_open_domain());
    const auto to = must(open_there.register_memory(linked.right.bytes(), access::all));
    for (const std::uint32_t bytes : {8u, 5000u}) {
        fill(linked.left.bytes(0, bytes), bytes);
        ASSERT_EQ(linked.right.vi.post_receive(vinic::segment(to, 0, bytes), 1), errc::ok);
        EXPECT_EQ(sent(linked.left, {from, 0, bytes}), status::success);
        EXPECT_EQ(next(linked.right.receives).status, status::success);
        EXPECT_TRUE(matches(linked.right.bytes(0, bytes), bytes));
    }
    ASSERT_EQ(linked.left.vi.post_write({from, 0, 64}, to.remote(100), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
    ASSERT_EQ(linked.left.vi.post_fetch_add({from, 0, 8}, to.remote(128), 1, 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
}

TEST(open_domain, memory_serves_no_vi_of_another_nic) {
    pair linked({}, handles::two);
    auto open_there = must(linked.right.nic.create_open_domain());
    const auto region = must(open_there.register_memory(linked.right.bytes(), access::all));
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), 1), errc::ok);
    EXPECT_EQ(sent(linked.left, {region, 0, 8}), status::local_protection);
}

TEST(open_domain, memory_has_the_rights_it_was_given) {
    pair linked({}, handles::two);
    auto open_there = must(linked.right.nic.create_open_domain());
    const auto region = must(open_there.register_memory(linked.right.bytes(), access::local_write));
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 64), region.remote(), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::remote_protection);
}

TEST(open_domain, deregistration_is_seen_by_every_vi) {
    pair linked;
    auto open = must(linked.left.nic.create_open_domain());
    auto region = must(open.register_memory(linked.left.bytes(), access::all));
    const vinic::segment what(region, 0, 8);
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), 1), errc::ok);
    EXPECT_EQ(sent(linked.left, what), status::success);
    must(region.close());
    EXPECT_EQ(sent(linked.left, what), status::local_protection);
}

TEST(open_domain, deregistration_is_seen_by_its_vis) {
    pair linked;
    must(linked.left.vi.disconnect());
    must(linked.right.vi.disconnect());
    must(linked.left.vi.set_domain(must(linked.left.nic.create_open_domain())));
    connect(linked.right.nic, linked.left.vi, linked.right.vi);
    auto region = must(linked.left.domain.register_memory(linked.left.bytes(), access::all));
    const vinic::segment what(region, 0, 8);
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), 1), errc::ok);
    EXPECT_EQ(sent(linked.left, what), status::success);
    must(region.close());
    EXPECT_EQ(sent(linked.left, what), status::local_protection);
}

TEST(set_domain, is_for_idle_vis_and_domains_of_the_same_nic) {
    pair linked;
    EXPECT_EQ(code_of(linked.left.vi.set_domain(linked.left.domain)), errc::invalid_state);
    must(linked.left.vi.disconnect());
    auto other_nic = open_device();
    EXPECT_EQ(code_of(linked.left.vi.set_domain(must(other_nic.create_domain()))), errc::invalid_argument);
    EXPECT_EQ(code_of(linked.left.vi.set_domain(vinic::domain{})), errc::invalid_argument);
    EXPECT_EQ(code_of(vinic::virtual_interface{}.set_domain(linked.left.domain)), errc::invalid_handle);
}

TEST(set_domain, decides_which_memory_the_vi_may_use) {
    pair linked;
    auto other = must(linked.left.nic.create_domain());
    must(linked.left.vi.disconnect());
    must(linked.right.vi.disconnect());
    must(linked.left.vi.set_domain(other));
    EXPECT_EQ(code_of(other.close()), errc::busy);
    connect(linked.right.nic, linked.left.vi, linked.right.vi);
    const auto region = must(other.register_memory(linked.left.bytes(), access::all));
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), 1), errc::ok);
    EXPECT_EQ(sent(linked.left, {region, 0, 8}), status::success);
    EXPECT_EQ(sent(linked.left, linked.left.at(0, 8)), status::local_protection);
}

TEST(region_attributes, change_rights_and_domain_of_a_live_region) {
    pair linked;
    auto region = must(linked.right.domain.register_memory(linked.right.bytes(), access::local_write));
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 0), region.remote(), 1), errc::ok);
    (void)next(linked.left.sends);
    must(region.set_attributes(linked.right.domain, access::local_write | access::remote_write));
    EXPECT_EQ(region.rights(), access::local_write | access::remote_write);
    fill(linked.left.bytes(0, 64), 9);
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 64), region.remote(), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
    EXPECT_TRUE(matches(linked.right.bytes(0, 64), 9));
    const auto other = must(linked.right.nic.create_domain());
    must(region.set_attributes(other, region.rights()));
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 64), region.remote(), 1), errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, status::remote_protection);
}

TEST(region_attributes, refuse_what_cannot_be) {
    pair linked;
    auto for_reading = must(linked.left.domain.register_memory(linked.left.bytes(), access::remote_read));
    EXPECT_EQ(code_of(for_reading.set_attributes(linked.left.domain, access::remote_write)), errc::not_supported);
    EXPECT_EQ(code_of(for_reading.set_attributes(linked.left.domain, static_cast<access>(16))), errc::invalid_argument);
    auto other_nic = open_device();
    EXPECT_EQ(code_of(for_reading.set_attributes(must(other_nic.create_domain()), access::none)),
              errc::invalid_argument);
    EXPECT_EQ(code_of(vinic::region{}.set_attributes(linked.left.domain, access::none)), errc::invalid_handle);
}

// -- what peers did -----------------------------------------------------------------------------

TEST(statistics, count_what_no_completion_tells) {
    auto options = with(vinic::reliability::unreliable);
    options.rights = access::local_write;
    pair linked(options);
    EXPECT_EQ(sent(linked.left, linked.left.at(0, 8)), status::success);  // into nothing
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 4), 1), errc::ok);
    EXPECT_EQ(sent(linked.left, linked.left.at(0, 8)), status::success);
    ASSERT_EQ(linked.left.vi.post_write(linked.left.at(0, 8), linked.right.remote(), 1), errc::ok);
    (void)next(linked.left.sends);
    EXPECT_TRUE(comes_true([&] {
        const auto s = linked.right.vi.statistics();
        return s.no_descriptor == 1 && s.too_long == 1 && s.writes_refused == 1;
    }));
    EXPECT_EQ(linked.right.vi.statistics().cause, vinic::break_cause::none);
}

TEST(statistics, say_why_a_vi_is_in_error) {
    pair linked;
    must(linked.left.vi.disconnect());
    ASSERT_TRUE(comes_to(linked.right.vi, vinic::vi_state::error));
    EXPECT_EQ(linked.right.vi.statistics().cause, vinic::break_cause::remote_disconnect);
    EXPECT_EQ(linked.left.vi.statistics().cause, vinic::break_cause::none);
    EXPECT_STREQ(vinic::name(vinic::break_cause::remote_disconnect), "remote_disconnect");

    endpoint_options closed;
    closed.attributes.rdma_read = false;
    pair refused({}, closed, handles::one);
    ASSERT_EQ(refused.left.vi.post_read(refused.left.at(0, 8), refused.right.remote(), 1), errc::ok);
    EXPECT_EQ(next(refused.left.sends).status, status::remote_protection);
    EXPECT_TRUE(comes_true([&] { return refused.left.vi.statistics().cause == vinic::break_cause::local_error; }));
    EXPECT_TRUE(comes_true([&] { return refused.right.vi.statistics().cause == vinic::break_cause::remote_error; }));
    EXPECT_TRUE(comes_true([&] { return refused.right.vi.statistics().reads_refused == 1; }));
    EXPECT_EQ(vinic::virtual_interface{}.statistics().no_descriptor, 0u);
}

// -- many segments ------------------------------------------------------------------------------

class many_segments : public with_handles {};
CONFORMANCE_BOTH_WAYS(many_segments);

/// `count` pieces of 16 bytes, a gap between each two.
std::vector<vinic::segment> pieces(const endpoint& side, std::size_t count) {
    std::vector<vinic::segment> all;
    for (std::size_t i = 0; i < count; ++i) {
        all.push_back(side.at(i * 32, 16));
    }
    return all;
}

TEST_P(many_segments, arrive_in_queues_that_are_deep_and_wide) {
    endpoint_options wide;
    wide.attributes.segments_max = 252;
    wide.attributes.send_depth = wide.attributes.receive_depth = 1024;
    pair linked(wide, GetParam());
    fill(linked.left.bytes(), 5);
    for (const std::size_t count : {std::size_t{4}, std::size_t{252}, std::size_t{3}}) {
        ASSERT_EQ(linked.right.vi.post_receive(pieces(linked.right, count), 1), errc::ok);
        ASSERT_EQ(linked.left.vi.post_send(pieces(linked.left, count), 2), errc::ok);
        EXPECT_EQ(next(linked.left.sends).status, status::success);
        const auto got = next(linked.right.receives);
        EXPECT_EQ(got.status, status::success);
        EXPECT_EQ(got.length, count * 16);
        for (std::size_t i = 0; i < count; ++i) {
            const auto from = linked.left.bytes(i * 32, 16);
            const auto to = linked.right.bytes(i * 32, 16);
            EXPECT_TRUE(std::equal(from.begin(), from.end(), to.begin()));
        }
    }
}

TEST_P(many_segments, wait_for_the_receiver_like_few) {
    endpoint_options wide;
    wide.attributes.segments_max = 252;
    pair linked(wide, GetParam());
    fill(linked.left.bytes(), 6);
    ASSERT_EQ(linked.left.vi.post_send(pieces(linked.left, 200), 2), errc::ok);  // handed over
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 3200), 1), errc::ok);
    EXPECT_EQ(next(linked.right.receives).length, 3200u);
    EXPECT_EQ(next(linked.left.sends).status, status::success);
    for (std::size_t i = 0; i < 200; ++i) {
        const auto from = linked.left.bytes(i * 32, 16);
        EXPECT_TRUE(std::equal(from.begin(), from.end(), linked.right.bytes(i * 16, 16).begin()));
    }
}

}  // namespace
}  // namespace conformance
