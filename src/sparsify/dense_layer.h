// A dense feed-forward layer as rows of neurons, read from a model in f32 whatever it stores, and
// the activations of its neurons for inputs that a caller has.
#ifndef SG_SPARSIFY_DENSE_LAYER_H
#define SG_SPARSIFY_DENSE_LAYER_H

#include "model/model.h"

typedef struct sg_dense_layer {
    int64_t neurons, d;
    bool gated;
    sg_glu_form form;         // gated, not interleaved
    sg_activation activation; // of a neuron, or of its gate
    sg_real *gate;            // (neurons, d) w_in, or gates; the linear parts lie right behind it
    sg_real *linear;          // (neurons, d); NULL of a plain layer
    sg_real *gate_bias;       // (neurons), then those of the linear parts; NULL: none
    sg_real *linear_bias;     // (neurons)
    sg_real *out;             // (neurons, d) w_out
    sg_real *room;            // (2 neurons, d), for matrices as the model has them
} sg_dense_layer;

// Memory for layers of a model of family mlp, glu or moefied. Ownership: sg_dense_layer_free.
sg_status sg_dense_layer_new(const sg_config *config, sg_dense_layer *layer, sg_error *err);
void sg_dense_layer_free(sg_dense_layer *layer);
// The numbers of layer `index`, from 0.
sg_status sg_dense_layer_read(const sg_model *model, int64_t index, sg_dense_layer *layer,
                              sg_error *err);
// The same of a layer of family moefied with blocks of so many neurons, which come in the order of
// its blocks; shared experts are not among them.
sg_status sg_dense_layer_read_blocks(const sg_model *model, int64_t index, int64_t block,
                                     sg_dense_layer *layer, sg_error *err);
// Any parameter of that layer: name is what stands behind "model.layers.L.mlp.". to: all of it.
sg_status sg_dense_layer_parameter(const sg_model *model, int64_t index, const char *name,
                                   sg_real *to, sg_error *err);

// What multiplies w_out, for tokens in order, some at a time: activations (count, neurons) of
// tokens first … first + count - 1, valid during the call. Anything but SG_OK ends it.
typedef sg_status (*sg_activations_fn)(void *user, int64_t first, int64_t count,
                                       const sg_real *activations, sg_error *err);
// a = act(x w_in^T + b), gated act(x G^T + b) (x V^T + b'). x (tokens, d).
sg_status sg_dense_layer_activate(sg_compute compute, const sg_dense_layer *layer, const sg_real *x,
                                  int64_t tokens, sg_activations_fn fn, void *user, sg_error *err);

#endif
