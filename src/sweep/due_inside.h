// The inside of sg_sweep_due, between due.c (the whole), due_cells.c (the runs of one cell),
// due_scales.c (what is decided over all scales of a family: further scales, seeds) and due_order.c
// (the order of runs).
#ifndef SG_SWEEP_DUE_INSIDE_H
#define SG_SWEEP_DUE_INSIDE_H

#include "sweep/due.h"
#include "sweep/results.h"

typedef struct sg_due_item { // a run that is needed
    sg_sweep_todo todo;
    int64_t row;
} sg_due_item;

// What only the making of the plan needs of a cell; sg_sweep_cell_state is beside it.
typedef struct sg_due_cell {
    size_t family; // number in the order of the file
    bool done;     // sg_due_cell_look was here
    bool blocked;  // what it needs failed
    bool aside;    // added for its values alone: takes part in no decision at its budget
} sg_due_cell;

typedef struct sg_due {
    const sg_sweep_spec *spec;
    const sg_sweep_results *results;
    bool automatic;
    double search_budget; // spec->search_budget as cells have it, whose last digits may differ
    sg_sweep_plan *plan;
    sg_error *err;
    size_t *by_id; // (results->count) rows, ascending id
    size_t *order; // (cells of the file) by family, settings, budget, scale
    sg_due_cell *cells;
    size_t count; // of cells, those of the file first
    sg_due_item *items;
    size_t item_count;
    size_t cell_capacity, state_capacity, added_capacity, item_capacity, mark_capacity,
        proposal_capacity;
} sg_due;

sg_status sg_due_memory(sg_due *d); // fails
const sg_sweep_cell *sg_due_at(const sg_due *d, size_t cell);
sg_sweep_cell_state *sg_due_state(const sg_due *d, size_t cell);

// Lists the runs of a cell that are known to be needed and fills in its state; those of the cell
// whose values it takes come first.
sg_status sg_due_look(sg_due *d, size_t cell);
// Adds a cell, at the scale given, made from that cell of the file. SG_ERR_MEMORY; any other error
// is that the scale cannot be, and nothing is added.
sg_status sg_due_add(sg_due *d, size_t from, double scale, bool aside, size_t *cell);
// Lists further seeds of a cell whose values are known.
sg_status sg_due_seeds(sg_due *d, size_t cell);
sg_status sg_due_mark(sg_due *d, sg_sweep_mark_kind kind, size_t cell, const char *format, ...)
    SG_PRINTF(4, 5);
sg_status sg_due_propose(sg_due *d, size_t cell, double scale, const char *text);

// The cell of that budget at the scale of `like`, of its family and settings: of the file, with
// `added` of those that were added too; SIZE_MAX: none.
size_t sg_due_find(const sg_due *d, const sg_sweep_cell *like, double budget, bool added);

// Further scales and seeds of `count` cells in d->order, all of one family, budget and settings.
sg_status sg_due_scales(sg_due *d, const size_t *cells, size_t count);
// Puts what is listed into the plan: each run once, families in turn.
sg_status sg_due_arrange(sg_due *d);

#endif
