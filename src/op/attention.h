// What the two ways to compute attention share: op_attention.c in f32, op_attention_tiles.c by
// products of other kinds.
#ifndef SG_OP_ATTENTION_H
#define SG_OP_ATTENTION_H

#include "op/op.h"

typedef struct sg_attention_shape {
    int64_t length, heads, kv_heads, head_dim;
    int64_t window; // keys that a query sees, its own among them; 0: all
    sg_real scale;
    const sg_kv_cache *caches; // by sequence; NULL: keys and values are this pass's own
    const int64_t *start;      // likewise
} sg_attention_shape;

// Inputs.
enum { SG_ATTENTION_Q, SG_ATTENTION_K, SG_ATTENTION_V, SG_ATTENTION_SINKS, SG_ATTENTION_INPUTS };

static inline int64_t sg_attention_width(const sg_attention_shape *a)
{
    return a->heads * a->head_dim;
}
static inline int64_t sg_attention_key_width(const sg_attention_shape *a)
{
    return a->kv_heads * a->head_dim;
}
// Heads that read the same keys.
static inline int64_t sg_attention_shared(const sg_attention_shape *a)
{
    return a->heads / a->kv_heads;
}
// The first key that a query at `position` sees.
static inline int64_t sg_attention_first_key(int64_t window, int64_t position)
{
    return window > 0 && position >= window ? position - window + 1 : 0;
}

// Where gradients go (NULL: not wanted) and whether to add to them.
typedef struct sg_attention_grads {
    sg_real *dq, *dk, *dv, *dsinks;
    bool add_q, add_k, add_v, add_sinks;
    double *sink_sums; // (sequences, heads), NULL where dsinks is: what each gives to the sinks
} sg_attention_grads;

// Where one tensor is two of query, key and value, its gradients meet in one place: then all add,
// to zeros.
sg_attention_grads sg_attention_grads_of(const sg_run *run, const sg_node *node);
// Once sink_sums is full.
void sg_attention_sinks_end(const sg_attention_grads *grads, const sg_node *node);
// The full T x T square, no causal halving (spec 5.9); with a window as many keys as it holds.
double sg_attention_flops(const sg_node *node);

// Makes a node without attributes one that is computed by products of its kind, not f32.
void sg_attention_tile(sg_tape *tape, sg_node *node, const sg_attention_shape *shape);

#endif
