// SPDX-License-Identifier: Apache-2.0
//
// dialect_test.cc -- both dialects of the descriptor, used by C programs.
#include "dialects.h"
#include "fixture.hpp"

namespace vipl_test {
namespace {

class dialects : public testing::TestWithParam<VIP_RELIABILITY_LEVEL> {
protected:
    dialects() {
        for (auto [side, e] : {std::pair{&from, &p.left}, std::pair{&to, &p.right}}) {
            *side = {e->vi, e->descriptor(0), e->memory};
        }
    }
    pair p{at_level(GetParam())};
    dialect_side from{};
    dialect_side to{};
};
VIPL_ALL_LEVELS(dialects);

TEST_P(dialects, with_control_and_descriptor_segments_exchange_messages) {
    EXPECT_STREQ(exchange_in_dialect_a(&from, &to), nullptr);
}
TEST_P(dialects, with_control_and_data_segments_exchange_messages) {
    EXPECT_STREQ(exchange_in_dialect_b(&from, &to), nullptr);
}
TEST_P(dialects, work_together_in_one_program) {
    EXPECT_STREQ(exchange_in_dialect_a(&from, &to), nullptr);
    EXPECT_STREQ(exchange_in_dialect_b(&to, &from), nullptr);
    EXPECT_STREQ(exchange_in_dialect_a(&to, &from), nullptr);
}

}  // namespace
}  // namespace vipl_test
