// SPDX-License-Identifier: Apache-2.0
//
// mesh.hpp -- the supervisor: seats participants, kills, stops and replaces them, and audits what they wrote down.
//
//     settle   everybody calm: the census is the base
//     work     random seats are killed or stopped at random moments and taken again
//     settle   calm again: the census must be the base
//     exam     every survivor talks with every other one
//     settle, leave: nothing may be left of the device
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "multi/census.hpp"
#include "multi/process.hpp"
#include "torture/ledger.hpp"
#include "torture/random.hpp"

namespace torture {

struct mesh_options {
    std::uint64_t seed = 0;
    std::uint32_t seats = 5;
    std::uint64_t kills = 150;
    std::uint64_t seconds_max = 0;  ///< 0: as long as the kills take
    std::string directory;
    std::string device = "shm:torture";  ///< or vinicd:PATH: seats are spread over its first functions
    bool pause_on_failure = false;       ///< leaves the processes as they are, for a debugger
};

class mesh {
public:
    explicit mesh(mesh_options options);
    mesh(const mesh&) = delete;
    mesh& operator=(const mesh&) = delete;
    ~mesh();
    /// True if nothing was lost, leaked or stuck; otherwise failure() says what.
    [[nodiscard]] bool run();
    [[nodiscard]] std::string failure() const { return book_->failure; }

private:
    struct place {
        std::optional<multi::process> who;
        bool stopped = false;
        std::uint64_t seen_progress = 0;
        std::uint64_t seen_acceptor_progress = 0;
        std::chrono::steady_clock::time_point progress_at{};
        std::chrono::steady_clock::time_point acceptor_progress_at{};
    };

    void take_seat(std::uint32_t i);
    void kill_one();
    void kill_seat(std::uint32_t i);
    void pause(std::chrono::microseconds time);
    /// Deaths that nobody ordered, hangs, and connections that can be audited.
    void watch();
    void watch_progress(std::uint32_t i);
    void audit(bool everything);
    void audit_record(link_record& l, std::uint32_t index);
    [[nodiscard]] bool is_over(const side_record& s) const noexcept;
    [[nodiscard]] bool reach(phase p);
    [[nodiscard]] bool is_isolated() const { return options_.device.starts_with("vinicd:"); }
    [[nodiscard]] std::string device_of(std::uint32_t seat) const;
    /// Of all windows together, where there are several.
    [[nodiscard]] vinic::result<multi::census> count() const;
    [[nodiscard]] bool take_census_when_calm(multi::census& out);
    [[nodiscard]] bool is_like_base(const multi::census& now) const;
    [[nodiscard]] bool check_census();
    [[nodiscard]] bool leave();
    [[nodiscard]] bool failed() const noexcept { return book_->failures.load() != 0; }
    void report(std::chrono::steady_clock::time_point start) const;

    mesh_options options_;
    ledger* book_;
    random random_;
    std::vector<place> places_;
    std::uint64_t killed_ = 0;
    std::uint64_t stopped_ = 0;
    std::uint64_t audited_ = 0;
    std::uint64_t first_unaudited_ = 1;
    std::optional<multi::census> base_;
    std::chrono::steady_clock::time_point last_audit_{};
};

}  // namespace torture
