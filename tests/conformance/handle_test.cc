// SPDX-License-Identifier: Apache-2.0
//
// handle_test.cc -- the directory of names, empty and moved-from handles, lifetimes, and the words of the library.
#include <algorithm>
#include <regex>
#include <set>

#include "fixture.hpp"

namespace conformance {
namespace {

vinic::address below(const vinic::address& name, std::size_t bytes, std::uint32_t seed) {
    const auto discriminator = pattern(bytes, seed);
    return {name.name, discriminator};
}

bool lists(const std::vector<vinic::address>& names, const vinic::address& wanted) {
    return std::find(names.begin(), names.end(), wanted) != names.end();
}

TEST(names, are_listed_while_their_listener_lives) {
    auto nic = open_device();
    const auto name = fresh_address();
    EXPECT_FALSE(lists(must(nic.names()), name));
    {
        const auto listener = must(nic.listen(name));
        EXPECT_TRUE(lists(must(nic.names()), name));
    }
    EXPECT_FALSE(lists(must(nic.names()), name));
    EXPECT_EQ(code_of(nic.listen(name)), vinic::errc::ok) << "the name is free again";
}

TEST(names, with_different_discriminators_are_different_names) {
    auto nic = open_device();
    const auto bare = fresh_address();
    std::vector<vinic::listener> listeners;
    for (const unsigned bytes : {0u, 1u, 2u, 64u}) {
        const auto name = below(bare, bytes, 4);
        listeners.push_back(must(nic.listen(name)));
        EXPECT_TRUE(lists(must(nic.names()), name)) << bytes;
        EXPECT_EQ(code_of(nic.listen(name)), vinic::errc::name_in_use) << bytes;
    }
    EXPECT_EQ(code_of(nic.listen(below(bare, 1, 5))), vinic::errc::ok) << "same length, other content";
}

TEST(names, may_be_63_bytes_with_a_discriminator_of_64) {
    auto nic = open_device();
    std::string name = unique_name("long");
    name.resize(63, 'n');
    const auto listener = must(nic.listen(below(vinic::address(std::string_view(name)), 64, 1)));
    EXPECT_TRUE(listener);
}

TEST(names, that_are_empty_or_too_long_are_refused) {
    auto nic = open_device();
    const std::string long_name(64, 'n');
    EXPECT_EQ(code_of(nic.listen("")), vinic::errc::invalid_argument);
    EXPECT_EQ(code_of(nic.listen(std::string_view(long_name))), vinic::errc::invalid_argument);
    EXPECT_EQ(code_of(nic.listen(below(fresh_address(), 65, 1))), vinic::errc::invalid_argument);
    endpoint client(nic, {});
    EXPECT_EQ(code_of(client.vi.connect("", patience)), vinic::errc::invalid_argument);
    EXPECT_EQ(code_of(client.vi.connect(std::string_view(long_name), patience)), vinic::errc::invalid_argument);
    EXPECT_EQ(code_of(client.vi.connect(below(fresh_address(), 65, 1), patience)), vinic::errc::invalid_argument);
    EXPECT_EQ(client.vi.state(), vinic::vi_state::idle);
}

TEST(names, are_freed_by_every_listener_however_many_there_were) {
    auto nic = open_device();
    const auto before = must(nic.names()).size();
    for (int round = 0; round < 3; ++round) {
        std::vector<vinic::listener> listeners;
        for (int i = 0; i < 200; ++i) listeners.push_back(must(nic.listen(fresh_address("many"))));
        EXPECT_EQ(must(nic.names()).size(), before + 200);
    }
    EXPECT_EQ(must(nic.names()).size(), before);
}

TEST(empty_handles, are_false_and_every_set_up_call_says_invalid_handle) {
    vinic::nic nic;
    vinic::domain domain;
    vinic::region region;
    vinic::completion_queue cq;
    vinic::listener listener;
    vinic::connection_request request;
    vinic::virtual_interface vi;
    vinic::buffer buffer;
    EXPECT_FALSE(nic || domain || region || cq || listener || request || vi || buffer);
    std::byte bytes[16] = {};
    const auto invalid = vinic::errc::invalid_handle;
    EXPECT_EQ(code_of(nic.create_domain()), invalid);
    EXPECT_EQ(code_of(nic.create_completion_queue()), invalid);
    EXPECT_EQ(code_of(nic.allocate(4096)), invalid);
    EXPECT_EQ(code_of(nic.listen("name")), invalid);
    EXPECT_EQ(code_of(nic.resolve("name")), invalid);
    EXPECT_EQ(code_of(nic.names()), invalid);
    EXPECT_EQ(code_of(domain.register_memory(bytes, vinic::access::all)), invalid);
    EXPECT_EQ(code_of(domain.register_address_space(vinic::access::all)), invalid);
    EXPECT_EQ(code_of(domain.create_vi({})), invalid);
    EXPECT_EQ(code_of(domain.close()), invalid);
    EXPECT_EQ(code_of(region.close()), invalid);
    EXPECT_EQ(code_of(listener.wait(1ms)), invalid);
    EXPECT_EQ(code_of(request.accept(vi)), invalid);
    EXPECT_EQ(code_of(request.reject()), invalid);
    EXPECT_EQ(buffer.size(), 0u);
}

TEST(empty_handles, of_queues_post_and_poll_nothing) {
    vinic::completion_queue cq;
    vinic::virtual_interface vi;
    const auto invalid = vinic::errc::invalid_handle;
    vinic::completion done[2];
    EXPECT_EQ(cq.poll(done), 0u);
    EXPECT_EQ(code_of(cq.wait(done, 1ms)), invalid);
    EXPECT_EQ(code_of(cq.fd()), invalid);
    EXPECT_EQ(code_of(cq.arm()), invalid);
    EXPECT_EQ(code_of(cq.resize(4)), invalid);
    EXPECT_EQ(code_of(cq.close()), invalid);
    const vinic::segment nowhere;
    EXPECT_EQ(vi.post_receive(nowhere, 0), invalid);
    EXPECT_EQ(vi.post_send(nowhere, 0), invalid);
    EXPECT_EQ(vi.post_write(nowhere, {}, 0), invalid);
    EXPECT_EQ(vi.post_read(nowhere, {}, 0), invalid);
    EXPECT_EQ(vi.post_fetch_add(nowhere, {}, 1, 0), invalid);
    EXPECT_EQ(vi.post_compare_swap(nowhere, {}, 1, 2, 0), invalid);
    EXPECT_EQ(vi.send_to({}, {}, 0), invalid);
    EXPECT_EQ(code_of(vi.connect("name", 1ms)), invalid);
    EXPECT_EQ(code_of(vi.connect_peer("a", "b", 1ms)), invalid);
    EXPECT_EQ(code_of(vi.disconnect()), invalid);
    EXPECT_EQ(code_of(vi.set_attributes({})), invalid);
    EXPECT_EQ(code_of(vi.bind("name")), invalid);
    EXPECT_EQ(code_of(vi.close()), invalid);
}

TEST(handles, that_were_moved_from_are_empty_and_the_new_one_works) {
    pair linked;
    vinic::virtual_interface moved = std::move(linked.left.vi);
    EXPECT_FALSE(linked.left.vi);  // NOLINT(bugprone-use-after-move): the state after a move is what is tested
    EXPECT_EQ(linked.left.vi.post_send(linked.left.at(0, 8), 1), vinic::errc::invalid_handle);
    ASSERT_EQ(linked.right.vi.post_receive(linked.right.at(0, 8), 1), vinic::errc::ok);
    ASSERT_EQ(moved.post_send(linked.left.at(0, 8), 2), vinic::errc::ok);
    EXPECT_EQ(next(linked.left.sends).status, vinic::status::success);
    vinic::region memory = std::move(linked.right.memory);
    EXPECT_FALSE(linked.right.memory);  // NOLINT(bugprone-use-after-move): as above
    EXPECT_TRUE(memory);
}

TEST(handles, may_be_destroyed_in_any_order) {
    // The VI keeps the device, the domain and the queues alive that it stands on.
    std::optional<vinic::nic> nic = open_device();
    std::optional<vinic::domain> domain = must(nic->create_domain());
    std::optional<vinic::completion_queue> cq = must(nic->create_completion_queue());
    vinic::vi_attributes attributes;
    attributes.send_cq = &*cq;
    attributes.receive_cq = &*cq;
    auto left = must(domain->create_vi(attributes));
    auto right = must(domain->create_vi(attributes));
    auto buffer = must(nic->allocate(4096));
    auto region = must(domain->register_memory(buffer.bytes(), vinic::access::all));
    connect(*nic, left, right);
    nic.reset();
    domain.reset();
    ASSERT_EQ(right.post_receive({region, 0, 64}, 1), vinic::errc::ok);
    ASSERT_EQ(left.post_send({region, 1024, 64}, 2), vinic::errc::ok);
    EXPECT_EQ(next(*cq, 2).back().status, vinic::status::success);
    cq.reset();
    EXPECT_EQ(left.state(), vinic::vi_state::connected);
}

TEST(words, have_a_name_and_a_sentence_for_every_code) {
    std::set<std::string> names;
    for (std::int32_t i = 0; i <= 23; ++i) {
        const auto code = static_cast<vinic::errc>(i);
        ASSERT_NE(vinic::name(code), nullptr);
        names.insert(vinic::name(code));
        EXPECT_GT(std::string(vinic::describe(code)).size(), i == 0 ? 1u : 10u) << i;
    }
    EXPECT_EQ(names.size(), 24u) << "two codes share a name";
    EXPECT_STREQ(vinic::name(vinic::errc::no_listener), "no_listener");
    EXPECT_NE(vinic::name(static_cast<vinic::errc>(1000)), nullptr);
    EXPECT_NE(vinic::describe(static_cast<vinic::errc>(-1)), nullptr);
}

TEST(words, have_a_name_for_every_status_operation_and_state) {
    std::set<std::string> names;
    for (std::size_t i = 0; i < vinic::status_count; ++i) names.insert(vinic::name(static_cast<vinic::status>(i)));
    EXPECT_EQ(names.size(), vinic::status_count);
    names.clear();
    for (std::uint8_t i = 0; i <= 6; ++i) names.insert(vinic::name(static_cast<vinic::opcode>(i)));
    for (std::uint8_t i = 0; i <= 3; ++i) names.insert(vinic::name(static_cast<vinic::backing>(i)));
    for (std::uint8_t i = 0; i <= 2; ++i) names.insert(vinic::name(static_cast<vinic::reliability>(i)));
    for (std::uint8_t i = 1; i <= 4; ++i) names.insert(vinic::name(static_cast<vinic::vi_state>(i)));
    EXPECT_EQ(names.size(), 7u + 4 + 3 + 4);
    EXPECT_NE(vinic::name(static_cast<vinic::status>(200)), nullptr);
}

TEST(words, of_an_error_say_what_was_being_done_and_the_cure) {
    const auto failed = vinic::nic::open("nonsense");
    ASSERT_FALSE(failed);
    const std::string message = failed.error().message();
    EXPECT_NE(message.find(failed.error().doing), std::string::npos) << message;
    EXPECT_NE(message.find("nonsense"), std::string::npos) << message;
    EXPECT_NE(message.find(vinic::describe(failed.error().code)), std::string::npos) << message;
}

TEST(words, of_the_version_are_three_numbers) {
    EXPECT_TRUE(std::regex_match(vinic::version(), std::regex("[0-9]+\\.[0-9]+\\.[0-9]+")));
}

}  // namespace
}  // namespace conformance
