/* How long the machine holds up a thread that does nothing but read the clock of its own processor time: what a host
 * takes from a guest, and what the kernel does on the back of a thread, is in that clock.
 *
 * Usage: stalls THREADS SECONDS
 * Prints the ms of the longest time between two readings on any of the threads. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { THREADS_MAX = 256 };

static uint64_t duration;       /* ns */

static uint64_t clock_ns(clockid_t clock) {
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void *read_clock(void *longest) {
    uint64_t end = clock_ns(CLOCK_MONOTONIC) + duration;
    uint64_t last = clock_ns(CLOCK_THREAD_CPUTIME_ID);
    while (clock_ns(CLOCK_MONOTONIC) < end) {
        uint64_t now = clock_ns(CLOCK_THREAD_CPUTIME_ID);
        if (now - last > *(uint64_t *)longest) *(uint64_t *)longest = now - last;
        last = now;
    }
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[THREADS_MAX];
    uint64_t longest[THREADS_MAX] = {0}, worst = 0;
    int count = argc == 3 ? atoi(argv[1]) : 0;
    if (count < 1 || count > THREADS_MAX) {
        fprintf(stderr, "usage: stalls THREADS SECONDS\n");
        return 2;
    }
    duration = (uint64_t)(atof(argv[2]) * 1e9);
    for (int i = 0; i < count; i++)
        if (pthread_create(&threads[i], NULL, read_clock, &longest[i])) return 1;
    for (int i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        if (longest[i] > worst) worst = longest[i];
    }
    printf("%.3f\n", (double)worst / 1e6);
    return 0;
}
