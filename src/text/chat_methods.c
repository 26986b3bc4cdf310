// The methods of values in chat templates: those of Python's str, dict and list, of loop and
// cycler.
#include <string.h>

#include "text/chat_strings.h"
#include "text/chat_value.h"

#define METHOD(name)                                                                               \
    static sg_status method_##name(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out)

// ---- texts ------------------------------------------------------------------------------------

METHOD(strip)
{
    return sg_chat_trimmed(r, &v[0], &v[1], true, true, out);
}

METHOD(lstrip)
{
    return sg_chat_trimmed(r, &v[0], &v[1], true, false, out);
}

METHOD(rstrip)
{
    return sg_chat_trimmed(r, &v[0], &v[1], false, true, out);
}

METHOD(split)
{
    int64_t most;
    SG_TRY(sg_chat_whole(r, &v[2], -1, &most));
    return sg_chat_split(r, &v[0], &v[1], most, false, out);
}

METHOD(rsplit)
{
    int64_t most;
    SG_TRY(sg_chat_whole(r, &v[2], -1, &most));
    return sg_chat_split(r, &v[0], &v[1], most, true, out);
}

METHOD(splitlines)
{
    return sg_chat_lines(r, &v[0], sg_chat_truth(&v[1]), out);
}

METHOD(replace)
{
    int64_t most;
    SG_TRY(sg_chat_must_be_string(r, &v[1]));
    SG_TRY(sg_chat_must_be_string(r, &v[2]));
    SG_TRY(sg_chat_whole(r, &v[3], -1, &most));
    return sg_chat_replaced(r, &v[0], &v[1], &v[2], most, out);
}

METHOD(join)
{
    const sg_chat_value *items;
    size_t count;
    SG_TRY(sg_chat_each(r, &v[1], &items, &count));
    return sg_chat_joined(r, &v[0], items, count, true, out);
}

METHOD(upper)
{
    return sg_chat_recase(r, &v[0], SG_CHAT_UPPER, SG_CHAT_UPPER, out);
}

METHOD(lower)
{
    return sg_chat_recase(r, &v[0], SG_CHAT_LOWER, SG_CHAT_LOWER, out);
}

METHOD(capitalize)
{
    return sg_chat_recase(r, &v[0], SG_CHAT_TITLE, SG_CHAT_LOWER, out);
}

// The parts of a text with letters that follow no letter in title case, the others as `rest` says.
METHOD(title)
{
    sg_bytes made = {0};
    sg_status status = SG_OK;
    bool inside = false;
    for (size_t i = 0; i < v[0].count && status == SG_OK;) {
        uint32_t code;
        sg_chat_value one;
        size_t length = (size_t)sg_utf8_decode_valid(v[0].text + i, &code);
        one = sg_chat_string(v[0].text + i, length);
        bool cased = sg_chat_case_of(code) != 0;
        sg_chat_case to = inside ? SG_CHAT_LOWER : SG_CHAT_TITLE;
        if (cased) status = sg_chat_recase(r, &one, to, to, &one);
        sg_chat_grow(r, &made, one.text, one.count, &status);
        inside = cased;
        i += length;
    }
    return sg_chat_grown(r, &made, status, out);
}

METHOD(swapcase)
{
    sg_bytes made = {0};
    sg_status status = SG_OK;
    for (size_t i = 0; i < v[0].count && status == SG_OK;) {
        uint32_t code;
        size_t length = (size_t)sg_utf8_decode_valid(v[0].text + i, &code);
        sg_chat_value one = sg_chat_string(v[0].text + i, length);
        int is = sg_chat_case_of(code);
        sg_chat_case to = is == 2 ? SG_CHAT_LOWER : SG_CHAT_UPPER;
        if (is != 0) status = sg_chat_recase(r, &one, to, to, &one);
        sg_chat_grow(r, &made, one.text, one.count, &status);
        i += length;
    }
    return sg_chat_grown(r, &made, status, out);
}

// The part of v[0] from the character v[2] to v[3], which Python's find, count and startswith look
// at.
// *begin: the characters before it; -1 when it lies behind the end.
static sg_status method_part(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *part,
                             int64_t *begin)
{
    int64_t from, to, count;
    SG_TRY(sg_chat_pay_bytes(r, 2 * v[0].count));
    count = (int64_t)sg_chat_characters(v[0].text, v[0].count);
    SG_TRY(sg_chat_whole(r, &v[2], 0, &from));
    SG_TRY(sg_chat_whole(r, &v[3], count, &to));
    if (from < 0) from = from + count < 0 ? 0 : from + count;
    if (to < 0) to = to + count < 0 ? 0 : to + count;
    if (to > count) to = count;
    *begin = from > to ? -1 : from;
    const char *at = v[0].text;
    uint32_t code;
    for (int64_t i = 0; i < from && i < count; i++)
        at += sg_utf8_decode_valid(at, &code);
    const char *end = at;
    for (int64_t i = from; i < to; i++)
        end += sg_utf8_decode_valid(end, &code);
    *part = sg_chat_string(at, (size_t)(end - at));
    return SG_OK;
}

static bool method_matches(const sg_chat_value *part, const sg_chat_value *fix, bool ends)
{
    return fix->count <= part->count &&
           memcmp(ends ? part->text + part->count - fix->count : part->text, fix->text,
                  fix->count) == 0;
}

static sg_status method_fix(sg_chat_run *r, const sg_chat_value *v, bool ends, sg_chat_value *out)
{
    sg_chat_value part;
    int64_t begin;
    const sg_chat_value *fixes = &v[1];
    size_t count = 1;
    SG_TRY(method_part(r, v, &part, &begin));
    if (v[1].type == SG_CHAT_IS_TUPLE) {
        fixes = v[1].items;
        count = v[1].count;
    }
    *out = sg_chat_bool(false);
    for (size_t i = 0; i < count; i++) {
        SG_TRY(sg_chat_must_be_string(r, &fixes[i]));
        SG_TRY(sg_chat_pay_bytes(r, fixes[i].count));
        if (begin >= 0 && method_matches(&part, &fixes[i], ends)) *out = sg_chat_bool(true);
    }
    return SG_OK;
}

METHOD(startswith)
{
    return method_fix(r, v, false, out);
}

METHOD(endswith)
{
    return method_fix(r, v, true, out);
}

METHOD(removeprefix)
{
    SG_TRY(sg_chat_must_be_string(r, &v[1]));
    *out = v[0];
    if (!method_matches(&v[0], &v[1], false)) return sg_chat_pay_bytes(r, v[1].count);
    out->text += v[1].count;
    out->count -= v[1].count;
    return SG_OK;
}

METHOD(removesuffix)
{
    SG_TRY(sg_chat_must_be_string(r, &v[1]));
    *out = v[0];
    if (method_matches(&v[0], &v[1], true)) out->count -= v[1].count;
    return sg_chat_pay_bytes(r, v[1].count);
}

// The last place of `what` in `text`.
static const char *method_last(const sg_chat_value *text, const sg_chat_value *what)
{
    for (size_t at = text->count - what->count + 1; what->count <= text->count && at > 0; at--)
        if (memcmp(text->text + at - 1, what->text, what->count) == 0) return text->text + at - 1;
    return NULL;
}

static sg_status method_search(sg_chat_run *r, const sg_chat_value *v, bool last, bool must,
                               sg_chat_value *out)
{
    sg_chat_value part;
    int64_t begin;
    SG_TRY(sg_chat_must_be_string(r, &v[1]));
    SG_TRY(method_part(r, v, &part, &begin));
    if (last) SG_TRY(sg_chat_pay(r, (1 + v[1].count / 8) * (part.count / 4)));
    const char *found = NULL;
    if (begin >= 0)
        found =
            last ? method_last(&part, &v[1]) : memmem(part.text, part.count, v[1].text, v[1].count);
    if (found == NULL && must)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "index of what is not there");
    *out = sg_chat_integer(-1);
    if (found != NULL)
        *out = sg_chat_integer(begin +
                               (int64_t)sg_chat_characters(part.text, (size_t)(found - part.text)));
    return SG_OK;
}

METHOD(find)
{
    return method_search(r, v, false, false, out);
}

METHOD(rfind)
{
    return method_search(r, v, true, false, out);
}

METHOD(index)
{
    return method_search(r, v, false, true, out);
}

METHOD(rindex)
{
    return method_search(r, v, true, true, out);
}

METHOD(count)
{
    sg_chat_value part;
    int64_t begin, count = 0;
    SG_TRY(sg_chat_must_be_string(r, &v[1]));
    SG_TRY(method_part(r, v, &part, &begin));
    if (v[1].count == 0) count = (int64_t)sg_chat_characters(part.text, part.count) + 1;
    const char *at = part.text, *end = part.text + part.count;
    while (v[1].count > 0) {
        at = memmem(at, (size_t)(end - at), v[1].text, v[1].count);
        if (at == NULL) break;
        at += v[1].count;
        count++;
    }
    *out = sg_chat_integer(begin < 0 ? 0 : count);
    return SG_OK;
}

// (before, at, behind) of the first, or last, place of v[1].
static sg_status method_parts(sg_chat_run *r, const sg_chat_value *v, bool last, sg_chat_value *out)
{
    sg_chat_value *items;
    SG_TRY(sg_chat_must_be_string(r, &v[1]));
    if (v[1].count == 0) return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a partition at nothing");
    SG_TRY(sg_chat_pay_bytes(r, v[0].count));
    if (last) SG_TRY(sg_chat_pay(r, (1 + v[1].count / 8) * (v[0].count / 4)));
    SG_TRY(sg_chat_new_items(r, 3, &items));
    const char *found =
        last ? method_last(&v[0], &v[1]) : memmem(v[0].text, v[0].count, v[1].text, v[1].count);
    items[0] = items[1] = items[2] = sg_chat_string("", 0);
    if (found == NULL) {
        items[last ? 2 : 0] = v[0];
    } else {
        items[0] = sg_chat_string(v[0].text, (size_t)(found - v[0].text));
        items[1] = v[1];
        items[2] = sg_chat_string(found + v[1].count, v[0].count - items[0].count - v[1].count);
    }
    *out = sg_chat_list(SG_CHAT_IS_TUPLE, items, 3);
    return SG_OK;
}

METHOD(partition)
{
    return method_parts(r, v, false, out);
}

METHOD(rpartition)
{
    return method_parts(r, v, true, out);
}

static sg_status method_pad(sg_chat_run *r, const sg_chat_value *v, char align, sg_chat_value *out)
{
    int64_t width;
    char filler[8] = " ";
    SG_TRY(sg_chat_whole(r, &v[1], 0, &width));
    if (v[2].type != SG_CHAT_IS_ABSENT) {
        SG_TRY(sg_chat_must_be_string(r, &v[2]));
        if (sg_chat_characters(v[2].text, v[2].count) != 1 || v[2].count > 4)
            return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a filler of other than one character");
        memcpy(filler, v[2].text, v[2].count);
        filler[v[2].count] = '\0';
    }
    return sg_chat_padded(r, &v[0], width, filler, align, out);
}

METHOD(center)
{
    return method_pad(r, v, '^', out);
}

METHOD(ljust)
{
    return method_pad(r, v, '<', out);
}

METHOD(rjust)
{
    return method_pad(r, v, '>', out);
}

METHOD(zfill)
{
    int64_t width;
    SG_TRY(sg_chat_whole(r, &v[1], 0, &width));
    bool sign = v[0].count > 0 && (v[0].text[0] == '-' || v[0].text[0] == '+');
    sg_chat_value rest = sg_chat_string(v[0].text + sign, v[0].count - sign);
    sg_chat_value first = sg_chat_string(v[0].text, sign);
    SG_TRY(sg_chat_padded(r, &rest, width - sign, "0", '>', &rest));
    return sg_chat_add(r, &first, &rest, out);
}

METHOD(format)
{
    return sg_chat_format(r, &v[0], &v[1], v[2].map, out);
}

// All characters of a text that is not empty are of a kind.
static sg_status method_all(sg_chat_run *r, const sg_chat_value *v, bool (*is)(uint32_t),
                            sg_chat_value *out)
{
    bool all = v[0].count > 0;
    SG_TRY(sg_chat_pay_bytes(r, 8 * v[0].count));
    for (size_t i = 0; i < v[0].count && all;) {
        uint32_t code;
        i += (size_t)sg_utf8_decode_valid(v[0].text + i, &code);
        all = is(code);
    }
    *out = sg_chat_bool(all);
    return SG_OK;
}

static bool method_digit(uint32_t code)
{
    return code < 0x80 ? code >= '0' && code <= '9' : sg_char_is_numeric(code);
}

static bool method_letter(uint32_t code)
{
    return sg_char_class(code) == SG_CLASS_LETTER;
}

static bool method_letter_or_digit(uint32_t code)
{
    return method_letter(code) || method_digit(code);
}

static bool method_space(uint32_t code)
{
    return sg_char_is_space(code) || (code >= 0x1C && code <= 0x1F);
}

METHOD(isspace)
{
    return method_all(r, v, method_space, out);
}

METHOD(isalpha)
{
    return method_all(r, v, method_letter, out);
}

METHOD(isalnum)
{
    return method_all(r, v, method_letter_or_digit, out);
}

METHOD(isdigit)
{
    for (size_t i = 0; i < v[0].count; i++) // which numerals count differs by method
        if ((unsigned char)v[0].text[i] >= 0x80)
            return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "isdigit of other than ASCII");
    return method_all(r, v, method_digit, out);
}

METHOD(isascii)
{
    SG_TRY(sg_chat_pay_bytes(r, v[0].count));
    *out = sg_chat_bool(sg_chat_characters(v[0].text, v[0].count) == v[0].count);
    for (size_t i = 0; i < v[0].count; i++)
        if ((unsigned char)v[0].text[i] >= 0x80) *out = sg_chat_bool(false);
    return SG_OK;
}

METHOD(islower)
{
    sg_chat_args none = {0};
    return sg_chat_apply_test(r, "lower", 5, &v[0], &none, out);
}

METHOD(isupper)
{
    sg_chat_args none = {0};
    return sg_chat_apply_test(r, "upper", 5, &v[0], &none, out);
}

static const sg_chat_row method_strings[] = {
    {"capitalize", 0, "", method_capitalize},
    {"casefold", 0, "", NULL},
    {"center", 1, "width fillchar /", method_center},
    {"count", 1, "sub start end /", method_count},
    {"encode", 0, "encoding errors", NULL},
    {"endswith", 1, "suffix start end /", method_endswith},
    {"expandtabs", 0, "tabsize", NULL},
    {"find", 1, "sub start end /", method_find},
    {"format", 0, "* **", method_format},
    {"format_map", 1, "mapping /", NULL},
    {"index", 1, "sub start end /", method_index},
    {"isalnum", 0, "", method_isalnum},
    {"isalpha", 0, "", method_isalpha},
    {"isascii", 0, "", method_isascii},
    {"isdecimal", 0, "", method_isdigit},
    {"isdigit", 0, "", method_isdigit},
    {"isidentifier", 0, "", NULL},
    {"islower", 0, "", method_islower},
    {"isnumeric", 0, "", method_isdigit},
    {"isprintable", 0, "", NULL},
    {"isspace", 0, "", method_isspace},
    {"istitle", 0, "", NULL},
    {"isupper", 0, "", method_isupper},
    {"join", 1, "iterable /", method_join},
    {"ljust", 1, "width fillchar /", method_ljust},
    {"lower", 0, "", method_lower},
    {"lstrip", 0, "chars /", method_lstrip},
    {"maketrans", 1, "x y z /", NULL},
    {"partition", 1, "sep /", method_partition},
    {"removeprefix", 1, "prefix /", method_removeprefix},
    {"removesuffix", 1, "suffix /", method_removesuffix},
    {"replace", 2, "old new count /", method_replace},
    {"rfind", 1, "sub start end /", method_rfind},
    {"rindex", 1, "sub start end /", method_rindex},
    {"rjust", 1, "width fillchar /", method_rjust},
    {"rpartition", 1, "sep /", method_rpartition},
    {"rsplit", 0, "sep maxsplit", method_rsplit},
    {"rstrip", 0, "chars /", method_rstrip},
    {"split", 0, "sep maxsplit", method_split},
    {"splitlines", 0, "keepends", method_splitlines},
    {"startswith", 1, "prefix start end /", method_startswith},
    {"strip", 0, "chars /", method_strip},
    {"swapcase", 0, "", method_swapcase},
    {"title", 0, "", method_title},
    {"translate", 1, "table /", NULL},
    {"upper", 0, "", method_upper},
    {"zfill", 1, "width /", method_zfill},
    {NULL, 0, "", NULL}};

// ---- maps and lists ---------------------------------------------------------------------------

METHOD(get)
{
    sg_chat_value *found;
    SG_TRY(sg_chat_get(r, v[0].map, &v[1], &found));
    *out = found != NULL ? *found : v[2].type == SG_CHAT_IS_ABSENT ? sg_chat_none() : v[2];
    return SG_OK;
}

METHOD(items)
{
    return sg_chat_view_of(r, v[0].map, SG_CHAT_ITEMS, out);
}

METHOD(keys)
{
    return sg_chat_view_of(r, v[0].map, SG_CHAT_KEYS, out);
}

METHOD(values)
{
    return sg_chat_view_of(r, v[0].map, SG_CHAT_VALUES, out);
}

METHOD(copy)
{
    *out = v[0]; // nothing changes either
    return sg_chat_pay(r, 1);
}

METHOD(list_count)
{
    int64_t count = 0;
    for (size_t i = 0; i < v[0].count; i++) {
        bool equal;
        SG_TRY(sg_chat_equal(r, &v[0].items[i], &v[1], &equal));
        count += equal;
    }
    *out = sg_chat_integer(count);
    return SG_OK;
}

METHOD(list_index)
{
    for (size_t i = 0; i < v[0].count; i++) {
        bool equal;
        SG_TRY(sg_chat_equal(r, &v[0].items[i], &v[1], &equal));
        *out = sg_chat_integer((int64_t)i);
        if (equal) return SG_OK;
    }
    return sg_chat_refuse(r, SG_ERR_ARGUMENT, "index of what is not there");
}

// What changes a map or list: the sandbox hides it, as if it were not defined (required: -1).
static const sg_chat_row method_maps[] = {{"get", 1, "key default /", method_get},
                                          {"items", 0, "", method_items},
                                          {"keys", 0, "", method_keys},
                                          {"values", 0, "", method_values},
                                          {"copy", 0, "", method_copy},
                                          {"fromkeys", 1, "iterable value /", NULL},
                                          {"clear", -1, "", NULL},
                                          {"pop", -1, "", NULL},
                                          {"popitem", -1, "", NULL},
                                          {"setdefault", -1, "", NULL},
                                          {"update", -1, "", NULL},
                                          {NULL, 0, "", NULL}};

static const sg_chat_row method_lists[] = {{"count", 1, "value /", method_list_count},
                                           {"index", 1, "value /", method_list_index},
                                           {"copy", 0, "", method_copy},
                                           {"append", -1, "", NULL},
                                           {"clear", -1, "", NULL},
                                           {"extend", -1, "", NULL},
                                           {"insert", -1, "", NULL},
                                           {"pop", -1, "", NULL},
                                           {"remove", -1, "", NULL},
                                           {"reverse", -1, "", NULL},
                                           {"sort", -1, "", NULL},
                                           {NULL, 0, "", NULL}};

static const sg_chat_row method_tuples[] = {{"count", 1, "value /", method_list_count},
                                            {"index", 1, "value /", method_list_index},
                                            {NULL, 0, "", NULL}};

// ---- loops and cyclers ------------------------------------------------------------------------

METHOD(cycle)
{
    if (v[1].count == 0) return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a cycle of nothing");
    *out = v[1].items[v[0].loop->index % v[1].count];
    return SG_OK;
}

METHOD(changed)
{
    bool equal = false;
    if (v[0].loop->changed.type != SG_CHAT_IS_ABSENT)
        SG_TRY(sg_chat_equal(r, &v[0].loop->changed, &v[1], &equal));
    v[0].loop->changed = v[1];
    *out = sg_chat_bool(!equal);
    return SG_OK;
}

METHOD(next)
{
    sg_chat_cycler *cycler = v[0].cycler;
    *out = cycler->items[cycler->at];
    cycler->at = (cycler->at + 1) % cycler->count;
    return sg_chat_pay(r, 1);
}

METHOD(reset)
{
    v[0].cycler->at = 0;
    *out = sg_chat_none();
    return sg_chat_pay(r, 1);
}

static const sg_chat_row method_loops[] = {
    {"cycle", 0, "*", method_cycle}, {"changed", 0, "*", method_changed}, {NULL, 0, "", NULL}};
static const sg_chat_row method_cyclers[] = {
    {"next", 0, "", method_next}, {"reset", 0, "", method_reset}, {NULL, 0, "", NULL}};

const sg_chat_row *sg_chat_method_row(const sg_chat_value *self, const char *name, size_t bytes)
{
    const sg_chat_row *row = self->type == SG_CHAT_IS_STRING   ? method_strings
                             : self->type == SG_CHAT_IS_MAP    ? method_maps
                             : self->type == SG_CHAT_IS_LIST   ? method_lists
                             : self->type == SG_CHAT_IS_TUPLE  ? method_tuples
                             : self->type == SG_CHAT_IS_RANGE  ? method_tuples
                             : self->type == SG_CHAT_IS_LOOP   ? method_loops
                             : self->type == SG_CHAT_IS_CYCLER ? method_cyclers
                                                               : NULL;
    for (; row != NULL && row->name != NULL; row++)
        if (strlen(row->name) == bytes && memcmp(row->name, name, bytes) == 0) return row;
    return NULL;
}
