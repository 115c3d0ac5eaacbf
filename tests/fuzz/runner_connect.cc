// SPDX-License-Identifier: Apache-2.0
//
// runner_connect.cc -- names, and both ways to connect.  A client that waits does so in a thread of its own, which
// ends within the step.
#include <algorithm>
#include <future>

#include "runner.hpp"

namespace fuzz {

using vinic::errc;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t private_data_bytes_max = 256;

}  // namespace

bool runner::fits(const vinic::address& a) {
    return !a.name.empty() && a.name.size() <= 63 && a.discriminator.size() <= 64;
}

bool runner::match(const vi_model& a, const vi_model& b) {
    return a.attributes.reliability == b.attributes.reliability &&
           a.attributes.transfer_bytes_max == b.attributes.transfer_bytes_max;
}

vinic::address runner::random_address() {
    vinic::address a("left");
    const std::uint8_t form = in_.byte();
    if (form % 2 == 1)
        a.name = "right";
    if (form >= 192)
        a.discriminator = in_.bytes(form % 4u);
    if (form >= 240)
        a.name = in_.text(in_.below(66));
    if (form >= 250)
        a.discriminator.resize(63 + form % 3u);
    return a;
}

codes runner::connect_refusals(const vi_slot& slot, std::size_t data_bytes, bool names_fit) {
    codes refusals;
    if (!slot.handle)
        refusals.insert(errc::invalid_handle);
    else if (slot.is->is_datagram())
        refusals.insert(errc::not_supported);
    else if (slot.is->state != vinic::vi_state::idle)
        refusals.insert(errc::invalid_state);
    if (!names_fit || data_bytes > private_data_bytes_max)
        refusals.insert(errc::invalid_argument);
    return refusals;
}

void runner::connect_peer(vi_slot& slot, const vinic::address& local, const vinic::address& remote) {
    const bool expires = in_.one_in(8);
    if (in_.one_in(16)) {
        codes refusals = connect_refusals(slot, 0, false);
        const auto time = in_.one_in(2) ? vinic::nanoseconds(0) : vinic::nanoseconds(-5);
        expect(outcome(slot.handle.connect_peer(local, remote, time)), refusals, "connect_peer");
        return;
    }
    ask_peer(slot, local, remote, expires);
}

void runner::ask_peer(vi_slot& slot, const vinic::address& local, const vinic::address& remote, bool expires) {
    const std::vector<std::byte> data = in_.bytes(in_.one_in(64) ? 257 : in_.below(4));
    note("connect_peer VI " + std::to_string(slot.handle ? slot.is->context : 0) + (expires ? " (expires)" : ""));
    const codes refusals = connect_refusals(slot, data.size(), fits(local) && fits(remote));
    expect(outcome(
               slot.handle.connect_peer(local, remote, expires ? vinic::nanoseconds(1) : vinic::nanoseconds(1h), data)),
           refusals, "connect_peer");
    if (!refusals.empty())
        return;
    vi_model* other = nullptr;
    for (const auto& v : model_.vis) {
        if (v->open && v->device == slot.is->device && v->asking && v->asking->is == peer_request::state::pending &&
            v->asking->local == remote && v->asking->remote == local &&
            (other == nullptr || v->asking->order < other->asking->order))
            other = v.get();
    }
    vi_model& v = *slot.is;
    v.asking = peer_request{local, remote, next_order_++, expires, peer_request::state::pending, data, {}};
    v.state = vinic::vi_state::connecting;
    if (other == nullptr)
        return;
    if (!match(v, *other)) {
        v.asking->is = other->asking->is = peer_request::state::mismatch;
        return;
    }
    v.asking->is = other->asking->is = peer_request::state::accepted;
    v.asking->answer = other->asking->data;
    other->asking->answer = v.asking->data;
    model_.connect(*other, v);
}

void runner::connect_peer_done(vi_slot& slot) {
    codes refusals;
    bool wait = in_.one_in(2);
    vi_model* v = slot.handle ? slot.is : nullptr;
    if (v == nullptr)
        refusals.insert(errc::invalid_handle);
    else if (!v->asking)
        refusals.insert(errc::invalid_state);
    else if (v->asking->is == peer_request::state::mismatch)
        refusals.insert(errc::attribute_mismatch);
    else if (v->asking->is == peer_request::state::pending)
        refusals.insert(v->asking->expired ? errc::timed_out : errc::not_done);
    wait = wait && !refusals.contains(errc::not_done);
    note("connect_peer_" + std::string(wait ? "wait" : "done") + " VI " +
         std::to_string(v != nullptr ? v->context : 0));
    const auto done = wait ? slot.handle.connect_peer_wait() : slot.handle.connect_peer_done();
    expect(outcome(done), refusals, "connect_peer_done");
    if (v == nullptr || !v->asking || refusals.contains(errc::not_done))
        return;
    if (done) {
        require(done->private_data == v->asking->answer, "private data arrives");
        v->asking.reset();
        model_.establish(*v);
    } else {
        v->asking.reset();
        v->state = vinic::vi_state::idle;
    }
}

/// Two VIs without a connection get one, whatever they were before: so that most of a script is spent connected.
void runner::make_friends() {
    std::vector<vi_slot*> free;
    for (vi_slot& s : vis_) {
        if (s.handle && !s.is->is_datagram() && s.is->state != vinic::vi_state::connected)
            free.push_back(&s);
    }
    if (free.size() < 2)
        return;
    vi_slot& a = *in_.of(free);
    vi_slot& b = *in_.of(free);
    if (a.is == b.is || a.is->device != b.is->device)
        return;
    note("make friends");
    for (vi_slot* slot : {&a, &b}) {
        if (slot->is->state != vinic::vi_state::idle)
            disconnect(*slot);
    }
    vinic::vi_attributes same = b.is->attributes;
    same.reliability = a.is->attributes.reliability;
    same.transfer_bytes_max = a.is->attributes.transfer_bytes_max;
    expect(outcome(b.handle.set_attributes(same)), {}, "set_attributes");
    b.is->attributes = same;
    ask_peer(a, "left", "right", false);
    ask_peer(b, "right", "left", false);
    connect_peer_done(a);
    connect_peer_done(b);
}

void runner::connect_client() {
    vi_slot& client = some_vi();
    listener_slot& at = some(listeners_);
    const bool meets = at.handle && in_.byte() < 240;
    const vinic::address to = meets ? at.at : random_address();
    codes refusals = connect_refusals(client, 0, fits(to));
    const bool listens = std::any_of(names_.begin(), names_.end(), [&](const bound_name& n) {
        return client.handle && n.device == client.is->device && n.at == to && n.datagram == 0;
    });
    if (!listens)
        refusals.insert(errc::no_listener);
    if (!refusals.empty()) {
        note("connect without success");
        expect(outcome(client.handle.connect(to, 10ms)), refusals, "connect");
    } else if (!meets || at.device != client.is->device || in_.one_in(8)) {
        note("connect without answer");
        expect(outcome(client.handle.connect(to, 1ms)), {errc::timed_out}, "connect");
    } else {
        meet(client, at);
    }
}

/// A client and a listener of the same device.
void runner::meet(vi_slot& client, listener_slot& at) {
    const std::vector<std::byte> data = in_.bytes(in_.below(4));
    const std::uint8_t form = in_.byte();
    const bool gives_up = form % 16 == 1;
    const bool deserted = form % 16 == 2;
    note("meet: VI " + std::to_string(client.is->context));
    auto connecting = std::async(std::launch::async, [&] {
        return client.handle.connect(at.at, gives_up ? vinic::nanoseconds(5ms) : vinic::nanoseconds(patience), data);
    });
    if (deserted) {
        const auto end = std::chrono::steady_clock::now() + patience;
        while (client.handle.state() != vinic::vi_state::connecting && std::chrono::steady_clock::now() < end)
            std::this_thread::yield();
        std::erase_if(names_, [&](const bound_name& n) { return n.device == at.device && n.at == at.at; });
        at = {};
        expect(outcome(connecting.get()), {errc::no_listener}, "connect to a listener that goes");
        return;
    }
    auto request = at.handle.wait(gives_up ? vinic::nanoseconds(4ms) : vinic::nanoseconds(patience));
    if (gives_up) {
        expect(outcome(connecting.get()), {errc::timed_out}, "connect");
        vi_slot& other = some_vi();
        if (request && other.handle)
            expect(outcome(request->accept(other.handle)), {errc::peer_gone}, "accept");
        return;
    }
    expect(outcome(request), {}, "listener::wait");
    require(request->peer().private_data == data && request->peer().vi == client.is->number,
            "a request tells who asks");
    errc expected = errc::rejected;
    bool accepted = false;
    std::vector<std::byte> said = in_.bytes(in_.below(4));
    vi_slot& server = some_vi();
    if (form % 16 != 3) {
        codes refusals;
        if (!server.handle)
            refusals.insert(errc::invalid_handle);
        else if (server.is->nic != at.nic)
            refusals.insert(errc::invalid_argument);
        else if (server.is == client.is || server.is->state != vinic::vi_state::idle)
            refusals.insert(errc::invalid_state);
        else if (!match(*client.is, *server.is))
            refusals.insert(errc::attribute_mismatch);
        const errc answered = outcome(request->accept(server.handle, said));
        accepted = answered == errc::ok;
        if (server.handle && server.is->nic == at.nic && !accepted && !refusals.empty())
            refusals.insert({errc::invalid_state, errc::attribute_mismatch});
        expect(answered, refusals, "accept");
    }
    if (accepted) {
        expected = errc::ok;
        model_.connect(*client.is, *server.is);
        model_.establish(*server.is);
    } else if (form % 2 == 0) {
        expect(outcome(request->reject(said)), {}, "reject");
    } else {
        said.clear();
        *request = vinic::connection_request{};
    }
    const auto connected = connecting.get();
    expect(outcome(connected), expected == errc::ok ? codes{} : codes{expected}, "connect");
    require((connected ? connected->private_data : client.handle.rejection_data()) == said, "private data arrives");
    if (accepted) {
        require(connected->vi == server.is->number, "the client learns who accepted");
        model_.establish(*client.is);
    }
}

void runner::listen() {
    listener_slot& slot = in_.of(listeners_);
    if (slot.handle && in_.one_in(2)) {
        note("wait for a client that does not come");
        expect(outcome(slot.handle.wait(vinic::nanoseconds(in_.byte()))), {errc::timed_out}, "listener::wait");
        return;
    }
    if (slot.handle) {
        note("drop a listener");
        std::erase_if(names_, [&](const bound_name& n) { return n.device == slot.device && n.at == slot.at; });
        slot = {};
        expect(outcome(slot.handle.wait(1ms)), {errc::invalid_handle}, "listener::wait");
        return;
    }
    nic_slot& owner = some(nics_);
    const vinic::address at = random_address();
    note("listen at '" + at.name + "' of nic " + std::to_string(owner.id));
    codes refusals;
    if (!owner.handle)
        refusals.insert(errc::invalid_handle);
    if (!fits(at))
        refusals.insert(errc::invalid_argument);
    if (std::any_of(names_.begin(), names_.end(),
                    [&](const bound_name& n) { return n.device == owner.device && n.at == at; }))
        refusals.insert(errc::name_in_use);
    auto made = owner.handle.listen(at);
    expect(outcome(made), refusals, "listen");
    if (!made)
        return;
    slot = {std::move(*made), owner.id, owner.device, at};
    names_.push_back({owner.device, at, 0});
}

void runner::use_names() {
    nic_slot& nic = some(nics_);
    const vinic::address at = random_address();
    const auto taken = [&](int device) {
        return std::find_if(names_.begin(), names_.end(),
                            [&](const bound_name& n) { return n.device == device && n.at == at; });
    };
    vi_slot& slot = some_vi();
    codes refusals;
    note("bind, resolve and list names");
    if (!slot.handle)
        refusals.insert(errc::invalid_handle);
    else if (!slot.is->is_datagram())
        refusals.insert(errc::not_supported);
    else if (taken(slot.is->device) != names_.end())
        refusals.insert(errc::name_in_use);
    if (!fits(at))
        refusals.insert(errc::invalid_argument);
    expect(outcome(slot.handle.bind(at)), refusals, "bind");
    if (refusals.empty())
        names_.push_back({slot.is->device, at, slot.is->datagram});

    refusals.clear();
    const auto found = taken(nic.device);
    if (!nic.handle)
        refusals.insert(errc::invalid_handle);
    else if (found == names_.end() || found->datagram == 0)
        refusals.insert(errc::no_listener);
    if (!fits(at))
        refusals.insert(errc::invalid_argument);
    const auto resolved = nic.handle.resolve(at);
    expect(outcome(resolved), refusals, "resolve");
    require(!resolved || resolved->value == found->datagram, "a name leads to the VI that was bound");
    const auto all = nic.handle.names();
    expect(outcome(all), nic.handle ? codes{} : codes{errc::invalid_handle}, "names");
    if (!all)
        return;
    const auto here = [&](const bound_name& n) { return n.device == nic.device; };
    require(all->size() == static_cast<std::size_t>(std::count_if(names_.begin(), names_.end(), here)),
            "names() has every name once");
    for (const bound_name& n : names_)
        require(!here(n) || std::find(all->begin(), all->end(), n.at) != all->end(), "names() has every name");
}

void runner::disconnect(vi_slot& slot) {
    note("disconnect VI " + std::to_string(slot.handle ? slot.is->context : 0));
    if (slot.handle)
        model_.disconnect(*slot.is);
    expect(outcome(slot.handle.disconnect()), slot.handle ? codes{} : codes{errc::invalid_handle}, "disconnect");
}

}  // namespace fuzz
