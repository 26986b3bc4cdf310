// The inside of a run in progress, between run.c (the loop, and a new run), run_save.c
// (checkpoints) and run_resume.c (going on).
#ifndef SG_TRAIN_RUN_H
#define SG_TRAIN_RUN_H

#include "train/checkpoint.h"
#include "train/run_plan.h"
#include "train/run_log.h"
#include "train/run_peak.h"
#include "train/run_settings.h"
#include "train/trainer.h"

typedef struct sg_training {
    sg_context *context;
    const char *folder;
    const sg_train_hooks *hooks;
    sg_run_settings settings;
    sg_data *data;
    sg_cost cost;
    sg_train_plan plan;
    int64_t steps;
    int64_t trained, parameters; // weights
    sg_run_lock *lock;
    char *tokenizer_text;
    size_t tokenizer_bytes;
    sg_tokenizer *tokenizer; // for samples; NULL without
    sg_trainer trainer;
    bool trainer_open;
    sg_run_log log;
    sg_usage *usage;                // of the last evaluation, (layers)
    int64_t resumed_from;           // -1: this process began at step 0
    int64_t saved_step;             // of the newest checkpoint, -1: none
    double saved_time;              // when it was, or when this life began
    double started, seconds_before; // of this life, and of those before
    double rate_time;               // for the rate of late
    int64_t rate_step;
    double tokens_per_second, flops_per_second, work_per_second, val_loss;
    sg_run_peak peak;
    bool stop;
} sg_training;

// Data, what the options leave open, and the number of steps.
sg_status sg_training_open_data(sg_training *r, sg_error *err);
// The trainer, from a checkpoint or (NULL) from what the run begins with.
sg_status sg_training_open_trainer(sg_training *r, const sg_checkpoint *checkpoint, sg_error *err);
void sg_training_close(sg_training *r);

// All steps that are left, then a checkpoint: SG_ERR_STOPPED where a hook said so.
sg_status sg_training_loop(sg_training *r, sg_error *err);
// The last evaluation, and the run folder as a model folder, or with adapters in one of their own.
sg_status sg_training_finish(sg_training *r, sg_train_result *result, sg_error *err);
sg_status sg_training_event(sg_training *r, sg_train_event_kind kind, const char *text);

// Of training, in all lives.
double sg_training_seconds(const sg_training *r);
// A checkpoint, where the last one is not of this step already.
sg_status sg_training_save(sg_training *r, sg_error *err);
// The same between steps: a disk without room for it is a warning, and the run goes on.
sg_status sg_training_save_between(sg_training *r, sg_error *err);
// Whether enough time has passed since the last one.
bool sg_training_save_is_due(const sg_training *r);
// About what one takes.
int64_t sg_training_checkpoint_bytes(const sg_training *r);
// Removes checkpoints beyond those that are kept.
sg_status sg_training_prune(const sg_training *r, sg_error *err);
// Whether the disk has room for the checkpoints that are kept and the model: SG_ERR_IO otherwise.
sg_status sg_training_check_room(sg_training *r, sg_error *err);

#endif
