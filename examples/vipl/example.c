/* SPDX-License-Identifier: Apache-2.0
 *
 * example.c -- the functions that the examples share; example.h says what they are for.
 */
#define _POSIX_C_SOURCE 200809L
#include "example.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEVICE_NAME "vipl-example"

static const char* return_name(VIP_RETURN code) {
    static const char* const names[] = {"VIP_SUCCESS",
                                        "VIP_NOT_DONE",
                                        "VIP_INVALID_PARAMETER",
                                        "VIP_ERROR_RESOURCE",
                                        "VIP_TIMEOUT",
                                        "VIP_REJECT",
                                        "VIP_INVALID_RELIABILITY_LEVEL",
                                        "VIP_INVALID_MTU",
                                        "VIP_INVALID_QOS",
                                        "VIP_INVALID_PTAG",
                                        "VIP_INVALID_RDMAREAD",
                                        "VIP_DESCRIPTOR_ERROR",
                                        "VIP_INVALID_STATE",
                                        "VIP_ERROR_NAMESERVICE",
                                        "VIP_NO_MATCH",
                                        "VIP_NOT_REACHABLE",
                                        "VIP_ERROR_NOT_SUPPORTED"};
    return (size_t)code < sizeof names / sizeof names[0] ? names[code] : "an unknown code";
}

void must(VIP_RETURN code, const char* call) {
    if (code != VIP_SUCCESS) {
        fprintf(stderr, "%s returned %s\n", call, return_name(code));
        exit(1);
    }
}

void must_be_good(const VIP_DESCRIPTOR* descriptor, const char* what) {
    const VIP_UINT32 status = descriptor->CS.Status;
    if ((status & VIP_STATUS_ERROR_MASK) != 0) {
        fprintf(stderr, "%s failed with status 0x%08lx%s%s%s\n", what, (unsigned long)status,
                (status & VIP_STATUS_DESC_FLUSHED_ERROR) != 0 ? ": the connection has ended" : "",
                (status & VIP_STATUS_LENGTH_ERROR) != 0 ? ": the message does not fit" : "",
                (status & VIP_STATUS_PROTECTION_ERROR) != 0 ? ": memory that may not be used" : "");
        exit(1);
    }
}

/* Called by a thread of the provider for what no descriptor can tell. */
static void on_error(VIP_PVOID context, VIP_ERROR_DESCRIPTOR* error) {
    (void)context;
    /* That the other side has gone is seen on the descriptors too, and is how these programs end. */
    if (error->ErrorCode != VIP_ERROR_CONN_LOST) {
        fprintf(stderr, "asynchronous error %d on VI %p\n", (int)error->ErrorCode, error->ViHandle);
    }
}

static VIP_NIC_HANDLE opened;

/* However the program ends, its NIC is closed: the last one out removes the device. */
static void close_nic(void) { (void)VipCloseNic(opened); }

void open_endpoint(struct endpoint* here, unsigned descriptor_count, size_t data_bytes, VIP_BOOLEAN rdma_write) {
    const size_t bytes = descriptor_count * sizeof(VIP_DESCRIPTOR) + data_bytes;
    VIP_MEM_ATTRIBUTES rights;
    void* memory = NULL;
    must(VipOpenNic(DEVICE_NAME, &here->nic), "VipOpenNic");
    opened = here->nic;
    (void)atexit(close_nic);
    must(VipErrorCallback(here->nic, NULL, on_error), "VipErrorCallback");
    must(VipCreatePtag(here->nic, &here->ptag), "VipCreatePtag");
    if (posix_memalign(&memory, 4096, bytes) != 0) {
        fprintf(stderr, "no memory for %lu bytes\n", (unsigned long)bytes);
        exit(1);
    }
    memset(memory, 0, bytes);
    here->descriptors = memory;
    here->data = (char*)memory + descriptor_count * sizeof(VIP_DESCRIPTOR);
    rights.Ptag = here->ptag;
    rights.EnableRdmaWrite = rdma_write;
    rights.EnableRdmaRead = VIP_FALSE;
    must(VipRegisterMem(here->nic, memory, bytes, &rights, &here->memory), "VipRegisterMem");
}

void close_endpoint(struct endpoint* here) {
    must(VipDeregisterMem(here->nic, here->descriptors, here->memory), "VipDeregisterMem");
    must(VipDestroyPtag(here->nic, here->ptag), "VipDestroyPtag");
    must(VipCloseNic(here->nic), "VipCloseNic");
    free(here->descriptors);
}

VIP_VI_HANDLE create_vi(const struct endpoint* here, VIP_CQ_HANDLE cq, VIP_BOOLEAN rdma_write) {
    VIP_VI_ATTRIBUTES wanted;
    VIP_VI_HANDLE vi;
    memset(&wanted, 0, sizeof wanted);
    wanted.ReliabilityLevel = VIP_SERVICE_RELIABLE_RECEPTION;
    wanted.MaxTransferSize = 1u << 20;
    wanted.Ptag = here->ptag;
    wanted.EnableRdmaWrite = rdma_write;
    must(VipCreateVi(here->nic, &wanted, cq, cq, &vi), "VipCreateVi");
    return vi;
}

void destroy_vi(VIP_VI_HANDLE vi) {
    VIP_DESCRIPTOR* flushed;
    must(VipDisconnect(vi), "VipDisconnect");
    do {
        (void)VipSendDone(vi, &flushed);
    } while (flushed != NULL);
    do {
        (void)VipRecvDone(vi, &flushed);
    } while (flushed != NULL);
    must(VipDestroyVi(vi), "VipDestroyVi");
}

VIP_NET_ADDRESS* make_address(const struct endpoint* here, union address_buffer* to, const char* discriminator) {
    static char host[] = "localhost";
    const size_t bytes = strlen(discriminator);
    must(VipNSGetHostByName(here->nic, host, &to->address, 0), "VipNSGetHostByName");
    if (bytes > 64) {
        fprintf(stderr, "'%s' is too long a name\n", discriminator);
        exit(1);
    }
    to->address.DiscriminatorLen = (VIP_UINT16)bytes;
    memcpy(to->room + offsetof(VIP_NET_ADDRESS, HostAddress) + to->address.HostAddressLen, discriminator, bytes);
    return &to->address;
}

void nap(void) {
    const struct timespec pause = {0, 5000000};
    (void)nanosleep(&pause, NULL);
}

void say_listening(void) {
    puts("listening");
    fflush(stdout);
}

void serve_one(const struct endpoint* here, VIP_VI_HANDLE vi, const char* name) {
    union address_buffer local, remote;
    VIP_VI_ATTRIBUTES theirs;
    VIP_CONN_HANDLE request;
    must(VipConnectWait(here->nic, make_address(here, &local, name), VIP_INFINITE, &remote.address, &theirs, &request),
         "VipConnectWait");
    must(VipConnectAccept(request, vi), "VipConnectAccept");
}

void connect_to(const struct endpoint* here, VIP_VI_HANDLE vi, const char* name) {
    union address_buffer local, remote;
    VIP_VI_ATTRIBUTES theirs;
    VIP_RETURN code;
    int tries = 1000;
    make_address(here, &local, "client");
    make_address(here, &remote, name);
    while ((code = VipConnectRequest(vi, &local.address, &remote.address, PATIENCE_MS, &theirs)) == VIP_NO_MATCH &&
           --tries > 0) {
        nap();
    }
    must(code, code == VIP_NO_MATCH ? "No server is there: VipConnectRequest" : "VipConnectRequest");
}

VIP_DESCRIPTOR* describe(const struct endpoint* here, unsigned number, void* at, VIP_UINT32 bytes) {
    VIP_DESCRIPTOR* d = &here->descriptors[number];
    memset(d, 0, sizeof *d);
    d->CS.SegCount = 1;
    d->CS.Control = VIP_CONTROL_OP_SENDRECV;
    d->CS.Length = bytes;
    d->DS[0].Local.Data.Address = at;
    d->DS[0].Local.Handle = here->memory;
    d->DS[0].Local.Length = bytes;
    return d;
}

void post_receive(const struct endpoint* here, VIP_VI_HANDLE vi, unsigned number, void* at, VIP_UINT32 bytes) {
    must(VipPostRecv(vi, describe(here, number, at, bytes), here->memory), "VipPostRecv");
}

void post_send(const struct endpoint* here, VIP_VI_HANDLE vi, unsigned number, void* at, VIP_UINT32 bytes) {
    must(VipPostSend(vi, describe(here, number, at, bytes), here->memory), "VipPostSend");
}

void finish_send(VIP_VI_HANDLE vi) {
    VIP_DESCRIPTOR* done;
    const VIP_RETURN code = VipSendWait(vi, PATIENCE_MS, &done);
    if (done != NULL) {
        must_be_good(done, "A send");
    }
    must(code, "VipSendWait");
}

VIP_DESCRIPTOR* finish_receive(VIP_VI_HANDLE vi) {
    VIP_DESCRIPTOR* done;
    const VIP_RETURN code = VipRecvWait(vi, PATIENCE_MS, &done);
    if (done != NULL) {
        must_be_good(done, "A receive");
    }
    must(code, "VipRecvWait");
    return done;
}

unsigned long number_of(int argc, char** argv, int index, unsigned long otherwise, unsigned long most) {
    char* end;
    unsigned long value;
    if (index >= argc) {
        return otherwise;
    }
    value = strtoul(argv[index], &end, 10);
    if (*end != '\0' || argv[index][0] == '-' || value == 0 || value > most) {
        fprintf(stderr, "'%s' is not a number from 1 to %lu\n", argv[index], most);
        exit(2);
    }
    return value;
}

double now_us(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}
