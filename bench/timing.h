// What benchmarks of parts share: the processor time of this process, and an end where something
// fails.
#ifndef SG_BENCH_TIMING_H
#define SG_BENCH_TIMING_H

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/status.h"

static inline double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline void must(sg_status status, const sg_error *err)
{
    if (status == SG_OK) return;
    fprintf(stderr, "%s\n", err->message);
    exit(1);
}

#endif
