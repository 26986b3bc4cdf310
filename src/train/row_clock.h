// AdamW on rows that wait. A row without a gradient still moves under AdamW: by its decaying first
// moment, and by weight decay. While nobody reads it, that can wait; when it is read, all the steps
// it has waited for are taken at once.
//
// Let the row have had its last step at update t0, with moments m, v, and let it wait until update
// T. With s = t0+1 … T, step s of AdamW without a gradient is
//   p = (1 - lr_s decay) p - lr_s (beta1^(s-t0) m / bias1_s) / (sqrt(beta2^(s-t0) v / bias2_s) + eps)
// so that, with D_s the product of (1 - lr_u decay) over u > s,
//   w_s = D_s lr_s beta1^(s-t0) / bias1_s          how far step s still counts at T,
//   r_s = sqrt(beta2^(s-t0) / bias2_s)             its denominator is r_s sqrt(v) + eps,
//   p(T) = D_t0 p(t0) - m sum_s w_s / (r_s sqrt(v) + eps).
// The sum has one r for all steps here: move / (root sqrt(v) + eps), move = sum w_s and
// root = move / sum (w_s / r_s). That is exact where eps is small beside the denominator and where
// it is large; in between the relative error of the move is of the order of the variance of r_s
// under the weights w_s, some 1e-5 after the first steps of a run. All three sums depend on t0
// alone and are built for every t0 by one walk backwards.
//
// Bringing weights up to date when they are read is the delayed update of sparse linear models
// (Lipton & Elkan 2015, arXiv 1505.06449, and the earlier work they extend), here for AdamW.
#ifndef SG_TRAIN_ROW_CLOCK_H
#define SG_TRAIN_ROW_CLOCK_H

#include "kernel/kernel.h"

// Updates after which all rows are brought up to date, wherever they are: bounds the history.
enum { SG_ROW_PERIOD = 1024 };

typedef struct sg_row_clock {
    double beta1, beta2, eps, decay;
    int64_t settled;          // the update to which all rows had been brought
    int64_t updates;          // made since then, at most SG_ROW_PERIOD
    double lr[SG_ROW_PERIOD]; // of each of them
    int64_t built;            // the `updates` that idle is for; -1: none
    // By the updates between `settled` and the row's last step: what brings it up to date.
    sg_adamw_idle_args idle[SG_ROW_PERIOD + 1];
} sg_row_clock;

// After an update with that learning rate; updates < SG_ROW_PERIOD.
void sg_row_clock_advance(sg_row_clock *clock, double lr);
// All rows are up to date.
void sg_row_clock_settle(sg_row_clock *clock);
// Makes clock->idle right for the present.
void sg_row_clock_build(sg_row_clock *clock);

#endif
