// SPDX-License-Identifier: Apache-2.0
//
// notify.cc -- sets ready bits and wakes sleepers, at once or when the vector is due.
#include "controller/notify.hpp"

#include "controller/lease.hpp"
#include "os/sync.hpp"
#include "rules/ready.hpp"

namespace vinic::controller {

void wake(const window& w, waiting_cq cq) noexcept {
    abi::cq_entry& entry = w.at<abi::cq_entry>(abi::cqs_offset)[cq.index];
    if (!rules::takes_wake(entry)) {
        return;
    }
    entry.wakes.fetch_add(1);
    os::futex_wake(&entry.wakes.raw_, wakes_max);
    if (entry.bell.load_relaxed() != 0) {
        abi::word32& bell = w.process(cq.context).bell;
        bell.fetch_add(1);
        os::futex_wake(&bell.raw_, wakes_max);
    }
}

void deliver_due(function& f) noexcept {
    waiting_cq due[deliveries_max];
    const std::size_t n = f.vectors.take_due(clock_ns(), due, f.times);
    for (std::size_t i = 0; i < n; ++i) {
        wake(f.window, due[i]);
    }
}

namespace {

/// Whether the device may store into a bitmap that it has not marked v in before: its pages are there, or may be made.
/// A client says where it is as often as it likes, also when its function has no memory left.
bool may_mark(vi& v, abi::queue_kind q, std::uint64_t bitmap, std::uint32_t leaf) noexcept {
    constexpr std::uint32_t pages = 2;
    const window& w = v.owner->window;
    const std::uint64_t words = abi::bitmap_offset(bitmap);
    const std::uint64_t leaf_at = words + (abi::summary_words(abi::bitmap_leaves(bitmap)) + leaf) * sizeof(abi::word64);
    const auto is_there = [&](std::uint64_t offset) {
        const std::uint64_t page = offset / abi::page_size * abi::page_size;
        return w.next_page(page) == page;
    };
    if (!v.owner->memory.take(pages, w) && !(is_there(words + leaf / 64 * sizeof(abi::word64)) && is_there(leaf_at))) {
        v.owner->counters.memory_refusals.fetch_add(1, std::memory_order_relaxed);
        return false;
    }
    v.marked[q].store(bitmap, std::memory_order_relaxed);
    return true;
}

}  // namespace

void signal(vi& v, abi::queue_kind q) noexcept {
    const window& w = v.owner->window;
    const std::uint32_t index = v.d.cq[q];  // below cq_count: checked at create_vi
    abi::cq_entry& cq = w.at<abi::cq_entry>(abi::cqs_offset)[index];
    const std::uint64_t bitmap = cq.bitmap.load_acquire();
    const std::uint32_t bit = v.d.cq_bit[q];
    if (abi::bitmap_leaves_log2(bitmap) > abi::bitmap_leaves_log2_max || !rules::has_ready_bit(bitmap, bit) ||
        !w.holds(abi::bitmap_offset(bitmap), abi::bitmap_bytes(abi::bitmap_leaves(bitmap)))) {
        return;
    }
    if (v.marked[q].load(std::memory_order_relaxed) != bitmap && !may_mark(v, q, bitmap, rules::ready_leaf(bit))) {
        return;
    }
    rules::mark_ready(w.at<abi::word64>(abi::bitmap_offset(bitmap)), bitmap, bit);
    if (cq.armed.load_relaxed() == 0) {
        return;
    }
    completion_vectors& vectors = v.owner->vectors;
    const std::uint32_t vector = vectors.valid(cq.vector.load_relaxed());
    if (vectors.is_open(vector)) {
        wake(w, {index, v.context});
        return;
    }
    waiting_cq now[deliveries_max];
    const std::size_t n = vectors.arrived(vector, {index, v.context}, clock_ns(), now, v.owner->times);
    for (std::size_t i = 0; i < n; ++i) {
        wake(w, now[i]);
    }
}

}  // namespace vinic::controller
