// SPDX-License-Identifier: Apache-2.0
//
// arbiter_test.cc -- hClock's rules over functions, alone on a virtual clock; and two sets of rules that are wrong,
// to see that these tests would notice.
#include "controller/arbiter.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace vinic::controller {
namespace {

constexpr std::uint64_t rate = 8'000'000'000;
constexpr std::uint64_t lease = 64 << 10;
constexpr std::uint64_t second_ns = 1'000'000'000;

/// Serves nobody's share: a guarantee is paid for twice.
struct share_stands_still {
    static constexpr bool reservation_advances_share = false;
    static constexpr bool forgets_at_every_service = false;
};
/// The plausible mistake: max(tag, now) at each service, not only when an idle function wakes.
struct forgetful {
    static constexpr bool reservation_advances_share = true;
    static constexpr bool forgets_at_every_service = true;
};

/// One engine, functions that always have work.
template <class Rules>
class rig {
public:
    explicit rig(std::uint32_t functions) : arbiter_(rate, lease), bytes_(functions) {}

    void backlogged(std::uint32_t function, const entitlement& s) {
        arbiter_.set(function, s, now_);
        arbiter_.wake(function, now_);
        arbiter_.offer(function);
    }
    /// Messages of 2 KiB to 4 KiB, so that no rate is a multiple of another's.
    void run_for(std::uint64_t span_ns) {
        const std::uint64_t end = now_ + span_ns;
        std::fill(bytes_.begin(), bytes_.end(), 0);
        while (now_ < end) {
            const auto chosen = arbiter_.choose(now_);
            if (!chosen) {
                ASSERT_GT(arbiter_.next_time(), now_);
                now_ = arbiter_.next_time();
                continue;
            }
            const std::uint64_t moved = 2048 + 8 * (random_() % 257);
            now_ += moved / 8;
            bytes_[chosen->function] += moved;
            arbiter_.charge(chosen->function, moved, chosen->by_reservation, now_);
        }
    }
    [[nodiscard]] double share(std::uint32_t first, std::uint32_t end) const {
        double sum = 0;
        double all = 0;
        for (std::uint32_t f = 0; f < bytes_.size(); ++f) {
            all += static_cast<double>(bytes_[f]);
            sum += f >= first && f < end ? static_cast<double>(bytes_[f]) : 0;
        }
        return sum / all;
    }
    [[nodiscard]] std::uint64_t bytes(std::uint32_t f) const { return bytes_[f]; }
    basic_arbiter<Rules>& arbiter() { return arbiter_; }
    [[nodiscard]] std::uint64_t now() const { return now_; }

private:
    basic_arbiter<Rules> arbiter_;
    std::vector<std::uint64_t> bytes_;
    std::uint64_t now_ = second_ns;
    std::mt19937_64 random_{1};
};

/// A quarter of the functions share a guarantee of half the device, the last may have a twentieth (among 64 it gets
/// less anyway), the rest is greedy.
template <class Rules>
rig<Rules> half_guaranteed(std::uint32_t functions) {
    rig<Rules> r(functions);
    const std::uint32_t guaranteed = functions / 4;
    for (std::uint32_t f = 0; f < functions; ++f) {
        entitlement s;
        s.guarantee = f < guaranteed ? rate / 2 / guaranteed : 0;
        s.cap = f + 1 == functions ? rate / 20 : 0;
        r.backlogged(f, s);
    }
    r.run_for(second_ns);
    return r;
}

TEST(arbiter, gives_half_guaranteed_a_twentieth_capped_and_the_rest_to_the_greedy) {
    for (const std::uint32_t functions : {8U, 64U}) {
        const auto r = half_guaranteed<hclock_rules>(functions);
        EXPECT_NEAR(r.share(0, functions / 4), 0.5, 0.0005) << functions;
        EXPECT_NEAR(r.share(functions - 1, functions), functions == 8 ? 0.05 : 0.5 / 48, 0.0005) << functions;
        for (std::uint32_t f = 0; f < functions / 4; ++f) {
            EXPECT_GE(r.share(f, f + 1), 0.995 * 0.5 / (functions / 4)) << "of " << functions;
        }
    }
}

TEST(arbiter, a_share_that_stands_still_on_reservation_pays_the_guaranteed_twice) {
    EXPECT_NEAR(half_guaranteed<share_stands_still>(8).share(0, 2), 0.629, 0.003);
    EXPECT_NEAR(half_guaranteed<share_stands_still>(64).share(0, 16), 0.626, 0.003);
}

TEST(arbiter, tags_set_to_now_at_every_service_lose_a_part_of_the_guarantee) {
    EXPECT_NEAR(half_guaranteed<forgetful>(8).share(0, 2), 0.432, 0.003);
    EXPECT_NEAR(half_guaranteed<forgetful>(64).share(0, 16), 0.486, 0.003);
}

TEST(arbiter, a_share_above_the_guarantee_is_the_share_and_below_it_the_guarantee) {
    rig<hclock_rules> r(3);
    r.backlogged(0, {.guarantee = rate / 5, .weight = 2});
    r.backlogged(1, {.weight = 1});
    r.run_for(second_ns / 10);
    EXPECT_NEAR(r.share(0, 1), 2.0 / 3, 0.001);
    r.backlogged(2, {.weight = 97});
    r.run_for(second_ns / 10);
    EXPECT_NEAR(r.share(0, 1), 0.2, 0.001);
    EXPECT_NEAR(r.share(1, 2), 0.8 / 98, 0.001);
}

TEST(arbiter, what_a_guarantee_leaves_unused_goes_to_the_others_and_comes_back_at_once) {
    rig<hclock_rules> r(3);
    r.backlogged(0, {.guarantee = rate / 2});
    r.backlogged(1, {});
    r.backlogged(2, {});
    r.arbiter().withdraw(0, r.now());
    r.run_for(second_ns / 10);
    EXPECT_NEAR(r.share(1, 2), 0.5, 0.001);
    EXPECT_NEAR(r.share(2, 3), 0.5, 0.001);
    r.arbiter().wake(0, r.now());
    r.arbiter().offer(0);
    r.run_for(second_ns / 1000);
    EXPECT_NEAR(r.share(0, 1), 0.5, 0.002) << "within the first millisecond, and not more than that either";
}

TEST(arbiter, idle_time_earns_no_share) {
    rig<hclock_rules> r(2);
    r.backlogged(0, {});
    r.backlogged(1, {});
    r.arbiter().withdraw(1, r.now());
    r.run_for(second_ns);
    r.arbiter().wake(1, r.now());
    r.arbiter().offer(1);
    r.run_for(second_ns / 1000);
    EXPECT_NEAR(r.share(0, 1), 0.5, 0.001);
}

TEST(arbiter, a_guarantee_that_ends_is_not_held_against_its_function) {
    rig<hclock_rules> r(9);
    r.backlogged(0, {.guarantee = rate / 10 * 9});
    for (std::uint32_t f = 1; f < 9; ++f) {
        r.backlogged(f, {});
    }
    r.run_for(second_ns);
    EXPECT_NEAR(r.share(0, 1), 0.9, 0.001);
    r.arbiter().set(0, {}, r.now());
    r.run_for(second_ns / 1000);
    EXPECT_NEAR(r.share(0, 1), 1.0 / 9, 0.001);
}

TEST(arbiter, guarantees_beyond_the_device_starve_each_other_evenly_and_are_forgiven_when_it_is_over) {
    rig<hclock_rules> r(3);
    for (std::uint32_t f = 0; f < 3; ++f) {
        r.backlogged(f, {.guarantee = f < 2 ? rate : 0});
    }
    r.run_for(second_ns);
    EXPECT_NEAR(r.share(0, 1), 0.5, 0.001);
    EXPECT_NEAR(r.share(1, 2), 0.5, 0.001);
    r.arbiter().set(0, {}, r.now());
    r.arbiter().set(1, {.guarantee = rate / 2}, r.now());
    r.run_for(second_ns / 100);
    EXPECT_NEAR(r.share(1, 2), 0.5, 0.01) << "a second's debt is not paid";
}

TEST(arbiter, a_guarantee_that_had_to_wait_long_is_not_made_up_for_at_the_others_cost) {
    rig<hclock_rules> r(3);
    r.backlogged(0, {.guarantee = rate / 2});
    r.backlogged(1, {});
    r.backlogged(2, {.priority = 1});
    r.run_for(second_ns);
    EXPECT_EQ(r.bytes(0) + r.bytes(1), 0U);
    r.arbiter().withdraw(2, r.now());
    r.run_for(second_ns / 10);
    EXPECT_LE(r.share(0, 1), 0.56) << "ten milliseconds of the second";
    r.run_for(second_ns / 10);
    EXPECT_NEAR(r.share(0, 1), 0.5, 0.01);
}

TEST(arbiter, what_a_guarantee_brought_beyond_the_share_is_not_held_against_it_for_long) {
    rig<hclock_rules> r(91);
    r.backlogged(0, {.guarantee = rate / 2, .weight = 9});
    for (std::uint32_t f = 1; f <= 90; ++f) {
        r.backlogged(f, {});
    }
    r.run_for(second_ns);
    EXPECT_NEAR(r.share(0, 1), 0.5, 0.001);
    for (std::uint32_t f = 2; f <= 90; ++f) {
        r.arbiter().withdraw(f, r.now());
    }
    r.run_for(second_ns / 10);
    r.run_for(second_ns / 10);
    EXPECT_NEAR(r.share(0, 1), 0.9, 0.01);
}

TEST(arbiter, what_a_cap_kept_from_a_function_is_not_made_up_for_long) {
    rig<hclock_rules> r(21);
    r.backlogged(0, {.cap = rate / 10});
    r.backlogged(1, {});
    r.run_for(second_ns);
    EXPECT_NEAR(r.share(0, 1), 0.1, 0.001);
    for (std::uint32_t f = 2; f < 21; ++f) {
        r.backlogged(f, {});
    }
    r.run_for(second_ns / 2);
    r.run_for(second_ns / 10);
    EXPECT_NEAR(r.share(0, 1), 1.0 / 21, 0.001);
}

TEST(arbiter, a_cap_is_kept_to_a_thousandth_over_a_second_and_its_burst_is_bounded) {
    for (const std::uint64_t cap : {50'000'000ULL, 1'000'000'000ULL, 3'000'000'000ULL}) {
        rig<hclock_rules> r(2);
        r.backlogged(0, {.cap = cap});
        r.run_for(second_ns);
        EXPECT_LE(r.bytes(0), cap + cap / 1000) << cap;
        EXPECT_GE(r.bytes(0), cap - cap / 1000) << "alone it gets all of it";
        // Behind others its bucket fills; when they go it may spend that, and one lease more.
        r.backlogged(1, {.weight = 10'000});
        r.run_for(second_ns / 100);
        EXPECT_LT(r.bytes(0), cap / 100);
        r.arbiter().withdraw(1, r.now());
        r.run_for(second_ns / 100);
        EXPECT_LE(r.bytes(0), cap / 100 + cap * cap_burst_ns / second_ns + 2 * 4096) << cap;
    }
}

TEST(arbiter, a_cap_holds_although_the_guarantee_is_as_high) {
    rig<hclock_rules> r(2);
    r.backlogged(0, {.guarantee = rate / 10, .cap = rate / 10, .weight = 10'000});
    r.backlogged(1, {});
    r.run_for(second_ns);
    EXPECT_NEAR(r.share(0, 1), 0.1, 0.0001);
}

TEST(arbiter, a_higher_class_gets_all_until_its_cap_and_the_guarantees_below_wait) {
    rig<hclock_rules> r(3);
    r.backlogged(0, {.guarantee = rate / 2});
    r.backlogged(1, {.cap = rate / 4, .priority = 7});
    r.run_for(second_ns / 10);
    EXPECT_NEAR(r.share(1, 2), 0.25, 0.001);
    r.backlogged(2, {.priority = 1});
    r.run_for(second_ns / 10);
    EXPECT_NEAR(r.share(1, 2), 0.25, 0.001);
    EXPECT_NEAR(r.share(2, 3), 0.75, 0.001);
    EXPECT_EQ(r.bytes(0), 0U);
}

TEST(arbiter, next_time_is_the_very_nanosecond) {
    arbiter a(rate, lease);
    a.set(0, {.cap = 1'000'000'000}, 1000);
    a.wake(0, 1000);
    a.offer(0);
    EXPECT_EQ(a.next_time(), 0U);
    ASSERT_TRUE(a.choose(1'000'000));
    a.charge(0, 1'000'000, false, 1'000'000);  // a millisecond's worth, less the burst
    EXPECT_FALSE(a.choose(1'000'000));
    EXPECT_EQ(a.next_time(), 2'000'000 - cap_burst_ns);
    EXPECT_FALSE(a.choose(2'000'000 - cap_burst_ns - 1));
    EXPECT_TRUE(a.choose(2'000'000 - cap_burst_ns));
    EXPECT_EQ(a.next_time(), 0U);
    EXPECT_EQ(a.capped_ns(0), 1'000'000 - cap_burst_ns);
}

TEST(arbiter, another_engine_moves_the_time_of_one_that_is_held) {
    arbiter a(rate, lease);
    a.set(0, {.cap = 1'000'000'000}, 0);
    a.wake(0, 0);
    a.offer(0);
    a.charge(0, 300'000, false, 0);
    EXPECT_FALSE(a.choose(0));
    EXPECT_EQ(a.next_time(), 300'000U);
    a.charge(0, 100'000, false, 0);
    EXPECT_EQ(a.next_time(), 400'000U);
    a.withdraw(0, 50'000);
    EXPECT_EQ(a.next_time(), 0U) << "nobody waits any more";
    EXPECT_EQ(a.capped_ns(0), 50'000U);
}

TEST(arbiter, a_new_cap_counts_from_the_next_grant_and_debts_stay_in_bytes) {
    arbiter a(rate, lease);
    a.set(0, {.cap = 1'000'000}, 1'000'000'000);
    a.wake(0, 1'000'000'000);
    a.offer(0);
    a.charge(0, 1'000'000, false, 1'000'000'000);  // a second ahead
    EXPECT_FALSE(a.choose(1'000'000'000));
    EXPECT_EQ(a.next_time(), 2'000'000'000U);
    a.set(0, {.cap = 1'000'000}, 1'000'000'000);
    EXPECT_EQ(a.next_time(), 2'000'000'000U) << "the same again is no pardon";
    a.set(0, {.cap = 100'000'000}, 1'000'000'000);
    EXPECT_FALSE(a.choose(1'000'000'000));
    EXPECT_EQ(a.next_time(), 1'010'000'000U);
    a.set(0, {}, 1'000'000'000);
    EXPECT_TRUE(a.choose(1'000'000'000));
}

TEST(arbiter, what_a_receiver_is_charged_costs_it_one_turn_at_most) {
    rig<hclock_rules> r(2);
    r.backlogged(0, {});
    r.backlogged(1, {});
    for (int i = 0; i < 1000; ++i) {
        r.arbiter().charge_receiver(0, lease);
    }
    r.run_for(second_ns / 1000);
    EXPECT_NEAR(static_cast<double>(r.bytes(1)), static_cast<double>(r.bytes(0) + lease), 2 * 4096);
}

TEST(arbiter, a_flood_does_not_touch_the_receivers_guarantee) {
    arbiter a(rate, lease);
    for (std::uint32_t f = 0; f < 2; ++f) {
        a.set(f, {.guarantee = f == 0 ? rate / 4 : 0, .cap = rate / 2}, 0);
        a.wake(f, 0);
        a.offer(f);
    }
    std::uint64_t moved[2] = {};
    std::uint64_t now = 0;
    while (now < second_ns / 10) {
        if (const auto chosen = a.choose(now)) {
            moved[chosen->function] += 64;
            now += 8;
            a.charge(chosen->function, 64, chosen->by_reservation, now);
            a.charge_receiver(0, lease);
        } else {
            now = a.next_time();
        }
    }
    EXPECT_GE(static_cast<double>(moved[0]), 0.995 * rate / 4 / 10);
}

TEST(arbiter, tags_start_anew_long_before_they_overflow) {
    arbiter a(rate, lease);
    std::uint64_t now = 0;
    std::vector<std::uint64_t> moved(3);
    for (std::uint32_t f = 0; f < 3; ++f) {
        a.set(f, {.weight = f + 1}, now);
        a.wake(f, now);
        a.offer(f);
    }
    constexpr std::uint64_t huge = 1ULL << 36;
    for (int i = 0; i < 60'000; ++i) {  // 4 PiB: hundreds of times what a tag can count
        const auto chosen = a.choose(now);
        ASSERT_TRUE(chosen);
        a.charge(chosen->function, huge, chosen->by_reservation, now);
        moved[chosen->function] += huge;
        now += huge / 8;
    }
    EXPECT_NEAR(static_cast<double>(moved[1]) / static_cast<double>(moved[0]), 2, 0.01);
    EXPECT_NEAR(static_cast<double>(moved[2]) / static_cast<double>(moved[0]), 3, 0.01);
}

}  // namespace
}  // namespace vinic::controller
