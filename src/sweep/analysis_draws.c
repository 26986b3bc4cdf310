// Draws as pure functions of a seed and a place (analysis_draws.h).
#include "sweep/analysis_draws.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"

enum { draws_exact_freedom = 64, draws_most = 1 << 28 };

// Block sums that are numbers and have tokens.
static bool draws_blocks_sound(const sg_sweep_row *row)
{
    int64_t tokens = 0;
    for (size_t b = 0; b < row->block_count; b++) {
        if (!isfinite(row->block_loss[b]) || row->block_tokens[b] < 0) return false;
        tokens += row->block_tokens[b];
    }
    return tokens > 0;
}

static const sg_sweep_row *draws_reference(const sg_sweep_results *results)
{
    for (size_t i = 0; i < results->count; i++) {
        const sg_sweep_row *row = &results->rows[i];
        if (row->state == SG_SWEEP_FINISHED && row->block_count > 1 && draws_blocks_sound(row))
            return row;
    }
    return NULL;
}

sg_status sg_draws_new(const sg_sweep_results *results, int64_t resamples, uint64_t seed,
                       sg_draws *out, sg_error *err)
{
    const sg_sweep_row *reference = draws_reference(results);
    *out = (sg_draws){.results = results, .resamples = resamples, .seed = seed};
    if (reference == NULL) return SG_OK;
    if (reference->block_count > draws_most / (size_t)resamples)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "blocks of documents: found %zu, expected at most %zu for %lld resamples",
                       reference->block_count, draws_most / (size_t)resamples,
                       (long long)resamples);
    out->blocks = (int64_t)reference->block_count;
    out->block_tokens = reference->block_tokens;
    out->tokens = sg_alloc_array((size_t)resamples, sizeof *out->tokens);
    out->work = sg_alloc_array(reference->block_count, sizeof *out->work);
    if (out->tokens == NULL || out->work == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a bootstrap");
    SG_TRY(sg_resamples_new(resamples, out->blocks, seed, &out->times, err));
    for (int64_t b = 0; b < out->blocks; b++)
        out->all_tokens += (double)out->block_tokens[b];
    for (int64_t r = 0; r < resamples; r++) {
        out->tokens[r] = 0;
        for (int64_t b = 0; b < out->blocks; b++)
            out->tokens[r] +=
                (double)out->times.times[r * out->blocks + b] * (double)out->block_tokens[b];
    }
    return SG_OK;
}

void sg_draws_free(sg_draws *draws)
{
    sg_resamples_free(&draws->times);
    sg_free(draws->tokens);
    sg_free(draws->work);
    *draws = (sg_draws){0};
}

bool sg_draws_documents(const sg_draws *draws, const size_t *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const sg_sweep_row *row = &draws->results->rows[rows[i]];
        if (draws->blocks == 0 || row->block_count != (size_t)draws->blocks ||
            !draws_blocks_sound(row) ||
            memcmp(row->block_tokens, draws->block_tokens,
                   row->block_count * sizeof *row->block_tokens) != 0)
            return false;
    }
    return count > 0;
}

void sg_draws_add_documents(sg_draws *draws, const size_t *rows, size_t count, double factor,
                            double *change)
{
    double whole = 0;
    for (int64_t b = 0; b < draws->blocks; b++) {
        double sum = 0;
        for (size_t i = 0; i < count; i++)
            sum += draws->results->rows[rows[i]].block_loss[b];
        draws->work[b] = sum / (double)count;
        whole += draws->work[b];
    }
    whole /= draws->all_tokens;
    for (int64_t r = 0; r < draws->resamples; r++) {
        const uint16_t *times = draws->times.times + r * draws->blocks;
        double sum = 0;
        for (int64_t b = 0; b < draws->blocks; b++)
            sum += times[b] * draws->work[b];
        if (draws->tokens[r] > 0) change[r] += factor * (sum / draws->tokens[r] - whole);
    }
}

// ---- errors of means ----------------------------------------------------------------------------

uint64_t sg_draws_place(unsigned kind, size_t index)
{
    return (uint64_t)kind << 20 | (index & 0xFFFFF);
}

static uint64_t draws_index(uint64_t place, int64_t resample, size_t i)
{
    return place << 40 ^ (uint64_t)resample << 16 ^ i;
}

double sg_draws_normal(const sg_draws *draws, uint64_t place, int64_t resample, size_t i)
{
    return sg_rng_normal(draws->seed, sg_rng_stream("sweep.normal"),
                         draws_index(place, resample, i));
}

double sg_draws_scale(const sg_draws *draws, uint64_t place, int64_t resample, int64_t freedom)
{
    const uint32_t stream = sg_rng_stream("sweep.chi");
    double chi = 0;
    if (freedom > draws_exact_freedom) { // Wilson and Hilferty 1931
        const double of = 2 / (9 * (double)freedom);
        const double z = sg_rng_normal(draws->seed, stream, draws_index(place, resample, 0));
        const double root = 1 - of + z * sqrt(of);
        return 1 / sqrt(root * root * root);
    }
    for (int64_t i = 0; i < freedom; i++) {
        const double z =
            sg_rng_normal(draws->seed, stream, draws_index(place, resample, (size_t)i));
        chi += z * z;
    }
    return sqrt((double)freedom / chi);
}

// ---- what they say ------------------------------------------------------------------------------

static int draws_ascending(const void *one, const void *other)
{
    const double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

void sg_draws_interval(double *values, int64_t count, double *low, double *high)
{
    int64_t used = 0;
    for (int64_t i = 0; i < count; i++)
        if (!isnan(values[i])) values[used++] = values[i];
    qsort(values, (size_t)used, sizeof *values, draws_ascending);
    *low = sg_quantile(values, used, 0.025);
    *high = sg_quantile(values, used, 0.975);
    if (!isfinite(*low)) *low = NAN;
    if (!isfinite(*high)) *high = NAN;
}

double sg_draws_variance(const double *values, int64_t count)
{
    double mean = 0, squares = 0;
    for (int64_t i = 0; i < count; i++)
        mean += values[i] / (double)count;
    for (int64_t i = 0; i < count; i++)
        squares += (values[i] - mean) * (values[i] - mean);
    return squares / (double)(count - 1);
}

double sg_draws_p(const double *values, int64_t count)
{
    int64_t below = 0, above = 0;
    for (int64_t i = 0; i < count; i++) {
        below += values[i] <= 0;
        above += values[i] >= 0;
    }
    const int64_t fewer = below < above ? below : above;
    return fmin(1, 2 * (double)(1 + fewer) / (double)(1 + count));
}
