// SPDX-License-Identifier: Apache-2.0
//
// mesh.cc -- the phases, the deaths, and the audit of every connection that is over.
#include "torture/mesh.hpp"

#include <sys/mman.h>
#include <sys/stat.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <new>
#include <sstream>

#include "torture/participant.hpp"

namespace torture {

namespace {

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

/// A participant that does nothing for so long hangs.
constexpr auto progress_patience = 30s;
constexpr auto phase_patience = 60s;
/// Of a vinicd: some seats share a function, and some do not.
constexpr std::uint32_t functions_used = 3;

ledger* make_ledger() {
    void* p =
        ::mmap(nullptr, sizeof(ledger), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    multi::require(p != MAP_FAILED, "the ledger can be mapped");
    return ::new (p) ledger{};
}

}  // namespace

mesh::mesh(mesh_options options)
    : options_(std::move(options)), book_(make_ledger()), random_(options_.seed), places_(options_.seats) {
    book_->seats.store(options_.seats);
}

mesh::~mesh() {
    places_.clear();
    ::munmap(static_cast<void*>(book_), sizeof(ledger));
}

std::string mesh::device_of(std::uint32_t seat) const {
    return is_isolated() ? options_.device + "#vf" + std::to_string(seat % functions_used) : options_.device;
}

void mesh::take_seat(std::uint32_t i) {
    seat& s = book_->seat_of[i];
    const std::uint32_t incarnation = s.incarnation.load() + 1;
    s.incarnation.store(incarnation);
    participant_options o{is_isolated() ? std::string() : options_.directory, device_of(i), i, incarnation,
                          random_.fork(std::uint64_t{i} << 32 | incarnation)};
    ledger* const book = book_;
    places_[i].who.emplace([book, o](multi::channel&) {
        try {
            participant p(*book, o);
            p.run();
        } catch (const std::exception& e) {
            book->fail("seat %u, incarnation %u: %s", o.seat, o.incarnation, e.what());
            throw;
        }
    });
    places_[i].progress_at = steady::now();
    places_[i].acceptor_progress_at = steady::now();
}

void mesh::kill_seat(std::uint32_t i) {
    if (!places_[i].who) {
        return;
    }
    places_[i].who->kill_now();
    places_[i].who.reset();
    places_[i].stopped = false;
    book_->seat_of[i].dead_incarnation.store(book_->seat_of[i].incarnation.load());
    ++killed_;
}

void mesh::pause(std::chrono::microseconds time) {
    const auto end = steady::now() + time;
    do {
        std::this_thread::sleep_for(
            std::min<std::chrono::nanoseconds>(2ms, std::max<std::chrono::nanoseconds>(end - steady::now(), 0ns)));
        watch();
    } while (steady::now() < end && !failed());
}

void mesh::kill_one() {
    const auto victim = static_cast<std::uint32_t>(random_.below(options_.seats));
    pause(std::chrono::microseconds(random_.below(random_.one_in(4) ? 100'000 : 15'000)));
    if (random_.one_in(60)) {
        for (std::uint32_t i = 0; i < options_.seats; ++i) {
            kill_seat(i);  // nobody is left: the next one takes the file over
        }
    } else if (random_.one_in(4)) {
        places_[victim].who->stop();
        places_[victim].stopped = true;
        ++stopped_;
        pause(std::chrono::microseconds(random_.below(60'000)));
        if (random_.one_in(2)) {
            kill_seat(victim);
        } else {
            places_[victim].who->go_on();
            places_[victim].stopped = false;
            places_[victim].progress_at = steady::now();
            places_[victim].acceptor_progress_at = steady::now();
        }
    } else {
        kill_seat(victim);
    }
    if (random_.one_in(3)) {
        pause(std::chrono::microseconds(random_.below(40'000)));
    }
    for (std::uint32_t i = 0; i < options_.seats && !failed(); ++i) {
        if (!places_[i].who) {
            take_seat(i);
        }
    }
}

// -- watching ---------------------------------------------------------------------------------------

void mesh::watch_progress(std::uint32_t i) {
    place& p = places_[i];
    const seat& s = book_->seat_of[i];
    const auto now = steady::now();
    if (const std::uint64_t n = s.progress.load(); n != p.seen_progress || p.stopped) {
        p.seen_progress = n;
        p.progress_at = now;
    }
    if (const std::uint64_t n = s.acceptor_progress.load(); n != p.seen_acceptor_progress || p.stopped) {
        p.seen_acceptor_progress = n;
        p.acceptor_progress_at = now;
    }
    if (now - p.progress_at > progress_patience || now - p.acceptor_progress_at > progress_patience) {
        const char* what = s.doing.load();
        book_->fail("seat %u (process %d) hangs while %s; its %s makes no progress", i, p.who->pid(),
                    what != nullptr ? what : "starting",
                    now - p.progress_at > progress_patience ? "main thread" : "acceptor");
    }
}

void mesh::watch() {
    for (std::uint32_t i = 0; i < options_.seats; ++i) {
        place& p = places_[i];
        if (!p.who) {
            continue;
        }
        if (const auto code = p.who->ended(); code && book_->now.load() != phase::leave) {
            const char* what = book_->seat_of[i].doing.load();
            book_->fail("seat %u ended by itself with %d while %s", i, *code, what != nullptr ? what : "starting");
        } else if (!code) {
            watch_progress(i);
        }
    }
    if (steady::now() - last_audit_ > 20ms) {
        audit(false);
        last_audit_ = steady::now();
    }
}

bool mesh::is_over(const side_record& s) const noexcept {
    const side_state state = s.state.load();
    return state != side_state::open || book_->is_dead(s.seat.load(), s.incarnation.load());
}

void mesh::audit_record(link_record& l, std::uint32_t index) {
    const bool reliable = l.reliable.load();
    for (int to = 0; to < 2; ++to) {
        const side_record& sender = l.side[1 - to];
        const side_record& receiver = l.side[to];
        if (sender.state.load() == side_state::none || receiver.state.load() != side_state::closed) {
            continue;  // there was no sender, or the receiver has died
        }
        const std::uint64_t posted = sender.posted.load();
        const std::uint64_t completed = sender.completed.load();
        const std::uint64_t received = receiver.received.load();
        const char* wrong = nullptr;
        if (received > posted) {
            wrong = "more messages were received than sent";
        } else if (reliable && received < completed) {
            wrong = "messages were reported as delivered and did not arrive";
        } else if (receiver.word.load() > sender.adds_posted.load() ||
                   receiver.word.load() < sender.adds_completed.load()) {
            wrong = "atomic additions were lost or doubled";
        }
        if (wrong != nullptr) {
            book_->fail(
                "connection %llu (record %u), seat %u to seat %u%s: %s: %llu posted, %llu completed, %llu received; "
                "%llu additions posted, %llu completed, the word is %llu",
                static_cast<unsigned long long>(l.id.load()), index, sender.seat.load(), receiver.seat.load(),
                reliable ? "" : ", unreliable", wrong, static_cast<unsigned long long>(posted),
                static_cast<unsigned long long>(completed), static_cast<unsigned long long>(received),
                static_cast<unsigned long long>(sender.adds_posted.load()),
                static_cast<unsigned long long>(sender.adds_completed.load()),
                static_cast<unsigned long long>(receiver.word.load()));
        }
    }
    l.id.store(0);
    ++audited_;
}

/// Looks at the connections that are over for both sides; at the end that must be all.
void mesh::audit(bool everything) {
    const std::uint64_t last = book_->next_record.load();
    bool gap = false;
    for (std::uint64_t id = first_unaudited_; id <= last; ++id) {
        const auto index = static_cast<std::uint32_t>(id % records_max);
        link_record& l = book_->records[index];
        if (l.id.load() == id && is_over(l.side[0]) && is_over(l.side[1])) {
            audit_record(l, index);
        } else if (l.id.load() == id) {
            gap = true;
            if (everything) {
                book_->fail("connection %llu between seats %u and %u is not over, though everybody is calm",
                            static_cast<unsigned long long>(id), l.side[0].seat.load(), l.side[1].seat.load());
            }
        }
        if (!gap && last - id > 1000) {
            first_unaudited_ = id + 1;  // young ones may be asked for and not yet written down
        }
    }
}

// -- phases -------------------------------------------------------------------------------------------

bool mesh::reach(phase p) {
    for (std::uint32_t i = 0; i < options_.seats; ++i) {
        book_->seat_of[i].done_with.store(phase::work);
    }
    book_->now.store(p);
    const auto end = steady::now() + phase_patience;
    for (;;) {
        bool all = true;
        std::uint32_t late = 0;
        for (std::uint32_t i = 0; i < options_.seats; ++i) {
            if (book_->seat_of[i].done_with.load() != p) {
                all = false;
                late = i;
            }
        }
        if (all || failed()) {
            return all && !failed();
        }
        if (steady::now() > end) {
            const char* what = book_->seat_of[late].doing.load();
            book_->fail("seat %u does not come through %s; it is %s", late, p == phase::exam ? "the exam" : "settling",
                        what != nullptr ? what : "starting");
        }
        pause(2ms);
    }
}

vinic::result<multi::census> mesh::count() const {
    if (!is_isolated()) {
        return multi::take_census_at(options_.device, {.directory = options_.directory, .group = {}});
    }
    multi::census sum;
    for (std::uint32_t i = 0; i < std::min(functions_used, options_.seats); ++i) {
        const auto one = multi::take_census_at(device_of(i));
        if (!one) {
            return one;
        }
        sum += *one;
    }
    return sum;
}

/// What a dead one has left goes within moments of somebody looking.
bool mesh::take_census_when_calm(multi::census& out) {
    const auto end = steady::now() + 20s;
    for (;;) {
        const auto now = count();
        if (!now) {
            book_->fail("the census: %s", now.error().message().c_str());
            return false;
        }
        out = *now;
        // A last scan for the dead may hold the lock at this moment, or a late connection be ending.
        const bool calm = out.processes == options_.seats && out.lock == 0 && (!base_ || is_like_base(out));
        if (calm || failed() || steady::now() > end) {
            return !failed();
        }
        pause(5ms);
    }
}

bool mesh::is_like_base(const multi::census& now) const {
    multi::census expected = *base_;
    // How many chunks an arena needs depends on what was allocated when; at most one more each.
    if (now.chunks <= base_->chunks + options_.seats) {
        expected.chunks = now.chunks;
    }
    return now.same_entries(expected) && now.stray_blocks == 0 && now.lock == 0;
}

/// Counts once everybody is calm, at the beginning and after the deaths: then nothing more may be there.
bool mesh::check_census() {
    multi::census now;
    if (!take_census_when_calm(now)) {
        return false;
    }
    if (!base_) {
        base_ = now;
    }
    if (is_like_base(now)) {
        return true;
    }
    std::ostringstream text;
    text << "leaked: now " << now << "; at the beginning " << *base_;
    book_->fail("%s", text.str().c_str());
    return false;
}

bool mesh::leave() {
    book_->now.store(phase::leave);
    for (std::uint32_t i = 0; i < options_.seats; ++i) {
        const int code = places_[i].who->exit_code();
        if (code != 0) {
            book_->fail("seat %u leaves with exit code %d", i, code);
        }
    }
    struct stat s{};
    if (!is_isolated() && ::stat((options_.directory + "/vinic-torture").c_str(), &s) == 0) {
        book_->fail("the device file is left behind");
    }
    return !failed();
}

void mesh::report(steady::time_point start) const {
    std::uint64_t sums[tally_kinds] = {};
    for (std::uint32_t i = 0; i < options_.seats; ++i) {
        for (std::uint32_t t = 0; t < tally_kinds; ++t) {
            sums[t] += book_->seat_of[i].tallies[t].load();
        }
    }
    std::printf("%llu killed, %llu stopped, %llu connections audited in %.1f s\n",
                static_cast<unsigned long long>(killed_), static_cast<unsigned long long>(stopped_),
                static_cast<unsigned long long>(audited_),
                std::chrono::duration<double>(steady::now() - start).count());
    for (std::uint32_t t = 0; t < tally_kinds; ++t) {
        std::printf("  %-20s %12llu\n", tally_names[t], static_cast<unsigned long long>(sums[t]));
    }
    std::fflush(stdout);
}

bool mesh::run() {
    const auto start = steady::now();
    book_->now.store(phase::settle);
    for (std::uint32_t i = 0; i < options_.seats; ++i) {
        take_seat(i);
    }
    bool well = reach(phase::settle) && check_census();
    book_->now.store(phase::work);
    while (well && !failed() && killed_ < options_.kills &&
           (options_.seconds_max == 0 || steady::now() - start < std::chrono::seconds(options_.seconds_max))) {
        kill_one();
    }
    well = well && !failed() && reach(phase::settle) && check_census();
    audit(well);
    well = well && !failed() && reach(phase::exam) && reach(phase::settle) && check_census();
    audit(well);
    well = well && !failed() && leave();
    report(start);
    if (!well && options_.pause_on_failure) {
        std::printf("%s\npaused: the processes are left as they are; press enter to end them\n", book_->failure);
        (void)std::getchar();
    }
    return well;
}

}  // namespace torture
