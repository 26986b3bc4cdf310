// Rows of attention weights, one after another: what op_pattern.c shows and op_attention_open.c
// computes with.
#ifndef SG_OP_ATTENTION_WEIGHTS_H
#define SG_OP_ATTENTION_WEIGHTS_H

#include "op/observe.h"

typedef struct sg_pattern {
    sg_attention_options options; // kv_heads and scale filled in
    int64_t head_dim;
    int64_t most;  // keys that a row may come to have
    int64_t block; // rows that are handed out at a time
} sg_pattern;

sg_pattern sg_pattern_of(const sg_attention_options *options, const sg_tensor *q, int64_t most);

// Keys or values of one head of one sequence: those of a cache, or of this pass.
typedef struct sg_pattern_keys {
    const sg_real *rows;
    int64_t stride;
} sg_pattern_keys;
sg_pattern_keys sg_pattern_keys_of(const sg_pattern *pattern, const sg_tensor *rows, bool values,
                                   int64_t sequence, int64_t key_head);

typedef struct sg_pattern_loop {
    const sg_run *run;
    const sg_node *node; // in: q, k, …
    const sg_pattern *of;
    int64_t sequence, start, keys; // of the sequence: its first position, and keys of its rows
} sg_pattern_loop;

// One row (of its sequence) of one head, into p (keys), 0 where it sees none. Returns the share of
// the sink, 0 without one.
sg_real sg_pattern_row(const sg_pattern_loop *loop, int64_t row, int64_t head, sg_real *p);

#endif
