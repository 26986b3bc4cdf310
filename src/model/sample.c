// Drawing a token from logits: temperature, then top-k, then top-p (nucleus; Holtzman et al. 2020).
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"

sg_sample_options sg_sample_options_default(void)
{
    return (sg_sample_options){.temperature = 1, .top_k = 0, .top_p = 1, .seed = 0};
}

typedef struct sample_candidate {
    double p;
    int32_t token;
} sample_candidate;

// Likeliest first, ties to the lower id.
static int sample_order(const void *a, const void *b)
{
    const sample_candidate *x = a, *y = b;
    if (x->p != y->p) return x->p < y->p ? 1 : -1;
    return x->token < y->token ? -1 : x->token > y->token;
}

static sg_status sample_check(const float *logits, int64_t vocab, const sg_sample_options *o,
                              float *top, int32_t *best, sg_error *err)
{
    if (vocab < 1 || vocab > INT32_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "vocab: found %lld, expected 1 to %d",
                       (long long)vocab, INT32_MAX);
    if (!(o->temperature >= 0 && o->temperature <= 1e6))
        return sg_fail(err, SG_ERR_ARGUMENT, "temperature: found %g, expected 0 to 1e6",
                       o->temperature);
    if (o->top_k < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "top-k: found %lld, expected at least 0",
                       (long long)o->top_k);
    if (!(o->top_p > 0 && o->top_p <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "top-p: found %g, expected above 0 to 1", o->top_p);
    *best = 0;
    for (int64_t v = 0; v < vocab; v++) {
        if (isnan(logits[v]) || logits[v] == INFINITY)
            return sg_fail(err, SG_ERR_NUMERIC, "the logit of token %lld is not finite",
                           (long long)v);
        if (logits[v] > logits[*best]) *best = (int32_t)v;
    }
    *top = logits[*best];
    if (*top == -INFINITY) return sg_fail(err, SG_ERR_NUMERIC, "all logits are minus infinity");
    return SG_OK;
}

sg_status sg_sample(const float *logits, int64_t vocab, const sg_sample_options *options,
                    uint64_t index, int32_t *token, sg_error *err)
{
    float top = 0;
    int32_t best = 0;
    SG_TRY(sample_check(logits, vocab, options, &top, &best, err));
    if (options->temperature == 0) {
        *token = best;
        return SG_OK;
    }
    sample_candidate *c = sg_alloc_array((size_t)vocab, sizeof *c);
    if (c == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for sampling");
    double total = 0;
    for (int64_t v = 0; v < vocab; v++) {
        c[v] =
            (sample_candidate){exp(((double)logits[v] - top) / options->temperature), (int32_t)v};
        total += c[v].p;
    }
    int64_t kept = vocab;
    if (options->top_k > 0 || options->top_p < 1) {
        qsort(c, (size_t)vocab, sizeof *c, sample_order);
        if (options->top_k > 0 && options->top_k < kept) kept = options->top_k;
        if (kept < vocab) {
            total = 0;
            for (int64_t i = 0; i < kept; i++)
                total += c[i].p;
        }
        // The smallest set whose probability reaches top_p.
        double sum = 0, goal = options->top_p * total;
        for (int64_t i = 0; options->top_p < 1 && i < kept; i++) {
            sum += c[i].p;
            if (sum >= goal) kept = i + 1;
        }
        if (options->top_p < 1) total = sum;
    }
    double draw = sg_rng_uniform(options->seed, sg_rng_stream("sample"), index) * total, sum = 0;
    int64_t pick = 0;
    while (pick < kept - 1 && (sum += c[pick].p) <= draw)
        pick++;
    *token = c[pick].token;
    sg_free(c);
    return SG_OK;
}
