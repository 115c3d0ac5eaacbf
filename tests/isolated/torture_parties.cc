// SPDX-License-Identifier: Apache-2.0
//
// torture_parties.cc -- askers and answerers: they go on whatever happens to the device, and believe nothing.
//
//   A message is {asker's number, asker's life, sequence, length, checksum} and bytes made from these; the answer is
//   the same message.  So loss, doubling, mixing up and corruption are all seen by the asker, and what is left of an
//   earlier life, too.
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "torture_support.hpp"

namespace torture {

namespace {

using vinic::errc;
using vinic::status;

constexpr std::size_t message_bytes_max = 20'000;
constexpr std::uint32_t window_of_messages = 4;  ///< under way at a time

struct head {
    std::uint64_t number;
    std::uint64_t life;
    std::uint64_t sequence;
    std::uint64_t length;
    std::uint64_t checksum;
};

std::uint64_t seed_of(const head& h) { return h.number << 48 ^ h.life << 24 ^ h.sequence; }

std::uint64_t checksum_of(std::span<const std::byte> bytes) {
    std::uint64_t sum = 14695981039346656037ULL;
    for (const std::byte b : bytes) {
        sum = (sum ^ std::to_integer<std::uint64_t>(b)) * 1099511628211ULL;
    }
    return sum;
}

/// One life of a party: everything that a nic stands under.
class life {
public:
    life(board& b, const party_options& o, vinic::nic nic)
        : board_(b), options_(o), me_(std::move(nic), {.attributes = {}, .memory_bytes = memory_bytes}) {
        // A window that was given to somebody else before must not tell.
        for (const std::byte each : me_.buffer.bytes()) {
            if (each != std::byte{0}) {
                board_.fail("party %u: new memory is not zero", options_.number);
                break;
            }
        }
    }

protected:
    static constexpr std::size_t memory_bytes = 2 * window_of_messages * message_bytes_max;
    static constexpr std::size_t receive_area = window_of_messages * message_bytes_max;

    [[nodiscard]] std::size_t slot(std::uint64_t n) const { return n % window_of_messages * message_bytes_max; }
    void post_receive(std::uint64_t n) {
        // Behind a device that is gone it is refused, and the next look at the queue tells why.
        (void)me_.vi.post_receive(me_.at(receive_area + slot(n), message_bytes_max), n);
    }
    [[nodiscard]] bool is_over() const { return board_.over.load(); }

    board& board_;
    const party_options& options_;
    multi::endpoint me_;
};

/// What may be said by a device that goes, is gone, or has reset the function.
bool is_forgivable(errc e) {
    return e == errc::peer_gone || e == errc::unknown_address || e == errc::no_listener || e == errc::timed_out ||
           e == errc::rejected || e == errc::name_in_use || e == errc::limit_reached || e == errc::invalid_state;
}

bool complains(board& b, const party_options& o, const char* doing, const vinic::error& e) {
    const bool missing = e.code == errc::unknown_address && !o.may_miss_the_socket;
    if (!is_forgivable(e.code) || missing || (o.must_not_break && e.code != errc::no_listener)) {
        b.fail("party %u (process %d), %s: %s: %s", o.number, ::getpid(), doing, vinic::name(e.code),
               e.message().c_str());
        return true;
    }
    return false;
}

/// Opens the device, for as long as that takes; nothing when all is over.
vinic::nic open_patiently(board& b, const party_options& o) {
    while (!b.over.load()) {
        auto opened = vinic::nic::open(o.address);
        if (opened) {
            b.party[o.number].opened.fetch_add(1);
            return std::move(*opened);
        }
        if (complains(b, o, "opening", opened.error())) {
            break;
        }
        std::this_thread::sleep_for(1ms);
    }
    return {};
}

// -- asker --------------------------------------------------------------------------------------

class asker : public life {
public:
    asker(board& b, const party_options& o, vinic::nic nic, std::uint64_t number_of_life)
        : life(b, o, std::move(nic)), life_(number_of_life) {}

    /// Until the device is gone, or it is time to open it anew.
    void run() {
        const auto end = steady::now() + 20ms;
        while (!is_over() && board_.failures.load() == 0) {
            if (!connect()) {
                return;
            }
            exchange(end);
            const auto ended = me_.vi.disconnect();
            if (!ended && complains(board_, options_, "disconnecting", ended.error())) {
                return;
            }
            drain();
            if (options_.opens_once_in_a_while && steady::now() > end) {
                return;
            }
        }
    }

private:
    /// False: the device is gone.
    bool connect() {
        while (!is_over()) {
            const auto made = me_.vi.connect(options_.name, 500ms);
            if (made) {
                return true;
            }
            if (complains(board_, options_, "connecting", made.error()) || made.error().code == errc::peer_gone) {
                // A listener that went before it took the request looks the same: look whether the device is there.
                const auto names = me_.nic.names();
                if (!names || board_.failures.load() != 0) {
                    return false;
                }
            }
            std::this_thread::sleep_for(500us);
        }
        return false;
    }

    void send() {
        const std::uint64_t n = next_send_;
        const std::size_t length = n % 3 == 0 ? message_bytes_max : sizeof(head) + n % 97;
        const auto bytes = me_.bytes(slot(n), length);
        const auto body = bytes.subspan(sizeof(head));
        head h{options_.number, life_, n, length, 0};
        multi::fill(body, seed_of(h));
        h.checksum = checksum_of(body);
        std::memcpy(bytes.data(), &h, sizeof h);
        const std::uint64_t cookie = life_ << 32 | n;
        if (me_.vi.post_send(me_.at(slot(n), length), cookie) == errc::ok) {
            ++next_send_;
        } else {
            broken_ = true;
        }
    }

    void exchange(steady::time_point end) {
        next_send_ = next_answer_ = next_sent_ = 0;
        broken_ = false;
        for (std::uint64_t n = 0; n < window_of_messages; ++n) {
            post_receive(n);
        }
        while (!broken_ && !is_over() && !(options_.opens_once_in_a_while && steady::now() > end)) {
            while (!broken_ && next_send_ < next_answer_ + window_of_messages && next_send_ < next_sent_ + 4) {
                send();
            }
            take(200ms);
        }
        if (broken_) {
            board_.party[options_.number].losses.fetch_add(1);
            if (options_.must_not_break && !is_over()) {
                board_.fail("party %u: the connection broke, state %d", options_.number,
                            static_cast<int>(me_.vi.state()));
            }
        }
    }

    void take(std::chrono::nanoseconds time) {
        std::array<vinic::completion, 8> done;
        const auto count = me_.cq.wait(done, time);
        if (!count) {
            broken_ = true;
            return;
        }
        for (const vinic::completion& c : std::span(done).first(*count)) {
            look_at(c);
        }
        broken_ = broken_ || me_.vi.state() != vinic::vi_state::connected;
    }

    void look_at(const vinic::completion& c) {
        const bool received = c.opcode == vinic::opcode::receive;
        if (c.status != status::success) {
            broken_ = true;
            if (c.status != status::flushed && c.status != status::connection_lost) {
                board_.fail("party %u: a descriptor ended with %s", options_.number, vinic::name(c.status));
            }
            return;
        }
        std::uint64_t& expected = received ? next_answer_ : next_sent_;
        const std::uint64_t cookie = received ? c.cookie : c.cookie & 0xffff'ffff;
        if (cookie != expected || (!received && c.cookie >> 32 != life_)) {
            board_.fail("party %u, life %llu: completion %llx instead of %llu of this life", options_.number,
                        static_cast<unsigned long long>(life_), static_cast<unsigned long long>(c.cookie),
                        static_cast<unsigned long long>(expected));
        }
        ++expected;
        if (received) {
            look_at_answer(c);
            post_receive(c.cookie + window_of_messages);
        }
    }

    void look_at_answer(const vinic::completion& c) {
        head h{};
        const auto bytes = me_.bytes(receive_area + slot(c.cookie), c.length);
        std::memcpy(&h, bytes.data(), std::min(sizeof h, bytes.size()));
        const auto body = bytes.subspan(std::min(sizeof h, bytes.size()));
        if (h.number != options_.number || h.life != life_ || h.sequence != c.cookie || h.length != c.length ||
            h.checksum != checksum_of(body) || multi::first_difference(body, seed_of(h)) != body.size()) {
            board_.fail(
                "party %u, life %llu: answer %llu of %u bytes is party %llu's, life %llu, message %llu, %llu bytes",
                options_.number, static_cast<unsigned long long>(life_), static_cast<unsigned long long>(c.cookie),
                c.length, static_cast<unsigned long long>(h.number), static_cast<unsigned long long>(h.life),
                static_cast<unsigned long long>(h.sequence), static_cast<unsigned long long>(h.length));
        }
        board_.party[options_.number].exchanges.fetch_add(1);
    }

    /// After disconnect() nothing may be outstanding once all is polled.
    void drain() {
        std::array<vinic::completion, 8> done;
        const bool empty = multi::comes_true([&] {
            (void)me_.cq.poll(done);
            return me_.vi.sends_outstanding() == 0 && me_.vi.receives_outstanding() == 0;
        });
        if (!empty) {
            board_.fail("party %u: after disconnecting %u sends and %u receives never complete", options_.number,
                        me_.vi.sends_outstanding(), me_.vi.receives_outstanding());
        }
    }

    std::uint64_t life_;
    std::uint64_t next_send_ = 0;
    std::uint64_t next_sent_ = 0;
    std::uint64_t next_answer_ = 0;
    bool broken_ = false;
};

// -- answerer -----------------------------------------------------------------------------------

class answerer : public life {
public:
    using life::life;

    void run() {
        auto listener = listen();
        while (listener && !is_over() && board_.failures.load() == 0) {
            auto request = listener->wait(100ms);
            if (!request) {
                if (request.error().code == errc::timed_out) {
                    continue;
                }
                (void)complains(board_, options_, "waiting at the listener", request.error());
                return;
            }
            for (std::uint64_t n = 0; n < window_of_messages; ++n) {
                post_receive(n);
            }
            const auto accepted = request->accept(me_.vi);
            if (!accepted && complains(board_, options_, "accepting", accepted.error())) {
                return;
            }
            if (accepted) {
                answer();
            }
            if (const auto ended = me_.vi.disconnect();
                !ended && complains(board_, options_, "disconnecting", ended.error())) {
                return;
            }
            drain();
        }
    }

private:
    vinic::result<vinic::listener> listen() {
        vinic::result<vinic::listener> made;
        (void)multi::comes_true([&] {
            made = me_.nic.listen(std::string_view(options_.name));
            return made || made.error().code != errc::name_in_use || is_over();
        });
        if (!made && !is_over()) {
            (void)complains(board_, options_, "listening", made.error());
        }
        return made;
    }

    void answer() {
        std::array<vinic::completion, 8> done;
        while (!is_over()) {
            const auto count = me_.cq.wait(done, 200ms);
            if (!count) {
                return;
            }
            for (const vinic::completion& c : std::span(done).first(*count)) {
                if (c.status != status::success) {
                    return;
                }
                if (c.opcode == vinic::opcode::send) {
                    post_receive(c.cookie + window_of_messages);
                } else if (me_.vi.post_send(me_.at(receive_area + slot(c.cookie), c.length), c.cookie) != errc::ok) {
                    return;
                } else {
                    board_.party[options_.number].exchanges.fetch_add(1);
                }
            }
            if (me_.vi.state() != vinic::vi_state::connected) {
                return;
            }
        }
    }

    void drain() {
        std::array<vinic::completion, 8> done;
        (void)multi::comes_true([&] {
            (void)me_.cq.poll(done);
            return me_.vi.sends_outstanding() == 0 && me_.vi.receives_outstanding() == 0;
        });
    }
};

/// Lives one after the other.  The device may go while the first things of a life are made.
template <class Live>
void live_again_and_again(board& b, const party_options& o, Live live) {
    for (std::uint64_t number = 1; !b.over.load() && b.failures.load() == 0; ++number) {
        vinic::nic n = open_patiently(b, o);
        if (!n) {
            return;
        }
        try {
            live(std::move(n), static_cast<std::uint64_t>(::getpid() & 0x7ff) << 20 | number);
        } catch (const std::exception& e) {
            if (std::strstr(e.what(), "peer_gone") == nullptr || o.must_not_break) {
                b.fail("party %u: %s", o.number, e.what());
            }
        }
    }
}

}  // namespace

void be_answerer(board& b, const party_options& o) {
    live_again_and_again(b, o, [&](vinic::nic n, std::uint64_t) { answerer(b, o, std::move(n)).run(); });
}

void be_asker(board& b, const party_options& o) {
    live_again_and_again(b, o, [&](vinic::nic n, std::uint64_t life) { asker(b, o, std::move(n), life).run(); });
}

}  // namespace torture
