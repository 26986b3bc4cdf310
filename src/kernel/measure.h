// The two limits of the machine, measured again and again: on a machine that others share they
// change within seconds, so a figure is held against what was measured around it.
#ifndef SG_KERNEL_MEASURE_H
#define SG_KERNEL_MEASURE_H

#include "base/context.h"

typedef struct sg_probe sg_probe;

// Takes 128 MiB until it is freed.
sg_status sg_probe_new(sg_context *context, sg_probe **probe, sg_error *err);
void sg_probe_free(sg_probe *probe);
// Both limits, in about a tenth of a second.
void sg_probe_run(sg_probe *probe, double *gemm_gflops, double *stream_gbs);

#endif
