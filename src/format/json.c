// JSON over jansson. Its parser does not survive every failing allocation (2.14 reads past a buffer
// that did not grow), so growth of strings is met from a reserve taken beforehand.
#include "format/json.h"

#include <pthread.h>
#include <stdint.h>

#include "base/alloc.h"
#include "base/file.h"

// jansson reports some failed allocations as syntax errors or not at all; this tells them apart.
static _Thread_local bool json_starved;

// When the buffer in which jansson's parser collects a string cannot grow, the parser (2.14) reads
// behind its end. While parsing, such requests, of a power of two bytes, are therefore met from a
// reserve that is big enough for the longest string; the parse fails afterwards all the same.
static _Thread_local char *json_reserve;
static _Thread_local size_t json_reserve_used, json_reserve_bytes;

static void *json_alloc(size_t bytes)
{
    void *pointer = sg_alloc(bytes);
    if (pointer != NULL) return pointer;
    json_starved = true;
    size_t rounded = (bytes + 15) & ~(size_t)15;
    bool grows = bytes >= 16 && (bytes & (bytes - 1)) == 0;
    if (json_reserve == NULL || !grows || rounded > json_reserve_bytes - json_reserve_used)
        return NULL;
    pointer = json_reserve + json_reserve_used;
    json_reserve_used += rounded;
    return pointer;
}

static void json_release(void *pointer)
{
    uintptr_t at = (uintptr_t)pointer, low = (uintptr_t)json_reserve;
    bool reserved = json_reserve != NULL && at >= low && at < low + json_reserve_bytes;
    if (!reserved) sg_free(pointer);
}

static void json_setup_once(void)
{
    json_set_alloc_funcs(json_alloc, json_release);
    json_object_seed(0x5347); // a fixed seed: nothing here depends on the order of hashing
}

void sg_json_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, json_setup_once);
}

sg_status sg_json_parse(const char *text, size_t bytes, const char *name, json_t **value,
                        sg_error *err)
{
    sg_json_setup();
    json_error_t problem;
    json_starved = false;
    *value = NULL;
    // Doubling from 16 bytes to hold the longest string takes less than four times its length.
    if (bytes > SIZE_MAX / 8)
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory while reading JSON", name);
    json_reserve_bytes = 4 * bytes + 4096;
    json_reserve_used = 0;
    json_reserve = sg_alloc(json_reserve_bytes);
    if (json_reserve == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory while reading JSON", name);
    *value = json_loadb(text, bytes, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL | JSON_DECODE_ANY,
                        &problem);
    if (json_starved) { // jansson may go on with a character left out
        json_decref(*value);
        *value = NULL;
    }
    sg_free(json_reserve); // nothing of it is in use: what a starved parse made is gone
    json_reserve = NULL;
    if (*value != NULL) return SG_OK;
    if (json_starved || json_error_code(&problem) == json_error_out_of_memory)
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory while reading JSON", name);
    return sg_fail(err, SG_ERR_FORMAT, "%s: not valid JSON: line %d, column %d: %s", name,
                   problem.line, problem.column, problem.text);
}

sg_status sg_json_read(const char *path, size_t limit, json_t **value, sg_error *err)
{
    *value = NULL;
    char *text;
    size_t bytes;
    SG_TRY(sg_file_read(path, limit, &text, &bytes, err));
    sg_status status = sg_json_parse(text, bytes, path, value, err);
    sg_free(text);
    return status;
}

static const char *json_kind(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "something unknown";
}

// Finds a member; *found is NULL when it is missing or null and not required.
static sg_status json_find(const json_t *object, const char *name, const char *key, bool required,
                           const char *expected, json_t **found, sg_error *err)
{
    *found = NULL;
    if (!json_is_object(object))
        return sg_fail(err, SG_ERR_FORMAT, "%s: found %s where an object with \"%s\" was expected",
                       name, object ? json_kind(object) : "nothing", key);
    json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value)) {
        if (!required) return SG_OK;
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\" is missing, expected %s", name, key,
                       expected);
    }
    *found = value;
    return SG_OK;
}

static sg_status json_wrong(const char *name, const char *key, const json_t *value,
                            const char *expected, sg_error *err)
{
    return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": found %s, expected %s", name, key,
                   json_kind(value), expected);
}

sg_status sg_json_get_int(const json_t *object, const char *name, const char *key, bool required,
                          int64_t low, int64_t high, int64_t *out, sg_error *err)
{
    json_t *value;
    SG_TRY(json_find(object, name, key, required, "an integer", &value, err));
    if (value == NULL) return SG_OK;
    if (!json_is_integer(value)) return json_wrong(name, key, value, "an integer", err);
    int64_t number = json_integer_value(value);
    if (number < low || number > high)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": found %lld, expected %lld to %lld", name,
                       key, (long long)number, (long long)low, (long long)high);
    *out = number;
    return SG_OK;
}

sg_status sg_json_get_number(const json_t *object, const char *name, const char *key, bool required,
                             double *out, sg_error *err)
{
    json_t *value;
    SG_TRY(json_find(object, name, key, required, "a number", &value, err));
    if (value == NULL) return SG_OK;
    if (!json_is_number(value)) return json_wrong(name, key, value, "a number", err);
    *out = json_number_value(value);
    return SG_OK;
}

sg_status sg_json_get_bool(const json_t *object, const char *name, const char *key, bool required,
                           bool *out, sg_error *err)
{
    json_t *value;
    SG_TRY(json_find(object, name, key, required, "true or false", &value, err));
    if (value == NULL) return SG_OK;
    if (!json_is_boolean(value)) return json_wrong(name, key, value, "true or false", err);
    *out = json_is_true(value);
    return SG_OK;
}

sg_status sg_json_get_string(const json_t *object, const char *name, const char *key, bool required,
                             const char **out, sg_error *err)
{
    json_t *value;
    SG_TRY(json_find(object, name, key, required, "a string", &value, err));
    if (value == NULL) return SG_OK;
    if (!json_is_string(value)) return json_wrong(name, key, value, "a string", err);
    *out = json_string_value(value);
    return SG_OK;
}

sg_status sg_json_get_object(const json_t *object, const char *name, const char *key, bool required,
                             json_t **out, sg_error *err)
{
    SG_TRY(json_find(object, name, key, required, "an object", out, err));
    if (*out != NULL && !json_is_object(*out)) return json_wrong(name, key, *out, "an object", err);
    return SG_OK;
}

sg_status sg_json_get_array(const json_t *object, const char *name, const char *key, bool required,
                            json_t **out, sg_error *err)
{
    SG_TRY(json_find(object, name, key, required, "an array", out, err));
    if (*out != NULL && !json_is_array(*out)) return json_wrong(name, key, *out, "an array", err);
    return SG_OK;
}

sg_status sg_json_text(const json_t *value, bool pretty, char **text, sg_error *err)
{
    sg_json_setup();
    json_starved = false;
    *text = json_dumps(value, (pretty ? JSON_INDENT(2) : JSON_COMPACT) | JSON_ENCODE_ANY);
    if (json_starved) { // jansson may go on with a piece left out
        sg_free(*text);
        *text = NULL;
    }
    if (*text == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory while writing JSON");
    return SG_OK;
}
