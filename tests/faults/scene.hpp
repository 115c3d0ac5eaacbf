// SPDX-License-Identifier: Apache-2.0
//
// scene.hpp -- a scenario is played once to see which system calls it makes, and then once for each way in which each
// of these can fail.
//
//     test process                      a child per play                    peer (unless the scenario is alone)
//     plays without a fault   --------> begin, join, body, leave            has the device open, answers
//     notes the calls         <-------- shared record
//     for each call and errno --------> one of them fails
//                                       what the body demands: an error is true, the call works when it is made again,
//                                       bytes are right; afterwards: descriptors and mappings are those from before
//     the device's tables hold what they held before; nothing is left in the directory
//
// ./check plays a sample that depends on VINIC_SEED (printed), VINIC_LONG=1 plays all.  A failure prints the
// VINIC_FAULT that plays it again, alone.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

#include "faults/trap.hpp"
#include "multi/fixture.hpp"

namespace faults {

/// What a body sees while it is played.
class scene {
public:
    scene(const multi::directory& where, const record& seen, multi::channel* peer, bool makes_threads)
        : where_(where), seen_(seen), peer_(peer), makes_threads_(makes_threads) {}

    [[nodiscard]] vinic::result<vinic::nic> open_once(std::string_view address = "shm:test") const;

    /// Calls `call`.  Where that fails, a fault must be the reason, the error must be true of it, and the call must
    /// work when it is made again and nothing fails any more.
    template <class Call>
    auto attempt(std::string_view what, Call call) {
        auto made = call();
        if (!made) {
            is_excused(what, made.error());
            made = call();
            if (!made) {
                still_fails(what, made.error());
            }
        }
        if constexpr (requires { std::move(*made); }) {
            if constexpr (!std::is_void_v<decltype(*made)>) {
                return std::move(*made);
            }
        }
    }
    [[nodiscard]] vinic::nic open(std::string_view address = "shm:test") {
        return attempt("opening the device", [&] { return open_once(address); });
    }
    /// True: it succeeded.  False: a fault is the reason that it did not, and nothing fails any more.
    bool succeeded(vinic::status how, std::string_view what);
    bool succeeded(vinic::errc how, std::string_view what);
    bool succeeded(bool it_did, std::string_view what);
    /// Whether a fault was put in.
    [[nodiscard]] bool disturbed() const noexcept { return seen_.injected.load() != 0; }
    /// As multi::require, without a fault in the way of saying so.
    void demand(bool condition, std::string_view what,
                std::source_location from = std::source_location::current()) const;
    [[nodiscard]] const multi::directory& where() const noexcept { return where_; }
    [[nodiscard]] multi::channel& peer() const { return *peer_; }

private:
    void is_excused(std::string_view what, const vinic::error& e);
    [[noreturn]] void still_fails(std::string_view what, const vinic::error& e);

    const multi::directory& where_;
    const record& seen_;
    multi::channel* peer_;
    bool makes_threads_;  ///< for the C library it is EAGAIN whatever the reason that there is none
};

struct options {
    bool alone = false;          ///< nobody else has the device open: the first makes it, the last removes it
    bool makes_threads = false;  ///< stacks of ended threads are kept by the C library
    /// Ends of the names of descriptors that a process keeps, one of each, from their first use on.
    std::vector<std::string> keeps = {};
    /// Memory that cannot be given back while a fault lasts keeps the device open until the process ends.
    bool may_stay = false;
    /// In a scenario that is alone: what a process does before each play; it is killed once it has said a word.
    std::function<void(const multi::directory&, multi::channel&)> before = {};
    std::uint32_t sample = 120;  ///< plays in ./check
};

/// Plays `body` as above; failures are those of the test that calls it.
void with_every_fault(const std::function<void(scene&)>& body, const options& o = {});

}  // namespace faults
