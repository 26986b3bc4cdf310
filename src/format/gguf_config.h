// What a GGUF file says of its model, as a configuration of ours.
#ifndef SG_FORMAT_GGUF_CONFIG_H
#define SG_FORMAT_GGUF_CONFIG_H

#include "format/gguf.h"
#include "sgatlin.h"

// Fills in the configuration (zeroed by the caller, not yet complete). Architectures llama (without
// experts), qwen2, qwen3 and gpt2; any other is SG_ERR_UNSUPPORTED by name.
sg_status sg_gguf_config_read(const sg_gguf *file, sg_config *config, sg_error *err);

#endif
