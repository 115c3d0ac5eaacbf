// SPDX-License-Identifier: Apache-2.0
//
// connect_test.cc -- clients and servers.
#include <future>
#include <memory>

#include "fixture.hpp"

namespace vipl_test {
namespace {

/// A request that waits for an answer, from a client in a thread of its own.
class asking {
public:
    asking(endpoint& client, nic& server, const std::string& discriminator, VIP_ULONG timeout_ms = patience_ms)
        : from(client.device.address("from-" + discriminator)), to(server.address(discriminator)) {
        answer = std::async(std::launch::async, [this, &client, timeout_ms] {
            VIP_RETURN r = VIP_NO_MATCH;
            (void)comes_true([&] {
                r = VipConnectRequest(client.vi, from.get(), to.get(), timeout_ms, &client.remote_attributes);
                return r != VIP_NO_MATCH;
            });
            return r;
        });
    }
    net_address from;
    net_address to;
    std::future<VIP_RETURN> answer;
};

/// Takes the next request for a discriminator.
struct taking {
    taking(nic& server, const std::string& discriminator) {
        net_address here = server.address(discriminator);
        must(VipConnectWait(server, here.get(), patience_ms, remote.get(), &attributes, &request));
    }
    net_address remote;
    VIP_VI_ATTRIBUTES attributes{};
    VIP_CONN_HANDLE request = nullptr;
};

class connection : public testing::Test {
protected:
    nic client_nic;
    nic server_nic;
    std::string discriminator = fresh_discriminator();
};

TEST_F(connection, both_sides_learn_about_each_other) {
    endpoint_options options;
    options.vi_read = false;
    options.quality_of_service = wild_handle(0x77);
    options.transfer_bytes_max = 5000;
    endpoint client(client_nic, options);
    options.vi_read = true;
    options.vi_write = false;
    endpoint server(server_nic, options);
    asking a(client, server_nic, discriminator);
    const taking t(server_nic, discriminator);
    EXPECT_EQ(t.remote.host(), client_nic.address("").host());
    EXPECT_EQ(t.remote.discriminator(), "from-" + discriminator) << "the requester's local address";
    EXPECT_EQ(client.state(), VIP_STATE_CONNECT_PENDING);
    EXPECT_EQ(server.state(), VIP_STATE_IDLE);
    ASSERT_EQ(VipConnectAccept(t.request, server.vi), VIP_SUCCESS);
    EXPECT_EQ(a.answer.get(), VIP_SUCCESS);
    EXPECT_EQ(client.state(), VIP_STATE_CONNECTED);
    EXPECT_EQ(server.state(), VIP_STATE_CONNECTED);
    for (const VIP_VI_ATTRIBUTES& r : {t.attributes, client.remote_attributes}) {
        EXPECT_EQ(r.ReliabilityLevel, VIP_SERVICE_RELIABLE_DELIVERY);
        EXPECT_EQ(r.MaxTransferSize, 5000u);
        EXPECT_EQ(r.QoS, options.quality_of_service);
        EXPECT_EQ(r.Ptag, nullptr);
    }
    EXPECT_NE(t.attributes.EnableRdmaWrite, VIP_FALSE);
    EXPECT_EQ(t.attributes.EnableRdmaRead, VIP_FALSE);
    EXPECT_EQ(client.remote_attributes.EnableRdmaWrite, VIP_FALSE);
    EXPECT_NE(client.remote_attributes.EnableRdmaRead, VIP_FALSE);
}

TEST_F(connection, wait_refuses_bad_parameters) {
    net_address here = server_nic.address(discriminator);
    net_address remote;
    VIP_VI_ATTRIBUTES a;
    VIP_CONN_HANDLE c = wild_handle();
    EXPECT_EQ(VipConnectWait(nullptr, here.get(), 0, remote.get(), &a, &c), VIP_INVALID_PARAMETER);
    EXPECT_EQ(c, nullptr);
    EXPECT_EQ(VipConnectWait(server_nic, nullptr, 0, remote.get(), &a, &c), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectWait(server_nic, here.get(), 0, nullptr, &a, &c), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectWait(server_nic, here.get(), 0, remote.get(), nullptr, &c), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectWait(server_nic, here.get(), 0, remote.get(), &a, nullptr), VIP_INVALID_PARAMETER);
    const std::uint8_t other_host[6] = {2, 9, 9, 9, 9, 9};
    net_address elsewhere(other_host, discriminator);
    EXPECT_EQ(VipConnectWait(server_nic, elsewhere.get(), 0, remote.get(), &a, &c), VIP_INVALID_PARAMETER);
    net_address too_long = server_nic.address(std::string(65, 'x'));
    EXPECT_EQ(VipConnectWait(server_nic, too_long.get(), 0, remote.get(), &a, &c), VIP_INVALID_PARAMETER);
    net_address short_host(std::span(other_host, 5), discriminator);
    EXPECT_EQ(VipConnectWait(server_nic, short_host.get(), 0, remote.get(), &a, &c), VIP_INVALID_PARAMETER);
}

TEST_F(connection, wait_ends_when_its_time_is_over) {
    net_address here = server_nic.address(discriminator);
    net_address remote;
    VIP_VI_ATTRIBUTES a;
    VIP_CONN_HANDLE c = wild_handle();
    EXPECT_EQ(VipConnectWait(server_nic, here.get(), 0, remote.get(), &a, &c), VIP_TIMEOUT);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(VipConnectWait(server_nic, here.get(), 50, remote.get(), &a, &c), VIP_TIMEOUT);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 50ms);
    EXPECT_EQ(c, nullptr);
}

TEST_F(connection, request_refuses_bad_parameters) {
    endpoint e(client_nic);
    net_address here = client_nic.address("c");
    net_address there = server_nic.address(discriminator);
    VIP_VI_ATTRIBUTES a;
    EXPECT_EQ(VipConnectRequest(e.vi, nullptr, there.get(), 10, &a), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectRequest(e.vi, here.get(), nullptr, 10, &a), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectRequest(e.vi, here.get(), there.get(), 10, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectRequest(e.vi, here.get(), there.get(), 0, &a), VIP_INVALID_PARAMETER);
    net_address too_long = server_nic.address(std::string(65, 'x'));
    EXPECT_EQ(VipConnectRequest(e.vi, here.get(), too_long.get(), 10, &a), VIP_INVALID_PARAMETER);
    EXPECT_EQ(e.state(), VIP_STATE_IDLE);
}

TEST_F(connection, nobody_is_there) {
    endpoint e(client_nic);
    net_address here = client_nic.address("c");
    net_address there = server_nic.address(discriminator);
    const std::uint8_t other_host[6] = {2, 9, 9, 9, 9, 9};
    net_address unknown_host(other_host, discriminator);
    VIP_VI_ATTRIBUTES a;
    EXPECT_EQ(VipConnectRequest(e.vi, here.get(), there.get(), VIP_INFINITE, &a), VIP_NO_MATCH);
    EXPECT_EQ(VipConnectRequest(e.vi, here.get(), there.get(), 0xFFFFFFFF, &a), VIP_NO_MATCH);
    EXPECT_EQ(VipConnectRequest(e.vi, here.get(), unknown_host.get(), VIP_INFINITE, &a), VIP_NO_MATCH);
    EXPECT_EQ(e.state(), VIP_STATE_IDLE);
}

TEST_F(connection, discriminators_are_compared_by_length_and_content) {
    for (const std::string& d : {std::string(), std::string("\0", 1), std::string("\0\0", 2), std::string(64, 'm'),
                                 std::string(63, 'm'), std::string("a\0b", 3), std::string("a")}) {
        endpoint client(client_nic);
        endpoint server(server_nic);
        asking a(client, server_nic, discriminator + d.substr(0, 20));
        const taking t(server_nic, discriminator + d.substr(0, 20));
        ASSERT_EQ(VipConnectAccept(t.request, server.vi), VIP_SUCCESS);
        EXPECT_EQ(a.answer.get(), VIP_SUCCESS);
    }
    // Somebody waits for one of them only.
    endpoint client(client_nic);
    net_address here = client_nic.address("c");
    net_address waited_for = server_nic.address(std::string("ab\0", 3));
    auto waiting = std::async(std::launch::async, [&] {
        net_address remote;
        VIP_VI_ATTRIBUTES a;
        VIP_CONN_HANDLE c = nullptr;
        const VIP_RETURN r = VipConnectWait(server_nic, waited_for.get(), 100, remote.get(), &a, &c);
        return r;
    });
    for (const std::string& d : {std::string("ab"), std::string("ab\0\0", 4), std::string("aB\0", 3), std::string()}) {
        net_address there = server_nic.address(d);
        VIP_VI_ATTRIBUTES a;
        EXPECT_EQ(VipConnectRequest(client.vi, here.get(), there.get(), 1000, &a), VIP_NO_MATCH);
    }
    EXPECT_EQ(waiting.get(), VIP_TIMEOUT);
}

TEST_F(connection, discriminators_may_be_as_long_as_the_nic_says) {
    const std::string longest(server_nic.attributes().MaxDiscriminatorLen, '\xee');
    endpoint client(client_nic);
    endpoint server(server_nic);
    net_address from = client_nic.address(longest);
    net_address to = server_nic.address(longest);
    auto answer = std::async(std::launch::async, [&] {
        VIP_RETURN r = VIP_NO_MATCH;
        VIP_VI_ATTRIBUTES a;
        (void)comes_true(
            [&] { return (r = VipConnectRequest(client.vi, from.get(), to.get(), patience_ms, &a)) != VIP_NO_MATCH; });
        return r;
    });
    const taking t(server_nic, longest);
    EXPECT_EQ(t.remote.discriminator(), longest);
    EXPECT_EQ(VipConnectAccept(t.request, server.vi), VIP_SUCCESS);
    EXPECT_EQ(answer.get(), VIP_SUCCESS);
}

TEST_F(connection, a_client_that_is_rejected_is_told_and_may_ask_again) {
    endpoint client(client_nic);
    asking a(client, server_nic, discriminator);
    const taking t(server_nic, discriminator);
    EXPECT_EQ(VipConnectReject(t.request), VIP_SUCCESS);
    EXPECT_EQ(a.answer.get(), VIP_REJECT);
    EXPECT_EQ(client.state(), VIP_STATE_IDLE);
    EXPECT_EQ(VipConnectReject(t.request), VIP_INVALID_PARAMETER) << "consumed";
    EXPECT_EQ(VipConnectReject(nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectReject(wild_handle()), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectReject(client.vi), VIP_INVALID_PARAMETER);
    endpoint server(server_nic);
    connect(client, server);  // it may ask again
}

TEST_F(connection, accept_refuses_bad_parameters_and_leaves_the_request_open) {
    nic third_nic;
    endpoint client(client_nic);
    endpoint server(server_nic);
    endpoint stranger(third_nic);
    asking a(client, server_nic, discriminator);
    const taking t(server_nic, discriminator);
    EXPECT_EQ(VipConnectAccept(nullptr, server.vi), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectAccept(wild_handle(), server.vi), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectAccept(t.request, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectAccept(t.request, wild_handle()), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipConnectAccept(t.request, stranger.vi), VIP_INVALID_PARAMETER) << "a VI of another NIC handle";
    EXPECT_EQ(VipConnectAccept(t.request, server.vi), VIP_SUCCESS);
    EXPECT_EQ(a.answer.get(), VIP_SUCCESS);
    EXPECT_EQ(VipConnectAccept(t.request, server.vi), VIP_INVALID_PARAMETER) << "consumed";
}

TEST_F(connection, accept_wants_matching_attributes_and_can_be_tried_again) {
    endpoint_options options = at_level(VIP_SERVICE_RELIABLE_RECEPTION);
    options.quality_of_service = wild_handle(3);
    endpoint client(client_nic, options);
    endpoint server(server_nic);
    asking a(client, server_nic, discriminator);
    const taking t(server_nic, discriminator);
    VIP_VI_ATTRIBUTES mine = server.attributes();
    EXPECT_EQ(VipConnectAccept(t.request, server.vi), VIP_INVALID_RELIABILITY_LEVEL);
    mine.ReliabilityLevel = VIP_SERVICE_RELIABLE_RECEPTION;
    mine.MaxTransferSize = options.transfer_bytes_max - 1;
    mine.QoS = options.quality_of_service;
    must(VipSetViAttributes(server.vi, &mine));
    EXPECT_EQ(VipConnectAccept(t.request, server.vi), VIP_INVALID_MTU);
    mine.MaxTransferSize = options.transfer_bytes_max;
    mine.QoS = wild_handle(4);
    must(VipSetViAttributes(server.vi, &mine));
    EXPECT_EQ(VipConnectAccept(t.request, server.vi), VIP_INVALID_QOS);
    EXPECT_EQ(server.state(), VIP_STATE_IDLE);
    EXPECT_EQ(client.state(), VIP_STATE_CONNECT_PENDING) << "the requester hears nothing of it";
    mine.QoS = options.quality_of_service;
    must(VipSetViAttributes(server.vi, &mine));
    EXPECT_EQ(VipConnectAccept(t.request, server.vi), VIP_SUCCESS);
    EXPECT_EQ(a.answer.get(), VIP_SUCCESS);
}

TEST_F(connection, accept_wants_an_idle_vi) {
    pair busy;
    endpoint client(client_nic);
    endpoint server(busy.right_nic);
    asking a(client, busy.right_nic, discriminator);
    const taking t(busy.right_nic, discriminator);
    EXPECT_EQ(VipConnectAccept(t.request, busy.right.vi), VIP_INVALID_STATE);
    EXPECT_EQ(VipConnectAccept(t.request, server.vi), VIP_SUCCESS);
    EXPECT_EQ(a.answer.get(), VIP_SUCCESS);
}

TEST_F(connection, request_wants_an_idle_vi) {
    pair p;
    net_address here = p.left_nic.address("c");
    net_address there = p.right_nic.address(discriminator);
    VIP_VI_ATTRIBUTES a;
    EXPECT_EQ(VipConnectRequest(p.left.vi, here.get(), there.get(), 100, &a), VIP_INVALID_STATE);
    must(VipDisconnect(p.right.vi));
    ASSERT_TRUE(p.left.comes_to(VIP_STATE_ERROR));
    EXPECT_EQ(VipConnectRequest(p.left.vi, here.get(), there.get(), 100, &a), VIP_INVALID_STATE);
}

TEST_F(connection, a_server_that_does_not_answer_is_waited_for_until_the_time_is_over) {
    endpoint client(client_nic);
    endpoint server(server_nic);
    asking a(client, server_nic, discriminator, 60);
    const taking t(server_nic, discriminator);
    EXPECT_EQ(a.answer.get(), VIP_TIMEOUT);
    EXPECT_EQ(client.state(), VIP_STATE_IDLE);
    EXPECT_EQ(VipConnectAccept(t.request, server.vi), VIP_TIMEOUT) << "the requester has gone";
    EXPECT_EQ(VipConnectReject(t.request), VIP_INVALID_PARAMETER) << "consumed";
    EXPECT_EQ(server.state(), VIP_STATE_IDLE);
    connect(client, server);
}

TEST_F(connection, disconnect_ends_a_request_that_waits) {
    endpoint client(client_nic);
    asking a(client, server_nic, discriminator);
    const taking t(server_nic, discriminator);
    EXPECT_EQ(VipDestroyVi(client.vi), VIP_INVALID_STATE) << "connect pending";
    EXPECT_EQ(VipDisconnect(client.vi), VIP_SUCCESS);
    EXPECT_EQ(a.answer.get(), VIP_INVALID_STATE);
    EXPECT_EQ(client.state(), VIP_STATE_IDLE);
    EXPECT_EQ(VipConnectReject(t.request), VIP_SUCCESS) << "nobody hears it";
}

TEST_F(connection, requests_queue_up_while_one_is_open) {
    endpoint client(client_nic);
    endpoint second_client(client_nic);
    endpoint server(server_nic);
    endpoint second_server(server_nic);
    asking a(client, server_nic, discriminator);
    const taking t(server_nic, discriminator);
    asking b(second_client, server_nic, discriminator);  // nobody waits, but the server is at it
    ASSERT_TRUE(second_client.comes_to(VIP_STATE_CONNECT_PENDING));
    ASSERT_EQ(VipConnectAccept(t.request, server.vi), VIP_SUCCESS);
    const taking u(server_nic, discriminator);
    ASSERT_EQ(VipConnectAccept(u.request, second_server.vi), VIP_SUCCESS);
    EXPECT_EQ(a.answer.get(), VIP_SUCCESS);
    EXPECT_EQ(b.answer.get(), VIP_SUCCESS);
}

TEST_F(connection, an_address_belongs_to_one_nic_handle_at_a_time) {
    net_address here = server_nic.address(discriminator);
    endpoint client(client_nic);
    auto waiting = std::async(std::launch::async, [&] {
        net_address remote;
        VIP_VI_ATTRIBUTES a;
        VIP_CONN_HANDLE c = nullptr;
        VIP_RETURN r = VIP_ERROR_RESOURCE;
        while (r == VIP_ERROR_RESOURCE) {  // the other handle may have looked first
            r = VipConnectWait(server_nic, here.get(), patience_ms, remote.get(), &a, &c);
        }
        must(r);
        return VipConnectReject(c);
    });
    nic other;
    net_address remote;
    VIP_VI_ATTRIBUTES a;
    VIP_CONN_HANDLE c = nullptr;
    EXPECT_TRUE(
        comes_true([&] { return VipConnectWait(other, here.get(), 0, remote.get(), &a, &c) == VIP_ERROR_RESOURCE; }));
    asking asked(client, server_nic, discriminator);
    EXPECT_EQ(asked.answer.get(), VIP_REJECT);
    EXPECT_EQ(waiting.get(), VIP_SUCCESS);
    EXPECT_EQ(VipConnectWait(other, here.get(), 0, remote.get(), &a, &c), VIP_TIMEOUT) << "free now";
}

TEST_F(connection, several_threads_may_wait_for_one_address) {
    constexpr int count = 4;
    std::vector<std::unique_ptr<endpoint>> clients;
    std::vector<std::unique_ptr<endpoint>> servers;
    std::vector<std::future<void>> served;
    for (int i = 0; i < count; ++i) {
        clients.push_back(std::make_unique<endpoint>(client_nic));
        servers.push_back(std::make_unique<endpoint>(server_nic));
        served.push_back(std::async(std::launch::async, [&, i] {
            const taking t(server_nic, discriminator);
            must(VipConnectAccept(t.request, servers[static_cast<std::size_t>(i)]->vi));
        }));
    }
    std::vector<std::unique_ptr<asking>> all;
    for (const auto& c : clients) {
        all.push_back(std::make_unique<asking>(*c, server_nic, discriminator));
    }
    for (auto& a : all) {
        EXPECT_EQ(a->answer.get(), VIP_SUCCESS);
    }
    for (auto& s : served) {
        s.get();
    }
    for (const auto& s : servers) {
        EXPECT_EQ(s->state(), VIP_STATE_CONNECTED);
    }
}

TEST_F(connection, a_vi_connects_with_another_of_the_same_handle) {
    endpoint client(server_nic);
    endpoint server(server_nic);
    connect(client, server);
    EXPECT_EQ(client.state(), VIP_STATE_CONNECTED);
}

TEST_F(connection, can_be_ended_and_made_again) {
    endpoint client(client_nic);
    endpoint server(server_nic);
    for (int i = 0; i < 10; ++i) {
        VIP_DESCRIPTOR* r = server.post_receive(server.write(0, 0, {server.at(0, 16)}));
        connect(client, server);
        VIP_DESCRIPTOR* s = client.post_send(client.write(0, 0, {client.at(0, 16)}));
        ASSERT_EQ(client.finish_send(s), done_send);
        ASSERT_EQ(server.finish_receive(r), done_receive);
        ASSERT_EQ(VipDisconnect(client.vi), VIP_SUCCESS);
        ASSERT_EQ(client.state(), VIP_STATE_IDLE);
        ASSERT_TRUE(server.comes_to(VIP_STATE_ERROR));
        ASSERT_EQ(VipDisconnect(server.vi), VIP_SUCCESS);
        ASSERT_EQ(server.state(), VIP_STATE_IDLE);
    }
}

}  // namespace
}  // namespace vipl_test
