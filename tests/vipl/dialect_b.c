/* SPDX-License-Identifier: Apache-2.0
 *
 * dialect_b.c -- a client as those of the Control/Data dialect are written; it writes the address segment through a
 * cast.
 */
#include <string.h>

#include "dialects.h"

#define TIMEOUT 30000
#define OFFSET 8192

static void segment(VIP_DATA_SEGMENT* s, void* at, VIP_MEM_HANDLE handle, VIP_UINT32 length) {
    s->Data.AddressBits = 0;
    s->Data.Address = at;
    s->Handle = handle;
    s->Length = length;
}

static VIP_DESCRIPTOR* prepare(struct dialect_side* side, int number, int segments, int control, VIP_UINT32 length) {
    VIP_DESCRIPTOR* d = (VIP_DESCRIPTOR*)side->memory + number;
    memset(&d->Control, 0, sizeof d->Control);
    d->Control.SegCount = (VIP_UINT16)segments;
    d->Control.Control = (VIP_UINT16)control;
    d->Control.Length = length;
    return d;
}

const char* exchange_in_dialect_b(struct dialect_side* from, struct dialect_side* to) {
    VIP_DESCRIPTOR *receive, *send, *done = 0;
    VIP_ADDRESS_SEGMENT* address;
    char* source = (char*)from->memory + OFFSET;
    char* target = (char*)to->memory + OFFSET;

    receive = prepare(to, 10, 1, 0, 100);
    segment(&receive->Data[0], target, to->handle, 100);
    if (VipPostRecv(to->vi, receive, to->handle) != VIP_SUCCESS)
        return "VipPostRecv";

    strcpy(source, "other");
    strcpy(source + 60, " dialect");
    send = prepare(from, 10, 2, VIP_CONTROL_OP_SENDRECV | VIP_CONTROL_IMMEDIATE, 14);
    send->Control.ImmediateData = 0xdeadbeef;
    segment(&send->Data[0], source, from->handle, 5);
    segment(&send->Data[1], source + 60, from->handle, 9);
    if (VipPostSend(from->vi, send, from->handle) != VIP_SUCCESS)
        return "VipPostSend";
    if (VipSendWait(from->vi, TIMEOUT, &done) != VIP_SUCCESS || done != send)
        return "VipSendWait";
    if (VipRecvWait(to->vi, TIMEOUT, &done) != VIP_SUCCESS || done != receive)
        return "VipRecvWait";
    if (!(done->Control.Status & VIP_STATUS_DONE) || done->Control.ImmediateData != 0xdeadbeef ||
        done->Control.Length != 14)
        return "what the receive descriptor says";
    if (strcmp(target, "other dialect") != 0)
        return "what arrived";

    send = prepare(from, 11, 2, VIP_CONTROL_OP_RDMAWRITE, 9);
    address = (VIP_ADDRESS_SEGMENT*)&send->Data[0];
    address->Data.AddressBits = 0;
    address->Data.Address = target + 300;
    address->Handle = to->handle;
    address->Reserved = 0;
    segment(&send->Data[1], source + 60, from->handle, 9);
    if (VipPostSend(from->vi, send, from->handle) != VIP_SUCCESS)
        return "VipPostSend of an RDMA write";
    if (VipSendWait(from->vi, TIMEOUT, &done) != VIP_SUCCESS || done != send)
        return "VipSendWait for an RDMA write";
    return strcmp(target + 300, " dialect") == 0 ? 0 : "what was written";
}
