// What is kept (kept_work.h) of a layer whose projections of attention are MLPs.
#ifndef SG_SPARSIFY_PROJECTION_KEEP_H
#define SG_SPARSIFY_PROJECTION_KEEP_H

#include "sparsify/distil.h"
#include "sparsify/kept_work.h"

// Of an MLP: the loss of its last step, and on the test part (NaN without one) how far it is off
// and the share of zeros (sg_distil_measure).
typedef struct sg_projection_quality {
    double loss, error, zeros;
} sg_projection_quality;

// The MLPs of a layer: of modules their sizes and values.
typedef struct sg_projection_layer {
    int64_t count;
    sg_projection which[SG_PROJECTIONS];
    sg_distil_module modules[SG_PROJECTIONS];
    sg_projection_quality quality[SG_PROJECTIONS];
} sg_projection_layer;

sg_status sg_projection_keep_save(const sg_kept_work *work, int64_t index,
                                  const sg_projection_layer *layer, sg_error *err);
// Into values and quality of `layer`, whose sizes say what must be there. *found: whether that
// layer is there. What is damaged is SG_ERR_FORMAT or SG_ERR_MISMATCH.
sg_status sg_projection_keep_load(const sg_kept_work *work, int64_t index,
                                  sg_projection_layer *layer, bool *found, sg_error *err);
// The same from the bytes of its file; `name` is what errors call it.
sg_status sg_projection_keep_parse(const void *data, size_t bytes, const char *name,
                                   sg_projection_layer *layer, sg_error *err);

#endif
