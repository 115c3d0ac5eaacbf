// SPDX-License-Identifier: Apache-2.0
//
// mpi.c -- MPI: ping-pong and a windowed stream between two ranks.
//
//     mpirun -np 2 PROGRAM lat|stream SIZE SECONDS CORE_A CORE_B
//
// Rank 0 measures and prints one JSON line, as the programs over peer.hpp do.
#define _GNU_SOURCE
#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { window = 64 };

static char* sending;
static char* receiving;

static void pin_to(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET((size_t)core, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0) {
        perror("pinning to a core");
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
}

static double ping_pong(int rank, int size, long count, double* samples) {
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = MPI_Wtime();
    double before = begin;
    for (long i = 0; i < count; ++i) {
        if (rank == 0) {
            MPI_Send(sending, size, MPI_CHAR, 1, 1, MPI_COMM_WORLD);
            MPI_Recv(receiving, size, MPI_CHAR, 1, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            const double now = MPI_Wtime();
            if (samples != NULL) {
                samples[i] = now - before;
            }
            before = now;
        } else {
            MPI_Recv(receiving, size, MPI_CHAR, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
            MPI_Send(sending, size, MPI_CHAR, 0, 1, MPI_COMM_WORLD);
        }
    }
    return MPI_Wtime() - begin;
}

// `count` is a multiple of the window.
static double stream(int rank, int size, long count) {
    MPI_Request requests[window];
    MPI_Barrier(MPI_COMM_WORLD);
    const double begin = MPI_Wtime();
    for (long done = 0; done < count; done += window) {
        for (int i = 0; i < window; ++i) {
            if (rank == 0) {
                MPI_Isend(sending + (size_t)i * (size_t)size, size, MPI_CHAR, 1, 2, MPI_COMM_WORLD, &requests[i]);
            } else {
                MPI_Irecv(receiving + (size_t)i * (size_t)size, size, MPI_CHAR, 0, 2, MPI_COMM_WORLD, &requests[i]);
            }
        }
        MPI_Waitall(window, requests, MPI_STATUSES_IGNORE);
    }
    char answer = 0;
    if (rank == 0) {
        MPI_Recv(&answer, 1, MPI_CHAR, 1, 3, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    } else {
        MPI_Send(&answer, 1, MPI_CHAR, 0, 3, MPI_COMM_WORLD);
    }
    return MPI_Wtime() - begin;
}

static int ascending(const void* a, const void* b) {
    const double x = *(const double*)a;
    const double y = *(const double*)b;
    return (x > y) - (x < y);
}

static long fitting_count(double seconds, long tried, double took) {
    double each = took / (double)tried;
    if (each < 1e-9) {
        each = 1e-9;
    }
    long count = (long)(seconds / each);
    MPI_Bcast(&count, 1, MPI_LONG, 0, MPI_COMM_WORLD);
    if (count > 20000000) {
        count = 20000000;
    }
    return (count / window + 1) * window;
}

int main(int argument_count, char** arguments) {
    MPI_Init(&argument_count, &arguments);
    int rank = 0;
    int ranks = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (argument_count != 6 || ranks != 2) {
        fprintf(stderr, "usage: mpirun -np 2 %s lat|stream SIZE SECONDS CORE_A CORE_B\n", arguments[0]);
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    const int latency = strcmp(arguments[1], "lat") == 0;
    const int size = atoi(arguments[2]);
    const double seconds = atof(arguments[3]);
    pin_to(atoi(arguments[4 + rank]));
    sending = malloc((size_t)window * (size_t)size);
    receiving = malloc((size_t)window * (size_t)size);
    if (size <= 0 || sending == NULL || receiving == NULL) {
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    memset(sending, 'v', (size_t)window * (size_t)size);
    memset(receiving, 0, (size_t)window * (size_t)size);
    const long tries = size > 1 << 20 ? window : 20 * window;
    if (latency) {
        (void)ping_pong(rank, size, tries, NULL);
        const long count = fitting_count(seconds, tries, ping_pong(rank, size, tries, NULL));
        double* samples = calloc((size_t)count, sizeof(double));
        if (samples == NULL) {
            MPI_Abort(MPI_COMM_WORLD, 1);
        }
        (void)ping_pong(rank, size, count, samples);
        if (rank == 0) {
            qsort(samples, (size_t)count, sizeof(double), ascending);
            printf("{\"one_way_ns_p50\": %.1f, \"one_way_ns_p99\": %.1f, \"samples\": %ld}\n",
                   samples[count / 2] * 0.5e9, samples[count - 1 - count / 100] * 0.5e9, count);
        }
        free(samples);
    } else {
        (void)stream(rank, size, tries);
        const long count = fitting_count(seconds, tries, stream(rank, size, tries));
        const double took = stream(rank, size, count);
        if (rank == 0) {
            printf("{\"messages_per_second\": %.1f, \"samples\": %ld}\n", (double)count / took, count);
        }
    }
    free(sending);
    free(receiving);
    MPI_Finalize();
    return 0;
}
