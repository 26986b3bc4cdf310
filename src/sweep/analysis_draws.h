// What the bootstrap of an analysis draws: documents, the same ones for all runs, and the errors of
// means over seeds (analysis.h says why these are not drawn from the runs themselves).
#ifndef SG_SWEEP_ANALYSIS_DRAWS_H
#define SG_SWEEP_ANALYSIS_DRAWS_H

#include "probe/statistics.h"
#include "sweep/sweep.h"

typedef struct sg_draws {
    const sg_sweep_results *results;
    int64_t resamples, blocks; // blocks 0: no run has any
    uint64_t seed;
    const int64_t *block_tokens; // (blocks) of the first finished run that has them
    sg_resamples times;
    double *tokens; // (resamples) of the blocks drawn
    double all_tokens;
    double *work; // (blocks)
} sg_draws;

// Ownership: sg_draws_free, also after a failure. results must outlive it.
sg_status sg_draws_new(const sg_sweep_results *results, int64_t resamples, uint64_t seed,
                       sg_draws *out, sg_error *err);
void sg_draws_free(sg_draws *draws);

// Whether all these rows have the blocks that are drawn.
bool sg_draws_documents(const sg_draws *draws, const size_t *rows, size_t count);
// By how much the mean loss of these rows changes with the documents of each resample. change
// (resamples) is added to, times `factor`.
void sg_draws_add_documents(sg_draws *draws, const size_t *rows, size_t count, double factor,
                            double *change);

// A place keeps draws of different uses apart: kind below 16, index below 2^20.
uint64_t sg_draws_place(unsigned kind, size_t index);
// A standard normal number of a resample; i below 65536.
double sg_draws_normal(const sg_draws *draws, uint64_t place, int64_t resample, size_t i);
// sqrt(freedom / chi-squared of that many degrees): what an estimated deviation is multiplied with,
// so that it times a normal number is Student's.
double sg_draws_scale(const sg_draws *draws, uint64_t place, int64_t resample, int64_t freedom);

// 2.5 and 97.5 percentiles of values (count), which are sorted; NAN where such a bound is not
// finite. Values that are NAN are left out.
void sg_draws_interval(double *values, int64_t count, double *low, double *high);
double sg_draws_variance(const double *values, int64_t count);
// Two-sided p of 0 among values (count): twice the smaller share on a side of it, at least
// 2 / (count + 1).
double sg_draws_p(const double *values, int64_t count);

#endif
