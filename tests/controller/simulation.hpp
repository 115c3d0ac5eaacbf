// SPDX-License-Identifier: Apache-2.0
//
// simulation.hpp -- a device on a virtual clock: the scheduler, engines that take exactly as long as their bytes, and
// VIs that have a given amount to send.  Every grant is checked against what must always hold.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "controller/scheduler.hpp"

namespace vinic::controller::test {

constexpr std::uint64_t second_ns = 1'000'000'000;
constexpr std::uint64_t endless = ~0ULL;
constexpr std::uint64_t engine_rate = 8'000'000'000;  // bytes per second: 8 bytes in a nanosecond

/// (sum x)^2 / (n * sum x^2): 1 when all are equal, 1/n when one has it all.
inline double jain(const std::vector<double>& x) {
    double sum = 0;
    double squares = 0;
    for (const double value : x) {
        sum += value;
        squares += value * value;
    }
    return sum * sum / (static_cast<double>(x.size()) * squares);
}

inline double max_over_min(const std::vector<double>& x) {
    return *std::max_element(x.begin(), x.end()) / *std::min_element(x.begin(), x.end());
}

/// What a VI sends: whole messages, of which the first may have been cut by a lease.
struct source {
    std::uint64_t message_bytes = 0;
    std::uint64_t messages = 0;     // endless: never drained
    std::uint64_t overhead_ns = 0;  // engine time of a message besides its bytes
    std::uint64_t moved = 0;        // of the first message
    std::uint64_t bytes = 0;        // moved in total
    std::uint64_t completed = 0;    // messages
    std::uint64_t first_grant_ns = endless;
};

class simulation {
public:
    explicit simulation(const scheduler_options& options)
        : scheduler_(options), engines_(scheduler_.options().engines) {}

    scheduler& device() { return scheduler_; }
    [[nodiscard]] std::uint64_t now() const { return now_; }

    void function(std::uint32_t number, const entitlement& s = {}) { scheduler_.set_entitlement(number, s, now_); }

    /// The VI has (more) messages, from now on.
    void send(vi_name vi, std::uint64_t message_bytes, std::uint64_t messages = endless,
              std::uint64_t overhead_ns = 0) {
        source& s = sources_[{vi.function, vi.vi}];
        s.message_bytes = message_bytes;
        s.messages = messages == endless || s.messages == endless ? endless : s.messages + messages;
        s.overhead_ns = overhead_ns;
        scheduler_.ready(vi, now_);
        pump();
    }
    void stop(vi_name vi) {
        source& s = sources_[{vi.function, vi.vi}];
        s.messages = s.moved > 0 ? 1 : 0;
    }
    [[nodiscard]] const source& of(vi_name vi) { return sources_[{vi.function, vi.vi}]; }
    [[nodiscard]] std::uint64_t bytes(std::uint32_t function) const {
        std::uint64_t sum = 0;
        for (const auto& [name, s] : sources_) {
            sum += name.first == function ? s.bytes : 0;
        }
        return sum;
    }
    [[nodiscard]] std::vector<double> shares(std::uint32_t first, std::uint32_t count) const {
        std::vector<double> result(count);
        for (const auto& [name, s] : sources_) {
            if (name.first >= first && name.first < first + count) {
                result[name.first - first] += static_cast<double>(s.bytes);
            }
        }
        return result;
    }

    /// Something happens at that time, in the order in which it was asked for.
    void at(std::uint64_t time_ns, std::function<void()> what) { agenda_.emplace(time_ns, std::move(what)); }

    /// Runs until then, or until nothing is left to happen.
    void run_until(std::uint64_t end_ns) {
        for (;;) {
            pump();
            std::uint64_t time = agenda_.empty() ? endless : agenda_.begin()->first;
            for (const engine& e : engines_) {
                time = std::min(time, e.task ? e.end_ns : endless);
            }
            if (const std::uint64_t wake = scheduler_.next_time(); wake > now_) {
                time = std::min(time, wake);
            }
            if (time > end_ns || time == endless) {
                break;
            }
            now_ = time;
            step();
        }
        now_ = end_ns == endless ? now_ : end_ns;
    }
    void run_for(std::uint64_t span_ns) { run_until(now_ + span_ns); }

    std::function<void(const grant&)> on_grant;
    /// Called when a message is through, with its number among those of its VI.
    std::function<void(vi_name, std::uint64_t)> on_message;

private:
    struct engine {
        std::optional<grant> task;
        served work;
        std::uint64_t end_ns = 0;
    };

    void step() {
        while (!agenda_.empty() && agenda_.begin()->first <= now_) {
            auto what = std::move(agenda_.begin()->second);
            agenda_.erase(agenda_.begin());
            what();
        }
        for (engine& e : engines_) {
            if (e.task && e.end_ns <= now_) {
                finish(e);
                pump();
            }
        }
    }

    void finish(engine& e) {
        const grant g = *e.task;
        source& s = sources_[{g.vi.function, g.vi.vi}];
        s.bytes += e.work.bytes;
        e.work.more = s.messages > 0;
        for (std::uint32_t i = 0; i < e.work.descriptors; ++i) {
            ++s.completed;
            if (on_message) {
                on_message(g.vi, s.completed);
            }
        }
        e.task.reset();
        under_grant_.erase({g.vi.function, g.vi.vi});
        scheduler_.done(g, e.work, now_);
    }

    void pump() {
        while (const auto g = scheduler_.next(now_)) {
            ASSERT_LT(g->engine, engines_.size());
            engine& e = engines_[g->engine];
            ASSERT_FALSE(e.task) << "granted to an engine that is not idle";
            ASSERT_TRUE(under_grant_.insert({g->vi.function, g->vi.vi}).second) << "one VI on two engines";
            ASSERT_LT(g->queue, scheduler_.options().queues);
            start(e, *g);
            if (on_grant) {
                on_grant(*g);
            }
        }
    }

    void start(engine& e, const grant& g) {
        source& s = sources_[{g.vi.function, g.vi.vi}];
        s.first_grant_ns = std::min(s.first_grant_ns, now_);
        e.task = g;
        e.work = {};
        std::uint64_t overhead = 0;
        while (s.messages > 0 && e.work.descriptors < g.descriptors_max) {
            const std::uint64_t room = g.bytes_max == 0 ? endless : g.bytes_max - e.work.bytes;
            const std::uint64_t piece = std::min(s.message_bytes - s.moved, room);
            if (piece == 0) {
                break;
            }
            overhead += s.moved == 0 ? s.overhead_ns : 0;
            s.moved += piece;
            e.work.bytes += piece;
            if (s.moved < s.message_bytes) {
                break;
            }
            s.moved = 0;
            s.messages -= s.messages == endless ? 0 : 1;
            ++e.work.descriptors;
        }
        e.work.engine_ns = e.work.bytes * second_ns / engine_rate + overhead;
        e.end_ns = now_ + std::max<std::uint64_t>(e.work.engine_ns, 1);
    }

    scheduler scheduler_;
    std::vector<engine> engines_;
    std::map<std::pair<std::uint32_t, std::uint32_t>, source> sources_;
    std::set<std::pair<std::uint32_t, std::uint32_t>> under_grant_;
    std::multimap<std::uint64_t, std::function<void()>> agenda_;
    std::uint64_t now_ = 0;
};

}  // namespace vinic::controller::test
