// Copies of matrices by their columns, for decoding with inputs that are left out (ffn/trimmed.h):
// which matrices have one, and memory for them. Weights are then there twice.
#ifndef SG_MODEL_COLUMN_COPIES_H
#define SG_MODEL_COLUMN_COPIES_H

#include "ffn/trimmed.h"
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

// Calls `each` for every matrix in front of which something is left out: its layer, from 0, the
// place, and which parameter it is.
typedef void (*sg_columns_fn)(void *user, int64_t layer, sg_trimmed place, size_t index);
sg_status sg_model_columns_each(const sg_model *model, sg_columns_fn each, void *user,
                                sg_error *err);
// Bytes of a matrix that decoding leaves unread where it reads that share of its columns: 0 of one
// that has no copy by columns, for it is read whole.
double sg_model_columns_unread(const sg_model *model, size_t index, double share);

#endif
