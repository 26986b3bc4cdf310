// Points at which a pass is looked into (include/sgatlin_probe.h): operations that hand a tensor to
// a callback.
#ifndef SG_OP_OBSERVE_H
#define SG_OP_OBSERVE_H

#include "op/op.h"
#include "sgatlin_probe.h"

// Which rows a pass has; filled in by who runs it, before it does.
typedef struct sg_pass {
    int64_t sequences, length, first_sequence;
    const int64_t *start;              // (sequences) or NULL
    const sg_tensor *tokens, *targets; // (sequences * length); NULL: none
} sg_pass;

// One request for one point.
typedef struct sg_observation {
    const sg_point_request *request;
    const sg_pass *pass;
    const char *name; // lives as long as the tape
    int64_t layer;
    int rank;
    int64_t shape[3];  // of all rows
    int64_t row_step;  // see sg_point_values
    int64_t ids_end;   // of a selection: ids that are written are 0 … ids_end - 1
    sg_tensor *counts; // likewise, or NULL
} sg_observation;

// Hands t to the request's callback, in a backward pass its gradient. What is only read is t's own
// memory; where it may be written, a copy. Replaces t for what comes after.
sg_tensor *sg_observe(sg_tape *tape, sg_tensor *t, const sg_observation *observation);

// For operations that have values block by block: calls back for `rows` rows from row `first` on;
// use is that of the call. values or gradient may be NULL. False: the pass has ended.
bool sg_observe_rows(const sg_run *run, const sg_observation *observation, unsigned use,
                     int64_t first, int64_t rows, sg_real *values, sg_real *gradient);

// The logits that a cross-entropy makes block by block; loss is what it returned.
void sg_observe_logits(sg_tape *tape, sg_tensor *loss, const sg_observation *observation);

// The weights of an attention with these inputs, recorded behind it, block of rows by block of
// rows: shape (rows, heads, keys), keys being those of the longest row of a sequence; 0 where a row
// sees none. Read only. most: keys that a cache may come to hold.
void sg_observe_pattern(sg_tape *tape, sg_tensor *q, sg_tensor *k,
                        const sg_attention_options *options, int64_t most,
                        const sg_observation *observation);

// The same attention with weights that exist, whose observers may write them and get their
// gradients: they are added to what it returns. Other roundings than those of sg_attention.
sg_tensor *sg_attention_open(sg_tape *tape, sg_tensor *q, sg_tensor *k, sg_tensor *v,
                             const sg_attention_options *options, int64_t most);
void sg_observe_weights(sg_tape *tape, sg_tensor *attention, const sg_observation *observation);

// Whether a node is there for a point and nothing else.
bool sg_is_observation(const sg_node *node);

// What a norm divides by: sqrt(mean((x - m)^2) + eps) of each row of x (rows, d) -> (rows), m being
// the mean of the row when it shifts, else 0. And the norm with s (rows) in its place:
// (x - m) / s w + shift, shift (d) or NULL.
sg_tensor *sg_norm_scale(sg_tape *tape, sg_tensor *x, bool shifts, double eps);
sg_tensor *sg_norm_divide(sg_tape *tape, sg_tensor *x, sg_tensor *s, sg_tensor *w, sg_tensor *shift,
                          bool shifts);

#endif
