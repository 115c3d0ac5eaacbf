// SPDX-License-Identifier: Apache-2.0
//
// vectors.hpp -- a function's completion vectors: when a client that sleeps is told of its completions.
//
//   completion --> ready bit --> armed? --> vector open: wake at once
//                                     '---> vector closed: the queue waits in the vector, `armed` stays
//
//   A vector is closed while it is masked, while it is moderated, and while its function has MSI-X off or masked or
//   no bus master.  What waits is delivered when the vector is opened, when `count` completions have come, or when
//   `period` is over since the first.  So a wake-up may be late or needless, but is never lost: closing a vector and
//   leaving a queue in it happen under one lock (docs/protocols.md, section 6).
//
//   Which vector a queue belongs to stands in the window, where anybody of the function may write anything: a
//   number that is not one means vector 0.  A queue waits in one vector at a time, in a table of the device, so
//   what waits is bounded whatever is written there.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <mutex>
#include <span>
#include <vinic/words.hpp>

#include "abi/window.hpp"
#include "controller/sparse_array.hpp"

namespace vinic::controller {

/// When which function has something to deliver.  An entry is written under the lock of that function's vectors.
class delivery_times {
public:
    static constexpr std::uint64_t never = ~std::uint64_t{0};

    delivery_times() noexcept {
        for (auto& t : of_) {
            t.store(never, std::memory_order_relaxed);
        }
    }
    /// For all functions.
    [[nodiscard]] std::uint64_t next() const noexcept { return next_.load(); }
    [[nodiscard]] std::uint64_t of(std::uint32_t function) const noexcept { return of_[function].load(); }
    void set(std::uint32_t function, std::uint64_t at_ns) noexcept {
        of_[function].store(at_ns);
        expect(at_ns);
    }
    /// Before all functions are looked at: what is set meanwhile is not forgotten.
    void begin_look() noexcept { next_.store(never); }
    void expect(std::uint64_t at_ns) noexcept {
        std::uint64_t known = next_.load();
        while (at_ns < known && !next_.compare_exchange_weak(known, at_ns)) {
        }
    }

private:
    std::atomic<std::uint64_t> next_{never};
    std::array<std::atomic<std::uint64_t>, abi::function_count_max> of_;
};

/// A completion queue that is to be woken.
struct waiting_cq {
    std::uint32_t index;
    std::uint32_t context;  ///< whose process has the bell
};

class completion_vectors {
public:
    /// Every vector open; `count`: 1 to abi::vectors_max.  Before anybody else uses it.
    completion_vectors(std::uint32_t function, std::uint32_t count)
        : function_(function), count_(count), waiting_(abi::cq_count) {}

    [[nodiscard]] std::uint32_t count() const noexcept { return count_; }
    [[nodiscard]] std::uint32_t valid(std::uint32_t index) const noexcept { return index < count_ ? index : 0; }
    /// Whether a completion wakes at once; then arrived() is not needed.
    [[nodiscard]] bool is_open(std::uint32_t index) const noexcept {
        return !vectors_[index].closed.load(std::memory_order_relaxed);
    }
    /// A completion came to a queue that is armed.  Fills `now` with the queues to wake at once; more may follow.
    [[nodiscard]] std::size_t arrived(std::uint32_t index, waiting_cq cq, std::uint64_t now_ns,
                                      std::span<waiting_cq> now, delivery_times& times) noexcept;
    /// Takes queues whose time has come.
    [[nodiscard]] std::size_t take_due(std::uint64_t now_ns, std::span<waiting_cq> out, delivery_times& times) noexcept;

    /// errc::invalid_argument: no such vector, or a count or period that could keep a wake-up for too long.  What
    /// may be delivered now is due.
    [[nodiscard]] errc set(std::uint32_t index, bool masked, std::uint64_t count, std::uint64_t period_ns,
                           delivery_times& times);
    /// `index`: below count().
    [[nodiscard]] vector_status status(std::uint32_t index) const;
    /// MSI-X is on, not masked, and the function may write: all its vectors.
    void enable(bool yes, delivery_times& times);
    /// Takes out what waits of a context that has no VI any more, from queue `next` on and at most so many queues;
    /// false: that was all.
    [[nodiscard]] bool forget(std::uint32_t context, std::uint32_t& next, std::uint32_t most);
    /// As at first, but for enable().
    void reset(delivery_times& times);

private:
    static constexpr std::uint32_t nowhere = ~std::uint32_t{0};
    struct vector {
        std::atomic<bool> closed{false};
        vector_settings settings;
        std::uint32_t first = nowhere;  ///< queues that wait, oldest first
        std::uint32_t last = nowhere;
        std::uint32_t waiting = 0;
        std::uint32_t completions = 0;  ///< since there was something to deliver
        std::uint64_t due_ns = delivery_times::never;
    };
    /// A queue's place in the list of a vector.
    struct place {
        std::uint32_t next;
        std::uint32_t before;
        std::uint8_t vector;  ///< + 1, 0 = it does not wait
        std::uint8_t context;
    };

    void append(std::uint32_t index, waiting_cq cq) noexcept;
    void remove(std::uint32_t cq) noexcept;
    std::size_t take(vector& v, std::span<waiting_cq> out) noexcept;
    /// Settings or enable() have changed: what may be delivered is due.
    void renew(vector& v) noexcept;
    void publish(delivery_times& times) noexcept;

    std::uint32_t function_;
    std::uint32_t count_;
    mutable std::mutex mutex_;
    bool enabled_ = true;
    std::uint32_t turn_ = 0;
    std::uint32_t high_ = 0;  ///< behind the last queue that ever waited
    std::array<vector, abi::vectors_max> vectors_;
    sparse_array<place> waiting_;  ///< by queue
};

}  // namespace vinic::controller
