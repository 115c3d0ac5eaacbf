// SPDX-License-Identifier: Apache-2.0
//
// counter_test.cc -- what VIs count, in both placements: looked at from outside, for no program sees it.
#include "device/counters.hpp"
#include "device/memory.hpp"
#include "multi/fixture.hpp"

namespace multi {
namespace {

using vinic::errc;
using vinic::status;
using vinic::device::counter_values;
using vinic::device::number_of;
namespace abi = vinic::abi;

/// Two VIs of one process, connected, and who looks at what they count.
struct counted_pair {
    explicit counted_pair(const directory& d, const vinic::vi_attributes& both = {})
        : left(d.open(), {.attributes = both}), right(d.open(), {.attributes = both}), glass(open_glass(d)) {
        auto listener = must(right.nic.listen("right"));
        std::jthread accepts([&] { right.accept_from(listener); });
        left.connect_to("right");
    }
    static std::unique_ptr<vinic::device::memory> open_glass(const directory& d) {
        const auto role = vinic::device::memory::role::inspector;
        return must(d.is_isolated() ? vinic::device::memory::open("vinicd:" + d.socket(), {}, role)
                                    : vinic::device::memory::open("shm:test", d.options(), role));
    }
    [[nodiscard]] counter_values of(const endpoint& e) const {
        return vinic::device::counted_by(glass->vi(e.vi.number()));
    }
    [[nodiscard]] std::uint64_t of(const endpoint& e, std::uint32_t counter) const { return of(e)[counter]; }
    [[nodiscard]] std::uint64_t before(std::uint32_t counter) const {
        return vinic::device::counted_before(glass->header())[counter];
    }
    endpoint left;
    endpoint right;
    std::unique_ptr<vinic::device::memory> glass;
};

TEST(counters, of_refused_accesses_tell_the_kind_and_outlive_the_vi) {
    enum class kind : std::uint8_t { write, read, atomic };
    for (const kind what : {kind::write, kind::read, kind::atomic}) {
        const directory d;
        counted_pair p(d);
        const vinic::segment s = p.left.at(0, 8);
        const vinic::remote_address nowhere{p.right.memory.remote().address, p.right.memory.key() ^ 1u << 20};
        must(what == kind::write  ? p.left.vi.post_write(s, nowhere, 1)
             : what == kind::read ? p.left.vi.post_read(s, nowhere, 1)
                                  : p.left.vi.post_fetch_add(s, nowhere, 1, 1));
        EXPECT_EQ(p.left.next().status, status::remote_protection);
        constexpr std::uint32_t all[] = {number_of(abi::rx_refused_writes), number_of(abi::rx_refused_reads),
                                         number_of(abi::rx_refused_atomics)};
        for (std::uint32_t i = 0; i < 3; ++i) {
            const std::uint64_t expected = i == static_cast<std::uint32_t>(what) ? 1 : 0;
            EXPECT_EQ(p.of(p.right, all[i]), expected) << i;
            EXPECT_EQ(p.before(all[i]), 0u) << "its VI is there";
        }
        must(p.right.vi.close());
        for (std::uint32_t i = 0; i < 3; ++i) {
            EXPECT_EQ(p.before(all[i]), i == static_cast<std::uint32_t>(what) ? 1u : 0u) << i;
        }
    }
}

}  // namespace
}  // namespace multi
