// SPDX-License-Identifier: Apache-2.0
//
// fixture.hpp -- what the tests of the VIPL face stand on; they know vipl.h and nothing else of vinic.
//
//     pair                       two connected sides, of one NIC handle or of one each
//      |-- left                  endpoint: protection tag, registered memory, VI
//      '-- right                 endpoint
//
//     memory of an endpoint:     descriptors | wide descriptors | buffers
//
// Results are waited for, with `patience` as a guard against hanging, never as a statement about speed.
#pragma once

#include <gtest/gtest.h>
#include <vipl.h>

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <mutex>
#include <source_location>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "pattern.hpp"

// GoogleTest prints the numbers of the architecture by name.
void PrintTo(VIP_RETURN code, std::ostream* out);
void PrintTo(VIP_VI_STATE state, std::ostream* out);
void PrintTo(VIP_ERROR_CODE code, std::ostream* out);

namespace vipl_test {

using namespace std::chrono_literals;

/// Longest wait for something that must happen.
inline constexpr auto patience = 30s;
inline constexpr VIP_ULONG patience_ms = 30000;
/// How long a test looks before it believes that something does not happen.
inline constexpr auto quiet_time = 20ms;
inline constexpr VIP_ULONG quiet_time_ms = 20;

/// A set-up step that is not what a test is about: an exception that names the place unless it succeeds.
void must(VIP_RETURN code, std::source_location where = std::source_location::current());

/// Whether `condition` becomes true.
template <class Condition>
[[nodiscard]] bool comes_true(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + patience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) {
            return false;
        }
        std::this_thread::sleep_for(100us);
    }
    return true;
}

/// Runs the tests of this program.  Devices go to a fresh directory, in which nothing may be left at the end.
[[nodiscard]] int run_suite(int argument_count, char** arguments);
/// Whether the suite runs on one given device (--device), so that names do not choose it.
[[nodiscard]] bool device_is_given();

/// Sets an environment variable while it lives.
class with_environment {
public:
    with_environment(const char* name, const std::string& value);
    with_environment(const with_environment&) = delete;
    with_environment& operator=(const with_environment&) = delete;
    ~with_environment();

private:
    std::string name_;
    std::string before_;
    bool was_set_;
};

// -- addresses --------------------------------------------------------------------------------

/// Room for any VIP_NET_ADDRESS.
class net_address {
public:
    net_address() = default;
    net_address(std::span<const VIP_UINT8> host, std::string_view discriminator);
    VIP_NET_ADDRESS* get() { return reinterpret_cast<VIP_NET_ADDRESS*>(bytes_.data()); }
    [[nodiscard]] std::string host() const;
    [[nodiscard]] std::string discriminator() const;
    [[nodiscard]] std::span<std::uint8_t> bytes() { return bytes_; }

private:
    [[nodiscard]] VIP_NET_ADDRESS header() const;
    alignas(8) std::array<std::uint8_t, 160> bytes_{};
};

/// A discriminator that nobody else uses.
[[nodiscard]] std::string fresh_discriminator();

// -- NIC handles and asynchronous errors ------------------------------------------------------

/// Hears the asynchronous errors of a NIC handle while it lives (and the handle is open).
class error_log {
public:
    explicit error_log(VIP_NIC_HANDLE nic);
    error_log(const error_log&) = delete;
    error_log& operator=(const error_log&) = delete;
    ~error_log();
    /// The first error of this code, once it has come; an exception when it does not.
    VIP_ERROR_DESCRIPTOR wait_for(VIP_ERROR_CODE code,
                                  std::source_location where = std::source_location::current()) const;
    [[nodiscard]] std::size_t count(VIP_ERROR_CODE code) const;
    [[nodiscard]] std::size_t count() const;
    void clear();

private:
    static void heard(VIP_PVOID context, VIP_ERROR_DESCRIPTOR* error);
    VIP_NIC_HANDLE nic_;
    mutable std::mutex mutex_;
    mutable std::condition_variable changed_;
    std::vector<VIP_ERROR_DESCRIPTOR> errors_;
};

/// A NIC handle; its asynchronous errors are not logged.
class nic {
public:
    static constexpr const char* default_device = "/dev/vipl_test";
    explicit nic(const char* device = default_device);
    nic(const nic&) = delete;
    nic& operator=(const nic&) = delete;
    ~nic();
    /// Closes before the end of life, which must succeed.
    void close();
    operator VIP_NIC_HANDLE() const noexcept { return handle; }
    [[nodiscard]] VIP_NIC_ATTRIBUTES attributes() const;
    [[nodiscard]] net_address address(std::string_view discriminator) const;

    VIP_NIC_HANDLE handle = nullptr;
};

// -- endpoints --------------------------------------------------------------------------------

inline constexpr VIP_RELIABILITY_LEVEL all_levels[] = {VIP_SERVICE_UNRELIABLE, VIP_SERVICE_RELIABLE_DELIVERY,
                                                       VIP_SERVICE_RELIABLE_RECEPTION};
inline constexpr VIP_RELIABILITY_LEVEL reliable_levels[] = {VIP_SERVICE_RELIABLE_DELIVERY,
                                                            VIP_SERVICE_RELIABLE_RECEPTION};
[[nodiscard]] std::string level_name(const testing::TestParamInfo<VIP_RELIABILITY_LEVEL>& info);
#define VIPL_ALL_LEVELS(fixture) \
    INSTANTIATE_TEST_SUITE_P(levels, fixture, testing::ValuesIn(vipl_test::all_levels), vipl_test::level_name)
#define VIPL_RELIABLE_LEVELS(fixture) \
    INSTANTIATE_TEST_SUITE_P(levels, fixture, testing::ValuesIn(vipl_test::reliable_levels), vipl_test::level_name)

struct endpoint_options {
    VIP_RELIABILITY_LEVEL level = VIP_SERVICE_RELIABLE_DELIVERY;
    VIP_ULONG transfer_bytes_max = 65536;
    VIP_QOS quality_of_service = nullptr;
    bool vi_write = true;
    bool vi_read = true;  ///< not asked for at the unreliable level
    bool memory_write = true;
    bool memory_read = true;
    VIP_CQ_HANDLE send_cq = nullptr;
    VIP_CQ_HANDLE receive_cq = nullptr;
};

/// A piece of registered memory, as a data segment names it.
struct piece {
    void* at;
    std::uint32_t bytes;
    VIP_MEM_HANDLE handle;
};

/// One side of a connection and everything that it stands on.  The destructor disconnects, drains and destroys, each of
/// which must succeed, unless the NIC handle has been closed.
class endpoint {
public:
    explicit endpoint(nic& device, const endpoint_options& options = {});
    endpoint(const endpoint&) = delete;
    endpoint& operator=(const endpoint&) = delete;
    ~endpoint();

    static constexpr std::size_t descriptors = 2304;
    static constexpr std::size_t wide_descriptors = 16;
    static constexpr std::size_t wide_bytes = 8192;
    static constexpr std::size_t buffer_bytes = std::size_t{512} * 1024;

    [[nodiscard]] VIP_DESCRIPTOR* descriptor(std::size_t i) const;
    /// One with room for 252 segments and more.
    [[nodiscard]] VIP_DESCRIPTOR* wide_descriptor(std::size_t i) const;
    [[nodiscard]] char* buffer(std::size_t offset = 0) const;
    [[nodiscard]] piece at(std::size_t offset, std::size_t bytes) const {
        return {buffer(offset), static_cast<std::uint32_t>(bytes), memory};
    }
    [[nodiscard]] std::span<char> bytes(std::size_t offset, std::size_t n) const { return {buffer(offset), n}; }

    /// Writes a descriptor whose Length is the sum of its pieces.
    VIP_DESCRIPTOR* write(VIP_DESCRIPTOR* d, std::uint16_t control, std::span<const piece> pieces,
                          std::uint32_t immediate = 0) const;
    VIP_DESCRIPTOR* write(std::size_t i, std::uint16_t control, std::initializer_list<piece> pieces,
                          std::uint32_t immediate = 0) const {
        return write(descriptor(i), control, std::span(pieces.begin(), pieces.size()), immediate);
    }
    /// Writes an RDMA descriptor: the address segment stands for `remote`.
    VIP_DESCRIPTOR* write_rdma(VIP_DESCRIPTOR* d, std::uint16_t control, const piece& remote,
                               std::span<const piece> pieces, std::uint32_t immediate = 0) const;
    VIP_DESCRIPTOR* write_rdma(std::size_t i, std::uint16_t control, const piece& remote,
                               std::initializer_list<piece> pieces, std::uint32_t immediate = 0) const {
        return write_rdma(descriptor(i), control, remote, std::span(pieces.begin(), pieces.size()), immediate);
    }
    /// Posts; the code must be VIP_SUCCESS.
    VIP_DESCRIPTOR* post_send(VIP_DESCRIPTOR* d, std::source_location where = std::source_location::current()) const;
    VIP_DESCRIPTOR* post_receive(VIP_DESCRIPTOR* d, std::source_location where = std::source_location::current()) const;
    /// The next send or receive: it must be `d`; its Status comes back, and agrees with the code that was returned.
    [[nodiscard]] std::uint32_t finish_send(const VIP_DESCRIPTOR* d,
                                            std::source_location where = std::source_location::current()) const;
    [[nodiscard]] std::uint32_t finish_receive(const VIP_DESCRIPTOR* d,
                                               std::source_location where = std::source_location::current()) const;

    [[nodiscard]] VIP_VI_STATE state() const;
    /// Whether the VI comes into this state.
    [[nodiscard]] bool comes_to(VIP_VI_STATE wanted) const {
        return comes_true([&] { return state() == wanted; });
    }
    /// Takes everything off both queues, by the drain idiom; how many descriptors there were.
    std::size_t drain() const;
    [[nodiscard]] VIP_VI_ATTRIBUTES attributes() const { return attributes_; }

    nic& device;
    VIP_PROTECTION_HANDLE tag = nullptr;
    VIP_MEM_HANDLE memory = 0;
    VIP_VI_HANDLE vi = nullptr;
    VIP_VI_ATTRIBUTES remote_attributes{};  ///< what connect() was told

private:
    [[nodiscard]] std::uint32_t finish(VIP_RETURN code, const VIP_DESCRIPTOR* taken, const VIP_DESCRIPTOR* wanted,
                                       std::source_location where) const;
    std::byte* storage_ = nullptr;
    VIP_VI_ATTRIBUTES attributes_{};
};

/// Connects two idle VIs: `server` accepts at a fresh discriminator.
void connect(endpoint& client, endpoint& server);

/// Two connected endpoints, with a NIC handle each.
class pair {
public:
    explicit pair(const endpoint_options& both = {}) : pair(both, both) {}
    pair(const endpoint_options& left_options, const endpoint_options& right_options);

    nic left_nic;
    nic right_nic;
    endpoint left;
    endpoint right;
};

[[nodiscard]] inline endpoint_options at_level(VIP_RELIABILITY_LEVEL level) {
    endpoint_options options;
    options.level = level;
    return options;
}

/// A completion queue.
class completion_queue {
public:
    explicit completion_queue(nic& device, VIP_ULONG entries = 64) { must(VipCreateCQ(device, entries, &handle)); }
    completion_queue(const completion_queue&) = delete;
    completion_queue& operator=(const completion_queue&) = delete;
    ~completion_queue() { EXPECT_EQ(VipDestroyCQ(handle), VIP_SUCCESS); }
    operator VIP_CQ_HANDLE() const noexcept { return handle; }

    VIP_CQ_HANDLE handle = nullptr;
};

/// An entry of a completion queue.
struct cq_entry {
    VIP_VI_HANDLE vi = nullptr;
    VIP_BOOLEAN receive = VIP_FALSE;
    bool operator==(const cq_entry&) const = default;
};
/// The next entry; an exception when none comes.
[[nodiscard]] cq_entry next_entry(VIP_CQ_HANDLE cq, std::source_location where = std::source_location::current());

/// Fills with a pattern that differs for every seed.
void fill(std::span<char> bytes, std::uint32_t seed);
/// Whether the bytes are what fill() made of this seed.
[[nodiscard]] testing::AssertionResult matches(std::span<const char> bytes, std::uint32_t seed);

/// VIP_STATUS_ bits of a descriptor that is done.
inline constexpr std::uint32_t done_send = VIP_STATUS_DONE | VIP_STATUS_OP_SEND;
inline constexpr std::uint32_t done_receive = VIP_STATUS_DONE | VIP_STATUS_OP_RECEIVE;
inline constexpr std::uint32_t done_write = VIP_STATUS_DONE | VIP_STATUS_OP_RDMA_WRITE;
inline constexpr std::uint32_t done_read = VIP_STATUS_DONE | VIP_STATUS_OP_RDMA_READ;
inline constexpr std::uint32_t done_remote_write = VIP_STATUS_DONE | VIP_STATUS_OP_REMOTE_RDMA_WRITE;

/// A handle that was never given out.
[[nodiscard]] inline VIP_PVOID wild_handle(std::uintptr_t number = 0x5eed'0f00'dead'beef) {
    return reinterpret_cast<VIP_PVOID>(number);
}

}  // namespace vipl_test
