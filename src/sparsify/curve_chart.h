// Points of curves as a drawing: perplexity by FLOPs and, where it was measured, by speed.
#ifndef SG_SPARSIFY_CURVE_CHART_H
#define SG_SPARSIFY_CURVE_CHART_H

#include "sgatlin_sparsify.h"

// mode: SG_OUTPUT_REPLACE or SG_OUTPUT_NEW (base/file.h).
sg_status sg_curve_chart(const sg_sparsify_point *points, size_t count, const char *path, int mode,
                         sg_error *err);

#endif
