// SPDX-License-Identifier: Apache-2.0
//
// participant.cc -- the loop of a participant, its connections and its acceptor.
#include "torture/participant.hpp"

#include <sys/mman.h>

#include <cstring>

#include "multi/process.hpp"

namespace torture {

namespace {

using namespace std::chrono_literals;
using multi::must;

constexpr std::uint32_t exam_messages = 40;

std::string listener_name(std::uint32_t seat) { return "seat " + std::to_string(seat); }

std::span<const std::byte> bytes_of(const introduction& i) { return std::as_bytes(std::span(&i, 1)); }

introduction introduction_from(const std::vector<std::byte>& data) {
    introduction i{};
    if (data.size() == sizeof i) {
        std::memcpy(&i, data.data(), sizeof i);
    }
    return i;
}

vinic::result<vinic::listener> listen_patiently(vinic::nic& nic, const std::string& name) {
    vinic::result<vinic::listener> made;
    // The one who sat here before may not have been found dead yet.
    (void)multi::comes_true([&] {
        made = nic.listen(std::string_view(name));
        return made || made.error().code != vinic::errc::name_in_use;
    });
    return made;
}

}  // namespace

participant::participant(ledger& book, participant_options options)
    : book_(book), options_(std::move(options)), random_(options_.seed) {
    doing("opening");
    nic_ = must(vinic::nic::open(options_.device, {.directory = options_.directory, .group = {}}));
    domain_ = must(nic_.create_domain());
    cq_ = must(nic_.create_completion_queue());
    words_ = must(nic_.allocate(links_max * 64));
    words_region_ = must(domain_.register_memory(words_.bytes(), vinic::access::all));
    constexpr std::size_t bytes = pattern_bytes + links_max * area_bytes;
    const std::uint64_t kind = random_.below(4);
    if (kind < 2) {
        memory_buffer_ = must(nic_.allocate(bytes));
        memory_ = memory_buffer_.bytes();
    } else {
        // Private pages are adopted below, shared ones stay foreign.
        void* p = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, (kind == 2 ? MAP_PRIVATE : MAP_SHARED) | MAP_ANONYMOUS,
                         -1, 0);
        multi::require(p != MAP_FAILED, "memory can be mapped");
        memory_ = {static_cast<std::byte*>(p), bytes};
    }
    make_pattern(memory_.first(pattern_bytes), pattern_seed(options_.seat, options_.incarnation));
    memory_region_ = must(domain_.register_memory(
        memory_, vinic::access::local_write | vinic::access::remote_write | vinic::access::remote_read,
        {vinic::adopt::safe}));
    datagrams_ = std::make_unique<datagrams>(book_, options_, nic_, domain_, cq_);
    listener_ = must(listen_patiently(nic_, listener_name(options_.seat)));
    acceptor_ = std::thread([this] {
        try {
            accept_loop();
        } catch (const std::exception& e) {
            book_.fail("seat %u, acceptor: %s", options_.seat, e.what());
        }
    });
}

participant::~participant() {
    end_.store(true);
    if (acceptor_.joinable()) {
        acceptor_.join();
    }
}

void participant::run() {
    while (book_.now.load() != phase::leave && book_.failures.load() == 0) {
        book_.seat_of[options_.seat].progress.fetch_add(1, std::memory_order_relaxed);
        step();
    }
    doing("leaving");
}

void participant::step() {
    switch (book_.now.load()) {
        case phase::work:
            work();
            break;
        case phase::settle:
            settle();  // also when calm already: a slow peer may have asked for a connection before it knew
            break;
        case phase::exam:
            exam();
            break;
        case phase::leave:
            break;
    }
}

// -- links ------------------------------------------------------------------------------------------

vinic::virtual_interface participant::make_vi(std::uint32_t area, bool reliable, bool limited) {
    vinic::vi_attributes a;
    a.reliability = reliable ? vinic::reliability::delivery : vinic::reliability::unreliable;
    a.receiver_wait = limited ? vinic::nanoseconds(100ms) : vinic::forever;
    a.send_cq = &cq_;
    a.receive_cq = &cq_;
    a.receive_depth = receive_slots;
    a.context = area;
    auto& spares = spare_vis_[reliable ? 1 : 0][limited ? 1 : 0];
    if (!spares.empty()) {
        vinic::virtual_interface vi = std::move(spares.back());
        spares.pop_back();
        must(vi.set_attributes(a));
        return vi;
    }
    return must(domain_.create_vi(a));
}

std::unique_ptr<link> participant::make_link(std::uint32_t record, std::uint64_t id, int side, bool reliable,
                                             bool limited) {
    const std::lock_guard hold(links_mutex_);
    for (std::uint32_t i = 0; i < links_max; ++i) {
        if (used_[i]) {
            continue;
        }
        used_[i] = true;
        area a;
        a.index = i;
        a.words_region = &words_region_;
        a.memory_region = &memory_region_;
        a.words = reinterpret_cast<std::uint64_t*>(words_.data() + i * 64);
        a.memory = memory_.data() + pattern_bytes + i * area_bytes;
        auto made = std::make_unique<link>(book_, options_.seat, a, record, id, side);
        made->reliable = reliable;
        made->limited = limited;
        made->vi = make_vi(i, reliable, limited);
        return made;
    }
    return nullptr;
}

void participant::open_record(std::uint32_t record, std::uint64_t id, int side, bool reliable) {
    link_record& l = book_.records[record];
    if (side == 0) {
        for (side_record& s : l.side) {
            s.state.store(side_state::none);
            s.posted.store(0);
            s.completed.store(0);
            s.received.store(0);
            s.adds_posted.store(0);
            s.adds_completed.store(0);
            s.word.store(0);
        }
        l.reliable.store(reliable);
    }
    side_record& mine = l.side[side];
    mine.seat.store(options_.seat);
    mine.incarnation.store(options_.incarnation);
    mine.state.store(side_state::open);
    if (side == 0) {
        l.id.store(id);
    }
}

bool participant::connect(std::uint32_t to) {
    const bool reliable = book_.now.load() == phase::exam || !random_.one_in(5);
    const bool limited = reliable && book_.now.load() != phase::exam && random_.one_in(4);
    const std::uint64_t id = book_.next_record.fetch_add(1) + 1;
    const auto record = static_cast<std::uint32_t>(id % records_max);
    auto made = make_link(record, id, 0, reliable, limited);
    if (!made) {
        return false;
    }
    doing("connecting");
    if (book_.records[record].id.load() != 0) {
        book_.fail("the ledger is full: connection %llu is not over yet",
                   static_cast<unsigned long long>(book_.records[record].id.load()));
        return false;
    }
    open_record(record, id, 0, reliable);
    made->post_receives();
    const introduction me = made->introduce(options_.incarnation, reinterpret_cast<std::uint64_t>(memory_.data()));
    const std::string name = listener_name(to);
    const auto peer =
        made->vi.connect(std::string_view(name), std::chrono::milliseconds(20 + random_.below(200)), bytes_of(me));
    doing("working");
    const std::uint32_t index = made->place().index;
    if (!peer) {
        const vinic::errc e = peer.error().code;
        if (e != vinic::errc::no_listener && e != vinic::errc::timed_out && e != vinic::errc::rejected &&
            e != vinic::errc::peer_gone) {
            book_.fail("seat %u: connecting to seat %u: %s", options_.seat, to, peer.error().message().c_str());
        }
        made->refused();
    } else {
        made->opened(introduction_from(peer->private_data));
    }
    const std::lock_guard hold(links_mutex_);
    links_[index] = std::move(made);
    ready_[index] = true;
    return peer.has_value();
}

// -- the acceptor -------------------------------------------------------------------------------------

void participant::accept_loop() {
    while (!end_.load()) {
        book_.seat_of[options_.seat].acceptor_progress.fetch_add(1, std::memory_order_relaxed);
        auto request = listener_.wait(10ms);
        if (request) {
            accept(*request);
        } else if (request.error().code != vinic::errc::timed_out) {
            book_.fail("seat %u: listening: %s", options_.seat, request.error().message().c_str());
            return;
        }
    }
}

void participant::accept(vinic::connection_request& request) {
    const introduction peer = introduction_from(request.peer().private_data);
    if (peer.id == 0 || peer.record >= records_max) {
        book_.fail("seat %u: a request without an introduction", options_.seat);
        return;
    }
    const vinic::vi_attributes& theirs = request.peer().attributes;
    const bool reliable = theirs.reliability != vinic::reliability::unreliable;
    if (book_.now.load() == phase::work && peer.id % 16 == 0) {
        (void)request.reject();
        return;
    }
    auto made = make_link(peer.record, peer.id, 1, reliable, reliable && theirs.receiver_wait != vinic::forever);
    if (!made) {
        return;  // the destructor rejects
    }
    open_record(peer.record, peer.id, 1, reliable);
    made->post_receives();
    const introduction me = made->introduce(options_.incarnation, reinterpret_cast<std::uint64_t>(memory_.data()));
    const std::uint32_t index = made->place().index;
    link* const l = made.get();
    {
        const std::lock_guard hold(links_mutex_);
        links_[index] = std::move(made);
        ready_[index] = false;
    }
    if (const auto accepted = request.accept(l->vi, bytes_of(me)); accepted) {
        l->opened(peer);
    } else {
        if (accepted.error().code != vinic::errc::peer_gone) {
            book_.fail("seat %u: accepting seat %u: %s", options_.seat, peer.seat, accepted.error().message().c_str());
        }
        l->refused();
    }
    const std::lock_guard hold(links_mutex_);
    ready_[index] = true;
}

// -- the main thread's rounds ---------------------------------------------------------------------------

void participant::poll(std::chrono::nanoseconds timeout) {
    std::array<vinic::completion, 24> done;
    const auto n = cq_.wait(std::span(done).first(1 + random_.below(done.size())), timeout);
    if (!n) {
        book_.fail("seat %u: waiting: %s", options_.seat, n.error().message().c_str());
        return;
    }
    for (std::size_t i = 0; i < *n; ++i) {
        if (done[i].vi_context == datagrams::context) {
            datagrams_->take(done[i]);
            continue;
        }
        link* l = nullptr;
        {
            const std::lock_guard hold(links_mutex_);
            l = done[i].vi_context < links_max ? links_[done[i].vi_context].get() : nullptr;
        }
        if (l == nullptr) {
            book_.fail("seat %u: a completion of VI %u, context %llu, where no link is", options_.seat, done[i].vi,
                       static_cast<unsigned long long>(done[i].vi_context));
            return;
        }
        l->take(done[i]);
    }
    datagrams_->post_receives();
}

void participant::drop_finished_links() {
    const std::lock_guard hold(links_mutex_);
    for (std::uint32_t i = 0; i < links_max; ++i) {
        if (links_[i] == nullptr || !ready_[i] || links_[i]->now() != link::state::over) {
            continue;
        }
        link& l = *links_[i];
        if (l.vi.state() == vinic::vi_state::error) {
            // A connect that failed because the acceptor died half way.
            if (const auto e = l.vi.disconnect(); !e) {
                continue;
            }
        }
        const bool clean = l.vi.receives_outstanding() == 0 && l.vi.sends_outstanding() == 0;
        if (clean && random_.one_in(2) && book_.now.load() == phase::work) {
            spare_vis_[l.reliable ? 1 : 0][l.limited ? 1 : 0].push_back(std::move(l.vi));
        } else if (!l.vi.close()) {
            continue;
        }
        links_[i].reset();
        used_[i] = false;
    }
}

std::optional<std::uint32_t> participant::other_seat() {
    const auto other = static_cast<std::uint32_t>(random_.below(book_.seats.load()));
    return other == options_.seat ? std::nullopt : std::optional(other);
}

/// Registers memory that comes and goes, of a kind that can be adopted.
void participant::register_something() {
    doing("registering");
    book_.count(options_.seat, registrations);
    if (extra_region_) {
        if (auto r = extra_region_.close(); !r && r.error().code != vinic::errc::busy) {
            book_.fail("seat %u: closing a region: %s", options_.seat, r.error().message().c_str());
        }
        if (!extra_region_ && !is_pattern(extra_, extra_.size())) {
            book_.fail("seat %u: memory that was registered has changed", options_.seat);
        }
        return;
    }
    extra_.assign(1000 + random_.below(300'000), std::byte{0});
    make_pattern(extra_, extra_.size());
    auto made = domain_.register_memory(extra_, vinic::access::local_write | vinic::access::remote_write,
                                        {random_.one_in(4) ? vinic::adopt::no : vinic::adopt::safe});
    if (!made) {
        book_.fail("seat %u: registering: %s", options_.seat, made.error().message().c_str());
        return;
    }
    extra_region_ = std::move(*made);
}

void participant::work() {
    doing("working");
    poll(random_.one_in(3) ? 200us : 0us);
    drop_finished_links();
    std::uint32_t open = 0;
    for (std::uint32_t i = 0; i < links_max; ++i) {
        link* l = nullptr;
        {
            const std::lock_guard hold(links_mutex_);
            l = ready_[i] ? links_[i].get() : nullptr;
        }
        if (l == nullptr) {
            continue;
        }
        ++open;
        if (l->now() == link::state::open && (l->vi.state() == vinic::vi_state::error || random_.one_in(3000))) {
            doing("ending a link");
            l->end();
        } else if (l->now() == link::state::closing) {
            doing("ending a link");
            l->end();
        } else if (l->now() == link::state::open) {
            doing("posting");
            if (random_.one_in(1500)) {
                l->be_slow(std::chrono::steady_clock::now() + std::chrono::milliseconds(random_.below(150)));
                book_.count(options_.seat, slow_phases);
            }
            l->post_receives();
            l->work(random_, random_.below(6));
        }
    }
    if (const auto other = other_seat(); other && open < links_max - 4 && (open < 3 || random_.one_in(200))) {
        (void)connect(*other);
    }
    if (random_.one_in(300)) {
        register_something();
    }
    if (const auto other = other_seat(); other && random_.one_in(20)) {
        doing("sending a datagram");
        datagrams_->send(random_, *other);
    }
}

/// Nothing new; true calm is when no link, no spare VI and no extra region is left.
void participant::settle() {
    doing("settling");
    poll(1ms);
    drop_finished_links();
    bool calm = true;
    for (std::uint32_t i = 0; i < links_max; ++i) {
        link* l = nullptr;
        {
            const std::lock_guard hold(links_mutex_);
            l = links_[i].get();
            calm = calm && !used_[i];
            l = ready_[i] ? l : nullptr;
        }
        if (l != nullptr && l->now() != link::state::over) {
            l->end();
        }
    }
    if (!calm) {
        return;
    }
    {
        const std::lock_guard hold(links_mutex_);
        for (auto& row : spare_vis_) {
            for (auto& spares : row) {
                spares.clear();
            }
        }
    }
    if (extra_region_ && !extra_region_.close()) {
        return;
    }
    examined_ = {};
    book_.seat_of[options_.seat].done_with.store(phase::settle);
}

/// After all the deaths: a connection to everybody, messages over it, and a datagram from everybody.
void participant::exam() {
    const bool heard = datagrams_->heard_from_all_in_exam();
    doing(heard ? "in the exam" : "in the exam, waiting for a datagram of everybody");
    poll(200us);
    drop_finished_links();
    bool passed = heard;
    datagrams_->send(random_, exam_turn_++ % book_.seats.load());  // the next one when this one has left
    for (std::uint32_t other = 0; other < book_.seats.load(); ++other) {
        if (other == options_.seat) {
            continue;
        }
        if (!examined_[other]) {
            passed = false;
            examined_[other] = connect(other);
        }
    }
    for (std::uint32_t i = 0; i < links_max; ++i) {
        link* l = nullptr;
        {
            const std::lock_guard hold(links_mutex_);
            l = ready_[i] ? links_[i].get() : nullptr;
        }
        if (l == nullptr || l->now() == link::state::over) {
            passed = passed && l == nullptr;
            continue;
        }
        passed = false;
        const bool enough = l->messages_posted() >= exam_messages && l->quiet();
        if (l->now() == link::state::closing || l->vi.state() == vinic::vi_state::error || enough) {
            l->end();
        } else if (l->now() == link::state::open) {
            l->post_receives();
            l->work(random_, l->messages_posted() < exam_messages ? 4 : l->quiet() ? 0 : 1);
        }
    }
    if (passed) {
        book_.seat_of[options_.seat].done_with.store(phase::exam);
    }
}

}  // namespace torture
