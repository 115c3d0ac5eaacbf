/* SPDX-License-Identifier: Apache-2.0
 *
 * vipl.c -- a C program outside vinic that uses VIPL: it connects two VIs of its own and sends a message.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <vipl.h>

static void must(VIP_RETURN code, const char* call) {
    if (code != VIP_SUCCESS) {
        fprintf(stderr, "%s returned %d\n", call, (int)code);
        exit(1);
    }
}

static VIP_NIC_HANDLE nic;
static VIP_MEM_HANDLE memory_handle;

static VIP_VI_HANDLE create_vi(void) {
    VIP_VI_ATTRIBUTES wanted;
    VIP_VI_HANDLE vi;
    memset(&wanted, 0, sizeof wanted);
    wanted.ReliabilityLevel = VIP_SERVICE_RELIABLE_DELIVERY;
    wanted.MaxTransferSize = 4096;
    must(VipCreateVi(nic, &wanted, NULL, NULL, &vi), "VipCreateVi");
    return vi;
}

static VIP_DESCRIPTOR* describe(VIP_DESCRIPTOR* d, char* at, VIP_UINT32 bytes) {
    memset(d, 0, sizeof *d);
    d->CS.SegCount = 1;
    d->CS.Length = bytes;
    d->DS[0].Local.Data.Address = at;
    d->DS[0].Local.Handle = memory_handle;
    d->DS[0].Local.Length = bytes;
    return d;
}

static void ask(VIP_VI_HANDLE vi, const VIP_UINT8* host, const char* me, const char* you) {
    VIP_UINT64 room[2][4];
    VIP_NET_ADDRESS* addresses[2];
    const char* names[2];
    int i;
    names[0] = me;
    names[1] = you;
    for (i = 0; i < 2; ++i) {
        VIP_UINT8* bytes = (VIP_UINT8*)room[i] + 4;
        addresses[i] = (VIP_NET_ADDRESS*)room[i];
        addresses[i]->HostAddressLen = 6;
        addresses[i]->DiscriminatorLen = 1;
        memcpy(bytes, host, 6);
        bytes[6] = (VIP_UINT8)names[i][0];
    }
    must(VipConnectPeerRequest(vi, addresses[0], addresses[1], 10000), "VipConnectPeerRequest");
}

int main(void) {
    VIP_NIC_ATTRIBUTES about;
    VIP_MEM_ATTRIBUTES rights;
    VIP_VI_ATTRIBUTES theirs;
    VIP_VI_HANDLE left, right;
    VIP_DESCRIPTOR* done;
    char* memory = aligned_alloc(VIP_DESCRIPTOR_ALIGNMENT, 4096);
    char* text = memory + 2 * sizeof(VIP_DESCRIPTOR);
    if (memory == NULL) {
        return 1;
    }
    must(VipOpenNic("consumer", &nic), "VipOpenNic");
    must(VipQueryNic(nic, &about), "VipQueryNic");
    memset(&rights, 0, sizeof rights);
    must(VipRegisterMem(nic, memory, 4096, &rights, &memory_handle), "VipRegisterMem");
    left = create_vi();
    right = create_vi();
    must(VipPostRecv(right, describe((VIP_DESCRIPTOR*)memory, text, 16), memory_handle), "VipPostRecv");
    ask(left, about.LocalNicAddress, "l", "r");
    ask(right, about.LocalNicAddress, "r", "l");
    must(VipConnectPeerWait(left, &theirs), "VipConnectPeerWait");
    must(VipConnectPeerWait(right, &theirs), "VipConnectPeerWait");
    memcpy(text + 16, "hello", 5);
    must(VipPostSend(left, describe((VIP_DESCRIPTOR*)memory + 1, text + 16, 5), memory_handle), "VipPostSend");
    must(VipRecvWait(right, 10000, &done), "VipRecvWait");
    if (done->CS.Length != 5 || memcmp(text, "hello", 5) != 0) {
        fprintf(stderr, "another message arrived than was sent\n");
        return 1;
    }
    must(VipCloseNic(nic), "VipCloseNic");
    free(memory);
    return 0;
}
