// How near all rows are to one of them: sums of products, column by column, over an index of the
// rows in blocks that stay in a cache. What looks for neighbours, or ranks them, scans all rows;
// nothing is guessed, and a row's sum is taken in the order of columns, in double, whoever asks.
#ifndef SG_PROBE_SCAN_H
#define SG_PROBE_SCAN_H

#include "sgatlin_gates.h"
#include "base/status.h"

// Rows and columns that are counted by 32 bits, begins and columns in order, finite numbers; `name`
// is what errors call it.
sg_status sg_vectors_check(const sg_vectors *vectors, const char *name, sg_error *err);
// Numbers of the longest row.
int64_t sg_vectors_longest(const sg_vectors *vectors);
// Row `row` as its columns and numbers that are not 0, both with room for the longest row. Returns
// how many.
int64_t sg_vectors_row(const sg_vectors *vectors, int64_t row, int32_t *columns, double *values);
// Rows without a number that is not 0.
int64_t sg_vectors_zeros(const sg_vectors *vectors);

enum { SG_SCAN_PRODUCT = 2 }; // a metric of this room: the key is a.b

typedef struct sg_scan {
    int64_t rows, columns;
    int64_t block, blocks; // rows of a block
    int metric;            // sg_metric, or SG_SCAN_PRODUCT
    // (blocks * columns + 1), sparse rows: the numbers of column c in the rows of block b are
    // weights[i] in row places[i] of the block, i from begins[b * columns + c]; NULL: dense ones,
    // weights (blocks, columns, block).
    int64_t *begins;
    int32_t *places;
    double *weights;
    double *bases; // (rows): what the key of a row begins with
} sg_scan;

// Of rows that were checked. Ownership: sg_scan_end.
sg_status sg_scan_begin(const sg_vectors *rows, int metric, sg_scan *scan, sg_error *err);
void sg_scan_end(sg_scan *scan);

// One row that is compared with all. columns, weights: room for the longest row, the caller's.
typedef struct sg_scan_query {
    int32_t *columns;
    double *weights;
    int64_t count;
    double square; // |a|^2
} sg_scan_query;

void sg_scan_query_set(const sg_scan *scan, const sg_vectors *vectors, int64_t row,
                       sg_scan_query *query);
// Keys of the rows of one block: the larger, the nearer. keys (block). Returns how many rows.
int64_t sg_scan_keys(const sg_scan *scan, const sg_scan_query *query, int64_t block, double *keys);
// The distance that a key says.
double sg_scan_distance(const sg_scan *scan, const sg_scan_query *query, double key);

#endif
