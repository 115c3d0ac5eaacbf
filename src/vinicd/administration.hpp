// SPDX-License-Identifier: Apache-2.0
//
// administration.hpp -- requests in JSON: what `vinic function`, `vinic top` and `vinic monitor` ask.
//
//   {"command": "functions"}                             -> {"schema": 1, "functions": ["pf", "vf0", ...]}
//   {"command": "function", "function": "vf3"}           -> {"schema": 1, "name": "vf3", ...}
//   {"command": "configuration", "function": "vf3"}      -> {"schema": 1, "name": "vf3", "bytes": "8680...", ...}
//   {"command": "device"}                                -> {"schema": 1, "functions": 9, ...}
//   {"command": "set", "function": "vf3", "cap": "4GB/s"} -> as "function"
//   {"command": "reset", "function": "vf3"}              -> as "function"
//   {"command": "monitor"}                               -> {"schema": 1, "monitor": true}, then events as they come
//
//   One request and one reply per packet.  What cannot be done: {"schema": 1, "error": {"code": ..., "message": ...}}.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "vinicd/counters.hpp"
#include "vinicd/log.hpp"
#include "vinicd/peer.hpp"

namespace vinic::vinicd {

/// Requests are short; a reply fits the packet of a socket with the system's usual buffer.
inline constexpr std::size_t request_bytes_max = 4096;

class administration {
public:
    /// `o` is what is in force: "set" changes it.  `changed` is called when it has.
    administration(controller::device& d, options& o, const access& a, house_counters& counted, log& to,
                   std::function<void()> changed)
        : device_(d), options_(o), access_(a), counted_(counted), log_(to), changed_(std::move(changed)) {
        names_.learn(o);
    }
    /// The options were changed, by a request or by somebody else.
    void options_changed() { names_.learn(options_); }

    /// The reply.  `monitor` becomes true when events are wanted from now on.
    [[nodiscard]] std::string answer(const peer& who, std::string_view request, bool& monitor);
    /// An event as a monitor reads it, `lost` events after the one before.
    [[nodiscard]] static std::string event_text(const controller::event& e, std::uint64_t lost);
    /// An error, as connections that ask or monitor read it.
    [[nodiscard]] static std::string failure_text(errc code, const std::string& message);

private:
    struct request;
    struct reply;
    [[nodiscard]] reply dispatch(const peer& who, const request& r, bool& monitor);
    [[nodiscard]] reply functions(const peer& who) const;
    [[nodiscard]] reply function(std::uint32_t number) const;
    [[nodiscard]] reply configuration(std::uint32_t number) const;
    [[nodiscard]] reply whole_device(const peer& who) const;
    // administration_change.cc
    [[nodiscard]] reply change(const peer& who, const request& r, std::uint32_t number);
    [[nodiscard]] reply set(const peer& who, const request& r, std::uint32_t number);
    [[nodiscard]] reply reset(const peer& who, std::uint32_t number);
    [[nodiscard]] reply configure(const peer& who, const request& r, std::uint32_t number);
    [[nodiscard]] reply add(const peer& who, std::uint32_t number);
    [[nodiscard]] reply remove(const peer& who, std::uint32_t number);
    [[nodiscard]] std::string only_administrators(const char* do_what) const;
    void record(const peer& who, std::uint32_t number, const std::string& what);

    controller::device& device_;
    options& options_;
    const access& access_;
    house_counters& counted_;
    log& log_;
    std::function<void()> changed_;
    known_names names_;
};

/// The counters of all functions added up, and each function's state; functions that went meanwhile are left out.
[[nodiscard]] std::vector<controller::function_status> all_functions(const controller::device& d);

}  // namespace vinic::vinicd
