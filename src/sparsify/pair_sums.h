// How strongly neurons are active together over calibration tokens: the weights of the graph that a
// split by co-activation cuts. Collected from activations (tokens, D) that come in pieces of any
// size, the same bits for any pieces; negative activations count as 0. Memory is D (D + 1) / 2
// floats and one buffer, however many tokens come.
#ifndef SG_SPARSIFY_PAIR_SUMS_H
#define SG_SPARSIFY_PAIR_SUMS_H

#include "sparsify/partition.h"

typedef enum sg_pair_kind {
    // The sum over groups of 8 tokens of min(1, sum over the group of a_n a_m): as MoEfication's
    // code computes it.
    SG_PAIR_CLAMPED,
    SG_PAIR_PRODUCTS // the sum over tokens of a_n a_m: as the paper says
} sg_pair_kind;

typedef struct sg_pair_sums {
    sg_compute compute;
    int64_t neurons;
    sg_pair_kind kind;
    int64_t tokens, most; // seen, and at most looked at
    float *sums;          // of n <= m, row by row; use sg_pair_row
    sg_real *buffer;      // (a few groups of tokens, D), then a row for each thread
    int64_t buffered;     // tokens in it
} sg_pair_sums;

// most: tokens behind the first so many are passed over; the published code takes 200,000.
sg_status sg_pair_sums_new(sg_compute compute, int64_t neurons, sg_pair_kind kind, int64_t most,
                           sg_pair_sums *sums, sg_error *err);
void sg_pair_sums_free(sg_pair_sums *sums);
// activations (rows, D), finite: else SG_ERR_NUMERIC names the token and the neuron.
sg_status sg_pair_sums_add(sg_pair_sums *sums, const sg_real *activations, int64_t rows,
                           sg_error *err);
// Takes what is left, before the sums are read: tokens that do not fill a group are one.
void sg_pair_sums_finish(sg_pair_sums *sums);

// The graph of what is left of the sums, cut by METIS into blocks of about `size` neurons with as
// little weight between them as it finds, and then made even: MoEfication's "co-activation graph
// split". Neurons are joined where their sum is not below 0.99 t, with the weight sum / (0.99 t) as
// a whole number, t the first percentile of 10, 20, … that is not 0. What is too much for a block
// moves to others by chance, under the seed. SG_ERR_NUMERIC where no neurons are active together.
// METIS takes SIGABRT and SIGTERM for itself while it runs, and seeds rand().
sg_status sg_partition_graph(const sg_pair_sums *sums, int64_t size, uint64_t seed,
                             sg_partition *partition, sg_error *err);

// Sums of neuron n with n, n + 1, …
static inline float *sg_pair_row(const sg_pair_sums *s, int64_t n)
{
    return s->sums + n * s->neurons - n * (n - 1) / 2;
}
// The given percentile, 0 … 100, of all D x D sums, between two of them as numpy has it.
sg_status sg_pair_percentile(const sg_pair_sums *sums, double percent, double *value,
                             sg_error *err);
// The share of the sums of two different neurons that lies within blocks: 0 … 1; NaN where no two
// neurons are active together.
sg_status sg_pair_within(const sg_pair_sums *sums, const sg_partition *partition, double *share,
                         sg_error *err);

#endif
