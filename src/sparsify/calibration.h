// The text that a dense model is made sparse by, as tokens, in three parts that have nothing in
// common: what splits and means are made of, what routers are trained on, and what everything is
// judged by. And what the model says of it: inputs of feed-forward layers, losses.
#ifndef SG_SPARSIFY_CALIBRATION_H
#define SG_SPARSIFY_CALIBRATION_H

#include "model/model.h"

typedef enum sg_calibration_use {
    SG_USE_CALIBRATION,
    SG_USE_ROUTER,
    SG_USE_TEST,
    SG_USES
} sg_calibration_use;

typedef struct sg_calibration_source {
    // A text with its tokenizer: parts come one behind the other from its beginning. Or packed
    // data: whole rows, those of the test from the validation split. NULL, both: nothing is read.
    const char *text;
    size_t text_bytes;
    const sg_tokenizer *tokenizer;
    const sg_data *data;
    int64_t context;         // tokens of a sequence of the text; 0: the model's longest, to 2,048
    int64_t tokens[SG_USES]; // wanted; 0: none
} sg_calibration_source;

// Tokens first … first + tokens - 1; those that count, whose targets are no padding, are rows
// row … row + rows - 1 of matrices of inputs.
typedef struct sg_calibration_part {
    int64_t first, tokens, row, rows;
} sg_calibration_part;

typedef struct sg_calibration {
    int64_t length;       // of a sequence; the last one of a part may have less
    int64_t tokens, rows; // of all parts
    int32_t *ids;         // (tokens)
    int32_t *targets;     // (tokens) what comes next; -1: padding, which is passed over
    int32_t *places;      // (tokens) row of each; -1: none
    int64_t lost_bytes;   // of the text: see sg_encode_options
    int64_t replaced;     // likewise
    sg_calibration_part parts[SG_USES];
} sg_calibration;

// SG_ERR_ARGUMENT where the text or the data have fewer tokens than are wanted: says both.
sg_status sg_calibration_new(const sg_model *model, const sg_calibration_source *source,
                             sg_calibration *calibration, sg_error *err);
void sg_calibration_free(sg_calibration *calibration);

// Told with tokens read so far, of all in this pass; false ends it with SG_ERR_STOPPED.
typedef bool (*sg_calibration_fn)(void *user, int64_t done, int64_t total);

// Values of points "blocks.LAYER.NAME" of all rows, one pass over all tokens.
typedef struct sg_calibration_input {
    int64_t layer; // from 0
    const char *name;
    sg_real *x; // (rows, n) where the point has n numbers a token
} sg_calibration_input;
sg_status sg_calibration_values(const sg_calibration *calibration, sg_model *model,
                                const sg_calibration_input *inputs, int64_t count,
                                sg_calibration_fn progress, void *user, sg_error *err);
// Inputs of feed-forward layers first … first + layers - 1: x (layers, rows, d).
sg_status sg_calibration_inputs(const sg_calibration *calibration, sg_model *model, int64_t first,
                                int64_t layers, sg_real *x, sg_calibration_fn progress, void *user,
                                sg_error *err);

// Values of a point "blocks.L.NAME" for each token of a part that counts: n numbers a call.
typedef struct sg_calibration_place {
    int64_t layer; // from 0
    const char *name;
    sg_status (*call)(void *user, const sg_real *values, int64_t n, sg_error *err);
    void *user;
} sg_calibration_place;
sg_status sg_calibration_places(const sg_calibration *calibration, sg_calibration_use use,
                                sg_model *model, const sg_calibration_place *places, int64_t count,
                                sg_calibration_fn progress, void *user, sg_error *err);

// The mean of -log p over the rows of a part, in nats, each sequence knowing nothing of those
// before it. blocks (layers of the model), where not NULL: the mean count of blocks that a token
// reads in each layer of a model of family moefied.
sg_status sg_calibration_loss(const sg_calibration *calibration, sg_calibration_use use,
                              sg_model *model, double *loss, double *blocks,
                              sg_calibration_fn progress, void *user, sg_error *err);

#endif
