// What the parts of an analysis (analysis.h) share: analysis_points.c makes curves of rows,
// fit_parabola.c and fit_surface.c fit them, fronts.c and verdict*.c compare, sweep_remarks.c says
// what limits it.
#ifndef SG_SWEEP_ANALYSIS_INSIDE_H
#define SG_SWEEP_ANALYSIS_INSIDE_H

#include <math.h>

#include "base/alloc.h"
#include "sweep/analysis.h"
#include "sweep/analysis_draws.h"
#include "sweep/least_squares.h"

// Kinds of places that are drawn at (sg_draws_place).
enum { SG_DRAWS_CURVE = 1, SG_DRAWS_SURFACE, SG_DRAWS_VERDICT, SG_DRAWS_SECONDS };

static inline bool sg_sweep_same(double a, double b) // NAN is the same as NAN
{
    return isnan(a) ? isnan(b) : (a <= b && a >= b);
}
static inline bool sg_sweep_round(const sg_sweep_curve *curve) // a parabola with a minimum
{
    return curve->fit == SG_SWEEP_FIT_FINE || curve->fit == SG_SWEEP_FIT_AT_EDGE;
}
bool sg_sweep_same_contender(const sg_sweep_curve *a, const sg_sweep_curve *b);

sg_status sg_sweep_make_curves(const sg_sweep_results *results, sg_sweep_analysis *out,
                               sg_error *err);
// The machine whose step times are used: the one that measured most rows; -1: none.
int64_t sg_sweep_clock_machine(const sg_sweep_results *results);
sg_status sg_sweep_fit_parabola(sg_draws *draws, size_t place, sg_sweep_curve *curve,
                                sg_error *err);
sg_status sg_sweep_fit_surfaces(sg_draws *draws, sg_sweep_analysis *out, sg_error *err);
sg_status sg_sweep_make_fronts(sg_sweep_analysis *out, sg_error *err);
// NULL: the contender has no step times.
const sg_sweep_front *sg_sweep_front_of(const sg_sweep_analysis *analysis,
                                        const sg_sweep_curve *contender);
sg_status sg_sweep_make_verdicts(sg_draws *draws, sg_sweep_analysis *out, sg_error *err);
sg_status sg_sweep_verdicts_in_seconds(sg_draws *draws, sg_sweep_analysis *out, sg_error *err);
// Adds a line to the remarks.
sg_status sg_sweep_remark(sg_sweep_analysis *out, sg_error *err, const char *format, ...)
    SG_PRINTF(3, 4);
sg_status sg_sweep_remark_all(const sg_sweep_results *results, const sg_draws *draws,
                              sg_sweep_analysis *out, sg_error *err);

// ---- noise of runs ------------------------------------------------------------------------------

// Sum of squares over degrees of freedom.
typedef struct sg_noise {
    double squares;
    int64_t freedom;
} sg_noise;
// Adds what seeds of the same point say.
void sg_noise_add_seeds(const sg_sweep_results *results, const sg_sweep_point *point,
                        sg_noise *noise);
// What all cells of a contender say, at all budgets.
sg_noise sg_noise_of_contender(const sg_sweep_results *results, const sg_sweep_analysis *analysis,
                               const sg_sweep_curve *contender);
// Of one run; NAN without freedom.
static inline double sg_noise_deviation(const sg_noise *noise)
{
    return noise->freedom > 0 ? sqrt(noise->squares / (double)noise->freedom) : NAN;
}

// ---- verdicts -----------------------------------------------------------------------------------

void sg_verdict_names(const sg_sweep_analysis *analysis, sg_sweep_verdict *verdict);
// What a difference's variance is made of, to say how many seeds it needs.
typedef struct sg_verdict_spread {
    double seed;      // variance that one seed adds, divided by their number; NAN: not known
    double documents; // variance that stays
} sg_verdict_spread;
// Holm over count verdicts of one budget: p_holm, separable, seeds_needed. room: (2 count).
void sg_verdict_adjust(sg_sweep_verdict *verdicts, const sg_verdict_spread *spread, size_t count,
                       double *room);

#endif
