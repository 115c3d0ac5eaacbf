// SPDX-License-Identifier: Apache-2.0
//
// doorbell_thread_test.cc -- rings from threads against a device that polls, cools and sleeps: none is lost.
//
//   The event descriptor is a condition variable with a count; waiting for it has no time-out but the one that
//   fails the test, so a ring that is slept over hangs.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>
#include <random>
#include <thread>

#include "controller/doorbell_area.hpp"

namespace vinic::controller {
namespace {

using namespace std::chrono_literals;

/// What an eventfd does.
class event_count {
public:
    void write() {
        const std::lock_guard lock(mutex_);
        ++count_;
        written_.notify_one();
    }
    /// false: nothing came for so long that something was lost.
    bool wait() {
        std::unique_lock lock(mutex_);
        return written_.wait_for(lock, 30s, [&] { return std::exchange(count_, 0) != 0; });
    }
    bool take() {
        const std::lock_guard lock(mutex_);
        return std::exchange(count_, 0) != 0;
    }

private:
    std::mutex mutex_;
    std::condition_variable written_;
    std::uint64_t count_ = 0;
};

struct load {
    std::uint32_t areas = 1;
    std::uint32_t threads = 2;  ///< of each context
    std::uint32_t vis = 4;      ///< of each thread; VIs of threads lie in the same words
    std::uint32_t posts = 200'000;
    std::uint32_t idle_passes = 4;
    bool sleeps = true;
};

/// Posts are counters that only grow; a VI is done when the device has seen the last value.
class stress {
public:
    explicit stress(const load& l) : load_(l), bells_(l.idle_passes) {
        for (std::uint32_t c = 0; c < l.areas; ++c) {
            areas_.emplace_back(1, c);
            bells_.add_context(1, c, areas_[c].data(), l.threads * l.vis);
        }
        posted_.resize(std::size_t{l.areas} * l.threads * l.vis);
        seen_.resize(posted_.size());
    }

    /// false: rings were lost.
    bool run() {
        std::vector<std::jthread> ringers;
        for (std::uint32_t c = 0; c < load_.areas; ++c) {
            for (std::uint32_t t = 0; t < load_.threads; ++t) {
                ringers.emplace_back([this, c, t] { ring_all(c, t); });
            }
        }
        return serve();
    }
    [[nodiscard]] std::uint64_t sleeps() const { return sleeps_; }

private:
    void ring_all(std::uint32_t context, std::uint32_t thread) {
        std::minstd_rand random(context * 64 + thread + 1);
        for (std::uint32_t i = 1; i <= load_.posts; ++i) {
            for (std::uint32_t v = 0; v < load_.vis; ++v) {
                const std::uint32_t vi = v * load_.threads + thread;
                posted_[index(context, vi)].store_release(i);
                if (areas_[context].ring(vi) == abi::rang::kick) {
                    kicks_.write();
                }
            }
            if (load_.sleeps && random() % 16 == 0) {
                std::this_thread::yield();  // lets the device become idle
            }
        }
    }

    bool serve() {
        std::vector<rung> out(16);
        std::size_t open = posted_.size();
        while (open != 0) {
            if (kicks_.take()) {
                bells_.kicked(1);
            }
            const std::size_t found = bells_.poll(out, 3);
            for (std::size_t i = 0; i < found; ++i) {
                const std::size_t at = index(out[i].context, out[i].vi);
                const std::uint32_t value = posted_[at].load_acquire();
                open -= value == load_.posts && seen_[at] != load_.posts ? 1u : 0u;
                seen_[at] = value;
            }
            if (found == 0 && load_.sleeps && bells_.arm_all()) {
                ++sleeps_;
                if (open != 0 && !kicks_.wait()) {
                    return false;
                }
                bells_.kicked(1);
            } else if (found == 0) {
                std::this_thread::yield();
                if (std::chrono::steady_clock::now() - began_ > 60s) {
                    return false;
                }
            }
        }
        return true;
    }
    [[nodiscard]] std::size_t index(std::uint32_t context, std::uint32_t vi) const {
        return std::size_t{context} * load_.threads * load_.vis + vi;
    }

    load load_;
    doorbells bells_;
    event_count kicks_;
    std::vector<doorbell_area> areas_;
    std::vector<abi::word32> posted_;
    std::vector<std::uint32_t> seen_;
    std::uint64_t sleeps_ = 0;
    std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

TEST(doorbell_threads, no_ring_is_lost_while_the_device_polls) {
    EXPECT_TRUE(stress({.areas = 1, .threads = 2, .idle_passes = 1u << 30, .sleeps = false}).run());
}

TEST(doorbell_threads, no_ring_is_lost_when_contexts_become_cold) {
    EXPECT_TRUE(stress({.areas = 3, .threads = 1, .idle_passes = 0, .sleeps = false}).run());
}

TEST(doorbell_threads, no_ring_is_slept_over) {
    stress s({.areas = 2, .threads = 2, .vis = 1, .idle_passes = 1});
    EXPECT_TRUE(s.run());
    EXPECT_GT(s.sleeps(), 0u);
}

TEST(doorbell_threads, an_area_that_is_rewritten_while_it_is_polled_harms_no_other) {
    doorbells bells(64);
    const doorbell_area hostile(1, 0);
    const doorbell_area victim(2, 1);
    bells.add_context(1, 0, hostile.data(), 1000);
    bells.add_context(2, 1, victim.data(), 1000);
    std::atomic<std::uint32_t> rounds = 0;
    const std::jthread attacker([&](const std::stop_token& stop) {
        std::mt19937_64 random(7);
        for (; !stop.stop_requested(); ++rounds) {
            const bool all = random() % 2 == 0;
            hostile.each_word([&](abi::word64& word) { word.store_relaxed(all ? ~0ULL : random()); });
            hostile.armed().store_relaxed(random());
        }
    });
    std::vector<rung> out(128);
    std::uint64_t words = 0;
    for (std::uint32_t pass = 0; pass < 200'000 || rounds < 100; ++pass) {
        const std::uint32_t vi = pass % 1000;
        (void)victim.ring(vi);
        (void)bells.kicked(2);
        const std::size_t found = bells.poll(out, 64);
        bool victim_found = false;
        for (const rung& r : std::span(out).first(found)) {
            ASSERT_LT(r.vi, 1000u);
            victim_found = victim_found || r == rung{2, 1, vi};
            ASSERT_TRUE(r.context == 0 || r == (rung{2, 1, vi}));
        }
        ASSERT_TRUE(victim_found);
        const std::uint64_t now = bells.counters(1, 0).words;
        ASSERT_LE(now - words, 64 + doorbells::words_over_budget);
        words = now;
    }
}

}  // namespace
}  // namespace vinic::controller
