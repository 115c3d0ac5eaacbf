// SPDX-License-Identifier: Apache-2.0
//
// wander.hpp -- random interleavings of a protocol, for counts that are too large to visit every state of.
//
//   A walk goes on until nothing can happen any more; then it must be where it may end.  What never halts and never
//   ticks is walked through; both are the checker's.
#pragma once

#include <random>

#include "checker.hpp"

namespace vinic::model {

/// Walks until so many steps are done.  The problem, if there was one, and how many walks came to their end.
template <class Protocol>
verdict wander(const Protocol& protocol, std::uint64_t steps, std::uint64_t seed) {
    using state = machine_state<Protocol>;
    using context = thread_context<Protocol>;
    std::mt19937_64 random(seed);
    verdict found;
    const auto advance = [&](context& t) {
        if (protocol.step(t)) {
            t.finish();
        }
    };
    while (found.transitions < steps) {
        state now{};
        protocol.start(now);
        for (std::size_t thread = 0; thread < Protocol::thread_count; ++thread) {
            context t(now, thread, 0, false);
            advance(t);
        }
        std::size_t length = 0;
        for (bool moved = true; moved; ++length) {
            moved = false;
            // Each thread can make its next step, or let its oldest store reach memory.
            const std::size_t first = random() % (2 * Protocol::thread_count);
            for (std::size_t i = 0; i < 2 * Protocol::thread_count && !moved; ++i) {
                const std::size_t way = (first + i) % (2 * Protocol::thread_count);
                const std::size_t thread = way / 2;
                if (way % 2 == 0) {
                    moved = now.threads[thread].stores != 0;
                    if (moved) {
                        now.drain_one(thread);
                    }
                    continue;
                }
                if (now.threads[thread].run != run_state::running || now.threads[thread].barrier_waits_for != 0) {
                    continue;
                }
                state next = now;
                context t(next, thread, 0, false);
                advance(t);
                if (t.choices() > 1) {
                    next = now;
                    context chosen(next, thread, static_cast<unsigned>(random() % t.choices()), false);
                    advance(chosen);
                }
                if (t.problem() != nullptr) {
                    found.problem = t.problem();
                    return found;
                }
                if (!t.blocked()) {
                    now = next;
                    moved = true;
                }
            }
            found.transitions += moved ? 1 : 0;
        }
        found.depth = std::max(found.depth, length);
        ++found.states;
        if (!protocol.good(now)) {
            found.problem = "stuck: nothing can happen any more";
            return found;
        }
    }
    return found;
}

}  // namespace vinic::model
