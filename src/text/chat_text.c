// Values of templates as text: Python's str and repr, JSON as its json module writes it, and JSON
// read.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "format/json.h"
#include "text/chat_value.h"

// A text that is being written.
typedef struct text_writer {
    sg_chat_run *run;
    sg_bytes made;
    const sg_chat_json_form *form; // of JSON
    int depth;
} text_writer;

static sg_status text_add(text_writer *w, const char *text, size_t bytes)
{
    SG_TRY(sg_chat_pay(w->run, 1 + bytes / SG_CHAT_BYTES_PER_UNIT));
    if (w->made.count + bytes > SG_CHAT_BYTES_MAX - w->run->bytes)
        return sg_chat_refuse(w->run, SG_ERR_FORMAT, "makes too much text");
    if (sg_bytes_add(&w->made, text, bytes)) return SG_OK;
    return sg_fail(w->run->err, SG_ERR_MEMORY, "out of memory for the chat");
}

static sg_status text_word(text_writer *w, const char *text)
{
    return text_add(w, text, strlen(text));
}

static sg_status text_enter(text_writer *w)
{
    if (++w->depth <= SG_CHAT_VALUE_DEPTH_MAX) return SG_OK;
    return sg_chat_refuse(w->run, SG_ERR_FORMAT, "writes lists that nest too deep");
}

// ---- numbers ----------------------------------------------------------------------------------

void sg_chat_real_text(double real, char *text)
{
    char digits[40];
    int precision = 0;
    if (!isfinite(real)) {
        strcpy(text, isnan(real) ? "nan" : real < 0 ? "-inf" : "inf");
        return;
    }
    do // as few digits as tell it from its neighbours
        snprintf(digits, sizeof digits, "%.*e", precision, real);
    while (strtod(digits, NULL) != real && ++precision < 17);
    int exponent = atoi(strchr(digits, 'e') + 1);
    const char *first = digits + (digits[0] == '-');
    char *at = text;
    if (digits[0] == '-') *at++ = '-';
    if (exponent >= -4 && exponent < 16) {
        int decimals = precision - exponent;
        snprintf(at, 32, "%.*f", decimals < 1 ? 1 : decimals, fabs(real));
        return;
    }
    *at++ = *first;
    if (precision > 0) *at++ = '.';
    for (int i = 0; i < precision; i++)
        *at++ = first[2 + i];
    snprintf(at, 16, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
}

static sg_status text_integer(text_writer *w, int64_t integer)
{
    char text[32];
    return text_add(w, text, (size_t)snprintf(text, sizeof text, "%lld", (long long)integer));
}

static sg_status text_real(text_writer *w, double real)
{
    char text[48];
    sg_chat_real_text(real, text);
    return text_word(w, text);
}

// ---- repr -------------------------------------------------------------------------------------

// What Python's str.isprintable says, but for characters that no version of Unicode has named.
static bool text_printable(uint32_t code)
{
    static const uint32_t hidden[][2] = {
        {0, 0x1F},          {0x7F, 0xA0},       {0xAD, 0xAD},       {0x600, 0x605},
        {0x61C, 0x61C},     {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},
        {0x8E2, 0x8E2},     {0x1680, 0x1680},   {0x180E, 0x180E},   {0x2000, 0x200F},
        {0x2028, 0x202F},   {0x205F, 0x2064},   {0x2066, 0x206F},   {0x3000, 0x3000},
        {0xD800, 0xF8FF},   {0xFEFF, 0xFEFF},   {0xFFF9, 0xFFFB},   {0x110BD, 0x110BD},
        {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3}, {0x1D173, 0x1D17A},
        {0xE0001, 0xE0001}, {0xE0020, 0xE007F}, {0xF0000, 0x10FFFF}};
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (code >= hidden[i][0] && code <= hidden[i][1]) return false;
    return true;
}

static sg_status text_quoted(text_writer *w, const sg_chat_value *v)
{
    SG_TRY(sg_chat_pay_bytes(w->run, v->count));
    bool single = memchr(v->text, '\'', v->count) != NULL;
    char quote = single && memchr(v->text, '"', v->count) == NULL ? '"' : '\'', small[16];
    SG_TRY(text_add(w, &quote, 1));
    for (size_t i = 0; i < v->count;) {
        uint32_t code;
        size_t length = (size_t)sg_utf8_decode_valid(v->text + i, &code);
        const char *sign = code == '\n'   ? "\\n"
                           : code == '\r' ? "\\r"
                           : code == '\t' ? "\\t"
                                          : NULL;
        if (sign != NULL) {
            SG_TRY(text_add(w, sign, 2));
        } else if (code == (unsigned char)quote || code == '\\') {
            small[0] = '\\';
            small[1] = (char)code;
            SG_TRY(text_add(w, small, 2));
        } else if (!text_printable(code)) {
            snprintf(small, sizeof small,
                     code < 0x100     ? "\\x%02x"
                     : code < 0x10000 ? "\\u%04x"
                                      : "\\U%08x",
                     code);
            SG_TRY(text_word(w, small));
        } else {
            SG_TRY(text_add(w, v->text + i, length));
        }
        i += length;
    }
    return text_add(w, &quote, 1);
}

static sg_status text_repr(text_writer *w, const sg_chat_value *v);

static sg_status text_row(text_writer *w, const char *open, const sg_chat_value *v,
                          const char *close)
{
    SG_TRY(text_enter(w));
    SG_TRY(text_word(w, open));
    for (size_t i = 0; i < v->count; i++) {
        if (i > 0) SG_TRY(text_word(w, ", "));
        SG_TRY(text_repr(w, &v->items[i]));
    }
    if (v->type == SG_CHAT_IS_TUPLE && v->count == 1) SG_TRY(text_word(w, ","));
    w->depth--;
    return text_word(w, close);
}

static sg_status text_map(text_writer *w, const sg_chat_map *map)
{
    SG_TRY(text_enter(w));
    SG_TRY(text_word(w, "{"));
    for (size_t i = 0; i < map->count; i++) {
        if (i > 0) SG_TRY(text_word(w, ", "));
        SG_TRY(text_repr(w, &map->pairs[i].key));
        SG_TRY(text_word(w, ": "));
        SG_TRY(text_repr(w, &map->pairs[i].value));
    }
    w->depth--;
    return text_word(w, "}");
}

static sg_status text_range(text_writer *w, const sg_chat_value *v)
{
    if (v->count < 2) return sg_chat_refuse(w->run, SG_ERR_UNSUPPORTED, "the text of a range");
    int64_t first = v->items[0].integer, step = v->items[1].integer - first;
    int64_t last = v->items[v->count - 1].integer;
    if (step != 1) return sg_chat_refuse(w->run, SG_ERR_UNSUPPORTED, "the text of a range");
    SG_TRY(text_word(w, "range("));
    SG_TRY(text_integer(w, first));
    SG_TRY(text_word(w, ", "));
    SG_TRY(text_integer(w, last + 1));
    return text_word(w, ")");
}

static sg_status text_repr(text_writer *w, const sg_chat_value *v)
{
    static const char *const views[] = {"dict_items([", "dict_keys([", "dict_values(["};
    switch (v->type) {
    case SG_CHAT_IS_STRING:
        if (!v->markup) return text_quoted(w, v);
        SG_TRY(text_word(w, "Markup("));
        SG_TRY(text_quoted(w, v));
        return text_word(w, ")");
    case SG_CHAT_IS_UNDEFINED:
        return text_word(w, "Undefined");
    case SG_CHAT_IS_NONE:
        return text_word(w, "None");
    case SG_CHAT_IS_BOOL:
        return text_word(w, v->integer ? "True" : "False");
    case SG_CHAT_IS_INTEGER:
        return text_integer(w, v->integer);
    case SG_CHAT_IS_REAL:
        return text_real(w, v->real);
    case SG_CHAT_IS_LIST:
        return text_row(w, "[", v, "]");
    case SG_CHAT_IS_TUPLE:
        return text_row(w, "(", v, ")");
    case SG_CHAT_IS_VIEW:
        return text_row(w, views[v->view], v, "])");
    case SG_CHAT_IS_RANGE:
        return text_range(w, v);
    case SG_CHAT_IS_MAP:
        return text_map(w, v->map);
    case SG_CHAT_IS_NAMESPACE:
        SG_TRY(text_word(w, "<Namespace "));
        SG_TRY(text_map(w, v->map));
        return text_word(w, ">");
    case SG_CHAT_IS_LOOP:
        SG_TRY(sg_chat_loop_look(w->run, v->loop, SIZE_MAX));
        SG_TRY(text_word(w, "<LoopContext "));
        SG_TRY(text_integer(w, (int64_t)v->loop->index + 1));
        SG_TRY(text_word(w, "/"));
        SG_TRY(text_integer(w, (int64_t)v->loop->count));
        return text_word(w, ">");
    default: // Python writes where in memory it is
        return sg_chat_refuse(w->run, SG_ERR_UNSUPPORTED, "the text of %s", sg_chat_type_name(v));
    }
}

static sg_status text_finish(text_writer *w, sg_status status, sg_chat_value *out)
{
    if (status == SG_OK) return sg_chat_keep(w->run, &w->made, out);
    sg_free(w->made.data);
    return status;
}

sg_status sg_chat_repr(sg_chat_run *r, const sg_chat_value *value, sg_chat_value *out)
{
    text_writer w = {.run = r};
    return text_finish(&w, text_repr(&w, value), out);
}

sg_status sg_chat_str(sg_chat_run *r, const sg_chat_value *value, sg_chat_value *out)
{
    if (value->type == SG_CHAT_IS_UNDEFINED) *out = sg_chat_string("", 0);
    if (value->type == SG_CHAT_IS_STRING) *out = *value;
    if (value->type == SG_CHAT_IS_UNDEFINED || value->type == SG_CHAT_IS_STRING) return SG_OK;
    return sg_chat_repr(r, value, out);
}

// ---- JSON -------------------------------------------------------------------------------------

static sg_status text_json(text_writer *w, const sg_chat_value *v);

static sg_status text_json_escape(text_writer *w, uint32_t code)
{
    char small[16];
    static const char letters[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    for (size_t i = 0; i + 1 < sizeof letters; i += 2)
        if (code == (unsigned char)letters[i]) {
            snprintf(small, sizeof small, "\\%c", letters[i + 1]);
            return text_word(w, small);
        }
    if (code < 0x10000)
        snprintf(small, sizeof small, "\\u%04x", code);
    else
        snprintf(small, sizeof small, "\\u%04x\\u%04x", 0xD800 + ((code - 0x10000) >> 10),
                 0xDC00 + ((code - 0x10000) & 0x3FF));
    return text_word(w, small);
}

static sg_status text_json_string(text_writer *w, const sg_chat_value *v)
{
    SG_TRY(text_word(w, "\""));
    for (size_t i = 0; i < v->count;) {
        uint32_t code;
        size_t length = (size_t)sg_utf8_decode_valid(v->text + i, &code);
        if (code < 0x20 || code == '"' || code == '\\' || (code >= 0x7F && w->form->ascii))
            SG_TRY(text_json_escape(w, code));
        else
            SG_TRY(text_add(w, v->text + i, length));
        i += length;
    }
    return text_word(w, "\"");
}

// What stands between two items, or around them: a line end where there is an indent.
static sg_status text_json_line(text_writer *w)
{
    if (w->form->indent == NULL) return SG_OK;
    SG_TRY(text_word(w, "\n"));
    for (int i = 0; i < w->depth; i++)
        SG_TRY(text_add(w, w->form->indent, w->form->indent_bytes));
    return SG_OK;
}

static sg_status text_json_next(text_writer *w, size_t index)
{
    const sg_chat_value *between = &w->form->item_separator;
    if (index > 0) SG_TRY(text_add(w, between->text, between->count));
    return text_json_line(w);
}

static sg_status text_json_row(text_writer *w, const sg_chat_value *v)
{
    if (v->count == 0) return text_word(w, "[]");
    SG_TRY(text_word(w, "["));
    SG_TRY(text_enter(w));
    for (size_t i = 0; i < v->count; i++) {
        SG_TRY(text_json_next(w, i));
        SG_TRY(text_json(w, &v->items[i]));
    }
    w->depth--;
    SG_TRY(text_json_line(w));
    return text_word(w, "]");
}

static sg_status text_json_key(text_writer *w, const sg_chat_value *key)
{
    if (key->type == SG_CHAT_IS_STRING) return text_json_string(w, key);
    if (key->type != SG_CHAT_IS_NONE && !sg_chat_is_number(key))
        return sg_chat_refuse(w->run, SG_ERR_ARGUMENT, "%s as a key in JSON",
                              sg_chat_type_name(key));
    SG_TRY(text_word(w, "\""));
    SG_TRY(text_json(w, key));
    return text_word(w, "\"");
}

// The pairs in the order of their keys, by insertion: sort_keys is rare, and maps are small.
static sg_status text_sorted(sg_chat_run *r, const sg_chat_map *map, const sg_chat_pair **pairs)
{
    void *made;
    SG_TRY(sg_chat_memory(r, map->count * sizeof **pairs, &made));
    sg_chat_pair *sorted = made;
    for (size_t i = 0; i < map->count; i++) {
        size_t at = i;
        int order = 1;
        while (at > 0) {
            SG_TRY(sg_chat_order(r, &map->pairs[i].key, &sorted[at - 1].key, &order));
            if (order >= 0) break;
            sorted[at] = sorted[at - 1];
            at--;
        }
        sorted[at] = map->pairs[i];
    }
    *pairs = sorted;
    return SG_OK;
}

static sg_status text_json_map(text_writer *w, const sg_chat_map *map)
{
    const sg_chat_value *between = &w->form->key_separator;
    const sg_chat_pair *pairs = map->pairs;
    if (map->count == 0) return text_word(w, "{}");
    if (w->form->sort) SG_TRY(text_sorted(w->run, map, &pairs));
    SG_TRY(text_word(w, "{"));
    SG_TRY(text_enter(w));
    for (size_t i = 0; i < map->count; i++) {
        SG_TRY(text_json_next(w, i));
        SG_TRY(text_json_key(w, &pairs[i].key));
        SG_TRY(text_add(w, between->text, between->count));
        SG_TRY(text_json(w, &pairs[i].value));
    }
    w->depth--;
    SG_TRY(text_json_line(w));
    return text_word(w, "}");
}

static sg_status text_json(text_writer *w, const sg_chat_value *v)
{
    switch (v->type) {
    case SG_CHAT_IS_STRING:
        return text_json_string(w, v);
    case SG_CHAT_IS_NONE:
        return text_word(w, "null");
    case SG_CHAT_IS_BOOL:
        return text_word(w, v->integer ? "true" : "false");
    case SG_CHAT_IS_INTEGER:
        return text_integer(w, v->integer);
    case SG_CHAT_IS_REAL:
        if (isfinite(v->real)) return text_real(w, v->real);
        return text_word(w, isnan(v->real) ? "NaN" : v->real < 0 ? "-Infinity" : "Infinity");
    case SG_CHAT_IS_LIST:
    case SG_CHAT_IS_TUPLE:
        return text_json_row(w, v);
    case SG_CHAT_IS_MAP:
        return text_json_map(w, v->map);
    default:
        return sg_chat_refuse(w->run, SG_ERR_ARGUMENT, "%s has no form in JSON",
                              sg_chat_type_name(v));
    }
}

sg_status sg_chat_json(sg_chat_run *r, const sg_chat_value *value, const sg_chat_json_form *form,
                       sg_chat_value *out)
{
    text_writer w = {.run = r, .form = form};
    return text_finish(&w, text_json(&w, value), out);
}

// ---- JSON read --------------------------------------------------------------------------------

static sg_status text_convert(sg_chat_run *r, const json_t *json, int depth, sg_chat_value *out);

static sg_status text_convert_string(sg_chat_run *r, const char *text, size_t bytes,
                                     sg_chat_value *out)
{
    void *copy;
    SG_TRY(sg_chat_memory(r, bytes, &copy));
    memcpy(copy, text, bytes);
    ((char *)copy)[bytes] = '\0'; // names of variables are made of keys
    *out = sg_chat_string(copy, bytes);
    return SG_OK;
}

static sg_status text_convert_rows(sg_chat_run *r, const json_t *json, int depth,
                                   sg_chat_value *out)
{
    if (depth > SG_CHAT_VALUE_DEPTH_MAX)
        return sg_fail(r->err, SG_ERR_FORMAT, "JSON for a chat: nests too deep");
    size_t count = json_is_array(json) ? json_array_size(json) : json_object_size(json);
    if (json_is_array(json)) {
        sg_chat_value *items;
        SG_TRY(sg_chat_new_items(r, count, &items));
        for (size_t i = 0; i < count; i++)
            SG_TRY(text_convert(r, json_array_get(json, i), depth, &items[i]));
        *out = sg_chat_list(SG_CHAT_IS_LIST, items, count);
        return SG_OK;
    }
    json_t *object = (json_t *)json; // only read
    SG_TRY(sg_chat_new_map(r, count, out));
    for (void *at = json_object_iter(object); at != NULL; at = json_object_iter_next(object, at)) {
        sg_chat_pair *pair = &out->map->pairs[out->map->count++];
        SG_TRY(text_convert_string(r, json_object_iter_key(at), json_object_iter_key_len(at),
                                   &pair->key));
        SG_TRY(text_convert(r, json_object_iter_value(at), depth, &pair->value));
    }
    return SG_OK;
}

// A number that jansson's types do not hold. Python makes a float of all that are not whole.
static sg_status text_convert_unheld(sg_chat_run *r, const char *digits, sg_chat_value *out)
{
    if (strpbrk(digits, ".eEN") == NULL && strstr(digits, "Inf") == NULL)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "JSON for a chat: the integer %.40s is beyond 64 bits", digits);
    *out = sg_chat_real(sg_json_double(digits));
    return SG_OK;
}

static sg_status text_convert(sg_chat_run *r, const json_t *json, int depth, sg_chat_value *out)
{
    const json_t *unheld = json_object_getn(json, SG_JSON_UNHELD, sizeof SG_JSON_UNHELD - 1);
    if (unheld != NULL) return text_convert_unheld(r, json_string_value(unheld), out);
    *out = sg_chat_none();
    switch (json_typeof(json)) {
    case JSON_NULL:
        return SG_OK;
    case JSON_TRUE:
    case JSON_FALSE:
        *out = sg_chat_bool(json_is_true(json));
        return SG_OK;
    case JSON_INTEGER:
        *out = sg_chat_integer(json_integer_value(json));
        return SG_OK;
    case JSON_REAL:
        *out = sg_chat_real(json_real_value(json));
        return SG_OK;
    case JSON_STRING:
        return text_convert_string(r, json_string_value(json), json_string_length(json), out);
    case JSON_ARRAY:
    case JSON_OBJECT:
        return text_convert_rows(r, json, depth + 1, out);
    }
    return SG_OK;
}

sg_status sg_chat_from_json(sg_chat_run *r, const char *json, const char *name, sg_chat_value *out)
{
    json_t *value;
    SG_TRY(sg_json_parse(json, strlen(json), name, &value, r->err));
    sg_status status = text_convert(r, value, 0, out);
    json_decref(value);
    return status;
}

// ---- HTML -------------------------------------------------------------------------------------

sg_status sg_chat_escape(sg_chat_run *r, const sg_chat_value *text, sg_chat_value *out)
{
    static const struct {
        char sign;
        const char *text;
    } signs[] = {{'&', "&amp;"}, {'<', "&lt;"}, {'>', "&gt;"}, {'\'', "&#39;"}, {'"', "&#34;"}};
    text_writer w = {.run = r};
    sg_status status = SG_OK;
    for (size_t i = 0; i < text->count && status == SG_OK; i++) {
        const char *sign = NULL;
        for (size_t k = 0; k < sizeof signs / sizeof *signs; k++)
            if (text->text[i] == signs[k].sign) sign = signs[k].text;
        status = sign != NULL ? text_word(&w, sign) : text_add(&w, text->text + i, 1);
    }
    status = text_finish(&w, status, out);
    out->markup = true;
    return status;
}
