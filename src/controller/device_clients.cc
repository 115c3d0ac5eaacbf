// SPDX-License-Identifier: Apache-2.0
//
// device_clients.cc -- processes come and go, and their mailboxes are served.
#include <algorithm>
#include <cerrno>

#include "controller/device_state.hpp"
#include "controller/notices.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint64_t verb_price = 2;              ///< a function may have that part of the mailboxes' thread
constexpr std::uint64_t verb_burst_ns = 20'000'000;  ///< so much of a second's requests may come at once
constexpr std::uint64_t mail_slice_ns = 100'000'000;
constexpr std::uint64_t limited_slice_ns = 100'000;

}  // namespace

// -- mailboxes ----------------------------------------------------------------------------------

/// False: a request has to wait; its function asks too often, or messages are to go first.
bool device::state::serve_function(function& f, std::uint64_t now_ns, bool& served) {
    const std::uint64_t interval = 1'000'000'000 / options.verbs_per_second;
    bool all = true;
    for (std::uint32_t n = 0; n < abi::context_count; ++n) {
        if (f.verb_credit_ns > now_ns + verb_burst_ns) {
            return false;
        }
        // Contexts take turns, and so do functions: one request at a time, paid for by the time it takes.
        const std::uint32_t c = f.next_mail++ % abi::context_count;
        const std::uint64_t begun = os::now_ns();
        const control::serving how = control->serve(f, c);
        if (how == control::serving::waits) {
            f.verb_credit_ns = std::max(f.verb_credit_ns, now_ns) + verb_price * (os::now_ns() - begun);
            all = false;
        }
        if (how == control::serving::served) {
            const std::uint64_t used = os::now_ns() - begun;
            f.verb_credit_ns = std::max(f.verb_credit_ns, now_ns) + std::max(interval, verb_price * used);
            served = true;
            return all;
        }
    }
    return all;
}

/// Malicious-driver detection: a function that breaks the rules all the time is cut off.
void device::state::look_for_violations(function& f, std::uint64_t now_ns) {
    const std::uint64_t seen = f.counters.malformed_descriptors.load() + f.counters.mailbox_ignored.load();
    if (seen == f.violations_seen) {
        return;
    }
    if (now_ns - f.violations_since_ns > 1'000'000'000) {
        f.violations_since_ns = now_ns;
        f.violations_seen = seen;
        return;
    }
    if (options.violations_per_second == 0 || seen - f.violations_seen <= options.violations_per_second) {
        return;
    }
    f.violations_seen = seen;
    std::string why;
    try {
        why =
            "more than " + std::to_string(options.violations_per_second) + " malformed descriptors or forged requests";
    } catch (const std::bad_alloc&) {
        // It is cut off without a word.
    }
    {
        const std::lock_guard hold(control->mutex);
        if (f.ends != eviction::none) {
            return;
        }
        f.misbehaved = true;
        begin_to_end(f, eviction::violation, abi::notice::reset_imminent, std::move(why));
    }
    call_reaper();
}

void device::state::serve_mailboxes() noexcept {
    os::work_in_short_turns();
    bool limited = false;
    bool more = false;
    while (!stopping.load()) {
        if (!more) {
            (void)mailbox_kicks.wait(limited ? limited_slice_ns : mail_slice_ns);
        }
        limited = false;
        more = false;
        const std::uint64_t now = os::now_ns();
        for (const auto& f : functions) {
            if (std::atomic_ref(f->contexts_used).load(std::memory_order_relaxed) != 0) {
                limited = !serve_function(*f, now, more) || limited;
                look_for_violations(*f, now);
            }
        }
    }
}

void device::state::begin_to_end() noexcept {
    if (draining.exchange(true)) {
        return;
    }
    const std::lock_guard hold(control->mutex);
    for (const auto& f : functions) {
        if (f->present) {
            tell_users(*f, abi::notice::device_stopping);
        }
    }
}

// -- clients ------------------------------------------------------------------------------------

/// Under control->mutex.
result<void> device::state::admits(const function& f) const {
    if (auto r = is_present(f); !r) {
        return r;
    }
    if (f.ends == eviction::reset) {
        return std::unexpected(refuse(errc::busy, "function " + function_name(f.number) + " is being reset"));
    }
    if (f.options.enabled && !f.misbehaved && !draining.load()) {
        return {};
    }
    const char* why = draining       ? ": the device is stopping"
                      : f.misbehaved ? " is disabled because it misbehaved, until it is reset"
                                     : " is disabled";
    return std::unexpected(refuse(errc::permission_denied, "function " + function_name(f.number) + why));
}

result<attachment> device::state::give_window(function& f, uid_t user) {
    if (auto r = admits(f); !r) {
        return std::unexpected(r.error());
    }
    // A client that had the descriptor may have kept it, even if it never entered.
    const bool is_anothers = f.handed_out && f.handed_to != user;
    if (f.contexts_used == 0 && (is_anothers || f.outdated)) {
        retire_window(f);
    }
    if (!f.window) {
        const bool too_many = retired.waiting(f.memory) >= retired_most;
        if (too_many || f.memory.retired() >= f.memory.limit()) {
            too_many ? f.memory.want_place() : f.memory.want_room();
            return std::unexpected(refuse(errc::busy, "function " + function_name(f.number) +
                                                          ": memory of its last windows is being given back"));
        }
        try {
            if (auto r = renew_window(f); !r) {
                return std::unexpected(r.error());
            }
        } catch (const std::bad_alloc&) {
            return std::unexpected(refuse(errc::out_of_memory, "making a window"));
        }
    }
    // The reaper may take the window away before they are sent.
    attachment given{f.window.shared(), os::duplicate(doorbell_kicks.fd(f.number)),
                     os::duplicate(mailbox_kicks.fd(f.number)), f.window.bytes(), f.epoch};
    if (!given.doorbell || !given.mailbox) {
        return std::unexpected(
            refuse(errc::limit_reached, "copying a descriptor (a limit on open files: ulimit -n)", errno));
    }
    f.handed_out = true;
    f.handed_to = user;
    return given;
}

result<attachment> device::attach(std::uint32_t number, uid_t user) {
    auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    std::unique_lock hold(state_->control->mutex);
    auto given = state_->give_window(**found, user);
    hold.unlock();
    state_->call_reaper();  // it may have got a window
    return given;
}

void device::forsake(std::uint32_t number, std::uint32_t epoch) {
    if (number >= state_->functions.size()) {
        return;
    }
    function& f = *state_->functions[number];
    {
        const std::lock_guard hold(state_->control->mutex);
        if (epoch != f.epoch || f.contexts_used != 0) {
            return;
        }
        state_->retire_window(f);
    }
    state_->call_reaper();
}

result<std::uint32_t> device::enter(std::uint32_t number, std::uint32_t epoch, std::uint32_t context,
                                    const credentials& who) {
    auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    function& f = **found;
    std::uint32_t context_epoch = 0;
    {
        const std::lock_guard hold(state_->control->mutex);
        if (auto r = state_->admits(f); !r) {
            return std::unexpected(r.error());
        }
        if (context >= abi::context_count) {
            return std::unexpected(refuse(errc::invalid_argument, "context " + std::to_string(context)));
        }
        struct context& at = f.contexts[context];
        if (epoch != f.epoch || !f.window || at.active || at.leaving) {
            return std::unexpected(refuse(errc::busy, "context " + std::to_string(context) + " of function " +
                                                          function_name(number) + " is in use"));
        }
        if (f.contexts_used == f.options.contexts_max) {
            return std::unexpected(refuse(errc::limit_reached, "function " + function_name(number) + " serves " +
                                                                   std::to_string(f.contexts_used) +
                                                                   " processes already"));
        }
        try {
            const std::lock_guard lock(state_->engines->board);
            state_->engines->doorbells.add_context(
                number, context, f.window.at<std::byte>(abi::doorbell_offset(context)), abi::vi_count);
        } catch (const std::bad_alloc&) {
            return std::unexpected(refuse(errc::out_of_memory, "serving another process"));
        }
        abi::mailbox& box = f.window.mailbox(context);
        const std::uint32_t next_epoch = at.epoch + 1 == 0 ? 1 : at.epoch + 1;
        at = {};
        at.active = true;
        at.epoch = context_epoch = next_epoch;
        at.who = who;
        at.mail_sequence = box.request.sequence.load_relaxed();
        box.response.sequence.store_relaxed(at.mail_sequence);
        std::atomic_ref(f.contexts_used).fetch_add(1, std::memory_order_relaxed);
        f.window.identity().context_epoch[context].store_release(at.epoch);
    }
    state_->tell(event_kind::attached, f, context, static_cast<std::uint32_t>(who.process), {});
    return context_epoch;
}

void device::leave(std::uint32_t number, std::uint32_t context, std::uint32_t context_epoch, bool died) {
    if (number >= state_->functions.size() || context >= abi::context_count) {
        return;
    }
    function& f = *state_->functions[number];
    {
        const std::lock_guard hold(state_->control->mutex);
        if (f.contexts[context].epoch != context_epoch || !f.contexts[context].active) {
            return;  // cut off by a reset before
        }
        // Direct placement executes at post: what a process had posted when it died has arrived.  So here, if it is
        // soon.
        const std::uint64_t patience_ns = state_->reaping.load() ? state_->options.last_words_ns : 0;
        if (died) {  // or has closed its connection only: adopted pages are its memory still
            f.farewell_end_ns = abi::none64;
        }
        state_->depart(f, context, died, patience_ns == 0 ? 0 : os::now_ns() + patience_ns, true);
    }
    state_->call_reaper();
}

}  // namespace vinic::controller
