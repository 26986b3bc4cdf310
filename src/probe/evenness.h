// How evenly counts are spread over bins: one set of statistics for the usage that evaluation
// reports, that `probe usage` prints, and for the published ones beside it.
#ifndef SG_PROBE_EVENNESS_H
#define SG_PROBE_EVENNESS_H

#include <stdint.h>

// Of bins x_1 … x_n with the sum s; all counts >= 0. With s = 0: used, entropy, gini and max_load
// are 0, and min_max and deviation NaN.
typedef struct sg_evenness {
    int64_t bins, sum;
    double used;      // share of bins that are not 0
    double entropy;   // of x / s over log n: 1 when all are alike; 1 of a single bin
    double gini;      // 0 when all are alike, 1 - 1/n when one has all
    double max_load;  // largest over mean
    double min_max;   // smallest over largest
    double deviation; // standard deviation (of the population) over mean
} sg_evenness;

// Sorts the counts.
sg_evenness sg_evenness_of(int64_t *counts, int64_t bins);

// The same for bins that come piece by piece and are never in memory together; no gini.
typedef struct sg_evenness_sums {
    int64_t bins, sum, used, least, most;
    double squares, logs; // sum of x^2, of x ln x
} sg_evenness_sums;
// Sums begin as {0}.
void sg_evenness_add(sg_evenness_sums *sums, const int64_t *counts, int64_t bins);
// gini is NaN.
sg_evenness sg_evenness_of_sums(const sg_evenness_sums *sums);

#endif
