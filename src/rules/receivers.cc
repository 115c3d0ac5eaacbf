// SPDX-License-Identifier: Apache-2.0
//
// receivers.cc -- from the number of a kind to the kind.
#include "rules/receivers.hpp"

namespace vinic::rules {

namespace {

/// Of a VI of a kind that the peer's program knows and this one does not.
constexpr receiver_kind unknown_kind{
    .number = 0,
    .table_bytes = 0,
    .choose = [](receiver_table, const arrival&, landing&) noexcept { return choice::refuse; },
    .has_place = [](receiver_table, const arrival&) noexcept { return true; },
    .release = [](receiver_table, std::uint64_t) noexcept {},
    .tell = [](receiver_table, std::uint64_t) noexcept {},
    .told = [](receiver_table, std::uint64_t) noexcept { return std::uint64_t{0}; },
    .reset = [](receiver_table) noexcept {},
};

}  // namespace

const receiver_kind* find_kind(std::uint32_t number, std::uint64_t table_bytes) noexcept {
    if (number == 0) {
        return nullptr;
    }
    for (const receiver_kind* const each : known_kinds()) {
        if (each->number == number && each->table_bytes == table_bytes) {
            return each;
        }
    }
    return &unknown_kind;
}

bool is_known(std::uint32_t number, std::uint64_t table_bytes) noexcept {
    return find_kind(number, table_bytes) != &unknown_kind;
}

}  // namespace vinic::rules
