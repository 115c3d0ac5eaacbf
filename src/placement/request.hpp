// SPDX-License-Identifier: Apache-2.0
//
// request.hpp -- listeners, and connection requests as both sides handle them.
#pragma once

#include <algorithm>
#include <cstring>

#include "placement/address.hpp"
#include "placement/vi.hpp"

namespace vinic::detail {

struct listener_body {
    std::shared_ptr<nic_body> nic;
    std::uint32_t index = 0;
    std::uint32_t generation = 0;
    ~listener_body();
};

/// A request that a listener has taken.
struct request_body {
    std::shared_ptr<nic_body> nic;
    std::shared_ptr<listener_body> listener;  // destroying a listener fails its requests
    std::uint64_t ticket = 0;                 // by which its placement knows it
    peer_information peer;
    bool answered = true;  // there is none yet
    ~request_body();
    [[nodiscard]] result<void> answer(vi_body* vi, std::span<const std::byte> data,
                                      tables::patience p = tables::control_patience);
};

/// Before the VI is used for what the request's nic alone knows.
[[nodiscard]] inline result<void> suits(const request_body& r, const vi_body& vi, const char* doing) {
    return vi.nic == r.nic ? result<void>{}
                           : std::unexpected(r.nic->fail(errc::invalid_argument,
                                                         std::string(doing) + ": the VI belongs to another nic"));
}

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

/// A VI in the interface's words.
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

/// Under the lock: a request of VI v, not yet visible (state 0).
[[nodiscard]] inline result<std::uint32_t> make_request(vi_body& v, std::span<const std::byte> data) {
    tables::memory& m = *v.nic->memory;
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
