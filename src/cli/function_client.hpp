// SPDX-License-Identifier: Apache-2.0
//
// function_client.hpp -- asking a running vinicd: one JSON object per packet, there and back.
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>

#include "cli/value.hpp"
#include "isolated/server.hpp"
#include "os/file.hpp"

namespace vinic::cli {

/// What vinicd listens at where the packaged unit starts it.
inline constexpr const char* vinicd_address_default = "vinicd:/run/vinic/vinicd.socket";

[[nodiscard]] bool is_vinicd(std::string_view typed) noexcept;

/// What went wrong, in one whole sentence, and the exit code for it.
struct failure {
    std::string sentence;
    int exit_code = 1;
};
template <class T>
using answer = std::expected<T, failure>;

/// "vinicd:PATH", "vinicd:PATH#FUNCTION" and so on.
[[nodiscard]] answer<isolated::server_address> parse_vinicd_address(std::string_view typed);

class function_client {
public:
    /// Connects to "vinicd:PATH".
    [[nodiscard]] static answer<function_client> open(const std::string& address);
    /// The reply, or the error that it tells; what is busy is asked again for some seconds.
    [[nodiscard]] answer<object> ask(const object& request);
    /// The state of each function that may be seen, or of the one.
    [[nodiscard]] answer<std::vector<object>> functions(const std::string& one = {});
    /// The next packet, after ask() of a monitor; nothing when the time is over (-1: none).
    [[nodiscard]] answer<std::optional<std::string>> next(int timeout_ms);
    /// "vinicd:PATH", without a function.
    [[nodiscard]] const std::string& address() const noexcept { return address_; }
    /// The function of the address, or "".
    [[nodiscard]] const std::string& function() const noexcept { return function_; }

private:
    [[nodiscard]] answer<object> ask_once(const object& request, bool& is_busy);

    std::string address_;
    std::string function_;
    os::unique_fd socket_;
};

// -- reading replies ----------------------------------------------------------------------------

[[nodiscard]] const value* find(const object& o, std::string_view key) noexcept;
/// "" or 0 if it is missing or something else.
[[nodiscard]] std::string text_of(const object& o, std::string_view key);
[[nodiscard]] std::uint64_t number_of(const object& o, std::string_view key) noexcept;
/// A number of the object "counters".
[[nodiscard]] std::uint64_t counter_of(const object& function, std::string_view key) noexcept;

}  // namespace vinic::cli
