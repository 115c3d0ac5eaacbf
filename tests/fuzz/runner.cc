// SPDX-License-Identifier: Apache-2.0
//
// runner.cc -- the loop over steps, and comparing; runner_object.cc makes and closes objects.
#include "runner.hpp"

#include <algorithm>
#include <filesystem>

namespace fuzz {

using vinic::errc;

namespace {

constexpr int steps_max = 300;
constexpr int steps_between_memory_checks = 8;

bool is_empty(const std::string& directory) {
    return std::filesystem::directory_iterator(directory) == std::filesystem::directory_iterator();
}

}  // namespace

std::string play(const std::string& directory, std::span<const std::uint8_t> script) {
    require(is_empty(directory), "the last script left nothing behind");
    input in(script);
    std::string trace;
    try {
        runner r(directory, in);
        try {
            r.run();
        } catch (const violation& v) {
            throw violation(r.trace() + "VIOLATED: " + v.what());
        }
        trace = r.trace();
    } catch (const violation&) {
        // The destructors have run; what is left does not matter any more.
        for (const auto& entry : std::filesystem::directory_iterator(directory)) std::filesystem::remove(entry.path());
        throw;
    }
    if (!is_empty(directory))
        throw violation(trace + "VIOLATED: the last user removes the device file");
    return trace;
}

runner::runner(std::string directory, input& in) : directory_(std::move(directory)), in_(in) {}

std::string runner::trace() const {
    std::string all;
    for (const std::string& line : trace_) all += "  " + line + "\n";
    return all;
}

void runner::expect(errc is, const codes& refusals, const char* call) {
    note(std::string("    ") + call + " -> " + vinic::name(is));
    if (refusals.empty() ? is == errc::ok : refusals.contains(is))
        return;
    std::string wanted = refusals.empty() ? "ok" : "";
    for (const errc e : refusals) wanted += std::string(wanted.empty() ? "" : " or ") + vinic::name(e);
    throw violation(std::string(call) + " answers " + wanted + " and not " + vinic::name(is));
}

void runner::run() {
    make_world();
    for (int i = 0; i < steps_max && !in_.empty(); ++i) {
        step();
        compare();
        if (i % steps_between_memory_checks == 0)
            model_.bytes.check();
    }
    finish();
}

void runner::step() {
    const std::uint32_t choice = in_.below(64);
    if (choice >= 30)
        return use_data_path();
    switch (choice) {
        case 0: {
            nic_slot& slot = nics_[1 + in_.below(2)];
            note(slot.handle ? "drop a nic" : "open a nic");
            if (slot.handle)
                slot = {};
            else
                open_nic(slot, static_cast<int>(in_.below(2)));
            break;
        }
        case 1:
            return in_.one_in(2) ? close_domain(some_domain()) : create_domain(some(nics_), some_free(domains_));
        case 2:
            return in_.one_in(2) ? close_cq(some_cq()) : create_cq(some(nics_), some_free(cqs_), false);
        case 3:
        case 4:
            return register_region(some_domain(), in_.of(model_.bytes), false);
        case 5:
            return close_region(some(regions_));
        case 6: {
            vi_slot& slot = some_free(vis_);
            return create_vi(slot, some_domain(), random_attributes(false));
        }
        case 7:
            return close_vi(some_vi());
        case 8: {
            vi_slot& slot = some_vi();
            const vinic::address local = random_address();
            return connect_peer(slot, local, random_address());
        }
        case 9:
        case 10:
            return connect_peer_done(some_vi());
        case 11:
            return connect_client();
        case 12:
            return listen();
        case 13:
            return use_names();
        case 14:
            return disconnect(some_vi());
        case 15:
            return change_attributes();
        case 16:
            return resize_cq();
        case 17:
            return move_handles();
        case 18:
            return use_event(some_cq());
        case 19:
        case 20:
            return poll(some_cq(), true);
        case 21:
            return expect_invalid_handles();
        default:
            return make_friends();
    }
}

void runner::use_data_path() {
    switch (in_.below(8)) {
        case 0:
        case 1:
        case 2:
            return post_receives();
        case 3:
        case 4:
        case 5:
            return post_sends();
        default:
            return poll(some_cq(), false);
    }
}

/// What can be seen of every VI at any time.
void runner::compare() {
    for (vi_slot& slot : vis_) {
        if (!slot.handle) {
            require(slot.handle.state() == vinic::vi_state::error, "an empty handle is in state error");
            continue;
        }
        const vi_model& v = *slot.is;
        if (slot.handle.state() != v.state)
            throw violation("VI " + std::to_string(v.context) + " is " + vinic::name(v.state) + " and not " +
                            vinic::name(slot.handle.state()));
        const std::uint32_t sends = slot.handle.sends_outstanding();
        if (sends < v.sends_least() || sends > v.sends_most())
            throw violation("sends_outstanding() is " + std::to_string(v.sends_least()) + " to " +
                            std::to_string(v.sends_most()) + " and not " + std::to_string(sends));
        require(slot.handle.receives_outstanding() == v.receives.size(), "receives_outstanding() counts");
        require(slot.handle.number() == v.number, "a VI keeps its number");
    }
    for (cq_slot& slot : cqs_) {
        if (slot.handle)
            require(slot.handle.queues_attached() == attached(slot.id), "a completion queue counts its queues");
    }
}

/// Everything that was posted is reported, and everything is closed in some order.
void runner::finish() {
    note("finish");
    model_.bytes.check();
    for (vi_slot& slot : vis_) {
        if (slot.handle)
            disconnect(slot);
    }
    drain_all();
    compare();
    for (vi_slot& slot : vis_) {
        if (!slot.handle)
            continue;
        const auto polled = [&](int cq) {
            return std::any_of(cqs_.begin(), cqs_.end(), [&](const cq_slot& c) { return c.handle && c.id == cq; });
        };
        if (polled(slot.is->send_cq))
            require(slot.handle.sends_outstanding() == 0, "after a disconnect every send is reported");
        if (polled(slot.is->receive_cq))
            require(slot.handle.receives_outstanding() == 0, "after a disconnect every receive is reported");
    }
    for (int i = 0; i < 30; ++i) {
        switch (in_.below(6)) {
            case 0:
                close_vi(some_vi());
                break;
            case 1:
                close_region(some(regions_));
                break;
            case 2:
                close_cq(some_cq());
                break;
            case 3:
                close_domain(some_domain());
                break;
            case 4:
                in_.of(nics_) = {};
                break;
            default:
                compare();
        }
    }
    for (region_slot& r : regions_) {
        if (r.handle)
            close_region(r);
    }
    for (vi_slot& v : vis_) {
        if (v.handle)
            close_vi(v);
    }
    model_.bytes.check();
}

}  // namespace fuzz
