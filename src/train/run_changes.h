// What of a run can be changed when it goes on, and the record of it in run.json.
#ifndef SG_TRAIN_RUN_CHANGES_H
#define SG_TRAIN_RUN_CHANGES_H

#include <jansson.h>

#include "train/run_settings.h"

// Sets what is asked for in the options and gives an array of {"field", "old", "new"} for what
// differs. SG_ERR_ARGUMENT names a field that cannot be changed. *list: json_decref.
sg_status sg_run_changes_apply(sg_train_options *options, const sg_train_change *changes,
                               size_t count, json_t **list, sg_error *err);
// Adds one to such an array, where the texts differ.
sg_status sg_run_changes_add(json_t *list, const char *field, const char *before, const char *after,
                             sg_error *err);
// Writes run.json anew: the options, steps, kernel and products of the settings, and the list, each
// with the step after which it holds.
sg_status sg_run_changes_record(const char *run_folder, const sg_run_settings *settings,
                                int64_t steps, int64_t step, const json_t *list, sg_error *err);

#endif
