// Reading JSON from files that may be wrong or hostile: bounded size and depth, typed access with
// errors that name the file and the field. A thin layer over jansson, whose json_t is used as is.
#ifndef SG_FORMAT_JSON_H
#define SG_FORMAT_JSON_H

#include <jansson.h>

#include "base/status.h"

// Parses one JSON value; nesting is limited by jansson (2,048), duplicate keys are refused.
// `name` is what errors call the text. Release with json_decref.
sg_status sg_json_parse(const char *text, size_t bytes, const char *name, json_t **value,
                        sg_error *err);
// Reads and parses a file of at most `limit` bytes.
sg_status sg_json_read(const char *path, size_t limit, json_t **value, sg_error *err);

// Typed members of an object. Required when `required`, else *out keeps its value when the member is
// missing or null. A wrong type or range is SG_ERR_FORMAT. `name` is what errors call the file.
sg_status sg_json_get_int(const json_t *object, const char *name, const char *key, bool required,
                          int64_t low, int64_t high, int64_t *out, sg_error *err);
sg_status sg_json_get_number(const json_t *object, const char *name, const char *key, bool required,
                             double *out, sg_error *err);
sg_status sg_json_get_bool(const json_t *object, const char *name, const char *key, bool required,
                           bool *out, sg_error *err);
// *out points into the object.
sg_status sg_json_get_string(const json_t *object, const char *name, const char *key, bool required,
                             const char **out, sg_error *err);
// *out (borrowed) is NULL when not required and missing.
sg_status sg_json_get_object(const json_t *object, const char *name, const char *key, bool required,
                             json_t **out, sg_error *err);
sg_status sg_json_get_array(const json_t *object, const char *name, const char *key, bool required,
                            json_t **out, sg_error *err);

// Text of a value (JSON_INDENT(2) when `pretty`), keys in the order of insertion. *text: sg_free.
sg_status sg_json_text(const json_t *value, bool pretty, char **text, sg_error *err);

// Makes jansson allocate through base/alloc. Called by the functions above; call it before building
// values by hand.
void sg_json_setup(void);

#endif
