// SPDX-License-Identifier: Apache-2.0
//
// checker.hpp -- visits every state that a protocol can reach, breadth first.
//
// Three kinds of wrong are found, each with a shortest trace:
//   1. a step or a state breaks a property (thread_context::fail, Protocol::check);
//   2. nothing can happen any more and the protocol is not where it should end (Protocol::good);
//   3. things go on happening but no good state can be reached from here ever again.
// Hence "passed" means: safe in every state, and from every state the good end can still be reached.
//
// A protocol is a class with
//     thread_count, memory_words            numbers
//     buffer_entries                        as many stores as a thread may have on their way; exploring
//                                           throws if they do not suffice
//     locals, ghost                         structs of bytes
//     void start(machine_state&) const      initial memory, locals and ghost
//     bool step(thread_context&) const      the code of all threads, by thread_context::index(), up to
//                                           the next step; true: the thread has come to its end
//     const char* check(state) const        nullptr or what is wrong in this state
//     bool good(state) const                is this how it may end?
//     bool may_halt(state, thread) const    may this thread be killed or stopped now?
//     bool may_tick(state, thread) const    may this sleeping thread's time-out end its sleep now?
//     static std::string name(word)         of a memory word, for traces
// and, if its words are wider than a byte or traces shall show more than their numbers,
//     value                                 the type of a memory word
//     static std::string text(word, value)  of what a memory word holds
#pragma once

#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "machine.hpp"

namespace vinic::model {

/// What an exploration found.
struct verdict {
    std::string problem;             ///< empty: the protocol passed
    std::vector<std::string> trace;  ///< a shortest way to the problem
    std::size_t states = 0;
    std::size_t transitions = 0;
    std::size_t depth = 0;  ///< longest shortest way to a state
    [[nodiscard]] bool passed() const { return problem.empty(); }
    [[nodiscard]] std::string text() const {
        std::string all = problem.empty() ? "passed" : problem;
        all += " (" + std::to_string(states) + " states, " + std::to_string(transitions) + " transitions, depth " +
               std::to_string(depth) + ")\n";
        for (const auto& line : trace) {
            all += "    " + line + "\n";
        }
        return all;
    }
};

/// A list that grows without moving what is in it, for which there would have to be room twice.
template <class Entry>
class growing_list {
public:
    [[nodiscard]] std::size_t size() const { return size_; }
    [[nodiscard]] const Entry& operator[](std::size_t i) const { return pieces_[i / piece][i % piece]; }
    void push_back(const Entry& e) {
        if (size_ % piece == 0) {
            pieces_.push_back(std::make_unique_for_overwrite<Entry[]>(piece));
        }
        pieces_.back()[size_++ % piece] = e;
    }

private:
    static constexpr std::size_t piece = 1u << 14;
    std::vector<std::unique_ptr<Entry[]>> pieces_;
    std::size_t size_ = 0;
};

template <class Protocol>
class checker {
public:
    explicit checker(const Protocol& protocol, std::size_t states_max = 20'000'000)
        : protocol_(protocol), states_max_(states_max), slots_(1u << 16, nobody) {}

    verdict run() {
        state first{};
        protocol_.start(first);
        for (std::size_t thread = 0; thread < Protocol::thread_count; ++thread) {
            context t(first, thread, 0, false);  // to its first step: local work only
            advance(t);
        }
        add(first, nobody, 0);
        for (index at = 0; at < states_.size() && verdict_.passed(); ++at) {
            visit(at);
        }
        verdict_.states = states_.size();
        if (verdict_.passed()) {
            find_hopeless();
        }
        return std::move(verdict_);
    }

private:
    using state = machine_state<Protocol>;
    using context = thread_context<Protocol>;
    using index = std::uint32_t;
    static constexpr index nobody = ~index{0};
    static_assert(std::has_unique_object_representations_v<state>, "a state must have one representation");

    struct visited {
        state what;
        index parent;
        std::uint32_t depth;
    };
    struct edge {
        index from;
        index to;
    };

    /// Calls with(successor, problem, description) for everything that can happen in `from`.
    template <class With>
    void successors(const state& from, bool tell, With with) {
        for (std::size_t thread = 0; thread < Protocol::thread_count; ++thread) {
            const auto& t = from.threads[thread];
            const std::string who = tell ? Protocol::thread_name(thread) + ": " : std::string();
            if (t.stores != 0) {
                state next = from;
                next.drain_one(thread);
                with(next, nullptr, [&] {
                    const auto& oldest = t.buffer[0];
                    return who + "  its store " + Protocol::name(oldest.address) + " = " +
                           text_of<Protocol>(oldest.address, oldest.value) + " reaches memory";
                });
            }
            const bool alive = t.run == run_state::running || t.run == run_state::asleep;
            if (alive && protocol_.may_halt(from, thread)) {
                state next = from;
                next.threads[thread].run = run_state::halted;
                next.threads[thread].sleeps_on = 0;
                next.threads[thread].barrier_waits_for = 0;
                with(next, nullptr, [&] { return who + "HALTS"; });
            }
            if (t.run == run_state::asleep && protocol_.may_tick(from, thread)) {
                state next = from;
                next.threads[thread].run = run_state::running;
                next.threads[thread].sleeps_on = 0;
                with(next, nullptr, [&] { return who + "its sleep times out"; });
            }
            if (t.run == run_state::running && t.barrier_waits_for == 0) {
                steps(from, thread, tell, who, with);
            }
        }
    }

    void advance(context& t) {
        if (protocol_.step(t)) {
            t.finish();
        }
    }

    template <class With>
    void steps(const state& from, std::size_t thread, bool tell, const std::string& who, With with) {
        for (unsigned choice = 0, choices = 1; choice < choices; ++choice) {
            state next = from;
            context t(next, thread, choice, tell);
            advance(t);
            choices = t.choices();
            if (!t.blocked()) {
                with(next, t.problem(), [&] { return who + t.told(); });
            }
        }
    }

    void visit(index at) {
        const state from = states_[at].what;
        successors(from, false, [&](const state& next, const char* problem, auto&&) {
            if (!verdict_.passed()) {
                return;
            }
            ++verdict_.transitions;
            if (problem == nullptr) {
                problem = protocol_.check(next);
            }
            if (problem != nullptr) {
                verdict_.problem = problem;
                trace_to(at);
                append_step(from, next);
                return;
            }
            edges_.push_back({at, add(next, at, states_[at].depth + 1)});
        });
    }

    /// The state's number; new ones go to the end of the list, which is also the queue.
    index add(const state& s, index parent, std::uint32_t depth) {
        if ((states_.size() + 1) * 2 > slots_.size()) {
            grow();
        }
        std::size_t slot = hash(s) & (slots_.size() - 1);
        while (slots_[slot] != nobody) {
            if (std::memcmp(&states_[slots_[slot]].what, &s, sizeof(state)) == 0) {
                return slots_[slot];
            }
            slot = (slot + 1) & (slots_.size() - 1);
        }
        if (states_.size() >= states_max_) {
            throw std::length_error("the protocol has more states than the checker was allowed to visit");
        }
        const auto number = static_cast<index>(states_.size());
        slots_[slot] = number;
        states_.push_back({s, parent, depth});
        verdict_.depth = depth;
        return number;
    }

    void grow() {
        slots_.assign(slots_.size() * 2, nobody);
        for (std::size_t i = 0; i < states_.size(); ++i) {
            std::size_t slot = hash(states_[i].what) & (slots_.size() - 1);
            while (slots_[slot] != nobody) {
                slot = (slot + 1) & (slots_.size() - 1);
            }
            slots_[slot] = static_cast<index>(i);
        }
    }

    static std::uint64_t hash(const state& s) {
        std::array<std::uint64_t, (sizeof(state) + 7) / 8> words{};
        std::memcpy(words.data(), &s, sizeof(state));
        std::uint64_t sum = 0x9e3779b97f4a7c15u;
        for (std::uint64_t w : words) {
            sum = std::rotl((sum ^ w) * 0xd6e8feb86659fd93u, 29);
        }
        return sum ^ (sum >> 32);
    }

    /// Walks from the good states backwards: what is not reached has no good future.
    void find_hopeless() {
        std::vector<index> first(states_.size() + 1, 0);
        for (std::size_t i = 0; i < edges_.size(); ++i) {
            ++first[edges_[i].to + 1];
        }
        for (std::size_t i = 1; i < first.size(); ++i) {
            first[i] += first[i - 1];
        }
        std::vector<index> sources(edges_.size());
        std::vector<index> fill(first.begin(), first.end() - 1);
        std::vector<bool> goes_on(states_.size(), false);
        for (std::size_t i = 0; i < edges_.size(); ++i) {
            sources[fill[edges_[i].to]++] = edges_[i].from;
            goes_on[edges_[i].from] = true;
        }
        std::vector<bool> hopeful(states_.size(), false);
        std::vector<index> open;
        for (std::size_t i = 0; i < states_.size(); ++i) {
            if (protocol_.good(states_[i].what)) {
                hopeful[i] = true;
                open.push_back(static_cast<index>(i));
            }
        }
        while (!open.empty()) {
            const index at = open.back();
            open.pop_back();
            for (index i = first[at]; i < first[at + 1]; ++i) {
                if (!hopeful[sources[i]]) {
                    hopeful[sources[i]] = true;
                    open.push_back(sources[i]);
                }
            }
        }
        std::optional<index> stuck;
        std::optional<index> hopeless;
        for (std::size_t i = states_.size(); i-- > 0;) {
            if (!hopeful[i]) {
                hopeless = static_cast<index>(i);
                stuck = goes_on[i] ? stuck : hopeless;
            }
        }
        if (stuck || hopeless) {
            verdict_.problem = stuck ? "stuck: nothing can happen any more" : "no good end can be reached any more";
            trace_to(stuck.value_or(*hopeless));
        }
    }

    void trace_to(index at) {
        std::vector<index> way;
        for (index i = at; i != nobody; i = states_[i].parent) {
            way.push_back(i);
        }
        for (std::size_t i = way.size(); i-- > 1;) {
            append_step(states_[way[i]].what, states_[way[i - 1]].what);
        }
    }

    void append_step(const state& from, const state& to) {
        bool found = false;
        successors(from, true, [&](const state& next, const char*, auto describe) {
            if (!found && std::memcmp(&next, &to, sizeof(state)) == 0) {
                found = true;
                verdict_.trace.push_back(describe());
            }
        });
    }

    const Protocol& protocol_;
    std::size_t states_max_;
    growing_list<visited> states_;
    std::vector<index> slots_;  ///< open addressing, a power of two
    growing_list<edge> edges_;
    verdict verdict_;
};

/// Explores a protocol completely.
template <class Protocol>
verdict explore(const Protocol& protocol) {
    return checker<Protocol>(protocol).run();
}

}  // namespace vinic::model
