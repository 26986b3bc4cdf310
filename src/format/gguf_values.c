// Metadata of a GGUF file by type. What is read here was measured when the file was opened: every
// element lies inside it.
#include <string.h>

#include "base/alloc.h"
#include "format/gguf_file.h"

size_t sg_gguf_value_count(const sg_gguf *g)
{
    return g->value_count;
}

const sg_gguf_value *sg_gguf_value_at(const sg_gguf *g, size_t i)
{
    return &g->values[i];
}

const sg_gguf_value *sg_gguf_value_find(const sg_gguf *g, const char *key)
{
    ptrdiff_t found = sg_name_index_find(&g->keys, key);
    return found != SG_NAME_NONE ? &g->values[found] : NULL;
}

// ---- elements ---------------------------------------------------------------------------------

static bool values_is_integer(sg_gguf_type type)
{
    switch (type) {
    case SG_GGUF_U8:
    case SG_GGUF_I8:
    case SG_GGUF_U16:
    case SG_GGUF_I16:
    case SG_GGUF_U32:
    case SG_GGUF_I32:
    case SG_GGUF_U64:
    case SG_GGUF_I64:
        return true;
    default:
        return false;
    }
}

static bool values_is_float(sg_gguf_type type)
{
    return type == SG_GGUF_F32 || type == SG_GGUF_F64;
}

// Element i of integers or bools. False when it does not fit.
static bool values_integer(const sg_gguf_value *value, size_t i, int64_t *out)
{
    size_t size = sg_gguf_type_bytes(value->type);
    uint64_t bits = sg_gguf_load(value->data + i * size, size);
    switch (value->type) {
    case SG_GGUF_I8:
        *out = (int8_t)bits;
        return true;
    case SG_GGUF_I16:
        *out = (int16_t)bits;
        return true;
    case SG_GGUF_I32:
        *out = (int32_t)bits;
        return true;
    case SG_GGUF_I64:
        *out = (int64_t)bits;
        return true;
    default:
        *out = (int64_t)bits;
        return bits <= INT64_MAX;
    }
}

static double values_number(const sg_gguf_value *value, size_t i)
{
    if (value->type == SG_GGUF_F64) {
        double wide;
        memcpy(&wide, value->data + i * sizeof wide, sizeof wide);
        return wide;
    }
    float narrow;
    memcpy(&narrow, value->data + i * sizeof narrow, sizeof narrow);
    return (double)narrow;
}

// ---- getters ----------------------------------------------------------------------------------

static sg_status values_mismatch(const sg_gguf *g, const sg_gguf_value *value, const char *expected,
                                 sg_error *err)
{
    return sg_fail(err, SG_ERR_FORMAT, "%s: key \"%.200s\": found %s%s, expected %s", g->name,
                   value->key, value->is_array ? "an array of " : "",
                   sg_gguf_type_name(value->type), expected);
}

// *value is NULL when the key is missing and not required.
static sg_status values_find(const sg_gguf *g, const char *key, bool required,
                             const sg_gguf_value **value, sg_error *err)
{
    *value = sg_gguf_value_find(g, key);
    if (*value != NULL || !required) return SG_OK;
    return sg_fail(err, SG_ERR_NOT_FOUND, "%s: key \"%.200s\": is missing", g->name, key);
}

sg_status sg_gguf_get_int(const sg_gguf *g, const char *key, bool required, int64_t low,
                          int64_t high, int64_t *out, sg_error *err)
{
    const sg_gguf_value *value;
    int64_t number;
    SG_TRY(values_find(g, key, required, &value, err));
    if (value == NULL) return SG_OK;
    if (value->is_array || !values_is_integer(value->type))
        return values_mismatch(g, value, "an integer", err);
    if (!values_integer(value, 0, &number))
        return sg_fail(err, SG_ERR_FORMAT, "%s: key \"%.200s\": found %llu, expected %lld to %lld",
                       g->name, key, (unsigned long long)sg_gguf_load(value->data, 8),
                       (long long)low, (long long)high);
    if (number < low || number > high)
        return sg_fail(err, SG_ERR_FORMAT, "%s: key \"%.200s\": found %lld, expected %lld to %lld",
                       g->name, key, (long long)number, (long long)low, (long long)high);
    *out = number;
    return SG_OK;
}

sg_status sg_gguf_get_token(const sg_gguf *g, const char *key, int64_t vocab_size, int64_t *id,
                            sg_error *err)
{
    const sg_gguf_value *value;
    *id = -1;
    SG_TRY(values_find(g, key, false, &value, err));
    if (value == NULL) return SG_OK;
    if (value->is_array || !values_is_integer(value->type))
        return values_mismatch(g, value, "an integer", err);
    if (!values_integer(value, 0, id) || *id < 0 || *id >= vocab_size) *id = -1;
    return SG_OK;
}

sg_status sg_gguf_get_number(const sg_gguf *g, const char *key, bool required, double *out,
                             sg_error *err)
{
    const sg_gguf_value *value;
    SG_TRY(values_find(g, key, required, &value, err));
    if (value == NULL) return SG_OK;
    if (value->is_array || !values_is_float(value->type))
        return values_mismatch(g, value, "a float", err);
    *out = values_number(value, 0);
    return SG_OK;
}

sg_status sg_gguf_get_bool(const sg_gguf *g, const char *key, bool required, bool *out,
                           sg_error *err)
{
    const sg_gguf_value *value;
    SG_TRY(values_find(g, key, required, &value, err));
    if (value == NULL) return SG_OK;
    if (value->is_array || value->type != SG_GGUF_BOOL)
        return values_mismatch(g, value, "a bool", err);
    *out = value->data[0] != 0;
    return SG_OK;
}

sg_status sg_gguf_get_string(const sg_gguf *g, const char *key, bool required, const char **out,
                             sg_error *err)
{
    const sg_gguf_value *value;
    SG_TRY(values_find(g, key, required, &value, err));
    if (value == NULL) return SG_OK;
    if (value->is_array || value->type != SG_GGUF_STRING)
        return values_mismatch(g, value, "a string", err);
    if (value->text == NULL)
        return sg_fail(err, SG_ERR_FORMAT, "%s: key \"%.200s\": found a NUL byte inside the string",
                       g->name, key);
    *out = value->text;
    return SG_OK;
}

// ---- arrays -----------------------------------------------------------------------------------

// Finds an array whose elements `fits` takes and makes room for them, `size` bytes each; *value is
// NULL when there is none.
static sg_status values_find_array(const sg_gguf *g, const char *key, bool required,
                                   bool (*fits)(sg_gguf_type), const char *expected, size_t size,
                                   const sg_gguf_value **value, void **room, size_t *count,
                                   sg_error *err)
{
    *count = 0;
    SG_TRY(values_find(g, key, required, value, err));
    if (*value == NULL) return SG_OK;
    if (!(*value)->is_array || !fits((*value)->type))
        return values_mismatch(g, *value, expected, err);
    *room = sg_alloc_array((*value)->count, size);
    if (*room == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "%s: key \"%.200s\": out of memory for %zu elements",
                       g->name, key, (*value)->count);
    *count = (*value)->count;
    return SG_OK;
}

static bool values_is_string(sg_gguf_type type)
{
    return type == SG_GGUF_STRING;
}

static bool values_is_countable(sg_gguf_type type)
{
    return values_is_integer(type) || type == SG_GGUF_BOOL;
}

sg_status sg_gguf_get_strings(const sg_gguf *g, const char *key, bool required,
                              sg_gguf_string **out, size_t *count, sg_error *err)
{
    const sg_gguf_value *value;
    void *room = NULL;
    *out = NULL;
    SG_TRY(values_find_array(g, key, required, values_is_string, "an array of strings",
                             sizeof **out, &value, &room, count, err));
    *out = room;
    const unsigned char *at = value != NULL ? value->data : NULL;
    // The lengths were checked when the file was opened; but it is mapped, and may have changed
    // since.
    size_t left = value != NULL ? value->bytes : 0;
    for (size_t i = 0; i < *count; i++) {
        const uint64_t length = left >= 8 ? sg_gguf_load(at, 8) : UINT64_MAX;
        if (left < 8 || length > left - 8) {
            sg_free(room);
            *out = NULL;
            *count = 0;
            return sg_fail(
                err, SG_ERR_FORMAT,
                "%s: key \"%.200s\": string %zu: its length is not what it was: the file "
                "has changed while it was read",
                g->name, key, i);
        }
        const size_t bytes = (size_t)length;
        left -= 8 + bytes;
        (*out)[i] = (sg_gguf_string){(const char *)at + 8, bytes};
        at += 8 + bytes;
    }
    return SG_OK;
}

sg_status sg_gguf_get_ints(const sg_gguf *g, const char *key, bool required, int64_t **out,
                           size_t *count, sg_error *err)
{
    const sg_gguf_value *value;
    void *room = NULL;
    *out = NULL;
    SG_TRY(values_find_array(g, key, required, values_is_countable, "an array of integers",
                             sizeof **out, &value, &room, count, err));
    int64_t *integers = room;
    for (size_t i = 0; i < *count; i++) {
        if (values_integer(value, i, &integers[i])) continue;
        sg_free(integers);
        *count = 0;
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: key \"%.200s\": element %zu: found %llu, expected at most %lld",
                       g->name, key, i, (unsigned long long)sg_gguf_load(value->data + 8 * i, 8),
                       (long long)INT64_MAX);
    }
    *out = integers;
    return SG_OK;
}

sg_status sg_gguf_get_floats(const sg_gguf *g, const char *key, bool required, float **out,
                             size_t *count, sg_error *err)
{
    const sg_gguf_value *value;
    void *room = NULL;
    *out = NULL;
    SG_TRY(values_find_array(g, key, required, values_is_float, "an array of floats", sizeof **out,
                             &value, &room, count, err));
    *out = room;
    for (size_t i = 0; i < *count; i++)
        (*out)[i] = (float)values_number(value, i);
    return SG_OK;
}
