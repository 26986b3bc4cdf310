// Statistics over things that share members: values of pairs of facts are not independent, since a
// fact is in many pairs, so what is drawn anew, or flipped, are facts.
#ifndef SG_PROBE_STATISTICS_H
#define SG_PROBE_STATISTICS_H

#include "base/parallel.h"

// How often each of `members` is drawn in each of `resamples` samples of `members` with
// replacement: draw i of sample r is member sg_rng_below(seed, stream "statistics.bootstrap",
// r members + i, members).
typedef struct sg_resamples {
    int64_t resamples, members;
    uint16_t *times; // (resamples, members)
} sg_resamples;
sg_status sg_resamples_new(int64_t resamples, int64_t members, uint64_t seed, sg_resamples *out,
                           sg_error *err);
void sg_resamples_free(sg_resamples *r);

// A mean of values of pairs, sum of values over sum of weights: weights NULL are 1. A value that is
// NAN is not there. Where first and second are NULL, value i is that of member i alone, which
// counts as often as it is drawn.
typedef struct sg_pair_values {
    const double *values, *weights; // (count); weights may be NULL
    const size_t *first, *second;   // (count) members of each pair; or NULL
    size_t count;
} sg_pair_values;

typedef struct sg_interval {
    double mean, low, high; // NAN: there is none
} sg_interval;

// The mean, and the 2.5 and 97.5 percentiles of means of resamples, in which a pair has the weight
// times[first] times[second] (Efron and Tibshirani 1993, percentile interval; of pairs whose
// members are drawn: Owen 2007, "The pigeonhole bootstrap"). Percentiles between two values are
// interpolated; resamples without a pair are left out.
sg_interval sg_bootstrap(const sg_resamples *r, const sg_pair_values *pairs, double *work);
// room of `work`: (resamples)

// Two-sided p of the hypothesis that values are as likely with the other sign, all of a member
// together: the share of assignments of signs to members whose sum is at least as far from 0. All
// 2^members where these are at most `flips`, else so many that are drawn, the one that was seen
// among them: (1 + as far) / (1 + flips). NAN where there is no value. sums: room for (members).
double sg_sign_flips(const double *values, const size_t *member, size_t count, size_t members,
                     int64_t flips, uint64_t seed, double *sums);

// Adjusts p values of several tests so that the chance of any false finding stays what one says
// (Holm 1979): the i-th smallest of m, from 0, becomes the largest of min(1, (m - j) p_j), j <= i.
// NAN stays and does not count. p, adjusted (count), are two arrays.
void sg_holm(const double *p, double *adjusted, size_t count);

// The q-th quantile of values in ascending order, between two by interpolation, as numpy's default;
// count 0: NAN.
double sg_quantile(const double *sorted, int64_t count, double q);

// The median of values in ascending order, and the narrowest interval from one of them to another,
// as far from both ends, that holds the median they are drawn around in at least 95 of 100 cases,
// whatever the law (the i-th smallest of n is above it with the chance of at most i - 1 heads in n
// throws of a coin); NAN where there are less than 6. count: at most 1000.
sg_interval sg_median_interval(const double *sorted, int64_t count);

#endif
