// Which neurons are among the strongest of a token, and the split by it: CMoE (arXiv 2502.04416).
// The neurons that are strongest most often make blocks that every token reads; the others are
// balanced by which tokens they are strong for, and of each block one neuron stands for it in the
// router (sg_router_of_neurons).
#ifndef SG_SPARSIFY_TOP_SETS_H
#define SG_SPARSIFY_TOP_SETS_H

#include "sparsify/partition.h"

typedef struct sg_top_sets {
    sg_compute compute;
    int64_t neurons, top;
    int64_t tokens, most; // seen, and at most kept
    int32_t *ids;         // (most, top) those of largest |a| of each token
} sg_top_sets;

// As published, top is 10 and there are 8 x 2048 tokens; those behind `most` are passed over.
sg_status sg_top_sets_new(sg_compute compute, int64_t neurons, int64_t top, int64_t most,
                          sg_top_sets *sets, sg_error *err);
void sg_top_sets_free(sg_top_sets *sets);
// activations (tokens, D), which come in pieces, finite.
sg_status sg_top_sets_add(sg_top_sets *sets, const sg_real *activations, int64_t tokens,
                          sg_error *err);
// How often each neuron was in a set: rates (D), which sum to top.
void sg_top_sets_rates(const sg_top_sets *sets, double *rates);

// `shared` blocks, first in the partition, of the neurons of the highest rates (of equal ones the
// first); E - shared others by rounds of assignment at the least sum of squared distances of
// columns (tokens, 0 or 1) to their block's mean. They begin once with the columns of the neurons
// of the highest rates that are left, and once with columns drawn as k-means++ does, under the
// seed; the better end stays. representatives (E - shared): of each of them the neuron whose column
// is nearest to the mean. *objective: that sum at the end; NULL: not asked for.
sg_status sg_partition_shared(const sg_top_sets *sets, int64_t size, int64_t shared, int64_t rounds,
                              uint64_t seed, sg_partition *partition, int32_t *representatives,
                              double *objective, sg_error *err);

#endif
