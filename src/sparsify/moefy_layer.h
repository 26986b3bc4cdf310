// One layer of a dense model made sparse: its split, its router and what they are worth. moefy.c
// puts the layers together.
#ifndef SG_SPARSIFY_MOEFY_LAYER_H
#define SG_SPARSIFY_MOEFY_LAYER_H

#include "sparsify/block_targets.h"
#include "sparsify/calibration.h"
#include "sparsify/dense_layer.h"
#include "sparsify/moefy.h"
#include "sparsify/router_net.h"
#include "sparsify/selectors.h"

// What a layer is made of.
typedef struct sg_moefy_source {
    sg_compute compute;
    const sg_sparsify_options *options; // checked
    const sg_config *config;            // of the sparse model
    const sg_dense_layer *dense;
    const sg_calibration *text; // without tokens: none
    const sg_real *x;           // (text->rows, d) inputs of the layer
    int64_t layer;              // from 0
} sg_moefy_source;

typedef struct sg_moefy_layer {
    sg_partition split;
    sg_router_net net; // of the blocks that are not shared
    sg_real *means;    // (D) of activations, in the order of the dense layer; NULL: not wanted
    int32_t *chosen;   // (blocks that are not shared) neurons that stand for them; NULL: none do
    sg_sparsify_layer quality;
} sg_moefy_layer;

sg_status sg_moefy_layer_make(const sg_moefy_source *source, sg_moefy_layer *layer, sg_error *err);
void sg_moefy_layer_free(sg_moefy_layer *layer);

// Writes it into that layer (from 0) of the sparse model, whose weights are all in memory.
sg_status sg_moefy_write(const sg_model *dense, const sg_model *sparse, int64_t index,
                         const sg_dense_layer *from, const sg_moefy_layer *layer, sg_error *err);

// ---- parts of it --------------------------------------------------------------------------------

// The blocks that a router has scores for: the partition without what is shared. A view.
sg_partition sg_moefy_routed(const sg_partition *split);
// Of each of these, for the rows of a part: values (rows, routed blocks). scaled: divided by |x|.
sg_status sg_moefy_targets(const sg_moefy_source *source, const sg_moefy_layer *layer,
                           sg_calibration_use use, sg_block_target kind, bool scaled,
                           sg_real *values, sg_error *err);
// What the layer is worth on the test part; without one all is NaN or 0. Fills in `quality`.
sg_status sg_moefy_quality(const sg_moefy_source *source, sg_moefy_layer *layer, sg_error *err);

#endif
