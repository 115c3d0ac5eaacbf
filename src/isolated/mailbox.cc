// SPDX-License-Identifier: Apache-2.0
//
// mailbox.cc -- sends a request, waits for the answer in slices, rings, and notices that the device has gone.
#include "isolated/mailbox.hpp"

#include <algorithm>
#include <cstring>
#include <thread>

#include "abi/doorbell.hpp"
#include "os/cancellation.hpp"
#include "placement/request.hpp"

namespace vinic::isolated {

namespace {

constexpr std::uint64_t answer_spin_us = 20;
constexpr std::uint64_t look_interval_ns = 20'000'000;

errc code_of(std::uint32_t code) noexcept {
    return code <= static_cast<std::uint32_t>(errc::device_removed) ? static_cast<errc>(code) : errc::os_failure;
}

}  // namespace

mailbox::mailbox(window& w) noexcept
    : window_(w),
      box_(*w.at<abi::mailbox>(abi::mailbox_offset(w.self()))),
      last_(box_.response.sequence.load_acquire()) {}

bool mailbox::await(std::uint32_t sequence) noexcept {
    const abi::word32& word = box_.response.sequence;
    const std::uint64_t spin_end = os::ticks() + answer_spin_us * os::ticks_per_us();
    while (word.load_acquire() != sequence) {
        if (os::ticks() < spin_end) {
            std::this_thread::yield();
            continue;
        }
        const std::uint32_t seen = word.load_acquire();
        if (seen == sequence) {
            break;
        }
        os::futex_wait(&word.raw_, seen, detail::sleep_slice_ns);
        if (word.load_acquire() != sequence && window_.cut_off()) {
            gone_.store(true, std::memory_order_release);
            return false;
        }
    }
    return true;
}

mailbox::reply mailbox::call(abi::verb verb, std::initializer_list<std::uint64_t> values,
                             std::span<const std::byte> payload, std::span<std::byte> answer) noexcept {
    reply r;
    if (window_.forked()) {
        r.code = errc::forked;  // and another thread of the parent may hold the mutex
        return r;
    }
    const os::cancellation_off inside;  // a poller may be told here that memory of its program was refused
    const std::lock_guard hold(mutex_);
    if (gone()) {
        return r;
    }
    abi::mail_line& out = box_.request;
    out.code = static_cast<std::uint32_t>(verb);
    out.payload_bytes = static_cast<std::uint32_t>(std::min(payload.size(), abi::mail_payload_bytes));
    std::fill(std::copy(values.begin(), values.end(), out.value), std::end(out.value), 0);
    if (!payload.empty()) {
        std::memcpy(box_.request_payload, payload.data(), out.payload_bytes);
    }
    ++last_;
    out.sequence.store_release(last_);
    os::write_event(window_.mailbox().get());
    if (!await(last_)) {
        return r;
    }
    const abi::mail_line& in = box_.response;
    r.code = code_of(in.code);
    std::copy(std::begin(in.value), std::end(in.value), r.value);
    r.payload_bytes =
        static_cast<std::uint32_t>(std::min({answer.size(), std::size_t{in.payload_bytes}, abi::mail_payload_bytes}));
    if (r.payload_bytes != 0) {
        std::memcpy(answer.data(), box_.response_payload, r.payload_bytes);
    }
    return r;
}

void mailbox::ring(std::uint32_t vi) noexcept {
    auto* area = window_.at<std::byte>(abi::doorbell_offset(window_.self()));
    if (abi::ring(area, abi::doorbell_colour(window_.function(), window_.self()), vi) == abi::rang::kick) {
        // The number is not looked at each time, for a kick is not to cost three system calls: it is out of the
        // program's way, and where the program has closed it, a look at the device finds that, at most 20 ms later.
        look(os::now_ns());
        if (!gone()) {
            os::write_event(window_.doorbell().number());
        }
    }
}

bool mailbox::found_gone() noexcept {
    if (!gone() && window_.cut_off()) {
        gone_.store(true, std::memory_order_release);
    }
    return gone();
}

void mailbox::look(std::uint64_t now_ns) noexcept {
    std::uint64_t next = next_look_ns_.load(std::memory_order_relaxed);
    if (now_ns >= next && next_look_ns_.compare_exchange_strong(next, now_ns + look_interval_ns)) {
        (void)found_gone();
    }
}

}  // namespace vinic::isolated
