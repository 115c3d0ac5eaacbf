// SPDX-License-Identifier: Apache-2.0
//
// drop_context.cc -- a process goes: everything that it had is ended, a slice at a time.
//
//   active --first slice--> leaving: listeners, VIs, regions --last slice--> nobody
#include <array>

#include "controller/control.hpp"

namespace vinic::controller {

namespace {

// What others wait for: some tens of microseconds.
constexpr std::uint32_t names_of_a_slice = 16;
constexpr std::size_t vis_of_a_slice = 16;
constexpr std::uint32_t looks_of_a_slice = 4096;

}  // namespace

void control::drop_context(function& f, std::uint32_t context, bool died) {
    while (drop_slice(f, context, died)) {
    }
}

bool control::drop_slice(function& f, std::uint32_t context, bool died, bool only_if_misbehaved) {
    mutex.lock_as_engine();  // whoever asks for something comes first
    const std::lock_guard hold(mutex, std::adopt_lock);
    struct context& at = f.contexts[context];
    if ((!at.active && !at.leaving) || (only_if_misbehaved && !f.misbehaved)) {
        return false;
    }
    if (at.active) {
        at.active = false;
        at.leaving = true;
        at.drop_next = 0;
        at.forget_next = 0;
    }
    if (drop_names(f, context) || drop_vis(f, context, died)) {
        return true;
    }
    if (drop_regions(f, context)) {
        engines_.quiesce();  // before anybody may register these keys anew
        return true;
    }
    if (f.vectors.forget(context, at.forget_next, looks_of_a_slice)) {
        return true;
    }
    {
        const std::lock_guard lock(engines_.board);
        engines_.doorbells.remove_context(f.number, context);
    }
    engines_.quiesce();
    at.leaving = false;
    std::atomic_ref(f.contexts_used).fetch_sub(1, std::memory_order_relaxed);
    f.window.identity().context_epoch[context].store_release(0);
    return false;
}

bool control::drop_names(function& f, std::uint32_t context) {
    auto next = first_listener(f, context);
    for (std::uint32_t n = 0; n < names_of_a_slice && next != listeners_.end(); ++n) {
        close_name(next->second, abi::request_state::failed);
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
