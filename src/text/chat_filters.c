// The filters of chat templates: the table, and those that work on texts and numbers.
#include "text/chat_filters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/chat_strings.h"

#define FILTER(name)                                                                               \
    static sg_status filter_##name(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)

// ---- texts ------------------------------------------------------------------------------------

FILTER(string)
{
    return sg_chat_str(r, &v[0], out);
}

FILTER(safe)
{
    SG_TRY(sg_chat_str(r, &v[0], out));
    out->markup = true;
    return SG_OK;
}

FILTER(escape)
{
    SG_TRY(sg_chat_str(r, &v[0], out));
    sg_chat_value text = *out;
    return text.markup ? SG_OK : sg_chat_escape(r, &text, out);
}

FILTER(forceescape)
{
    sg_chat_value text;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    return sg_chat_escape(r, &text, out);
}

FILTER(trim)
{
    sg_chat_value text;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    return sg_chat_trimmed(r, &text, &v[1], true, true, out);
}

FILTER(upper)
{
    sg_chat_value text;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    return sg_chat_recase(r, &text, SG_CHAT_UPPER, SG_CHAT_UPPER, out);
}

FILTER(lower)
{
    sg_chat_value text;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    return sg_chat_recase(r, &text, SG_CHAT_LOWER, SG_CHAT_LOWER, out);
}

FILTER(capitalize)
{
    sg_chat_value text;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    return sg_chat_recase(r, &text, SG_CHAT_TITLE, SG_CHAT_LOWER, out);
}

// Words begin behind white space and any of - ( { [ <.
FILTER(title)
{
    sg_chat_value text, word;
    sg_bytes made = {0};
    sg_status status = SG_OK;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    for (size_t at = 0; at < text.count && status == SG_OK;) {
        size_t end = at, length = 1;
        bool between = false;
        while (end < text.count) {
            bool splits = strchr("-({[<", text.text[end]) != NULL ||
                          sg_chat_space_at(text.text + end, &length);
            if (strchr("-({[<", text.text[end]) != NULL) length = 1;
            if (end == at) between = splits;
            if (splits != between) break;
            end += length;
        }
        word = sg_chat_string(text.text + at, end - at);
        if (!between) status = sg_chat_recase(r, &word, SG_CHAT_UPPER, SG_CHAT_LOWER, &word);
        sg_chat_grow(r, &made, word.text, word.count, &status);
        at = end;
    }
    return sg_chat_grown(r, &made, status, out);
}

FILTER(center)
{
    sg_chat_value text;
    int64_t width;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    SG_TRY(sg_chat_whole(r, &v[1], 80, &width));
    return sg_chat_padded(r, &text, width, " ", '^', out);
}

FILTER(replace) // old new count
{
    sg_chat_value text, old, made;
    int64_t most;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    SG_TRY(sg_chat_str(r, &v[1], &old));
    SG_TRY(sg_chat_str(r, &v[2], &made));
    SG_TRY(sg_chat_whole(r, &v[3], -1, &most));
    return sg_chat_replaced(r, &text, &old, &made, most, out);
}

FILTER(indent) // width first blank
{
    sg_chat_value step = v[1], text, lines, space = sg_chat_word(" ");
    sg_bytes made = {0};
    sg_status status = SG_OK;
    int64_t width = 4;
    bool first = sg_chat_truth(&v[2]), blank = sg_chat_truth(&v[3]);
    SG_TRY(sg_chat_str(r, &v[0], &text));
    if (step.type != SG_CHAT_IS_STRING) {
        SG_TRY(sg_chat_whole(r, &v[1], 4, &width));
        space = sg_chat_string("", 0);
        SG_TRY(sg_chat_padded(r, &space, width, " ", '<', &step));
    }
    // A line end at the end has an empty line behind it.
    sg_chat_value end = sg_chat_word("\n"), whole;
    SG_TRY(sg_chat_add(r, &text, &end, &whole));
    SG_TRY(sg_chat_lines(r, &whole, false, &lines));
    for (size_t i = 0; i < lines.count; i++) {
        bool indented = i == 0 ? first : blank || lines.items[i].count > 0;
        if (i > 0) sg_chat_grow(r, &made, "\n", 1, &status);
        if (indented) sg_chat_grow(r, &made, step.text, step.count, &status);
        sg_chat_grow(r, &made, lines.items[i].text, lines.items[i].count, &status);
    }
    return sg_chat_grown(r, &made, status, out);
}

FILTER(truncate) // length killwords end leeway
{
    int64_t length, leeway;
    sg_chat_value text, end = v[3], space = sg_chat_word(" "), parts;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    SG_TRY(sg_chat_whole(r, &v[1], 255, &length));
    SG_TRY(sg_chat_whole(r, &v[4], 5, &leeway));
    if (end.type == SG_CHAT_IS_ABSENT) end = sg_chat_word("...");
    SG_TRY(sg_chat_must_be_string(r, &end));
    SG_TRY(sg_chat_pay_bytes(r, 4 * text.count));
    int64_t count = (int64_t)sg_chat_characters(text.text, text.count);
    int64_t room = length - (int64_t)sg_chat_characters(end.text, end.count);
    if (room < 0 || leeway < 0) return sg_chat_refuse(r, SG_ERR_ARGUMENT, "truncate to so little");
    *out = text;
    if (count <= length + leeway) return SG_OK;
    const char *at = text.text;
    uint32_t code;
    for (int64_t i = 0; i < room; i++)
        at += sg_utf8_decode_valid(at, &code);
    text.count = (size_t)(at - text.text);
    if (!sg_chat_truth(&v[2])) {
        SG_TRY(sg_chat_split(r, &text, &space, 1, true, &parts));
        text = parts.items[0];
    }
    return sg_chat_add(r, &text, &end, out);
}

FILTER(wordcount)
{
    sg_chat_value text;
    int64_t count = 0;
    bool inside = false;
    SG_TRY(sg_chat_str(r, &v[0], &text));
    SG_TRY(sg_chat_pay_bytes(r, 8 * text.count));
    for (size_t i = 0; i < text.count;) {
        uint32_t code;
        i += (size_t)sg_utf8_decode_valid(text.text + i, &code);
        bool word = sg_char_is_word(code);
        count += word && !inside;
        inside = word;
    }
    *out = sg_chat_integer(count);
    return SG_OK;
}

FILTER(urlencode)
{
    sg_chat_value text;
    sg_bytes made = {0};
    sg_status status = SG_OK;
    if (v[0].type >= SG_CHAT_IS_LIST)
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "urlencode of %s", sg_chat_type_name(&v[0]));
    SG_TRY(sg_chat_str(r, &v[0], &text));
    for (size_t i = 0; i < text.count && status == SG_OK; i++) {
        char c = text.text[i], code[4];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     (c != '\0' && strchr("_.-~/", c) != NULL);
        snprintf(code, sizeof code, "%%%02X", (unsigned char)c);
        sg_chat_grow(r, &made, plain ? &text.text[i] : code, plain ? 1 : 3, &status);
    }
    return sg_chat_grown(r, &made, status, out);
}

FILTER(xmlattr) // autospace
{
    sg_bytes made = {0};
    sg_status status = SG_OK;
    bool space = v[1].type == SG_CHAT_IS_ABSENT || sg_chat_truth(&v[1]);
    if (v[0].type != SG_CHAT_IS_MAP)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "xmlattr of %s", sg_chat_type_name(&v[0]));
    for (size_t i = 0; i < v[0].map->count && status == SG_OK; i++) {
        const sg_chat_pair *pair = &v[0].map->pairs[i];
        sg_chat_value key = pair->key, value;
        if (pair->value.type <= SG_CHAT_IS_NONE) continue;
        status = sg_chat_str(r, &pair->value, &value);
        if (status == SG_OK) status = sg_chat_must_be_string(r, &key);
        for (size_t k = 0; status == SG_OK && k < key.count; k++)
            if (strchr(" \t\n\v\f\r/>=", key.text[k]) != NULL)
                status = sg_chat_refuse(r, SG_ERR_ARGUMENT, "such a name in xmlattr");
        if (status == SG_OK && !key.markup) status = sg_chat_escape(r, &key, &key);
        if (status == SG_OK && !value.markup) status = sg_chat_escape(r, &value, &value);
        if (made.count > 0 || space) sg_chat_grow(r, &made, " ", 1, &status);
        sg_chat_grow(r, &made, key.text, key.count, &status);
        sg_chat_grow(r, &made, "=\"", 2, &status);
        sg_chat_grow(r, &made, value.text, value.count, &status);
        sg_chat_grow(r, &made, "\"", 1, &status);
    }
    return sg_chat_grown(r, &made, status, out);
}

FILTER(format) // * **
{
    sg_chat_value text, values = v[1];
    SG_TRY(sg_chat_str(r, &v[0], &text));
    if (v[1].count > 0 && v[2].map->count > 0)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "format with values by place and by name");
    if (v[2].map->count > 0) values = v[2];
    return sg_chat_percent(r, &text, &values, out);
}

// ---- JSON -------------------------------------------------------------------------------------

// tojson(ensure_ascii, indent, separators, sort_keys), which Hugging Face has in place of Jinja's.
FILTER(tojson)
{
    sg_chat_json_form form = {.ascii = sg_chat_truth(&v[1]),
                              .sort = sg_chat_truth(&v[4]),
                              .item_separator = sg_chat_word(", "),
                              .key_separator = sg_chat_word(": ")};
    sg_chat_value step = v[2], empty = sg_chat_string("", 0);
    int64_t width;
    if (v[2].type != SG_CHAT_IS_ABSENT && v[2].type != SG_CHAT_IS_NONE) {
        form.item_separator = sg_chat_word(",");
        if (step.type != SG_CHAT_IS_STRING) {
            SG_TRY(sg_chat_whole(r, &v[2], 0, &width));
            SG_TRY(sg_chat_padded(r, &empty, width, " ", '<', &step));
        }
        form.indent = step.text;
        form.indent_bytes = step.count;
    }
    if (v[3].type != SG_CHAT_IS_ABSENT && v[3].type != SG_CHAT_IS_NONE) {
        const sg_chat_value *pair;
        size_t count;
        SG_TRY(sg_chat_each(r, &v[3], &pair, &count));
        if (count != 2) return sg_chat_refuse(r, SG_ERR_ARGUMENT, "other than two separators");
        SG_TRY(sg_chat_must_be_string(r, &pair[0]));
        SG_TRY(sg_chat_must_be_string(r, &pair[1]));
        form.item_separator = pair[0];
        form.key_separator = pair[1];
    }
    return sg_chat_json(r, &v[0], &form, out);
}

// ---- numbers ----------------------------------------------------------------------------------

FILTER(abs)
{
    *out = v[0];
    if (!sg_chat_is_number(&v[0]))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "abs of %s", sg_chat_type_name(&v[0]));
    if (v[0].type == SG_CHAT_IS_REAL) {
        out->real = fabs(v[0].real);
        return SG_OK;
    }
    if (v[0].integer == INT64_MIN)
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "a number beyond 64 bits");
    *out = sg_chat_integer(v[0].integer < 0 ? -v[0].integer : v[0].integer);
    return SG_OK;
}

FILTER(round) // precision method
{
    int64_t precision;
    char text[400];
    SG_TRY(sg_chat_whole(r, &v[1], 0, &precision));
    bool up = sg_chat_is(&v[2], "ceil"), down = sg_chat_is(&v[2], "floor");
    bool common = v[2].type == SG_CHAT_IS_ABSENT || sg_chat_is(&v[2], "common");
    if (!sg_chat_is_number(&v[0]) || (!up && !down && !common))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "round of such a value, or in such a way");
    if (precision < 0 || precision > 20)
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "round to %lld places", (long long)precision);
    double real = sg_chat_number(&v[0]);
    if (common && sg_chat_is_whole(&v[0])) {
        *out = sg_chat_integer(v[0].integer);
    } else if (common && isfinite(real)) { // the decimal nearest to what the double is exactly
        snprintf(text, sizeof text, "%.*f", (int)precision, real);
        *out = sg_chat_real(strtod(text, NULL));
    } else {
        double scale = pow(10, (double)precision);
        *out =
            sg_chat_real(common ? real : (up ? ceil(real * scale) : floor(real * scale)) / scale);
    }
    return SG_OK;
}

// A number as Python's float() reads it, white space at the ends and single underscores between
// digits left out. false: none.
static bool filter_read_real(const sg_chat_value *v, double *out)
{
    char text[128];
    size_t count = v->count, used = 0;
    const char *from = sg_chat_strip(v->text, &count, true, true);
    if (count == 0 || count >= sizeof text) return false;
    bool digits = false;
    for (size_t i = 0; i < count; i++) {
        char c = from[i];
        if (c == '_' && i > 0 && i + 1 < count && strchr("0123456789", from[i - 1]) != NULL &&
            strchr("0123456789", from[i + 1]) != NULL)
            continue;
        if (c == '\0' || strchr("+-0123456789.eEinfatyINFATY", c) == NULL) return false;
        digits = digits || (c >= '0' && c <= '9');
        text[used++] = c;
    }
    text[used] = '\0';
    char *end;
    const char *word = text + (text[0] == '+' || text[0] == '-');
    bool named = strcasecmp(word, "inf") == 0 || strcasecmp(word, "infinity") == 0 ||
                 strcasecmp(word, "nan") == 0;
    if (!named && (!digits || strpbrk(text, "inftayINFTAY") != NULL)) return false;
    *out = strtod(text, &end);
    return *end == '\0';
}

// A whole number in a base as Python's int() reads it.
static bool filter_read_whole(const sg_chat_value *v, int64_t base, int64_t *out, bool *over)
{
    size_t count = v->count, at = 0;
    const char *text = sg_chat_strip(v->text, &count, true, true);
    bool minus = count > 0 && text[0] == '-';
    at += minus || (count > 0 && text[0] == '+');
    char mark = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';
    if (mark != '\0' && at + 2 < count && text[at] == '0' && (text[at + 1] | 0x20) == mark) at += 2;
    *out = 0;
    *over = false;
    bool any = false;
    for (; at < count; at++) {
        char c = text[at];
        if (c == '_' && any && at + 1 < count && text[at + 1] != '_') continue;
        int digit = c >= '0' && c <= '9'   ? c - '0'
                    : c >= 'a' && c <= 'z' ? c - 'a' + 10
                    : c >= 'A' && c <= 'Z' ? c - 'A' + 10
                                           : 99;
        if (digit >= base) return false;
        any = true;
        *over = *over || __builtin_mul_overflow(*out, base, out) ||
                __builtin_sub_overflow(*out, (int64_t)digit, out);
    }
    if (!minus) *over = *over || __builtin_sub_overflow((int64_t)0, *out, out);
    return any;
}

FILTER(int) // default base
{
    int64_t base, whole;
    bool over = false;
    double real = NAN;
    SG_TRY(sg_chat_whole(r, &v[2], 10, &base));
    *out = v[1].type == SG_CHAT_IS_ABSENT ? sg_chat_integer(0) : v[1];
    if (v[0].type == SG_CHAT_IS_UNDEFINED)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "int of an undefined value");
    if (sg_chat_is_whole(&v[0])) *out = sg_chat_integer(v[0].integer);
    if (v[0].type == SG_CHAT_IS_STRING) {
        if (base < 2 || base > 36)
            return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "int to the base %lld", (long long)base);
        SG_TRY(sg_chat_pay_bytes(r, v[0].count));
        if (filter_read_whole(&v[0], base, &whole, &over) && !over)
            *out = sg_chat_integer(whole);
        else if (!over && !filter_read_real(&v[0], &real))
            return SG_OK;
    } else if (v[0].type == SG_CHAT_IS_REAL) {
        real = v[0].real;
    }
    if (over || fabs(real) >= 0x1p63)
        return isinf(real) && !over
                   ? (v[0].type == SG_CHAT_IS_STRING
                          ? SG_OK
                          : sg_chat_refuse(r, SG_ERR_ARGUMENT, "int of infinity"))
                   : sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "a number beyond 64 bits");
    if (!isnan(real)) *out = sg_chat_integer((int64_t)real);
    return SG_OK;
}

FILTER(float) // default
{
    double real;
    *out = v[1].type == SG_CHAT_IS_ABSENT ? sg_chat_real(0) : v[1];
    if (v[0].type == SG_CHAT_IS_UNDEFINED)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "float of an undefined value");
    if (sg_chat_is_number(&v[0])) *out = sg_chat_real(sg_chat_number(&v[0]));
    if (v[0].type == SG_CHAT_IS_STRING && filter_read_real(&v[0], &real)) *out = sg_chat_real(real);
    return SG_OK;
}

// ---- others -----------------------------------------------------------------------------------

FILTER(default) // default_value boolean
{
    (void)r;
    bool missing =
        v[0].type == SG_CHAT_IS_UNDEFINED || (sg_chat_truth(&v[2]) && !sg_chat_truth(&v[0]));
    *out = !missing ? v[0] : v[1].type == SG_CHAT_IS_ABSENT ? sg_chat_string("", 0) : v[1];
    return SG_OK;
}

FILTER(attr) // name
{
    sg_chat_value name;
    SG_TRY(sg_chat_str(r, &v[1], &name));
    *out = sg_chat_undefined(NULL, 0);
    // Of a map these are its methods, not its members.
    if (v[0].type == SG_CHAT_IS_MAP && sg_chat_method_row(&v[0], name.text, name.count) == NULL)
        return SG_OK;
    if (v[0].type == SG_CHAT_IS_UNDEFINED) return SG_OK;
    return sg_chat_attribute(r, &v[0], name.text, name.count, out);
}

static const sg_chat_row filters[] = {
    {"abs", 0, "", filter_abs},
    {"attr", 1, "name", filter_attr},
    {"batch", 1, "linecount fill_with", sg_chat_filter_batch},
    {"capitalize", 0, "", filter_capitalize},
    {"center", 0, "width", filter_center},
    {"count", 0, "", sg_chat_filter_length},
    {"d", 0, "default_value boolean", filter_default},
    {"default", 0, "default_value boolean", filter_default},
    {"dictsort", 0, "case_sensitive by reverse", sg_chat_filter_dictsort},
    {"e", 0, "", filter_escape},
    {"escape", 0, "", filter_escape},
    {"filesizeformat", 0, "binary", NULL},
    {"first", 0, "", sg_chat_filter_first},
    {"float", 0, "default", filter_float},
    {"forceescape", 0, "", filter_forceescape},
    {"format", 0, "* **", filter_format},
    {"groupby", 1, "attribute default case_sensitive", sg_chat_filter_groupby},
    {"indent", 0, "width first blank", filter_indent},
    {"int", 0, "default base", filter_int},
    {"items", 0, "", sg_chat_filter_items},
    {"join", 0, "d attribute", sg_chat_filter_join},
    {"last", 0, "", sg_chat_filter_last},
    {"length", 0, "", sg_chat_filter_length},
    {"list", 0, "", sg_chat_filter_list},
    {"lower", 0, "", filter_lower},
    {"map", 0, "* **", sg_chat_filter_map},
    {"max", 0, "case_sensitive attribute", sg_chat_filter_max},
    {"min", 0, "case_sensitive attribute", sg_chat_filter_min},
    {"pprint", 0, "", NULL},
    {"random", 0, "", NULL},
    {"reject", 0, "* **", sg_chat_filter_reject},
    {"rejectattr", 0, "* **", sg_chat_filter_rejectattr},
    {"replace", 2, "old new count", filter_replace},
    {"reverse", 0, "", sg_chat_filter_reverse},
    {"round", 0, "precision method", filter_round},
    {"safe", 0, "", filter_safe},
    {"select", 0, "* **", sg_chat_filter_select},
    {"selectattr", 0, "* **", sg_chat_filter_selectattr},
    {"slice", 1, "slices fill_with", sg_chat_filter_slice},
    {"sort", 0, "reverse case_sensitive attribute", sg_chat_filter_sort},
    {"string", 0, "", filter_string},
    {"striptags", 0, "", NULL},
    {"sum", 0, "attribute start", sg_chat_filter_sum},
    {"title", 0, "", filter_title},
    {"tojson", 0, "ensure_ascii indent separators sort_keys", filter_tojson},
    {"trim", 0, "chars", filter_trim},
    {"truncate", 0, "length killwords end leeway", filter_truncate},
    {"unique", 0, "case_sensitive attribute", sg_chat_filter_unique},
    {"upper", 0, "", filter_upper},
    {"urlencode", 0, "", filter_urlencode},
    {"urlize", 0, "* **", NULL},
    {"wordcount", 0, "", filter_wordcount},
    {"wordwrap", 0, "* **", NULL},
    {"xmlattr", 0, "autospace", filter_xmlattr},
};

const sg_chat_row *sg_chat_filter_row(const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof filters / sizeof *filters; i++)
        if (strlen(filters[i].name) == bytes && memcmp(filters[i].name, name, bytes) == 0)
            return &filters[i];
    return NULL;
}
