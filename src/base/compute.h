// What computes, handed down by value to everything that does: the threads and the table of
// kernels. The table itself is of the room above (kernel/kernel.h); this room only carries it.
#ifndef SG_BASE_COMPUTE_H
#define SG_BASE_COMPUTE_H

#include "base/parallel.h"

struct sg_kernels;

typedef struct sg_compute {
    sg_pool *pool; // NULL: the calling thread alone
    const struct sg_kernels *kernels;
} sg_compute;

#endif
