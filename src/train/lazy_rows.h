// The tables of which an optimiser updates rows only when they are read: each row knows at which
// update it last moved, and row_clock.h what it has missed since. Part of sg_optimizer.
#ifndef SG_TRAIN_LAZY_ROWS_H
#define SG_TRAIN_LAZY_ROWS_H

#include "kernel/stored.h"
#include "tensor/row_grads.h"
#include "train/row_clock.h"

typedef struct sg_lazy_table {
    sg_row_clock *clock;
    sg_row_grads *grads;
    sg_real *p, *m, *v;      // (grads->rows, grads->width)
    int32_t *last;           // (rows): updates after clock->settled at which the row moved last
    const sg_stored *narrow; // a copy to be kept right, or NULL
    size_t parameter;
} sg_lazy_table;

// Puts itself before reads through grads; p, m, v, clock and grads are set. last starts at 0.
sg_status sg_lazy_table_open(sg_lazy_table *table, sg_error *err);
void sg_lazy_table_close(sg_lazy_table *table);
// One step of AdamW on the rows of grads; the clock is advanced afterwards, by the caller.
void sg_lazy_table_apply(sg_lazy_table *table, sg_compute compute, const sg_adamw_args *args);
// Sum of the squares of the gradient, in a fixed order.
double sg_lazy_table_squares(const sg_lazy_table *table, sg_compute compute);
// Brings all rows up to date; the clock is settled afterwards, by the caller.
void sg_lazy_table_settle(sg_lazy_table *table, sg_compute compute);

#endif
