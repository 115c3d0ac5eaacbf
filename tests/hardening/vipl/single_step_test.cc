// SPDX-License-Identifier: Apache-2.0
//
// single_step_test.cc -- the engine one instruction at a time: after each of them every aligned word of the target is
// old or new, and what is new reaches from its start to some point.
//
//   The processor's trap flag stops the thread after every instruction, and after every turn of a `rep movsb`.  The
//   handler compares the target with what was there and with what is to come: old bytes are 0, new ones 0xff.
//
//   The stores of an x86 processor become visible in the order of the program, so what holds after each instruction is
//   what any other processor can see; one store that is aligned to its size is seen as a whole.
#include <gtest/gtest.h>
#include <signal.h>
#include <ucontext.h>

#include <chrono>
#include <cstring>
#include <vector>
#include <vinic/vinic.hpp>

#include "../../sanitized.hpp"

namespace {

using namespace std::chrono_literals;
using vinic::errc;
using vinic::segment;

/// What the handler looks at, and what it found.
struct watch {
    const volatile unsigned char* target = nullptr;
    std::size_t bytes = 0;
    std::uint64_t instructions = 0;
    std::size_t states = 0;  ///< how many different ones were seen
    std::size_t last_new = 0;
    const char* fault = nullptr;
};
watch watched;

void look() noexcept {
    std::size_t fresh = 0;
    while (fresh < watched.bytes && watched.target[fresh] != 0) {
        ++fresh;
    }
    for (std::size_t i = fresh; i < watched.bytes; ++i) {
        if (watched.target[i] != 0) {
            watched.fault = "a byte is new before one below it";
        }
    }
    const std::uintptr_t edge = reinterpret_cast<std::uintptr_t>(watched.target) + fresh;
    const std::uintptr_t begin = reinterpret_cast<std::uintptr_t>(watched.target);
    for (const std::uintptr_t word : {2u, 4u, 8u}) {
        const std::uintptr_t at = edge / word * word;
        if (at != edge && at >= begin && at + word <= begin + watched.bytes) {
            watched.fault = "a word is half written";
        }
    }
    watched.states += fresh != watched.last_new ? 1 : 0;
    watched.last_new = fresh;
}

constexpr long trap_flag = 0x100;

/// int3 switches stepping on and off; what lies between traps after each instruction.
void on_trap(int /*signal*/, siginfo_t* info, void* context) {
    auto& registers = static_cast<ucontext_t*>(context)->uc_mcontext;
    if (info->si_code == SI_KERNEL) {
        registers.gregs[REG_EFL] ^= trap_flag;
    }
    ++watched.instructions;
    look();
}

/// Runs `work` one instruction at a time, watching `bytes` at `target`, which are 0 before.
template <class Work>
testing::AssertionResult stepped(const std::byte* target, std::size_t bytes, Work work) {
    struct sigaction step{};
    step.sa_sigaction = on_trap;
    step.sa_flags = SA_SIGINFO;
    struct sigaction before{};
    watched = {};
    watched.target = reinterpret_cast<const volatile unsigned char*>(target);
    watched.bytes = bytes;
    ::sigaction(SIGTRAP, &step, &before);
    asm volatile("int3" ::: "memory");
    work();
    asm volatile("int3" ::: "memory");
    ::sigaction(SIGTRAP, &before, nullptr);
    if (watched.fault != nullptr) {
        return testing::AssertionFailure() << watched.fault;
    }
    if (watched.last_new != bytes) {
        return testing::AssertionFailure() << watched.last_new << " bytes of " << bytes << " arrived";
    }
    if (watched.instructions < 20) {
        return testing::AssertionFailure() << "nothing was stepped through";
    }
    return testing::AssertionSuccess();
}

/// Two connected VIs of this process, and memory that both reach.
class stepping : public testing::TestWithParam<vinic::reliability> {
protected:
    static constexpr std::size_t target_at = 4096;
    static constexpr std::size_t source_at = 64 << 10;
    static constexpr std::size_t memory_bytes = 128 << 10;

    void SetUp() override {
        if (tests::sanitized)
            GTEST_SKIP() << "the sanitizer's code would be stepped through";
        const auto level = GetParam();
        const vinic::vi_attributes attributes{
            .reliability = level, .send_cq = &cq, .receive_cq = &cq, .segments_max = 64};
        left = domain.create_vi(attributes).value();
        right = domain.create_vi(attributes).value();
        left.connect_peer("step-left", "step-right", 30s).value();
        right.connect_peer("step-right", "step-left", 30s).value();
        (void)left.connect_peer_wait().value();
        (void)right.connect_peer_wait().value();
        std::memset(buffer.data(), 0xff, memory_bytes);
    }
    /// Zeroed, to be filled.
    std::byte* target(std::size_t offset, std::size_t bytes) {
        std::byte* at = buffer.data() + target_at + offset;
        std::memset(at, 0, bytes);
        return at;
    }
    [[nodiscard]] segment at(std::size_t offset, std::size_t bytes) const {
        return {region, offset, static_cast<std::uint32_t>(bytes)};
    }
    /// `bytes` of the source in segments of these lengths, over and over.
    [[nodiscard]] std::vector<segment> gathered(std::size_t bytes, std::initializer_list<std::size_t> lengths) const {
        std::vector<segment> list;
        for (std::size_t done = 0; done < bytes;) {
            for (const std::size_t length : lengths) {
                const std::size_t n = std::min(length, bytes - done);
                if (n != 0) {
                    list.push_back(at(source_at + list.size() * 67, n));
                }
                done += n;
            }
        }
        return list;
    }
    /// Polls until the message is there, which it is.
    void receive() {
        vinic::completion done{};
        while (cq.poll({&done, 1}) == 0 || done.opcode != vinic::opcode::receive) {
        }
    }
    void drain() {
        vinic::completion done[4];
        while (cq.poll(done) != 0) {
        }
    }

    vinic::nic nic = vinic::nic::open("shm:step-" + std::to_string(::getpid())).value();
    vinic::domain domain = nic.create_domain().value();
    vinic::buffer buffer = nic.allocate(memory_bytes).value();
    vinic::region region = domain.register_memory(buffer.bytes(), vinic::access::all).value();
    vinic::completion_queue cq = nic.create_completion_queue().value();
    vinic::virtual_interface left;
    vinic::virtual_interface right;
};

/// Lengths and alignments that differ in their steps; copy_steps_test.cc has all of them.
template <class Body>
void for_all(Body body) {
    for (std::size_t bytes = 1; bytes <= 64; bytes += bytes < 17 ? 1 : bytes < 47 ? 6 : 1) {
        for (std::size_t offset = 0; offset < 8; ++offset) {
            body(offset, bytes);
        }
    }
    for (const std::size_t bytes : {65u, 129u, 1000u, 4096u}) {
        for (const std::size_t offset : {0u, 1u, 4u, 24u, 60u}) {
            body(offset, bytes);
        }
    }
}

TEST_P(stepping, through_a_write_shows_whole_words_in_ascending_order) {
    for_all([&](std::size_t offset, std::size_t bytes) {
        const std::byte* to = target(offset, bytes);
        ASSERT_TRUE(stepped(
            to, bytes,
            [&] { (void)left.post_write(at(source_at + bytes % 9, bytes), region.remote(target_at + offset), 1); }))
            << bytes << " bytes to " << offset;
        drain();
    });
}

TEST_P(stepping, through_a_read_shows_whole_words_in_ascending_order) {
    for_all([&](std::size_t offset, std::size_t bytes) {
        const std::byte* to = target(offset, bytes);
        ASSERT_TRUE(stepped(
            to, bytes,
            [&] { (void)left.post_read(at(target_at + offset, bytes), region.remote(source_at + bytes % 9), 1); }))
            << bytes << " bytes to " << offset;
        drain();
    });
}

TEST_P(stepping, through_a_message_from_post_to_poll_shows_whole_words_in_ascending_order) {
    for_all([&](std::size_t offset, std::size_t bytes) {
        const std::byte* to = target(offset, bytes);
        ASSERT_EQ(right.post_receive(at(target_at + offset, bytes), 2), errc::ok);
        ASSERT_TRUE(stepped(to, bytes,
                            [&] {
                                (void)left.post_send(at(source_at + bytes % 9, bytes), 1);
                                receive();
                            }))
            << bytes << " bytes to " << offset;
        drain();
    });
}

TEST_P(stepping, through_gather_lists_of_odd_pieces_shows_whole_words) {
    for (const std::size_t bytes : {1u, 2u, 3u, 4u, 5u, 8u, 9u, 16u, 23u, 57u}) {
        for (const std::size_t offset : {0u, 1u, 4u, 7u}) {
            for (const auto& pieces : {gathered(bytes, {1}), gathered(bytes, {3, 1, 7, 2}), gathered(bytes, {13})}) {
                const std::byte* to = target(offset, bytes);
                ASSERT_TRUE(
                    stepped(to, bytes, [&] { (void)left.post_write(pieces, region.remote(target_at + offset), 1); }))
                    << "a write of " << bytes << " bytes to " << offset;
                drain();
                (void)target(offset, bytes);
                ASSERT_EQ(right.post_receive(at(target_at + offset, bytes), 2), errc::ok);
                ASSERT_TRUE(stepped(to, bytes,
                                    [&] {
                                        (void)left.post_send(pieces, 1);
                                        receive();
                                    }))
                    << "a message of " << bytes << " bytes to " << offset;
                drain();
            }
        }
    }
}

TEST_P(stepping, through_a_write_longer_than_a_piece_of_the_engine_shows_whole_words) {
    // The engine looks at the connection every 256 KiB, from wherever the write begins: in the middle of a word.
    constexpr std::size_t bytes = (256 << 10) + 64;
    vinic::buffer big = nic.allocate(2 * bytes + 4096).value();
    vinic::region all = domain.register_memory(big.bytes(), vinic::access::all).value();
    std::memset(big.data(), 0xff, big.bytes().size());
    std::byte* to = big.data() + 3;
    std::memset(to, 0, bytes);
    const segment halves[] = {{all, bytes + 128, 8}, {all, bytes + 1024, static_cast<std::uint32_t>(bytes - 8)}};
    // Only the last 128 bytes are watched, which are the ones about the seam; the bytes before are many.
    ASSERT_TRUE(stepped(to + bytes - 128, 128, [&] { (void)left.post_write(halves, all.remote(3), 1); }));
    drain();
}

INSTANTIATE_TEST_SUITE_P(at, stepping, testing::Values(vinic::reliability::delivery, vinic::reliability::reception),
                         [](const auto& level) { return std::string(vinic::name(level.param)); });

TEST_P(stepping, through_an_atomic_operation_shows_its_result_whole) {
    for (std::size_t offset = 0; offset < 8; ++offset) {
        const std::byte* to = target(offset, 8);
        ASSERT_TRUE(stepped(to, 8, [&] {
            (void)left.post_fetch_add(at(target_at + offset, 8), region.remote(source_at), 0, 1);
        })) << offset;
        drain();
    }
}

}  // namespace
