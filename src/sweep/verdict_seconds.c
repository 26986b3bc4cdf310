// Who is lower at equal seconds: fronts (fronts.c) read at one time, log-log between the two
// neighbours of it, never beyond a front's ends (analysis.h).
//
// The time is the median of what the best cells of the budget take, or as near to it as all fronts
// reach. What is compared are not runs of one seed but readings of several cells with few seeds
// each, so the error of a run is that of its contender, by the seeds of all its cells at all
// budgets, taken as equal there; degrees of freedom by Welch 1947. That the curve between two cells
// is a power law is taken for true.
#include <stdlib.h>
#include <string.h>

#include "sweep/analysis_inside.h"

// A front read at a time.
typedef struct seconds_reading {
    size_t curve;                    // of the budget
    const sg_sweep_point *points[2]; // neighbours; the same twice at a point
    double share[2];                 // of ln(loss); add up to 1
    double loss, variance;           // variance: of the seeds' error, NAN: not known
    int64_t freedom, seeds;          // seeds: the fewest
    bool documents;
} seconds_reading;

static const sg_sweep_point *seconds_point(const sg_sweep_analysis *a, size_t row)
{
    for (size_t i = 0; i < a->curve_count; i++)
        for (size_t p = 0; p < a->curves[i].point_count; p++)
            if (a->curves[i].points[p].best_row == row) return &a->curves[i].points[p];
    return NULL; // a front's rows are points' rows
}

static void seconds_noise(sg_draws *draws, const sg_sweep_analysis *a, seconds_reading *out)
{
    const sg_noise noise = sg_noise_of_contender(draws->results, a, &a->curves[out->curve]);
    const double run = sg_noise_deviation(&noise);
    double relative = 0;
    out->documents = true;
    out->seeds = INT64_MAX;
    for (int k = 0; k < 2; k++) {
        const sg_sweep_point *point = out->points[k];
        const double part = out->share[k] * run / point->loss;
        if (k == 1 && point == out->points[0]) continue; // all its share is in the first
        relative += part * part / (double)point->row_count;
        out->documents &= sg_draws_documents(draws, point->rows, point->row_count);
        if ((int64_t)point->row_count < out->seeds) out->seeds = (int64_t)point->row_count;
    }
    out->variance = out->loss * out->loss * relative;
    out->freedom = noise.freedom;
}

// False: the time is beyond the front.
static bool seconds_read(const sg_sweep_analysis *a, size_t curve, double seconds,
                         seconds_reading *out)
{
    const sg_sweep_front *front = sg_sweep_front_of(a, &a->curves[curve]);
    size_t next = 0;
    while (next < front->count && front->seconds[next] < seconds)
        next++;
    if (next == front->count || (next == 0 && front->seconds[0] > seconds)) return false;
    const size_t before = next > 0 && front->seconds[next] > seconds ? next - 1 : next;
    double share = 0;
    if (before < next)
        share = log(seconds / front->seconds[before]) /
                log(front->seconds[next] / front->seconds[before]);
    *out = (seconds_reading){.curve = curve, .share = {1 - share, share}};
    out->points[0] = seconds_point(a, front->row[before]);
    out->points[1] = seconds_point(a, front->row[next]);
    out->loss = exp((1 - share) * log(front->loss[before]) + share * log(front->loss[next]));
    return true;
}

static int seconds_ascending(const void *one, const void *other)
{
    const double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

// The time for curves first … end-1; NAN: fewer than two have one. room: (end - first).
static double seconds_time(const sg_sweep_analysis *a, size_t first, size_t end, double *room)
{
    double low = 0, high = INFINITY;
    int64_t count = 0;
    for (size_t i = first; i < end; i++) {
        const sg_sweep_curve *curve = &a->curves[i];
        const sg_sweep_front *front = sg_sweep_front_of(a, curve);
        const double seconds = curve->points[curve->best].seconds;
        if (front == NULL || isnan(seconds)) continue;
        room[count++] = seconds;
        low = fmax(low, front->seconds[0]);
        high = fmin(high, front->seconds[front->count - 1]);
    }
    if (count < 2) return NAN;
    qsort(room, (size_t)count, sizeof *room, seconds_ascending);
    const double middle = sg_quantile(room, count, 0.5);
    return low <= high ? fmin(fmax(middle, low), high) : middle;
}

// What the drawn documents change in a reading, with the sign, added to change (resamples). work:
// (2, resamples).
static void seconds_documents(sg_draws *draws, const seconds_reading *of, double sign, double *work,
                              double *change)
{
    const size_t resamples = (size_t)draws->resamples;
    memset(work, 0, 2 * resamples * sizeof *work);
    for (size_t k = 0; k < 2; k++)
        sg_draws_add_documents(draws, of->points[k]->rows, of->points[k]->row_count, 1,
                               work + k * resamples);
    for (size_t r = 0; r < resamples; r++) {
        double logarithm = 0;
        for (size_t k = 0; k < 2; k++)
            logarithm += of->share[k] * log(of->points[k]->loss + work[k * resamples + r]);
        if (isfinite(logarithm)) change[r] += sign * (exp(logarithm) - of->loss);
    }
}

static void seconds_compare(sg_draws *draws, size_t place, const seconds_reading *best,
                            const seconds_reading *other, double *work, sg_sweep_verdict *v,
                            sg_verdict_spread *spread)
{
    const uint64_t at = sg_draws_place(SG_DRAWS_SECONDS, place);
    double *change = work + 2 * draws->resamples;
    v->documents = best->documents && other->documents;
    v->seeds = best->seeds < other->seeds ? best->seeds : other->seeds;
    v->difference = (sg_sweep_number){other->loss - best->loss, NAN, NAN};
    memset(change, 0, (size_t)draws->resamples * sizeof *change);
    if (v->documents) {
        seconds_documents(draws, other, 1, work, change);
        seconds_documents(draws, best, -1, work, change);
    }
    const double sum = best->variance + other->variance;
    spread->documents = sg_draws_variance(change, draws->resamples);
    spread->seed = sum * (double)v->seeds;
    if (isnan(sum)) return;
    const double parts = best->variance * best->variance / (double)best->freedom +
                         other->variance * other->variance / (double)other->freedom;
    const double welch = parts > 0 ? floor(sum * sum / parts) : 1;
    const int64_t freedom = welch > 1 ? (int64_t)welch : 1;
    for (int64_t r = 0; r < draws->resamples; r++)
        change[r] += v->difference.value + sqrt(sum) * sg_draws_scale(draws, at, r, freedom) *
                                               sg_draws_normal(draws, at, r, 0);
    v->p = sg_draws_p(change, draws->resamples);
    sg_draws_interval(change, draws->resamples, &v->difference.low, &v->difference.high);
}

// Room for a budget's readings and comparisons, of all curves.
typedef struct seconds_work {
    seconds_reading *readings; // (curves)
    sg_verdict_spread *spread; // (curves)
    double *room, *draws;      // (2 curves), (3, resamples)
} seconds_work;

// Reads the fronts of curves first … end-1; tells of those that do not reach the time.
static sg_status seconds_readings(sg_draws *draws, size_t first, size_t end, double seconds,
                                  seconds_work *w, size_t *count, sg_sweep_analysis *out,
                                  sg_error *err)
{
    *count = 0;
    for (size_t i = first; i < end; i++) {
        const sg_sweep_curve *curve = &out->curves[i];
        seconds_reading *reading = &w->readings[*count];
        if (sg_sweep_front_of(out, curve) == NULL) continue;
        if (seconds_read(out, i, seconds, reading)) {
            seconds_noise(draws, out, reading);
            (*count)++;
            continue;
        }
        SG_TRY(sg_sweep_remark(out, err,
                               "equal seconds, %.3g s: %s has no finished runs on both sides of it "
                               "and is left out",
                               seconds, curve->family));
    }
    return SG_OK;
}

static void seconds_budget(sg_draws *draws, double seconds, seconds_work *w, size_t count,
                           sg_sweep_analysis *out)
{
    const size_t before = out->verdict_count;
    size_t best = 0;
    for (size_t i = 1; i < count; i++)
        if (w->readings[i].loss < w->readings[best].loss) best = i;
    for (size_t i = 0; i < count; i++) {
        if (i == best) continue;
        const size_t at = out->verdict_count++;
        sg_sweep_verdict *v = &out->verdicts[at];
        *v = (sg_sweep_verdict){.budget = out->curves[w->readings[i].curve].budget,
                                .equal_seconds = true,
                                .seconds = seconds,
                                .best_curve = w->readings[best].curve,
                                .other_curve = w->readings[i].curve,
                                .p = NAN};
        sg_verdict_names(out, v);
        seconds_compare(draws, at, &w->readings[best], &w->readings[i], w->draws, v,
                        &w->spread[at - before]);
    }
    sg_verdict_adjust(out->verdicts + before, w->spread, out->verdict_count - before, w->room);
}

static sg_status seconds_all(sg_draws *draws, seconds_work *w, sg_sweep_analysis *out,
                             sg_error *err)
{
    double last = NAN;
    for (size_t i = 0, end; i < out->curve_count; i = end) {
        for (end = i + 1; end < out->curve_count &&
                          sg_sweep_same(out->curves[end].budget, out->curves[i].budget);)
            end++;
        const double seconds = seconds_time(out, i, end, w->room);
        size_t count = 0;
        if (isnan(seconds) || sg_sweep_same(seconds, last)) continue; // said at the last budget
        last = seconds;
        SG_TRY(seconds_readings(draws, i, end, seconds, w, &count, out, err));
        if (count > 1) seconds_budget(draws, seconds, w, count, out);
    }
    return SG_OK;
}

sg_status sg_sweep_verdicts_in_seconds(sg_draws *draws, sg_sweep_analysis *out, sg_error *err)
{
    seconds_work w = {
        .readings = sg_alloc_array(out->curve_count, sizeof *w.readings),
        .spread = sg_alloc_zero(out->curve_count, sizeof *w.spread),
        .room = sg_alloc_array(2 * out->curve_count, sizeof *w.room),
        .draws = sg_alloc_array(3 * (size_t)draws->resamples, sizeof *w.draws),
    };
    const bool memory = w.readings != NULL && w.spread != NULL && w.room != NULL && w.draws != NULL;
    const sg_status status =
        memory ? seconds_all(draws, &w, out, err)
               : sg_fail(err, SG_ERR_MEMORY, "out of memory for verdicts at equal seconds");
    sg_free(w.readings);
    sg_free(w.spread);
    sg_free(w.room);
    sg_free(w.draws);
    return status;
}
