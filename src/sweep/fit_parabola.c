// The parabola of a curve: loss over ln(parameters), its minimum, and intervals (analysis.h).
//
// Points are means over seeds and count alike. A point i of n_i seeds has the error s e_i /
// sqrt(n_i), s the deviation of one run, the same for all of the curve. s^2 has two sources, pooled
// by their degrees of freedom: the scatter of seeds within points, and what the parabola leaves of
// the points, whose expectation is s^2 sum (1 - h_ii) / n_i with h the hat matrix. So it holds what
// the parabola cannot bend to, as if that were noise. With three sizes of one seed each there is
// nothing to tell it from, and no interval.
#include "sweep/analysis_inside.h"

enum { parabola_coefficients = 3 };

typedef struct parabola_work {
    sg_parabola plan;
    double *x, *y;                // (points)
    double *changes;              // (points, resamples) of the losses with the documents
    double *sizes, *losses, *all; // (resamples); all: what is allocated
    double tokens[3];             // ln tokens over u
} parabola_work;

static bool parabola_room(const sg_draws *draws, const sg_sweep_curve *curve, parabola_work *w)
{
    const size_t n = curve->point_count, resamples = (size_t)draws->resamples;
    w->all = sg_alloc_zero(2 * n + (n + 2) * resamples, sizeof *w->all);
    if (w->all == NULL) return false;
    w->x = w->all;
    w->y = w->x + n;
    w->changes = w->y + n;
    w->sizes = w->changes + n * resamples;
    w->losses = w->sizes + resamples;
    for (size_t i = 0; i < n; i++) {
        w->x[i] = log(curve->points[i].size);
        w->y[i] = log(curve->points[i].tokens);
    }
    if (!sg_parabola_new(w->x, n, &w->plan)) return false;
    if (w->plan.weights != NULL) sg_parabola_fit(&w->plan, w->y, w->tokens);
    for (size_t i = 0; i < n; i++)
        w->y[i] = curve->points[i].loss;
    return true;
}

static void parabola_noise(const sg_sweep_results *results, const parabola_work *w,
                           const double c[3], sg_sweep_curve *curve)
{
    sg_noise seeds = {0};
    double squares = 0, expected = 0;
    const int64_t left = (int64_t)curve->point_count - parabola_coefficients;
    for (size_t i = 0; i < curve->point_count; i++) {
        const double u = (w->x[i] - w->plan.middle) / w->plan.half;
        const double away = w->y[i] - sg_parabola_at(c, u);
        squares += away * away;
        expected += (1 - w->plan.leverage[i]) / (double)curve->points[i].row_count;
        sg_noise_add_seeds(results, &curve->points[i], &seeds);
    }
    curve->residual = sqrt(squares / (double)curve->point_count);
    if (left > 0) seeds.squares += squares * (double)left / expected;
    seeds.freedom += left;
    curve->noise = sg_noise_deviation(&seeds);
    curve->freedom = seeds.freedom;
}

static double parabola_tokens(const parabola_work *w, double u)
{
    return exp(sg_parabola_at(w->tokens, u));
}

static double parabola_size(const parabola_work *w, double u)
{
    const double size = exp(w->plan.middle + w->plan.half * u);
    return isfinite(size) && size > 0 ? size : NAN;
}

// A resample without a minimum says that it may be anywhere: below all and above all in turn.
static void parabola_resample(sg_draws *draws, uint64_t place, const sg_sweep_curve *curve,
                              parabola_work *w)
{
    const size_t n = curve->point_count;
    bool below = false;
    for (size_t i = 0; i < n && curve->documents; i++)
        sg_draws_add_documents(draws, curve->points[i].rows, curve->points[i].row_count, 1,
                               w->changes + i * (size_t)draws->resamples);
    for (int64_t r = 0; r < draws->resamples; r++) {
        const double s = curve->noise * sg_draws_scale(draws, place, r, curve->freedom);
        double c[3];
        for (size_t i = 0; i < n; i++)
            w->y[i] =
                curve->points[i].loss + w->changes[i * (size_t)draws->resamples + (size_t)r] +
                s * sg_draws_normal(draws, place, r, i) / sqrt((double)curve->points[i].row_count);
        sg_parabola_fit(&w->plan, w->y, c);
        w->sizes[r] = sg_parabola_minimum(c);
        w->losses[r] = isnan(w->sizes[r]) ? NAN : sg_parabola_at(c, w->sizes[r]);
        if (!isnan(w->sizes[r])) continue;
        w->sizes[r] = below ? -INFINITY : INFINITY;
        below = !below;
    }
}

static void parabola_no_interval(sg_sweep_curve *curve)
{
    curve->size.low = curve->size.high = NAN;
    curve->loss.low = curve->loss.high = NAN;
    curve->tokens.low = curve->tokens.high = NAN;
}

static void parabola_intervals(sg_draws *draws, uint64_t place, sg_sweep_curve *curve,
                               parabola_work *w)
{
    double low, high;
    if (curve->freedom < 1) return;
    parabola_resample(draws, place, curve, w);
    sg_draws_interval(w->sizes, draws->resamples, &low, &high);
    curve->size.low = parabola_size(w, low);
    curve->size.high = parabola_size(w, high);
    sg_draws_interval(w->losses, draws->resamples, &curve->loss.low, &curve->loss.high);
    // A larger model has fewer tokens.
    curve->tokens.low = fmin(parabola_tokens(w, low), parabola_tokens(w, high));
    curve->tokens.high = fmax(parabola_tokens(w, low), parabola_tokens(w, high));
    if (isnan(curve->size.low) || isnan(curve->size.high)) parabola_no_interval(curve);
}

// Whether the minimum is between the second and the last size but one; points ascend.
static bool parabola_inside(const sg_sweep_curve *curve, const parabola_work *w, double u)
{
    const double x = w->plan.middle + w->plan.half * u;
    size_t second = 0, last = curve->point_count - 1;
    while (second < curve->point_count - 1 && w->x[second] <= w->x[0])
        second++;
    while (last > 0 && w->x[last] >= w->x[curve->point_count - 1])
        last--;
    return x >= w->x[second] && x <= w->x[last];
}

static void parabola_minimum(const double c[3], const parabola_work *w, sg_sweep_curve *curve)
{
    const double u = sg_parabola_minimum(c), middle = w->plan.middle, half = w->plan.half;
    curve->c = c[2] / (half * half);
    curve->b = c[1] / half - 2 * curve->c * middle;
    curve->a = c[0] - middle * (c[1] / half - curve->c * middle);
    curve->fit = SG_SWEEP_FIT_NOT_ROUND;
    if (isnan(u) || isnan(parabola_size(w, u))) return;
    curve->fit = parabola_inside(curve, w, u) ? SG_SWEEP_FIT_FINE : SG_SWEEP_FIT_AT_EDGE;
    curve->size.value = parabola_size(w, u);
    curve->loss.value = sg_parabola_at(c, u);
    curve->tokens.value = parabola_tokens(w, u);
}

sg_status sg_sweep_fit_parabola(sg_draws *draws, size_t place, sg_sweep_curve *curve, sg_error *err)
{
    const sg_sweep_number none = {NAN, NAN, NAN};
    parabola_work w = {0};
    double c[3];
    curve->fit = SG_SWEEP_FIT_FEW;
    curve->a = curve->b = curve->c = curve->residual = curve->noise = NAN;
    curve->freedom = 0;
    curve->size = curve->loss = curve->tokens = none;
    curve->documents = true;
    for (size_t i = 0; i < curve->point_count; i++)
        curve->documents &=
            sg_draws_documents(draws, curve->points[i].rows, curve->points[i].row_count);
    const bool memory = parabola_room(draws, curve, &w);
    if (memory && w.plan.weights != NULL) {
        sg_parabola_fit(&w.plan, w.y, c);
        parabola_noise(draws->results, &w, c, curve);
        parabola_minimum(c, &w, curve);
        if (sg_sweep_round(curve))
            parabola_intervals(draws, sg_draws_place(SG_DRAWS_CURVE, place), curve, &w);
    }
    sg_parabola_free(&w.plan);
    sg_free(w.all);
    return memory ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a parabola");
}
