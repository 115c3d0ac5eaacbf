// SPDX-License-Identifier: Apache-2.0
//
// engine.hpp -- executing one descriptor: fetch, check, move, complete.
//
//   A route leads from an initiating VI to its target.  The process that holds the initiator's send queue runs it: the
//   initiator's own or, after a hand-over, the receiver's.  All state that the two must agree on is in the abi; a route
//   only caches positions.
#pragma once

#include "os/process_memory.hpp"
#include "rules/copy.hpp"
#include "rules/operations.hpp"
#include "tables/link.hpp"
#include "tables/rings.hpp"
#include "tables/space.hpp"

namespace vinic::direct {

using rules::outcome;
using tables::memory;
using tables::place;

/// A stream wants the line of a completion before it comes to it: it takes about three messages' time.
inline constexpr std::uint32_t completions_ahead = 3;

struct route {
    const memory* device = nullptr;
    abi::vi_entry* from = nullptr;
    abi::vi_entry* to = nullptr;
    tables::receive_side target;
    std::uint32_t from_domain = 0;
    std::uint32_t to_domain = 0;
    std::uint32_t to_process = 0;
    std::uint32_t fill = 0;       ///< index of the next receive descriptor to use
    std::uint32_t ready = 0;      ///< so many descriptors from there on are known to be posted
    std::uint32_t room = 0;       ///< bytes that each of them can take at least
    std::uint64_t connected = 0;  ///< from->state while this connection lives
    std::uint64_t telling = 0;    ///< a word of each completion: of datagrams the source, else the kind's own
    bool reliable = false;
    bool tells = false;
    rules::chooser chooser;
    std::uint32_t payload_max = abi::payload_in_completion;  ///< up to here a message travels in its completion
    std::uint64_t foreign_copies = 0;

    [[nodiscard]] bool receiver_ready() const noexcept {
        return rules::is_posted(target.slots[fill & target.mask].descriptor, fill);
    }

    /// Whether the receiver has what the message waits for.
    [[nodiscard]] bool ready_for(const rules::message& m) const noexcept {
        return receiver_ready() && (chooser.kind == nullptr || m.opcode != opcode::send ||
                                    chooser.kind->has_place(chooser.table, rules::arrival_of(m)));
    }

    /// Runs one operation.  The caller is marked as executing and `from` is connected.
    [[nodiscard]] outcome run(const rules::message& m) noexcept;

    /// A send of at most payload_max bytes that lie at `data`, checked: the fast path of run().
    [[nodiscard]] outcome run_small(const std::byte* data, std::uint32_t bytes, bool has_immediate,
                                    std::uint32_t immediate) noexcept {
        if (!knows_room_for(bytes)) [[unlikely]] {
            abi::receive_descriptor& d = target.slots[fill & target.mask].descriptor;
            if (!rules::is_posted(d, fill)) [[unlikely]] {
                return outcome::waiting();
            }
            if (bytes > capacity(d)) [[unlikely]] {
                return end_receive(rules::fault::too_long, has_immediate, immediate, bytes);
            }
        }
        abi::receive_completion& c = target.slots[fill & target.mask].completion;
        rules::copy_small(reinterpret_cast<std::byte*>(c.payload) + (tells ? 8 : 0), data, bytes);
        complete({status::success, rules::receive_flags(has_immediate, abi::payload_inside), bytes, immediate});
        return {};
    }

    /// Likewise for a longer send, if the receiver's buffer is one segment that this process can reach in one
    /// piece.  `waits`: not such a case, or no descriptor; nothing was done.
    [[nodiscard]] outcome run_one_piece(const std::byte* data, std::uint32_t bytes, bool has_immediate,
                                        std::uint32_t immediate) noexcept;

    /// A write of at least a byte without immediate data whose source lies at `data`, checked: the fast path
    /// of run().  `waits`: the target refuses; nothing was done.
    [[nodiscard]] outcome run_plain_write(const std::byte* data, std::uint32_t bytes, std::uint64_t address,
                                          std::uint32_t key) noexcept {
        place p;
        if ((to->flags.load_relaxed() & abi::allow_write) == 0 ||
            !tables::check(*device, to_domain, key, address, bytes, static_cast<std::uint32_t>(access::remote_write),
                           p)) [[unlikely]] {
            return outcome::waiting();
        }
        if (p.offset == abi::none64) [[unlikely]] {
            if (!tables::is_foreign_in_one_piece(*device, p) ||
                os::write_process(device->process(p.process).pid.load_relaxed(), address, data, bytes) != 0) {
                return write_in_pieces(p, data, bytes);  // which also finds out why it failed
            }
            ++foreign_copies;
            return {};
        }
        rules::copy_ascending(device->at<std::byte>(p.offset), data, bytes);
        return {};
    }

    /// Learns how many receive descriptors are posted.  False: none.
    [[nodiscard]] bool look_for_receives() noexcept {
        // Acquire: pairs with the release in tell_receives; those slots are not the owner's any longer.
        const std::uint64_t receives = to->receives.load_acquire();
        const auto ahead = static_cast<std::int32_t>(abi::posted_of(receives) - fill);
        ready = ahead > 0 ? static_cast<std::uint32_t>(ahead) : 0;
        room = abi::room_of(receives);
        return ready != 0;
    }

    /// The message at the head found no receive descriptor and may not wait, or not any longer.
    [[nodiscard]] outcome end_unreceived() noexcept;
    /// The descriptor at the head is none that anybody can post.
    [[nodiscard]] outcome refuse() noexcept { return end(rules::fault::malformed); }

    /// Likewise for the holder of the queue.
    void count_foreign_copies() noexcept {
        if (foreign_copies != 0) {
            from->counters[abi::tx_foreign_copies].add_single_writer(foreign_copies);
            foreign_copies = 0;
        }
    }

    /// To be called when another process may have moved `fill`.
    void resume_at(std::uint32_t index) noexcept {
        fill = index;
        ready = 0;
    }

private:
    /// Whether descriptor `fill` is posted and has room for so many bytes, without a look at its line.
    /// False: not known.
    [[nodiscard]] bool knows_room_for(std::uint32_t bytes) noexcept {
        return (ready != 0 && bytes <= room) || (look_for_receives() && bytes <= room);
    }
    [[nodiscard]] std::uint64_t capacity(const abi::receive_descriptor& d) const noexcept {
        std::uint64_t sum = 0;
        const std::uint32_t n = d.segment_count;
        for (std::uint32_t i = 0; i < n; ++i) {
            sum += target.segment_of(d, fill, i).length;
        }
        return sum;
    }
    /// Publishes the completion of descriptor `fill` and steps on.
    [[gnu::always_inline]] void complete(const rules::receipt& r) noexcept {
        rules::publish(target.slots[fill & target.mask].completion, fill, r, tells, telling);
        ++fill;
        ready -= ready != 0 ? 1 : 0;
        rules::prefetch_for_write(&target.slots[(fill + completions_ahead) & target.mask].completion);
        tables::signal_if_wanted(*device, *to, abi::receive_queue);
    }
    struct engine;           ///< what the operations ask: rules/operations.hpp
    struct choosing_engine;  ///< likewise, of a receiver with a table
    [[nodiscard, gnu::noinline]] outcome run_chosen(const rules::message& m) noexcept;
    /// The message fails; a reliable connection breaks by it, or was broken before: then the message is flushed.
    [[nodiscard, gnu::cold]] outcome end(rules::fault f) noexcept;
    /// Likewise, and the receive descriptor is used.
    [[nodiscard, gnu::cold]] outcome end_receive(rules::fault f, bool has_immediate, std::uint32_t immediate,
                                                 std::uint32_t bytes) noexcept;
    /// Somebody else broke the connection first.
    [[nodiscard]] outcome overtaken() const noexcept;
    /// A remote access was refused before a descriptor was used.
    [[nodiscard]] outcome refuse_access(enum opcode what) noexcept;
    /// Into memory that is foreign, wholly or in part.
    [[nodiscard]] outcome write_in_pieces(const place& to_place, const std::byte* data, std::uint32_t bytes) noexcept;
};

}  // namespace vinic::direct
