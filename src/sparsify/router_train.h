// Training of a router alone, the model frozen: its inputs and the targets of its blocks have been
// collected. MoEfication: cross-entropy with targets divided by the largest of a batch; D2DMoE:
// squares of norms.
#ifndef SG_SPARSIFY_ROUTER_TRAIN_H
#define SG_SPARSIFY_ROUTER_TRAIN_H

#include "sparsify/router_net.h"

typedef struct sg_router_training {
    double learning_rate, beta1, beta2, eps, weight_decay;
    int64_t batch, epochs; // tokens of a step; an epoch leaves out what does not fill a batch
    double held_out;       // share of the tokens, the last ones, that is not trained on; 0 … 0.5
    double kept;           // share of the blocks by which epochs are compared
    uint64_t seed;         // of the order of tokens, which is another in each epoch
    // Told after each epoch: mean loss of its steps, share of the truth that the best `kept` blocks
    // capture in the tokens held out, NaN without. False ends with SG_ERR_STOPPED. NULL: nobody.
    bool (*progress)(void *user, int64_t epoch, double loss, double captured);
    void *user;
} sg_router_training;
// As published: MoEfication (Adam, 0.01, batches of 512, 30 epochs, a tenth held out) for mlp and
// sigmoid, D2DMoE (AdamW, 0.001) for norm.
sg_router_training sg_router_training_default(sg_router_form form);

typedef struct sg_router_trained {
    int64_t epoch;   // the one that is kept: the best by `captured`, or the last without held_out
    double captured; // of it
    double loss;     // of the last epoch
} sg_router_trained;

// net begins as it is and ends as in the epoch that is kept; one of mlp, norm or sigmoid. x
// (tokens, d), targets (tokens, E) >= 0, all finite. SG_ERR_ARGUMENT where there are fewer tokens
// than a batch and those held out; SG_ERR_NUMERIC where no target is above 0, or the loss is no
// number.
sg_status sg_router_train(sg_compute compute, sg_router_net *net, const sg_real *x,
                          const sg_real *targets, int64_t tokens,
                          const sg_router_training *training, sg_router_trained *trained,
                          sg_error *err);

#endif
