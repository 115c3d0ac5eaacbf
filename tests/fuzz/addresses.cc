// SPDX-License-Identifier: Apache-2.0
//
// addresses.cc -- makes such words from bytes, and checks how each call takes them.
#include "addresses.hpp"

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <vinic/vinic.hpp>

namespace fuzz {

namespace {

using vinic::errc;

constexpr std::size_t name_bytes_max = 63;
constexpr std::size_t discriminator_bytes_max = 64;

/// How a call ended.  Every error has a known code and a message.
template <class T>
errc outcome(const vinic::result<T>& r) {
    if (r)
        return errc::ok;
    const vinic::error& e = r.error();
    require(e.code > errc::ok && e.code <= errc::device_removed, "an error's code is documented");
    require(*vinic::name(e.code) != '\0' && *vinic::describe(e.code) != '\0', "a code has a name and a sentence");
    require(!e.doing.empty() && e.message().find(vinic::describe(e.code)) != std::string::npos,
            "an error says what was done and what to do");
    require(e.os_errno >= 0 && (e.code != errc::os_failure || e.os_errno != 0), "an os_failure has an errno");
    return e.code;
}

bool is_device_address(const std::string& s) {
    if (!s.starts_with("shm:"))
        return false;
    const std::string name = s.substr(4);
    return !name.empty() && name.size() <= name_bytes_max && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == '-';
    });
}

std::size_t entries(const std::string& directory) {
    std::size_t n = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) n += entry.exists() ? 1u : 0u;
    return n;
}

/// Many texts are almost right.
std::string random_device_address(input& in) {
    const std::uint8_t form = in.byte();
    if (form >= 224)
        return in.text(in.below(80));
    std::string s = form >= 220 ? "vinicd:" : form >= 216 ? "udp:" : "shm:";
    const std::size_t length = form < 128 ? 1 + in.below(8) : form < 160 ? 63 : form < 176 ? 64 : in.below(70);
    constexpr char fit[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    for (std::size_t i = 0; i < length; ++i) s += fit[in.byte() % (sizeof fit - 1)];
    if (form >= 200 && form < 216)
        s[in.below(static_cast<std::uint32_t>(s.size()))] = static_cast<char>(in.byte());
    return s;
}

vinic::address random_name(input& in) {
    const std::uint8_t form = in.byte();
    vinic::address a;
    a.name = in.text(form < 192 ? form % 4u : form < 224 ? form - 192 + 48u : in.below(300));
    const std::uint8_t more = in.byte();
    a.discriminator = in.bytes(more < 128 ? more % 3u : more < 192 ? 62 + more % 4u : in.below(300));
    return a;
}

bool fits(const vinic::address& a) {
    return !a.name.empty() && a.name.size() <= name_bytes_max && a.discriminator.size() <= discriminator_bytes_max;
}

void expect(errc is, errc wanted, const char* what) {
    if (is != wanted)
        throw violation(std::string(what) + ": " + vinic::name(wanted) + " and not " + vinic::name(is));
}

/// Names of one device: what is in its directory is what was put there, byte for byte.
void try_names(vinic::nic& nic, input& in) {
    std::vector<std::pair<vinic::address, vinic::listener>> there;
    for (int i = 0; i < 12 && !in.empty(); ++i) {
        const vinic::address at = random_name(in);
        const auto same = [&](const auto& x) { return x.first == at; };
        const bool taken = std::any_of(there.begin(), there.end(), same);
        auto made = nic.listen(at);
        expect(outcome(made), !fits(at) ? errc::invalid_argument : taken ? errc::name_in_use : errc::ok, "listen");
        if (made)
            there.emplace_back(at, std::move(*made));
        expect(outcome(nic.resolve(at)), fits(at) ? errc::no_listener : errc::invalid_argument, "resolve");
        if (!there.empty() && in.one_in(4))
            there.erase(there.begin() + in.below(static_cast<std::uint32_t>(there.size())));
        auto names = nic.names();
        expect(outcome(names), errc::ok, "names");
        require(names->size() == there.size() && std::all_of(there.begin(), there.end(),
                                                             [&](const auto& x) {
                                                                 return std::find(names->begin(), names->end(),
                                                                                  x.first) != names->end();
                                                             }),
                "names() lists what listens, byte for byte");
    }
    auto queue = nic.create_completion_queue();
    auto domain = nic.create_domain();
    expect(outcome(queue), errc::ok, "create_completion_queue");
    expect(outcome(domain), errc::ok, "create_domain");
    vinic::vi_attributes attributes;
    attributes.send_cq = attributes.receive_cq = &*queue;
    auto vi = domain->create_vi(attributes);
    expect(outcome(vi), errc::ok, "create_vi");
    const vinic::address to = random_name(in);
    const vinic::address from = random_name(in);
    const auto data = in.bytes(in.byte() < 240 ? 3 : 257);
    const bool taken = std::any_of(there.begin(), there.end(), [&](const auto& x) { return x.first == to; });
    const bool good = fits(to) && data.size() <= 256;
    expect(outcome(vi->connect(to, std::chrono::microseconds(1), data)),
           !good   ? errc::invalid_argument
           : taken ? errc::timed_out
                   : errc::no_listener,
           "connect");
    expect(outcome(vi->bind(to)), errc::not_supported, "bind");
    expect(outcome(vi->connect_peer(from, to, std::chrono::seconds(1), data)),
           good && fits(from) ? errc::ok : errc::invalid_argument, "connect_peer");
}

}  // namespace

void try_addresses(const std::string& directory, std::span<const std::uint8_t> bytes) {
    input in(bytes);
    const std::string address = random_device_address(in);
    vinic::open_options options;
    options.directory = directory;
    const std::uint8_t form = in.byte();
    bool directory_exists = true;
    if (form >= 240) {
        // Below the directory and nowhere else: a random path could lead anywhere.
        std::string below = in.text(in.below(300));
        std::replace(below.begin(), below.end(), '.', '_');
        directory_exists = std::all_of(below.begin(), below.end(), [](char c) { return c == '/'; });
        options.directory += "/" + below;
    }
    const std::uint8_t group = in.byte();
    if (group >= 192)
        options.group = group < 224 ? "root" : in.text(in.below(80));
    const std::size_t before = entries(directory);
    require(before == 0, "the last trial left nothing behind");
    {
        auto opened = vinic::nic::open(address, options);
        const errc e = outcome(opened);
        if (address.starts_with("vinicd:"))
            expect(e, errc::invalid_argument, "opening a vinicd with a directory");
        else if (!is_device_address(address))
            expect(e, errc::unknown_address, "opening what is no address");
        else if (!options.group.empty())
            require(e == errc::ok || e == errc::invalid_argument || e == errc::permission_denied ||
                        (!directory_exists && e == errc::os_failure),
                    std::string("a group is accepted or refused, not ") + vinic::name(e));
        else if (directory_exists)
            expect(e, errc::ok, "opening an address");
        else
            require(e != errc::ok, "there is no device in a directory that does not exist");
        if (opened) {
            require(opened->device_address() == address, "a nic tells its address");
            try_names(*opened, in);
            auto again = vinic::nic::open(address, options);
            expect(outcome(again), errc::ok, "opening once more");
            if (!options.group.empty()) {
                expect(outcome(vinic::nic::open(address, {options.directory, {}})), errc::permission_denied,
                       "opening a group's device without naming the group");
            }
        }
    }
    require(entries(directory) == 0, "nothing is left behind");
}

}  // namespace fuzz
