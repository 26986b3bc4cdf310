// A partition, or split: which neurons of a dense feed-forward layer make which block. It is a
// permutation of the D neurons; block e has the places e m … e m + m - 1, in each the neurons in
// rising order. All blocks have m neurons: a D that m does not divide is refused, as by all
// published code, since a block with less would be slower and not smaller. (MoEfication, Zhang et
// al. 2022, 2.2.)
//
// What here is called a vector of a neuron is its row of w_in, in a gated layer that of the gate;
// an activation is what multiplies its row of w_out. Everything is the same bits for any number of
// threads, and a function of its arguments and a seed.
#ifndef SG_SPARSIFY_PARTITION_H
#define SG_SPARSIFY_PARTITION_H

#include "kernel/kernel.h"

typedef struct sg_partition {
    int64_t neurons, size, blocks; // D, m, E = D / m
    int64_t shared;                // the first so many blocks are read by every token; else 0
    int32_t *order;                // (D) the neuron at each place; owned
} sg_partition;

// Whether blocks of that size can be made: refuses those below 1, above D and those that do not
// divide it, with the next ones that do.
sg_status sg_partition_fits(int64_t neurons, int64_t size, sg_error *err);
// The identity.
sg_status sg_partition_new(int64_t neurons, int64_t size, sg_partition *split, sg_error *err);
void sg_partition_free(sg_partition *split);
// By the block of each neuron, each taken m times; else SG_ERR_ARGUMENT.
sg_status sg_partition_of_labels(const int32_t *labels, int64_t neurons, int64_t size,
                                 sg_partition *split, sg_error *err);
// The other way: block of each neuron. labels (D).
void sg_partition_labels(const sg_partition *split, int32_t *labels);
// Whether `order` is a permutation and the sizes fit: of a split that comes from elsewhere.
sg_status sg_partition_check(const sg_partition *split, sg_error *err);
// Rows in the order of the split: to, from (D, d), not the same memory; d = 1: numbers of neurons.
void sg_partition_rows(const sg_partition *split, sg_real *to, const sg_real *from, int64_t d);

// ---- splitters ----------------------------------------------------------------------------------

// A random permutation: the control.
sg_status sg_partition_random(int64_t neurons, int64_t size, uint64_t seed, sg_partition *split,
                              sg_error *err);

// Balanced k-means on vectors of unit length.
typedef enum sg_kmeans_kind {
    SG_KMEANS_EXACT,  // each round assigns at the least cost (as Malinen & Fränti 2014)
    SG_KMEANS_AUCTION // by an auction, from where plain k-means ends: the fast form
} sg_kmeans_kind;
typedef struct sg_kmeans_options {
    sg_kmeans_kind kind;
    uint64_t seed;
    int64_t rounds; // of assignment and new centres, at most
    int64_t plain;  // rounds of plain k-means before an auction, at most
    // (D) an earlier labelling, or NULL: the rounds begin with its centres; an auction then also
    // runs from scratch, and the better of the two stays.
    const int32_t *start;
    // Told after each round; false ends with SG_ERR_STOPPED. NULL: nobody.
    bool (*progress)(void *user, int64_t round, double objective);
    void *user;
} sg_kmeans_options;
sg_kmeans_options sg_kmeans_options_default(void);
// vectors (D, d), any length but 0. *objective, where not NULL: the sum of squared distances of the
// unit vectors to the centres of their blocks.
sg_status sg_partition_kmeans(sg_compute compute, const sg_real *vectors, int64_t neurons,
                              int64_t d, int64_t size, const sg_kmeans_options *options,
                              sg_partition *split, double *objective, sg_error *err);

// ---- quality ------------------------------------------------------------------------------------

// The sum over neurons of the squared distance of their unit vectors to the mean of their block.
sg_status sg_partition_distance(sg_compute compute, const sg_partition *split,
                                const sg_real *vectors, int64_t d, double *distance, sg_error *err);

#endif
