// SPDX-License-Identifier: Apache-2.0
//
// vi.cc -- what the VIs of all placements do alike when they post a send, or give one up.
#include "placement/vi.hpp"

#include <cstring>

#include "rules/vi.hpp"

namespace vinic::detail {

static_assert(sizeof(segment) == sizeof(abi::segment) && offsetof(segment, length) == offsetof(abi::segment, length) &&
                  offsetof(segment, key) == offsetof(abi::segment, key),
              "the interface's segments are the engine's");

errc vi_body::post_send(const segment& s, std::uint64_t cookie, send_flag flags, std::uint32_t immediate) noexcept {
    work_request w;
    w.flags = flags;
    w.immediate = immediate;
    w.cookie = cookie;
    w.segments = {&s, 1};
    return post(w);
}

errc vi_body::post_write(const segment& s, remote_address to, std::uint64_t cookie, send_flag flags,
                         std::uint32_t immediate) noexcept {
    work_request w;
    w.opcode = opcode::write;
    w.flags = flags;
    w.immediate = immediate;
    w.cookie = cookie;
    w.segments = {&s, 1};
    w.remote = to;
    return post(w);
}

posted vi_body::post_several(std::span<const work_request> requests) noexcept {
    posted p;
    for (; p.count < requests.size(); ++p.count) {
        if (const errc e = post(requests[p.count]); e != errc::ok) {
            p.code = e;
            break;
        }
    }
    return p;
}

errc vi_body::prepare(const work_request& w, rules::message& m, std::byte* inline_space) noexcept {
    std::uint64_t sum = 0;
    for (const segment& s : w.segments) {
        sum += s.length;
    }
    const bool immediate = has(w.flags, send_flag::immediate);
    const bool inlined = has(w.flags, send_flag::inlined);
    const rules::posting_limits limits{attributes.segments_max, attributes.transfer_bytes_max,
                                       attributes.inline_bytes_max, attributes.reliability, attributes.service};
    if (const errc refused = rules::may_post(limits, {w.opcode, immediate, inlined, w.segments.size(), sum});
        refused != errc::ok) {
        return refused;
    }
    m.opcode = w.opcode;
    m.has_immediate = immediate;
    m.immediate = w.immediate;
    m.length = static_cast<std::uint32_t>(sum);
    m.segments = reinterpret_cast<const abi::segment*>(w.segments.data());
    m.segment_count = static_cast<std::uint16_t>(w.segments.size());
    m.remote_address = w.remote.address;
    m.remote_key = w.remote.key;
    m.operand = w.operand;
    m.compare = w.compare;
    if (inlined) {
        std::byte* to = inline_space;
        for (const segment& s : w.segments) {
            if (s.length != 0) {
                std::memcpy(to, reinterpret_cast<const void*>(s.address), s.length);
                to += s.length;
            }
        }
        m.inline_data = inline_space;
        m.segment_count = 0;
    }
    return make_room(m);
}

errc vi_body::post_unconnected(std::uint64_t state, const rules::message& m, const work_request& w) noexcept {
    if (abi::link_of(state) != abi::link::error) {
        return errc::invalid_state;
    }
    // VIA 1.0, VI states: posted in error, flushed at once.
    push({w.cookie, m.length, m.opcode, rules::flushed_by(abi::reason_of(state)), true, false});
    tables::signal(*nic_memory, *entry, abi::send_queue);
    return errc::ok;
}

void vi_body::flush_posted(enum status as) noexcept {
    if (chooser.kind != nullptr) {
        chooser.kind->reset(chooser.table);
    }
    flush_status.store(as);
    flush_limit[abi::send_queue].store(send_posted.load(), std::memory_order_release);
    const std::uint32_t posted_now = receive_posted.load();
    flush_limit[abi::receive_queue].store(posted_now, std::memory_order_release);
    entry->receive_base.store_relaxed(posted_now);
    tables::signal(*nic_memory, *entry, abi::send_queue);
    tables::signal(*nic_memory, *entry, abi::receive_queue);
}

void vi_body::drop_request() noexcept {
    overdue = abi::none64;
    if (const std::uint32_t request = pending_request.exchange(abi::none32); request != abi::none32) {
        nic_memory->give(abi::requests, request);
    }
}

}  // namespace vinic::detail
