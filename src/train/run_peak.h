// What products reach while a run goes on, for its speed to be held against: a machine that others
// share is another one a minute later.
#ifndef SG_TRAIN_RUN_PEAK_H
#define SG_TRAIN_RUN_PEAK_H

#include "base/context.h"
#include "sgatlin_train.h"

enum { SG_PEAK_KEPT = 5 };

typedef struct sg_run_peak {
    double rates[SG_PEAK_KEPT]; // FLOP/s, the last few
    int64_t count;              // measured so far
    double time;                // of the last measurement
} sg_run_peak;

// Measures where `every` seconds have passed since the last time, or where there was none. Between
// two steps; returns the seconds that it took. cost: whose work is computed in the kinds of
// `options`. Memory that is not there for it is no failure: then there is no figure.
double sg_run_peak_look(sg_run_peak *peak, sg_context *context, const sg_train_options *options,
                        const sg_cost *cost, double every);
// The median of the last few; 0: none.
double sg_run_peak_median(const sg_run_peak *peak);

#endif
