// Python's two ways of formatting in chat templates: text % values and text.format(values).
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/chat_strings.h"
#include "text/chat_value.h"

enum { form_precision_max = 100, form_width_max = 1 << 20 };

// [[fill]align][sign][#][0][width][,][.precision][type], in either way of writing it.
typedef struct form_spec {
    char fill[8];
    char align; // < > ^ =, or 0: as the type has it
    char sign;  // + - space
    char group; // , _ or 0
    char type;  // 0: none
    bool other; // #
    int64_t width;
    int precision; // -1: none
} form_spec;

// The digits of a whole number in the base of a type, its sign left out.
static void form_whole(const form_spec *s, int64_t integer, char *text, size_t room)
{
    uint64_t size = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
    const char *mark = !s->other        ? ""
                       : s->type == 'x' ? "0x"
                       : s->type == 'X' ? "0X"
                       : s->type == 'o' ? "0o"
                       : s->type == 'b' ? "0b"
                                        : "";
    if (s->type == 'x') snprintf(text, room, "%s%" PRIx64, mark, size);
    if (s->type == 'X') snprintf(text, room, "%s%" PRIX64, mark, size);
    if (s->type == 'o') snprintf(text, room, "%s%" PRIo64, mark, size);
    if (s->type == 'd') snprintf(text, room, "%" PRIu64, size);
    if (s->type != 'b') return;
    int bits = 1;
    while (bits < 64 && size >> bits != 0)
        bits++;
    size_t at = (size_t)snprintf(text, room, "%s", mark);
    while (bits > 0)
        text[at++] = (char)('0' + (size >> --bits & 1));
    text[at] = '\0';
}

static void form_real(const form_spec *s, double real, char *text, size_t room)
{
    char pattern[8];
    int precision = s->precision < 0 ? 6 : s->precision;
    double size = fabs(real);
    if (!isfinite(size)) {
        bool upper = s->type == 'F' || s->type == 'E' || s->type == 'G';
        snprintf(text, room, "%s", isnan(size) ? upper ? "NAN" : "nan" : upper ? "INF" : "inf");
    } else if (s->type == '%') {
        snprintf(text, room, "%.*f%%", precision, 100 * size);
    } else {
        snprintf(pattern, sizeof pattern, "%%%s.*%c", s->other ? "#" : "", s->type);
        snprintf(text, room, pattern, precision, size);
    }
}

// Puts a comma, or underscore, between thousands.
static void form_group(char *text, char group, size_t room)
{
    size_t digits = strspn(text, "0123456789"), length = strlen(text);
    size_t marks = digits == 0 ? 0 : (digits - 1) / 3;
    if (group == 0 || length + marks + 1 > room) return;
    memmove(text + digits + marks, text + digits, length - digits + 1);
    for (size_t from = digits, to = digits + marks, i = 0; from > 0; i++) {
        if (i > 0 && i % 3 == 0) text[--to] = group;
        text[--to] = text[--from];
    }
}

// Sign and digits, filled up to the width.
static sg_status form_number(sg_chat_run *r, const form_spec *s, bool negative, const char *digits,
                             sg_chat_value *out)
{
    const char sign[2] = {negative ? '-' : s->sign == '-' ? '\0' : s->sign, '\0'};
    char align = s->align == 0 ? '>' : s->align;
    size_t mark =
        digits[0] == '0' && strchr("xXob", digits[1]) != NULL && digits[1] != '\0' ? 2 : 0;
    sg_chat_value head = sg_chat_word(sign), body = sg_chat_word(digits), front;
    void *copy; // digits and sign are the caller's
    SG_TRY(sg_chat_memory(r, strlen(digits) + 2, &copy));
    memcpy(copy, sign, strlen(sign) + 1);
    head.text = copy;
    memcpy((char *)copy + head.count, digits, body.count + 1);
    if (align != '=') {
        body = sg_chat_string(copy, head.count + body.count);
        return sg_chat_padded(r, &body, s->width, s->fill, align, out);
    }
    front = sg_chat_string(copy, head.count + mark);
    body = sg_chat_string((char *)copy + front.count, body.count - mark);
    int64_t width = s->width - (int64_t)front.count;
    if (s->group != 0 && s->fill[0] == '0')
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "zeros in front of grouped digits");
    SG_TRY(sg_chat_padded(r, &body, width, s->fill, '>', &body));
    return sg_chat_add(r, &front, &body, out);
}

static sg_status form_text(sg_chat_run *r, const form_spec *s, const sg_chat_value *text,
                           sg_chat_value *out)
{
    sg_chat_value cut = *text;
    SG_TRY(sg_chat_pay_bytes(r, text->count));
    uint32_t code;
    size_t end = 0;
    for (int i = 0; i < s->precision && end < text->count; i++)
        end += (size_t)sg_utf8_decode_valid(text->text + end, &code);
    if (s->precision >= 0) cut.count = end;
    return sg_chat_padded(r, &cut, s->width, s->fill, s->align == 0 ? '<' : s->align, out);
}

static sg_status form_character(sg_chat_run *r, form_spec s, int64_t code, sg_chat_value *out)
{
    char bytes[4];
    if (code < 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "the character of such a number");
    sg_chat_value text = sg_chat_string(bytes, (size_t)sg_utf8_encode((uint32_t)code, bytes));
    s.precision = -1;
    return form_text(r, &s, &text, out);
}

static sg_status form_any_number(sg_chat_run *r, form_spec s, const sg_chat_value *v,
                                 sg_chat_value *out)
{
    char digits[512];
    bool real = strchr("fFeEgG%", s.type) != NULL && s.type != 0;
    if (s.precision > form_precision_max)
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "more than 100 places");
    if (s.type == 'c' && sg_chat_is_whole(v)) return form_character(r, s, v->integer, out);
    if (s.type == 'n') return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "the format n");
    if (!real && v->type == SG_CHAT_IS_REAL) {
        if (s.type != 0) return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a whole number's format");
        if (s.precision >= 0)
            return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "a precision without a type");
        sg_chat_real_text(fabs(v->real), digits);
    } else if (real) {
        form_real(&s, sg_chat_number(v), digits, sizeof digits);
    } else {
        if (s.precision >= 0)
            return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a precision for a whole number");
        if (s.type == 0) s.type = 'd';
        form_whole(&s, v->integer, digits, sizeof digits);
    }
    form_group(digits, s.group, sizeof digits);
    bool negative =
        v->type == SG_CHAT_IS_REAL ? signbit(v->real) && !isnan(v->real) : v->integer < 0;
    return form_number(r, &s, negative, digits, out);
}

// ---- text % values ----------------------------------------------------------------------------

typedef struct form_reader {
    sg_chat_run *run;
    const sg_chat_value *text;
    size_t at;
    sg_bytes made;
    sg_status status;
    const sg_chat_value *values; // (count) by place
    size_t count, next;
    bool automatic, numbered; // {} and {0} do not mix
    const sg_chat_map *names; // NULL: none
} form_reader;

static char form_char(const form_reader *f)
{
    return f->at < f->text->count ? f->text->text[f->at] : '\0';
}

static sg_status form_integer(form_reader *f, int64_t *out)
{
    *out = 0;
    while (form_char(f) >= '0' && form_char(f) <= '9') {
        *out = *out * 10 + (form_char(f) - '0');
        f->at++;
        if (*out > form_width_max)
            return sg_chat_refuse(f->run, SG_ERR_FORMAT, "makes too much text");
    }
    return SG_OK;
}

static sg_status form_next(form_reader *f, sg_chat_value *out)
{
    if (f->next >= f->count)
        return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "too few values for a format");
    *out = f->values[f->next++];
    return SG_OK;
}

// %(name)s
static sg_status form_percent_name(form_reader *f, sg_chat_value *out)
{
    const char *begin = f->text->text + f->at + 1;
    const char *end = memchr(begin, ')', f->text->count - f->at - 1);
    sg_chat_value *found = NULL;
    if (end == NULL) return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "a format without its end");
    sg_chat_value key = sg_chat_string(begin, (size_t)(end - begin));
    if (f->names != NULL) SG_TRY(sg_chat_get(f->run, f->names, &key, &found));
    if (found == NULL) return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "no value for a format");
    *out = *found;
    f->at = (size_t)(end - f->text->text) + 1;
    f->next = f->count;
    return SG_OK;
}

static sg_status form_percent_width(form_reader *f, int64_t *out)
{
    sg_chat_value v;
    if (form_char(f) != '*') return form_integer(f, out);
    f->at++;
    SG_TRY(form_next(f, &v));
    if (!sg_chat_is_whole(&v) || v.integer < -form_width_max || v.integer > form_width_max)
        return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "such a width");
    *out = v.integer;
    return SG_OK;
}

static sg_status form_percent_value(form_reader *f, form_spec s, const sg_chat_value *v,
                                    sg_chat_value *out)
{
    if (s.type == 's' || s.type == 'r' || s.type == 'a') {
        sg_chat_value text;
        SG_TRY(s.type == 's' ? sg_chat_str(f->run, v, &text) : sg_chat_repr(f->run, v, &text));
        if (s.type == 'a') return sg_chat_refuse(f->run, SG_ERR_UNSUPPORTED, "the format %%a");
        s.align = s.align == '<' ? '<' : '>';
        strcpy(s.fill, " ");
        return form_text(f->run, &s, &text, out);
    }
    if (s.type == 'c' && v->type == SG_CHAT_IS_STRING) {
        if (sg_chat_characters(v->text, v->count) != 1)
            return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "%%c of more than a character");
        return form_text(f->run, &s, v, out);
    }
    if (!sg_chat_is_number(v))
        return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "%%%c of %s", s.type, sg_chat_type_name(v));
    sg_chat_value number = *v;
    if (strchr("diu", s.type) != NULL) {
        s.type = 'd';
        if (s.precision >= 0)
            return sg_chat_refuse(f->run, SG_ERR_UNSUPPORTED, "a precision of %%d");
        if (v->type == SG_CHAT_IS_REAL && fabs(v->real) < 0x1p62)
            number = sg_chat_integer((int64_t)v->real);
    }
    if (s.type == 'c') s.align = s.align == '<' ? '<' : '>';
    return form_any_number(f->run, s, &number, out);
}

static sg_status form_percent_one(form_reader *f)
{
    form_spec s = {.fill = " ", .sign = '-', .precision = -1};
    sg_chat_value value = {0}, made;
    bool zero = false, named = false;
    f->at++;
    if (form_char(f) == '(') {
        SG_TRY(form_percent_name(f, &value));
        named = true;
    }
    for (; form_char(f) != '\0' && strchr("#0- +", form_char(f)) != NULL; f->at++) {
        char flag = form_char(f);
        s.other = s.other || flag == '#';
        zero = zero || flag == '0';
        if (flag == '-') s.align = '<';
        if (flag == '+' || (flag == ' ' && s.sign != '+')) s.sign = flag;
    }
    SG_TRY(form_percent_width(f, &s.width));
    if (s.width < 0) {
        s.align = '<';
        s.width = -s.width;
    }
    int64_t precision = 0;
    if (form_char(f) == '.') {
        f->at++;
        SG_TRY(form_percent_width(f, &precision));
        s.precision = precision < 0 ? 0 : (int)precision;
    }
    while (form_char(f) != '\0' && strchr("hlL", form_char(f)) != NULL)
        f->at++;
    s.type = form_char(f);
    f->at++;
    if (s.type == '%') {
        sg_chat_grow(f->run, &f->made, "%", 1, &f->status);
        return f->status;
    }
    if (s.type == '\0' || strchr("diuoxXeEfFgGcrsa", s.type) == NULL)
        return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "such a format");
    if (zero && s.align == 0) {
        s.align = '=';
        strcpy(s.fill, "0");
    }
    if (!named) SG_TRY(form_next(f, &value));
    SG_TRY(form_percent_value(f, s, &value, &made));
    sg_chat_grow(f->run, &f->made, made.text, made.count, &f->status);
    return f->status;
}

sg_status sg_chat_percent(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *values,
                          sg_chat_value *out)
{
    form_reader f = {.run = r, .text = text, .values = values, .count = 1};
    bool map = values->type == SG_CHAT_IS_MAP;
    if (values->type == SG_CHAT_IS_TUPLE) {
        f.values = values->items;
        f.count = values->count;
    }
    if (map) f.names = values->map;
    while (f.at < text->count && f.status == SG_OK) {
        const char *next = memchr(text->text + f.at, '%', text->count - f.at);
        size_t end = next == NULL ? text->count : (size_t)(next - text->text);
        sg_chat_grow(r, &f.made, text->text + f.at, end - f.at, &f.status);
        f.at = end;
        if (f.status == SG_OK && end < text->count) f.status = form_percent_one(&f);
    }
    if (f.status == SG_OK && f.next < f.count && !map && values->type != SG_CHAT_IS_LIST)
        f.status = sg_chat_refuse(r, SG_ERR_ARGUMENT, "too many values for a format");
    return sg_chat_grown(r, &f.made, f.status, out);
}

// ---- text.format(values) ----------------------------------------------------------------------

static bool form_is_align(char c)
{
    return c != '\0' && strchr("<>^=", c) != NULL;
}

// Reads what stands behind the colon, up to the closing sign.
static sg_status form_read_spec(form_reader *f, form_spec *s)
{
    uint32_t code;
    size_t fill =
        f->at < f->text->count ? (size_t)sg_utf8_decode_valid(f->text->text + f->at, &code) : 0;
    *s = (form_spec){.fill = " ", .sign = '-', .precision = -1};
    if (fill > 0 && f->at + fill < f->text->count && form_is_align(f->text->text[f->at + fill])) {
        memcpy(s->fill, f->text->text + f->at, fill);
        s->fill[fill] = '\0';
        f->at += fill;
    }
    if (form_is_align(form_char(f))) s->align = f->text->text[f->at++];
    if (form_char(f) != '\0' && strchr("+- ", form_char(f)) != NULL)
        s->sign = f->text->text[f->at++];
    if (form_char(f) == '#') {
        s->other = true;
        f->at++;
    }
    if (form_char(f) == '0' && s->align == 0) {
        s->align = '=';
        strcpy(s->fill, "0");
    }
    SG_TRY(form_integer(f, &s->width));
    if (form_char(f) == ',' || form_char(f) == '_') s->group = f->text->text[f->at++];
    if (form_char(f) == '.') {
        int64_t precision;
        f->at++;
        SG_TRY(form_integer(f, &precision));
        s->precision = (int)precision;
    }
    if (form_char(f) != '}' && form_char(f) != '\0') s->type = f->text->text[f->at++];
    if (form_char(f) == '}' && (s->type == 0 || strchr("sbcdoxXneEfFgG%", s->type) != NULL))
        return SG_OK;
    return sg_chat_refuse(f->run, SG_ERR_UNSUPPORTED, "such a format of a value");
}

static sg_status form_argument(form_reader *f, const sg_chat_value *name, sg_chat_value *out)
{
    bool digits = name->count > 0 && name->count < 9;
    size_t index = 0;
    for (size_t i = 0; i < name->count && digits; i++) {
        digits = name->text[i] >= '0' && name->text[i] <= '9';
        index = index * 10 + (size_t)(name->text[i] - '0');
    }
    f->automatic = f->automatic || name->count == 0;
    f->numbered = f->numbered || digits;
    if (f->automatic && f->numbered)
        return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "fields with and without numbers");
    if (name->count == 0) return form_next(f, out);
    if (digits) {
        if (index >= f->count)
            return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "too few values for a format");
        *out = f->values[index];
        return SG_OK;
    }
    sg_chat_value *found = NULL;
    if (f->names != NULL) SG_TRY(sg_chat_get(f->run, f->names, name, &found));
    if (found == NULL) return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "no value for a format");
    *out = *found;
    return SG_OK;
}

// name, then .name and [key] as often as they come.
static sg_status form_field(form_reader *f, sg_chat_value *out)
{
    size_t begin = f->at;
    while (form_char(f) != '\0' && strchr(".[!:}", form_char(f)) == NULL)
        f->at++;
    sg_chat_value name = sg_chat_string(f->text->text + begin, f->at - begin), from;
    SG_TRY(form_argument(f, &name, out));
    while (form_char(f) == '.' || form_char(f) == '[') {
        bool item = form_char(f) == '[';
        begin = ++f->at;
        while (form_char(f) != '\0' && strchr(item ? "]" : ".[!:}", form_char(f)) == NULL)
            f->at++;
        sg_chat_value key = sg_chat_string(f->text->text + begin, f->at - begin);
        int64_t index;
        from = *out;
        size_t end = f->at;
        f->at = begin;
        SG_TRY(form_integer(f, &index));
        if (item && f->at == end && end > begin) key = sg_chat_integer(index);
        f->at = end + item;
        SG_TRY(item ? sg_chat_item(f->run, &from, &key, out)
                    : sg_chat_attribute(f->run, &from, f->text->text + begin, f->at - begin, out));
    }
    return SG_OK;
}

static sg_status form_value(form_reader *f, const form_spec *s, bool plain, const sg_chat_value *v,
                            sg_chat_value *out)
{
    if (plain) return sg_chat_str(f->run, v, out);
    if (v->type == SG_CHAT_IS_STRING) {
        if ((s->type != 0 && s->type != 's') || s->align == '=' || s->sign != '-' || s->group)
            return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "a number's format of a string");
        return form_text(f->run, s, v, out);
    }
    if (!sg_chat_is_number(v) || s->type == 's')
        return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "such a format of %s", sg_chat_type_name(v));
    return form_any_number(f->run, *s, v, out);
}

static sg_status form_brace_one(form_reader *f)
{
    sg_chat_value value, made;
    form_spec s = {0};
    f->at++;
    SG_TRY(form_field(f, &value));
    if (form_char(f) == '!') {
        sg_chat_value from = value;
        char how = f->at + 1 < f->text->count ? f->text->text[f->at + 1] : '\0';
        if (how != 's' && how != 'r')
            return sg_chat_refuse(f->run, SG_ERR_UNSUPPORTED, "such a conversion in a format");
        SG_TRY(how == 's' ? sg_chat_str(f->run, &from, &value)
                          : sg_chat_repr(f->run, &from, &value));
        f->at += 2;
    }
    bool plain = true;
    if (form_char(f) == ':') {
        f->at++;
        plain = form_char(f) == '}';
        SG_TRY(form_read_spec(f, &s));
    }
    if (form_char(f) != '}')
        return sg_chat_refuse(f->run, SG_ERR_ARGUMENT, "a format without its end");
    f->at++;
    SG_TRY(form_value(f, &s, plain, &value, &made));
    sg_chat_grow(f->run, &f->made, made.text, made.count, &f->status);
    return f->status;
}

sg_status sg_chat_format(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *values,
                         const sg_chat_map *names, sg_chat_value *out)
{
    form_reader f = {
        .run = r, .text = text, .values = values->items, .count = values->count, .names = names};
    while (f.at < text->count && f.status == SG_OK) {
        size_t begin = f.at;
        while (f.at < text->count && strchr("{}", text->text[f.at]) == NULL)
            f.at++;
        sg_chat_grow(r, &f.made, text->text + begin, f.at - begin, &f.status);
        if (f.at == text->count || f.status != SG_OK) break;
        bool twice = f.at + 1 < text->count && text->text[f.at + 1] == text->text[f.at];
        if (twice) {
            sg_chat_grow(r, &f.made, text->text + f.at, 1, &f.status);
            f.at += 2;
        } else if (text->text[f.at] == '}') {
            f.status = sg_chat_refuse(r, SG_ERR_ARGUMENT, "a format with a lone }");
        } else {
            f.status = form_brace_one(&f);
        }
    }
    return sg_chat_grown(r, &f.made, f.status, out);
}
