// Character classes over the tables of unicode_tables.c.
#include "text/unicode.h"

#include "text/unicode_tables.h"

size_t sg_bytes_limit(size_t bytes)
{
    const size_t slack = (size_t)1 << 20;
    return bytes > (SIZE_MAX - slack) / 16 ? SIZE_MAX : 16 * bytes + slack;
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
