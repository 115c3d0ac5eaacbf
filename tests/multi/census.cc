// SPDX-License-Identifier: Apache-2.0
//
// census.cc -- counts entries of every table, and storage.
#include "multi/census.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ostream>

#include "direct/device_file.hpp"
#include "isolated/window.hpp"

namespace multi {

namespace abi = vinic::abi;

namespace {

/// Bytes with storage in [begin, end), found by looking for data and holes.
std::uint64_t stored_bytes(int fd, std::uint64_t begin, std::uint64_t end) {
    std::uint64_t sum = 0;
    for (std::uint64_t at = begin; at < end;) {
        const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 || static_cast<std::uint64_t>(data) >= end) {
            break;
        }
        const off_t hole = ::lseek(fd, data, SEEK_HOLE);
        const std::uint64_t until = hole < 0 ? end : std::min(end, static_cast<std::uint64_t>(hole));
        sum += until - static_cast<std::uint64_t>(data);
        at = until;
    }
    return sum;
}

}  // namespace

census& census::operator+=(const census& o) {
    for (std::uint32_t census::* each :
         {&census::processes, &census::domains, &census::regions, &census::cqs, &census::vis, &census::names,
          &census::requests, &census::chunks, &census::miscounted, &census::lock, &census::lock_breaks}) {
        this->*each += o.*each;
    }
    deaths += o.deaths;
    blocks += o.blocks;
    stray_blocks += o.stray_blocks;
    return *this;
}

bool census::same_entries(const census& o) const {
    return processes == o.processes && domains == o.domains && regions == o.regions && cqs == o.cqs && vis == o.vis &&
           names == o.names && requests == o.requests && chunks == o.chunks;
}

std::ostream& operator<<(std::ostream& out, const census& c) {
    return out << c.processes << " processes, " << c.domains << " domains, " << c.regions << " regions, " << c.cqs
               << " completion queues, " << c.vis << " VIs, " << c.names << " names, " << c.requests << " requests, "
               << c.chunks << " chunks, " << c.blocks / 2 << " KiB, of these " << c.stray_blocks / 2
               << " KiB without an owner, " << c.miscounted << " tables miscounted; lock " << c.lock << ", broken "
               << c.lock_breaks << " times, " << c.deaths << " deaths";
}

vinic::result<std::unique_ptr<vinic::tables::memory>> inspect(const std::string& address,
                                                              const vinic::open_options& options) {
    constexpr auto as = vinic::tables::memory::role::inspector;
    if (address.starts_with("vinicd:")) {
        return vinic::isolated::window::open(address, as);
    }
    return vinic::direct::device_file::open(address, options, as);
}

vinic::result<census> take_census_at(const std::string& address, const vinic::open_options& options) {
    const auto opened = inspect(address, options);
    if (!opened) {
        return std::unexpected(opened.error());
    }
    const vinic::tables::memory& m = **opened;
    census c;
    std::uint32_t* const counts[abi::table_kinds] = {&c.domains, &c.regions, &c.cqs, &c.vis, &c.names, &c.requests};
    for (std::uint32_t t = 0; t < abi::table_kinds; ++t) {
        const auto kind = static_cast<abi::table>(t);
        for (std::uint32_t i = 0; i < m.backed(kind); ++i) {
            *counts[t] += m.owner_of(kind, i).load_relaxed() != 0 ? 1u : 0u;
        }
        c.miscounted += m.header().marks[t].used.load_relaxed() != *counts[t] ? 1u : 0u;
    }
    for (std::uint32_t i = 0; i < m.header().processes_backed.load_acquire(); ++i) {
        c.processes += m.process(i).state.load_acquire() != 0 ? 1u : 0u;
    }
    std::uint64_t stray = 0;
    for (std::uint32_t i = 0; i < m.chunks(); ++i) {
        const bool owned = m.chunk_owner(i).load_acquire() != 0;
        c.chunks += owned ? 1u : 0u;
        if (!owned && i >= abi::first_chunk) {
            stray += stored_bytes(m.fd(), i * abi::chunk_size, (i + 1) * abi::chunk_size);
        }
    }
    c.stray_blocks = stray / 512;
    c.lock = m.header().lock.load_relaxed();
    c.lock_breaks = m.header().lock_breaks.load_relaxed();
    c.deaths = m.header().deaths.load_relaxed();
    struct stat s{};
    if (::fstat(m.fd(), &s) == 0) {
        c.blocks = static_cast<std::uint64_t>(s.st_blocks);
    }
    return c;
}

vinic::result<census> take_census(const std::string& directory, std::string_view name) {
    return take_census_at("shm:" + std::string(name), {.directory = directory, .group = {}});
}

}  // namespace multi
