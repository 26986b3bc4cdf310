// AdamW over all parameters of a model, with clipping by the global norm (spec 5.7).
#ifndef SG_TRAIN_OPTIMIZER_H
#define SG_TRAIN_OPTIMIZER_H

#include "ffn/params.h"
#include "kernel/stored.h"

typedef struct sg_optimizer_options {
    double beta1, beta2, eps;
    double weight_decay; // lambda in p -= lr (... + lambda p); norm scales and biases have none
    double clip;         // largest global norm; 0: no clipping
    // By parameter, or NULL: a bf16 copy (type SG_WEIGHTS_BF16; else none), kept the rounded values.
    const sg_stored *narrow;
} sg_optimizer_options;

typedef struct sg_optimizer sg_optimizer;

// values, grads: one pointer a parameter, borrowed. Moments start at zero.
sg_status sg_optimizer_new(const sg_param_list *params, sg_real *const *values,
                           sg_real *const *grads, const sg_optimizer_options *options,
                           sg_optimizer **optimizer, sg_error *err);
void sg_optimizer_free(sg_optimizer *optimizer);

// Global norm of the gradients: the same bits for any number of threads.
double sg_optimizer_norm(const sg_optimizer *optimizer, sg_pool *pool);
// One update with learning rate lr; `norm` is what sg_optimizer_norm gave.
void sg_optimizer_apply(sg_optimizer *optimizer, sg_pool *pool, double lr, double norm);

// State, for checkpoints: updates made, and the two moments of each parameter.
int64_t sg_optimizer_updates(const sg_optimizer *optimizer);
void sg_optimizer_set_updates(sg_optimizer *optimizer, int64_t updates);
sg_real *sg_optimizer_moment(const sg_optimizer *optimizer, size_t parameter, int which);

#endif
