// SPDX-License-Identifier: Apache-2.0
//
// scenarios.cc -- what each subject does, and the processes that live through it.
#include "torture/scenarios.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <string_view>

#include "multi/endpoint.hpp"

namespace torture {

namespace {

using namespace std::chrono_literals;
using multi::endpoint;
using multi::must;

/// Begins the subject's memory, and holds what it sends.
constexpr std::size_t message_area = 8192;

vinic::nic open_at(const std::string& directory, const char* device = step_device) {
    return must(vinic::nic::open(device, {.directory = directory, .group = {}}));
}

/// The subject's endpoint lives as long as the subject: what it owns is left to the device.
std::shared_ptr<endpoint> new_endpoint(const std::string& directory, std::uint32_t receives = 0) {
    auto e = std::make_shared<endpoint>(open_at(directory));
    multi::fill(e->bytes(0, message_area), subject_seed);
    for (std::uint32_t i = 0; i < receives; ++i) {
        must(e->vi.post_receive(e->at(message_area + i * 1024, 1024), i));
    }
    return e;
}

std::shared_ptr<endpoint> connected_endpoint(const std::string& directory, std::uint32_t receives = 0) {
    auto e = new_endpoint(directory, receives);
    multi::connect_patiently(e->vi, "partner");
    return e;
}

std::function<void()> open_device(const std::string& directory) {
    return [directory] { static auto nic = open_at(directory); };
}

std::function<void()> leave_device(const std::string& directory) {
    auto e = std::make_shared<std::shared_ptr<endpoint>>(connected_endpoint(directory, 2));
    return [e] { e->reset(); };
}

std::function<void()> create_everything(const std::string& directory) {
    static vinic::nic nic = open_at(directory);
    return [] {
        static auto domain = must(nic.create_domain());
        static auto cq = must(nic.create_completion_queue());
        static auto buffer = must(nic.allocate(100'000));
        static auto region = must(domain.register_memory(buffer.bytes(), vinic::access::all));
        vinic::vi_attributes a;
        a.send_cq = &cq;
        a.receive_cq = &cq;
        static auto vi = must(domain.create_vi(a));
        a.receiver_wait = 1s;
        must(vi.set_attributes(a));
        must(cq.resize(64));
        (void)must(cq.arm());
        (void)must(nic.names());
        static auto listener = must(nic.listen("subject"));
        must(vi.close());
        must(region.close());
        must(cq.close());
        must(domain.close());
    };
}

std::function<void()> adopt_memory(const std::string& directory) {
    auto e = new_endpoint(directory);
    constexpr std::size_t bytes = 16 * 4096;
    void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    multi::require(p != MAP_FAILED, "memory can be mapped");
    std::memset(p, 1, bytes);
    return [e, p] {
        auto region = must(
            e->domain.register_memory({static_cast<std::byte*>(p), bytes}, vinic::access::all, {vinic::adopt::safe}));
        must(region.close());
    };
}

std::function<void()> connect_to_partner(const std::string& directory) {
    auto e = new_endpoint(directory, 2);
    return [e] { (void)e->vi.connect("partner", 5s); };
}

std::function<void()> meet_partner_as_peer(const std::string& directory) {
    auto e = new_endpoint(directory, 2);
    return [e] {
        must(e->vi.connect_peer("subject", "partner", 5s));
        (void)e->vi.connect_peer_wait();
    };
}

std::function<void()> accept_partner(const std::string& directory) {
    auto e = new_endpoint(directory, 2);
    auto listener = std::make_shared<vinic::listener>(must(e->nic.listen("subject")));
    return [e, listener] {
        if (auto request = listener->wait(5s)) {
            (void)request->accept(e->vi);
        }
    };
}

std::function<void()> move_data(const std::string& directory) {
    auto e = connected_endpoint(directory);
    return [e] {
        const vinic::remote_address there = e->memory.remote(8192);  // refused or not: the way there is what counts
        for (const std::size_t n : {8u, 40u, 1000u, 300u}) {
            (void)e->vi.post_send(e->at(0, n), n, vinic::send_flag::immediate, 1);
        }
        (void)e->vi.post_write(e->at(0, 64), there, 5, vinic::send_flag::unsignalled);
        std::array<vinic::completion, 8> done;
        (void)e->cq.poll(done);
    };
}

std::function<void()> hand_over_sends(const std::string& directory) {
    auto e = connected_endpoint(directory);
    return [e] {
        for (std::uint64_t i = 0; i < 4; ++i) {
            (void)e->vi.post_send(e->at(0, 500), i);
        }
    };
}

/// Writes, reads and atomics at the target that the partner offers, and a message behind them.
std::function<void()> access_target(const std::string& directory, bool with_atomics) {
    auto e = new_endpoint(directory);
    const auto partner = must(e->vi.connect("partner", multi::patience));
    const vinic::remote_address there = multi::remote_from(text_of(partner));
    return [e, there, with_atomics] {
        const std::size_t old = message_area;
        (void)e->vi.post_write(e->at(0, written_bytes), there, 1);
        (void)e->vi.post_send(e->at(0, 100), 2, vinic::send_flag::immediate, after_write);
        (void)e->vi.post_read(e->at(old + 64, 200), there, 3);
        for (int i = 0; with_atomics && i < 2; ++i) {
            (void)e->vi.post_fetch_add(e->at(old, 8), there + added_word * 8, addend, 4);
            (void)e->vi.post_compare_swap(e->at(old + 8, 8), there + swapped_word * 8, 0, addend, 5);
        }
        (void)e->vi.post_send(e->at(0, 20), 6, vinic::send_flag::immediate, after_write);
        std::array<vinic::completion, 8> done;
        (void)e->cq.poll(done);
    };
}

std::function<void()> use_rdma(const std::string& directory) { return access_target(directory, true); }
std::function<void()> reach_foreign_memory(const std::string& directory) { return access_target(directory, false); }

/// The partner gives up and asks again when the machine is busy.
void accept_patiently(endpoint& e, vinic::listener& at, std::string_view data) {
    vinic::errc code{};
    do {
        auto request = must(at.wait(multi::patience));
        code = multi::code_of(request.accept(e.vi, std::as_bytes(std::span(data))));
    } while (code == vinic::errc::peer_gone);
    must(code);
}

/// The partner writes to memory of the subject, which withdraws it and offers it again.
std::function<void()> withdraw_memory(const std::string& directory, int sharing) {
    auto e = new_endpoint(directory);
    void* p = ::mmap(nullptr, target_bytes, PROT_READ | PROT_WRITE, sharing | MAP_ANONYMOUS, -1, 0);
    multi::require(p != MAP_FAILED, "memory can be mapped");
    const std::span<std::byte> bytes(static_cast<std::byte*>(p), target_bytes);
    std::ranges::fill(bytes, std::byte{1});
    constexpr auto rights = vinic::access::local_write | vinic::access::remote_write | vinic::access::remote_read;
    const vinic::registration how{sharing == MAP_PRIVATE ? vinic::adopt::safe : vinic::adopt::no};
    auto region = std::make_shared<vinic::region>(must(e->domain.register_memory(bytes, rights, how)));
    auto listener = must(e->nic.listen("subject"));
    accept_patiently(*e, listener, multi::to_words(region->remote()));
    std::this_thread::sleep_for(2ms);
    return [e, region, bytes, how] {
        (void)region->close();
        auto again = must(e->domain.register_memory(bytes, rights, how));
        (void)again.close();
        (void)e->vi.close();
    };
}

std::function<void()> withdraw_adopted(const std::string& directory) { return withdraw_memory(directory, MAP_PRIVATE); }
std::function<void()> withdraw_foreign(const std::string& directory) { return withdraw_memory(directory, MAP_SHARED); }

std::function<void()> reject_partner(const std::string& directory) {
    auto e = new_endpoint(directory);
    auto listener = std::make_shared<vinic::listener>(must(e->nic.listen("subject")));
    return [e, listener] {
        if (auto request = listener->wait(5s)) {
            (void)request->reject(std::as_bytes(std::span("no")));
        }
    };
}

/// The partner connects and sends; its messages wait for the subject's receives.
std::shared_ptr<endpoint> endpoint_with_messages_coming(const std::string& directory, std::uint32_t receives) {
    auto e = new_endpoint(directory, receives);
    auto listener = must(e->nic.listen("subject"));
    accept_patiently(*e, listener, "");
    std::this_thread::sleep_for(2ms);
    return e;
}

std::function<void()> take_over_sends(const std::string& directory) {
    auto e = endpoint_with_messages_coming(directory, 0);
    return [e] {
        for (std::uint64_t i = 0; i < 6; ++i) {
            (void)e->vi.post_receive(e->at(message_area + i * 1024, 1024), i);
        }
    };
}

std::function<void()> poll_messages(const std::string& directory) {
    auto e = endpoint_with_messages_coming(directory, 8);
    return [e] {
        std::array<vinic::completion, 2> done;
        for (int i = 0; i < 4; ++i) {
            (void)e->cq.wait(done, 2ms);
        }
    };
}

std::function<void()> disconnect_from_partner(const std::string& directory) {
    auto e = connected_endpoint(directory, 4);
    for (std::uint64_t i = 0; i < 6; ++i) {
        must(e->vi.post_send(e->at(0, 500), i));
    }
    return [e] {
        (void)e->vi.disconnect();
        std::array<vinic::completion, 16> done;
        (void)e->cq.poll(done);
        (void)e->vi.close();
    };
}

std::function<void()> send_datagrams(const std::string& directory) {
    auto e = new_endpoint(directory);
    vinic::vi_attributes a = e->attributes();
    a.service = vinic::service::datagram;
    a.reliability = vinic::reliability::unreliable;
    auto vi = std::make_shared<vinic::virtual_interface>(must(e->domain.create_vi(a)));
    const auto to = must(e->nic.resolve("partner's datagrams"));
    return [e, vi, to] {
        for (const std::uint32_t n : {10u, 500u, 40u}) {
            const vinic::segment s = e->at(0, n);
            (void)vi->send_to(to, {&s, 1}, n);
        }
    };
}

std::function<void()> open_lonely_device(const std::string& directory) {
    return [directory] { endpoint e(open_at(directory, lonely_device)); };
}

}  // namespace

const std::vector<scenario>& scenarios() {
    static const std::vector<scenario> all = {
        {"open", "rest", false, open_device},
        {"leave", "accept 2", false, leave_device},
        {"create", "rest", false, create_everything},
        {"adopt", "rest", false, adopt_memory},
        {"connect", "accept 2", false, connect_to_partner},
        {"accept", "connect", false, accept_partner},
        {"reject", "connect", false, reject_partner},
        {"peer", "peer", false, meet_partner_as_peer},
        {"move", "accept 8", false, move_data},
        {"rdma", "accept 4", false, use_rdma},
        {"foreign", "accept 4 foreign", false, reach_foreign_memory},
        {"withdraw", "write", false, withdraw_adopted},
        {"withdraw_foreign", "write", false, withdraw_foreign},
        {"hand_over", "accept 0", false, hand_over_sends},
        {"take_over", "send 8", false, take_over_sends},
        {"poll", "send 4", false, poll_messages},
        {"disconnect", "accept 2", false, disconnect_from_partner},
        {"datagram", "rest", false, send_datagrams},
        {"bury", "accept 2", true, open_device},
        {"lonely", "rest", false, open_lonely_device},
    };
    return all;
}

std::string text_of(const vinic::peer_information& peer) {
    return {reinterpret_cast<const char*>(peer.private_data.data()), peer.private_data.size()};
}

void be_stranger(const std::string& directory) {
    endpoint e(open_at(directory));
    auto listener = must(e.nic.listen("stranger"));
    multi::require(!must(e.nic.names()).empty(), "the device has names");
    endpoint alone(open_at(directory, lonely_device));
}

void be_corpse(const std::string& directory, multi::channel& runner) {
    auto e = connected_endpoint(directory, 4);
    auto listener = must(e->nic.listen("corpse"));
    for (std::uint64_t i = 0; i < 4; ++i) {
        must(e->vi.post_send(e->at(0, 500), i));
    }
    runner.say("ready");
    runner.hear("never");
}

void be_witness(const std::string& directory, multi::channel& runner) {
    endpoint me(must(vinic::nic::open(step_device, {.directory = directory, .group = {}})));
    multi::connect_patiently(me.vi, "partner");
    vinic::vi_attributes a = me.attributes();
    a.service = vinic::service::datagram;
    a.reliability = vinic::reliability::unreliable;
    auto datagrams = must(me.domain.create_vi(a));
    std::memcpy(me.bytes(1024, 8).data(), "answer!", 8);
    std::memcpy(me.bytes(2048, 8).data(), "witness", 8);
    must(me.vi.post_receive(me.at(0, 64), 1));
    runner.say("ready");
    for (std::string word = runner.hear(std::chrono::hours(24)); word != "end";
         word = runner.hear(std::chrono::hours(24))) {
        if (word == "talk") {
            multi::require(me.next().status == vinic::status::success, "the partner's word comes");
            must(me.vi.post_receive(me.at(0, 64), 1));
            must(me.vi.post_send(me.at(1024, 32), 2, vinic::send_flag::unsignalled));
        } else if (word == "datagrams") {
            const auto to = must(me.nic.resolve("partner's datagrams"));
            const vinic::segment s = me.at(2048, 45);
            while (!runner.has_word()) {
                must(datagrams.send_to(to, {&s, 1}, 1, vinic::send_flag::unsignalled));
                std::this_thread::sleep_for(100us);
            }
        }
    }
}

}  // namespace torture
