// Text that may be the beginning of a stop is held back until it is decided.
#include "text/stop_text.h"

#include <string.h>

#include "base/alloc.h"

void sg_stop_text_close(sg_stop_text *s)
{
    sg_free(s->held.data);
    sg_free(s->ready.data);
    *s = (sg_stop_text){0};
}

// The longest stop that text ends with, in bytes; 0: none.
static size_t stop_at_end(const sg_stop_text *s, const char *text, size_t bytes)
{
    size_t longest = 0;
    for (size_t i = 0; i < s->count; i++) {
        size_t length = strlen(s->stops[i]);
        if (length > longest && length <= bytes &&
            memcmp(text + bytes - length, s->stops[i], length) == 0)
            longest = length;
    }
    return longest;
}

// Bytes at the end that are the beginning of a stop, as many as there are.
static size_t stop_begun(const sg_stop_text *s, const char *text, size_t bytes)
{
    size_t begun = 0;
    for (size_t i = 0; i < s->count; i++) {
        size_t length = strlen(s->stops[i]), part = length - 1;
        if (part > bytes) part = bytes;
        while (part > begun && memcmp(text + bytes - part, s->stops[i], part) != 0)
            part--;
        if (part > begun) begun = part;
    }
    return begun;
}

bool sg_stop_text_push(sg_stop_text *s, const char *text, size_t bytes)
{
    s->ready.count = 0;
    if (s->found) return true;
    size_t before = s->held.count;
    if (!sg_bytes_add(&s->held, text, bytes)) return false;
    // A stop's beginning is held back, so that one that ends in the new bytes lies in `held` whole.
    size_t show = s->held.count, end = before;
    while (end < s->held.count && !s->found) {
        size_t length = stop_at_end(s, s->held.data, ++end);
        s->found = length > 0;
        if (s->found) show = end - length;
    }
    if (!s->found) show -= stop_begun(s, s->held.data, s->held.count);
    if (!sg_bytes_add(&s->ready, s->held.data, show)) return false;
    s->held.count = s->found ? 0 : s->held.count - show;
    memmove(s->held.data, s->held.data + show, s->held.count);
    return true;
}

bool sg_stop_text_finish(sg_stop_text *s)
{
    s->ready.count = 0;
    if (!sg_bytes_add(&s->ready, s->held.data, s->held.count)) return false;
    s->held.count = 0;
    return true;
}
