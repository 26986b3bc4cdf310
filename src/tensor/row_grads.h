// The gradient of a table of which a pass reads few rows: only the rows that were written are kept,
// in the order they came, with the ascending list of which they are. So neither memory (beyond
// addresses) nor time nor clearing depends on the size of the table.
//
// The owner of the table may defer work on rows until they are read again (train/optimizer.h does):
// operations that read a table through row gradients announce the rows first.
#ifndef SG_TENSOR_ROW_GRADS_H
#define SG_TENSOR_ROW_GRADS_H

#include "base/compute.h"
#include "base/status.h"
#include "kernel/real.h"

typedef struct sg_row_grads {
    int64_t rows, width; // of the table
    int64_t count;       // rows written
    int32_t *ids;        // (count) which, ascending
    int32_t *slots;      // (count) where each of them is in values
    sg_real *values;     // (count, width)
    // Called before the forward pass reads these rows, which are ascending and different; on the
    // thread that runs the tape. May be NULL.
    void (*before_read)(void *user, sg_compute compute, const int32_t *ids, int64_t count);
    void *user;
    int32_t *spare_ids, *spare_slots; // the lists are merged into these, then they change places
    unsigned char *memory;
    size_t bytes;
} sg_row_grads;

// rows is at most INT32_MAX. No row is written yet.
sg_status sg_row_grads_new(int64_t rows, int64_t width, sg_row_grads **grads, sg_error *err);
void sg_row_grads_free(sg_row_grads *grads); // NULL is allowed

// Makes room for `count` rows (ids ascending, different) and gives the slot of each. Rows that were
// not there get slots from the returned one on: those are to be written, the others added to.
// add false: forgets all rows first.
int64_t sg_row_grads_open(sg_row_grads *grads, const int32_t *ids, int64_t count, bool add,
                          int32_t *slots);

#endif
