// SPDX-License-Identifier: Apache-2.0
//
// registering_test.cc -- what registering memory costs does not depend on how large it is, nor on how much is
// registered already.
#include <sys/mman.h>

#include <algorithm>

#include "multi/fixture.hpp"

namespace multi {
namespace {

TEST(registering, many_ranges_and_buffers_takes_no_more_for_the_last_than_for_the_first) {
    // Each a little longer than the one before, they took minutes.
    in_child([](endpoint& me) {
        constexpr std::size_t ranges = 40'000;  // a function of vinicd has 65,536 regions
        constexpr std::size_t buffers = 20'000;
        const auto memory = map_pages(256 * page);
        std::vector<vinic::region> regions;
        for (std::size_t i = 0; i < ranges; ++i) {
            regions.push_back(
                must(me.domain.register_memory(memory.subspan(i % 256 * page, page), vinic::access::local_write)));
        }
        std::vector<vinic::buffer> all;
        auto space = must(me.domain.register_address_space(vinic::access::local_write));
        for (std::size_t i = 0; i < buffers; ++i) {
            all.push_back(must(me.nic.allocate(page)));
            regions.push_back(must(me.domain.register_memory(all.back().bytes(), vinic::access::all)));
            require(regions.back().backing() == vinic::backing::native, "it is the device's");
        }
        for (auto& r : regions) {
            must(r.close());
        }
    });
}

TEST(registering, of_memory_that_is_not_asked_to_be_adopted_touches_no_page_and_opens_nothing) {
    in_child([](endpoint& me) {
        constexpr std::size_t large = std::size_t{8} << 30;
        void* at = ::mmap(nullptr, large, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        require(at != MAP_FAILED, "address space can be had");
        take_all_descriptors();
        const std::span memory(static_cast<std::byte*>(at), large);
        auto region = must(me.domain.register_memory(memory, vinic::access::local_write));
        std::vector<unsigned char> resident(large / page);
        require(::mincore(at, large, resident.data()) == 0, "pages can be looked at");
        require(std::ranges::none_of(resident, [](unsigned char r) { return (r & 1) != 0; }), "no page was touched");
        must(region.close());
    });
}

}  // namespace
}  // namespace multi
