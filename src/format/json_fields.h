// Fields of options (base/fields.h) as members of JSON objects, under their own names.
#ifndef SG_FORMAT_JSON_FIELDS_H
#define SG_FORMAT_JSON_FIELDS_H

#include "base/fields.h"
#include "format/json.h"

// A new value; NULL when out of memory.
json_t *sg_json_from_field(const sg_field *field, const void *object);
// Reads the member of that name as sg_json_get_int and its neighbours do: what is missing or null
// stays as it is unless it is required. int64_t from `least` to `most`.
sg_status sg_json_to_field(const json_t *json, const char *name, const sg_field *field,
                           bool required, int64_t least, int64_t most, void *object, sg_error *err);

#endif
