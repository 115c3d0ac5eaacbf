// SPDX-License-Identifier: Apache-2.0
//
// memory_account.hpp -- how much memory a function holds, and how much more the device may make for it.
//
//   The kernel charges a page of a window to the process that touches it first.  What a client touches is its own
//   affair; what the device touches on its behalf (a copy into pages that are not there) would be the device's, so this
//   is counted before it is done:
//
//     limit - blocks of the windows  --look-->  left  --take-->  an engine's allowance  --> touched
//
//   Each touch is charged as if all its pages were new.  When `left` is used up the kernel is asked how many blocks
//   there really are: seldom where there is room, and at every touch where there is none, which costs the function's
//   own turns.  So a function has its limit at most, and the allowances of the engines (1 MiB each).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <mutex>

namespace vinic::controller {

class window;

class memory_account {
public:
    static constexpr std::uint64_t page_bytes = 4096;

    explicit memory_account(std::uint64_t limit_bytes) noexcept : limit_(limit_bytes) {}

    [[nodiscard]] std::uint64_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
    /// An engine that is just looking has stored what it found when this goes on: nothing of the old limit is left.
    void set_limit(std::uint64_t bytes) noexcept {
        const std::lock_guard hold(look_);
        limit_.store(bytes, std::memory_order_relaxed);
        left_.store(0, std::memory_order_relaxed);
    }
    /// What is known is void: another window.
    void forget() noexcept {
        const std::lock_guard hold(look_);
        left_.store(0, std::memory_order_relaxed);
    }

    /// Windows that nobody uses any more and whose memory is being given back.
    void retire(std::uint64_t bytes) noexcept { retired_.fetch_add(bytes, std::memory_order_relaxed); }
    void emptied(std::uint64_t bytes) noexcept { retired_.fetch_sub(bytes, std::memory_order_relaxed); }
    [[nodiscard]] std::uint64_t retired() const noexcept { return retired_.load(std::memory_order_relaxed); }
    /// Something was refused that would fit if windows of before were emptied, if there are any.
    void want_room() noexcept { wants_room_.store(retired() != 0, std::memory_order_relaxed); }
    /// As many windows wait as may.
    void want_place() noexcept { wants_room_.store(true, std::memory_order_relaxed); }
    [[nodiscard]] bool wants_room() const noexcept { return wants_room_.load(std::memory_order_relaxed); }
    void have_room() noexcept { wants_room_.store(false, std::memory_order_relaxed); }
    /// One of its windows has kept the thread that empties them: from now on each has a thread of its own.
    void set_slow() noexcept { is_slow_.store(true, std::memory_order_relaxed); }
    [[nodiscard]] bool is_slow() const noexcept { return is_slow_.load(std::memory_order_relaxed); }
    /// With the window that is in use.  A system call.
    [[nodiscard]] std::uint64_t used(const window& w) const noexcept;

    /// Whether the device may make so many pages.  `w` stays what it is meanwhile.  Thread-safe.
    [[nodiscard]] bool take(std::uint32_t pages, const window& w) noexcept {
        return take_known(pages) || look_and_take(pages, w);
    }

private:
    [[nodiscard]] bool take_known(std::uint32_t pages) noexcept {
        std::int64_t known = left_.load(std::memory_order_relaxed);
        while (known >= pages) {
            if (left_.compare_exchange_weak(known, known - pages, std::memory_order_relaxed)) {
                return true;
            }
        }
        return false;
    }
    [[nodiscard]] bool look_and_take(std::uint32_t pages, const window& w) noexcept;

    std::atomic<std::uint64_t> limit_;
    std::atomic<std::uint64_t> retired_{0};
    std::atomic<std::int64_t> left_{0};  ///< pages
    std::atomic<bool> wants_room_{false};
    std::atomic<bool> is_slow_{false};
    std::mutex look_;  ///< while the kernel is asked, and while what it said is made void
};

/// What one engine may make without asking, for each function; not thread-safe.
class memory_allowance {
public:
    static constexpr std::uint32_t pages_at_a_time = 256;

    [[nodiscard]] bool take(std::uint32_t pages, memory_account& of, const window& w) noexcept {
        if (pages_ >= pages) [[likely]] {
            pages_ -= pages;
            return true;
        }
        if (of.take(std::max(pages, pages_at_a_time), w)) {
            pages_ += std::max(pages, pages_at_a_time) - pages;
            return true;
        }
        return of.take(pages, w);
    }

private:
    std::uint32_t pages_ = 0;
};

}  // namespace vinic::controller
