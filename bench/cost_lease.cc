// SPDX-License-Identifier: Apache-2.0
//
// cost_lease.cc -- the isolated placement's engine, counted: one lease runner and the leases of one VI, in this thread.
//
//   window of function 1                                          window of function 2
//     VI 0: everything posted ahead  --> lease_runner::run, again -->   VI 0: every receive posted ahead
//           payload                      and again                        buffer
//
// No device runs and no thread but this one.  What a device has is made here, and the words in the windows are written
// as the library writes them; the control part sees them through its mailboxes, as ever.  Not counted is what engines
// do between leases: doorbells, scheduler, settling.
#include <algorithm>
#include <array>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "bench/cost.hpp"
#include "cli/bench_failure.hpp"
#include "controller/control.hpp"

namespace vinic::cli::bench {
namespace {

using controller::function;

constexpr std::uint64_t window_bytes = 512ULL << 20;
constexpr std::uint64_t send_ring = abi::first_chunk * abi::chunk_size;
constexpr std::uint64_t receive_ring = send_ring + depth * sizeof(abi::send_descriptor);
constexpr std::uint64_t memory = receive_ring + depth * sizeof(abi::receive_slot);
constexpr std::uint64_t memory_bytes = 64 << 10;
constexpr std::uint32_t key = 7 << 8 | 1;
constexpr std::uint32_t domain_number = 1;
constexpr std::uint32_t vi_number = 0;
constexpr std::uint32_t context_number = 0;
constexpr std::uint32_t depth_log2 = 15;
static_assert(1U << depth_log2 == depth && messages_max <= depth);

controller::device_options options() {
    controller::device_options o;
    o.functions = 2;
    // The clock is looked at as often as ever, but ends no lease: under valgrind none would last.  Blocks of a piece
    // would depend on it too, but the first one is 4096 bytes long.
    o.lease_ns = 3'600'000'000'000;
    return o;
}

/// Two functions and what serves them, without threads.
class site {
public:
    site() : kicks_(take(controller::kicks::create())) {
        for (std::uint32_t number = 0; number <= options_.functions; ++number) {
            controller::function_options o;
            o.window_bytes = window_bytes;
            functions_.push_back(std::make_unique<function>(number, o, times_));
            function& f = *functions_.back();
            f.window = take(controller::window::create(number, window_bytes));
            f.contexts[context_number].active = true;
            f.contexts_used = 1;
        }
        engines_ = std::make_unique<controller::engines>(options_, functions_, kicks_, times_);
        control_ = std::make_unique<controller::control>(functions_, *engines_, options_.vis_total);
        for (function* f : {&sender(), &receiver()}) {
            call(*f, abi::verb::create_vi, {vi_number}, description());
            call(*f, abi::verb::register_region, {key, domain_number, rights, memory, memory_bytes, memory});
        }
        abi::peer_mail names{};
        names.local.name_bytes = names.remote.name_bytes = 1;
        names.local.name[0] = 'a';
        names.remote.name[0] = 'b';
        call(sender(), abi::verb::connect_peer, {vi_number, 0, 0}, names);
        std::swap(names.local, names.remote);
        call(receiver(), abi::verb::connect_peer, {vi_number, 0, 0}, names);
        runner_ = std::make_unique<controller::lease_runner>(functions_, options_);
        (void)controller::clock_ns();  // the first call measures the ticks
    }
    site(const site&) = delete;
    site& operator=(const site&) = delete;
    ~site() {
        for (function* f : {&sender(), &receiver()}) {
            ask(*f, abi::verb::destroy_vi, {vi_number});
        }
    }

    [[nodiscard]] function& sender() const { return *functions_[1]; }
    [[nodiscard]] function& receiver() const { return *functions_[2]; }
    [[nodiscard]] static std::span<std::byte> payload(const function& f) {
        return {f.window.at<std::byte>(memory), memory_bytes};
    }

    void post_ahead(const lease_loop& chosen) {
        abi::send_descriptor d{};
        d.opcode = static_cast<std::uint8_t>(chosen.what);
        if (chosen.bytes <= sizeof d.segments) {
            d.flags = abi::payload_inside;
            d.inline_bytes = static_cast<std::uint16_t>(chosen.bytes);
            std::memcpy(d.segments, payload(sender()).data(), chosen.bytes);
        } else {
            d.segment_count = 1;
            d.segments[0] = {memory, chosen.bytes, key};
            d.length = chosen.bytes;
        }
        d.remote_address = memory;
        d.remote_key = key;
        for (std::uint32_t i = 0; i < messages_max; ++i) {
            abi::receive_descriptor& to = receive(i).descriptor;
            to.segment_count = 1;
            to.segments[0] = {memory, chosen.bytes, key};
            to.sequence.store_release(i + 1);
            d.lap = abi::lap_of(i, depth_log2);
            send(i) = d;
        }
    }
    /// Leases as the scheduler grants them; `count` is a multiple of the messages in one.
    void serve(std::uint32_t count) {
        const controller::scheduler_options& granted = options_.scheduling;
        controller::vi& v = *sender().find(vi_number);
        for (std::uint32_t done = 0; done < count;) {
            const controller::lease_end end = runner_->run(v, granted.lease_bytes, granted.lease_descriptors);
            using why = controller::lease_end::why;
            if (end.descriptors == 0 || (end.reason != why::more && end.reason != why::empty)) {
                throw failure("a lease ended before its time");
            }
            done += end.descriptors;
        }
    }
    /// Whether `count` messages, and no more, were moved.
    [[nodiscard]] bool has_moved(const lease_loop& chosen, std::uint32_t count) const {
        for (std::uint32_t i = 0; i < messages_max; ++i) {
            const std::uint32_t expected = i < count ? i + 1 : 0;
            const abi::receive_completion& c = receive(i).completion;
            if (send(i).done.load_acquire() != expected || send(i).status != 0 ||
                (chosen.what == opcode::send && (c.sequence.load_acquire() != expected || c.status != 0))) {
                return false;
            }
        }
        const auto* to = (receive(0).completion.flags & abi::payload_inside) != 0
                             ? reinterpret_cast<const std::byte*>(receive(count - 1).completion.payload)
                             : payload(receiver()).data();
        return std::memcmp(to, payload(sender()).data(), chosen.bytes) == 0;
    }

private:
    static constexpr auto rights = static_cast<std::uint64_t>(access::all);
    using values = std::array<std::uint64_t, 6>;

    static abi::vi_description description() {
        abi::vi_description d{};
        d.domain = domain_number;
        d.flags = abi::allow_write;
        d.reliability = static_cast<std::uint32_t>(reliability::delivery);
        d.transfer_bytes_max = 1U << 31;
        d.receiver_wait_ns = abi::none64;
        d.send_depth = d.receive_depth = depth;
        d.segments_max = 3;
        d.inline_bytes_max = 48;
        d.generation = 1;
        d.send_ring = send_ring;
        d.receive_ring = receive_ring;
        return d;
    }
    /// Puts a request in the mailbox and serves it at once.
    errc ask(function& f, abi::verb verb, values v, std::span<const std::byte> content = {}) {
        abi::mailbox& box = f.window.mailbox(context_number);
        box.request.code = static_cast<std::uint32_t>(verb);
        std::ranges::copy(v, box.request.value);
        box.request.payload_bytes = static_cast<std::uint32_t>(content.size());
        std::ranges::copy(content, reinterpret_cast<std::byte*>(box.request_payload));
        box.request.sequence.store_release(box.request.sequence.load_relaxed() + 1);
        (void)control_->serve(f, context_number);
        return static_cast<errc>(box.response.code);
    }
    void call(function& f, abi::verb verb, values v) { expect_ok("asking the control part", ask(f, verb, v)); }
    template <class Mail>
    void call(function& f, abi::verb verb, values v, const Mail& content) {
        expect_ok("asking the control part", ask(f, verb, v, std::as_bytes(std::span(&content, 1))));
    }
    [[nodiscard]] abi::send_descriptor& send(std::uint32_t i) const {
        return sender().window.at<abi::send_descriptor>(send_ring)[i];
    }
    [[nodiscard]] abi::receive_slot& receive(std::uint32_t i) const {
        return receiver().window.at<abi::receive_slot>(receive_ring)[i];
    }

    controller::device_options options_ = options();
    controller::delivery_times times_;
    controller::kicks kicks_;
    std::vector<std::unique_ptr<function>> functions_;
    std::unique_ptr<controller::engines> engines_;
    std::unique_ptr<controller::control> control_;
    std::unique_ptr<controller::lease_runner> runner_;
};

}  // namespace

void run_lease_loop(const lease_loop& chosen, std::uint32_t count) {
    site on;
    const std::span<std::byte> bytes = site::payload(on.sender());
    for (std::size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<std::byte>(i * 7 + 1);
    }
    on.post_ahead(chosen);
    vinic_cost_counted([&] { on.serve(count); });
    if (!on.has_moved(chosen, count)) {
        throw failure("other messages were moved than were counted");
    }
}

}  // namespace vinic::cli::bench
