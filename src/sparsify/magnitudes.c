// The bits of a float that is not negative are in the order of the floats: the upper ones, exponent
// and ten bits behind it, are the bin.
#include "sparsify/magnitudes.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"

enum { magnitude_shift = 23 - 10, magnitude_bins = 1 << (31 - magnitude_shift) };

sg_status sg_magnitudes_new(sg_magnitudes *m, sg_error *err)
{
    *m = (sg_magnitudes){0};
    m->counts = sg_alloc_zero(magnitude_bins, sizeof *m->counts);
    return m->counts != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a histogram");
}

void sg_magnitudes_free(sg_magnitudes *m)
{
    sg_free(m->counts);
    *m = (sg_magnitudes){0};
}

static uint32_t magnitude_bin(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> magnitude_shift;
}

// The largest float of a bin; of the last one below infinity the largest there is.
static double magnitude_end(int64_t bin)
{
    const uint32_t bits = ((uint32_t)bin << magnitude_shift) | ((1u << magnitude_shift) - 1);
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

sg_status sg_magnitudes_add(sg_magnitudes *m, const sg_real *values, int64_t rows, int64_t d,
                            const sg_real *weights, sg_error *err)
{
    for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < d; i++) {
            const double x = (double)values[r * d + i];
            const float size = (float)fabs(weights != NULL ? x * (double)weights[i] : x);
            if (!isfinite(size))
                return sg_fail(err, SG_ERR_NUMERIC,
                               "magnitudes: row %lld, number %lld: found %g, expected a finite "
                               "number",
                               (long long)r, (long long)i, x);
            m->counts[magnitude_bin(size)]++;
            m->total++;
        }
    return SG_OK;
}

sg_status sg_magnitudes_threshold(const sg_magnitudes *m, double share, double *threshold,
                                  sg_error *err)
{
    if (!(share >= 0 && share <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "magnitudes: share: found %g, expected 0 … 1", share);
    if (m->total == 0)
        return sg_fail(err, SG_ERR_NUMERIC,
                       "magnitudes: found no calibration value, expected at least one");
    *threshold = 0;
    int64_t below = 0;
    for (int64_t bin = 0; share > 0 && bin < magnitude_bins; bin++) {
        below += m->counts[bin];
        if ((double)below < share * (double)m->total) continue;
        // Zeros have the first bin with the smallest numbers there are.
        *threshold = bin > 0 ? magnitude_end(bin) : 0;
        return SG_OK;
    }
    return SG_OK;
}

double sg_magnitudes_share(const sg_magnitudes *m, double threshold)
{
    int64_t below = 0;
    for (int64_t bin = 0; bin < magnitude_bins && m->total > 0; bin++) {
        if (bin > 0 && magnitude_end(bin) > threshold) break;
        below += m->counts[bin];
    }
    return m->total > 0 ? (double)below / (double)m->total : NAN;
}

void sg_column_norms(const sg_real *w, int64_t n, int64_t d, sg_real *norms)
{
    for (int64_t i = 0; i < d; i++) {
        double square = 0;
        for (int64_t j = 0; j < n; j++)
            square += (double)w[j * d + i] * (double)w[j * d + i];
        norms[i] = (sg_real)sqrt(square);
    }
}

// ---- greedy shares ------------------------------------------------------------------------------

// Raises the share of the matrix that hurts least; *best: which one, -1: all are at 1.
static sg_status greedy_raise(const sg_greedy_shares *g, double step, double *shares, double sum,
                              sg_error *err)
{
    double least = INFINITY;
    int64_t best = -1;
    for (int64_t i = 0; i < g->count; i++) {
        const double was = shares[i];
        double value;
        if (was >= 1) continue;
        shares[i] = fmin(1, was + step * sum / g->sizes[i]);
        const bool goes_on = g->error(g->user, shares, &value);
        shares[i] = was;
        if (!goes_on) return sg_fail(err, SG_ERR_STOPPED, "stopped while shares were looked for");
        if (isnan(value))
            return sg_fail(err, SG_ERR_NUMERIC,
                           "shares: matrix %lld: found an error that is no number", (long long)i);
        if (best >= 0 && value >= least) continue;
        least = value;
        best = i;
    }
    if (best >= 0) shares[best] = fmin(1, shares[best] + step * sum / g->sizes[best]);
    return SG_OK;
}

sg_status sg_greedy_shares_find(const sg_greedy_shares *g, double *shares, sg_error *err)
{
    double sum = 0, reached = 0;
    if (g->count < 1 || !(g->step > 0) || !(g->share >= 0 && g->share <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "shares: found %lld matrices, a step of %g and a share of %g, expected 1 or "
                       "more, above 0 and 0 … 1",
                       (long long)g->count, g->step, g->share);
    for (int64_t i = 0; i < g->count; i++) {
        if (!(g->sizes[i] > 0) || !isfinite(g->sizes[i]))
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "shares: size of matrix %lld: found %g, expected one above 0",
                           (long long)i, g->sizes[i]);
        shares[i] = 0;
        sum += g->sizes[i];
    }
    while (reached < g->share * (1 - 1e-12)) {
        SG_TRY(greedy_raise(g, fmin(g->step, g->share - reached), shares, sum, err));
        reached = 0;
        for (int64_t i = 0; i < g->count; i++)
            reached += shares[i] * g->sizes[i] / sum;
    }
    return SG_OK;
}
