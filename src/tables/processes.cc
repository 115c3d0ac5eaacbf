// SPDX-License-Identifier: Apache-2.0
//
// processes.cc -- finds the dead, and clears away what a process owned, table by table.
#include "tables/processes.hpp"

#include <utility>

#include "rules/extents.hpp"
#include "tables/link.hpp"

namespace vinic::tables {

namespace {

using abi::process_state;

process_state state_of(const memory& m, std::uint32_t i) noexcept {
    return static_cast<process_state>(m.process(i).state.load_acquire());
}

void wake(abi::word32& word) noexcept {
    word.fetch_add(1);
    os::futex_wake(&word.raw_);
}

void free_names(memory& m, std::uint32_t owner) noexcept {
    for (std::uint32_t i = 0; i < m.backed(abi::names); ++i) {
        abi::name_entry& n = m.name(i);
        if (n.owner.load_relaxed() != owner) {
            continue;
        }
        fail_requests_of(m, i, abi::request_stage::failed);
        m.give(abi::names, i);
        wake(n.arrivals);
    }
    for (std::uint32_t i = 0; i < m.backed(abi::requests); ++i) {
        if (m.request(i).owner.load_relaxed() == owner) {
            m.give(abi::requests, i);
        }
    }
}

void break_links(memory& m, std::uint32_t owner, abi::break_reason reason) noexcept {
    for (std::uint32_t i = 0; i < m.backed(abi::vis); ++i) {
        abi::vi_entry& v = m.vi(i);
        if (v.owner.load_relaxed() == 0) {
            continue;
        }
        // A datagram receiver's lock may be held by the process that goes.
        std::uint32_t holder = owner;
        (void)v.receive_lock.compare_exchange(holder, 0);
        // From both ends: an accept may have been cut off half way.
        const std::uint64_t state = v.state.load_acquire();
        if (abi::link_of(state) != abi::link::connected) {
            continue;
        }
        const std::uint32_t peer = v.peer.load_relaxed();
        if (v.owner.load_relaxed() == owner) {
            (void)break_link(m, v, state, abi::break_reason::local_error, reason);
        } else if (peer < m.backed(abi::vis) && m.vi(peer).owner.load_relaxed() == owner) {
            (void)break_link(m, v, state, reason, abi::break_reason::local_error);
        }
    }
}

void free_keys(memory& m, std::uint32_t owner) noexcept {
    for (std::uint32_t i = 0; i < m.backed(abi::regions); ++i) {
        if (m.region(i).owner.load_relaxed() == owner) {
            m.region(i).key.store_release(0);
            m.give(abi::regions, i);
        }
    }
    for (std::uint32_t i = 0; i < m.backed(abi::domains); ++i) {
        if (m.domain(i).owner.load_relaxed() == owner) {
            m.domain(i).id.store_release(0);
            m.give(abi::domains, i);
        }
    }
}

void free_memory(memory& m, std::uint32_t i) noexcept {
    const std::uint32_t owner = i + 1;
    for (std::uint32_t v = 0; v < m.backed(abi::vis); ++v) {
        if (m.vi(v).owner.load_relaxed() == owner) {
            // The epoch goes on: survivors may still hold the dead connection's.
            m.vi(v).state.store_release(
                abi::make_state(abi::epoch_of(m.vi(v).state.load_relaxed()) + 1, abi::link::none));
            retire_counters(m, m.vi(v));
            m.give(abi::vis, v);
        }
    }
    for (std::uint32_t c = 0; c < m.backed(abi::cqs); ++c) {
        if (m.cq(c).owner.load_relaxed() == owner) {
            m.cq(c).bitmap.store_release(0);
            m.give(abi::cqs, c);
        }
    }
    bool all_emptied = true;
    for (std::uint32_t c = 0; c < m.chunks(); ++c) {
        if (m.chunk_owner(c).load_relaxed() == owner) {
            if (os::release_storage(m.fd(), c * abi::chunk_size, abi::chunk_size)) {
                rules::mark_native(m.at<std::byte>(0), c * abi::chunk_size, abi::chunk_size, false);
                m.chunk_owner(c).store_release(0);
            } else {
                all_emptied = false;
            }
        }
    }
    if (!all_emptied) {
        return;  // it is still leaving: the next process that looks for the dead tries again
    }
    m.process(i).adopted.store_relaxed(0);
    m.process(i).state.store_release(static_cast<std::uint32_t>(process_state::free));
}

}  // namespace

void fail_requests_of(memory& m, std::uint32_t name, abi::request_stage as) noexcept {
    for (std::uint32_t i = 0; i < m.backed(abi::requests); ++i) {
        abi::request_entry& r = m.request(i);
        const auto state = static_cast<abi::request_stage>(r.state.load_relaxed());
        if (r.owner.load_relaxed() != 0 && r.name.load_relaxed() == name &&
            r.name_generation.load_relaxed() == m.name(name).generation.load_relaxed() &&
            (state == abi::request_stage::pending || state == abi::request_stage::taken)) {
            r.state.store_release(static_cast<std::uint32_t>(as));
            os::futex_wake(&r.state.raw_);
        }
    }
}

void retire_counters(memory& m, const abi::vi_entry& v) noexcept {
    abi::device_header& h = m.header();
    for (std::uint32_t i = 0; i < abi::counter_count; ++i) {
        h.retired[i].fetch_add(v.counters[i].load_relaxed());
    }
    for (std::uint32_t i = 0; i < abi::drop_count; ++i) {
        h.retired[abi::counter_count + i].fetch_add(v.drops[i].load_relaxed());
    }
}

void retire_process(memory& m, std::uint32_t i, abi::break_reason reason) noexcept {
    const std::uint32_t owner = i + 1;
    if (state_of(m, i) == process_state::live) {
        m.process(i).state.store_release(static_cast<std::uint32_t>(process_state::leaving));
        if (reason == abi::break_reason::peer_died) {
            m.header().deaths.fetch_add(1);
        }
    }
    free_names(m, owner);
    break_links(m, owner, reason);
    free_keys(m, owner);
    if (m.engines_have_left(owner)) {
        free_memory(m, i);
    }
}

std::uint32_t bury_the_dead(memory& m) noexcept {
    std::uint32_t found = 0;
    for (std::uint32_t i = 0; i < m.header().processes_backed.load_acquire(); ++i) {
        const process_state s = state_of(m, i);
        if (s == process_state::free || i == m.self() || m.alive(i) || m.served(i)) {
            continue;
        }
        found += s == process_state::live ? 1 : 0;
        retire_process(m, i, abi::break_reason::peer_died);
    }
    return found;
}

void look_for_dead(memory& m, std::uint64_t now_ns) noexcept {
    if (m.forked()) {
        return;
    }
    abi::word64& last_word = m.header().last_scan_ns;
    std::uint64_t last = last_word.load_relaxed();
    // A clock of another time namespace may be ahead: then last > now, and scanning is right too.
    if ((now_ns >= last && now_ns - last < scan_interval_ns) || !last_word.compare_exchange(last, now_ns)) {
        return;
    }
    bool any = false;
    for (std::uint32_t i = 0; i < m.header().processes_backed.load_acquire() && !any; ++i) {
        any = state_of(m, i) != process_state::free && !m.alive(i);
    }
    // Not waiting for the lock: its holder may be stopped, and this is called while polling.  A dead holder's lock is
    // broken by a process that does wait; if none has, that is us.
    if (any && (m.try_lock() || m.lock_of_dead())) {
        (void)bury_the_dead(m);
        m.unlock();
    }
}

}  // namespace vinic::tables
