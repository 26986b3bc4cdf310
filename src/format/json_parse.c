// The parser of JSON (RFC 8259) that builds jansson's values. jansson has one of its own, but that
// one refuses a file for a number that nobody asks for, takes eighty times the memory of the text,
// and reads past a buffer that did not grow. Here memory is charged before it is taken, what nobody
// wants is checked and passed over, and numbers that no type holds are kept as they are written.
#include <errno.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"
#include "format/file_kind.h"
#include "format/json.h"

// What values take in memory, rounded up: measured with jansson 2.14 over malloc.
enum {
    json_object_bytes = 256,
    json_member_bytes = 128,
    json_array_bytes = 160,
    json_element_bytes = 32,
    json_string_bytes = 96,
    json_number_bytes = 48,
    json_depth_most = 2048
};

typedef struct json_reader {
    const char *text, *at, *end;
    const char *name;
    const sg_json_options *options;
    size_t held; // bytes charged for the values alive
    int depth;
    sg_bytes string; // of the string read last
    int64_t bad;     // ill-formed pieces in it
    sg_error *err;
} json_reader;

static sg_status json_no_memory(const json_reader *r)
{
    return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory while reading JSON", r->name);
}

// Fails at the place `at`, whose line and column are counted now.
static sg_status json_bad(const json_reader *r, const char *at, const char *what)
{
    long long line = 1, column = 1;
    SG_TRY(sg_file_kind_check(r->text, (size_t)(r->end - r->text), r->name, "JSON", r->err));
    for (const char *p = r->text; p < at; p++) {
        bool follows = ((unsigned char)*p & 0xC0) == 0x80; // of a character counted already
        column = *p == '\n' ? 1 : column + !follows;
        line += *p == '\n';
    }
    return sg_fail(r->err, SG_ERR_FORMAT, "%s: not valid JSON: line %lld, column %lld: %s", r->name,
                   line, column, what);
}

// Fails where something else was expected.
static sg_status json_unexpected(const json_reader *r, const char *expected)
{
    char what[160];
    if (r->at == r->end)
        snprintf(what, sizeof what, "the text ends, expected %s", expected);
    else if (*r->at > 0x20 && *r->at < 0x7F)
        snprintf(what, sizeof what, "found '%c', expected %s", *r->at, expected);
    else
        snprintf(what, sizeof what, "found byte 0x%02x, expected %s", (unsigned char)*r->at,
                 expected);
    return json_bad(r, r->at, what);
}

static sg_status json_charge(json_reader *r, size_t bytes)
{
    if (bytes <= r->options->budget - r->held) {
        r->held += bytes;
        return SG_OK;
    }
    return sg_fail(r->err, SG_ERR_FORMAT,
                   "%s: its JSON values take more than %zu MiB of memory, the most that is given "
                   "to a file",
                   r->name, r->options->budget >> 20);
}

static void json_skip_space(json_reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t'))
        r->at++;
}

// ---- strings ------------------------------------------------------------------------------------

static int json_hex(const json_reader *r, const char *at)
{
    int value = 0;
    if (r->end - at < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = at[i];
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'f' ? c - 'a' + 10
                    : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

// Puts U+FFFD down for something ill-formed, or refuses it.
static sg_status json_replace(json_reader *r, const char *at, const char *what)
{
    if (!r->options->repair) return json_bad(r, at, what);
    r->bad++;
    return sg_bytes_add(&r->string, "\xEF\xBF\xBD", 3) ? SG_OK : json_no_memory(r);
}

// \uXXXX, with `at` behind the u.
static sg_status json_unicode(json_reader *r)
{
    const char *escape = r->at - 2;
    int high = json_hex(r, r->at);
    if (high < 0) return json_bad(r, escape, "\\u without four hexadecimal digits");
    r->at += 4;
    uint32_t code = (uint32_t)high;
    if (high >= 0xDC00 && high <= 0xDFFF)
        return json_replace(r, escape, "an unpaired surrogate, which is no character");
    if (high >= 0xD800 && high <= 0xDBFF) {
        int low = r->end - r->at >= 6 && r->at[0] == '\\' && r->at[1] == 'u'
                      ? json_hex(r, r->at + 2)
                      : -1;
        if (low < 0xDC00 || low > 0xDFFF)
            return json_replace(r, escape, "an unpaired surrogate, which is no character");
        r->at += 6;
        code = 0x10000 + (((uint32_t)high - 0xD800) << 10) + ((uint32_t)low - 0xDC00);
    }
    char out[4];
    return sg_bytes_add(&r->string, out, (size_t)sg_utf8_encode(code, out)) ? SG_OK
                                                                            : json_no_memory(r);
}

static sg_status json_escape(json_reader *r)
{
    static const char names[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    r->at++;
    if (r->at == r->end) return json_unexpected(r, "the rest of a string");
    char c = *r->at++;
    if (c == 'u') return json_unicode(r);
    const char *found = c == '\0' ? NULL : strchr(names, c);
    if (found == NULL) return json_bad(r, r->at - 2, "an escape that JSON does not have");
    return sg_bytes_add(&r->string, &meant[found - names], 1) ? SG_OK : json_no_memory(r);
}

// A run without escapes: its UTF-8 is checked.
static sg_status json_plain(json_reader *r, const char *stop)
{
    while (r->at < stop) {
        size_t bytes = (size_t)(stop - r->at), good = sg_utf8_valid_prefix(r->at, bytes);
        if (!sg_bytes_add(&r->string, r->at, good)) return json_no_memory(r);
        r->at += good;
        if (good == bytes) break;
        const char *bad = r->at;
        bool incomplete;
        r->at += sg_utf8_bad_length(r->at, bytes - good, &incomplete);
        SG_TRY(json_replace(r, bad, "a byte that is not UTF-8"));
    }
    return SG_OK;
}

// Reads a string into r->string.
static sg_status json_read_string(json_reader *r)
{
    const char *open = r->at++;
    r->string.count = 0;
    r->bad = 0;
    if (!sg_bytes_add(&r->string, "", 0)) return json_no_memory(r);
    for (;;) {
        const char *stop = r->at;
        while (stop < r->end && *stop != '"' && *stop != '\\' && (unsigned char)*stop >= 0x20)
            stop++;
        SG_TRY(json_plain(r, stop));
        if (stop == r->end) return json_bad(r, open, "a string that does not end");
        if (*stop == '"') break;
        if (*stop != '\\') return json_unexpected(r, "an escape: control characters need one");
        SG_TRY(json_escape(r));
    }
    r->at++;
    return SG_OK;
}

// ---- numbers ------------------------------------------------------------------------------------

static locale_t json_locale; // numbers are written with a point wherever the user lives

static void json_locale_once(void)
{
    json_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
}

double sg_json_double(const char *digits)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, json_locale_once);
    return json_locale == (locale_t)0 ? strtod(digits, NULL) : strtod_l(digits, NULL, json_locale);
}

// The end of a number at `at`, or NULL: no number. NaN and the infinities are those of Python.
static const char *json_number_end(const char *at, const char *end, bool *integer)
{
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    for (size_t i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        *integer = false;
        if ((size_t)(end - at) >= n && memcmp(at, words[i], n) == 0) return at + n;
    }
    *integer = true;
#define DIGIT(p) ((p) < end && *(p) >= '0' && *(p) <= '9')
    if (at < end && *at == '-') at++;
    if (!DIGIT(at)) return NULL;
    if (*at == '0')
        at++;
    else
        while (DIGIT(at))
            at++;
    if (at < end && *at == '.') {
        *integer = false;
        if (!DIGIT(at + 1)) return NULL;
        for (at++; DIGIT(at);)
            at++;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        *integer = false;
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        if (!DIGIT(at)) return NULL;
        while (DIGIT(at))
            at++;
    }
#undef DIGIT
    return at;
}

// A number that neither 64 bits nor a double hold, as it is written; json.h says how it is kept.
static json_t *json_unheld(const char *digits)
{
    json_t *value = json_object(), *text = json_string_nocheck(digits);
    if (json_object_setn_new_nocheck(value, SG_JSON_UNHELD, sizeof SG_JSON_UNHELD - 1, text) == 0)
        return value;
    json_decref(value);
    return NULL;
}

static sg_status json_read_number(json_reader *r, bool keep, json_t **out)
{
    bool integer;
    const char *begin = r->at, *end = json_number_end(r->at, r->end, &integer);
    if (end == NULL) return json_unexpected(r, "a value");
    r->at = end;
    if (!keep) return SG_OK;
    size_t bytes = (size_t)(end - begin);
    r->string.count = 0;
    if (!sg_bytes_add(&r->string, begin, bytes) || !sg_bytes_add(&r->string, "", 1))
        return json_no_memory(r);
    const char *digits = r->string.data;
    SG_TRY(json_charge(r, json_number_bytes));
    errno = 0;
    long long whole = integer ? strtoll(digits, NULL, 10) : 0;
    double real = integer ? 0 : sg_json_double(digits);
    if (integer && errno == 0) {
        *out = json_integer(whole);
    } else if (!integer && isfinite(real)) {
        *out = json_real(real);
    } else {
        SG_TRY(json_charge(r, json_object_bytes + json_member_bytes + json_string_bytes + bytes));
        *out = json_unheld(digits);
    }
    return *out == NULL ? json_no_memory(r) : SG_OK;
}

// ---- values -------------------------------------------------------------------------------------

static sg_status json_read_value(json_reader *r, bool keep, json_t **out);

// Reads a key into r->string, up to its value.
static sg_status json_read_key(json_reader *r)
{
    const char *at = r->at;
    if (at == r->end || *at != '"') return json_unexpected(r, "a key in quotes");
    SG_TRY(json_read_string(r));
    if (memchr(r->string.data, 0, r->string.count) != NULL)
        return json_bad(r, at, "a key with NUL in it");
    json_skip_space(r);
    if (r->at == r->end || *r->at != ':') return json_unexpected(r, "':' behind a key");
    r->at++;
    return SG_OK;
}

// One member. An object that is not kept has its keys for a while, with null behind each: they must
// differ there too.
static sg_status json_read_member(json_reader *r, bool keep, json_t *object)
{
    const char *at = r->at, *only = r->options->only;
    SG_TRY(json_read_key(r));
    const bool odd = r->bad > 0; // a repaired key stands for many, and is none that anyone asks for
    const size_t bytes = r->string.count;
    const char *written = at + 1, *key = r->string.data;
    char *copy = NULL;
    if (!odd && json_object_getn(object, key, bytes) != NULL)
        return json_bad(r, at, "a duplicate key");
    SG_TRY(json_charge(r, json_member_bytes + bytes));
    bool wanted =
        keep && !odd &&
        (only == NULL || r->depth > 1 || (strlen(only) == bytes && memcmp(only, key, bytes) == 0));
    if (r->end - written > (ptrdiff_t)bytes && written[bytes] == '"' &&
        memcmp(written, key, bytes) == 0)
        key = written; // without escapes: it stays where it is
    else if ((key = copy = sg_strndup(key, bytes)) == NULL)
        return json_no_memory(r);
    json_t *value = NULL;
    sg_status status = json_read_value(r, wanted, &value);
    if (status == SG_OK && !odd &&
        json_object_setn_new_nocheck(object, key, bytes, wanted ? value : json_null()) != 0)
        status = json_no_memory(r);
    sg_free(copy);
    return status;
}

// Behind an element: whether another one follows.
static sg_status json_more(json_reader *r, char close, const char *expected, bool *more)
{
    json_skip_space(r);
    if (r->at == r->end || (*r->at != ',' && *r->at != close)) return json_unexpected(r, expected);
    *more = *r->at++ == ',';
    if (*more) json_skip_space(r);
    return SG_OK;
}

static sg_status json_read_object(json_reader *r, bool keep, json_t **out)
{
    bool more;
    r->at++;
    json_skip_space(r);
    more = r->at == r->end || *r->at != '}';
    if (!more) r->at++;
    if (!more && !keep) return SG_OK;
    SG_TRY(json_charge(r, json_object_bytes));
    json_t *object = json_object();
    sg_status status = object == NULL ? json_no_memory(r) : SG_OK;
    while (status == SG_OK && more) {
        status = json_read_member(r, keep, object);
        if (status == SG_OK) status = json_more(r, '}', "',' or '}' behind a member", &more);
    }
    if (status == SG_OK && keep)
        *out = object;
    else
        json_decref(object);
    return status;
}

static sg_status json_read_array(json_reader *r, bool keep, json_t **out)
{
    bool more;
    json_t *array = NULL;
    r->at++;
    json_skip_space(r);
    more = r->at == r->end || *r->at != ']';
    if (!more) r->at++;
    if (keep) {
        SG_TRY(json_charge(r, json_array_bytes));
        array = json_array();
        if (array == NULL) return json_no_memory(r);
    }
    sg_status status = SG_OK;
    while (status == SG_OK && more) {
        json_t *value = NULL;
        status = json_read_value(r, keep, &value);
        if (status == SG_OK && keep) status = json_charge(r, json_element_bytes);
        if (status != SG_OK)
            json_decref(value);
        else if (keep && json_array_append_new(array, value) != 0)
            status = json_no_memory(r);
        if (status == SG_OK) status = json_more(r, ']', "',' or ']' behind an element", &more);
    }
    if (status == SG_OK)
        *out = array;
    else
        json_decref(array);
    return status;
}

static sg_status json_read_word(json_reader *r, json_t **out)
{
    static const char *const words[] = {"true", "false", "null"};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(words[i]);
        if ((size_t)(r->end - r->at) < n || memcmp(r->at, words[i], n) != 0) continue;
        r->at += n;
        *out = i == 0 ? json_true() : i == 1 ? json_false() : json_null();
        return SG_OK;
    }
    return json_unexpected(r, "a value");
}

static sg_status json_read_kept_string(json_reader *r, bool keep, json_t **out)
{
    SG_TRY(json_read_string(r));
    if (!keep) return SG_OK;
    if (r->options->repaired != NULL) *r->options->repaired += r->bad;
    SG_TRY(json_charge(r, json_string_bytes + r->string.count));
    *out = json_stringn_nocheck(r->string.data, r->string.count);
    return *out == NULL ? json_no_memory(r) : SG_OK;
}

// *out stays NULL where the value is not kept.
static sg_status json_read_value(json_reader *r, bool keep, json_t **out)
{
    sg_status status;
    const size_t held = r->held;
    json_skip_space(r);
    char c = r->at == r->end ? '\0' : *r->at;
    if (c == '{' || c == '[') {
        if (r->depth == json_depth_most)
            return json_bad(r, r->at, "more than 2048 objects and arrays in one another");
        r->depth++;
        status = c == '{' ? json_read_object(r, keep, out) : json_read_array(r, keep, out);
        r->depth--;
    } else if (c == '"') {
        status = json_read_kept_string(r, keep, out);
    } else if (c == 't' || c == 'f' || c == 'n') {
        status = json_read_word(r, out);
    } else {
        status = json_read_number(r, keep, out);
    }
    if (!keep) r->held = held;
    return status;
}

sg_json_options sg_json_options_default(void)
{
    return (sg_json_options){.budget = (size_t)512 << 20};
}

sg_status sg_json_parse_as(const char *text, size_t bytes, const char *name,
                           const sg_json_options *options, json_t **value, sg_error *err)
{
    sg_json_setup();
    *value = NULL;
    json_reader r = {.text = text,
                     .at = text,
                     .end = text + bytes,
                     .name = name,
                     .options = options,
                     .err = err};
    sg_status status = json_read_value(&r, true, value);
    json_skip_space(&r);
    if (status == SG_OK && r.at != r.end) status = json_unexpected(&r, "the end of the text");
    if (status != SG_OK) {
        json_decref(*value);
        *value = NULL;
    }
    sg_free(r.string.data);
    return status;
}

sg_status sg_json_parse(const char *text, size_t bytes, const char *name, json_t **value,
                        sg_error *err)
{
    const sg_json_options options = sg_json_options_default();
    return sg_json_parse_as(text, bytes, name, &options, value, err);
}
