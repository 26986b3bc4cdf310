// config.json of the Hugging Face library's decoder models as configurations of ours. Which tensors
// such a checkpoint has is the business of model/tensor_map.h.
#ifndef SG_FORMAT_HF_CONFIG_H
#define SG_FORMAT_HF_CONFIG_H

#include <jansson.h>

#include "base/status.h"
#include "format/config_keys.h"

// Fills in the configuration (zeroed by the caller, not yet complete) from an object whose
// "model_type" is not our own. Both spellings of keys that the library's versions 4 and 5 differ in
// are read; a key that is missing has the default of its class there. A type, or a form of one,
// that the transformer cannot do is SG_ERR_UNSUPPORTED naming key, found and expected; so is a key
// that no type of that name has and that changes the formula. `name` is what errors call the file.
// unread: what else is not read; may be NULL.
sg_status sg_hf_config_read(const json_t *object, const char *name, sg_config *config,
                            sg_unread *unread, sg_error *err);
// The types that are read, for messages: "llama, mistral, …".
const char *sg_hf_config_types(void);

#endif
