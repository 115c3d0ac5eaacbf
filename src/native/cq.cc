// SPDX-License-Identifier: Apache-2.0
//
// cq.cc -- completion queues.
//
//   Completions lie in the rings of the VIs; a completion queue only knows where to look:
//
//     polled   up to 8 queues whose rings are looked at directly (their `notify` is 0): a peer that
//              completes there touches nothing of the completion queue
//     bitmap   one ready bit for every other queue, set by the side that completes
//
//   So nothing can overflow, and a queue that nobody uses costs nothing, however many are attached.
//   The barriers are those of docs/protocols.md, section 1: light for the side that completes, heavy for the poller
//   when it stops looking at a ring or goes to sleep.
#include "native/cq.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "native/take.hpp"
#include "os/file.hpp"
#include "placement/call.hpp"
#include "tables/link.hpp"

namespace vinic::detail {

namespace {

constexpr std::uint32_t idle_turns = 1024;  ///< a polled queue this idle may lose its place
constexpr std::uint64_t longest_sleep_ns = 10'000'000;
constexpr int hot_looks = 16;
constexpr std::uint64_t tight_ticks = 400;

vi_body& vi_of(queue_tag tag) noexcept { return *reinterpret_cast<vi_body*>(tag & ~queue_tag{1}); }
abi::queue_kind kind_of(queue_tag tag) noexcept { return static_cast<abi::queue_kind>(tag & 1); }

/// Marks that poll runs, so that detach knows when a VI can no longer be looked at.
class inside_poll {
public:
    inside_poll(std::atomic<std::uint32_t>& word, const tables::memory& m) noexcept
        : word_(word), seen_(word.load(std::memory_order_relaxed)) {
        word_.store(seen_ + 1, std::memory_order_relaxed);
        m.light_barrier();
    }
    inside_poll(const inside_poll&) = delete;
    inside_poll& operator=(const inside_poll&) = delete;
    ~inside_poll() { word_.store(seen_ + 2, std::memory_order_release); }

private:
    std::atomic<std::uint32_t>& word_;
    std::uint32_t seen_;
};

}  // namespace

queue_tag cq_body::tag_of(std::uint32_t bit) const noexcept {
    const leaf_slots* leaf = slots.load(std::memory_order_acquire)[bit / 64].load(std::memory_order_acquire);
    return leaf == nullptr ? 0 : (*leaf)[bit % 64].load(std::memory_order_acquire);
}

std::size_t cq_body::poll(std::span<completion> out) noexcept {
    if (out.empty()) {
        return 0;
    }
    const optional_lock hold(poll_mutex, attributes.thread_safe);
    if (forget_hot.load(std::memory_order_relaxed)) [[unlikely]] {
        forget_hot.store(false, std::memory_order_relaxed);
        hot_sequence = nullptr;  // it may have been a ring of the VI that went
    }
    // Whoever polls in a tight loop waits for the queue that was busy last.  Looking at its next
    // entry alone, with pauses, neither disturbs the line while the peer writes it nor makes the CPU
    // run ahead of it (docs/performance.md has the figures).
    if (empty_ticks != 0 && hot_sequence != nullptr && os::ticks() - empty_ticks < tight_ticks) {
        for (int look = 0; look < hot_looks && hot_sequence->load_acquire() != hot_expected; ++look) {
            os::spin_pause();
            os::spin_pause();
        }
    }
    const std::size_t n = poll_once(out);
    until_tick -= n == 0 ? 32 : 1;
    empty_ticks = n == 0 ? os::ticks() : 0;
    if (n == 0 && crowded) {
        std::this_thread::yield();
    }
    if (until_tick < 0) [[unlikely]] {
        until_tick = 256;
        nic->tick();
    }
    return n;
}

std::size_t cq_body::poll_once(std::span<completion> out) noexcept {
    const inside_poll mark(inside, *nic_memory);
    std::size_t n = 0;
    ++turn;
    if (turn % 64 == 0) [[unlikely]] {
        n = poll_ready(out);  // polled queues that are always busy must not starve the others
    } else if (hot_sequence != nullptr && hot_sequence->load_acquire() == hot_expected) {
        n = take_polled(hot_place, out);
        if (n == out.size()) {
            return n;
        }
    }
    for (std::uint32_t i = 0; i < polled_count && n < out.size(); ++i) {
        n += take_polled(i, out.subspan(n));
    }
    return n == 0 ? poll_ready(out) : n;
}

inline std::size_t cq_body::take_polled(std::uint32_t i, std::span<completion> out) noexcept {
    const queue_tag tag = polled[i].load(std::memory_order_relaxed);
    if (tag == 0) [[unlikely]] {
        return 0;
    }
    vi_body& v = vi_of(tag);
    if (kind_of(tag) == abi::send_queue) {
        const std::size_t got = v.take_sends(out);
        idle[i] = got == 0 ? idle[i] + 1 : 0;
        return got;
    }
    const std::size_t got = v.take_receives(out);
    if (got == 0) {
        ++idle[i];
        return 0;
    }
    idle[i] = 0;
    hot_place = i;
    v.next_receive(hot_sequence, hot_expected);
    return got;
}

std::size_t cq_body::poll_ready(std::span<completion> out) noexcept {
    std::size_t n = 0;
    const tables::memory& m = *nic->memory;
    for (std::uint32_t b = bitmap_count.load(std::memory_order_acquire); b-- > 0;) {
        const bits& map = bitmaps[b];
        auto* summary = m.at<abi::word64>(map.offset);
        abi::word64* leaf_words = summary + abi::summary_words(map.leaves);
        for (std::uint32_t s = 0; s < abi::summary_words(map.leaves); ++s) {
            if (summary[s].load_relaxed() == 0) {
                continue;
            }
            std::uint64_t left = summary[s].exchange(0);
            while (left != 0) {
                if (n == out.size()) {
                    summary[s].fetch_or(left);
                    return n;
                }
                const std::uint32_t leaf = s * 64 + static_cast<std::uint32_t>(std::countr_zero(left));
                left &= left - 1;
                std::uint64_t ready = leaf_words[leaf].exchange(0);
                while (ready != 0 && n < out.size()) {
                    const std::uint32_t bit = leaf * 64 + static_cast<std::uint32_t>(std::countr_zero(ready));
                    ready &= ready - 1;
                    n += serve(tag_of(bit), out.subspan(n));
                }
                if (ready != 0) {
                    leaf_words[leaf].fetch_or(ready);
                    summary[s].fetch_or(abi::ready_bit(leaf));
                }
            }
        }
    }
    return n;
}

std::size_t cq_body::serve(queue_tag tag, std::span<completion> out) noexcept {
    if (tag == 0) {
        return 0;
    }
    vi_body& v = vi_of(tag);
    const abi::queue_kind kind = kind_of(tag);
    std::size_t n = v.take(kind, out);
    if (n < out.size()) {
        n += v.take_flushed(kind, out.subspan(n));
    }
    promote(tag);
    if (n == out.size()) {
        tables::signal(*nic->memory, *v.entry, kind);  // more may be there, flushed ones among them
    }
    return n;
}

void cq_body::promote(queue_tag tag) noexcept {
    std::uint32_t place = polled_max;
    for (std::uint32_t i = 0; i < polled_max; ++i) {
        const queue_tag there = polled[i].load(std::memory_order_relaxed);
        if (there == tag) {
            return;
        }
        if (there == 0 && place == polled_max) {
            place = i;
        }
    }
    for (std::uint32_t i = 0; i < polled_max && place == polled_max; ++i) {
        if (idle[i] < idle_turns) {
            continue;
        }
        const queue_tag old = polled[i].exchange(0);
        if (old != 0) {
            vi_body& v = vi_of(old);
            v.entry->notify[kind_of(old)].store_relaxed(1);
            nic->memory->heavy_barrier();
            if (v.pending(kind_of(old))) {
                tables::signal(*nic->memory, *v.entry, kind_of(old));
            }
        }
        place = i;
    }
    if (place == polled_max) {
        return;
    }
    polled[place].store(tag, std::memory_order_release);
    idle[place] = 0;
    polled_count = std::max(polled_count, place + 1);
    vi_of(tag).entry->notify[kind_of(tag)].store_relaxed(0);
}

bool cq_body::any_ready() const noexcept {
    for (std::uint32_t b = 0; b < bitmap_count.load(std::memory_order_acquire); ++b) {
        const auto* summary = nic->memory->at<abi::word64>(bitmaps[b].offset);
        for (std::uint32_t s = 0; s < abi::summary_words(bitmaps[b].leaves); ++s) {
            if (summary[s].load_acquire() != 0) {
                return true;
            }
        }
    }
    return false;
}

bool cq_body::arm_once() noexcept {
    const inside_poll mark(inside, *nic->memory);
    std::array<queue_tag, polled_max> were{};
    for (std::uint32_t i = 0; i < polled_max; ++i) {
        were[i] = polled[i].exchange(0);
        if (were[i] != 0) {
            vi_of(were[i]).entry->notify[kind_of(were[i])].store_relaxed(1);
        }
    }
    polled_count = 0;
    entry->armed.store_release(1);
    nic->memory->heavy_barrier();
    bool ready = any_ready();
    for (const queue_tag tag : were) {
        if (tag != 0 && vi_of(tag).pending(kind_of(tag))) {
            tables::signal(*nic->memory, *vi_of(tag).entry, kind_of(tag));
            ready = true;
        }
    }
    if (ready) {
        entry->armed.store_release(0);
    }
    return !ready;
}

result<std::size_t> cq_body::wait(std::span<completion> out, nanoseconds timeout) {
    const std::uint64_t start = os::now_ns();
    const std::uint64_t limit = timeout == forever
                                    ? abi::none64
                                    : start + static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 0));
    if (out.empty()) {
        return std::unexpected(nic->fail(errc::invalid_argument, "waiting for completions: no room for one"));
    }
    const std::uint64_t spin_end = os::ticks() + spin_ticks.load(std::memory_order_relaxed);
    do {
        if (const std::size_t n = poll(out); n != 0) {
            spin_ticks.store(std::min(spin_ticks_max, spin_ticks.load(std::memory_order_relaxed) * 2 + 100),
                             std::memory_order_relaxed);
            return n;
        }
    } while (os::ticks() < spin_end);
    const os::cancellation_off quiet;
    for (;;) {
        quiet.point();
        if (nic->forked()) {
            return std::unexpected(nic->fail(errc::forked, "waiting for completions"));
        }
        const std::uint64_t now = os::now_ns();
        if (now >= limit) {
            return poll(out);
        }
        const std::uint32_t seen = entry->wakes.load_acquire();
        bool armed = false;
        {
            const optional_lock hold(poll_mutex, attributes.thread_safe);
            armed = arm_once();
        }
        if (armed) {
            os::futex_wait(&entry->wakes.raw_, seen, std::min(longest_sleep_ns, limit - now));
            if (!attributes.thread_safe) {
                entry->armed.store_release(0);
            }
            const std::uint64_t least = std::min<std::uint64_t>(spin_ticks_max, os::ticks_per_us());
            spin_ticks.store(std::max(spin_ticks.load(std::memory_order_relaxed) / 2, least),
                             std::memory_order_relaxed);
        }
        nic->tick();
        if (const std::size_t n = poll(out); n != 0) {
            return n;
        }
    }
}

result<std::optional<wait_ticket>> cq_body::prepare_wait() {
    if (nic->forked()) {
        return std::unexpected(nic->fail(errc::forked, "waiting for completions"));
    }
    nic->tick();
    const wait_ticket ticket{entry->wakes.load_acquire()};
    const optional_lock hold(poll_mutex, attributes.thread_safe);
    return arm_once() ? std::optional(ticket) : std::nullopt;
}

void cq_body::commit_wait(wait_ticket ticket, nanoseconds timeout) noexcept {
    if (nic->forked() || timeout.count() <= 0) {
        return;
    }
    const auto limit = static_cast<std::uint64_t>(timeout.count());
    os::futex_wait(&entry->wakes.raw_, ticket.seen, std::min(longest_sleep_ns, limit));
}

void cq_body::wake() noexcept {
    if (!nic->forked()) {
        entry->wakes.fetch_add(1);
        os::futex_wake(&entry->wakes.raw_);
    }
}

/// Under the nic's mutex.
result<void> cq_body::make_event() {
    if (const int e = nic->start_bell(); e != 0) {
        return std::unexpected(nic->fail(errc::os_failure, "starting the thread that forwards wake-ups", e));
    }
    make_room(nic->fd_queues, nic->fd_queues.size() + 1);
    std::erase(nic->fd_queues, this);  // if the program has closed the one before
    const int made = os::beyond_standard(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (made >= 0) {  // else one that was lost stays so, and arm() says that
        event.reset(made, os::kept_fd::number_is::as_it_came);
    }
    if (made < 0 || !event) {
        return std::unexpected(nic->fail(errc::os_failure, "making a completion queue's file descriptor", errno));
    }
    fd_armed = false;
    entry->bell.store_release(1);
    nic->fd_queues.push_back(this);
    return {};
}

result<int> cq_body::descriptor() {
    if (nic->forked()) {
        return std::unexpected(nic->fail(errc::forked, "making a completion queue's file descriptor"));
    }
    const std::lock_guard hold(nic->mutex);
    if (event.get() < 0) {
        if (auto made = make_event(); !made) {
            return std::unexpected(made.error());
        }
    }
    return event.number();
}

result<bool> cq_body::arm() {
    if (nic->forked()) {
        return std::unexpected(nic->fail(errc::forked, "arming a completion queue"));
    }
    const std::lock_guard hold(nic->mutex);
    if (!event) {
        if (auto made = make_event(); !made) {
            return std::unexpected(made.error());
        }
    }
    const int fd = event.get();
    if (fd < 0) {  // a thread that waits for the number that it has would wait for ever
        return std::unexpected(nic->fail(errc::os_failure,
                                         "arming a completion queue: its file descriptor has been closed by somebody "
                                         "else in this process; fd() makes another one",
                                         EBADF));
    }
    std::uint64_t count = 0;
    (void)!::read(fd, &count, sizeof count);
    const optional_lock hold_poll(poll_mutex, attributes.thread_safe);
    fd_armed = true;
    if (!arm_once()) {
        fd_armed = false;
        return false;
    }
    return true;
}

}  // namespace vinic::detail
