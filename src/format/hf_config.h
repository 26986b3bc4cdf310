// config.json of the Hugging Face library's decoder models as configurations of ours, and the other
// way. The types are one table (hf_types.c); which tensors such a checkpoint has is the business of
// model/tensor_map.h.
#ifndef SG_FORMAT_HF_CONFIG_H
#define SG_FORMAT_HF_CONFIG_H

#include <jansson.h>

#include "base/status.h"
#include "format/config_keys.h"

// Fills in the configuration (not yet complete) from an object whose "model_type" is not our own.
// Both spellings of keys that the library's versions 4 and 5 differ in are read; a key that is
// missing has the default of its class there. A type, or a form of one, that the transformer cannot
// do is SG_ERR_UNSUPPORTED naming key, found and expected; so is a key that no type of that name
// has and that changes the formula. `name` is what errors call the file. unread: what else is not
// read; may be NULL.
sg_status sg_hf_config_read(const json_t *object, const char *name, sg_config *config,
                            sg_unread *unread, sg_error *err);

// The types, NULL behind the last, in the order in which one is looked for that fits; `native` says
// whether the library itself has a class for it.
const char *sg_hf_config_type(size_t index, bool *native);

// What the caller knows of the layers of a model, for the lists that some types have.
typedef struct sg_hf_layers {
    bool (*slides)(const sg_config *config, int64_t layer); // sees a window only
    bool (*sparse)(const sg_config *config, int64_t layer); // has experts
} sg_hf_layers;

// A new object for a complete configuration, with the keys of version 4 of the library, which
// version 5 reads too. json_decref. SG_ERR_UNSUPPORTED where the class refuses such sizes; an
// unknown type lists those there are. What a type cannot say is left out here; whoever writes a
// file reads it back and compares (convert/hf_form.c), so that no rule of what a type can do stands
// in two places.
sg_status sg_hf_config_write(const sg_config *config, const char *type, const sg_hf_layers *layers,
                             json_t **object, sg_error *err);

#endif
