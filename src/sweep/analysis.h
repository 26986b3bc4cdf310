// What the results of a sweep say: minima at equal FLOPs, curves at equal seconds, who won.
//
//   parabola   loss = a + b x + c x^2, x = ln(parameters), of a family at a budget (least squares)
//   surface    L(N, D) = E + A N^-alpha + B D^-beta of a family over all budgets (Hoffmann et al.
//              2022, approach 3's form): E, A, B >= 0 linear inside, alpha and beta outside
//              (variable projection, Golub and Pereyra 1973)
//   verdict    difference of two contenders' losses, each at its best cell, with the interval and p
//              of a paired bootstrap over documents and seeds, adjusted by Holm 1979
//
// A contender is a family with its settings. Two things are drawn in every resample, the same for
// all that is compared:
//   documents  blocks of the validation split, with replacement, the same ones for every run
//   seeds      a few runs that are drawn from themselves scatter too little (of three: 2/3 of the
//              variance). What is drawn is the mean's error: a normal number times a deviation,
//              itself drawn from the chi-squared distribution of its estimate. Its percentiles are
//              Student's intervals, which cover at two degrees of freedom too. It rests on runs
//              that scatter normally.
// The deviation of a run is told by its seeds and, for fits, by what is left of the points: one
// deviation for all points of a fit, so that points of one seed have an interval too. A verdict at
// equal FLOPs takes the differences of common seeds alone: with one of them it says nothing.
//
// Intervals are percentiles of counter-based draws: the same seed gives the same numbers.
#ifndef SG_SWEEP_ANALYSIS_H
#define SG_SWEEP_ANALYSIS_H

#include "sweep/sweep.h"

typedef struct sg_sweep_number {
    double value, low, high; // low, high: 95 percent; NAN: none
} sg_sweep_number;

// A curve's point: a cell at its best searched values, over its seeds.
typedef struct sg_sweep_point {
    size_t best_row;            // of results: of the first seed, the lowest loss of all values
    size_t rows[64], row_count; // all seeds at these values, best_row first
    double scale, budget, size, active, tokens, flops, flops_all_in;
    double seconds;   // steps times median step; NAN: not measured
    double loss;      // mean over seeds
    double deviation; // over seeds; NAN: one seed
    bool lr_searched; // rates were tried here, or at another budget whose best rate is used here
    bool lr_at_edge;  // the best was the last on its side of those
    int64_t effort;   // runs of the first seed here, failed ones too: what the search took
} sg_sweep_point;

typedef enum sg_sweep_fit_state {
    SG_SWEEP_FIT_FINE = 0,
    SG_SWEEP_FIT_FEW,       // fewer than 3 sizes: no parabola, all of it NAN
    SG_SWEEP_FIT_NOT_ROUND, // c <= 0: the parabola has no minimum, its numbers are NAN
    SG_SWEEP_FIT_AT_EDGE    // the minimum is not between the second and the last size but one
} sg_sweep_fit_state;

typedef struct sg_sweep_curve { // a family at a budget
    char family[SG_SWEEP_NAME], settings[SG_SWEEP_SETTINGS];
    double budget;
    sg_sweep_point *points; // ascending size
    size_t point_count;
    // Of points, the two that are lowest by the loss of the first seed, which all have; best is the
    // one of the lower mean where both have several seeds. One point: both are it.
    size_t best, runner_up;
    sg_sweep_fit_state fit;
    double a, b, c;
    sg_sweep_number size, loss, tokens; // at the minimum; low and high NAN: noise is not known, or
                                        // over 2.5 percent of resamples have no minimum
    double residual;                    // root mean square of the points' distances, nats
    double noise;                       // deviation of one run, nats; NAN: no degree of freedom
    int64_t freedom;                    // degrees of it
    bool documents;                     // blocks were drawn: all runs have the same
} sg_sweep_curve;

typedef struct sg_sweep_surface { // a family
    char family[SG_SWEEP_NAME], settings[SG_SWEEP_SETTINGS];
    size_t points, sizes;                           // what it is fitted to; different sizes
    bool fitted, exponents;                         // exponents: enough sizes (5) to print them
    sg_sweep_number E, A, B, alpha, beta, exponent; // exponent: of the best size in the budget,
                                                    // beta / (alpha + beta)
    double residual;
    double noise; // as of a curve
    int64_t freedom;
    bool documents;
    // Both ways of finding the best size, tried where it is known: on a surface with this one's
    // values at the points of the middle budget. Relative error of the best size there, without
    // noise and, by the median over resamples, with it. NAN: not checked.
    double middle_budget;
    double bias_parabola, bias_surface, bias_parabola_noise, bias_surface_noise;
} sg_sweep_surface;

enum { SG_SWEEP_SEEDS_MOST = 1000 }; // "so many or more"

// The contender of the lowest loss at a budget against another. At equal FLOPs each has its best
// cell; at equal seconds its front, log-log between two neighbours, at the median of the seconds of
// the best cells, moved to where all fronts are if need be.
typedef struct sg_sweep_verdict {
    double budget;
    bool equal_seconds; // else equal FLOPs
    double seconds;     // of equal seconds; NAN
    // Family, with its settings ("k=8 channels=4") where the budget has several of a family.
    char best[SG_SWEEP_NAME], other[SG_SWEEP_NAME];
    size_t best_curve, other_curve; // of the budget, in curves
    sg_sweep_number difference;     // loss of `other` less that of `best`, nats; low, high: 95
                                    // percent, not adjusted
    double p, p_holm;               // two-sided; NAN: one seed
    bool separable;                 // p_holm <= 0.05
    // By seeds. False at equal seconds: runs' seeds stand apart there, and their deviation is that
    // of all cells of the contender.
    bool paired;
    bool documents; // blocks were drawn
    int64_t seeds;  // common ones; at equal seconds the fewest of a cell
    // For four chances in five to find this difference at Holm's level, by the normal
    // approximation; SG_SWEEP_SEEDS_MOST: perhaps no number of them is enough, since documents
    // differ more; 0: not known, or not needed.
    int64_t seeds_needed;
} sg_sweep_verdict;

// A contender over seconds: its points, from finished schedules alone, which are lower than all
// faster ones. Seconds are steps times the median step, measured on the machine that measured most.
typedef struct sg_sweep_front {
    char family[SG_SWEEP_NAME], settings[SG_SWEEP_SETTINGS];
    double *seconds, *loss; // (count) ascending seconds, descending loss, mean over seeds
    size_t *row;            // best_row of the point
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
    int64_t resamples; // 100 to 100000; 0: 2000
    uint64_t seed;
} sg_sweep_analysis_options;

// All of it from rows that are finished and have a loss; options NULL: as zeroed. Curves are in
// ascending order of budgets, then as contenders first occur. SG_ERR_ARGUMENT: resamples,
// over 4,096 curves or 512 points of one, more draws of blocks than memory should hold.
// It keeps nothing of results. Ownership: sg_sweep_analysis_clear, also after a failure, when it is
// empty.
sg_status sg_sweep_analyse(const sg_sweep_results *results,
                           const sg_sweep_analysis_options *options, sg_sweep_analysis *out,
                           sg_error *err);
void sg_sweep_analysis_clear(sg_sweep_analysis *analysis);

#endif
