// SPDX-License-Identifier: Apache-2.0
//
// show_memory.cc -- regions, and completion queues with their ready bits.
#include <bit>

#include "cli/show.hpp"

namespace vinic::cli {

namespace {

list rights_of(std::uint32_t word) {
    list all;
    const auto rights = static_cast<access>(word);
    const auto add = [&](access right, const char* called) {
        if (has(rights, right)) {
            all.emplace_back(called);
        }
    };
    add(access::local_write, "local_write");
    add(access::remote_write, "remote_write");
    add(access::remote_read, "remote_read");
    add(access::remote_atomic, "remote_atomic");
    return all;
}

value backing_name(std::uint32_t b) {
    return b <= static_cast<std::uint32_t>(backing::mixed) ? value(name(static_cast<backing>(b))) : value("unknown");
}

/// Nothing for memory of which no part is foreign.
value reason_name(std::uint32_t r) {
    return r == 0                                                    ? value()
           : r <= static_cast<std::uint32_t>(foreign_reason::failed) ? value(name(static_cast<foreign_reason>(r)))
                                                                     : value("unknown");
}

/// Queues that are marked as having completions; nothing if the bitmap makes no sense.
value queues_ready(const device_file& f, std::uint64_t bitmap) {
    constexpr std::uint64_t leaves_max = 2 * std::uint64_t{abi::vi_count} / 64;
    const std::uint64_t log2 = bitmap & 63;
    if (bitmap == 0 || log2 > static_cast<std::uint64_t>(std::countr_zero(leaves_max))) {
        return {};
    }
    const auto leaves = static_cast<std::uint32_t>(1u << log2);
    const std::uint64_t first = abi::bitmap_offset(bitmap) + abi::summary_words(leaves) * sizeof(abi::word64);
    std::uint32_t ready = 0;
    f.for_each<abi::word64>(first, leaves, [&](std::uint32_t, const abi::word64& leaf) {
        ready += static_cast<std::uint32_t>(std::popcount(leaf.load_relaxed()));
    });
    return ready;
}

}  // namespace

result<std::string> show_regions(const show_options& o) {
    auto f = open_readable(o.device, o.directory);
    if (!f) {
        return std::unexpected(f.error());
    }
    const process_list processes(*f, false);
    table t{.columns = {{"key", "KEY", column_form::hex},
                        {"pid", "PID"},
                        {"command", "COMMAND"},
                        {"address", "ADDRESS", column_form::hex},
                        {"length_bytes", "LENGTH"},
                        {"rights", "RIGHTS"},
                        {"backing", "BACKING"},
                        {"foreign_reason", "FOREIGN-REASON"},
                        {"process"},
                        {"domain"},
                        {"file_offset"},
                        {"whole_address_space"}}};
    for_each_owned<abi::region_entry>(*f, [&](std::uint32_t, const abi::region_entry& r) {
        const std::uint32_t key = r.key.load_relaxed();
        const std::uint32_t owner = r.owner.load_relaxed();
        const std::uint64_t length = r.length.load_relaxed();
        const std::uint64_t offset = r.offset.load_relaxed();
        t.rows.push_back({key == 0 ? value() : value(key), processes.pid_of(owner), processes.command_of(owner),
                          r.address.load_relaxed(), length == abi::none64 ? value() : value(length),
                          rights_of(r.rights.load_relaxed()), backing_name(r.backing.load_relaxed()),
                          reason_name(r.foreign_reason.load_relaxed()), owner - 1, r.domain.load_relaxed(),
                          offset == abi::none64 ? value() : value(offset), length == abi::none64});
    });
    return finish(o, *f, "regions", t);
}

result<std::string> show_cqs(const show_options& o) {
    auto f = open_readable(o.device, o.directory);
    if (!f) {
        return std::unexpected(f.error());
    }
    const process_list processes(*f, false);
    table t{.columns = {{"cq", "CQ"},
                        {"pid", "PID"},
                        {"command", "COMMAND"},
                        {"queues_attached", "ATTACHED"},
                        {"queues_max", "MAX"},
                        {"queues_ready", "READY"},
                        {"armed", "ARMED"},
                        {"wakes", "WAKES"},
                        {"process"},
                        {"has_file_descriptor"},
                        {"generation"}}};
    for_each_owned<abi::cq_entry>(*f, [&](std::uint32_t number, const abi::cq_entry& q) {
        const std::uint32_t owner = q.owner.load_relaxed();
        t.rows.push_back({number, processes.pid_of(owner), processes.command_of(owner), q.attached.load_relaxed(),
                          q.queues_max.load_relaxed(), queues_ready(*f, q.bitmap.load_relaxed()),
                          q.armed.load_relaxed() != 0, q.wakes.load_relaxed(), owner - 1, q.bell.load_relaxed() != 0,
                          q.generation.load_relaxed()});
    });
    return finish(o, *f, "cqs", t);
}

}  // namespace vinic::cli
