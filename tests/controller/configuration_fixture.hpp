// SPDX-License-Identifier: Apache-2.0
//
// configuration_fixture.hpp -- configuration spaces to test with.
#pragma once

#include <gtest/gtest.h>

#include <map>

#include "controller/configuration_space.hpp"

namespace vinic::controller {

inline constexpr std::uint64_t base = 1ULL << 40;

inline configuration_space made(const configuration_options& options = {}) {
    auto space = configuration_space::create(options);
    EXPECT_TRUE(space.has_value());
    return *space;
}

/// With VFs switched on.
inline configuration_space running(std::uint32_t vfs, const configuration_options& options = {}) {
    configuration_space space = made(options);
    EXPECT_TRUE(space.bring_up(base, vfs).has_value());
    return space;
}

/// What all functions read.
using images = std::map<std::uint32_t, configuration_space::image_bytes>;
inline images images_of(const configuration_space& space) {
    images all;
    for (std::uint32_t f = 0; f <= space.vfs_total(); ++f) {
        all[f] = space.image(f);
    }
    return all;
}

}  // namespace vinic::controller
