// The hits of a selection in the order of the neurons that are hit: a radix sort, whose time
// follows the hits and not the neurons. For memories with many more neurons than hits; where a
// neuron is hit often, counting hits by neuron (neurons.c) needs fewer passes.
//
// A hit is one selected neuron of one row: number i of row r in channel c is hit (c rows + r) k +
// i. Where a row has a count, its numbers from there on are no hits.
#ifndef SG_FFN_HITS_H
#define SG_FFN_HITS_H

#include "base/parallel.h"

typedef struct sg_hits {
    int64_t channels, rows, k;
    int64_t pools, n; // channel c reads pool c of n neurons, or all read the only pool
    int64_t count;    // channels rows k, the most there can be
    int64_t parts;    // pieces of a pool's hits, by shape alone
    int digits, bits; // passes of the sort, and bits of a neuron's number that each sorts by
} sg_hits;

// Where sg_hits_sort puts its result. Neurons are numbered through all pools: pool n + id.
typedef struct sg_hit_order {
    int32_t *neurons; // (1) different neurons hit
    int32_t *order;   // (hits) by neuron, those of a neuron in their own order
    int32_t *ids;     // (neurons) which, ascending
    int32_t *starts;  // (neurons + 1) the first hit of each in `order`; the last: all hits
} sg_hit_order;

sg_hits sg_hits_plan(int64_t channels, int64_t rows, int64_t k, int64_t pools, int64_t n);
// int32 that a result takes, and that sorting needs besides.
int64_t sg_hits_result(const sg_hits *hits);
int64_t sg_hits_scratch(const sg_hits *hits);
sg_hit_order sg_hits_view(const sg_hits *hits, int32_t *result);
// ids (rows, channels, k), each in [0, n); counts (rows, channels), or NULL: all k are hits.
void sg_hits_sort(const sg_hits *hits, sg_pool *pool, const int32_t *ids, const int32_t *counts,
                  const sg_hit_order *order, int32_t *scratch);

#endif
