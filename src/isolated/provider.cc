// SPDX-License-Identifier: Apache-2.0
//
// provider.cc -- isolated placement: what vinicd is told of regions and names, its vectors and events, and its end.
#include "isolated/provider.hpp"

#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "os/file.hpp"
#include "tables/link.hpp"

namespace vinic::isolated {

namespace {

/// Both ends of a connection and the device between them.
constexpr long pollers_of_a_pair = 3;

detail::placement_facts facts_of(const window& w) noexcept {
    return {.every_send_is_queued = true,
            .needs_another_core = ::sysconf(_SC_NPROCESSORS_ONLN) < pollers_of_a_pair,
            .may_be_gone = true,
            .function = w.function()};
}

}  // namespace

provider::provider(window& w)
    : detail::provider(facts_of(w)), window_(w), mailbox_(w), notices_(w.identity().notices) {}

/// When the device is gone, it cannot say so: every connection ends here.
void provider::look_after(nic_body& n, std::uint64_t now_ns) noexcept {
    mailbox_.look(now_ns);
    if (!gone() || cut_off_.load()) {
        return;
    }
    // Not waiting: the poller may be what the holder waits for.  The next tick tries again.
    const std::unique_lock hold(n.mutex, std::try_to_lock);
    if (!hold.owns_lock()) {
        return;
    }
    for (vi_body* v : n.vis) {
        const std::uint64_t state = v->entry->state.load_acquire();
        // None: a device that lives, but has reset the function, has destroyed what it knew of the VI.
        if (const abi::link l = abi::link_of(state);
            l == abi::link::connecting || l == abi::link::connected || l == abi::link::none) {
            v->entry->state.store_release(
                abi::make_state(abi::epoch_of(state), abi::link::error, abi::break_reason::peer_died));
            tables::signal(window_, *v->entry, abi::send_queue);
            tables::signal(window_, *v->entry, abi::receive_queue);
        }
    }
    cut_off_.store(true);
}

void provider::explain(errc code, std::string& what, int& os_errno) const {
    if (code == errc::out_of_memory && os_errno == 0) {
        os_errno = EDQUOT;  // the device has a limit
    } else if (code == errc::peer_gone && !window_.forked() && window_.lost()) {
        what += tables::memory::lost_words;
    }
}

errc provider::region_made(const abi::region_entry& e) noexcept {
    return mailbox_
        .call(abi::verb::register_region, {e.key.load_relaxed(), e.domain.load_relaxed(), e.rights.load_relaxed(),
                                           e.address.load_relaxed(), e.length.load_relaxed(), e.offset.load_relaxed()})
        .code;
}

errc provider::region_changed(std::uint32_t key, std::uint32_t domain, access rights) noexcept {
    return mailbox_.call(abi::verb::change_region, {key, domain, static_cast<std::uint64_t>(rights)}).code;
}

errc provider::region_closed(std::uint32_t key) noexcept {
    return mailbox_.call(abi::verb::deregister_region, {key}).code;
}

/// The device reaches the memory of its own user's processes only.  A window belongs to the user who made it, no matter
/// who made the socket.
bool provider::reaches_foreign_memory() const noexcept { return os::owner_of(window_.fd()) == ::geteuid(); }

std::unique_ptr<vi_body> provider::make_vi(const nic_body&, service) { return std::make_unique<vi>(mailbox_); }

// -- names: the device knows who has which ----------------------------------------------------------

result<void> provider::bind(vi_body& v, const address& at) {
    const auto key = detail::to_key(at);
    if (!key) {
        return std::unexpected(key.error());
    }
    const auto r = mailbox_.call(abi::verb::bind, {v.index}, *key);
    return r.ok() ? result<void>{}
                  : std::unexpected(v.nic->fail(r.code, refused_name(r.code, "entering the name '" + at.name + "'")));
}

result<datagram_address> provider::resolve(nic_body& n, const address& name) {
    const auto key = detail::to_key(name);
    if (!key) {
        return std::unexpected(key.error());
    }
    const auto r = mailbox_.call(abi::verb::resolve, {}, *key);
    return r.ok() ? result<datagram_address>(datagram_address{r.value[0]})
                  : std::unexpected(n.fail(r.code, "resolving '" + name.name + "'"));
}

result<std::vector<address>> provider::names(nic_body& n) {
    constexpr std::size_t keys_max = abi::mail_payload_bytes / sizeof(abi::address_key);
    std::vector<address> all;
    abi::address_key keys[keys_max];
    std::span<const abi::address_key> last;
    for (bool more = true; more;) {
        const auto r =
            mailbox_.call(abi::verb::names, {}, std::as_bytes(last), std::as_writable_bytes(std::span(keys, keys_max)));
        if (!r.ok()) {
            return std::unexpected(n.fail(r.code, "listing names"));
        }
        const std::size_t count = std::min<std::uint64_t>(r.value[1], r.payload_bytes / sizeof(abi::address_key));
        for (std::size_t i = 0; i < count; ++i) {
            all.push_back(detail::to_address(keys[i]));
        }
        more = r.value[0] != 0 && count != 0;
        last = std::span(keys).first(count).last(std::min<std::size_t>(count, 1));
    }
    return all;
}

result<std::uint32_t> provider::listen(nic_body& n, const address& at) {
    const auto key = detail::to_key(at);
    if (!key) {
        return std::unexpected(key.error());
    }
    const std::string doing = "listening at '" + at.name + "'";
    result<std::uint32_t> made;
    {
        const tables::control_lock lock(window_);
        if (!lock) {
            return std::unexpected(window_.fail_lock(errc::busy, doing));
        }
        made = detail::take_name(window_, *key, abi::name_kind::listener, 0);
    }
    if (!made) {
        return made;
    }
    const auto r = mailbox_.call(abi::verb::listen, {*made}, *key);
    if (r.ok()) {
        return made;
    }
    if (const tables::control_lock lock(window_, tables::farewell); lock) {
        window_.name(*made).at = {};
        window_.give(abi::names, *made);
    }
    return std::unexpected(n.fail(r.code, refused_name(r.code, doing)));
}

void provider::unlisten(std::uint32_t entry) noexcept { (void)mailbox_.call(abi::verb::unlisten, {entry}); }

// -- vectors and events -----------------------------------------------------------------------------

std::uint32_t provider::vectors() const noexcept {
    return std::clamp<std::uint32_t>(window_.identity().vectors.load_relaxed(), 1, abi::vectors_max);
}

std::expected<void, errc> provider::set_vector(std::uint32_t index, const vector_settings& settings) noexcept {
    const std::uint64_t flags = abi::change_vector | (settings.masked ? std::uint64_t{abi::vector_masked} : 0);
    const auto r = mailbox_.call(abi::verb::vector,
                                 {index, flags, settings.count, static_cast<std::uint64_t>(settings.period.count())});
    return r.ok() ? std::expected<void, errc>{} : std::unexpected(r.code);
}

std::expected<vector_status, errc> provider::vector(std::uint32_t index) noexcept {
    const auto r = mailbox_.call(abi::verb::vector, {index});
    if (!r.ok()) {
        return std::unexpected(r.code);
    }
    return vector_status{{(r.value[1] & abi::vector_masked) != 0, static_cast<std::uint32_t>(r.value[2]),
                          nanoseconds(static_cast<std::int64_t>(r.value[3]))},
                         static_cast<std::uint32_t>(r.value[0])};
}

std::expected<std::optional<device_event>, errc> provider::take_event() noexcept {
    const bool is_gone = found_gone();  // looked at first: its last words were written before
    auto event = notices_.take();
    if (!event && is_gone) {
        return std::unexpected(errc::peer_gone);
    }
    return event;
}

std::expected<service_level, errc> provider::service_in_force() noexcept {
    if (found_gone()) {
        return std::unexpected(errc::peer_gone);
    }
    const auto level = notices_.in_force();
    return level ? std::expected<service_level, errc>(*level) : std::unexpected(errc::busy);
}

result<detail::opened> open(std::string_view device_address, const open_options& options) {
    if (!options.directory.empty() || !options.group.empty() || options.span_bytes != 0) {
        return std::unexpected(
            error{errc::invalid_argument, 0, "directory, group and span_bytes are for device files only"});
    }
    auto w = window::open(device_address, window::role::participant);
    if (!w) {
        return std::unexpected(w.error());
    }
    auto made = std::make_unique<provider>(**w);
    return detail::opened{std::move(*w), std::move(made)};
}

}  // namespace vinic::isolated
