// SPDX-License-Identifier: Apache-2.0
//
// counter_sample.cc -- reads until nothing moved between a VI and the device's totals meanwhile.
#include "cli/counter_sample.hpp"

#include <chrono>
#include <thread>

#include "os/sync.hpp"

namespace vinic::cli {

namespace {

constexpr auto between_attempts = std::chrono::milliseconds(1);

}  // namespace

counter_sample take_sample(device_file& f, const std::vector<std::uint32_t>& wanted, bool every_vi,
                           std::uint64_t end_ns) {
    counter_sample sample;
    f.look_anew();
    for (;;) {
        f.read_header();
        const tables::counter_values before = tables::counted_before(f.header());
        // The holder of the lock may have added what a VI counted that is there still: it is looked at after the
        // totals.
        f.read_header();
        const bool quiet = f.header().lock.load_relaxed() == 0 && tables::counted_before(f.header()) == before;
        sample = {os::now_ns(), before, {}};
        for_each_owned<abi::vi_entry>(f, [&](std::uint32_t number, const abi::vi_entry& v) {
            const tables::counter_values counted = tables::counted_by(v);
            for (std::uint32_t i = 0; i < tables::counters_max; ++i) {
                sample.device[i] += counted[i];
            }
            const bool named = std::find(wanted.begin(), wanted.end(), number) != wanted.end();
            if (named || (wanted.empty() && every_vi)) {
                sample.vis.push_back({number, v.generation.load_relaxed(), v.owner.load_relaxed(), counted});
            }
        });
        f.read_header();
        if ((quiet && tables::counted_before(f.header()) == before) || os::now_ns() > end_ns) {
            return sample;
        }
        std::this_thread::sleep_for(between_attempts);
    }
}

}  // namespace vinic::cli
