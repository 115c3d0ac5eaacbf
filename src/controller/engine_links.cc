// SPDX-License-Identifier: Apache-2.0
//
// engine_links.cc -- connections as engines meet them: a receiver that is not ready, and a break.
#include "controller/engines.hpp"
#include "controller/notify.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint64_t delivery_bytes = 512;  ///< what a wake-up outside of a lease costs its function

}  // namespace

// -- receivers that are not ready -------------------------------------------------------------------

bool engines::wait_for_receiver(vi& v, std::uint64_t now_ns) noexcept {
    vi& to = *v.peer;
    if (v.d.receiver_wait_ns == 0) {
        to.entry->rx_no_descriptor_drops.fetch_add(1);
        to.owner->counters.rx_no_descriptor_drops.fetch_add(1, std::memory_order_relaxed);
        const enum status how = status::receiver_not_ready;
        break_link(v, abi::break_reason::local_error, abi::break_reason::remote_error, &how);
        return false;
    }
    to.entry->receive_attention.store_relaxed(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the client's between posting and attention
    if (to.owner->allowed.load(std::memory_order_relaxed) && to.has_receive()) {
        to.entry->receive_attention.store_relaxed(0);
        return true;
    }
    v.waits = true;
    v.wait_end_ns = v.d.receiver_wait_ns == abi::none64 ? 0 : now_ns + v.d.receiver_wait_ns;
    if (v.wait_end_ns != 0) {
        v.wait_node.value() = {v.wait_end_ns, &v};
        limited_waits_.insert(std::move(v.wait_node));
    }
    return false;
}

void engines::end_wait(vi& v) noexcept {
    v.waits = false;
    if (v.wait_end_ns != 0) {
        v.wait_node = limited_waits_.extract({v.wait_end_ns, &v});
    }
}

void engines::expire_waits(std::uint64_t now_ns) noexcept {
    while (!limited_waits_.empty() && limited_waits_.begin()->first <= now_ns) {
        vi& v = *limited_waits_.begin()->second;
        v.peer->entry->receive_attention.store_relaxed(0);
        v.peer->entry->rx_no_descriptor_drops.fetch_add(1);
        v.peer->owner->counters.rx_no_descriptor_drops.fetch_add(1, std::memory_order_relaxed);
        const enum status how = status::receiver_not_ready;
        break_link(v, abi::break_reason::local_error, abi::break_reason::remote_error, &how);  // takes it off the list
    }
}

// -- breaking -----------------------------------------------------------------------------------

void engines::break_link(vi& v, abi::break_reason mine, abi::break_reason peers, const enum status* how) noexcept {
    vi* p = v.peer;
    if (how != nullptr) {
        executor::finish(v, *how);
    }
    const auto end = [this](vi& x, abi::break_reason why) {
        x.link.store(abi::link::error, std::memory_order_relaxed);
        x.reason = why;
        x.unpublished_break = true;
        withdraw(x);
    };
    end(v, mine);
    if (p != nullptr && p->link.load(std::memory_order_relaxed) == abi::link::connected) {
        end(*p, peers);
    }
    publish_break(v);
}

void engines::publish_break(vi& v) noexcept {
    vi* p = v.peer;
    if (v.leased || (p != nullptr && p->leased)) {
        return;
    }
    for (vi* x : {p, &v}) {
        if (x == nullptr || !x->unpublished_break) {
            continue;
        }
        x->unpublished_break = false;
        x->pending.reset();
        publish_state(*x);
        signal(*x, abi::send_queue);
        signal(*x, abi::receive_queue);
    }
    call_for_deliveries();
}

// -- vectors --------------------------------------------------------------------------------------

void engines::deliver(std::uint64_t now_ns) noexcept {
    waiting_cq due[deliveries_max];
    std::size_t room = deliveries_max;
    deliveries_.begin_look();
    ++delivery_turn_;
    for (std::size_t i = 0; i < functions_.size(); ++i) {
        function& f = *functions_[(delivery_turn_ + i) % functions_.size()];
        if (deliveries_.of(f.number) <= now_ns && room != 0) {
            const std::size_t n = f.vectors.take_due(now_ns, std::span(due).first(room), deliveries_);
            for (std::size_t k = 0; k < n; ++k) {
                wake(f.window, due[k]);
                scheduler.charge_receiver(f.number, delivery_bytes, now_ns);
            }
            room -= n;
        }
        deliveries_.expect(deliveries_.of(f.number));
    }
}

/// What an engine leaves in a vector it finds before it sleeps.  Others leave something under the board, and so does an
/// engine say that it sleeps.
void engines::call_for_deliveries() noexcept {
    if (deliveries_.next() != delivery_times::never && sleepers_.load(std::memory_order_relaxed) == leases_.size()) {
        kicks_.wake();
    }
}

}  // namespace vinic::controller
