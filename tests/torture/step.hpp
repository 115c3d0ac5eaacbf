// SPDX-License-Identifier: Apache-2.0
//
// step.hpp -- death at a chosen instruction.
//
//     runner      leads the subject to an instruction of a call and kills it there
//     subject     a fresh process for every death: sets something up at full speed, then makes the call
//     partner     lives through all deaths; the subject's connections lead to it
//     witness     lives too; connected with the partner, so that "all others go on" can be seen
//     stranger    a fresh process that opens the device after the death, before or after the partner looks
//
// The first run of a scenario is traced with PTRACE_SINGLESTEP; a call of a library, with the system calls in it,
// counts as one step.  That tells which instructions of vinic run, and how often.  For each death one of them is
// chosen, and which time it is reached; a hardware breakpoint leads there at full speed.
//
// After each death everybody must go on, and the census must come back to what it was.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "multi/census.hpp"
#include "multi/process.hpp"
#include "torture/random.hpp"

namespace torture {

struct step_options {
    std::uint64_t seed = 0;
    std::uint64_t kills = 0;  ///< 0: until the time is over
    std::uint64_t seconds_max = 20;
    std::uint64_t stride = 0;      ///< not 0: every stride-th instruction of each scenario in turn, once
    std::uint64_t at = 0;          ///< not 0: this instruction only, with `scenario`
    std::uint64_t occurrence = 1;  ///< the how manieth time it is reached
    std::string scenario;          ///< empty: all
    std::string directory;
};

/// Empty where this process may lead a child with breakpoints; otherwise the reason.
[[nodiscard]] std::string why_not_to_lead();

class step {
public:
    explicit step(step_options options);
    /// True if everybody went on after every death; throws or returns false with a message on stderr otherwise.
    [[nodiscard]] bool run();

private:
    /// An instruction of a scenario, and how often it was reached.
    struct place {
        std::uint64_t offset;
        std::uint64_t count;
    };

    /// Starts a subject of this scenario and hands it to `lead`, which returns when it is to die.
    void die(const std::string& name, const std::function<void(int pid)>& lead);
    [[nodiscard]] const std::vector<place>& places_of(const std::string& name);
    /// One death; false after a message on stderr.
    [[nodiscard]] bool die_at(const std::string& name, std::uint64_t offset, std::uint64_t occurrence,
                              bool stranger_first);
    [[nodiscard]] bool run_random();
    [[nodiscard]] bool run_in_turn();
    [[nodiscard]] bool enough() const;
    void look_after(bool stranger_first);
    void send_stranger();
    void expect_base_census();

    step_options options_;
    random random_;
    std::unique_ptr<multi::process> partner_;
    std::unique_ptr<multi::process> witness_;
    multi::census base_;
    bool have_base_ = false;
    std::vector<std::string> names_;
    std::map<std::string, std::vector<place>> places_;
    std::chrono::steady_clock::time_point end_{};
    std::uint64_t deaths_ = 0;
    std::uint64_t reached_ = 0;
};

}  // namespace torture
