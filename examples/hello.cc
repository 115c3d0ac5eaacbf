// SPDX-License-Identifier: Apache-2.0
//
// hello.cc -- send and receive between two processes.
//
//     hello server        in one terminal
//     hello client Ada    in another: prints "hello, Ada"
#include <cstring>
#include <string>

#include "example.hpp"

using namespace std::chrono_literals;

namespace {

constexpr std::uint32_t message_max = 256;

// A device, memory of it that the NIC may touch, and one virtual interface with its completion queue.
// The first half of the memory is for receives, the second for sends.
struct endpoint {
    vinic::nic nic = must(vinic::nic::open("shm:hello"));
    vinic::domain domain = must(nic.create_domain());
    vinic::buffer buffer = must(nic.allocate(2 * message_max));
    vinic::region region = must(domain.register_memory(buffer.bytes(), vinic::access::local_write));
    vinic::completion_queue cq = must(nic.create_completion_queue());
    vinic::virtual_interface vi = must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq}));

    char* received() { return reinterpret_cast<char*>(buffer.data()); }
    char* to_send() { return received() + message_max; }
    void post_receive() { must(vi.post_receive({region, 0, message_max}, 0)); }
    void send(std::uint32_t length) {
        must(vi.post_send({region, message_max, length}, 0));
        next(cq);
    }
};

void serve(const std::string&) {
    endpoint here;
    auto listener = must(here.nic.listen("hello"));
    say_listening();
    auto request = must(listener.wait(30s));
    must(request.accept(here.vi));
    here.post_receive();
    const auto question = next(here.cq);
    const int length =
        std::snprintf(here.to_send(), message_max, "hello, %.*s", static_cast<int>(question.length), here.received());
    here.send(static_cast<std::uint32_t>(length));
}

void ask(const std::string& name) {
    endpoint here;
    must(here.vi.connect("hello", 5s));
    here.post_receive();  // posted before the question goes out, so the answer finds it
    const auto length = std::min<std::size_t>(name.size(), 200);
    std::memcpy(here.to_send(), name.data(), length);
    here.send(static_cast<std::uint32_t>(length));
    const auto answer = next(here.cq);
    std::printf("%.*s\n", static_cast<int>(answer.length), here.received());
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, {{"server", "", serve}, {"client", "NAME", ask}}); }
