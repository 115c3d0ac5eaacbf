// SPDX-License-Identifier: Apache-2.0
//
// provider.cc -- direct placement: opening a device file, and the names in its directory.
#include "direct/provider.hpp"

#include "direct/device_file.hpp"
#include "placement/call.hpp"
#include "tables/processes.hpp"

namespace vinic::direct {

namespace {

/// Enters a name into the device's directory; its index.  errc::name_in_use.
result<std::uint32_t> make_name(nic_body& nic, const address& at, abi::name_kind kind, std::uint64_t target) {
    const auto key = detail::to_key(at);
    if (!key) {
        return std::unexpected(key.error());
    }
    tables::memory& m = *nic.memory;
    const std::string doing = "entering the name '" + at.name + "'";
    const tables::control_lock hold(m);
    if (!hold) {
        return std::unexpected(m.fail_lock(errc::busy, doing));
    }
    for (bool looked_for_dead = false;; looked_for_dead = true) {
        const std::uint32_t there = detail::find_name(m, *key);
        if (there == abi::none32) {
            break;
        }
        // A name of a process that has just died is free.
        if (looked_for_dead || m.alive(m.name(there).owner.load_relaxed() - 1)) {
            return std::unexpected(nic.fail(errc::name_in_use, doing));
        }
        (void)tables::bury_the_dead(m);
    }
    return detail::take_name(m, *key, kind, target);
}

}  // namespace

std::unique_ptr<vi_body> provider::make_vi(const nic_body& n, service s) {
    if (s == service::datagram) {
        return std::make_unique<datagram_vi>();
    }
    const std::lock_guard hold(mutex_);
    detail::make_room(stalled_, n.vis.size() + 1);
    return std::make_unique<connected_vi>(*this);
}

result<void> provider::bind(vi_body& v, const address& at) {
    const auto target = abi::make_datagram_address(v.index, facts.function, v.entry->generation.load_relaxed());
    const auto made = make_name(*v.nic, at, abi::name_kind::datagram, target);
    return made ? result<void>{} : std::unexpected(made.error());
}

result<std::uint32_t> provider::listen(nic_body& n, const address& at) {
    if (n.memory->removed()) {
        return std::unexpected(n.memory->fail(errc::device_removed, 0, "listening at '" + at.name + "'"));
    }
    return make_name(n, at, abi::name_kind::listener, 0);
}

result<datagram_address> provider::resolve(nic_body& n, const address& name) {
    const auto key = detail::to_key(name);
    if (!key) {
        return std::unexpected(key.error());
    }
    const std::string doing = "resolving '" + name.name + "'";
    const tables::memory& m = *n.memory;
    const tables::control_lock hold(*n.memory);
    if (!hold) {
        return std::unexpected(m.fail_lock(errc::busy, doing));
    }
    const std::uint32_t i = detail::find_name(m, *key);
    if (i == abi::none32 || m.name(i).kind.load_relaxed() != static_cast<std::uint32_t>(abi::name_kind::datagram)) {
        return std::unexpected(n.fail(errc::no_listener, doing));
    }
    return datagram_address{m.name(i).target.load_relaxed()};
}

result<std::vector<address>> provider::names(nic_body& n) {
    const tables::memory& m = *n.memory;
    std::vector<address> all;
    const tables::control_lock hold(*n.memory);
    if (!hold) {
        return std::unexpected(m.fail_lock(errc::busy, "listing names"));
    }
    for (std::uint32_t i = 0; i < m.backed(abi::names); ++i) {
        if (m.name(i).owner.load_relaxed() != 0) {
            all.push_back(detail::to_address(m.name(i).at));
        }
    }
    return all;
}

result<detail::opened> open(std::string_view device_address, const open_options& options) {
    auto memory = device_file::open(device_address, options, device_file::role::participant);
    if (!memory) {
        return std::unexpected(memory.error());
    }
    return detail::opened{std::move(*memory), std::make_unique<provider>()};
}

}  // namespace vinic::direct
