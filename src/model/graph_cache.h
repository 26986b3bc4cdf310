// Graphs that are kept for passes of the same shape to come, and the memory that they run in.
//
// Sessions and batches of a model share them: a pass takes a graph of its shape, which is recorded
// where no idle one is there, and a block of memory, and gives both back. So there are as many
// blocks as passes have run at the same time, each as large as the largest of these needed, and at
// most SG_GRAPHS_KEPT graphs beside those that somebody holds. All of it goes when the last
// session or batch of the model does.
//
// Shapes are kept as they are, not rounded up to some: a row more costs a pass more than recording
// its graph does (docs/SPEED.md), and would change the last bits of the others.
#ifndef SG_MODEL_GRAPH_CACHE_H
#define SG_MODEL_GRAPH_CACHE_H

#include <pthread.h>

#include "model/graph.h"

enum { SG_GRAPHS_KEPT = 32 };

struct sg_graph_block;

typedef struct sg_kept_graph {
    sg_graph *graph;
    int64_t batch, length; // its shape
    sg_output output;
    int64_t layout; // of the model (sg_model.layout) when it was recorded
    // Set before each pass, beside graph->ids:
    sg_kv_cache *caches; // (layers, batch)
    int64_t *start;      // (batch) positions of the first tokens
    // The cache's own:
    int holds; // of sg_graph_cache_hold
    bool running;
    uint64_t used; // when it was given back
    struct sg_graph_block *block;
    struct sg_kept_graph *next;
} sg_kept_graph;

// Of one model. `options` is what its graphs have beside shape and weights: a session that wants
// graphs of its own (with points, say) has a cache of its own.
typedef struct sg_graph_cache {
    sg_model *model;
    sg_graph_options options;
    pthread_mutex_t mutex; // of what follows
    sg_kept_graph *graphs;
    struct sg_graph_block *blocks; // that no pass has
    uint64_t passes;
} sg_graph_cache;

void sg_graph_cache_open(sg_graph_cache *cache, sg_model *model, const sg_graph_options *options);
// No pass may be running. Zeroed caches are allowed.
void sg_graph_cache_close(sg_graph_cache *cache);
// Frees what nobody holds and no pass has.
void sg_graph_cache_clear(sg_graph_cache *cache);

// A graph to look at that stays until it is dropped; passes of its shape go through it or another.
sg_status sg_graph_cache_hold(sg_graph_cache *cache, int64_t batch, int64_t length,
                              sg_output output, sg_kept_graph **kept, sg_error *err);
void sg_graph_cache_drop(sg_graph_cache *cache, sg_kept_graph *kept); // NULL is allowed

// A graph to run, with memory: `batch` sequences of `length` tokens. Belongs to the caller until it
// is given back. Any thread.
sg_status sg_graph_cache_take(sg_graph_cache *cache, int64_t batch, int64_t length,
                              sg_output output, sg_kept_graph **kept, sg_error *err);
void sg_graph_cache_give(sg_graph_cache *cache, sg_kept_graph *kept);

#endif
