// One switch over the kinds for writing, one for reading.
#include "format/json_fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *sg_json_from_field(const sg_field *field, const void *object)
{
    const void *from = sg_field_of(field, object);
    char digits[24];
    size_t bytes;
    const char *choice;
    switch (field->kind) {
    case SG_FIELD_INT:
        return json_integer(*(const int64_t *)from);
    case SG_FIELD_NUMBER:
        return json_real(*(const double *)from + 0.0);
    case SG_FIELD_STRING:
        return json_string(from);
    case SG_FIELD_BOOL:
        return json_boolean(*(const bool *)from);
    case SG_FIELD_SEED:
        snprintf(digits, sizeof digits, "%llu", (unsigned long long)*(const uint64_t *)from);
        return json_string(digits);
    case SG_FIELD_ENUM:
        break;
    }
    choice = sg_field_choice(field, (size_t) * (const int *)from, &bytes);
    return json_stringn(choice, bytes);
}

static sg_status field_from_text(const json_t *json, const char *name, const sg_field *field,
                                 bool required, void *object, sg_error *err)
{
    const char *text = NULL;
    char where[512];
    SG_TRY(sg_json_get_string(json, name, field->name, required, &text, err));
    if (text == NULL) return SG_OK;
    snprintf(where, sizeof where, "%.400s: \"%s\"", name, field->name);
    const sg_status status = sg_field_set(field, where, text, 0, 0, object, err);
    if (status != SG_OK && err != NULL) err->code = SG_ERR_FORMAT;
    return status == SG_OK ? SG_OK : SG_ERR_FORMAT;
}

sg_status sg_json_to_field(const json_t *json, const char *name, const sg_field *field,
                           bool required, int64_t least, int64_t most, void *object, sg_error *err)
{
    void *to = sg_field_in(field, object);
    switch (field->kind) {
    case SG_FIELD_INT:
        return sg_json_get_int(json, name, field->name, required, least, most, to, err);
    case SG_FIELD_NUMBER:
        return sg_json_get_number(json, name, field->name, required, to, err);
    case SG_FIELD_BOOL:
        return sg_json_get_bool(json, name, field->name, required, to, err);
    case SG_FIELD_STRING:
    case SG_FIELD_SEED:
    case SG_FIELD_ENUM:
        break;
    }
    return field_from_text(json, name, field, required, object, err);
}
