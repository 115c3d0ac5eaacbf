// SPDX-License-Identifier: Apache-2.0
//
// configuration_space_test.cc -- SR-IOV as a host sees it: what may be written, what comes of it, and what not.
#include <map>
#include <random>

#include "controller/configuration_fixture.hpp"

namespace vinic::controller {
namespace {

using namespace pci;

std::uint32_t number_of_vfs(const configuration_space& space) { return space.read(0, sriov + sriov_number, 2); }

// -- making -------------------------------------------------------------------------------------

TEST(configuration_space, refuses_options_that_no_device_can_have) {
    const auto refused = [](auto change) {
        configuration_options options;
        change(options);
        return !configuration_space::create(options).has_value();
    };
    EXPECT_FALSE(refused([](auto&) {}));
    EXPECT_FALSE(refused([](auto& o) { o.vfs_total = 256; }));
    EXPECT_TRUE(refused([](auto& o) { o.vfs_total = 0; }));
    EXPECT_TRUE(refused([](auto& o) { o.vfs_total = 257; }));
    EXPECT_TRUE(refused([](auto& o) { o.window_bytes = 3 << 20; }));
    EXPECT_TRUE(refused([](auto& o) { o.window_bytes = 2048; }));
    EXPECT_TRUE(refused([](auto& o) { o.window_bytes = 1ULL << 62; }));
    EXPECT_TRUE(refused([](auto& o) { o.vectors = 0; }));
    EXPECT_TRUE(refused([](auto& o) { o.vectors = 2049; }));
    EXPECT_TRUE(refused([](auto& o) { o.vendor_id = 0xffff; }));
    EXPECT_TRUE(refused([](auto& o) { o.first_vf_offset = 0; }));
    EXPECT_TRUE(refused([](auto& o) { o.vf_stride = 0; }));
    EXPECT_TRUE(refused([](auto& o) { o.vf_stride = 1040; }));
    EXPECT_TRUE(refused([](auto& o) { o.pf_routing_id = 0xffff; }));
}

// -- C1: the capability of the PF ---------------------------------------------------------------

TEST(configuration_space, the_pf_says_what_it_has) {
    const configuration_space space = made({.vfs_total = 100, .first_vf_offset = 8, .vf_stride = 2});
    EXPECT_EQ(space.read(0, vendor_device, 4), 0x4e43'5649u);
    EXPECT_EQ(space.read(0, sriov, 2), sriov_id);
    EXPECT_EQ(space.read(0, sriov + 2, 2), 1u) << "version 1, the last capability";
    EXPECT_EQ(space.read(0, sriov + sriov_initial_total, 2), 100u);
    EXPECT_EQ(space.read(0, sriov + sriov_initial_total + 2, 2), 100u);
    EXPECT_EQ(number_of_vfs(space), 0u);
    EXPECT_EQ(space.read(0, sriov + sriov_offset_stride, 2), 8u);
    EXPECT_EQ(space.read(0, sriov + sriov_offset_stride + 2, 2), 2u);
    EXPECT_EQ(space.read(0, sriov + sriov_device + 2, 2), 0x4e56u);
    EXPECT_EQ(space.read(0, sriov + sriov_pages_supported, 4), 0x553u);
    EXPECT_EQ(space.read(0, sriov + sriov_page_size, 4), 1u);
}

TEST(configuration_space, an_access_of_each_width_sees_the_same_bytes_and_others_see_none) {
    const configuration_space space = running(3);
    const auto image = space.image(0);
    for (std::uint32_t at = 0; at < space_bytes; ++at) {
        const std::uint32_t byte = std::to_integer<std::uint32_t>(image[at]);
        EXPECT_EQ(space.read(0, at, 1), byte);
        EXPECT_EQ(space.read(0, at & ~1u, 2) >> at % 2 * 8 & 0xff, byte);
        EXPECT_EQ(space.read(0, at & ~3u, 4) >> at % 4 * 8 & 0xff, byte);
    }
    EXPECT_EQ(space.read(0, 1, 2), 0xffffu) << "not aligned";
    EXPECT_EQ(space.read(0, 2, 4), 0xffffffffu);
    EXPECT_EQ(space.read(0, 0, 3), 0xffffffu);
    EXPECT_EQ(space.read(0, 0, 0), 0xffffffffu);
    EXPECT_EQ(space.read(0, 0, 8), 0xffffffffu);
    EXPECT_EQ(space.read(0, space_bytes, 4), 0xffffffffu);
    EXPECT_EQ(space.read(4, 0, 4), 0xffffffffu) << "not enabled";
    EXPECT_EQ(space.read(~0u, 0, 4), 0xffffffffu);
}

TEST(configuration_space, bars_tell_their_size_as_every_host_asks_for_it) {
    configuration_space space = made({.window_bytes = 1ULL << 32, .vectors = 300});
    const auto size_of = [&](std::uint32_t at) {
        (void)space.write(0, at, 4, ~0u);
        (void)space.write(0, at + 4, 4, ~0u);
        const std::uint64_t value = std::uint64_t{space.read(0, at + 4, 4)} << 32 | space.read(0, at, 4);
        EXPECT_EQ(value & 0xf, bar_memory_64_prefetchable);
        return ~(value & ~0xfULL) + 1;
    };
    EXPECT_EQ(size_of(bars), 1ULL << 32);
    EXPECT_EQ(size_of(bars + msix_bar * 4), 16384u);
    EXPECT_EQ(size_of(sriov + sriov_bars), 1ULL << 32) << "of one VF";
    EXPECT_EQ(size_of(sriov + sriov_bars + msix_bar * 4), 16384u);
    (void)space.write(0, bars + 16, 4, ~0u);
    EXPECT_EQ(space.read(0, bars + 16, 4), 0u) << "there is no BAR 4";
}

TEST(configuration_space, the_page_size_is_one_of_those_offered_and_widens_the_vfs_bars) {
    configuration_space space = made({.vectors = 1});
    const std::uint32_t register_at = sriov + sriov_page_size;
    for (const std::uint32_t bad : {0u, 3u, 4u, 8u, 0x553u, 1u << 31}) {
        EXPECT_EQ(space.write(0, register_at, 4, bad), configuration_effects{});
        EXPECT_EQ(space.read(0, register_at, 4), 1u) << bad;
    }
    (void)space.write(0, register_at, 4, 1u << 10);
    EXPECT_EQ(space.read(0, register_at, 4), 1u << 10);
    ASSERT_TRUE(space.bring_up(base, 2).has_value());
    EXPECT_EQ(space.bar(0, msix_bar)->bytes, 8192u);
    EXPECT_EQ(space.bar(1, msix_bar)->bytes, 4u << 20);
    EXPECT_EQ(space.bar(2, msix_bar)->address - space.bar(1, msix_bar)->address, 4u << 20);
    (void)space.write(0, register_at, 4, 1);
    EXPECT_EQ(space.read(0, register_at, 4), 1u << 10) << "not while there are VFs";
}

TEST(configuration_space, a_larger_page_size_chosen_late_leaves_no_vf_bar_at_half_a_page) {
    configuration_space space = made({.vectors = 1});
    const std::uint32_t at = sriov + sriov_bars + msix_bar * 4;
    (void)space.write(0, at, 4, 0x10002000);
    EXPECT_EQ(space.read(0, at, 4) & ~0xfu, 0x10002000u);
    (void)space.write(0, sriov + sriov_page_size, 4, 1u << 8);
    EXPECT_EQ(space.read(0, at, 4) & ~0xfu, 0x10000000u);
}

// -- C2: NumVFs and VF Enable -------------------------------------------------------------------

TEST(configuration_space, vf_enable_brings_as_many_functions_as_were_asked_for) {
    configuration_space space = made({.vfs_total = 10});
    (void)space.write(0, sriov + sriov_number, 2, 7);
    for (std::uint32_t f = 1; f <= 11; ++f) {
        EXPECT_FALSE(space.exists(f)) << "not before VF Enable";
        EXPECT_EQ(space.read(f, revision_class, 4), ~0u);
    }
    const configuration_effects effects = space.write(0, sriov + sriov_control, 2, sriov_enable);
    EXPECT_EQ(effects, configuration_effects{.functions = true});
    EXPECT_EQ(space.vfs_enabled(), 7u);
    for (std::uint32_t f = 1; f <= 11; ++f) {
        EXPECT_EQ(space.exists(f), f <= 7);
        EXPECT_EQ(space.read(f, revision_class, 4) != ~0u, f <= 7);
    }
    EXPECT_EQ(space.write(0, sriov + sriov_control, 2, sriov_enable), configuration_effects{}) << "nothing new";
    EXPECT_TRUE(space.write(0, sriov + sriov_control, 2, 0).functions);
    EXPECT_EQ(space.vfs_enabled(), 0u);
    EXPECT_FALSE(space.exists(1));
}

TEST(configuration_space, num_vfs_is_fixed_while_vfs_are_enabled_and_never_more_than_there_are) {
    configuration_space space = made({.vfs_total = 300 - 44});
    (void)space.write(0, sriov + sriov_number, 2, 256);
    EXPECT_EQ(number_of_vfs(space), 256u);
    for (const std::uint32_t bad : {257u, 1000u, 0xffffu}) {
        (void)space.write(0, sriov + sriov_number, 2, bad);
        EXPECT_EQ(number_of_vfs(space), 256u);
    }
    (void)space.write(0, sriov + sriov_number, 1, 1);
    EXPECT_EQ(number_of_vfs(space), 256u) << "a byte of it makes 257";
    (void)space.write(0, sriov + sriov_number, 4, 5 | 0xff0000);
    EXPECT_EQ(space.read(0, sriov + sriov_number, 4), 5u) << "the dependency link is read-only";
    (void)space.write(0, sriov + sriov_control, 2, sriov_enable);
    for (const std::uint32_t width : {1u, 2u, 4u}) {
        (void)space.write(0, sriov + sriov_number, width, 9);
        EXPECT_EQ(number_of_vfs(space), 5u);
    }
    EXPECT_EQ(space.vfs_enabled(), 5u);
    (void)space.write(0, sriov + sriov_control, 2, 0);
    (void)space.write(0, sriov + sriov_number, 2, 9);
    EXPECT_EQ(number_of_vfs(space), 9u);
}

TEST(configuration_space, what_the_pf_says_of_itself_cannot_be_written) {
    configuration_space space = made();
    const auto before = space.image(0);
    for (std::uint32_t at = 0; at < space_bytes; at += 4) {
        const bool may_change = at == command_status || (at >= bars && at < bars + 16) || at == msix ||
                                at == express + express_device_control || at == sriov + sriov_control ||
                                (at >= sriov + sriov_number && at < sriov + sriov_bars + 16);
        if (!may_change) {
            EXPECT_EQ(space.write(0, at, 4, ~0u), configuration_effects{}) << at;
            EXPECT_EQ(space.write(0, at, 4, 0), configuration_effects{}) << at;
        }
    }
    EXPECT_EQ(space.image(0), before);
    (void)space.write(0, sriov + sriov_offset_stride, 4, ~0u);
    (void)space.write(0, sriov + sriov_device, 4, ~0u);
    (void)space.write(0, sriov + sriov_pages_supported, 4, ~0u);
    EXPECT_EQ(space.image(0), before);
}

// -- C3: routing identifiers --------------------------------------------------------------------

TEST(configuration_space, routing_identifiers_follow_from_offset_and_stride) {
    const std::uint64_t seed = std::random_device{}();
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    for (int round = 0; round < 200; ++round) {
        configuration_options options;
        options.vfs_total = static_cast<std::uint32_t>(1 + random() % 256);
        options.pf_routing_id = static_cast<std::uint16_t>(random() % 0x8000);
        options.first_vf_offset = static_cast<std::uint16_t>(1 + random() % 256);
        options.vf_stride = static_cast<std::uint16_t>(1 + random() % 64);
        const configuration_space space = made(options);
        EXPECT_EQ(space.function_at(options.pf_routing_id), 0u);
        for (std::uint32_t i = 1; i <= options.vfs_total; ++i) {
            const std::uint32_t expected =
                options.pf_routing_id + options.first_vf_offset + (i - 1) * options.vf_stride;
            ASSERT_EQ(space.routing_id(i), expected);
            ASSERT_EQ(space.function_at(static_cast<std::uint16_t>(expected)), i);
        }
        std::size_t answered = 0;
        for (std::uint32_t id = 0; id <= 0xffff; id += 1) {
            answered += space.function_at(static_cast<std::uint16_t>(id)).has_value() ? 1u : 0u;
        }
        ASSERT_EQ(answered, options.vfs_total + 1) << "and nobody else answers";
    }
}

// -- C4: the header of a VF ---------------------------------------------------------------------

TEST(configuration_space, a_vf_shows_no_identity_no_interrupt_and_no_bars_of_its_own) {
    const configuration_space space = running(64);
    for (std::uint32_t f = 1; f <= 64; ++f) {
        EXPECT_EQ(space.read(f, vendor_device, 4), 0xffffffffu);
        EXPECT_EQ(space.read(f, interrupt + 1, 1), 0u);
        EXPECT_EQ(space.read(f, revision_class, 4), space.read(0, revision_class, 4));
        EXPECT_EQ(space.read(f, command_status, 2), command_bus_master) << "memory is the PF's to decode";
        for (std::uint32_t bar = 0; bar < bar_count; ++bar) {
            EXPECT_EQ(space.read(f, bars + bar * 4, 4), 0u);
        }
        EXPECT_EQ(space.read(f, extended, 4), 0u) << "a VF has no VFs";
        EXPECT_EQ(space.read(f, express, 1), express_id);
        EXPECT_EQ(space.read(f, msix, 1), msix_id);
    }
    EXPECT_EQ(space.read(0, interrupt + 1, 1), 0u);
}

TEST(configuration_space, a_vfs_memory_is_computed_from_its_pfs_bar_and_lies_apart) {
    const configuration_options options{.vfs_total = 32, .window_bytes = 1ULL << 33};
    const configuration_space space = running(20, options);
    std::map<std::uint64_t, std::uint64_t> ranges;
    for (std::uint32_t f = 0; f <= 20; ++f) {
        for (const std::uint32_t number : {0u, msix_bar}) {
            const auto range = space.bar(f, number);
            ASSERT_TRUE(range.has_value());
            EXPECT_EQ(range->address % range->bytes, 0u);
            EXPECT_GE(range->address, base);
            EXPECT_TRUE(ranges.emplace(range->address, range->bytes).second);
        }
        EXPECT_FALSE(space.bar(f, 1).has_value());
        EXPECT_FALSE(space.bar(f, 6).has_value());
    }
    EXPECT_EQ(space.bar(7, 0)->address, space.bar(1, 0)->address + 6 * options.window_bytes);
    std::uint64_t end = 0;
    for (const auto& [address, bytes] : ranges) {
        EXPECT_GE(address, end) << "they overlap";
        end = address + bytes;
    }
    EXPECT_FALSE(space.bar(21, 0).has_value());
}

TEST(configuration_space, memory_is_decoded_when_the_pf_says_so_for_itself_and_for_all_vfs) {
    configuration_space space = running(2);
    EXPECT_EQ(space.write(0, sriov + sriov_control, 2, sriov_enable), configuration_effects{.memory = true});
    EXPECT_FALSE(space.bar(1, 0).has_value());
    EXPECT_TRUE(space.bar(0, 0).has_value());
    EXPECT_EQ(space.write(0, command_status, 2, 0), (configuration_effects{.bus_master = true, .memory = true}));
    EXPECT_FALSE(space.bar(0, 0).has_value());
    EXPECT_TRUE(space.write(0, sriov + sriov_control, 2, sriov_enable | sriov_memory).memory);
    EXPECT_TRUE(space.bar(1, 0).has_value()) << "the PF's own memory bit is not the VFs'";
    (void)space.write(1, command_status, 2, command_memory);
    EXPECT_EQ(space.read(1, command_status, 2), 0u) << "neither memory nor, from the bit beside it, bus master";
}

TEST(configuration_space, bring_up_refuses_what_does_not_fit) {
    configuration_space space = made({.vfs_total = 4});
    EXPECT_FALSE(space.bring_up(base, 5).has_value());
    EXPECT_FALSE(space.bring_up((1ULL << 63) - 4096, 4).has_value());
    EXPECT_FALSE(space.bring_up(~0ULL - 4096, 4).has_value());
    EXPECT_EQ(space.vfs_enabled(), 0u);
    EXPECT_TRUE(space.bring_up(4096, 0).has_value());
    EXPECT_TRUE(space.bring_up(4096, 4).has_value());
    EXPECT_EQ(space.vfs_enabled(), 4u);
}

}  // namespace
}  // namespace vinic::controller
