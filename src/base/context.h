// The inside of sg_context: what is handed down to everything that computes or talks.
#ifndef SG_BASE_CONTEXT_H
#define SG_BASE_CONTEXT_H

#include "base/parallel.h"

struct sg_context {
    sg_pool *pool; // NULL with one thread
    int threads;
    const char *kernel;
    sg_log_fn log;
    void *log_user;
};

#endif
