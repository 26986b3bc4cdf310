// Threads with the fastest kernels, for tests that call what computes without a context.
#ifndef SG_TESTS_COMPUTE_ON_H
#define SG_TESTS_COMPUTE_ON_H

#include <stdlib.h>

#include "kernel/kernel.h"

static inline sg_compute compute_on(sg_pool *pool)
{
    return (sg_compute){.pool = pool, .kernels = sg_kernels_fastest()};
}

// The same with a pool of that many threads, none for one. Ownership of it: sg_pool_free.
static inline sg_compute compute_of(int threads)
{
    sg_pool *pool = NULL;
    if (threads > 1 && sg_pool_new(threads, &pool, NULL) != SG_OK) abort();
    return compute_on(pool);
}

#endif
