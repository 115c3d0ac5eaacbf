// SPDX-License-Identifier: Apache-2.0
//
// connections.hpp -- everybody who is connected, and what they may do next.
//
//                    attach_request             enter_request
//     fresh  ----------------------> attached ----------------> entered --> the mailbox takes over
//       |                                ^  busy: another one |                 |
//       |  a packet that begins with {   '--------------------'                 | hang-up, or its process dies
//       '----------------------------> administrator --> monitor                '-> device.leave()
//
//   Whatever a client does, it holds one connection with a bounded amount of memory: one reply that it has not read
//   yet, or the backlog of a monitor.  A packet that does not fit is counted, and the connection closed.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <span>
#include <string>

#include "abi/window.hpp"
#include "vinicd/administration.hpp"
#include "vinicd/log.hpp"
#include "vinicd/loop.hpp"
#include "vinicd/peer.hpp"

namespace vinic::vinicd {

/// How many there may be.  Those of root and of the program's own user are only counted in the totals.
struct connection_limits {
    std::uint32_t fresh = 256;  ///< connected, and nothing said yet
    std::uint32_t fresh_of_user = 64;
    std::uint32_t administrators = 128;
    std::uint32_t administrators_of_user = 16;
    std::uint32_t attached_spare = 16;           ///< of a function, beyond its contexts: on their way in or out
    std::uint64_t patience_ns = 10'000'000'000;  ///< for the next step until a context is entered
    std::uint32_t requests_per_second = 2000;    ///< of one administrator; more wait
};

class connections {
public:
    connections(loop& l, log& to, controller::device& d, options& o);
    ~connections();
    connections(const connections&) = delete;
    connections& operator=(const connections&) = delete;

    /// Takes what comes at a listening socket, which stays the caller's.
    [[nodiscard]] result<void> serve(int listening);
    /// Takes no more; who is connected and not entered yet is hung up on.
    void stop_listening() noexcept;
    /// To all monitors; a reset cuts off who was connected before it.
    void tell(const controller::event& e, std::uint64_t lost);
    /// Hangs up on everybody; contexts are left.
    void close_all();

    [[nodiscard]] house_counters& counted() noexcept { return counted_; }
    /// Descriptors that all limits together may need.
    [[nodiscard]] static std::uint64_t descriptors_max(const controller::device_options& o) noexcept;

private:
    enum class role : std::uint8_t { fresh, attached, entered, administrator, monitor };
    struct connection;
    using number = std::uint64_t;

    void accept_some();
    void take(os::unique_fd fd);
    void refuse(int fd, errc code, const std::string& why);
    void on_ready(number n, std::uint32_t events);
    void on_packet(connection& c, std::span<const std::byte> packet);
    void attach(connection& c, std::span<const std::byte> packet);
    void enter(connection& c, std::span<const std::byte> packet);
    void request(connection& c, std::span<const std::byte> packet);
    [[nodiscard]] result<void> may_attach(const connection& c, const abi::attach_request& asked);
    [[nodiscard]] bool too_many(const connection& c, role wanted) const;
    void malformed(connection& c, const char* what);
    void flush(connection& c);
    void listen_to(connection& c);
    void close(connection& c, bool died);
    void sweep();
    [[nodiscard]] std::string described(const connection& c) const;

    loop& loop_;
    log& log_;
    controller::device& device_;
    access access_;
    house_counters counted_;
    administration administration_;
    connection_limits limits_;
    int listening_ = -1;
    loop::watch listener_ = 0;
    bool sweeping_ = false;
    number last_ = 0;
    std::map<number, std::unique_ptr<connection>> all_;
    std::shared_ptr<bool> alive_;  ///< false once this has gone: timers may come later
};

}  // namespace vinic::vinicd
