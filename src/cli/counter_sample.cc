// SPDX-License-Identifier: Apache-2.0
#include "cli/counter_sample.hpp"

#include <chrono>
#include <thread>

#include "os/sync.hpp"

namespace vinic::cli {

namespace {

/// A process that was stopped while it held the lock must not keep anybody from looking; one that was only put aside
/// comes back by then.
constexpr std::uint64_t patience_ns = 1'000'000'000;
constexpr auto between_attempts = std::chrono::microseconds(200);

}  // namespace

counter_sample take_sample(device_file& f, const std::vector<std::uint32_t>& wanted, bool every_vi) {
    counter_sample sample;
    f.look_anew();
    for (const std::uint64_t end = os::now_ns() + patience_ns;;) {
        f.read_header();
        const bool locked = f.header().lock.load_relaxed() != 0;
        const device::counter_values before = device::counted_before(f.header());
        sample = {os::now_ns(), before, {}};
        for_each_owned<abi::vi_entry>(f, [&](std::uint32_t number, const abi::vi_entry& v) {
            const device::counter_values counted = device::counted_by(v);
            for (std::uint32_t i = 0; i < device::counters_max; ++i) {
                sample.device[i] += counted[i];
            }
            const bool named = std::find(wanted.begin(), wanted.end(), number) != wanted.end();
            if (named || (wanted.empty() && every_vi)) {
                sample.vis.push_back({number, v.generation.load_relaxed(), v.owner.load_relaxed(), counted});
            }
        });
        f.read_header();
        const bool steady =
            !locked && f.header().lock.load_relaxed() == 0 && device::counted_before(f.header()) == before;
        if (steady || os::now_ns() > end) {
            return sample;
        }
        std::this_thread::sleep_for(between_attempts);
    }
}

}  // namespace vinic::cli
