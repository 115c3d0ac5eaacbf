// SPDX-License-Identifier: Apache-2.0
//
// socket_path.h -- the same transfer over a Unix socket or TCP loopback, for comparison.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "path.h"
#include "vinic_path.h"

namespace demo {

enum class socket_kind { unix_stream, tcp_loopback };

/// Waits for one peer.
class socket_listener {
public:
    explicit socket_listener(socket_kind kind);
    socket_listener(const socket_listener&) = delete;
    socket_listener& operator=(const socket_listener&) = delete;
    ~socket_listener();
    /// What the other side gives to socket_path.
    [[nodiscard]] std::string where() const { return where_; }
    /// A connected descriptor.
    [[nodiscard]] int accept() const;

private:
    int descriptor_ = -1;
    std::string where_;
};

class socket_path : public path {
public:
    /// Takes over a connected descriptor.
    socket_path(int connected, std::span<std::byte> file);
    ~socket_path() override;
    /// A descriptor that is connected to what a listener's where() says.
    static int connect(socket_kind kind, const std::string& where);

    void expect_file() override {}
    void receive_file() override;
    void send_file() override;
    [[nodiscard]] std::uint64_t bytes_by_engine() const override { return 0; }
    std::vector<std::chrono::nanoseconds> ping(std::size_t count) override;
    void echo(std::size_t count) override;
    /// Changes how ping and echo wait; a file always waits asleep, which is faster for it.
    void wait_by(waiting how) { how_ = how; }

private:
    void send_small();
    void receive_small();

    int descriptor_;
    std::span<std::byte> file_;
    waiting how_ = waiting::sleeping;
};

}  // namespace demo
