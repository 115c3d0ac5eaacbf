// SPDX-License-Identifier: Apache-2.0
//
// stuck_window_test.cc -- a window whose file's lock a client does not let go of keeps nobody but its own function.
//
//   A client holds that lock as long as it likes by writing to its window from memory that never comes.  Here that is
//   memory of a userfaultfd that nobody answers; a file system of its own would do as well, and needs no rights.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>

#include "controller/retired_windows.hpp"
#include "raw_client.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint32_t bad_function = 1;
constexpr std::uint32_t good_function = 2;
constexpr std::uint64_t page = 4096;

template <class Condition>
bool comes_true(Condition is_so) {
    const std::uint64_t end = os::now_ns() + 20'000'000'000;
    while (!is_so()) {
        if (os::now_ns() > end) {
            return false;
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return true;
}

std::size_t threads() {
    const std::filesystem::directory_iterator all("/proc/self/task");
    return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

/// Is in a write to a file from when it is made, and holds its lock until it is let go of.
class unending_write {
public:
    /// Whether this process may have such memory, and the kernel wait for it.
    static bool is_possible() {
        const os::unique_fd answers(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC)));
        return static_cast<bool>(answers);
    }
    explicit unending_write(int file)
        : file_(::fcntl(file, F_DUPFD_CLOEXEC, 3)),
          answers_(static_cast<int>(::syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK))),
          memory_(::mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) {
        uffdio_api api{.api = UFFD_API, .features = 0, .ioctls = 0};
        uffdio_register all{.range = {.start = reinterpret_cast<std::uint64_t>(memory_), .len = page},
                            .mode = UFFDIO_REGISTER_MODE_MISSING,
                            .ioctls = 0};
        EXPECT_EQ(::ioctl(answers_.get(), UFFDIO_API, &api), 0);
        EXPECT_EQ(::ioctl(answers_.get(), UFFDIO_REGISTER, &all), 0);
        writer_ = std::thread(
            [this] { (void)!::syscall(SYS_pwrite64, file_.get(), memory_, page, raw_client::data_offset); });
        pollfd asks{.fd = answers_.get(), .events = POLLIN, .revents = 0};
        EXPECT_EQ(::poll(&asks, 1, 20'000), 1) << "the writer is where it has to wait";
    }
    ~unending_write() { let_go(); }
    unending_write(const unending_write&) = delete;
    unending_write& operator=(const unending_write&) = delete;
    void let_go() {
        answers_.reset();  // whose memory is like any other's then
        if (writer_.joinable()) {
            writer_.join();
            ::munmap(memory_, page);
        }
    }

private:
    os::unique_fd file_;
    os::unique_fd answers_;
    void* memory_;
    std::thread writer_;
};

class stuck_window : public testing::TestWithParam<std::uint32_t> {
protected:
    void SetUp() override {
        if (!unending_write::is_possible()) {
            GTEST_SKIP() << "userfaultfd: " << std::strerror(errno)
                         << " (root, or CAP_SYS_PTRACE, or vm.unprivileged_userfaultfd=1)";
        }
        device_options o;
        o.functions = 2;
        o.yield = true;
        o.scheduling.engines = GetParam();
        o.defaults.window_bytes = 512 * mib;
        std::thread([] {}).join();  // a sanitizer may have made one of its own with it
        nic = device::create(o).value();
        threads_before = threads();
        nic->on_event([this](const event& e) { resets += e.kind == event_kind::reset && e.function == good_function; });
        ASSERT_TRUE(nic->start());
    }
    /// A client comes, has some memory, and goes; what it leaves is a window whose lock somebody holds.
    [[nodiscard]] std::unique_ptr<unending_write> leave_stuck_window() const {
        const auto a = nic->attach(bad_function, ::getuid()).value();
        const auto epoch = nic->enter(bad_function, a.epoch, 0, {::getpid(), ::getuid(), ::getgid()}).value();
        const std::vector<std::byte> much(mib, std::byte{1});
        EXPECT_EQ(::pwrite(a.window.get(), much.data(), much.size(), raw_client::data_offset + mib), mib);
        const std::uint64_t before = retired(bad_function);
        auto stuck = std::make_unique<unending_write>(a.window.get());
        nic->leave(bad_function, 0, epoch, true);
        EXPECT_TRUE(comes_true([&] { return retired(bad_function) >= before + mib; }));
        return stuck;
    }
    [[nodiscard]] std::uint64_t retired(std::uint32_t function) const {
        return nic->status(function)->memory_retired_bytes;
    }
    /// More windows than may wait: each has to be emptied for the next.
    void come_and_go() {
        for (std::size_t i = 0; i < 5; ++i) {
            {
                raw_client c(*nic, good_function, 0);
                c.data(0, mib)[i] = std::byte{1};
                c.hang_up();
                c.forget();
            }
            ASSERT_TRUE(comes_true([&] { return nic->status(good_function)->memory_bytes == 0; })) << i;
        }
        const int before = resets;
        raw_client c(*nic, good_function, 0);
        c.data(0, mib)[0] = std::byte{1};
        ASSERT_TRUE(nic->reset(good_function));
        ASSERT_TRUE(comes_true([&] { return resets > before; }));
        ASSERT_TRUE(comes_true([&] { return nic->status(good_function)->memory_bytes == 0; }));
        ASSERT_TRUE(nic->attach(good_function, ::getuid()));
        c.forget();
    }
    std::size_t threads_before = 0;
    std::atomic<int> resets = 0;
    std::unique_ptr<device> nic;
};

TEST_P(stuck_window, is_met_by_its_function_alone) {
    auto first = leave_stuck_window();
    come_and_go();
    EXPECT_GE(retired(bad_function), mib) << "it is charged";
    ASSERT_TRUE(nic->reset(bad_function)) << "which is over although the window is not empty";
    ASSERT_TRUE(comes_true([&] { return nic->attach(bad_function, ::getuid()).has_value(); }));
    auto second = leave_stuck_window();
    come_and_go();
    EXPECT_EQ(nic->attach(bad_function, ::getuid()).error().code, errc::busy) << "so many may wait and no more";
    EXPECT_GE(retired(bad_function), 2 * mib);
    second->let_go();
    EXPECT_TRUE(comes_true([&] { return nic->attach(bad_function, ::getuid()).has_value(); }));
    first->let_go();
    EXPECT_TRUE(comes_true([&] { return retired(bad_function) == 0; }));
    come_and_go();
}

TEST_P(stuck_window, does_not_keep_the_device_from_ending) {
    const auto stuck = leave_stuck_window();
    come_and_go();
    nic->stop();
    EXPECT_GE(retired(bad_function), mib);
    nic.reset();
    stuck->let_go();
    // What was kept in the kernel comes out of it into what is left of the device, and ends.
    EXPECT_TRUE(comes_true([&] { return threads() <= threads_before; }));
}

INSTANTIATE_TEST_SUITE_P(engines, stuck_window, testing::Values(1, 2));

// -- without a device ---------------------------------------------------------------------------

TEST(retired_windows_threads, serve_small_windows_while_a_large_one_is_stuck) {
    if (!unending_write::is_possible()) {
        GTEST_SKIP() << "userfaultfd: " << std::strerror(errno);
    }
    memory_account slow(512 * mib);
    memory_account quick(512 * mib);
    const auto filled = [](std::uint64_t bytes) {
        window w = window::create(1, 512 * mib).value();
        EXPECT_EQ(::fallocate(w.fd(), 0, 128 * mib, static_cast<off_t>(bytes)), 0);
        return w;
    };
    retired_windows all(8);
    (void)all.tend(os::now_ns());  // once: nobody looks whether a thread is kept
    window large = filled(8 * mib);
    const unending_write stuck(large.fd());
    all.take(std::move(large), slow, 0);
    for (int i = 0; i < 3; ++i) {
        all.take(filled(mib), quick, 0);
    }
    EXPECT_TRUE(comes_true([&] { return quick.retired() == 0; }));
    EXPECT_GE(slow.retired(), 8 * mib);
}

TEST(retired_windows_threads, give_a_window_that_kept_the_others_once_a_thread_of_its_own) {
    if (!unending_write::is_possible()) {
        GTEST_SKIP() << "userfaultfd: " << std::strerror(errno);
    }
    using pace = retired_windows::pace;
    memory_account slow(512 * mib);
    memory_account quick(512 * mib);
    const auto filled = [] {
        window w = window::create(1, 512 * mib).value();
        EXPECT_EQ(::fallocate(w.fd(), 0, 128 * mib, 8 * mib), 0);
        return w;
    };
    retired_windows all(8);
    const auto tended = [&](const memory_account& a) {
        return comes_true([&] { return all.tend(os::now_ns()), a.retired() == 0; });
    };
    {
        window w = filled();
        const unending_write stuck(w.fd());
        all.take(std::move(w), slow, 0);
        all.take(filled(), quick, 0);
        EXPECT_TRUE(tended(quick));
        EXPECT_TRUE(comes_true([&] { return all.tend(os::now_ns()) == pace::idle; }))
            << "nothing is to be looked after";
        EXPECT_TRUE(slow.is_slow());
        EXPECT_EQ(all.waiting(slow), 1u);
    }
    EXPECT_TRUE(comes_true([&] { return all.waiting(slow) == 0; })) << "by who was kept, and nobody has to look";
    EXPECT_EQ(slow.retired(), 0u);
    for (int i = 0; i < 3; ++i) {
        all.take(filled(), slow, 0);
        all.take(filled(), quick, 0);
        EXPECT_TRUE(tended(slow));
        EXPECT_TRUE(tended(quick));
    }
    all.take(filled(), quick, 0);
    all.stop();
    EXPECT_EQ(all.tend(os::now_ns()), pace::idle) << "no thread is made any more";
}

}  // namespace
}  // namespace vinic::controller
