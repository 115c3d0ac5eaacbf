// SPDX-License-Identifier: Apache-2.0
//
// machine.hpp -- a small computer with total store order (x86), for the model checker.
//
//     thread 0        thread 1              A store goes to the thread's own buffer and reaches memory
//     +-------+       +-------+             later, in order.  A load looks into the own buffer first.
//     | code  |       | code  |             A locked operation or a fence waits until the own buffer is
//     | store |       | store |             empty.  A heavy barrier (membarrier) waits until every other
//     | buffer|       | buffer|             thread's buffer was empty once since the barrier began: each
//     +---+---+       +---+---+             thread passes its fence at a moment of its own, as the kernel
//         v               v                 does it, which is weaker than one moment for all.
//     +-----------------------+
//     |        memory         |             A thread may halt for ever at any step (killed or stopped);
//     +-----------------------+             what it has stored still reaches memory.
//
// Protocols are written as ordinary C++ in a function that is left and entered again at every
// MODEL_STEP.  Between two of them stands exactly one operation on memory, followed by any amount of
// local work.  Local variables live in `locals`, never on the stack.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <type_traits>
#include <utility>

namespace vinic::model {

/// An address, a number of few values, and what a word of memory holds if the protocol does not say otherwise.
using word = std::uint8_t;

/// A wider value as bytes, so that a state has one representation and no padding.
template <class Value>
class packed {
public:
    constexpr packed() = default;
    constexpr packed(Value v) : bytes_(std::bit_cast<bytes>(v)) {}
    constexpr operator Value() const { return std::bit_cast<Value>(bytes_); }

private:
    using bytes = std::array<std::uint8_t, sizeof(Value)>;
    bytes bytes_{};
};

/// What a word of memory holds: a protocol whose words are those of the library says `using value = std::uint64_t`.
template <class Protocol>
struct value_of {
    using type = word;
};
template <class Protocol>
    requires requires { typename Protocol::value; }
struct value_of<Protocol> {
    using type = Protocol::value;
};
template <class Value>
using kept = std::conditional_t<sizeof(Value) == 1, Value, packed<Value>>;

enum class run_state : word { running, asleep, finished, halted };

template <class Value>
struct buffered_store {
    word address = 0;
    kept<Value> value{};
};

/// A thread.  Locals must be made of bytes.
template <class Value, class Locals, std::size_t BufferEntries>
struct thread_state {
    std::array<word, 2> position{};  ///< where the code goes on: bytes, so that nothing needs padding
    run_state run = run_state::running;
    word sleeps_on = 0;
    word barrier_waits_for = 0;  ///< threads that the running heavy barrier has not seen drained
    word stores = 0;
    std::array<buffered_store<Value>, BufferEntries> buffer{};
    Locals locals{};
};

/// Everything: two executions that lead to equal machines have the same future.
template <class Protocol>
struct machine_state {
    using value = value_of<Protocol>::type;
    using thread = thread_state<value, typename Protocol::locals, Protocol::buffer_entries>;
    std::array<thread, Protocol::thread_count> threads{};
    std::array<kept<value>, Protocol::memory_words> memory{};
    /// What the properties need to know and the threads do not.
    typename Protocol::ghost ghost{};

    /// Lets the oldest store of a thread reach memory; a barrier sees the buffer when it is empty.
    void drain_one(std::size_t index) {
        auto& t = threads[index];
        memory[t.buffer[0].address] = t.buffer[0].value;
        for (std::size_t i = 1; i < t.stores; ++i) {
            t.buffer[i - 1] = t.buffer[i];
        }
        t.buffer[--t.stores] = {};
        if (t.stores == 0) {
            for (auto& other : threads) {
                other.barrier_waits_for = static_cast<word>(other.barrier_waits_for & ~(1u << index));
            }
        }
    }
    [[nodiscard]] bool is_halted(std::size_t index) const { return threads[index].run == run_state::halted; }
    /// The thread's part is over: it ended or was halted, and all that it stored is visible.
    [[nodiscard]] bool over(std::size_t index) const {
        const auto& t = threads[index];
        return t.stores == 0 && (t.run == run_state::finished || t.run == run_state::halted);
    }
};

/// How a trace shows what a word holds: the protocol may know it better than as a number.
template <class Protocol>
std::string text_of(word address, typename value_of<Protocol>::type v) {
    if constexpr (requires { Protocol::text(address, v); }) {
        return Protocol::text(address, v);
    } else {
        return std::to_string(v);
    }
}

/// What a protocol's code sees of the machine while it makes one step.
template <class Protocol>
class thread_context {
public:
    using state = machine_state<Protocol>;
    using value = state::value;

    thread_context(state& s, std::size_t thread, unsigned choice, bool tell)
        : state_(s), self_(s.threads[thread]), index_(thread), choice_(choice), tell_(tell) {}

    // -- operations on memory: one per step ---------------------------------------------------

    value load(word address) {
        begin();
        const value v = visible(address);
        tell([&] { return "load " + name(address) + " -> " + text(address, v); });
        return v;
    }
    void store(word address, value v) {
        begin();
        tell([&] { return "store " + name(address) + " = " + text(address, v) + " (into its buffer)"; });
        if (self_.stores == Protocol::buffer_entries) {
            throw std::logic_error("a store buffer of the model is too small");
        }
        self_.buffer[self_.stores++] = {address, v};
    }
    value exchange(word address, value v) {
        begin_locked();
        tell([&] { return "exchange " + name(address) + " = " + text(address, v) + ", was " + was(address); });
        return swap(address, v);
    }
    value fetch_or(word address, value bits) {
        begin_locked();
        tell([&] { return "or " + name(address) + " |= " + text(address, bits) + ", was " + was(address); });
        return swap(address, static_cast<value>(state_.memory[address] | bits));
    }
    value fetch_add(word address, value addend) {
        begin_locked();
        tell([&] { return "add " + name(address) + " += " + text(address, addend) + ", was " + was(address); });
        return swap(address, static_cast<value>(state_.memory[address] + addend));
    }
    bool compare_swap(word address, value expected, value desired) {
        return compare_exchange(address, expected, desired);
    }
    /// `expected` becomes what is there.
    template <class Expected>
    bool compare_exchange(word address, Expected& expected, value desired) {
        begin_locked();
        const value there = state_.memory[address];
        const bool equal = there == expected;
        tell([&] {
            return "compare-swap " + name(address) + " " + text(address, expected) + " -> " + text(address, desired) +
                   (equal ? "" : ", fails: is " + was(address));
        });
        if (equal) {
            state_.memory[address] = desired;
        }
        expected = there;
        return equal;
    }
    void fence() {
        begin_locked();
        tell([&] { return std::string("fence"); });
    }
    /// Orders this thread against all others that have no fence of their own.
    void heavy_barrier() {
        begin_locked();
        tell([&] { return std::string("heavy barrier"); });
        for (std::size_t i = 0; i < Protocol::thread_count; ++i) {
            if (i != index_ && state_.threads[i].stores != 0) {
                self_.barrier_waits_for = static_cast<word>(self_.barrier_waits_for | (1u << i));
            }
        }
    }
    /// A loop that only loads, run until it sees what it wants.
    template <class Wanted>
    value await(word address, Wanted wanted) {
        begin();
        const value v = visible(address);
        blocked_ = blocked_ || !wanted(v);
        tell([&] { return "wait for " + name(address) + ", sees " + text(address, v); });
        return v;
    }
    /// Sleeps unless the word has changed; system calls drain the buffer.
    void futex_wait(word address, value expected) {
        begin_locked();
        const bool sleeps = state_.memory[address] == expected;
        tell([&] {
            return "futex_wait on " + name(address) + " == " + text(address, expected) +
                   (sleeps ? ": sleeps" : ": returns, is " + was(address));
        });
        if (sleeps) {
            self_.run = run_state::asleep;
            self_.sleeps_on = address;
        }
    }
    void futex_wake(word address) {
        begin_locked();
        tell([&] { return "futex_wake on " + name(address); });
        for (auto& t : state_.threads) {
            if (t.run == run_state::asleep && t.sleeps_on == address) {
                t.run = run_state::running;
                t.sleeps_on = 0;
            }
        }
    }
    /// A step of its own without an operation on memory, so that others can come between.
    void pause(const char* what) {
        begin();
        tell([&] { return std::string(what); });
    }

    // -- local ----------------------------------------------------------------------------------

    /// The checker tries every value below `count`.  At most once per step.
    unsigned choose(unsigned count) {
        choices_ = count;
        tell([&] { return " [choice " + std::to_string(choice_) + "]"; });
        return choice_;
    }
    /// Says that a property does not hold.
    void fail(const char* what) {
        if (problem_ == nullptr) {
            problem_ = what;
        }
    }
    [[nodiscard]] auto& locals() { return self_.locals; }
    [[nodiscard]] state& whole() { return state_; }
    [[nodiscard]] std::size_t index() const { return index_; }

    // -- for MODEL_BEGIN, MODEL_STEP, MODEL_END and the checker ---------------------------------

    [[nodiscard]] unsigned position() const { return self_.position[0] + 256u * self_.position[1]; }
    void set_position(unsigned at) { self_.position = {static_cast<word>(at), static_cast<word>(at / 256)}; }
    void finish() {
        if (self_.run == run_state::asleep) {
            throw std::logic_error("a thread must have a step after the one in which it may sleep");
        }
        self_.run = run_state::finished;
        self_.locals = {};  // fewer states: nobody looks at them any more
    }
    [[nodiscard]] bool blocked() const { return blocked_; }
    [[nodiscard]] unsigned choices() const { return choices_; }
    [[nodiscard]] const char* problem() const { return problem_; }
    [[nodiscard]] const std::string& told() const { return told_; }

private:
    void begin() {
        if (std::exchange(began_, true)) {
            throw std::logic_error("a protocol has two operations in one step");
        }
    }
    void begin_locked() {
        begin();
        blocked_ = self_.stores != 0;
    }
    [[nodiscard]] value visible(word address) const {
        for (std::size_t i = self_.stores; i-- > 0;) {
            if (self_.buffer[i].address == address) {
                return self_.buffer[i].value;
            }
        }
        return state_.memory[address];
    }
    value swap(word address, value v) { return std::exchange(state_.memory[address], v); }
    [[nodiscard]] static std::string name(word address) { return Protocol::name(address); }
    [[nodiscard]] static std::string text(word address, value v) { return text_of<Protocol>(address, v); }
    [[nodiscard]] std::string was(word address) const { return text(address, state_.memory[address]); }
    /// Called with a function, so that exploring does not pay for words that only traces need.
    template <class Words>
    void tell(Words words) {
        if (tell_) {
            told_ += words();
        }
    }

    state& state_;
    state::thread& self_;
    std::size_t index_;
    unsigned choice_;
    unsigned choices_ = 1;
    bool tell_;
    bool began_ = false;
    bool blocked_ = false;
    const char* problem_ = nullptr;
    std::string told_;
};

}  // namespace vinic::model

// A function cannot be left and entered in its middle without a macro.  Such a function returns false
// as long as it has steps to come.  A long one is cut into parts, of which one runs at a time.
#define MODEL_BEGIN(t)                                                                      \
    switch ((t).position()) {                                                               \
        default:                                                                            \
            throw std::logic_error("a protocol has changed to another part between steps"); \
        case 0:
#define MODEL_STEP(t)               \
    do {                            \
        (t).set_position(__LINE__); \
        return false;               \
        case __LINE__:;             \
    } while (false)
#define MODEL_END(t)     \
    }                    \
    (t).set_position(0); \
    return true
