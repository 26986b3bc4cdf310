// The start of the content is read ahead, so that its first bytes can tell the encoding; UTF-16 and
// UTF-32 then go through a buffer of their own, unit by unit.
#include "text/encoding.h"

#include <string.h>

#include "base/alloc.h"
#include "base/utf8.h"

enum { decoded_start = 4096, decoded_raw = 1 << 15, decoded_most = 4 /* bytes of one character */ };

struct sg_decoded {
    sg_source *source;
    sg_encoding encoding;
    unsigned char *raw; // (decoded_raw) content not yet handed out, from `at` on
    size_t at, bytes;
    bool end;      // the source has ended
    uint32_t high; // UTF-16: the first half of a pair, waiting for the second; 0: none
};

// Reads more behind what is there; a unit may be cut by the end of the buffer.
static sg_status decoded_fetch(sg_decoded *d, sg_error *err)
{
    size_t got, rest = d->bytes - d->at;
    memmove(d->raw, d->raw + d->at, rest);
    d->at = 0;
    d->bytes = rest;
    SG_TRY(sg_source_read(d->source, d->raw + rest, decoded_raw - rest, &got, err));
    d->bytes += got;
    d->end = got == 0;
    return SG_OK;
}

// ---- which it is --------------------------------------------------------------------------------

static sg_encoding decoded_mark(const unsigned char *p, size_t n, size_t *mark)
{
    static const struct {
        sg_encoding encoding;
        size_t bytes;
        unsigned char mark[4];
    } marks[] = {
        {SG_ENCODING_UTF8, 3, {0xEF, 0xBB, 0xBF}},
        {SG_ENCODING_UTF32_LE, 4, {0xFF, 0xFE, 0, 0}}, // before UTF-16, which begins so too
        {SG_ENCODING_UTF32_BE, 4, {0, 0, 0xFE, 0xFF}},
        {SG_ENCODING_UTF16_LE, 2, {0xFF, 0xFE}},
        {SG_ENCODING_UTF16_BE, 2, {0xFE, 0xFF}}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        *mark = marks[i].bytes;
        if (n >= *mark && memcmp(p, marks[i].mark, *mark) == 0) return marks[i].encoding;
    }
    *mark = 0;
    return SG_ENCODING_UTF8;
}

// Western text in UTF-16 has NUL in most even places or in most odd ones, and UTF-8 text has none.
static bool decoded_looks_wide(const unsigned char *p, size_t n)
{
    size_t nul[2] = {0, 0};
    for (size_t i = 0; i < n; i++)
        nul[i % 2] += p[i] == 0;
    return n >= 8 && (nul[0] == 0) != (nul[1] == 0) && nul[0] + nul[1] > n / 4;
}

static sg_status decoded_start_up(sg_decoded *d, const char *name, sg_error *err)
{
    while (d->bytes < decoded_most && !d->end)
        SG_TRY(decoded_fetch(d, err));
    size_t mark;
    d->encoding = decoded_mark(d->raw, d->bytes, &mark);
    d->at = mark;
    size_t seen = d->bytes < decoded_start ? d->bytes : decoded_start;
    if (mark == 0 && decoded_looks_wide(d->raw, seen))
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: found NUL in every second byte, expected UTF-8: this is UTF-16 without "
                       "the byte order mark that would say so; convert it, or put the mark first",
                       name);
    return SG_OK;
}

// ---- opening ------------------------------------------------------------------------------------

// Takes the source.
static sg_status decoded_new(sg_source *source, const char *name, sg_decoded **out, sg_error *err)
{
    sg_decoded *d = sg_alloc_zero(1, sizeof *d);
    if (d != NULL) d->raw = sg_alloc(decoded_raw);
    if (d == NULL || d->raw == NULL) {
        sg_free(d);
        sg_source_close(source);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory to read it", name);
    }
    d->source = source;
    sg_status status = decoded_start_up(d, name, err);
    if (status != SG_OK)
        sg_decoded_close(d);
    else
        *out = d;
    return status;
}

sg_status sg_decoded_open(const char *path, sg_decoded **out, sg_error *err)
{
    sg_source *source;
    *out = NULL;
    SG_TRY(sg_source_open(path, &source, err));
    return decoded_new(source, strcmp(path, "-") == 0 ? "standard input" : path, out, err);
}

sg_status sg_decoded_open_memory(const void *data, size_t bytes, const char *name, sg_decoded **out,
                                 sg_error *err)
{
    sg_source *source;
    *out = NULL;
    SG_TRY(sg_source_open_memory(data, bytes, name, &source, err));
    return decoded_new(source, name, out, err);
}

void sg_decoded_close(sg_decoded *decoded)
{
    if (decoded == NULL) return;
    sg_source_close(decoded->source);
    sg_free(decoded->raw);
    sg_free(decoded);
}

sg_encoding sg_decoded_encoding(const sg_decoded *decoded)
{
    return decoded->encoding;
}

int64_t sg_decoded_position(const sg_decoded *decoded)
{
    return sg_source_position(decoded->source);
}

// ---- reading ------------------------------------------------------------------------------------

// Writes a character, or the byte that stands for none.
static size_t decoded_put(uint32_t code, char *out)
{
    if (code < 0x110000 && (code < 0xD800 || code > 0xDFFF))
        return (size_t)sg_utf8_encode(code, out);
    *out = (char)0xFF;
    return 1;
}

static uint32_t decoded_unit(const unsigned char *p, sg_encoding encoding)
{
    switch (encoding) {
    case SG_ENCODING_UTF16_LE:
        return p[0] | (uint32_t)p[1] << 8;
    case SG_ENCODING_UTF16_BE:
        return p[1] | (uint32_t)p[0] << 8;
    case SG_ENCODING_UTF32_LE:
        return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    default:
        return p[3] | (uint32_t)p[2] << 8 | (uint32_t)p[1] << 16 | (uint32_t)p[0] << 24;
    }
}

// One unit of UTF-16: a surrogate of the first kind waits for one of the second. At most four
// bytes.
static size_t decoded_pair(sg_decoded *d, uint32_t unit, char *out)
{
    size_t used = 0;
    const bool low = unit >= 0xDC00 && unit <= 0xDFFF;
    if (d->high != 0 && low) {
        unit = 0x10000 + ((d->high - 0xD800) << 10) + (unit - 0xDC00);
    } else if (d->high != 0) {
        out[used++] = (char)0xFF;
    }
    const bool high = unit >= 0xD800 && unit <= 0xDBFF;
    d->high = high ? unit : 0;
    return high ? used : used + decoded_put(unit, out + used);
}

static size_t decoded_take(sg_decoded *d, char *out, size_t capacity)
{
    const bool wide = d->encoding >= SG_ENCODING_UTF32_LE;
    const size_t unit = wide ? 4 : 2;
    size_t used = 0;
    for (; d->bytes - d->at >= unit && capacity - used >= decoded_most + 1; d->at += unit) {
        uint32_t code = decoded_unit(d->raw + d->at, d->encoding);
        used += wide ? decoded_put(code, out + used) : decoded_pair(d, code, out + used);
    }
    // Half a unit, or half a pair, at the end.
    if (d->end && d->bytes - d->at < unit && capacity - used >= 2) {
        if (d->high != 0) out[used++] = (char)0xFF;
        if (d->at < d->bytes) out[used++] = (char)0xFF;
        d->high = 0;
        d->at = d->bytes;
    }
    return used;
}

sg_status sg_decoded_read(sg_decoded *d, void *out, size_t capacity, size_t *got, sg_error *err)
{
    *got = 0;
    if (d->encoding == SG_ENCODING_UTF8) {
        size_t ahead = d->bytes - d->at;
        if (ahead == 0) return sg_source_read(d->source, out, capacity, got, err);
        *got = ahead < capacity ? ahead : capacity;
        memcpy(out, d->raw + d->at, *got);
        d->at += *got;
        return SG_OK;
    }
    for (;;) {
        *got = decoded_take(d, out, capacity);
        if (*got > 0 || d->end) return SG_OK;
        SG_TRY(decoded_fetch(d, err));
    }
}
