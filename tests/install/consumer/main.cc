// SPDX-License-Identifier: Apache-2.0
//
// main.cc -- two virtual interfaces of one process, peer to peer, and one message between them.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <vinic/vinic.hpp>

using namespace std::chrono_literals;

int main() try {
    auto nic = vinic::nic::open("shm:consumer").value();
    auto domain = nic.create_domain().value();
    auto buffer = nic.allocate(4096).value();
    auto region = domain.register_memory(buffer.bytes(), vinic::access::local_write).value();
    auto cq = nic.create_completion_queue().value();
    auto left = domain.create_vi({.send_cq = &cq, .receive_cq = &cq}).value();
    auto right = domain.create_vi({.send_cq = &cq, .receive_cq = &cq}).value();
    left.connect_peer("left", "right", 10s).value();
    right.connect_peer("right", "left", 10s).value();
    (void)left.connect_peer_wait().value();
    (void)right.connect_peer_wait().value();

    std::memcpy(buffer.data(), "installed", 10);
    if (right.post_receive({region, 1024, 64}, 1) != vinic::errc::ok ||
        left.post_send({region, 0, 10}, 2) != vinic::errc::ok) {
        return 1;
    }
    vinic::completion done[2];
    for (std::size_t count = 0; count < 2;) {
        const auto more = cq.wait(done, 10s).value();
        if (more == 0) {
            return 1;
        }
        count += more;
    }
    const auto* text = reinterpret_cast<const char*>(buffer.data() + 1024);
    std::printf("vinic %s, %s\n", vinic::version(), text);
    return std::strcmp(text, "installed") == 0 ? 0 : 1;
} catch (const std::bad_expected_access<vinic::error>& problem) {
    std::fprintf(stderr, "%s\n", problem.error().message().c_str());
    return 1;
}
