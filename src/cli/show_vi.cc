// SPDX-License-Identifier: Apache-2.0
//
// show_vi.cc -- virtual interfaces, one line each.

#include "cli/show.hpp"
#include "tables/counters.hpp"

namespace vinic::cli {

namespace {

table vi_table() {
    return {.columns = {{"vi", "VI"},
                        {"pid", "PID"},
                        {"command", "COMMAND"},
                        {"state", "STATE"},
                        {"reason", "REASON"},
                        {"peer", "PEER"},
                        {"reliability", "RELIABILITY"},
                        {"service", "SERVICE"},
                        {"send_depth", "SEND-DEPTH"},
                        {"receive_depth", "RECV-DEPTH"},
                        {"receives_posted", "POSTED"},
                        {"sends_waiting", "WAITING"},
                        {"tx_messages", "TX-MESSAGES"},
                        {"tx_bytes", "TX-BYTES"},
                        {"rx_messages", "RX-MESSAGES"},
                        {"rx_bytes", "RX-BYTES"},
                        {"send_queue_executor"},
                        {"peer_pid"},
                        {"tx_errors"},
                        {"rx_errors"},
                        {"rx_drops"},
                        {"process"},
                        {"domain"},
                        {"send_cq"},
                        {"receive_cq"},
                        {"segments_max"},
                        {"inline_bytes_max"},
                        {"transfer_bytes_max"},
                        {"receiver_wait_ns"},
                        {"peers_may"},
                        {"context"},
                        {"generation"},
                        {"epoch"},
                        {"receiver_kind"}}};
}

value state_name(std::uint64_t state) {
    const auto link = static_cast<std::uint32_t>(abi::link_of(state));
    if (link == 0) {
        return "closed";  // being made or taken apart
    }
    return link <= static_cast<std::uint32_t>(vi_state::error) ? value(name(static_cast<vi_state>(link)))
                                                               : value("unknown");
}

value reason_name(std::uint64_t state) {
    switch (abi::reason_of(state)) {
        case abi::break_reason::none:
            return {};
        case abi::break_reason::local_error:
            return "local_error";
        case abi::break_reason::remote_error:
            return "remote_error";
        case abi::break_reason::remote_disconnect:
            return "remote_disconnect";
        case abi::break_reason::peer_died:
            return "peer_died";
    }
    return "unknown";
}

value executor_name(std::uint64_t word) {
    switch (abi::holder_of(word)) {
        case abi::queue_holder::owner:
            return "owner";
        case abi::queue_holder::handed:
            return "handed_over";
        case abi::queue_holder::peer:
            return "peer";
    }
    return "unknown";
}

value reliability_name(std::uint32_t r) {
    return r <= static_cast<std::uint32_t>(reliability::reception) ? value(name(static_cast<reliability>(r)))
                                                                   : value("unknown");
}

value unless_none(std::uint32_t n) { return n == abi::none32 ? value() : value(n); }

list peers_may(std::uint32_t flags) {
    list all;
    if ((flags & abi::allow_write) != 0) {
        all.emplace_back("write");
    }
    if ((flags & abi::allow_read) != 0) {
        all.emplace_back("read");
    }
    if ((flags & abi::allow_atomic) != 0) {
        all.emplace_back("atomic");
    }
    return all;
}

struct totals {
    std::uint64_t tx_messages = 0;
    std::uint64_t tx_bytes = 0;
    std::uint64_t tx_errors = 0;
    std::uint64_t rx_errors = 0;
    std::uint64_t rx_drops = 0;
};

totals add_up(const tables::counter_values& c) {
    totals t;
    t.tx_messages =
        c[abi::tx_send_messages] + c[abi::tx_write_messages] + c[abi::tx_read_messages] + c[abi::tx_atomic_messages];
    t.tx_bytes =
        c[abi::tx_send_bytes] + c[abi::tx_write_bytes] + c[abi::tx_read_bytes] + 8 * c[abi::tx_atomic_messages];
    for (std::uint32_t s = 1; s < status_count; ++s) {
        t.tx_errors += c[abi::tx_status_first + s];
        t.rx_errors += c[abi::rx_status_first + s];
    }
    // Each message once: why an access was refused is told beside that it was dropped.
    for (std::uint32_t i = 0; i < abi::dropped_kinds; ++i) {
        t.rx_drops += c[abi::counter_count + i];
    }
    return t;
}

std::vector<value> vi_row(const device_file& f, const process_list& processes, std::uint32_t number,
                          const abi::vi_entry& v) {
    const std::uint64_t state = v.state.load_relaxed();
    const std::uint32_t owner = v.owner.load_relaxed();
    const std::uint32_t flags = v.flags.load_relaxed();
    const std::uint32_t peer = v.peer.load_relaxed();
    const tables::counter_values counted = tables::counted_by(v);
    const totals sums = add_up(counted);
    const bool datagram = (flags & abi::is_datagram) != 0;
    const bool has_peer = peer < f.backed(abi::vis) && !datagram && abi::link_of(state) >= abi::link::connected;
    const std::uint64_t wait = v.receiver_wait_ns.load_relaxed();
    const auto posted = receives_posted(f, v);
    const std::uint32_t peer_owner =
        has_peer ? f.read<abi::word32>(abi::vis_offset + peer * sizeof(abi::vi_entry)).load_relaxed() : 0;
    return {number,
            processes.pid_of(owner),
            processes.command_of(owner),
            state_name(state),
            reason_name(state),
            has_peer ? value(peer) : value(),
            reliability_name(v.reliability.load_relaxed()),
            datagram ? "datagram" : "connected",
            v.send_depth.load_relaxed(),
            v.receive_depth.load_relaxed(),
            posted ? value(*posted) : value(),
            sends_waiting(v),
            sums.tx_messages,
            sums.tx_bytes,
            counted[abi::rx_messages],
            counted[abi::rx_bytes],
            executor_name(v.hand_over.load_relaxed()),
            processes.pid_of(peer_owner),
            sums.tx_errors,
            sums.rx_errors,
            sums.rx_drops,
            owner - 1,
            v.domain.load_relaxed(),
            unless_none(v.cq[abi::send_queue].load_relaxed()),
            unless_none(v.cq[abi::receive_queue].load_relaxed()),
            v.segments_max.load_relaxed(),
            v.inline_bytes_max.load_relaxed(),
            v.transfer_bytes_max.load_relaxed(),
            wait == abi::none64 ? value("forever") : value(wait),
            peers_may(flags),
            v.context.load_relaxed(),
            v.generation.load_relaxed(),
            abi::epoch_of(state),
            v.kind.load_relaxed()};
}

static_assert(offsetof(abi::vi_entry, owner) == 0, "vi_row reads a peer's owner there");

}  // namespace

result<std::string> show_vis(const show_options& o) {
    auto f = open_readable(o.device, o.directory);
    if (!f) {
        return std::unexpected(f.error());
    }
    const process_list processes(*f, false);
    table t = vi_table();
    for_each_owned<abi::vi_entry>(*f, [&](std::uint32_t number, const abi::vi_entry& v) {
        if (!o.number || *o.number == number) {
            t.rows.push_back(vi_row(*f, processes, number, v));
        }
    });
    if (o.number && t.rows.empty()) {
        return std::unexpected(
            error{errc::invalid_handle, 0, "VI " + std::to_string(*o.number) + " of device " + address_of(*f)});
    }
    show_options all = o;
    all.details = o.details || o.number.has_value();
    return finish(all, *f, "vis", t);
}

}  // namespace vinic::cli
