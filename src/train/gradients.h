// The gradients of a model in training: whole for most parameters, by rows for tables that are much
// larger than what a step reads of them.
#ifndef SG_TRAIN_GRADIENTS_H
#define SG_TRAIN_GRADIENTS_H

#include "ffn/params.h"

// What the optimiser does to rows that a step does not read (sg_train_options.optimizer_rows).
// In the order of the option's choices (train/run_fields.c).
typedef enum sg_optimizer_rows {
    SG_ROWS_EXACT, // the step, at once
    SG_ROWS_LAZY,  // the same step, when they are read again (train/row_clock.h)
    SG_ROWS_AUTO   // lazy where a table has at least as many rows as a step makes hits
} sg_optimizer_rows;

sg_status sg_optimizer_rows_parse(const char *name, sg_optimizer_rows *mode, sg_error *err);

typedef struct sg_gradients {
    sg_param_block whole;
    sg_real **parts;           // by parameter; NULL where it is by rows, or frozen
    sg_row_grads **rows;       // by parameter, NULL where it is whole; or NULL when all are
    size_t count, whole_bytes; // parameters; of whole gradients, without what aligns them
    int64_t lazy_tables;       // that have gradients by rows
} sg_gradients;

static inline sg_row_grads *sg_gradients_rows(const sg_gradients *gradients, size_t parameter)
{
    return gradients->rows != NULL ? gradients->rows[parameter] : NULL;
}

// tokens: of a step. What is kept by rows depends on shapes and mode alone. allocator: of whole
// gradients; NULL: the system's.
sg_status sg_gradients_new(const sg_param_list *params, sg_optimizer_rows mode, int64_t tokens,
                           const sg_allocator *allocator, sg_gradients *gradients, sg_error *err);
void sg_gradients_free(sg_gradients *gradients);
// Memory that is in use: whole gradients, and the rows written since the last step.
size_t sg_gradients_bytes(const sg_gradients *gradients);

#endif
