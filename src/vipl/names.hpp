// SPDX-License-Identifier: Apache-2.0
//
// names.hpp -- the name service: host names and host addresses.
//
//   asked in this order:   VINIC_VIPL_HOSTS         "name=02:00:00:00:00:01;other=..."
//                          the hosts file           "02:00:00:00:00:01  name  another-name   # comment"
//                          the local names          localhost, this machine's name, the address itself
//                          VINIC_VIPL_ANY_NAME=1    every other name is this NIC
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "vipl/state.hpp"

namespace vipl {

class name_table {
public:
    /// Reads the environment and a hosts file: `file`, or VINIC_VIPL_HOSTS_FILE, or /etc/vipl/hosts if it
    /// exists.  nullptr: something is malformed or unreadable, and `why` says what.
    [[nodiscard]] static std::shared_ptr<const name_table> read(const char* file, std::string& why);

    /// Address number `index` of a name.
    [[nodiscard]] std::optional<host_address> find(std::string_view name, VIP_ULONG index,
                                                   const host_address& local) const;
    /// The first name of an address.
    [[nodiscard]] std::optional<std::string> name_of(const host_address& host, const host_address& local) const;
    /// Every address once, this NIC's first.
    [[nodiscard]] std::vector<host_address> addresses(const host_address& local) const;

private:
    [[nodiscard]] bool add_table(std::string_view text, std::string& why);
    [[nodiscard]] bool add_file(const std::string& path, bool must_exist, std::string& why);

    std::vector<std::pair<std::string, host_address>> entries_;
    bool any_ = false;
};

/// Without blanks at its ends.
[[nodiscard]] std::string_view trimmed(std::string_view s) noexcept;
/// "02:00:00:00:00:01", also with '-', and nothing else.
[[nodiscard]] std::optional<host_address> parse_host(std::string_view text) noexcept;
[[nodiscard]] std::string text_of(const host_address& host);
/// The address that a device has unless VINIC_VIPL_HOST says otherwise: locally administered, and the
/// same in every process.
[[nodiscard]] host_address host_of_device(std::string_view device) noexcept;

}  // namespace vipl
