// config.json of the Hugging Face library's decoder models from configurations of ours: hf_config.h
// the other way. What a type cannot say is left out here; whoever writes a file reads it back and
// compares (convert/hf_form.c), so that no rule of what a type can do stands in two places.
#ifndef SG_FORMAT_HF_CONFIG_WRITE_H
#define SG_FORMAT_HF_CONFIG_WRITE_H

#include <jansson.h>

#include "base/status.h"
#include "sgatlin.h"

// The types that can be written, NULL behind the last; `native` says whether the library itself has
// a class for it.
const char *sg_hf_config_type(size_t index, bool *native);

// What the caller knows of the layers of a model, for the lists that some types have.
typedef struct sg_hf_layers {
    bool (*slides)(const sg_config *config, int64_t layer); // sees a window only
    bool (*sparse)(const sg_config *config, int64_t layer); // has experts
} sg_hf_layers;

// A new object for a complete configuration, with the keys of version 4 of the library, which
// version 5 reads too. json_decref. SG_ERR_UNSUPPORTED where the class refuses such sizes; an
// unknown type lists those there are.
sg_status sg_hf_config_write(const sg_config *config, const char *type, const sg_hf_layers *layers,
                             json_t **object, sg_error *err);

#endif
