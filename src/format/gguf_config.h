// What a GGUF file says of its model, as a configuration of ours, and the other way.
#ifndef SG_FORMAT_GGUF_CONFIG_H
#define SG_FORMAT_GGUF_CONFIG_H

#include "format/config_keys.h"
#include "format/gguf.h"

// The tensor that holds those factors; and the positions of the models that were made with them,
// where a file does not say.
#define SG_GGUF_ROPE_FREQS "rope_freqs.weight"
enum { SG_GGUF_ROPE_ORIGINAL = 8192 };

// Fills in the configuration (zeroed by the caller, not yet complete). Architectures llama (with
// experts or without), qwen2, qwen3, arcee, gpt2, qwen2moe, qwen3moe, olmoe, deepseek; any other is
// SG_ERR_UNSUPPORTED by name. Llama 3's scaling of positions is read from the largest of the
// factors that stand for it; whether all are such is for model/gguf_rope.h. A key of positions,
// attention or experts that is not read, or of another formula, is SG_ERR_UNSUPPORTED by name; what
// else is not read goes to `unread`, which may be NULL.
sg_status sg_gguf_config_read(const sg_gguf *file, sg_config *config, sg_unread *unread,
                              sg_error *err);

// A row of the table of architectures (gguf_architecture.h).
typedef struct sg_gguf_architecture sg_gguf_architecture;
// The architecture that is nearest to a configuration.
const sg_gguf_architecture *sg_gguf_config_architecture(const sg_config *config);
// Sets *said to what a file of the architecture says of a complete configuration, not yet complete
// itself; what it has no key for is as the architecture has it. SG_ERR_UNSUPPORTED for a family of
// layers that the architecture has not.
sg_status sg_gguf_config_say(const sg_config *config, const sg_gguf_architecture *architecture,
                             sg_config *said, sg_error *err);
// Puts the keys. dtype: what most of the weights are stored in.
void sg_gguf_config_put(const sg_config *config, const sg_gguf_architecture *architecture,
                        sg_dtype dtype, sg_gguf_metadata *metadata);

#endif
