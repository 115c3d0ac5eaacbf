// SPDX-License-Identifier: Apache-2.0
//
// doctor_device.cc -- the devices themselves: what was left behind, what is nearly full, who is stuck.
#include <unistd.h>

#include <fstream>
#include <set>
#include <sstream>

#include "cli/doctor.hpp"
#include "cli/function_client.hpp"

namespace vinic::cli {

namespace {

/// A stranger's file, or one that strangers may write: told, and nothing else of it is looked at or recommended.
bool is_alien(const device_file& f, verdict how_bad, findings& all) {
    if (f.believed()) {
        return false;
    }
    const bool own = f.status().st_uid == ::geteuid();
    all.push_back({"not believed", how_bad,
                   f.path() + " belongs to user " + user_name(f.status().st_uid) +
                       (own ? " and is open to others, or has several links" : "") + ": shm:" + f.name() +
                       " is not opened by this user",
                   own ? "end its programs and remove it, or open it with its group (open_options::group)"
                       : "use another name, or a directory of your own (VINIC_SHM_DIR=$XDG_RUNTIME_DIR); its owner or "
                         "root may remove it"});
    return true;
}

/// What is wrong with a device at first sight; nothing if it is live.
void check_state(const device_file& f, findings& all) {
    if (f.state() != file_state::not_a_device && is_alien(f, verdict::warn, all)) {
        return;
    }
    const std::string what = address_of(f);
    const std::string remove = "`vinic device remove " + f.name() + "`";
    switch (f.state()) {
        case file_state::live:
            break;
        case file_state::stale:
            all.push_back({"stale device", verdict::warn,
                           what + " takes " + size_in_words(f.size_bytes()) + " and all its processes are dead",
                           remove + ", or open it: the next program takes it over"});
            break;
        case file_state::unfinished:
            if (!f.in_use()) {
                all.push_back({"stale device", verdict::warn, what + " was never finished: its maker died",
                               remove + ", or open it: the next program takes it over"});
            }
            break;
        case file_state::other_version:
            all.push_back({"other version", verdict::warn,
                           what + " was made by a vinic with layout version " +
                               std::to_string(f.header().version.load_relaxed()) + ", this one has " +
                               std::to_string(abi::layout_version),
                           f.in_use() ? "use another name, or the vinic that its processes use" : remove});
            break;
        case file_state::not_a_device:
            all.push_back({"not a device", verdict::warn, f.path() + " is called like a device and is none",
                           f.status().st_uid == ::geteuid() ? "rename it; no device of that name can be made"
                                                            : "use another name; no device of that one can be made"});
            break;
        case file_state::no_access:
            break;
    }
}

/// The letter of the process' state in /proc/PID/stat, 0 if it cannot be told.
char run_state(std::uint32_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::stringstream text;
    text << file.rdbuf();
    const std::string line = text.str();
    const std::size_t end = line.rfind(") ");  // the command may hold brackets itself
    return end == std::string::npos || end + 2 >= line.size() ? '\0' : line[end + 2];
}

void check_processes(const process_list& processes, findings& all) {
    std::uint32_t dead = 0;
    std::set<std::uint64_t> namespaces;
    for (const process_view& p : processes.all()) {
        dead += p.alive ? 0u : 1u;
        if (!p.alive) {
            continue;
        }
        namespaces.insert(p.pid_namespace);
        if (p.same_pid_namespace && run_state(p.pid) == 'T') {
            all.push_back({"processes", verdict::warn,
                           "process " + std::to_string(p.pid) + " (" + p.command + ") is stopped",
                           "kill -CONT " + std::to_string(p.pid)});
        }
    }
    all.push_back(
        {"processes", verdict::ok,
         std::to_string(processes.living()) + " alive" +
             (dead == 0 ? ""
                        : ", " + std::to_string(dead) + " dead: whoever uses the device next cleans up after them")});
    if (namespaces.size() > 1) {
        all.push_back({"pid namespaces", verdict::warn,
                       "its processes live in " + std::to_string(namespaces.size()) +
                           " of them: foreign memory is not reached from one to the other",
                       "take memory from nic::allocate, or share the pid namespace"});
    }
}

void check_lock(const device_file& f, const process_list& processes, findings& all) {
    const std::uint32_t holder = f.header().lock.load_relaxed() & ~abi::lock_waiters;
    const process_view* p = processes.owner(holder);
    if (holder == 0) {
        all.push_back({"lock", verdict::ok, "the control plane's lock is free"});
    } else if (p == nullptr || !p->alive) {
        all.push_back({"lock", verdict::ok, "the lock's holder is dead: whoever needs it next breaks it"});
    } else if (p->same_pid_namespace && run_state(p->pid) == 'T') {
        all.push_back(
            {"lock", verdict::fail,
             "process " + std::to_string(p->pid) + " was stopped while it held the lock: nobody can create or connect",
             "kill -CONT " + std::to_string(p->pid) + ", or end it"});
    } else {
        all.push_back({"lock", verdict::ok, "held by process " + std::to_string(p->pid) + " at this moment"});
    }
}

void check_tables(const device_file& f, findings& all) {
    struct limit {
        const char* what;
        std::uint32_t used;
        std::uint32_t capacity;
    };
    const device_census c = count_entries(f);
    const limit limits[] = {{"domains", c.used[abi::domains], abi::domain_count},
                            {"regions", c.used[abi::regions], abi::region_count},
                            {"completion queues", c.used[abi::cqs], abi::cq_count},
                            {"virtual interfaces", c.used[abi::vis], abi::vi_count},
                            {"names", c.used[abi::names], abi::name_count},
                            {"connection requests", c.used[abi::requests], abi::request_count},
                            {"chunks of 64 MiB", c.chunks, abi::chunk_count - abi::first_chunk}};
    const std::size_t before = all.size();
    for (const limit& l : limits) {
        if (l.used >= l.capacity / 10 * 9) {
            all.push_back({"tables", l.used >= l.capacity ? verdict::fail : verdict::warn,
                           std::to_string(l.used) + " of " + std::to_string(l.capacity) + " " + l.what + " are taken",
                           "close some, or use a second device"});
        }
    }
    if (all.size() == before) {
        all.push_back({"tables", verdict::ok, "all less than nine tenths full"});
    }
}

}  // namespace

void check_devices(const std::string& directory, findings& all) {
    const auto names = device_names(directory);
    if (!names) {
        return;  // check_directory has said why
    }
    const std::size_t before = all.size();
    for (const std::string& each : *names) {
        if (const auto f = device_file::open(each, directory); f) {
            check_state(*f, all);
        }
    }
    if (all.size() == before) {
        all.push_back({"devices", verdict::ok, "nothing was left behind in " + directory});
    }
}

/// A vinicd keeps its tables to itself; it is asked.
void check_vinicd(const std::string& typed, findings& all) {
    auto client = function_client::open(typed);
    const auto told = client ? client->ask({{"command", "device"}}) : std::unexpected(client.error());
    if (!told) {
        all.push_back({"device", verdict::fail, told.error().sentence});
        return;
    }
    all.push_back({"device", verdict::ok,
                   typed + " is served; `vinic function show --device " + typed + "` tells what its functions do"});
}

void check_device(const std::string& typed, const std::string& directory, findings& all) {
    if (is_vinicd(typed)) {
        check_vinicd(typed, all);
        return;
    }
    const auto f = open_readable(typed, directory);
    if (!f) {
        all.push_back({"device", verdict::fail, f.error().message()});
        return;
    }
    if (is_alien(*f, verdict::fail, all)) {
        return;
    }
    if (f->state() == file_state::stale) {
        check_state(*f, all);
    } else {
        all.push_back({"device", verdict::ok, address_of(*f) + " is live and takes " + size_in_words(f->size_bytes())});
    }
    if (f->standing() == direct::standing::group) {
        all.push_back({"access", verdict::ok, "it is shared with group " + group_name(f->status().st_gid)});
    }
    const process_list processes(*f, false);
    check_processes(processes, all);
    check_lock(*f, processes, all);
    check_tables(*f, all);
    if (f->header().fence.load_relaxed() != 0) {
        all.push_back({"fences", verdict::warn, "the device was made where membarrier is refused: its data path fences",
                       "end its processes and make it where membarrier(2) is allowed"});
    }
}

}  // namespace vinic::cli
