// SPDX-License-Identifier: Apache-2.0
//
// isolation_floods.cc -- the attacks that flood a device with messages, one class or recipe each.
#include "bench/isolation_floods.hpp"

#include <algorithm>
#include <bit>

#include "os/sync.hpp"

namespace vinic::bench {

namespace {

made plain_flood(const place& p, const flood_shape& shape, flood::maker next, flood::receiver receive = {}) {
    return std::make_unique<flood>(p.path, p.function, p.peer, shape, std::move(next), std::move(receive));
}

flood::receiver receives_of(std::uint64_t bytes, std::uint64_t skew) {
    return [=](std::uint32_t pair) {
        return std::vector<abi::segment>{
            {room(pair, 64 * kib) + skew, static_cast<std::uint32_t>(bytes), everything_key}};
    };
}

std::uint32_t walked_key(std::uint32_t i) { return (100 + i) << 8 | 1; }

/// A11: looks at no completion, and asks for a wake-up with each: the device finds the queue armed again and again.
class undrained_attack : public attack {
public:
    explicit undrained_attack(const place& p)
        : messages_(p.path, p.function, p.peer, {.pairs = 64, .vi = {.depth = 1024}}, next) {
        tenant& own = messages_.own();
        const std::uint64_t bitmap = own.take(8 * kib);
        cq_ = &own.at<abi::cq_entry>(abi::cqs_offset)[0];
        cq_->bitmap.store_release(abi::make_bitmap(bitmap, 2));
        cq_->bell.store_release(1);
        for (std::uint32_t i = 0; i < messages_.pairs(); ++i) {
            messages_.sender(i).entry().notify[abi::send_queue].store_release(1);
        }
    }
    bool step() override {
        const bool any = messages_.step();
        for (int i = 0; i < 1000; ++i) {
            cq_->armed.store_release(1);
            os::spin_pause();
        }
        operations_ = messages_.operations();
        return any;
    }

private:
    static abi::send_descriptor next(raw_vi&, std::uint32_t pair, std::uint32_t) {
        return one_segment(opcode::write, room(pair, 4 * kib), 8, room(pair, 4 * kib));
    }
    flood messages_;
    abi::cq_entry* cq_ = nullptr;
};

}  // namespace

/// A1: an engine's time in one piece after the other.
made bulk(const place& p) {
    return plain_flood(p, {.pairs = 16, .vi = {.depth = 128}}, [](raw_vi&, std::uint32_t pair, std::uint32_t) {
        return one_segment(opcode::write, room(pair, mib), mib, room(pair, mib));
    });
}

made load(const place& p, std::uint32_t bytes) {
    const std::uint64_t depth = std::clamp<std::uint64_t>(4 * mib / bytes, 16, 1024);
    return plain_flood(
        p, {.pairs = 16, .vi = {.depth = std::bit_floor(static_cast<std::uint32_t>(depth))}, .to_itself = true},
        [bytes](raw_vi&, std::uint32_t pair, std::uint32_t) {
            return one_segment(opcode::write, room(pair, mib), bytes, room(pair + 16, mib));
        });
}

/// A2: as many descriptors, completions and doorbells as there can be.
made small(const place& p) {
    return plain_flood(
        p, {.pairs = 64, .vi = {.depth = 1024}, .receives = true},
        [](raw_vi&, std::uint32_t pair, std::uint32_t index) {
            abi::send_descriptor d{};
            d.opcode = static_cast<std::uint8_t>(opcode::send);
            d.flags = abi::payload_inside;
            d.length = d.inline_bytes = 8;
            d.segments[0].address = std::uint64_t{pair} << 32 | index;
            return d;
        },
        receives_of(64, 0));
}

/// A3: a little more than what fits, and never aligned.
made awkward(const place& p) {
    return plain_flood(
        p, {.pairs = 64, .vi = {.depth = 256}, .receives = true},
        [](raw_vi&, std::uint32_t pair, std::uint32_t index) {
            return one_segment(opcode::send, room(pair, 64 * kib) + 61 + index % 8, index % 2 == 0 ? 129 : 257, 0);
        },
        receives_of(300, 59));
}

/// A7: nothing that a table or a cache holds is asked for twice in a row.
made key_walk(const place& p) {
    constexpr std::uint32_t regions = 4096;
    auto made_flood =
        std::make_unique<flood>(p.path, p.function, p.peer, flood_shape{.pairs = 64, .vi = {.depth = 256}},
                                [](raw_vi&, std::uint32_t pair, std::uint32_t index) {
                                    const std::uint32_t from = (pair * 509 + index * 61) % regions;
                                    const std::uint32_t to = (pair * 251 + index * 127) % regions;
                                    auto d = one_segment(opcode::write, room(from, 4 * kib), 64, room(to, 4 * kib));
                                    d.segments[0].key = walked_key(from);
                                    d.remote_key = walked_key(to);
                                    return d;
                                });
    for (tenant* t : {&made_flood->own(), &made_flood->other()}) {
        for (std::uint32_t i = 0; i < regions; ++i) {
            t->register_region(walked_key(i), room(i, 4 * kib), 4 * kib);
        }
    }
    return made_flood;
}

/// A8: half of the VIs wait for receives that never come and ring all the time, the other half's messages are dropped.
made unreceived(const place& p) {
    return plain_flood(p, {.pairs = 64, .vi = {.depth = 512}, .unreliable_pairs = 32, .ring_anyway = true},
                       [](raw_vi&, std::uint32_t pair, std::uint32_t) {
                           return one_segment(opcode::send, room(pair, 4 * kib), 8, 0);
                       });
}

/// A9: both ends in one function, so that nothing of it reaches another.
made loopback(const place& p) {
    return plain_flood(p, {.pairs = 4, .vi = {.depth = 64}, .to_itself = true},
                       [](raw_vi&, std::uint32_t pair, std::uint32_t) {
                           return one_segment(opcode::write, room(pair, mib), 256 * kib, room(pair + 8, mib));
                       });
}

/// A10: every descriptor ends in the error path; unreliable, so that the connection bears it.
made wrong_keys(const place& p) {
    return plain_flood(p, {.pairs = 16, .vi = {.depth = 1024}, .unreliable_pairs = 16},
                       [](raw_vi&, std::uint32_t pair, std::uint32_t index) {
                           auto d = one_segment(index % 2 == 0 ? opcode::send : opcode::write, room(pair, 4 * kib), 64,
                                                room(pair, 4 * kib));
                           (index % 2 == 0 ? d.segments[0].key : d.remote_key) = 12345 + index;
                           return d;
                       });
}

made undrained(const place& p) { return std::make_unique<undrained_attack>(p); }

/// A14: more VIs with work than the device has operation queues.
made many_vis(const place& p) {
    return plain_flood(p, {.pairs = 2048, .vi = {.depth = 16}, .to_itself = true},
                       [](raw_vi&, std::uint32_t pair, std::uint32_t) {
                           return one_segment(opcode::write, room(pair, 4 * kib), 4 * kib, room(pair + 4096, 4 * kib));
                       });
}

/// A16: 256 pieces at each end, no two edges at the same place.
made segment_bombs(const place& p) {
    constexpr std::uint32_t pieces = 256;
    return plain_flood(
        p, {.pairs = 16, .vi = {.depth = 64, .segments_max = pieces}, .receives = true},
        [](raw_vi& vi, std::uint32_t pair, std::uint32_t index) {
            abi::send_descriptor d{};
            d.opcode = static_cast<std::uint8_t>(opcode::send);
            d.segment_count = pieces;
            const auto extra = vi.next_extra();
            for (std::uint32_t i = 0; i < pieces; ++i) {
                abi::segment& s = i < 2 ? d.segments[i] : extra[i - 2];
                s = {room(pair * pieces + i, 4 * kib) + index % 7, 1 + i % 15, everything_key};
                d.length += s.length;
            }
            return d;
        },
        [](std::uint32_t pair) {
            std::vector<abi::segment> all;
            for (std::uint32_t i = 0; i < pieces; ++i) {
                all.push_back({room(pair * pieces + i, 4 * kib) + 3, 15 - i % 13, everything_key});
            }
            return all;
        });
}

}  // namespace vinic::bench
