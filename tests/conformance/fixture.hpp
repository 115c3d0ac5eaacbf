// SPDX-License-Identifier: Apache-2.0
//
// fixture.hpp -- what every file of the conformance suite stands on.
//
//     pair                      two VIs that are connected, each with its own domain, queues and memory
//      |-- nics[0], nics[1]     one device, opened once or twice (enum handles)
//      |-- left                 endpoint: domain, completion queues, memory of a chosen kind, VI
//      '-- right                endpoint
//
// The suite knows the public header only, and takes the device address as a parameter, so that every placement of
// the NIC runs the very same tests.  No test therefore relies on work being finished when a call returns: results
// are waited for, with `patience` as a guard against hanging, never as a statement about speed.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <future>
#include <optional>
#include <source_location>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>
#include <vinic/vinic.hpp>

#include "pattern.hpp"

namespace vinic {
// GoogleTest prints the library's words by name; it finds these by argument-dependent look-up.
inline void PrintTo(errc code, std::ostream* out) { *out << name(code); }
inline void PrintTo(enum status value, std::ostream* out) { *out << name(value); }
inline void PrintTo(enum opcode value, std::ostream* out) { *out << name(value); }
inline void PrintTo(vi_state value, std::ostream* out) { *out << name(value); }
inline void PrintTo(backing value, std::ostream* out) { *out << name(value); }
inline void PrintTo(reliability value, std::ostream* out) { *out << name(value); }
}  // namespace vinic

namespace conformance {

using namespace std::chrono_literals;

/// Longest wait for something that must happen.
inline constexpr auto patience = std::chrono::seconds(30);
/// How long a test looks before it believes that something does not happen.
inline constexpr auto quiet_time = std::chrono::milliseconds(20);

inline constexpr std::size_t page = 4096;
inline constexpr std::size_t mebibyte = 1 << 20;

/// The device under test; set by main() from the command line.
struct settings {
    std::string device;     ///< such as shm:NAME
    std::string other;      ///< where the second handle of a pair is opened: another function of the same device
    std::string directory;  ///< empty at the start; for the files of whatever devices a test makes beside it
};
[[nodiscard]] const settings& under_test();
void set_under_test(settings chosen);

/// A handle on the device under test.
[[nodiscard]] vinic::nic open_device();
/// One for the second side of a pair.
[[nodiscard]] vinic::nic open_other_device();
/// `prefix` and a number that was never given out before in this process, nor in another one.
[[nodiscard]] std::string unique_name(std::string_view prefix);

/// An address at which nobody listens.
[[nodiscard]] inline vinic::address fresh_address(std::string_view prefix = "test") {
    return vinic::address(std::string_view(unique_name(prefix)));
}

/// The value, or an exception that names the place: for set-up steps that are not what a test is about.
template <class T>
T must(vinic::result<T> outcome, std::source_location where = std::source_location::current()) {
    if (!outcome)
        throw std::runtime_error(std::string(where.file_name()) + ":" + std::to_string(where.line()) + ": " +
                                 vinic::name(outcome.error().code) + ": " + outcome.error().message());
    if constexpr (!std::is_void_v<T>)
        return std::move(*outcome);
}

/// How a set-up call ended, for EXPECT_EQ.
template <class T>
[[nodiscard]] vinic::errc code_of(const vinic::result<T>& outcome) {
    return outcome ? vinic::errc::ok : outcome.error().code;
}

// -- bytes ------------------------------------------------------------------------------------

using tests::fill;
/// Whether `bytes` are what fill() made of this seed.
[[nodiscard]] testing::AssertionResult matches(std::span<const std::byte> bytes, std::uint32_t seed);
/// Whether every byte has this value.
[[nodiscard]] testing::AssertionResult all_are(std::span<const std::byte> bytes, std::byte value);
[[nodiscard]] std::vector<std::byte> pattern(std::size_t bytes, std::uint32_t seed);

/// What the memory of a test is, and so which backing the library is expected to choose for it.
enum class memory_kind : std::uint8_t {
    device,     ///< nic::allocate: native
    anonymous,  ///< page-aligned private anonymous pages: adopted, if that is asked for
    shared,     ///< a shared mapping, which the library cannot move: foreign
    unaligned,  ///< heap memory that starts at an odd address
};
[[nodiscard]] const char* name(memory_kind kind);
inline constexpr memory_kind memory_kinds[] = {memory_kind::device, memory_kind::anonymous, memory_kind::shared,
                                               memory_kind::unaligned};

/// All rights that memory of a kind can have: foreign memory has no atomics.
[[nodiscard]] constexpr vinic::access rights_of(memory_kind kind) {
    using enum vinic::access;
    return kind == memory_kind::device || kind == memory_kind::anonymous ? all
                                                                         : local_write | remote_write | remote_read;
}
inline constexpr vinic::registration adopting{vinic::adopt::safe};
/// As memory of a kind is registered: anonymous pages are adopted.
[[nodiscard]] constexpr vinic::registration registration_of(memory_kind kind) {
    return kind == memory_kind::anonymous ? adopting : vinic::registration{};
}

/// Memory of one kind, zeroed; mapped kinds are rounded to pages by the kernel.  Lives until the arena is destroyed.
class arena {
public:
    arena(vinic::nic& nic, memory_kind kind, std::size_t bytes);
    arena(arena&&) = delete;
    ~arena();
    [[nodiscard]] std::span<std::byte> bytes() const { return bytes_; }

private:
    vinic::buffer buffer_;
    std::vector<std::byte> heap_;
    void* mapped_ = nullptr;
    std::size_t mapped_bytes_ = 0;
    std::span<std::byte> bytes_;
};

// -- endpoints --------------------------------------------------------------------------------

struct endpoint_options {
    vinic::vi_attributes attributes;  ///< completion queues are filled in by the endpoint
    vinic::cq_attributes queue;       ///< of both completion queues
    std::size_t memory_bytes = 64 * 1024;
    memory_kind kind = memory_kind::device;
    vinic::access rights = vinic::access::all;  ///< as far as the kind can have them
};

/// One side of a connection and everything that it stands on.
class endpoint {
public:
    endpoint(vinic::nic& device, const endpoint_options& options);

    /// `n` bytes of the endpoint's memory from `offset`, as a descriptor names them.
    [[nodiscard]] vinic::segment at(std::size_t offset, std::size_t n) const {
        return {memory, offset, static_cast<std::uint32_t>(n)};
    }
    /// The same bytes, to look at.
    [[nodiscard]] std::span<std::byte> bytes(std::size_t offset, std::size_t n) const {
        return storage.bytes().subspan(offset, n);
    }
    [[nodiscard]] std::span<std::byte> bytes() const { return storage.bytes(); }
    /// Where the other side finds byte `offset`.
    [[nodiscard]] vinic::remote_address remote(std::size_t offset = 0) const { return memory.remote(offset); }
    /// The 64-bit word at `offset`, which peers may be changing.
    [[nodiscard]] std::atomic_ref<std::uint64_t> word(std::size_t offset) const {
        return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(storage.bytes().data() + offset));
    }

    vinic::nic& nic;
    vinic::domain domain;
    vinic::completion_queue sends;
    vinic::completion_queue receives;
    arena storage;
    vinic::region memory;
    vinic::virtual_interface vi;
};

/// Whether both sides use one handle of the device, or one each.
enum class handles : std::uint8_t { one = 1, two = 2 };
inline constexpr handles both_ways[] = {handles::one, handles::two};

/// Two connected endpoints.
class pair {
public:
    explicit pair(const endpoint_options& both = {}, handles count = handles::one);
    pair(const endpoint_options& left_options, const endpoint_options& right_options, handles count);

    vinic::nic nics[2];
    endpoint left;
    endpoint right;
};

/// Connects two idle VIs: `server` accepts at a fresh name.
void connect(vinic::nic& nic, vinic::virtual_interface& client, vinic::virtual_interface& server);

/// Options of an endpoint with this reliability level and waiting policy.
[[nodiscard]] endpoint_options with(vinic::reliability level, vinic::nanoseconds receiver_wait = vinic::forever);

/// A fixture that runs its tests with one handle and with two.
class with_handles : public testing::TestWithParam<handles> {};
[[nodiscard]] std::string handles_name(const testing::TestParamInfo<handles>& info);
#define CONFORMANCE_BOTH_WAYS(fixture) \
    INSTANTIATE_TEST_SUITE_P(handles, fixture, testing::ValuesIn(conformance::both_ways), conformance::handles_name)

inline constexpr vinic::reliability all_levels[] = {vinic::reliability::unreliable, vinic::reliability::delivery,
                                                    vinic::reliability::reception};
[[nodiscard]] std::string level_name(const testing::TestParamInfo<vinic::reliability>& info);

// -- completions ------------------------------------------------------------------------------

/// The next completion; an exception when none comes.
[[nodiscard]] vinic::completion next(vinic::completion_queue& cq,
                                     std::source_location where = std::source_location::current());
/// The next `count` completions.
[[nodiscard]] std::vector<vinic::completion> next(vinic::completion_queue& cq, std::size_t count,
                                                  std::source_location where = std::source_location::current());
/// Whether no completion comes for a while.
[[nodiscard]] testing::AssertionResult is_quiet(vinic::completion_queue& cq);
/// Whether the VI comes into this state.
[[nodiscard]] testing::AssertionResult comes_to(const vinic::virtual_interface& vi, vinic::vi_state wanted);
/// Whether `condition` becomes true.
template <class Condition>
[[nodiscard]] bool comes_true(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end)
            return false;
        std::this_thread::yield();
    }
    return true;
}

/// Runs `work` in a thread; get() returns its value and rethrows what it threw.
template <class Work>
[[nodiscard]] auto in_thread(Work work) {
    return std::async(std::launch::async, std::move(work));
}

}  // namespace conformance
