// Bootstrap, sign flips and Holm's adjustment (statistics.h). All draws are pure functions of the
// seed and their place, so that results do not depend on threads.
#include "probe/statistics.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"

enum { resamples_bytes = 1 << 30, flips_bits = 62 };

sg_status sg_resamples_new(int64_t resamples, int64_t members, uint64_t seed, sg_resamples *out,
                           sg_error *err)
{
    const uint32_t stream = sg_rng_stream("statistics.bootstrap");
    *out = (sg_resamples){.resamples = resamples, .members = members};
    if (resamples > resamples_bytes / 2 / (members > 0 ? members : 1))
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "bootstrap: found %lld resamples of %lld members, expected at most %lld",
                       (long long)resamples, (long long)members,
                       (long long)(resamples_bytes / 2 / members));
    out->times = sg_alloc_zero((size_t)(resamples * members) + 1, sizeof *out->times);
    if (out->times == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a bootstrap");
    for (int64_t r = 0; r < resamples; r++)
        for (int64_t i = 0; i < members; i++)
            out->times[r * members + (int64_t)sg_rng_below(seed, stream,
                                                           (uint64_t)(r * members + i),
                                                           (uint64_t)members)]++;
    return SG_OK;
}

void sg_resamples_free(sg_resamples *r)
{
    sg_free(r->times);
    *r = (sg_resamples){0};
}

// times NULL: every pair once.
static uint32_t mean_times(const sg_pair_values *p, const uint16_t *times, size_t i)
{
    if (times == NULL) return 1;
    return p->first == NULL ? times[i] : (uint32_t)times[p->first[i]] * times[p->second[i]];
}

static double mean_of(const sg_pair_values *p, const uint16_t *times)
{
    double sum = 0, weights = 0;
    bool any = false;
    for (size_t i = 0; i < p->count; i++) {
        const uint32_t n = mean_times(p, times, i);
        if (n == 0 || isnan(p->values[i])) continue;
        sum += n * p->values[i];
        weights += n * (p->weights != NULL ? p->weights[i] : 1);
        any = true;
    }
    return any && (weights < 0 || weights > 0) ? sum / weights + 0.0 : NAN; // no -0
}

static int ascending(const void *one, const void *other)
{
    const double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

double sg_quantile(const double *sorted, int64_t count, double q)
{
    if (count == 0) return NAN;
    const double at = q * (double)(count - 1);
    const int64_t below = (int64_t)at, above = below + 1 < count ? below + 1 : below;
    return sorted[below] + (at - (double)below) * (sorted[above] - sorted[below]);
}

sg_interval sg_bootstrap(const sg_resamples *r, const sg_pair_values *pairs, double *work)
{
    int64_t count = 0;
    for (int64_t i = 0; i < r->resamples; i++) {
        const double mean = mean_of(pairs, r->times + i * r->members);
        if (!isnan(mean)) work[count++] = mean;
    }
    qsort(work, (size_t)count, sizeof *work, ascending);
    return (sg_interval){.mean = mean_of(pairs, NULL),
                         .low = sg_quantile(work, count, 0.025),
                         .high = sg_quantile(work, count, 0.975)};
}

sg_interval sg_median_interval(const double *sorted, int64_t count)
{
    const double n = (double)count;
    sg_interval all = {.mean = sg_quantile(sorted, count, 0.5), .low = NAN, .high = NAN};
    double heads = pow(0.5, n), below = 0; // chance of `out` heads, and of fewer
    for (int64_t out = 0; 2 * out < count; out++) {
        below += heads;
        if (2 * below > 0.05) break;
        all.low = sorted[out];
        all.high = sorted[count - 1 - out];
        heads *= (n - (double)out) / (double)(out + 1);
    }
    return all;
}

// ---- signs --------------------------------------------------------------------------------------

// Sums of members that have values, in front of `sums`; how many.
static size_t flips_sums(const double *values, const size_t *member, size_t count, size_t members,
                         double *sums)
{
    size_t used = 0;
    for (size_t m = 0; m < members; m++)
        sums[m] = NAN;
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i])) continue;
        double *sum = &sums[member[i]];
        *sum = isnan(*sum) ? values[i] : *sum + values[i];
    }
    for (size_t m = 0; m < members; m++)
        if (!isnan(sums[m])) sums[used++] = sums[m];
    return used;
}

static double flips_sum(const double *sums, size_t used, uint64_t seed, uint32_t stream,
                        uint64_t first)
{
    double sum = 0;
    uint64_t bits = 0;
    for (size_t m = 0; m < used; m++) {
        if (m % 64 == 0) bits = sg_rng_u64(seed, stream, first + m / 64);
        sum += bits >> m % 64 & 1 ? -sums[m] : sums[m];
    }
    return fabs(sum);
}

static double flips_all(const double *sums, size_t used, double seen)
{
    const uint64_t all = UINT64_C(1) << used;
    uint64_t far = 0;
    for (uint64_t signs = 0; signs < all; signs++) {
        double sum = 0;
        for (size_t m = 0; m < used; m++)
            sum += signs >> m & 1 ? -sums[m] : sums[m];
        far += fabs(sum) >= seen;
    }
    return (double)far / (double)all;
}

double sg_sign_flips(const double *values, const size_t *member, size_t count, size_t members,
                     int64_t flips, uint64_t seed, double *sums)
{
    const size_t used = flips_sums(values, member, count, members, sums);
    const uint32_t stream = sg_rng_stream("statistics.flips");
    double seen = 0;
    if (used == 0) return NAN;
    for (size_t m = 0; m < used; m++)
        seen += sums[m];
    // Sums that differ by rounding alone are as far.
    seen = fabs(seen) * (1 - 1e-12);
    if (used < flips_bits && (int64_t)1 << used <= flips) return flips_all(sums, used, seen);
    int64_t far = 0;
    for (int64_t i = 0; i < flips; i++)
        far += flips_sum(sums, used, seed, stream, (uint64_t)i * ((used + 63) / 64)) >= seen;
    return (double)(1 + far) / (double)(1 + flips);
}

// ---- several tests ------------------------------------------------------------------------------

// The smallest p that is larger than `last`, or as large and behind place `at`; count: none.
static size_t holm_next(const double *p, size_t count, double last, size_t at)
{
    size_t next = count;
    for (size_t i = 0; i < count; i++) {
        if (isnan(p[i]) || p[i] < last || (p[i] <= last && i <= at)) continue;
        if (next == count || p[i] < p[next]) next = i;
    }
    return next;
}

void sg_holm(const double *p, double *adjusted, size_t count)
{
    size_t left = 0, at = 0;
    double most = 0, last = -1;
    for (size_t i = 0; i < count; i++) {
        left += isnan(p[i]) ? 0 : 1;
        adjusted[i] = NAN;
    }
    for (; left > 0; left--) {
        at = holm_next(p, count, last, at);
        last = p[at];
        most = fmax(most, fmin(1, (double)left * last));
        adjusted[at] = most;
    }
}
