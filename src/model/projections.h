// The projections of attention: linear layers, or in their place MLPs with one hidden layer of ReLU
// (D2DMoE, Szatkowski et al. 2024). An MLP is a layer of family mlp with biases, of sizes of its
// own, whose parameters lie behind the name of the projection: "self_attn.q_proj.mlp.up_proj.…".
#ifndef SG_MODEL_PROJECTIONS_H
#define SG_MODEL_PROJECTIONS_H

#include "ffn/ffn.h"

typedef enum sg_projection {
    SG_PROJECTION_Q,
    SG_PROJECTION_K,
    SG_PROJECTION_V,
    SG_PROJECTION_O,
    SG_PROJECTIONS
} sg_projection;

// x (rows, in) -> (rows, out); hidden 0: a linear layer.
typedef struct sg_projection_size {
    int64_t in, out, hidden;
} sg_projection_size;

// 'q', 'k', 'v', 'o'; and back, SG_PROJECTIONS for any other letter.
char sg_projection_letter(sg_projection which);
sg_projection sg_projection_of_letter(char letter);
// Of a complete configuration; layer from 0.
sg_projection_size sg_projection_size_of(const sg_config *config, int64_t layer,
                                         sg_projection which);
// The hidden width of an MLP with about f times as many parameters as the linear layer:
// round(f (in out + out) / (in + out + 1)), at least 1.
int64_t sg_projection_hidden(int64_t in, int64_t out, double f);
// Whether any projection of the model is an MLP.
bool sg_projections_any(const sg_config *config);

// The lists of hidden widths: checks them, and writes each in its one form, "" where all are
// linear, a number where all are alike.
sg_status sg_projections_complete(sg_config *config, sg_error *err);
// Writes the list of a projection from hidden widths (layers). SG_ERR_UNSUPPORTED where it is too
// long.
sg_status sg_projection_list(sg_config *config, sg_projection which, const int64_t *hidden,
                             sg_error *err);

// ---- one projection -----------------------------------------------------------------------------

// Its parameters; prefix: "model.layers.3.".
void sg_projection_params(const sg_config *config, int64_t layer, sg_projection which,
                          const char *prefix, sg_param_list *list);
// x (rows, in) -> (rows, out), in the layer of the builder.
sg_tensor *sg_projection_build(const sg_builder *b, sg_tensor *x, sg_projection which);

// ---- all of a model -----------------------------------------------------------------------------

// FLOPs of a token, and numbers that it keeps in MLPs.
typedef struct sg_projections_count {
    double flops, numbers;
} sg_projections_count;
sg_projections_count sg_projections_total(const sg_config *config);

#endif
