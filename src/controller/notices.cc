// SPDX-License-Identifier: Apache-2.0
//
// notices.cc -- writes a function's notice board, and wakes everybody who waits for it.
#include "controller/notices.hpp"

#include "controller/notify.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

namespace {

abi::notice_words words_of(const function& f, abi::notice what) noexcept {
    const entitlement& s = f.options.quality;
    return {os::now_ns(), s.guarantee, s.cap, s.weight, s.priority, static_cast<std::uint32_t>(what)};
}

}  // namespace

void tell_users(function& f, abi::notice what) noexcept {
    if (!f.window) {
        return;  // nobody uses it
    }
    abi::notice_board& board = f.window.identity().notices;
    const std::uint32_t n = f.notices++;
    board.line[n % abi::notices_kept].write(n + 1, words_of(f, what));
    board.count.store_release(n + 1);
    os::futex_wake(&board.count.raw_, wakes_max);
}

void publish_service(function& f, bool news) noexcept {
    if (!f.window) {
        return;
    }
    f.window.identity().notices.in_force.write(++f.services, words_of(f, abi::notice::service_changed));
    if (news) {
        tell_users(f, abi::notice::service_changed);
    }
}

}  // namespace vinic::controller
