// Time: monotonic for durations, wall clock for logs, that of a thread to give up what will not
// end. What is computed does not depend on it.
#ifndef SG_BASE_CLOCK_H
#define SG_BASE_CLOCK_H

#include <time.h>

static inline double sg_clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Seconds that the processor has worked for this thread, however busy it is with others.
static inline double sg_clock_thread_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Seconds since 1970.
static inline double sg_clock_wall(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#endif
