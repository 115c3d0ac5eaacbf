// SPDX-License-Identifier: Apache-2.0
//
// victim.hpp -- a thread that is cancelled, and the two ways to do so: before a call, which shows every cancellation
// point in it without any luck, for the first one would end the thread there; and while it sits in a wait.
#pragma once

#include <gtest/gtest.h>
#include <pthread.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <system_error>
#include <thread>
#include <utility>

namespace tests {

/// A thread that may be cancelled; waited for when this goes.
class victim {
public:
    explicit victim(std::function<void()> body) : body_(std::move(body)) {
        if (const int e = ::pthread_create(&thread_, nullptr, run, this); e != 0) {
            throw std::system_error(e, std::generic_category(), "making a thread");
        }
    }
    victim(const victim&) = delete;
    victim& operator=(const victim&) = delete;
    ~victim() { (void)was_cancelled(); }
    void cancel() noexcept { (void)::pthread_cancel(thread_); }
    /// Waits for its end.  False: it returned by itself.
    [[nodiscard]] bool was_cancelled() {
        if (!joined_) {
            (void)::pthread_join(thread_, &how_);
            joined_ = true;
        }
        return how_ == PTHREAD_CANCELED;
    }

private:
    static void* run(void* self) {
        static_cast<victim*>(self)->body_();
        return nullptr;
    }
    std::function<void()> body_;
    pthread_t thread_{};
    void* how_ = nullptr;
    bool joined_ = false;
};

/// Whether `call` comes back although the thread was cancelled before.
[[nodiscard]] inline bool comes_back(const std::function<void()>& call) {
    std::atomic<bool> back = false;
    victim v([&] {
        (void)::pthread_cancel(::pthread_self());
        call();
        back = true;
        ::pthread_testcancel();
    });
    EXPECT_TRUE(v.was_cancelled()) << "what was pending acts afterwards";
    return back;
}

/// Sits in `wait` until it is cancelled.
inline void end_inside(const std::function<void()>& wait) {
    victim v(wait);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    v.cancel();
    EXPECT_TRUE(v.was_cancelled());
}

}  // namespace tests
