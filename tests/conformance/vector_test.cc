// SPDX-License-Identifier: Apache-2.0
//
// vector_test.cc -- completion vectors: direct placement has one that always wakes at once; a vinicd's function has
// several, which can be masked and moderated.
#include <poll.h>

#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::errc;
using vinic::vector_settings;

class completion_vector : public testing::Test {
protected:
    completion_vector() {
        if (nic.vectors() > 1) {
            isolated = true;
            used = 1;
        }
    }
    ~completion_vector() override {
        for (std::uint32_t v = 0; isolated && v < nic.vectors(); ++v) (void)nic.set_vector(v, {});
    }
    /// A connected pair whose receiver's completion queues belong to vector `used`.
    std::unique_ptr<pair> linked() {
        endpoint_options receiver;
        receiver.queue.vector = used;
        return std::make_unique<pair>(endpoint_options{}, receiver, handles::one);
    }
    static void message(pair& p, std::uint64_t cookie) {
        ASSERT_EQ(p.right.vi.post_receive(p.right.at(0, 8), cookie), errc::ok);
        ASSERT_EQ(p.left.vi.post_send(p.left.at(0, 8), cookie), errc::ok);
        ASSERT_EQ(next(p.left.sends).cookie, cookie);
    }
    /// Polls until there is nothing, as a program does before it sleeps.
    static void arm_empty(vinic::completion_queue& cq) {
        vinic::completion done;
        ASSERT_EQ(cq.poll({&done, 1}), 0u);
        ASSERT_TRUE(must(cq.arm()));
    }
    static bool readable(int fd, std::chrono::milliseconds limit) {
        pollfd p{fd, POLLIN, 0};
        return ::poll(&p, 1, static_cast<int>(limit.count())) == 1;
    }

    vinic::nic nic = open_device();
    bool isolated = false;
    std::uint32_t used = 0;
};

TEST_F(completion_vector, is_numbered_from_0_and_others_are_refused) {
    const std::uint32_t count = nic.vectors();
    ASSERT_GE(count, 1u);
    for (std::uint32_t v = 0; v < count; ++v) {
        EXPECT_TRUE(nic.create_completion_queue({.vector = v}));
        EXPECT_EQ(must(nic.vector(v)), vinic::vector_status{});
    }
    EXPECT_EQ(code_of(nic.create_completion_queue({.vector = count})), errc::invalid_argument);
    EXPECT_EQ(code_of(nic.vector(count)), errc::invalid_argument);
    EXPECT_EQ(vinic::nic().vectors(), 0u);
    EXPECT_EQ(code_of(vinic::nic().vector(0)), errc::invalid_handle);
    EXPECT_EQ(code_of(vinic::nic().set_vector(0, {})), errc::invalid_handle);
}

TEST_F(completion_vector, is_told_what_it_has_or_that_it_has_no_settings) {
    const vector_settings wanted{.masked = true, .count = 7, .period = 30us};
    if (!isolated) {
        EXPECT_EQ(nic.vectors(), 1u);
        EXPECT_EQ(code_of(nic.set_vector(0, wanted)), errc::not_supported);
        EXPECT_EQ(must(nic.vector(0)), vinic::vector_status{});
        return;
    }
    must(nic.set_vector(used, wanted));
    EXPECT_EQ(must(nic.vector(used)), (vinic::vector_status{wanted, 0}));
    EXPECT_EQ(must(open_device().vector(used)).settings, wanted) << "the function's, not the handle's";
    EXPECT_EQ(must(nic.vector(0)).settings, vector_settings{});
    for (const vector_settings& wrong : {vector_settings{.count = 2}, vector_settings{.count = 65536, .period = 1us},
                                         vector_settings{.period = 1s + 1ns}, vector_settings{.period = -1ns}}) {
        EXPECT_EQ(code_of(nic.set_vector(used, wrong)), errc::invalid_argument);
    }
    EXPECT_EQ(code_of(nic.set_vector(nic.vectors(), {})), errc::invalid_argument);
    EXPECT_EQ(must(nic.vector(used)).settings, wanted);
    must(nic.set_vector(used, {}));
    EXPECT_EQ(must(nic.vector(used)), vinic::vector_status{});
}

TEST_F(completion_vector, that_is_masked_keeps_a_descriptor_quiet_until_it_is_unmasked) {
    if (!isolated)
        GTEST_SKIP() << "direct placement has no masks";
    auto p = linked();
    vinic::nic& owner = p->right.nic;
    const int fd = must(p->right.receives.fd());
    must(owner.set_vector(used, {.masked = true}));
    arm_empty(p->right.receives);
    message(*p, 1);
    EXPECT_FALSE(readable(fd, quiet_time));
    EXPECT_EQ(must(owner.vector(used)).pending, 1u);
    EXPECT_EQ(next(p->right.receives).cookie, 1u) << "poll() knows no masks";
    must(owner.set_vector(used, {}));
    EXPECT_TRUE(readable(fd, patience));
    EXPECT_EQ(must(owner.vector(used)).pending, 0u);
    arm_empty(p->right.receives);
    message(*p, 2);
    EXPECT_TRUE(readable(fd, patience)) << "open";
    EXPECT_EQ(next(p->right.receives).cookie, 2u);
}

TEST_F(completion_vector, that_is_masked_delays_a_wait_at_most) {
    if (!isolated)
        GTEST_SKIP() << "direct placement has no masks";
    auto p = linked();
    must(p->right.nic.set_vector(used, {.masked = true}));
    for (std::uint64_t i = 0; i < 3; ++i) {
        auto receiver = in_thread([&] { return next(p->right.receives).cookie; });
        std::this_thread::sleep_for(1ms);
        message(*p, i);
        EXPECT_EQ(receiver.get(), i);
    }
}

TEST_F(completion_vector, that_is_moderated_loses_no_wake_up) {
    if (!isolated)
        GTEST_SKIP() << "direct placement has no moderation";
    auto p = linked();
    const int fd = must(p->right.receives.fd());
    for (const vector_settings s : {vector_settings{.count = 4, .period = 2ms}, vector_settings{.period = 50us},
                                    vector_settings{.count = 1, .period = 1s}}) {
        must(p->right.nic.set_vector(used, s));
        for (std::uint64_t i = 0; i < 50; ++i) {
            arm_empty(p->right.receives);
            message(*p, i);
            ASSERT_TRUE(readable(fd, patience)) << i;
            ASSERT_EQ(next(p->right.receives).cookie, i);
        }
    }
}

TEST_F(completion_vector, that_is_masked_does_not_keep_a_queue_from_being_resized_and_closed) {
    if (!isolated)
        GTEST_SKIP() << "direct placement has no masks";
    {
        auto p = linked();
        vinic::nic& owner = p->right.nic;
        must(owner.set_vector(used, {.masked = true}));
        (void)must(p->right.receives.fd());
        arm_empty(p->right.receives);
        message(*p, 1);
        must(p->right.receives.resize(40000));
        must(p->right.vi.close());
        must(p->right.receives.close());
        must(owner.set_vector(used, {}));
        EXPECT_EQ(must(owner.vector(used)).pending, 0u);
    }
    auto again = linked();
    const int fd = must(again->right.receives.fd());
    arm_empty(again->right.receives);
    message(*again, 2);
    EXPECT_TRUE(readable(fd, patience));
}

}  // namespace
}  // namespace conformance
