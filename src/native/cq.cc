// SPDX-License-Identifier: Apache-2.0
//
// cq.cc -- completion queues.
//
//   Completions lie in the rings of the VIs; a completion queue only knows where to look:
//
//     polled   up to 8 queues whose rings are looked at directly (their `notify` is 0): a peer that
//              completes there touches nothing of the completion queue
//     bitmap   one ready bit for every other queue, set by whoever completes
//
//   So nothing can overflow, and a queue that nobody uses costs nothing, however many are attached.
//   The barriers are those of docs/protocols.md (a): light for whoever completes, heavy for the
//   poller when it stops looking at a ring or goes to sleep.
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bit>

#include "device/link.hpp"
#include "native/take.hpp"

namespace vinic::detail {

namespace {

constexpr std::uint32_t idle_turns = 1024;  ///< a polled queue this idle may lose its place
constexpr std::uint64_t sleep_slice_ns = 10'000'000;
constexpr int hot_looks = 16;
constexpr std::uint64_t tight_ticks = 400;

vi_state& vi_of(queue_tag tag) noexcept { return *reinterpret_cast<vi_state*>(tag & ~queue_tag{1}); }
abi::queue_kind kind_of(queue_tag tag) noexcept { return static_cast<abi::queue_kind>(tag & 1); }

/// Marks that poll runs, so that detach knows when a VI can no longer be looked at.
class inside_poll {
public:
    inside_poll(std::atomic<std::uint32_t>& word, const device::memory& m) noexcept
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

queue_tag cq_state::tag_of(std::uint32_t bit) const noexcept {
    const leaf_slots* leaf = slots.load(std::memory_order_acquire)[bit / 64].load(std::memory_order_acquire);
    return leaf == nullptr ? 0 : (*leaf)[bit % 64].load(std::memory_order_acquire);
}

std::size_t cq_state::poll(std::span<completion> out) noexcept {
    if (out.empty()) {
        return 0;
    }
    const optional_lock hold(poll_mutex, attributes.thread_safe);
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
    if (until_tick < 0) [[unlikely]] {
        until_tick = 256;
        nic->tick();
    }
    return n;
}

std::size_t cq_state::poll_once(std::span<completion> out) noexcept {
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

inline std::size_t cq_state::take_polled(std::uint32_t i, std::span<completion> out) noexcept {
    const queue_tag tag = polled[i].load(std::memory_order_relaxed);
    if (tag == 0) [[unlikely]] {
        return 0;
    }
    vi_state& v = vi_of(tag);
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

std::size_t cq_state::poll_ready(std::span<completion> out) noexcept {
    std::size_t n = 0;
    const device::memory& m = *nic->memory;
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
                    summary[s].fetch_or(std::uint64_t{1} << (leaf % 64));
                }
            }
        }
    }
    return n;
}

std::size_t cq_state::serve(queue_tag tag, std::span<completion> out) noexcept {
    if (tag == 0) {
        return 0;
    }
    vi_state& v = vi_of(tag);
    const abi::queue_kind kind = kind_of(tag);
    std::size_t n = v.take(kind, out);
    if (n < out.size()) {
        n += v.take_flushed(kind, out.subspan(n));
    }
    promote(tag);
    if (n == out.size()) {
        device::signal(*nic->memory, *v.entry, kind);  // more may be there, flushed ones among them
    }
    return n;
}

void cq_state::promote(queue_tag tag) noexcept {
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
            vi_state& v = vi_of(old);
            v.entry->notify[kind_of(old)].store_relaxed(1);
            nic->memory->heavy_barrier();
            if (v.pending(kind_of(old))) {
                device::signal(*nic->memory, *v.entry, kind_of(old));
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

bool cq_state::any_ready() const noexcept {
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

bool cq_state::arm_once() noexcept {
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
            device::signal(*nic->memory, *vi_of(tag).entry, kind_of(tag));
            ready = true;
        }
    }
    if (ready) {
        entry->armed.store_release(0);
    }
    return !ready;
}

result<std::size_t> cq_state::wait(std::span<completion> out, nanoseconds timeout) {
    const std::uint64_t start = os::now_ns();
    const std::uint64_t limit = timeout == forever ? abi::none64 : start + static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 0));
    if (out.empty()) {
        return std::unexpected(nic->fail(errc::invalid_argument, "waiting for completions: no room for one"));
    }
    const std::uint64_t spin_end = os::ticks() + spin_ticks;
    do {
        if (const std::size_t n = poll(out); n != 0) {
            spin_ticks = std::min(spin_ticks_max, spin_ticks * 2 + 100);
            return n;
        }
    } while (os::ticks() < spin_end);
    for (;;) {
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
            os::futex_wait(&entry->wakes.raw_, seen, std::min(sleep_slice_ns, limit - now));
            if (!attributes.thread_safe) {
                entry->armed.store_release(0);
            }
            spin_ticks = std::max(spin_ticks / 2, std::min<std::uint64_t>(spin_ticks_max, os::ticks_per_us()));
        }
        nic->tick();
        if (const std::size_t n = poll(out); n != 0) {
            return n;
        }
    }
}

result<int> cq_state::descriptor() {
    if (nic->forked()) {
        return std::unexpected(nic->fail(errc::forked, "making a completion queue's file descriptor"));
    }
    const std::lock_guard hold(nic->mutex);
    if (event_fd < 0) {
        event_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (event_fd < 0) {
            return std::unexpected(nic->fail(errc::os_failure, "making a completion queue's file descriptor", errno));
        }
        entry->bell.store_release(1);
        nic->fd_queues.push_back(this);
        nic->start_bell();
    }
    return event_fd;
}

result<bool> cq_state::arm() {
    if (auto fd = descriptor(); !fd) {
        return std::unexpected(fd.error());
    }
    const std::lock_guard hold(nic->mutex);
    std::uint64_t count = 0;
    (void)!::read(event_fd, &count, sizeof count);
    const optional_lock hold_poll(poll_mutex, attributes.thread_safe);
    fd_armed = true;
    if (!arm_once()) {
        fd_armed = false;
        return false;
    }
    return true;
}

// -- attaching ------------------------------------------------------------------------------------

result<void> cq_state::set_capacity(std::uint32_t queues) {
    const std::uint32_t leaf_count = std::max<std::uint32_t>(1, (queues + 63) / 64);
    const std::uint32_t known = bitmap_count.load();
    const std::uint32_t have = known == 0 ? 0 : bitmaps[known - 1].leaves;
    if (leaf_count > have) {
        // Doubling keeps the number of bitmaps, all of which stay in use, small.
        const std::uint32_t grown = next_power_of_two(std::max(leaf_count, have * 2));
        auto offset = nic->arena.take((abi::summary_words(grown) + grown) * sizeof(abi::word64));
        if (!offset) {
            return std::unexpected(offset.error());
        }
        auto table = std::make_unique<std::atomic<leaf_slots*>[]>(grown);
        for (std::uint32_t i = 0; i < have; ++i) {
            table[i].store(slots.load()[i].load());
        }
        slots.store(table.get(), std::memory_order_release);
        slot_tables.push_back(std::move(table));
        bitmaps[known] = {*offset, grown};
        bitmap_count.store(known + 1, std::memory_order_release);
        entry->bitmap.store_release(abi::make_bitmap(*offset, static_cast<std::uint32_t>(std::countr_zero(grown))));
    }
    entry->queues_max.store_relaxed(queues);
    attributes.queues_max = queues;
    return {};
}

result<void> cq_state::resize(std::uint32_t queues) {
    if (nic->forked()) {
        return std::unexpected(nic->fail(errc::forked, "resizing a completion queue"));
    }
    const std::lock_guard hold(nic->mutex);
    const std::lock_guard attached(attach_mutex);
    if (queues == 0 || queues > 2 * abi::vi_count) {
        return std::unexpected(nic->fail(errc::invalid_argument, "resizing a completion queue to " + std::to_string(queues) + " queues"));
    }
    if (queues < entry->attached.load_relaxed()) {
        return std::unexpected(nic->fail(errc::busy, "resizing a completion queue: more queues are attached"));
    }
    return set_capacity(queues);
}

result<std::uint32_t> cq_state::attach(queue_tag tag) {
    const std::lock_guard hold(attach_mutex);
    if (entry->attached.load_relaxed() >= attributes.queues_max) {
        return std::unexpected(nic->fail(errc::limit_reached, "attaching a VI: the completion queue serves cq_attributes::queues_max already"));
    }
    std::uint32_t bit = 0;
    if (!free_bits.empty()) {
        bit = free_bits.back();
        free_bits.pop_back();
    } else {
        bit = next_bit++;
    }
    std::atomic<leaf_slots*>& leaf = slots.load()[bit / 64];
    if (leaf.load() == nullptr) {
        leaves.push_back(std::make_unique<leaf_slots>());
        leaf.store(leaves.back().get(), std::memory_order_release);
    }
    (*leaf.load())[bit % 64].store(tag, std::memory_order_release);
    entry->attached.add_single_writer(1);
    return bit;
}

void cq_state::detach(std::uint32_t bit, queue_tag tag) noexcept {
    // In a forked child nobody else runs, and the mutex may be held by a thread of the parent.
    const optional_lock hold(attach_mutex, !nic->forked());
    (*slots.load()[bit / 64].load())[bit % 64].store(0);
    for (auto& p : polled) {
        queue_tag expected = tag;
        (void)p.compare_exchange_strong(expected, 0);
    }
    if (!nic->forked()) {
        nic->memory->heavy_barrier();
        const std::uint32_t seen = inside.load(std::memory_order_acquire);
        while ((seen & 1) != 0 && inside.load(std::memory_order_acquire) == seen) {
            std::this_thread::yield();
        }
        // Once more: a poll that was under way may have promoted it.
        for (auto& p : polled) {
            queue_tag expected = tag;
            (void)p.compare_exchange_strong(expected, 0);
        }
    }
    free_bits.push_back(bit);
    entry->attached.add_single_writer(~std::uint32_t{0});
}

cq_state::~cq_state() {
    if (entry == nullptr) {
        return;
    }
    if (event_fd >= 0) {
        const optional_lock hold(nic->mutex, !nic->forked());
        std::erase(nic->fd_queues, this);
        ::close(event_fd);
    }
    if (nic->forked()) {
        return;
    }
    const std::lock_guard hold(nic->mutex);
    entry->bitmap.store_release(0);
    {
        const device::control_lock lock(*nic->memory);
        nic->memory->give(abi::cqs, index);
    }
    for (std::uint32_t b = 0; b < bitmap_count.load(); ++b) {
        nic->arena.give(bitmaps[b].offset, (abi::summary_words(bitmaps[b].leaves) + bitmaps[b].leaves) * sizeof(abi::word64));
    }
}

}  // namespace vinic::detail

namespace vinic {

result<completion_queue> nic::create_completion_queue(const cq_attributes& attributes) {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "creating a completion queue"});
    }
    if (state_->forked()) {
        return std::unexpected(state_->fail(errc::forked, "creating a completion queue"));
    }
    if (attributes.queues_max == 0 || attributes.queues_max > 2 * abi::vi_count || attributes.spin_max.count() < 0) {
        return std::unexpected(state_->fail(errc::invalid_argument, "creating a completion queue: queues_max is 1 to 131072, spin_max not negative"));
    }
    auto made = std::make_shared<detail::cq_state>();
    made->nic = state_;
    made->nic_memory = state_->memory.get();
    made->attributes = attributes;
    const std::uint64_t spin_us = std::min<std::uint64_t>(static_cast<std::uint64_t>(attributes.spin_max.count()) / 1000, 1'000'000);
    made->spin_ticks_max = std::thread::hardware_concurrency() > 1 ? spin_us * os::ticks_per_us() : 0;
    made->spin_ticks = made->spin_ticks_max;
    {
        const std::lock_guard hold(state_->mutex);
        {
            const device::control_lock lock(*state_->memory);
            auto i = state_->memory->take(abi::cqs);
            if (!i) {
                return std::unexpected(i.error());
            }
            made->index = *i;
        }
        abi::cq_entry& e = state_->memory->cq(made->index);
        e.generation.add_single_writer(1);
        e.bitmap.store_relaxed(0);
        e.attached.store_relaxed(0);
        e.bell.store_relaxed(0);
        e.armed.store_relaxed(0);
        made->entry = &e;
        if (auto r = made->set_capacity(attributes.queues_max); !r) {
            made->entry = nullptr;
            const device::control_lock lock(*state_->memory);
            state_->memory->give(abi::cqs, made->index);
            return std::unexpected(r.error());
        }
    }
    completion_queue q;
    q.state_ = std::move(made);
    return q;
}

std::size_t completion_queue::poll(std::span<completion> out) noexcept { return state_ ? state_->poll(out) : 0; }

result<std::size_t> completion_queue::wait(std::span<completion> out, nanoseconds timeout) {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "waiting for completions"});
    }
    return state_->wait(out, timeout);
}

result<int> completion_queue::fd() {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "making a completion queue's file descriptor"});
    }
    return state_->descriptor();
}

result<bool> completion_queue::arm() {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "arming a completion queue"});
    }
    return state_->arm();
}

result<void> completion_queue::resize(std::uint32_t queues_max) {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "resizing a completion queue"});
    }
    return state_->resize(queues_max);
}

std::uint32_t completion_queue::queues_max() const noexcept { return state_ ? state_->entry->queues_max.load_relaxed() : 0; }
std::uint32_t completion_queue::queues_attached() const noexcept { return state_ ? state_->entry->attached.load_relaxed() : 0; }

result<void> completion_queue::close() {
    if (!state_) {
        return std::unexpected(error{errc::invalid_handle, 0, "closing a completion queue"});
    }
    if (!state_->nic->forked() && state_->entry->attached.load_relaxed() != 0) {
        return std::unexpected(state_->nic->fail(errc::busy, "closing a completion queue that VIs report to"));
    }
    state_.reset();
    return {};
}

}  // namespace vinic
