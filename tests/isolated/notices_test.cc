// SPDX-License-Identifier: Apache-2.0
//
// notices_test.cc -- what programs hear of the device about their function, and that either side outlives the other.
#include <cstring>

#include "torture_support.hpp"

namespace torture {
namespace {

using multi::code_of;
using multi::must;
using vinic::device_event_kind;
using vinic::errc;

[[nodiscard]] bool set(const daemon& d, const std::string& function, int weight, int cap_in_mb = 0) {
    return !d.ask(R"({"command": "set", "function": ")" + function + R"(", "weight": )" + std::to_string(weight) +
                  R"(, "cap": )" + std::to_string(cap_in_mb * 1'000'000LL) + "}")
                .contains("\"error\"");
}

TEST(notices, tell_a_new_rate_while_messages_run) {
    daemon d;
    multi::endpoint left(must(vinic::nic::open(d.address("vf0"))));
    multi::endpoint right(must(vinic::nic::open(d.address("vf1"))));
    auto listener = must(right.nic.listen("right"));
    std::jthread accepts([&] { right.accept_from(listener); });
    left.connect_to("right");
    accepts.join();
    EXPECT_EQ(must(left.nic.current_service_level()).weight, 1u);
    EXPECT_EQ(code_of(left.nic.next_event(0ns)), errc::timed_out);
    std::jthread administrator([&] {
        for (int i = 1; i <= 8; ++i) {
            EXPECT_TRUE(set(d, "vf0", 10 * i, 500 + i));
        }
    });
    for (std::uint64_t i = 1; i <= 8; ++i) {
        const auto event = must(left.nic.next_event(multi::patience));
        EXPECT_EQ(event.kind, device_event_kind::service_changed);
        EXPECT_EQ(event.service.weight, 10 * i);
        EXPECT_EQ(event.service.cap_bytes_per_second, (500 + i) * 1'000'000);
        EXPECT_EQ(event.service.guarantee_bytes_per_second, 0u);
        EXPECT_EQ(event.lost, 0u);
        must(right.vi.post_receive(right.at(0, 64), i));
        must(left.vi.post_send(left.at(0, 64), i));
        EXPECT_EQ(left.next().status, vinic::status::success);
        EXPECT_EQ(right.next().status, vinic::status::success);
    }
    administrator.join();
    EXPECT_EQ(must(left.nic.current_service_level()).weight, 80u);
    EXPECT_EQ(must(right.nic.current_service_level()).weight, 1u) << "another function";
    EXPECT_EQ(code_of(right.nic.next_event(0ns)), errc::timed_out);
}

TEST(notices, that_came_and_went_are_counted) {
    daemon d;
    auto nic = must(vinic::nic::open(d.address("vf0")));
    for (int i = 1; i <= 40; ++i) {
        ASSERT_TRUE(set(d, "vf0", 100 + i));
    }
    auto late = must(vinic::nic::open(d.address("vf0")));
    for (std::uint32_t i = 25; i <= 40; ++i) {
        const auto event = must(nic.next_event(0ns));
        EXPECT_EQ(event.service.weight, 100 + i);
        EXPECT_EQ(event.lost, i == 25 ? 24u : 0u);
    }
    EXPECT_EQ(code_of(nic.next_event(0ns)), errc::timed_out);
    EXPECT_EQ(code_of(late.next_event(0ns)), errc::timed_out) << "that was before its time";
    EXPECT_EQ(must(late.current_service_level()).weight, 140u);
}

TEST(notices, tell_of_reset_and_removal_and_then_that_all_is_over) {
    daemon d;
    for (const auto& [command, kind] : {std::pair{"reset", device_event_kind::reset_imminent},
                                        std::pair{"remove", device_event_kind::removal_imminent}}) {
        auto nic = must(vinic::nic::open(d.address("vf0")));
        std::jthread administrator([&, what = std::string(command)] {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            EXPECT_FALSE(d.ask(R"({"command": ")" + what + R"(", "function": "vf0"})").contains("\"error\""));
        });
        EXPECT_EQ(must(nic.next_event(multi::patience)).kind, kind) << command;
        EXPECT_EQ(code_of(nic.next_event(multi::patience)), errc::peer_gone);
        EXPECT_EQ(code_of(nic.current_service_level()), errc::peer_gone);
    }
}

TEST(notices, tell_that_the_device_stops) {
    daemon d;
    auto nic = must(vinic::nic::open(d.address("vf0")));
    EXPECT_EQ(d.end(), 0);
    EXPECT_EQ(must(nic.next_event(multi::patience)).kind, device_event_kind::device_stopping);
    EXPECT_EQ(code_of(nic.next_event(multi::patience)), errc::peer_gone);
}

TEST(notices, are_not_waited_for_when_the_device_dies) {
    daemon d;
    auto nic = must(vinic::nic::open(d.address("vf0")));
    ASSERT_TRUE(set(d, "vf0", 9));
    std::jthread killer([&] {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
        d.kill();
    });
    EXPECT_EQ(must(nic.next_event(multi::patience)).service.weight, 9u);
    EXPECT_EQ(code_of(nic.next_event(vinic::forever)), errc::peer_gone);
}

/// A reader that is killed in its sleep, or stands still, keeps nobody waiting.
TEST(notices, need_nobody_who_reads_them) {
    daemon d;
    multi::process sleeper([&](multi::channel& parent) {
        auto nic = must(vinic::nic::open(d.address("vf0")));
        parent.say("sleeps");
        (void)nic.next_event(vinic::forever);
        parent.hear("never");
    });
    sleeper.hear("sleeps");
    sleeper.stop();
    auto nic = must(vinic::nic::open(d.address("vf0")));
    for (int i = 1; i <= 20; ++i) {
        ASSERT_TRUE(set(d, "vf0", 1 + i));
        EXPECT_EQ(must(nic.next_event(multi::patience)).service.weight, 1u + static_cast<unsigned>(i));
    }
    sleeper.kill_now();
    ASSERT_TRUE(set(d, "vf0", 99));
    EXPECT_EQ(must(nic.next_event(multi::patience)).service.weight, 99u);
}

TEST(notices, that_somebody_scribbled_over_hurt_that_function_only) {
    daemon d;
    auto nic = must(vinic::nic::open(d.address("vf0")));
    auto spared = must(vinic::nic::open(d.address("vf1")));
    const wire_client hostile(d, 1, 60);
    auto& board = hostile.at<vinic::abi::identity_page>(vinic::abi::identity_offset)->notices;
    for (int i = 0; i < 50; ++i) {
        std::memset(static_cast<void*>(&board), i * 73 % 256, sizeof board);
        (void)nic.next_event(std::chrono::milliseconds(1));  // anything, but it returns
        (void)nic.current_service_level();
        ASSERT_TRUE(set(d, "vf1", 2 + i));
        const auto event = must(spared.next_event(multi::patience));
        EXPECT_EQ(event.service.weight, 2u + static_cast<unsigned>(i));
        EXPECT_EQ(event.lost, 0u);
    }
    ASSERT_TRUE(set(d, "vf0", 77));
    EXPECT_EQ(must(nic.current_service_level()).weight, 77u) << "the device has written it anew";
}

TEST(notices, are_the_isolated_placements_only) {
    const multi::directory d;
    vinic::open_options here;
    here.directory = d.path();
    auto nic = must(vinic::nic::open("shm:notices", here));
    EXPECT_EQ(code_of(nic.next_event(0ns)), errc::not_supported);
    EXPECT_EQ(code_of(nic.current_service_level()), errc::not_supported);
    EXPECT_EQ(code_of(vinic::nic().next_event(0ns)), errc::invalid_handle);
}

}  // namespace
}  // namespace torture
