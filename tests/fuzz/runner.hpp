// SPDX-License-Identifier: Apache-2.0
//
// runner.hpp -- a script of bytes, played on real devices and compared with the model after every step.
//
//     bytes -> step -> real call -+-> same answer?  same states?  same completions?  same memory?
//                 '--> model -----'
//
//   The beginning of a script makes a small world (a nic or two, memory of every kind, connected VIs), so that few
//   bytes reach far.  Handles live in slots; an empty slot is an empty handle and is used all the same.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "input.hpp"
#include "model.hpp"

namespace fuzz {

inline constexpr auto patience = std::chrono::seconds(20);
inline constexpr std::uint64_t never_mapped = 0x8000'0000'0000'0000;

/// Plays one script with device files in `directory`, which must be empty and is left so.  Throws `violation`.
/// Returns what was done, line by line.
std::string play(const std::string& directory, std::span<const std::uint8_t> script);

class runner {
public:
    runner(std::string directory, input& in);
    void run();
    [[nodiscard]] std::string trace() const;

private:
    struct nic_slot {
        vinic::nic handle;
        vinic::completion_queue housekeeping;  ///< has no VIs: polling it only lets time pass
        int id = 0;
        int device = 0;
    };
    struct domain_slot {
        vinic::domain handle;
        int id = 0;
        int nic = 0;
        int device = 0;
    };
    struct cq_slot {
        vinic::completion_queue handle;
        int id = 0;
        int nic = 0;
        std::uint32_t queues_max = 0;
        bool armed = false;
    };
    struct vi_slot {
        vinic::virtual_interface handle;
        vi_model* is = nullptr;
    };
    struct region_slot {
        vinic::region handle;
        int device = 0;
    };
    struct listener_slot {
        vinic::listener handle;
        int nic = 0;
        int device = 0;
        vinic::address at;
    };
    struct bound_name {
        int device = 0;
        vinic::address at;
        std::uint64_t datagram = 0;  ///< 0: a listener
    };

    // runner.cc
    void step();
    void use_data_path();
    void finish();
    void compare();
    void note(std::string what) { trace_.push_back(std::move(what)); }
    template <class T>
    vinic::errc outcome(const vinic::result<T>& r);
    void expect(vinic::errc is, const codes& refusals, const char* call);

    // runner_object.cc
    void make_world();
    void open_nic(nic_slot& slot, int device);
    void create_domain(nic_slot& owner, domain_slot& slot);
    void close_domain(domain_slot& slot);
    void create_cq(nic_slot& owner, cq_slot& slot, bool gently);
    void close_cq(cq_slot& slot);
    void resize_cq();
    void register_region(domain_slot& owner, area& a, bool gently);
    void close_region(region_slot& slot);
    void create_vi(vi_slot& slot, domain_slot& owner, vinic::vi_attributes wanted);
    void close_vi(vi_slot& slot);
    void forget_vi(vi_slot& slot);
    void change_attributes();
    void use_names();
    void move_handles();
    vinic::vi_attributes random_attributes(bool gently);
    vinic::address random_address();
    [[nodiscard]] std::uint32_t attached(int cq) const;
    /// One of the slots, in most cases one with a handle if there is any.
    template <class Slots>
    auto& some(Slots& slots) {
        const std::uint8_t b = in_.byte();
        std::size_t i = b % slots.size();
        for (std::size_t tries = 0; b < 224 && !slots[i].handle && tries < slots.size(); ++tries)
            i = (i + 1) % slots.size();
        return slots[i];
    }
    /// Likewise one without.
    template <class Slots>
    auto& some_free(Slots& slots) {
        const std::uint8_t b = in_.byte();
        std::size_t i = b % slots.size();
        for (std::size_t tries = 0; b < 224 && slots[i].handle && tries < slots.size(); ++tries)
            i = (i + 1) % slots.size();
        return slots[i];
    }
    domain_slot& some_domain() { return some(domains_); }
    vi_slot& some_vi() { return some(vis_); }
    cq_slot& some_cq() { return some(cqs_); }
    cq_slot& some_cq_of(int nic);
    void expect_invalid_handles();

    // runner_connect.cc
    void connect_peer(vi_slot& slot, const vinic::address& local, const vinic::address& remote);
    void connect_peer_done(vi_slot& slot);
    void make_friends();
    void ask_peer(vi_slot& slot, const vinic::address& local, const vinic::address& remote, bool expires);
    codes connect_refusals(const vi_slot& slot, std::size_t data_bytes, bool names_fit);
    void connect_client();
    void meet(vi_slot& client, listener_slot& at);
    void answer(vi_slot& client, vinic::connection_request& request, vinic::errc& expected, bool& accepted);
    void listen();
    void disconnect(vi_slot& slot);
    [[nodiscard]] static bool fits(const vinic::address& a);
    [[nodiscard]] static bool match(const vi_model& a, const vi_model& b);

    // runner_data.cc
    region_slot& some_region_of(int domain);
    vinic::segment random_segment(const vi_model& v, bool sink, std::uint32_t length_max);
    vinic::remote_address random_remote(const vi_model& v, bool sink, std::uint64_t length);
    void make_harmless(std::uint64_t& address, std::uint64_t length, std::uint32_t key, int device);
    std::uint32_t random_key(std::uint32_t good);
    std::uint32_t random_length();
    request random_request(const vi_model& v);
    void post_sends();
    void post_receives();
    vinic::posted call_post(vi_slot& slot, std::vector<request>& requests);
    void expire_if_due(vi_model& v);
    void poll(cq_slot& slot, bool wait);
    void use_event(cq_slot& slot);
    void drain_all();

    std::string directory_;
    input& in_;
    model model_;
    std::vector<std::string> trace_;
    std::vector<std::uint32_t> stale_keys_;
    std::vector<bound_name> names_;
    int next_id_ = 1;
    std::uint64_t next_cookie_ = 1;
    std::uint64_t next_order_ = 1;
    std::array<nic_slot, 3> nics_;
    std::array<domain_slot, 4> domains_;
    std::array<cq_slot, 4> cqs_;
    std::array<region_slot, 8> regions_;
    std::array<vi_slot, 5> vis_;
    std::array<listener_slot, 2> listeners_;
};

/// How a call ended.  Every error has a known code and says something.
template <class T>
vinic::errc runner::outcome(const vinic::result<T>& r) {
    if (r)
        return vinic::errc::ok;
    const vinic::error& e = r.error();
    require(e.code > vinic::errc::ok && e.code <= vinic::errc::device_removed, "an error's code is documented");
    require(!e.doing.empty() && e.message().size() > e.doing.size(), "an error says what was done and what to do");
    return e.code;
}

}  // namespace fuzz
