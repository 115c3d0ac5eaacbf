// SPDX-License-Identifier: Apache-2.0
//
// no_memory_test.cc -- each allocation of each set-up call fails in turn: the call says out_of_memory, lets nothing out
// and changes nothing, and the same call works afterwards.
//
// Not inlined, or the compiler sees one half of a pair and warns.
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <new>
#include <span>
#include <thread>

#include "isolated/torture_support.hpp"
#include "multi/fixture.hpp"

namespace {
thread_local std::uint64_t until_failure = 0;  ///< allocations of this thread; 0: none fails
thread_local bool has_failed = false;

void* take(std::size_t bytes, std::size_t alignment) {
    if (until_failure != 0 && --until_failure == 0) {
        has_failed = true;
        throw std::bad_alloc();
    }
    const std::size_t whole = (std::max(bytes, std::size_t{1}) + alignment - 1) / alignment * alignment;
    void* taken = std::aligned_alloc(alignment, whole);
    if (taken == nullptr) {
        throw std::bad_alloc();
    }
    return taken;
}
}  // namespace

[[gnu::noinline]] void* operator new(std::size_t bytes) { return take(bytes, alignof(std::max_align_t)); }
[[gnu::noinline]] void* operator new(std::size_t bytes, std::align_val_t alignment) {
    return take(bytes, static_cast<std::size_t>(alignment));
}
[[gnu::noinline]] void operator delete(void* taken) noexcept { std::free(taken); }
[[gnu::noinline]] void operator delete(void* taken, std::size_t) noexcept { std::free(taken); }
[[gnu::noinline]] void operator delete(void* taken, std::align_val_t) noexcept { std::free(taken); }
[[gnu::noinline]] void operator delete(void* taken, std::size_t, std::align_val_t) noexcept { std::free(taken); }

namespace {

using multi::code_of;
using multi::must;
using vinic::errc;

enum class placement : std::uint8_t { direct, isolated };

/// Where the fixture would make a directory with a vinicd in it: here the placement is the test's own.
class without_vinicd {
public:
    without_vinicd() : program_(std::getenv(variable)) { (void)::unsetenv(variable); }
    without_vinicd(const without_vinicd&) = delete;
    without_vinicd& operator=(const without_vinicd&) = delete;
    ~without_vinicd() { (void)::setenv(variable, program_.c_str(), 1); }

private:
    static constexpr const char* variable = "VINIC_MULTI_VINICD";
    std::string program_;
};

class no_memory : public testing::TestWithParam<placement> {
protected:
    [[nodiscard]] vinic::result<vinic::nic> try_open() const {
        return daemon ? vinic::nic::open(address) : vinic::nic::open("shm:test", options);
    }
    [[nodiscard]] vinic::nic open() const { return must(try_open()); }
    /// What the device holds; isolated: what vinicd says.
    [[nodiscard]] std::string held() const {
        if (!daemon) {
            const multi::census c = multi::count(directory);
            return std::to_string(c.processes) + " " + std::to_string(c.domains) + " " + std::to_string(c.regions) +
                   " " + std::to_string(c.cqs) + " " + std::to_string(c.vis) + " " + std::to_string(c.names) + " " +
                   std::to_string(c.requests) + " " + std::to_string(c.lock);
        }
        return std::to_string(daemon->number("vf0", "vis")) + " " + std::to_string(daemon->number("vf0", "regions"));
    }
    /// `call` gives its result; what it made is gone when it returns.
    template <class Call>
    void sweep(const char* what, Call call) {
        ASSERT_EQ(call(), errc::ok) << what;
        const std::string before = held();
        std::uint64_t n = 1;
        for (bool over = false; !over; ++n) {
            ASSERT_LT(n, 10'000u) << what;
            has_failed = false;
            until_failure = n;
            const errc how = call();
            until_failure = 0;
            over = !has_failed;
            ASSERT_EQ(how, over              ? errc::ok
                           : how == errc::ok ? errc::ok
                                             : errc::out_of_memory)
                << what << ", allocation " << n << ": " << vinic::name(how);
            ASSERT_EQ(held(), before) << what << ", allocation " << n;
        }
        ASSERT_EQ(call(), errc::ok) << what;
        ASSERT_EQ(held(), before) << what;
        std::cout << what << ": " << n - 2 << " allocations\n";
    }

    std::optional<torture::daemon> daemon =
        GetParam() == placement::isolated ? std::make_optional<torture::daemon>() : std::nullopt;
    without_vinicd plain;
    multi::directory directory;
    // The test's own memory does not end.
    const std::string address = daemon ? daemon->address("vf0") : std::string();
    const vinic::open_options options = directory.options();
};

INSTANTIATE_TEST_SUITE_P(both, no_memory, testing::Values(placement::direct, placement::isolated),
                         [](const auto& each) { return each.param == placement::direct ? "direct" : "isolated"; });

TEST_P(no_memory, is_an_error_of_the_call_that_makes_something) {
    vinic::nic nic = open();
    auto domain = must(nic.create_domain());
    auto cq = must(nic.create_completion_queue());
    auto buffer = must(nic.allocate(1 << 16));
    sweep("open", [&] { return code_of(try_open()); });
    sweep("create_domain", [&] { return code_of(nic.create_domain()); });
    sweep("create_open_domain", [&] { return code_of(nic.create_open_domain()); });
    sweep("create_completion_queue", [&] { return code_of(nic.create_completion_queue()); });
    sweep("allocate", [&] { return code_of(nic.allocate(1 << 20)); });
    sweep("register_memory", [&] { return code_of(domain.register_memory(buffer.bytes(), vinic::access::all)); });
    sweep("register_address_space",
          [&] { return code_of(domain.register_address_space(vinic::access::remote_write)); });
    sweep("set_attributes", [&] {
        auto region = domain.register_memory(buffer.bytes(), vinic::access::all);
        return region ? code_of(region->set_attributes(domain, vinic::access::remote_read)) : code_of(region);
    });
    sweep("create_vi", [&] { return code_of(domain.create_vi({.send_cq = &cq, .receive_cq = &cq})); });
    const vinic::address name("a name that is longer than what a string keeps inside");
    sweep("listen", [&] { return code_of(nic.listen(name)); });
    sweep("names", [&] { return code_of(nic.names()); });
    sweep("fd", [&] {
        auto made = nic.create_completion_queue();
        const auto fd = made ? made->fd() : std::unexpected(made.error());
        return code_of(fd);
    });
}

TEST_P(no_memory, leaves_memory_that_was_to_be_adopted_as_it_was) {
    vinic::nic nic = open();
    auto domain = must(nic.create_domain());
    constexpr std::size_t bytes = 256 << 10;
    void* taken = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(taken, MAP_FAILED);
    const std::span pages(static_cast<std::byte*>(taken), bytes);
    // A part of it lies in the device already: what is registered is in pieces, each of which is noted.
    auto part = must(domain.register_memory(pages.subspan(64 << 10, 64 << 10), vinic::access::local_write,
                                            {.adopt = vinic::adopt::force}));
    const vinic::foreign_reason refused = part.foreign_reason();
    std::byte value{0};
    sweep("adopt", [&] {
        value = static_cast<std::byte>(static_cast<unsigned>(value) + 1);
        std::ranges::fill(pages, value);
        auto made = domain.register_memory(pages, vinic::access::local_write, {.adopt = vinic::adopt::force});
        until_failure = 0;
        const errc how = code_of(made);
        made = std::unexpected(vinic::error{});  // given back
        EXPECT_TRUE(std::ranges::all_of(pages, [&](std::byte b) { return b == value; }));
        EXPECT_EQ(must(domain.register_memory(pages.subspan(128 << 10), vinic::access::local_write)).backing(),
                  vinic::backing::foreign)
            << "nobody holds it";
        return how;
    });
    must(part.close());
    ASSERT_EQ(::munmap(taken, bytes), 0);
    if (refused != vinic::foreign_reason::none) {
        GTEST_SKIP() << "no memory can be adopted here: " << vinic::describe(refused);
    }
}

TEST_P(no_memory, is_an_error_of_the_call_that_connects) {
    multi::endpoint server(open());
    multi::endpoint client(open());
    auto listener = must(server.nic.listen("here"));
    // The server takes requests as it can; only the client's memory ends.
    std::atomic<bool> over = false;
    std::jthread accepts([&] {
        while (!over) {
            if (auto request = listener.wait(std::chrono::milliseconds(5)); request) {
                (void)request->accept(server.vi);
                while (server.vi.state() == vinic::vi_state::connected) {
                    std::this_thread::yield();
                }
                (void)server.vi.disconnect();
            }
        }
    });
    sweep("connect", [&] {
        const errc how = code_of(client.vi.connect("here", multi::patience));
        until_failure = 0;
        must(client.vi.disconnect());
        EXPECT_TRUE(multi::comes_true([&] { return server.vi.state() == vinic::vi_state::idle; }));
        return how;
    });
    over = true;
}

TEST_P(no_memory, is_an_error_of_the_call_that_answers_and_the_request_waits) {
    multi::endpoint server(open());
    multi::endpoint client(open());
    auto listener = must(server.nic.listen("here"));
    for (std::uint64_t n = 1, over = 0; over == 0; ++n) {
        std::jthread connects([&] { EXPECT_TRUE(client.vi.connect("here", multi::patience)); });
        vinic::result<vinic::connection_request> request = std::unexpected(vinic::error{});
        has_failed = false;
        until_failure = n;
        do {
            request = listener.wait(multi::patience);
            EXPECT_TRUE(request || request.error().code == errc::out_of_memory);
        } while (!request);
        EXPECT_TRUE(request->accept(server.vi));
        until_failure = 0;
        over = has_failed ? 0 : 1;
        connects.join();
        must(client.vi.disconnect());
        must(server.vi.disconnect());
    }
}

}  // namespace
