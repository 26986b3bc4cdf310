// config.json <-> sg_config. Public functions (set, complete, cost, presets) are in sgatlin.h.
#ifndef SG_MODEL_CONFIG_H
#define SG_MODEL_CONFIG_H

#include <jansson.h>

#include "ffn/params.h"
#include "format/config_keys.h"
#include "op/op.h"

// Reads a config.json of model_type "sgatlin". `name` is what errors call it. Members that
// are not ours are passed over (sg_config_unread); ours are checked.
sg_status sg_config_parse(const char *text, size_t bytes, const char *name, sg_config *config,
                          sg_error *err);
// Members of such a file that are not read, and not known to say nothing.
void sg_config_unread(const json_t *object, sg_unread *unread);
// A new object with all fields; NULL when out of memory. Release with json_decref.
json_t *sg_config_json(const sg_config *config);
// No size is larger; what is sensible for each field is for sg_config_complete to say.
#define SG_CONFIG_MOST (INT64_C(1) << 40)
// The row of a member, by its offset: of the transformer, not of the feed-forward layer.
const sg_field *sg_config_field(size_t offset);
// Fills in the default where there is one, and compares with the row: one field; and all fields of
// the transformer that depend on no other.
sg_status sg_config_check_field(sg_config *config, const sg_field *field, sg_error *err);
sg_status sg_config_check_fields(sg_config *config, sg_error *err);
// Of a field whose value was said: what would be taken for left out is refused, a number of 0
// becomes the negative zero. where: "FILE: ", or "" for an argument.
sg_status sg_config_said(const sg_field *field, sg_config *config, const char *where,
                         sg_error *err);
// Of a complete configuration: whether norms have a shift, whether positions are rotary, and how.
bool sg_config_norm_shifts(const sg_config *config);
bool sg_config_is_rotary(const sg_config *config);
int64_t sg_config_kv_heads(const sg_config *config);   // heads of keys and values
int64_t sg_config_rotary_dim(const sg_config *config); // numbers of a head that are rotated
sg_rope_options sg_config_rope(const sg_config *config);
// All parameters of a model in the order of the file. Fails for absurd sizes.
sg_status sg_config_params(const sg_config *config, sg_param_list *list, sg_error *err);

#endif
