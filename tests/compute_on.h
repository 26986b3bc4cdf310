// Threads with the fastest kernels, for tests that call what computes without a context.
#ifndef SG_TESTS_COMPUTE_ON_H
#define SG_TESTS_COMPUTE_ON_H

#include "kernel/kernel.h"

static inline sg_compute compute_on(sg_pool *pool)
{
    return (sg_compute){.pool = pool, .kernels = sg_kernels_fastest()};
}

#endif
