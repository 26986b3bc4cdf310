// Options of sg_sparsify for those who carry them out: what they need, and what they make.
#ifndef SG_SPARSIFY_MOEFY_H
#define SG_SPARSIFY_MOEFY_H

#include <string.h>

#include "base/status.h"
#include "kernel/real.h"
#include "sparsify/calibration.h"
#include "sgatlin_sparsify.h"

static inline bool sg_moefy_is(const char *text, const char *name)
{
    return strcmp(text, name) == 0;
}

// Whether the router is trained; whether its targets are taken from means of activations; whether
// anything needs the calibration part of the text.
bool sg_moefy_trains(const sg_sparsify_options *options);
bool sg_moefy_centres(const sg_sparsify_options *options);
bool sg_moefy_calibrates(const sg_sparsify_options *options);
// Tokens of a text that each part needs (by sg_calibration_use); all 0 without one.
void sg_moefy_tokens(const sg_sparsify_options *options, int64_t tokens[3]);
// Those tokens, and in the result what of the text was not read as it stood. Release `text` with
// sg_calibration_free.
sg_status sg_moefy_text(const sg_model *dense, const sg_sparsify_options *options,
                        sg_calibration *text, sg_sparsify_result *result, sg_error *err);
// Checks the options, and makes the configuration of the sparse model from that of the dense one.
sg_status sg_moefy_config(const sg_config *dense, const sg_sparsify_options *options,
                          sg_config *config, sg_error *err);

// Whether a share of blocks is not above those that every token reads, in any layer of a model of
// family moefied: sg_sparsify_set_active refuses it.
bool sg_active_is_shared(const sg_config *config, double share);

// A parameter of a layer in a new model, whose weights are all f32 in memory; NULL where there is
// none of that name, which is what stands behind "model.layers.L.mlp.".
sg_real *sg_moefy_values(const sg_model *model, int64_t layer, const char *name);
// The parameters of `to` that `from` has too, by their names.
sg_status sg_moefy_copy(const sg_model *from, const sg_model *to, sg_error *err);

#endif
