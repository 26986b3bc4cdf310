// Batches of a recording into the tables of its database, in order; postings and sums of neurons
// span by span. One thread at a time.
#ifndef SG_PROBE_RECORD_ROWS_H
#define SG_PROBE_RECORD_ROWS_H

#include "probe/record_pass.h"

typedef struct sg_record_rows sg_record_rows;

// A database that holds the tables, and what was recorded so far: that is read back as far as the
// rest depends on it. All that is pointed to must outlive it. first_row: what the first sequence's
// source_row is.
sg_status sg_record_rows_new(sg_database *database, const sg_record_parts *parts,
                             const sg_record_sizes *sizes, int64_t first_row, sg_record_rows **rows,
                             sg_error *err);
void sg_record_rows_free(sg_record_rows *rows);
// Adds a batch, within a transaction of the caller.
sg_status sg_record_rows_add(sg_record_rows *rows, const sg_record_batch *batch, sg_error *err);
// Behind the last: what is left of a span.
sg_status sg_record_rows_end(sg_record_rows *rows, sg_error *err);

// Tokens of a span where a token has so many slots.
int64_t sg_record_span(int64_t slots);

#endif
