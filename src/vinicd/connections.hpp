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
//   yet, or the backlog of a monitor.  A packet that does not fit is counted, and the connection closed.  Who gets a
//   place, and when it is listened to, is decided in admission.hpp.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <span>
#include <string>

#include "abi/window.hpp"
#include "vinicd/administration.hpp"
#include "vinicd/admission.hpp"
#include "vinicd/log.hpp"
#include "vinicd/loop.hpp"
#include "vinicd/peer.hpp"
#include "vinicd/tenancies.hpp"

namespace vinic::vinicd {

class connections {
public:
    connections(loop& l, log& to, controller::device& d, options& o);
    ~connections();
    connections(const connections&) = delete;
    connections& operator=(const connections&) = delete;

    /// Takes what comes at a listening socket, which stays the caller's.
    [[nodiscard]] result<void> serve(int listening);
    /// Takes no more; those that are connected and have not entered yet are hung up on.
    void stop_listening() noexcept;
    /// To all monitors; a reset cuts off those that were connected before it.
    void tell(const controller::event& e, std::uint64_t lost);
    /// Hangs up on everybody; contexts are left.
    void close_all();

    [[nodiscard]] house_counters& counted() noexcept { return counted_; }
    /// The options have changed: clients that may not use a function any more are out of it.
    void options_changed();
    /// The limit on open files that all places together may need.
    [[nodiscard]] static std::uint64_t descriptors_max(const options& o);

private:
    enum class role : std::uint8_t { fresh, attached, entered, administrator, monitor };
    struct connection;
    using number = std::uint64_t;

    void accept_some();
    [[nodiscard]] bool accept_without_room();
    void take(os::unique_fd fd);
    void let_in(os::unique_fd fd, peer who, account of, std::uint64_t now_ns);
    void displace(number n);
    [[nodiscard]] bool make_room(account of, number but);
    template <class F>
    [[nodiscard]] auto with_room(account of, number but, F what);
    void refuse(int fd, errc code, const std::string& why);
    void on_ready(number n, std::uint32_t events);
    void serve(connection& c, std::uint32_t events);
    void on_packet(connection& c, std::span<const std::byte> packet);
    void attach(connection& c, std::span<const std::byte> packet);
    void enter(connection& c, std::span<const std::byte> packet);
    void request(connection& c, std::span<const std::byte> packet);
    [[nodiscard]] result<void> may_attach(const connection& c, const abi::attach_request& asked);
    void malformed(connection& c, const char* what);
    void flush(connection& c);
    void look_at(const connection& c) noexcept;
    void rest(const connection& c, std::uint64_t now_ns, std::uint64_t until_ns);
    void close(connection& c, bool died);
    void cut_off(std::uint32_t function);
    void sweep();
    [[nodiscard]] std::string described(const connection& c) const;

    loop& loop_;
    log& log_;
    controller::device& device_;
    access access_;
    house_counters counted_;
    tenancies tenancies_;
    administration administration_;
    admission admission_;
    int listening_ = -1;
    os::unique_fd reserve_;  ///< a descriptor to let one in with when there is no other
    loop::watch listener_ = 0;
    bool sweeping_ = false;
    number last_ = 0;
    std::map<number, std::unique_ptr<connection>> all_;
    std::set<number> monitors_;
    std::shared_ptr<bool> alive_;  ///< false once this has gone: timers may come later
};

}  // namespace vinic::vinicd
