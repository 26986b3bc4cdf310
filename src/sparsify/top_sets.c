// Sets are kept as lists of ids: with 10 of 4,096 neurons a token the matrix itself would be 400
// times as large.
#include "sparsify/top_sets.h"

#include <math.h>

#include "base/alloc.h"
#include "base/status.h"

enum { top_chunk = 16 };

sg_status sg_top_sets_new(sg_compute compute, int64_t neurons, int64_t top, int64_t most,
                          sg_top_sets *s, sg_error *err)
{
    *s = (sg_top_sets){.compute = compute, .neurons = neurons, .top = top, .most = most};
    if (neurons < 1 || neurons > INT32_MAX || most < 1 || top < 1 || top > neurons ||
        top > SG_TOPK_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "strongest neurons: found %lld of %lld in %lld tokens, expected 1 … %lld in "
                       "1 or more",
                       (long long)top, (long long)neurons, (long long)most,
                       (long long)(neurons < SG_TOPK_MAX ? neurons : SG_TOPK_MAX));
    s->ids = sg_alloc_array((size_t)most, (size_t)top * sizeof *s->ids);
    if (s->ids != NULL) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the strongest neurons of %lld tokens",
                   (long long)most);
}

void sg_top_sets_free(sg_top_sets *s)
{
    sg_free(s->ids);
    *s = (sg_top_sets){0};
}

typedef struct top_loop {
    sg_top_sets *sets;
    const sg_real *activations;
    sg_real *absolute, *best; // of each worker: (D), (top)
} top_loop;

static void top_tokens(void *context, sg_range tokens)
{
    const top_loop *l = context;
    const sg_top_sets *s = l->sets;
    sg_real *absolute = l->absolute + tokens.worker * s->neurons;
    for (int64_t t = tokens.first; t < tokens.end; t++) {
        for (int64_t j = 0; j < s->neurons; j++)
            absolute[j] = (sg_real)fabs((double)l->activations[t * s->neurons + j]);
        s->compute.kernels->topk(s->ids + (s->tokens + t) * s->top,
                                 l->best + tokens.worker * s->top, absolute, s->neurons, s->top);
    }
}

sg_status sg_top_sets_add(sg_top_sets *s, const sg_real *activations, int64_t tokens, sg_error *err)
{
    const size_t workers = (size_t)sg_pool_threads(s->compute.pool);
    if (tokens > s->most - s->tokens) tokens = s->most - s->tokens;
    for (int64_t i = 0; i < tokens * s->neurons; i++)
        if (!isfinite(activations[i]))
            return sg_fail(err, SG_ERR_NUMERIC,
                           "strongest neurons: token %lld, neuron %lld: found an activation of %g, "
                           "expected a finite one",
                           (long long)(s->tokens + i / s->neurons), (long long)(i % s->neurons),
                           (double)activations[i]);
    top_loop l = {.sets = s, .activations = activations};
    l.absolute = sg_alloc_array(workers, (size_t)s->neurons * sizeof *l.absolute);
    l.best = sg_alloc_array(workers, (size_t)s->top * sizeof *l.best);
    const bool room = l.absolute != NULL && l.best != NULL;
    if (room && tokens > 0) {
        sg_parallel_ranges(s->compute.pool, tokens, top_chunk, top_tokens, &l);
        s->tokens += tokens;
    }
    sg_free(l.absolute);
    sg_free(l.best);
    return room ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for strongest neurons");
}

void sg_top_sets_rates(const sg_top_sets *s, double *rates)
{
    for (int64_t j = 0; j < s->neurons; j++)
        rates[j] = 0;
    for (int64_t i = 0; i < s->tokens * s->top; i++)
        rates[s->ids[i]] += 1 / (double)s->tokens;
}
