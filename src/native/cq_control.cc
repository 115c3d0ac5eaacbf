// SPDX-License-Identifier: Apache-2.0
//
// cq_control.cc -- making, resizing and closing completion queues, and which VIs are attached to them.
#include <pthread.h>

#include <algorithm>
#include <bit>
#include <cstring>

#include "native/cq.hpp"
#include "placement/call.hpp"
#include "tables/arena.hpp"

namespace vinic::detail {

result<void> cq_body::set_capacity(std::uint32_t queues) {
    const std::uint32_t leaf_count = std::max<std::uint32_t>(1, (queues + 63) / 64);
    const std::uint32_t known = bitmap_count.load();
    const std::uint32_t have = known == 0 ? 0 : bitmaps[known - 1].leaves;
    if (leaf_count > have) {
        // Doubling keeps the number of bitmaps, all of which stay in use, small.
        const std::uint32_t grown = next_power_of_two(std::max(leaf_count, have * 2));
        auto table = std::make_unique<std::atomic<leaf_slots*>[]>(grown);
        slot_tables.reserve(slot_tables.size() + 1);
        auto offset = nic->arena.take(abi::bitmap_bytes(grown));
        if (!offset) {
            return std::unexpected(offset.error());
        }
        // In isolated placement the device makes no page of it where the function has no memory left.
        std::memset(nic->memory->at<std::byte>(*offset), 0, abi::bitmap_bytes(grown));
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

result<void> cq_body::resize(std::uint32_t queues) {
    if (nic->forked()) {
        return std::unexpected(nic->fail(errc::forked, "resizing a completion queue"));
    }
    const std::lock_guard hold(nic->mutex);
    const std::lock_guard attached(attach_mutex);
    if (queues == 0 || queues > 2 * abi::vi_count) {
        return std::unexpected(
            nic->fail(errc::invalid_argument, "resizing a completion queue to " + std::to_string(queues) + " queues"));
    }
    if (queues < entry->attached.load_relaxed()) {
        return std::unexpected(nic->fail(errc::busy, "resizing a completion queue: more queues are attached"));
    }
    return set_capacity(queues);
}

result<std::uint32_t> cq_body::attach(queue_tag tag) {
    const std::lock_guard hold(attach_mutex);
    if (entry->attached.load_relaxed() >= attributes.queues_max) {
        return std::unexpected(nic->fail(
            errc::limit_reached, "attaching a VI: the completion queue serves cq_attributes::queues_max already"));
    }
    const bool used_before = !free_bits.empty();
    const std::uint32_t bit = used_before ? free_bits.back() : next_bit;
    make_room(free_bits, bit + 1);  // for detach, which cannot fail
    std::atomic<leaf_slots*>& leaf = slots.load()[bit / 64];
    if (leaf.load() == nullptr) {
        leaves.push_back(std::make_unique<leaf_slots>());
        leaf.store(leaves.back().get(), std::memory_order_release);
    }
    if (used_before) {
        free_bits.pop_back();
    } else {
        ++next_bit;
    }
    (*leaf.load())[bit % 64].store(tag, std::memory_order_release);
    entry->attached.add_single_writer(1);
    return bit;
}

void cq_body::detach(std::uint32_t bit, queue_tag tag) noexcept {
    // In a forked child nobody else runs, and the mutex may be held by a thread of the parent.
    const optional_lock hold(attach_mutex, !nic->forked());
    (*slots.load()[bit / 64].load())[bit % 64].store(0);
    forget_hot.store(true);
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

cq_body::~cq_body() {
    if (entry == nullptr) {
        return;
    }
    const os::cancellation_off quiet;
    if (event) {
        const optional_lock hold(nic->mutex, !nic->forked());
        std::erase(nic->fd_queues, this);
        event.reset();
    }
    if (nic->forked()) {
        return;
    }
    const std::lock_guard hold(nic->mutex);
    entry->bitmap.store_release(0);
    {
        const tables::control_lock lock(*nic->memory, tables::farewell);
        if (!lock) {
            return;  // it stays until this process leaves the device
        }
        nic->memory->give(abi::cqs, index);
    }
    for (std::uint32_t b = 0; b < bitmap_count.load(); ++b) {
        nic->arena.give(bitmaps[b].offset, abi::bitmap_bytes(bitmaps[b].leaves));
    }
}

}  // namespace vinic::detail

namespace vinic {

result<completion_queue> nic::create_completion_queue(const cq_attributes& attributes) try {
    const os::cancellation_off inside;
    if (const auto why = detail::unusable(body_, "creating a completion queue")) {
        return std::unexpected(*why);
    }
    if (attributes.queues_max == 0 || attributes.queues_max > 2 * abi::vi_count || attributes.spin_max.count() < 0) {
        return std::unexpected(body_->fail(
            errc::invalid_argument, "creating a completion queue: queues_max is 1 to 131072, spin_max not negative"));
    }
    if (attributes.vector >= vectors()) {
        return std::unexpected(body_->fail(errc::invalid_argument, "creating a completion queue: there is no vector " +
                                                                       std::to_string(attributes.vector)));
    }
    auto made = std::make_shared<detail::cq_body>();
    made->nic = body_;
    made->nic_memory = body_->memory.get();
    made->attributes = attributes;
    const std::uint64_t spin_us =
        std::min<std::uint64_t>(static_cast<std::uint64_t>(attributes.spin_max.count()) / 1000, 1'000'000);
    made->spin_ticks_max = std::thread::hardware_concurrency() > 1 ? spin_us * os::ticks_per_us() : 0;
    made->spin_ticks = made->spin_ticks_max;
    made->crowded = body_->provider->facts.needs_another_core;
    {
        const std::lock_guard hold(body_->mutex);
        {
            const tables::control_lock lock(*body_->memory);
            auto i = lock ? body_->memory->take(abi::cqs)
                          : std::unexpected(body_->memory->fail_lock(errc::busy, "creating a completion queue"));
            if (!i) {
                return std::unexpected(i.error());
            }
            made->index = *i;
        }
        abi::cq_entry& e = body_->memory->cq(made->index);
        e.generation.add_single_writer(1);
        e.bitmap.store_relaxed(0);
        e.attached.store_relaxed(0);
        e.bell.store_relaxed(0);
        e.armed.store_relaxed(0);
        e.vector.store_relaxed(attributes.vector);
        made->entry = &e;
        if (auto r = made->set_capacity(attributes.queues_max); !r) {
            made->entry = nullptr;
            if (const tables::control_lock lock(*body_->memory, tables::farewell); lock) {
                body_->memory->give(abi::cqs, made->index);
            }
            return std::unexpected(r.error());
        }
    }
    completion_queue q;
    q.body_ = std::move(made);
    return q;
} catch (const std::exception& e) {
    return detail::caught(e, "creating a completion queue");
}

std::size_t completion_queue::poll(std::span<completion> out) noexcept { return body_ ? body_->poll(out) : 0; }

result<std::size_t> completion_queue::wait(std::span<completion> out, nanoseconds timeout) try {
    ::pthread_testcancel();  // a thread so busy that it never sleeps may be cancelled, too
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "waiting for completions"});
    }
    return body_->wait(out, timeout);
} catch (const std::exception& e) {
    return detail::caught(e, "waiting for completions");
}

result<std::optional<wait_ticket>> completion_queue::prepare_wait() try {
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "waiting for completions"});
    }
    return body_->prepare_wait();
} catch (const std::exception& e) {
    return detail::caught(e, "waiting for completions");
}

void completion_queue::commit_wait(wait_ticket ticket, nanoseconds timeout) noexcept {
    if (body_) {
        body_->commit_wait(ticket, timeout);
    }
}

void completion_queue::wake() noexcept {
    if (body_) {
        body_->wake();
    }
}

result<int> completion_queue::fd() try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "making a completion queue's file descriptor"});
    }
    return body_->descriptor();
} catch (const std::exception& e) {
    return detail::caught(e, "making a completion queue's file descriptor");
}

result<bool> completion_queue::arm() try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "arming a completion queue"});
    }
    return body_->arm();
} catch (const std::exception& e) {
    return detail::caught(e, "arming a completion queue");
}

result<void> completion_queue::resize(std::uint32_t queues_max) try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "resizing a completion queue"});
    }
    return body_->resize(queues_max);
} catch (const std::exception& e) {
    return detail::caught(e, "resizing a completion queue");
}

std::uint32_t completion_queue::queues_max() const noexcept {
    return body_ ? body_->entry->queues_max.load_relaxed() : 0;
}
std::uint32_t completion_queue::queues_attached() const noexcept {
    return body_ ? body_->entry->attached.load_relaxed() : 0;
}

result<void> completion_queue::close() try {
    const os::cancellation_off inside;
    if (!body_) {
        return std::unexpected(error{errc::invalid_handle, 0, "closing a completion queue"});
    }
    if (!body_->nic->forked() && body_->entry->attached.load_relaxed() != 0) {
        return std::unexpected(body_->nic->fail(errc::busy, "closing a completion queue that VIs report to"));
    }
    body_.reset();
    return {};
} catch (const std::exception& e) {
    return detail::caught(e, "closing a completion queue");
}

}  // namespace vinic
