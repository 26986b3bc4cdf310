// config.json <-> sg_config. Public functions (set, complete, cost, presets) are in sgatlin.h.
#ifndef SG_MODEL_CONFIG_H
#define SG_MODEL_CONFIG_H

#include <jansson.h>

#include "ffn/params.h"
#include "op/op.h"

// Reads a config.json of model_type "sgatlin". `name` is what errors call it. Keys that are not
// ours are ignored; ours are checked.
sg_status sg_config_parse(const char *text, size_t bytes, const char *name, sg_config *config,
                          sg_error *err);
// A new object with all fields; NULL when out of memory. Release with json_decref.
json_t *sg_config_json(const sg_config *config);
// Of a complete configuration: whether norms have a shift, whether positions are rotary, and how.
bool sg_config_norm_shifts(const sg_config *config);
bool sg_config_is_rotary(const sg_config *config);
int64_t sg_config_kv_heads(const sg_config *config);   // heads of keys and values
int64_t sg_config_rotary_dim(const sg_config *config); // numbers of a head that turn
sg_rope_options sg_config_rope(const sg_config *config);
// All parameters of a model in the order of the file. Fails for absurd sizes.
sg_status sg_config_params(const sg_config *config, sg_param_list *list, sg_error *err);

#endif
