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
    vinic::nic nic = must(vinic::nic::open(device("shm:hello")));
    vinic::domain domain = must(nic.create_domain());
    vinic::buffer buffer = must(nic.allocate(2 * message_max));
    vinic::region region = must(domain.register_memory(buffer.bytes(), vinic::access::local_write));
    vinic::completion_queue cq = must(nic.create_completion_queue());
    vinic::virtual_interface vi = must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq}));

    void post_receive() { must(vi.post_receive({region, 0, message_max}, 0)); }
    std::string receive() {
        const auto done = next(cq);
        return {reinterpret_cast<const char*>(buffer.data()), done.length};
    }
    void send(const std::string& text) {
        const auto length = std::min<std::size_t>(text.size(), message_max);
        std::memcpy(buffer.data() + message_max, text.data(), length);
        must(vi.post_send({region, message_max, static_cast<std::uint32_t>(length)}, 0));
    }
};

void serve(const std::string&) {
    endpoint here;
    auto listener = must(here.nic.listen("hello"));
    say_listening();
    auto request = must(listener.wait(30s));
    must(request.accept(here.vi));
    here.post_receive();
    here.send("hello, " + here.receive());
    next(here.cq);  // the send's completion: until then its memory belongs to the NIC
}

void ask(const std::string& name) {
    endpoint here;
    must(here.vi.connect("hello", 5s));
    here.send(name);
    next(here.cq);
    here.post_receive();
    std::printf("%s\n", here.receive().c_str());
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, {{"server", "", serve}, {"client", "NAME", ask}}); }
