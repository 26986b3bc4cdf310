// The published protocols of training: options, and what data they are for.
#ifndef SG_TRAIN_RECIPE_H
#define SG_TRAIN_RECIPE_H

#include "base/status.h"
#include "sgatlin_data.h"
#include "sgatlin_train.h"

// With options->recipe "" everything is right.
sg_status sg_recipe_check_data(const sg_train_options *options, const sg_data_info *info,
                               const char *data_name, sg_error *err);

#endif
