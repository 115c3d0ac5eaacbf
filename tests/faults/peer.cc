// SPDX-License-Identifier: Apache-2.0
//
// peer.cc -- a server that accepts one connection at a time and answers what it gets.
#include "faults/peer.hpp"

#include <cstring>
#include <deque>

namespace faults {

using multi::must;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t buffers = 8;
constexpr std::size_t sent_at = buffers * message_bytes_max;  ///< offset of what is sent, and of moved bytes

class server {
public:
    explicit server(const multi::directory& d)
        : me_(d.open(), {.attributes = {.rdma_write = true, .rdma_read = true, .rdma_atomic = true},
                         .memory_bytes = sent_at + 4 * peer_memory_bytes}),
          own_(must(me_.nic.allocate(peer_memory_bytes))),
          own_region_(must(me_.domain.register_memory(own_.bytes(), vinic::access::all))),
          foreign_(peer_memory_bytes),
          foreign_region_(must(me_.domain.register_memory(
              foreign_, vinic::access::local_write | vinic::access::remote_write | vinic::access::remote_read))),
          listener_(must(me_.nic.listen(peer_name))) {}

    /// One connection, if somebody wants one.
    void serve() {
        auto wanted = listener_.wait(20ms);
        if (!wanted) {
            return;
        }
        for (std::size_t i = 0; i < buffers; ++i) {
            must(me_.vi.post_receive(me_.at(i * message_bytes_max, message_bytes_max), i));
        }
        if (wanted->accept(me_.vi)) {
            while (me_.vi.state() == vinic::vi_state::connected) {
                handle_one();
            }
        }
        must(me_.vi.disconnect());
        std::array<vinic::completion, 16> left;
        while (me_.cq.poll(left) != 0) {
        }
        early_.clear();
    }

private:
    using vi_status = vinic::status;

    void handle_one() {
        vinic::completion c;
        if (!early_.empty()) {
            c = early_.front();
            early_.pop_front();
        } else if (must(me_.cq.wait({&c, 1}, 20ms)) == 0) {
            return;
        }
        if (c.status != vi_status::success || c.cookie >= buffers) {
            return;
        }
        const std::size_t at = c.cookie * message_bytes_max;
        request r;
        std::memcpy(&r, me_.bytes(at, sizeof r).data(), sizeof r);
        std::size_t n = c.length;
        if (r.what == request::kind::echo) {
            std::memcpy(me_.bytes(sent_at, n).data(), me_.bytes(at, n).data(), n);
        } else {
            const answer a = carry_out(r);
            n = sizeof a;
            std::memcpy(me_.bytes(sent_at, n).data(), &a, n);
        }
        if (me_.vi.post_receive(me_.at(at, message_bytes_max), c.cookie) == vinic::errc::ok &&
            me_.vi.post_send(me_.at(sent_at, n), buffers) == vinic::errc::ok) {
            (void)until(buffers);
        }
    }

    answer carry_out(const request& r) {
        answer a;
        const std::size_t at = sent_at + message_bytes_max;
        const vinic::remote_address there{r.address, static_cast<std::uint32_t>(r.key)};
        if (r.what == request::kind::tell_memory) {
            const vinic::remote_address mine = r.foreign != 0 ? foreign_region_.remote() : own_region_.remote();
            a.address = mine.address;
            a.key = mine.key;
            return a;
        }
        const std::size_t n = std::min<std::size_t>(r.bytes, 2 * peer_memory_bytes);
        vinic::errc posted;
        if (r.what == request::kind::write_to_me) {
            multi::fill(me_.bytes(at, n), r.seed);
            posted = me_.vi.post_write(me_.at(at, n), there, buffers + 1);
        } else {
            posted = me_.vi.post_read(me_.at(at, n), there, buffers + 1);
        }
        a.status = posted == vinic::errc::ok ? static_cast<std::uint64_t>(until(buffers + 1)) : ~0ull;
        a.wrong = n - multi::first_difference(me_.bytes(at, n), r.seed);
        return a;
    }

    /// Waits for the completion with this cookie; a message that comes first is kept.
    vi_status until(std::uint64_t cookie) {
        vinic::completion c;
        while (must(me_.cq.wait({&c, 1}, multi::patience)) == 1) {
            if (c.cookie == cookie) {
                return c.status;
            }
            early_.push_back(c);
        }
        return vi_status::flushed;
    }

    multi::endpoint me_;
    vinic::buffer own_;
    vinic::region own_region_;
    std::vector<std::byte> foreign_;
    vinic::region foreign_region_;
    vinic::listener listener_;
    std::deque<vinic::completion> early_;  ///< messages that have come and are not handled
};

}  // namespace

void be_peer(const multi::directory& d, multi::channel& parent) {
    server s(d);
    parent.say("ready");
    while (!parent.has_word()) {
        s.serve();
    }
}

}  // namespace faults
