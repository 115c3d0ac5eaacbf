// SPDX-License-Identifier: Apache-2.0
//
// outcomes_test.cc -- what docs/design.md says of messages that fail is what the table says that both engines read.
#include "rules/outcomes.hpp"

#include <gtest/gtest.h>

#include <fstream>
#include <map>
#include <string>

#include "tables/counters.hpp"

namespace vinic::rules {
namespace {

std::string name_of(enum status s) {
    static const std::map<enum status, std::string> names{
        {status::success, "success"},
        {status::local_protection, "local_protection"},
        {status::local_length, "local_length"},
        {status::remote_protection, "remote_protection"},
        {status::remote_length, "remote_length"},
        {status::remote_descriptor, "remote_descriptor"},
        {status::receiver_not_ready, "receiver_not_ready"},
        {status::bad_alignment, "bad_alignment"},
        {status::unreachable_memory, "unreachable_memory"},
        {status::connection_lost, "connection_lost"},
    };
    return '`' + names.at(s) + '`';
}

std::string name_of(std::uint32_t drop) {
    return drop == no_drop
               ? ""
               : '`' + std::string(tables::counters().at(tables::number_of(static_cast<abi::drop>(drop))).name) + '`';
}

std::string name_of(abi::break_reason r) {
    static const std::map<abi::break_reason, std::string> names{{abi::break_reason::local_error, "`local_error`"},
                                                                {abi::break_reason::remote_error, "`remote_error`"},
                                                                {abi::break_reason::peer_died, "`peer_died`"}};
    return names.at(r);
}

std::string name_of(side s) { return s == side::none ? "" : s == side::initiator ? "sender's" : "receiver's"; }

std::string row_of(const ending& e) {
    std::string row = "|";
    for (const std::string& cell :
         {std::string(e.words), name_of(e.sender), name_of(e.mine), name_of(e.peers), name_of(e.unreliable),
          name_of(e.drop) + (e.always_counted ? ", also if reliable" : ""), e.receiver ? name_of(*e.receiver) : "",
          name_of(e.refused)}) {
        row += (cell.empty() ? "" : " " + cell) + " |";
    }
    return row;
}

/// The rows between the heading of that section and the next text.
std::string table_of_page(const std::string& section) {
    std::ifstream design(VINIC_DOCS "/design.md");
    std::string table;
    bool inside = false;
    for (std::string line; std::getline(design, line);) {
        if (line == section) {
            inside = true;
        } else if (inside && line.starts_with('|')) {
            table += line + '\n';
        } else if (!table.empty()) {
            break;
        }
    }
    return table;
}

TEST(outcomes, are_what_the_page_says) {
    std::string table =
        "| what is wrong | reliable: the message | `cause` at the sender | at the receiver | unreliable: the message | "
        "counted there | the receive descriptor | `protection_errors` |\n"
        "|---|---|---|---|---|---|---|---|\n";
    for (const ending& e : endings) {
        table += row_of(e) + '\n';
    }
    EXPECT_EQ(table_of_page("## Outcomes"), table) << "docs/design.md, \"Outcomes\", is to say this:\n" << table;
}

TEST(outcomes, break_a_reliable_connection_by_each_fault) {
    for (const ending& e : endings) {
        EXPECT_NE(e.sender, status::success) << e.words;
    }
}

TEST(outcomes, of_a_dropped_message_are_success_for_its_unreliable_sender) {
    for (const ending& e : endings) {
        EXPECT_EQ(e.unreliable == status::success, e.drop != no_drop) << e.words;
    }
}

}  // namespace
}  // namespace vinic::rules
