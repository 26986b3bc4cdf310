// Values of templates: truth, equality, text and sums of them as Jinja has them.
#include "text/chat_value.h"

#include <string.h>

#include "text/unicode.h"

const char *sg_chat_type_name(sg_chat_type type)
{
    static const char *const names[] = {"undefined", "none",        "a truth value",
                                        "a number",  "a string",    "a list",
                                        "a map",     "a namespace", "a loop"};
    return names[type];
}

bool sg_chat_truth(const sg_chat_value *value)
{
    switch (value->type) {
    case SG_CHAT_IS_UNDEFINED:
    case SG_CHAT_IS_NONE:
        return false;
    case SG_CHAT_IS_BOOL:
    case SG_CHAT_IS_INTEGER:
        return value->integer != 0;
    case SG_CHAT_IS_STRING:
        return value->bytes > 0;
    case SG_CHAT_IS_LIST:
        return value->count > 0;
    case SG_CHAT_IS_MAP:
        return value->members != NULL;
    case SG_CHAT_IS_NAMESPACE:
    case SG_CHAT_IS_LOOP:
        break;
    }
    return true;
}

static bool value_is_number(const sg_chat_value *value)
{
    return value->type == SG_CHAT_IS_BOOL || value->type == SG_CHAT_IS_INTEGER;
}

bool sg_chat_equal(const sg_chat_value *a, const sg_chat_value *b)
{
    if (value_is_number(a) && value_is_number(b)) return a->integer == b->integer;
    if (a->type != b->type) return false;
    switch (a->type) {
    case SG_CHAT_IS_STRING:
        return a->bytes == b->bytes && memcmp(a->text, b->text, a->bytes) == 0;
    case SG_CHAT_IS_LIST:
        if (a->count != b->count) return false;
        for (size_t i = 0; i < a->count; i++)
            if (!sg_chat_equal(&a->items[i], &b->items[i])) return false;
        return true;
    case SG_CHAT_IS_MAP:
    case SG_CHAT_IS_NAMESPACE:
    case SG_CHAT_IS_LOOP:
        return a->members == b->members;
    case SG_CHAT_IS_UNDEFINED:
    case SG_CHAT_IS_NONE:
    case SG_CHAT_IS_BOOL:
    case SG_CHAT_IS_INTEGER:
        break;
    }
    return true;
}

sg_chat_member *sg_chat_find(const sg_chat_value *map, const char *name, size_t bytes)
{
    for (sg_chat_member *m = map->members; m != NULL; m = m->next)
        if (strlen(m->name) == bytes && memcmp(m->name, name, bytes) == 0) return m;
    return NULL;
}

bool sg_chat_space_at(const char *text, size_t *length)
{
    uint32_t code;
    *length = (size_t)sg_utf8_decode_valid(text, &code);
    return sg_char_is_space(code) || (code >= 0x1C && code <= 0x1F);
}

sg_chat_value sg_chat_stripped(const sg_chat_value *text, bool left, bool right)
{
    sg_chat_value v = *text;
    size_t length;
    while (left && v.bytes > 0 && sg_chat_space_at(v.text, &length)) {
        v.text += length;
        v.bytes -= length;
    }
    while (right && v.bytes > 0) {
        size_t before = v.bytes - 1;
        while (((unsigned char)v.text[before] & 0xC0) == 0x80)
            before--;
        if (!sg_chat_space_at(v.text + before, &length)) break;
        v.bytes = before;
    }
    return v;
}
