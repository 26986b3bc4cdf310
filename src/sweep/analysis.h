// What the results of a sweep say: minima at equal FLOPs, curves at equal seconds, who won.
//
//   parabola   loss = a + b x + c x^2, x = ln(parameters), of a family at a budget (least squares)
//   surface    L(N, D) = E + A N^-alpha + B D^-beta of a family over all budgets (Hoffmann et al.
//              2022, approach 3's form): E, A, B >= 0 linear inside, alpha and beta outside
//              (variable projection, Golub and Pereyra 1973)
//   verdict    mean over seeds and blocks of documents of the difference of two families' best
//              cells, with a paired bootstrap's interval and p, adjusted by Holm 1979
//
// Intervals are percentiles of a bootstrap of counter-based draws: the same seed gives the same
// numbers.
#ifndef SG_SWEEP_ANALYSIS_H
#define SG_SWEEP_ANALYSIS_H

#include "sweep/sweep.h"

typedef struct sg_sweep_number {
    double value, low, high; // low, high: 95 percent; NAN: none
} sg_sweep_number;

// A curve's point: a cell at its best searched values, over its seeds.
typedef struct sg_sweep_point {
    size_t best_row;            // with the lowest loss of the first seed
    size_t rows[64], row_count; // all seeds at these values
    double scale, budget, size, active, tokens, flops, flops_all_in, seconds; // seconds: steps x
        // median step; NAN: not measured
    double loss;                  // mean over seeds
    double deviation;             // over seeds; NAN: one seed
    bool lr_at_edge, lr_searched; // the best rate was the last on its side of those tried
    int64_t effort;               // runs that the search took
} sg_sweep_point;

typedef enum sg_sweep_fit_state {
    SG_SWEEP_FIT_FINE = 0,
    SG_SWEEP_FIT_FEW,       // fewer than 3 sizes: no parabola
    SG_SWEEP_FIT_NOT_ROUND, // c <= 0: the parabola has no minimum
    SG_SWEEP_FIT_AT_EDGE    // the minimum is not between the second and the last size but one
} sg_sweep_fit_state;

typedef struct sg_sweep_curve { // a family at a budget
    char family[SG_SWEEP_NAME], settings[SG_SWEEP_SETTINGS];
    double budget;
    sg_sweep_point *points; // ascending size
    size_t point_count;
    size_t best, runner_up; // of points, by loss
    sg_sweep_fit_state fit;
    double a, b, c;
    sg_sweep_number size, loss, tokens; // at the minimum
    double residual;                    // root mean square, nats
} sg_sweep_curve;

typedef struct sg_sweep_surface { // a family
    char family[SG_SWEEP_NAME], settings[SG_SWEEP_SETTINGS];
    size_t points, sizes;                           // what it is fitted to; different sizes
    bool fitted, exponents;                         // exponents: enough sizes (5) to print them
    sg_sweep_number E, A, B, alpha, beta, exponent; // exponent: of the best size in the budget,
                                                    // beta / (alpha + beta)
    double residual;
    // Of both ways, on a synthetic surface with this one's values at these points: relative bias of
    // the best size at the middle budget. NAN: not checked.
    double bias_parabola, bias_surface;
} sg_sweep_surface;

typedef struct sg_sweep_verdict { // two families at a budget, each at its best cell
    double budget;
    bool equal_seconds; // else equal FLOPs
    char best[SG_SWEEP_NAME], other[SG_SWEEP_NAME];
    sg_sweep_number difference; // loss of `other` less that of `best`, nats
    double p, p_holm;
    bool separable;              // the interval excludes 0 after Holm
    int64_t seeds, seeds_needed; // common seeds; how many would be needed; 0: not known
} sg_sweep_verdict;

typedef struct sg_sweep_front { // a family over seconds, from finished runs alone
    char family[SG_SWEEP_NAME], settings[SG_SWEEP_SETTINGS];
    double *seconds, *loss; // (count) descending loss
    size_t *row;
    size_t count;
} sg_sweep_front;

typedef struct sg_sweep_analysis {
    sg_sweep_curve *curves;
    size_t curve_count;
    sg_sweep_surface *surfaces;
    size_t surface_count;
    sg_sweep_verdict *verdicts;
    size_t verdict_count;
    sg_sweep_front *fronts;
    size_t front_count;
    char **remarks; // what limits all this, a line each: a rate at the edge, one seed, no times, …
    size_t remark_count;
} sg_sweep_analysis;

typedef struct sg_sweep_analysis_options {
    int64_t resamples; // 2000
    uint64_t seed;
} sg_sweep_analysis_options;

sg_status sg_sweep_analyse(const sg_sweep_results *results,
                           const sg_sweep_analysis_options *options, sg_sweep_analysis *out,
                           sg_error *err);
void sg_sweep_analysis_clear(sg_sweep_analysis *analysis);

#endif
