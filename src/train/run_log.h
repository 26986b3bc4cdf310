// What a run writes of its course: records in metrics.jsonl, and the same for TensorBoard.
#ifndef SG_TRAIN_RUN_LOG_H
#define SG_TRAIN_RUN_LOG_H

#include "format/jsonl_log.h"
#include "format/tfevents.h"
#include "train/usage.h"

typedef struct sg_run_log {
    sg_jsonl_log *metrics;
    sg_tfevents *events;
} sg_run_log;

// step: of the checkpoint that the run goes on from, 0 without. Lines of metrics.jsonl that are
// damaged go, with a warning through the context's log.
sg_status sg_run_log_open(sg_context *context, const char *run_folder, int64_t step,
                          sg_run_log *log, sg_error *err);
void sg_run_log_close(sg_run_log *log);
sg_status sg_run_log_sync(sg_run_log *log, sg_error *err);

// JSON has no infinity and no NaN.
json_t *sg_run_log_number(double value);
// Puts a record, an object with the member "step", into metrics.jsonl, and its numbers into the
// TensorBoard file. Takes the record; NULL: out of memory.
sg_status sg_run_log_record(sg_run_log *log, int64_t step, json_t *record, sg_error *err);
// A record of what an evaluation found used, `count` layers, and its scalars usage/layer_I/….
sg_status sg_run_log_usage(sg_run_log *log, int64_t step, const sg_usage *usage, int64_t count,
                           sg_error *err);
// The scalars alone.
sg_status sg_run_log_usage_scalars(sg_run_log *log, int64_t step, const sg_usage *usage,
                                   int64_t count, sg_error *err);

#endif
