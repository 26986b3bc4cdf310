// Values of templates: truth, equality and order as Python has them, and what a run pays for them.
#include "text/chat_value.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/chat.h"

// ---- what a run may cost ----------------------------------------------------------------------

sg_status sg_chat_refuse(sg_chat_run *r, sg_status code, const char *format, ...)
{
    char what[600];
    va_list list;
    va_start(list, format);
    vsnprintf(what, sizeof what, format, list);
    va_end(list);
    return sg_fail(r->err, code, "%s: line %zu: %s%s", r->chat->name, r->line, what,
                   code == SG_ERR_UNSUPPORTED ? " is not supported" : "");
}

sg_status sg_chat_pay(sg_chat_run *r, size_t units)
{
    if (units > (size_t)r->work) return sg_chat_refuse(r, SG_ERR_FORMAT, "takes too many steps");
    r->work -= (int64_t)units;
    if (r->work > r->next_stop) return SG_OK;
    r->next_stop = r->work - (1 << 20);
    if (r->options->go_on != NULL && !r->options->go_on(r->options->user))
        return sg_fail(r->err, SG_ERR_STOPPED, "%s: stopped", r->chat->name);
    return SG_OK;
}

sg_status sg_chat_pay_bytes(sg_chat_run *r, size_t bytes)
{
    return sg_chat_pay(r, bytes / SG_CHAT_BYTES_PER_UNIT);
}

sg_status sg_chat_pay_items(sg_chat_run *r, size_t items)
{
    return items > SG_CHAT_BYTES_MAX ? sg_chat_refuse(r, SG_ERR_FORMAT, "takes too many steps")
                                     : sg_chat_pay(r, items * SG_CHAT_ITEM_COST);
}

sg_status sg_chat_memory(sg_chat_run *r, size_t bytes, void **out)
{
    *out = NULL;
    if (bytes > SG_CHAT_BYTES_MAX || (r->bytes += bytes + 16) > SG_CHAT_BYTES_MAX)
        return sg_chat_refuse(r, SG_ERR_FORMAT, "makes too much text");
    SG_TRY(sg_chat_pay_bytes(r, bytes));
    *out = sg_arena_alloc(&r->arena, bytes + 1);
    return *out == NULL ? sg_fail(r->err, SG_ERR_MEMORY, "out of memory for the chat") : SG_OK;
}

sg_status sg_chat_new_items(sg_chat_run *r, size_t count, sg_chat_value **items)
{
    void *made;
    *items = NULL;
    SG_TRY(sg_chat_memory(r, count > SG_CHAT_BYTES_MAX ? count : count * sizeof **items, &made));
    *items = made;
    return SG_OK;
}

sg_status sg_chat_keep(sg_chat_run *r, sg_bytes *made, sg_chat_value *out)
{
    void *text = NULL;
    sg_status status = sg_chat_memory(r, made->count, &text);
    if (status == SG_OK) {
        if (made->count > 0) memcpy(text, made->data, made->count);
        *out = sg_chat_string(text, made->count);
    }
    sg_free(made->data);
    *made = (sg_bytes){0};
    return status;
}

// ---- making values ----------------------------------------------------------------------------

sg_chat_value sg_chat_undefined(const char *name, size_t bytes)
{
    return (sg_chat_value){.type = SG_CHAT_IS_UNDEFINED, .text = name, .count = bytes};
}

sg_chat_value sg_chat_none(void)
{
    return (sg_chat_value){.type = SG_CHAT_IS_NONE};
}

sg_chat_value sg_chat_bool(bool truth)
{
    return (sg_chat_value){.type = SG_CHAT_IS_BOOL, .integer = truth};
}

sg_chat_value sg_chat_integer(int64_t integer)
{
    return (sg_chat_value){.type = SG_CHAT_IS_INTEGER, .integer = integer};
}

sg_chat_value sg_chat_real(double real)
{
    return (sg_chat_value){.type = SG_CHAT_IS_REAL, .real = real};
}

sg_chat_value sg_chat_string(const char *text, size_t bytes)
{
    return (sg_chat_value){.type = SG_CHAT_IS_STRING, .text = text, .count = bytes};
}

sg_chat_value sg_chat_word(const char *text)
{
    return sg_chat_string(text, strlen(text));
}

sg_chat_value sg_chat_list(sg_chat_type type, const sg_chat_value *items, size_t count)
{
    return (sg_chat_value){.type = type, .items = items, .count = count};
}

sg_status sg_chat_iterator_of(sg_chat_run *r, const sg_chat_value *items, size_t count,
                              sg_chat_value *out)
{
    void *made;
    SG_TRY(sg_chat_memory(r, sizeof(sg_chat_iterator), &made));
    *out = (sg_chat_value){.type = SG_CHAT_IS_ITERATOR, .iterator = made};
    static const sg_chat_value nothing;
    *out->iterator = (sg_chat_iterator){.items = items != NULL ? items : &nothing, .count = count};
    return SG_OK;
}

// ---- asking them ------------------------------------------------------------------------------

const char *sg_chat_type_name(const sg_chat_value *value)
{
    static const char *const names[] = {
        "nothing",  "an undefined value", "none",     "a truth value", "an integer",
        "a number", "a string",           "a list",   "a tuple",       "a range",
        "a view",   "an iterator",        "a map",    "a namespace",   "a loop",
        "a macro",  "a function",         "a method", "a cycler",      "a joiner"};
    return names[value->type];
}

bool sg_chat_truth(const sg_chat_value *value)
{
    switch (value->type) {
    case SG_CHAT_IS_ABSENT:
    case SG_CHAT_IS_UNDEFINED:
    case SG_CHAT_IS_NONE:
        return false;
    case SG_CHAT_IS_BOOL:
    case SG_CHAT_IS_INTEGER:
        return value->integer != 0;
    case SG_CHAT_IS_REAL:
        return value->real != 0;
    case SG_CHAT_IS_STRING:
    case SG_CHAT_IS_LIST:
    case SG_CHAT_IS_TUPLE:
    case SG_CHAT_IS_RANGE:
    case SG_CHAT_IS_VIEW:
        return value->count > 0;
    case SG_CHAT_IS_MAP:
        return value->map->count > 0;
    default:
        return true;
    }
}

bool sg_chat_is_whole(const sg_chat_value *value)
{
    return value->type == SG_CHAT_IS_BOOL || value->type == SG_CHAT_IS_INTEGER;
}

bool sg_chat_is_number(const sg_chat_value *value)
{
    return sg_chat_is_whole(value) || value->type == SG_CHAT_IS_REAL;
}

double sg_chat_number(const sg_chat_value *value)
{
    return value->type == SG_CHAT_IS_REAL ? value->real : (double)value->integer;
}

bool sg_chat_is(const sg_chat_value *value, const char *text)
{
    return value->type == SG_CHAT_IS_STRING && value->count == strlen(text) &&
           memcmp(value->text, text, value->count) == 0;
}

size_t sg_chat_characters(const char *text, size_t bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    size_t count = bytes, at = 0;
    for (; at + 8 <= bytes; at += 8) { // less those that go on with a character, 10xxxxxx
        uint64_t eight;
        memcpy(&eight, text + at, 8);
        count -= (size_t)__builtin_popcountll(eight >> 7 & ~(eight >> 6) & ones);
    }
    for (; at < bytes; at++)
        count -= ((unsigned char)text[at] & 0xC0) == 0x80;
    return count;
}

static bool value_is_row(const sg_chat_value *value)
{
    return value->type >= SG_CHAT_IS_LIST && value->type <= SG_CHAT_IS_VIEW;
}

// ---- equality and order -----------------------------------------------------------------------

static sg_status value_equal(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b,
                             int depth, bool *out);

static int value_number_order(const sg_chat_value *a, const sg_chat_value *b)
{
    if (sg_chat_is_whole(a) && sg_chat_is_whole(b))
        return a->integer < b->integer ? -1 : a->integer > b->integer;
    double x = sg_chat_number(a), y = sg_chat_number(b);
    return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2; // 2: not a number
}

static sg_status value_maps_equal(sg_chat_run *r, const sg_chat_map *a, const sg_chat_map *b,
                                  int depth, bool *out)
{
    *out = a == b || a->count == b->count;
    for (size_t i = 0; a != b && *out && i < a->count; i++) {
        sg_chat_value *other;
        SG_TRY(sg_chat_get(r, b, &a->pairs[i].key, &other));
        *out = other != NULL;
        if (*out) SG_TRY(value_equal(r, &a->pairs[i].value, other, depth, out));
    }
    return SG_OK;
}

static sg_status value_rows_equal(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b,
                                  int depth, bool *out)
{
    *out = a->count == b->count;
    if (a->items == b->items) return SG_OK;
    if (a->type == SG_CHAT_IS_VIEW)
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "to compare views of maps");
    for (size_t i = 0; *out && i < a->count; i++)
        SG_TRY(value_equal(r, &a->items[i], &b->items[i], depth, out));
    return SG_OK;
}

static sg_status value_equal(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b,
                             int depth, bool *out)
{
    SG_TRY(sg_chat_pay_items(r, 1));
    if (depth > SG_CHAT_VALUE_DEPTH_MAX)
        return sg_chat_refuse(r, SG_ERR_FORMAT, "compares lists that nest too deep");
    *out = false;
    if (sg_chat_is_number(a) && sg_chat_is_number(b)) {
        *out = value_number_order(a, b) == 0;
        return SG_OK;
    }
    if (a->type != b->type) return SG_OK;
    if (a->type == SG_CHAT_IS_STRING) {
        SG_TRY(sg_chat_pay_bytes(r, a->count == b->count ? a->count : 0));
        *out = a->count == b->count && memcmp(a->text, b->text, a->count) == 0;
        return SG_OK;
    }
    if (value_is_row(a)) return value_rows_equal(r, a, b, depth + 1, out);
    if (a->type == SG_CHAT_IS_MAP) return value_maps_equal(r, a->map, b->map, depth + 1, out);
    *out = a->type == SG_CHAT_IS_UNDEFINED || a->type == SG_CHAT_IS_NONE || a->map == b->map;
    return SG_OK;
}

sg_status sg_chat_equal(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b, bool *out)
{
    return value_equal(r, a, b, 0, out);
}

static sg_status value_order(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b,
                             int depth, int *out)
{
    SG_TRY(sg_chat_pay_items(r, 1));
    if (depth > SG_CHAT_VALUE_DEPTH_MAX)
        return sg_chat_refuse(r, SG_ERR_FORMAT, "compares lists that nest too deep");
    if (sg_chat_is_number(a) && sg_chat_is_number(b)) {
        *out = value_number_order(a, b);
        return SG_OK;
    }
    size_t least = a->count < b->count ? a->count : b->count;
    bool rows = a->type == b->type && (a->type == SG_CHAT_IS_LIST || a->type == SG_CHAT_IS_TUPLE);
    if (!rows && (a->type != SG_CHAT_IS_STRING || b->type != SG_CHAT_IS_STRING))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "no order between %s and %s",
                              sg_chat_type_name(a), sg_chat_type_name(b));
    *out = 0;
    if (!rows) {
        // The order of UTF-8 is that of code points.
        SG_TRY(sg_chat_pay_bytes(r, least));
        *out = memcmp(a->text, b->text, least);
        *out = (*out > 0) - (*out < 0);
    }
    for (size_t i = 0; rows && i < least; i++) {
        bool equal;
        SG_TRY(value_equal(r, &a->items[i], &b->items[i], depth, &equal));
        if (!equal) return value_order(r, &a->items[i], &b->items[i], depth + 1, out);
    }
    if (*out == 0) *out = (a->count > b->count) - (a->count < b->count);
    return SG_OK;
}

sg_status sg_chat_order(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b, int *out)
{
    return value_order(r, a, b, 0, out);
}

sg_status sg_chat_contains(sg_chat_run *r, const sg_chat_value *whole, const sg_chat_value *part,
                           bool *out)
{
    *out = false;
    if (whole->type == SG_CHAT_IS_STRING) {
        if (part->type != SG_CHAT_IS_STRING)
            return sg_chat_refuse(r, SG_ERR_ARGUMENT, "looks for %s in a string",
                                  sg_chat_type_name(part));
        SG_TRY(sg_chat_pay_bytes(r, whole->count));
        *out =
            part->count == 0 || memmem(whole->text, whole->count, part->text, part->count) != NULL;
        return SG_OK;
    }
    if (whole->type == SG_CHAT_IS_MAP) {
        sg_chat_value *value;
        SG_TRY(sg_chat_get(r, whole->map, part, &value));
        *out = value != NULL;
        return SG_OK;
    }
    if (whole->type == SG_CHAT_IS_ITERATOR) {
        sg_chat_iterator *iterator = whole->iterator;
        while (!*out && iterator->at < iterator->count)
            SG_TRY(sg_chat_equal(r, part, &iterator->items[iterator->at++], out));
        return SG_OK;
    }
    const sg_chat_value *items;
    size_t count;
    SG_TRY(sg_chat_each(r, whole, &items, &count));
    for (size_t i = 0; i < count && !*out; i++)
        SG_TRY(sg_chat_equal(r, part, &items[i], out));
    return SG_OK;
}

// ---- going through ----------------------------------------------------------------------------

static sg_status value_characters(sg_chat_run *r, const sg_chat_value *text,
                                  const sg_chat_value **items, size_t *count)
{
    sg_chat_value *made;
    SG_TRY(sg_chat_pay_bytes(r, text->count));
    *count = sg_chat_characters(text->text, text->count);
    SG_TRY(sg_chat_new_items(r, *count, &made));
    const char *at = text->text;
    for (size_t i = 0; i < *count; i++) {
        uint32_t code;
        size_t length = (size_t)sg_utf8_decode_valid(at, &code);
        made[i] = sg_chat_string(at, length);
        at += length;
    }
    *items = made;
    return SG_OK;
}

sg_status sg_chat_each(sg_chat_run *r, const sg_chat_value *value, const sg_chat_value **items,
                       size_t *count)
{
    sg_chat_value keys;
    *items = NULL;
    *count = 0;
    switch (value->type) {
    case SG_CHAT_IS_UNDEFINED:
        return SG_OK;
    case SG_CHAT_IS_STRING:
        return value_characters(r, value, items, count);
    case SG_CHAT_IS_LIST:
    case SG_CHAT_IS_TUPLE:
    case SG_CHAT_IS_RANGE:
    case SG_CHAT_IS_VIEW:
        *items = value->items;
        *count = value->count;
        return sg_chat_pay(r, 1);
    case SG_CHAT_IS_ITERATOR:
        *items = value->iterator->items + value->iterator->at;
        *count = value->iterator->count - value->iterator->at;
        value->iterator->at = value->iterator->count;
        return SG_OK;
    case SG_CHAT_IS_MAP:
        SG_TRY(sg_chat_view_of(r, value->map, SG_CHAT_KEYS, &keys));
        *items = keys.items;
        *count = keys.count;
        return SG_OK;
    case SG_CHAT_IS_LOOP:
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "to go through loop");
    default:
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "%s cannot be gone through",
                              sg_chat_type_name(value));
    }
}

sg_status sg_chat_length(sg_chat_run *r, const sg_chat_value *value, size_t *count)
{
    *count = value->count;
    switch (value->type) {
    case SG_CHAT_IS_UNDEFINED:
        *count = 0;
        return SG_OK;
    case SG_CHAT_IS_STRING:
        SG_TRY(sg_chat_pay_bytes(r, value->count));
        *count = sg_chat_characters(value->text, value->count);
        return SG_OK;
    case SG_CHAT_IS_LIST:
    case SG_CHAT_IS_TUPLE:
    case SG_CHAT_IS_RANGE:
    case SG_CHAT_IS_VIEW:
        return SG_OK;
    case SG_CHAT_IS_MAP:
        *count = value->map->count;
        return SG_OK;
    case SG_CHAT_IS_LOOP:
        SG_TRY(sg_chat_loop_look(r, value->loop, SIZE_MAX));
        *count = value->loop->count;
        return SG_OK;
    default:
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "%s has no length", sg_chat_type_name(value));
    }
}

// ---- maps -------------------------------------------------------------------------------------

bool sg_chat_can_be_key(const sg_chat_value *key)
{
    bool can =
        key->type != SG_CHAT_IS_LIST && key->type != SG_CHAT_IS_MAP && key->type != SG_CHAT_IS_VIEW;
    for (size_t i = 0; can && key->type == SG_CHAT_IS_TUPLE && i < key->count; i++)
        can = key->items[i].type != SG_CHAT_IS_LIST && key->items[i].type != SG_CHAT_IS_MAP;
    return can;
}

sg_status sg_chat_get(sg_chat_run *r, const sg_chat_map *map, const sg_chat_value *key,
                      sg_chat_value **value)
{
    *value = NULL;
    if (!sg_chat_can_be_key(key))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "%s as the key of a map", sg_chat_type_name(key));
    SG_TRY(sg_chat_pay(r, 1 + map->count));
    for (size_t i = 0; i < map->count; i++) {
        const sg_chat_value *there = &map->pairs[i].key;
        bool equal = false;
        if (key->type == SG_CHAT_IS_STRING)
            equal = there->type == SG_CHAT_IS_STRING && there->count == key->count &&
                    memcmp(there->text, key->text, key->count) == 0;
        else
            SG_TRY(sg_chat_equal(r, key, there, &equal));
        if (!equal) continue;
        *value = &map->pairs[i].value;
        return SG_OK;
    }
    return SG_OK;
}

sg_status sg_chat_put(sg_chat_run *r, sg_chat_map *map, const sg_chat_value *key,
                      const sg_chat_value *value)
{
    sg_chat_value *there;
    SG_TRY(sg_chat_get(r, map, key, &there));
    if (there != NULL) {
        *there = *value;
        return SG_OK;
    }
    if (map->count == map->capacity) {
        size_t capacity = map->capacity == 0 ? 4 : 2 * map->capacity;
        void *grown;
        SG_TRY(sg_chat_memory(r, capacity * sizeof *map->pairs, &grown));
        if (map->count > 0) memcpy(grown, map->pairs, map->count * sizeof *map->pairs);
        map->pairs = grown;
        map->capacity = capacity;
    }
    map->pairs[map->count++] = (sg_chat_pair){*key, *value};
    return SG_OK;
}

sg_status sg_chat_new_map(sg_chat_run *r, size_t capacity, sg_chat_value *out)
{
    void *made, *pairs;
    SG_TRY(sg_chat_memory(r, sizeof(sg_chat_map), &made));
    SG_TRY(sg_chat_memory(r, capacity * sizeof(sg_chat_pair), &pairs));
    *out = (sg_chat_value){.type = SG_CHAT_IS_MAP, .map = made};
    *out->map = (sg_chat_map){.pairs = pairs, .capacity = capacity};
    return SG_OK;
}

sg_status sg_chat_view_of(sg_chat_run *r, const sg_chat_map *map, sg_chat_view view,
                          sg_chat_value *out)
{
    sg_chat_value *items, *pair;
    SG_TRY(sg_chat_new_items(r, map->count, &items));
    for (size_t i = 0; i < map->count; i++) {
        items[i] = view == SG_CHAT_KEYS ? map->pairs[i].key : map->pairs[i].value;
        if (view != SG_CHAT_ITEMS) continue;
        SG_TRY(sg_chat_new_items(r, 2, &pair));
        pair[0] = map->pairs[i].key;
        pair[1] = map->pairs[i].value;
        items[i] = sg_chat_list(SG_CHAT_IS_TUPLE, pair, 2);
    }
    *out = sg_chat_list(SG_CHAT_IS_VIEW, items, map->count);
    out->view = (unsigned char)view;
    return SG_OK;
}

// ---- white space ------------------------------------------------------------------------------

bool sg_chat_space_at(const char *text, size_t *length)
{
    uint32_t code;
    *length = (size_t)sg_utf8_decode_valid(text, &code);
    return sg_char_is_space(code) || (code >= 0x1C && code <= 0x1F);
}

const char *sg_chat_strip(const char *text, size_t *bytes, bool left, bool right)
{
    size_t length;
    while (left && *bytes > 0 && sg_chat_space_at(text, &length)) {
        text += length;
        *bytes -= length;
    }
    while (right && *bytes > 0) {
        size_t before = *bytes - 1;
        while (((unsigned char)text[before] & 0xC0) == 0x80)
            before--;
        if (!sg_chat_space_at(text + before, &length)) break;
        *bytes = before;
    }
    return text;
}
