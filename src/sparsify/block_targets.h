// What blocks do for a token, from the activations of all neurons: what oracles select by, and what
// routers are trained to foresee. Activations are (tokens, D), in the order of the dense layer;
// values of blocks (tokens, E). The bias behind w_out is no block's.
#ifndef SG_SPARSIFY_BLOCK_TARGETS_H
#define SG_SPARSIFY_BLOCK_TARGETS_H

#include "sparsify/partition.h"

typedef enum sg_block_target {
    SG_TARGET_POSITIVE,  // sum of max(0, a_j): MoEfication's groundtruth
    SG_TARGET_DEVIATION, // sum of (a_j - mean_j)^2: G-MoEfication
    SG_TARGET_ABSOLUTE,  // sum of |a_j - mean_j|: its alternative
    SG_TARGET_NORM       // |sum of a_j w_out_j|: D2DMoE, for any activation
} sg_block_target;
typedef struct sg_target_source {
    const sg_partition *partition;
    sg_block_target kind;
    const sg_real *means; // (D), of the two kinds that have them; NULL: 0
    const sg_real *w_out; // (D, d), of norms
    int64_t d;
} sg_target_source;
// values (tokens, E). SG_ERR_NUMERIC names the first activation that is not finite.
sg_status sg_block_targets(sg_compute compute, const sg_target_source *source,
                           const sg_real *activations, int64_t tokens, sg_real *values,
                           sg_error *err);
// Divides all by their largest, which routers of MoEfication are trained on, batch by batch: then
// they lie in [0, 1]. All 0 stay 0.
void sg_scale_targets(sg_real *values, int64_t count);

// How much of the truth the k best blocks by `scores` have, mean over the tokens that have any: 1
// for k = E, and never more than with the truth itself as scores. scores, truth (tokens, E), truth
// >= 0, k in 1 … SG_TOPK_MAX. *counted, where not NULL: those tokens; NaN where there are none.
double sg_captured_share(const sg_kernels *kernels, const sg_real *scores, const sg_real *truth,
                         int64_t tokens, int64_t blocks, int64_t k, int64_t *counted);

// ---- means --------------------------------------------------------------------------------------

// Mean activations of neurons over calibration tokens that come in pieces.
typedef struct sg_activation_means {
    int64_t neurons, tokens;
    double *sums; // (D)
} sg_activation_means;
sg_status sg_activation_means_new(int64_t neurons, sg_activation_means *means, sg_error *err);
void sg_activation_means_free(sg_activation_means *means);
sg_status sg_activation_means_add(sg_activation_means *means, const sg_real *activations,
                                  int64_t tokens, sg_error *err);
// values (D). SG_ERR_NUMERIC before the first token.
sg_status sg_activation_means_read(const sg_activation_means *means, sg_real *values,
                                   sg_error *err);

// A block that is not selected gives its mean, sum of mean_j w_out_j, and not 0 (G-MoEfication).
// That costs nothing: all means together are one bias, bias + sum over all j of mean_j w_out_j, and
// a selected block adds sum of (a_j - mean_j) w_out_j. bias (d) or NULL: 0; folded (d).
void sg_fold_means(const sg_real *means, const sg_real *w_out, int64_t neurons, int64_t d,
                   const sg_real *bias, sg_real *folded);

#endif
