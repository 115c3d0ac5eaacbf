// SPDX-License-Identifier: Apache-2.0
//
// device_limits.cc -- what a device and its functions may be: asked when they are made, and when what is wanted
// of them is read.  Needs no device.
#include <bit>

#include "controller/device_settings.hpp"
#include "controller/device_state.hpp"

namespace vinic::controller {

namespace {

constexpr std::uint64_t memory_bytes_least = 16ULL << 20;  // tables, rings and some buffers
constexpr std::uint64_t window_bytes_least = abi::window_chunks_least * abi::chunk_size;

}  // namespace

result<void> check(const function_options& o, const std::string& name) {
    const entitlement& q = o.quality;
    const char* why = nullptr;
    if (!std::has_single_bit(o.window_bytes) || o.window_bytes < window_bytes_least ||
        o.window_bytes > abi::file_size) {
        why = "a window is a power of two from 512 MiB to 256 GiB";
    } else if (o.vis_max == 0 || o.vis_max > abi::vi_count) {
        why = "it may have 1 to 65536 VIs";
    } else if (o.regions_max == 0 || o.regions_max > abi::region_count) {
        why = "it may have 1 to 1048576 regions";
    } else if (o.contexts_max == 0 || o.contexts_max > abi::context_count) {
        why = "it serves 1 to 64 processes";
    } else if (o.vectors == 0 || o.vectors > abi::vectors_max) {
        why = "it has 1 to 64 completion vectors";
    } else if (o.memory_bytes != 0 && o.memory_bytes < memory_bytes_least) {
        why = "its memory limit is 16 MiB at least";
    } else if (q.weight == 0 || q.weight > 10000) {
        why = "a weight is 1 to 10000";
    } else if (q.priority > 7) {
        why = "a priority is 0 to 7";
    } else if (q.cap != 0 && q.guarantee > q.cap) {
        why = "its guarantee is above its cap";
    }
    if (why != nullptr) {
        return std::unexpected(refuse(errc::invalid_argument, "function " + name + ": " + why));
    }
    return {};
}

result<void> check(const device_options& options) {
    if (options.functions == 0 || options.functions > abi::function_count_max - 1) {
        return std::unexpected(refuse(errc::invalid_argument, "a device has 1 to 256 VFs"));
    }
    const scheduler_options& s = options.scheduling;
    if (s.engines == 0 || s.engines > 64 || s.queues == 0 || s.queues > 1024) {
        return std::unexpected(refuse(errc::invalid_argument, "a device has 1 to 64 engines and 1 to 1024 queues"));
    }
    if (options.vis_total == 0) {
        return std::unexpected(refuse(errc::invalid_argument, "a device has at least one VI"));
    }
    if (s.lease_descriptors == 0 || s.bytes_per_second == 0 || options.verbs_per_second == 0) {
        return std::unexpected(refuse(errc::invalid_argument, "a lease, a rate and a second's requests are not 0"));
    }
    return check(options.defaults, "default");
}

}  // namespace vinic::controller
