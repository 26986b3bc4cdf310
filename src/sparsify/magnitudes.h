// Thresholds below which numbers are left out, from what they were in calibration: TEAL (inputs of
// linear layers), CATS (activations of gates), magnitudes of any kind. A histogram whose bins are
// 2^-10 wide, relative to the numbers in them: small, and the same whatever pieces they come in.
#ifndef SG_SPARSIFY_MAGNITUDES_H
#define SG_SPARSIFY_MAGNITUDES_H

#include "base/status.h"
#include "kernel/kernel.h"

enum { SG_MAGNITUDES_BYTES = 8 << 18 }; // that one takes

typedef struct sg_magnitudes {
    int64_t *counts; // of absolute values, by the upper bits of their float
    int64_t total;
} sg_magnitudes;

sg_status sg_magnitudes_new(sg_magnitudes *magnitudes, sg_error *err);
void sg_magnitudes_free(sg_magnitudes *magnitudes);
// values (rows, d), finite. weights (d) or NULL: of column i, |x_i| weights_i is counted (WINA: the
// norm of the column of the matrix that reads x_i).
sg_status sg_magnitudes_add(sg_magnitudes *magnitudes, const sg_real *values, int64_t rows,
                            int64_t d, const sg_real *weights, sg_error *err);
// The least threshold (an upper end of a bin) with at least that share of the values at or below
// it; 0 for share 0. SG_ERR_NUMERIC without values, SG_ERR_ARGUMENT outside 0 … 1.
sg_status sg_magnitudes_threshold(const sg_magnitudes *magnitudes, double share, double *threshold,
                                  sg_error *err);
// The share of the values in bins that end at or below a threshold.
double sg_magnitudes_share(const sg_magnitudes *magnitudes, double threshold);
// norms (d): of the columns of w (n, d).
void sg_column_norms(const sg_real *w, int64_t n, int64_t d, sg_real *norms);

// TEAL's shares for the matrices of one block: beginning with nothing left out, the share of one of
// them is raised until that of the block is reached, each time of the one that makes the error of
// the block's output least. A step raises the block's share by `step`, so that of a matrix by step
// sum / sizes_i. error: of the output with these shares (count); false stops with SG_ERR_STOPPED.
typedef struct sg_greedy_shares {
    int64_t count;
    const double *sizes; // (count) bytes, or numbers, of the matrices
    double step, share;  // above 0; 0 … 1, of the block
    bool (*error)(void *user, const double *shares, double *value);
    void *user;
} sg_greedy_shares;
sg_status sg_greedy_shares_find(const sg_greedy_shares *greedy, double *shares, sg_error *err);

#endif
