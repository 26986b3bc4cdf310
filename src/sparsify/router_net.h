// A router as numbers: what foresees which blocks matter for a token x, before any neuron is read.
// Five forms, whose weights are the parameters mlp.router.… of a converted layer
// (ffn/router_moefied.c computes the same there). x' = x / |x|.
//
//     centroid        x' W^T + b                  MoEfication, "similarity"; its random control
//     mlp             sigmoid(tanh(x' U^T) W^T)   MoEfication, G-MoEfication
//     norm            |relu(x U^T) W^T|           D2DMoE
//     sigmoid         sigmoid(x W^T)              LTE
//     representative  act(x W^T + b)              CMoE; gated: the two halves' act(g) * l
#ifndef SG_SPARSIFY_ROUTER_NET_H
#define SG_SPARSIFY_ROUTER_NET_H

#include "op/op.h"
#include "sparsify/partition.h"

typedef enum sg_router_form {
    SG_ROUTER_CENTROID,
    SG_ROUTER_MLP,
    SG_ROUTER_NORM,
    SG_ROUTER_SIGMOID,
    SG_ROUTER_REPRESENTATIVE
} sg_router_form;
typedef struct sg_router_net {
    sg_router_form form;
    int64_t d, width, blocks; // width: of U; 0 where there is none
    int64_t rows;             // of W: E, or 2E of a gated representative
    sg_real *hidden;          // U (width, d), or NULL
    sg_real *weight;          // W (rows, width or d)
    sg_real *bias;            // b (rows), or NULL
    sg_activation activation; // of a representative of a plain layer
    sg_glu_form glu;          // of one of a gated layer, not interleaved
} sg_router_net;

void sg_router_net_free(sg_router_net *net);

// ---- without training ---------------------------------------------------------------------------

// Mean of the unit vectors of each block. centres (E, d), vectors (D, d).
sg_status sg_block_centres(const sg_partition *partition, const sg_real *vectors, int64_t d,
                           sg_real *centres, sg_error *err);
// Scores in the order of -|x' - c_e|: W = c, b = -|c|^2 / 2. The control takes the unit vector of
// the first neuron of each block for its centre.
sg_status sg_router_of_centres(const sg_partition *partition, const sg_real *vectors, int64_t d,
                               bool control, sg_router_net *net, sg_error *err);
// Neurons of a dense layer as their rows.
typedef struct sg_neuron_rows {
    int64_t neurons, d;
    const sg_real *gate, *up; // (D, d) of w_in, or of gates; of linear parts, NULL of a plain layer
    const sg_real *bias;      // (D), gated (2 D) those of linear parts last; NULL: none
    sg_activation activation; // of a plain layer
    sg_glu_kind glu;          // of a gated one
} sg_neuron_rows;
// The neuron of each block that stands for it computes its own activation. chosen (E): which.
sg_status sg_router_of_neurons(const int32_t *chosen, int64_t blocks, const sg_neuron_rows *of,
                               sg_router_net *net, sg_error *err);

// ---- to be trained ------------------------------------------------------------------------------

// MoEfication's start: U = the centres, W = the identity; its logits are tanh of the similarity.
sg_status sg_router_mlp_start(const sg_partition *partition, const sg_real *vectors, int64_t d,
                              sg_router_net *net, sg_error *err);
// Uniform weights within 1 / sqrt(inputs), a function of the seed. width: 0 of a sigmoid.
sg_status sg_router_random_start(sg_router_form form, int64_t d, int64_t width, int64_t blocks,
                                 uint64_t seed, sg_router_net *net, sg_error *err);

// ---- scores -------------------------------------------------------------------------------------

// scores (tokens, E) of x (tokens, d), which is finite.
sg_status sg_router_scores(sg_compute compute, const sg_router_net *net, const sg_real *x,
                           int64_t tokens, sg_real *scores, sg_error *err);
// The same on a tape: weights are leaves of U, W and b, those that the net has; `logits`: without
// the sigmoid or the absolute value at the end. x (rows, d) -> (rows, E).
sg_tensor *sg_router_record(sg_tape *tape, const sg_router_net *net, sg_tensor *const weights[3],
                            sg_tensor *x, bool logits);
// The three leaves; grads: where their gradients go, or NULL: none are wanted.
void sg_router_leaves(sg_tape *tape, const sg_router_net *net, sg_real *const grads[3],
                      sg_tensor *weights[3]);
// FLOPs of scores for one token, and their share of those of a feed-forward layer of D neurons with
// three matrices, or two: what the router costs whatever it saves.
double sg_router_flops(const sg_router_net *net);
double sg_router_share(const sg_router_net *net, int64_t neurons, bool gated);

#endif
