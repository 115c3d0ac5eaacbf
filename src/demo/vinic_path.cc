// SPDX-License-Identifier: Apache-2.0
//
// vinic_path.cc -- see vinic_path.h.
#include "vinic_path.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "failure.h"

namespace demo {

namespace {

// What the receiver tells the sender when it accepts.
struct placement {
    vinic::remote_address file;
    vinic::remote_address scratch;
};

constexpr std::uint64_t piece_bytes_max = 1u << 30;  // a longer file takes several RDMA writes
constexpr std::uint32_t small_bytes = 8;
constexpr std::size_t signal_interval = 32;  // every 32nd small send reports that it is done

}  // namespace

device::device(const std::string& address, const std::string& directory, std::uint64_t file_bytes)
    : file_bytes_(file_bytes),
      nic_(must(vinic::nic::open(address, {.directory = directory, .group = {}}))),
      domain_(must(nic_.create_domain())),
      file_buffer_(must(nic_.allocate(file_bytes))),
      scratch_buffer_(must(nic_.allocate(scratch_bytes))),
      file_region_(must(
          domain_.register_memory(file_buffer_.bytes(), vinic::access::local_write | vinic::access::remote_write))),
      scratch_region_(must(domain_.register_memory(scratch_buffer_.bytes(), vinic::access::all))) {}

vinic_path::vinic_path(device& device, waiting how)
    : device_(device),
      how_(how),
      send_cq_(must(device.nic().create_completion_queue())),
      receive_cq_(must(device.nic().create_completion_queue(
          {.spin_max = how == waiting::polling ? std::chrono::microseconds(20) : std::chrono::microseconds(0)}))) {
    vi_ = must(device.domain().create_vi({.send_cq = &send_cq_, .receive_cq = &receive_cq_}));
}

void vinic_path::accept(vinic::listener& listener) {
    const placement here{device_.file_region().remote(), device_.scratch_region().remote()};
    auto request = must(listener.wait(meeting_patience));
    must(request.accept(vi_, std::as_bytes(std::span(&here, 1))));
}

void vinic_path::connect(const std::string& name) {
    const auto peer = must(vi_.connect(vinic::address(name), meeting_patience));
    placement there{};
    if (peer.private_data.size() != sizeof there) {
        throw failure("the receiver did not say where its buffers are");
    }
    std::memcpy(&there, peer.private_data.data(), sizeof there);
    remote_file_ = there.file;
    remote_scratch_ = there.scratch;
}

vinic::completion vinic_path::next(vinic::completion_queue& queue) {
    std::array<vinic::completion, 1> done;
    std::size_t count = 0;
    if (how_ == waiting::sleeping) {
        count = must(queue.wait(done, patience));
    } else {
        // Looks at the clock only now and then, so that nothing but the queue is touched while it is full.
        constexpr unsigned looks_per_clock = 1u << 14;
        const auto deadline = clock::now() + patience;
        for (unsigned look = 0; (count = queue.poll(done)) == 0; ++look) {
            if (look % looks_per_clock == looks_per_clock - 1 && clock::now() > deadline) {
                break;
            }
        }
    }
    if (count == 0) {
        throw failure("no completion came in " + std::to_string(patience.count()) + " s");
    }
    if (done[0].status != vinic::status::success) {
        throw failure(std::string(vinic::name(done[0].opcode)) + " ended with " + vinic::name(done[0].status));
    }
    return done[0];
}

void vinic_path::expect_file() { must(vi_.post_receive(receive_slot(0), 0), "cannot post a receive"); }

void vinic_path::receive_file() {
    const auto done = next_received();
    if (done.opcode != vinic::opcode::receive_write || !done.has_immediate) {
        throw failure("a receive completed that the file transfer did not cause");
    }
}

void vinic_path::send_file() {
    const std::uint64_t size = device_.file().size();
    bytes_by_engine_ = 0;
    for (std::uint64_t at = 0; at < size;) {
        const std::uint64_t bytes = std::min(piece_bytes_max, size - at);
        const bool last = at + bytes == size;
        const vinic::segment piece(device_.file_region(), at, static_cast<std::uint32_t>(bytes));
        must(vi_.post_write(piece, remote_file_ + at, at, last ? vinic::send_flag::immediate : vinic::send_flag::none,
                            1),
             "cannot post an RDMA write");
        bytes_by_engine_ += next_sent().length;
        at += bytes;
    }
}

void vinic_path::send_small(std::size_t turn) {
    const bool signalled = turn % signal_interval == signal_interval - 1;
    vinic::segment payload = send_slot(0);
    payload.length = small_bytes;
    must(
        vi_.post_send(payload, turn,
                      vinic::send_flag::inlined | (signalled ? vinic::send_flag::none : vinic::send_flag::unsignalled)),
        "cannot post a send");
    if (signalled) {
        (void)next_sent();
    }
}

void vinic_path::take_small(std::size_t turn) {
    const auto done = next_received();
    if (done.length != small_bytes || done.cookie != turn % 2) {
        throw failure("a small message came changed or out of order");
    }
}

// Posts the receive for message `turn` of `count`.  Two slots take turns: the next message always has its
// receive posted, and a used slot is posted anew while the answer is on its way.
void vinic_path::post_small(std::size_t turn, std::size_t count) {
    if (turn < count) {
        must(vi_.post_receive(receive_slot(turn % 2), turn % 2), "cannot post a receive");
    }
}

std::vector<std::chrono::nanoseconds> vinic_path::ping(std::size_t count) {
    std::vector<std::chrono::nanoseconds> round_trips(count);
    post_small(0, count);
    auto before = clock::now();
    for (std::size_t turn = 0; turn < count; ++turn) {
        send_small(turn);
        post_small(turn + 1, count);
        take_small(turn);
        const auto after = clock::now();
        round_trips[turn] = after - before;
        before = after;
    }
    return round_trips;
}

void vinic_path::echo(std::size_t count) {
    post_small(0, count);
    post_small(1, count);
    for (std::size_t turn = 0; turn < count; ++turn) {
        take_small(turn);
        send_small(turn);
        post_small(turn + 2, count);
    }
}

}  // namespace demo
