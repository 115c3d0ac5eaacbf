/* SPDX-License-Identifier: Apache-2.0
 *
 * example.h -- what the examples share: errors end them with a sentence, memory and descriptors are
 * prepared in one go, and a VI is taken down in the order that VIPL wants.
 *
 *     cc ping_pong.c example.c $(pkg-config --cflags --libs vipl) -o ping_pong
 *
 *   memory of an endpoint, registered as a whole:
 *
 *     | descriptor 0 | descriptor 1 | ... | data ...
 *       64 bytes each, 64-byte aligned
 */
#ifndef VIPL_EXAMPLE_H
#define VIPL_EXAMPLE_H

#include <stddef.h>
#include <vipl.h>

#define PATIENCE_MS 10000 /* for the other side to do its part */

struct endpoint {
    VIP_NIC_HANDLE nic;
    VIP_PROTECTION_HANDLE ptag;
    VIP_MEM_HANDLE memory;
    VIP_DESCRIPTOR* descriptors;
    char* data;
};

/* A VIP_NET_ADDRESS with room for the host address and any discriminator. */
union address_buffer {
    VIP_NET_ADDRESS address;
    VIP_UINT8 room[sizeof(VIP_NET_ADDRESS) + 6 + 64];
};

/* Ends the program unless the call went well. */
void must(VIP_RETURN code, const char* call);
/* Ends the program if a finished descriptor says that its operation failed. */
void must_be_good(const VIP_DESCRIPTOR* descriptor, const char* what);

/* Opens the NIC and registers descriptors and data, both zero. */
void open_endpoint(struct endpoint* here, unsigned descriptor_count, size_t data_bytes, VIP_BOOLEAN rdma_write);
void close_endpoint(struct endpoint* here);

/* A VI whose queues report to `cq`, or to nobody. */
VIP_VI_HANDLE create_vi(const struct endpoint* here, VIP_CQ_HANDLE cq, VIP_BOOLEAN rdma_write);
/* Ends the connection, takes back what was posted, destroys the VI. */
void destroy_vi(VIP_VI_HANDLE vi);

/* "This machine" and a discriminator, which is any bytes that both sides agree on. */
VIP_NET_ADDRESS* make_address(const struct endpoint* here, union address_buffer* to, const char* discriminator);
/* The server's half: waits for one client and connects it with `vi`. */
void serve_one(const struct endpoint* here, VIP_VI_HANDLE vi, const char* name);
/* The client's half.  VIP_NO_MATCH comes at once while no server waits, so it is tried again. */
void connect_to(const struct endpoint* here, VIP_VI_HANDLE vi, const char* name);

/* Post descriptor `number` with one segment: `bytes` bytes at `at`. */
void post_receive(const struct endpoint* here, VIP_VI_HANDLE vi, unsigned number, void* at, VIP_UINT32 bytes);
void post_send(const struct endpoint* here, VIP_VI_HANDLE vi, unsigned number, void* at, VIP_UINT32 bytes);
/* The oldest send, or receive, of the VI: it has to end well. */
void finish_send(VIP_VI_HANDLE vi);
VIP_DESCRIPTOR* finish_receive(VIP_VI_HANDLE vi);

/* A number of the command line between 1 and `most`; `otherwise` if it is not given. */
unsigned long number_of(int argc, char** argv, int index, unsigned long otherwise, unsigned long most);
/* For whoever starts the other side after this one, be it a person or a script. */
void say_listening(void);
void nap(void);
double now_us(void);

#endif
