// SPDX-License-Identifier: Apache-2.0
//
// torture_window_test.cc -- what a client does with the window it maps, and what the others must not notice.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <random>

#include "torture_support.hpp"

namespace torture {
namespace {

namespace abi = vinic::abi;

constexpr std::uint32_t vf0 = 1;

/// Two who exchange messages over functions of their own all the while, and must see nothing.
class victims {
public:
    explicit victims(const daemon& d) : crowd_(board_, {one(d, "vf1")}, {one(d, "vf2")}) {
        EXPECT_TRUE(board_.advances(2, 10)) << board_->failure;
    }
    ~victims() {
        EXPECT_TRUE(board_.advances(2, 10)) << board_->failure;
        crowd_.end();
        EXPECT_STREQ(board_->failure, "");
        EXPECT_EQ(board_->party[0].opened.load(), 1u);
    }
    victims(const victims&) = delete;
    victims& operator=(const victims&) = delete;
    [[nodiscard]] bool are_well() const { return board_->failures.load() == 0; }
    /// So that what was done meanwhile was done beside traffic.
    void go_on() { EXPECT_TRUE(board_.advances(2, 50)) << board_->failure; }

private:
    static party_options one(const daemon& d, const std::string& function) {
        party_options o;
        o.address = d.address(function);
        o.name = "victim";
        o.must_not_break = true;
        return o;
    }
    shared_board board_;
    crowd crowd_;
};

/// After an attack the function is as new for whoever comes next.
void expect_usable(const daemon& d, const char* function) {
    EXPECT_TRUE(multi::comes_true([&] { return d.number(function, "contexts") == 0; })) << "the attackers have gone";
    EXPECT_EQ(d.number(function, "vis"), 0u);
    EXPECT_EQ(d.number(function, "regions"), 0u);
    const auto opened = vinic::nic::open(d.address(function));
    EXPECT_TRUE(opened) << opened.error().message();
}

TEST(window, is_sealed_so_that_nobody_can_take_it_from_the_device) {
    daemon d;
    const wire_client c(d, vf0, 0);
    constexpr int exec_seal = 0x20;  // of kernels that know it
    EXPECT_EQ(::fcntl(c.window(), F_GET_SEALS) & ~exec_seal, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    for (const std::uint64_t size : {std::uint64_t{0}, c.bytes() / 2, c.bytes() - 1, c.bytes() + 1, 2 * c.bytes()}) {
        EXPECT_EQ(::ftruncate(c.window(), static_cast<off_t>(size)), -1) << size;
        EXPECT_EQ(errno, EPERM) << size;
    }
    for (const int seal : {F_SEAL_WRITE, F_SEAL_FUTURE_WRITE}) {
        EXPECT_EQ(::fcntl(c.window(), F_ADD_SEALS, seal), -1);
        EXPECT_EQ(errno, EPERM);
    }
    // Opened anew it is another description of the same object.
    const std::string path = "/proc/self/fd/" + std::to_string(c.window());
    const vinic::os::unique_fd again(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(again);
    EXPECT_EQ(::fcntl(again.get(), F_ADD_SEALS, F_SEAL_WRITE), -1);
    EXPECT_EQ(::ftruncate(again.get(), 4096), -1);
    const vinic::os::unique_fd cut(::open(path.c_str(), O_RDWR | O_TRUNC | O_CLOEXEC));
    EXPECT_FALSE(cut) << "O_TRUNC is a way to shrink, too";
}

/// Holes in the window read as zeroes to the device; a mapping that a client has given up is the client's alone.
TEST(window, with_holes_or_unmapped_or_read_only_is_its_clients_loss) {
    daemon d;
    {
        victims v(d);
        multi::process attacker([&](multi::channel&) {
            multi::endpoint busy(multi::must(vinic::nic::open(d.address("vf0"))));
            multi::endpoint peer(multi::must(vinic::nic::open(d.address("vf0"))));
            auto listener = multi::must(peer.nic.listen("holes"));
            std::jthread accepts([&] { peer.accept_from(listener); });
            busy.connect_to("holes");
            accepts.join();
            for (int i = 0; i < 16; ++i) {
                (void)peer.vi.post_receive(peer.at(0, 4096), 1);
                (void)busy.vi.post_send(busy.at(0, 4096), 1);
            }
            wire_client raw(d, vf0, 40);
            for (std::uint64_t at = 0; at + (16 << 20) <= raw.bytes(); at += 16 << 20) {
                (void)::madvise(raw.at<std::byte>(at), 16 << 20, MADV_REMOVE);
            }
            (void)::mprotect(raw.at<std::byte>(0), raw.bytes() / 2, PROT_READ);
            raw.kick();
            (void)::munmap(raw.at<std::byte>(0), raw.bytes());
            std::this_thread::sleep_for(50ms);
            ::_exit(0);  // its library stands in the ruins
        });
        EXPECT_EQ(attacker.exit_code(), 0);
        v.go_on();
        EXPECT_TRUE(d.runs());
    }
    expect_usable(d, "vf0");
}

std::uint64_t nasty(std::mt19937_64& r) {
    constexpr std::uint64_t edges[] = {0,     1,       63,       64,          255,        4095,
                                       65535, 1 << 20, 1u << 31, 0xffff'ffff, 1ULL << 63, ~0ULL};
    return r() % 3 == 0 ? r() : edges[r() % std::size(edges)] + r() % 3 - 1;
}

/// Words of the control area and the tables, where the device and the siblings look.
void scribble(const wire_client& c, std::mt19937_64& r) {
    const std::uint64_t ranges[][2] = {
        {0, 1 << 16},                                                              // header and marks
        {abi::identity_offset, abi::page_size},                                    // identity page
        {abi::contexts_offset, abi::context_count * abi::context_bytes},           // mailboxes, doorbells
        {abi::processes_offset, abi::context_count * sizeof(abi::process_entry)},  // process entries
        {abi::cqs_offset, 1 << 14},
        {abi::vis_offset, 1 << 14},
        {abi::names_offset, 1 << 14},
        {abi::requests_offset, 1 << 14},
        {abi::first_chunk * abi::chunk_size, 1 << 22},  // extents, rings, buffers
    };
    const auto& range = ranges[r() % std::size(ranges)];
    const std::uint64_t words = std::min<std::uint64_t>(range[1] / 8, 1 + r() % 2048);
    auto* at = c.at<std::uint64_t>(range[0] + r() % (range[1] / 8 - words + 1) * 8);
    const bool same = r() % 2 == 0;
    const std::uint64_t value = nasty(r);
    for (std::uint64_t i = 0; i < words; ++i) {
        std::atomic_ref(at[i]).store(same ? value : nasty(r), std::memory_order_relaxed);
    }
    c.kick();
}

TEST(window, that_is_scribbled_over_beside_siblings_hurts_no_other_function) {
    daemon d(daemon::socket_is::its_own, {"--violations", "0"});
    const std::uint64_t seed = seed_of_this_run();
    {
        victims v(d);
        const auto end = steady::now() + (is_long() ? 300s : 3s);
        int rounds = 0;
        for (; steady::now() < end && v.are_well(); ++rounds) {
            // Siblings share the attacker's function; what becomes of them is theirs, so they are killed at the end.
            shared_board harmed;
            const auto sibling = [&](bool asks) {
                return [&, asks](multi::channel&) {
                    party_options o;
                    o.address = d.address("vf0");
                    o.name = "sibling";
                    asks ? be_asker(*harmed, o) : be_answerer(*harmed, o);
                };
            };
            multi::process attacker([&](multi::channel& parent) {
                std::mt19937_64 r(seed + static_cast<std::uint64_t>(rounds));
                std::vector<std::unique_ptr<wire_client>> contexts;
                contexts.push_back(std::make_unique<wire_client>(d, vf0, 60));
                contexts.push_back(std::make_unique<wire_client>(d, vf0, 61));
                parent.say("is in");
                parent.hear("begin");
                for (int i = 0; i < 3000; ++i) {
                    scribble(*contexts[r() % 2], r);
                    if (r() % 8 == 0) {
                        std::this_thread::sleep_for(std::chrono::microseconds(r() % 200));
                    }
                }
            });
            attacker.hear("is in");  // alone: of several that attach at once all but one have to attach again
            multi::process first(sibling(true));
            multi::process second(sibling(false));
            attacker.say("begin");
            EXPECT_EQ(attacker.exit_code(), 0);
            first.kill_now();
            second.kill_now();
            ASSERT_TRUE(d.runs()) << d.log();
            v.go_on();
        }
        std::cout << rounds << " rounds\n";
    }
    expect_usable(d, "vf0");
    EXPECT_TRUE(d.runs());
}

/// Whose process entry says another process number: the device believes what the kernel told it.
TEST(window, whose_process_entry_names_another_process_gives_no_way_into_that_one) {
    daemon d;
    static std::array<std::byte, 4096> secret;
    multi::fill(secret, 42);  // at the same address in the child, where it is overwritten
    multi::process attacker([&](multi::channel&) {
        std::ranges::fill(secret, std::byte{7});
        multi::endpoint me(multi::must(vinic::nic::open(d.address("vf0"))));
        multi::endpoint peer(multi::must(vinic::nic::open(d.address("vf0"))));
        auto listener = multi::must(peer.nic.listen("spy"));
        std::jthread accepts([&] { peer.accept_from(listener); });
        me.connect_to("spy");
        accepts.join();
        const auto foreign = multi::must(peer.domain.register_address_space(vinic::access::all));
        wire_client raw(d, vf0, 50);
        const auto parent = static_cast<std::uint32_t>(::getppid());
        auto* entries = raw.at<std::uint32_t>(abi::processes_offset);
        const auto mine = static_cast<std::uint32_t>(::getpid());
        std::uint32_t found = 0;
        for (std::size_t i = 0; i < abi::context_count * sizeof(abi::process_entry) / 4; ++i) {
            if (std::atomic_ref(entries[i]).load() == mine) {
                std::atomic_ref(entries[i]).store(parent);
                ++found;
            }
        }
        multi::require(found != 0, "process entries have the process' number");
        const vinic::remote_address there{reinterpret_cast<std::uint64_t>(secret.data()), foreign.key()};
        multi::must(me.vi.post_read(me.at(0, secret.size()), there, 1));
        const vinic::completion c = me.next();
        if (c.status == vinic::status::success) {
            const auto got = me.bytes(0, secret.size());
            multi::require(std::ranges::all_of(got, [](std::byte b) { return b == std::byte{7}; }),
                           "what is read is the reader's own memory");
        }
    });
    EXPECT_EQ(attacker.exit_code(), 0);
    EXPECT_TRUE(d.runs());
}

TEST(mailbox, hears_once_of_a_listener_that_it_refuses) {
    daemon d;
    auto nic = multi::must(vinic::nic::open(d.address("vf0")));
    auto other = multi::must(vinic::nic::open(d.address("vf1")));
    const std::uint64_t refused = d.number("vf0", "mailbox_refusals");
    {
        auto listener = multi::must(other.listen("taken"));
        EXPECT_EQ(multi::code_of(nic.listen("taken")), vinic::errc::name_in_use);
        EXPECT_EQ(d.number("vf0", "mailbox_refusals"), refused + 1) << "what never listened does not cease to";
    }
    {
        auto listener = multi::must(nic.listen("taken"));
    }  // the twin: that one ceases, and its name is free
    EXPECT_EQ(d.number("vf0", "mailbox_refusals"), refused + 1);
    EXPECT_EQ(multi::code_of(other.listen("taken")), vinic::errc::ok);
}

TEST(mailbox, that_is_replayed_or_left_out_executes_nothing_twice) {
    daemon d;
    wire_client c(d, vf0, 0);
    const std::uint64_t at = abi::first_chunk * abi::chunk_size;
    const std::uint32_t first = c.mailbox().request.sequence.load_relaxed();
    constexpr std::uint64_t key = 5 << 8 | 1;
    ASSERT_TRUE(c.call(first + 1, abi::verb::register_region, {key, 1, 15, at, 4096, at}));
    EXPECT_EQ(c.mailbox().response.code, 0u);
    EXPECT_EQ(d.number("vf0", "regions"), 1u);
    // The same once more, one that is in the past, one from the future: none of them is a request.
    const std::uint64_t refused = d.number("vf0", "mailbox_refusals");
    const auto served = [&](std::uint32_t sequence, std::uint64_t k) {
        return c.call(sequence, abi::verb::register_region, {k, 1, 15, at, 4096, at}, 100ms);
    };
    EXPECT_TRUE(served(first + 1, key + 256)) << "its old answer is still there";
    EXPECT_FALSE(served(first, key + 256));
    EXPECT_FALSE(served(first + 3, key + 256));
    EXPECT_FALSE(served(first + 0x8000'0000u, key + 256));
    EXPECT_EQ(d.number("vf0", "regions"), 1u);
    EXPECT_GE(d.number("vf0", "mailbox_refusals"), refused + 2) << "0, which it was at the beginning, need not count";
    // And the right one is served as if nothing had been.
    EXPECT_TRUE(c.call(first + 2, abi::verb::deregister_region, {key}));
    EXPECT_EQ(d.number("vf0", "regions"), 0u);
    // A client that overwrites the device's answer harms itself.
    c.mailbox().response.sequence.store_release(77);
    EXPECT_TRUE(c.call(first + 3, abi::verb::register_region, {key, 1, 15, at, 4096, at}));
    EXPECT_EQ(d.number("vf0", "regions"), 1u);
}

}  // namespace
}  // namespace torture
