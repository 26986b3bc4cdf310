// What is measured of a run, and what a metric is of it, in both directions.
//
// A pair (a, b) is measured by the run of prompt a with parts of b: m = answers of a less answers
// of b. Noising of (a, b) is that run. Denoising of (a, b), the run of b with parts of a, is the
// noising of (b, a) with the answers in the other order, so that it is measured once.
#include <math.h>
#include <string.h>

#include "probe/patch_inside.h"

const char *sg_patch_metric_name(sg_patch_metric metric)
{
    static const char *const names[] = {
        "effect", "logit_difference", "logprob", "logprob_counterfactual", "kl", "rank", "flip"};
    return metric < SG_PATCH_METRICS ? names[metric] : "unknown";
}

const char *sg_patch_control_name(sg_patch_control control)
{
    static const char *const names[] = {"patch", "random", "mismatched", "position", "untrained"};
    return control < SG_PATCH_CONTROLS ? names[control] : "unknown";
}

const char *sg_patch_direction_name(sg_patch_direction direction)
{
    return direction == SG_PATCH_DENOISE ? "denoise" : "noise";
}

// ---- one run ------------------------------------------------------------------------------------

static double measure_sum(const float *logits, int64_t vocab, double *most)
{
    double sum = 0;
    *most = -INFINITY;
    for (int64_t v = 0; v < vocab; v++)
        *most = fmax(*most, (double)logits[v]);
    for (int64_t v = 0; v < vocab; v++)
        sum += exp((double)logits[v] - *most);
    return *most + log(sum);
}

// logsumexp of the logits of answers, and the largest of them.
static double measure_answers(const float *logits, const sg_fact_prompt *p, double *likeliest)
{
    double sum = 0;
    *likeliest = -INFINITY;
    for (size_t i = 0; i < p->answer_count; i++)
        *likeliest = fmax(*likeliest, (double)logits[p->answers[i]]);
    for (size_t i = 0; i < p->answer_count; i++)
        sum += exp((double)logits[p->answers[i]] - *likeliest);
    return *likeliest + log(sum);
}

static double measure_rank(const float *logits, int64_t vocab, double of)
{
    int64_t above = 0;
    for (int64_t v = 0; v < vocab; v++)
        above += (double)logits[v] > of;
    return (double)(1 + above);
}

// Sum of p (ln p - ln q), p of the logits before, q of those behind.
static double measure_kl(const float *before, double before_sum, const float *logits, double sum,
                         int64_t vocab)
{
    double kl = 0;
    if (memcmp(before, logits, (size_t)vocab * sizeof *logits) == 0) return 0;
    for (int64_t v = 0; v < vocab; v++) {
        const double ln_p = (double)before[v] - before_sum;
        kl += exp(ln_p) * (ln_p - ((double)logits[v] - sum));
    }
    return fmax(kl, 0);
}

sg_patch_measure sg_patch_measure_of(const float *logits, const float *before, int64_t vocab,
                                     const sg_fact_prompt *own, const sg_fact_prompt *other)
{
    double most, likeliest[2];
    const double sum = measure_sum(logits, vocab, &most);
    const double before_sum = measure_sum(before, vocab, &most);
    const double answers[2] = {measure_answers(logits, own, &likeliest[0]),
                               measure_answers(logits, other, &likeliest[1])};
    return (sg_patch_measure){.m = answers[0] - answers[1],
                              .logprob = {answers[0] - sum, answers[1] - sum},
                              .rank = {measure_rank(logits, vocab, likeliest[0]),
                                       measure_rank(logits, vocab, likeliest[1])},
                              .kl = measure_kl(before, before_sum, logits, sum, vocab),
                              .flip = likeliest[1] > likeliest[0]};
}

// ---- metrics ------------------------------------------------------------------------------------

// What was run for a pair in a direction: the pair itself, or the other order.
static size_t metric_pair(sg_patch_direction direction, size_t pair)
{
    return direction == SG_PATCH_DENOISE ? pair ^ 1 : pair;
}

static const sg_patch_measure *metric_base(const sg_patch_run *r, sg_patch_control control)
{
    return r->base[control == SG_PATCH_UNTRAINED];
}

double sg_patch_gone(const sg_patch_run *r, size_t patch, sg_patch_control control,
                     sg_patch_direction direction, size_t pair, double *all)
{
    const size_t run = metric_pair(direction, pair);
    const sg_patch_measure *base = metric_base(r, control);
    *all = base[run].m + base[run ^ 1].m; // m_clean - m_cf: the other order has the other sign
    return base[run].m - sg_patch_measured(r, patch, control)[run].m;
}

static double metric_of(const sg_patch_measure *measure, sg_patch_direction direction,
                        sg_patch_metric metric)
{
    // The clean answers are those of the run that is patched, or of the other one.
    const int clean = direction == SG_PATCH_DENOISE;
    switch (metric) {
    case SG_PATCH_LOGIT_DIFFERENCE:
        return clean == 0 ? measure->m : -measure->m;
    case SG_PATCH_LOGPROB:
        return measure->logprob[clean];
    case SG_PATCH_LOGPROB_CF:
        return measure->logprob[1 - clean];
    case SG_PATCH_KL:
        return measure->kl;
    case SG_PATCH_RANK:
        return measure->rank[clean];
    case SG_PATCH_FLIP:
        return measure->flip;
    default:
        return NAN;
    }
}

double sg_patch_value(const sg_patch_run *r, size_t patch, sg_patch_control control,
                      sg_patch_direction direction, sg_patch_metric metric, size_t pair,
                      double *before)
{
    const size_t run = metric_pair(direction, pair);
    const sg_patch_measure *measure = &sg_patch_measured(r, patch, control)[run];
    *before = NAN;
    if (isnan(measure->m)) return NAN;
    if (metric == SG_PATCH_EFFECT) {
        double all;
        const double gone = sg_patch_gone(r, patch, control, direction, pair, &all);
        *before = 0;
        return gone / (all + 1e-8);
    }
    *before = metric_of(&metric_base(r, control)[run], direction, metric);
    return metric_of(measure, direction, metric);
}
