// SPDX-License-Identifier: Apache-2.0
//
// comes_and_goes_test.cc -- a client that comes while the window of the last one is being given back gets a new one,
// and never hears that the device is of another version.
#include "multi/fixture.hpp"

namespace multi {
namespace {

TEST(isolated_clients, who_comes_as_the_last_one_goes_is_served) {
    const directory d;
    constexpr int rounds = 300;
    for (int i = 0; i < rounds; ++i) {
        process client([&](channel& parent) {
            auto nic = d.open();
            const auto buffer = must(nic.allocate(64 << 10));
            require(first_difference(buffer.bytes(), 5) != buffer.size(), "the last one's bytes are not there");
            fill(buffer.bytes(), 5);
            parent.say("open");
            if (i % 2 == 1) {
                (void)parent.hear();
            }
        });
        ASSERT_EQ(client.hear(), "open") << "round " << i;
        if (i % 2 == 1) {
            client.kill_now();
        } else {
            ASSERT_EQ(client.exit_code(), 0) << "round " << i;
        }
    }
}

}  // namespace
}  // namespace multi
