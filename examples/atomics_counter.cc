// SPDX-License-Identifier: Apache-2.0
//
// atomics_counter.cc -- several processes count in one word; no step is lost.
//
//     atomics_counter owner 2     owns the word, counts in it with its CPU, waits for two workers
//     atomics_counter worker      counts in it through the NIC (start two of them)
#include <atomic>
#include <cstring>
#include <string>
#include <thread>

#include "example.hpp"

using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t steps = 10'000;  // of each process

void be_owner(const std::string& argument) {
    const std::uint64_t workers = std::stoul(argument);
    auto nic = must(vinic::nic::open(device("shm:counter")));
    auto domain = must(nic.create_domain());
    auto buffer = must(nic.allocate(sizeof(std::uint64_t)));
    auto region = must(domain.register_memory(buffer.bytes(), vinic::access::remote_atomic));
    auto cq = must(nic.create_completion_queue());
    auto listener = must(nic.listen("counter"));
    say_listening();
    const vinic::remote_address where = region.remote();
    std::vector<vinic::virtual_interface> vis;
    for (std::uint64_t i = 0; i < workers; ++i) {
        auto& vi = vis.emplace_back(must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq})));
        auto request = must(listener.wait(30s));
        must(request.accept(vi, std::as_bytes(std::span(&where, 1))));
    }
    // The NIC's atomics and the CPU's are the same kind: both may work on the word at once.
    std::atomic_ref word(*reinterpret_cast<std::uint64_t*>(buffer.data()));
    for (std::uint64_t i = 0; i < steps; ++i) {
        word.fetch_add(1);
    }
    const std::uint64_t expected = steps * (workers + 1);
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (word.load() != expected && std::chrono::steady_clock::now() < deadline) {
        std::this_thread::sleep_for(1ms);
    }
    std::printf("counted %lu of %lu\n", word.load(), expected);
    if (word.load() != expected) {
        fail("steps were lost");
    }
}

void be_worker(const std::string&) {
    auto nic = must(vinic::nic::open(device("shm:counter")));
    auto domain = must(nic.create_domain());
    auto buffer = must(nic.allocate(sizeof(std::uint64_t)));
    auto region = must(domain.register_memory(buffer.bytes(), vinic::access::local_write));
    auto cq = must(nic.create_completion_queue());
    auto vi = must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq}));
    const auto owner = must(vi.connect("counter", 5s));
    vinic::remote_address counter;
    std::memcpy(&counter, owner.private_data.data(), sizeof counter);
    for (std::uint64_t i = 0; i < steps; ++i) {
        must(vi.post_fetch_add({region, 0, sizeof(std::uint64_t)}, counter, 1, i));
        next(cq);
    }
    std::printf("the counter was at %lu before this worker's last step\n",
                *reinterpret_cast<std::uint64_t*>(buffer.data()));
}

}  // namespace

int main(int argc, char** argv) { return run(argc, argv, {{"owner", "WORKERS", be_owner}, {"worker", "", be_worker}}); }
