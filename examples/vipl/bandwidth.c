/* SPDX-License-Identifier: Apache-2.0
 *
 * bandwidth.c -- how much an RDMA write moves: one process writes into the other's memory, which does
 * nothing about it and hears of the last write only, because that one carries immediate data.
 *
 *     bandwidth target                      in one shell
 *     bandwidth writer [BYTES [COUNT]]      in another: prints megabytes (of 1,000,000) per second
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "example.h"

#define NAME "bandwidth"
#define BYTES_MAX (1ul << 20) /* of one write */
#define SLOTS 16u             /* writes that are under way at a time, each to a place of its own */

/* What the target tells the writer: where to write.  Addresses and memory handles are good for that in
 * any process that is connected with a VI of theirs. */
struct place {
    VIP_UINT64 address;
    VIP_MEM_HANDLE memory;
};

static void be_target(void) {
    struct endpoint end;
    struct place here;
    VIP_DESCRIPTOR* last;
    VIP_VI_HANDLE vi;
    VIP_RETURN code;
    unsigned char expected;
    open_endpoint(&end, 2, SLOTS * BYTES_MAX + sizeof here, VIP_TRUE);
    vi = create_vi(&end, NULL, VIP_TRUE); /* the VI, too, has to allow RDMA writes */
    post_receive(&end, vi, 0, NULL, 0);   /* for the immediate data; a write needs no buffer here */
    say_listening();
    serve_one(&end, vi, NAME);

    here.address = (VIP_UINT64)(size_t)end.data;
    here.memory = end.memory;
    memcpy(end.data + SLOTS * BYTES_MAX, &here, sizeof here);
    post_send(&end, vi, 1, end.data + SLOTS * BYTES_MAX, sizeof here);
    finish_send(vi);

    code = VipRecvWait(vi, 60000, &last);
    if (last != NULL) {
        must_be_good(last, "Waiting for the last write");
    }
    must(code, "VipRecvWait");
    expected = (unsigned char)last->CS.ImmediateData;
    if ((last->CS.Status & VIP_STATUS_OP_MASK) != VIP_STATUS_OP_REMOTE_RDMA_WRITE ||
        (unsigned char)end.data[0] != expected) {
        fprintf(stderr, "what was written does not agree with what was announced\n");
        exit(1);
    }
    printf("everything was written, beginning with %02x\n", expected);
    destroy_vi(vi);
    close_endpoint(&end);
}

/* Descriptor `slot` writes the whole source to its place: an address segment, then a data segment. */
static void post_write(const struct endpoint* end, VIP_VI_HANDLE vi, const struct place* there, unsigned slot,
                       VIP_UINT32 bytes, int is_last) {
    VIP_DESCRIPTOR* d = &end->descriptors[slot];
    memset(d, 0, sizeof *d);
    d->CS.SegCount = 2;
    d->CS.Control = (VIP_UINT16)(VIP_CONTROL_OP_RDMAWRITE | (is_last ? VIP_CONTROL_IMMEDIATE : 0));
    d->CS.ImmediateData = (unsigned char)end->data[0];
    d->CS.Length = bytes;
    d->DS[0].Remote.Data.AddressBits = there->address + slot * bytes;
    d->DS[0].Remote.Handle = there->memory;
    d->DS[1].Local.Data.Address = end->data;
    d->DS[1].Local.Handle = end->memory;
    d->DS[1].Local.Length = bytes;
    must(VipPostSend(vi, d, end->memory), "VipPostSend");
}

static void be_writer(VIP_UINT32 bytes, unsigned long count) {
    struct endpoint end;
    struct place there;
    VIP_VI_HANDLE vi;
    double began_us, took_us;
    unsigned long posted, finished;
    open_endpoint(&end, SLOTS + 1, BYTES_MAX + sizeof there, VIP_FALSE);
    vi = create_vi(&end, NULL, VIP_FALSE);
    post_receive(&end, vi, SLOTS, end.data + BYTES_MAX, sizeof there);
    connect_to(&end, vi, NAME);
    finish_receive(vi);
    memcpy(&there, end.data + BYTES_MAX, sizeof there);
    memset(end.data, 'w', bytes);

    began_us = now_us();
    for (posted = finished = 0; finished < count;) {
        if (posted < count && posted - finished < SLOTS) {
            /* The last one goes to the first place, where the target looks. */
            const int is_last = posted + 1 == count;
            if (!is_last || posted == finished) {
                post_write(&end, vi, &there, is_last ? 0 : (unsigned)(posted % SLOTS), bytes, is_last);
                ++posted;
                continue;
            }
        }
        finish_send(vi); /* descriptors of a queue finish in the order in which they were posted */
        ++finished;
    }
    took_us = now_us() - began_us;
    printf("%lu writes of %lu bytes: %.0f MB/s\n", count, (unsigned long)bytes,
           (double)count * (double)bytes / took_us);
    destroy_vi(vi);
    close_endpoint(&end);
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "target") == 0) {
        be_target();
        return 0;
    }
    if (argc >= 2 && argc <= 4 && strcmp(argv[1], "writer") == 0) {
        be_writer((VIP_UINT32)number_of(argc, argv, 2, 65536, BYTES_MAX), number_of(argc, argv, 3, 20000, 1000000000));
        return 0;
    }
    fprintf(stderr, "usage: %s target\n       %s writer [BYTES [COUNT]]\n", argv[0], argv[0]);
    return 2;
}
