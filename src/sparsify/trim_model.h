// A dense model made sparse by thresholds of a text, trained in nothing: neurons left out by their
// gates (gate_thresholds.c), inputs of products left out (input_thresholds.c). What both have in
// common is trim_model.c. Thresholds of layers that are found are kept (kept_work.h).
#ifndef SG_SPARSIFY_TRIM_MODEL_H
#define SG_SPARSIFY_TRIM_MODEL_H

#include "sgatlin_sparsify.h"
#include "sparsify/kept_work.h"

typedef struct sg_trim_method sg_trim_method;

typedef struct sg_trim_work {
    sg_model *dense, *made; // made: with all weights, before there are thresholds
    const sg_sparsify_options *o;
    const sg_trim_method *method;
    sg_sparsify_result *result;
    sg_config config; // of `made`
    sg_calibration text;
    int64_t layers;
    int64_t first, group; // layers that are looked at together
    double *thresholds;   // (layers, method->places)
    bool *found;          // (layers) whether they are there
    sg_kept_work work;
} sg_trim_work;

struct sg_trim_method {
    int places;          // thresholds of a layer
    int64_t layer_bytes; // that a layer takes while its thresholds are found
    // Turns a copy of the dense configuration into that of the model that is made.
    sg_status (*config)(const sg_sparsify_options *options, sg_config *config, sg_error *err);
    // Its weights where they are not the dense model's, by name.
    sg_status (*fill)(sg_trim_work *t, sg_error *err);
    // thresholds of layers first … first + group - 1; calls sg_trim_found for each that is there.
    sg_status (*find)(sg_trim_work *t, sg_error *err);
    // The member of the configuration with thresholds of a place.
    char *(*list)(sg_config *config, int place, size_t *bytes);
    // What the test part of the text says of what is left out, into result.
    sg_status (*count)(sg_trim_work *t, sg_error *err);
};
extern const sg_trim_method sg_trim_gates, sg_trim_inputs;

// sg_sparsify and its configuration where options have `trim`.
sg_status sg_trim_config(const sg_config *dense, const sg_sparsify_options *options,
                         sg_config *config, sg_error *err);
sg_status sg_trim_model(sg_model *dense, const sg_sparsify_options *options, sg_model **made,
                        sg_sparsify_result *result, sg_error *err);

// For methods: a list of thresholds, NULL: of zeros, to six digits; keeps the thresholds of a layer
// that is found; progress of a pass over the text that finds those of these layers, with total 0 of
// anything else (user: sg_trim_work).
sg_status sg_trim_list(const sg_trim_work *t, int place, const double *thresholds, char *list,
                       size_t most, sg_error *err);
sg_status sg_trim_found(sg_trim_work *t, int64_t layer, sg_error *err);
bool sg_trim_go_on(void *user, int64_t done, int64_t total);

// Thresholds (places) of a layer from the bytes of its file; `name` is what errors call it.
sg_status sg_trim_kept_parse(const void *data, size_t bytes, const char *name, int places,
                             double *thresholds, sg_error *err);

#endif
