// SPDX-License-Identifier: Apache-2.0
//
// bypass.cc -- see bypass.h.
#include "bypass.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "failure.h"

namespace demo {

namespace {

constexpr std::uint64_t word_at_start = 1000;
constexpr std::uint64_t addend = 5;
constexpr std::uint64_t word_at_end = 42;

enum seeds : unsigned { written_seed = 1, read_seed = 2, sent_seed = 100 };

// Bytes that follow from a seed alone, so that both programs know them without telling each other.
void fill(std::span<std::byte> bytes, unsigned seed) {
    std::minstd_rand random(seed);
    for (auto& byte : bytes) {
        byte = static_cast<std::byte>(random() >> 8);
    }
}

bool matches(std::span<const std::byte> bytes, unsigned seed) {
    std::minstd_rand random(seed);
    return std::ranges::all_of(bytes, [&](std::byte byte) { return byte == static_cast<std::byte>(random() >> 8); });
}

std::uint64_t word_at(std::span<const std::byte> bytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    return word;
}

std::span<std::byte> slot_of(device& device, std::uint64_t base, std::size_t index) {
    return device.scratch().subspan(base + index * slot_bytes, slot_bytes);
}

void require(bool holds, const char* what) {
    if (!holds) {
        throw failure(std::string("application bypass: ") + what);
    }
}

}  // namespace

void prepare_bypass(device& device, vinic_path& path) {
    const auto scratch = device.scratch();
    std::ranges::fill(scratch.first(area_bytes), std::byte{0});
    fill(scratch.subspan(read_offset, area_bytes), read_seed);
    std::memcpy(scratch.data() + word_offset, &word_at_start, sizeof word_at_start);
    for (std::size_t i = 0; i < bypass_sends; ++i) {
        std::ranges::fill(slot_of(device, receive_slots_offset, i), std::byte{0});
        must(path.vi().post_receive(path.receive_slot(i), i), "cannot post a receive");
    }
}

std::chrono::nanoseconds run_bypass(device& device, vinic_path& path) {
    const auto scratch = device.scratch();
    const auto& region = device.scratch_region();
    auto& vi = path.vi();
    fill(scratch.first(area_bytes), written_seed);
    for (unsigned i = 0; i < bypass_sends; ++i) {
        fill(slot_of(device, send_slots_offset, i), sent_seed + i);
    }
    const auto start = clock::now();

    must(vi.post_write({region, 0, area_bytes}, path.remote_scratch(0), 1), "cannot post a write");
    require(path.next_sent().opcode == vinic::opcode::write, "the write did not complete");

    must(vi.post_read({region, read_offset, area_bytes}, path.remote_scratch(read_offset), 2), "cannot post a read");
    require(path.next_sent().opcode == vinic::opcode::read, "the read did not complete");

    const vinic::segment old_value(region, word_offset, sizeof(std::uint64_t));
    must(vi.post_fetch_add(old_value, path.remote_scratch(word_offset), addend, 3), "cannot post a fetch-add");
    require(path.next_sent().opcode == vinic::opcode::fetch_add, "the fetch-add did not complete");
    require(word_at(scratch.subspan(word_offset)) == word_at_start, "the fetch-add brought a wrong value");

    must(vi.post_compare_swap(old_value, path.remote_scratch(word_offset), word_at_start + addend, word_at_end, 4),
         "cannot post a compare-swap");
    require(path.next_sent().opcode == vinic::opcode::compare_swap, "the compare-swap did not complete");
    require(word_at(scratch.subspan(word_offset)) == word_at_start + addend, "the compare-swap brought a wrong value");

    for (unsigned i = 0; i < bypass_sends; ++i) {
        must(vi.post_send(path.send_slot(i), i, vinic::send_flag::immediate, i), "cannot post a send");
    }
    for (std::size_t i = 0; i < bypass_sends; ++i) {
        const auto done = path.next_sent();
        require(done.opcode == vinic::opcode::send && done.cookie == i, "a send did not complete in order");
    }
    const auto time = clock::now() - start;
    require(matches(scratch.subspan(read_offset, area_bytes), read_seed), "the read brought wrong bytes");
    return time;
}

void confirm_bypass(device& device, vinic_path& path) {
    const auto scratch = device.scratch();
    for (std::size_t i = 0; i < bypass_sends; ++i) {
        const auto done = path.next_received();
        require(done.cookie == i && done.length == slot_bytes && done.has_immediate && done.immediate == i,
                "a receive completed out of order");
        require(matches(slot_of(device, receive_slots_offset, i), sent_seed + static_cast<unsigned>(i)),
                "a message arrived changed");
    }
    require(matches(scratch.first(area_bytes), written_seed), "the written bytes are wrong");
    require(matches(scratch.subspan(read_offset, area_bytes), read_seed), "the read area was changed");
    require(word_at(scratch.subspan(word_offset)) == word_at_end, "the word is wrong after the atomics");
}

}  // namespace demo
