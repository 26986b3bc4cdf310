// The columns of `runs` in sweep.db, and of CSV files of runs: what is stored of a row, by the
// name that it has in sg_sweep_row, stated once.
#ifndef SG_SWEEP_COLUMNS_H
#define SG_SWEEP_COLUMNS_H

#include "sweep/sweep.h"

typedef enum sg_sweep_column_kind {
    SG_SWEEP_COLUMN_TEXT,    // char[bytes]
    SG_SWEEP_COLUMN_INT,     // int64_t, from `least`
    SG_SWEEP_COLUMN_REAL,    // double; NAN is NULL
    SG_SWEEP_COLUMN_SEED,    // uint64_t, as the signed number of the same bits
    SG_SWEEP_COLUMN_PURPOSE, // sg_sweep_purpose, as a word
    SG_SWEEP_COLUMN_STATE    // sg_sweep_state, as a word
} sg_sweep_column_kind;

typedef struct sg_sweep_column {
    const char *name;
    sg_sweep_column_kind kind;
    size_t offset, bytes; // in sg_sweep_row
    int64_t least;        // of an INT
} sg_sweep_column;

// In their order; NULL behind the last. The first is "id".
const sg_sweep_column *sg_sweep_column_at(size_t index);

static inline void *sg_sweep_column_in(const sg_sweep_column *column, sg_sweep_row *row)
{
    return (char *)row + column->offset;
}

static inline const void *sg_sweep_column_of(const sg_sweep_column *column, const sg_sweep_row *row)
{
    return (const char *)row + column->offset;
}

// "search", "point", "seed", "extension"; "waiting", "running", "finished", "failed".
const char *sg_sweep_purpose_word(sg_sweep_purpose purpose);
const char *sg_sweep_state_word(sg_sweep_state state);
// False: no such word.
bool sg_sweep_purpose_find(const char *word, sg_sweep_purpose *purpose);
bool sg_sweep_state_find(const char *word, sg_sweep_state *state);

// A row of which nothing is known: numbers NAN or 0, machines -1, the state waiting.
sg_sweep_row sg_sweep_row_empty(void);
// Frees what the row has allocated.
void sg_sweep_row_clear(sg_sweep_row *row);

#endif
