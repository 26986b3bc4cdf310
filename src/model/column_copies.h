// Copies of matrices by their columns, for decoding with inputs that are left out (ffn/trimmed.h):
// which matrices have one, and memory for them. Weights are then there twice.
#ifndef SG_MODEL_COLUMN_COPIES_H
#define SG_MODEL_COLUMN_COPIES_H

#include "model/weights.h"

typedef struct sg_column_set {
    sg_stored_columns *items; // (count) by parameter; NULL: nothing was copied
    size_t count;
    void *memory;
    size_t bytes;
    const sg_allocator *allocator; // where the memory is from
    int64_t version;               // of the weights that were copied
} sg_column_set;
void sg_column_set_free(sg_column_set *set);

// The copies that decoding shall read, by parameter: made when they are first asked for, and anew
// where weights have changed since. *columns: NULL where nothing is left out, or the model has
// adapters. Any thread.
sg_status sg_model_columns(sg_model *model, const sg_stored_columns **columns, sg_error *err);
// Those that are there, brought up to date.
sg_status sg_model_columns_fresh(sg_model *model, sg_error *err);

#endif
