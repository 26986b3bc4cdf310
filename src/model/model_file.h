// A model as it lies on disk, of whatever kind: its configuration, its tensors, and the rules by
// which they are parameters of ours. Nothing is converted here.
#ifndef SG_MODEL_MODEL_FILE_H
#define SG_MODEL_MODEL_FILE_H

#include "format/config_keys.h"
#include "format/end_tokens.h"
#include "format/llama2c.h"
#include "format/safetensors.h"
#include "model/tensor_map.h"

typedef struct sg_model_file {
    sg_config config;   // complete
    sg_end_tokens ends; // all that end a text, config.eos_token_id the first of them
    char type[32];      // "sgatlin", a model_type of the Hugging Face library, "gguf", "llama2c"
    const sg_tensor_map *map;
    sg_tensors tensors;
    sg_safetensors *safetensors; // one of these owns the tensors
    sg_gguf *gguf;
    sg_llama2c *llama2c;
    sg_unread unread; // keys of the configuration
    bool own_head; // the file has a classifier of its own where its configuration says it has none
} sg_model_file;

// Opens a folder with config.json and safetensors, a GGUF file, or a file of llama2.c (any file
// that is not GGUF). Release with sg_model_file_close.
sg_status sg_model_file_open(const char *path, sg_model_file **file, sg_error *err);
void sg_model_file_close(sg_model_file *file); // NULL is allowed

// Tells, as warnings, what of a file is not taken as its configuration says it. context may be
// NULL.
void sg_model_file_tell(const sg_model_file *file, sg_context *context);

// The tensors of an open safetensors file.
sg_tensors sg_tensors_of_safetensors(const sg_safetensors *file);

// That every parameter is there with its shape, in a type that weights have, and nothing else is.
sg_status sg_model_file_check(const sg_tensor_map *map, const sg_tensors *tensors,
                              const sg_config *config, const sg_param_list *params, sg_error *err);

// A checksum of all weights: names, types, shapes and values of the tensors.
sg_status sg_tensors_hash(const sg_tensors *tensors, uint64_t *hash, sg_error *err);

#endif
