// NumPy files: "\x93NUMPY", version, header length (u16, from version 2 on u32), then a Python
// dictionary with exactly the keys descr, fortran_order and shape, then the data
// (numpy.org/doc/stable/reference/generated/numpy.lib.format.html). The dictionary is read by a
// small parser that accepts what NumPy writes and nothing cleverer.
#include "format/npy.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static const char npy_magic[6] = "\x93NUMPY";

static const struct {
    const char *descr;
    sg_dtype dtype;
} npy_types[] = {
    {"|b1", SG_DTYPE_BOOL}, {"|u1", SG_DTYPE_U8},  {"|i1", SG_DTYPE_I8},  {"<u2", SG_DTYPE_U16},
    {"<i2", SG_DTYPE_I16},  {"<f2", SG_DTYPE_F16}, {"<u4", SG_DTYPE_U32}, {"<i4", SG_DTYPE_I32},
    {"<f4", SG_DTYPE_F32},  {"<u8", SG_DTYPE_U64}, {"<i8", SG_DTYPE_I64}, {"<f8", SG_DTYPE_F64},
};
enum { npy_type_count = sizeof npy_types / sizeof *npy_types };

// ---- writing ----------------------------------------------------------------------------------

size_t sg_npy_header(const sg_tensor_view *view, unsigned char out[SG_NPY_HEADER])
{
    const char *descr = NULL;
    char text[SG_NPY_HEADER - 32];
    for (int i = 0; i < npy_type_count; i++)
        if (npy_types[i].dtype == view->dtype) descr = npy_types[i].descr;
    if (descr == NULL) return 0;
    size_t used = (size_t)snprintf(text, sizeof text,
                                   "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (int i = 0; i < view->ndim; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", i ? ", " : "",
                                 (long long)view->shape[i]);
    used += (size_t)snprintf(text + used, sizeof text - used, "%s), }", view->ndim == 1 ? "," : "");
    // Blanks and a line end up to a multiple of 64 bytes, so that the data are aligned.
    size_t total = (10 + used + 1 + 63) / 64 * 64, length = total - 10;
    memset(out, ' ', total);
    memcpy(out, npy_magic, sizeof npy_magic);
    out[6] = 1;
    out[7] = 0;
    out[8] = (unsigned char)length;
    out[9] = (unsigned char)(length >> 8);
    memcpy(out + 10, text, used);
    out[total - 1] = '\n';
    return total;
}

sg_status sg_npy_write(const char *path, int mode, const sg_tensor_view *view, sg_error *err)
{
    sg_tensor_view named = *view;
    if (named.name == NULL || named.name[0] == '\0') named.name = "array";
    sg_status status = sg_tensor_view_check(&named, err);
    if (status != SG_OK) return sg_fail_context(err, status, "%s", path);
    unsigned char header[SG_NPY_HEADER];
    size_t length = sg_npy_header(view, header);
    if (length == 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: NumPy has no type %s", path,
                       sg_dtype_name(view->dtype));
    sg_writer *writer;
    SG_TRY(sg_writer_open_output(path, mode, &writer, err));
    sg_writer_put(writer, header, length);
    sg_writer_put(writer, view->data, view->bytes);
    return sg_writer_replace(writer, err);
}

// ---- reading ----------------------------------------------------------------------------------

typedef struct npy_cursor {
    const char *at, *end;
} npy_cursor;

static void npy_blank(npy_cursor *cursor)
{
    while (cursor->at < cursor->end && strchr(" \t\n", *cursor->at) != NULL && *cursor->at != '\0')
        cursor->at++;
}

// Takes one character, after blanks.
static bool npy_take(npy_cursor *cursor, char c)
{
    npy_blank(cursor);
    if (cursor->at == cursor->end || *cursor->at != c) return false;
    cursor->at++;
    return true;
}

static bool npy_take_word(npy_cursor *cursor, const char *word)
{
    size_t length = strlen(word);
    npy_blank(cursor);
    if ((size_t)(cursor->end - cursor->at) < length || memcmp(cursor->at, word, length) != 0)
        return false;
    cursor->at += length;
    return true;
}

// A quoted string without escapes.
static bool npy_take_string(npy_cursor *cursor, char *out, size_t capacity)
{
    npy_blank(cursor);
    if (cursor->at == cursor->end || (*cursor->at != '\'' && *cursor->at != '"')) return false;
    char quote = *cursor->at++;
    size_t used = 0;
    for (; cursor->at < cursor->end && *cursor->at != quote; cursor->at++) {
        if (*cursor->at == '\\' || *cursor->at < ' ' || used + 1 >= capacity) return false;
        out[used++] = *cursor->at;
    }
    out[used] = '\0';
    if (cursor->at == cursor->end) return false;
    cursor->at++;
    return true;
}

static bool npy_take_size(npy_cursor *cursor, int64_t *value)
{
    npy_blank(cursor);
    const char *start = cursor->at;
    for (*value = 0; cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9';) {
        int digit = *cursor->at++ - '0';
        if (*value > (INT64_MAX - digit) / 10) return false;
        *value = *value * 10 + digit;
    }
    return cursor->at > start;
}

// "()", "(3,)", "(2, 3)"; ndim is set to SG_VIEW_DIMS + 1 when there are more.
static bool npy_take_shape(npy_cursor *cursor, sg_tensor_view *view)
{
    if (!npy_take(cursor, '(')) return false;
    for (view->ndim = 0; !npy_take(cursor, ')');) {
        int64_t size;
        if (!npy_take_size(cursor, &size)) return false;
        if (view->ndim < SG_VIEW_DIMS) view->shape[view->ndim] = size;
        if (view->ndim <= SG_VIEW_DIMS) view->ndim++;
        if (npy_take(cursor, ',')) continue;
        // "(3)" is a number in brackets, not a tuple.
        return view->ndim > 1 && npy_take(cursor, ')');
    }
    return true;
}

typedef struct npy_dictionary {
    char descr[32];
    bool fortran;
    bool seen[3];
} npy_dictionary;

static bool npy_take_entry(npy_cursor *cursor, npy_dictionary *found, sg_tensor_view *view)
{
    char key[32];
    if (!npy_take_string(cursor, key, sizeof key) || !npy_take(cursor, ':')) return false;
    static const char *const keys[3] = {"descr", "fortran_order", "shape"};
    int which = 0;
    while (which < 3 && strcmp(key, keys[which]) != 0)
        which++;
    if (which == 3 || found->seen[which]) return false;
    found->seen[which] = true;
    if (which == 0) return npy_take_string(cursor, found->descr, sizeof found->descr);
    if (which == 2) return npy_take_shape(cursor, view);
    found->fortran = npy_take_word(cursor, "True");
    return found->fortran || npy_take_word(cursor, "False");
}

static bool npy_take_dictionary(npy_cursor *cursor, npy_dictionary *found, sg_tensor_view *view)
{
    if (!npy_take(cursor, '{')) return false;
    while (!npy_take(cursor, '}')) {
        if (!npy_take_entry(cursor, found, view)) return false;
        if (npy_take(cursor, ',')) continue;
        if (!npy_take(cursor, '}')) return false;
        break;
    }
    npy_blank(cursor);
    return cursor->at == cursor->end && found->seen[0] && found->seen[1] && found->seen[2];
}

static sg_status npy_check(const char *name, const npy_dictionary *found, sg_tensor_view *view,
                           size_t data_bytes, sg_error *err)
{
    int type = 0;
    while (type < npy_type_count && strcmp(npy_types[type].descr, found->descr) != 0)
        type++;
    if (type == npy_type_count)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: type: found \"%s\", expected a little-endian number", name,
                       found->descr);
    view->dtype = npy_types[type].dtype;
    if (view->ndim > SG_VIEW_DIMS)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: more than %d dimensions", name, SG_VIEW_DIMS);
    if (found->fortran && view->ndim > 1)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: column-major order, expected row-major", name);
    int64_t bytes = sg_shape_bytes(view->dtype, view->ndim, view->shape);
    if (bytes < 0) return sg_fail(err, SG_ERR_FORMAT, "%s: the shape is too large", name);
    view->bytes = (size_t)bytes;
    if (view->bytes != data_bytes)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: found %zu bytes of data, its type and shape need %zu", name, data_bytes,
                       view->bytes);
    return SG_OK;
}

sg_status sg_npy_parse(const void *data, size_t bytes, const char *name, sg_tensor_view *view,
                       sg_error *err)
{
    *view = (sg_tensor_view){.name = ""};
    const unsigned char *p = data;
    if (bytes < 10 || memcmp(p, npy_magic, sizeof npy_magic) != 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: is not a NumPy file", name);
    if (p[6] < 1 || p[6] > 3 || p[7] != 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: version: found %d.%d, expected 1.0 to 3.0",
                       name, p[6], p[7]);
    size_t start = p[6] == 1 ? 10 : 12, length = 0;
    for (size_t i = 8; i < start && i < bytes; i++)
        length |= (size_t)p[i] << 8 * (i - 8);
    if (bytes < start || length > bytes - start)
        return sg_fail(err, SG_ERR_FORMAT, "%s: header length: found %zu, the file has %zu", name,
                       length, bytes < start ? 0 : bytes - start);
    npy_cursor cursor = {(const char *)p + start, (const char *)p + start + length};
    npy_dictionary found = {0};
    sg_tensor_view result = {.name = "", .data = p + start + length};
    if (!npy_take_dictionary(&cursor, &found, &result))
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: header: expected a dictionary of descr, fortran_order and shape", name);
    SG_TRY(npy_check(name, &found, &result, bytes - start - length, err));
    *view = result;
    return SG_OK;
}

sg_status sg_npy_open(const char *path, sg_npy *npy, sg_error *err)
{
    *npy = (sg_npy){0};
    SG_TRY(sg_map_open(path, &npy->map, err));
    sg_status status = sg_npy_parse(npy->map.data, npy->map.bytes, path, &npy->view, err);
    if (status != SG_OK) sg_npy_close(npy);
    return status;
}

void sg_npy_close(sg_npy *npy)
{
    sg_map_close(&npy->map);
    *npy = (sg_npy){0};
}
