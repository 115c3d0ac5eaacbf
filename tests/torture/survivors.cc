// SPDX-License-Identifier: Apache-2.0
//
// survivors.cc -- the partner: it lives through every death and looks whether all is well.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <deque>
#include <future>
#include <span>
#include <sstream>

#include "multi/endpoint.hpp"
#include "torture/scenarios.hpp"

namespace torture {

namespace {

using namespace std::chrono_literals;
using multi::endpoint;
using multi::must;
using multi::require;

constexpr std::uint32_t datagram_depth = 4;
constexpr std::size_t datagram_bytes = 600;

// The partner's memory.
constexpr std::size_t receive_area = 4096;
constexpr std::uint64_t receives_max = 12;
constexpr std::size_t send_area = 16384;
constexpr std::size_t datagram_area = 32768;
constexpr std::size_t target_area = 40960;

class partner {
public:
    explicit partner(const std::string& directory)
        : me_(must(vinic::nic::open(step_device, {.directory = directory, .group = {}}))),
          listener_(must(me_.nic.listen("partner"))) {
        witness_vi_ = me_.another_vi();
        vinic::vi_attributes a = me_.attributes();
        datagram_cq_ = must(me_.nic.create_completion_queue());
        a.service = vinic::service::datagram;
        a.reliability = vinic::reliability::unreliable;
        a.receive_depth = datagram_depth;
        a.send_cq = &datagram_cq_;
        a.receive_cq = &datagram_cq_;
        datagrams_ = must(me_.domain.create_vi(a));
        must(datagrams_.bind("partner's datagrams"));
        void* p = ::mmap(nullptr, target_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        require(p != MAP_FAILED, "memory can be mapped");
        foreign_ = {static_cast<std::byte*>(p), target_bytes};
    }

    void meet_witness() {
        auto request = must(listener_.wait(multi::patience));
        must(witness_vi_.post_receive(me_.at(0, 64), 1));
        must(request.accept(witness_vi_));
    }

    /// What the scenario asks of the subject's other side; runs beside the subject.
    void prepare(const std::string& words) {
        std::istringstream in(words);
        std::string word;
        std::uint64_t n = 0;
        std::string kind;
        in >> word >> n >> kind;
        end_.store(false);
        std::ranges::fill(me_.bytes(receive_area, receives_max * 1024), std::byte{0});
        if (word == "accept") {
            offer_target(kind == "foreign");
            post_receives(n);
            work_ = std::async(std::launch::async, [this] { accept_subject(); });
        } else if (word == "connect") {
            post_receives(2);
            work_ = std::async(std::launch::async, [this] { connect_to_subject(0); });
        } else if (word == "send") {
            work_ = std::async(std::launch::async, [this, n] { connect_to_subject(n); });
        } else if (word == "write") {
            work_ = std::async(std::launch::async, [this] { write_to_subject(); });
        } else if (word == "peer") {
            post_receives(2);
            must(me_.vi.connect_peer("partner", "subject", 5s));
            peer_ = true;
        }
    }

    /// The subject has died somewhere.
    void verify(multi::channel& runner) {
        end_.store(true);
        if (work_.valid()) {
            work_.get();
        }
        lose_subject();
        take_target_back();
        use_control_plane();
        talk_with_witness(runner);
        hear_datagrams(runner);
        runner.say("well");
    }

    void keep_house() {
        for (int i = 0; i < 50; ++i) {
            take_completions();
        }
    }

private:
    void post_receives(std::uint64_t n) {
        for (std::uint64_t i = 0; i < n; ++i) {
            const std::uint64_t slot = receives_posted_++ % receives_max;
            must(me_.vi.post_receive(me_.at(receive_area + slot * 1024, 1024), slot));
            receives_.push_back(slot);
        }
    }

    /// Memory for the subject's RDMA; a region of its own for each subject.
    void offer_target(bool is_foreign) {
        target_bytes_ = is_foreign ? foreign_ : me_.bytes(target_area, target_bytes);
        std::ranges::fill(target_bytes_, std::byte{0});
        // No atomic reaches into foreign memory, and no right to one is given there.
        using enum vinic::access;
        target_ = must(me_.domain.register_memory(
            target_bytes_, is_foreign ? local_write | remote_write | remote_read : vinic::access::all));
    }

    void accept_subject() {
        const std::string where = multi::to_words(target_.remote());
        while (!end_.load()) {
            auto request = listener_.wait(5ms);
            if (!request) {
                continue;
            }
            const auto accepted = request->accept(me_.vi, std::as_bytes(std::span(where)));
            if (accepted || accepted.error().code != vinic::errc::peer_gone) {
                must(accepted);
                return;
            }
        }
    }

    void connect_to_subject(std::uint64_t sends) {
        while (!end_.load() && me_.vi.state() == vinic::vi_state::idle) {
            const auto made = me_.vi.connect("subject", 200ms);
            for (std::uint64_t i = 0; made && i < sends; ++i) {
                const vinic::errc e = me_.vi.post_send(me_.at(send_area, i % 2 == 0 ? 8 : 700), i);
                if (e == vinic::errc::invalid_state) {
                    return;  // found dead while we still send
                }
                must(e);
                sends_.push_back(i);
            }
            if (!made) {
                std::this_thread::sleep_for(100us);
            }
        }
    }

    /// Writes and atomics at what the subject offers, until that or the subject is no more.
    void write_to_subject() {
        vinic::result<vinic::peer_information> made;
        while (!end_.load() && !(made = me_.vi.connect("subject", 200ms))) {
            std::this_thread::sleep_for(100us);
        }
        const vinic::remote_address there = made ? multi::remote_from(text_of(*made)) : vinic::remote_address{};
        refusal_ = vinic::status::remote_protection;
        for (std::uint64_t i = 0; !end_.load() && me_.vi.state() == vinic::vi_state::connected; ++i) {
            const vinic::errc e = i % 4 == 0 ? me_.vi.post_write(me_.at(send_area, 64), there + 64, i)
                                             : me_.vi.post_write(me_.at(send_area, written_bytes), there, i);
            if (e == vinic::errc::ok) {
                sends_.push_back(i);
            } else {
                require(e == vinic::errc::queue_full || e == vinic::errc::invalid_state, vinic::name(e));
            }
            take_completions();
        }
    }

    /// Every descriptor completes once and in order; what succeeds comes before what does not.
    void take_completions() {
        std::array<vinic::completion, 16> done;
        for (const vinic::completion& c : std::span(done).first(me_.cq.poll(done))) {
            if (c.vi != me_.vi.number()) {
                require(c.status == vinic::status::success, "the connection of two others goes on");
                continue;
            }
            const bool is_receive = c.opcode == vinic::opcode::receive || c.opcode == vinic::opcode::receive_write;
            std::deque<std::uint64_t>& posted = is_receive ? receives_ : sends_;
            bool& is_lost = is_receive ? receives_lost_ : sends_lost_;
            require(!posted.empty() && posted.front() == c.cookie, "descriptors complete once and in order");
            posted.pop_front();
            if (c.status == vinic::status::success) {
                require(!is_lost, "nothing succeeds after the connection was lost");
                if (is_receive) {
                    look_at_message(c);
                }
            } else {
                is_lost = true;
                require(c.status == vinic::status::flushed || c.status == vinic::status::connection_lost ||
                            (!is_receive && c.status == refusal_),
                        std::string("the others are told of the death, and not ") + vinic::name(c.status));
            }
        }
    }

    void look_at_message(const vinic::completion& c) {
        require(c.length <= 1024, "a message fits its descriptor");
        const auto bytes = me_.bytes(receive_area + c.cookie * 1024, c.length);
        require(multi::first_difference(bytes, subject_seed) == c.length, "a message that arrives is whole");
        if (c.has_immediate && c.immediate == after_write) {
            require(multi::first_difference(target_bytes_.first(written_bytes), subject_seed) == written_bytes,
                    "what was written before a message is there when the message is");
        }
    }

    /// The connection must be reported lost, and the VI must become usable again.
    void lose_subject() {
        if (peer_) {
            peer_ = false;
            const auto made = me_.vi.connect_peer_done();
            if (!made && made.error().code == vinic::errc::not_done) {
                must(me_.vi.disconnect());
            }
        }
        // What the subject has left in its queue may still come, or not at all.
        post_receives(2);
        const bool is_lost = multi::comes_true(
            [&] {
                take_completions();
                return me_.vi.state() != vinic::vi_state::connected && me_.vi.state() != vinic::vi_state::connecting;
            },
            10s);
        require(is_lost, "the partner learns of the death");
        const bool was_connected = me_.vi.state() == vinic::vi_state::error;
        const bool disconnected = multi::comes_true([&] { return me_.vi.disconnect().has_value(); }, 10s);
        require(disconnected, "the partner's VI becomes idle");
        // Receives that were posted and never part of a connection stay.
        if (was_connected) {
            const bool all_done = multi::comes_true(
                [&] {
                    take_completions();
                    return receives_.empty() && sends_.empty();
                },
                10s);
            require(all_done, "every descriptor completes");
        }
        take_completions();
        must(me_.vi.close());
        me_.vi = me_.another_vi();
        receives_.clear();
        sends_.clear();
        receives_lost_ = sends_lost_ = false;
        refusal_ = vinic::status::flushed;
    }

    /// A subject that died inside the region must not keep it busy, nor have left anything impossible in it.
    void take_target_back() {
        if (!target_) {
            return;
        }
        vinic::errc e{};
        const bool closed =
            multi::comes_true([&] { return (e = multi::code_of(target_.close())) != vinic::errc::busy; }, 10s);
        require(closed && e == vinic::errc::ok, std::string("the target region can be closed: ") + vinic::name(e));
        target_ = {};
        std::array<std::uint64_t, target_bytes / 8> words;
        std::memcpy(words.data(), target_bytes_.data(), target_bytes);
        std::array<std::byte, written_bytes> whole;
        multi::fill(whole, subject_seed);
        // A write becomes visible in ascending order: what is there is the beginning of it.
        std::size_t w = 0;
        while (w < written_bytes / 8 && std::memcmp(&words[w], &whole[w * 8], 8) == 0) {
            ++w;
        }
        require(std::all_of(&words[w], &words[written_bytes / 8], [](std::uint64_t word) { return word == 0; }),
                "half a write is its first half");
        require(words[added_word] % addend == 0 && words[added_word] <= 2 * addend, "an atomic happens or does not");
        require(words[swapped_word] == 0 || words[swapped_word] == addend, "a swap happens or does not");
        require(std::all_of(&words[swapped_word + 1], words.data() + words.size(),
                            [](std::uint64_t word) { return word == 0; }),
                "nothing is written beside the target");
    }

    void use_control_plane() {
        auto domain = must(me_.nic.create_domain());
        auto cq = must(me_.nic.create_completion_queue());
        auto buffer = must(me_.nic.allocate(10'000));
        std::memset(buffer.data(), 7, buffer.size());
        auto region = must(domain.register_memory(buffer.bytes(), vinic::access::all));
        for (const char* name : {"subject", "corpse"}) {
            vinic::errc e{};
            // The dead one's name is free as soon as the system has let go of its files.
            const bool is_free =
                multi::comes_true([&] { return (e = multi::code_of(me_.nic.listen(name))) == vinic::errc::ok; }, 5s);
            require(is_free, std::string("the name is free: ") + vinic::name(e));
        }
        must(region.close());
    }

    void talk_with_witness(multi::channel& runner) {
        must(witness_vi_.post_send(me_.at(64, 32), 2));
        runner.say("witness: talk");
        int answers = 0;
        std::array<vinic::completion, 4> done;
        const bool heard = multi::comes_true(
            [&] {
                for (std::size_t n = me_.cq.poll(done); n-- > 0;) {
                    require(done[n].status == vinic::status::success, "the connection of two others goes on");
                    answers += done[n].opcode == vinic::opcode::receive ? 1 : 0;
                }
                return answers == 1;
            },
            10s);
        require(heard, "the witness answers");
        must(witness_vi_.post_receive(me_.at(0, 64), 1));
        require(std::memcmp(me_.bytes(0, 8).data(), "answer!", 8) == 0, "with the right bytes");
    }

    /// Takes what has come and posts receives for more; how many were the witness's.
    std::uint32_t take_datagrams() {
        std::array<vinic::completion, 4> done;
        std::uint32_t heard = 0;
        for (std::size_t n = datagram_cq_.poll(done); n-- > 0;) {
            require(done[n].status == vinic::status::success, "datagrams arrive whole");
            const std::byte* at = me_.bytes(datagram_area + done[n].cookie * datagram_bytes, 8).data();
            heard += done[n].length == 45 && std::memcmp(at, "witness", 8) == 0 ? 1u : 0u;
        }
        while (datagrams_.receives_outstanding() < datagram_depth) {
            const std::uint64_t slot = datagrams_posted_++ % datagram_depth;
            must(datagrams_.post_receive(me_.at(datagram_area + slot * datagram_bytes, datagram_bytes), slot));
        }
        return heard;
    }

    /// What a dead sender left half done must not stay in the way, whether its slot has been used again by now or not:
    /// therefore all receives are taken and posted anew before anybody else sends.
    void hear_datagrams(multi::channel& runner) {
        for (int i = 0; i < 4; ++i) {
            (void)take_datagrams();
        }
        runner.say("witness: datagrams");
        std::uint32_t heard = 0;
        const bool enough = multi::comes_true([&] { return (heard += take_datagrams()) >= 2 * datagram_depth; }, 10s);
        require(enough, "datagrams of the living still arrive: " + std::to_string(heard));
        runner.say("witness: enough");
    }

    endpoint me_;
    vinic::listener listener_;
    vinic::virtual_interface witness_vi_;
    vinic::completion_queue datagram_cq_;
    vinic::virtual_interface datagrams_;
    std::uint64_t datagrams_posted_ = 0;
    std::span<std::byte> foreign_;  ///< memory that the device can only reach by system calls
    std::span<std::byte> target_bytes_;
    vinic::region target_;
    // What is posted on the VI that leads to the subject, and whether its end was seen.
    std::uint64_t receives_posted_ = 0;
    std::deque<std::uint64_t> receives_;
    std::deque<std::uint64_t> sends_;
    bool receives_lost_ = false;
    bool sends_lost_ = false;
    vinic::status refusal_ = vinic::status::flushed;  ///< how else a send may end
    std::future<void> work_;
    std::atomic<bool> end_{false};
    bool peer_ = false;
};

}  // namespace

void be_partner(const std::string& directory, multi::channel& runner) {
    partner p(directory);
    runner.say("listening");
    p.meet_witness();
    runner.say("ready");
    for (std::string word = runner.hear(std::chrono::hours(24)); word != "end";
         word = runner.hear(std::chrono::hours(24))) {
        if (word == "verify") {
            p.verify(runner);
        } else if (word == "keep house") {
            p.keep_house();
            runner.say("kept");
        } else {
            p.prepare(word);
            runner.say("prepared");
        }
    }
}

}  // namespace torture
