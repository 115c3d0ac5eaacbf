// SPDX-License-Identifier: Apache-2.0
//
// bench_place.cc -- reads /proc/self/maps.
#include "cli/bench_place.hpp"

#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

namespace vinic::cli::bench {
namespace {

struct mapping {
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
    file_place at;  ///< of `begin`
    bool shared = false;
    bool writable = false;
};

/// The first mapping for which `wanted` says yes.
template <class Predicate>
std::optional<mapping> find_in_maps(Predicate wanted) {
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        mapping one;
        char rights[5] = {};
        std::uint64_t major = 0;
        std::uint64_t minor = 0;
        if (std::sscanf(line.c_str(), "%" SCNx64 "-%" SCNx64 " %4s %" SCNx64 " %" SCNx64 ":%" SCNx64 " %" SCNu64,
                        &one.begin, &one.end, rights, &one.at.offset, &major, &minor, &one.at.file) != 7) {
            continue;
        }
        one.at.device = major << 32 | minor;
        one.shared = rights[3] == 's';
        one.writable = rights[1] == 'w';
        if (wanted(one)) {
            return one;
        }
    }
    return std::nullopt;
}

}  // namespace

file_place place_of(std::span<const std::byte> bytes) {
    const auto begin = reinterpret_cast<std::uint64_t>(bytes.data());
    const auto found = find_in_maps(
        [&](const mapping& one) { return one.shared && one.begin <= begin && begin + bytes.size() <= one.end; });
    if (!found || found->at.file == 0) {
        return {};
    }
    file_place place = found->at;
    place.offset += begin - found->begin;
    return place;
}

std::optional<std::span<std::byte>> find_mapping(const file_place& place, std::size_t size_bytes) {
    if (place.file == 0) {
        return std::nullopt;
    }
    const auto found = find_in_maps([&](const mapping& one) {
        return one.shared && one.writable && one.at.file == place.file && one.at.device == place.device &&
               one.at.offset <= place.offset && place.offset + size_bytes <= one.at.offset + (one.end - one.begin);
    });
    if (!found) {
        return std::nullopt;
    }
    return std::span(reinterpret_cast<std::byte*>(found->begin + (place.offset - found->at.offset)), size_bytes);
}

}  // namespace vinic::cli::bench
