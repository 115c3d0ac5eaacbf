// SPDX-License-Identifier: Apache-2.0
//
// tables.hpp -- who owns what in a device, gathered from its tables.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "cli/device_file.hpp"
#include "cli/value.hpp"

namespace vinic::cli {

/// Which table consists of these entries, and where it begins.
template <class Entry>
struct table_place;
template <>
struct table_place<abi::domain_entry> {
    abi::table table = abi::domains;
    std::uint64_t offset = abi::domains_offset;
};
template <>
struct table_place<abi::region_entry> {
    abi::table table = abi::regions;
    std::uint64_t offset = abi::regions_offset;
};
template <>
struct table_place<abi::cq_entry> {
    abi::table table = abi::cqs;
    std::uint64_t offset = abi::cqs_offset;
};
template <>
struct table_place<abi::vi_entry> {
    abi::table table = abi::vis;
    std::uint64_t offset = abi::vis_offset;
};
template <>
struct table_place<abi::name_entry> {
    abi::table table = abi::names;
    std::uint64_t offset = abi::names_offset;
};
template <>
struct table_place<abi::request_entry> {
    abi::table table = abi::requests;
    std::uint64_t offset = abi::requests_offset;
};

/// A process entry that is not free, and how much of the device it owns.
struct process_view {
    std::uint32_t index = 0;
    std::uint32_t state = 0;  ///< abi::process_state
    bool alive = false;
    bool same_pid_namespace = false;
    std::uint32_t pid = 0;
    std::uint64_t pid_namespace = 0;
    std::uint64_t start_time_ticks = 0;
    std::string command;
    std::uint32_t vis = 0;
    std::uint32_t cqs = 0;
    std::uint32_t regions = 0;
    std::uint32_t domains = 0;
    std::uint32_t names = 0;
    std::uint32_t chunks = 0;
    std::uint64_t touched_bytes = 0;            ///< written-to parts of its chunks
    std::optional<std::uint64_t> buffer_bytes;  ///< buffers and adopted pages; empty while they change
};

/// The processes of a device, by the owner word of table entries (process index + 1).
class process_list {
public:
    /// `census`: count what each owns, too.
    process_list() = default;
    process_list(const device_file& f, bool census);
    [[nodiscard]] const std::vector<process_view>& all() const noexcept { return all_; }
    [[nodiscard]] const process_view* owner(std::uint32_t owner_word) const noexcept;
    [[nodiscard]] std::uint32_t living() const noexcept;

    /// The columns "pid" and "command" of an entry's owner.
    [[nodiscard]] value pid_of(std::uint32_t owner_word) const;
    [[nodiscard]] value command_of(std::uint32_t owner_word) const;

private:
    void count(const device_file& f);
    void measure(const device_file& f);
    [[nodiscard]] process_view* find(std::uint32_t owner_word) noexcept;

    std::vector<process_view> all_;
};

/// What is in use of a device as a whole.
struct device_census {
    std::uint32_t used[abi::table_kinds] = {};
    std::uint32_t chunks = 0;
};
[[nodiscard]] device_census count_entries(const device_file& f);

/// f(index, entry) for the owned entries of a table.
template <class Entry, class F>
void for_each_owned(const device_file& d, F f) {
    constexpr table_place<Entry> place;
    d.for_each<Entry>(place.offset, d.backed(place.table), [&](std::uint32_t i, const Entry& e) {
        if (e.owner.load_relaxed() != 0) {
            f(i, e);
        }
    });
}

/// Receive descriptors of a VI that no message has filled yet; empty if its rings make no sense or
/// it is broken, when all that is left gets flushed.
[[nodiscard]] std::optional<std::uint32_t> receives_posted(const device_file& f, const abi::vi_entry& v);

/// Send descriptors that wait for the receiver: 0 unless the queue of a connected VI is handed over.
[[nodiscard]] std::uint32_t sends_waiting(const abi::vi_entry& v) noexcept;

}  // namespace vinic::cli
