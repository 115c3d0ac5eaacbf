// SPDX-License-Identifier: Apache-2.0
//
// region.hpp -- registered memory and buffers of the device: what only this process knows of them.
#pragma once

#include "native/adoption.hpp"
#include "placement/nic.hpp"

namespace vinic::detail {

struct region_body {
    std::shared_ptr<domain_body> domain;
    std::uint32_t index = 0;
    std::uint32_t key = 0;
    access rights = access::none;
    enum backing backing = backing::foreign;
    enum foreign_reason foreign_reason = foreign_reason::none;
    std::vector<adoption::held_extent> extents;
    std::vector<std::shared_ptr<buffer_body>> buffers;
    bool writable = false;
    bool is_whole_space = false;
    bool open = true;
    ~region_body();
    [[nodiscard]] result<void> close();
    [[nodiscard]] result<void> set_attributes(const std::shared_ptr<domain_body>& to, access wanted);
};

struct buffer_body {
    std::shared_ptr<nic_body> nic;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    bool kept = false;  // under nic->mutex
    buffer_body(std::shared_ptr<nic_body> n, std::uint64_t at, std::uint64_t size)
        : nic(std::move(n)), offset(at), bytes(size) {}
    ~buffer_body();
};

}  // namespace vinic::detail
