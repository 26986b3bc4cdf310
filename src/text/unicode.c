// UTF-8 decoding and character classes over the tables of unicode_tables.c.
#include "text/unicode.h"

#include <string.h>

#include "base/alloc.h"
#include "text/unicode_tables.h"

bool sg_bytes_add(sg_bytes *bytes, const void *data, size_t count)
{
    if (count > SIZE_MAX - bytes->count - 1) return false;
    // One byte more than needed, so that even an empty buffer that was added to has storage.
    if (!sg_grow((void **)&bytes->data, &bytes->capacity, bytes->count + count + 1, 1))
        return false;
    if (count > 0) memcpy(bytes->data + bytes->count, data, count);
    bytes->count += count;
    return true;
}

bool sg_bytes_add_replaced(sg_bytes *bytes, const char *text, size_t count, const char *pattern,
                           size_t pattern_bytes, const char *content, size_t content_bytes)
{
    for (;;) {
        const char *hit = memmem(text, count, pattern, pattern_bytes);
        size_t before = hit == NULL ? count : (size_t)(hit - text);
        if (!sg_bytes_add(bytes, text, before)) return false;
        if (hit == NULL) return true;
        if (!sg_bytes_add(bytes, content, content_bytes)) return false;
        text = hit + pattern_bytes;
        count -= before + pattern_bytes;
    }
}

// Length that a first byte announces and the allowed range of the second byte (Unicode 15, table 3-7).
static int utf8_shape(unsigned char first, unsigned char *low, unsigned char *high)
{
    *low = 0x80;
    *high = 0xBF;
    if (first < 0x80) return 1;
    if (first < 0xC2) return 0;
    if (first < 0xE0) return 2;
    if (first < 0xF0) {
        if (first == 0xE0) *low = 0xA0;
        if (first == 0xED) *high = 0x9F;
        return 3;
    }
    if (first < 0xF5) {
        if (first == 0xF0) *low = 0x90;
        if (first == 0xF4) *high = 0x8F;
        return 4;
    }
    return 0;
}

int sg_utf8_decode(const char *text, size_t bytes, uint32_t *code)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned char low, high;
    int length = utf8_shape(p[0], &low, &high);
    if (length == 1) *code = p[0];
    if (length <= 1) return length;
    if (bytes < (size_t)length || p[1] < low || p[1] > high) return 0;
    for (int i = 2; i < length; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    return sg_utf8_decode_valid(text, code);
}

int sg_utf8_decode_valid(const char *text, uint32_t *code)
{
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) {
        *code = p[0];
        return 1;
    }
    if (p[0] < 0xE0) {
        *code = (p[0] & 0x1FU) << 6 | (p[1] & 0x3FU);
        return 2;
    }
    if (p[0] < 0xF0) {
        *code = (p[0] & 0x0FU) << 12 | (p[1] & 0x3FU) << 6 | (p[2] & 0x3FU);
        return 3;
    }
    *code = (p[0] & 0x07U) << 18 | (p[1] & 0x3FU) << 12 | (p[2] & 0x3FU) << 6 | (p[3] & 0x3FU);
    return 4;
}

int sg_utf8_encode(uint32_t code, char out[4])
{
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (char)(0xC0 | code >> 6);
        out[1] = (char)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (char)(0xE0 | code >> 12);
        out[1] = (char)(0x80 | (code >> 6 & 0x3F));
        out[2] = (char)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | code >> 18);
    out[1] = (char)(0x80 | (code >> 12 & 0x3F));
    out[2] = (char)(0x80 | (code >> 6 & 0x3F));
    out[3] = (char)(0x80 | (code & 0x3F));
    return 4;
}

size_t sg_utf8_valid_prefix(const char *text, size_t bytes)
{
    size_t at = 0;
    while (at < bytes) {
        while (bytes - at >= 8) { // eight ASCII bytes at a time
            uint64_t word;
            memcpy(&word, text + at, 8);
            if (word & 0x8080808080808080ULL) break;
            at += 8;
        }
        if (at == bytes) break;
        uint32_t code;
        int length = sg_utf8_decode(text + at, bytes - at, &code);
        if (length == 0) break;
        at += (size_t)length;
    }
    return at;
}

size_t sg_utf8_bad_length(const char *text, size_t bytes, bool *incomplete)
{
    const unsigned char *p = (const unsigned char *)text;
    unsigned char low, high;
    int length = utf8_shape(p[0], &low, &high);
    *incomplete = false;
    size_t good = 1;
    while (good < (size_t)length) {
        if (good == bytes) {
            *incomplete = true;
            break;
        }
        if (good == 1 ? p[1] < low || p[1] > high : (p[good] & 0xC0) != 0x80) break;
        good++;
    }
    return good;
}

bool sg_utf8_repair(const char *text, size_t bytes, sg_bytes *out)
{
    size_t at = 0;
    for (;;) {
        size_t good = sg_utf8_valid_prefix(text + at, bytes - at);
        if (!sg_bytes_add(out, text + at, good)) return false;
        at += good;
        if (at == bytes) return true;
        bool incomplete;
        at += sg_utf8_bad_length(text + at, bytes - at, &incomplete);
        if (!sg_bytes_add(out, "\xEF\xBF\xBD", 3)) return false;
    }
}

int sg_char_class(uint32_t code)
{
    if (code > 0x10FFFF) return SG_CLASS_OTHER;
    const uint8_t *page = sg_class_pages[sg_class_index[code >> 8]];
    return page[(code & 0xFF) >> 2] >> (2 * (code & 3)) & 3;
}

bool sg_char_is_space(uint32_t code)
{
    return sg_char_class(code) == SG_CLASS_SPACE;
}

static bool unicode_in_ranges(const sg_code_range *ranges, size_t count, uint32_t code)
{
    size_t low = 0, high = count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    return low < count && code >= ranges[low].first;
}

bool sg_char_is_inert(uint32_t code)
{
    return unicode_in_ranges(sg_inert_ranges, sg_inert_ranges_count, code);
}

bool sg_char_is_second(uint32_t code)
{
    return unicode_in_ranges(sg_second_ranges, sg_second_ranges_count, code);
}

bool sg_char_is_word(uint32_t code)
{
    return unicode_in_ranges(sg_word_ranges, sg_word_ranges_count, code);
}

bool sg_char_is_numeric(uint32_t code)
{
    return unicode_in_ranges(sg_numeric_ranges, sg_numeric_ranges_count, code);
}

bool sg_char_is_punctuation(uint32_t code)
{
    return unicode_in_ranges(sg_punctuation_ranges, sg_punctuation_ranges_count, code);
}

int sg_char_lower(uint32_t code, uint32_t out[2])
{
    out[0] = code;
    if (code < 0x80) {
        if (code >= 'A' && code <= 'Z') out[0] = code + 32;
        return 1;
    }
    if (code == 0x130) { // the only character whose lower case is two
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    size_t low = 0, high = sg_lower_ranges_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > sg_lower_ranges[middle].last)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < sg_lower_ranges_count) {
        const sg_lower_range *r = &sg_lower_ranges[low];
        if (code >= r->first && (code - r->first) % r->step == 0)
            out[0] = (uint32_t)((int32_t)code + r->delta);
    }
    return 1;
}

uint32_t sg_byte_to_char(uint8_t byte)
{
    if (byte <= 0x20) return 0x100U + byte;
    if (byte < 0x7F) return byte;
    if (byte <= 0xA0) return 0x121U + (byte - 0x7FU);
    if (byte == 0xAD) return 0x143;
    return byte;
}

int sg_char_to_byte(uint32_t code)
{
    if (code < 0x100) {
        bool printable = (code > 0x20 && code < 0x7F) || (code > 0xA0 && code != 0xAD);
        return printable ? (int)code : -1;
    }
    if (code <= 0x120) return (int)(code - 0x100);
    if (code <= 0x142) return (int)(code - 0x121 + 0x7F);
    return code == 0x143 ? 0xAD : -1;
}

bool sg_bytes_spell(const char *data, size_t count, sg_bytes *out)
{
    for (size_t i = 0; i < count; i++) {
        char text[4];
        int length = sg_utf8_encode(sg_byte_to_char((uint8_t)data[i]), text);
        if (!sg_bytes_add(out, text, (size_t)length)) return false;
    }
    return true;
}

bool sg_bytes_unspell(const char *text, size_t count, sg_bytes *out, bool *whole)
{
    size_t before = out->count;
    *whole = true;
    for (size_t at = 0; at < count;) {
        uint32_t code;
        at += (size_t)sg_utf8_decode_valid(text + at, &code);
        int byte = sg_char_to_byte(code);
        if (byte < 0) {
            *whole = false;
            out->count = before;
            return true;
        }
        char one = (char)byte;
        if (!sg_bytes_add(out, &one, 1)) return false;
    }
    return true;
}
