// A row of sums stays in the cache while some groups of tokens are added to it, and is as long as
// the neurons behind its own; where its neuron is not active nothing is done.
#include "sparsify/pair_sums.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"

enum { pair_group = 8, pair_tokens = 16 * pair_group, pair_chunk = 16 };

// Of n <= m.
static int64_t pair_count(const sg_pair_sums *s)
{
    return s->neurons % 2 == 0 ? s->neurons / 2 * (s->neurons + 1)
                               : (s->neurons + 1) / 2 * s->neurons;
}

sg_status sg_pair_sums_new(sg_compute compute, int64_t neurons, sg_pair_kind kind, int64_t most,
                           sg_pair_sums *s, sg_error *err)
{
    *s = (sg_pair_sums){.compute = compute, .neurons = neurons, .kind = kind, .most = most};
    if (neurons < 1 || neurons > INT32_MAX || most < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "co-activation: found %lld neurons and %lld tokens, expected 1 or more",
                       (long long)neurons, (long long)most);
    const size_t rows = (size_t)(pair_tokens + sg_pool_threads(compute.pool));
    s->sums = sg_alloc_zero((size_t)pair_count(s), sizeof *s->sums);
    s->buffer = sg_alloc_array((size_t)neurons, rows * sizeof *s->buffer);
    if (s->sums != NULL && s->buffer != NULL) return SG_OK;
    sg_pair_sums_free(s);
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for sums of all pairs of %lld neurons",
                   (long long)neurons);
}

void sg_pair_sums_free(sg_pair_sums *s)
{
    sg_free(s->sums);
    sg_free(s->buffer);
    *s = (sg_pair_sums){0};
}

// ---- collecting ---------------------------------------------------------------------------------

// One group of tokens: the sums of n with n, n + 1, ….
static void pair_add_group(const sg_pair_sums *s, int64_t n, const sg_real *tokens, int64_t count,
                           sg_real *products)
{
    const int64_t width = s->neurons - n;
    float *row = sg_pair_row(s, n);
    bool any = false;
    for (int64_t t = 0; t < count; t++) {
        const sg_real *a = tokens + t * s->neurons + n;
        if (a[0] <= 0) continue;
        if (!any) memset(products, 0, (size_t)width * sizeof *products);
        any = true;
        s->compute.kernels->axpy(products, a[0], a, width);
    }
    if (!any) return;
    for (int64_t m = 0; s->kind == SG_PAIR_CLAMPED && m < width; m++)
        products[m] = products[m] > 1 ? 1 : products[m];
    s->compute.kernels->axpy(row, 1, products, width);
}

static void pair_add_rows(void *context, sg_range neurons)
{
    const sg_pair_sums *s = context;
    sg_real *products = s->buffer + (pair_tokens + neurons.worker) * s->neurons;
    for (int64_t n = neurons.first; n < neurons.end; n++)
        for (int64_t t = 0; t < s->buffered; t += pair_group) {
            const int64_t left = s->buffered - t;
            pair_add_group(s, n, s->buffer + t * s->neurons, left < pair_group ? left : pair_group,
                           products);
        }
}

void sg_pair_sums_finish(sg_pair_sums *s)
{
    sg_parallel_ranges(s->compute.pool, s->neurons, pair_chunk, pair_add_rows, s);
    s->buffered = 0;
}

// Positive parts of one token behind those that wait.
static sg_status pair_buffer(sg_pair_sums *s, const sg_real *a, sg_error *err)
{
    sg_real *to = s->buffer + s->buffered * s->neurons;
    for (int64_t n = 0; n < s->neurons; n++) {
        if (!isfinite(a[n]))
            return sg_fail(err, SG_ERR_NUMERIC,
                           "co-activation: token %lld, neuron %lld: found an activation of %g, "
                           "expected a finite one",
                           (long long)s->tokens, (long long)n, (double)a[n]);
        to[n] = a[n] > 0 ? a[n] : 0;
    }
    s->buffered++;
    s->tokens++;
    return SG_OK;
}

sg_status sg_pair_sums_add(sg_pair_sums *s, const sg_real *activations, int64_t rows, sg_error *err)
{
    for (int64_t r = 0; r < rows && s->tokens < s->most; r++) {
        SG_TRY(pair_buffer(s, activations + r * s->neurons, err));
        if (s->buffered == pair_tokens) sg_pair_sums_finish(s);
    }
    return SG_OK;
}

// ---- percentiles --------------------------------------------------------------------------------
//
// Sums are not negative, so their bits are in their order: the number at a rank is found by its
// upper 16 bits, then its lower ones. Those off the diagonal count twice.

static uint32_t pair_bits(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

// Counts by 16 bits of the numbers whose upper bits are `upper`, or, with -1, by the upper ones.
static void pair_histogram(const sg_pair_sums *s, int64_t upper, int64_t counts[1 << 16])
{
    memset(counts, 0, (1 << 16) * sizeof *counts);
    for (int64_t n = 0; n < s->neurons; n++) {
        const float *row = sg_pair_row(s, n);
        for (int64_t m = 0; m < s->neurons - n; m++) {
            const uint32_t bits = pair_bits(row[m]);
            if (upper < 0)
                counts[bits >> 16] += m == 0 ? 1 : 2;
            else if (bits >> 16 == (uint32_t)upper)
                counts[bits & 0xffff] += m == 0 ? 1 : 2;
        }
    }
}

// The bin in which a rank lies, which becomes its rank there.
static int64_t pair_bin(const int64_t *counts, int64_t *rank)
{
    int64_t bin = 0;
    while (*rank >= counts[bin])
        *rank -= counts[bin++];
    return bin;
}

static double pair_at_rank(const sg_pair_sums *s, int64_t rank, int64_t *counts)
{
    pair_histogram(s, -1, counts);
    const int64_t upper = pair_bin(counts, &rank);
    pair_histogram(s, upper, counts);
    const uint32_t bits = (uint32_t)upper << 16 | (uint32_t)pair_bin(counts, &rank);
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

sg_status sg_pair_percentile(const sg_pair_sums *s, double percent, double *value, sg_error *err)
{
    const int64_t last = s->neurons * s->neurons - 1;
    const double place = percent / 100 * (double)last;
    const int64_t rank = (int64_t)place;
    int64_t *counts = sg_alloc_array(1 << 16, sizeof *counts);
    if (counts == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a percentile");
    const double low = pair_at_rank(s, rank, counts);
    const double high = rank < last ? pair_at_rank(s, rank + 1, counts) : low;
    *value = low + (place - (double)rank) * (high - low);
    sg_free(counts);
    return SG_OK;
}

// ---- quality ------------------------------------------------------------------------------------

sg_status sg_pair_within(const sg_pair_sums *s, const sg_partition *partition, double *share,
                         sg_error *err)
{
    if (partition->neurons != s->neurons)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "split: neurons: found %lld, expected %lld, as in the sums of pairs",
                       (long long)partition->neurons, (long long)s->neurons);
    int32_t *labels = sg_alloc_array((size_t)s->neurons, sizeof *labels);
    if (labels == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for labels");
    sg_partition_labels(partition, labels);
    double within = 0, all = 0;
    for (int64_t n = 0; n < s->neurons; n++) {
        const float *row = sg_pair_row(s, n);
        for (int64_t m = 1; m < s->neurons - n; m++) {
            all += (double)row[m];
            if (labels[n + m] == labels[n]) within += (double)row[m];
        }
    }
    *share = all > 0 ? within / all : NAN;
    sg_free(labels);
    return SG_OK;
}
