// SPDX-License-Identifier: Apache-2.0
//
// engines.hpp -- the threads that move data, and the board on which it is decided who moves what.
//
//   Each engine:   board { look at doorbells, ask the scheduler } -> lease: no lock -> board { end_lease }
//
//   The board is one mutex.  It guards the scheduler, the doorbells and the state of every VI but for what a
//   lease gives to its engine (function.hpp).
#pragma once

#include <array>
#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include "controller/doorbells.hpp"
#include "controller/engine_time.hpp"
#include "controller/kicks.hpp"
#include "controller/lease.hpp"
#include "controller/scheduler.hpp"

namespace vinic::controller {

/// A mutex whose rare users come first: engines that go round and round would keep them out for ever.
class board_lock {
public:
    void lock() {
        if (!mutex_.try_lock()) {
            wanted_.fetch_add(1, std::memory_order_relaxed);
            mutex_.lock();
            wanted_.fetch_sub(1, std::memory_order_relaxed);
        }
    }
    void unlock() { mutex_.unlock(); }
    /// Returns whether it had to wait for another one.
    bool lock_as_engine() {
        while (wanted_.load(std::memory_order_relaxed) != 0) {
            std::this_thread::yield();
        }
        const bool free = mutex_.try_lock();
        if (!free) {
            mutex_.lock();
        }
        return !free;
    }

private:
    std::mutex mutex_;
    std::atomic<std::uint32_t> wanted_{0};
};

class engines {
public:
    engines(const device_options& options, std::vector<std::unique_ptr<function>>& functions,
            const kicks& doorbell_kicks, delivery_times& deliveries);
    ~engines();
    engines(const engines&) = delete;
    engines& operator=(const engines&) = delete;

    void start();
    void stop() noexcept;
    /// Whether nothing is posted, leased or waiting for an engine.
    [[nodiscard]] bool idle();

    board_lock board;
    // Everything below: under the board, but quiesce().
    controller::scheduler scheduler;
    controller::doorbells doorbells;

    /// v and its peer leave connected; the message at v's head ends with `how`, if there is one.  Windows are told
    /// as soon as no engine is inside either of them.
    void break_link(vi& v, abi::break_reason mine, abi::break_reason peers, const enum status* how = nullptr) noexcept;
    /// Forgets what is known about v's work; it is about to be disconnected or destroyed.
    void withdraw(vi& v) noexcept;
    /// Tells the windows of v and its peer that the connection broke, if they do not know yet.
    void publish_break(vi& v) noexcept;
    /// Whether the engines work for a function; what was posted meanwhile waits.  True: they do again, and have to be
    /// told by resume().  Takes the board.
    [[nodiscard]] bool allow(function& f, bool yes);
    /// Looks at some of a function's VIs for what was posted meanwhile, from `next` on.  False: that was all.  Under
    /// control->mutex; takes the board.
    [[nodiscard]] bool resume(function& f, std::uint32_t& next);
    /// v may have posted something and not rung.
    void call_for(vi& v);
    /// Returns when the leases of this moment have ended.  Not under the board.
    void quiesce() noexcept;

    /// Something may have been left in a vector while no engine was awake.  Under the board.
    void call_for_deliveries() noexcept;

private:
    static constexpr std::uint64_t collect_ns_max = 10'000;
    static constexpr std::size_t looks_between_clocks = 4;

    void run(std::uint32_t number, lease_runner& ex) noexcept;
    [[nodiscard]] bool work_once(std::uint32_t number, lease_runner& ex, engine_time& time);
    void collect(std::uint64_t now_ns);
    void look_at_watched(std::uint64_t now_ns);
    void heed(const rung& r, std::uint64_t now_ns);
    void end_lease(vi& v, const grant& g, const lease_end& end, std::uint64_t engine_ns, std::uint64_t now_ns);
    void end_unreceived(vi& v) noexcept;
    /// The receiver of the message at v's head has no descriptor.  True: look again at once.
    [[nodiscard]] bool wait_for_receiver(vi& v, bool receiver_off, std::uint64_t now_ns) noexcept;
    /// False: it has not what its sender waits for.
    bool resume_sender_of(vi& receiver, std::uint64_t now_ns);
    void end_wait(vi& v) noexcept;
    /// Bounded in time like collect().  False: some are left.
    [[nodiscard]] bool expire_waits(std::uint64_t now_ns) noexcept;
    /// Wakes clients whose vectors let them be woken now.
    void deliver(std::uint32_t number) noexcept;
    void watch(vi& v, std::uint64_t now_ns);
    void unwatch(std::size_t at, std::uint64_t now_ns);
    /// Before an engine sleeps.  False: there is something to do.
    [[nodiscard]] bool prepare_sleep(std::uint32_t number, std::uint64_t now_ns, std::uint64_t& until_ns);
    [[nodiscard]] bool is_one_of_many() const noexcept { return leases_.size() > 1; }
    /// So many more engines look at the doorbells, or -1.
    void looks(int more) noexcept {
        if (is_one_of_many()) {
            looking_.fetch_add(static_cast<std::uint32_t>(more), std::memory_order_relaxed);
        }
    }
    [[nodiscard]] bool is_needed_to_look(std::uint32_t number, std::uint64_t now_ns) const noexcept;
    void call_a_looker() noexcept;
    void sleep(std::uint64_t until_ns);

    const device_options& options_;
    std::vector<std::unique_ptr<function>>& functions_;
    const kicks& kicks_;
    delivery_times& deliveries_;
    std::size_t delivery_turn_ = 0;
    std::atomic<bool> stopping_{false};
    std::atomic<std::uint32_t> sleepers_{0};
    std::atomic<std::uint32_t> looking_;  ///< engines that are awake and not inside a lease
    std::vector<std::thread> threads_;
    struct alignas(64) lease_word {
        std::atomic<std::uint32_t> count{0};  ///< odd: in a lease
    };
    std::vector<lease_word> leases_;
    std::vector<bool> is_idle_;  ///< engines that are awake and found nothing to do
    std::uint64_t latest_lease_ns_ = 0;
    std::vector<vi*> watched_;
    std::size_t watched_next_ = 0;
    std::array<rung, 64> rings_;  ///< taken from the doorbells
    std::size_t rings_at_ = 0;    ///< heeded
    std::size_t rings_count_ = 0;
    vi::limited_waits limited_waits_;
    std::uint64_t next_expiry_look_ns_ = 0;
};

}  // namespace vinic::controller
