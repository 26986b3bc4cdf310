// Layers that are done are kept in OUT/.sparsify, so that a work that was ended, however it ended,
// goes on where it was: the same command reads them and makes the others. What the command was is
// kept beside them (plan.json), and another one is refused.
#ifndef SG_SPARSIFY_MOEFY_KEEP_H
#define SG_SPARSIFY_MOEFY_KEEP_H

#include <jansson.h>

#include "format/safetensors.h"
#include "sgatlin_data.h"
#include "sparsify/moefy_layer.h"

// What a layer must be to be one of this work.
typedef struct sg_moefy_shape {
    int64_t neurons, size, shared; // of the split
    sg_router_net net;             // without numbers
    bool biased;                   // the router is
    bool means;
} sg_moefy_shape;

// What a work is: options that decide what layers become, checksums of the model's weights and of
// the tokens. *plan: json_decref.
// The checksums alone, as text.
sg_status sg_plan_hashes(const sg_model *model, const sg_calibration *text, char of_model[17],
                         char of_text[17], sg_error *err);
sg_status sg_moefy_plan(const sg_model *model, const sg_sparsify_options *options,
                        const sg_config *sparse, const sg_calibration *text, json_t **plan,
                        sg_error *err);

// As sg_folder_claim; a folder that holds an unfinished work is taken too.
sg_status sg_moefy_keep_claim(const char *out, sg_claim **claim, sg_error *err);
// Begins a work, or goes on with one: SG_ERR_ARGUMENT where its plan was another, naming what
// differs. The plan stays the caller's. *fresh: it begins.
sg_status sg_moefy_keep_begin(const char *out, const json_t *plan, bool *fresh, sg_error *err);
// Tensors of a layer, and a checksum of them: written and synced, whole or not at all.
sg_status sg_keep_save(const char *out, int64_t index, const sg_tensor_view *views, size_t count,
                       sg_error *err);
// Reads them back into the memory of `views`, which say their names, types and shapes. *found:
// whether that layer is there. What is damaged is SG_ERR_FORMAT or SG_ERR_MISMATCH.
sg_status sg_keep_load(const char *out, int64_t index, const sg_tensor_view *views, size_t count,
                       bool *found, sg_error *err);
// From an open file.
sg_status sg_keep_read(const sg_safetensors *file, const sg_tensor_view *views, size_t count,
                       sg_error *err);

sg_status sg_moefy_keep_save(const char *out, int64_t index, const sg_moefy_layer *layer,
                             sg_error *err);
// *found: whether that layer is there. What is damaged is SG_ERR_FORMAT or SG_ERR_MISMATCH.
sg_status sg_moefy_keep_load(const char *out, int64_t index, const sg_moefy_shape *shape,
                             sg_moefy_layer *layer, bool *found, sg_error *err);
// The work is done: takes what was kept away.
sg_status sg_moefy_keep_end(const char *out, sg_error *err);

// A layer from the bytes of its file; `name` is what errors call it. Ownership:
// sg_moefy_layer_free.
sg_status sg_moefy_keep_parse(const void *data, size_t bytes, const char *name,
                              const sg_moefy_shape *shape, sg_moefy_layer *layer, sg_error *err);

#endif
