// SPDX-License-Identifier: Apache-2.0
//
// control.hpp -- what a mailbox is asked, and who may talk to whom.
//
//   requests of one context come one at a time; requests of all contexts are served one after the other
//
//   name directory    of the whole device: listeners and bound datagram VIs of every function
//   requests          VIs that want to be connected: to a listener, or to each other
//
//   Like the engines it copies what a client wrote once.  Numbers of VIs, regions and tickets are looked up for
//   the context that asks; nobody else's can be named.
#pragma once

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <tuple>

#include "controller/engines.hpp"

namespace vinic::controller {

class control {
public:
    control(std::vector<std::unique_ptr<function>>& functions, class engines& engines, std::uint32_t vis_total);

    enum class serving : std::uint8_t {
        none,
        served,
        waits,  ///< a disconnect that lets what was posted before go on its way, or one of much: serve again soon
    };
    /// Serves what lies in the mailbox of a context.
    serving serve(function& f, std::uint32_t context);
    enum class dropping : std::uint8_t {
        done,
        waits,  ///< for its last words to be said; again in a moment
        more,
    };
    /// Ends what a context that leaves has: VIs, regions, names, requests.  A slice of it, so that other requests do
    /// not wait for it; until it is done nobody enters as that context.
    [[nodiscard]] dropping drop_slice(function& f, std::uint32_t context, std::uint64_t now_ns);
    /// Names that begin with one of these are for the function alone, and for others that were given the same.  Where
    /// several prefixes fit, the longest decides.  Names that others have already are taken from them.  Under `mutex`.
    void give_names(std::uint32_t function, std::span<const std::string> prefixes);

    /// Guards all of it; taken before the board.
    board_lock mutex;

private:
    struct call {
        function& f;
        std::uint32_t context;
        std::uint64_t v[6];
        std::uint32_t payload_bytes;
        std::uint8_t payload[abi::mail_payload_bytes];
        std::uint64_t r[6] = {};
        std::uint32_t answer_bytes = 0;
        std::uint8_t answer[abi::mail_payload_bytes];

        /// The payload as a T; what was not sent is zero.
        template <class T>
        [[nodiscard]] T as() const noexcept;
        template <class T>
        void reply(const T& what) noexcept;
        /// The caller's VI with that number, or nullptr.
        [[nodiscard]] struct vi* own_vi(std::uint64_t number) const noexcept;
    };
    struct name {
        function* owner;
        std::uint32_t context;
        std::uint32_t entry;   ///< listener: name entry of its window
        vi* target;            ///< bound datagram VI, nullptr: a listener
        bool closing = false;  ///< takes no more requests
    };
    /// From (empty: it is for a listener), to, ticket: how requests are found by name.
    using wishes = std::set<std::tuple<std::string, std::string, std::uint64_t>, std::less<>>;
    struct request {
        vi* from;
        wishes::iterator wish;
        std::uint32_t entry;  ///< request entry of its window
        std::string to;       ///< the listener's name; empty: peer-to-peer
        std::string local;
        std::string remote;
        abi::answer_mail data;
        bool taken = false;
    };
    using names = std::map<std::string, name>;
    using requests = std::map<std::uint64_t, request>;
    /// Prefixes that were given to functions, and to which.
    using given_names = std::map<std::string, std::set<std::uint32_t>, std::less<>>;
    /// By function, context and name entry.
    using listeners = std::map<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t>, names::iterator>;

    // drop_context.cc; true: there is more
    [[nodiscard]] bool has_last_words(function& f, std::uint32_t context);
    [[nodiscard]] bool drop_names(function& f, std::uint32_t context);
    [[nodiscard]] bool drop_vis(function& f, std::uint32_t context, bool died);
    [[nodiscard]] bool drop_regions(function& f, std::uint32_t context);
    /// Does what would take long a slice at a time.  False: not yet.
    [[nodiscard]] bool is_ready_for(abi::verb what, call& c, context& at);
    [[nodiscard]] errc dispatch(abi::verb what, call& c) noexcept;
    [[nodiscard]] errc execute(abi::verb what, call& c);
    // vi_verbs.cc
    [[nodiscard]] errc create_vi(call& c);
    [[nodiscard]] errc destroy_vi(call& c);
    [[nodiscard]] bool set_kind(vi& v, const abi::vi_description& d) const noexcept;
    [[nodiscard]] errc change_vi(call& c);
    [[nodiscard]] errc register_region(call& c);
    [[nodiscard]] errc deregister_region(call& c);
    [[nodiscard]] errc change_region(call& c);
    [[nodiscard]] errc disconnect(call& c);
    /// Whether messages of this connection are still on their way and could get there.  Under the board.
    [[nodiscard]] bool is_busy(const vi& v);
    [[nodiscard]] errc break_link(call& c);
    [[nodiscard]] errc vector(call& c);
    void destroy(std::span<vi* const> vis, abi::break_reason peers);
    /// The two halves of unlink(), before and after quiescing; under the board.
    void detach(vi& v, abi::break_reason own, abi::break_reason peers);
    void let_go(vi& v);
    /// Takes v out of its connection or request; it may be connected anew.  Returns the state word of before.
    std::uint64_t unlink(vi& v, abi::break_reason peers);
    // connect_verbs.cc, name_verbs.cc
    [[nodiscard]] bool may_have(const function& f, std::string_view key) const;
    void take_away(const std::string& prefix);
    [[nodiscard]] errc enter_name(const std::string& key, const name& n);
    [[nodiscard]] errc listen(call& c);
    [[nodiscard]] errc unlisten(call& c);
    [[nodiscard]] errc bind(call& c);
    [[nodiscard]] errc resolve(call& c);
    [[nodiscard]] errc list_names(call& c);
    [[nodiscard]] errc connect(call& c);
    [[nodiscard]] errc connect_peer(call& c);
    [[nodiscard]] errc give_up(call& c);
    [[nodiscard]] errc take_request(call& c);
    [[nodiscard]] errc accept(call& c);
    [[nodiscard]] errc reject(call& c);
    [[nodiscard]] names::iterator find_listener(const call& c, std::uint64_t entry);
    [[nodiscard]] errc enter_request(vi& v, std::uint64_t base, std::uint64_t entry, request&& r);
    /// A request of this context's listener that was taken.
    [[nodiscard]] requests::iterator find_taken(const call& c, std::uint64_t ticket);
    /// Ends a request: tells the requester's window, whose VI is idle again unless `peer` was linked to it.
    void decide(requests::iterator at, abi::request_stage how, const vi* peer, const abi::answer_mail& answer);
    void link(vi& a, vi& b);
    /// Takes no more requests, and ends some.  False: there are more.
    [[nodiscard]] bool decide_some(names::iterator at, abi::request_stage how);
    void close_name(names::iterator at);
    [[nodiscard]] listeners::iterator first_listener(const function& f, std::uint32_t context);
    /// The oldest request from one name to another; is_wish: whether it is one.
    [[nodiscard]] wishes::iterator first_wish(std::string_view from, std::string_view to);
    [[nodiscard]] bool is_wish(wishes::iterator at, std::string_view from, std::string_view to) const;
    void forget_request(requests::iterator at);
    /// At most so many names of a datagram VI.  False: it has more.
    bool forget_names_of(const vi& v, std::uint32_t most);
    void become(vi& v, abi::link l);

    std::vector<std::unique_ptr<function>>& functions_;
    class engines& engines_;
    names names_;
    given_names given_;
    listeners listeners_;
    std::multimap<const vi*, names::iterator> bound_;
    requests requests_;
    wishes wishes_;  ///< of all requests
    std::uint64_t last_ticket_ = 0;
    std::uint32_t vis_total_;  ///< of all functions
    std::uint32_t vis_used_ = 0;
};

template <class T>
T control::call::as() const noexcept {
    static_assert(sizeof(T) <= abi::mail_payload_bytes);
    T out{};
    std::memcpy(static_cast<void*>(&out), payload, std::min<std::size_t>(sizeof out, payload_bytes));
    return out;
}

template <class T>
void control::call::reply(const T& what) noexcept {
    static_assert(sizeof(T) <= abi::mail_payload_bytes);
    std::memcpy(answer, &what, sizeof what);
    answer_bytes = sizeof what;
}

}  // namespace vinic::controller
