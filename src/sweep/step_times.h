// sg_sweep_time (sgatlin_sweep.h) with another look at what others do, for tests.
#ifndef SG_SWEEP_STEP_TIMES_H
#define SG_SWEEP_STEP_TIMES_H

#include "base/status.h"
#include "sgatlin_sweep.h"
#include "sweep/idle.h"

sg_status sg_sweep_time_watched(sg_context *context, const sg_sweep_time_options *options,
                                const sg_idle_watch *watch, sg_sweep_timing **timings,
                                size_t *count, sg_error *err);

#endif
