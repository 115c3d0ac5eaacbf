// SPDX-License-Identifier: Apache-2.0
//
// rings.cc -- a send ring is looked at, and written to.
#include "tables/rings.hpp"

namespace vinic::tables {

void send_side::look_at(const memory& m, const abi::vi_entry& v) noexcept {
    descriptors = m.at<abi::send_descriptor>(v.send_ring.load_relaxed());
    device = &m;
    vi = &v;
    mask = v.send_depth.load_relaxed() - 1;
    extra_bytes = abi::send_extra_bytes(v.segments_max.load_relaxed(), v.inline_bytes_max.load_relaxed());
}

void send_side::store(std::uint32_t index, const rules::message& m) noexcept {
    rules::pack(descriptors[index & mask], m, [&] { return extra(index); });
}

}  // namespace vinic::tables
