// One layer of a dense model with thresholds in front of its matrices, alone: what it makes of
// inputs that were kept, and how far that is from what it makes of them without thresholds. It is a
// model of that one layer, so that nothing is computed otherwise than in the whole one.
#ifndef SG_SPARSIFY_LAYER_ALONE_H
#define SG_SPARSIFY_LAYER_ALONE_H

#include "ffn/trimmed.h"
#include "model/model.h"

typedef struct sg_layer_alone {
    sg_model *model;
    int64_t d, count;         // width; sequences
    const int64_t *sequences; // (count) tokens of each
    const sg_real *x;         // (tokens, d) the stream in front of the layer, of all sequences
    sg_real *y;               // (tokens, d) and behind it, without thresholds
    int32_t *ids;             // (longest) of tokens, which say nothing
    int64_t at;               // token that the sequence begins with, while it is read
    bool keep;                // y is written, not compared
    double error;             // sum of squares
} sg_layer_alone;

// of: a model with lists of thresholds, whose weights are f32 in memory. sequences and x stay the
// caller's and are used until the end. Ownership: sg_layer_alone_free, also on failure.
sg_status sg_layer_alone_new(sg_model *of, int64_t layer, const int64_t *sequences, int64_t count,
                             const sg_real *x, sg_layer_alone *alone, sg_error *err);
void sg_layer_alone_free(sg_layer_alone *alone);
// |y' - y| with these thresholds.
sg_status sg_layer_alone_error(sg_layer_alone *alone, const double thresholds[SG_TRIMMED_PLACES],
                               double *error, sg_error *err);

#endif
