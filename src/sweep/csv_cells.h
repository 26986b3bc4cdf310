// Reading CSV, as RFC 4180 has it, cell by cell, from text that anyone may have written: what is
// wrong is told by line and column.
#ifndef SG_SWEEP_CSV_CELLS_H
#define SG_SWEEP_CSV_CELLS_H

#include "base/status.h"
#include "base/utf8.h"

typedef struct sg_csv_in {
    const char *name;
    const char *at, *end;
    int64_t line;       // of `at`, from 1
    int64_t cell_line;  // in which the cell begins
    size_t index;       // of the cell in its record, from 0
    const char *column; // its name; NULL: not known
    sg_bytes cell;      // with a NUL
    bool last;          // of its record
} sg_csv_in;

// The next cell of a record, which has one more. Its line end may be that of other systems. Release
// with sg_free(in->cell.data).
sg_status sg_csv_next(sg_csv_in *in, sg_error *err);

// Of the cell: what was found and what was expected; in words; out of memory.
sg_status sg_csv_wrong(const sg_csv_in *in, const char *expected, sg_error *err);
sg_status sg_csv_place(const sg_csv_in *in, const char *what, sg_error *err);
sg_status sg_csv_memory(const sg_csv_in *in, sg_error *err);

// A finite number as JSON has them, from `at` to its end, which is that of the text or one of
// `ends`; NULL: there is none.
const char *sg_csv_number(const char *at, const char *ends, double *value);
// A whole number from `least` on, likewise.
const char *sg_csv_whole(const char *at, const char *ends, int64_t least, int64_t *value);

#endif
