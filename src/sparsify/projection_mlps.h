// Projections of attention made MLPs (sg_sparsify_options.projections).
#ifndef SG_SPARSIFY_PROJECTION_MLPS_H
#define SG_SPARSIFY_PROJECTION_MLPS_H

#include "model/model.h"
#include "sgatlin_sparsify.h"

// sg_sparsify with `projections`.
sg_status sg_projections_make(sg_model *dense, const sg_sparsify_options *options, sg_model **made,
                              sg_sparsify_result *result, sg_error *err);
// Checks these options, and makes the configuration.
sg_status sg_projections_config(const sg_config *dense, const sg_sparsify_options *options,
                                sg_config *config, sg_error *err);
// Bytes that the inputs of one layer's projections take, of so many rows.
int64_t sg_projections_bytes(const sg_config *config, int64_t rows);

#endif
