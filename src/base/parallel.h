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

// How many chunks `count` items make: all of `chunk` >= 1 items, the last of what is left.
static inline int64_t sg_chunks(int64_t count, int64_t chunk)
{
    return (count + chunk - 1) / chunk;
}

// The items of one chunk: first, …, end-1, at least one.
typedef struct sg_range {
    int64_t first, end;
    int64_t chunk; // which chunk this is: where its part of a sum goes
    int worker;    // as of sg_chunk_fn
} sg_range;
typedef void (*sg_range_fn)(void *context, sg_range range);

// The same for `count` items in chunks of `chunk` >= 1: runs fn for each chunk's range.
void sg_parallel_ranges(sg_pool *pool, int64_t count, int64_t chunk, sg_range_fn fn, void *context);

#endif
