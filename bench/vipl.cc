// SPDX-License-Identifier: Apache-2.0
//
// vipl.cc -- what the VIPL face costs: the same messages through vinic.hpp and through vipl.h, in turn.
//
//   bench_vipl lat [TURNS [ROUND_TRIPS]]     two processes, one per core: half a round trip, medians of the turns
//   bench_vipl loop native|vipl COUNT        one process sends COUNT messages to itself: for counting instructions
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>
#include <vipl.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>
#include <vinic/vinic.hpp>

namespace {

using namespace std::chrono_literals;

constexpr std::uint32_t message_bytes = 8;
constexpr std::size_t memory_bytes = 64 << 10;
constexpr std::uint32_t ring = 16;  ///< descriptors and buffers in turn

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
    end() = default;
    end(const end&) = delete;
    end& operator=(const end&) = delete;
    virtual ~end() = default;
    virtual void listen_and_accept() = 0;
    virtual void connect() = 0;
    /// Sends one message and takes its completion.
    virtual void send() = 0;
    /// Waits for a message by polling, and posts the next receive.
    virtual void receive() = 0;
};

class native_end final : public end {
public:
    native_end()
        : nic_(must(vinic::nic::open("shm:bench-vipl"))),
          domain_(must(nic_.create_domain())),
          sends_(must(nic_.create_completion_queue())),
          receives_(must(nic_.create_completion_queue())),
          memory_(static_cast<std::byte*>(std::aligned_alloc(4096, memory_bytes)), &std::free),
          region_(must(domain_.register_memory({memory_.get(), memory_bytes}, vinic::access::local_write))),
          vi_(must(domain_.create_vi({.send_cq = &sends_, .receive_cq = &receives_, .receiver_wait = 0ns}))) {
        for (std::uint32_t i = 0; i < ring; ++i) {
            (void)vi_.post_receive({region_, i * 64, message_bytes}, i);
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
    void send() override {
        vinic::completion done;
        (void)vi_.post_send({region_, 8192 + next_++ % ring * 64, message_bytes}, 1);
        while (sends_.poll({&done, 1}) == 0) {
        }
    }
    void receive() override {
        vinic::completion done;
        while (receives_.poll({&done, 1}) == 0) {
        }
        (void)vi_.post_receive({region_, done.cookie * 64, message_bytes}, done.cookie);
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
    vipl_end() : memory_(static_cast<std::byte*>(std::aligned_alloc(4096, memory_bytes)), &std::free) {
        must(VipOpenNic("bench-vipl", &nic_), "VipOpenNic");
        must(VipCreatePtag(nic_, &tag_), "VipCreatePtag");
        VIP_MEM_ATTRIBUTES rights{tag_, VIP_FALSE, VIP_FALSE};
        must(VipRegisterMem(nic_, memory_.get(), memory_bytes, &rights, &handle_), "VipRegisterMem");
        VIP_VI_ATTRIBUTES attributes{VIP_SERVICE_RELIABLE_DELIVERY, 65536, nullptr, tag_, VIP_FALSE, VIP_FALSE};
        must(VipCreateVi(nic_, &attributes, nullptr, nullptr, &vi_), "VipCreateVi");
        for (std::uint32_t i = 0; i < ring; ++i) {
            must(VipPostRecv(vi_, prepare(i), handle_), "VipPostRecv");
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
    void send() override {
        VIP_DESCRIPTOR* done = nullptr;
        must(VipPostSend(vi_, prepare(ring + next_++ % ring), handle_), "VipPostSend");
        while (VipSendDone(vi_, &done) == VIP_NOT_DONE) {
        }
    }
    void receive() override {
        VIP_DESCRIPTOR* done = nullptr;
        while (VipRecvDone(vi_, &done) == VIP_NOT_DONE) {
        }
        must(VipPostRecv(vi_, prepare(static_cast<std::uint32_t>(index_of(done))), handle_), "VipPostRecv");
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
    [[nodiscard]] std::size_t index_of(const VIP_DESCRIPTOR* d) const {
        return static_cast<std::size_t>(reinterpret_cast<const std::byte*>(d) - memory_.get()) / 64;
    }
    /// What a program does before each post: it clears the status; the rest has not changed.
    VIP_DESCRIPTOR* prepare(std::uint32_t i) {
        auto* d = reinterpret_cast<VIP_DESCRIPTOR*>(memory_.get() + i * 64);
        d->CS.SegCount = 1;
        d->CS.Control = 0;
        d->CS.Length = message_bytes;
        d->CS.Status = 0;
        d->DS[0].Local.Data.Address = memory_.get() + 8192 + i * 64;
        d->DS[0].Local.Handle = handle_;
        d->DS[0].Local.Length = message_bytes;
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
    if (which == "vipl") {
        return std::make_unique<vipl_end>();
    }
    return std::make_unique<native_end>();
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

double nanoseconds_one_way(end& e, std::uint64_t round_trips) {
    const auto start = std::chrono::steady_clock::now();
    for (std::uint64_t i = 0; i < round_trips; ++i) {
        e.send();
        e.receive();
    }
    return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() /
           static_cast<double>(2 * round_trips);
}

double median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v[v.size() / 2];
}

int latency(int turns, std::uint64_t round_trips) {
    const pid_t child = fork();
    if (child < 0) {
        throw std::runtime_error("fork failed");
    }
    pin_to(child == 0 ? 1 : 0);
    const std::array<std::string, 2> kinds{"native", "vipl"};
    std::array<std::unique_ptr<end>, 2> ends;
    for (std::size_t k = 0; k < kinds.size(); ++k) {
        ends[k] = make(kinds[k]);
        child == 0 ? ends[k]->listen_and_accept() : ends[k]->connect();
    }
    std::array<std::vector<double>, 2> took;
    for (int turn = -1; turn < turns; ++turn) {  // the first warms up
        for (std::size_t k = 0; k < kinds.size(); ++k) {
            if (child == 0) {
                for (std::uint64_t i = 0; i < round_trips; ++i) {
                    ends[k]->receive();
                    ends[k]->send();
                }
            } else if (const double ns = nanoseconds_one_way(*ends[k], round_trips); turn >= 0) {
                took[k].push_back(ns);
            }
        }
    }
    if (child == 0) {
        ends = {};
        std::_Exit(0);
    }
    const double native = median(took[0]);
    const double face = median(took[1]);
    std::printf("one way, %u B, both sides poll   native %7.1f ns   vipl %7.1f ns   the face adds %5.1f ns\n",
                message_bytes, native, face, face - native);
    int status = 0;
    (void)waitpid(child, &status, 0);
    return status == 0 ? 0 : 1;
}

int loop(const std::string& which, std::uint64_t count) {
    const auto left = make(which);
    const auto right = make(which);
    std::thread accepting([&] { right->listen_and_accept(); });
    left->connect();
    accepting.join();
    for (std::uint64_t i = 0; i < count; ++i) {
        left->send();
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
        if (!words.empty() && words[0] == "lat") {
            return latency(static_cast<int>(number(1, 15)), number(2, 100'000));
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
