// A fixed set of threads that run the chunks of a loop. Which thread runs a chunk is left open;
// what a chunk is must depend on the shape of the work alone, so that results are the same bits for
// any number of threads. Chunks never write the same memory; sums over chunks are taken afterwards
// in chunk order.
#ifndef SG_BASE_PARALLEL_H
#define SG_BASE_PARALLEL_H

#include "base/status.h"

typedef struct sg_pool sg_pool;

// threads >= 1 counts the calling thread. Ownership: sg_pool_free.
sg_status sg_pool_new(int threads, sg_pool **pool, sg_error *err);
void sg_pool_free(sg_pool *pool);
// 1 for a NULL pool.
int sg_pool_threads(const sg_pool *pool);

// `worker` is in [0, sg_pool_threads) and indexes scratch memory; one worker runs one chunk at a
// time.
typedef void (*sg_chunk_fn)(void *context, int64_t chunk, int worker);

// Runs fn for chunk = 0 … chunks-1 and returns when all are done. A NULL pool runs them in order.
// Any thread may call it: loops of several threads take turns. Must not be called from inside a
// chunk.
void sg_parallel_for(sg_pool *pool, int64_t chunks, sg_chunk_fn fn, void *context);

#endif
