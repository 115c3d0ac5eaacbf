/* SPDX-License-Identifier: Apache-2.0
 *
 * cq_server.c -- one server, several clients, one completion queue: a thread lets clients in, and the
 * server waits in one place for whatever happens on any connection, and is told on which VI it was and
 * on which of its queues.
 *
 *     cq_server server [CLIENTS]     in one shell; CLIENTS is 2 unless said otherwise
 *     cq_server client WORD          in as many others: prints what the server makes of WORD
 */
#include <ctype.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "example.h"

#define NAME "cq-server"
#define LINE_BYTES 128u
#define LINES 3u /* that a client sends; also receives that are posted for it: nobody else paces it */
#define CLIENTS_MAX 64ul

/* Each client has a receive descriptor per line and one for good-bye, and one to send from. */
enum { per_client = LINES + 2 };

struct client {
    VIP_VI_HANDLE vi;
    unsigned first;    /* descriptor of it; buffers have the same numbers */
    unsigned received; /* messages */
    unsigned sending;  /* answers under way, at most one: it has one descriptor */
};

struct server {
    struct endpoint end;
    VIP_CQ_HANDLE cq;
    unsigned client_count;
    struct client clients[CLIENTS_MAX];
};

static char* buffer(const struct endpoint* end, unsigned number) { return end->data + number * LINE_BYTES; }

static void take_client(struct server* s, unsigned number) {
    struct client* c = &s->clients[number];
    unsigned i;
    c->first = number * per_client;
    c->received = c->sending = 0;
    c->vi = create_vi(&s->end, s->cq, VIP_FALSE);
    VipSetUserData(c->vi, c); /* so that an entry of the completion queue leads back here */
    for (i = 0; i <= LINES; ++i) {
        post_receive(&s->end, c->vi, c->first + i, buffer(&s->end, c->first + i), LINE_BYTES);
    }
    serve_one(&s->end, c->vi, NAME);
}

static void* take_clients(void* server) {
    struct server* s = server;
    unsigned i;
    for (i = 0; i < s->client_count; ++i) {
        take_client(s, i);
    }
    return NULL;
}

/* Answers a line in capitals.  Returns 1 for the empty message, which is the good-bye. */
static int answer(struct server* s, struct client* c) {
    const unsigned mine = c->first + LINES + 1;
    const VIP_DESCRIPTOR* message = finish_receive(c->vi);
    const char* from = message->DS[0].Local.Data.Address;
    VIP_UINT32 i;
    ++c->received;
    if (message->CS.Length == 0) {
        return 1;
    }
    if (c->sending != 0) {
        finish_send(c->vi); /* its entry in the queue stays, and is recognised below */
        c->sending = 0;
    }
    for (i = 0; i < message->CS.Length; ++i) {
        buffer(&s->end, mine)[i] = (char)toupper((unsigned char)from[i]);
    }
    post_send(&s->end, c->vi, mine, buffer(&s->end, mine), message->CS.Length);
    c->sending = 1;
    return 0;
}

static void serve(unsigned client_count) {
    static struct server s;
    pthread_t doorkeeper;
    unsigned gone = 0, lines = 0;
    s.client_count = client_count;
    open_endpoint(&s.end, client_count * per_client, (size_t)client_count * per_client * LINE_BYTES, VIP_FALSE);
    must(VipCreateCQ(s.end.nic, (VIP_ULONG)client_count * per_client, &s.cq), "VipCreateCQ");
    say_listening();
    if (pthread_create(&doorkeeper, NULL, take_clients, &s) != 0) {
        fprintf(stderr, "no thread for taking clients\n");
        exit(1);
    }
    while (gone < s.client_count) {
        VIP_VI_HANDLE vi;
        VIP_BOOLEAN is_receive;
        struct client* c;
        must(VipCQWait(s.cq, VIP_INFINITE, &vi, &is_receive), "VipCQWait");
        c = VipGetUserData(vi);
        if (is_receive) {
            if (answer(&s, c)) {
                lines += c->received - 1;
                destroy_vi(c->vi); /* and with it its entries in the queue */
                ++gone;
            }
        } else if (c->sending != 0) {
            VIP_DESCRIPTOR* done;
            /* The entry may be that of a send that answer() has finished: then this one is not done. */
            (void)VipSendDone(vi, &done);
            if (done != NULL) {
                must_be_good(done, "An answer");
                c->sending = 0;
            }
        }
    }
    (void)pthread_join(doorkeeper, NULL);
    printf("answered %u lines of %u clients\n", lines, s.client_count);
    must(VipDestroyCQ(s.cq), "VipDestroyCQ");
    close_endpoint(&s.end);
}

static void ask(const char* word) {
    struct endpoint end;
    VIP_VI_HANDLE vi;
    unsigned i;
    open_endpoint(&end, LINES + 1, (LINES + 1) * LINE_BYTES, VIP_FALSE);
    vi = create_vi(&end, NULL, VIP_FALSE);
    for (i = 0; i < LINES; ++i) {
        post_receive(&end, vi, i, buffer(&end, i), LINE_BYTES);
    }
    connect_to(&end, vi, NAME);
    for (i = 0; i < LINES; ++i) {
        const int length = snprintf(buffer(&end, LINES), LINE_BYTES, "%.100s, line %u", word, i + 1);
        const VIP_DESCRIPTOR* line;
        post_send(&end, vi, LINES, buffer(&end, LINES), (VIP_UINT32)length);
        line = finish_receive(vi);
        printf("%.*s\n", (int)line->CS.Length, (const char*)line->DS[0].Local.Data.Address);
        finish_send(vi);
    }
    post_send(&end, vi, LINES, buffer(&end, LINES), 0); /* good-bye */
    finish_send(vi);
    destroy_vi(vi);
    close_endpoint(&end);
}

int main(int argc, char** argv) {
    if ((argc == 2 || argc == 3) && strcmp(argv[1], "server") == 0) {
        serve((unsigned)number_of(argc, argv, 2, 2, CLIENTS_MAX));
        return 0;
    }
    if (argc == 3 && strcmp(argv[1], "client") == 0) {
        ask(argv[2]);
        return 0;
    }
    fprintf(stderr, "usage: %s server [CLIENTS]\n       %s client WORD\n", argv[0], argv[0]);
    return 2;
}
