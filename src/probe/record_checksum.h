// A checksum of a model, to tell whether a recording goes on with the one that it began with.
#ifndef SG_PROBE_RECORD_CHECKSUM_H
#define SG_PROBE_RECORD_CHECKSUM_H

#include "model/model.h"

// Of its configuration and all its weights, as f32, adapters among them.
sg_status sg_model_checksum(const sg_model *model, uint64_t *checksum, sg_error *err);

#endif
