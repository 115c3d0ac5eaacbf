// SPDX-License-Identifier: Apache-2.0
//
// notices.hpp -- isolated placement: reading what the device tells everybody who uses the function.
//
//   Other processes of the function can write where the device does, so nothing here is believed: a wrong word costs
//   events or makes some up, and that is all.
#pragma once

#include <mutex>
#include <optional>
#include <vinic/vinic.hpp>

#include "abi/notices.hpp"

namespace vinic::isolated {

class notice_reader {
public:
    /// Begins with what is told from now on.
    explicit notice_reader(abi::notice_board& board) noexcept : board_(board), read_(board.count.load_acquire()) {}
    notice_reader(const notice_reader&) = delete;
    notice_reader& operator=(const notice_reader&) = delete;

    /// The next event, if one is there.
    [[nodiscard]] std::optional<device_event> take() noexcept;
    /// Sleeps until one comes, or the time is over, or for no reason.
    void sleep(std::uint64_t at_most_ns) noexcept;
    /// Nothing: it is being changed all the time.
    [[nodiscard]] std::optional<service_level> in_force() const noexcept;

private:
    abi::notice_board& board_;
    std::mutex mutex_;
    std::uint32_t read_;
    std::uint64_t lost_ = 0;
};

}  // namespace vinic::isolated
