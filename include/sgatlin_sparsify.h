// Dense models made sparse: the neurons of each feed-forward layer in blocks, of which a token
// reads those that a router chooses (family moefied; docs/MODEL.md). A companion of sgatlin.h,
// whose conventions hold here too.
#ifndef SGATLIN_SPARSIFY_H
#define SGATLIN_SPARSIFY_H

#include "sgatlin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_sparsify_options {
    const char *split;  // random, kmeans (balanced, exact), auction (balanced, fast); kmeans
    const char *router; // centroid, or random (the control: centres are single neurons); centroid
    int64_t block_size; // neurons of a block, a divisor of the width of layers; default 32
    double active;      // share of the blocks that a token reads, at most where there is a
                        // threshold; above 0, at most 1; default 0.25
    const char *select; // top_k, or threshold: blocks with at least that score; top_k
    double threshold;   // of a score (1 - |x' - c|^2) / 2, x' = x / |x|, c the centre; default 0
    uint64_t seed;      // of the split
    // NULL, or a folder that the sparse model is written to, with this tokenizer where it is not
    // NULL. Before any work it is claimed: one with files in it is refused.
    const char *out;
    const sg_tokenizer *tokenizer;
    sg_progress_fn progress; // in layers; may be NULL
    void *progress_user;
} sg_sparsify_options;
SG_API sg_sparsify_options sg_sparsify_options_default(void);

// What a sparse version can gain, before one is made. Bytes are those that a token which is decoded
// reads, in the types that weights are stored in; FLOPs those of the forward pass of one token with
// the logits, without attention to other tokens.
typedef struct sg_sparsify_outlook {
    double ffn_bytes, all_bytes; // per token
    double ffn_flops, all_flops;
    double ceiling; // of the speed of decoding, were feed-forward layers free
    double bound;   // the same with the share of blocks that is read, and the router
    double router;  // FLOPs of the router over those of the dense layers
} sg_sparsify_outlook;
SG_API sg_status sg_sparsify_look(const sg_model *dense, const sg_sparsify_options *options,
                                  sg_sparsify_outlook *outlook, sg_error *err);

// The sparse version of a dense model, which is left as it is. Its other weights are copies.
// SG_ERR_UNSUPPORTED where the model has no dense layers, SG_ERR_ARGUMENT where blocks do not fit or
// `out` is not empty; where it cannot be written there is no model either.
// *distance, where not NULL: mean squared distance of neurons, of length 1, to the centres of their
// blocks. Ownership: sg_model_free.
SG_API sg_status sg_sparsify(const sg_model *dense, const sg_sparsify_options *options,
                             sg_model **sparse, double *distance, sg_error *err);

// Another threshold (ffn_threshold) for a model of family moefied whose ffn_select is not top_k,
// for all its layers; nothing needs to be trained anew. While it has no session and no batch
// (SG_ERR_ARGUMENT); SG_ERR_UNSUPPORTED for any other model.
SG_API sg_status sg_sparsify_set_threshold(sg_model *model, double threshold, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
