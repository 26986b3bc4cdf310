// The two limits of the machine, measured again and again: on a machine that others share they
// change within seconds, so a figure is held against what was measured around it.
#ifndef SG_KERNEL_MEASURE_H
#define SG_KERNEL_MEASURE_H

#include "base/context.h"

typedef struct sg_measure sg_measure;

// Takes 128 MiB until it is freed.
sg_status sg_measure_new(sg_context *context, sg_measure **measure, sg_error *err);
void sg_measure_free(sg_measure *measure);
// Both limits, in about a tenth of a second.
void sg_measure_run(sg_measure *measure, double *gemm_gflops, double *stream_gbs);

#endif
