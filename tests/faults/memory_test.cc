// SPDX-License-Identifier: Apache-2.0
//
// memory_test.cc -- registering, adopting, giving back and forking, while
// system calls fail: every byte stays what it was, and nobody sees later writes
// who should not.
//
//     guard | memory that is registered | guard        private anonymous pages;
//     all three have patterns
//
//   A page that was given back wrongly is still in the device: whatever the
//   next buffer of it is filled with would appear in the program's memory.  So
//   after each life of a region a buffer of the same size is filled.
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <optional>

#include "faults/side.hpp"

namespace faults {
namespace {

constexpr std::size_t page = 4096;
constexpr std::size_t body_bytes = 32 * page;

/// What adoption looks with: opened once, for giving back must not need to open
/// anything.
const options with_eyes{.keeps = {"/fd", "/pagemap", "/smaps", "/task", "/maps", "[userfaultfd]"}, .sample = 60};

const options and_may_stay{.keeps = with_eyes.keeps, .may_stay = true, .sample = 60};

/// Pages of the program, with pages before and behind that nobody may touch.
class pages {
public:
    explicit pages(scene& s) : s_(s) {
        const paused by_no_fault;
        void* at = ::mmap(nullptr, body_bytes + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        multi::require(at != MAP_FAILED, "memory can be mapped");
        all_ = {static_cast<std::byte*>(at), body_bytes + 2 * page};
        multi::fill(all_, 1);
        multi::fill(body(), 2);
    }
    pages(const pages&) = delete;
    pages& operator=(const pages&) = delete;
    ~pages() {
        const paused by_no_fault;
        ::munmap(all_.data(), all_.size());
    }
    [[nodiscard]] std::span<std::byte> body() const { return all_.subspan(page, body_bytes); }
    void demand(std::uint64_t seed, std::string_view when) const {
        const auto untouched = [&](std::size_t at) {
            multi::fill(scratch_, 1);
            return std::memcmp(all_.data() + at, scratch_.data() + at, page) == 0;
        };
        s_.demand(untouched(0) && untouched(page + body_bytes), "neighbours are untouched " + std::string(when));
        const std::size_t differs = multi::first_difference(body(), seed);
        s_.demand(differs == body_bytes,
                  "all bytes are right " + std::string(when) + ", and not only " + std::to_string(differs));
    }

private:
    scene& s_;
    std::span<std::byte> all_;
    mutable std::vector<std::byte> scratch_ = std::vector<std::byte>(body_bytes + 2 * page);
};

/// Fills as much of the device as the program's pages were, and more.
void fill_device(scene& s, side& me, const pages& mine, std::uint64_t seed) {
    auto buffer = s.attempt("allocating", [&] { return me.nic.allocate(4 * body_bytes); });
    multi::fill(buffer.bytes(), 99);
    mine.demand(seed, "while the device's memory is filled");
    s.demand(multi::first_difference(buffer.bytes(), 99) == buffer.size(), "the buffer is its own");
}

/// The peer writes to the region, the program too, and the peer reads what both
/// have written.
bool used_by_both(scene& s, side& me, const vinic::region& r, const pages& mine, std::uint64_t seed) {
    const auto told = [&](request::kind what) {
        return me.ask({.what = what, .address = r.address(), .key = r.key(), .bytes = body_bytes, .seed = seed});
    };
    const auto wrote = told(request::kind::write_to_me);
    if (!wrote || !s.succeeded(static_cast<vinic::status>(wrote->status), "the peer's write")) {
        return false;
    }
    mine.demand(seed, "after the peer's write");
    multi::fill(mine.body(), ++seed);
    const auto read = told(request::kind::read_of_me);
    if (!read || !s.succeeded(static_cast<vinic::status>(read->status), "the peer's read")) {
        return false;
    }
    s.demand(read->wrong == 0, "the peer reads what the program has written");
    return true;
}

vinic::region register_pages(scene& s, side& me, const pages& mine, vinic::adopt how) {
    return s.attempt("registering",
                     [&] { return me.domain.register_memory(mine.body(), but_for_atomics, {.adopt = how}); });
}

/// What the body holds now, for later.
std::uint64_t fill_with(const pages& mine, std::uint64_t seed) {
    multi::fill(mine.body(), seed);
    return seed;
}

void live_and_close(scene& s, vinic::adopt how, bool by_closing) {
    pages mine(s);
    side me(s);
    me.connect();
    {
        auto region = register_pages(s, me, mine, how);
        mine.demand(2, "after registering");
        if (used_by_both(s, me, region, mine, 10)) {
            mine.demand(11, "after both have used it");
        }
        const std::uint64_t seed = fill_with(mine, 12);
        if (by_closing) {
            s.attempt("deregistering", [&] { return region.close(); });
            mine.demand(seed, "after deregistering");
        }
    }
    mine.demand(12, "after the region has gone");
    fill_device(s, me, mine, 12);
    (void)fill_with(mine, 13);
    fill_device(s, me, mine, 13);
}

TEST(every_memory_fault, of_a_foreign_region_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) { live_and_close(s, vinic::adopt::no, true); }, with_eyes);
}
TEST(every_memory_fault, of_an_adopted_region_that_is_closed_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) { live_and_close(s, vinic::adopt::force, true); }, with_eyes);
}
TEST(every_memory_fault, of_an_adopted_region_that_is_destroyed_is_told_and_loses_nothing) {
    with_every_fault([](scene& s) { live_and_close(s, vinic::adopt::force, false); }, and_may_stay);
}
TEST(every_memory_fault, of_a_region_that_is_adopted_if_that_is_safe_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) { live_and_close(s, vinic::adopt::safe, true); }, with_eyes);
}

TEST(every_memory_fault, of_two_regions_that_overlap_is_told_and_leaves_nothing) {
    with_every_fault(
        [](scene& s) {
            pages mine(s);
            side me(s);
            auto whole = register_pages(s, me, mine, vinic::adopt::force);
            auto part = s.attempt("registering a part", [&] {
                return me.domain.register_memory(mine.body().subspan(8 * page, 8 * page), but_for_atomics,
                                                 {.adopt = vinic::adopt::force});
            });
            mine.demand(2, "while both are open");
            s.attempt("deregistering the first", [&] { return whole.close(); });
            mine.demand(2, "while one is open");
            (void)fill_with(mine, 3);
            s.attempt("deregistering the second", [&] { return part.close(); });
            mine.demand(3, "when both have gone");
            fill_device(s, me, mine, 3);
        },
        with_eyes);
}

/// A child sees what was there, and nothing that it writes is seen by its
/// parent or the peer, nor the other way round. A child that cannot be kept
/// apart must end before it does harm, or the fork must fail.
TEST(every_memory_fault, of_fork_is_told_and_leaves_nothing) {
    with_every_fault(
        [](scene& s) {
            pages mine(s);
            side me(s);
            me.connect();
            auto region = register_pages(s, me, mine, vinic::adopt::force);
            multi::fill(me.bytes(side::free_at, page), 8);
            std::array<int, 2> ends{};
            {
                const paused by_no_fault;
                multi::require(::pipe(ends.data()) == 0, "a pipe can be made");
            }
            const pid_t pid = ::fork();
            if (pid == 0) {
                leave();
                const bool right = multi::first_difference(mine.body(), 2) == body_bytes;
                multi::fill(mine.body(), 20);
                std::memset(me.buffer.data(), 0x77, me.buffer.size());
                char go = 0;
                const bool told = ::write(ends[1], "x", 1) == 1;
                (void)!::read(ends[0], &go, 0);
                ::_exit(right && told ? 0 : 1);
            }
            const paused by_no_fault;
            int status = 0;
            if (s.succeeded(pid > 0, "forking")) {
                multi::require(::waitpid(pid, &status, 0) == pid, "the child ends");
                const bool well = WIFEXITED(status) && WEXITSTATUS(status) == 0;
                s.demand(well || (s.disturbed() && !WIFEXITED(status)),
                         "the child sees its memory, or was ended: " + std::to_string(status));
            }
            ::close(ends[0]);
            ::close(ends[1]);
            mine.demand(2, "in the parent after the child has written");
            s.demand(multi::first_difference(me.bytes(side::free_at, page), 8) == page,
                     "native memory is the parent's");
            if (used_by_both(s, me, region, mine, 30)) {
                mine.demand(31, "when the peer has written after the fork");
            }
            s.attempt("deregistering", [&] { return region.close(); });
        },
        with_eyes);
}

}  // namespace
}  // namespace faults
