// The surface of a contender over all its points: intervals by refitting what is drawn around it,
// and how well both ways of finding the best size do where the truth is known (analysis.h).
//
// Errors of points are those of fit_parabola.c: s / sqrt(n_i) for n_i seeds, s by the seeds and by
// what the surface leaves, whose share of s^2 is taken as equal at all points. Resamples are drawn
// around the surface, not around the points, whose errors would count twice.
#include <stdlib.h>
#include <string.h>

#include "sweep/analysis_inside.h"
#include "sweep/surface_values.h"

enum { surf_coefficients = 5, surf_least_points = 6, surf_least_sizes = 3, surf_numbers = 6 };
enum { surf_exponents_sizes = 5 };

typedef struct surf_work {
    sg_surface_work fit;
    const sg_sweep_point **points; // (count)
    double *size, *tokens, *loss, *at,
        *one;        // (count): of a point; what the surface has; a resample
    double *changes; // (count, resamples) with the documents
    double *drawn;   // (8, resamples): numbers, best sizes both ways
    double *all;
    size_t count;
    // The middle budget: its points, first of `points`; over u of the parabola's ln(tokens).
    size_t first, middle;
    sg_parabola plan;
    double u_tokens[3], truth; // ln of the best size on the surface; NAN: none
} surf_work;

// ---- the points ---------------------------------------------------------------------------------

static size_t surf_count(const sg_sweep_analysis *a, const sg_sweep_curve *of, size_t *budgets)
{
    size_t count = 0;
    *budgets = 0;
    for (size_t i = 0; i < a->curve_count; i++) {
        if (!sg_sweep_same_contender(&a->curves[i], of)) continue;
        count += a->curves[i].point_count;
        *budgets += isnan(a->curves[i].budget) ? 0 : 1;
    }
    return count;
}

static bool surf_room(surf_work *w, size_t count, int64_t resamples)
{
    const size_t r = (size_t)resamples;
    w->count = count;
    w->points = sg_alloc_array(count, sizeof *w->points);
    w->all = sg_alloc_zero(5 * count + (count + surf_numbers + 2) * r, sizeof *w->all);
    if (w->points == NULL || w->all == NULL) return false;
    w->size = w->all;
    w->tokens = w->size + count;
    w->loss = w->tokens + count;
    w->at = w->loss + count;
    w->one = w->at + count;
    w->changes = w->one + count;
    w->drawn = w->changes + count * r;
    return true;
}

// Fills in the points, those of a budget behind each other, and finds the middle one's.
static void surf_gather(const sg_sweep_analysis *a, const sg_sweep_curve *of, size_t budgets,
                        surf_work *w, sg_sweep_surface *out)
{
    size_t used = 0, seen = 0;
    for (size_t i = 0; i < a->curve_count; i++) {
        const sg_sweep_curve *curve = &a->curves[i];
        if (!sg_sweep_same_contender(curve, of)) continue;
        if (seen++ == (budgets - 1) / 2) {
            w->first = used;
            w->middle = curve->point_count;
            out->middle_budget = curve->budget;
        }
        for (size_t p = 0; p < curve->point_count; p++, used++) {
            w->points[used] = &curve->points[p];
            w->size[used] = curve->points[p].size;
            w->tokens[used] = curve->points[p].tokens;
            w->loss[used] = curve->points[p].loss;
        }
    }
}

static size_t surf_sizes(const surf_work *w)
{
    size_t different = 0;
    for (size_t i = 0; i < w->count; i++) {
        size_t j = 0;
        while (j < i && !sg_sweep_same(w->size[j], w->size[i]))
            j++;
        different += j == i;
    }
    return different;
}

// ---- the best size at the middle budget ---------------------------------------------------------

// The least of A N^-alpha + B D^-beta along the budget, by golden sections: ln N, infinite where it
// is more than half a range of sizes beyond those there are, NAN where tokens are not known.
static double surf_best(const surf_work *w, const sg_surface_values *v)
{
    const double golden = (sqrt(5) - 1) / 2, end = 2;
    double low = -end, high = end, at[2], loss[2];
    for (int i = 0; i < 2; i++)
        at[i] = i == 0 ? high - golden * (high - low) : low + golden * (high - low);
    for (int step = 0, which = 2; step < 60; step++) {
        for (int i = 0; i < 2; i++) {
            if (which != 2 && which != i) continue;
            const double x = w->plan.middle + w->plan.half * at[i];
            const double tokens = exp(sg_parabola_at(w->u_tokens, at[i]));
            loss[i] = sg_surface_at(v, exp(x), tokens);
        }
        which = loss[0] < loss[1] ? 0 : 1;
        if (which == 0) {
            high = at[1];
            at[1] = at[0];
            loss[1] = loss[0];
            at[0] = high - golden * (high - low);
        } else {
            low = at[0];
            at[0] = at[1];
            loss[0] = loss[1];
            at[1] = low + golden * (high - low);
        }
    }
    const double u = (low + high) / 2;
    if (fabs(u) > end - 1e-6) return u > 0 ? INFINITY : -INFINITY;
    return w->plan.middle + w->plan.half * u;
}

static double surf_parabola(const surf_work *w, const double *loss, bool *below)
{
    double c[3];
    sg_parabola_fit(&w->plan, loss + w->first, c);
    const double u = sg_parabola_minimum(c);
    if (!isnan(u)) return w->plan.middle + w->plan.half * u;
    *below = !*below; // anywhere: below all and above all in turn
    return *below ? -INFINITY : INFINITY;
}

// False: out of memory.
static bool surf_middle(surf_work *w, const sg_surface_values *v)
{
    w->truth = NAN;
    for (size_t i = 0; i < w->middle; i++)
        w->one[i] = log(w->size[w->first + i]);
    if (!sg_parabola_new(w->one, w->middle, &w->plan)) return false;
    if (w->plan.weights == NULL) return true;
    for (size_t i = 0; i < w->middle; i++)
        w->one[i] = log(w->tokens[w->first + i]);
    sg_parabola_fit(&w->plan, w->one, w->u_tokens);
    const double best = surf_best(w, v);
    if (isfinite(best)) w->truth = best;
    return true;
}

static int surf_ascending(const void *one, const void *other)
{
    const double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

// Relative error of the median of best sizes (resamples), which are sorted.
static double surf_bias(const surf_work *w, double *best, int64_t resamples)
{
    qsort(best, (size_t)resamples, sizeof *best, surf_ascending);
    const double middle = sg_quantile(best, resamples, 0.5);
    return isfinite(middle) ? expm1(middle - w->truth) : NAN;
}

static void surf_bias_exact(surf_work *w, sg_sweep_surface *out)
{
    bool below = false;
    if (isnan(w->truth)) return;
    const sg_surface_values again = sg_surface_fit(&w->fit, w->at, NULL);
    double best[2] = {surf_parabola(w, w->at, &below), surf_best(w, &again)};
    out->bias_parabola = surf_bias(w, &best[0], 1);
    out->bias_surface = surf_bias(w, &best[1], 1);
}

// ---- the bootstrap ------------------------------------------------------------------------------

static void surf_noise(const sg_sweep_results *results, surf_work *w, double squares,
                       sg_sweep_surface *out)
{
    sg_noise noise = {0};
    double share = 0;
    const int64_t left = (int64_t)w->count - surf_coefficients;
    for (size_t i = 0; i < w->count; i++) {
        share += 1 / (double)w->points[i]->row_count / (double)w->count;
        sg_noise_add_seeds(results, w->points[i], &noise);
    }
    noise.squares += squares / share;
    noise.freedom += left;
    out->noise = sg_noise_deviation(&noise);
    out->freedom = noise.freedom;
    out->residual = sqrt(squares / (double)w->count);
}

static void surf_numbers_of(const sg_surface_values *v, double numbers[surf_numbers])
{
    numbers[0] = v->E;
    numbers[1] = v->A;
    numbers[2] = v->B;
    numbers[3] = v->alpha;
    numbers[4] = v->beta;
    numbers[5] = v->beta / (v->alpha + v->beta);
}

static void surf_resample(sg_draws *draws, uint64_t place, const sg_surface_values *values,
                          surf_work *w, const sg_sweep_surface *out)
{
    const size_t resamples = (size_t)draws->resamples;
    bool below = false;
    for (size_t i = 0; i < w->count && out->documents; i++)
        sg_draws_add_documents(draws, w->points[i]->rows, w->points[i]->row_count, 1,
                               w->changes + i * resamples);
    for (size_t r = 0; r < resamples; r++) {
        const double s = out->noise * sg_draws_scale(draws, place, (int64_t)r, out->freedom);
        double numbers[surf_numbers];
        for (size_t i = 0; i < w->count; i++)
            w->one[i] = w->at[i] + w->changes[i * resamples + r] +
                        s * sg_draws_normal(draws, place, (int64_t)r, i) /
                            sqrt((double)w->points[i]->row_count);
        const sg_surface_values drawn = sg_surface_fit(&w->fit, w->one, values);
        surf_numbers_of(&drawn, numbers);
        for (size_t k = 0; k < surf_numbers; k++)
            w->drawn[k * resamples + r] = numbers[k];
        if (isnan(w->truth)) continue;
        w->drawn[surf_numbers * resamples + r] = surf_parabola(w, w->one, &below);
        w->drawn[(surf_numbers + 1) * resamples + r] = surf_best(w, &drawn);
    }
}

static void surf_fill(sg_draws *draws, uint64_t place, const sg_surface_values *values,
                      surf_work *w, sg_sweep_surface *out)
{
    sg_sweep_number *all[surf_numbers] = {&out->E,     &out->A,    &out->B,
                                          &out->alpha, &out->beta, &out->exponent};
    double numbers[surf_numbers];
    surf_numbers_of(values, numbers);
    surf_resample(draws, place, values, w, out);
    for (size_t k = 0; k < surf_numbers; k++) {
        double *drawn = w->drawn + k * (size_t)draws->resamples;
        all[k]->value = numbers[k];
        sg_draws_interval(drawn, draws->resamples, &all[k]->low, &all[k]->high);
    }
    if (isnan(w->truth)) return;
    double *best = w->drawn + surf_numbers * draws->resamples;
    out->bias_parabola_noise = surf_bias(w, best, draws->resamples);
    out->bias_surface_noise = surf_bias(w, best + draws->resamples, draws->resamples);
}

// ---- all of it ----------------------------------------------------------------------------------

static void surf_none(const sg_sweep_curve *of, sg_sweep_surface *out)
{
    const sg_sweep_number none = {NAN, NAN, NAN};
    *out = (sg_sweep_surface){.residual = NAN, .noise = NAN, .middle_budget = NAN};
    memcpy(out->family, of->family, sizeof out->family);
    memcpy(out->settings, of->settings, sizeof out->settings);
    out->E = out->A = out->B = out->alpha = out->beta = out->exponent = none;
    out->bias_parabola = out->bias_surface = NAN;
    out->bias_parabola_noise = out->bias_surface_noise = NAN;
    out->documents = true;
}

// False: out of memory.
static bool surf_fit(sg_draws *draws, size_t index, const sg_sweep_analysis *a,
                     const sg_sweep_curve *of, surf_work *w, sg_sweep_surface *out)
{
    size_t budgets;
    out->points = surf_count(a, of, &budgets);
    if (!surf_room(w, out->points, draws->resamples)) return false;
    surf_gather(a, of, budgets > 0 ? budgets : 1, w, out);
    out->sizes = surf_sizes(w);
    for (size_t i = 0; i < w->count; i++)
        out->documents &= sg_draws_documents(draws, w->points[i]->rows, w->points[i]->row_count);
    if (out->points < surf_least_points || out->sizes < surf_least_sizes || budgets < 2) {
        out->middle_budget = NAN;
        return true;
    }
    if (!sg_surface_work_new(w->size, w->tokens, w->count, &w->fit)) return false;
    const sg_surface_values values = sg_surface_fit(&w->fit, w->loss, NULL);
    if (!isfinite(values.squares)) return true;
    for (size_t i = 0; i < w->count; i++)
        w->at[i] = sg_surface_at(&values, w->size[i], w->tokens[i]);
    out->fitted = true;
    out->exponents = out->sizes >= surf_exponents_sizes;
    if (!surf_middle(w, &values)) return false;
    surf_noise(draws->results, w, values.squares, out);
    surf_bias_exact(w, out);
    surf_fill(draws, sg_draws_place(SG_DRAWS_SURFACE, index), &values, w, out);
    return true;
}

sg_status sg_sweep_fit_surfaces(sg_draws *draws, sg_sweep_analysis *out, sg_error *err)
{
    bool memory = true;
    out->surfaces = sg_alloc_zero(out->curve_count, sizeof *out->surfaces);
    if (out->surfaces == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for surfaces");
    for (size_t i = 0; i < out->curve_count && memory; i++) {
        const sg_sweep_curve *of = &out->curves[i];
        size_t first = 0;
        while (!sg_sweep_same_contender(&out->curves[first], of))
            first++;
        if (first < i) continue; // it has its surface
        surf_work w = {0};
        const size_t at = out->surface_count++;
        surf_none(of, &out->surfaces[at]);
        memory = surf_fit(draws, at, out, of, &w, &out->surfaces[at]);
        sg_parabola_free(&w.plan);
        sg_surface_work_free(&w.fit);
        sg_free(w.points);
        sg_free(w.all);
    }
    return memory ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a surface");
}
