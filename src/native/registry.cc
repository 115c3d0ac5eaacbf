// SPDX-License-Identifier: Apache-2.0
//
// registry.cc -- the registry itself, and questions about the memory of all open nics.
#include "native/registry.hpp"

#include "native/adoption.hpp"
#include "placement/nic.hpp"

namespace vinic::detail {

open_nics& registry() noexcept {
    static auto* r = new open_nics;  // never destroyed: nics may outlive static destructors
    return *r;
}

standstill::standstill() noexcept {
    registry().mutex.lock();
    for (nic_body* n : registry().nics) {
        n->mutex.lock();
    }
}

standstill::~standstill() {
    for (nic_body* n : registry().nics) {
        n->mutex.unlock();
    }
    registry().mutex.unlock();
}

bool overlaps_region(std::uint64_t begin, std::uint64_t end, const tables::memory* closing) noexcept {
    for (const nic_body* n : registry().nics) {
        const tables::memory& m = *n->memory;
        for (std::uint32_t i = 0; i < m.backed(abi::regions); ++i) {
            const abi::region_entry& r = m.region(i);
            if (&m == closing && r.key.load_relaxed() == 0) {
                continue;
            }
            const std::uint64_t address = r.address.load_relaxed();
            const std::uint64_t length = r.length.load_relaxed();
            // Also one that is closed, but whose memory a stopped peer may still use: it has an owner.
            if (r.owner.load_relaxed() == m.owner_word() && address < end &&
                (length > begin || address + length > begin)) {
                return true;
            }
        }
    }
    return false;
}

bool in_device_mapping(std::uint64_t address) noexcept {
    const auto holds = [&](const tables::memory& m) {
        return address - reinterpret_cast<std::uint64_t>(m.at<std::byte>(0)) < m.bytes();
    };
    for (const nic_body* n : registry().nics) {
        if (holds(*n->memory)) {
            return true;
        }
    }
    for (const open_nics::kept& k : registry().left) {
        if (holds(*k.memory)) {
            return true;
        }
    }
    return false;
}

}  // namespace vinic::detail
