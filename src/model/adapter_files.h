// Adapters in the layout of the library PEFT: adapter_config.json and adapter_model.safetensors.
#ifndef SG_MODEL_ADAPTER_FILES_H
#define SG_MODEL_ADAPTER_FILES_H

#include <jansson.h>

#include "model/model.h"

#define SG_ADAPTER_CONFIG  "adapter_config.json"
#define SG_ADAPTER_WEIGHTS "adapter_model.safetensors"

// What an adapter_config.json says that the adapters do not.
typedef struct sg_adapter_form {
    int64_t rank;
    double alpha;
    const char *targets; // the patterns that chose the matrices
    const char *base;    // the model they belong to
} sg_adapter_form;

// Text of adapter_config.json. *text: sg_free.
sg_status sg_adapter_config_text(const sg_model *model, const sg_adapter_form *form, char **text,
                                 sg_error *err);
// Number of tensors of adapter_model.safetensors, and views of them, f32. views: that many.
size_t sg_adapter_tensors(const sg_model *model);
void sg_adapter_views(const sg_model *model, sg_tensor_view *views);
// Takes the values of all adapters of a model from such a file, which must have no others.
sg_status sg_adapter_read(sg_model *model, const sg_safetensors *file, sg_error *err);
// Writes both files into a folder, which is made when missing; each is replaced as a whole, the
// configuration last.
sg_status sg_adapter_save(const sg_model *model, const sg_adapter_form *form, const char *folder,
                          sg_error *err);

#endif
