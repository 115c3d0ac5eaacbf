// SPDX-License-Identifier: Apache-2.0
//
// engine_links.cc -- connections as engines meet them: a receiver that is not ready, and a break.
#include <algorithm>

#include "controller/engines.hpp"
#include "controller/notify.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint64_t delivery_bytes = 512;  ///< what wake-ups outside of a lease cost their function at least
constexpr std::size_t deliveries_of_a_turn = 4;
constexpr std::uint64_t expiry_bytes =
    4096;  ///< what a connection that breaks by its limit costs its sender's function

}  // namespace

// -- receivers that are not ready -------------------------------------------------------------------

/// The message at the head of v finds no descriptor, and the connection breaks.
void engines::end_unreceived(vi& v) noexcept {
    const rules::ending& e = rules::ending_of(rules::fault::no_descriptor);
    v.peer->entry->drops[e.drop].fetch_add(1);
    v.peer->owner->counters.rx_no_descriptor_drops.fetch_add(1, std::memory_order_relaxed);
    break_link(v, e.mine, e.peers, &e.sender);
}

bool engines::wait_for_receiver(vi& v, bool receiver_off, std::uint64_t now_ns) noexcept {
    vi& to = *v.peer;
    if (v.d.receiver_wait_ns == 0) {
        end_unreceived(v);
        return false;
    }
    v.waits_for_function = receiver_off;
    to.entry->receive_attention.store_relaxed(1);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the client's between posting and attention
    if (is_ready_for(v, to)) {
        to.entry->receive_attention.store_relaxed(0);
        return true;
    }
    v.waits = true;
    v.entry->counters[abi::tx_handed_over].fetch_add(1);  // it alone: those behind it wait for it, not for the receiver
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

bool engines::expire_waits(std::uint64_t now_ns) noexcept {
    const std::uint64_t begun = clock_ns();
    while (!limited_waits_.empty() && limited_waits_.begin()->first <= now_ns) {
        vi& v = *limited_waits_.begin()->second;
        v.peer->entry->receive_attention.store_relaxed(0);
        end_unreceived(v);  // takes it off the list
        scheduler.charge_receiver(v.owner->number, expiry_bytes, now_ns);
        if (clock_ns() - begun > collect_ns_max) {
            return false;
        }
    }
    return true;
}

// -- breaking -----------------------------------------------------------------------------------

void engines::break_link(vi& v, abi::break_reason mine, abi::break_reason peers, const enum status* how) noexcept {
    vi* p = v.peer;
    if (how != nullptr) {
        lease_runner::finish(v, *how);
    }
    const auto end = [this](vi& x, abi::break_reason why) {
        set_link(x, abi::link::error);
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

/// Some of one function, and the next one's the next time: wake-ups are system calls on words that their client may
/// have taken away, so this is not work to be done under the board.  It is a lease to those that wait for these.
void engines::deliver(std::uint32_t number) noexcept {
    const std::uint64_t begun = clock_ns();
    if (begun < deliveries_.next()) {
        return;
    }
    waiting_cq due[deliveries_of_a_turn];
    std::size_t n = 0;
    function* whose = nullptr;
    std::atomic<std::uint32_t>& mark = leases_[number].count;
    board.lock_as_engine();
    mark.store(mark.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // before anything is taken
    deliveries_.begin_look();
    const std::size_t first = delivery_turn_;
    for (std::size_t i = 0; i < functions_.size(); ++i) {
        const std::size_t at = (first + i) % functions_.size();
        function& f = *functions_[at];
        if (n == 0 && deliveries_.of(f.number) <= begun) {
            n = f.vectors.take_due(begun, due, deliveries_);
            whose = &f;
            delivery_turn_ = at + 1;
        }
        deliveries_.expect(deliveries_.of(f.number));
    }
    board.unlock();
    for (std::size_t i = 0; i < n; ++i) {
        wake(whose->window, due[i]);
    }
    const std::uint64_t ended = clock_ns();
    board.lock_as_engine();
    if (n != 0) {
        const double worth = static_cast<double>(options_.scheduling.bytes_per_second) / 1e9;
        const auto bytes = static_cast<std::uint64_t>(static_cast<double>(ended - begun) * worth);
        scheduler.charge_receiver(whose->number, std::max(bytes, delivery_bytes), ended);
    }
    mark.store(mark.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    board.unlock();
}

/// What an engine leaves in a vector it finds before it sleeps.  Others leave something under the board, and so does an
/// engine say that it sleeps.
void engines::call_for_deliveries() noexcept {
    if (deliveries_.next() != delivery_times::never && sleepers_.load(std::memory_order_relaxed) == leases_.size()) {
        kicks_.wake();
    }
}

}  // namespace vinic::controller
