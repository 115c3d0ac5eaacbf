// SPDX-License-Identifier: Apache-2.0
//
// error_handler_test.cc -- how long a handler of asynchronous errors may run.
#include <atomic>
#include <thread>

#include "fixture.hpp"

namespace vipl_test {
namespace {

struct slow_handler {
    std::atomic<bool> begun = false;
    std::atomic<bool> over = false;
    static void run(VIP_PVOID self, VIP_ERROR_DESCRIPTOR*) {
        auto& mine = *static_cast<slow_handler*>(self);
        mine.begun = true;
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        mine.over = true;
    }
};

TEST(error_handler, that_is_replaced_runs_no_more) {
    pair p;
    slow_handler before;
    must(VipErrorCallback(p.right_nic, &before, &slow_handler::run));
    must(VipDisconnect(p.left.vi));
    EXPECT_TRUE(comes_true([&] { return before.begun.load(); }));
    error_log after(p.right_nic);
    EXPECT_TRUE(before.over) << "what it uses may go now";
}

TEST(error_handler, may_replace_itself) {
    pair p;
    struct self_replacing {
        std::atomic<bool> over = false;
        static void run(VIP_PVOID self, VIP_ERROR_DESCRIPTOR* e) {
            EXPECT_EQ(VipErrorCallback(e->NicHandle, self, &run), VIP_SUCCESS);
            static_cast<self_replacing*>(self)->over = true;
        }
    } handler;
    must(VipErrorCallback(p.right_nic, &handler, &self_replacing::run));
    must(VipDisconnect(p.left.vi));
    EXPECT_TRUE(comes_true([&] { return handler.over.load(); }));
    error_log after(p.right_nic);
}

}  // namespace
}  // namespace vipl_test
