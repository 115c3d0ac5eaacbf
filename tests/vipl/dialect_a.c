/* SPDX-License-Identifier: Apache-2.0
 *
 * dialect_a.c -- a client as those of the CS/DS dialect are written.
 */
#define VIPL095
#include <string.h>

#include "dialects.h"

#define TIMEOUT 30000
#define OFFSET 4096

static VIP_DESCRIPTOR* prepare(struct dialect_side* side, int number, int segments, int control) {
    VIP_DESCRIPTOR* d = (VIP_DESCRIPTOR*)side->memory + number;
    memset(d, 0, sizeof *d);
    d->CS.SegCount = (VIP_UINT16)segments;
    d->CS.Control = (VIP_UINT16)control;
    return d;
}

const char* exchange_in_dialect_a(struct dialect_side* from, struct dialect_side* to) {
    VIP_DESCRIPTOR *receive, *send, *done = 0;
    char* source = (char*)from->memory + OFFSET;
    char* target = (char*)to->memory + OFFSET;

    receive = prepare(to, 0, 1, 0);
    receive->DS[0].Local.Data.Address = target;
    receive->DS[0].Local.Handle = to->handle;
    receive->DS[0].Local.Length = 100;
    receive->CS.Length = 100;
    if (VipPostRecv(to->vi, receive, to->handle) != VIP_SUCCESS)
        return "VipPostRecv";

    strcpy(source, "two");
    strcpy(source + 50, "pieces");
    send = prepare(from, 0, 2, VIP_CONTROL_OP_SENDRECV | VIP_CONTROL_IMMEDIATE);
    send->CS.ImmediateData = (VIP_UINT32)-2;
    send->DS[0].Local.Data.Address = source;
    send->DS[0].Local.Handle = from->handle;
    send->DS[0].Local.Length = 3;
    send->DS[1].Local.Data.Address = source + 50;
    send->DS[1].Local.Handle = from->handle;
    send->DS[1].Local.Length = 7;
    send->CS.Length = 10;
    if (VipPostSend(from->vi, send, from->handle) != VIP_SUCCESS)
        return "VipPostSend";
    if (VipSendWait(from->vi, TIMEOUT, &done) != VIP_SUCCESS || done != send)
        return "VipSendWait";
    if (VipRecvWait(to->vi, TIMEOUT, &done) != VIP_SUCCESS || done != receive)
        return "VipRecvWait";
    if (!(done->CS.Status & VIP_STATUS_IMMEDIATE) || (int)done->CS.ImmediateData != -2 || done->CS.Length != 10)
        return "what the receive descriptor says";
    if (strcmp(target, "twopieces") != 0)
        return "what arrived";

    send = prepare(from, 1, 2, VIP_CONTROL_OP_RDMAWRITE);
    send->DS[0].Remote.Data.Address = target + 200;
    send->DS[0].Remote.Handle = to->handle;
    send->DS[1].Local.Data.Address = source + 50;
    send->DS[1].Local.Handle = from->handle;
    send->DS[1].Local.Length = 7;
    send->CS.Length = 7;
    if (VipPostSend(from->vi, send, from->handle) != VIP_SUCCESS)
        return "VipPostSend of an RDMA write";
    if (VipSendWait(from->vi, TIMEOUT, &done) != VIP_SUCCESS || done != send)
        return "VipSendWait for an RDMA write";
    return strcmp(target + 200, "pieces") == 0 ? 0 : "what was written";
}
