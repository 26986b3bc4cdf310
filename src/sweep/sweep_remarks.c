// What limits an analysis, in lines for people: what was left out, where a search or a curve ends
// too early, what one seed cannot say.
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "sweep/analysis_inside.h"
#include "sweep/surface_values.h"

enum { remark_bytes = 512, remark_scales = 5, remark_blocks = 20 };

sg_status sg_sweep_remark(sg_sweep_analysis *out, sg_error *err, const char *format, ...)
{
    char text[remark_bytes];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    char *copy = sg_strdup(text);
    char **grown = copy == NULL
                       ? NULL
                       : sg_realloc(out->remarks, (out->remark_count + 1) * sizeof *out->remarks);
    if (grown == NULL) {
        sg_free(copy);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for remarks");
    }
    out->remarks = grown;
    out->remarks[out->remark_count++] = copy;
    return SG_OK;
}

// "peer {"k": 8} at 1e+12 FLOPs", without what is not there.
#define REMARK_NAME(of)  remark_name((of)->family, (of)->settings, (char[remark_bytes]){0})
#define REMARK_CURVE(of) remark_curve(of, (char[remark_bytes]){0})

static const char *remark_name(const char *family, const char *settings, char text[remark_bytes])
{
    const bool plain = settings[0] == '\0' || strcmp(settings, "{}") == 0;
    snprintf(text, remark_bytes, "%s%s%.200s", family, plain ? "" : " ", plain ? "" : settings);
    return text;
}

static const char *remark_curve(const sg_sweep_curve *of, char text[remark_bytes])
{
    remark_name(of->family, of->settings, text);
    const size_t used = strlen(text);
    if (!isnan(of->budget))
        snprintf(text + used, remark_bytes - used, " at %.3g FLOPs", of->budget);
    return text;
}

// ---- rows ---------------------------------------------------------------------------------------

typedef struct remark_counts {
    size_t finished, failed, unfinished, useless, imported, timed, other_machine, no_documents;
} remark_counts;

static remark_counts remark_count(const sg_sweep_results *results, const sg_draws *draws)
{
    const int64_t machine = sg_sweep_clock_machine(results);
    remark_counts n = {0};
    for (size_t i = 0; i < results->count; i++) {
        const sg_sweep_row *row = &results->rows[i];
        n.failed += row->state == SG_SWEEP_FAILED;
        n.unfinished += row->state == SG_SWEEP_WAITING || row->state == SG_SWEEP_RUNNING;
        if (row->state != SG_SWEEP_FINISHED) continue;
        n.finished++;
        n.imported += row->origin[0] != '\0';
        n.timed += row->step_seconds > 0;
        n.other_machine += row->step_seconds > 0 && row->step_machine != machine;
        if (!isfinite(row->loss) || row->parameters < 1 || row->tokens < 1) n.useless++;
        n.no_documents += sg_draws_documents(draws, &i, 1) ? 0 : 1;
    }
    return n;
}

static sg_status remark_rows(const sg_sweep_results *results, const sg_draws *draws,
                             sg_sweep_analysis *out, sg_error *err)
{
    const remark_counts n = remark_count(results, draws);
    if (n.unfinished + n.failed > 0)
        SG_TRY(sg_sweep_remark(out, err,
                               "%zu of %zu runs are not finished and %zu failed: left out",
                               n.unfinished, results->count, n.failed));
    if (n.finished == 0) return sg_sweep_remark(out, err, "no run is finished");
    if (n.useless > 0)
        SG_TRY(sg_sweep_remark(out, err, "%zu finished runs have no loss, size or tokens: left out",
                               n.useless));
    if (n.imported > 0)
        SG_TRY(sg_sweep_remark(out, err,
                               "%zu of %zu finished runs were made elsewhere and imported",
                               n.imported, n.finished));
    if (n.no_documents > 0)
        SG_TRY(sg_sweep_remark(out, err,
                               "%zu of %zu finished runs have no sums by blocks of documents, or "
                               "other blocks: what holds them has intervals without documents",
                               n.no_documents, n.finished));
    if (draws->blocks > 0 && draws->blocks < remark_blocks)
        SG_TRY(sg_sweep_remark(out, err,
                               "%lld blocks of documents: fewer than %d are drawn from too few, "
                               "intervals are narrower than they should be",
                               (long long)draws->blocks, (int)remark_blocks));
    if (n.other_machine > 0)
        SG_TRY(sg_sweep_remark(out, err,
                               "step times of %zu runs are of other machines than the one that "
                               "measured most: left out",
                               n.other_machine));
    if (n.timed == 0)
        return sg_sweep_remark(out, err, "no step was timed: nothing is said of equal seconds");
    if (n.timed < n.finished)
        return sg_sweep_remark(out, err,
                               "%zu of %zu finished runs have no step time: not on curves over "
                               "seconds, unless another seed of theirs has",
                               n.finished - n.timed, n.finished);
    return SG_OK;
}

// ---- searches -----------------------------------------------------------------------------------

static sg_status remark_edges(const sg_sweep_curve *curve, sg_sweep_analysis *out, sg_error *err)
{
    char scales[remark_bytes] = "";
    size_t used = 0, count = 0;
    for (size_t p = 0; p < curve->point_count; p++) {
        const sg_sweep_point *point = &curve->points[p];
        if (!point->lr_at_edge) continue;
        if (count++ < remark_scales && !isnan(point->scale) && used < 100)
            used += (size_t)snprintf(scales + used, sizeof scales - used, "%s%.3g",
                                     used > 0 ? ", " : " of scale ", point->scale);
    }
    if (count == 0) return SG_OK;
    return sg_sweep_remark(out, err,
                           "%s: the best learning rate of %zu of %zu points is the last of those "
                           "that were tried%s%s",
                           REMARK_CURVE(curve), count, curve->point_count, scales,
                           count > remark_scales ? ", …" : "");
}

static int64_t remark_effort(const sg_sweep_curve *curve)
{
    int64_t effort = 0;
    for (size_t p = 0; p < curve->point_count; p++)
        effort += curve->points[p].effort;
    return effort;
}

// Of all contenders of a budget, curves first … end-1.
static sg_status remark_efforts(size_t first, size_t end, sg_sweep_analysis *out, sg_error *err)
{
    size_t least = first, most = first;
    for (size_t i = first; i < end; i++) {
        if (remark_effort(&out->curves[i]) < remark_effort(&out->curves[least])) least = i;
        if (remark_effort(&out->curves[i]) > remark_effort(&out->curves[most])) most = i;
    }
    const int64_t low = remark_effort(&out->curves[least]);
    const int64_t high = remark_effort(&out->curves[most]);
    if (low == high) return SG_OK;
    return sg_sweep_remark(out, err, "%s: %lld runs of the first seed, %s %lld: unequal effort",
                           REMARK_CURVE(&out->curves[most]), (long long)high,
                           REMARK_NAME(&out->curves[least]), (long long)low);
}

// ---- curves, surfaces, verdicts -----------------------------------------------------------------

typedef bool (*remark_test)(const sg_sweep_curve *curve);

static bool remark_is_curve(const sg_sweep_curve *curve) // over sizes, at equal FLOPs
{
    return curve->point_count > 1 && !isnan(curve->budget);
}

static bool remark_few(const sg_sweep_curve *curve)
{
    return remark_is_curve(curve) && curve->fit == SG_SWEEP_FIT_FEW;
}

static bool remark_not_round(const sg_sweep_curve *curve)
{
    return remark_is_curve(curve) && curve->fit == SG_SWEEP_FIT_NOT_ROUND;
}

static bool remark_at_edge(const sg_sweep_curve *curve)
{
    return remark_is_curve(curve) && curve->fit == SG_SWEEP_FIT_AT_EDGE;
}

static bool remark_no_noise(const sg_sweep_curve *curve)
{
    return remark_is_curve(curve) && sg_sweep_round(curve) && curve->freedom < 1;
}

static bool remark_scattered(const sg_sweep_curve *curve)
{
    return remark_is_curve(curve) && sg_sweep_round(curve) && curve->freedom > 0 &&
           isnan(curve->size.low);
}

// One line for all curves that the test holds for: "WHAT: a, b at 1e+12 FLOPs, c at 4e+12 FLOPs".
static sg_status remark_curves(remark_test test, const char *what, sg_sweep_analysis *out,
                               sg_error *err)
{
    char list[remark_bytes] = "";
    size_t used = 0, count = 0, named = 0;
    for (size_t i = 0; i < out->curve_count; i++) {
        const sg_sweep_curve *curve = &out->curves[i];
        if (!test(curve)) continue;
        const char *name = REMARK_NAME(curve);
        if (count++ != named || used + strlen(name) + strlen(what) + 80 > sizeof list) continue;
        bool last = true; // of this budget
        for (size_t j = i + 1; j < out->curve_count; j++)
            last &= !test(&out->curves[j]) || out->curves[j].budget > curve->budget;
        used += (size_t)snprintf(list + used, sizeof list - used, "%s%s", named++ > 0 ? ", " : "",
                                 name);
        if (last)
            used +=
                (size_t)snprintf(list + used, sizeof list - used, " at %.3g FLOPs", curve->budget);
    }
    if (count == 0) return SG_OK;
    if (named == count) return sg_sweep_remark(out, err, "%s: %s", what, list);
    return sg_sweep_remark(out, err, "%s: %s and %zu more", what, list, count - named);
}

static sg_status remark_fits(sg_sweep_analysis *out, sg_error *err)
{
    SG_TRY(remark_curves(remark_few, "fewer than 3 sizes, no parabola", out, err));
    SG_TRY(remark_curves(remark_not_round, "no minimum over size", out, err));
    SG_TRY(remark_curves(remark_at_edge,
                         "the minimum is among the outermost sizes, more are wanted", out, err));
    SG_TRY(remark_curves(remark_no_noise,
                         "three sizes of one seed leave nothing to tell an interval by", out, err));
    return remark_curves(remark_scattered, "runs scatter too much for an interval of the minimum",
                         out, err);
}

static sg_status remark_surface(const sg_sweep_surface *s, sg_sweep_analysis *out, sg_error *err)
{
    const double least = SG_SURFACE_LEAST * 1.0001, most = SG_SURFACE_MOST * 0.9999;
    const char *name = REMARK_NAME(s);
    if (s->points < 2) return SG_OK;
    if (s->fitted && !s->exponents)
        return sg_sweep_remark(out, err, "%s: %zu sizes, fewer than 5: no exponents", name,
                               s->sizes);
    if (s->fitted && (s->alpha.value < least || s->beta.value < least || s->alpha.value > most ||
                      s->beta.value > most))
        return sg_sweep_remark(out, err,
                               "%s: the surface's exponents are not told by these points (%.3g and "
                               "%.3g, bounds %g and %g)",
                               name, s->alpha.value, s->beta.value, SG_SURFACE_LEAST,
                               SG_SURFACE_MOST);
    return SG_OK;
}

// Whether the form of the parabola alone misses the best size by more than the interval holds.
static sg_status remark_bias(const sg_sweep_surface *s, sg_sweep_analysis *out, sg_error *err)
{
    for (size_t i = 0; i < out->curve_count && !isnan(s->bias_parabola); i++) {
        const sg_sweep_curve *curve = &out->curves[i];
        if (strcmp(curve->family, s->family) != 0 || strcmp(curve->settings, s->settings) != 0 ||
            !sg_sweep_same(curve->budget, s->middle_budget) || isnan(curve->size.low))
            continue;
        const double half = (curve->size.high - curve->size.low) / 2 / curve->size.value;
        if (fabs(s->bias_parabola) <= half) continue;
        return sg_sweep_remark(out, err,
                               "%s: on the fitted surface a parabola misses the best size by %+.1f "
                               "percent, more than its interval holds (%.1f): see the surface's",
                               REMARK_CURVE(curve), 100 * s->bias_parabola, 100 * half);
    }
    return SG_OK;
}

static sg_status remark_seeds(sg_sweep_analysis *out, sg_error *err)
{
    size_t alone = 0, flops = 0, unknown = 0, seconds = 0;
    for (size_t i = 0; i < out->verdict_count; i++) {
        const sg_sweep_verdict *v = &out->verdicts[i];
        flops += !v->equal_seconds;
        seconds += v->equal_seconds;
        alone += !v->equal_seconds && v->seeds < 2;
        unknown += v->equal_seconds && isnan(v->p);
    }
    if (alone > 0)
        SG_TRY(sg_sweep_remark(out, err,
                               "%zu of %zu comparisons at equal FLOPs have fewer than two common "
                               "seeds: never separable",
                               alone, flops));
    if (unknown > 0)
        SG_TRY(sg_sweep_remark(out, err,
                               "%zu of %zu comparisons at equal seconds are of families without "
                               "any cell of two seeds: never separable",
                               unknown, seconds));
    if (seconds > unknown)
        SG_TRY(sg_sweep_remark(out, err,
                               "comparisons at equal seconds are not paired by seeds; losses there "
                               "are read between finished runs"));
    return SG_OK;
}

sg_status sg_sweep_remark_all(const sg_sweep_results *results, const sg_draws *draws,
                              sg_sweep_analysis *out, sg_error *err)
{
    SG_TRY(remark_rows(results, draws, out, err));
    SG_TRY(remark_fits(out, err));
    for (size_t i = 0, end; i < out->curve_count; i = end) {
        for (end = i; end < out->curve_count &&
                      sg_sweep_same(out->curves[end].budget, out->curves[i].budget);
             end++)
            SG_TRY(remark_edges(&out->curves[end], out, err));
        SG_TRY(remark_efforts(i, end, out, err));
    }
    for (size_t i = 0; i < out->surface_count; i++) {
        SG_TRY(remark_surface(&out->surfaces[i], out, err));
        SG_TRY(remark_bias(&out->surfaces[i], out, err));
    }
    return remark_seeds(out, err);
}
