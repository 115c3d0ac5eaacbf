// SPDX-License-Identifier: Apache-2.0
//
// configuration_vf_test.cc -- what a VF may change, resets, and VFs that come and go alone.
#include <array>
#include <random>
#include <set>

#include "controller/configuration_fixture.hpp"

namespace vinic::controller {
namespace {

using namespace pci;

// -- C5: what a VF writes -----------------------------------------------------------------------

TEST(configuration_space, no_write_to_a_vf_reaches_its_pf_or_a_sibling) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    configuration_space space = running(5, {.vfs_total = 6});
    const images before = images_of(space);
    std::set<std::uint32_t> registers_changed;
    for (int i = 0; i < 100'000; ++i) {
        const auto width = std::array{1u, 2u, 4u, 3u}[random() % 4];
        // Half of them where something could be hit.
        const auto at = static_cast<std::uint32_t>(random() % 2 == 0 ? random() % 0x180 : random() % 0x1100);
        const auto old = space.image(3);
        (void)space.write(3, at, width, static_cast<std::uint32_t>(random()));
        const auto now = space.image(3);
        for (std::uint32_t byte = 0; byte < space_bytes; ++byte) {
            if (old[byte] != now[byte]) {
                registers_changed.insert(byte);
            }
        }
        if (i % 1000 == 999) {
            for (const auto& [function, image] : before) {
                ASSERT_TRUE(function == 3 || space.image(function) == image) << function;
            }
        }
    }
    EXPECT_EQ(registers_changed, (std::set{command_status, msix + 3})) << "bus master; MSI-X enable and mask";
    (void)space.write(3, command_status, 2, 0);
    (void)space.write(3, msix, 4, 0);
    (void)space.write(3, command_status, 2, command_bus_master);
    EXPECT_EQ(space.image(3), before.at(3)) << "its own three bits were all that moved";
}

TEST(configuration_space, a_write_to_a_function_that_is_not_there_does_nothing) {
    configuration_space space = running(2);
    const images before = images_of(space);
    for (std::uint32_t at = 0; at < 0x200; at += 4) {
        EXPECT_EQ(space.write(3, at, 4, ~0u), configuration_effects{});
        EXPECT_EQ(space.write(1000, at, 4, ~0u), configuration_effects{});
    }
    EXPECT_EQ(images_of(space), before);
}

// -- C6: bus master, vectors, reset -------------------------------------------------------------

TEST(configuration_space, bus_master_and_vectors_belong_to_one_function) {
    configuration_space space = running(3);
    EXPECT_EQ(space.write(2, command_status, 2, 0), configuration_effects{.bus_master = true});
    EXPECT_EQ(space.write(2, command_status, 2, 0), configuration_effects{});
    EXPECT_FALSE(space.bus_master(2));
    EXPECT_TRUE(space.bus_master(0) && space.bus_master(1) && space.bus_master(3));
    (void)space.write(0, command_status, 2, 0);
    EXPECT_FALSE(space.bus_master(0));
    EXPECT_TRUE(space.bus_master(1)) << "the PF's bit is not the VFs'";
    for (const std::uint32_t f : {0u, 3u}) {
        EXPECT_EQ(space.write(f, msix + 2, 2, msix_enable), configuration_effects{.vectors = true});
        EXPECT_TRUE(space.msix_enabled(f) && !space.msix_masked(f));
        EXPECT_EQ(space.write(f, msix + 3, 1, (msix_enable | msix_mask_all) >> 8),
                  configuration_effects{.vectors = true});
        EXPECT_TRUE(space.msix_enabled(f) && space.msix_masked(f));
        EXPECT_EQ(space.read(f, msix + 2, 2) & 0x7ff, 3u) << "the number of vectors stays";
    }
    EXPECT_FALSE(space.msix_enabled(1));
}

TEST(configuration_space, a_reset_of_a_vf_is_its_own_affair) {
    configuration_space space = running(3);
    const images before = images_of(space);
    (void)space.write(2, msix + 2, 2, msix_enable | msix_mask_all);
    const configuration_effects effects = space.write(2, express + express_device_control, 2, express_reset);
    EXPECT_EQ(effects, (configuration_effects{.reset = true, .bus_master = true, .vectors = true}));
    EXPECT_EQ(space.read(2, express + express_device_control, 2), 0u) << "reads as 0";
    EXPECT_TRUE(space.exists(2));
    EXPECT_TRUE(space.bar(2, 0).has_value());
    EXPECT_FALSE(space.bus_master(2) || space.msix_enabled(2) || space.msix_masked(2));
    EXPECT_EQ(space.write(2, express + express_device_control, 2, 0x7fff), configuration_effects{}) << "not the bit";
    for (const std::uint32_t f : {0u, 1u, 3u}) {
        EXPECT_EQ(space.image(f), before.at(f));
    }
}

TEST(configuration_space, a_reset_of_the_pf_takes_all_vfs_with_it) {
    configuration_space space = running(3);
    const auto fresh = made().image(0);
    const configuration_effects effects = space.write(0, express + express_device_control + 1, 1, express_reset >> 8);
    EXPECT_EQ(effects, (configuration_effects{.reset = true, .functions = true, .bus_master = true, .memory = true}));
    EXPECT_EQ(space.image(0), fresh);
    EXPECT_EQ(space.vfs_enabled(), 0u);
    ASSERT_TRUE(space.bring_up(base, 3).has_value());
    (void)space.write(0, sriov + sriov_control, 2, 0);
    (void)space.write(0, sriov + sriov_control, 2, sriov_enable | sriov_memory);
    EXPECT_FALSE(space.bus_master(1)) << "a VF that comes again comes as if reset";
}

// -- C7: one function at a time -----------------------------------------------------------------

TEST(configuration_space, a_vf_taken_away_and_brought_back_disturbs_nobody) {
    configuration_space space = running(256, {.vfs_total = 256});
    const images before = images_of(space);
    (void)space.write(77, msix + 2, 2, msix_enable);
    EXPECT_TRUE(space.set_present(77, false));
    EXPECT_FALSE(space.set_present(77, false));
    EXPECT_FALSE(space.exists(77) || space.bar(77, 0).has_value() || space.bus_master(77));
    EXPECT_EQ(space.read(77, revision_class, 4), ~0u);
    EXPECT_EQ(space.vfs_enabled(), 256u);
    for (const auto& [function, image] : before) {
        EXPECT_TRUE(function == 77 || space.image(function) == image);
    }
    (void)space.write(0, sriov + sriov_control, 2, 0);
    (void)space.write(0, sriov + sriov_control, 2, sriov_enable | sriov_memory);
    EXPECT_FALSE(space.exists(77)) << "what the administration took away, the host does not bring back";
    EXPECT_TRUE(space.set_present(77, true));
    EXPECT_TRUE(space.exists(77) && !space.bus_master(77) && !space.msix_enabled(77));
    EXPECT_FALSE(space.set_present(0, false) || space.set_present(257, false) || space.set_present(1, true));
}

}  // namespace
}  // namespace vinic::controller
