// What an adapter_config.json says of the adapters beside it: which matrices have one, of which
// rank and scale, as the library PEFT reads it (peft/tuners/tuners_utils.py, lora/model.py).
#ifndef SG_MODEL_ADAPTER_RULES_H
#define SG_MODEL_ADAPTER_RULES_H

#include <jansson.h>

#include "base/status.h"

typedef struct sg_adapter_rules sg_adapter_rules;

// SG_ERR_UNSUPPORTED names a key that would change the formula. `name` is what errors call the
// file; both must outlive the rules.
sg_status sg_adapter_rules_new(const json_t *object, const char *name, sg_adapter_rules **rules,
                               sg_error *err);
void sg_adapter_rules_free(sg_adapter_rules *rules); // NULL is allowed
// Keys that are not read, for one line of talk; "" where there are none.
const char *sg_adapter_rules_unread(const sg_adapter_rules *rules);

// Whether a matrix has an adapter. head: it is the model's classifier. *key: which key says no.
sg_status sg_adapter_rules_target(const sg_adapter_rules *rules, const char *module, bool head,
                                  bool *is, const char **key, sg_error *err);
// Of one that has.
sg_status sg_adapter_rules_form(const sg_adapter_rules *rules, const char *module, int64_t *rank,
                                double *scale, sg_error *err);

#endif
