// SPDX-License-Identifier: Apache-2.0
//
// vectors.cc -- which queues wait in which vector, and when a vector delivers.
#include "controller/vectors.hpp"

#include <algorithm>

namespace vinic::controller {

namespace {

constexpr std::uint64_t count_max = 65535;
constexpr std::uint64_t period_ns_max = 1'000'000'000;

}  // namespace

// -- lists, under the lock ----------------------------------------------------------------------

void completion_vectors::append(std::uint32_t index, waiting_cq cq) noexcept {
    vector& v = vectors_[index];
    place& p = waiting_[cq.index];
    p = {nowhere, v.last, static_cast<std::uint8_t>(index + 1), static_cast<std::uint8_t>(cq.context)};
    (v.last == nowhere ? v.first : waiting_[v.last].next) = cq.index;
    v.last = cq.index;
    ++v.waiting;
    high_ = std::max(high_, cq.index + 1);
}

void completion_vectors::remove(std::uint32_t cq) noexcept {
    place& p = waiting_[cq];
    vector& v = vectors_[p.vector - 1u];
    (p.before == nowhere ? v.first : waiting_[p.before].next) = p.next;
    (p.next == nowhere ? v.last : waiting_[p.next].before) = p.before;
    p.vector = 0;
    if (--v.waiting == 0) {
        v.completions = 0;
        v.due_ns = delivery_times::never;
    }
}

std::size_t completion_vectors::take(vector& v, std::span<waiting_cq> out) noexcept {
    std::size_t n = 0;
    for (; n < out.size() && v.first != nowhere; ++n) {
        out[n] = {v.first, waiting_[v.first].context};
        remove(v.first);
    }
    return n;
}

void completion_vectors::renew(vector& v) noexcept {
    const bool held = !enabled_ || v.settings.masked;
    v.closed.store(held || v.settings.period.count() != 0, std::memory_order_relaxed);
    v.due_ns = held || v.waiting == 0 ? delivery_times::never : 0;
}

void completion_vectors::publish(delivery_times& times) noexcept {
    std::uint64_t first = delivery_times::never;
    for (std::uint32_t i = 0; i < count_; ++i) {
        first = std::min(first, vectors_[i].due_ns);
    }
    times.set(function_, first);
}

// -- engines ------------------------------------------------------------------------------------

std::size_t completion_vectors::arrived(std::uint32_t index, waiting_cq cq, std::uint64_t now_ns,
                                        std::span<waiting_cq> now, delivery_times& times) noexcept {
    const std::lock_guard hold(mutex_);
    vector& v = vectors_[index];
    if (!v.closed.load(std::memory_order_relaxed)) {
        now[0] = cq;  // opened meanwhile
        return 1;
    }
    if (const std::uint8_t waits_in = waiting_[cq.index].vector; waits_in != index + 1) {
        if (waits_in != 0) {
            remove(cq.index);  // made anew, for another vector
        }
        append(index, cq);
    }
    v.completions = std::min(v.completions + 1, std::numeric_limits<std::uint32_t>::max() - 1);
    if (!enabled_ || v.settings.masked) {
        return 0;
    }
    std::size_t n = 0;
    const std::uint64_t due_before = v.due_ns;
    if (v.settings.count != 0 && v.completions >= v.settings.count) {
        n = take(v, now);
        v.due_ns = v.waiting == 0 ? delivery_times::never : 0;
    } else if (v.due_ns == delivery_times::never) {
        v.due_ns = now_ns + static_cast<std::uint64_t>(v.settings.period.count());
    }
    if (v.due_ns != due_before) {
        publish(times);
    }
    return n;
}

std::size_t completion_vectors::take_due(std::uint64_t now_ns, std::span<waiting_cq> out,
                                         delivery_times& times) noexcept {
    const std::lock_guard hold(mutex_);
    std::size_t n = 0;
    ++turn_;  // a vector that always has something takes nothing away from the others
    for (std::uint32_t i = 0; i < count_; ++i) {
        vector& v = vectors_[(turn_ + i) % count_];
        if (v.due_ns <= now_ns) {
            n += take(v, out.subspan(n));
        }
    }
    publish(times);
    return n;
}

// -- control ------------------------------------------------------------------------------------

errc completion_vectors::set(std::uint32_t index, bool masked, std::uint64_t count, std::uint64_t period_ns,
                             delivery_times& times) {
    if (index >= count_ || count > count_max || period_ns > period_ns_max || (count > 1 && period_ns == 0)) {
        return errc::invalid_argument;
    }
    const std::lock_guard hold(mutex_);
    vector& v = vectors_[index];
    v.settings = {masked, static_cast<std::uint32_t>(count), nanoseconds(static_cast<std::int64_t>(period_ns))};
    renew(v);
    publish(times);
    return errc::ok;
}

vector_status completion_vectors::status(std::uint32_t index) const {
    const std::lock_guard hold(mutex_);
    return {vectors_[index].settings, vectors_[index].waiting};
}

void completion_vectors::enable(bool yes, delivery_times& times) {
    const std::lock_guard hold(mutex_);
    if (enabled_ == yes) {
        return;
    }
    enabled_ = yes;
    for (std::uint32_t i = 0; i < count_; ++i) {
        renew(vectors_[i]);
    }
    publish(times);
}

bool completion_vectors::forget(std::uint32_t context, std::uint32_t& next, std::uint32_t most) {
    const std::lock_guard hold(mutex_);
    for (std::uint32_t n = 0; n < most && next < high_; ++n, ++next) {
        if (waiting_[next].vector != 0 && waiting_[next].context == context) {
            remove(next);
        }
    }
    return next < high_;
}

void completion_vectors::reset(delivery_times& times) {
    const std::lock_guard hold(mutex_);
    for (std::uint32_t i = 0; i < count_; ++i) {
        vector& v = vectors_[i];
        v.settings = {};
        renew(v);
    }
    publish(times);
}

}  // namespace vinic::controller
