// SPDX-License-Identifier: Apache-2.0
//
// memory_test.cc -- protection tags and registered memory.
#include <sys/mman.h>
#include <sys/shm.h>

#include <cstdlib>
#include <memory>
#include <set>

#include "fixture.hpp"

namespace vipl_test {
namespace {

TEST(ptag, is_created_and_destroyed_once) {
    nic n;
    VIP_PROTECTION_HANDLE tag = nullptr;
    EXPECT_EQ(VipCreatePtag(n, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipCreatePtag(nullptr, &tag), VIP_INVALID_PARAMETER);
    ASSERT_EQ(VipCreatePtag(n, &tag), VIP_SUCCESS);
    EXPECT_NE(tag, nullptr);
    EXPECT_EQ(VipDestroyPtag(nullptr, tag), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDestroyPtag(n, nullptr), VIP_INVALID_PTAG);
    EXPECT_EQ(VipDestroyPtag(n, wild_handle()), VIP_INVALID_PTAG);
    EXPECT_EQ(VipDestroyPtag(n, tag), VIP_SUCCESS);
    EXPECT_EQ(VipDestroyPtag(n, tag), VIP_INVALID_PTAG);
}

TEST(ptag, belongs_to_one_nic_handle) {
    nic n;
    nic other;
    VIP_PROTECTION_HANDLE tag = nullptr;
    must(VipCreatePtag(n, &tag));
    EXPECT_EQ(VipDestroyPtag(other, tag), VIP_INVALID_PTAG);
    EXPECT_EQ(VipDestroyPtag(n, tag), VIP_SUCCESS);
}

TEST(ptag, is_busy_while_a_vi_or_memory_carries_it) {
    nic n;
    VIP_PROTECTION_HANDLE tag = nullptr;
    must(VipCreatePtag(n, &tag));
    VIP_VI_ATTRIBUTES a{};
    a.ReliabilityLevel = VIP_SERVICE_UNRELIABLE;
    a.MaxTransferSize = 1024;
    a.Ptag = tag;
    VIP_VI_HANDLE vi = nullptr;
    must(VipCreateVi(n, &a, nullptr, nullptr, &vi));
    EXPECT_EQ(VipDestroyPtag(n, tag), VIP_ERROR_RESOURCE);
    must(VipDestroyVi(vi));

    std::vector<char> bytes(100);
    VIP_MEM_ATTRIBUTES m{tag, VIP_FALSE, VIP_FALSE};
    VIP_MEM_HANDLE handle = 0;
    must(VipRegisterMem(n, bytes.data(), bytes.size(), &m, &handle));
    EXPECT_EQ(VipDestroyPtag(n, tag), VIP_ERROR_RESOURCE);
    must(VipDeregisterMem(n, bytes.data(), handle));
    EXPECT_EQ(VipDestroyPtag(n, tag), VIP_SUCCESS);
}

TEST(ptag, may_be_one_of_many) {
    nic n;
    std::vector<VIP_PROTECTION_HANDLE> tags(200);
    for (auto& t : tags) {
        must(VipCreatePtag(n, &t));
    }
    EXPECT_EQ(std::set<VIP_PROTECTION_HANDLE>(tags.begin(), tags.end()).size(), tags.size());
    for (const auto& t : tags) {
        EXPECT_EQ(VipDestroyPtag(n, t), VIP_SUCCESS);
    }
}

class memory : public testing::Test {
protected:
    memory() {
        must(VipCreatePtag(n, &tag));
        rights = {tag, VIP_FALSE, VIP_FALSE};
    }
    ~memory() override { EXPECT_EQ(VipDestroyPtag(n, tag), VIP_SUCCESS); }

    nic n;
    VIP_PROTECTION_HANDLE tag = nullptr;
    VIP_MEM_ATTRIBUTES rights{};
    std::vector<char> bytes = std::vector<char>(10000);
};

TEST_F(memory, register_refuses_bad_parameters) {
    VIP_MEM_HANDLE h = 0;
    EXPECT_EQ(VipRegisterMem(nullptr, bytes.data(), 10, &rights, &h), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipRegisterMem(n, nullptr, 10, &rights, &h), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipRegisterMem(n, bytes.data(), 0, &rights, &h), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipRegisterMem(n, bytes.data(), 10, &rights, nullptr), VIP_INVALID_PARAMETER);
    VIP_MEM_ATTRIBUTES bad{wild_handle(), VIP_FALSE, VIP_FALSE};
    EXPECT_EQ(VipRegisterMem(n, bytes.data(), 10, &bad, &h), VIP_INVALID_PTAG);
}

TEST_F(memory, register_refuses_memory_that_is_not_there) {
    VIP_MEM_HANDLE h = 0;
    void* hole = ::mmap(nullptr, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(hole, MAP_FAILED);
    ASSERT_EQ(::munmap(static_cast<char*>(hole) + 4096, 4096), 0);
    EXPECT_EQ(VipRegisterMem(n, static_cast<char*>(hole) + 4096, 4096, &rights, &h), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipRegisterMem(n, hole, 3 * 4096, &rights, &h), VIP_INVALID_PARAMETER) << "a hole in the middle";
    EXPECT_EQ(VipRegisterMem(n, hole, ~VIP_ULONG{0}, &rights, &h), VIP_INVALID_PARAMETER) << "wraps around";
    ASSERT_EQ(VipRegisterMem(n, hole, 4096, &rights, &h), VIP_SUCCESS);
    EXPECT_EQ(VipDeregisterMem(n, hole, h), VIP_SUCCESS);
    ::munmap(hole, 4096);
    ::munmap(static_cast<char*>(hole) + 2 * 4096, 4096);
}

TEST_F(memory, of_any_kind_and_alignment_can_be_registered) {
    const int id = ::shmget(IPC_PRIVATE, 8192, IPC_CREAT | 0600);
    ASSERT_GE(id, 0);
    void* system_v = ::shmat(id, nullptr, 0);
    ::shmctl(id, IPC_RMID, nullptr);
    void* shared = ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    char on_stack[33];
    static char in_data[77];
    const auto heap = std::make_unique<char[]>(1 << 20);
    const struct {
        void* at;
        VIP_ULONG bytes;
    } places[] = {{system_v, 8192},  {shared, 8192},      {on_stack, sizeof on_stack},
                  {in_data + 1, 63}, {heap.get() + 7, 1}, {heap.get(), 1 << 20}};
    std::vector<VIP_MEM_HANDLE> handles;
    for (const auto& p : places) {
        VIP_MEM_HANDLE h = 0;
        EXPECT_EQ(VipRegisterMem(n, p.at, p.bytes, &rights, &h), VIP_SUCCESS);
        handles.push_back(h);
    }
    for (std::size_t i = 0; i < handles.size(); ++i) {
        EXPECT_EQ(VipDeregisterMem(n, places[i].at, handles[i]), VIP_SUCCESS);
    }
    ::shmdt(system_v);
    ::munmap(shared, 8192);
}

TEST_F(memory, deregister_wants_the_registered_address_and_handle) {
    VIP_MEM_HANDLE h = 0;
    must(VipRegisterMem(n, bytes.data(), bytes.size(), &rights, &h));
    EXPECT_EQ(VipDeregisterMem(nullptr, bytes.data(), h), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDeregisterMem(n, bytes.data() + 1, h), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDeregisterMem(n, nullptr, h), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDeregisterMem(n, bytes.data(), h + 1), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDeregisterMem(n, bytes.data(), 0), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDeregisterMem(n, bytes.data(), 0xFFFFFFFFu), VIP_INVALID_PARAMETER);
    nic other;
    EXPECT_EQ(VipDeregisterMem(other, bytes.data(), h), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipDeregisterMem(n, bytes.data(), h), VIP_SUCCESS);
    EXPECT_EQ(VipDeregisterMem(n, bytes.data(), h), VIP_INVALID_PARAMETER);
}

TEST_F(memory, query_tells_what_was_registered) {
    VIP_MEM_HANDLE h = 0;
    VIP_MEM_ATTRIBUTES in{tag, VIP_TRUE, VIP_FALSE};
    VIP_MEM_ATTRIBUTES out{};
    must(VipRegisterMem(n, bytes.data(), bytes.size(), &in, &h));
    ASSERT_EQ(VipQueryMem(n, bytes.data() + bytes.size() - 1, h, &out), VIP_SUCCESS) << "any address inside";
    EXPECT_EQ(out.Ptag, tag);
    EXPECT_NE(out.EnableRdmaWrite, VIP_FALSE);
    EXPECT_EQ(out.EnableRdmaRead, VIP_FALSE);
    EXPECT_EQ(VipQueryMem(n, bytes.data() + bytes.size(), h, &out), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryMem(n, bytes.data() - 1, h, &out), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryMem(n, bytes.data(), h + 1, &out), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryMem(n, bytes.data(), h, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipQueryMem(nullptr, bytes.data(), h, &out), VIP_INVALID_PARAMETER);
    must(VipDeregisterMem(n, bytes.data(), h));
    EXPECT_EQ(VipQueryMem(n, bytes.data(), h, &out), VIP_INVALID_PARAMETER);
}

TEST_F(memory, attributes_can_be_changed) {
    VIP_MEM_HANDLE h = 0;
    VIP_PROTECTION_HANDLE second = nullptr;
    must(VipCreatePtag(n, &second));
    must(VipRegisterMem(n, bytes.data(), bytes.size(), &rights, &h));
    VIP_MEM_ATTRIBUTES in{second, VIP_TRUE, VIP_TRUE};
    EXPECT_EQ(VipSetMemAttributes(nullptr, bytes.data(), h, &in), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipSetMemAttributes(n, bytes.data(), h, nullptr), VIP_INVALID_PARAMETER);
    EXPECT_EQ(VipSetMemAttributes(n, bytes.data(), h + 1, &in), VIP_INVALID_PARAMETER);
    VIP_MEM_ATTRIBUTES bad{wild_handle(), VIP_TRUE, VIP_TRUE};
    EXPECT_EQ(VipSetMemAttributes(n, bytes.data(), h, &bad), VIP_INVALID_PTAG);
    ASSERT_EQ(VipSetMemAttributes(n, bytes.data(), h, &in), VIP_SUCCESS);
    VIP_MEM_ATTRIBUTES out{};
    must(VipQueryMem(n, bytes.data(), h, &out));
    EXPECT_EQ(out.Ptag, second);
    EXPECT_NE(out.EnableRdmaWrite, VIP_FALSE);
    EXPECT_NE(out.EnableRdmaRead, VIP_FALSE);
    EXPECT_EQ(VipDestroyPtag(n, second), VIP_ERROR_RESOURCE) << "carried now";
    ASSERT_EQ(VipSetMemAttributes(n, bytes.data(), h, &rights), VIP_SUCCESS);
    EXPECT_EQ(VipDestroyPtag(n, second), VIP_SUCCESS) << "no longer carried";
    must(VipDeregisterMem(n, bytes.data(), h));
}

TEST_F(memory, register_and_deregister_leaks_nothing) {
    for (int i = 0; i < 3000; ++i) {
        VIP_MEM_HANDLE h = 0;
        must(VipRegisterMem(n, bytes.data() + i, 4096, &rights, &h));
        must(VipDeregisterMem(n, bytes.data() + i, h));
    }
}

TEST_F(memory, read_only_memory_may_be_registered_for_what_it_cannot_do_is_found_at_use) {
    void* p = ::mmap(nullptr, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(p, MAP_FAILED);
    VIP_MEM_HANDLE h = 0;
    ASSERT_EQ(VipRegisterMem(n, p, 4096, &rights, &h), VIP_SUCCESS);
    EXPECT_EQ(VipDeregisterMem(n, p, h), VIP_SUCCESS);
    VIP_MEM_ATTRIBUTES writable{tag, VIP_TRUE, VIP_FALSE};
    ASSERT_EQ(VipRegisterMem(n, p, 4096, &writable, &h), VIP_SUCCESS);
    EXPECT_EQ(VipDeregisterMem(n, p, h), VIP_SUCCESS);
    ::munmap(p, 4096);
}

TEST_F(memory, new_rights_hold_for_the_next_transfer) {
    pair p;
    VIP_DESCRIPTOR* d = p.left.write_rdma(0, VIP_CONTROL_OP_RDMAREAD, p.right.at(0, 64), {p.left.at(0, 64)});
    fill(p.right.bytes(0, 64), 5);
    p.left.post_send(d);
    ASSERT_EQ(p.left.finish_send(d), done_read);
    EXPECT_TRUE(matches(p.left.bytes(0, 64), 5));
    VIP_MEM_ATTRIBUTES closed{p.right.tag, VIP_FALSE, VIP_FALSE};
    ASSERT_EQ(VipSetMemAttributes(p.right_nic, p.right.buffer(), p.right.memory, &closed), VIP_SUCCESS);
    p.left.post_send(d);
    EXPECT_NE(p.left.finish_send(d) & VIP_STATUS_ERROR_MASK, 0u);
}

}  // namespace
}  // namespace vipl_test
