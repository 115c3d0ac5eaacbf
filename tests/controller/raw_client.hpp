// SPDX-License-Identifier: Apache-2.0
//
// raw_client.hpp -- a client of the isolated placement without the library: words in a window and nothing else.
//
//   What a test can do with it is what a hostile tenant can do.  Rings and buffers lie where the test says: VI i has
//   its rings at ring_offset(i), and everything from data_offset on is free for payload.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <stdexcept>
#include <thread>

#include "abi/doorbell.hpp"
#include "controller/device.hpp"
#include "os/sync.hpp"

namespace vinic::controller {

class raw_client {
public:
    static constexpr std::uint32_t depth = 16;
    static constexpr std::uint64_t ring_bytes = 64 << 10;
    static constexpr std::uint64_t rings_offset = abi::first_chunk * abi::chunk_size;
    static constexpr std::uint64_t data_offset = rings_offset + (32ULL << 20);

    /// `process`: as the device is told.
    raw_client(device& d, std::uint32_t function, std::uint32_t context, pid_t process = ::getpid())
        : device_(d), function_(function), context_(context) {
        auto a = d.attach(function, ::getuid());
        // As the library does: memory of windows before may be about to be given back.
        for (const std::uint64_t end = os::now_ns() + 20'000'000'000;
             !a && a.error().code == errc::busy && os::now_ns() < end; a = d.attach(function, ::getuid())) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
        }
        if (!a) {
            throw std::runtime_error(a.error().message());
        }
        bytes_ = a->window_bytes;
        doorbell_ = ::dup(a->doorbell.get());
        mailbox_ = ::dup(a->mailbox.get());
        void* p = ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, a->window.get(), 0);
        if (p == MAP_FAILED) {
            throw std::runtime_error("mapping a window");
        }
        base_ = static_cast<std::byte*>(p);
        const auto e = d.enter(function, a->epoch, context, {process, ::getuid(), ::getgid()});
        if (!e) {
            throw std::runtime_error(e.error().message());
        }
        epoch_ = *e;
    }
    /// What a process does that dies: nothing waits for what becomes of it.
    void hang_up() { device_.leave(function_, context_, epoch_, true); }
    /// Has the window open, as the library would: the device lets it look at it for a while when it is cut off.
    void hold_entry() {
        const auto a = device_.attach(function_, ::getuid());
        entry_.reset(::open(("/proc/self/fd/" + std::to_string(a->window.get())).c_str(), O_RDWR | O_CLOEXEC));
        if (!os::try_lock_byte(entry_.get(), 1 + context_)) {
            throw std::runtime_error("locking a process entry");
        }
    }
    /// Its end will not wait until everything is cleared away.
    void forget() { forgotten_ = true; }
    raw_client(const raw_client&) = delete;
    raw_client& operator=(const raw_client&) = delete;
    ~raw_client() {
        device_.leave(function_, context_, epoch_, false);
        if (!forgotten_) {
            device_.settle();
        }
        ::munmap(base_, bytes_);
        ::close(doorbell_);
        ::close(mailbox_);
    }

    template <class T>
    [[nodiscard]] T* at(std::uint64_t offset) const {
        return reinterpret_cast<T*>(base_ + offset);
    }
    [[nodiscard]] std::uint64_t window_bytes() const { return bytes_; }

    /// How long a call waits for its answer.
    std::uint64_t patience_ns = 20'000'000'000;

    // -- mailbox --------------------------------------------------------------------------------
    struct answer {
        errc code = errc::timed_out;
        std::array<std::uint64_t, 6> r{};
        std::array<std::uint8_t, abi::mail_payload_bytes> payload{};
    };
    answer call(abi::verb verb, std::array<std::uint64_t, 6> v, std::span<const std::byte> payload = {}) {
        abi::mailbox& box = *at<abi::mailbox>(abi::mailbox_offset(context_));
        box.request.code = static_cast<std::uint32_t>(verb);
        std::memcpy(box.request.value, v.data(), sizeof box.request.value);
        box.request.payload_bytes = static_cast<std::uint32_t>(payload.size());
        std::copy_n(reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size(), box.request_payload);
        const std::uint32_t sequence = box.request.sequence.load_relaxed() + 1;
        box.request.sequence.store_release(sequence);
        const std::uint64_t one = 1;
        (void)!::write(mailbox_, &one, sizeof one);
        const std::uint64_t end = os::now_ns() + patience_ns;
        while (box.response.sequence.load_acquire() != sequence) {
            if (os::now_ns() > end) {
                return {};
            }
            std::this_thread::yield();
        }
        answer a;
        a.code = static_cast<errc>(box.response.code);
        std::memcpy(a.r.data(), box.response.value, sizeof box.response.value);
        std::memcpy(a.payload.data(), box.response_payload, a.payload.size());
        return a;
    }
    template <class T>
    answer call(abi::verb verb, std::array<std::uint64_t, 6> v, const T& payload) {
        return call(verb, v, std::as_bytes(std::span(&payload, 1)));
    }

    // -- VIs ------------------------------------------------------------------------------------
    [[nodiscard]] static constexpr std::uint64_t ring_offset(std::uint32_t vi) {
        return rings_offset + vi * ring_bytes;
    }
    [[nodiscard]] static abi::vi_description description(std::uint32_t vi) {
        abi::vi_description d{};
        d.domain = 1;
        d.flags = abi::allow_write | abi::allow_read | abi::allow_atomic;
        d.reliability = static_cast<std::uint32_t>(reliability::delivery);
        d.transfer_bytes_max = 1u << 31;
        d.receiver_wait_ns = abi::none64;
        d.send_depth = depth;
        d.receive_depth = depth;
        d.segments_max = 3;
        d.inline_bytes_max = 48;
        d.generation = 1;
        d.send_ring = ring_offset(vi);
        d.receive_ring = ring_offset(vi) + depth * sizeof(abi::send_descriptor);
        return d;
    }
    errc create(std::uint32_t vi) { return create(vi, description(vi)); }
    errc create(std::uint32_t vi, const abi::vi_description& d) {
        std::memset(at<std::byte>(ring_offset(vi)), 0, ring_bytes);
        sent_[vi] = received_[vi] = 0;
        return call(abi::verb::create_vi, {vi}, d).code;
    }
    errc register_all(std::uint32_t key, std::uint32_t domain = 1, std::uint32_t rights = 15) {
        const std::uint64_t bytes = bytes_ - data_offset;
        return call(abi::verb::register_region, {key, domain, rights, data_offset, bytes, data_offset}).code;
    }
    [[nodiscard]] abi::link link_of(std::uint32_t vi) const { return abi::link_of(entry(vi).state.load_acquire()); }
    [[nodiscard]] abi::vi_entry& entry(std::uint32_t vi) const { return at<abi::vi_entry>(abi::vis_offset)[vi]; }
    [[nodiscard]] abi::send_descriptor& send_slot(std::uint32_t vi, std::uint32_t i) const {
        return at<abi::send_descriptor>(ring_offset(vi))[i % depth];
    }
    [[nodiscard]] abi::receive_slot& receive_slot(std::uint32_t vi, std::uint32_t i) const {
        return at<abi::receive_slot>(ring_offset(vi) + depth * sizeof(abi::send_descriptor))[i % depth];
    }

    /// Connects VI a of this client with VI b of `to`, peer-to-peer.
    static errc connect(raw_client& from, std::uint32_t a, raw_client& to, std::uint32_t b) {
        abi::peer_mail mail{};
        mail.local.name_bytes = mail.remote.name_bytes = 1;
        mail.local.name[0] = 'a';
        mail.remote.name[0] = 'b';
        const errc first = from.call(abi::verb::connect_peer, {a, from.base_of(a), 0, 0, 0, 0}, mail).code;
        std::swap(mail.local, mail.remote);
        return first != errc::ok ? first : to.call(abi::verb::connect_peer, {b, to.base_of(b), 1, 0, 0, 0}, mail).code;
    }
    [[nodiscard]] std::uint64_t base_of(std::uint32_t vi) const {
        return std::uint64_t{sent_[vi]} << 32 | received_[vi];
    }

    // -- data path ------------------------------------------------------------------------------
    void ring(std::uint32_t vi) {
        if (abi::ring(at<std::byte>(abi::doorbell_offset(context_)), abi::doorbell_colour(function_, context_), vi) ==
            abi::rang::kick) {
            const std::uint64_t one = 1;
            (void)!::write(doorbell_, &one, sizeof one);
        }
    }
    /// Posts a descriptor; its index.
    std::uint32_t post(std::uint32_t vi, const abi::send_descriptor& d) {
        const std::uint32_t i = sent_[vi]++;
        abi::send_descriptor& slot = send_slot(vi, i);
        // An engine that watches the ring takes it for posted by its lap: that must not change before all is there.
        abi::send_descriptor whole = d;
        whole.done.store_relaxed(slot.done.load_relaxed());
        whole.lap = slot.lap;
        slot = whole;
        std::atomic_ref(slot.lap).store(abi::lap_of(i, 4), std::memory_order_release);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (entry(vi).watched.load_relaxed() == 0) {
            ring(vi);
        }
        return i;
    }
    /// A send or RDMA operation of one segment at `offset` of the data area.
    std::uint32_t post(std::uint32_t vi, opcode what, std::uint32_t key, std::uint64_t offset, std::uint32_t length,
                       std::uint64_t remote = 0, std::uint32_t remote_key = 0) {
        abi::send_descriptor d{};
        d.opcode = static_cast<std::uint8_t>(what);
        d.segment_count = 1;
        d.length = length;
        d.segments[0] = {data_offset + offset, length, key};
        d.remote_address = remote;
        d.remote_key = remote_key;
        return post(vi, d);
    }
    std::uint32_t post_receive(std::uint32_t vi, std::uint32_t key, std::uint64_t offset, std::uint32_t length) {
        const std::uint32_t i = received_[vi]++;
        abi::receive_descriptor& d = receive_slot(vi, i).descriptor;
        d.segment_count = 1;
        d.segments[0] = {data_offset + offset, length, key};
        d.sequence.store_release(i + 1);
        std::atomic_thread_fence(std::memory_order_seq_cst);
        if (entry(vi).receive_attention.load_relaxed() != 0) {
            ring(vi);
        }
        return i;
    }
    /// Waits for send i; its status, or nothing after a while.
    [[nodiscard]] std::optional<status> await_send(std::uint32_t vi, std::uint32_t i) const {
        const abi::send_descriptor& slot = send_slot(vi, i);
        return await([&] { return slot.done.load_acquire() == i + 1; })
                   ? std::optional(static_cast<status>(slot.status))
                   : std::nullopt;
    }
    [[nodiscard]] std::optional<abi::receive_completion> await_receive(std::uint32_t vi, std::uint32_t i) const {
        const abi::receive_completion& c = receive_slot(vi, i).completion;
        return await([&] { return c.sequence.load_acquire() == i + 1; }) ? std::optional(c) : std::nullopt;
    }
    [[nodiscard]] bool await_link(std::uint32_t vi, abi::link l) const {
        return await([&] { return link_of(vi) == l; });
    }
    [[nodiscard]] std::span<std::byte> data(std::uint64_t offset, std::size_t bytes) const {
        return {at<std::byte>(data_offset + offset), bytes};
    }

private:
    template <class F>
    [[nodiscard]] static bool await(F done) {
        const std::uint64_t end = os::now_ns() + 20'000'000'000;
        while (!done()) {
            if (os::now_ns() > end) {
                return false;
            }
            std::this_thread::yield();
        }
        return true;
    }

    device& device_;
    std::uint32_t function_;
    std::uint32_t context_;
    std::uint32_t epoch_ = 0;
    std::uint64_t bytes_ = 0;
    std::byte* base_ = nullptr;
    int doorbell_ = -1;
    int mailbox_ = -1;
    bool forgotten_ = false;
    os::unique_fd entry_;
    std::array<std::uint32_t, 512> sent_{};
    std::array<std::uint32_t, 512> received_{};
};

// What tests of one VI and one region call these.
inline constexpr std::uint32_t vi_number = 3;
inline constexpr std::uint32_t region_key = 7 << 8 | 1;
inline constexpr std::uint64_t mib = 1ULL << 20;

}  // namespace vinic::controller
