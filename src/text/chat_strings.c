// Strips, splits, joins and replaces as Python's str does.
#include "text/chat_strings.h"

#include <string.h>

#include "base/alloc.h"

bool sg_chat_grow(sg_chat_run *r, sg_bytes *made, const char *text, size_t bytes, sg_status *status)
{
    if (*status != SG_OK) return false;
    *status = sg_chat_pay(r, 1 + bytes / SG_CHAT_BYTES_PER_UNIT);
    if (*status == SG_OK && made->count + bytes > SG_CHAT_BYTES_MAX - r->bytes)
        *status = sg_chat_refuse(r, SG_ERR_FORMAT, "makes too much text");
    if (*status == SG_OK && !sg_bytes_add(made, text, bytes))
        *status = sg_fail(r->err, SG_ERR_MEMORY, "out of memory for the chat");
    return *status == SG_OK;
}

sg_status sg_chat_grown(sg_chat_run *r, sg_bytes *made, sg_status status, sg_chat_value *out)
{
    if (status == SG_OK) return sg_chat_keep(r, made, out);
    sg_free(made->data);
    return status;
}

sg_status sg_chat_whole(sg_chat_run *r, const sg_chat_value *v, int64_t otherwise, int64_t *out)
{
    *out = otherwise;
    if (v->type == SG_CHAT_IS_ABSENT || v->type == SG_CHAT_IS_NONE) return SG_OK;
    if (!sg_chat_is_whole(v))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "%s where an integer is expected",
                              sg_chat_type_name(v));
    *out = v->integer;
    return SG_OK;
}

sg_status sg_chat_must_be_string(sg_chat_run *r, const sg_chat_value *v)
{
    if (v->type == SG_CHAT_IS_STRING) return SG_OK;
    return sg_chat_refuse(r, SG_ERR_ARGUMENT, "%s where a string is expected",
                          sg_chat_type_name(v));
}

static bool strings_has(const sg_chat_value *chars, const char *text, size_t length)
{
    for (size_t at = 0; at < chars->count;) {
        uint32_t code;
        size_t one = (size_t)sg_utf8_decode_valid(chars->text + at, &code);
        if (one == length && memcmp(chars->text + at, text, length) == 0) return true;
        at += one;
    }
    return false;
}

sg_status sg_chat_trimmed(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *chars,
                          bool left, bool right, sg_chat_value *out)
{
    *out = *text;
    SG_TRY(sg_chat_pay_bytes(r, text->count));
    if (chars->type == SG_CHAT_IS_ABSENT || chars->type == SG_CHAT_IS_NONE) {
        out->text = sg_chat_strip(text->text, &out->count, left, right);
        return SG_OK;
    }
    SG_TRY(sg_chat_must_be_string(r, chars));
    uint32_t code;
    while (left && out->count > 0) {
        size_t length = (size_t)sg_utf8_decode_valid(out->text, &code);
        SG_TRY(sg_chat_pay_bytes(r, chars->count));
        if (!strings_has(chars, out->text, length)) break;
        out->text += length;
        out->count -= length;
    }
    while (right && out->count > 0) {
        size_t before = out->count - 1;
        while (((unsigned char)out->text[before] & 0xC0) == 0x80)
            before--;
        SG_TRY(sg_chat_pay_bytes(r, chars->count));
        if (!strings_has(chars, out->text + before, out->count - before)) break;
        out->count = before;
    }
    return SG_OK;
}

// Where `part` is found first in [at, count), or count.
static size_t strings_find(const sg_chat_value *text, const sg_chat_value *part, size_t at)
{
    const char *found = memmem(text->text + at, text->count - at, part->text, part->count);
    return found == NULL ? text->count : (size_t)(found - text->text);
}

sg_status sg_chat_replaced(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *old,
                           const sg_chat_value *made, int64_t most, sg_chat_value *out)
{
    sg_bytes bytes = {0};
    sg_status status = sg_chat_pay_bytes(r, 2 * text->count);
    size_t at = 0;
    uint32_t code;
    while (status == SG_OK && most != 0) {
        size_t found = strings_find(text, old, at), next = found + old->count;
        if (old->count > 0 && found == text->count) break;
        if (old->count == 0) { // in front of every character, and at the end
            found = at;
            next =
                at < text->count ? at + (size_t)sg_utf8_decode_valid(text->text + at, &code) : at;
        }
        sg_chat_grow(r, &bytes, text->text + at, found - at, &status);
        sg_chat_grow(r, &bytes, made->text, made->count, &status);
        if (old->count == 0) sg_chat_grow(r, &bytes, text->text + at, next - at, &status);
        if (most > 0) most--;
        if (old->count == 0 && next == at) return sg_chat_grown(r, &bytes, status, out);
        at = next;
    }
    sg_chat_grow(r, &bytes, text->text + at, text->count - at, &status);
    return sg_chat_grown(r, &bytes, status, out);
}

// ---- splitting --------------------------------------------------------------------------------

// Parts in a growing list of the run's.
typedef struct strings_parts {
    sg_chat_run *run;
    sg_chat_value *items;
    size_t count, capacity;
} strings_parts;

static sg_status strings_add(strings_parts *p, const char *text, size_t bytes)
{
    if (p->count == p->capacity) {
        size_t capacity = p->capacity == 0 ? 8 : 2 * p->capacity;
        sg_chat_value *grown;
        SG_TRY(sg_chat_new_items(p->run, capacity, &grown));
        if (p->count > 0) memcpy(grown, p->items, p->count * sizeof *grown);
        p->items = grown;
        p->capacity = capacity;
    }
    p->items[p->count++] = sg_chat_string(text, bytes);
    return SG_OK;
}

static sg_status strings_cut_spaces(strings_parts *p, const sg_chat_value *text, int64_t most)
{
    const char *at = text->text;
    size_t left = text->count, length;
    for (;;) {
        at = sg_chat_strip(at, &left, true, false);
        if (left == 0) return SG_OK;
        if (most >= 0 && (int64_t)p->count >= most) return strings_add(p, at, left);
        size_t end = 0;
        while (end < left && !sg_chat_space_at(at + end, &length))
            end += length;
        SG_TRY(strings_add(p, at, end));
        at += end;
        left -= end;
    }
}

static sg_status strings_cut_spaces_right(strings_parts *p, const sg_chat_value *text, int64_t most)
{
    size_t end = text->count, length;
    for (;;) {
        sg_chat_strip(text->text, &end, false, true);
        if (end == 0) return SG_OK;
        if (most >= 0 && (int64_t)p->count >= most) return strings_add(p, text->text, end);
        size_t begin = end;
        while (begin > 0) {
            size_t before = begin - 1;
            while (((unsigned char)text->text[before] & 0xC0) == 0x80)
                before--;
            if (sg_chat_space_at(text->text + before, &length)) break;
            begin = before;
        }
        SG_TRY(strings_add(p, text->text + begin, end - begin));
        end = begin;
    }
}

static sg_status strings_cut(strings_parts *p, const sg_chat_value *text,
                             const sg_chat_value *separator, int64_t most)
{
    size_t at = 0;
    for (; most != 0; most--) {
        size_t found = strings_find(text, separator, at);
        if (found == text->count) break;
        SG_TRY(strings_add(p, text->text + at, found - at));
        at = found + separator->count;
    }
    return strings_add(p, text->text + at, text->count - at);
}

static sg_status strings_cut_right(strings_parts *p, const sg_chat_value *text,
                                   const sg_chat_value *separator, int64_t most)
{
    size_t end = text->count, at = end;
    while (most != 0 && at >= separator->count) {
        if (memcmp(text->text + at - separator->count, separator->text, separator->count) != 0) {
            at--;
            continue;
        }
        SG_TRY(strings_add(p, text->text + at, end - at));
        end = at = at - separator->count;
        most--;
    }
    return strings_add(p, text->text, end);
}

sg_status sg_chat_split(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *separator,
                        int64_t most, bool from_right, sg_chat_value *out)
{
    strings_parts p = {.run = r};
    bool spaces = separator->type == SG_CHAT_IS_ABSENT || separator->type == SG_CHAT_IS_NONE;
    SG_TRY(sg_chat_pay_bytes(r, 4 * text->count));
    if (!spaces) SG_TRY(sg_chat_must_be_string(r, separator));
    if (!spaces && separator->count == 0)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a split at nothing");
    if (from_right) {
        // memcmp at every place: the separator's length counts
        if (!spaces) SG_TRY(sg_chat_pay(r, (1 + separator->count / 8) * (text->count / 4)));
        SG_TRY(spaces ? strings_cut_spaces_right(&p, text, most)
                      : strings_cut_right(&p, text, separator, most));
        for (size_t i = 0; i < p.count / 2; i++) {
            sg_chat_value other = p.items[i];
            p.items[i] = p.items[p.count - 1 - i];
            p.items[p.count - 1 - i] = other;
        }
    } else {
        SG_TRY(spaces ? strings_cut_spaces(&p, text, most)
                      : strings_cut(&p, text, separator, most));
    }
    *out = sg_chat_list(SG_CHAT_IS_LIST, p.items, p.count);
    return SG_OK;
}

// The length of the line end at text[at], or 0.
static size_t strings_line_end(const sg_chat_value *text, size_t at)
{
    uint32_t code;
    size_t length = (size_t)sg_utf8_decode_valid(text->text + at, &code);
    if (code == '\r' && at + 1 < text->count && text->text[at + 1] == '\n') return 2;
    bool ends = (code >= 0x0A && code <= 0x0D) || (code >= 0x1C && code <= 0x1E) || code == 0x85 ||
                code == 0x2028 || code == 0x2029;
    return ends ? length : 0;
}

sg_status sg_chat_lines(sg_chat_run *r, const sg_chat_value *text, bool keep_ends,
                        sg_chat_value *out)
{
    strings_parts p = {.run = r};
    size_t begin = 0, at = 0;
    uint32_t code;
    SG_TRY(sg_chat_pay_bytes(r, 4 * text->count));
    while (at < text->count) {
        size_t end = strings_line_end(text, at);
        if (end == 0) {
            at += (size_t)sg_utf8_decode_valid(text->text + at, &code);
            continue;
        }
        SG_TRY(strings_add(&p, text->text + begin, at - begin + (keep_ends ? end : 0)));
        begin = at = at + end;
    }
    if (begin < at) SG_TRY(strings_add(&p, text->text + begin, at - begin));
    *out = sg_chat_list(SG_CHAT_IS_LIST, p.items, p.count);
    return SG_OK;
}

// ---- putting together -------------------------------------------------------------------------

sg_status sg_chat_joined(sg_chat_run *r, const sg_chat_value *between, const sg_chat_value *items,
                         size_t count, bool strings_only, sg_chat_value *out)
{
    sg_bytes made = {0};
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        sg_chat_value text = items[i];
        if (strings_only)
            status = sg_chat_must_be_string(r, &text);
        else
            status = sg_chat_str(r, &items[i], &text);
        if (i > 0) sg_chat_grow(r, &made, between->text, between->count, &status);
        sg_chat_grow(r, &made, text.text, text.count, &status);
    }
    return sg_chat_grown(r, &made, status, out);
}

sg_status sg_chat_padded(sg_chat_run *r, const sg_chat_value *text, int64_t width,
                         const char *filler, char align, sg_chat_value *out)
{
    SG_TRY(sg_chat_pay_bytes(r, text->count));
    int64_t count = (int64_t)sg_chat_characters(text->text, text->count);
    int64_t room = width > count ? width - count : 0, left = align == '>' ? room : 0;
    if (align == '^') left = room / 2 + (room & width & 1);
    if (room > SG_CHAT_BYTES_MAX) return sg_chat_refuse(r, SG_ERR_FORMAT, "makes too much text");
    sg_bytes made = {0};
    sg_status status = SG_OK;
    for (int64_t i = 0; i < left; i++)
        sg_chat_grow(r, &made, filler, strlen(filler), &status);
    sg_chat_grow(r, &made, text->text, text->count, &status);
    for (int64_t i = left; i < room; i++)
        sg_chat_grow(r, &made, filler, strlen(filler), &status);
    return sg_chat_grown(r, &made, status, out);
}
