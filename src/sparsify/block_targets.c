// Sums over the neurons of a block are taken in double, in the order of the partition. Norms of
// outputs come from one product a block: (tokens, m) times (m, d).
#include "sparsify/block_targets.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "kernel/gemm.h"

enum { target_tokens = 64 };

typedef struct target_loop {
    const sg_target_source *source;
    const sg_kernels *kernels;
    const sg_real *activations;
    sg_real *values;
    sg_real *rows, *w_out, *outputs; // of norms: see target_norms
    int64_t first, count;
} target_loop;

static double target_term(const sg_target_source *s, double a, int64_t neuron)
{
    const double u = a - (s->means != NULL ? (double)s->means[neuron] : 0);
    if (s->kind == SG_TARGET_POSITIVE) return a > 0 ? a : 0;
    return s->kind == SG_TARGET_DEVIATION ? u * u : fabs(u);
}

static void target_sums(void *context, sg_range tokens)
{
    const target_loop *l = context;
    const sg_partition *p = l->source->partition;
    for (int64_t t = tokens.first; t < tokens.end; t++) {
        const sg_real *a = l->activations + t * p->neurons;
        for (int64_t e = 0; e < p->blocks; e++) {
            double sum = 0;
            for (int64_t i = e * p->size; i < (e + 1) * p->size; i++)
                sum += target_term(l->source, (double)a[p->order[i]], p->order[i]);
            l->values[t * p->blocks + e] = (sg_real)sum;
        }
    }
}

// ---- norms --------------------------------------------------------------------------------------

// One block: outputs of `count` tokens, and their lengths.
static void target_norms(void *context, int64_t block, int worker)
{
    const target_loop *l = context;
    const sg_partition *p = l->source->partition;
    const int64_t d = l->source->d, m = p->size;
    sg_real *out = l->outputs + (int64_t)worker * target_tokens * d;
    const sg_gemm_args args = {.m = l->count,
                               .n = d,
                               .k = m,
                               .alpha = 1,
                               .a = l->rows + block * m,
                               .lda = p->neurons,
                               .b = l->w_out + block * m * d,
                               .ldb = d,
                               .c = out,
                               .ldc = d};
    sg_gemm_serial(l->kernels, &args);
    for (int64_t t = 0; t < l->count; t++)
        l->values[(l->first + t) * p->blocks + block] =
            (sg_real)sqrt(l->kernels->sum_squares(out + t * d, d));
}

// Some tokens at a time, their activations brought into the order of blocks.
static sg_status target_all_norms(target_loop *l, sg_compute compute, int64_t tokens, sg_error *err)
{
    const sg_partition *p = l->source->partition;
    const int64_t D = p->neurons, d = l->source->d;
    const size_t workers = (size_t)sg_pool_threads(compute.pool);
    l->rows = sg_alloc_array((size_t)D, target_tokens * sizeof *l->rows);
    l->w_out = sg_alloc_array((size_t)D, (size_t)d * sizeof *l->w_out);
    l->outputs = sg_alloc_array(workers * target_tokens, (size_t)d * sizeof *l->outputs);
    if (l->rows == NULL || l->w_out == NULL || l->outputs == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for outputs of blocks");
    sg_partition_rows(p, l->w_out, l->source->w_out, d);
    for (l->first = 0; l->first < tokens; l->first += target_tokens) {
        l->count = tokens - l->first < target_tokens ? tokens - l->first : target_tokens;
        for (int64_t t = 0; t < l->count; t++)
            sg_partition_rows(p, l->rows + t * D, l->activations + (l->first + t) * D, 1);
        sg_parallel_for(compute.pool, p->blocks, target_norms, l);
    }
    return SG_OK;
}

// ---- targets ------------------------------------------------------------------------------------

static sg_status target_finite(const sg_real *a, int64_t tokens, int64_t neurons, sg_error *err)
{
    for (int64_t i = 0; i < tokens * neurons; i++)
        if (!isfinite(a[i]))
            return sg_fail(err, SG_ERR_NUMERIC,
                           "activations: token %lld, neuron %lld: found %g, expected a finite "
                           "number",
                           (long long)(i / neurons), (long long)(i % neurons), (double)a[i]);
    return SG_OK;
}

sg_status sg_block_targets(sg_compute compute, const sg_target_source *source,
                           const sg_real *activations, int64_t tokens, sg_real *values,
                           sg_error *err)
{
    target_loop l = {
        .source = source, .kernels = compute.kernels, .activations = activations, .values = values};
    SG_TRY(target_finite(activations, tokens, source->partition->neurons, err));
    if (source->kind != SG_TARGET_NORM) {
        sg_parallel_ranges(compute.pool, tokens, target_tokens, target_sums, &l);
        return SG_OK;
    }
    sg_status status = target_all_norms(&l, compute, tokens, err);
    sg_free(l.rows);
    sg_free(l.w_out);
    sg_free(l.outputs);
    return status;
}

void sg_scale_targets(sg_real *values, int64_t count)
{
    sg_real most = 0;
    for (int64_t i = 0; i < count; i++)
        most = values[i] > most ? values[i] : most;
    for (int64_t i = 0; most > 0 && i < count; i++)
        values[i] /= most;
}

double sg_captured_share(const sg_kernels *kernels, const sg_real *scores, const sg_real *truth,
                         int64_t tokens, int64_t blocks, int64_t k, int64_t *counted)
{
    int32_t ids[SG_TOPK_MAX];
    sg_real best[SG_TOPK_MAX];
    double shares = 0;
    int64_t count = 0;
    for (int64_t t = 0; t < tokens; t++) {
        const sg_real *row = truth + t * blocks;
        double all = 0, caught = 0;
        for (int64_t e = 0; e < blocks; e++)
            all += (double)row[e];
        if (!(all > 0)) continue;
        kernels->topk(ids, best, scores + t * blocks, blocks, k);
        for (int64_t i = 0; i < k; i++)
            caught += (double)row[ids[i]];
        shares += caught / all;
        count++;
    }
    if (counted != NULL) *counted = count;
    return count > 0 ? shares / (double)count : NAN;
}

// ---- means --------------------------------------------------------------------------------------

sg_status sg_activation_means_new(int64_t neurons, sg_activation_means *means, sg_error *err)
{
    *means = (sg_activation_means){.neurons = neurons};
    means->sums = sg_alloc_zero((size_t)neurons, sizeof *means->sums);
    return means->sums != NULL ? SG_OK
                               : sg_fail(err, SG_ERR_MEMORY, "out of memory for mean activations");
}

void sg_activation_means_free(sg_activation_means *means)
{
    sg_free(means->sums);
    *means = (sg_activation_means){0};
}

sg_status sg_activation_means_add(sg_activation_means *means, const sg_real *activations,
                                  int64_t tokens, sg_error *err)
{
    SG_TRY(target_finite(activations, tokens, means->neurons, err));
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t j = 0; j < means->neurons; j++)
            means->sums[j] += (double)activations[t * means->neurons + j];
    means->tokens += tokens;
    return SG_OK;
}

sg_status sg_activation_means_read(const sg_activation_means *means, sg_real *values, sg_error *err)
{
    if (means->tokens == 0)
        return sg_fail(err, SG_ERR_NUMERIC,
                       "mean activations: found no calibration token, expected at least one");
    for (int64_t j = 0; j < means->neurons; j++)
        values[j] = (sg_real)(means->sums[j] / (double)means->tokens);
    return SG_OK;
}

void sg_fold_means(const sg_real *means, const sg_real *w_out, int64_t neurons, int64_t d,
                   const sg_real *bias, sg_real *folded)
{
    for (int64_t i = 0; i < d; i++) {
        double sum = bias != NULL ? (double)bias[i] : 0;
        for (int64_t j = 0; j < neurons; j++)
            sum += (double)means[j] * (double)w_out[j * d + i];
        folded[i] = (sg_real)sum;
    }
}
