// SPDX-License-Identifier: Apache-2.0
//
// retired_windows_test.cc -- windows that nobody uses are emptied piece by piece, in turns, whoever still has them.
#include "controller/retired_windows.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "controller/window_remainder.hpp"
#include "os/sync.hpp"
#include "raw_client.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint64_t window_bytes = 512 * mib;

window filled(std::uint64_t offset, std::uint64_t bytes) {
    window w = window::create(1, window_bytes).value();
    EXPECT_EQ(::fallocate(w.fd(), 0, static_cast<off_t>(offset), static_cast<off_t>(bytes)), 0);
    return w;
}

std::uint64_t blocks(int fd) {
    struct stat s{};
    EXPECT_EQ(::fstat(fd, &s), 0);
    return static_cast<std::uint64_t>(s.st_blocks) * 512;
}

TEST(retired_windows, a_small_one_does_not_wait_for_a_large_one) {
    retired_windows all(2);
    memory_account large(window_bytes);
    memory_account small(window_bytes);
    all.take(filled(128 * mib, 128 * mib), large, 0);
    all.take(filled(0, window_remainder::piece_bytes), small, 0);
    EXPECT_GE(large.retired(), 128 * mib);
    EXPECT_GE(small.retired(), window_remainder::piece_bytes);
    // Two pieces: the first of each.
    ASSERT_EQ(all.give_back_a_piece(1), retired_windows::pace::more);
    ASSERT_EQ(all.give_back_a_piece(1), retired_windows::pace::more);
    EXPECT_EQ(small.retired(), 0u) << "all that it had lay in its first piece";
    EXPECT_GE(large.retired(), 128 * mib - window_remainder::piece_bytes);
    std::uint64_t steps = 2;
    std::uint64_t before = large.retired();
    while (all.give_back_a_piece(1) == retired_windows::pace::more) {
        ++steps;
        EXPECT_LE(before - large.retired(), window_remainder::piece_bytes) << "so much at a time";
        before = large.retired();
    }
    EXPECT_GE(steps, 128 * mib / window_remainder::piece_bytes);
    EXPECT_LE(steps, 2 * window_bytes / window_remainder::piece_bytes + 8) << "each is gone through once";
    EXPECT_EQ(large.retired(), 0u);
    EXPECT_EQ(all.waiting(large) + all.waiting(small), 0u);
}

TEST(retired_windows, one_that_somebody_still_maps_holds_nothing) {
    retired_windows all(1);
    memory_account account(window_bytes);
    window w = filled(64 * mib, 8 * mib);
    const int kept = ::dup(w.fd());
    auto* mapped =
        static_cast<volatile std::byte*>(::mmap(nullptr, window_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, kept, 0));
    ASSERT_NE(mapped, MAP_FAILED);
    mapped[64 * mib] = std::byte{7};
    all.take(std::move(w), account, 0);
    while (all.give_back_a_piece(1) == retired_windows::pace::more) {
        mapped[0] = std::byte{1};  // before and behind where it is emptied, the client may do what it likes
        mapped[window_bytes - 1] = std::byte{1};
    }
    EXPECT_EQ(account.retired(), 0u);
    EXPECT_LE(blocks(kept), 2 * 4096u) << "what he has touched since";
    EXPECT_EQ(std::byte(mapped[64 * mib]), std::byte{0});
    ::munmap(const_cast<std::byte*>(mapped), window_bytes);
    ::close(kept);
}

TEST(retired_windows, a_client_that_is_in_one_when_it_is_taken_away_may_say_farewell) {
    using pace = retired_windows::pace;
    constexpr std::uint64_t ms = 1'000'000;
    constexpr std::uint64_t end = 1000 * ms;
    for (const bool leaves : {true, false}) {
        retired_windows all(2);
        memory_account account(window_bytes);
        memory_account others(window_bytes);
        window w = filled(64 * mib, mib);
        const int kept = ::dup(w.fd());
        os::unique_fd own(::open(("/proc/self/fd/" + std::to_string(kept)).c_str(), O_RDWR | O_CLOEXEC));
        ASSERT_TRUE(os::try_lock_byte(own.get(), 1 + 7)) << "as the library does for its process entry";
        all.take(std::move(w), account, end);
        EXPECT_EQ(all.give_back_a_piece(ms), pace::waits);
        EXPECT_TRUE(all.is_at_rest());
        EXPECT_GE(account.retired(), mib) << "it is charged meanwhile";
        all.take(filled(0, mib), others, 0);
        EXPECT_FALSE(all.is_at_rest());
        while (all.give_back_a_piece(2 * ms) == pace::more) {
        }
        EXPECT_EQ(others.retired(), 0u) << "and nobody waits for it";
        EXPECT_GE(blocks(kept), mib);
        if (leaves) {
            own.reset();
        }
        const std::uint64_t now = leaves ? 10 * ms : end;
        while (all.give_back_a_piece(now) == pace::more) {
        }
        EXPECT_EQ(blocks(kept), 0u);
        EXPECT_EQ(account.retired(), 0u);
        ::close(kept);
    }
}

TEST(retired_windows, a_process_that_has_one_open_keeps_it_until_it_is_in_the_way) {
    using pace = retired_windows::pace;
    retired_windows all(1);
    memory_account account(window_bytes);
    window w = filled(64 * mib, mib);
    const int kept = ::dup(w.fd());
    os::unique_fd own(::open(("/proc/self/fd/" + std::to_string(kept)).c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(os::try_lock_byte(own.get(), 1));
    all.take(std::move(w), account, abi::none64);
    EXPECT_EQ(all.give_back_a_piece(1), pace::waits);
    account.want_room();
    EXPECT_EQ(all.give_back_a_piece(retired_windows::stay_ns), pace::waits) << "it has a while in any case";
    EXPECT_GE(blocks(kept), mib);
    while (all.give_back_a_piece(retired_windows::stay_ns + 1) == pace::more) {
    }
    EXPECT_EQ(blocks(kept), 0u);
    EXPECT_FALSE(account.wants_room());
    ::close(kept);
}

TEST(retired_windows, an_account_lets_the_device_make_what_its_limit_leaves) {
    window w = window::create(1, window_bytes).value();
    memory_account account(64 * mib);
    memory_allowance mine;
    std::uint64_t made = 0;
    for (; mine.take(256, account, w) && made < window_bytes / 2; made += mib) {
        ASSERT_EQ(::fallocate(w.fd(), 0, static_cast<off_t>(128 * mib + made), mib), 0);
    }
    EXPECT_LE(w.used_bytes(), 64 * mib);
    EXPECT_GE(made, 62 * mib);
    EXPECT_FALSE(mine.take(256, account, w));
    w.empty(128 * mib, 64 * mib);
    EXPECT_TRUE(mine.take(256, account, w)) << "what was given back may be taken again";
    ASSERT_EQ(::fallocate(w.fd(), 0, 128 * mib, 64 * mib), 0);
    EXPECT_TRUE(account.take(1, w)) << "what is known is not asked for again";
    account.forget();
    EXPECT_FALSE(account.take(1, w));
    w.empty(128 * mib, 64 * mib);
    account.set_limit(16 * mib);
    account.retire(16 * mib);
    EXPECT_FALSE(account.take(1, w)) << "windows that are being given back count";
    account.emptied(16 * mib);
    EXPECT_TRUE(account.take(1, w));
}

TEST(retired_windows, a_limit_that_was_lowered_holds_at_once_whoever_is_just_looking) {
    const window w = filled(64 * mib, 8 * mib);
    memory_account account(64 * mib);
    std::atomic<bool> ended = false;
    std::thread engine([&] {
        while (!ended) {
            (void)account.take(1, w);
            account.forget();
        }
    });
    for (int i = 0; i < 50'000; ++i) {
        for (int n = 0; n < i % 200; ++n) {
            os::spin_pause();  // it is anywhere
        }
        account.set_limit(4 * mib);
        EXPECT_FALSE(account.take(1, w)) << i;
        account.set_limit(64 * mib);
        EXPECT_TRUE(account.take(1, w)) << i;
    }
    ended = true;
    engine.join();
}

}  // namespace
}  // namespace vinic::controller
