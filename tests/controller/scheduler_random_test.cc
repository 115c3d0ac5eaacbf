// SPDX-License-Identifier: Apache-2.0
//
// scheduler_random_test.cc -- random schedules, and what must hold in each: items Q4 to Q7 and E1 to E4 of a device
// with operation queues and engines.
//
//   Q4  a VI is in at most one queue          E1  only an idle engine is granted
//   Q5  any number of queues works alike      E2  a lease is bounded
//   Q6  reserved queues stay reserved         E3  all busy is no error; one that turns idle is used at once
//   Q7  first in, first out                   E4  a VI is on at most one engine
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "controller/scheduler.hpp"

namespace vinic::controller {
namespace {

std::uint64_t steps() { return std::getenv("VINIC_LONG") != nullptr ? 2'000'000 : 20'000; }

using name = std::pair<std::uint32_t, std::uint32_t>;

/// Any calls in any order, beside a model that knows for each VI whether it has work.
class schedule {
public:
    schedule(std::uint64_t seed, const scheduler_options& options)
        : random_(seed), options_(options), scheduler_(options), engines_(options.engines) {
        for (std::uint32_t f = 0; f < functions; ++f) {
            change(f);
        }
    }

    void run(std::uint64_t steps) {
        for (std::uint64_t i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
            now_ += pick(4) == 0 ? pick(100'000) : pick(100);
            step();
            ASSERT_EQ(scheduler_.has_work(), !waiting_.empty()) << "step " << i;
            ASSERT_TRUE(scheduler_.can_serve() || waiting_.empty() || scheduler_.next_time() != 0) << "step " << i;
            ASSERT_TRUE(!scheduler_.can_serve() || !waiting_.empty()) << "step " << i;
        }
        drain();
    }
    /// For each VI, a digest of its messages in the order in which they were executed.
    [[nodiscard]] const std::map<name, std::uint64_t>& digests() const { return digests_; }

private:
    static constexpr std::uint32_t functions = 6;
    static constexpr std::uint32_t vis = 300;

    struct vi_model {
        std::uint64_t posted = 0;
        std::uint64_t done = 0;
        bool granted = false;
        bool again = false;  // ready() under grant
    };
    struct function_model {
        bool present = false;
        std::uint64_t generation = 0;
    };
    struct engine_model {
        std::optional<grant> task;
        std::uint64_t generation = 0;
    };

    std::uint64_t pick(std::uint64_t below) { return random_() % below; }

    void change(std::uint32_t f) {
        const std::uint64_t cap = pick(3) == 0 ? 1'000'000'000 * (1 + pick(4)) : 0;
        scheduler_.set_entitlement(f,
                                   {.guarantee = pick(2) * (cap != 0 ? cap / 2 : 500'000'000),
                                    .cap = cap,
                                    .weight = static_cast<std::uint32_t>(1 + pick(20)),
                                    .priority = static_cast<std::uint32_t>(pick(3)),
                                    .reserved_queues = static_cast<std::uint32_t>(pick(4))},
                                   now_);
        present_[f].present = true;
    }
    void ready(name of) {
        scheduler_.ready({of.first, of.second}, now_);
        if (!present_[of.first].present) {
            return;
        }
        if (models_[of].granted) {
            models_[of].again = true;
        } else {
            waiting_.insert(of);
        }
    }
    void forget(name of) {
        const bool forgotten = scheduler_.forget({of.first, of.second});
        EXPECT_EQ(forgotten, !models_[of].granted || !present_[of.first].present);
        waiting_.erase(of);
    }
    void remove(std::uint32_t f) {
        scheduler_.remove_function(f, now_);
        present_[f].present = false;
        ++present_[f].generation;
        std::erase_if(waiting_, [f](const name& of) { return of.first == f; });
        for (auto& [of, m] : models_) {
            m.again = m.again && of.first != f;
        }
    }

    void step() {
        const name of{static_cast<std::uint32_t>(pick(functions)),
                      static_cast<std::uint32_t>(pick(pick(3) == 0 ? vis : 4))};
        const std::uint64_t what = pick(1000);
        if (what < 400) {
            models_[of].posted += 1 + pick(30);
            ready(of);
        } else if (what < 700) {
            give();
        } else if (what < 950) {
            finish(engines_[pick(options_.engines)]);
        } else if (what < 970) {
            forget(of);
        } else if (what < 985) {
            change(of.first);
        } else if (what < 990) {
            remove(of.first);
        } else {
            scheduler_.charge_receiver(of.first, pick(1 << 20), now_);
        }
    }

    void give() {
        const auto g = scheduler_.next(now_);
        if (!g) {
            const bool all_busy = std::all_of(engines_.begin(), engines_.end(), [](auto& e) { return e.task; });
            EXPECT_TRUE(all_busy || waiting_.empty() || scheduler_.next_time() > now_) << "E3: work and an idle engine";
            return;
        }
        const name of{g->vi.function, g->vi.vi};
        ASSERT_LT(g->engine, options_.engines);
        ASSERT_FALSE(engines_[g->engine].task) << "E1";
        ASSERT_LT(g->queue, options_.queues);
        ASSERT_EQ(g->bytes_max, options_.lease_bytes) << "E2";
        ASSERT_FALSE(models_[of].granted) << "E4";
        ASSERT_EQ(waiting_.erase(of), 1U) << "nobody said that this VI has work";
        models_[of].granted = true;
        engines_[g->engine] = {g, present_[of.first].generation};
    }

    void finish(engine_model& e) {
        if (!e.task) {
            return;
        }
        const grant g = *e.task;
        const name of{g.vi.function, g.vi.vi};
        vi_model& m = models_[of];
        const auto messages =
            static_cast<std::uint32_t>(std::min<std::uint64_t>(1 + pick(g.descriptors_max), m.posted - m.done));
        for (std::uint32_t i = 0; i < messages; ++i) {
            digests_[of] = digests_[of] * 0x9e3779b97f4a7c15 + ++m.done;
        }
        const bool more = m.posted > m.done;
        scheduler_.done(g, {messages * 1000ULL, messages, pick(5000), more}, now_);
        e.task.reset();
        if ((more && e.generation == present_[of.first].generation) || m.again) {
            waiting_.insert(of);
        }
        m.granted = m.again = false;
    }

    /// Everything that was posted is done at last.
    void drain() {
        for (std::uint32_t f = 0; f < functions; ++f) {
            change(f);
        }
        for (const auto& [of, m] : models_) {
            ready(of);
        }
        while ((scheduler_.has_work() || busy()) && !testing::Test::HasFailure()) {
            give();
            finish(engines_[pick(options_.engines)]);
            now_ += 1000;
        }
        for (const auto& [of, m] : models_) {
            EXPECT_EQ(m.posted, m.done) << of.first << ":" << of.second;
        }
    }
    [[nodiscard]] bool busy() const {
        return std::any_of(engines_.begin(), engines_.end(), [](auto& e) { return e.task.has_value(); });
    }

    std::mt19937_64 random_;
    scheduler_options options_;
    scheduler scheduler_;
    std::vector<engine_model> engines_;
    std::map<std::uint32_t, function_model> present_;
    std::map<name, vi_model> models_;
    std::map<name, std::uint64_t> digests_;
    std::set<name> waiting_;
    std::uint64_t now_ = 1'000'000;
};

TEST(scheduler_random, no_schedule_breaks_an_invariant_or_loses_a_wake_up) {
    std::random_device entropy;
    const char* given = std::getenv("VINIC_SEED");
    const std::uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 0) : entropy();
    std::uint64_t turn = 0;
    for (const std::uint32_t queues : {1U, 2U, 16U, 1024U}) {
        for (const std::uint32_t engines : {1U, 2U, 5U}) {
            for (const policy order : {policy::hclock, policy::request_round_robin, policy::fifo}) {
                SCOPED_TRACE(testing::Message() << "VINIC_SEED=" << seed << " queues " << queues << " engines "
                                                << engines << " order " << static_cast<int>(order));
                schedule s(seed + turn++, {.engines = engines, .queues = queues, .order = order});
                s.run(steps());
                if (HasFailure()) {
                    return;
                }
            }
        }
    }
}

}  // namespace
}  // namespace vinic::controller
