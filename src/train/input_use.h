// How many of the inputs of products a model with thresholds (ffn/trimmed.h) reads: counted from
// values in front of the matrices, of every place of every layer.
#ifndef SG_TRAIN_INPUT_USE_H
#define SG_TRAIN_INPUT_USE_H

#include "ffn/trimmed.h"
#include "model/model.h"

typedef struct sg_input_count {
    double threshold;
    const sg_real *norms; // (n) or NULL
    double read, all;     // counted so far
} sg_input_count;

typedef struct sg_input_use {
    const sg_config *config;
    sg_input_count *counts; // (layers, SG_TRIMMED_PLACES)
} sg_input_use;

// The point whose values stand in front of a place: of w_out what is left, else all of them.
const char *sg_input_point(sg_trimmed place);
// At the thresholds the model has now, which it keeps as long as this is used.
sg_status sg_input_use_new(const sg_model *model, sg_input_use *use, sg_error *err);
void sg_input_use_free(sg_input_use *use);
// values (rows, n) of the point of a place.
void sg_input_use_add(sg_input_use *use, int64_t layer, sg_trimmed place, const sg_real *values,
                      int64_t rows, int64_t n);
// The share of inputs that was read in a layer; 1 where there are no thresholds.
double sg_input_use_share(const sg_input_use *use, int64_t layer, sg_trimmed place);
// FLOPs of the products behind a place of a layer, for a token, with all inputs.
double sg_input_flops(const sg_config *config, sg_trimmed place);
// Shares of all layers: of a place; by FLOPs of feed-forward layers, and of all places together.
double sg_input_use_place(const sg_input_use *use, sg_trimmed place);
double sg_input_use_ffn(const sg_input_use *use);
double sg_input_use_all(const sg_input_use *use);

#endif
