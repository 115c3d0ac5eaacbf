// SPDX-License-Identifier: Apache-2.0
//
// tables.cc -- walks the tables of a device file, and believes none of their numbers.
#include "cli/tables.hpp"

#include <bit>
#include <cstring>

#include "os/memory.hpp"
#include "rules/extents.hpp"
#include "rules/vi.hpp"

namespace vinic::cli {

namespace {

constexpr int attempts_max = 10;

/// Adopted pages of process i; nothing while they change.
std::optional<std::uint64_t> adopted_bytes(const device_file& f, std::uint32_t i) {
    const std::uint64_t at = abi::processes_offset + i * sizeof(abi::process_entry);
    for (int attempt = 0; attempt < attempts_max; ++attempt) {
        const std::uint64_t word = f.read<abi::process_entry>(at).adopted.load_relaxed();
        const auto table = rules::adopted_table::of(word);
        if (table.count > rules::adopted_table::extents_max) {
            return {};
        }
        std::uint64_t sum = 0;
        f.for_each<abi::extent>(table.offset, table.count,
                                [&](std::uint32_t, const abi::extent& e) { sum += e.bytes.load_relaxed(); });
        if (f.read<abi::process_entry>(at).adopted.load_relaxed() == word) {
            return sum;
        }
    }
    return {};
}

/// Pages of a chunk that are buffers'.
std::uint64_t native_bytes(const device_file& f, std::uint32_t chunk) {
    std::uint64_t pages = 0;
    f.for_each<abi::word64>(abi::native_pages_offset + chunk * abi::native_bytes_per_chunk,
                            static_cast<std::uint32_t>(abi::native_bytes_per_chunk / sizeof(abi::word64)),
                            [&](std::uint32_t, const abi::word64& bits) {
                                pages += static_cast<std::uint64_t>(std::popcount(bits.load_relaxed()));
                            });
    return pages * abi::page_size;
}

bool ring_is_sane(std::uint64_t offset, std::uint32_t depth) {
    return depth != 0 && depth <= rules::depth_max && offset % sizeof(abi::receive_slot) == 0 &&
           offset >= std::uint64_t{abi::first_chunk} * abi::chunk_size &&
           offset < abi::file_size - std::uint64_t{depth} * sizeof(abi::receive_slot);
}

}  // namespace

process_list::process_list(const device_file& f, bool census) {
    const std::uint64_t own_namespace = os::pid_namespace();
    f.for_each<abi::process_entry>(abi::processes_offset, f.processes_backed(),
                                   [&](std::uint32_t i, const abi::process_entry& e) {
                                       process_view p;
                                       p.state = e.state.load_relaxed();
                                       if (p.state == static_cast<std::uint32_t>(abi::process_state::free)) {
                                           return;
                                       }
                                       p.index = i;
                                       p.pid = e.pid.load_relaxed();
                                       p.pid_namespace = e.pid_namespace.load_relaxed();
                                       p.same_pid_namespace = p.pid_namespace == own_namespace;
                                       p.start_time_ticks = e.start_time.load_relaxed();
                                       p.command = printable({e.command, ::strnlen(e.command, sizeof e.command)});
                                       p.alive = f.alive(i);
                                       all_.push_back(std::move(p));
                                   });
    if (census) {
        count(f);
        measure(f);
    }
}

process_view* process_list::find(std::uint32_t owner_word) noexcept {
    const auto it = std::lower_bound(all_.begin(), all_.end(), owner_word,
                                     [](const process_view& p, std::uint32_t word) { return p.index + 1 < word; });
    return it != all_.end() && it->index + 1 == owner_word ? &*it : nullptr;
}

const process_view* process_list::owner(std::uint32_t owner_word) const noexcept {
    return const_cast<process_list*>(this)->find(owner_word);
}

std::uint32_t process_list::living() const noexcept {
    return static_cast<std::uint32_t>(
        std::count_if(all_.begin(), all_.end(), [](const process_view& p) { return p.alive; }));
}

value process_list::pid_of(std::uint32_t owner_word) const {
    const process_view* p = owner(owner_word);
    return p != nullptr ? value(p->pid) : value();
}

value process_list::command_of(std::uint32_t owner_word) const {
    const process_view* p = owner(owner_word);
    return p != nullptr ? value(p->command) : value();
}

void process_list::count(const device_file& f) {
    const auto counting = [&](std::uint32_t process_view::* what) {
        return [this, what](std::uint32_t, const auto& e) {
            if (process_view* p = find(e.owner.load_relaxed()); p != nullptr) {
                ++(p->*what);
            }
        };
    };
    for_each_owned<abi::vi_entry>(f, counting(&process_view::vis));
    for_each_owned<abi::cq_entry>(f, counting(&process_view::cqs));
    for_each_owned<abi::region_entry>(f, counting(&process_view::regions));
    for_each_owned<abi::domain_entry>(f, counting(&process_view::domains));
    for_each_owned<abi::name_entry>(f, counting(&process_view::names));
}

void process_list::measure(const device_file& f) {
    for (process_view& p : all_) {
        p.buffer_bytes = adopted_bytes(f, p.index);
    }
    f.for_each<abi::word32>(abi::chunk_owners_offset, abi::chunk_count, [&](std::uint32_t c, const abi::word32& owner) {
        process_view* p = c >= abi::first_chunk ? find(owner.load_relaxed()) : nullptr;
        if (p != nullptr) {
            ++p->chunks;
            p->touched_bytes += f.touched_bytes(c * abi::chunk_size, abi::chunk_size);
            if (p->buffer_bytes) {
                *p->buffer_bytes += native_bytes(f, c);
            }
        }
    });
}

device_census count_entries(const device_file& f) {
    device_census c;
    const auto counting = [&](abi::table t) { return [&c, t](std::uint32_t, const auto&) { ++c.used[t]; }; };
    for_each_owned<abi::domain_entry>(f, counting(abi::domains));
    for_each_owned<abi::region_entry>(f, counting(abi::regions));
    for_each_owned<abi::cq_entry>(f, counting(abi::cqs));
    for_each_owned<abi::vi_entry>(f, counting(abi::vis));
    for_each_owned<abi::name_entry>(f, counting(abi::names));
    for_each_owned<abi::request_entry>(f, counting(abi::requests));
    f.for_each<abi::word32>(abi::chunk_owners_offset, abi::chunk_count, [&](std::uint32_t, const abi::word32& owner) {
        c.chunks += owner.load_relaxed() != 0 ? 1u : 0u;
    });
    return c;
}

std::optional<std::uint32_t> receives_posted(const device_file& f, const abi::vi_entry& v) {
    const std::uint64_t state = v.state.load_relaxed();
    const std::uint32_t depth = v.receive_depth.load_relaxed();
    const std::uint64_t ring = v.receive_ring.load_relaxed();
    if (abi::link_of(state) == abi::link::error || !ring_is_sane(ring, depth)) {
        return {};
    }
    const bool datagram = (v.flags.load_relaxed() & abi::is_datagram) != 0;
    // Below this index everything was filled or flushed.
    const std::uint32_t first = datagram ? v.receive_next.load_relaxed() : v.receive_base.load_relaxed();
    std::uint32_t waiting = 0;
    f.for_each<abi::receive_slot>(ring, depth, [&](std::uint32_t, const abi::receive_slot& slot) {
        const std::uint32_t posted = slot.descriptor.sequence.load_relaxed();
        const bool here = posted != 0 && static_cast<std::int32_t>(posted - 1 - first) >= 0;
        waiting += here && slot.completion.sequence.load_relaxed() != posted ? 1u : 0u;
    });
    return waiting;
}

std::uint32_t sends_waiting(const abi::vi_entry& v) noexcept {
    const std::uint64_t word = v.hand_over.load_relaxed();
    if (abi::holder_of(word) == abi::queue_holder::owner ||
        abi::link_of(v.state.load_relaxed()) != abi::link::connected) {
        return 0;
    }
    return std::min(abi::produced_of(word) - v.send_next.load_relaxed(),
                    std::min(v.send_depth.load_relaxed(), rules::depth_max));
}

}  // namespace vinic::cli
