/* SPDX-License-Identifier: Apache-2.0
 *
 * header_test.c -- vipl.h as clients see it: compiled as gnu89, C99, C11, C17 and C++, without a
 * warning; sizes, offsets and numbers are ABI and asserted; both field dialects name one storage.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <vipl.h>

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define ASSERT_STATIC(condition)              \
    extern char CAT(assertion_, __LINE__)[1]; \
    extern char CAT(assertion_, __LINE__)[(condition) ? 1 : -1]
#define IS_AT(type, field, offset, size) \
    ASSERT_STATIC(offsetof(type, field) == (offset) && sizeof(((type*)0)->field) == (size))

ASSERT_STATIC(sizeof(VIP_PVOID64) == 8);
ASSERT_STATIC(sizeof(VIP_CONTROL_SEGMENT) == 32);
IS_AT(VIP_CONTROL_SEGMENT, Next, 0, 8);
IS_AT(VIP_CONTROL_SEGMENT, NextHandle, 8, 4);
IS_AT(VIP_CONTROL_SEGMENT, SegCount, 12, 2);
IS_AT(VIP_CONTROL_SEGMENT, Control, 14, 2);
IS_AT(VIP_CONTROL_SEGMENT, Reserved, 16, 4);
IS_AT(VIP_CONTROL_SEGMENT, ImmediateData, 20, 4);
IS_AT(VIP_CONTROL_SEGMENT, Length, 24, 4);
IS_AT(VIP_CONTROL_SEGMENT, Status, 28, 4);
ASSERT_STATIC(sizeof(VIP_ADDRESS_SEGMENT) == 16);
IS_AT(VIP_ADDRESS_SEGMENT, Data, 0, 8);
IS_AT(VIP_ADDRESS_SEGMENT, Handle, 8, 4);
IS_AT(VIP_ADDRESS_SEGMENT, Reserved, 12, 4);
ASSERT_STATIC(sizeof(VIP_DATA_SEGMENT) == 16);
IS_AT(VIP_DATA_SEGMENT, Data, 0, 8);
IS_AT(VIP_DATA_SEGMENT, Handle, 8, 4);
IS_AT(VIP_DATA_SEGMENT, Length, 12, 4);
ASSERT_STATIC(sizeof(VIP_DESCRIPTOR_SEGMENT) == 16);
ASSERT_STATIC(sizeof(VIP_DESCRIPTOR) == 64);
IS_AT(VIP_DESCRIPTOR, CS, 0, 32);
IS_AT(VIP_DESCRIPTOR, Control, 0, 32);
IS_AT(VIP_DESCRIPTOR, DS, 32, 32);
IS_AT(VIP_DESCRIPTOR, Data, 32, 32);

ASSERT_STATIC(sizeof(VIP_BOOLEAN) == 4);
ASSERT_STATIC(sizeof(VIP_MEM_HANDLE) == 4);
ASSERT_STATIC(sizeof(VIP_RELIABILITY_LEVEL) == 2);
ASSERT_STATIC(sizeof(VIP_ULONG) == sizeof(long));
ASSERT_STATIC(sizeof(VIP_UINT64) == 8 && sizeof(VIP_UINT32) == 4 && sizeof(VIP_UINT16) == 2 && sizeof(VIP_UINT8) == 1);
ASSERT_STATIC(VIP_INFINITE == ~0ul);
IS_AT(VIP_NET_ADDRESS, HostAddressLen, 0, 2);
IS_AT(VIP_NET_ADDRESS, DiscriminatorLen, 2, 2);
ASSERT_STATIC(offsetof(VIP_NET_ADDRESS, HostAddress) == 4);

#if defined(__x86_64__) && defined(__LP64__)
ASSERT_STATIC(sizeof(VIP_NIC_ATTRIBUTES) == 200);
IS_AT(VIP_NIC_ATTRIBUTES, Name, 0, 64);
IS_AT(VIP_NIC_ATTRIBUTES, HardwareVersion, 64, 8);
IS_AT(VIP_NIC_ATTRIBUTES, ProviderVersion, 72, 8);
IS_AT(VIP_NIC_ATTRIBUTES, NicAddressLen, 80, 2);
IS_AT(VIP_NIC_ATTRIBUTES, LocalNicAddress, 88, 8);
IS_AT(VIP_NIC_ATTRIBUTES, ThreadSafe, 96, 4);
IS_AT(VIP_NIC_ATTRIBUTES, MaxDiscriminatorLen, 100, 2);
IS_AT(VIP_NIC_ATTRIBUTES, MaxRegisterBytes, 104, 8);
IS_AT(VIP_NIC_ATTRIBUTES, MaxRegisterRegions, 112, 8);
IS_AT(VIP_NIC_ATTRIBUTES, MaxRegisterBlockBytes, 120, 8);
IS_AT(VIP_NIC_ATTRIBUTES, MaxVI, 128, 8);
IS_AT(VIP_NIC_ATTRIBUTES, MaxDescriptorsPerQueue, 136, 8);
IS_AT(VIP_NIC_ATTRIBUTES, MaxSegmentsPerDesc, 144, 8);
IS_AT(VIP_NIC_ATTRIBUTES, MaxCQ, 152, 8);
IS_AT(VIP_NIC_ATTRIBUTES, MaxCQEntries, 160, 8);
IS_AT(VIP_NIC_ATTRIBUTES, MaxTransferSize, 168, 8);
IS_AT(VIP_NIC_ATTRIBUTES, NativeMTU, 176, 8);
IS_AT(VIP_NIC_ATTRIBUTES, MaxPtags, 184, 8);
IS_AT(VIP_NIC_ATTRIBUTES, ReliabilityLevelSupport, 192, 2);
IS_AT(VIP_NIC_ATTRIBUTES, RDMAReadSupport, 194, 2);
ASSERT_STATIC(sizeof(VIP_VI_ATTRIBUTES) == 40);
IS_AT(VIP_VI_ATTRIBUTES, ReliabilityLevel, 0, 2);
IS_AT(VIP_VI_ATTRIBUTES, MaxTransferSize, 8, 8);
IS_AT(VIP_VI_ATTRIBUTES, QoS, 16, 8);
IS_AT(VIP_VI_ATTRIBUTES, Ptag, 24, 8);
IS_AT(VIP_VI_ATTRIBUTES, EnableRdmaWrite, 32, 4);
IS_AT(VIP_VI_ATTRIBUTES, EnableRdmaRead, 36, 4);
ASSERT_STATIC(sizeof(VIP_MEM_ATTRIBUTES) == 16);
IS_AT(VIP_MEM_ATTRIBUTES, Ptag, 0, 8);
IS_AT(VIP_MEM_ATTRIBUTES, EnableRdmaWrite, 8, 4);
IS_AT(VIP_MEM_ATTRIBUTES, EnableRdmaRead, 12, 4);
ASSERT_STATIC(sizeof(VIP_ERROR_DESCRIPTOR) == 48);
IS_AT(VIP_ERROR_DESCRIPTOR, NicHandle, 0, 8);
IS_AT(VIP_ERROR_DESCRIPTOR, ViHandle, 8, 8);
IS_AT(VIP_ERROR_DESCRIPTOR, CQHandle, 16, 8);
IS_AT(VIP_ERROR_DESCRIPTOR, DescriptorPtr, 24, 8);
IS_AT(VIP_ERROR_DESCRIPTOR, OpCode, 32, 8);
IS_AT(VIP_ERROR_DESCRIPTOR, ResourceCode, 40, 4);
IS_AT(VIP_ERROR_DESCRIPTOR, ErrorCode, 44, 4);
IS_AT(VIP_AUTODISCOVERY_LIST, NumberOfHops, 0, 8);
IS_AT(VIP_AUTODISCOVERY_LIST, ADAddrArray, 8, 8);
IS_AT(VIP_AUTODISCOVERY_LIST, NumAdAddrs, 16, 8);
#endif

ASSERT_STATIC(VIP_SUCCESS == 0 && VIP_NOT_DONE == 1 && VIP_INVALID_PARAMETER == 2 && VIP_ERROR_RESOURCE == 3);
ASSERT_STATIC(VIP_TIMEOUT == 4 && VIP_REJECT == 5 && VIP_INVALID_RELIABILITY_LEVEL == 6 && VIP_INVALID_MTU == 7);
ASSERT_STATIC(VIP_INVALID_QOS == 8 && VIP_INVALID_PTAG == 9 && VIP_INVALID_RDMAREAD == 10);
ASSERT_STATIC(VIP_DESCRIPTOR_ERROR == 11 && VIP_ERROR == 11 && VIP_INVALID_STATE == 12);
ASSERT_STATIC(VIP_ERROR_NAMESERVICE == 13 && VIP_NO_MATCH == 14 && VIP_NOT_REACHABLE == 15);
ASSERT_STATIC(VIP_ERROR_NOT_SUPPORTED == 16);
ASSERT_STATIC(VIP_STATE_IDLE == 0 && VIP_STATE_CONNECTED == 1 && VIP_STATE_CONNECT_PENDING == 2 &&
              VIP_STATE_ERROR == 3);
ASSERT_STATIC(VIP_ERROR_POST_DESC == 0 && VIP_ERROR_CONN_LOST == 1 && VIP_ERROR_RECVQ_EMPTY == 2);
ASSERT_STATIC(VIP_ERROR_VI_OVERRUN == 3 && VIP_ERROR_RDMAW_PROT == 4 && VIP_ERROR_RDMAW_DATA == 5);
ASSERT_STATIC(VIP_ERROR_RDMAW_ABORT == 6 && VIP_ERROR_RDMAR_PROT == 7 && VIP_ERROR_COMP_PROT == 8);
ASSERT_STATIC(VIP_ERROR_RDMA_TRANSPORT == 9 && VIP_ERROR_CATASTROPHIC == 10);
ASSERT_STATIC(VIP_RESOURCE_NIC == 0 && VIP_RESOURCE_VI == 1 && VIP_RESOURCE_CQ == 2 && VIP_RESOURCE_DESCRIPTOR == 3);
ASSERT_STATIC((VIP_STATUS_ERROR_MASK & ~0x1FE) == 0 && (VIP_STATUS_OP_MASK | VIP_STATUS_IMMEDIATE) == 0xF0000);
ASSERT_STATIC((VIP_STATUS_RESERVED | VIP_STATUS_ERROR_MASK | VIP_STATUS_DONE | VIP_STATUS_OP_MASK |
               VIP_STATUS_IMMEDIATE) == 0xFFFFFFFFu);
ASSERT_STATIC((VIP_CONTROL_RESERVED | VIP_CONTROL_OP_MASK | VIP_CONTROL_IMMEDIATE | VIP_CONTROL_QFENCE) == 0xFFFF);

/* Every function has the type that clients were written for. */
typedef VIP_RETURN (*done_function)(VIP_VI_HANDLE, VIP_DESCRIPTOR**);
typedef VIP_RETURN (*wait_function)(VIP_VI_HANDLE, VIP_ULONG, VIP_DESCRIPTOR**);
typedef VIP_RETURN (*notify_function)(VIP_VI_HANDLE, VIP_PVOID,
                                      void (*)(VIP_PVOID, VIP_NIC_HANDLE, VIP_VI_HANDLE, VIP_DESCRIPTOR*));
typedef VIP_RETURN (*post_function)(VIP_VI_HANDLE, VIP_DESCRIPTOR*, VIP_MEM_HANDLE);

static const done_function done_functions[] = {VipSendDone, VipRecvDone};
static const wait_function wait_functions[] = {VipSendWait, VipRecvWait};
static const notify_function notify_functions[] = {VipSendNotify, VipRecvNotify};
static const post_function post_functions[] = {VipPostSend, VipPostRecv};

static int same_storage(void) {
    VIP_DESCRIPTOR descriptor;
    VIP_ADDRESS_SEGMENT* target;
    memset(&descriptor, 0, sizeof descriptor);
    descriptor.CS.SegCount = 2;
    descriptor.CS.Control = VIP_CONTROL_OP_RDMAWRITE | VIP_CONTROL_IMMEDIATE;
    descriptor.DS[0].Remote.Data.AddressBits = 0x1234;
    descriptor.DS[1].Local.Length = 7;
    target = (VIP_ADDRESS_SEGMENT*)(void*)&descriptor.Data[0];
    return descriptor.Control.SegCount == 2 && descriptor.Control.Control == 5 && target->Data.AddressBits == 0x1234 &&
           descriptor.Data[1].Length == 7;
}

int main(void) {
    VIP_DESCRIPTOR* descriptor = (VIP_DESCRIPTOR*)(void*)&done_functions;
    size_t i;
    int good = same_storage();
    for (i = 0; i < 2; ++i) {
        /* NULL is no live handle, and the OUT pointer is written all the same. */
        good = good && done_functions[i](NULL, &descriptor) == VIP_INVALID_PARAMETER && descriptor == NULL;
        good = good && wait_functions[i](NULL, 1, &descriptor) == VIP_INVALID_PARAMETER;
        good = good && notify_functions[i](NULL, NULL, NULL) == VIP_INVALID_PARAMETER;
        good = good && post_functions[i](NULL, NULL, 0) == VIP_INVALID_PARAMETER;
    }
    if (!good)
        fprintf(stderr, "vipl.h: a check failed\n");
    return good ? 0 : 1;
}
