// SPDX-License-Identifier: Apache-2.0
//
// metrics.hpp -- the counters as OpenMetrics text, and the small HTTP server that hands it out.
//
//   The device's figures are sums over the functions as they were seen in the same moment, so that both agree
//   exactly.  16 are served at a time, for ten seconds each; the oldest makes room.  A page is work for the main
//   thread: all of them together get a twentieth of it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vinic/words.hpp>

#include "vinicd/admission.hpp"
#include "vinicd/counters.hpp"
#include "vinicd/listener.hpp"
#include "vinicd/log.hpp"
#include "vinicd/loop.hpp"

namespace vinic::vinicd {

[[nodiscard]] std::string openmetrics_text(const controller::device& d, const house_counters& house);

/// GET /metrics, one request per connection.
class metrics_server {
public:
    metrics_server(loop& l, log& to, std::function<std::string()> text);
    ~metrics_server();
    metrics_server(const metrics_server&) = delete;
    metrics_server& operator=(const metrics_server&) = delete;
    /// `where`: "PORT" or "ADDRESS:PORT" (numeric), or a path.
    [[nodiscard]] result<void> open(const std::string& where);
    /// Whether open() would understand it.
    [[nodiscard]] static result<void> check(const std::string& where);

private:
    struct connection;
    [[nodiscard]] result<void> open_tcp(const std::string& where);
    [[nodiscard]] int fd() const noexcept { return path_ ? path_->fd() : socket_.get(); }
    void accept_one();
    void accept_again_at(std::uint64_t time_ns);
    void on_ready(std::uint64_t n, std::uint32_t events);
    void serve(std::uint64_t n, connection& c, std::uint32_t events);
    [[nodiscard]] std::string answer(std::string_view request) const;
    void close(std::uint64_t n);
    void expire();

    loop& loop_;
    log& log_;
    std::function<std::string()> text_;
    os::unique_fd socket_;          ///< of TCP
    std::optional<listener> path_;  ///< instead of socket_
    loop::watch watch_ = 0;
    std::uint64_t last_ = 0;
    std::map<std::uint64_t, std::unique_ptr<connection>> all_;
    work_budget work_;
    bool expiring_ = false;
    std::shared_ptr<bool> alive_;
};

}  // namespace vinic::vinicd
