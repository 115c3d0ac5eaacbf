/* SPDX-License-Identifier: Apache-2.0
 *
 * dialects.h -- one exchange of messages, written by two C programs in the two dialects of the descriptor.
 */
#ifndef VIPL_TEST_DIALECTS_H
#define VIPL_TEST_DIALECTS_H

#include <vipl.h>

#ifdef __cplusplus
extern "C" {
#endif

/** One side: a connected VI and 16 KiB of registered memory that starts at a multiple of 64. */
struct dialect_side {
    VIP_VI_HANDLE vi;
    void* memory;
    VIP_MEM_HANDLE handle;
};

/** Sends a message of two segments with immediate data, then writes to the receiver by RDMA.  NULL, or what went
 *  wrong. */
const char* exchange_in_dialect_a(struct dialect_side* from, struct dialect_side* to);
const char* exchange_in_dialect_b(struct dialect_side* from, struct dialect_side* to);

#ifdef __cplusplus
}
#endif

#endif
