// SPDX-License-Identifier: Apache-2.0
//
// vinic_path.h -- the device, its memory and its connections, as the two programs use them.
//
//   sender                                                receiver
//     file buffer   ------- RDMA write ------------------->  file buffer
//     scratch       <------ write, read, atomics, sends -->  scratch
//
//   scratch, the same in both programs:
//
//     0            1 MiB          2 MiB      2 MiB + 4 KiB     3 MiB
//     +------------+--------------+----------+-----------------+--------------+
//     | written    | read from    | word     | receive slots   | send slots   |
//     +------------+--------------+----------+-----------------+--------------+
#pragma once

#include <memory>
#include <string>

#include "path.h"
#include "vinic/vinic.hpp"

namespace demo {

/// How completions are awaited: by reading memory over and over, or asleep in the kernel.
enum class waiting { polling, sleeping };

inline constexpr std::size_t area_bytes = 1u << 20;
inline constexpr std::uint64_t read_offset = area_bytes;
inline constexpr std::uint64_t word_offset = 2 * area_bytes;
inline constexpr std::uint64_t receive_slots_offset = word_offset + 4096;
inline constexpr std::uint64_t send_slots_offset = 3 * area_bytes;
inline constexpr std::size_t scratch_bytes = 4 * area_bytes;
inline constexpr std::uint32_t slot_bytes = 64;

/// An open device with the program's two registered buffers.
class device {
public:
    device(const std::string& address, const std::string& directory, std::uint64_t file_bytes);

    [[nodiscard]] std::span<std::byte> file() const { return file_buffer_.bytes().first(file_bytes_); }
    [[nodiscard]] std::span<std::byte> scratch() const { return scratch_buffer_.bytes(); }
    [[nodiscard]] const vinic::region& file_region() const { return file_region_; }
    [[nodiscard]] const vinic::region& scratch_region() const { return scratch_region_; }
    vinic::nic& nic() { return nic_; }
    vinic::domain& domain() { return domain_; }

private:
    std::uint64_t file_bytes_;
    vinic::nic nic_;
    vinic::domain domain_;
    vinic::buffer file_buffer_;
    vinic::buffer scratch_buffer_;
    vinic::region file_region_;
    vinic::region scratch_region_;
};

/// One connection between the two programs.
class vinic_path : public path {
public:
    vinic_path(device& device, waiting how);

    /// Receiver: takes the next request and tells the sender where the buffers are.
    void accept(vinic::listener& listener);
    /// Sender.
    void connect(const std::string& name);

    void expect_file() override;
    void receive_file() override;
    void send_file() override;
    [[nodiscard]] std::uint64_t bytes_by_engine() const override { return bytes_by_engine_; }
    std::vector<std::chrono::nanoseconds> ping(std::size_t count) override;
    void echo(std::size_t count) override;

    /// The next completion of either queue; fails unless it is a success.
    vinic::completion next_sent() { return next(send_cq_); }
    vinic::completion next_received() { return next(receive_cq_); }
    vinic::virtual_interface& vi() { return vi_; }
    [[nodiscard]] vinic::remote_address remote_scratch(std::uint64_t offset) const { return remote_scratch_ + offset; }
    [[nodiscard]] vinic::segment receive_slot(std::size_t index) const { return slot(receive_slots_offset, index); }
    [[nodiscard]] vinic::segment send_slot(std::size_t index) const { return slot(send_slots_offset, index); }

private:
    vinic::completion next(vinic::completion_queue& queue);
    [[nodiscard]] vinic::segment slot(std::uint64_t base, std::size_t index) const {
        return {device_.scratch_region(), base + index * slot_bytes, slot_bytes};
    }
    void send_small(std::size_t turn);
    void take_small(std::size_t turn);
    void post_small(std::size_t turn, std::size_t count);

    device& device_;
    waiting how_;
    vinic::completion_queue send_cq_;
    vinic::completion_queue receive_cq_;
    vinic::virtual_interface vi_;
    vinic::remote_address remote_file_;
    vinic::remote_address remote_scratch_;
    std::uint64_t bytes_by_engine_ = 0;
};

}  // namespace demo
