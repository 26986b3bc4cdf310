// AdamW over all parameters of a model, with clipping by the global norm (spec 5.7). Tables whose
// gradients are by rows are lazy: their rows are brought up to date when a pass announces that it
// will read them, so that what a step costs follows the rows that it reads.
#ifndef SG_TRAIN_OPTIMIZER_H
#define SG_TRAIN_OPTIMIZER_H

#include "format/safetensors.h"
#include "kernel/stored.h"
#include "train/gradients.h"

typedef struct sg_optimizer_options {
    double beta1, beta2, eps;
    double weight_decay; // lambda in p -= lr (... + lambda p); norm scales and biases have none
    double clip;         // largest global norm; 0: no clipping
    // By parameter, or NULL: a bf16 copy (type SG_WEIGHTS_BF16; else none), kept the rounded
    // values.
    const sg_stored *narrow;
    int64_t *version; // of the weights (sg_model.version), raised when they are written; or NULL
    const sg_allocator *allocator; // of the moments; NULL: the system's
} sg_optimizer_options;

typedef struct sg_optimizer sg_optimizer;

// values: one pointer a parameter; both are borrowed. Moments start at zero; frozen parameters have
// none and are never written.
sg_status sg_optimizer_new(const sg_param_list *params, sg_real *const *values,
                           const sg_gradients *gradients, const sg_optimizer_options *options,
                           sg_optimizer **optimizer, sg_error *err);
void sg_optimizer_free(sg_optimizer *optimizer);

// Global norm of the gradients: the same bits for any number of threads.
double sg_optimizer_norm(const sg_optimizer *optimizer, sg_compute compute);
// One update with learning rate lr; `norm` is what sg_optimizer_norm gave.
void sg_optimizer_apply(sg_optimizer *optimizer, sg_compute compute, double lr, double norm);
// Brings every row of every lazy table up to date, which takes a sweep over them: before anything
// reads the weights that does not announce it. It rounds, so that a run that is to repeat must do
// it at the same updates.
void sg_optimizer_settle(sg_optimizer *optimizer, sg_compute compute);

// State, for checkpoints: updates made, and all else as named tensors.
int64_t sg_optimizer_updates(const sg_optimizer *optimizer);
size_t sg_optimizer_moment_bytes(const sg_optimizer *optimizer);
sg_real *sg_optimizer_moment(const sg_optimizer *optimizer, size_t parameter, int which);
const sg_tensor_view *sg_optimizer_state(const sg_optimizer *optimizer, size_t *count);
// Takes it back. On failure the optimiser is of no more use.
sg_status sg_optimizer_restore(sg_optimizer *optimizer, const sg_safetensors *file, int64_t updates,
                               sg_error *err);

#endif
