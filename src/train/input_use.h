// How many of the inputs of products a model with thresholds (ffn/trimmed.h) reads: counted from
// values in front of the matrices, of every place of every layer. And how many the tokens of a pass
// read together, which is what a pass must fetch from memory.
#ifndef SG_TRAIN_INPUT_USE_H
#define SG_TRAIN_INPUT_USE_H

#include "ffn/trimmed.h"
#include "model/model.h"
#include "sgatlin_probe.h"

typedef struct sg_input_count {
    double threshold;
    const sg_real *norms; // (n) or NULL
    double read, all;     // counted so far
    unsigned char *seen;  // (n) whether the pass under way reads it; NULL: nobody asks
    double together;      // read by passes, each once
} sg_input_count;

typedef struct sg_input_use sg_input_use;
typedef struct sg_input_watch {
    sg_input_use *use;
    sg_trimmed place;
    char name[48]; // of the point
} sg_input_watch;

struct sg_input_use {
    const sg_config *config;
    bool on;                // what requests see is counted
    sg_input_count *counts; // (layers, SG_TRIMMED_PLACES)
    int64_t passes;
    sg_input_watch watches[SG_TRIMMED_PLACES];
};

// The point whose values stand in front of a place: of w_out what is left, else all of them.
const char *sg_input_point(sg_trimmed place);
// On, at the thresholds the model has now, which it keeps as long as this is used. passes: what the
// tokens of a pass read together is counted too.
sg_status sg_input_use_new(const sg_model *model, bool passes, sg_input_use *use, sg_error *err);
void sg_input_use_free(sg_input_use *use);
// Requests for what stands in front of the places with thresholds, which count it; use stays where
// it is. Returns how many they are.
size_t sg_input_use_requests(sg_input_use *use, sg_point_request requests[SG_TRIMMED_PLACES]);
// values (rows, n) of the point of a place.
void sg_input_use_add(sg_input_use *use, int64_t layer, sg_trimmed place, const float *values,
                      int64_t rows, int64_t n);
// The pass under way is over; nothing happens where it was not looked at.
void sg_input_use_pass(sg_input_use *use);
// The share of inputs that was read in a layer; 1 where there are no thresholds.
double sg_input_use_share(const sg_input_use *use, int64_t layer, sg_trimmed place);
// FLOPs of the products behind a place of a layer, for a token, with all inputs.
double sg_input_flops(const sg_config *config, sg_trimmed place);
// Shares of all layers: of a place; by FLOPs of feed-forward layers, and of all places together.
double sg_input_use_place(const sg_input_use *use, sg_trimmed place);
double sg_input_use_ffn(const sg_input_use *use);
double sg_input_use_all(const sg_input_use *use);
// The last of what the tokens of a pass read together, the mean of the passes.
double sg_input_use_together(const sg_input_use *use);
// Bytes of weights, as decoding reads them, that the mean pass leaves unread; 0 where passes have
// more rows than are read by columns (op/op_linear_sparse.c).
sg_status sg_input_use_unread(const sg_input_use *use, const sg_model *model, int64_t rows,
                              double *bytes, sg_error *err);

#endif
