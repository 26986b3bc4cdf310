// What is left out of a dense model by its size (sg_sparsify_options.trim).
#ifndef SG_SPARSIFY_GATE_THRESHOLDS_H
#define SG_SPARSIFY_GATE_THRESHOLDS_H

#include "model/model.h"
#include "sgatlin_sparsify.h"

// sg_sparsify with `trim`.
sg_status sg_trim_model(sg_model *dense, const sg_sparsify_options *options, sg_model **made,
                        sg_sparsify_result *result, sg_error *err);
// Checks these options, and makes the configuration, as yet with thresholds 0.
sg_status sg_trim_config(const sg_config *dense, const sg_sparsify_options *options,
                         sg_config *config, sg_error *err);

#endif
