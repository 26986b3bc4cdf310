// What a run trains: everything, the parameters of some names, or adapters beside all of them.
#ifndef SG_TRAIN_TRAINED_H
#define SG_TRAIN_TRAINED_H

#include "model/adapter_files.h"
#include "sgatlin_train.h"

// Gives the model the adapters that the options ask for (lora_…), as they begin, or none, and marks
// what stays as it is (sg_param_spec.frozen).
sg_status sg_trained_choose(const sg_train_options *options, sg_model *model, sg_error *err);
// Weights that are trained.
int64_t sg_trained_count(const sg_param_list *params);
// What the files of adapters say of these options, which they borrow.
sg_adapter_form sg_trained_form(const sg_train_options *options);

#endif
