// SPDX-License-Identifier: Apache-2.0
//
// post.cc -- direct placement: posting a send executes it.
//
//   post_send -> plain?  -> route::run_small, run_one_piece (engine.hpp) -> completion
//   post      -> execute -> route::run ----------------------------------->  completion
//                                   '-> the receiver is not ready: stall()
#include "placement/post.hpp"

#include "direct/provider.hpp"

namespace vinic::direct {

using detail::optional_lock;

namespace {

/// Messages up to this length are moved in one go, without a look at the connection in between.
constexpr std::uint32_t one_piece_bytes_max = 64 << 10;

}  // namespace

/// Whether a single segment can be sent now and without detours: the memory lies in this process, and
/// nothing has to be waited for.
inline bool connected_vi::is_plain(const segment& s, send_flag flags) const noexcept {
    if (detours || s.length > one_piece_bytes_max || s.length > attributes.transfer_bytes_max ||
        entry->state.load_acquire() != outgoing.connected || send_queue_full()) {
        return false;
    }
    if (has(flags, send_flag::inlined)) {
        return s.length <= attributes.inline_bytes_max;
    }
    tables::place p;
    return s.length == 0 ||
           (tables::check(*nic_memory, outgoing.from_domain, s.key, s.address, s.length, 0, p) && !p.whole_space);
}

/// The common case: a send of one plain segment to a receiver that is ready.
bool connected_vi::try_plain_send(const segment& s, std::uint64_t cookie, send_flag flags,
                                  std::uint32_t immediate) noexcept {
    const engine_mark mark(*nic_memory, *entry, abi::posting);
    if (!mark.ok() || !is_plain(s, flags)) {
        return false;
    }
    const auto* data = reinterpret_cast<const std::byte*>(s.address);
    const bool has_immediate = has(flags, send_flag::immediate);
    outcome o;
    // A second time at most: a receiver that is ready may still be no case for this path.
    for (bool once_more = true;; once_more = false) {
        o = s.length <= outgoing.payload_max ? outgoing.run_small(data, s.length, has_immediate, immediate)
                                             : outgoing.run_one_piece(data, s.length, has_immediate, immediate);
        if (!o.waits() || !once_more || !await_receiver()) {
            break;
        }
    }
    if (o.waits()) {
        return false;
    }
    finish(opcode::send, s.length, cookie, flags, o.how());
    return true;
}

/// Likewise for RDMA writes without immediate data.
bool connected_vi::try_plain_write(const segment& s, remote_address to, std::uint64_t cookie,
                                   send_flag flags) noexcept {
    const engine_mark mark(*nic_memory, *entry, abi::posting);
    if (!mark.ok() || s.length == 0 || !is_plain(s, flags)) {
        return false;
    }
    const outcome o =
        outgoing.run_plain_write(reinterpret_cast<const std::byte*>(s.address), s.length, to.address, to.key);
    if (o.waits()) {
        return false;
    }
    outgoing.count_foreign_copies();
    finish(opcode::write, s.length, cookie, flags, o.how());
    return true;
}

errc connected_vi::post_write(const segment& s, remote_address to, std::uint64_t cookie, send_flag flags,
                              std::uint32_t immediate) noexcept {
    if (has(flags, send_flag::immediate)) [[unlikely]] {
        return vi_body::post_write(s, to, cookie, flags, immediate);
    }
    {
        const optional_lock hold(send_mutex, attributes.thread_safe);
        if (try_plain_write(s, to, cookie, flags)) [[likely]] {
            if ((++posts & 255) == 0) {
                nic->tick();
            }
            return errc::ok;
        }
    }
    return vi_body::post_write(s, to, cookie, flags, 0);  // which nobody asked for
}

errc connected_vi::post_send(const segment& s, std::uint64_t cookie, send_flag flags,
                             std::uint32_t immediate) noexcept {
    {
        const optional_lock hold(send_mutex, attributes.thread_safe);
        if (try_plain_send(s, cookie, flags, immediate)) [[likely]] {
            if ((++posts & 255) == 0) {
                nic->tick();
            }
            return errc::ok;
        }
    }
    return vi_body::post_send(s, cookie, flags, immediate);
}

errc connected_vi::post(const work_request& w) noexcept { return detail::post_through(*this, w); }

errc connected_vi::execute(std::uint64_t state, const rules::message& m, const work_request& w) noexcept {
    return state == outgoing.connected ? post_checked(m, w) : post_unconnected(state, m, w);
}

errc connected_vi::post_checked(const rules::message& m, const work_request& w) noexcept {
    if (handed) {
        await_return();
        const std::uint32_t at = send_posted.load(std::memory_order_relaxed);
        queue.store(at, m);
        if (append(outgoing, at + 1)) {
            push({w.cookie, m.length, m.opcode, status::success, !has(w.flags, send_flag::unsignalled), true});
            entry->counters[abi::tx_handed_over].add_single_writer(1);
            return errc::ok;
        }
        if (entry->send_next.load_acquire() != at || entry->state.load_acquire() != outgoing.connected) {
            // Taken back because the wait was over: the connection is being broken, or is by now.
            while (entry->state.load_acquire() == outgoing.connected) {
                os::spin_pause();
            }
            return post_unconnected(entry->state.load_acquire(), m, w);
        }
        set_handed(false);
        stall_deadline_ns.store(0, std::memory_order_relaxed);
    }
    outcome o = outgoing.run(m);
    if (o.waits() && await_receiver()) {
        o = outgoing.run(m);
    }
    if (o.waits()) {
        return stall(m, w);
    }
    outgoing.count_foreign_copies();
    finish(m.opcode, m.length, w.cookie, w.flags, o.how());
    return errc::ok;
}

}  // namespace vinic::direct
