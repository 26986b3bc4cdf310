// Sparsity by training: what the options of a run make of its configuration, the losses that they
// add, and what these come to.
#ifndef SG_TRAIN_SPARSE_LOSSES_H
#define SG_TRAIN_SPARSE_LOSSES_H

#include "model/graph.h"
#include "sgatlin_train.h"

// ---- before a run -------------------------------------------------------------------------------

// What the options mean for each other; no configuration is looked at.
sg_status sg_sparse_check(const sg_train_options *options, sg_error *err);
// What they make of a configuration that is complete: relu in place of smooth activations (relufy);
// for LTE's stages all blocks whose score is above 1/2, none multiplied by it. Nothing is left to
// do where it was done before. SG_ERR_ARGUMENT: no layer takes what they ask for.
sg_status sg_sparse_change(const sg_train_options *options, sg_config *config, sg_error *err);
// Says what of a configuration became another.
void sg_sparse_say(sg_context *context, const sg_config *before, const sg_config *after);

// ---- in a run -----------------------------------------------------------------------------------

sg_sparsity sg_sparse_of_options(const sg_train_options *options);
// The weight of the term at a step 0 … steps.
double sg_ramp_at(sg_ramp ramp, double weight, int64_t step, int64_t steps);
// Before the passes of a step: the weights of its losses.
void sg_sparse_weigh(sg_graph *graph, const sg_train_options *options, int64_t step, int64_t steps);

// What the losses of a step came to; NaN: there is none.
typedef struct sg_sparse_means {
    double term, efficiency, separability; // without their weights, means of layers
    double attention_term;                 // likewise, mean of MLPs in attention
    int64_t layers;
    double *zeros;           // (layers) share of zeros, of the term's activations
    double *attention_zeros; // (layers) likewise, mean of the layer's MLPs in attention
    double *unread;          // (layers) share of blocks whose score is below 1/2
} sg_sparse_means;

sg_status sg_sparse_means_new(int64_t layers, sg_sparse_means *means, sg_error *err);
void sg_sparse_means_free(sg_sparse_means *means);
void sg_sparse_means_begin(sg_sparse_means *means);
// After a pass, which is this share of the step.
void sg_sparse_means_add(sg_sparse_means *means, const sg_graph *graph, const sg_config *config,
                         double share);

#endif
