// SPDX-License-Identifier: Apache-2.0
//
// bench_endpoint.cc -- buffers, registration, connection; patterns and their proof.
#include "cli/bench_endpoint.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>

#include "cli/bench_clock.hpp"
#include "cli/bench_place.hpp"

namespace vinic::cli::bench {
namespace {

using namespace std::chrono_literals;

constexpr auto answer_patience = 10s;

/// Steele's SplitMix64 finaliser: neighbouring inputs give unrelated words.
constexpr std::uint64_t scramble(std::uint64_t x) noexcept {
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
}

constexpr std::uint64_t pattern_word(std::uint64_t seed, std::size_t index) noexcept {
    return scramble(seed * 0x9e3779b97f4a7c15ULL + index + 1);
}

std::size_t round_up(std::size_t bytes, std::size_t to) noexcept { return (bytes + to - 1) / to * to; }

vinic::backing expected_backing(memory_kind kind) noexcept {
    switch (kind) {
        case memory_kind::native:
            return backing::native;
        case memory_kind::adopted:
            return backing::adopted;
        case memory_kind::foreign:
            return backing::foreign;
    }
    return backing::foreign;
}

region register_as(vinic::domain& domain, const work_memory& memory, memory_kind kind) {
    // Foreign memory has no atomics, and adoption has to be asked for.
    const access rights =
        kind == memory_kind::foreign ? access::local_write | access::remote_write | access::remote_read : access::all;
    region made =
        take(domain.register_memory(memory.bytes(), rights, {kind == memory_kind::adopted ? adopt::safe : adopt::no}));
    if (made.backing() != expected_backing(kind)) {
        throw failure(std::string("asked for ") + name(expected_backing(kind)) + " memory, the device reports " +
                      name(made.backing()));
    }
    return made;
}

}  // namespace

work_memory::work_memory(nic& device, memory_kind kind, std::size_t bytes) {
    if (kind == memory_kind::native) {
        device_memory_ = take(device.allocate(bytes));
        bytes_ = device_memory_.bytes();
        return;
    }
    const std::size_t whole = round_up(bytes, static_cast<std::size_t>(sysconf(_SC_PAGESIZE)));
    void* place = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (place == MAP_FAILED) {
        throw failure("no memory for a buffer of " + std::to_string(whole) + " bytes: " + std::strerror(errno));
    }
    mapped_ = place;
    bytes_ = {static_cast<std::byte*>(place), whole};
    std::memset(place, 0, whole);
}

work_memory::~work_memory() {
    if (mapped_ != nullptr) {
        munmap(mapped_, bytes_.size());
    }
}

void fill_pattern(std::span<std::byte> bytes, std::uint64_t seed) noexcept {
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
        const std::uint64_t word = pattern_word(seed, at / 8);
        std::memcpy(&bytes[at], &word, std::min<std::size_t>(8, bytes.size() - at));
    }
}

std::optional<std::size_t> find_difference(std::span<const std::byte> bytes, std::uint64_t seed,
                                           std::size_t from) noexcept {
    for (std::size_t at = from; at < bytes.size(); at += 8) {
        const std::uint64_t word = pattern_word(seed, at / 8);
        if (std::memcmp(&bytes[at], &word, std::min<std::size_t>(8, bytes.size() - at)) != 0) {
            return at;
        }
    }
    return std::nullopt;
}

device_side::device_side(session& with, const std::string& device_address, const std::string& directory,
                         const std::string& listener_name)
    : device(take(nic::open(device_address, {.directory = directory, .group = {}}))),
      domain(take(device.create_domain())),
      address(listener_name) {
    if (!with.initiator()) {
        listener = take(device.listen(address));
    }
    with.meet();
}

namespace {

/// listener::wait, which ends as soon as the other side has failed.
connection_request wait_for_peer(session& with, listener& at) {
    const auto until = std::chrono::steady_clock::now() + answer_patience;
    for (;;) {
        auto request = at.wait(std::chrono::milliseconds(20));
        if (request || request.error().code != errc::timed_out || std::chrono::steady_clock::now() > until) {
            return take(std::move(request));
        }
        with.look();
    }
}

}  // namespace

endpoint::endpoint(session& session_with, device_side& on, const row& work)
    : with(session_with),
      what(work),
      stride(round_up(std::max<std::size_t>(work.size_bytes, 8), 64)),
      source(on.device, work.memory, stride * work.source_buffers),
      sink(on.device, work.memory, stride * work.buffers),
      source_region(register_as(on.domain, source, work.memory)),
      sink_region(register_as(on.domain, sink, work.memory)),
      send_cq(take(on.device.create_completion_queue())),
      receive_cq(take(on.device.create_completion_queue())),
      window(work.depth, work.signal_every) {
    vi_attributes attributes;
    attributes.reliability = work.reliability;
    attributes.send_cq = &send_cq;
    attributes.receive_cq = &receive_cq;
    attributes.send_depth = work.depth;
    attributes.receive_depth = work.depth;
    attributes.inline_bytes_max = work.inline_bytes;
    vi = take(on.domain.create_vi(attributes));

    with.own_card() = {.sink = sink_region.remote(),
                       .source = source_region.remote(),
                       .sink_place = place_of(sink.bytes()),
                       .backing = static_cast<std::uint32_t>(sink_region.backing())};
    if (with.initiator()) {
        (void)take(vi.connect(on.address, answer_patience));
    } else {
        connection_request request = wait_for_peer(with, on.listener);
        (void)take(request.accept(vi));
    }
    with.meet();
    peer = with.other_card();
    prepare_contents();
    with.meet();
}

void endpoint::retire_some() {
    std::array<completion, 16> done;
    const std::size_t count = send_cq.poll(done);
    for (std::size_t i = 0; i < count; ++i) {
        expect_success(done[i]);
        window.retire(done[i].cookie);
    }
}

void endpoint::retire_all() {
    while (!window.empty()) {
        retire_some();
        with.spin();
    }
}

void endpoint::prepare_contents() {
    for (std::uint32_t piece = 0; piece < what.source_buffers; ++piece) {
        fill_pattern(source_piece(piece), piece);
    }
    std::ranges::fill(sink.bytes(), std::byte{0});
}

void endpoint::check_contents(std::uint64_t messages, bool numbered) const {
    const std::uint64_t first = messages > what.buffers ? messages - what.buffers : 0;
    for (std::uint64_t message = first; message < messages; ++message) {
        const std::span<const std::byte> piece = sink_piece(message);
        bool right = !find_difference(piece, message % what.source_buffers, numbered ? 8 : 0);
        if (numbered) {
            std::uint64_t number = 0;
            std::memcpy(&number, piece.data(), sizeof(number));
            right = right && number == message;
        }
        if (!right) {
            throw failure("message " + std::to_string(message) + " of " + std::to_string(what.size_bytes) + " bytes (" +
                          bench::name(what.what) + ") did not arrive as it was sent");
        }
    }
}

}  // namespace vinic::cli::bench
