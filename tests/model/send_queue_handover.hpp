// SPDX-License-Identifier: Apache-2.0
//
// send_queue_handover.hpp -- the protocol: a send queue whose next message finds no receive slot is
// handed to the receiver and comes back: every message is executed once, in order, by one executor, and
// none is left behind while a slot is ready; when the connection ends, each is delivered or flushed and
// nobody is inside any more.  See docs/protocols.md.
//
//                   sender: no slot                    receiver: takes it
//       owner ---------------------------->  handed  ---------------------->  peer
//         ^  <----------------------------    |  ^  <----------------------     |
//         |   sender: slot came meanwhile     '--' sender appends   no slot     |  (sender appends here too)
//         '---------------------------------------------------------------------'
//                                 receiver: nothing pending
//
// The code of the threads follows, step by step, src/direct/hand_over.cc, post.cc and stall.cc
// (send_queue_sender.hpp), vi_receive.cc (send_queue_receiver.hpp), src/direct/vi.cc, vi_poll.cc and expire_stall
// (send_queue_ending.hpp).
#pragma once

#include <algorithm>

#include "checker.hpp"
#include "send_queue_words.hpp"

namespace vinic::model::send_queue {

/// Of a thread's code: one runs at a time.
enum class part : word {
    over,
    // sender
    post,
    append,
    direct,
    give,
    drain_own,
    posted,
    await_end,
    // receiver, and who connects
    post_receive,
    enter,
    claim,
    drain,
    pass_on,
    leave,
    break_off,
    connect,
    look_again,
    // whoever ends the connection or finds it ended
    break_ends,
    await_engines,
    outside,
    flush_sends,
    flush_receives,
    keep_house,
    expire,
    house_kept,
};

struct handover {
    static constexpr std::size_t thread_count = 3;
    static constexpr std::size_t memory_words = words;
    static constexpr std::size_t buffer_entries = 12;
    using value = std::uint64_t;

    struct locals {
        part at = part::over;
        word i = 0;      // sender: message; receiver: slot
        word value = 0;  // what was just read
        word next = 0;   // next message to execute, or to flush
        word mark = 0;
        word is_handed = 0;  // sender: its queue, as far as it knows
        word is_marked = 0;  // receiver
        word head = 0;
        word last_time = 0;          // a flush after which nothing is posted any more
        packed<std::uint64_t> seen;  // hand_over as last read
    };
    struct ghost {
        word executor = 0;  ///< 1 + thread while a message is being executed
        word delivered = 0;
        // by bit
        word sent = 0;      ///< by the sender, directly
        word deferred = 0;  ///< in the ring: `done` tells
        word flushed = 0;
        word given_back = 0;  ///< receives
    };
    using state = machine_state<handover>;
    using context = thread_context<handover>;

    word messages = 3;
    word slots = 3;
    broken wrong = broken::nothing;
    attention_rule rule = attention_rule::cleared_before_claim;
    ending ends = ending::none;
    helper with = helper::nobody;
    word visits = 2;  ///< of whoever keeps house

    static std::string thread_name(std::size_t thread) {
        return thread == sender ? "sender  " : thread == receiver ? "receiver" : "third   ";
    }
    static std::string name(word a) { return name_of(a); }
    static std::string text(word a, value v) { return text_of_word(a, v); }
    static bool has(word bits, word number) { return ((bits >> number) & 1) != 0; }
    static void set(word& bits, word number) { bits = static_cast<word>(bits | (1u << number)); }

    void start(state& s) const {
        s.memory[sender_state] = connected;
        s.memory[receiver_state] = connected;
        s.memory[linked] = with == helper::connects ? 0 : 1;
        s.threads[sender].locals.at = part::post;
        s.threads[receiver].locals.at = part::post_receive;
        s.threads[third].locals.at = role_of_third();
    }
    [[nodiscard]] part role_of_third() const {
        switch (with) {
            case helper::sender_polls:
            case helper::receiver_polls:
                return part::await_end;
            case helper::disconnects:
                return part::break_ends;
            case helper::keeps_house:
                return part::keep_house;
            case helper::connects:
                return part::connect;
            case helper::nobody:
                break;
        }
        return part::over;
    }

    // -- properties -----------------------------------------------------------------------------

    [[nodiscard]] const char* check(const state& s) const {
        for (word m = 0; m < messages; ++m) {
            const bool is_flushed = has(s.ghost.flushed, m);
            if (is_flushed && s.memory[done + m] != 0) {
                return "a message was completed and flushed";
            }
            if (is_flushed && s.memory[arrived + m] != 0 && ends != ending::receiver_dies) {
                return "a message was delivered and flushed";
            }
            if (has(s.ghost.given_back, m) && s.memory[arrived + m] != 0) {
                return "a receive was completed after it was flushed";
            }
        }
        return nullptr;
    }
    [[nodiscard]] bool good(const state& s) const {
        if (!s.over(sender) || !s.over(receiver) || !s.over(third)) {
            return false;
        }
        if (s.memory[sender_state] == connected) {
            return s.ghost.delivered == std::min(messages, slots);
        }
        for (word m = 0; m < messages && ends != ending::sender_dies; ++m) {
            if (!has(s.ghost.sent | s.ghost.flushed, m) && s.memory[done + m] == 0) {
                return false;
            }
        }
        for (word i = 0; i < slots && gives_receives_back(); ++i) {
            if (!has(s.ghost.given_back, i) && s.memory[arrived + i] == 0) {
                return false;
            }
        }
        return true;
    }
    [[nodiscard]] bool gives_receives_back() const {
        return with == helper::receiver_polls || with == helper::disconnects;
    }
    [[nodiscard]] bool may_halt(const state&, std::size_t thread) const {
        return (ends == ending::receiver_dies && thread == receiver) ||
               (ends == ending::sender_dies && thread == sender);
    }
    [[nodiscard]] bool may_tick(const state&, std::size_t) const { return false; }

    /// Executing a message takes time: two steps, with `execute_begins` in the first.
    void execute_begins(context& t, word message) const {
        auto& g = t.whole().ghost;
        if (g.executor != 0) {
            t.fail("two executors at once");
        }
        if (g.delivered != message) {
            t.fail("a message is executed twice or out of order");
        }
        g.executor = static_cast<word>(1 + t.index());
    }
    void execute_ends(context& t) const {
        t.whole().ghost.executor = 0;
        ++t.whole().ghost.delivered;
    }

    // -- code -----------------------------------------------------------------------------------

    bool step(context& t) const {
        while (t.locals().at != part::over) {
            if (!run(t)) {
                return false;
            }
        }
        return true;
    }
    bool run(context& t) const {
        switch (t.locals().at) {
            case part::post:
                return post(t);
            case part::append:
                return append(t);
            case part::direct:
                return direct(t);
            case part::give:
                return give(t);
            case part::drain_own:
                return drain_own(t);
            case part::posted:
                return posted(t);
            case part::await_end:
                return await_end(t);
            case part::post_receive:
                return post_receive(t);
            case part::enter:
                return enter(t);
            case part::claim:
                return claim(t);
            case part::drain:
                return drain(t);
            case part::pass_on:
                return pass_on(t);
            case part::leave:
                return leave(t);
            case part::break_off:
                return break_off(t);
            case part::connect:
                return connect(t);
            case part::look_again:
                return look_again(t);
            case part::break_ends:
                return break_ends(t);
            case part::await_engines:
                return await_engines(t);
            case part::outside:
                return outside(t);
            case part::flush_sends:
                return flush_sends(t);
            case part::flush_receives:
                return flush_receives(t);
            case part::keep_house:
                return keep_house(t);
            case part::expire:
                return expire(t);
            case part::house_kept:
                return house_kept(t);
            case part::over:
                break;
        }
        return true;
    }

    [[nodiscard]] bool flushes_sends(const context& t) const {
        return t.index() == sender || with == helper::sender_polls;
    }
    static bool is_dead(context& t, std::size_t thread) {
        return t.whole().is_halted(thread) && t.whole().over(thread);
    }
    static value with_produced(value seen, unsigned produced) {
        return abi::make_hand_over(produced, abi::holder_of(seen), abi::first_of(seen));
    }
    [[nodiscard]] value handed_word(unsigned produced, word first) const {
        return abi::make_hand_over(produced, abi::queue_holder::handed,
                                   wrong == broken::word_without_first ? 0u : first);
    }
    /// An ending is looked for only where there may be one, so that the other explorations stay small.
    [[nodiscard]] bool may_end() const { return ends != ending::none; }

    bool post(context& t) const;
    bool append(context& t) const;
    bool direct(context& t) const;
    bool give(context& t) const;
    bool drain_own(context& t) const;
    bool posted(context& t) const;
    void refuse(context& t) const;

    bool post_receive(context& t) const;
    bool enter(context& t) const;
    bool claim(context& t) const;
    bool drain(context& t) const;
    bool pass_on(context& t) const;
    bool leave(context& t) const;
    bool break_off(context& t) const;
    bool connect(context& t) const;
    bool look_again(context& t) const;
    void next_slot(context& t) const;

    bool await_end(context& t) const;
    bool break_ends(context& t) const;
    bool await_engines(context& t) const;
    bool outside(context& t) const;
    bool flush_sends(context& t) const;
    bool flush_receives(context& t) const;
    bool keep_house(context& t) const;
    bool expire(context& t) const;
    bool house_kept(context& t) const;

    /// The engine's rule: the receiver clears the flag, then claims by a locked instruction.
    [[nodiscard]] bool claims_clear() const {
        return rule == attention_rule::cleared_before_claim || rule == attention_rule::cleared_without_lock;
    }
    [[nodiscard]] bool set_late() const { return rule == attention_rule::set_after_hand_over || claims_clear(); }
};

}  // namespace vinic::model::send_queue

#include "send_queue_ending.hpp"    // IWYU pragma: export
#include "send_queue_receiver.hpp"  // IWYU pragma: export
#include "send_queue_sender.hpp"    // IWYU pragma: export
