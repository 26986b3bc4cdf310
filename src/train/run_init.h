// The model that a run goes on from (sg_train_options.init).
#ifndef SG_TRAIN_RUN_INIT_H
#define SG_TRAIN_RUN_INIT_H

#include "model/model.h"
#include "train/run_settings.h"

// Opens the model with the configuration of the options, which must be its own but for what
// training may set. Its weights must be those of settings->init_hash, which is filled in where it
// is not known. copy: in writable memory.
sg_status sg_run_init_open(sg_context *context, sg_run_settings *settings, bool copy,
                           sg_model **model, sg_error *err);

// Whether the data were packed with the tokenizer of options.init, if there is one:
// SG_ERR_MISMATCH, or a warning with options.force_tokenizer; a warning too where the model has no
// tokenizer to ask.
sg_status sg_run_init_tokenizer(sg_context *context, const sg_run_settings *settings,
                                sg_error *err);

#endif
