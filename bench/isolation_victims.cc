// SPDX-License-Identifier: Apache-2.0
//
// isolation_victims.cc -- the victims one by one: ping-pong (V1), streams (V2 to V6), a newcomer (V7).
#include "bench/isolation_victims.hpp"

#include <time.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <stdexcept>
#include <thread>
#include <vinic/vinic.hpp>

#include "os/sync.hpp"

namespace vinic::bench {

namespace {

using namespace std::chrono_literals;

constexpr std::byte pattern{0xa7};
constexpr std::uint64_t patience_ns = 20'000'000'000;
constexpr auto pause = 30us;  ///< when nothing is there to do; far less than a full set of queues lasts

template <class T>
T must(vinic::result<T> r) {
    if (!r) {
        throw std::runtime_error(r.error().message());
    }
    if constexpr (!std::is_void_v<T>) {
        return std::move(*r);
    }
}

struct victim_shape {
    const char* name;
    std::uint32_t vis;
    std::uint32_t depth;  ///< so that queues last 5 ms and more: a victim that has to wait for its core loses nothing
    std::uint32_t bytes;
    bool reads;
    std::uint32_t slots;  ///< places in memory of each VI, used in turn
};

constexpr victim_shape shapes[] = {
    {"V1", 1, 16, 64, false, 16},    {"V2", 64, 1024, 8, false, 64},   {"V3", 1, 1024, 65536, false, 64},
    {"V4", 96, 512, 512, false, 32}, {"V5", 32, 512, 2048, false, 64}, {"V6", 8, 2048, 4096, true, 64},
};

/// The processor time of a process.
clockid_t clock_of(int process) {
    clockid_t clock{};
    if (::clock_getcpuclockid(process, &clock) != 0) {
        throw std::runtime_error("there is no vinicd with process id " + std::to_string(process));
    }
    return clock;
}

double seconds_on(clockid_t clock) {
    timespec t{};
    (void)::clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) * 1e-9;
}

/// One end: a function, and its VIs with a completion queue for each direction.
struct end {
    end(const std::string& device, const victim_shape& shape)
        : nic(must(nic::open(device))),
          domain(must(nic.create_domain())),
          buffer(must(nic.allocate(std::uint64_t{shape.vis} * shape.slots * shape.bytes))),
          region(must(domain.register_memory(buffer.bytes(), access::local_write | access::remote_read))),
          sends(must(nic.create_completion_queue())),
          receives(must(nic.create_completion_queue())) {
        for (std::uint32_t i = 0; i < shape.vis; ++i) {
            vis.push_back(must(domain.create_vi({.send_cq = &sends,
                                                 .receive_cq = &receives,
                                                 .send_depth = shape.depth,
                                                 .receive_depth = shape.depth,
                                                 .context = i})));
        }
    }
    vinic::nic nic;
    vinic::domain domain;
    vinic::buffer buffer;
    vinic::region region;
    completion_queue sends;
    completion_queue receives;
    std::deque<virtual_interface> vis;
};

class pair_of_ends : public victim {
public:
    pair_of_ends(const victim_shape& shape, const std::string& near, const std::string& far, int device_process)
        : shape_(shape), a_(near, shape), b_(far, shape), device_clock_(clock_of(device_process)) {
        const std::string name = "victim-" + std::to_string(os::now_ns());
        listener l = must(b_.nic.listen(name));
        for (std::uint32_t i = 0; i < shape.vis; ++i) {
            std::string trouble;
            std::thread accepting([&] {
                auto request = l.wait(10s);
                const auto done = request ? request->accept(b_.vis[i]) : result<void>(std::unexpected(request.error()));
                trouble = done ? "" : done.error().message();
            });
            const auto connected = a_.vis[i].connect(name, 10s);
            accepting.join();
            if (!connected || !trouble.empty()) {
                throw std::runtime_error(connected ? trouble : connected.error().message());
            }
        }
        source().fill_with(pattern);
    }

protected:
    struct bytes_view {
        std::span<std::byte> bytes;
        void fill_with(std::byte value) const { std::ranges::fill(bytes, value); }
    };
    /// Where the data come from: for reads from the other end.
    bytes_view source() { return {shape_.reads ? b_.buffer.bytes() : a_.buffer.bytes()}; }
    bytes_view sink() { return {shape_.reads ? a_.buffer.bytes() : b_.buffer.bytes()}; }
    [[nodiscard]] std::uint64_t offset(std::uint64_t vi, std::uint32_t slot) const {
        return (vi * shape_.slots + slot % shape_.slots) * shape_.bytes;
    }

    victim_shape shape_;
    end a_;
    end b_;
    clockid_t device_clock_;
};

// -- V1 -----------------------------------------------------------------------------------------

/// Bursts with pauses of the same length between them, in which others may use the core.  What is measured is the
/// device: post at one end to polled at the other, by one thread.
class ping_pong : public pair_of_ends {
public:
    using pair_of_ends::pair_of_ends;
    victim_result run(std::chrono::nanoseconds time) override {
        victim_result r;
        r.begun_ns = os::now_ns();
        const double device_before = seconds_on(device_clock_);
        const std::uint64_t end = r.begun_ns + static_cast<std::uint64_t>(time.count());
        while (os::now_ns() < end) {
            std::this_thread::sleep_for(500us);
            const std::uint64_t burst_end = os::now_ns() + 500'000;
            // The first ones wake the device, and its caches.  One at least is measured, however long they take.
            for (int n = 0; n < 3 || os::now_ns() < burst_end; ++n) {
                const std::uint32_t delay = message(n % 2 == 0 ? a_ : b_, n % 2 == 0 ? b_ : a_, r);
                if (n >= 2) {
                    r.delays_ns.push_back(delay);
                }
            }
        }
        r.seconds = static_cast<double>(os::now_ns() - r.begun_ns) * 1e-9;
        r.device_seconds = seconds_on(device_clock_) - device_before;
        return r;
    }

private:
    static std::uint64_t take(completion_queue& cq, victim_result& r) {
        std::array<completion, 1> done;
        const std::uint64_t give_up = os::now_ns() + 10'000'000'000;
        while (cq.poll(done) == 0) {
            if (os::now_ns() > give_up) {
                throw std::runtime_error("a message of V1 does not arrive");
            }
        }
        r.errors += done[0].status == status::success ? 0U : 1U;
        return done[0].cookie;
    }
    std::uint32_t message(end& from, end& to, victim_result& r) {
        std::ranges::fill(from.buffer.bytes().first(shape_.bytes), pattern);
        const segment sink(to.region, shape_.bytes, shape_.bytes);
        if (to.vis[0].post_receive(sink, 0) != errc::ok) {
            throw std::runtime_error("V1 cannot post a receive");
        }
        const std::uint64_t begin = os::ticks();
        if (from.vis[0].post_send({from.region, 0, shape_.bytes}, 0) != errc::ok) {
            throw std::runtime_error("V1 cannot post a send");
        }
        (void)take(to.receives, r);
        const std::uint64_t ticks = os::ticks() - begin;
        (void)take(from.sends, r);
        const auto got = to.buffer.bytes().subspan(shape_.bytes, shape_.bytes);
        r.corrupt += static_cast<std::uint64_t>(std::ranges::count_if(got, [](std::byte b) { return b != pattern; }));
        std::ranges::fill(got, std::byte{0});
        ++r.messages;
        r.bytes += shape_.bytes;
        return static_cast<std::uint32_t>(std::min<std::uint64_t>(ticks * 1000 / os::ticks_per_us(), ~0u));
    }
};

// -- V2 to V6 -----------------------------------------------------------------------------------

/// Keeps all queues full, and sleeps a little when there is nothing to do: what limits it is the device.
class stream : public pair_of_ends {
public:
    stream(const victim_shape& shape, const std::string& near, const std::string& far, int device_process)
        : pair_of_ends(shape, near, far, device_process), sent_(shape.vis), received_(shape.vis) {
        for (std::uint32_t i = 0; i < shape.vis && !shape.reads; ++i) {
            for (std::uint32_t n = 0; n < shape.depth; ++n) {
                post_receive(i);
            }
        }
    }

    victim_result run(std::chrono::nanoseconds time) override {
        victim_result r;
        sink().fill_with(std::byte{0});
        for (std::uint32_t i = 0; i < shape_.vis; ++i) {
            sent_[i].done_before = sent_[i].done;
            received_[i].done_before = received_[i].done;
        }
        // What the queues hold at first is not measured.
        const std::uint64_t warm_end = os::now_ns() + 20'000'000;
        for (std::uint32_t i = 0; i < shape_.vis; ++i) {
            for (std::uint32_t n = outstanding(i); n < shape_.depth; ++n) {
                post(i);
            }
        }
        while (os::now_ns() < warm_end) {
            turn(r, true);
        }
        r.begun_ns = os::now_ns();
        const double device_before = seconds_on(device_clock_);
        const std::uint64_t before = finished_;
        const std::uint64_t end = r.begun_ns + static_cast<std::uint64_t>(time.count());
        std::uint64_t now = r.begun_ns;
        std::uint64_t found_ns = now;
        // However long nothing comes, the run ends with something.
        for (std::uint64_t seen = before; now < end || (seen == before && now < end + patience_ns);
             now = os::now_ns()) {
            turn(r, true);
            const std::size_t slot = (now - r.begun_ns) / 500'000;
            r.slots.resize(std::max(r.slots.size(), slot + 1));
            r.slots[slot] += static_cast<std::uint32_t>(finished_ - seen);
            if (finished_ != seen) {
                r.longest_gap_ns = std::max(r.longest_gap_ns, now - found_ns);
                found_ns = now;
            }
            seen = finished_;
        }
        r.seconds = static_cast<double>(now - r.begun_ns) * 1e-9;
        r.device_seconds = seconds_on(device_clock_) - device_before;
        r.messages = finished_ - before;
        r.bytes = r.messages * shape_.bytes;
        // All that was posted ends, whatever the others do: this is how a victim notices a lost message.
        while (under_way() != 0) {
            if (os::now_ns() > now + patience_ns) {
                throw std::runtime_error(std::to_string(under_way()) + " messages of a victim do not end");
            }
            turn(r, false);
        }
        r.corrupt = corrupt();
        return r;
    }

private:
    [[nodiscard]] std::uint32_t outstanding(std::uint32_t vi) const { return sent_[vi].posted - sent_[vi].done; }
    [[nodiscard]] std::uint64_t under_way() const {
        std::uint64_t sum = 0;
        for (std::uint32_t i = 0; i < shape_.vis; ++i) {
            sum += outstanding(i) + (shape_.reads ? 0 : sent_[i].posted - received_[i].done);
        }
        return sum;
    }
    void post(std::uint32_t i) {
        const std::uint64_t at = offset(i, sent_[i].posted);
        const segment mine(a_.region, at, shape_.bytes);
        const errc e = shape_.reads ? a_.vis[i].post_read(mine, b_.region.remote(at), i) : a_.vis[i].post_send(mine, i);
        if (e != errc::ok) {
            throw std::runtime_error(std::string("a victim cannot post: ") + name(e));
        }
        ++sent_[i].posted;
    }
    void post_receive(std::uint32_t i) {
        const std::uint64_t at = offset(i, received_[i].posted++);
        if (b_.vis[i].post_receive(segment(b_.region, at, shape_.bytes), i) != errc::ok) {
            throw std::runtime_error("a victim cannot post a receive");
        }
    }
    void turn(victim_result& r, bool go_on) {
        std::array<completion, 64> done;
        const std::size_t received = shape_.reads ? 0 : b_.receives.poll(done);
        for (std::size_t k = 0; k < received; ++k) {
            r.errors += done[k].status == status::success && done[k].length == shape_.bytes ? 0U : 1U;
            ++received_[done[k].cookie].done;
            post_receive(static_cast<std::uint32_t>(done[k].cookie));
        }
        const std::size_t sent = a_.sends.poll(done);
        for (std::size_t k = 0; k < sent; ++k) {
            r.errors += done[k].status == status::success ? 0U : 1U;
            ++sent_[done[k].cookie].done;
            if (go_on) {
                post(static_cast<std::uint32_t>(done[k].cookie));
            }
        }
        finished_ += shape_.reads ? sent : received;
        if (sent + received == 0) {
            std::this_thread::sleep_for(pause);
        }
    }
    /// Every byte that was written must be the victim's own; only slots that had no turn in this run stay empty.
    std::uint64_t corrupt() {
        std::uint64_t bad = 0;
        const auto all = sink().bytes;
        for (std::uint32_t i = 0; i < shape_.vis; ++i) {
            const count& c = shape_.reads ? sent_[i] : received_[i];
            std::uint32_t empty_allowed = shape_.slots - std::min(shape_.slots, c.done - c.done_before);
            for (std::uint32_t s = 0; s < shape_.slots; ++s) {
                const auto slot = all.subspan(offset(i, s), shape_.bytes);
                const auto wrong = std::ranges::count_if(slot, [](std::byte b) { return b != pattern; });
                const bool empty = std::ranges::all_of(slot, [](std::byte b) { return b == std::byte{0}; });
                if (empty && empty_allowed != 0) {
                    --empty_allowed;
                } else {
                    bad += static_cast<std::uint64_t>(wrong);
                }
            }
        }
        return bad;
    }

    struct count {
        std::uint32_t posted = 0;
        std::uint32_t done = 0;
        std::uint32_t done_before = 0;  ///< when this run began
    };
    std::vector<count> sent_;
    std::vector<count> received_;
    std::uint64_t finished_ = 0;
};

/// V7: a program that begins and ends, over and over.
class newcomer : public victim {
public:
    newcomer(std::string device, int device_process)
        : device_(std::move(device)), device_clock_(clock_of(device_process)) {}
    victim_result run(std::chrono::nanoseconds time) override {
        victim_result r;
        r.begun_ns = os::now_ns();
        const double device_before = seconds_on(device_clock_);
        const std::uint64_t end = r.begun_ns + static_cast<std::uint64_t>(time.count());
        std::uint64_t now = r.begun_ns;
        for (std::uint64_t begun = now; now < end; begun = now, ++r.messages) {
            const opened one(device_);
            r.corrupt += static_cast<std::uint64_t>(
                std::ranges::count_if(one.buffer.bytes(), [](std::byte b) { return b != std::byte{0}; }));
            std::ranges::fill(one.buffer.bytes(), pattern);
            now = os::now_ns();
            r.longest_gap_ns = std::max(r.longest_gap_ns, now - begun);
        }
        r.seconds = static_cast<double>(now - r.begun_ns) * 1e-9;
        r.device_seconds = seconds_on(device_clock_) - device_before;
        return r;
    }

private:
    struct opened {
        explicit opened(const std::string& device)
            : nic(must(nic::open(device))),
              domain(must(nic.create_domain())),
              buffer(must(nic.allocate(64 << 10))),
              region(must(domain.register_memory(buffer.bytes(), access::local_write))),
              cq(must(nic.create_completion_queue())),
              vi(must(domain.create_vi({.send_cq = &cq, .receive_cq = &cq}))) {}
        vinic::nic nic;
        vinic::domain domain;
        vinic::buffer buffer;
        vinic::region region;
        completion_queue cq;
        virtual_interface vi;
    };
    std::string device_;
    clockid_t device_clock_;
};

}  // namespace

std::unique_ptr<victim> make_victim(const std::string& name, const std::string& near, const std::string& far,
                                    int device_process) {
    for (const victim_shape& s : shapes) {
        if (name == s.name) {
            if (name == "V1") {
                return std::make_unique<ping_pong>(s, near, far, device_process);
            }
            return std::make_unique<stream>(s, near, far, device_process);
        }
    }
    if (name == "V7") {
        return std::make_unique<newcomer>(near, device_process);
    }
    throw std::runtime_error("there is no victim '" + name + "': V1 to V7 are");
}

}  // namespace vinic::bench
