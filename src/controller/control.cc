// SPDX-License-Identifier: Apache-2.0
//
// control.cc -- takes requests out of mailboxes, hands each to its verb, and writes the answer.
#include "controller/control.hpp"

#include "controller/names.hpp"
#include "controller/notify.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint64_t disconnect_patience_ns = 50'000'000;

}  // namespace

control::control(std::vector<std::unique_ptr<function>>& functions, class engines& engines, std::uint32_t vis_total)
    : functions_(functions), engines_(engines), vis_total_(vis_total) {}

vi* control::call::own_vi(std::uint64_t number) const noexcept {
    vi* found = f.find(number);
    return found != nullptr && found->context == context ? found : nullptr;
}

/// A verb takes the memory that it needs before it changes anything.
errc control::dispatch(abi::verb what, call& c) noexcept {
    try {
        return execute(what, c);
    } catch (const std::bad_alloc&) {
        c.answer_bytes = 0;
        return errc::out_of_memory;
    }
}

errc control::execute(abi::verb what, call& c) {
    using abi::verb;
    switch (what) {
        case verb::create_vi:
            return create_vi(c);
        case verb::destroy_vi:
            return destroy_vi(c);
        case verb::change_vi:
            return change_vi(c);
        case verb::register_region:
            return register_region(c);
        case verb::deregister_region:
            return deregister_region(c);
        case verb::change_region:
            return change_region(c);
        case verb::quiesce:
            engines_.quiesce();
            return errc::ok;
        case verb::listen:
            return listen(c);
        case verb::unlisten:
            return unlisten(c);
        case verb::bind:
            return bind(c);
        case verb::resolve:
            return resolve(c);
        case verb::names:
            return list_names(c);
        case verb::connect:
            return connect(c);
        case verb::connect_peer:
            return connect_peer(c);
        case verb::give_up:
            return give_up(c);
        case verb::take_request:
            return take_request(c);
        case verb::accept:
            return accept(c);
        case verb::reject:
            return reject(c);
        case verb::disconnect:
            return disconnect(c);
        case verb::break_link:
            return break_link(c);
        case verb::vector:
            return vector(c);
    }
    return errc::not_supported;
}

bool control::is_ready_for(abi::verb what, call& c, context& at) {
    if (what == abi::verb::disconnect) {
        // Direct placement executes at post; here a disconnect that follows lets the device catch up, but not for long.
        const vi* v = c.own_vi(c.v[0]);
        const std::uint64_t now = os::now_ns();
        at.patience_end_ns = at.patience_end_ns == 0 ? now + disconnect_patience_ns : at.patience_end_ns;
        if (v != nullptr && now < at.patience_end_ns) {
            const std::lock_guard lock(engines_.board);
            if (is_busy(*v)) {
                return false;
            }
        }
        at.patience_end_ns = 0;
    }
    if (what == abi::verb::destroy_vi) {
        const vi* v = c.own_vi(c.v[0]);
        return v == nullptr || forget_names_of(*v, names_of_a_slice);
    }
    if (what == abi::verb::unlisten) {
        const auto found = find_listener(c, c.v[0]);
        return found == names_.end() || decide_some(found, abi::request_stage::closed);
    }
    return true;
}

control::serving control::serve(function& f, std::uint32_t context) {
    const std::lock_guard hold(mutex);
    struct context& at = f.contexts[context];
    if (!at.active) {
        return serving::none;
    }
    abi::mailbox& box = f.window.mailbox(context);
    const std::uint32_t sequence = box.request.sequence.load_acquire();
    if (sequence == at.mail_sequence) {
        return serving::none;
    }
    if (sequence != at.mail_sequence + 1) {
        if (sequence != at.ignored_sequence) {
            at.ignored_sequence = sequence;
            f.counters.mailbox_ignored.fetch_add(1, std::memory_order_relaxed);
            f.counters.mailbox_refusals.fetch_add(1, std::memory_order_relaxed);
        }
        return serving::none;
    }
    call c{.f = f, .context = context, .v = {}, .payload_bytes = 0, .payload = {}, .answer = {}};
    const auto verb = static_cast<abi::verb>(std::atomic_ref(box.request.code).load(std::memory_order_relaxed));
    c.payload_bytes = std::min<std::uint32_t>(
        std::atomic_ref(box.request.payload_bytes).load(std::memory_order_relaxed), abi::mail_payload_bytes);
    for (std::size_t i = 0; i < std::size(c.v); ++i) {
        c.v[i] = std::atomic_ref(box.request.value[i]).load(std::memory_order_relaxed);
    }
    std::memcpy(c.payload, box.request_payload, c.payload_bytes);

    if (!is_ready_for(verb, c, at)) {
        return serving::waits;
    }
    at.mail_sequence = sequence;
    f.counters.mailbox_requests.fetch_add(1, std::memory_order_relaxed);
    const errc how = dispatch(verb, c);
    if (how != errc::ok && how != errc::not_done) {
        f.counters.mailbox_refusals.fetch_add(1, std::memory_order_relaxed);
    }
    box.response.code = static_cast<std::uint32_t>(how);
    std::copy(std::begin(c.r), std::end(c.r), box.response.value);
    box.response.payload_bytes = c.answer_bytes;
    std::memcpy(box.response_payload, c.answer, c.answer_bytes);
    box.response.sequence.store_release(sequence);
    os::futex_wake(&box.response.sequence.raw_, wakes_max);
    return serving::served;
}

}  // namespace vinic::controller
