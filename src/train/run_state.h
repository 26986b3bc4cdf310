// The state of a training run in a checkpoint, and the results in summary.json, as JSON.
#ifndef SG_TRAIN_RUN_STATE_H
#define SG_TRAIN_RUN_STATE_H

#include <jansson.h>

#include "train/trainer.h"
#include "sgatlin_train.h"

// New objects; NULL when out of memory.
json_t *sg_train_state_json(const sg_train_state *state);
json_t *sg_train_result_json(const sg_train_result *result);
sg_status sg_train_state_parse(const json_t *object, const char *name, sg_train_state *state,
                               sg_error *err);
sg_status sg_train_result_parse(const json_t *object, const char *name, sg_train_result *result,
                                sg_error *err);

#endif
