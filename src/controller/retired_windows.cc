// SPDX-License-Identifier: Apache-2.0
//
// retired_windows.cc -- the list of those windows, the emptiers' turns, and replacing one that is stuck.
#include "controller/retired_windows.hpp"

#include <algorithm>
#include <array>
#include <chrono>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "controller/window_remainder.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

/// A window that somebody has open is looked at again after a pause, which doubles.
constexpr std::uint64_t first_pause_ns = 5'000'000;
constexpr std::uint64_t longest_pause_ns = 160'000'000;
constexpr std::uint64_t pauses_to_looks = 50;  ///< at least: a client with many locks makes looking long
constexpr auto end_patience = std::chrono::milliseconds(100);
constexpr std::uint64_t small_bytes = 2ULL << 20;  ///< more than a program's that does not send large messages

/// A thread's window: whichever small or large one's turn it is, or that of a serial.
constexpr std::uint64_t small_ones = 0, large_ones = 1, first_serial = 2;

}  // namespace

/// A place in the list, which stays while somebody has the rest in hand: that is put back without asking for memory.
struct retired_windows::retired {
    std::uint64_t serial = 0;
    memory_account* account = nullptr;
    window_remainder rest;
    std::uint64_t farewell_end_ns = 0;
    std::uint64_t look_ns = 0;  ///< when to look whether somebody uses it still; 0: it was never seen in use
    std::uint64_t pause_ns = first_pause_ns;
    std::uint64_t stays_until_ns = 0;  ///< also if there is no room for another one
    std::uint64_t emptier = large_ones;
    bool taken = false;  ///< somebody has it in hand
    bool apart = false;  ///< not the emptier's, but a thread's of its own
    bool has_thread = false;
};

/// Everything under its mutex.
struct retired_windows::shared {
    struct turn {
        std::uint64_t serial;
        std::uint64_t charged;  ///< before it
        window_remainder rest;
        bool looks;  ///< whether somebody uses it still, before anything is given back
        bool in_use = false;

        [[nodiscard]] bool work() noexcept {
            in_use = looks && rest.window.is_in_use();
            return !in_use && rest.give_back_a_piece();
        }
    };
    enum class what : std::uint8_t { nothing, look, piece };
    struct emptier {
        std::uint64_t inside = 0;  ///< the window that it is in a piece of, or 0
        std::uint64_t inside_since_ns = 0;
        bool is_there = false;

        [[nodiscard]] bool is_kept(std::uint64_t now_ns) const noexcept {
            return inside != 0 && now_ns >= inside_since_ns + slow_ns;
        }
    };
    mutable std::mutex mutex;
    std::condition_variable changed;
    std::vector<retired> all;
    std::uint64_t serials = first_serial;
    std::array<emptier, first_serial> emptiers{};  ///< of small_ones and large_ones
    bool ended = false;
    std::size_t threads = 0;

    [[nodiscard]] retired* find(std::uint64_t serial) noexcept {
        const auto found = std::ranges::find(all, serial, &retired::serial);
        return found == all.end() ? nullptr : &*found;
    }
    [[nodiscard]] bool has_common() const noexcept {
        return std::ranges::any_of(all, [](const retired& r) { return !r.apart; });
    }
    [[nodiscard]] static bool is_for(const retired& r, std::uint64_t whose) noexcept {
        return whose < first_serial ? !r.apart && r.emptier == whose : r.serial == whose;
    }
    [[nodiscard]] bool has_some_for(std::uint64_t whose) const noexcept {
        return std::ranges::any_of(all, [whose](const retired& r) { return is_for(r, whose); });
    }
    [[nodiscard]] static what due(retired& one, std::uint64_t now_ns) noexcept;
    [[nodiscard]] std::uint64_t pause(std::uint64_t whose, std::uint64_t now_ns) const noexcept;
    [[nodiscard]] std::optional<turn> take_turn(std::uint64_t whose, std::uint64_t now_ns) noexcept;
    /// `took_ns`: in work(), which ended now.
    void put_back(turn& t, bool done, std::uint64_t took_ns, std::uint64_t now_ns) noexcept;
    void leave_to_thread(emptier& was, retired& one) noexcept;
    [[nodiscard]] bool stays_with(emptier& e, std::uint64_t serial, std::uint64_t now_ns) noexcept;
    [[nodiscard]] std::optional<std::uint64_t> missing_thread() const noexcept;
    void set_thread(std::uint64_t whose, bool there) noexcept;
};

// -- whose turn it is ---------------------------------------------------------------------------

/// No system call: a client makes that of looking long by holding many locks.
retired_windows::shared::what retired_windows::shared::due(retired& one, std::uint64_t now_ns) noexcept {
    one.stays_until_ns = one.stays_until_ns == 0 ? now_ns + stay_ns : one.stays_until_ns;
    const bool is_in_the_way = one.account->wants_room() && now_ns >= one.stays_until_ns;
    if (now_ns < one.farewell_end_ns && !is_in_the_way) {
        return now_ns < one.look_ns ? what::nothing : what::look;
    }
    return what::piece;
}

/// Its place goes behind all the others.
std::optional<retired_windows::shared::turn> retired_windows::shared::take_turn(std::uint64_t whose,
                                                                                std::uint64_t now_ns) noexcept {
    for (auto one = all.begin(); one != all.end(); ++one) {
        const what next = is_for(*one, whose) && !one->taken ? due(*one, now_ns) : what::nothing;
        if (next != what::nothing) {
            one->taken = true;
            turn t{one->serial, one->rest.charged, std::move(one->rest), next == what::look};
            std::rotate(one, one + 1, all.end());
            return t;
        }
    }
    return std::nullopt;
}

void retired_windows::shared::put_back(turn& t, bool done, std::uint64_t took_ns, std::uint64_t now_ns) noexcept {
    retired* const place = find(t.serial);
    if (place == nullptr) {
        return;  // with its account
    }
    place->account->emptied(t.charged - t.rest.charged);
    place->taken = false;
    place->rest = std::move(t.rest);
    if (t.in_use) {
        place->look_ns = now_ns + std::max(place->pause_ns, pauses_to_looks * took_ns);
        place->pause_ns = std::min(2 * place->pause_ns, longest_pause_ns);
    } else {
        place->farewell_end_ns = 0;
    }
    if (done) {
        place->account->have_room();
        all.erase(all.begin() + (place - all.data()));
    }
}

// -- by hand ------------------------------------------------------------------------------------

retired_windows::retired_windows(std::size_t most) : shared_(std::make_shared<shared>()) { shared_->all.reserve(most); }

retired_windows::~retired_windows() {
    stop();
    std::vector<retired> gone;
    const std::lock_guard hold(shared_->mutex);
    gone.swap(shared_->all);
}

void retired_windows::take(class window&& w, memory_account& account, std::uint64_t farewell_end_ns) noexcept {
    const std::uint64_t bytes = w.used_bytes();
    account.retire(bytes);
    account.forget();
    const std::lock_guard hold(shared_->mutex);
    retired& one = shared_->all.emplace_back();
    one.serial = shared_->serials++;
    one.account = &account;
    one.rest.window = std::move(w);
    one.rest.charged = bytes;
    one.emptier = bytes <= small_bytes ? small_ones : large_ones;
    one.farewell_end_ns = farewell_end_ns;
    one.apart = account.is_slow();
    shared_->changed.notify_all();
}

retired_windows::pace retired_windows::give_back_a_piece(std::uint64_t now_ns) noexcept {
    std::unique_lock hold(shared_->mutex);
    for (;;) {
        auto t = shared_->take_turn(small_ones, now_ns);
        t = t ? std::move(t) : shared_->take_turn(large_ones, now_ns);
        if (!t) {
            return shared_->all.empty() ? pace::idle : pace::waits;
        }
        hold.unlock();
        const bool done = t->work();
        hold.lock();
        shared_->put_back(*t, done, 0, now_ns);
        if (!t->in_use) {
            return pace::more;
        }
    }
}

// -- by threads ---------------------------------------------------------------------------------

/// Until one of them is to be looked at again.
std::uint64_t retired_windows::shared::pause(std::uint64_t whose, std::uint64_t now_ns) const noexcept {
    std::uint64_t next = now_ns + longest_pause_ns;
    for (const retired& one : all) {
        if (is_for(one, whose) && !one.taken) {
            next = std::min(next, one.look_ns);
        }
    }
    return std::max(next, now_ns + first_pause_ns) - now_ns;
}

/// The thread that was that emptier is so no longer, and keeps this window.
void retired_windows::shared::leave_to_thread(emptier& was, retired& one) noexcept {
    one.apart = true;
    one.has_thread = true;
    one.account->set_slow();
    was = {};
}

/// An emptier comes out of a piece: whether it stays with that window.
bool retired_windows::shared::stays_with(emptier& e, std::uint64_t serial, std::uint64_t now_ns) noexcept {
    retired* const place = find(serial);
    if (place == nullptr) {
        return true;  // everything has ended
    }
    if (!place->apart) {  // or it was found to be kept
        if (!e.is_kept(now_ns)) {
            e.inside = 0;
            return false;
        }
        leave_to_thread(e, *place);
    }
    return true;
}

void retired_windows::empty_all(const std::shared_ptr<shared>& s, std::uint64_t whose) noexcept {
    whose == small_ones ? os::work_in_short_turns() : os::work_in_background();
    std::unique_lock hold(s->mutex);
    while (!s->ended) {
        const std::uint64_t now = os::now_ns();
        auto t = s->take_turn(whose, now);
        const bool is_emptier = whose < first_serial;
        if (!t) {
            if (is_emptier && !s->has_some_for(whose)) {
                s->changed.wait(hold);
            } else {
                s->changed.wait_for(hold, std::chrono::nanoseconds(s->pause(whose, now)));
            }
            continue;
        }
        if (is_emptier) {
            s->emptiers[whose].inside = t->serial;
            s->emptiers[whose].inside_since_ns = now;
        }
        hold.unlock();
        const bool done = t->work();
        hold.lock();
        const std::uint64_t after = os::now_ns();
        if (is_emptier && s->stays_with(s->emptiers[whose], t->serial, after)) {
            if (whose == small_ones) {
                os::work_in_background();
            }
            whose = t->serial;
        }
        s->put_back(*t, done, after - now, after);
        if (done && whose >= first_serial) {
            break;
        }
    }
    --s->threads;
    s->changed.notify_all();
}

bool retired_windows::launch(std::uint64_t whose) noexcept {
    try {
        std::thread([s = shared_, whose] { empty_all(s, whose); }).detach();
        return true;
    } catch (const std::exception&) {
        return false;  // no more threads, or no memory: they wait
    }
}

/// What has none: small_ones, large_ones or a window; or nothing.
std::optional<std::uint64_t> retired_windows::shared::missing_thread() const noexcept {
    for (const std::uint64_t whose : {small_ones, large_ones}) {
        if (!emptiers[whose].is_there) {
            return whose;  // also if there is nothing to do yet: it may have to be done where there is no memory for
                           // one
        }
    }
    const auto found = std::ranges::find_if(all, [](const retired& r) { return r.apart && !r.has_thread; });
    return found == all.end() ? std::nullopt : std::optional(found->serial);
}

void retired_windows::shared::set_thread(std::uint64_t whose, bool there) noexcept {
    threads = there ? threads + 1 : threads - 1;
    if (whose < first_serial) {
        emptiers[whose].is_there = there;
    } else if (retired* const place = find(whose); place != nullptr) {
        place->has_thread = there;
    }
}

retired_windows::pace retired_windows::tend(std::uint64_t now_ns) noexcept {
    for (;;) {
        std::optional<std::uint64_t> missing;
        {
            const std::lock_guard hold(shared_->mutex);
            if (shared_->ended) {
                return pace::idle;
            }
            for (shared::emptier& e : shared_->emptiers) {
                if (retired* const place = e.is_kept(now_ns) ? shared_->find(e.inside) : nullptr; place != nullptr) {
                    shared_->leave_to_thread(e, *place);
                }
            }
            missing = shared_->missing_thread();
            if (!missing) {
                return shared_->has_common() ? pace::waits : pace::idle;
            }
            shared_->set_thread(*missing, true);
        }
        if (!launch(*missing)) {
            const std::lock_guard hold(shared_->mutex);
            shared_->set_thread(*missing, false);
            return pace::waits;
        }
    }
}

void retired_windows::stop() noexcept {
    std::unique_lock hold(shared_->mutex);
    shared_->ended = true;
    shared_->changed.notify_all();
    shared_->changed.wait_for(hold, end_patience, [this] { return shared_->threads == 0; });
}

// -- what is there ------------------------------------------------------------------------------

void retired_windows::end_farewells(const memory_account& account, std::uint64_t end_ns) noexcept {
    const std::lock_guard hold(shared_->mutex);
    for (retired& r : shared_->all) {
        if (r.account == &account) {
            r.farewell_end_ns = std::min(r.farewell_end_ns, end_ns);
        }
    }
}

bool retired_windows::is_at_rest() const noexcept {
    const std::lock_guard hold(shared_->mutex);
    return std::ranges::all_of(shared_->all, [](const retired& r) { return r.farewell_end_ns != 0 && r.look_ns != 0; });
}

std::size_t retired_windows::waiting(const memory_account& account) const noexcept {
    const std::lock_guard hold(shared_->mutex);
    return static_cast<std::size_t>(
        std::ranges::count_if(shared_->all, [&](const retired& r) { return r.account == &account; }));
}

}  // namespace vinic::controller
