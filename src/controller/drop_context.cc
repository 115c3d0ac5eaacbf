// SPDX-License-Identifier: Apache-2.0
//
// drop_context.cc -- a process goes: everything that it had is ended, a slice at a time.
//
//   active --> leaving: last words; listeners, VIs, regions --last slice--> nobody
#include <array>

#include "controller/control.hpp"
#include "controller/names.hpp"

namespace vinic::controller {

namespace {

// What others wait for: some tens of microseconds.
constexpr std::size_t vis_of_a_slice = 16;
constexpr std::uint32_t looks_of_a_slice = 4096;

}  // namespace

/// Each VI once: what it has posted when it is looked at may go, if its receiver is ready.  What was not rung counts as
/// well, for a process may die in between.  False: all that there was is on its way or done.
bool control::has_last_words(function& f, std::uint32_t context) {
    struct context& at = f.contexts[context];
    std::uint32_t looked_at = 0;
    for (std::uint32_t n = 0; n < looks_of_a_slice && looked_at < vis_of_a_slice && at.words_next < f.vis_high; ++n) {
        vi* x = f.find(at.words_next);
        if (x != nullptr && x->context == context) {
            ++looked_at;
            const std::lock_guard lock(engines_.board);
            if (is_busy(*x)) {
                engines_.call_for(*x);
                return true;
            }
        }
        ++at.words_next;
    }
    return at.words_next < f.vis_high;
}

control::dropping control::drop_slice(function& f, std::uint32_t context, std::uint64_t now_ns) {
    mutex.lock_as_engine();  // requests come first
    const std::lock_guard hold(mutex, std::adopt_lock);
    struct context& at = f.contexts[context];
    if (!at.leaving) {
        return dropping::done;
    }
    if (now_ns < at.words_end_ns) {
        const std::uint32_t before = at.words_next;
        if (has_last_words(f, context)) {
            return at.words_next == before ? dropping::waits : dropping::more;
        }
    }
    at.words_end_ns = 0;
    if (drop_names(f, context) || drop_vis(f, context, at.died)) {
        return dropping::more;
    }
    if (drop_regions(f, context)) {
        engines_.quiesce();  // before anybody may register these keys anew
        return dropping::more;
    }
    if (f.vectors.forget(context, at.forget_next, looks_of_a_slice)) {
        return dropping::more;
    }
    {
        const std::lock_guard lock(engines_.board);
        engines_.doorbells.remove_context(f.number, context);
    }
    engines_.quiesce();
    at.leaving = false;
    std::atomic_ref(f.contexts_used).fetch_sub(1, std::memory_order_relaxed);
    f.window.identity().context_epoch[context].store_release(0);
    return dropping::done;
}

bool control::drop_names(function& f, std::uint32_t context) {
    auto next = first_listener(f, context);
    for (std::uint32_t n = 0; n < names_of_a_slice && next != listeners_.end(); ++n) {
        if (!decide_some(next->second, abi::request_stage::failed)) {
            return true;
        }
        close_name(next->second);
        next = first_listener(f, context);
    }
    return next != listeners_.end();
}

bool control::drop_vis(function& f, std::uint32_t context, bool died) {
    struct context& at = f.contexts[context];
    std::array<vi*, vis_of_a_slice> going{};
    std::size_t count = 0;
    for (std::uint32_t n = 0; n < looks_of_a_slice && at.drop_next < f.vis_high && count < going.size(); ++n) {
        vi* x = f.find(at.drop_next);
        if (x != nullptr && x->context == context) {
            if (!forget_names_of(*x, names_of_a_slice)) {
                break;  // the others next time, and then the VI
            }
            going[count++] = x;
        }
        ++at.drop_next;
    }
    if (count != 0) {
        destroy({going.data(), count}, died ? abi::break_reason::peer_died : abi::break_reason::remote_disconnect);
    }
    return at.drop_next < f.vis_high;
}

/// Counted on behind the VIs; if others of the function make more of these meanwhile, some regions are looked at twice.
bool control::drop_regions(function& f, std::uint32_t context) {
    struct context& at = f.contexts[context];
    const std::uint32_t all = f.vis_high + f.regions_high;
    for (std::uint32_t n = 0; n < looks_of_a_slice && at.drop_next < all; ++n) {
        region& r = f.regions[at.drop_next++ - f.vis_high];
        if (r.key.load(std::memory_order_relaxed) != 0 && r.context == context) {
            r.key.store(0, std::memory_order_release);
            --f.regions_used;
        }
    }
    return at.drop_next < all;
}

}  // namespace vinic::controller
