// SPDX-License-Identifier: Apache-2.0
//
// device_departures.cc -- what ends is cleared away by the reaper: a thread of its own, a slice of each at a time.
//
//   hang-up ---------> context: leaves -- last words --.
//   reset, removal,                                     >-- slices --> nobody --last of its function--> window: retired
//   violation -------> all of them: leave -------------'                                                  |
//                                                                  next epoch <--     emptied in pieces --'
//                                                                                     (retired_windows.hpp)
//
//   No thread that serves several tenants waits for any of it: one that learns that something ends says so under
//   control->mutex, which takes no time, and calls.  How much of a tenant there is, and whether what it has posted can
//   go anywhere, is the reaper's affair; and there tenants take turns.  It makes no system call that a tenant can make
//   long: those that empty a window are other threads', which it looks after.
#include <algorithm>

#include "controller/device_state.hpp"
#include "controller/notices.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

constexpr auto words_look = std::chrono::microseconds(100);  ///< between two looks for last words, the first ones
constexpr std::uint32_t doublings_most = 4;                  ///< whose words are not said soon are looked at less often
constexpr auto emptier_look = std::chrono::milliseconds(100);  ///< whether it is kept by a window
constexpr auto settle_look = std::chrono::microseconds(100);

}  // namespace

// -- what ends, under control->mutex ------------------------------------------------------------

void device::state::depart(function& f, std::uint32_t context, bool died, std::uint64_t words_end_ns,
                           bool tells) noexcept {
    struct context& at = f.contexts[context];
    if (at.leaving) {
        at.words_end_ns = std::min(at.words_end_ns, words_end_ns);
        return;
    }
    at.active = false;
    at.leaving = true;
    at.died = died;
    at.words_end_ns = words_end_ns;
    at.words_next = 0;
    at.drop_next = 0;
    at.forget_next = 0;
    departures.push_back({&f, context, static_cast<std::uint32_t>(at.who.process), died, tells});  // has room for all
}

void device::state::outdate(function& f) noexcept {
    f.epoch += f.outdated ? 0 : 1;
    f.outdated = true;
}

/// Everybody in it leaves, and nobody who attached before comes in.
void device::state::begin_to_end(function& f, eviction how, abi::notice told, std::string by) noexcept {
    f.ended_by = std::move(by);
    f.ends = how;
    tell_users(f, told);
    if (how != eviction::violation) {
        ++f.epoch;
        f.outdated = true;
    }
    if (f.window) {
        const auto shown = how == eviction::removal ? abi::device_state::stopped : abi::device_state::resetting;
        f.window.identity().state.store_release(static_cast<std::uint32_t>(shown));
    }
    for (std::uint32_t c = 0; c < abi::context_count; ++c) {
        if (f.contexts[c].active) {
            f.farewell_end_ns = abi::none64;
        }
        if (f.contexts[c].active || f.contexts[c].leaving) {
            depart(f, c, true, 0, false);
        }
    }
}

/// What was handed out is let go of, no matter who still maps it; the next client gets another.
void device::state::retire_window(function& f) noexcept {
    if (!f.window || (!f.handed_out && !f.outdated)) {
        return;
    }
    outdate(f);
    f.window.identity().state.store_release(static_cast<std::uint32_t>(abi::device_state::stopped));
    f.handed_out = false;
    retired.take(std::exchange(f.window, {}), f.memory, std::exchange(f.farewell_end_ns, 0));
}

std::optional<device::state::ended_function> device::state::end_if_empty(function& f) {
    if (f.contexts_used != 0 || stopping.load()) {
        return std::nullopt;
    }
    retire_window(f);
    event_kind told = event_kind::misbehaved;
    switch (std::exchange(f.ends, eviction::none)) {
        case eviction::none:
            return std::nullopt;
        case eviction::violation:
            break;
        case eviction::reset:
            f.counters.resets.fetch_add(1);
            f.misbehaved = false;
            f.vectors.reset(f.times);
            told = event_kind::reset;
            break;
        case eviction::removal:
            configuration->set_present(f.number, false);
            allow_all();
            (void)put_entitlement(f, {});  // the initial one asks for nothing and fits always
            f.misbehaved = false;
            f.vectors.reset(f.times);
            told = event_kind::removed;
            break;
    }
    return ended_function{told, std::exchange(f.ended_by, {})};
}

result<void> device::end_tenancy(std::uint32_t number, const std::string& by) {
    auto done = reset(number, by);
    if (done) {
        function& f = *state_->functions[number];
        const std::lock_guard hold(state_->control->mutex);
        const std::uint64_t end_ns = os::now_ns() + state_->options.farewell_ns;
        f.farewell_end_ns = std::min(f.farewell_end_ns, end_ns);
        state_->retired.end_farewells(f.memory, end_ns);
    }
    return done;
}

result<void> device::reset(std::uint32_t number, const std::string& by) {
    auto found = state_->find(number);
    if (!found) {
        return std::unexpected(found.error());
    }
    function& f = **found;
    std::optional<state::ended_function> ended;
    {
        const std::lock_guard hold(state_->control->mutex);
        if (auto r = state::is_present(f); !r) {
            return r;
        }
        if (f.ends == eviction::reset) {
            f.counters.resets.fetch_add(1);  // the one before becomes one with this
        }
        state_->begin_to_end(f, eviction::reset, abi::notice::reset_imminent, by);
        ended = state_->end_if_empty(f);
    }
    if (ended) {
        state_->tell(ended->kind, f, 0, 0, std::move(ended->by));
    }
    state_->call_reaper();
    return {};
}

// -- the reaper ---------------------------------------------------------------------------------

/// A slice of one.  `at`: where it is in the list.
device::state::pace device::state::clear_away(const departure& d, std::size_t at) {
    function& f = *d.whose;
    const std::uint64_t now = stopping.load() ? abi::none64 : os::now_ns();  // nobody moves anything any more
    const control::dropping how = control->drop_slice(f, d.context, now);
    if (how != control::dropping::done) {
        return how == control::dropping::more ? pace::more : pace::waits;
    }
    std::optional<state::ended_function> ended;
    {
        // Its number has been free for a moment: it may be another process' already, and that one leaving.
        const std::lock_guard hold(control->mutex);
        departures.erase(departures.begin() + static_cast<std::ptrdiff_t>(at));
        ended = end_if_empty(f);
    }
    if (d.tells) {
        tell(d.died ? event_kind::died : event_kind::detached, f, d.context, d.process, {});
    }
    if (ended) {
        tell(ended->kind, f, 0, 0, std::move(ended->by));
    }
    return pace::idle;
}

/// Some VIs of each function whose engines work again.
device::state::pace device::state::resume_some() {
    {
        const std::lock_guard hold(control->mutex);
        if (!std::exchange(resumes, false)) {
            return pace::idle;
        }
    }
    bool more = false;
    for (const auto& f : functions) {
        const std::lock_guard hold(control->mutex);
        if (f->resume_next != abi::none32) {
            const bool again = engines->resume(*f, f->resume_next);
            f->resume_next = again ? f->resume_next : abi::none32;
            resumes = resumes || again;
        }
        more = more || resumes;
    }
    return more ? pace::more : pace::idle;
}

/// A slice of everything that there is, but for windows.
device::state::pace device::state::clear_away() {
    pace all = resume_some();
    for (std::size_t i = 0;;) {
        departure d{};
        {
            const std::lock_guard hold(control->mutex);
            if (i >= departures.size()) {
                break;
            }
            d = departures[i];
        }
        const pace one = clear_away(d, i);
        all = std::max(all, one);
        i += one == pace::idle ? 0 : 1;
    }
    return all;
}

void device::state::reap() noexcept {
    os::work_in_short_turns();
    std::uint32_t in_vain = 0;
    while (!stopping.load()) {
        pace now = pace::more;
        try {
            now = clear_away();  // first: it retires windows
            now = std::max(now, retired.tend(os::now_ns()));
        } catch (const std::bad_alloc&) {
            // What has happened is not told; the rest goes on.
        }
        if (now == pace::more) {
            in_vain = 0;
            continue;
        }
        const bool words = now == pace::waits && has_departures();
        const std::chrono::nanoseconds pause =
            words ? nanoseconds(words_look * (1U << std::min(in_vain, doublings_most))) : nanoseconds(emptier_look);
        in_vain = words ? in_vain + 1 : 0;
        std::unique_lock hold(bell_mutex);
        const auto is_called = [this] { return rung; };
        if (now == pace::idle) {
            bell.wait(hold, is_called);
        } else {
            bell.wait_for(hold, pause, is_called);
        }
        rung = false;
    }
}

/// Where no reaper runs, before start() and after stop(), the caller does its work.
void device::state::call_reaper() {
    {
        const std::lock_guard hold(bell_mutex);
        rung = true;
    }
    bell.notify_one();
    if (reaper.joinable()) {
        return;
    }
    pace now = pace::more;
    while (now != pace::idle && (now == pace::more || has_departures())) {
        now = clear_away();
        now = stopping.load() ? now : std::max(now, retired.give_back_a_piece(os::now_ns()));
    }
}

bool device::state::has_departures() {
    const std::lock_guard hold(control->mutex);
    return !departures.empty();
}

bool device::state::is_settled() {
    const std::lock_guard hold(control->mutex);
    return departures.empty() && retired.is_at_rest() && std::ranges::all_of(functions, [](const auto& f) {
               return f->ends == eviction::none && f->resume_next == abi::none32;
           });
}

void device::settle() {
    while (state_->reaping.load() && !state_->is_settled()) {
        std::this_thread::sleep_for(settle_look);
    }
}

}  // namespace vinic::controller
