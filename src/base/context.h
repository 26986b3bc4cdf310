// The inside of sg_context: what is handed down to everything that computes or talks.
#ifndef SG_BASE_CONTEXT_H
#define SG_BASE_CONTEXT_H

#include "base/compute.h"

struct sg_context {
    sg_compute compute; // the pool is NULL with one thread
    int threads;
    sg_allocator allocator; // what compute.allocator points to, if to anything
    sg_log_fn log;
    void *log_user;
    int64_t products_refused; // before this context was made (kernel/products.h)
};

#endif
