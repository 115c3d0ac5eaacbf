// SPDX-License-Identifier: Apache-2.0
//
// show_name.cc -- the directory of names, and who waits to be connected.
#include <map>

#include "cli/show.hpp"

namespace vinic::cli {

namespace {

std::string_view name_in(const abi::address_key& key) {
    return {key.name, std::min<std::size_t>(key.name_bytes, abi::name_bytes_max)};
}

std::string_view discriminator_in(const abi::address_key& key) {
    return {reinterpret_cast<const char*>(key.discriminator),
            std::min<std::size_t>(key.discriminator_bytes, abi::discriminator_bytes_max)};
}

value discriminator_of(const abi::address_key& key) {
    const std::string_view bytes = discriminator_in(key);
    return bytes.empty() ? value() : value(hex_digits(bytes));
}

value kind_name(std::uint32_t kind) {
    switch (static_cast<abi::name_kind>(kind)) {
        case abi::name_kind::listener:
            return "listener";
        case abi::name_kind::datagram:
            return "datagram";
    }
    return "unknown";
}

value state_name(std::uint32_t state) {
    switch (static_cast<abi::request_stage>(state)) {
        case abi::request_stage::pending:
            return "pending";
        case abi::request_stage::taken:
            return "taken";
        case abi::request_stage::accepted:
            return "accepted";
        case abi::request_stage::rejected:
            return "rejected";
        case abi::request_stage::closed:
        case abi::request_stage::failed:
            return "failed";
        case abi::request_stage::mismatch:
            return "mismatch";
    }
    return "unknown";
}

bool waits(const abi::request_entry& r) {
    const auto state = static_cast<abi::request_stage>(r.state.load_relaxed());
    return state == abi::request_stage::pending || state == abi::request_stage::taken;
}

struct request_tables {
    table all;
    std::map<std::uint32_t, std::uint32_t> waiting;  ///< per listener
};

request_tables requests_of(const device_file& f, const process_list& processes) {
    request_tables found;
    found.all.columns = {{"pid", "PID"},   {"command", "COMMAND"}, {"vi", "VI"}, {"state", "STATE"}, {"to", "TO"},
                         {"from", "FROM"}, {"data_bytes", "DATA"}, {"order"},    {"answering_vi"}};
    for_each_owned<abi::request_entry>(f, [&](std::uint32_t, const abi::request_entry& r) {
        const std::uint32_t owner = r.owner.load_relaxed();
        const std::uint32_t listener = r.name.load_relaxed();
        const bool peer_to_peer = listener == abi::none32;
        value to;
        if (peer_to_peer) {
            to = printable(name_in(r.remote));
        } else if (listener < f.backed(abi::names)) {
            to = printable(name_in(f.read<abi::name_entry>(abi::names_offset + listener * sizeof(abi::name_entry)).at));
            found.waiting[listener] += waits(r) ? 1u : 0u;
        }
        const bool answered = static_cast<abi::request_stage>(r.state.load_relaxed()) == abi::request_stage::accepted;
        found.all.rows.push_back({processes.pid_of(owner), processes.command_of(owner), r.vi.load_relaxed(),
                                  state_name(r.state.load_relaxed()), to,
                                  peer_to_peer ? value(printable(name_in(r.local))) : value(), r.data_bytes,
                                  r.order.load_relaxed(), answered ? value(r.peer_vi) : value()});
    });
    return found;
}

}  // namespace

result<std::string> show_names(const show_options& o) {
    auto f = open_readable(o.device, o.directory);
    if (!f) {
        return std::unexpected(f.error());
    }
    const process_list processes(*f, false);
    const request_tables requests = requests_of(*f, processes);
    table t{.columns = {{"name", "NAME"},
                        {"discriminator_hex", "DISCRIMINATOR"},
                        {"kind", "KIND"},
                        {"pid", "PID"},
                        {"command", "COMMAND"},
                        {"vi", "VI"},
                        {"requests_waiting", "WAITING"},
                        {"process"},
                        {"arrivals"}}};
    for_each_owned<abi::name_entry>(*f, [&](std::uint32_t number, const abi::name_entry& n) {
        const std::uint32_t owner = n.owner.load_relaxed();
        const bool datagram = n.kind.load_relaxed() == static_cast<std::uint32_t>(abi::name_kind::datagram);
        const auto waiting = requests.waiting.find(number);
        t.rows.push_back({printable(name_in(n.at)), discriminator_of(n.at), kind_name(n.kind.load_relaxed()),
                          processes.pid_of(owner), processes.command_of(owner),
                          datagram ? value(static_cast<std::uint32_t>(n.target.load_relaxed())) : value(),
                          datagram ? value() : value(waiting != requests.waiting.end() ? waiting->second : 0),
                          owner - 1, n.arrivals.load_relaxed()});
    });
    if (auto r = read_to_the_end(*f); !r) {
        return std::unexpected(r.error());
    }
    if (o.json) {
        object document = begin_document(*f);
        document.emplace_back("names", to_list(t));
        document.emplace_back("requests", to_list(requests.all));
        return to_json(document) + "\n";
    }
    std::string text = to_text(t, o.details);
    if (!requests.all.rows.empty()) {
        text += "\nWaiting to be connected:\n";
        text += to_text(requests.all, o.details);
    }
    return text;
}

}  // namespace vinic::cli
