// Statistics of counts x_1 <= … <= x_n with the sum s:
//
//     entropy    - sum (x/s) ln(x/s) / ln n
//     Gini       sum (2 i - n - 1) x_i / (n s), i from 1
//     deviation  sqrt(mean of x^2 - mean^2) / mean
#include "probe/evenness.h"

#include <math.h>
#include <stdlib.h>

static int evenness_order(const void *a, const void *b)
{
    const int64_t *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

// Over the mean, which is not 0. With integers below 2^53 the difference is exact where all bins
// are alike.
static double evenness_deviation(double n, double sum, double squares)
{
    const double spread = n * squares - sum * sum;
    return sqrt(spread > 0 ? spread : 0) / sum;
}

sg_evenness sg_evenness_of(int64_t *counts, int64_t bins)
{
    sg_evenness e = {.bins = bins, .min_max = NAN, .deviation = NAN};
    int64_t used = 0;
    double squares = 0;
    for (int64_t i = 0; i < bins; i++) {
        e.sum += counts[i];
        used += counts[i] > 0;
        squares += (double)counts[i] * (double)counts[i];
    }
    qsort(counts, (size_t)bins, sizeof *counts, evenness_order);
    const double n = (double)bins, all = (double)e.sum;
    double entropy = 0, ranks = 0;
    for (int64_t i = 0; i < bins && all > 0; i++) {
        double p = (double)counts[i] / all;
        if (p > 0) entropy -= p * log(p);
        ranks += (2 * (double)i + 1 - n) * p; // of the i-th smallest, from 0
    }
    e.used = (double)used / n;
    e.entropy = bins > 1 ? entropy / log(n) : 1;
    e.gini = ranks / n;
    if (all == 0) return e;
    e.max_load = (double)counts[bins - 1] / all * n;
    e.min_max = (double)counts[0] / (double)counts[bins - 1];
    e.deviation = evenness_deviation(n, all, squares);
    return e;
}

void sg_evenness_add(sg_evenness_sums *sums, const int64_t *counts, int64_t bins)
{
    for (int64_t i = 0; i < bins; i++) {
        const int64_t x = counts[i];
        if (sums->bins + i == 0 || x < sums->least) sums->least = x;
        if (x > sums->most) sums->most = x;
        sums->sum += x;
        sums->used += x > 0;
        sums->squares += (double)x * (double)x;
        if (x > 0) sums->logs += (double)x * log((double)x);
    }
    sums->bins += bins;
}

sg_evenness sg_evenness_of_sums(const sg_evenness_sums *sums)
{
    sg_evenness e = {
        .bins = sums->bins, .sum = sums->sum, .gini = NAN, .min_max = NAN, .deviation = NAN};
    const double n = (double)sums->bins, all = (double)sums->sum;
    e.used = (double)sums->used / n;
    e.entropy = sums->bins > 1 ? 0 : 1;
    if (sums->sum == 0) return e;
    if (sums->bins > 1) e.entropy = (log(all) - sums->logs / all) / log(n);
    e.max_load = (double)sums->most / all * n;
    e.min_max = (double)sums->least / (double)sums->most;
    e.deviation = evenness_deviation(n, all, sums->squares);
    return e;
}
