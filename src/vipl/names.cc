// SPDX-License-Identifier: Apache-2.0
//
// names.cc -- parses the tables, answers from them, and the VipNS calls.
#include "vipl/names.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <mutex>
#include <sstream>

#include "os/cancellation.hpp"
#include "vipl/settings.hpp"

namespace vipl {

namespace {

constexpr const char* default_file = "/etc/vipl/hosts";
constexpr std::string_view blanks = " \t\r";

int digit_of(char c) noexcept {
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

std::string machine_name() {
    std::array<char, 256> name{};
    return ::gethostname(name.data(), name.size() - 1) == 0 ? std::string(name.data()) : std::string();
}

bool is_local_name(std::string_view name) {
    const std::string machine = machine_name();
    return name == "localhost" ||
           (!machine.empty() && (name == machine || name == std::string_view(machine).substr(0, machine.find('.'))));
}

}  // namespace

std::string_view trimmed(std::string_view s) noexcept {
    const auto first = s.find_first_not_of(blanks);
    return first == std::string_view::npos ? std::string_view()
                                           : s.substr(first, s.find_last_not_of(blanks) - first + 1);
}

std::optional<host_address> parse_host(std::string_view text) noexcept {
    host_address host{};
    if (text.size() != host_bytes * 3 - 1) {
        return std::nullopt;
    }
    for (std::size_t i = 0; i < host_bytes; ++i) {
        const int high = digit_of(text[i * 3]);
        const int low = digit_of(text[i * 3 + 1]);
        const bool separated = i + 1 == host_bytes || text[i * 3 + 2] == ':' || text[i * 3 + 2] == '-';
        if (high < 0 || low < 0 || !separated) {
            return std::nullopt;
        }
        host[i] = static_cast<std::uint8_t>(high * 16 + low);
    }
    return host;
}

std::string text_of(const host_address& host) {
    constexpr char digits[] = "0123456789abcdef";
    std::string text;
    for (const std::uint8_t byte : host) {
        text += text.empty() ? "" : ":";
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return text;
}

host_address host_of_device(std::string_view device) noexcept {
    std::uint64_t hash = 0xcbf2'9ce4'8422'2325u;  // FNV-1a
    for (const char c : device) {
        hash = (hash ^ static_cast<std::uint8_t>(c)) * 0x0000'0100'0000'01b3u;
    }
    host_address host{0x02};  // locally administered, unicast
    for (std::size_t i = 1; i < host_bytes; ++i) {
        host[i] = static_cast<std::uint8_t>(hash >> (8 * i));
    }
    return host;
}

bool name_table::add_table(std::string_view text, std::string& why) {
    while (!text.empty()) {
        const auto end = std::min(text.find(';'), text.size());
        const std::string_view item = trimmed(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (item.empty()) {
            continue;
        }
        const auto equals = item.find('=');
        const auto host =
            equals == std::string_view::npos ? std::nullopt : parse_host(trimmed(item.substr(equals + 1)));
        const std::string_view name = trimmed(item.substr(0, std::min(equals, item.size())));
        if (!host || name.empty()) {
            why = "VINIC_VIPL_HOSTS: '" + std::string(item) + "' is not of the form name=02:00:00:00:00:01";
            return false;
        }
        entries_.emplace_back(name, *host);
    }
    return true;
}

bool name_table::add_file(const std::string& path, bool must_exist, std::string& why) {
    std::ifstream file(path);
    if (!file) {
        why = "hosts file " + path + ": " + std::strerror(errno);
        return !must_exist && errno == ENOENT;
    }
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
        std::istringstream words(line.substr(0, line.find('#')));
        std::string word;
        if (!(words >> word)) {
            continue;
        }
        const auto host = parse_host(word);
        bool named = false;
        while (host && words >> word) {
            entries_.emplace_back(word, *host);
            named = true;
        }
        if (!named) {
            why = "hosts file " + path + ", line " + std::to_string(number) +
                  ": not of the form \"02:00:00:00:00:01 name ...\"";
            return false;
        }
    }
    return true;
}

std::shared_ptr<const name_table> name_table::read(const char* file, std::string& why) {
    auto made = std::make_shared<name_table>();
    if (const char* table = environment("VINIC_VIPL_HOSTS"); table != nullptr && !made->add_table(table, why)) {
        return nullptr;
    }
    const char* asked = file != nullptr ? file : environment("VINIC_VIPL_HOSTS_FILE");
    if (!made->add_file(asked != nullptr ? asked : default_file, asked != nullptr, why)) {
        return nullptr;
    }
    made->any_ = is_set("VINIC_VIPL_ANY_NAME");
    return made;
}

std::optional<host_address> name_table::find(std::string_view name, VIP_ULONG index, const host_address& local) const {
    VIP_ULONG left = index;
    bool known = false;
    for (const auto& [there, host] : entries_) {
        if (there == name) {
            known = true;
            if (left-- == 0) {
                return host;
            }
        }
    }
    if (known || index != 0) {
        return std::nullopt;
    }
    if (const auto literal = parse_host(name)) {
        return literal;
    }
    return any_ || is_local_name(name) ? std::optional(local) : std::nullopt;
}

std::optional<std::string> name_table::name_of(const host_address& host, const host_address& local) const {
    for (const auto& [name, there] : entries_) {
        if (there == host) {
            return name;
        }
    }
    if (host != local) {
        return std::nullopt;
    }
    const std::string machine = machine_name();
    return machine.empty() ? "localhost" : machine;
}

std::vector<host_address> name_table::addresses(const host_address& local) const {
    std::vector<host_address> known{local};
    for (const auto& [name, host] : entries_) {
        if (std::find(known.begin(), known.end(), host) == known.end()) {
            known.push_back(host);
        }
    }
    return known;
}

namespace {

/// The NIC's table, read when it is first needed.
VIP_RETURN table_of(nic& n, std::shared_ptr<const name_table>& out, const char* file, bool anew) {
    const std::lock_guard hold(n.mutex);
    if (!n.open) {
        return VIP_INVALID_PARAMETER;
    }
    if (anew || !n.names) {
        std::string why;
        auto made = name_table::read(file, why);
        if (!made) {
            std::fprintf(stderr, "vipl: %s\n", why.c_str());
            return VIP_ERROR_NAMESERVICE;
        }
        n.names = std::move(made);
    }
    out = n.names;
    return VIP_SUCCESS;
}

std::optional<host_address> host_of(const VIP_NET_ADDRESS& a) noexcept {
    host_address host{};
    if (a.HostAddressLen != host_bytes) {
        return std::nullopt;
    }
    std::memcpy(host.data(), a.HostAddress, host_bytes);
    return host;
}

VIP_RETURN autodiscovery(const name_table& names, const host_address& local, VIP_AUTODISCOVERY_LIST& list) {
    const auto known = names.addresses(local);
    const std::size_t room = list.ADAddrArray == nullptr ? 0 : list.NumAdAddrs;
    for (std::size_t i = 0; i < std::min(room, known.size()); ++i) {
        VIP_NET_ADDRESS& to = *list.ADAddrArray[i];
        to.HostAddressLen = host_bytes;
        to.DiscriminatorLen = 0;
        std::memcpy(reinterpret_cast<std::uint8_t*>(&to) + offsetof(VIP_NET_ADDRESS, HostAddress), known[i].data(),
                    host_bytes);
    }
    const bool all_fit = list.ADAddrArray == nullptr || room >= known.size();
    list.NumberOfHops = 1;
    list.NumAdAddrs = known.size();
    return all_fit ? VIP_SUCCESS : VIP_ERROR_RESOURCE;
}

template <class Call>
VIP_RETURN with_table(VIP_NIC_HANDLE handle, const char* file, bool anew, Call call) noexcept {
    nic* const n = all().nics.find(handle);
    if (n == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const vinic::os::cancellation_off inside;
    try {
        std::shared_ptr<const name_table> names;
        const VIP_RETURN r = table_of(*n, names, file, anew);
        return r == VIP_SUCCESS ? call(*names, *n) : r;
    } catch (const std::bad_alloc&) {
        return VIP_ERROR_RESOURCE;
    }
}

}  // namespace

}  // namespace vipl

using namespace vipl;

extern "C" {

VIP_RETURN VipNSInit(VIP_NIC_HANDLE NicHandle, VIP_PVOID NSInitInfo) {
    return with_table(NicHandle, static_cast<const char*>(NSInitInfo), true,
                      [](const name_table&, const nic&) { return VIP_SUCCESS; });
}

VIP_RETURN VipNSGetHostByName(VIP_NIC_HANDLE NicHandle, VIP_CHAR* Name, VIP_NET_ADDRESS* Address, VIP_ULONG NameIndex) {
    if (Name == nullptr || Address == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    return with_table(NicHandle, nullptr, false, [&](const name_table& names, const nic& n) {
        const auto host = names.find(Name, NameIndex, n.host);
        if (!host) {
            return VIP_ERROR_NAMESERVICE;
        }
        // The discriminator may be the program's already: neither it nor its length is touched.
        Address->HostAddressLen = host_bytes;
        std::memcpy(reinterpret_cast<std::uint8_t*>(Address) + offsetof(VIP_NET_ADDRESS, HostAddress), host->data(),
                    host_bytes);
        return VIP_SUCCESS;
    });
}

VIP_RETURN VipNSGetHostByAddr(VIP_NIC_HANDLE NicHandle, VIP_NET_ADDRESS* Address, VIP_CHAR* Name, VIP_ULONG* NameLen) {
    if (Address == nullptr || Name == nullptr || NameLen == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    return with_table(NicHandle, nullptr, false, [&](const name_table& names, const nic& n) {
        const auto host = host_of(*Address);
        const auto name = host ? names.name_of(*host, n.host) : std::nullopt;
        if (!name) {
            return VIP_ERROR_NAMESERVICE;
        }
        const VIP_ULONG room = *NameLen;
        *NameLen = name->size();
        if (room <= name->size()) {
            return VIP_ERROR_RESOURCE;
        }
        std::memcpy(Name, name->c_str(), name->size() + 1);
        return VIP_SUCCESS;
    });
}

VIP_RETURN VipNSShutdown(VIP_NIC_HANDLE NicHandle) {
    nic* const n = all().nics.find(NicHandle);
    if (n == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    const std::lock_guard hold(n->mutex);
    n->names.reset();
    return VIP_SUCCESS;
}

VIP_RETURN VipQuerySystemManagementInfo(VIP_NIC_HANDLE NicHandle, VIP_ULONG InfoType, VIP_PVOID SysManInfo) {
    if (all().nics.find(NicHandle) == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    if (InfoType != VIP_SMI_AUTODISCOVERY) {
        return VIP_ERROR_NOT_SUPPORTED;
    }
    if (SysManInfo == nullptr) {
        return VIP_INVALID_PARAMETER;
    }
    return with_table(NicHandle, nullptr, false, [&](const name_table& names, const nic& n) {
        return autodiscovery(names, n.host, *static_cast<VIP_AUTODISCOVERY_LIST*>(SysManInfo));
    });
}

}  // extern "C"
