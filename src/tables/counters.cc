// SPDX-License-Identifier: Apache-2.0
//
// counters.cc -- the table itself, proved complete, and reading the counters of a VI or a device.
#include "tables/counters.hpp"

#include <string_view>
#include <vinic/words.hpp>

namespace vinic::tables {

namespace {

struct row {
    std::uint32_t number;
    counter_words words;
};

constexpr std::uint32_t tx(status s) { return abi::tx_status_first + static_cast<std::uint32_t>(s); }
constexpr std::uint32_t rx(status s) { return abi::rx_status_first + static_cast<std::uint32_t>(s); }

constexpr row rows[] = {
    {abi::tx_send_messages, {"tx_send_messages", "Sends and datagrams that succeeded"}},
    {abi::tx_send_bytes, {"tx_send_bytes", "Bytes of sends and datagrams"}},
    {abi::tx_write_messages, {"tx_write_messages", "RDMA writes that succeeded"}},
    {abi::tx_write_bytes, {"tx_write_bytes", "Bytes of RDMA writes"}},
    {abi::tx_read_messages, {"tx_read_messages", "RDMA reads that succeeded"}},
    {abi::tx_read_bytes, {"tx_read_bytes", "Bytes of RDMA reads"}},
    {abi::tx_atomic_messages, {"tx_atomic_messages", "Fetch-adds and compare-swaps that succeeded"}},
    {abi::tx_handed_over, {"tx_handed_over_messages", "Messages that had to wait for the receiver"}},
    {abi::tx_foreign_copies, {"tx_foreign_copies", "Pieces of foreign memory moved by system call"}},
    {abi::tx_refused_posts, {"tx_refused_messages", "Posts that returned an error: nothing was posted"}},
    {abi::tx_datagram_drops, {"tx_datagram_drops", "Datagrams to a VI that does not exist any more"}},
    {abi::rx_messages, {"rx_messages", "Receive descriptors that messages used up, well or not"}},
    {abi::rx_bytes, {"rx_bytes", "Bytes of messages that were received well"}},
    {abi::rx_posted, {"rx_posted_descriptors", "Receive descriptors posted"}},
    {tx(status::success), {nullptr, nullptr}},
    {tx(status::local_protection), {"tx_local_protection_errors", "Sends whose own segment was refused"}},
    {tx(status::local_length), {"tx_local_length_errors", "Sends longer than the own buffer"}},
    {tx(status::remote_protection), {"tx_remote_protection_errors", "Accesses that the peer's region or VI refused"}},
    {tx(status::remote_length), {"tx_remote_length_errors", "Messages longer than the peer's receive descriptor"}},
    {tx(status::remote_descriptor),
     {"tx_remote_descriptor_errors", "Messages to a receive descriptor whose memory is not valid any more"}},
    {tx(status::receiver_not_ready),
     {"tx_receiver_not_ready_errors", "Messages that found no receive descriptor in time"}},
    {tx(status::bad_alignment), {"tx_bad_alignment_errors", "Atomics whose address is not a multiple of 8"}},
    {tx(status::unreachable_memory), {"tx_unreachable_memory_errors", "Foreign memory that could not be reached"}},
    {tx(status::flushed), {"tx_flushed_errors", "Send descriptors flushed by a disconnect"}},
    {tx(status::connection_lost), {"tx_connection_lost_errors", "Send descriptors flushed because the peer died"}},
    {abi::tx_status_first + 11, {nullptr, nullptr}},
    {rx(status::success), {nullptr, nullptr}},
    {rx(status::local_protection), {"rx_local_protection_errors", "Receives whose own segment was refused"}},
    {rx(status::local_length), {"rx_local_length_errors", "Messages longer than the receive descriptor"}},
    {rx(status::remote_protection), {"rx_remote_protection_errors", "Receives ended by a refused remote access"}},
    {rx(status::remote_length), {"rx_remote_length_errors", "Receives ended by the peer's length error"}},
    {rx(status::remote_descriptor), {"rx_remote_descriptor_errors", "Receives ended by the peer's descriptor error"}},
    {rx(status::receiver_not_ready),
     {"rx_receiver_not_ready_errors", "Receives ended by a receiver that was not ready"}},
    {rx(status::bad_alignment), {"rx_bad_alignment_errors", "Receives ended by a misaligned atomic"}},
    {rx(status::unreachable_memory),
     {"rx_unreachable_memory_errors", "Receives into memory that could not be reached"}},
    {rx(status::flushed), {"rx_flushed_errors", "Receive descriptors flushed by a disconnect"}},
    {rx(status::connection_lost), {"rx_connection_lost_errors", "Receive descriptors flushed because the peer died"}},
    {abi::rx_status_first + 11, {nullptr, nullptr}},
    {number_of(abi::rx_no_descriptor),
     {"rx_no_descriptor_drops", "Messages that found no receive descriptor and did not wait"}},
    {number_of(abi::rx_too_long), {"rx_length_drops", "Messages dropped because the receive descriptor was too short"}},
    {number_of(abi::rx_busy), {"rx_busy_drops", "Datagrams dropped because a sender was stopped inside the queue"}},
    {number_of(abi::rx_protection), {"rx_protection_drops", "Messages dropped because their memory was refused"}},
    {number_of(abi::rx_refused_writes),
     {"rx_refused_write_messages", "RDMA writes without immediate data that were refused"}},
    {number_of(abi::rx_refused_reads), {"rx_refused_read_messages", "RDMA reads that were refused"}},
    {number_of(abi::rx_refused_atomics),
     {"rx_refused_atomic_messages", "Fetch-adds and compare-swaps that were refused"}},
};

/// Numbers that nobody counts: above the last status, and what the message counters tell already.
consteval bool kept_free(std::uint32_t i) {
    const bool no_status = (i >= abi::tx_status_first + status_count && i < abi::rx_status_first) ||
                           (i >= abi::rx_status_first + status_count && i < abi::counter_count);
    return no_status || i == tx(status::success) || i == rx(status::success);
}

/// A row for every number, in order, each with a name of its own unless it is kept free.
consteval bool complete() {
    if (std::size(rows) != counters_max) {
        return false;
    }
    for (std::uint32_t i = 0; i < counters_max; ++i) {
        if (rows[i].number != i || (rows[i].words.name == nullptr) != kept_free(i)) {
            return false;
        }
        for (std::uint32_t k = 0; k < i && !kept_free(i); ++k) {
            if (rows[k].words.name != nullptr &&
                std::string_view(rows[k].words.name) == std::string_view(rows[i].words.name)) {
                return false;
            }
        }
    }
    return true;
}
static_assert(complete(), "every counter of abi::counter, and every drop, needs a row");

consteval std::array<counter_words, counters_max> make() {
    std::array<counter_words, counters_max> all{};
    for (std::uint32_t i = 0; i < counters_max; ++i) {
        all[i] = rows[i].words;
    }
    return all;
}

}  // namespace

const std::array<counter_words, counters_max>& counters() noexcept {
    static constexpr std::array<counter_words, counters_max> all = make();
    return all;
}

counter_values counted_by(const abi::vi_entry& v) noexcept {
    counter_values all{};
    for (std::uint32_t i = 0; i < abi::counter_count; ++i) {
        all[i] = v.counters[i].load_relaxed();
    }
    for (std::uint32_t i = 0; i < abi::drop_count; ++i) {
        all[abi::counter_count + i] = v.drops[i].load_relaxed();
    }
    return all;
}

counter_values counted_before(const abi::device_header& h) noexcept {
    counter_values all{};
    for (std::uint32_t i = 0; i < counters_max; ++i) {
        all[i] = h.retired[i].load_relaxed();
    }
    return all;
}

}  // namespace vinic::tables
