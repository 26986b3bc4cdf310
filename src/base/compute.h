// What computes, handed down by value to everything that does: the threads, the table of kernels,
// and the memory they work in. The table itself is of the room above (kernel/kernel.h); this room
// only carries it.
#ifndef SG_BASE_COMPUTE_H
#define SG_BASE_COMPUTE_H

#include "base/parallel.h"

struct sg_kernels;

typedef struct sg_compute {
    sg_pool *pool; // NULL: the calling thread alone
    const struct sg_kernels *kernels;
    const sg_allocator *allocator; // of big blocks (base/alloc.h); NULL: the system's
} sg_compute;

#endif
