// SPDX-License-Identifier: Apache-2.0
//
// cost.cc -- one process, two VIs connected with each other, one kind of operation N times.
//
//     bench_cost OPERATION N
//
// Made to be run by bench/cost under valgrind with two values of N, which counts the loop alone (cost.hpp).  What the
// first rounds of a loop find is the same for both, so the difference is that of the later ones: everything before the
// loop does the same work whatever N is.
//
// Most loops are of direct placement.  The library's over the isolated one have a vinicd of their own, which has done
// its part before and is stopped while they run; those of its engine are in cost_lease.cc.
#include "bench/cost.hpp"

#include <signal.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include "bench/server.hpp"
#include "cli/bench_directory.hpp"
#include "cli/bench_failure.hpp"
#include "vinic/vinic.hpp"

namespace vinic::cli::bench {

[[gnu::noinline]] void vinic_cost_counted(const std::function<void()>& loop) {
    loop();
    asm volatile("" ::: "memory");  // no jump: valgrind has to see that this function calls and returns
}

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t piece_bytes = 4096;

constexpr std::uint64_t span_bytes = 16ULL << 30;  // valgrind has less than the usual 64 GiB of addresses

/// Both ends of a connection, and memory.
struct loopback {
    nic device;
    vinic::domain domain;
    buffer memory;
    region registered;
    completion_queue send_cq, receive_cq, other_cq;
    virtual_interface near, far;

    explicit loopback(const std::string& address, const open_options& options = {})
        : device(take(nic::open(address, options))),
          domain(take(device.create_domain())),
          memory(take(device.allocate(4 * piece_bytes))),
          registered(take(domain.register_memory(memory.bytes(), access::all))),
          send_cq(take(device.create_completion_queue())),
          receive_cq(take(device.create_completion_queue())),
          other_cq(take(device.create_completion_queue())),
          near(make_vi(send_cq, other_cq)),
          far(make_vi(other_cq, receive_cq)) {
        take(near.connect_peer("cost-near", "cost-far", 10s));
        take(far.connect_peer("cost-far", "cost-near", 10s));
        (void)take(near.connect_peer_wait());
        (void)take(far.connect_peer_wait());
    }
    virtual_interface make_vi(completion_queue& send, completion_queue& receive) {
        vi_attributes attributes;
        attributes.send_cq = &send;
        attributes.receive_cq = &receive;
        attributes.send_depth = depth;
        attributes.receive_depth = depth;
        return take(domain.create_vi(attributes));
    }
    [[nodiscard]] segment from(std::uint32_t bytes) const { return {registered, 0, bytes}; }
    [[nodiscard]] segment into(std::uint32_t bytes) const { return {registered, piece_bytes, bytes}; }
    [[nodiscard]] remote_address remote() const { return registered.remote(2 * piece_bytes); }

    void post_receives(std::uint32_t count) {
        for (std::uint32_t i = 0; i < count; ++i) {
            expect_ok("posting a receive", far.post_receive(into(piece_bytes), i));
        }
    }
    void send(std::uint32_t bytes, send_flag flags) {
        expect_ok("posting a send", near.post_send(from(bytes), 7, flags));
    }
    static void take_one(completion_queue& queue) {
        std::array<completion, 1> done;
        if (queue.poll(done) != 1) {
            throw failure("a completion that must be there is not");
        }
        expect_success(done[0]);
    }
};

constexpr send_flag quiet = send_flag::unsignalled;
constexpr send_flag quiet_inlined = send_flag::unsignalled | send_flag::inlined;

// -- loops: each does `count` operations --------------------------------------------------------

void poll_empty(loopback& on, std::uint32_t count) {
    std::array<completion, 16> done;
    for (std::uint32_t i = 0; i < count; ++i) {
        if (on.receive_cq.poll(done) != 0) {
            throw failure("an empty queue gave a completion");
        }
    }
}
void post_receive(loopback& on, std::uint32_t count) { on.post_receives(count); }
void post_receive_16(loopback& on, std::uint32_t count) {
    std::array<segment, 16> segments;
    std::array<receive_request, 16> list;
    for (std::size_t i = 0; i < list.size(); ++i) {
        segments[i] = on.into(piece_bytes);
        list[i] = {.segments = {&segments[i], 1}, .cookie = i};
    }
    for (std::uint32_t i = 0; i < count; i += 16) {
        expect_ok("posting receives", on.far.post_receives(list).code);
    }
}
template <std::uint32_t Bytes, send_flag Flags>
void post_send(loopback& on, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        on.send(Bytes, Flags);
    }
}
template <std::size_t Batch>
void poll_receive(loopback& on, std::uint32_t count) {
    std::array<completion, Batch> done;
    for (std::uint32_t i = 0; i < count;) {
        const std::size_t taken = on.receive_cq.poll(done);
        if (taken == 0) {
            throw failure("a message that must be there is not");
        }
        i += static_cast<std::uint32_t>(taken);
    }
}
template <std::uint32_t Bytes, send_flag Flags>
void message(loopback& on, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        expect_ok("posting a receive", on.far.post_receive(on.into(piece_bytes), i));
        // Every 64th is signalled, as a careful program does, and its completion polled.
        const bool signalled = !has(Flags, send_flag::unsignalled) || i % 64 == 63;
        on.send(Bytes, signalled && has(Flags, send_flag::inlined) ? send_flag::inlined
                       : signalled                                 ? send_flag::none
                                                                   : Flags);
        loopback::take_one(on.receive_cq);
        if (signalled) {
            loopback::take_one(on.send_cq);
        }
    }
}
template <send_flag Flags>
void post_write(loopback& on, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        expect_ok("posting a write", on.near.post_write(on.from(8), on.remote(), 7, Flags));
    }
}
void write_signalled(loopback& on, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        expect_ok("posting a write", on.near.post_write(on.from(8), on.remote(), 7, send_flag::inlined));
        loopback::take_one(on.send_cq);
    }
}
void read_signalled(loopback& on, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        expect_ok("posting a read", on.near.post_read(on.into(8), on.remote(), 7));
        loopback::take_one(on.send_cq);
    }
}
void fetch_add_signalled(loopback& on, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        expect_ok("posting a fetch-add", on.near.post_fetch_add(on.into(8), on.remote(), 1, 7));
        loopback::take_one(on.send_cq);
    }
}
void compare_swap_signalled(loopback& on, std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
        expect_ok("posting a compare-swap", on.near.post_compare_swap(on.into(8), on.remote(), i, i + 1, 7));
        loopback::take_one(on.send_cq);
    }
}

// -- which loops there are ----------------------------------------------------------------------

enum class placement : std::uint8_t { direct, isolated };

struct loop {
    std::string_view name;
    void (*body)(loopback&, std::uint32_t);
    std::uint32_t receives_ahead = 0;  ///< posted before the loop
    std::uint32_t sends_ahead = 0;     ///< of 8 bytes, sent before the loop
    placement where = placement::direct;
};

constexpr loop loops[] = {
    {"poll_empty", poll_empty},
    {"post_receive", post_receive},
    {"post_receive_batch_16", post_receive_16},
    {"post_send_8_inlined", post_send<8, quiet_inlined>, messages_max},
    {"post_send_8", post_send<8, quiet>, messages_max},
    {"post_send_4096", post_send<4096, quiet>, messages_max},
    {"poll_receive", poll_receive<1>, messages_max, messages_max},
    {"poll_receive_batch_16", poll_receive<16>, messages_max, messages_max},
    {"message_8", message<8, quiet_inlined>},
    {"message_8_signalled", message<8, send_flag::inlined>},
    {"message_4096", message<4096, quiet>},
    {"post_write_8_inlined", post_write<quiet_inlined>},
    {"post_write_8", post_write<quiet>},
    {"write_8_completed", write_signalled},
    {"read_8_completed", read_signalled},
    {"fetch_add_completed", fetch_add_signalled},
    {"compare_swap_completed", compare_swap_signalled},
    {"post_isolated_8", post_send<8, quiet>, 0, 0, placement::isolated},
    {"poll_isolated_8", poll_receive<1>, messages_max, messages_max, placement::isolated},
};

void post_ahead(const loop& chosen, loopback& on) {
    std::memset(on.memory.bytes().data(), 0, on.memory.size());
    on.post_receives(chosen.receives_ahead);
    for (std::uint32_t i = 0; i < chosen.sends_ahead; ++i) {
        on.send(8, quiet_inlined);
    }
}

void run_direct(const loop& chosen, std::uint32_t count) {
    const private_directory place;
    loopback on("shm:cost", {.directory = place.path(), .span_bytes = span_bytes});
    post_ahead(chosen, on);
    vinic_cost_counted([&] { chosen.body(on, count); });
}

/// Stops a process, every thread of it.
class standstill {
public:
    explicit standstill(pid_t process) : process_(process) {
        siginfo_t how{};
        if (::kill(process_, SIGSTOP) != 0 || ::waitid(P_PID, static_cast<id_t>(process_), &how, WSTOPPED) != 0 ||
            how.si_code != CLD_STOPPED) {
            throw failure("vinicd cannot be stopped");
        }
    }
    standstill(const standstill&) = delete;
    standstill& operator=(const standstill&) = delete;
    ~standstill() { ::kill(process_, SIGCONT); }

private:
    pid_t process_;
};

void run_isolated(const loop& chosen, std::uint32_t count) {
    const vinic::bench::server device({});
    loopback on(device.device());
    post_ahead(chosen, on);
    if (chosen.sends_ahead != 0) {
        // The last one, so that all are done; nobody receives it, it only writes.
        expect_ok("posting a write", on.near.post_write(on.from(8), on.remote(), 7));
        std::array<completion, 1> done;
        if (take(on.send_cq.wait(done, 10s)) != 1) {
            throw failure("vinicd does not execute what was posted");
        }
        expect_success(done[0]);
    }
    std::this_thread::sleep_for(100ms);  // until its engine sleeps: the first one that rings finds that each time
    const standstill stopped(device.pid());
    vinic_cost_counted([&] { chosen.body(on, count); });
}

void run_loop(std::string_view name, std::uint32_t count) {
    if (const auto* each = std::ranges::find(lease_loops, name, &lease_loop::name); each != std::end(lease_loops)) {
        run_lease_loop(*each, count);
    } else if (const auto* other = std::ranges::find(loops, name, &loop::name); other == std::end(loops)) {
        throw failure("there is no such operation; --list tells which there are");
    } else {
        other->where == placement::direct ? run_direct(*other, count) : run_isolated(*other, count);
    }
}

}  // namespace
}  // namespace vinic::cli::bench

int main(int count, char** words) {
    using namespace vinic::cli::bench;
    if (count == 2 && std::string_view(words[1]) == "--list") {
        for (const loop& each : loops) {
            std::printf("%s\n", std::string(each.name).c_str());
        }
        for (const lease_loop& each : lease_loops) {
            std::printf("%s\n", std::string(each.name).c_str());
        }
        return 0;
    }
    const unsigned long wanted = count == 3 ? std::strtoul(words[2], nullptr, 10) : 0;
    if (wanted == 0 || wanted > messages_max || wanted % 64 != 0) {
        std::fprintf(stderr, "usage: %s --list | OPERATION N   (N: a multiple of 64, at most %u)\n", words[0],
                     messages_max);
        return 2;
    }
    try {
        run_loop(words[1], static_cast<std::uint32_t>(wanted));
    } catch (const std::exception& why) {
        std::fprintf(stderr, "%s %s: %s\n", words[0], words[1], why.what());
        return 1;
    }
    return 0;
}
