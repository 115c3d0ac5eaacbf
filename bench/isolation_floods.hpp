// SPDX-License-Identifier: Apache-2.0
//
// isolation_floods.hpp -- what attacks with messages have in common: pairs of VIs, kept full.
#pragma once

#include <functional>
#include <vector>

#include "bench/isolation_attacks.hpp"
#include "bench/isolation_client.hpp"
#include "vinic/vinic.hpp"

namespace vinic::bench {

/// Where an attack takes place.
struct place {
    std::string path;
    std::uint32_t function;
    std::uint32_t peer;
};
using made = std::unique_ptr<attack>;

inline constexpr std::uint64_t kib = 1024;
inline constexpr std::uint64_t mib = 1024 * kib;

/// So that each pair of an attack has room of its own.
[[nodiscard]] constexpr std::uint64_t room(std::uint32_t pair, std::uint64_t bytes) {
    return data_offset + pair * bytes;
}

struct flood_shape {
    std::uint32_t pairs = 16;
    vi_shape vi = {};
    std::uint32_t unreliable_pairs = 0;  ///< of the pairs, so many: errors and drops end with the message
    bool receives = false;               ///< the other end posts receives
    bool to_itself = false;              ///< both ends on one function
    bool ring_anyway = false;            ///< rings for VIs that can take nothing, too
};

/// A descriptor of one segment in `everything`.
[[nodiscard]] inline abi::send_descriptor one_segment(opcode what, std::uint64_t from, std::uint32_t length,
                                                      std::uint64_t to) {
    abi::send_descriptor d{};
    d.opcode = static_cast<std::uint8_t>(what);
    d.segment_count = 1;
    d.length = length;
    d.segments[0] = {from, length, everything_key};
    d.remote_address = to;
    d.remote_key = everything_key;
    return d;
}

/// Posts what `next` makes of the pair's number and the descriptor's, wherever there is room.
class flood : public attack {
public:
    using maker = std::function<abi::send_descriptor(raw_vi& vi, std::uint32_t pair, std::uint32_t index)>;
    using receiver = std::function<std::vector<abi::segment>(std::uint32_t pair)>;

    flood(const std::string& path, std::uint32_t function, std::uint32_t peer, const flood_shape& shape, maker next,
          receiver receive = {})
        : own_(path, function), shape_(shape), next_(std::move(next)) {
        own_.register_region(everything_key, data_offset, own_.bytes() - data_offset);
        if (!shape.to_itself) {
            peer_ = std::make_unique<tenant>(path, peer);
            peer_->register_region(everything_key, data_offset, peer_->bytes() - data_offset);
        }
        tenant& other = shape.to_itself ? own_ : *peer_;
        for (std::uint32_t i = 0; i < shape.pairs; ++i) {
            vi_shape vi = shape.vi;
            vi.reliable = i >= shape.unreliable_pairs;
            senders_.push_back(&own_.make_vi(vi));
            receivers_.push_back(&other.make_vi(vi));
            senders_.back()->connect(*receivers_.back());
            segments_.push_back(receive ? receive(i) : std::vector<abi::segment>());
        }
    }

    bool step() override {
        bool any = false;
        for (std::uint32_t pair = 0; pair < shape_.pairs; ++pair) {
            raw_vi& from = *senders_[pair];
            if (shape_.receives) {
                bool posted = false;
                while (receivers_[pair]->put_receive(segments_[pair])) {
                    posted = true;
                }
                if (posted) {
                    receivers_[pair]->ring_receives();
                }
            }
            const std::uint64_t before = operations_;
            while (from.has_room()) {
                from.put(next_(from, pair, from.sent()));
                ++operations_;
            }
            if (operations_ != before || shape_.ring_anyway) {
                from.ring();
            }
            any = any || operations_ != before;
        }
        return any;
    }

    [[nodiscard]] tenant& own() { return own_; }
    [[nodiscard]] tenant& other() { return peer_ ? *peer_ : own_; }
    [[nodiscard]] raw_vi& sender(std::uint32_t pair) { return *senders_[pair]; }
    [[nodiscard]] raw_vi& receiving(std::uint32_t pair) { return *receivers_[pair]; }
    [[nodiscard]] std::uint32_t pairs() const { return shape_.pairs; }

private:
    tenant own_;
    std::unique_ptr<tenant> peer_;
    flood_shape shape_;
    maker next_;
    std::vector<raw_vi*> senders_;
    std::vector<raw_vi*> receivers_;
    std::vector<std::vector<abi::segment>> segments_;
};

// -- attacks with messages: isolation_floods.cc ---------------------------------------------------

[[nodiscard]] made bulk(const place& p);           ///< A1
[[nodiscard]] made small(const place& p);          ///< A2
[[nodiscard]] made awkward(const place& p);        ///< A3
[[nodiscard]] made key_walk(const place& p);       ///< A7
[[nodiscard]] made unreceived(const place& p);     ///< A8
[[nodiscard]] made loopback(const place& p);       ///< A9
[[nodiscard]] made wrong_keys(const place& p);     ///< A10
[[nodiscard]] made undrained(const place& p);      ///< A11
[[nodiscard]] made many_vis(const place& p);       ///< A14
[[nodiscard]] made segment_bombs(const place& p);  ///< A16
// -- that come and go: isolation_comings.cc --------------------------------------------------------
[[nodiscard]] made last_words(const place& p);      ///< A17
[[nodiscard]] made memory_hog(const place& p);      ///< A18
[[nodiscard]] made open_and_close(const place& p);  ///< A19
[[nodiscard]] made owner_storm(const place& p);     ///< A20
[[nodiscard]] made all_at_once(const place& p);     ///< A21
/// Not an attack: a function that is never idle, with messages of one size.
[[nodiscard]] made load(const place& p, std::uint32_t bytes);

}  // namespace vinic::bench
