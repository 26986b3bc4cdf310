// Which model type of the Hugging Face library a configuration is, and its config.json.
#ifndef SG_CONVERT_HF_FORM_H
#define SG_CONVERT_HF_FORM_H

#include <jansson.h>

#include "base/status.h"
#include "sgatlin.h"

typedef struct sg_hf_form {
    char type[32];    // "sgatlin" where no class of the library computes the same
    sg_config config; // what the file says
    json_t *object;   // config.json; json_decref
} sg_hf_form;

// A configuration in which rotary positions rotate neighbours is written with halves, which is what
// all classes have: whoever writes the weights moves them. wanted: the type it must be, or NULL:
// `from`, the type that the model came in, if it is one, else the first that fits.
// SG_ERR_UNSUPPORTED when `wanted` has no such model, naming field, found and expected.
sg_status sg_hf_form_find(const sg_config *config, const char *wanted, const char *from,
                          sg_hf_form *form, sg_error *err);

// The first field in which two complete configurations differ that both say how a model computes:
// losses and capacities of routers do not count, nor do two ways to write the same. False when
// none does. `field` is its index (sg_config_field_at).
bool sg_config_differ(const sg_config *a, const sg_config *b, size_t *field);

#endif
