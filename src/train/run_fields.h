// The table of the options of training. Their rules that need more than one of them, and run.json,
// are in run_options.h.
#ifndef SG_TRAIN_RUN_FIELDS_H
#define SG_TRAIN_RUN_FIELDS_H

#include "base/fields.h"
#include "sgatlin_train.h"

typedef struct sg_run_field {
    sg_field field;
    const char *older; // what a run has that does not say, from before; NULL: all say
    bool unnamed;      // the name of a run in a sweep says it only where it is not `older`
} sg_run_field;

// NULL behind the last.
const sg_run_field *sg_run_field_at(size_t index);

// Whether an option has the value that it has in a run which does not say it; false: all say it.
bool sg_run_field_is_older(const sg_run_field *field, const sg_train_options *options);
// The row of an option; NULL: there is none.
const sg_run_field *sg_run_field_find(const char *name);

// The number of a choice of an option: that of its enum. SG_ERR_ARGUMENT lists them.
sg_status sg_train_choice(const char *name, const char *text, size_t *number, sg_error *err);

enum { SG_RUN_OPTION = 48 }; // room for the name of an option

#endif
