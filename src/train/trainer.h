// The inside of a training run: trainer.c computes steps, run.c owns the folder.
#ifndef SG_TRAIN_TRAINER_H
#define SG_TRAIN_TRAINER_H

#include "model/graph.h"
#include "model/model.h"
#include "text/batches.h"
#include "train/optimizer.h"
#include "train/schedule.h"
#include "train/sparse_losses.h"
#include "sgatlin_train.h"

// What changes from step to step, besides weights and moments: what a checkpoint must keep.
typedef struct sg_train_state {
    int64_t step;     // steps done
    int64_t position; // rows of training data used
    int64_t updates;  // of the optimiser: step minus skipped
    int64_t tokens;   // targets that counted
    int64_t skipped, skipped_in_a_row;
    double running_loss; // moving mean for the spike guard; NaN before the first step
    double tail_sum;     // of losses over the last tenth of the steps
    double tail_balance; // likewise of the losses of routers; NaN without
    double tail_z;
    int64_t tail_count;
    double best_loss;  // of the evaluations; NaN before the first
    int64_t best_step; // -1: none
    double seconds;    // of training in all lives
} sg_train_state;

typedef struct sg_trainer {
    sg_context *context;
    const sg_train_options *options;
    sg_data *data;   // borrowed
    sg_model *model; // owned
    int64_t steps;   // n
    int64_t length;  // T
    sg_schedule schedule;
    sg_gradients gradients;
    sg_narrow_set tables; // bf16 copies that are read in place of tables (options->table_dtype)
    sg_optimizer *optimizer;
    sg_batches *batches;
    sg_graph *graph;  // of one micro-batch
    int32_t *targets; // (batch_size, T), padding masked
    sg_train_state state;
    double loss, lr, norm;  // of the last step
    double balance, z;      // losses of the routers: mean of micro-batches and layers; NaN: none
    sg_sparse_means sparse; // likewise of the losses that make layers sparse
} sg_trainer;

// model is taken over, also on failure. points: as of sg_train_hooks, or NULL.
sg_status sg_trainer_open(sg_trainer *trainer, sg_context *context, const sg_train_options *options,
                          int64_t steps, sg_data *data, sg_model *model, const sg_points *points,
                          sg_error *err);
void sg_trainer_close(sg_trainer *trainer);
// One step: a batch in micro-batches, clipping, an update. SG_ERR_NUMERIC when loss or gradient are
// not finite or the loss stays above the spike limit; the weights are then those before the step.
sg_status sg_trainer_step(sg_trainer *trainer, sg_error *err);
// Puts the data cursor where trainer->state says.
sg_status sg_trainer_seek(sg_trainer *trainer, sg_error *err);

#endif
