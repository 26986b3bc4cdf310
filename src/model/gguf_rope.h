// Llama 3's scaling of rotary positions in GGUF, which has no name for it: a tensor
// rope_freqs.weight says what each frequency is divided by.
#ifndef SG_MODEL_GGUF_ROPE_H
#define SG_MODEL_GGUF_ROPE_H

#include "format/gguf.h"
#include "sgatlin.h"

// Whether every factor in the file is what the configuration, complete and read from the file,
// makes it: to 1e-4 of itself, for files were written from frequencies in f32. A file without the
// tensor is fine.
sg_status sg_gguf_rope_check(const sg_gguf *file, const sg_config *config, sg_error *err);
// The factors of a complete configuration that is scaled so: factors (sg_config_rotary_dim / 2).
// Those that a reader cannot tell the scaling from are refused.
sg_status sg_gguf_rope_factors(const sg_config *config, float *factors, sg_error *err);

#endif
