/* SPDX-License-Identifier: Apache-2.0
 *
 * tsan_probe.c -- a race by intention.  The thread sanitizer reports it, unless it is suppressed by the name of
 * the function, for which the sanitizer needs its symbolizer: ./check looks for both before it trusts either.
 */
#include <pthread.h>

static int word;

static void* race_by_intention(void* unused) {
    word = 1;
    return unused;
}

int main(void) {
    pthread_t other;
    if (pthread_create(&other, 0, race_by_intention, 0) != 0) {
        return 1;
    }
    word = 2;
    return pthread_join(other, 0);
}
