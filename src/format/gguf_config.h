// What a GGUF file says of its model, as a configuration of ours.
#ifndef SG_FORMAT_GGUF_CONFIG_H
#define SG_FORMAT_GGUF_CONFIG_H

#include "format/config_keys.h"
#include "format/gguf.h"

// The tensor that holds those factors; and the positions of the models that were made with them,
// where a file does not say.
#define SG_GGUF_ROPE_FREQS "rope_freqs.weight"
enum { SG_GGUF_ROPE_ORIGINAL = 8192 };

// Fills in the configuration (zeroed by the caller, not yet complete). Architectures llama (with
// experts or without), qwen2, qwen3, gpt2, qwen2moe, qwen3moe, olmoe, deepseek; any other is
// SG_ERR_UNSUPPORTED by name. Llama 3's scaling of positions is read from the largest of the
// factors that stand for it; whether all are such is for model/gguf_rope.h. A key of positions,
// attention or experts that is not read, or of another formula, is SG_ERR_UNSUPPORTED by name; what
// else is not read goes to `unread`, which may be NULL.
sg_status sg_gguf_config_read(const sg_gguf *file, sg_config *config, sg_unread *unread,
                              sg_error *err);

#endif
