// UTF-8 (Unicode 15, section 3.9), and the buffer of bytes that text is put together in.
#include "base/utf8.h"

#include <string.h>

#include "base/alloc.h"

bool sg_bytes_add(sg_bytes *bytes, const void *data, size_t count)
{
    if (count > SIZE_MAX - bytes->count - 1) return false;
    if (bytes->most > 0 && bytes->count + count > bytes->most) {
        bytes->full = true;
        return false;
    }
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

// Length that a first byte announces and the allowed range of the second byte (Unicode 15, table
// 3-7).
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

bool sg_utf8_repair(const char *text, size_t bytes, sg_bytes *out, int64_t *replaced)
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
        if (replaced != NULL) (*replaced)++;
    }
}
