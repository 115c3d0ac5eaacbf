// SPDX-License-Identifier: Apache-2.0
//
// datagrams.cc -- sends them to random seats, and checks those that come; participant.hpp declares it.
#include <cstring>
#include <stdexcept>

#include "multi/process.hpp"
#include "torture/participant.hpp"

namespace torture {

namespace {

std::string name_of(std::uint32_t seat) { return "datagrams of " + std::to_string(seat); }

}  // namespace

datagrams::datagrams(ledger& book, const participant_options& options, vinic::nic& nic, vinic::domain& domain,
                     vinic::completion_queue& cq)
    : book_(book),
      options_(options),
      nic_(nic),
      buffer_(multi::must(nic.allocate((slots + 1) * bytes_max))),
      region_(multi::must(domain.register_memory(buffer_.bytes(), vinic::access::local_write))) {
    vinic::vi_attributes a;
    a.service = vinic::service::datagram;
    a.reliability = vinic::reliability::unreliable;
    a.send_cq = &cq;
    a.receive_cq = &cq;
    a.receive_depth = slots;
    a.context = context;
    vi_ = multi::must(domain.create_vi(a));
    const std::string name = name_of(options.seat);
    // The one who sat here before may not have been found dead yet.
    vinic::result<void> bound;
    (void)multi::comes_true([&] {
        bound = vi_.bind(std::string_view(name));
        return bound || bound.error().code != vinic::errc::name_in_use;
    });
    multi::must(bound);
    post_receives();
}

std::uint64_t datagrams::seed_of(const head& h) noexcept {
    return h.sequence * 0x9e37'79b9ULL ^ std::uint64_t{h.seat} << 48 ^ std::uint64_t{h.incarnation} << 16 ^ h.length;
}

void datagrams::post_receives() {
    while (receives_posted_ - receives_taken_ < slots) {
        const vinic::segment s(region_, receives_posted_ % slots * bytes_max, bytes_max);
        if (vi_.post_receive(s, receives_posted_) != vinic::errc::ok) {
            book_.fail("seat %u: a receive for datagrams is refused", options_.seat);
            return;
        }
        ++receives_posted_;
    }
}

void datagrams::send(random& r, std::uint32_t to_seat) {
    const std::string name = name_of(to_seat);
    const auto to = nic_.resolve(std::string_view(name));
    if (!to || vi_.sends_outstanding() != 0) {
        return;
    }
    head h{sequence_, options_.seat, options_.incarnation, 0, book_.now.load() == phase::exam ? 1u : 0u};
    h.length = static_cast<std::uint32_t>(sizeof h + r.below(r.one_in(2) ? 16 : bytes_max - sizeof h));
    std::byte* const at = buffer_.data() + slots * bytes_max;
    std::memcpy(at, &h, sizeof h);
    make_pattern({at + sizeof h, h.length - sizeof h}, seed_of(h));
    const vinic::segment s(at, h.length, region_.key());
    if (const vinic::errc e = vi_.send_to(*to, {&s, 1}, sequence_, vinic::send_flag::unsignalled);
        e != vinic::errc::ok) {
        book_.fail("seat %u: a datagram is refused: %s", options_.seat, vinic::name(e));
    }
    ++sequence_;
    book_.count(options_.seat, datagrams_sent);
}

void datagrams::take(const vinic::completion& c) {
    if (c.opcode != vinic::opcode::receive) {
        book_.fail("seat %u: a datagram ended with %s", options_.seat, vinic::name(c.status));
        return;
    }
    if (c.cookie != receives_taken_ || c.status != vinic::status::success) {
        book_.fail("seat %u: receive %llu of a datagram, expected %llu, ends with %s", options_.seat,
                   static_cast<unsigned long long>(c.cookie), static_cast<unsigned long long>(receives_taken_),
                   vinic::name(c.status));
    }
    const std::byte* const at = buffer_.data() + receives_taken_ % slots * bytes_max;
    ++receives_taken_;
    head h{};
    std::memcpy(&h, at, sizeof h);
    if (h.length != c.length || h.seat >= seats_max || !is_pattern({at + sizeof h, h.length - sizeof h}, seed_of(h))) {
        book_.fail("seat %u: a datagram with wrong bytes, %u long", options_.seat, c.length);
        return;
    }
    // Datagrams may be lost, but not doubled, and one sender's stay in order.
    const auto [last, first_time] = last_heard_.try_emplace(pattern_seed(h.seat, h.incarnation), h.sequence);
    if (!first_time && h.sequence <= last->second) {
        book_.fail("seat %u: datagram %llu of seat %u after %llu", options_.seat,
                   static_cast<unsigned long long>(h.sequence), h.seat, static_cast<unsigned long long>(last->second));
    }
    last->second = h.sequence;
    if (h.exam != 0) {
        heard_in_exam_[h.seat] = true;
    }
    book_.count(options_.seat, datagrams_received);
}

bool datagrams::heard_from_all_in_exam() const noexcept {
    for (std::uint32_t i = 0; i < book_.seats.load(); ++i) {
        if (i != options_.seat && !heard_in_exam_[i]) {
            return false;
        }
    }
    return true;
}

}  // namespace torture
