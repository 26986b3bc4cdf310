// The limits of the machine, measured again and again: on a machine that others share they change
// within seconds, so a figure is held against what was measured around it.
#ifndef SG_KERNEL_MEASURE_H
#define SG_KERNEL_MEASURE_H

#include "base/context.h"

enum { SG_MEASURE_KINDS = SG_COMPUTE_BF16 + 1 };

// What was measured; of kinds that were not asked for it is 0. Of bf16x3 the work of one product of
// f32 counts, not of the three that it takes.
typedef struct sg_measured {
    double gflops[SG_MEASURE_KINDS], stream_gbs;
} sg_measured;

typedef struct sg_measure sg_measure;

// A bit of a set of kinds.
static inline unsigned sg_measure_kind(sg_compute_kind kind)
{
    return 1u << kind;
}

// kinds: all that will be asked for. Takes 128 MiB until it is freed, and what bf16 takes more.
sg_status sg_measure_new(sg_context *context, unsigned kinds, sg_measure **measure, sg_error *err);
void sg_measure_free(sg_measure *measure);
// Products of the kinds of a set, and reading memory, in about a tenth of a second with one kind.
void sg_measure_run(sg_measure *measure, unsigned kinds, sg_measured *measured);

// Products alone, with less memory: what a run is held against while it goes on. The largest rate
// of those that `seconds` have room for, of one at least.
sg_status sg_measure_gemm(sg_context *context, sg_compute_kind kind, double seconds, double *gflops,
                          sg_error *err);

#endif
