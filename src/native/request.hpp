// SPDX-License-Identifier: Apache-2.0
//
// request.hpp -- connection requests as both sides handle them: connect.cc makes them, listen.cc answers.
#pragma once

#include <algorithm>
#include <cstring>

#include "native/address.hpp"
#include "native/state.hpp"
#include "rules/vi.hpp"

namespace vinic::detail {

inline constexpr std::uint64_t sleep_slice_ns = 20'000'000;

[[nodiscard]] inline std::uint64_t deadline_of(nanoseconds timeout) noexcept {
    if (timeout == forever) {
        return abi::none64;
    }
    return os::now_ns() + static_cast<std::uint64_t>(std::max<std::int64_t>(timeout.count(), 0));
}

/// For the control lock inside a call that ends at `deadline`: never later by more than what an honest holder needs.
[[nodiscard]] inline std::uint64_t lock_deadline(std::uint64_t deadline) noexcept {
    constexpr std::uint64_t grace_ns = 20'000'000;
    return std::max(deadline, os::now_ns() + grace_ns);
}

[[nodiscard]] inline rules::vi_terms terms_of(const abi::vi_entry& e) noexcept {
    return {e.reliability.load_relaxed(), e.transfer_bytes_max.load_relaxed()};
}

/// Under the lock: both ends become connected.  The order lets a half-done connection be recognised
/// from either end if the caller dies in between.
inline void link(const device::memory& m, std::uint32_t a, std::uint32_t b) noexcept {
    abi::vi_entry* ends[2] = {&m.vi(a), &m.vi(b)};
    const std::uint32_t numbers[2] = {a, b};
    const std::uint32_t epochs[2] = {abi::epoch_of(ends[0]->state.load_relaxed()) + 1,
                                     abi::epoch_of(ends[1]->state.load_relaxed()) + 1};
    for (std::uint32_t i = 0; i < 2; ++i) {
        ends[i]->peer.store_relaxed(numbers[1 - i]);
        ends[i]->peer_epoch.store_relaxed(epochs[1 - i]);
        ends[i]->receive_attention.store_relaxed(0);
        ends[i]->hand_over.store_relaxed(abi::make_hand_over(0, abi::queue_holder::owner));
    }
    for (std::uint32_t i = 0; i < 2; ++i) {
        ends[i]->state.store_release(abi::make_state(epochs[i], abi::link::connected));
    }
}

/// The same for a VI as the device describes it.
[[nodiscard]] inline peer_information describe(const abi::peer_description& d) {
    peer_information p;
    p.vi = d.vi;
    p.process_id = d.process_id;
    p.function = d.function;
    p.user = d.user;
    p.attributes.reliability = static_cast<reliability>(d.reliability);
    p.attributes.transfer_bytes_max = d.transfer_bytes_max;
    p.attributes.receiver_wait =
        d.receiver_wait_ns == abi::none64 ? forever : nanoseconds(static_cast<std::int64_t>(d.receiver_wait_ns));
    p.attributes.rdma_write = (d.flags & abi::allow_write) != 0;
    p.attributes.rdma_read = (d.flags & abi::allow_read) != 0;
    p.attributes.rdma_atomic = (d.flags & abi::allow_atomic) != 0;
    p.attributes.send_depth = d.send_depth;
    p.attributes.receive_depth = d.receive_depth;
    p.attributes.segments_max = d.segments_max;
    p.attributes.inline_bytes_max = d.inline_bytes_max;
    return p;
}

[[nodiscard]] inline peer_information describe_vi(const device::memory& m, std::uint32_t vi) {
    const abi::vi_entry& e = m.vi(vi);
    const std::uint32_t owner = e.owner.load_relaxed();
    abi::peer_description d{};
    d.vi = vi;
    d.process_id = owner == 0 ? 0 : m.process(owner - 1).pid.load_relaxed();
    d.user = owner == 0 ? unknown_user : m.process(owner - 1).user.load_relaxed() - 1;
    d.flags = e.flags.load_relaxed();
    d.reliability = e.reliability.load_relaxed();
    d.receiver_wait_ns = e.receiver_wait_ns.load_relaxed();
    d.transfer_bytes_max = e.transfer_bytes_max.load_relaxed();
    d.send_depth = e.send_depth.load_relaxed();
    d.receive_depth = e.receive_depth.load_relaxed();
    d.segments_max = e.segments_max.load_relaxed();
    d.inline_bytes_max = e.inline_bytes_max.load_relaxed();
    return describe(d);
}

[[nodiscard]] inline std::vector<std::byte> bytes_of(const std::uint8_t* data, std::size_t bytes) {
    const auto* from = reinterpret_cast<const std::byte*>(data);
    return {from, from + std::min<std::size_t>(bytes, abi::private_data_bytes_max)};
}

template <std::size_t Size>
[[nodiscard]] std::uint16_t put(std::uint8_t (&to)[Size], std::span<const std::byte> data) noexcept {
    if (!data.empty()) {
        std::memcpy(to, data.data(), data.size());
    }
    return static_cast<std::uint16_t>(data.size());
}

[[nodiscard]] inline abi::request_stage state_of(const abi::request_entry& r) noexcept {
    return static_cast<abi::request_stage>(r.state.load_acquire());
}

inline void settle(abi::request_entry& r, abi::request_stage s) noexcept {
    r.state.store_release(static_cast<std::uint32_t>(s));
    os::futex_wake(&r.state.raw_);
}

/// Under the lock: a request of VI v, not yet visible (state 0).
[[nodiscard]] inline result<std::uint32_t> make_request(vi_state& v, std::span<const std::byte> data) {
    device::memory& m = *v.nic->memory;
    auto i = m.take(abi::requests);
    if (!i) {
        return i;
    }
    abi::request_entry& r = m.request(*i);
    r.state.store_relaxed(0);
    r.generation.add_single_writer(1);
    r.vi.store_relaxed(v.index);
    r.name.store_relaxed(abi::none32);
    r.peer_vi = abi::none32;
    r.order.store_relaxed(m.header().order.fetch_add(1));
    r.data_bytes = put(r.data, data);
    r.answer_bytes = 0;
    return i;
}

}  // namespace vinic::detail
