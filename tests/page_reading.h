// Pages of sgatlin scope read back, with decoders of their own: elements, base64, zlib's inflate.
#ifndef SG_TESTS_PAGE_READING_H
#define SG_TESTS_PAGE_READING_H

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "format/json.h"

// Where an element with this id has its text; NULL: there is none.
static inline const char *page_element(const char *page, const char *id, size_t *bytes)
{
    char begin[96];
    snprintf(begin, sizeof begin, "<script type=\"application/json\" id=\"%s\">", id);
    const char *at = strstr(page, begin);
    if (at == NULL) return NULL;
    at += strlen(begin);
    *bytes = (size_t)(strstr(at, "</script>") - at);
    return at;
}

static inline int page_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = memchr(digits, c, 64);
    assert_non_null(at);
    return (int)(at - digits);
}

// RFC 4648 and RFC 1950: text (count) into out, which must become full.
static inline void page_inflate(const char *text, size_t count, unsigned char *out, size_t expected)
{
    unsigned char *packed = sg_alloc(count / 4 * 3 + 1);
    size_t used = 0;
    assert_int_equal(count % 4, 0);
    for (size_t i = 0; i < count; i += 4) {
        const char *c = text + i;
        const int kept = c[2] == '=' ? 1 : c[3] == '=' ? 2 : 3;
        const int bits = page_digit(c[0]) << 18 | page_digit(c[1]) << 12 |
                         (kept > 1 ? page_digit(c[2]) << 6 : 0) | (kept > 2 ? page_digit(c[3]) : 0);
        for (int b = 0; b < kept; b++)
            packed[used++] = (unsigned char)(bits >> (16 - 8 * b));
    }
    uLongf got = (uLongf)expected;
    assert_int_equal(uncompress(out, &got, packed, (uLong)used), Z_OK);
    assert_int_equal(got, expected);
    sg_free(packed);
}

// The column that {"column": …} refers to: (*count), sg_free.
static inline int32_t *page_column(const char *page, const json_t *reference, int64_t *count)
{
    char id[32];
    size_t bytes = 0;
    const char *type = json_string_value(json_object_get(reference, "type"));
    const size_t width = strcmp(type, "u32") == 0 ? 4 : strcmp(type, "u16") == 0 ? 2 : 1;
    snprintf(id, sizeof id, "column-%d",
             (int)json_integer_value(json_object_get(reference, "column")));
    const char *text = page_element(page, id, &bytes);
    assert_non_null(text);
    *count = json_integer_value(json_object_get(reference, "count"));
    const size_t n = (size_t)*count;
    unsigned char *planes = sg_alloc(n * width + 1);
    int32_t *values = sg_alloc_zero(n + 1, sizeof *values);
    page_inflate(text + 1, bytes - 2, planes, n * width);
    for (size_t i = 0; i < n; i++)
        for (size_t b = 0; b < width; b++)
            values[i] |= (int32_t)((uint32_t)planes[b * n + i] << (8 * b));
    for (size_t i = 0; i < n && strcmp(type, "i8") == 0; i++)
        values[i] = (int8_t)values[i];
    sg_free(planes);
    return values;
}

#endif
