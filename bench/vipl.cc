// SPDX-License-Identifier: Apache-2.0
//
// vipl.cc -- what the VIPL face costs: the same messages through vinic.hpp and through vipl.h, in turn.
//   bench_vipl lat [TURNS [ROUND_TRIPS]]     two processes, one per core: half a round trip (medians), then RDMA writes
//   bench_vipl loop native|vipl COUNT        one process sends COUNT messages to itself: for counting instructions
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vipl.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <vinic/vinic.hpp>

#include "cli/bench_directory.hpp"

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t bytes_max = 64 << 10;
constexpr std::uint32_t ring = 16;
constexpr std::size_t buffers_at = 64 << 10;
constexpr std::size_t landing_at = buffers_at + std::size_t{2} * ring * bytes_max;  ///< where peers write
constexpr std::size_t memory_bytes = landing_at + bytes_max;

/// Where the peer finds our landing place.
struct place {
    std::uint64_t address = 0;
    std::uint32_t key = 0;
};

std::byte* make_memory() {
    auto* memory = static_cast<std::byte*>(std::aligned_alloc(4096, memory_bytes));
    std::memset(memory, 0, memory_bytes);
    return memory;
}

template <class T>
T must(vinic::result<T> r) {
    if (!r) {
        throw std::runtime_error(r.error().message());
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*r);
    }
}
void must(VIP_RETURN r, const char* what) {
    if (r != VIP_SUCCESS) {
        throw std::runtime_error(std::string(what) + ": VIP_RETURN " + std::to_string(r));
    }
}

/// One end of a connection, in either interface.
class end {
public:
    virtual ~end() = default;
    virtual void listen_and_accept() = 0;
    virtual void connect() = 0;
    /// Sends one message and takes its completion.
    virtual void send(std::uint32_t bytes) = 0;
    /// Waits for a message by polling, and posts the next receive.
    virtual void receive() = 0;
    [[nodiscard]] virtual place landing() const = 0;
    /// Writes to the peer's landing place, with `value` in the last word, and takes the completion.
    virtual void write(const place& to, std::uint32_t bytes, std::uint64_t value) = 0;
    /// Waits until the peer has written that value, without a call of the library.
    void await_write(std::uint32_t bytes, std::uint64_t value) const {
        const std::atomic_ref word(*reinterpret_cast<std::uint64_t*>(landing().address + bytes - 8));
        while (word.load(std::memory_order_acquire) != value) {
            __builtin_ia32_pause();
        }
    }
};

class native_end final : public end {
public:
    native_end()
        : nic_(must(vinic::nic::open("shm:bench-vipl"))),
          domain_(must(nic_.create_domain())),
          sends_(must(nic_.create_completion_queue())),
          receives_(must(nic_.create_completion_queue())),
          memory_(make_memory(), &std::free),
          region_(must(domain_.register_memory({memory_.get(), memory_bytes},
                                               vinic::access::local_write | vinic::access::remote_write))),
          vi_(must(domain_.create_vi({.send_cq = &sends_, .receive_cq = &receives_, .receiver_wait = 0ns}))) {
        for (std::uint32_t i = 0; i < ring; ++i) {
            (void)vi_.post_receive({region_, buffers_at + i * bytes_max, bytes_max}, i);
        }
    }
    void listen_and_accept() override {
        auto listener = must(nic_.listen("native"));
        must(must(listener.wait(30s)).accept(vi_));
    }
    void connect() override {
        for (;;) {
            if (auto r = vi_.connect("native", 30s); r) {
                return;
            } else if (r.error().code != vinic::errc::no_listener) {
                throw std::runtime_error(r.error().message());
            }
            std::this_thread::yield();
        }
    }
    void send(std::uint32_t bytes) override {
        vinic::completion done;
        (void)vi_.post_send({region_, buffers_at + (ring + next_++ % ring) * bytes_max, bytes}, 1);
        while (sends_.poll({&done, 1}) == 0) {
        }
    }
    void receive() override {
        vinic::completion done;
        while (receives_.poll({&done, 1}) == 0) {
        }
        (void)vi_.post_receive({region_, buffers_at + done.cookie * bytes_max, bytes_max}, done.cookie);
    }
    [[nodiscard]] place landing() const override { return {region_.address() + landing_at, region_.key()}; }
    void write(const place& to, std::uint32_t bytes, std::uint64_t value) override {
        constexpr std::size_t from = buffers_at + ring * std::size_t{bytes_max};
        vinic::completion done;
        std::memcpy(memory_.get() + from + bytes - 8, &value, 8);
        (void)vi_.post_write({region_, from, bytes}, {to.address, to.key}, 1);
        while (sends_.poll({&done, 1}) == 0) {
        }
    }

private:
    vinic::nic nic_;
    vinic::domain domain_;
    vinic::completion_queue sends_;
    vinic::completion_queue receives_;
    std::unique_ptr<std::byte, decltype(&std::free)> memory_;
    vinic::region region_;
    vinic::virtual_interface vi_;
    std::uint64_t next_ = 0;
};

class vipl_end final : public end {
public:
    vipl_end() : memory_(make_memory(), &std::free) {
        must(VipOpenNic("bench-vipl", &nic_), "VipOpenNic");
        must(VipErrorCallback(nic_, nullptr, [](VIP_PVOID, VIP_ERROR_DESCRIPTOR*) {}), "VipErrorCallback");
        must(VipCreatePtag(nic_, &tag_), "VipCreatePtag");
        VIP_MEM_ATTRIBUTES rights{tag_, VIP_TRUE, VIP_FALSE};
        must(VipRegisterMem(nic_, memory_.get(), memory_bytes, &rights, &handle_), "VipRegisterMem");
        VIP_VI_ATTRIBUTES attributes{VIP_SERVICE_RELIABLE_DELIVERY, bytes_max, nullptr, tag_, VIP_TRUE, VIP_FALSE};
        must(VipCreateVi(nic_, &attributes, nullptr, nullptr, &vi_), "VipCreateVi");
        for (std::uint32_t i = 0; i < ring; ++i) {
            must(VipPostRecv(vi_, prepare(i, bytes_max), handle_), "VipPostRecv");
        }
    }
    ~vipl_end() override { (void)VipCloseNic(nic_); }
    void listen_and_accept() override {
        VIP_VI_ATTRIBUTES attributes{};
        VIP_CONN_HANDLE request = nullptr;
        auto remote = address();
        auto local = address();
        must(VipConnectWait(nic_, as_address(local), 30000, as_address(remote), &attributes, &request), "Wait");
        must(VipConnectAccept(request, vi_), "VipConnectAccept");
    }
    void connect() override {
        VIP_VI_ATTRIBUTES attributes{};
        auto local = address();
        auto remote = address();
        VIP_RETURN r = VIP_NO_MATCH;
        while (r == VIP_NO_MATCH) {
            r = VipConnectRequest(vi_, as_address(local), as_address(remote), 30000, &attributes);
        }
        must(r, "VipConnectRequest");
    }
    void send(std::uint32_t bytes) override {
        VIP_DESCRIPTOR* done = nullptr;
        must(VipPostSend(vi_, prepare(ring + next_++ % ring, bytes), handle_), "VipPostSend");
        while (VipSendDone(vi_, &done) == VIP_NOT_DONE) {
        }
    }
    void receive() override {
        VIP_DESCRIPTOR* done = nullptr;
        while (VipRecvDone(vi_, &done) == VIP_NOT_DONE) {
        }
        must(VipPostRecv(vi_,
                         prepare(static_cast<std::uint32_t>((reinterpret_cast<std::byte*>(done) - memory_.get()) / 64),
                                 bytes_max),
                         handle_),
             "VipPostRecv");
    }
    [[nodiscard]] place landing() const override {
        return {reinterpret_cast<std::uint64_t>(memory_.get()) + landing_at, handle_};
    }
    void write(const place& to, std::uint32_t bytes, std::uint64_t value) override {
        VIP_DESCRIPTOR* d = prepare(ring, bytes);
        std::memcpy(static_cast<char*>(d->DS[0].Local.Data.Address) + bytes - 8, &value, 8);
        d->DS[1].Local = d->DS[0].Local;
        d->DS[0].Remote.Data.AddressBits = to.address;
        d->DS[0].Remote.Handle = to.key;
        d->DS[0].Remote.Reserved = 0;
        d->CS.SegCount = 2;
        d->CS.Control = VIP_CONTROL_OP_RDMAWRITE;
        must(VipPostSend(vi_, d, handle_), "VipPostSend");
        while (VipSendDone(vi_, &d) == VIP_NOT_DONE) {
        }
    }

private:
    using address_bytes = std::array<std::uint64_t, 16>;
    static VIP_NET_ADDRESS* as_address(address_bytes& a) { return reinterpret_cast<VIP_NET_ADDRESS*>(a.data()); }
    address_bytes address() const {
        VIP_NIC_ATTRIBUTES about;
        must(VipQueryNic(nic_, &about), "VipQueryNic");
        address_bytes a{};
        as_address(a)->HostAddressLen = about.NicAddressLen;
        std::memcpy(reinterpret_cast<char*>(a.data()) + 4, about.LocalNicAddress, about.NicAddressLen);
        return a;
    }
    /// What a program does before each post: it clears the status; the rest has not changed.
    VIP_DESCRIPTOR* prepare(std::uint32_t i, std::uint32_t bytes) {
        auto* d = reinterpret_cast<VIP_DESCRIPTOR*>(memory_.get() + i * 64);
        d->CS.SegCount = 1;
        d->CS.Control = 0;
        d->CS.Length = bytes;
        d->CS.Status = 0;
        d->DS[0].Local.Data.Address = memory_.get() + buffers_at + std::size_t{i} * bytes_max;
        d->DS[0].Local.Handle = handle_;
        d->DS[0].Local.Length = bytes;
        return d;
    }

    std::unique_ptr<std::byte, decltype(&std::free)> memory_;
    VIP_NIC_HANDLE nic_ = nullptr;
    VIP_PROTECTION_HANDLE tag_ = nullptr;
    VIP_MEM_HANDLE handle_ = 0;
    VIP_VI_HANDLE vi_ = nullptr;
    std::uint32_t next_ = 0;
};

std::unique_ptr<end> make(const std::string& which) {
    return which == "vipl" ? std::unique_ptr<end>(std::make_unique<vipl_end>()) : std::make_unique<native_end>();
}

void pin_to(std::size_t turn) {
    cpu_set_t allowed;
    cpu_set_t chosen;
    CPU_ZERO(&chosen);
    (void)sched_getaffinity(0, sizeof allowed, &allowed);
    for (std::size_t cpu = 0, seen = 0; cpu < CPU_SETSIZE; ++cpu) {
        if (CPU_ISSET(cpu, &allowed) && seen++ == turn) {
            CPU_SET(cpu, &chosen);
            (void)sched_setaffinity(0, sizeof chosen, &chosen);
        }
    }
}

/// One kind of work, as one side does it; both sides run the same number of times.
struct work {
    const char* name;
    std::uint32_t bytes;
    bool writes;
    bool one_way;  ///< nobody answers: a rate, not a latency
};
constexpr auto works = std::to_array<work>({
    {"send, receive", 8, false, false},
    {"send, receive", 4096, false, false},
    {"send, receive", bytes_max, false, false},
    {"RDMA write", 8, true, false},
    {"RDMA write", 4096, true, false},
    {"RDMA writes in a row", 4096, true, true},
    {"RDMA writes in a row", bytes_max, true, true},
});

/// Nanoseconds for one message one way.
double run(end& e, const place& peer, const work& w, std::uint64_t count, bool first) {
    const auto start = std::chrono::steady_clock::now();
    const auto say = [&](std::uint64_t i) { w.writes ? e.write(peer, w.bytes, i) : e.send(w.bytes); };
    const auto hear = [&](std::uint64_t i) { w.writes ? e.await_write(w.bytes, i) : e.receive(); };
    for (std::uint64_t i = 1; i <= count; ++i) {
        if (first) {
            say(i);
        }
        if (w.one_way) {
            continue;
        }
        hear(i);
        if (!first) {
            say(i);
        }
    }
    const double ns = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
    // Both sides meet before the next work: it would begin in memory that this one still writes to.
    first ? e.send(8) : e.receive();
    first ? e.receive() : e.send(8);
    return ns / static_cast<double>(w.one_way ? count : 2 * count);
}

double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}

struct exchange {
    std::atomic<std::uint32_t> told[2];
    place places[2][2];
};

int latency(int turns, std::uint64_t round_trips) {
    auto* shared = static_cast<exchange*>(
        ::mmap(nullptr, sizeof(exchange), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    const pid_t child = shared == MAP_FAILED ? -1 : fork();
    if (child < 0)
        throw std::runtime_error("fork failed");
    const bool first = child != 0;
    const std::size_t me = first ? 0 : 1;
    pin_to(me);
    const std::array<std::string, 2> kinds{"native", "vipl"};
    std::array<std::unique_ptr<end>, 2> ends;
    for (std::size_t k = 0; k < kinds.size(); ++k) {
        ends[k] = make(kinds[k]);
        first ? ends[k]->connect() : ends[k]->listen_and_accept();
        shared->places[me][k] = ends[k]->landing();
    }
    shared->told[me].store(1);
    while (shared->told[1 - me].load() == 0) {
        std::this_thread::yield();
    }
    if (first) {
        std::puts("                                     native        vipl   the face adds");
        std::fflush(stdout);
    }
    for (const work& w : works) {
        std::array<std::vector<double>, 2> took;
        for (int turn = -1; turn < turns; ++turn) {  // the first warms up
            for (std::size_t k = 0; k < kinds.size(); ++k) {
                const double ns = run(*ends[k], shared->places[1 - me][k], w, round_trips, first);
                if (turn >= 0) {
                    took[k].push_back(ns);
                }
            }
        }
        if (first) {
            const double native = median(took[0]);
            const double face = median(took[1]);
            const bool rate = w.one_way;
            std::printf(rate ? "%-21s %6u B  %6.2f GB/s  %6.2f GB/s\n" : "%-21s %6u B  %8.1f ns %8.1f ns  %8.1f ns\n",
                        w.name, w.bytes, rate ? w.bytes / native : native, rate ? w.bytes / face : face, face - native);
        }
        std::fflush(stdout);
    }
    ends = {};
    if (!first) {
        std::_Exit(0);
    }
    int status = 0;
    return waitpid(child, &status, 0) == child && status == 0 ? 0 : 1;
}

int loop(const std::string& which, std::uint64_t count) {
    const auto left = make(which);
    const auto right = make(which);
    std::thread accepting([&] { right->listen_and_accept(); });
    left->connect();
    accepting.join();
    for (std::uint64_t i = 0; i < count; ++i) {
        left->send(8);
        right->receive();
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::vector<std::string> words(argv + 1, argv + argc);
    const auto number = [&](std::size_t i, std::uint64_t otherwise) {
        return words.size() > i ? std::stoull(words[i]) : otherwise;
    };
    try {
        const vinic::cli::bench::private_devices place;
        if (!words.empty() && words[0] == "lat") {
            return latency(static_cast<int>(number(1, 15)), number(2, 20'000));
        }
        if (words.size() > 1 && words[0] == "loop" && (words[1] == "native" || words[1] == "vipl")) {
            return loop(words[1], number(2, 1000));
        }
    } catch (const std::exception& e) {
        std::fprintf(stderr, "bench_vipl: %s\n", e.what());
        return 1;
    }
    std::fputs("usage: bench_vipl lat [TURNS [ROUND_TRIPS]] | loop native|vipl COUNT\n", stderr);
    return 2;
}
