// SPDX-License-Identifier: Apache-2.0
//
// isolation_attacks.cc -- attacks on doorbells, rings, mailboxes and resets; make_attack() knows all attacks by name.
#include "bench/isolation_attacks.hpp"

#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>
#include <random>

#include "bench/isolation_floods.hpp"
#include "os/sync.hpp"

namespace vinic::bench {

namespace {

// -- with garbage -------------------------------------------------------------------------------

/// A4: every bit of the doorbells of 64 contexts, and nothing behind any of them.
class doorbell_storm : public attack {
public:
    explicit doorbell_storm(const place& p) : own_(p.path, p.function, abi::context_count) {}
    bool step() override {
        for (std::uint32_t c = 0; c < own_.contexts(); ++c) {
            for (std::uint32_t leaf = 0; leaf < abi::bits_per_word; ++leaf) {
                own_.bell(c, abi::bell_leaf_offset, leaf).store_relaxed(~0ULL);
            }
            own_.bell(c, abi::bell_summary_offset, 0).store_release(~0ULL);
            own_.ring(c, 0);
            operations_ += std::uint64_t{abi::bits_per_word} * abi::bits_per_word;
        }
        return false;  // the device has enough for a while
    }

private:
    tenant own_;
};

/// A5: descriptors, doorbells and requests made of noise; unreliable, so that the connections bear it.
class garbage : public attack {
public:
    explicit garbage(const place& p)
        : messages_(p.path, p.function, p.peer, {.pairs = 16, .vi = {.depth = 64}, .unreliable_pairs = 16},
                    [this](raw_vi&, std::uint32_t, std::uint32_t) { return noise(); }) {}
    bool step() override {
        const bool any = messages_.step();
        tenant& own = messages_.own();
        for (int i = 0; i < 16; ++i) {
            own.ring(0, static_cast<std::uint32_t>(random_() % abi::vi_count));
        }
        auto& box = *own.at<abi::mailbox>(abi::mailbox_offset(0));
        box.request.sequence.store_release(static_cast<std::uint32_t>(random_()));
        own.kick_mailbox();
        operations_ = messages_.operations();
        return any;
    }

private:
    abi::send_descriptor noise() {
        abi::send_descriptor d{};
        std::array<std::uint64_t, sizeof d / 8> words;
        for (std::uint64_t& w : words) {
            w = random_();
        }
        std::memcpy(static_cast<void*>(&d), words.data(), sizeof d);
        d.opcode = static_cast<std::uint8_t>(d.opcode % 6);
        d.segment_count = static_cast<std::uint16_t>(d.segment_count % 4);
        return d;
    }
    std::mt19937_64 random_{1};
    flood messages_;
};

/// A15: descriptors that change while the device reads them, rings that lose their pages, an object that shrinks.
class shifting : public attack {
public:
    explicit shifting(const place& p)
        : messages_(p.path, p.function, p.peer, {.pairs = 16, .vi = {.depth = 64}, .unreliable_pairs = 16},
                    [](raw_vi&, std::uint32_t pair, std::uint32_t) {
                        return one_segment(opcode::write, room(pair, mib), 64 * kib, room(pair, mib));
                    }) {}
    bool step() override {
        (void)messages_.step();
        for (std::uint32_t pair = 0; pair < messages_.pairs(); ++pair) {
            raw_vi& vi = messages_.sender(pair);
            for (int i = 0; i < 64; ++i) {
                abi::send_descriptor& d = vi.slot(static_cast<std::uint32_t>(random_()));
                auto* words = reinterpret_cast<std::uint64_t*>(&d);
                // Not the first: `done` says where there is room.
                std::atomic_ref(words[1 + random_() % 7]).store(random_() % (1ULL << (random_() % 40)));
            }
            ++operations_;
        }
        tenant& own = messages_.own();
        if (++turns_ % 16 == 0) {
            ::madvise(own.at<std::byte>(room(static_cast<std::uint32_t>(random_() % 16), mib)), 64 * kib, MADV_REMOVE);
            ::madvise(own.at<std::byte>(abi::vis_offset), 4 * kib, MADV_DONTNEED);
            (void)!::ftruncate(own.window(), 0);
        }
        return false;
    }

private:
    std::mt19937_64 random_{2};
    std::uint64_t turns_ = 0;
    flood messages_;
};

// -- with requests ------------------------------------------------------------------------------

/// Requests in many mailboxes at once: `next` makes one of its number.
class request_flood : public attack {
public:
    using maker = std::function<void(tenant& own, std::uint32_t context, std::uint64_t n)>;
    request_flood(const place& p, std::uint32_t contexts, maker next)
        : own_(p.path, p.function, contexts), next_(std::move(next)) {}
    bool step() override {
        for (std::uint32_t c = 0; c < own_.contexts(); ++c) {
            next_(own_, c, operations_++);
        }
        for (std::uint32_t c = 0; c < own_.contexts(); ++c) {
            (void)own_.await(c);
        }
        return true;
    }

private:
    tenant own_;
    maker next_;
};

/// A6: 1 KiB, 1 MiB and 1 GiB, in few domains and in many; each region goes as soon as it has come.
made churn(const place& p) {
    constexpr std::uint32_t contexts = 8;
    return std::make_unique<request_flood>(p, contexts, [](tenant& own, std::uint32_t context, std::uint64_t n) {
        static constexpr std::uint64_t sizes[] = {kib, mib, 1024 * mib};
        const std::uint64_t turn = n / contexts / 2;
        const std::uint64_t key = (1000 + context * 4096 + turn % 4096) << 8 | 1;
        if (n / contexts % 2 == 0) {
            own.ask(context, abi::verb::register_region,
                    {key, turn % 2 == 0 ? 1 : turn % 512, 15, data_offset, sizes[turn % 3], data_offset});
        } else {
            own.ask(context, abi::verb::deregister_region, {key});
        }
    });
}

/// A12: what costs most to answer and what is refused, in every mailbox there is.
made mail_flood(const place& p) {
    return std::make_unique<request_flood>(
        p, abi::context_count, [](tenant& own, std::uint32_t context, std::uint64_t n) {
            static constexpr abi::verb verbs[] = {abi::verb::quiesce,      abi::verb::names,
                                                  abi::verb::resolve,      abi::verb::create_vi,
                                                  abi::verb::take_request, abi::verb::connect_peer};
            std::array<std::byte, abi::mail_payload_bytes> payload{};
            own.ask(context, verbs[n % std::size(verbs)], {n % 7, n % 5}, payload);
        });
}

/// A13: the function is reset again and again, each time with somebody in it.
class reset_loop : public attack {
public:
    explicit reset_loop(const place& p) : place_(p), socket_(connect_socket(p.path)) {
        // "vfN" is function N + 1.
        request_ = R"({"command":"reset","function":"vf)" + std::to_string(p.function - 1) + R"("})";
    }
    ~reset_loop() override { ::close(socket_); }
    bool step() override {
        const tenant own(place_.path, place_.function);
        std::array<char, 65536> reply;
        if (::send(socket_, request_.data(), request_.size(), MSG_NOSIGNAL) < 0 ||
            ::recv(socket_, reply.data(), reply.size(), 0) <= 0) {
            broken("vinicd does not answer a reset");
        }
        ++operations_;
        return true;
    }

private:
    place place_;
    int socket_;
    std::string request_;
};

}  // namespace

std::unique_ptr<attack> make_attack(const std::string& name, const std::string& path, std::uint32_t function,
                                    std::uint32_t peer) {
    const place p{path, function, peer};
    static const struct {
        const char* name;
        made (*make)(const place&);
    } all[] = {
        {"A1", bulk},
        {"A2", small},
        {"A3", awkward},
        {"A4", [](const place& q) -> made { return std::make_unique<doorbell_storm>(q); }},
        {"A5", [](const place& q) -> made { return std::make_unique<garbage>(q); }},
        {"A6", churn},
        {"A7", key_walk},
        {"A8", unreceived},
        {"A9", loopback},
        {"A10", wrong_keys},
        {"A11", undrained},
        {"A12", mail_flood},
        {"A13", [](const place& q) -> made { return std::make_unique<reset_loop>(q); }},
        {"A14", many_vis},
        {"A15", [](const place& q) -> made { return std::make_unique<shifting>(q); }},
        {"A16", segment_bombs},
        {"A17", last_words},
        {"A18", memory_hog},
        {"A19", open_and_close},
        {"A20", owner_storm},
        {"A21", all_at_once},
    };
    for (const auto& each : all) {
        if (name == each.name) {
            return each.make(p);
        }
    }
    if (name.size() > 1 && name.size() < 8 && name[0] == 'L') {
        if (const unsigned long bytes = std::strtoul(name.c_str() + 1, nullptr, 10); bytes != 0 && bytes <= mib) {
            return load(p, static_cast<std::uint32_t>(bytes));
        }
    }
    broken("there is no attack '" + name + "': A1 to A21 are, and L1 to L1048576");
}

}  // namespace vinic::bench
