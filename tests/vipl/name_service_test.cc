// SPDX-License-Identifier: Apache-2.0
//
// name_service_test.cc -- host names: environment table, hosts file, local names, any-name mode.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "fixture.hpp"

namespace vipl_test {
namespace {

using namespace std::string_literals;

/// A hosts file that goes away.
class hosts_file {
public:
    explicit hosts_file(std::string_view text) : path_(testing::TempDir()) {
        path_.append("vipl-hosts.").append(std::to_string(::getpid())).append(fresh_discriminator());
        std::ofstream(path_) << text;
    }
    hosts_file(const hosts_file&) = delete;
    hosts_file& operator=(const hosts_file&) = delete;
    ~hosts_file() { std::remove(path_.c_str()); }
    [[nodiscard]] char* name() { return path_.data(); }

private:
    std::string path_;
};

class name_service : public testing::Test {
protected:
    /// The host address of a name, or the code.
    std::string look_up(std::string name, VIP_ULONG index = 0) {
        net_address a;
        const VIP_RETURN r = VipNSGetHostByName(n, name.data(), a.get(), index);
        return r == VIP_SUCCESS ? a.host() : testing::PrintToString(r);
    }
    const std::string unknown = testing::PrintToString(VIP_ERROR_NAMESERVICE);
    nic n;
};

TEST_F(name_service, local_names_are_this_nic) {
    const std::string here = n.address("").host();
    char machine[256] = {};
    ASSERT_EQ(::gethostname(machine, sizeof machine - 1), 0);
    ASSERT_EQ(VipNSInit(n, nullptr), VIP_SUCCESS);
    EXPECT_EQ(look_up("localhost"), here);
    EXPECT_EQ(look_up(machine), here);
    EXPECT_EQ(look_up("localhost", 1), unknown) << "it has one address";
    EXPECT_EQ(look_up("no such host"), unknown);
    EXPECT_EQ(look_up(""), unknown);
    EXPECT_EQ(VipNSShutdown(n), VIP_SUCCESS);
    EXPECT_EQ(look_up("localhost"), here) << "look-ups read the tables anew";
}

TEST_F(name_service, refuses_bad_parameters) {
    net_address a;
    char name[] = "localhost";
    VIP_ULONG length = sizeof name;
    EXPECT_EQ(VipNSInit(nullptr, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipNSInit(wild_handle(), nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipNSShutdown(nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipNSGetHostByName(nullptr, name, a.get(), 0), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipNSGetHostByName(n, nullptr, a.get(), 0), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipNSGetHostByName(n, name, nullptr, 0), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipNSGetHostByAddr(nullptr, a.get(), name, &length), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipNSGetHostByAddr(n, nullptr, name, &length), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipNSGetHostByAddr(n, a.get(), nullptr, &length), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipNSGetHostByAddr(n, a.get(), name, nullptr), VIP_INVALID_PARAMETER);
}

TEST_F(name_service, reads_the_table_of_the_environment) {
    const with_environment table("VINIC_VIPL_HOSTS",
                                 "one=02:00:00:00:00:01; two = 02:00:00:00:00:AB ;;one=02-00-00-00-00-03;"
                                 "localhost=02:00:00:00:00:04");
    ASSERT_EQ(VipNSInit(n, nullptr), VIP_SUCCESS);
    EXPECT_EQ(look_up("one"), "\x02\0\0\0\0\x01"s);
    EXPECT_EQ(look_up("one", 0), "\x02\0\0\0\0\x01"s);
    EXPECT_EQ(look_up("one", 1), "\x02\0\0\0\0\x03"s) << "NameIndex picks among several addresses of a name";
    EXPECT_EQ(look_up("one", 2), unknown);
    EXPECT_EQ(look_up("two"), "\x02\0\0\0\0\xab"s);
    EXPECT_EQ(look_up("localhost"), "\x02\0\0\0\0\x04"s) << "the table wins";
    EXPECT_EQ(look_up("02:00:00:00:00:77"), "\x02\0\0\0\0\x77"s) << "an address written out";
    EXPECT_EQ(look_up("One"), unknown);
}

TEST_F(name_service, refuses_malformed_tables_of_the_environment) {
    for (const char* text : {"one", "one=", "one=02:00", "=02:00:00:00:00:01", "one=02:00:00:00:00:0g",
                             "one=02:00:00:00:00:01:02", "good=02:00:00:00:00:01;bad"}) {
        SCOPED_TRACE(text);
        const with_environment table("VINIC_VIPL_HOSTS", text);
        testing::internal::CaptureStderr();
        EXPECT_EQ(VipNSInit(n, nullptr), VIP_ERROR_NAMESERVICE);
        EXPECT_NE(testing::internal::GetCapturedStderr().find("VINIC_VIPL_HOSTS"), std::string::npos);
    }
    EXPECT_EQ(VipNSInit(n, nullptr), VIP_SUCCESS) << "set right, it works again";
}

TEST_F(name_service, reads_the_hosts_file) {
    hosts_file file(
        "# hosts of the test\n\n02:00:00:00:00:01  a b.example  # two names\n\t02:00:00:00:00:02\tc\r\n"
        "02:00:00:00:00:03 a\n");
    hosts_file other("02:00:00:00:00:09 z\n");
    {
        const with_environment chosen("VINIC_VIPL_HOSTS_FILE", file.name());
        ASSERT_EQ(VipNSInit(n, nullptr), VIP_SUCCESS);
    }
    EXPECT_EQ(look_up("a"), "\x02\0\0\0\0\x01"s);
    EXPECT_EQ(look_up("b.example"), "\x02\0\0\0\0\x01"s);
    EXPECT_EQ(look_up("c"), "\x02\0\0\0\0\x02"s);
    EXPECT_EQ(look_up("a", 1), "\x02\0\0\0\0\x03"s);
    EXPECT_EQ(look_up("a", 2), unknown);
    EXPECT_EQ(look_up("# hosts"), unknown);
    ASSERT_EQ(VipNSInit(n, other.name()), VIP_SUCCESS) << "may be called again, with the name of a file";
    EXPECT_EQ(look_up("z"), "\x02\0\0\0\0\x09"s);
    EXPECT_EQ(look_up("a"), unknown);
    ASSERT_EQ(VipNSShutdown(n), VIP_SUCCESS);
    EXPECT_EQ(look_up("z"), unknown);
}

TEST_F(name_service, refuses_malformed_hosts_files) {
    char missing[] = "/nonexistent/hosts";
    testing::internal::CaptureStderr();
    EXPECT_EQ(VipNSInit(n, missing), VIP_ERROR_NAMESERVICE);
    for (const char* text : {"02:00:00:00:00:01\n", "a 02:00:00:00:00:01\n", "02:00:00:00:01 a\n", "words\n"}) {
        hosts_file file(text);
        EXPECT_EQ(VipNSInit(n, file.name()), VIP_ERROR_NAMESERVICE) << text;
    }
    EXPECT_NE(testing::internal::GetCapturedStderr().find("line 1"), std::string::npos) << "a line says where";
}

TEST_F(name_service, takes_any_name_for_this_nic_if_it_is_told_to) {
    const with_environment any("VINIC_VIPL_ANY_NAME", "1");
    const with_environment table("VINIC_VIPL_HOSTS", "one=02:00:00:00:00:01");
    ASSERT_EQ(VipNSInit(n, nullptr), VIP_SUCCESS);
    EXPECT_EQ(look_up("whatever.example"), n.address("").host());
    EXPECT_EQ(look_up("one"), "\x02\0\0\0\0\x01"s) << "a name that is known keeps its meaning";
    EXPECT_EQ(look_up("whatever.example", 1), unknown);
}

TEST_F(name_service, finds_names_by_address) {
    const with_environment table("VINIC_VIPL_HOSTS", "one=02:00:00:00:00:01;uno=02:00:00:00:00:01");
    ASSERT_EQ(VipNSInit(n, nullptr), VIP_SUCCESS);
    const std::uint8_t host[6] = {2, 0, 0, 0, 0, 1};
    net_address a(host, "with a discriminator");
    char name[64];
    VIP_ULONG length = sizeof name;
    ASSERT_EQ(VipNSGetHostByAddr(n, a.get(), name, &length), VIP_SUCCESS);
    EXPECT_STREQ(name, "one") << "the first name";
    EXPECT_EQ(length, 3u);
    for (const VIP_ULONG room : {0u, 1u, 3u}) {
        std::strcpy(name, "before");
        length = room;
        EXPECT_EQ(VipNSGetHostByAddr(n, a.get(), name, &length), VIP_ERROR_RESOURCE) << "no room for the NUL";
        EXPECT_EQ(length, 3u);
        EXPECT_STREQ(name, "before");
    }
    length = 4;
    EXPECT_EQ(VipNSGetHostByAddr(n, a.get(), name, &length), VIP_SUCCESS);
    EXPECT_STREQ(name, "one");

    const std::uint8_t stranger[6] = {2, 9, 9, 9, 9, 9};
    net_address b(stranger, "");
    length = sizeof name;
    EXPECT_EQ(VipNSGetHostByAddr(n, b.get(), name, &length), VIP_ERROR_NAMESERVICE);
    net_address odd(std::span(stranger, 3), "");
    EXPECT_EQ(VipNSGetHostByAddr(n, odd.get(), name, &length), VIP_ERROR_NAMESERVICE);
    char own[256];
    length = sizeof own;
    net_address mine = n.address("x");
    ASSERT_EQ(VipNSGetHostByAddr(n, mine.get(), own, &length), VIP_SUCCESS) << "this NIC has a name";
    EXPECT_EQ(look_up(own), n.address("").host()) << "that leads back";
}

TEST_F(name_service, look_ups_work_without_initialising) {
    const with_environment table("VINIC_VIPL_HOSTS", "one=02:00:00:00:00:01");
    EXPECT_EQ(look_up("one"), "\x02\0\0\0\0\x01"s);
}

TEST_F(name_service, shutdown_twice_is_harmless) {
    EXPECT_EQ(VipNSShutdown(n), VIP_SUCCESS);
    EXPECT_EQ(VipNSShutdown(n), VIP_SUCCESS);
}

/// The whole way of a client: names to addresses to a connection.
TEST_F(name_service, an_address_that_was_looked_up_leads_to_the_server) {
    nic other;
    endpoint client(n);
    endpoint server(other);
    char name[] = "localhost";
    net_address to;
    must(VipNSGetHostByName(n, name, to.get(), 0));
    const std::string discriminator = fresh_discriminator();
    to.get()->DiscriminatorLen = static_cast<VIP_UINT16>(discriminator.size());
    std::copy(discriminator.begin(), discriminator.end(), to.bytes().begin() + 4 + 6);
    std::thread serving([&] {
        net_address here = other.address(discriminator);
        net_address remote;
        VIP_VI_ATTRIBUTES a;
        VIP_CONN_HANDLE c = nullptr;
        must(VipConnectWait(other, here.get(), patience_ms, remote.get(), &a, &c));
        must(VipConnectAccept(c, server.vi));
    });
    VIP_RETURN r = VIP_NO_MATCH;
    EXPECT_TRUE(comes_true([&] {
        VIP_VI_ATTRIBUTES a;
        r = VipConnectRequest(client.vi, to.get(), to.get(), patience_ms, &a);
        return r != VIP_NO_MATCH;
    }));
    serving.join();
    EXPECT_EQ(r, VIP_SUCCESS);
}

}  // namespace
}  // namespace vipl_test
