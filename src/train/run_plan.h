// What a run is going to be, known before its first step.
#ifndef SG_TRAIN_RUN_PLAN_H
#define SG_TRAIN_RUN_PLAN_H

#include "base/machine_memory.h"
#include "base/status.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

// From options that are complete (run_options.h). trained < 0: all weights.
sg_train_plan sg_train_plan_make(const sg_train_options *options, const sg_data_info *info,
                                 const sg_cost *cost, int64_t steps, int64_t parameters,
                                 int64_t trained);
// What the model of a run costs, a micro-batch at a time.
sg_status sg_train_cost(const sg_context *context, const sg_train_options *options, int64_t seq_len,
                        sg_cost *cost, sg_error *err);
// Whether a step fits into the memory: SG_ERR_MEMORY where it never can, a warning where it cannot
// now; both say which options make it fit, and what it takes then.
sg_status sg_train_plan_check(sg_context *context, const sg_train_options *options,
                              const sg_train_plan *plan, const sg_machine_memory *memory,
                              sg_error *err);

#endif
