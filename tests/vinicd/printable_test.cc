// SPDX-License-Identifier: Apache-2.0
//
// printable_test.cc -- what others wrote, fit for a terminal, a log and an error.
#include "abi/printable.hpp"

#include <gtest/gtest.h>

namespace vinic::abi {
namespace {

using namespace std::string_view_literals;

TEST(printable, text_stays_as_it_is) {
    for (const auto text :
         {""sv, "a name"sv, "r\u00e9d"sv, "\u05d0\u05d1"sv, "\u200d\u2027\u2030\u2065\u206a"sv, "\U0001f600"sv}) {
        EXPECT_EQ(printable(text), text);
    }
}

TEST(printable, control_characters_and_what_is_no_text_are_escaped) {
    EXPECT_EQ(printable("\x1b[31m\r\n\x7f\0"sv), "\\x1b[31m\\x0d\\x0a\\x7f\\x00");
    EXPECT_EQ(printable("\u009b"), "\\xc2\\x9b");
    EXPECT_EQ(printable("a\xffz\xe2\x80"), "a\\xffz\\xe2\\x80");
}

TEST(printable, what_turns_the_direction_of_writing_or_ends_a_line_is_escaped) {
    for (const auto each :
         {"\u061c"sv, "\u200e"sv, "\u200f"sv, "\u2028"sv, "\u2029"sv, "\u202a"sv, "\u202e"sv, "\u2066"sv, "\u2069"sv}) {
        const std::string shown = printable(each);
        EXPECT_EQ(shown.size(), 4 * each.size());
        EXPECT_TRUE(shown.starts_with(each.size() == 2 ? "\\xd8\\x9c" : "\\xe2\\x8")) << shown;
    }
    EXPECT_EQ(printable("vf0\u202e1fv"), "vf0\\xe2\\x80\\xae1fv");
}

TEST(printable, a_backslash_is_escaped_where_it_would_be_taken_for_an_escape) {
    EXPECT_EQ(printable("\\x1b"), "\\x5cx1b");
    EXPECT_EQ(printable("\\\\x1B!"), "\\\\x5cx1B!");
    EXPECT_EQ(printable(printable("\x1b")), "\\x5cx1b");
    for (const auto text : {"DOMAIN\\user"sv, "\\"sv, "\\x"sv, "\\x1"sv, "\\x1g"sv, "a\\n"sv}) {
        EXPECT_EQ(printable(text), text);
    }
}

}  // namespace
}  // namespace vinic::abi
