/* SPDX-License-Identifier: Apache-2.0
 *
 * hostile_client.c -- a program that defines functions named like POSIX semaphores, for purposes of its own, and that
 * looks after its signal handlers.  The library must call the one and touch the other never.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vipl.h>

#define TIMEOUT 30000
#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "hostile_client.c:%d: not %s\n", __LINE__, #condition); \
            return 1;                                                               \
        }                                                                           \
    } while (0)

/* What the program means by these names has nothing to do with the C library's. */
#define MINE(name)                                                       \
    int name(void);                                                      \
    int name(void) {                                                     \
        static const char text[] = #name " of the program was called\n"; \
        if (write(2, text, sizeof text - 1) < 0) {                       \
            _exit(98);                                                   \
        }                                                                \
        _exit(99);                                                       \
    }
MINE(sem_init)
MINE(sem_destroy)
MINE(sem_open)
MINE(sem_close)
MINE(sem_wait)
MINE(sem_trywait)
MINE(sem_timedwait)
MINE(sem_clockwait)
MINE(sem_post)
MINE(sem_getvalue)

static struct sigaction before[65];

static int look_at_signals(struct sigaction* actions) {
    int i;
    for (i = 1; i < 65; ++i) {
        memset(&actions[i], 0, sizeof actions[i]);
        (void)sigaction(i, 0, &actions[i]);
    }
    return 0;
}

static int signals_are_untouched(void) {
    static struct sigaction after[65];
    int i;
    look_at_signals(after);
    for (i = 1; i < 65; ++i) {
        if (before[i].sa_handler != after[i].sa_handler || before[i].sa_flags != after[i].sa_flags) {
            fprintf(stderr, "signal %d\n", i);
            return 0;
        }
    }
    return 1;
}

static void heard(VIP_PVOID context, VIP_NIC_HANDLE nic, VIP_VI_HANDLE vi, VIP_DESCRIPTOR* descriptor) {
    (void)nic;
    (void)vi;
    __atomic_store_n((VIP_DESCRIPTOR**)context, descriptor, __ATOMIC_RELEASE);
}

static void name_address(VIP_NIC_ATTRIBUTES* nic, char* to, const char* discriminator) {
    VIP_NET_ADDRESS* address = (VIP_NET_ADDRESS*)to;
    address->HostAddressLen = nic->NicAddressLen;
    address->DiscriminatorLen = 1;
    memcpy(to + 4, nic->LocalNicAddress, nic->NicAddressLen);
    to[4 + nic->NicAddressLen] = *discriminator;
}

static int run(VIP_NIC_HANDLE nic) {
    VIP_NIC_ATTRIBUTES about;
    VIP_VI_ATTRIBUTES attributes, remote;
    VIP_MEM_ATTRIBUTES rights;
    VIP_MEM_HANDLE handle;
    VIP_VI_HANDLE left, right;
    VIP_DESCRIPTOR *send, *receive, *done = 0, *notified = 0;
    char address[2][40];
    char* memory = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int i;
    CHECK(memory != MAP_FAILED);
    memset(&rights, 0, sizeof rights);
    memset(&attributes, 0, sizeof attributes);
    CHECK(VipQueryNic(nic, &about) == VIP_SUCCESS);
    CHECK(VipCreatePtag(nic, &rights.Ptag) == VIP_SUCCESS);
    CHECK(VipRegisterMem(nic, memory, 65536, &rights, &handle) == VIP_SUCCESS);
    attributes.ReliabilityLevel = VIP_SERVICE_RELIABLE_RECEPTION;
    attributes.MaxTransferSize = 32768;
    attributes.Ptag = rights.Ptag;
    CHECK(VipCreateVi(nic, &attributes, 0, 0, &left) == VIP_SUCCESS);
    CHECK(VipCreateVi(nic, &attributes, 0, 0, &right) == VIP_SUCCESS);
    name_address(&about, address[0], "l");
    name_address(&about, address[1], "r");
    CHECK(VipConnectPeerRequest(left, (VIP_NET_ADDRESS*)address[0], (VIP_NET_ADDRESS*)address[1], TIMEOUT) == 0);
    CHECK(VipConnectPeerRequest(right, (VIP_NET_ADDRESS*)address[1], (VIP_NET_ADDRESS*)address[0], TIMEOUT) == 0);
    CHECK(VipConnectPeerWait(left, &remote) == VIP_SUCCESS);
    CHECK(VipConnectPeerWait(right, &remote) == VIP_SUCCESS);
    send = (VIP_DESCRIPTOR*)memory;
    receive = send + 1;
    for (i = 0; i < 100; ++i) {
        memset(memory, 0, 2 * sizeof *send);
        CHECK(VipPostRecv(right, receive, handle) == VIP_SUCCESS);
        if (i == 50) {
            CHECK(VipRecvNotify(right, &notified, heard) == VIP_SUCCESS);
        }
        CHECK(VipPostSend(left, send, handle) == VIP_SUCCESS);
        CHECK(VipSendWait(left, TIMEOUT, &done) == VIP_SUCCESS && done == send);
        if (i == 50) {
            while (__atomic_load_n(&notified, __ATOMIC_ACQUIRE) == 0) {
                usleep(100);
            }
            CHECK(notified == receive);
        } else {
            CHECK(VipRecvWait(right, TIMEOUT, &done) == VIP_SUCCESS && done == receive);
        }
    }
    CHECK(signals_are_untouched());
    CHECK(VipDisconnect(left) == VIP_SUCCESS && VipDisconnect(right) == VIP_SUCCESS);
    CHECK(VipDestroyVi(left) == VIP_SUCCESS && VipDestroyVi(right) == VIP_SUCCESS);
    CHECK(VipDeregisterMem(nic, memory, handle) == VIP_SUCCESS);
    CHECK(VipDestroyPtag(nic, rights.Ptag) == VIP_SUCCESS);
    return 0;
}

int main(void) {
    VIP_NIC_HANDLE nic;
    char directory[] = "/tmp/vinic-hostile.XXXXXX";
    int outcome;
    look_at_signals(before);
    CHECK(mkdtemp(directory) != 0);
    setenv("VINIC_SHM_DIR", directory, 1);
    CHECK(VipOpenNic("/dev/hostile", &nic) == VIP_SUCCESS);
    outcome = run(nic);
    CHECK(VipCloseNic(nic) == VIP_SUCCESS);
    CHECK(signals_are_untouched());
    CHECK(rmdir(directory) == 0);
    return outcome;
}
