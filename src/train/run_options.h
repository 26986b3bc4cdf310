// What decides a run: defaults, rules, number of steps, and the options as JSON.
#ifndef SG_TRAIN_RUN_OPTIONS_H
#define SG_TRAIN_RUN_OPTIONS_H

#include <jansson.h>

#include "base/status.h"
#include "sgatlin_train.h"

// Takes from the data what the configuration leaves open, then checks all against each other.
// `data_name` is what errors call the data.
sg_status sg_run_options_complete(sg_train_options *options, const sg_data *data,
                                  const char *data_name, sg_error *err);
// The number of steps that the budget buys. rows: of the training split; cost: of the
// configuration.
sg_status sg_run_options_steps(const sg_train_options *options, int64_t seq_len, int64_t rows,
                               const sg_cost *cost, int64_t *steps, sg_error *err);

// A new object; NULL when out of memory.
json_t *sg_run_options_json(const sg_train_options *options);
sg_status sg_run_options_parse(const json_t *object, const char *name, sg_train_options *options,
                               sg_error *err);

#endif
