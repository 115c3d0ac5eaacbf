/* SPDX-License-Identifier: Apache-2.0
 *
 * peers.c -- a connection between equals: neither waits for the other, both ask for each other.
 *
 *     peers anna berta      in one shell
 *     peers berta anna      in another
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "example.h"

#define TEXT_BYTES 128u

/* Asks, and looks now and then whether the other one has asked too.  The VI belongs to the attempt
 * meanwhile, but the program could do something else. */
static void meet(const struct endpoint* end, VIP_VI_HANDLE vi, const char* me, const char* you) {
    union address_buffer local, remote;
    VIP_VI_ATTRIBUTES theirs;
    VIP_RETURN code;
    make_address(end, &local, me);
    make_address(end, &remote, you);
    must(VipConnectPeerRequest(vi, &local.address, &remote.address, PATIENCE_MS), "VipConnectPeerRequest");
    say_listening();
    while ((code = VipConnectPeerDone(vi, &theirs)) == VIP_NOT_DONE) {
        nap();
    }
    if (code == VIP_TIMEOUT) {
        fprintf(stderr, "%s did not ask for %s within %d s; start the other side too\n", you, me, PATIENCE_MS / 1000);
        exit(1);
    }
    must(code, "VipConnectPeerDone");
}

static void talk(const char* me, const char* you) {
    struct endpoint end;
    VIP_VI_HANDLE vi;
    VIP_DESCRIPTOR* message;
    int length;
    open_endpoint(&end, 2, (size_t)2 * TEXT_BYTES, VIP_FALSE);
    vi = create_vi(&end, NULL, VIP_FALSE);
    post_receive(&end, vi, 0, end.data, TEXT_BYTES); /* before the connection, so that no message comes too early */
    meet(&end, vi, me, you);
    length = snprintf(end.data + TEXT_BYTES, TEXT_BYTES, "good day, %s, says %s", you, me);
    post_send(&end, vi, 1, end.data + TEXT_BYTES, (VIP_UINT32)length);
    message = finish_receive(vi);
    printf("%.*s\n", (int)message->CS.Length, end.data);
    /* At Reliable Reception a finished send has arrived: now either side may disconnect. */
    finish_send(vi);
    destroy_vi(vi);
    close_endpoint(&end);
}

int main(int argc, char** argv) {
    if (argc != 3 || strcmp(argv[1], argv[2]) == 0 || strlen(argv[1]) > 50 || strlen(argv[2]) > 50) {
        fprintf(stderr, "usage: %s ME YOU, and %s YOU ME elsewhere; names of at most 50 bytes\n", argv[0], argv[0]);
        return 2;
    }
    talk(argv[1], argv[2]);
    return 0;
}
