// What a sweep answers, in sentences: who is lowest at each budget, by how much, and whether that
// can be told.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "sweep/report.h"
#include "sweep/results.h"

// The closest other contender is what the answer names: the verdict with the smallest difference.
static const sg_sweep_verdict *answers_nearest(const sg_sweep_analysis *a, double budget,
                                               bool seconds)
{
    const sg_sweep_verdict *nearest = NULL;
    for (size_t v = 0; v < a->verdict_count; v++) {
        const sg_sweep_verdict *one = &a->verdicts[v];
        if (one->equal_seconds != seconds || !sg_sweep_same_number(one->budget, budget)) continue;
        if (nearest == NULL || one->difference.value < nearest->difference.value) nearest = one;
    }
    return nearest;
}

// Of the others, how many are told apart from the lowest.
static void answers_count(const sg_sweep_analysis *a, const sg_sweep_verdict *nearest, char *out,
                          size_t capacity)
{
    size_t apart = 0, all = 0;
    for (size_t v = 0; v < a->verdict_count; v++) {
        const sg_sweep_verdict *one = &a->verdicts[v];
        if (one->equal_seconds != nearest->equal_seconds ||
            !sg_sweep_same_number(one->budget, nearest->budget))
            continue;
        all++;
        apart += one->separable;
    }
    out[0] = '\0';
    if (all > 1) snprintf(out, capacity, "; told apart from %zu of the %zu others", apart, all);
}

// The next contender, how far above the lowest it is, and whether that can be told.
static void answers_next(const sg_report *report, const sg_sweep_verdict *v, char *out,
                         size_t capacity)
{
    const char *other = sg_report_curve_label(report, v->other_curve);
    char range[64] = "", why[96] = "";
    const sg_sweep_number *d = &v->difference;
    if (isfinite(d->low) && isfinite(d->high))
        snprintf(range, sizeof range, " [%.4f, %.4f]", d->low, d->high);
    if (v->separable) {
        snprintf(out, capacity, "next is %s, %.4f nats above%s", other, d->value, range);
        return;
    }
    if (v->seeds < 2 && v->paired)
        snprintf(why, sizeof why, " (one seed)");
    else if (v->seeds_needed >= SG_SWEEP_SEEDS_MOST)
        snprintf(why, sizeof why, " (no number of seeds may be enough)");
    else if (v->seeds_needed > 0)
        snprintf(why, sizeof why, " (about %lld seeds would be needed)",
                 (long long)v->seeds_needed);
    snprintf(out, capacity, "not separable from it is %s, %.4f nats above%s%s", other, d->value,
             range, why);
}

static sg_status answers_flops(sg_report *report, size_t row, const sg_report_table *best,
                               sg_error *err)
{
    char words[512], count[96] = "", size[24], budget[48] = "";
    const double flops = sg_report_number(best, row, "budget");
    const sg_sweep_verdict *v = answers_nearest(&report->analysis, flops, false);
    sg_report_short(size, sizeof size, sg_report_number(best, row, "parameters"));
    if (isfinite(flops)) snprintf(budget, sizeof budget, "At %.3g FLOPs ", flops);
    if (v != NULL) {
        answers_next(report, v, words, sizeof words);
        answers_count(&report->analysis, v, count, sizeof count);
    }
    return sg_report_line(report->answers, err,
                          "%s%s has the lowest loss, %.4f nats (perplexity %.4g), at %s "
                          "parameters%s%s%s.",
                          budget, sg_report_text_of(best, row, "family"),
                          sg_report_number(best, row, "loss"),
                          sg_report_number(best, row, "perplexity"), size, v != NULL ? "; " : "",
                          v != NULL ? words : "", count);
}

static void answers_time(double seconds, char *out, size_t capacity)
{
    if (seconds < 120)
        snprintf(out, capacity, "%.3g s", seconds);
    else if (seconds < 7200)
        snprintf(out, capacity, "%.3g min", seconds / 60);
    else
        snprintf(out, capacity, "%.3g h", seconds / 3600);
}

static sg_status answers_seconds(sg_report *report, double budget, sg_error *err)
{
    char words[512], count[96] = "", time[32];
    const sg_sweep_verdict *v = answers_nearest(&report->analysis, budget, true);
    if (v == NULL) return SG_OK;
    answers_time(v->seconds, time, sizeof time);
    answers_next(report, v, words, sizeof words);
    answers_count(&report->analysis, v, count, sizeof count);
    return sg_report_line(report->answers, err,
                          "At equal seconds (%s) %s has the lowest loss; %s%s.", time,
                          sg_report_curve_label(report, v->best_curve), words, count);
}

sg_status sg_report_answers(sg_report *report, sg_error *err)
{
    const sg_report_table *best = sg_report_find(report, "best");
    const size_t rows = json_array_size(best->rows);
    for (size_t row = 0; row < rows; row++) {
        const double budget = sg_report_number(best, row, "budget");
        const double before = row > 0 ? sg_report_number(best, row - 1, "budget") : NAN;
        if (row > 0 && sg_sweep_same_number(budget, before)) continue;
        SG_TRY(answers_flops(report, row, best, err));
        SG_TRY(answers_seconds(report, budget, err));
    }
    if (rows == 0)
        return sg_report_line(report->answers, err,
                              "No run is finished yet: there is nothing to "
                              "compare.");
    return SG_OK;
}
