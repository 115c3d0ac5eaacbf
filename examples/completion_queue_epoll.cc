// SPDX-License-Identifier: Apache-2.0
//
// completion_queue_epoll.cc -- a server that sleeps in epoll: one completion queue for all its clients.
//
//     completion_queue_epoll server 2     serves two clients, then ends
//     completion_queue_epoll client       sends three lines (start two of them)
#include <sys/epoll.h>

#include <string>

#include "example.hpp"

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t line_max = 64;
constexpr std::uint32_t lines_per_client = 3;

void serve(const std::string& argument) {
    const auto clients = static_cast<std::uint32_t>(std::stoul(argument));
    auto nic = must(vinic::nic::open(device("shm:epoll")));
    auto domain = must(nic.create_domain());
    auto buffer = must(nic.allocate(clients * lines_per_client * line_max));
    auto region = must(domain.register_memory(buffer.bytes(), vinic::access::local_write));
    auto cq = must(nic.create_completion_queue());
    auto listener = must(nic.listen("lines"));
    say_listening();
    std::vector<vinic::virtual_interface> vis;
    for (std::uint32_t i = 0; i < clients; ++i) {
        auto& vi = vis.emplace_back(must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq, .context = i})));
        auto request = must(listener.wait(30s));
        must(request.accept(vi));
        for (std::uint32_t n = i * lines_per_client; n < (i + 1) * lines_per_client; ++n) {
            must(vi.post_receive({region, n * line_max, line_max}, n));
        }
    }

    const int waiter = epoll_create1(EPOLL_CLOEXEC);  // a real server has its sockets and timers in here too
    epoll_event wanted{.events = EPOLLIN, .data = {}};
    epoll_ctl(waiter, EPOLL_CTL_ADD, must(cq.fd()), &wanted);
    for (std::uint32_t left = clients * lines_per_client; left > 0;) {
        vinic::completion done[16];
        const std::size_t count = cq.poll(done);
        for (const auto& c : std::span(done, count)) {
            const auto* text = reinterpret_cast<const char*>(buffer.data() + c.cookie * line_max);
            if (c.status == vinic::status::success) {
                std::printf("client %d: %.*s\n", static_cast<int>(c.vi_context), static_cast<int>(c.length), text);
            }
            --left;  // a client that died flushes its receives: they end too, with another status
        }
        if (count == 0 && must(cq.arm())) {  // nothing is left and the next one will wake us: sleep
            epoll_wait(waiter, &wanted, 1, -1);
        }
    }
}

void be_client(const std::string&) {
    auto nic = must(vinic::nic::open(device("shm:epoll")));
    auto domain = must(nic.create_domain());
    auto cq = must(nic.create_completion_queue());
    auto vi = must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq}));
    must(vi.connect("lines", 5s));
    for (std::uint32_t i = 0; i < lines_per_client; ++i) {
        // Inline: copied when posted, so it needs no registered memory.
        const std::string line = "line " + std::to_string(i + 1);
        must(vi.post_send({line.data(), static_cast<std::uint32_t>(line.size()), 0}, i, vinic::send_flag::inlined));
        next(cq);
    }
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, {{"server", "CLIENTS", serve}, {"client", "", be_client}}); }
