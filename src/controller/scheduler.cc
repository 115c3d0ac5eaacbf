// SPDX-License-Identifier: Apache-2.0
//
// scheduler.cc -- queues, arbiter and engines put together: the life of a grant.
#include "controller/scheduler.hpp"

#include <algorithm>
#include <cassert>
#include <vector>

#include "controller/arbiter.hpp"
#include "controller/baselines.hpp"
#include "controller/engine_pool.hpp"
#include "controller/operation_queues.hpp"

namespace vinic::controller {
namespace {

constexpr std::uint32_t quantum_unlimited = 64 << 10;  // a turn inside a function when leases have no limit

scheduler_options within_limits(scheduler_options o) noexcept {
    o.engines = std::clamp<std::uint32_t>(o.engines, 1, engines_max);
    o.queues = std::clamp<std::uint32_t>(o.queues, 1, queues_max);
    o.lease_descriptors = std::max<std::uint32_t>(o.lease_descriptors, 1);
    o.bytes_per_second = std::clamp<std::uint64_t>(o.bytes_per_second, 1, 1ULL << 50);
    return o;
}

std::uint64_t quantum(const scheduler_options& o) noexcept {
    return o.lease_bytes == 0 ? quantum_unlimited : o.lease_bytes;
}

}  // namespace

std::string_view complaint(const entitlement& s) noexcept {
    if (s.weight < 1 || s.weight > 10'000) {
        return "a weight is 1 to 10000";
    }
    if (s.priority > 7) {
        return "a priority is 0 to 7";
    }
    if (s.reserved_queues > queues_max) {
        return "at most 1024 queues can be reserved";
    }
    if (s.cap != 0 && s.guarantee > s.cap) {
        return "the guarantee is above the cap";
    }
    return {};
}

std::string_view complaint(const scheduler_options& o) noexcept {
    if (o.engines < 1 || o.engines > engines_max) {
        return "a device has 1 to 64 engines";
    }
    if (o.queues < 1 || o.queues > queues_max) {
        return "a device has 1 to 1024 operation queues";
    }
    if (o.lease_descriptors < 1) {
        return "a lease is worth at least one descriptor";
    }
    if (o.bytes_per_second < 1 || o.bytes_per_second > 1ULL << 50) {
        return "an engine second is worth 1 byte to 2^50 bytes";
    }
    return {};
}

struct scheduler::state {
    struct tenant {
        scheduling_counters counters;
        std::uint32_t generation = 0;
        bool present = false;
    };

    explicit state(const scheduler_options& o)
        : options(o),
          nanosecond_worth(static_cast<std::uint64_t>((static_cast<wide>(o.bytes_per_second) << 32) / 1'000'000'000)),
          queues(o.queues, quantum(o)),
          arbiter(o.bytes_per_second, quantum(o)),
          engines(o.engines) {}

    [[nodiscard]] bool present(std::uint32_t number) const noexcept {
        return number < functions.size() && functions[number].present;
    }
    [[nodiscard]] std::uint64_t cost(const served& s) const noexcept {
        constexpr std::uint64_t most = 1ULL << 50;
        const wide time = (static_cast<wide>(nanosecond_worth) * s.engine_ns) >> 32;
        const std::uint64_t bytes = std::clamp<std::uint64_t>(s.bytes, 1, most);
        return std::max(bytes, static_cast<std::uint64_t>(std::min<wide>(time, most)));
    }

    /// A VI of the function waits; `first`: nobody of it did before.
    void offer(vi_name vi, bool first, std::uint64_t now_ns) {
        ++waiting;
        if (options.order == policy::fifo) {
            in_order.arrive(vi, now_ns);
        } else if (options.order == policy::request_round_robin) {
            in_turn.offer(vi.function);
        } else if (first) {
            arbiter.offer(vi.function);
        }
    }
    bool choose(engine_pool::task& into, std::uint64_t now_ns);
    void take(std::uint32_t function, engine_pool::task& into) {
        const auto [vi, entry] = queues.take(function);
        into.vi.function = function;
        into.vi.vi = vi;
        into.entry = entry;
    }

    scheduler_options options;
    std::uint64_t nanosecond_worth;  // bytes that an engine's nanosecond is worth, times 2^32
    operation_queues queues;
    controller::arbiter arbiter;
    engine_pool engines;
    function_round in_turn;
    arrivals in_order;
    std::vector<tenant> functions;
    std::uint64_t waiting = 0;    // VIs
    std::uint64_t latest_ns = 0;  // what next() was told last
};

/// Takes the VI that is next out of its lane.  False: nobody may be served now.
bool scheduler::state::choose(engine_pool::task& into, std::uint64_t now_ns) {
    if (options.order == policy::hclock) {
        const auto chosen = arbiter.choose(now_ns);
        if (!chosen) {
            return false;
        }
        take(chosen->function, into);
        into.by_reservation = chosen->by_reservation;
        if (queues.queued(chosen->function) == 0) {
            arbiter.withdraw(chosen->function, now_ns);
        }
        return true;
    }
    if (options.order == policy::request_round_robin) {
        const auto chosen = in_turn.choose([this](std::uint32_t number) { return queues.queued(number) > 0; });
        if (!chosen) {
            return false;
        }
        take(*chosen, into);
        if (queues.queued(*chosen) > 0) {
            in_turn.offer(*chosen);
        }
        return true;
    }
    const auto chosen = in_order.choose([this](vi_name vi, std::uint64_t ready_ns) {
        const queued_vi* e = queues.find(vi);
        return e != nullptr && e->standing == standing::queued && e->ready_ns == ready_ns;
    });
    if (!chosen) {
        return false;
    }
    into.vi = *chosen;
    into.entry = &queues.entry(*chosen);
    queues.take(*chosen, *into.entry);
    return true;
}

scheduler::scheduler(const scheduler_options& options) : state_(std::make_unique<state>(within_limits(options))) {}
scheduler::scheduler(scheduler&&) noexcept = default;
scheduler& scheduler::operator=(scheduler&&) noexcept = default;
scheduler::~scheduler() = default;

void scheduler::set_entitlement(std::uint32_t function, const entitlement& s, std::uint64_t now_ns) {
    state& all = *state_;
    assert(function < functions_max && complaint(s).empty());
    if (function >= functions_max) {
        return;
    }
    if (function >= all.functions.size()) {
        all.functions.resize(function + 1);
    }
    state::tenant& f = all.functions[function];
    if (!f.present) {
        f.present = true;
        f.counters = {};
    }
    all.queues.reserve(function, std::min(s.reserved_queues, queues_max));
    all.arbiter.set(function, s, now_ns);
}

void scheduler::remove_function(std::uint32_t function, std::uint64_t now_ns) {
    state& all = *state_;
    if (!all.present(function)) {
        return;
    }
    all.functions[function].counters.capped_ns = all.arbiter.remove(function, now_ns);
    all.waiting -= all.queues.close(function);
    all.functions[function].present = false;
    ++all.functions[function].generation;
}

void scheduler::prepare(vi_name vi) {
    if (state_->present(vi.function) && vi.vi < operation_queues::vis_max) {
        (void)state_->queues.entry(vi);
    }
}

void scheduler::ready(vi_name vi, std::uint64_t now_ns) {
    state& all = *state_;
    if (!all.present(vi.function) || vi.vi >= operation_queues::vis_max) {
        return;
    }
    queued_vi& e = all.queues.entry(vi);
    if (e.standing != standing::unbound) {
        e.again = e.standing == standing::granted;
        return;
    }
    const bool first = all.queues.queued(vi.function) == 0;
    if (first && all.queues.idle(vi.function)) {
        all.arbiter.wake(vi.function, now_ns);
    }
    if (!all.queues.bind(vi, e, now_ns)) {
        ++all.functions[vi.function].counters.queue_waits;
    }
    all.offer(vi, first, now_ns);
}

bool scheduler::forget(vi_name vi) noexcept {
    state& all = *state_;
    if (!all.present(vi.function) || vi.vi >= operation_queues::vis_max) {
        return true;
    }
    queued_vi* e = all.queues.find(vi);
    if (e == nullptr || e->standing == standing::unbound) {
        return true;
    }
    if (e->standing == standing::granted) {
        return false;
    }
    all.queues.forget(vi, *e);
    --all.waiting;
    if (all.queues.queued(vi.function) == 0) {
        all.arbiter.withdraw(vi.function, all.latest_ns);
    }
    return true;
}

std::optional<grant> scheduler::next(std::uint64_t now_ns) {
    state& all = *state_;
    if (all.waiting == 0 || !all.engines.any_idle()) {
        return std::nullopt;
    }
    all.latest_ns = now_ns;
    const std::uint32_t engine = all.engines.first_idle();
    engine_pool::task& task = all.engines.of(engine);
    if (!all.choose(task, now_ns)) {
        return std::nullopt;
    }
    all.engines.take(engine);
    --all.waiting;
    const queued_vi& e = *task.entry;
    state::tenant& f = all.functions[task.vi.function];
    task.generation = f.generation;
    ++f.counters.grants;
    const std::uint64_t waited = std::max(now_ns, e.ready_ns) - e.ready_ns;
    f.counters.wait_ns += waited;
    std::uint64_t long_ns = 1'000;
    for (std::uint64_t& longer : f.counters.long_waits) {
        if (waited <= long_ns) {
            break;
        }
        ++longer;
        long_ns *= 10;
    }
    return grant{
        .vi = task.vi,
        .engine = engine,
        .queue = all.queues.queue_of(e),
        .bytes_max = all.options.lease_bytes,
        .descriptors_max = all.options.order == policy::request_round_robin ? 1 : all.options.lease_descriptors};
}

void scheduler::done(const grant& g, const served& s, std::uint64_t now_ns) {
    state& all = *state_;
    const bool known = all.engines.busy(g.engine) && all.engines.of(g.engine).vi == g.vi;
    assert(known && "done() without a grant");
    if (!known) {
        return;
    }
    const engine_pool::task& task = all.engines.of(g.engine);
    all.engines.give_back(g.engine);
    const std::uint32_t function = g.vi.function;
    state::tenant& f = all.functions[function];
    const bool same = f.present && f.generation == task.generation;  // it was not removed meanwhile
    queued_vi& e = *task.entry;
    const bool first = all.queues.queued(function) == 0;
    const bool more = (same && s.more) || e.again;
    const std::uint64_t cost = all.cost(s);
    if (same) {
        f.counters.bytes += s.bytes;
        f.counters.descriptors += s.descriptors;
        f.counters.engine_ns += s.engine_ns;
        all.arbiter.charge(function, cost, task.by_reservation, now_ns);
    }
    // In turns of requests a grant is worth a turn, whatever it moved.
    const bool by_request = all.options.order == policy::request_round_robin;
    all.queues.give_back(g.vi, e, by_request ? quantum(all.options) : cost, more, now_ns);
    if (more) {
        all.offer(g.vi, first, now_ns);
    }
}

void scheduler::charge_receiver(std::uint32_t function, std::uint64_t bytes, std::uint64_t) {
    state& all = *state_;
    if (all.present(function)) {
        all.functions[function].counters.received_charge += bytes;
        all.arbiter.charge_receiver(function, bytes);
    }
}

std::uint64_t scheduler::next_time() const noexcept { return state_->arbiter.next_time(); }
bool scheduler::has_work() const noexcept { return state_->waiting > 0; }
bool scheduler::can_serve() const noexcept {
    return state_->options.order == policy::hclock ? state_->arbiter.any_open() : has_work();
}
const scheduler_options& scheduler::options() const noexcept { return state_->options; }

scheduling_counters scheduler::counters(std::uint32_t function) const {
    const state& all = *state_;
    if (function >= all.functions.size()) {
        return {};
    }
    scheduling_counters counters = all.functions[function].counters;
    counters.capped_ns = all.functions[function].present ? all.arbiter.capped_ns(function) : counters.capped_ns;
    return counters;
}

}  // namespace vinic::controller
