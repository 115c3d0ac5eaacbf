// SPDX-License-Identifier: Apache-2.0
//
// object_test.cc -- opening a device and making its objects, while system calls fail.
#include <algorithm>
#include <array>
#include <cstdlib>

#include "faults/scene.hpp"

namespace faults {
namespace {

TEST(every_fault, of_opening_a_device_that_others_use_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) {
        const auto nic = s.open();
        s.demand(static_cast<bool>(nic), "it is open");
    });
}

TEST(every_fault, of_making_a_device_and_removing_it_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) { const auto nic = s.open(); }, {.alone = true});
}

TEST(every_fault, of_taking_over_what_a_killed_process_has_left_is_told_and_leaves_nothing) {
    if (std::getenv("VINIC_MULTI_VINICD") != nullptr) {
        GTEST_SKIP() << "a vinicd clears away what is left, and nobody takes it over";
    }
    constexpr std::size_t bytes = 64 << 10;
    with_every_fault(
        [](scene& s) {
            auto nic = s.open();
            const auto names = s.attempt("listing names", [&] { return nic.names(); });
            s.demand(names.empty(), "nothing is left of the dead one's");
            auto buffer = s.attempt("allocating", [&] { return nic.allocate(bytes); });
            s.demand(std::ranges::all_of(buffer.bytes(), [](std::byte b) { return b == std::byte{0}; }),
                     "nor of his bytes");
        },
        {.alone = true, .before = [](const multi::directory& where, multi::channel& parent) {
             auto nic = where.open();
             auto buffer = multi::must(nic.allocate(bytes));
             auto listener = multi::must(nic.listen("dead"));
             multi::fill(buffer.bytes(), 5);
             parent.say("killed now");
             (void)parent.hear();
         }});
}

TEST(every_fault, of_device_memory_is_told_and_leaves_nothing) {
    with_every_fault(
        [](scene& s) {
            auto nic = s.open();
            auto domain = s.attempt("making a domain", [&] { return nic.create_domain(); });
            for (const std::size_t bytes : {std::size_t{4096}, std::size_t{1} << 20, std::size_t{65} << 20}) {
                auto buffer = s.attempt("allocating", [&] { return nic.allocate(bytes); });
                auto other = s.attempt("allocating again", [&] { return nic.allocate(bytes); });
                s.demand(std::ranges::all_of(buffer.bytes().first(4096), [](std::byte b) { return b == std::byte{0}; }),
                         "new memory is zero");
                const auto end = [](const vinic::buffer& of) {
                    return of.bytes().last(std::min(of.size(), std::size_t{8192}));
                };
                multi::fill(end(buffer), bytes);
                multi::fill(end(other), bytes + 1);
                auto region = s.attempt("registering it",
                                        [&] { return domain.register_memory(buffer.bytes(), vinic::access::all); });
                s.demand(region.backing() == vinic::backing::native, "it is native");
                s.attempt("deregistering it", [&] { return region.close(); });
                s.demand(multi::first_difference(end(buffer), bytes) == end(buffer).size(), "its bytes are its own");
                other = {};
                s.demand(multi::first_difference(end(buffer), bytes) == end(buffer).size(),
                         "also when another one has gone");
            }
        },
        {.sample = 40});
}

TEST(every_fault, of_completion_queues_and_vis_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) {
        auto nic = s.open();
        auto domain = s.attempt("making a domain", [&] { return nic.create_domain(); });
        auto cq = s.attempt("making a completion queue", [&] { return nic.create_completion_queue(); });
        s.attempt("resizing it", [&] { return cq.resize(300); });
        const vinic::vi_attributes attributes{.send_cq = &cq, .receive_cq = &cq, .segments_max = 8};
        std::vector<vinic::virtual_interface> vis;
        for (int i = 0; i < 3; ++i) {
            vis.push_back(s.attempt("making a VI", [&] { return domain.create_vi(attributes); }));
        }
        s.demand(cq.queues_attached() == 6, "six queues report there");
        auto& vi = vis.front();
        s.attempt("changing it", [&] { return vi.set_attributes(attributes); });
        s.attempt("ending what never was", [&] { return vi.disconnect(); });
        for (auto& each : vis) {
            s.attempt("destroying it", [&] { return each.close(); });
        }
        s.attempt("destroying the queue", [&] { return cq.close(); });
        s.attempt("closing the domain", [&] { return domain.close(); });
    });
}

TEST(every_fault, of_a_descriptor_for_completions_is_told_and_leaves_nothing) {
    with_every_fault(
        [](scene& s) {
            auto nic = s.open();
            auto cq = s.attempt("making a completion queue", [&] { return nic.create_completion_queue(); });
            const int fd = s.attempt("its descriptor", [&] { return cq.fd(); });
            s.demand(fd > 2, "it is one");
            (void)s.attempt("arming it", [&] { return cq.arm(); });
            std::array<vinic::completion, 1> none;
            (void)s.attempt("waiting", [&] { return cq.wait(none, std::chrono::milliseconds(1)); });
        },
        {.makes_threads = true});
}

TEST(every_fault, of_names_is_told_and_leaves_nothing) {
    with_every_fault([](scene& s) {
        auto nic = s.open();
        auto domain = s.attempt("making a domain", [&] { return nic.create_domain(); });
        auto cq = s.attempt("making a completion queue", [&] { return nic.create_completion_queue(); });
        auto vi = s.attempt("making a datagram VI", [&] {
            return domain.create_vi({.reliability = vinic::reliability::unreliable,
                                     .service = vinic::service::datagram,
                                     .send_cq = &cq,
                                     .receive_cq = &cq});
        });
        s.attempt("naming it", [&] { return vi.bind("faulty datagrams"); });
        auto listener = s.attempt("listening", [&] { return nic.listen("faulty listener"); });
        const auto names = s.attempt("listing names", [&] { return nic.names(); });
        const auto there = [&](const vinic::address& name) { return std::ranges::find(names, name) != names.end(); };
        s.demand(there("faulty datagrams") && there("faulty listener"), "both are there");
        const auto found = s.attempt("resolving it", [&] { return nic.resolve("faulty datagrams"); });
        s.demand(found == vi.local_address(), "it is the right one");
        const auto nobody = listener.wait(std::chrono::milliseconds(2));
        // A connection to vinicd that is reset says that it has gone, and with it whoever might come.
        s.demand(!nobody && (nobody.error().code == vinic::errc::timed_out || s.disturbed()), "nobody comes");
    });
}

}  // namespace
}  // namespace faults
