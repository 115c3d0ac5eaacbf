// SPDX-License-Identifier: Apache-2.0
//
// cq.hpp -- a completion queue as this process knows it; cq.cc says how it works.
#pragma once

#include <array>

#include "os/kept_fd.hpp"
#include "placement/vi.hpp"

namespace vinic::detail {

/// A queue of a VI as its completion queue knows it: the VI's address with the kind in the low bit.
using queue_tag = std::uintptr_t;

struct cq_body {
    static constexpr std::uint32_t polled_max = 8;
    using leaf_slots = std::array<std::atomic<queue_tag>, 64>;

    ~cq_body();
    [[nodiscard]] std::size_t poll(std::span<completion> out) noexcept;
    [[nodiscard]] result<std::size_t> wait(std::span<completion> out, nanoseconds timeout);
    [[nodiscard]] result<bool> arm();
    [[nodiscard]] result<std::optional<wait_ticket>> prepare_wait();
    void commit_wait(wait_ticket ticket, nanoseconds timeout) noexcept;
    void wake() noexcept;
    [[nodiscard]] result<int> descriptor();
    [[nodiscard]] result<void> make_event();
    [[nodiscard]] result<void> resize(std::uint32_t queues);
    [[nodiscard]] result<std::uint32_t> attach(queue_tag tag);
    void detach(std::uint32_t bit, queue_tag tag) noexcept;
    [[nodiscard]] result<void> set_capacity(std::uint32_t queues);

    std::shared_ptr<nic_body> nic;
    tables::memory* nic_memory = nullptr;
    abi::cq_entry* entry = nullptr;
    std::uint32_t index = 0;
    cq_attributes attributes;

    // -- polling ---------------------------------------------------------------------------------
    [[nodiscard]] std::size_t poll_once(std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t take_polled(std::uint32_t i, std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t poll_ready(std::span<completion> out) noexcept;
    [[nodiscard]] std::size_t serve(queue_tag tag, std::span<completion> out) noexcept;
    void promote(queue_tag tag) noexcept;
    /// Arms the CQ.  False: something is ready.  After it no queue is polled directly.
    [[nodiscard]] bool arm_once() noexcept;
    [[nodiscard]] bool any_ready() const noexcept;
    [[nodiscard]] queue_tag tag_of(std::uint32_t bit) const noexcept;

    std::array<std::atomic<queue_tag>, polled_max> polled{};  // their rings are looked at directly
    std::array<std::uint32_t, polled_max> idle{};
    std::uint32_t polled_count = 0;
    std::uint32_t turn = 0;
    std::uint32_t empty_polls = 0;
    std::uint32_t hot_expected = 0;
    std::uint32_t hot_place = 0;                // its index in `polled`
    std::uint64_t empty_ticks = 0;              // when the last poll found nothing
    const abi::word32* hot_sequence = nullptr;  // the next entry of the queue that was busy last
    std::int32_t until_tick = 0;
    bool crowded = false;  ///< who brings what is waited for may need this core
    std::atomic<bool> forget_hot{false};
    std::atomic<std::uint64_t> spin_ticks{0};
    std::uint64_t spin_ticks_max = 0;
    alignas(64) std::atomic<std::uint32_t> inside{0};  // odd while poll runs
    std::mutex poll_mutex;                             // thread_safe only

    // -- who is attached -------------------------------------------------------------------------
    struct bits {
        std::uint64_t offset;
        std::uint32_t leaves;
    };
    std::mutex attach_mutex;
    std::atomic<std::atomic<leaf_slots*>*> slots{nullptr};
    std::vector<std::unique_ptr<std::atomic<leaf_slots*>[]>> slot_tables;  // newest last; older ones may be in use
    std::vector<std::unique_ptr<leaf_slots>> leaves;
    std::array<bits, 32> bitmaps{};  // all that producers may know; each resize adds one
    std::atomic<std::uint32_t> bitmap_count{0};
    std::vector<std::uint32_t> free_bits;
    std::uint32_t next_bit = 0;
    os::kept_fd event;      // of descriptor(): the program's to wait for, ours to write, read and close
    bool fd_armed = false;  // under nic->mutex
};

}  // namespace vinic::detail
