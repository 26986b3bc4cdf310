// Columns of a page: planes of bytes, deflated, in base64 (RFC 4648).
#include "probe/page_columns.h"

#include <string.h>
#include <zlib.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"

static const char *const column_names[] = {"u8", "i8", "u16", "u32"};
static const int column_widths[] = {1, 1, 2, 4};

sg_page_type sg_page_type_for(int64_t most)
{
    return most <= UINT8_MAX ? SG_PAGE_U8 : most <= UINT16_MAX ? SG_PAGE_U16 : SG_PAGE_U32;
}

static void column_planes(unsigned char *out, const int32_t *values, int64_t count, int width)
{
    for (int b = 0; b < width; b++)
        for (int64_t i = 0; i < count; i++)
            out[b * count + i] = (unsigned char)((uint32_t)values[i] >> (8 * b));
}

static void column_base64(char *out, const unsigned char *in, size_t bytes)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t at = 0;
    for (size_t i = 0; i < bytes; i += 3) {
        const size_t left = bytes - i;
        const uint32_t three = (uint32_t)in[i] << 16 | (left > 1 ? (uint32_t)in[i + 1] << 8 : 0) |
                               (left > 2 ? in[i + 2] : 0);
        out[at++] = digits[three >> 18];
        out[at++] = digits[three >> 12 & 63];
        out[at++] = left > 1 ? digits[three >> 6 & 63] : '=';
        out[at++] = left > 2 ? digits[three & 63] : '=';
    }
    out[at] = '\0';
}

// zlib takes its memory from ours.
static voidpf column_alloc(voidpf user, uInt count, uInt size)
{
    (void)user;
    return sg_alloc_array(count, size);
}

static void column_free(voidpf user, voidpf pointer)
{
    (void)user;
    sg_free(pointer);
}

// in (bytes) deflated: *out (*got), sg_free.
static bool column_deflate(const unsigned char *in, size_t bytes, unsigned char **out, size_t *got)
{
    z_stream z = {.zalloc = column_alloc, .zfree = column_free};
    *out = NULL;
    if (bytes > UINT32_MAX / 2 || deflateInit(&z, 6) != Z_OK) return false;
    const uLong bound = deflateBound(&z, (uLong)bytes);
    *out = sg_alloc(bound);
    z.next_in = (Bytef *)(uintptr_t)in;
    z.avail_in = (uInt)bytes;
    z.next_out = *out;
    z.avail_out = (uInt)bound;
    const bool done = *out != NULL && deflate(&z, Z_FINISH) == Z_STREAM_END;
    *got = z.total_out;
    deflateEnd(&z);
    return done;
}

static char *column_encode(sg_page_type type, const int32_t *values, int64_t count)
{
    const int width = column_widths[type];
    unsigned char *planes = sg_alloc_array((size_t)count, (size_t)width), *packed = NULL;
    size_t bytes = 0;
    char *text = NULL;
    if (planes != NULL) {
        column_planes(planes, values, count, width);
        if (column_deflate(planes, (size_t)count * (size_t)width, &packed, &bytes))
            text = sg_alloc((bytes + 2) / 3 * 4 + 1);
        if (text != NULL) column_base64(text, packed, bytes);
    }
    sg_free(planes);
    sg_free(packed);
    return text;
}

sg_status sg_page_columns_add(sg_page_columns *c, sg_page_type type, const int32_t *values,
                              int64_t count, json_t **reference, sg_error *err)
{
    sg_json_setup();
    *reference = NULL;
    char *text = column_encode(type, values, count);
    if (text == NULL ||
        !sg_grow((void **)&c->items, &c->capacity, c->count + 1, sizeof *c->items)) {
        sg_free(text);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a column of a page");
    }
    *reference = json_pack("{s:I, s:s, s:I}", "column", (json_int_t)c->count, "type",
                           column_names[type], "count", (json_int_t)count);
    c->items[c->count++] = (sg_page_column){text, strlen(text)};
    return *reference != NULL ? SG_OK
                              : sg_fail(err, SG_ERR_MEMORY, "out of memory for a column of a page");
}

int64_t sg_page_columns_bytes(const sg_page_columns *c)
{
    int64_t bytes = 0;
    for (size_t i = 0; i < c->count; i++)
        bytes += (int64_t)c->items[i].bytes + (c->items[i].base64 != NULL ? 64 : 0); // its element
    return bytes;
}

void sg_page_columns_drop(sg_page_columns *c, size_t first, size_t end)
{
    for (size_t i = first; i < end; i++) {
        sg_free(c->items[i].base64);
        c->items[i] = (sg_page_column){0};
    }
}

void sg_page_columns_write(const sg_page_columns *c, sg_writer *writer)
{
    for (size_t i = 0; i < c->count; i++) {
        if (c->items[i].base64 == NULL) continue;
        sg_writer_printf(writer, "<script type=\"application/json\" id=\"column-%zu\">\"", i);
        sg_writer_put(writer, c->items[i].base64, c->items[i].bytes);
        sg_writer_printf(writer, "\"</script>\n");
    }
}

void sg_page_columns_free(sg_page_columns *c)
{
    sg_page_columns_drop(c, 0, c->count);
    sg_free(c->items);
    *c = (sg_page_columns){0};
}
