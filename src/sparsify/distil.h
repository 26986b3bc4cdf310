// Distillation of linear projections into MLPs, each by itself: their inputs have been collected.
#ifndef SG_SPARSIFY_DISTIL_H
#define SG_SPARSIFY_DISTIL_H

#include "model/projections.h"
#include "sgatlin_sparsify.h"

enum { SG_DISTIL_VALUES = 4 };

typedef struct sg_distil_module {
    sg_projection_size size;
    const sg_real *weight, *bias; // (out, in), (out) of the linear layer; bias NULL: none
    // Of the MLP, which training moves: up_proj.weight (hidden, in), up_proj.bias (hidden),
    // down_proj.weight (out, hidden), down_proj.bias (out).
    sg_real *values[SG_DISTIL_VALUES];
    const sg_real *x; // (rows, in) inputs; modules of one layer may share them
} sg_distil_module;

typedef struct sg_distil_training {
    int64_t steps, batch;      // rows of a step
    double rate;               // of AdamW without decay, down to a tenth along a cosine
    double sparsity;           // weight of square Hoyer at the end of a ramp from 0
    int64_t modules;           // of the model, over which the loss is a mean
    uint64_t seed;             // of the order of rows
    bool (*go_on)(void *user); // asked now and then; false ends with SG_ERR_STOPPED; NULL: nobody
    void *user;
} sg_distil_training;

// What the loss of a module is made of, on a tape. x (rows, in).
typedef struct sg_distil_nodes {
    sg_tensor *hidden; // (rows, hidden) behind ReLU
    sg_tensor *y;      // (rows, out)
    sg_tensor *target; // (rows, out) what the linear layer says
} sg_distil_nodes;
// grads: of values, or NULL: none are wanted.
sg_distil_nodes sg_distil_record(sg_tape *tape, const sg_distil_module *module,
                                 sg_real *const grads[SG_DISTIL_VALUES], sg_tensor *x);
// Adds mean squares of y - target and square Hoyer of `hidden` to the losses of the tape, of
// weights share and 0 (sg_distil_weigh).
void sg_distil_losses(sg_tape *tape, const sg_distil_nodes *nodes, double share);
void sg_distil_weigh(sg_tape *tape, double hoyer);

// Trains `count` modules of a layer on rows of their inputs. losses (count), or NULL: mean squares
// of the last step. SG_ERR_NUMERIC where a loss is no number.
sg_status sg_distil_train(sg_compute compute, const sg_distil_module *modules, int64_t count,
                          int64_t rows, const sg_distil_training *training, double *losses,
                          sg_error *err);
// On other rows: |y - target| / |target| of all of them together, and the share of zeros of the
// hidden activations.
sg_status sg_distil_measure(sg_compute compute, const sg_distil_module *module, const sg_real *x,
                            int64_t rows, double *error, double *zeros, sg_error *err);

#endif
