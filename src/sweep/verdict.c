// Who is lower at equal FLOPs: the contender with the lowest loss at a budget against every other,
// each at its best cell, over the seeds that both have (analysis.h).
//
// The difference of a pair of runs of one seed holds what the seed does to both (the data's order),
// and what documents do to both. Its mean over n seeds is drawn as Student's t with n - 1 degrees
// around what is seen, plus what the drawn documents change. The best is chosen by the data that
// test it: where there is no difference at all, one or more of the comparisons of six contenders is
// found separable in 5 of 100 sweeps with three seeds and in 10 with ten of them, and a winner, who
// must be found below every other one, in none (tests/unit/test_sweep_verdict.c).
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "sweep/analysis_inside.h"

static const double verdict_level = 0.05, verdict_power = 0.8;

// z with P(normal <= z) = p, by halving.
static double verdict_quantile(double p)
{
    double low = -40, high = 40;
    for (int i = 0; i < 80; i++) {
        const double z = (low + high) / 2;
        if (erfc(-z / sqrt(2)) / 2 < p)
            low = z;
        else
            high = z;
    }
    return (low + high) / 2;
}

// n with z^2 (seed / n + documents) = d^2.
static int64_t verdict_seeds(const sg_sweep_verdict *v, const sg_verdict_spread *s, double level)
{
    const double z = verdict_quantile(1 - level / 2) + verdict_quantile(verdict_power);
    const double left = v->difference.value * v->difference.value - z * z * s->documents;
    if (v->separable || isnan(s->seed)) return 0;
    const double n = left > 0 ? ceil(z * z * s->seed / left) : INFINITY;
    if (!(n < SG_SWEEP_SEEDS_MOST)) return SG_SWEEP_SEEDS_MOST;
    return n > (double)v->seeds ? (int64_t)fmax(n, 2) : v->seeds + 1;
}

void sg_verdict_adjust(sg_sweep_verdict *verdicts, const sg_verdict_spread *spread, size_t count,
                       double *room)
{
    double *p = room, *holm = room + count;
    for (size_t i = 0; i < count; i++)
        p[i] = verdicts[i].p;
    sg_holm(p, holm, count);
    for (size_t i = 0; i < count; i++) {
        size_t left = 0; // hypotheses that are not settled before this one
        for (size_t j = 0; j < count; j++)
            left += isnan(p[i]) || j == i || p[j] > p[i] || (p[j] >= p[i] && j > i);
        verdicts[i].p_holm = holm[i];
        verdicts[i].separable = holm[i] <= verdict_level; // not for NAN
        verdicts[i].seeds_needed =
            verdict_seeds(&verdicts[i], &spread[i], verdict_level / (double)left);
    }
}

// ---- names --------------------------------------------------------------------------------------

static void verdict_append(char name[SG_SWEEP_NAME], const char *text)
{
    const size_t used = strlen(name);
    size_t length = strlen(text);
    if (length > SG_SWEEP_NAME - 1 - used) length = SG_SWEEP_NAME - 1 - used;
    while (length > 0 && text[length] != '\0' && ((unsigned char)text[length] & 0xC0) == 0x80)
        length--; // no half of a letter
    memcpy(name + used, text, length);
    name[used + length] = '\0';
}

// " k=8 channels=4"
static void verdict_append_settings(char name[SG_SWEEP_NAME], const char *settings)
{
    json_t *root = json_loads(settings, JSON_REJECT_DUPLICATES, NULL), *value;
    const char *key;
    json_object_foreach(root, key, value)
    {
        char *text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
        verdict_append(name, " ");
        verdict_append(name, key);
        verdict_append(name, "=");
        verdict_append(name, text != NULL ? text : json_string_value(value));
        free(text);
    }
    json_decref(root);
}

static void verdict_name(const sg_sweep_analysis *a, const sg_sweep_curve *of,
                         char name[SG_SWEEP_NAME])
{
    name[0] = '\0';
    verdict_append(name, of->family);
    for (size_t i = 0; i < a->curve_count; i++) {
        const sg_sweep_curve *other = &a->curves[i];
        if (other == of || !sg_sweep_same(other->budget, of->budget) ||
            strcmp(other->family, of->family) != 0)
            continue;
        verdict_append_settings(name, of->settings);
        return;
    }
}

void sg_verdict_names(const sg_sweep_analysis *analysis, sg_sweep_verdict *verdict)
{
    verdict_name(analysis, &analysis->curves[verdict->best_curve], verdict->best);
    verdict_name(analysis, &analysis->curves[verdict->other_curve], verdict->other);
}

// ---- equal FLOPs --------------------------------------------------------------------------------

typedef struct verdict_pair {
    size_t best[64], other[64], count; // rows of the same seed
} verdict_pair;

static void verdict_common(const sg_sweep_results *results, const sg_sweep_point *best,
                           const sg_sweep_point *other, verdict_pair *out)
{
    out->count = 0;
    for (size_t i = 0; i < best->row_count; i++)
        for (size_t j = 0; j < other->row_count; j++)
            if (results->rows[best->rows[i]].seed == results->rows[other->rows[j]].seed) {
                out->best[out->count] = best->rows[i];
                out->other[out->count++] = other->rows[j];
            }
}

// Mean and variance over the pairs' differences; the variance is NAN for one.
static double verdict_mean(const sg_sweep_results *results, const verdict_pair *pair,
                           double *variance)
{
    double mean = 0, squares = 0;
    for (size_t i = 0; i < pair->count; i++)
        mean += results->rows[pair->other[i]].loss - results->rows[pair->best[i]].loss;
    mean /= (double)pair->count;
    for (size_t i = 0; i < pair->count; i++) {
        const double d = results->rows[pair->other[i]].loss - results->rows[pair->best[i]].loss;
        squares += (d - mean) * (d - mean);
    }
    *variance = pair->count > 1 ? squares / (double)(pair->count - 1) : NAN;
    return mean;
}

// What one seed adds to the variance of a difference, by all cells of both contenders.
static double verdict_pooled(const sg_sweep_results *results, const sg_sweep_analysis *a,
                             const sg_sweep_verdict *v)
{
    const size_t curves[] = {v->best_curve, v->other_curve};
    double sum = 0;
    for (size_t side = 0; side < 2; side++) {
        const sg_noise noise = sg_noise_of_contender(results, a, &a->curves[curves[side]]);
        sum += noise.freedom > 0 ? noise.squares / (double)noise.freedom : NAN;
    }
    return sum;
}

static void verdict_draw(sg_draws *draws, size_t place, const verdict_pair *pair, double variance,
                         double *work, sg_sweep_verdict *v, sg_verdict_spread *spread)
{
    const uint64_t at = sg_draws_place(SG_DRAWS_VERDICT, place);
    const double error = sqrt(variance / (double)pair->count);
    memset(work, 0, (size_t)draws->resamples * sizeof *work);
    v->documents = sg_draws_documents(draws, pair->best, pair->count) &&
                   sg_draws_documents(draws, pair->other, pair->count);
    if (v->documents) {
        sg_draws_add_documents(draws, pair->other, pair->count, 1, work);
        sg_draws_add_documents(draws, pair->best, pair->count, -1, work);
    }
    spread->documents = sg_draws_variance(work, draws->resamples);
    if (pair->count < 2) return;
    for (int64_t r = 0; r < draws->resamples; r++)
        work[r] +=
            v->difference.value + error * sg_draws_scale(draws, at, r, (int64_t)pair->count - 1) *
                                      sg_draws_normal(draws, at, r, 0);
    v->p = sg_draws_p(work, draws->resamples);
    sg_draws_interval(work, draws->resamples, &v->difference.low, &v->difference.high);
}

static void verdict_compare(sg_draws *draws, size_t place, const sg_sweep_analysis *a,
                            sg_sweep_verdict *v, sg_verdict_spread *spread, double *work)
{
    const sg_sweep_curve *best = &a->curves[v->best_curve], *other = &a->curves[v->other_curve];
    const sg_sweep_point *one = &best->points[best->best], *two = &other->points[other->best];
    verdict_pair pair;
    double variance = NAN;
    verdict_common(draws->results, one, two, &pair);
    v->seeds = (int64_t)pair.count;
    v->difference = (sg_sweep_number){two->loss - one->loss, NAN, NAN};
    if (pair.count > 0) {
        v->difference.value = verdict_mean(draws->results, &pair, &variance);
        verdict_draw(draws, place, &pair, variance, work, v, spread);
    }
    spread->seed = pair.count > 1 ? variance : verdict_pooled(draws->results, a, v);
}

// Curves first … end-1 are of one budget.
static sg_status verdict_budget(sg_draws *draws, size_t first, size_t end, double *work,
                                sg_sweep_analysis *out)
{
    const size_t count = end - first - 1, before = out->verdict_count;
    size_t best = first;
    for (size_t i = first; i < end; i++)
        if (out->curves[i].points[out->curves[i].best].loss <
            out->curves[best].points[out->curves[best].best].loss)
            best = i;
    sg_verdict_spread *spread = sg_alloc_zero(count, sizeof *spread);
    double *room = sg_alloc_array(2 * count, sizeof *room);
    const bool memory = spread != NULL && room != NULL;
    for (size_t i = first; memory && i < end; i++) {
        if (i == best) continue;
        const size_t at = out->verdict_count++;
        sg_sweep_verdict *v = &out->verdicts[at];
        *v = (sg_sweep_verdict){.budget = out->curves[i].budget,
                                .seconds = NAN,
                                .best_curve = best,
                                .other_curve = i,
                                .p = NAN,
                                .paired = true};
        sg_verdict_names(out, v);
        verdict_compare(draws, at, out, v, &spread[at - before], work);
    }
    if (memory) sg_verdict_adjust(out->verdicts + before, spread, count, room);
    sg_free(spread);
    sg_free(room);
    return memory ? SG_OK : SG_ERR_MEMORY;
}

sg_status sg_sweep_make_verdicts(sg_draws *draws, sg_sweep_analysis *out, sg_error *err)
{
    double *work = sg_alloc_array((size_t)draws->resamples, sizeof *work);
    // A curve is compared once at equal FLOPs and once at equal seconds, at most.
    out->verdicts = sg_alloc_zero(2 * out->curve_count, sizeof *out->verdicts);
    sg_status status = work != NULL && out->verdicts != NULL ? SG_OK : SG_ERR_MEMORY;
    for (size_t i = 0, end; status == SG_OK && i < out->curve_count; i = end) {
        for (end = i + 1; end < out->curve_count &&
                          sg_sweep_same(out->curves[end].budget, out->curves[i].budget);)
            end++;
        if (end - i > 1) status = verdict_budget(draws, i, end, work, out);
    }
    sg_free(work);
    return status == SG_OK ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for verdicts");
}
