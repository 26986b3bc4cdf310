// The inside of sg_model.
#ifndef SG_MODEL_MODEL_H
#define SG_MODEL_MODEL_H

#include "base/context.h"
#include "ffn/params.h"
#include "format/model_folder.h"
#include "op/op.h"

struct sg_model {
    sg_context *context;
    sg_config config;
    sg_param_list params;
    sg_real **values;       // by parameter: of `storage`, or into the mapped file
    sg_param_block storage; // without parts while values point into a file
    sg_safetensors *file;   // while values point into it; such a model is read-only
    sg_rope_table rope;     // max_position_embeddings positions
};

// A model whose weights are copied from an opened file into writable memory: training.
sg_status sg_model_from_file(sg_context *context, const sg_config *config,
                             const sg_safetensors *file, sg_model **model, sg_error *err);
// Views of all parameters, named as in files. views (params.count).
void sg_model_views(const sg_model *model, sg_tensor_view *views);
// Text of config.json. *text: sg_free.
sg_status sg_model_config_text(const sg_model *model, char **text, sg_error *err);
// Writes the model folder, crash-safe. tokenizer: the bytes of a tokenizer.json, or NULL.
sg_status sg_model_write(const sg_model *model, const char *tokenizer, size_t tokenizer_bytes,
                         const char *folder, sg_error *err);

#endif
