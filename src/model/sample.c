// Drawing a token from logits, by the steps of Hugging Face's generate in its order: repetition
// penalty (Keskar et al. 2019), temperature, top-k, top-p (nucleus; Holtzman et al. 2020), min-p
// (Nguyen et al. 2024).
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"

sg_sample_options sg_sample_options_default(void)
{
    return (sg_sample_options){.temperature = 1, .top_p = 1, .repetition_penalty = 1};
}

typedef struct sample_candidate {
    double logit; // with penalty and temperature
    double p;     // not normalised: 1 for the likeliest
    int32_t token;
} sample_candidate;

typedef struct sampler {
    const sg_sample_options *options;
    sample_candidate *all; // (vocab) by id, later a heap
    int64_t vocab;
    double total; // of p
} sampler;

static sg_status sample_check_range(const char *name, double found, double low, double high,
                                    sg_error *err)
{
    if (found >= low && found <= high) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %s, expected %s to %s", name, SG_NUMBER(found),
                   SG_NUMBER(low), SG_NUMBER(high));
}

static sg_status sample_check(const float *logits, int64_t vocab, const sg_sample_options *o,
                              sg_error *err)
{
    if (vocab < 1 || vocab > INT32_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "vocab: found %lld, expected 1 to %d",
                       (long long)vocab, INT32_MAX);
    SG_TRY(sample_check_range("temperature", o->temperature, 0, 1e6, err));
    if (o->top_k < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "top-k: found %lld, expected at least 0",
                       (long long)o->top_k);
    if (!(o->top_p > 0 && o->top_p <= 1))
        return sg_fail(err, SG_ERR_ARGUMENT, "top-p: found %s, expected above 0 to 1",
                       SG_NUMBER(o->top_p));
    SG_TRY(sample_check_range("min-p", o->min_p, 0, 1, err));
    SG_TRY(sample_check_range("repetition-penalty", o->repetition_penalty, 0, 1e6, err));
    bool some = false;
    for (int64_t v = 0; v < vocab; v++) {
        if (isnan(logits[v]) || logits[v] == INFINITY)
            return sg_fail(err, SG_ERR_NUMERIC, "the logit of token %lld is not finite",
                           (long long)v);
        some = some || logits[v] != -INFINITY;
    }
    if (!some) return sg_fail(err, SG_ERR_NUMERIC, "all logits are minus infinity");
    for (int64_t i = 0; i < o->history_count; i++)
        if (o->history[i] < 0 || o->history[i] >= vocab)
            return sg_fail(err, SG_ERR_ARGUMENT,
                           "history: token %lld: found %d, expected 0 to %lld", (long long)i,
                           o->history[i], (long long)vocab - 1);
    return SG_OK;
}

static bool sample_has_penalty(const sg_sample_options *o)
{
    return o->repetition_penalty > 0 && o->repetition_penalty != 1 && o->history_count > 0;
}

// Every token of the history is penalised once, however often it is there. p marks those done.
static void sample_penalise(sampler *s)
{
    const sg_sample_options *o = s->options;
    for (int64_t i = 0; i < o->history_count; i++) {
        sample_candidate *c = &s->all[o->history[i]];
        if (c->p != 0) continue;
        c->p = 1;
        c->logit =
            c->logit < 0 ? c->logit * o->repetition_penalty : c->logit / o->repetition_penalty;
    }
}

static sg_status sample_open(sampler *s, const float *logits, sg_error *err)
{
    s->all = sg_alloc_array((size_t)s->vocab, sizeof *s->all);
    if (s->all == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for sampling");
    for (int64_t v = 0; v < s->vocab; v++)
        s->all[v] = (sample_candidate){(double)logits[v], 0, (int32_t)v};
    if (sample_has_penalty(s->options)) sample_penalise(s);
    return SG_OK;
}

static int32_t sample_likeliest(const sampler *s)
{
    int64_t best = 0;
    for (int64_t v = 1; v < s->vocab; v++)
        if (s->all[v].logit > s->all[best].logit) best = v;
    return (int32_t)best;
}

static void sample_weigh(sampler *s)
{
    double top = s->all[sample_likeliest(s)].logit;
    s->total = 0;
    for (int64_t v = 0; v < s->vocab; v++) {
        s->all[v].logit = (s->all[v].logit - top) / s->options->temperature;
        s->total += s->all[v].p = exp(s->all[v].logit);
    }
}

// ---- the likeliest first ----------------------------------------------------------------------
// A heap, since few of many tokens are wanted. Ties go to the lower id.

static bool sample_before(const sample_candidate *a, const sample_candidate *b)
{
    return a->logit != b->logit ? a->logit > b->logit : a->token < b->token;
}

static void sample_sift(sampler *s, int64_t i, int64_t n)
{
    sample_candidate item = s->all[i];
    for (int64_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && sample_before(&s->all[child + 1], &s->all[child])) child++;
        if (!sample_before(&s->all[child], &item)) break;
        s->all[i] = s->all[child];
    }
    s->all[i] = item;
}

// Moves the best of the first n to place n - 1.
static const sample_candidate *sample_pop(sampler *s, int64_t n)
{
    sample_candidate best = s->all[0];
    s->all[0] = s->all[n - 1];
    if (n > 1) sample_sift(s, 0, n - 1);
    s->all[n - 1] = best;
    return &s->all[n - 1];
}

// Takes the tokens that top-k and top-p keep to the end of the array, the likeliest last; returns
// how many. Tokens as likely as the k-th are kept with it, as in the library.
static int64_t sample_keep(sampler *s)
{
    const sg_sample_options *o = s->options;
    int64_t n = s->vocab, kept = 0, most = o->top_k > 0 && o->top_k < n ? o->top_k : n;
    for (int64_t i = n / 2; i-- > 0;)
        sample_sift(s, i, n);
    double sum = 0;
    if (most < n) { // the sum that top-p is a share of
        while (kept < n && (kept < most || s->all[0].logit == s->all[n - kept].logit)) {
            sum += sample_pop(s, n - kept)->p;
            kept++;
        }
        s->total = sum;
    }
    if (o->top_p >= 1) return kept;
    // The smallest set whose probability reaches top_p.
    int64_t have = kept;
    double goal = o->top_p * s->total;
    sum = 0;
    for (kept = 0; kept < (most < n ? have : n) && (kept == 0 || sum < goal); kept++)
        sum += (kept < have ? &s->all[n - 1 - kept] : sample_pop(s, n - kept))->p;
    s->total = sum;
    return kept;
}

static int32_t sample_draw(sampler *s, uint64_t index)
{
    const sg_sample_options *o = s->options;
    bool sorted = (o->top_k > 0 && o->top_k < s->vocab) || o->top_p < 1;
    int64_t kept = sorted ? sample_keep(s) : s->vocab;
    if (o->min_p > 0) { // the likeliest has p = 1
        s->total = 0;
        for (int64_t i = 0; i < kept; i++) {
            sample_candidate *c = &s->all[sorted ? s->vocab - 1 - i : i];
            if (c->p < o->min_p) c->p = 0;
            s->total += c->p;
        }
    }
    double draw = sg_rng_uniform(o->seed, sg_rng_stream("sample"), index) * s->total, sum = 0;
    int32_t token = -1;
    for (int64_t i = 0; i < kept; i++) {
        const sample_candidate *c = &s->all[sorted ? s->vocab - 1 - i : i];
        if (c->p == 0) continue;
        token = c->token;
        if ((sum += c->p) > draw) break;
    }
    return token;
}

sg_status sg_sample(const float *logits, int64_t vocab, const sg_sample_options *options,
                    uint64_t index, int32_t *token, sg_error *err)
{
    SG_TRY(sample_check(logits, vocab, options, err));
    sampler s = {.options = options, .vocab = vocab};
    if (options->temperature == 0 && !sample_has_penalty(options)) {
        int32_t best = 0;
        for (int64_t v = 1; v < vocab; v++)
            if (logits[v] > logits[best]) best = (int32_t)v;
        *token = best;
        return SG_OK;
    }
    SG_TRY(sample_open(&s, logits, err));
    if (options->temperature == 0) {
        *token = sample_likeliest(&s);
    } else {
        sample_weigh(&s);
        *token = sample_draw(&s, index);
    }
    sg_free(s.all);
    return SG_OK;
}
