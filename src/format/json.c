// Typed access to jansson's values, and their text.
#include "format/json.h"

#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/utf8.h"

// jansson does not report every failed allocation; this tells.
static _Thread_local bool json_starved;

static void *json_alloc(size_t bytes)
{
    void *pointer = sg_alloc(bytes);
    if (pointer == NULL) json_starved = true;
    return pointer;
}

static void json_setup_once(void)
{
    json_set_alloc_funcs(json_alloc, sg_free);
    json_object_seed(0x5347); // a fixed seed: nothing here depends on the order of hashing
}

void sg_json_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, json_setup_once);
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

// The digits of a number that no type holds, or NULL: it is something else.
static const char *json_unheld_digits(const json_t *value)
{
    return json_string_value(json_object_getn(value, SG_JSON_UNHELD, sizeof SG_JSON_UNHELD - 1));
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
    const char *digits = json_unheld_digits(value);
    if (digits != NULL)
        return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": found %.40s, expected %s", name, key,
                       digits, expected);
    return sg_fail(err, SG_ERR_FORMAT, "%s: \"%s\": found %s, expected %s", name, key,
                   json_kind(value), expected);
}

sg_status sg_json_get_int(const json_t *object, const char *name, const char *key, bool required,
                          int64_t low, int64_t high, int64_t *out, sg_error *err)
{
    json_t *value;
    SG_TRY(json_find(object, name, key, required, "an integer", &value, err));
    if (value == NULL) return SG_OK;
    if (!json_is_integer(value)) {
        char expected[80];
        snprintf(expected, sizeof expected, "an integer from %lld to %lld", (long long)low,
                 (long long)high);
        bool bounds = json_unheld_digits(value) != NULL;
        return json_wrong(name, key, value, bounds ? expected : "an integer", err);
    }
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
    const char *digits = json_unheld_digits(value); // an integer beyond 64 bits is a double's
    double number = digits != NULL ? sg_json_double(digits) : json_number_value(value);
    if ((digits == NULL && !json_is_number(value)) || !isfinite(number))
        return json_wrong(name, key, value,
                          digits != NULL ? "a number that a double holds" : "a number", err);
    *out = number;
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
    if (*out != NULL && (!json_is_object(*out) || json_unheld_digits(*out) != NULL))
        return json_wrong(name, key, *out, "an object", err);
    return SG_OK;
}

sg_status sg_json_get_array(const json_t *object, const char *name, const char *key, bool required,
                            json_t **out, sg_error *err)
{
    SG_TRY(json_find(object, name, key, required, "an array", out, err));
    if (*out != NULL && !json_is_array(*out)) return json_wrong(name, key, *out, "an array", err);
    return SG_OK;
}

sg_status sg_json_only(const json_t *object, const char *place, const char *const *known,
                       sg_error *err)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        const char *const *at = known;
        while (*at != NULL && strcmp(*at, key) != 0)
            at++;
        if (*at != NULL) continue;
        const char *near = sg_nearest_name(key, known);
        return sg_fail(err, SG_ERR_FORMAT, "%s%.100s: found a member that is not known%s%s%s",
                       place, key, near ? ", did you mean " : "", near ? near : "",
                       near ? "?" : "");
    }
    return SG_OK;
}

// Puts digits in the place of the objects that keep them, in the text that jansson wrote.
static void json_write_unheld(char *text)
{
    static const char key[] = "\"\\u0000number\"";
    char *out = text, *from = text;
    for (char *at; (at = strstr(from, key)) != NULL;) {
        char *value = at + sizeof key - 1;
        if (*value == ':') { // else it is a string like any other
            char *begin = at;
            while (*begin != '{')
                begin--;
            memmove(out, from, (size_t)(begin - from));
            out += begin - from;
            char *digits = strchr(value, '"') + 1, *end = strchr(digits, '"');
            memmove(out, digits, (size_t)(end - digits));
            out += end - digits;
            from = strchr(end, '}') + 1;
        } else {
            memmove(out, from, (size_t)(value - from));
            out += value - from;
            from = value;
        }
    }
    memmove(out, from, strlen(from) + 1);
}

json_t *sg_json_string(const char *text)
{
    const size_t bytes = strlen(text);
    if (sg_utf8_valid_prefix(text, bytes) == bytes) return json_stringn(text, bytes);
    sg_bytes whole = {0};
    json_t *string = sg_utf8_repair(text, bytes, &whole, NULL)
                         ? json_stringn(whole.data ? whole.data : "", whole.count)
                         : NULL;
    sg_free(whole.data);
    return string;
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
    json_write_unheld(*text);
    return SG_OK;
}
