// SPDX-License-Identifier: Apache-2.0
//
// admission.hpp -- who gets a place among the connections, who makes room for whom, and how much work each may cause.
//
//     account            who                                           places          share of the main thread
//     administrators     root, and vinicd's own user                   128             50 %
//     owner U            the user U, who owns a function               128             10 %
//     group G            members of a function's or the socket's group 128             20 %, one user half of it
//     strangers          everybody else, all together                  32              5 %
//     function F         those on the way into F, or in it             contexts + 16   the account's they came from
//
//   - Places of one account are no other's: nobody takes them by coming early, often, or under many user ids.
//   - A newcomer always gets a place.  The user with the most places of the account gives one up, the one that was not
//     heard of for the longest time; only a context that is in use is never taken.
//   - An account that has used up its share is not listened to until it has grown again, for 5 s at most.  Nobody else
//     waits for that: what a member does beyond one half of a group's share (connecting is work) is that member's debt
//     alone.
//
//   Only decisions: times are the caller's, nanoseconds that never go back.  work_time alone has a clock.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <ctime>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

namespace vinic::vinicd {

/// What a connection's place and work are charged to.
struct account {
    enum class kind : std::uint8_t { strangers, group, owner, administrators, function };  // the weakest first
    kind of = kind::strangers;
    std::uint32_t id = 0;  ///< the user, group or function
    friend auto operator<=>(const account&, const account&) = default;
};

/// What this thread has worked since it was made.  Time in which it had no core is not work.
class work_time {
public:
    [[nodiscard]] std::uint64_t ns() const noexcept { return thread_ns() - begun_ns_; }

private:
    [[nodiscard]] static std::uint64_t thread_ns() noexcept {
        timespec now{};
        ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
        return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(now.tv_nsec);
    }
    std::uint64_t begun_ns_ = thread_ns();
};

/// How much of a thread somebody may use: a share of its time, and 200 ms of that share at once.
class work_budget {
public:
    static constexpr std::uint64_t debt_max_ns = 5'000'000'000;  ///< what cannot be refused adds up to this at most

    /// `used_ns` of work was done at `now_ns`.
    void charge(std::uint64_t now_ns, std::uint64_t used_ns, std::uint32_t share_per_mille) noexcept;
    /// From when on there may be more; in the past: now.
    [[nodiscard]] std::uint64_t free_at_ns() const noexcept;
    [[nodiscard]] bool is_full(std::uint64_t now_ns) const noexcept { return paid_at_ns_ <= now_ns; }

private:
    std::uint64_t paid_at_ns_ = 0;  ///< when the share will have paid for what was done
};

class admission {
public:
    using number = std::uint64_t;  ///< of a connection; the caller's, and not 0
    struct verdict {
        bool admitted = false;
        std::optional<number> leaves;  ///< the one that made room: to be hung up on
    };

    static constexpr std::uint32_t places = 128;
    static constexpr std::uint32_t places_of_strangers = 32;
    static constexpr std::uint32_t spare_of_function = 16;
    static constexpr std::uint64_t patience_ns = 10'000'000'000;   ///< for the next step until a context is entered
    static constexpr std::uint64_t idle_max_ns = 600'000'000'000;  ///< of one that asks; a stranger's is patience_ns

    explicit admission(std::uint32_t contexts_max) noexcept : function_places_(contexts_max + spare_of_function) {}

    /// A connection that has said nothing yet.
    [[nodiscard]] verdict arrive(number n, account of, uid_t user, std::uint64_t now_ns);
    /// It is on the way into a function; not admitted: every place there is a context in use.
    [[nodiscard]] verdict attach(number n, std::uint32_t function, std::uint64_t now_ns);
    /// It uses a context: it is not asked to leave any more.
    void enter(number n) noexcept;
    /// It asks, or only wants to be told.
    void ask(number n, std::uint64_t now_ns) noexcept;
    void monitor(number n) noexcept;
    void leave(number n) noexcept;
    /// Those that have been silent for too long.  Also forgets debts that are paid.
    [[nodiscard]] std::vector<number> late(std::uint64_t now_ns);
    /// Which connection makes room for one of account `of` when there is room for nobody: strangers first, then members
    /// of groups, owners, administrators; of equals first the user with the most connections; nobody who is stronger
    /// than the newcomer, nor connection `but`, which may be the newcomer's own.
    [[nodiscard]] std::optional<number> weakest(account of, number but = 0) const;

    /// The main thread has worked for somebody.
    void charge(account of, uid_t user, std::uint64_t now_ns, std::uint64_t used_ns);
    /// When it may work for that user again; not after `now_ns`: now.
    [[nodiscard]] std::uint64_t free_at_ns(account of, uid_t user) const;

private:
    enum class stage : std::uint8_t { silent, asking, monitoring, attached, entered };
    struct guest {
        account of;     ///< who it is
        account place;  ///< where it has its place
        uid_t user = 0;
        stage at = stage::silent;
        std::uint64_t heard_ns = 0;
    };
    [[nodiscard]] verdict make_room(account place, uid_t newcomer) const;

    std::uint32_t function_places_;
    std::map<number, guest> all_;
    std::map<account, std::set<number>> taken_;
    std::map<account, work_budget> budgets_;
    std::map<std::pair<account, uid_t>, work_budget> members_;  ///< of groups
};

}  // namespace vinic::vinicd
