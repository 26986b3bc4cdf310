// What a plan has come to, for those who make a sweep and those who look at it.
#ifndef SG_SWEEP_OVERVIEW_H
#define SG_SWEEP_OVERVIEW_H

#include "sgatlin_sweep.h"
#include "sweep/due.h"

// `made` is 0.
sg_sweep_totals sg_sweep_count(const sg_sweep_plan *plan, const sg_sweep_results *results);

#endif
