// SPDX-License-Identifier: Apache-2.0
//
// counters.cc -- the table of names and meanings.
#include "vinicd/counters.hpp"

#include <array>

namespace vinic::vinicd {

namespace {

using values = const controller::function_counters&;

constexpr std::array all_counters = {
    counter{"tx_messages", "Messages sent", [](values c) { return c.tx_messages; }},
    counter{"tx_bytes", "Bytes sent", [](values c) { return c.tx_bytes; }},
    counter{"rx_messages", "Messages received", [](values c) { return c.rx_messages; }},
    counter{"rx_bytes", "Bytes received", [](values c) { return c.rx_bytes; }},
    counter{"rx_no_descriptor_drops", "Messages that found no receive descriptor and did not wait",
            [](values c) { return c.rx_no_descriptor_drops; }},
    counter{"rx_unknown_destination_drops", "Datagrams to a VI that does not exist",
            [](values c) { return c.rx_unknown_destination_drops; }},
    counter{"protection_errors", "Descriptors, its own or of peers, to which memory of the function was refused",
            [](values c) { return c.protection_errors; }},
    counter{"malformed_descriptors", "Descriptors that made no sense",
            [](values c) { return c.malformed_descriptors; }},
    counter{"foreign_copies", "Pieces of memory outside the window, a system call each",
            [](values c) { return c.foreign_copies; }},
    counter{"doorbells", "VIs found in doorbell pages", [](values c) { return c.doorbells; }},
    counter{"empty_doorbells", "Doorbells without anything posted", [](values c) { return c.empty_doorbells; }},
    counter{"mailbox_requests", "Requests of the control path", [](values c) { return c.mailbox_requests; }},
    counter{"mailbox_refusals", "Requests of the control path that were refused or ignored",
            [](values c) { return c.mailbox_refusals; }},
    counter{"resets", "Function-level resets", [](values c) { return c.resets; }},
    counter{"memory_refusals", "Requests and messages refused because of the memory limit",
            [](values c) { return c.memory_refusals; }},
    counter{"grants", "Turns on an engine", [](values c) { return c.scheduling.grants; }},
    counter{"granted_bytes", "Bytes moved in these turns", [](values c) { return c.scheduling.bytes; }},
    counter{"granted_descriptors", "Descriptors served in these turns",
            [](values c) { return c.scheduling.descriptors; }},
    counter{"engine_ns", "Time that engines worked for it", [](values c) { return c.scheduling.engine_ns; }},
    counter{"queue_waits", "Times that a VI found no operation queue free",
            [](values c) { return c.scheduling.queue_waits; }},
    counter{"wait_ns", "Time from ready to a turn, summed over turns", [](values c) { return c.scheduling.wait_ns; }},
    counter{"waits_over_1us", "Turns that came more than 1 us after ready",
            [](values c) { return c.scheduling.long_waits[0]; }},
    counter{"waits_over_10us", "Turns that came more than 10 us after ready",
            [](values c) { return c.scheduling.long_waits[1]; }},
    counter{"waits_over_100us", "Turns that came more than 100 us after ready",
            [](values c) { return c.scheduling.long_waits[2]; }},
    counter{"waits_over_1ms", "Turns that came more than 1 ms after ready",
            [](values c) { return c.scheduling.long_waits[3]; }},
    counter{"capped_ns", "Time that its cap held it back", [](values c) { return c.scheduling.capped_ns; }},
    counter{"rx_charged_bytes", "Bytes charged to it as the receiver",
            [](values c) { return c.scheduling.received_charge; }},
};

}  // namespace

std::span<const counter> counters() { return all_counters; }

}  // namespace vinic::vinicd
