// SPDX-License-Identifier: Apache-2.0
//
// whole_words_test.cc -- what a program sees that polls the memory a message goes into: whole words, new from below.
//
// Every byte of message g is g.  The watcher reads the last word and then all the others: each is of one message, and
// none is of an older one than the last word.  The writer is never so far ahead that old and new look alike.
// tests/hardening has the same for every instruction of the engine, where that runs in the caller.
#include <cstring>

#include "fixture.hpp"

namespace conformance {
namespace {

using vinic::errc;

constexpr int ahead_most = 60;  ///< messages; 128 would look like older ones

/// Reads a word in one go, whatever its size.
std::uint64_t load(const std::byte* at, std::size_t word) {
    const auto* p = reinterpret_cast<const volatile char*>(at);
    switch (word) {
        case 1:
            return *reinterpret_cast<const volatile std::uint8_t*>(p);
        case 2:
            return *reinterpret_cast<const volatile std::uint16_t*>(p);
        case 4:
            return *reinterpret_cast<const volatile std::uint32_t*>(p);
        default:
            return *reinterpret_cast<const volatile std::uint64_t*>(p);
    }
}

/// Watches [at, at + bytes) in words of one size until it is told to stop.
class watcher {
public:
    watcher(const std::byte* at, std::size_t bytes, std::size_t word) : word_(word) {
        const auto begin = reinterpret_cast<std::uintptr_t>(at);
        first_ = at + ((begin + word - 1) / word * word - begin);
        // Before `at` where there is no word in the range.
        last_ = at + static_cast<std::ptrdiff_t>((begin + bytes) / word * word - word - begin);
    }
    /// Whether there is a word in the range at all.
    [[nodiscard]] bool any() const { return first_ <= last_; }
    void look() {
        const auto g = generation(last_);
        for (const std::byte* at = first_; at <= last_; at += word_) {
            if (const auto other = generation(at); static_cast<std::int8_t>(other - g) < 0) {
                ++older;
            }
        }
        seen.store(g, std::memory_order_release);
    }
    std::atomic<std::uint8_t> seen{0};
    std::size_t torn = 0;
    std::size_t older = 0;

private:
    std::uint8_t generation(const std::byte* at) {
        const std::uint64_t value = load(at, word_);
        const auto g = static_cast<std::uint8_t>(value);
        torn += value != (0x0101'0101'0101'0101u & (~std::uint64_t{0} >> (64 - 8 * word_))) * g ? 1 : 0;
        return g;
    }
    const std::byte* first_;
    const std::byte* last_;
    std::size_t word_;
};

/// Runs `message(g)` for many g while somebody watches the target.
template <class Message>
void expect_whole_words(const std::byte* at, std::size_t bytes, std::size_t word, int messages, Message message) {
    watcher eyes(at, bytes, word);
    if (!eyes.any())
        return;
    std::atomic<bool> done{false};
    auto watching = in_thread([&] {
        while (!done.load(std::memory_order_acquire)) {
            eyes.look();
            std::this_thread::yield();  // where there are fewer cores than threads
        }
    });
    for (int i = 1; i <= messages; ++i) {
        const auto g = static_cast<std::uint8_t>(i);
        if (!message(g) || !comes_true([&] {
                return static_cast<std::uint8_t>(g - eyes.seen.load(std::memory_order_acquire)) <= ahead_most;
            })) {
            ADD_FAILURE() << "message " << i << " did not arrive";
            break;
        }
    }
    done = true;
    watching.get();
    EXPECT_EQ(eyes.torn, 0u) << "words of " << word << " in " << bytes << " bytes";
    EXPECT_EQ(eyes.older, 0u) << "words of " << word << " in " << bytes << " bytes";
}

class whole_words : public testing::TestWithParam<vinic::reliability> {
protected:
    static constexpr std::size_t base = 8192;

    std::byte* target(std::size_t offset, std::size_t bytes) {
        const auto range = linked.right.bytes(base + offset, bytes);
        std::memset(range.data(), 0, bytes);
        return range.data();
    }
    /// A write of g; its completion is awaited.
    bool write(std::uint8_t g, std::size_t offset, std::size_t bytes) {
        const std::size_t source = bytes % 9;
        std::memset(linked.left.bytes(source, bytes).data(), g, bytes);
        return linked.left.vi.post_write(linked.left.at(source, bytes), linked.right.remote(base + offset), g) ==
                   errc::ok &&
               next(linked.left.sends).status == vinic::status::success;
    }
    bool send(std::uint8_t g, std::size_t offset, std::size_t bytes) {
        std::memset(linked.left.bytes(3, bytes).data(), g, bytes);
        return linked.right.vi.post_receive(linked.right.at(base + offset, bytes), g) == errc::ok &&
               linked.left.vi.post_send(linked.left.at(3, bytes), g) == errc::ok &&
               next(linked.right.receives).status == vinic::status::success &&
               next(linked.left.sends).status == vinic::status::success;
    }
    static endpoint_options options() {
        auto o = with(GetParam());
        o.memory_bytes = 1 << 20;
        o.attributes.segments_max = 32;
        return o;
    }

    pair linked{options(), handles::two};
};

TEST_P(whole_words, are_stored_by_writes_of_every_short_length_at_every_alignment) {
    int turn = 0;
    for (std::size_t bytes = 2; bytes <= 64; ++bytes) {
        for (std::size_t offset = 0; offset < 8; ++offset) {
            const std::size_t word = std::size_t{2} << turn++ % 3;
            ASSERT_NO_FATAL_FAILURE(expect_whole_words(target(offset, bytes), bytes, word, 4,
                                                       [&](std::uint8_t g) { return write(g, offset, bytes); }));
        }
    }
}

TEST_P(whole_words, are_what_a_program_sees_that_polls_a_write) {
    for (const std::size_t bytes : {2u, 4u, 8u, 12u, 65u, 4096u, 4099u, 65536u, 300000u}) {
        for (const std::size_t offset : {0u, 4u}) {
            for (const std::size_t word : {2u, 4u, 8u}) {
                const int messages = bytes < 5000 ? 64 : 8;
                ASSERT_NO_FATAL_FAILURE(expect_whole_words(target(offset, bytes), bytes, word, messages,
                                                           [&](std::uint8_t g) { return write(g, offset, bytes); }));
            }
        }
    }
}

TEST_P(whole_words, are_what_a_receive_places) {
    int turn = 0;
    for (const std::size_t bytes : {2u, 3u, 4u, 7u, 8u, 15u, 23u, 48u, 49u, 64u, 100u, 4096u, 65536u}) {
        for (std::size_t offset = 0; offset < 8; ++offset) {
            const std::size_t word = std::size_t{2} << turn++ % 3;
            ASSERT_NO_FATAL_FAILURE(expect_whole_words(target(offset, bytes), bytes, word, bytes < 5000 ? 12 : 4,
                                                       [&](std::uint8_t g) { return send(g, offset, bytes); }));
        }
    }
}

TEST_P(whole_words, are_stored_from_a_gather_list_whose_pieces_are_not_words) {
    constexpr std::size_t bytes = 24;
    std::vector<vinic::segment> list;
    for (std::size_t i = 0; i < bytes; ++i) {
        list.push_back(linked.left.at(i * 67, 1));  // from everywhere
    }
    for (const std::size_t word : {2u, 4u, 8u}) {
        for (const std::size_t offset : {0u, 1u, 4u}) {
            ASSERT_NO_FATAL_FAILURE(expect_whole_words(target(offset, bytes), bytes, word, 40, [&](std::uint8_t g) {
                std::memset(linked.left.bytes(0, bytes * 67).data(), g, bytes * 67);
                return linked.left.vi.post_write(list, linked.right.remote(base + offset), g) == errc::ok &&
                       next(linked.left.sends).status == vinic::status::success;
            }));
        }
    }
}

TEST_P(whole_words, are_what_a_read_brings) {
    if (GetParam() == vinic::reliability::unreliable) {
        GTEST_SKIP() << "reads are for reliable VIs";
    }
    for (const std::size_t bytes : {4u, 13u, 100u, 5000u}) {
        for (const std::size_t offset : {0u, 3u, 4u}) {
            ASSERT_NO_FATAL_FAILURE(expect_whole_words(target(offset, bytes), bytes, 4, 20, [&](std::uint8_t g) {
                std::memset(linked.left.bytes(1, bytes).data(), g, bytes);
                return linked.right.vi.post_read(linked.right.at(base + offset, bytes), linked.left.remote(1), g) ==
                           errc::ok &&
                       next(linked.right.sends).status == vinic::status::success;
            }));
        }
    }
}

INSTANTIATE_TEST_SUITE_P(levels, whole_words, testing::ValuesIn(all_levels), level_name);

TEST(whole_words, are_stored_from_memory_that_only_the_kernel_reaches) {
    // The source's backing is the sender's affair; the target is the device's own memory.
    endpoint_options from;
    from.kind = memory_kind::shared;
    from.memory_bytes = 1 << 20;
    endpoint_options to;
    to.memory_bytes = 1 << 20;
    pair linked(from, to, handles::two);
    for (const std::size_t bytes : {4u, 12u, 4096u, 70001u}) {
        std::byte* const at = linked.right.bytes(8192, bytes).data();
        std::memset(at, 0, bytes);
        ASSERT_NO_FATAL_FAILURE(expect_whole_words(at, bytes, 4, bytes < 5000 ? 64 : 8, [&](std::uint8_t g) {
            std::memset(linked.left.bytes(2, bytes).data(), g, bytes);
            return linked.left.vi.post_write(linked.left.at(2, bytes), linked.right.remote(8192), g) == errc::ok &&
                   next(linked.left.sends).status == vinic::status::success;
        }));
    }
}

}  // namespace
}  // namespace conformance
