// SPDX-License-Identifier: Apache-2.0
//
// post.hpp -- posting a send: the steps that every kind of VI takes, in their order.
//
//   post -> prepare (what the interface promises to check) -> is it alive?  is there room? -> the VI's own execute()
#pragma once

#include "placement/vi.hpp"

namespace vinic::detail {

/// How vi_body::post() of a final class works: nothing of it is a virtual call.  V has
///     bool make_way()                          has found room in a queue that was full
///     errc execute(state, message, request)    state: the word in which the VI was found, its link not `none`
template <class V>
[[nodiscard]] inline errc post_through(V& v, const work_request& w) noexcept {
    rules::message m;
    std::byte inline_space[rules::inline_limit];
    const optional_lock hold(v.send_mutex, v.attributes.thread_safe);
    errc e = v.prepare(w, m, inline_space);
    if (e == errc::ok) [[likely]] {
        if ((++v.posts & 255) == 0) {
            v.nic->tick();
        }
        const engine_mark mark(*v.nic_memory, *v.entry, abi::posting);
        const std::uint64_t state = v.entry->state.load_acquire();
        if (!mark.ok()) {
            e = errc::concurrent_use;
        } else if (abi::link_of(state) == abi::link::none) {
            e = v.nic->forked()                      ? errc::forked
                : v.nic->provider->facts.may_be_gone ? errc::peer_gone
                                                     : errc::invalid_handle;
        } else if (v.send_queue_full() && !v.make_way()) {
            e = errc::queue_full;
        } else {
            e = v.execute(state, m, w);
        }
    }
    if (e != errc::ok) [[unlikely]] {
        v.entry->counters[abi::tx_refused_posts].add_single_writer(1);
    }
    return e;
}

}  // namespace vinic::detail
