// SPDX-License-Identifier: Apache-2.0
//
// participant.hpp -- one process of the mesh: opens the device, listens, connects to others, and keeps them all busy.
//
//   main thread       polls the completion queue, posts on all links, connects, disconnects, registers, sends datagrams
//   acceptor thread   waits at the listener and accepts
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

#include "torture/link.hpp"

namespace torture {

inline constexpr std::uint32_t links_max = 12;

struct participant_options {
    std::string directory;
    std::string device;
    std::uint32_t seat = 0;
    std::uint32_t incarnation = 0;
    std::uint64_t seed = 0;
};

/// Datagrams: the sender, how many it has sent, and bytes made from that.
class datagrams {
public:
    datagrams(ledger& book, const participant_options& options, vinic::nic& nic, vinic::domain& domain,
              vinic::completion_queue& cq);
    void post_receives();
    /// To a random seat; an exam asks each seat in turn.
    void send(random& r, std::uint32_t to_seat);
    void take(const vinic::completion& c);
    [[nodiscard]] bool heard_from_all_in_exam() const noexcept;
    static constexpr std::uint64_t context = ~std::uint64_t{0};

private:
    static constexpr std::size_t bytes_max = 1024;
    static constexpr std::uint32_t slots = 32;
    struct head {
        std::uint64_t sequence;
        std::uint32_t seat;
        std::uint32_t incarnation;
        std::uint32_t length;
        std::uint32_t exam;
    };
    [[nodiscard]] static std::uint64_t seed_of(const head& h) noexcept;

    ledger& book_;
    const participant_options& options_;
    vinic::nic& nic_;
    vinic::buffer buffer_;
    vinic::region region_;
    vinic::virtual_interface vi_;
    std::uint64_t sequence_ = 0;
    std::uint64_t receives_posted_ = 0;
    std::uint64_t receives_taken_ = 0;
    std::unordered_map<std::uint64_t, std::uint64_t> last_heard_;  // by sender's seat and incarnation
    std::array<bool, seats_max> heard_in_exam_{};
};

class participant {
public:
    participant(ledger& book, participant_options options);
    participant(const participant&) = delete;
    participant& operator=(const participant&) = delete;
    ~participant();
    /// Until the supervisor says leave.
    void run();

private:
    void step();
    void work();
    void settle();
    void exam();
    void poll(std::chrono::nanoseconds timeout);
    void drop_finished_links();
    /// nullptr if all areas are in use.
    [[nodiscard]] std::unique_ptr<link> make_link(std::uint32_t record, std::uint64_t id, int side, bool reliable,
                                                  bool limited);
    [[nodiscard]] vinic::virtual_interface make_vi(std::uint32_t area, bool reliable, bool limited);
    /// Asks seat `to` for a connection; whether it was made.
    bool connect(std::uint32_t to);
    void open_record(std::uint32_t record, std::uint64_t id, int side, bool reliable);
    void accept_loop();
    void accept(vinic::connection_request& request);
    void register_something();
    void doing(const char* what) noexcept { book_.seat_of[options_.seat].doing.store(what, std::memory_order_relaxed); }
    [[nodiscard]] std::optional<std::uint32_t> other_seat();

    ledger& book_;
    participant_options options_;
    random random_;
    vinic::nic nic_;
    vinic::domain domain_;
    vinic::completion_queue cq_;
    vinic::buffer words_;
    vinic::region words_region_;
    std::span<std::byte> memory_;  ///< bulk memory of a random kind
    vinic::buffer memory_buffer_;
    vinic::region memory_region_;
    std::unique_ptr<datagrams> datagrams_;
    vinic::listener listener_;

    std::mutex links_mutex_;  ///< guards what the acceptor shares: links_, ready_ and used_
    std::array<std::unique_ptr<link>, links_max> links_;
    std::array<bool, links_max> ready_{};  ///< the acceptor is through with it
    std::array<bool, links_max> used_{};
    std::vector<vinic::virtual_interface> spare_vis_[2][2];  ///< idle ones to be used again: [reliable][limited]
    vinic::region extra_region_;
    std::vector<std::byte> extra_;
    std::array<bool, seats_max> examined_{};
    std::uint32_t exam_turn_ = 0;  ///< whom the next datagram is for
    std::atomic<bool> end_{false};
    std::thread acceptor_;
};

}  // namespace torture
