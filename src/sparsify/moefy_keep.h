// What is kept (kept_work.h) of a layer whose neurons lie in blocks, and the plan of such a work.
#ifndef SG_SPARSIFY_MOEFY_KEEP_H
#define SG_SPARSIFY_MOEFY_KEEP_H

#include "sparsify/kept_work.h"
#include "sparsify/moefy_layer.h"

// What a layer must be to be one of this work.
typedef struct sg_moefy_shape {
    int64_t neurons, size, shared; // of the split
    sg_router_net net;             // without numbers
    bool biased;                   // the router is
    bool means;
} sg_moefy_shape;

// *plan: json_decref.
sg_status sg_moefy_plan(const sg_model *model, const sg_sparsify_options *options,
                        const sg_config *sparse, const sg_calibration *text, json_t **plan,
                        sg_error *err);

sg_status sg_moefy_keep_save(const sg_kept_work *work, int64_t index, const sg_moefy_layer *layer,
                             sg_error *err);
// *found: whether that layer is there. What is damaged is SG_ERR_FORMAT or SG_ERR_MISMATCH.
sg_status sg_moefy_keep_load(const sg_kept_work *work, int64_t index, const sg_moefy_shape *shape,
                             sg_moefy_layer *layer, bool *found, sg_error *err);
// A layer from the bytes of its file; `name` is what errors call it. Ownership:
// sg_moefy_layer_free.
sg_status sg_moefy_keep_parse(const void *data, size_t bytes, const char *name,
                              const sg_moefy_shape *shape, sg_moefy_layer *layer, sg_error *err);

#endif
