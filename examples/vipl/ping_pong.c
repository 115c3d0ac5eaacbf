/* SPDX-License-Identifier: Apache-2.0
 *
 * ping_pong.c -- how long a message takes: two processes send one to and fro.
 *
 *     ping_pong server                          in one shell
 *     ping_pong client [BYTES [ROUND_TRIPS]]    in another: prints half of the median round trip
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "example.h"

#define NAME "ping-pong"
#define BYTES_MAX 65536ul
#define ROUND_TRIPS_MAX 1000000ul

enum { send_descriptor, receive_descriptors, descriptor_count = 3 };

struct player {
    struct endpoint end;
    VIP_VI_HANDLE vi;
    unsigned next; /* receive descriptor, of two, that the next message arrives in */
};

static char* buffer_of(const struct player* p, unsigned receive) { return p->end.data + (1 + receive) * BYTES_MAX; }

static void post_next(struct player* p, unsigned receive) {
    post_receive(&p->end, p->vi, receive_descriptors + receive, buffer_of(p, receive), BYTES_MAX);
}

/* Both receives are posted before there is a connection: none may arrive when there is none. */
static void begin(struct player* p) {
    open_endpoint(&p->end, descriptor_count, 3 * BYTES_MAX, VIP_FALSE);
    p->vi = create_vi(&p->end, NULL, VIP_FALSE);
    p->next = 0;
    post_next(p, 0);
    post_next(p, 1);
}

/* Polls for a while, because that is fastest, then sleeps.  NULL: the other side has gone. */
static VIP_DESCRIPTOR* next_message(struct player* p) {
    VIP_DESCRIPTOR* done;
    VIP_RETURN code = VIP_NOT_DONE;
    int spins = 0;
    while (spins++ < 2000 && code == VIP_NOT_DONE) {
        code = VipRecvDone(p->vi, &done);
    }
    if (code == VIP_NOT_DONE) {
        code = VipRecvWait(p->vi, PATIENCE_MS, &done);
    }
    if (code == VIP_DESCRIPTOR_ERROR && done != NULL && (done->CS.Status & VIP_STATUS_DESC_FLUSHED_ERROR) != 0) {
        return NULL;
    }
    if (done != NULL) {
        must_be_good(done, "A receive");
    }
    must(code, "VipRecvWait");
    return done;
}

/* Takes the oldest send back, which is complete as soon as its message has been answered. */
static void take_send(struct player* p) {
    VIP_DESCRIPTOR* done;
    VIP_RETURN code = VipSendDone(p->vi, &done);
    if (code == VIP_NOT_DONE) {
        code = VipSendWait(p->vi, PATIENCE_MS, &done);
    }
    if (code != VIP_DESCRIPTOR_ERROR || done == NULL || (done->CS.Status & VIP_STATUS_DESC_FLUSHED_ERROR) == 0) {
        must(code, "VipSendWait");
    }
}

static void serve(void) {
    struct player p;
    VIP_DESCRIPTOR* message;
    unsigned long answered = 0;
    begin(&p);
    say_listening();
    serve_one(&p.end, p.vi, NAME);
    while ((message = next_message(&p)) != NULL) {
        const unsigned arrived = p.next;
        p.next ^= 1;
        post_send(&p.end, p.vi, send_descriptor, buffer_of(&p, arrived), message->CS.Length);
        take_send(&p);
        post_next(&p, arrived);
        ++answered;
    }
    printf("answered %lu messages\n", answered);
    destroy_vi(p.vi);
    close_endpoint(&p.end);
}

static int compare_times(const void* a, const void* b) {
    const double left = *(const double*)a, right = *(const double*)b;
    return left < right ? -1 : left > right;
}

static void play(unsigned long bytes, unsigned long round_trips) {
    struct player p;
    unsigned long i;
    double* times_us = malloc(round_trips * sizeof *times_us);
    if (times_us == NULL) {
        fprintf(stderr, "no memory for the times of %lu round trips\n", round_trips);
        exit(1);
    }
    begin(&p);
    memset(p.end.data, 'p', bytes);
    connect_to(&p.end, p.vi, NAME);
    for (i = 0; i < round_trips; ++i) {
        const double began = now_us();
        VIP_DESCRIPTOR* answer;
        post_send(&p.end, p.vi, send_descriptor, p.end.data, (VIP_UINT32)bytes);
        answer = next_message(&p);
        times_us[i] = now_us() - began;
        if (answer == NULL || answer->CS.Length != bytes || memcmp(buffer_of(&p, p.next), p.end.data, bytes) != 0) {
            fprintf(stderr, "round trip %lu: %s\n", i, answer == NULL ? "the server has gone" : "a wrong answer");
            exit(1);
        }
        take_send(&p);
        post_next(&p, p.next);
        p.next ^= 1;
    }
    qsort(times_us, round_trips, sizeof *times_us, compare_times);
    printf("%lu bytes: %.3f us one way (median of %lu round trips)\n", bytes, times_us[round_trips / 2] / 2,
           round_trips);
    free(times_us);
    destroy_vi(p.vi);
    close_endpoint(&p.end);
}

int main(int argc, char** argv) {
    if (argc == 2 && strcmp(argv[1], "server") == 0) {
        serve();
        return 0;
    }
    if (argc >= 2 && argc <= 4 && strcmp(argv[1], "client") == 0) {
        play(number_of(argc, argv, 2, 8, BYTES_MAX), number_of(argc, argv, 3, 10000, ROUND_TRIPS_MAX));
        return 0;
    }
    fprintf(stderr, "usage: %s server\n       %s client [BYTES [ROUND_TRIPS]]\n", argv[0], argv[0]);
    return 2;
}
