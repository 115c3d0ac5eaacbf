// SPDX-License-Identifier: Apache-2.0
//
// rdma_write.cc -- one side writes straight into the other's memory, which only looks on.
//
//     rdma_write target     shows its memory, then watches it without any call
//     rdma_write writer     fills it
#include <atomic>
#include <cstring>
#include <string>

#include "example.hpp"

using namespace std::chrono_literals;

namespace {

constexpr std::size_t text_bytes = 1u << 20;

// What the target shows.  RDMA writes become visible in ascending address order, the last word last:
// so whoever sees `ready` set sees all of the text too.
struct board {
    char text[text_bytes];
    std::uint64_t ready;
};

void be_target(const std::string&) {
    auto nic = must(vinic::nic::open(device("shm:rdma_write")));
    auto domain = must(nic.create_domain());
    auto buffer = must(nic.allocate(sizeof(board)));
    auto region = must(domain.register_memory(buffer.bytes(), vinic::access::remote_write));
    auto cq = must(nic.create_completion_queue());
    auto vi = must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq}));
    auto listener = must(nic.listen("board"));
    say_listening();
    auto request = must(listener.wait(30s));
    const vinic::remote_address here = region.remote();  // where to write, told as private data
    must(request.accept(vi, std::as_bytes(std::span(&here, 1))));

    auto* shown = reinterpret_cast<board*>(buffer.data());
    while (std::atomic_ref(shown->ready).load(std::memory_order_acquire) == 0) {
        if (vi.state() != vinic::vi_state::connected && shown->ready == 0) {
            fail("the writer left without writing");
        }
    }
    std::printf("%zu times %c\n", std::strlen(shown->text), shown->text[text_bytes / 2]);
}

void be_writer(const std::string&) {
    auto nic = must(vinic::nic::open(device("shm:rdma_write")));
    auto domain = must(nic.create_domain());
    auto buffer = must(nic.allocate(sizeof(board)));
    auto region = must(domain.register_memory(buffer.bytes(), vinic::access::none));
    auto cq = must(nic.create_completion_queue());
    auto vi = must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq}));
    const auto peer = must(vi.connect("board", 5s));
    vinic::remote_address there;
    std::memcpy(&there, peer.private_data.data(), sizeof there);

    auto* mine = reinterpret_cast<board*>(buffer.data());
    std::memset(mine->text, 'v', text_bytes - 1);
    mine->ready = 1;
    must(vi.post_write({region, 0, sizeof(board)}, there, 0));
    std::printf("wrote %u bytes\n", next(cq).length);
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, {{"target", "", be_target}, {"writer", "", be_writer}}); }
