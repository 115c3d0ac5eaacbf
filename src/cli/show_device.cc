// SPDX-License-Identifier: Apache-2.0
//
// show_device.cc -- devices and the processes that have them open.
#include <cstdio>

#include "cli/function_show.hpp"
#include "cli/show.hpp"
#include "os/sync.hpp"

namespace vinic::cli {

namespace {

std::string octal_mode(mode_t mode) {
    char text[8];
    std::snprintf(text, sizeof text, "%04o", static_cast<unsigned int>(mode & 07777));
    return text;
}

table device_table() {
    return {.columns = {{"device", "DEVICE"},
                        {"state", "STATE"},
                        {"user", "USER"},
                        {"believed", "BELIEVED"},
                        {"processes_live", "PROCESSES"},
                        {"vis", "VIS"},
                        {"regions", "REGIONS"},
                        {"size_bytes", "BYTES"},
                        {"cqs"},
                        {"domains"},
                        {"names"},
                        {"requests"},
                        {"chunks"},
                        {"path"},
                        {"mode"},
                        {"user_id"},
                        {"group_id"},
                        {"layout_version"},
                        {"file_length_bytes"},
                        {"span_bytes"},
                        {"age_seconds"},
                        {"uses_membarrier"},
                        {"lock_holder_process"},
                        {"lock_breaks"},
                        {"deaths"}}};
}

value age_of(const abi::device_header& h) {
    const std::uint64_t now = os::now_ns();
    const std::uint64_t made = h.created_ns.load_relaxed();
    return made == 0 || made > now ? value() : value(static_cast<double>(now - made) / 1e9);
}

value lock_holder(const abi::device_header& h) {
    const std::uint32_t word = h.lock.load_relaxed() & ~abi::lock_waiters;
    return word == 0 ? value() : value(word - 1);
}

/// What the library would say of it.
const char* belief_in(const device_file& f) {
    switch (f.standing()) {
        case direct::standing::own:
            return "yes";
        case direct::standing::group:
            return "as_group";
        case direct::standing::alien:
            break;
    }
    return "no";
}

std::vector<value> device_row(const device_file& f, const process_list* processes) {
    std::vector<value> row{address_of(f), name(f.state())};
    const bool seen = processes != nullptr;
    const device_census c = seen ? count_entries(f) : device_census{};
    const auto told = [&](auto v) { return seen ? value(v) : value(); };
    const abi::device_header& h = f.header();
    row.emplace_back(user_name(f.status().st_uid));
    row.emplace_back(belief_in(f));
    row.push_back(told(seen ? processes->living() : 0));
    row.push_back(told(c.used[abi::vis]));
    row.push_back(told(c.used[abi::regions]));
    row.emplace_back(f.size_bytes());
    row.push_back(told(c.used[abi::cqs]));
    row.push_back(told(c.used[abi::domains]));
    row.push_back(told(c.used[abi::names]));
    row.push_back(told(c.used[abi::requests]));
    row.push_back(told(c.chunks));
    row.emplace_back(f.path());
    row.emplace_back(octal_mode(f.status().st_mode));
    row.emplace_back(f.status().st_uid);
    row.emplace_back(f.status().st_gid);
    row.push_back(seen || f.state() == file_state::other_version ? value(h.version.load_relaxed()) : value());
    row.emplace_back(static_cast<std::uint64_t>(f.status().st_size));
    row.push_back(told(h.span.load_relaxed()));
    row.push_back(seen ? age_of(h) : value());
    row.push_back(told(h.fence.load_relaxed() == 0));
    row.push_back(seen ? lock_holder(h) : value());
    row.push_back(told(h.lock_breaks.load_relaxed()));
    row.push_back(told(h.deaths.load_relaxed()));
    return row;
}

/// The devices that were asked for.
result<std::vector<device_file>> wanted_devices(const show_options& o) {
    std::vector<device_file> files;
    if (!o.device.empty()) {
        auto name = device_name(o.device);
        if (!name) {
            return std::unexpected(name.error());
        }
        auto file = device_file::open(*name, o.directory);
        if (!file) {
            return std::unexpected(file.error());
        }
        files.push_back(std::move(*file));
        return files;
    }
    auto names = device_names(o.directory);
    if (!names) {
        return std::unexpected(names.error());
    }
    for (const std::string& each : *names) {
        // One that vanished in this moment is not an error.
        if (auto file = device_file::open(each, o.directory); file) {
            files.push_back(std::move(*file));
        }
    }
    return files;
}

}  // namespace

std::string address_of(const device_file& f) { return "shm:" + f.name(); }

const char* state_of(const process_view& p) noexcept {
    if (!p.alive) {
        return "dead";
    }
    return p.state == static_cast<std::uint32_t>(abi::process_state::leaving) ? "leaving" : "live";
}

object begin_document(const device_file& f) {
    return {{"schema", json_schema}, {"device", address_of(f)}, {"state", name(f.state())}};
}

result<std::string> finish(const show_options& o, const device_file& f, const char* key, const table& t) {
    if (auto r = read_to_the_end(f); !r) {
        return std::unexpected(r.error());
    }
    if (!o.json) {
        return to_text(t, o.details);
    }
    object document = begin_document(f);
    document.emplace_back(key, to_list(t));
    return to_json(document) + "\n";
}

table process_table(const process_list& processes) {
    table t{.columns = {{"pid", "PID"},
                        {"command", "COMMAND"},
                        {"state", "STATE"},
                        {"vis", "VIS"},
                        {"cqs", "CQS"},
                        {"regions", "REGIONS"},
                        {"buffer_bytes", "BUFFER-BYTES"},
                        {"touched_bytes", "TOUCHED-BYTES"},
                        {"process"},
                        {"domains"},
                        {"names"},
                        {"reserved_bytes"},
                        {"start_time_ticks"},
                        {"pid_namespace"},
                        {"same_pid_namespace"}}};
    for (const process_view& p : processes.all()) {
        t.rows.push_back({p.pid, p.command, state_of(p), p.vis, p.cqs, p.regions,
                          p.buffer_bytes ? value(*p.buffer_bytes) : value(), p.touched_bytes, p.index, p.domains,
                          p.names, std::uint64_t{p.chunks} * abi::chunk_size, p.start_time_ticks, p.pid_namespace,
                          p.same_pid_namespace});
    }
    return t;
}

result<std::string> show_devices(const show_options& o) {
    if (is_vinicd(o.device)) {
        return show_vinicd(o);
    }
    const auto files = wanted_devices(o);
    if (!files) {
        return std::unexpected(files.error());
    }
    table devices = device_table();
    table everybody = process_table(process_list{});
    everybody.columns.insert(everybody.columns.begin(), {"device", "DEVICE"});
    list documents;
    for (const device_file& f : *files) {
        // A name that somebody squats on is shown with that user; what was written into it, only if it is asked for.
        const bool inside = f.readable() && (f.believed() || !o.device.empty());
        const process_list processes = inside ? process_list(f, true) : process_list{};
        table one = device_table();
        one.rows.push_back(device_row(f, inside ? &processes : nullptr));
        if (auto r = read_to_the_end(f); !r) {
            return std::unexpected(r.error());
        }
        table users = process_table(processes);
        object document = std::get<object>(to_list(one).front().is);
        document.emplace_back("processes", to_list(users));
        documents.emplace_back(std::move(document));
        devices.rows.push_back(std::move(one.rows.front()));
        for (auto& row : users.rows) {
            row.insert(row.begin(), address_of(f));
            everybody.rows.push_back(std::move(row));
        }
    }
    if (o.json) {
        return to_json({{"schema", json_schema},
                        {"directory", directory_or_default(o.directory)},
                        {"devices", std::move(documents)}}) +
               "\n";
    }
    if (devices.rows.empty()) {
        return "no devices in " + directory_or_default(o.directory) + "\n";
    }
    std::string text = to_text(devices, o.details);
    if (!everybody.rows.empty()) {
        text += "\n";
        text += to_text(everybody, o.details);
    }
    return text;
}

result<std::string> show_processes(const show_options& o) {
    auto f = open_readable(o.device, o.directory);
    if (!f) {
        return std::unexpected(f.error());
    }
    return finish(o, *f, "processes", process_table(process_list(*f, true)));
}

}  // namespace vinic::cli
