// SPDX-License-Identifier: Apache-2.0
//
// engines.cc -- an engine's turn: doorbells, scheduler, lease, and what the lease has left.
#include "controller/engines.hpp"

#include <algorithm>

#include "controller/notify.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

constexpr std::size_t watched_max = 32;
constexpr std::uint64_t watch_ns = 50'000;
constexpr std::uint64_t expiry_look_ns = 20'000;
constexpr std::uint64_t empty_doorbell_bytes = 256;  ///< what looking for nothing costs its function
constexpr std::uint64_t watched_ns_max = 4'000;
constexpr std::uint32_t cold_after_passes = 4096;
constexpr std::uint32_t resumed_vis = 16;  ///< looked at under the board at a time; their rings may have to be made
constexpr std::uint32_t resumed_looks = 1024;
constexpr std::uint32_t doorbell_budget = 8;  ///< of a function in one pass, so that a storm makes nobody wait long

}  // namespace

std::uint64_t clock_ns() noexcept {
    static const double ns_per_tick = 1000.0 / static_cast<double>(os::ticks_per_us());
    return static_cast<std::uint64_t>(static_cast<double>(os::ticks()) * ns_per_tick);
}

engines::engines(const device_options& options, std::vector<std::unique_ptr<function>>& functions,
                 const kicks& doorbell_kicks, delivery_times& deliveries)
    : scheduler(options.scheduling),
      doorbells(cold_after_passes, &clock_ns),
      options_(options),
      functions_(functions),
      kicks_(doorbell_kicks),
      deliveries_(deliveries),
      looking_(options.scheduling.engines),
      leases_(options.scheduling.engines),
      is_idle_(options.scheduling.engines) {
    watched_.reserve(watched_max);
}

engines::~engines() { stop(); }

void engines::start() {
    for (std::uint32_t i = 0; i < options_.scheduling.engines; ++i) {
        // Whatever needs memory, before there is a thread that could only end for want of it.
        auto ex = std::make_unique<lease_runner>(functions_, options_);
        if (is_one_of_many()) {
            ex->on_long_lease([this] { call_a_looker(); });
        }
        threads_.emplace_back([this, i, mine = std::move(ex)] { run(i, *mine); });
    }
}

void engines::stop() noexcept {
    stopping_.store(true);
    kicks_.wake();
    for (std::thread& t : threads_) {
        t.join();
    }
    threads_.clear();
}

bool engines::idle() {
    const std::lock_guard hold(board);
    collect(clock_ns());
    return rings_at_ == rings_count_ && doorbells.saw_all() && !scheduler.has_work() &&
           std::none_of(leases_.begin(), leases_.end(), [](const lease_word& w) { return (w.count.load() & 1) != 0; });
}

void engines::quiesce() noexcept {
    // What the caller has taken away comes before the look; pairs with the unlocking of the board behind an odd count.
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (const lease_word& w : leases_) {
        const std::uint32_t seen = w.count.load(std::memory_order_acquire);
        for (std::uint32_t spins = 0; (seen & 1) != 0 && w.count.load(std::memory_order_acquire) == seen; ++spins) {
            if (spins < 200) {
                os::spin_pause();
            } else {
                std::this_thread::yield();
            }
        }
    }
}

bool engines::allow(function& f, bool yes) {
    const std::lock_guard hold(board);
    return f.allowed.exchange(yes) != yes && yes;
}

void engines::call_for(vi& v) {
    if (!v.leased && !v.waits && v.link.load(std::memory_order_relaxed) == abi::link::connected &&
        (v.pending != nullptr || v.has_posted())) {
        scheduler.ready({v.owner->number, v.index}, clock_ns());
        if (sleepers_.load(std::memory_order_relaxed) != 0) {
            kicks_.wake();
        }
    }
}

bool engines::resume(function& f, std::uint32_t& next) {
    const std::lock_guard hold(board);
    std::uint32_t seen = 0;
    for (std::uint32_t n = 0; n < resumed_looks && seen < resumed_vis && next < f.vis_high; ++n, ++next) {
        vi* v = f.find(next);
        if (v == nullptr) {
            continue;
        }
        ++seen;
        call_for(*v);
        if (v->peer != nullptr && v->peer->waits) {
            resume_sender_of(*v, clock_ns());
        }
    }
    return next < f.vis_high;
}

// -- what there is to do ----------------------------------------------------------------------------

/// A VI was rung: something was posted to send, or to receive while its peer waits for that.
void engines::heed(const rung& r, std::uint64_t now_ns) {
    function& f = *functions_[r.function];
    vi* v = f.find(r.vi);
    f.counters.doorbells.fetch_add(1, std::memory_order_relaxed);
    if (v == nullptr || v->context != r.context || v->link.load(std::memory_order_relaxed) != abi::link::connected) {
        f.counters.empty_doorbells.fetch_add(1, std::memory_order_relaxed);
        scheduler.charge_receiver(r.function, empty_doorbell_bytes, now_ns);
        return;
    }
    bool useful = v->leased;
    if (!v->leased && !v->waits && v->has_posted()) {
        scheduler.ready({r.function, r.vi}, now_ns);
        useful = true;
    } else if (v->leased) {
        scheduler.ready({r.function, r.vi}, now_ns);
    }
    if (v->peer != nullptr && v->peer->waits) {
        // A table is searched for it: whoever rings in vain pays.
        useful = resume_sender_of(*v, now_ns) || v->chooser.kind == nullptr || useful;
    }
    if (!useful) {
        f.counters.empty_doorbells.fetch_add(1, std::memory_order_relaxed);
        scheduler.charge_receiver(r.function, empty_doorbell_bytes, now_ns);
    }
}

bool engines::resume_sender_of(vi& receiver, std::uint64_t now_ns) {
    vi& sender = *receiver.peer;
    if (!is_ready_for(sender, receiver)) {
        return false;
    }
    receiver.entry->receive_attention.store_relaxed(0);
    end_wait(sender);
    scheduler.ready({sender.owner->number, sender.index}, now_ns);
    return true;
}

/// Rings lie in pages that their client may have punched out of its window; looking makes them anew.
void engines::look_at_watched(std::uint64_t now_ns) {
    for (std::size_t left = watched_.size(), steps = 1; left != 0; --left, ++steps) {
        if (watched_next_ >= watched_.size()) {
            watched_next_ = 0;
        }
        vi& v = *watched_[watched_next_];
        if (!v.leased && !v.waits && v.owner->allowed && v.has_posted()) {
            v.watched_until_ns = now_ns + watch_ns;
            scheduler.ready({v.owner->number, v.index}, now_ns);
        } else if (now_ns > v.watched_until_ns) {
            unwatch(watched_next_, now_ns);
            continue;
        }
        ++watched_next_;
        if (steps % looks_between_clocks == 0 && clock_ns() - now_ns > watched_ns_max) {
            return;  // the others are first next time
        }
    }
}

/// Bounded in time, because it is done under the board: what is left is done next time.
void engines::collect(std::uint64_t now_ns) {
    look_at_watched(now_ns);
    if (rings_at_ == rings_count_) {
        rings_at_ = 0;
        rings_count_ = doorbells.poll(rings_, doorbell_budget);
        for (const doorbells::waste& w : doorbells.wasted()) {
            functions_[w.function]->counters.empty_doorbells.fetch_add(w.words, std::memory_order_relaxed);
            scheduler.charge_receiver(w.function, w.words * empty_doorbell_bytes, now_ns);
        }
    }
    for (std::size_t steps = 1; rings_at_ != rings_count_; ++steps) {
        heed(rings_[rings_at_++], now_ns);
        if (steps % looks_between_clocks == 0 && clock_ns() - now_ns > collect_ns_max) {
            break;
        }
    }
    if (now_ns >= next_expiry_look_ns_) {
        next_expiry_look_ns_ = expire_waits(now_ns) ? now_ns + expiry_look_ns : 0;
    }
}

/// Looking at a ring directly costs its client no doorbell and the device no search; only few can have that.
void engines::watch(vi& v, std::uint64_t now_ns) {
    v.watched_until_ns = now_ns + watch_ns;
    if (v.watched) {
        return;
    }
    if (watched_.size() == watched_max) {
        const auto oldest = std::min_element(watched_.begin(), watched_.end(), [](const vi* a, const vi* b) {
            return a->watched_until_ns < b->watched_until_ns;
        });
        if ((*oldest)->watched_until_ns + watch_ns / 2 > v.watched_until_ns) {
            return;  // they are all busy
        }
        unwatch(static_cast<std::size_t>(oldest - watched_.begin()), now_ns);
    }
    watched_.push_back(&v);
    v.watched = true;
    v.entry->watched.store_relaxed(1);
}

void engines::unwatch(std::size_t at, std::uint64_t now_ns) {
    vi& v = *watched_[at];
    watched_[at] = watched_.back();
    watched_.pop_back();
    v.watched = false;
    v.entry->watched.store_relaxed(0);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // pairs with the client's between lap and watched
    if (!v.leased && !v.waits && v.link.load(std::memory_order_relaxed) == abi::link::connected && v.has_posted()) {
        scheduler.ready({v.owner->number, v.index}, now_ns);
    }
}

void engines::withdraw(vi& v) noexcept {
    (void)scheduler.forget({v.owner->number, v.index});
    if (v.watched) {
        std::erase(watched_, &v);
        v.watched = false;
        v.entry->watched.store_relaxed(0);
    }
    if (v.waits) {
        end_wait(v);
    }
}

// -- the loop -----------------------------------------------------------------------------------

void engines::end_lease(vi& v, const grant& g, const lease_end& end, std::uint64_t engine_ns, std::uint64_t now_ns) {
    v.leased = false;
    served s{end.bytes, end.descriptors, engine_ns, false};
    using why = lease_end::why;
    const bool connected = v.link.load(std::memory_order_relaxed) == abi::link::connected;
    switch (end.reason) {
        case why::empty:
            if (connected) {
                watch(v, now_ns);
                s.more = v.has_posted();
            }
            break;
        case why::more:
            s.more = connected;
            break;
        case why::waits:
            s.more = connected && wait_for_receiver(v, end.receiver_off, now_ns);
            break;
        case why::failed:
            if (connected) {
                const rules::ending& e = rules::ending_of(end.fault);
                break_link(v, e.mine, e.peers, &end.how);
            }
            break;  // or somebody else broke it before: then the message is flushed with those behind it
        case why::broken:
            break;
    }
    scheduler.done(g, s, now_ns);
    if (end.receiver != nullptr && end.receiver != v.owner) {
        scheduler.charge_receiver(end.receiver->number, end.received_bytes, now_ns);
    }
    if (v.unpublished_break || (v.peer != nullptr && v.peer->unpublished_break)) {
        publish_break(v);
    }
}

bool engines::work_once(std::uint32_t number, lease_runner& ex, engine_time& time) {
    if (board.lock_as_engine()) {
        time.waited();
    }
    std::uint64_t now = clock_ns();
    collect(now);
    const std::optional<grant> g = scheduler.next(now);
    vi* v = g ? functions_[g->vi.function]->find(g->vi.vi) : nullptr;
    is_idle_[number] = !g;
    if (!g) {
        board.unlock();
        return false;
    }
    // One that waits was rung while it was leased: whatever it waits for makes it ready.
    if (v == nullptr || !v->owner->allowed || v->leased || v->waits ||
        v->link.load(std::memory_order_relaxed) != abi::link::connected) {
        scheduler.done(*g, {}, now);
        board.unlock();
        return true;
    }
    v->leased = true;
    std::atomic<std::uint32_t>& mark = leases_[number].count;
    mark.store(mark.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    looks(-1);
    const bool call_another = sleepers_.load(std::memory_order_relaxed) != 0 && scheduler.has_work();
    board.unlock();
    if (call_another) {
        kicks_.wake();
    }

    time.begin(clock_ns());
    const lease_end end = ex.run(*v, g->bytes_max, g->descriptors_max);
    now = clock_ns();
    const std::uint64_t engine_ns = time.end(now);

    if (board.lock_as_engine()) {
        time.waited();
    }
    end_lease(*v, *g, end, engine_ns, now);
    latest_lease_ns_ = now;
    looks(1);
    mark.store(mark.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    board.unlock();
    return true;
}

void engines::run(std::uint32_t number, lease_runner& ex) noexcept {
    engine_time time;
    std::uint64_t idle_since = clock_ns();
    for (std::uint32_t turns = 0; !stopping_.load(std::memory_order_relaxed); ++turns) {
        if (deliveries_.next() != delivery_times::never) {
            deliver(number);
        }
        if (work_once(number, ex, time)) {
            idle_since = 0;
            if (options_.yield && turns % 64 == 0) {
                std::this_thread::yield();
                time.rested();
            }
            continue;
        }
        const std::uint64_t now = clock_ns();
        time.idle(now);
        idle_since = idle_since == 0 ? now : idle_since;
        if (now - idle_since < options_.idle_spin_ns) {
            if (options_.yield) {
                std::this_thread::yield();
            } else {
                os::spin_pause();
            }
            continue;
        }
        std::uint64_t until = 0;
        if (prepare_sleep(number, now, until)) {
            sleep(until);
            time.rested();
        }
        idle_since = 0;
    }
    kicks_.wake();  // the next one that sleeps
}

}  // namespace vinic::controller
