// CSV (RFC 4180), JSON lines, and NumPy's arrays of records (numpy.lib.format, version 1.0).
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "probe/record_export.h"

static bool column_is_text(const sg_export_column *c)
{
    return c->kind == SG_EXPORT_TEXT || c->kind == SG_EXPORT_BYTES;
}

// ---- the beginning ------------------------------------------------------------------------------

static void begin_npy(sg_export_sink *s, int64_t rows)
{
    char dict[1024];
    size_t at = (size_t)snprintf(dict, sizeof dict, "{'descr': [");
    for (const sg_export_column *c = s->columns; c->name != NULL; c++)
        if (!column_is_text(c))
            at += (size_t)snprintf(dict + at, sizeof dict - at, "('%s', '%s'), ", c->name,
                                   c->kind == SG_EXPORT_INT     ? "<i8"
                                   : c->kind == SG_EXPORT_FLOAT ? "<f4"
                                                                : "<f8");
    at += (size_t)snprintf(dict + at, sizeof dict - at,
                           "], 'fortran_order': False, 'shape': (%" PRId64 ",), }", rows);
    // The data begin at a multiple of 64; the last byte in front of them is a line end.
    const size_t header = (10 + at + 1 + 63) / 64 * 64 - 10;
    const unsigned char front[10] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, (unsigned char)header, (unsigned char)(header >> 8)};
    sg_writer_put(s->writer, front, sizeof front);
    sg_writer_put(s->writer, dict, at);
    for (size_t i = at; i + 1 < header; i++)
        sg_writer_put(s->writer, " ", 1);
    sg_writer_put(s->writer, "\n", 1);
}

sg_status sg_export_begin(sg_export_sink *s, int64_t rows, sg_error *err)
{
    (void)err;
    s->rows = 0;
    if (s->format == SG_EXPORT_NPY) begin_npy(s, rows);
    if (s->format != SG_EXPORT_CSV) return SG_OK;
    for (const sg_export_column *c = s->columns; c->name != NULL; c++)
        sg_writer_printf(s->writer, "%s%s", c == s->columns ? "" : ",", c->name);
    sg_writer_put(s->writer, "\r\n", 2);
    return SG_OK;
}

// ---- values -------------------------------------------------------------------------------------

// Whether a text stands as it is in any file: UTF-8 without a NUL.
static bool text_is_whole(const sg_export_value *v)
{
    return sg_utf8_valid_prefix(v->text, v->bytes) == v->bytes &&
           (v->bytes == 0 || memchr(v->text, '\0', v->bytes) == NULL);
}

// With U+FFFD in the place of what is not.
static bool mend_text(const sg_export_value *v, sg_bytes *out)
{
    bool fine = true;
    for (size_t at = 0, end; at < v->bytes && fine; at = end + 1) {
        const char *nul = memchr(v->text + at, '\0', v->bytes - at);
        end = nul != NULL ? (size_t)(nul - v->text) : v->bytes;
        fine = sg_utf8_repair(v->text + at, end - at, out, NULL) &&
               (nul == NULL || sg_bytes_add(out, "\xef\xbf\xbd", 3));
    }
    return fine;
}

static bool hex_text(const sg_export_value *v, sg_bytes *out)
{
    static const char digits[] = "0123456789abcdef";
    bool fine = true;
    for (size_t i = 0; i < v->bytes && fine; i++) {
        const unsigned char byte = (unsigned char)v->text[i];
        fine = sg_bytes_add(out, &digits[byte >> 4], 1) && sg_bytes_add(out, &digits[byte & 15], 1);
    }
    return fine;
}

// Of a column of a text, what stands in the file, in s->text; *known false: nothing.
static sg_status value_text(sg_export_sink *s, const sg_export_column *c, const sg_export_value *v,
                            bool *known, sg_error *err)
{
    s->text.count = 0;
    *known = v->text != NULL && (c->kind == SG_EXPORT_TEXT || !text_is_whole(v));
    const bool fine =
        !*known || (c->kind == SG_EXPORT_TEXT ? mend_text(v, &s->text) : hex_text(v, &s->text));
    return fine ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a text");
}

static void put_csv_text(sg_export_sink *s)
{
    const char *text = s->text.data;
    sg_writer_put(s->writer, "\"", 1);
    for (size_t i = 0; i < s->text.count; i++) {
        if (text[i] == '"') sg_writer_put(s->writer, "\"", 1);
        sg_writer_put(s->writer, &text[i], 1);
    }
    sg_writer_put(s->writer, "\"", 1);
}

static void put_json_text(sg_export_sink *s)
{
    const char *text = s->text.data;
    sg_writer_put(s->writer, "\"", 1);
    for (size_t i = 0; i < s->text.count; i++) {
        const unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\') sg_writer_put(s->writer, "\\", 1);
        if (byte < ' ' || byte == 0x7f)
            sg_writer_printf(s->writer, "\\u%04x", byte);
        else
            sg_writer_put(s->writer, &text[i], 1);
    }
    sg_writer_put(s->writer, "\"", 1);
}

// A number as text; nothing, or null, where it is not known.
static void put_number(sg_export_sink *s, const sg_export_column *c, const sg_export_value *v)
{
    const bool known = c->kind == SG_EXPORT_INT ? v->integer >= 0 : isfinite(v->real);
    if (!known)
        sg_writer_printf(s->writer, "%s", s->format == SG_EXPORT_JSONL ? "null" : "");
    else if (c->kind == SG_EXPORT_INT)
        sg_writer_printf(s->writer, "%" PRId64, v->integer);
    else
        sg_writer_printf(s->writer, c->kind == SG_EXPORT_FLOAT ? "%.9g" : "%.17g", v->real);
}

static sg_status put_text_value(sg_export_sink *s, const sg_export_column *c,
                                const sg_export_value *v, sg_error *err)
{
    bool known = false;
    if (!column_is_text(c)) {
        put_number(s, c, v);
        return SG_OK;
    }
    SG_TRY(value_text(s, c, v, &known, err));
    if (known && s->format == SG_EXPORT_CSV)
        put_csv_text(s);
    else if (known)
        put_json_text(s);
    else if (s->format == SG_EXPORT_JSONL)
        sg_writer_put(s->writer, "null", 4);
    return SG_OK;
}

static void put_little(sg_export_sink *s, uint64_t bits, int bytes)
{
    unsigned char out[8];
    for (int i = 0; i < bytes; i++)
        out[i] = (unsigned char)(bits >> 8 * i);
    sg_writer_put(s->writer, out, (size_t)bytes);
}

static void put_npy_value(sg_export_sink *s, const sg_export_column *c, const sg_export_value *v)
{
    uint64_t bits = 0;
    uint32_t narrow = 0;
    const float real = (float)v->real;
    switch (c->kind) {
    case SG_EXPORT_INT:
        put_little(s, (uint64_t)v->integer, 8);
        break;
    case SG_EXPORT_FLOAT:
        memcpy(&narrow, &real, sizeof narrow);
        put_little(s, narrow, 4);
        break;
    case SG_EXPORT_REAL:
        memcpy(&bits, &v->real, sizeof bits);
        put_little(s, bits, 8);
        break;
    default:
        break; // texts have no column
    }
}

sg_status sg_export_row(sg_export_sink *s, const sg_export_value *values, sg_error *err)
{
    s->rows++;
    if (s->writer == NULL) return SG_OK;
    if (s->format == SG_EXPORT_JSONL) sg_writer_put(s->writer, "{", 1);
    for (int i = 0; s->columns[i].name != NULL; i++) {
        const sg_export_column *c = &s->columns[i];
        if (s->format == SG_EXPORT_NPY) {
            put_npy_value(s, c, &values[i]);
            continue;
        }
        if (i > 0) sg_writer_put(s->writer, ",", 1);
        if (s->format == SG_EXPORT_JSONL) sg_writer_printf(s->writer, "\"%s\":", c->name);
        SG_TRY(put_text_value(s, c, &values[i], err));
    }
    if (s->format == SG_EXPORT_JSONL) sg_writer_put(s->writer, "}\n", 2);
    if (s->format == SG_EXPORT_CSV) sg_writer_put(s->writer, "\r\n", 2);
    return SG_OK;
}
