// SPDX-License-Identifier: Apache-2.0
//
// datagram.cc -- messages without a connection: many sensors, one collector.
//
//     datagram collector 2      answers two readings, then ends
//     datagram sensor 21.5      sends a reading, prints the answer (start two of them)
//
// Datagrams are unreliable: one that finds no posted receive is dropped and counted.  So the sensor
// asks again until it is answered.
#include <string>

#include "example.hpp"

using namespace std::chrono_literals;

constexpr std::uint32_t text_max = 64;
constexpr std::uint32_t slots = 16;

namespace {

struct endpoint {
    vinic::nic nic = must(vinic::nic::open(device("shm:datagram")));
    vinic::domain domain = must(nic.create_domain());
    vinic::buffer buffer = must(nic.allocate(slots * text_max));
    vinic::region region = must(domain.register_memory(buffer.bytes(), vinic::access::local_write));
    vinic::completion_queue send_cq = must(nic.create_completion_queue());
    vinic::completion_queue receive_cq = must(nic.create_completion_queue());
    vinic::virtual_interface vi = must(domain.create_vi({.reliability = vinic::reliability::unreliable,
                                                         .service = vinic::service::datagram,
                                                         .send_cq = &send_cq,
                                                         .receive_cq = &receive_cq}));
    void post_receive(std::uint64_t slot) { must(vi.post_receive({region, slot * text_max, text_max}, slot)); }
    std::string text(const vinic::completion& c) {
        return {reinterpret_cast<const char*>(buffer.data() + c.cookie * text_max), c.length};
    }
    void send(vinic::datagram_address to, const std::string& text) {
        const vinic::segment payload[] = {{text.data(), static_cast<std::uint32_t>(text.size()), 0}};
        must(vi.send_to(to, payload, 0, vinic::send_flag::inlined));
        next(send_cq);
    }
};

void collect(const std::string& readings) {
    endpoint here;
    for (std::uint32_t slot = 0; slot < slots; ++slot) {
        here.post_receive(slot);
    }
    must(here.vi.bind("collector"));
    say_listening();
    for (int i = 0; i < std::stoi(readings); ++i) {
        const auto got = next(here.receive_cq);
        std::printf("reading %s\n", here.text(got).c_str());
        here.send(got.source, "thanks for " + here.text(got));
        here.post_receive(got.cookie);
    }
}

void measure(const std::string& reading) {
    endpoint here;
    here.post_receive(0);
    const auto collector = must(here.nic.resolve("collector"));
    vinic::completion answer[1];
    for (int tries = 0; tries < 5; ++tries) {
        here.send(collector, reading.substr(0, 40));
        if (must(here.receive_cq.wait(answer, 2s)) == 1) {
            std::printf("%s\n", here.text(answer[0]).c_str());
            return;
        }
    }
    fail("the collector does not answer");
}

}  // namespace

int main(int argc, char** argv) {
    return run(argc, argv, {{"collector", "READINGS", collect}, {"sensor", "READING", measure}});
}
