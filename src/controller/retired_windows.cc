// SPDX-License-Identifier: Apache-2.0
#include "controller/retired_windows.hpp"

#include <algorithm>
#include <utility>

namespace vinic::controller {

namespace {
constexpr std::uint64_t farewell_look_ns = 5'000'000;
}

void retired_windows::take(class window&& w, memory_account& account, std::uint64_t farewell_end_ns) noexcept {
    const std::uint64_t bytes = w.used_bytes();
    account.retire(bytes);
    account.forget();
    const std::lock_guard hold(mutex_);
    all_.push_back({std::move(w), &account, bytes, 0, false, farewell_end_ns, 0, 0});
}

/// Whose turn it is comes to the front; its place stays, so that it is put back without asking for memory.
bool retired_windows::take_turn(retired& one, std::uint64_t now_ns) noexcept {
    const std::lock_guard hold(mutex_);
    for (std::size_t i = 0; i < all_.size(); ++i, std::ranges::rotate(all_, all_.begin() + 1)) {
        retired& first = all_.front();
        first.stays_until_ns = first.stays_until_ns == 0 ? now_ns + stay_ns : first.stays_until_ns;
        const bool is_in_the_way = first.account->wants_room() && now_ns >= first.stays_until_ns;
        if (now_ns < first.farewell_end_ns && !is_in_the_way) {
            if (now_ns < first.look_ns) {
                continue;
            }
            first.look_ns = now_ns + farewell_look_ns;
            if (first.window.is_in_use()) {
                continue;
            }
        }
        first.farewell_end_ns = 0;
        one = std::move(first);
        return true;
    }
    return false;
}

retired_windows::pace retired_windows::give_back_a_piece(std::uint64_t now_ns) noexcept {
    retired one;
    if (!take_turn(one, now_ns)) {
        const std::lock_guard hold(mutex_);
        return all_.empty() ? pace::idle : pace::waits;
    }
    one.next = one.sweeps ? one.next : one.window.next_page(one.next);
    if (const std::uint64_t bytes = std::min(piece_bytes, one.window.bytes() - one.next); bytes != 0) {
        one.window.empty(one.next, bytes);
        one.next += bytes;
    }
    // Its client may go on touching pages: they are no more than were there, as far as this account goes.
    const std::uint64_t left = std::min(one.charged, one.window.used_bytes());
    one.account->emptied(one.charged - left);
    one.charged = left;
    bool done = one.next == one.window.bytes();
    if (done && !one.sweeps && left != 0) {
        // Storage that was taken and never touched is no data to the kernel: all of it is gone through, once.
        one.sweeps = true;
        one.next = 0;
        done = false;
    }
    if (done) {
        one.account->emptied(std::exchange(one.charged, 0));
        one.account->have_room();
        one.window = {};  // unmapped and closed, under no lock
    }
    const std::lock_guard hold(mutex_);
    if (done) {
        all_.erase(all_.begin());
        return pace::more;
    }
    all_.front() = std::move(one);
    std::ranges::rotate(all_, all_.begin() + 1);
    return pace::more;
}

void retired_windows::end_farewells(const memory_account& account, std::uint64_t end_ns) noexcept {
    const std::lock_guard hold(mutex_);
    for (retired& r : all_) {
        if (r.account == &account) {
            r.farewell_end_ns = std::min(r.farewell_end_ns, end_ns);
        }
    }
}

bool retired_windows::is_at_rest() const noexcept {
    const std::lock_guard hold(mutex_);
    return std::ranges::all_of(all_, [](const retired& r) { return r.farewell_end_ns != 0 && r.look_ns != 0; });
}

std::size_t retired_windows::waiting(const memory_account& account) const noexcept {
    const std::lock_guard hold(mutex_);
    return static_cast<std::size_t>(
        std::ranges::count_if(all_, [&](const retired& r) { return r.account == &account; }));
}

}  // namespace vinic::controller
