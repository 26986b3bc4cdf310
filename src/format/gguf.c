// The GGUF reader. A file is: "GGUF", version (u32), number of tensors and of metadata (u64 each),
// the metadata (key, type, value), the tensors (name, dimensions innermost first, type, offset),
// padding to the alignment, the data that offsets count from. Every count is compared with the
// bytes that are left before anything is made of it: memory for a file is a small multiple of its
// own size. Getters are in gguf_values.c.
#include "format/gguf.h"

#include <string.h>

#include "base/alloc.h"
#include "format/file_kind.h"
#include "format/gguf_file.h"

enum {
    gguf_dims = 4,
    gguf_value_least = 8 + 1 + 4 + 1,          // bytes of the shortest value: key, type, u8
    gguf_tensor_least = 8 + 1 + 4 + 8 + 4 + 8, // and of the shortest tensor: one dimension
    gguf_name_most = 65535                     // as the format limits keys
};

static const struct {
    const char *name;
    size_t bytes;
} gguf_types[SG_GGUF_TYPE_COUNT] = {
    [SG_GGUF_U8] = {"u8", 1},   [SG_GGUF_I8] = {"i8", 1},       [SG_GGUF_U16] = {"u16", 2},
    [SG_GGUF_I16] = {"i16", 2}, [SG_GGUF_U32] = {"u32", 4},     [SG_GGUF_I32] = {"i32", 4},
    [SG_GGUF_F32] = {"f32", 4}, [SG_GGUF_BOOL] = {"bool", 1},   [SG_GGUF_STRING] = {"string", 0},
    [SG_GGUF_U64] = {"u64", 8}, [SG_GGUF_ARRAY] = {"array", 0}, [SG_GGUF_I64] = {"i64", 8},
    [SG_GGUF_F64] = {"f64", 8},
};

// Tensor types by their number in files (ggml.h, enum ggml_type); gaps were given up.
static const struct {
    const char *name;
    int dtype; // -1: not ours
} gguf_tensor_types[] = {
    [0] = {"F32", SG_DTYPE_F32},
    [1] = {"F16", SG_DTYPE_F16},
    [2] = {"Q4_0", SG_DTYPE_Q4_0},
    [3] = {"Q4_1", SG_DTYPE_Q4_1},
    [6] = {"Q5_0", SG_DTYPE_Q5_0},
    [7] = {"Q5_1", SG_DTYPE_Q5_1},
    [8] = {"Q8_0", SG_DTYPE_Q8_0},
    [9] = {"Q8_1", -1},
    [10] = {"Q2_K", -1},
    [11] = {"Q3_K", -1},
    [12] = {"Q4_K", SG_DTYPE_Q4_K},
    [13] = {"Q5_K", SG_DTYPE_Q5_K},
    [14] = {"Q6_K", SG_DTYPE_Q6_K},
    [15] = {"Q8_K", -1},
    [16] = {"IQ2_XXS", -1},
    [17] = {"IQ2_XS", -1},
    [18] = {"IQ3_XXS", -1},
    [19] = {"IQ1_S", -1},
    [20] = {"IQ4_NL", -1},
    [21] = {"IQ3_S", -1},
    [22] = {"IQ2_S", -1},
    [23] = {"IQ4_XS", -1},
    [24] = {"I8", SG_DTYPE_I8},
    [25] = {"I16", SG_DTYPE_I16},
    [26] = {"I32", SG_DTYPE_I32},
    [27] = {"I64", SG_DTYPE_I64},
    [28] = {"F64", SG_DTYPE_F64},
    [29] = {"IQ1_M", -1},
    [30] = {"BF16", SG_DTYPE_BF16},
    [34] = {"TQ1_0", -1},
    [35] = {"TQ2_0", -1},
    [39] = {"MXFP4", -1},
};
enum { gguf_tensor_type_count = sizeof gguf_tensor_types / sizeof *gguf_tensor_types };

const char *sg_gguf_type_name(sg_gguf_type type)
{
    return (unsigned)type < SG_GGUF_TYPE_COUNT ? gguf_types[type].name : "unknown";
}

size_t sg_gguf_type_bytes(sg_gguf_type type)
{
    return (unsigned)type < SG_GGUF_TYPE_COUNT ? gguf_types[type].bytes : 0;
}

int sg_gguf_tensor_type(sg_dtype dtype)
{
    for (int i = 0; i < gguf_tensor_type_count; i++)
        if (gguf_tensor_types[i].name != NULL && gguf_tensor_types[i].dtype == (int)dtype) return i;
    return -1;
}

bool sg_gguf_tensor_dtype(uint32_t type, sg_dtype *dtype, const char **name)
{
    *name = type < gguf_tensor_type_count ? gguf_tensor_types[type].name : NULL;
    if (*name == NULL || gguf_tensor_types[type].dtype < 0) return false;
    *dtype = (sg_dtype)gguf_tensor_types[type].dtype;
    return true;
}

// ---- bytes ------------------------------------------------------------------------------------

typedef struct gguf_cursor {
    const unsigned char *data;
    size_t bytes, at; // at <= bytes
} gguf_cursor;

static size_t gguf_left(const gguf_cursor *c)
{
    return c->bytes - c->at;
}

static bool gguf_u32(gguf_cursor *c, uint32_t *value)
{
    if (gguf_left(c) < 4) return false;
    *value = (uint32_t)sg_gguf_load(c->data + c->at, 4);
    c->at += 4;
    return true;
}

static bool gguf_u64(gguf_cursor *c, uint64_t *value)
{
    if (gguf_left(c) < 8) return false;
    *value = sg_gguf_load(c->data + c->at, 8);
    c->at += 8;
    return true;
}

static sg_status gguf_memory(const sg_gguf *g, sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its lists", g->name);
}

// A key or the name of a tensor, copied. `what` and `number` are what messages call it.
static sg_status gguf_take_name(sg_gguf *g, gguf_cursor *c, const char *what, uint64_t number,
                                const char **out, sg_error *err)
{
    uint64_t length;
    if (!gguf_u64(c, &length))
        return sg_fail(err, SG_ERR_FORMAT, "%s: %s %llu: the file ends before its name", g->name,
                       what, (unsigned long long)number);
    size_t most = gguf_left(c) < gguf_name_most ? gguf_left(c) : gguf_name_most;
    if (length < 1 || length > most)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: %s %llu: name: found %llu bytes, expected 1 to %zu%s", g->name, what,
                       (unsigned long long)number, (unsigned long long)length, most,
                       most < gguf_name_most ? ", the rest of the file" : "");
    const char *text = (const char *)c->data + c->at;
    if (memchr(text, 0, (size_t)length) != NULL)
        return sg_fail(err, SG_ERR_FORMAT, "%s: %s %llu: name: found a NUL byte inside", g->name,
                       what, (unsigned long long)number);
    *out = sg_arena_strndup(&g->arena, text, (size_t)length);
    if (*out == NULL) return gguf_memory(g, err);
    c->at += (size_t)length;
    return SG_OK;
}

// ---- metadata ---------------------------------------------------------------------------------

// Moves past `count` strings.
static sg_status gguf_pass_strings(const sg_gguf *g, gguf_cursor *c, const char *key, size_t count,
                                   sg_error *err)
{
    for (size_t i = 0; i < count; i++) {
        uint64_t length = 0;
        if (!gguf_u64(c, &length) || length > gguf_left(c))
            return sg_fail(
                err, SG_ERR_FORMAT,
                "%s: key \"%.200s\": string %zu: found %llu bytes, the file has %zu left", g->name,
                key, i, (unsigned long long)length, gguf_left(c));
        c->at += (size_t)length;
    }
    return SG_OK;
}

// The elements of value->count, which starts at the cursor.
static sg_status gguf_pass_elements(const sg_gguf *g, gguf_cursor *c, sg_gguf_value *value,
                                    uint64_t count, sg_error *err)
{
    size_t size = sg_gguf_type_bytes(value->type), least = size > 0 ? size : 8;
    if (count > gguf_left(c) / least)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: key \"%.200s\": found %llu of %s, the file has %zu bytes left", g->name,
                       value->key, (unsigned long long)count, sg_gguf_type_name(value->type),
                       gguf_left(c));
    value->count = (size_t)count;
    value->data = c->data + c->at;
    if (value->type == SG_GGUF_STRING)
        SG_TRY(gguf_pass_strings(g, c, value->key, value->count, err));
    else
        c->at += value->count * size;
    value->bytes = (size_t)(c->data + c->at - value->data);
    if (value->type != SG_GGUF_BOOL) return SG_OK;
    for (size_t i = 0; i < value->count; i++)
        if (value->data[i] > 1)
            return sg_fail(err, SG_ERR_FORMAT,
                           "%s: key \"%.200s\": found a bool of %d, expected 0 or 1", g->name,
                           value->key, value->data[i]);
    return SG_OK;
}

static sg_status gguf_take_value(sg_gguf *g, gguf_cursor *c, uint64_t number, sg_error *err)
{
    sg_gguf_value value = {0};
    uint32_t type = 0;
    uint64_t count = 1;
    SG_TRY(gguf_take_name(g, c, "key", number, &value.key, err));
    bool whole = gguf_u32(c, &type);
    if (whole && type == SG_GGUF_ARRAY) {
        value.is_array = true;
        whole = gguf_u32(c, &type) && gguf_u64(c, &count);
        if (whole && type == SG_GGUF_ARRAY)
            return sg_fail(
                err, SG_ERR_UNSUPPORTED,
                "%s: key \"%.200s\": found an array of arrays, expected one of scalars or "
                "strings",
                g->name, value.key);
    }
    if (!whole)
        return sg_fail(err, SG_ERR_FORMAT, "%s: key \"%.200s\": the file ends before its value",
                       g->name, value.key);
    if (type >= SG_GGUF_TYPE_COUNT)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: key \"%.200s\": type: found %u, expected 0 to %d", g->name, value.key,
                       type, SG_GGUF_TYPE_COUNT - 1);
    value.type = (sg_gguf_type)type;
    SG_TRY(gguf_pass_elements(g, c, &value, count, err));
    if (type == SG_GGUF_STRING && !value.is_array &&
        memchr(value.data + 8, 0, value.bytes - 8) == NULL) {
        value.text = sg_arena_strndup(&g->arena, (const char *)value.data + 8, value.bytes - 8);
        if (value.text == NULL) return gguf_memory(g, err);
    }
    if (!sg_grow((void **)&g->values, &g->value_capacity, g->value_count + 1, sizeof *g->values))
        return gguf_memory(g, err);
    g->values[g->value_count++] = value;
    return SG_OK;
}

static sg_status gguf_take_values(sg_gguf *g, gguf_cursor *c, uint64_t count, sg_error *err)
{
    for (uint64_t i = 0; i < count; i++)
        SG_TRY(gguf_take_value(g, c, i, err));
    if (!sg_name_index_build(&g->keys, g->values, sizeof *g->values, g->value_count))
        return gguf_memory(g, err);
    ptrdiff_t repeated = sg_name_index_repeated(&g->keys);
    if (repeated != SG_NAME_NONE)
        return sg_fail(err, SG_ERR_FORMAT, "%s: key \"%.200s\" occurs twice", g->name,
                       g->values[repeated].key);
    int64_t alignment = SG_GGUF_ALIGNMENT;
    SG_TRY(sg_gguf_get_int(g, "general.alignment", false, 1, UINT32_MAX, &alignment, err));
    if ((alignment & (alignment - 1)) != 0)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: key \"general.alignment\": found %lld, expected a power of two",
                       g->name, (long long)alignment);
    g->alignment = (uint64_t)alignment;
    return SG_OK;
}

// ---- tensors ----------------------------------------------------------------------------------

static sg_status gguf_ends(const sg_gguf *g, const char *tensor, sg_error *err)
{
    return sg_fail(err, SG_ERR_FORMAT,
                   "%s: tensor \"%.200s\": the file ends inside its description", g->name, tensor);
}

// Dimensions, innermost first in the file.
static sg_status gguf_take_shape(const sg_gguf *g, gguf_cursor *c, sg_tensor_view *view,
                                 sg_error *err)
{
    uint32_t ndim;
    if (!gguf_u32(c, &ndim)) return gguf_ends(g, view->name, err);
    if (ndim < 1 || ndim > gguf_dims)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: tensor \"%.200s\": found %u dimensions, expected 1 to %d", g->name,
                       view->name, ndim, gguf_dims);
    view->ndim = (int)ndim;
    for (int i = view->ndim - 1; i >= 0; i--) {
        uint64_t size;
        if (!gguf_u64(c, &size)) return gguf_ends(g, view->name, err);
        if (size > INT64_MAX)
            return sg_fail(
                err, SG_ERR_FORMAT,
                "%s: tensor \"%.200s\": found a dimension of %llu, expected at most %lld", g->name,
                view->name, (unsigned long long)size, (long long)INT64_MAX);
        view->shape[i] = (int64_t)size;
    }
    return SG_OK;
}

static sg_status gguf_take_type(const sg_gguf *g, gguf_cursor *c, sg_tensor_view *view,
                                sg_error *err)
{
    uint32_t type;
    const char *called;
    if (!gguf_u32(c, &type)) return gguf_ends(g, view->name, err);
    if (!sg_gguf_tensor_dtype(type, &view->dtype, &called))
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "%s: tensor \"%.200s\": type: found %u (%s), expected a float, an integer, "
                       "Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K or Q6_K",
                       g->name, view->name, type, called ? called : "unknown");
    int64_t bytes = sg_shape_bytes(view->dtype, view->ndim, view->shape);
    char shape[192];
    if (bytes < 0)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: tensor \"%.200s\": shape: found %s, expected rows of a multiple of %zu "
                       "(%s) and less than 2^63 bytes",
                       g->name, view->name, sg_tensor_view_shape_text(view, shape, sizeof shape),
                       sg_dtype_block(view->dtype), sg_dtype_name(view->dtype));
    view->bytes = (size_t)bytes;
    return SG_OK;
}

static sg_status gguf_take_tensor(sg_gguf *g, gguf_cursor *c, uint64_t number, sg_error *err)
{
    sg_tensor_view view = {0};
    uint64_t offset;
    SG_TRY(gguf_take_name(g, c, "tensor", number, &view.name, err));
    SG_TRY(gguf_take_shape(g, c, &view, err));
    SG_TRY(gguf_take_type(g, c, &view, err));
    if (!gguf_u64(c, &offset)) return gguf_ends(g, view.name, err);
    // Nothing may lie beyond the whole file; that it lies in the data is checked when those are
    // known.
    if (offset % g->alignment != 0 || offset > c->bytes)
        return sg_fail(
            err, SG_ERR_FORMAT,
            "%s: tensor \"%.200s\": offset: found %llu, expected a multiple of %llu in a "
            "file of %zu bytes",
            g->name, view.name, (unsigned long long)offset, (unsigned long long)g->alignment,
            c->bytes);
    view.data = c->data + offset; // moved to the start of the data by gguf_place_tensors
    if (!sg_grow((void **)&g->views, &g->view_capacity, g->view_count + 1, sizeof *g->views))
        return gguf_memory(g, err);
    g->views[g->view_count++] = view;
    return SG_OK;
}

// Puts the tensors where the data start, and sees that each has its bytes for itself.
static sg_status gguf_place_tensors(sg_gguf *g, const gguf_cursor *c, sg_error *err)
{
    uint64_t padding = (g->alignment - c->at % g->alignment) % g->alignment;
    size_t start = padding < gguf_left(c) ? c->at + (size_t)padding : c->bytes;
    size_t data_bytes = c->bytes - start, end = 0;
    sg_tensor_views_sort(g->views, g->view_count);
    for (size_t i = 0; i < g->view_count; i++) {
        sg_tensor_view *view = &g->views[i];
        size_t offset = (size_t)((const unsigned char *)view->data - c->data);
        if (offset > data_bytes || view->bytes > data_bytes - offset)
            return sg_fail(
                err, SG_ERR_FORMAT,
                "%s: tensor \"%.200s\": found %zu bytes from offset %zu, the file has %zu "
                "bytes of data: cut off, or damaged",
                g->name, view->name, view->bytes, offset, data_bytes);
        if (offset < end)
            return sg_fail(
                err, SG_ERR_FORMAT,
                "%s: tensor \"%.200s\": offset: found %zu, expected at least %zu: overlaps "
                "\"%.200s\"",
                g->name, view->name, offset, end, g->views[i - 1].name);
        if (view->bytes > 0) end = offset + view->bytes;
        view->data = c->data + start + offset;
    }
    if (!sg_name_index_build(&g->names, g->views, sizeof *g->views, g->view_count))
        return gguf_memory(g, err);
    ptrdiff_t repeated = sg_name_index_repeated(&g->names);
    if (repeated == SG_NAME_NONE) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: tensor \"%.200s\" occurs twice", g->name,
                   g->views[repeated].name);
}

// ---- opening ----------------------------------------------------------------------------------

static sg_status gguf_check_version(sg_gguf *g, gguf_cursor *c, sg_error *err)
{
    if (c->bytes < 4 || memcmp(c->data, "GGUF", 4) != 0)
        SG_TRY(sg_file_kind_check(c->data, c->bytes, g->name, "a GGUF file", err));
    if (c->bytes < 4 || memcmp(c->data, "GGUF", 4) != 0)
        return sg_fail(err, SG_ERR_FORMAT, "%s: does not start with \"GGUF\": not a GGUF file",
                       g->name);
    c->at = 4;
    if (!gguf_u32(c, &g->version))
        return sg_fail(err, SG_ERR_FORMAT, "%s: the file ends before its version", g->name);
    if (g->version == 2 || g->version == 3) return SG_OK;
    bool swapped = g->version != 0 && (g->version & 0xffffff) == 0;
    return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: version: found %u, expected 2 or 3%s", g->name,
                   g->version, swapped ? ": a big-endian file" : "");
}

static sg_status gguf_check_count(const sg_gguf *g, const gguf_cursor *c, const char *what,
                                  uint64_t count, size_t least, sg_error *err)
{
    size_t most = gguf_left(c) / least;
    if (count <= most) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT,
                   "%s: number of %s: found %llu, the file has room for at most %zu", g->name, what,
                   (unsigned long long)count, most);
}

static sg_status gguf_parse(sg_gguf *g, const void *data, size_t bytes, sg_error *err)
{
    gguf_cursor c = {.data = data, .bytes = bytes};
    uint64_t tensors, values;
    SG_TRY(gguf_check_version(g, &c, err));
    if (!gguf_u64(&c, &tensors) || !gguf_u64(&c, &values))
        return sg_fail(err, SG_ERR_FORMAT, "%s: the file ends inside its header", g->name);
    SG_TRY(gguf_check_count(g, &c, "tensors", tensors, gguf_tensor_least, err));
    SG_TRY(gguf_check_count(g, &c, "keys", values, gguf_value_least, err));
    SG_TRY(gguf_take_values(g, &c, values, err));
    SG_TRY(gguf_check_count(g, &c, "tensors", tensors, gguf_tensor_least, err));
    for (uint64_t i = 0; i < tensors; i++)
        SG_TRY(gguf_take_tensor(g, &c, i, err));
    return gguf_place_tensors(g, &c, err);
}

static sg_status gguf_new(const char *name, sg_gguf **out, sg_error *err)
{
    *out = NULL;
    sg_gguf *g = sg_alloc_zero(1, sizeof *g);
    if (g == NULL || (g->name = sg_strdup(name)) == NULL) {
        sg_free(g);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    }
    *out = g;
    return SG_OK;
}

// Keeps the file, or closes it.
static sg_status gguf_finish(sg_gguf **out, sg_status status)
{
    if (status == SG_OK) return SG_OK;
    sg_gguf_close(*out);
    *out = NULL;
    return status;
}

sg_status sg_gguf_open_part(const char *path, sg_gguf **out, sg_error *err)
{
    SG_TRY(gguf_new(path, out, err));
    sg_status status = sg_map_open(path, &(*out)->map, err);
    if (status == SG_OK) status = gguf_parse(*out, (*out)->map.data, (*out)->map.bytes, err);
    return gguf_finish(out, status);
}

sg_status sg_gguf_open(const char *path, sg_gguf **out, sg_error *err)
{
    SG_TRY(sg_gguf_open_part(path, out, err));
    return gguf_finish(out, sg_gguf_join(*out, err));
}

sg_status sg_gguf_open_memory(const void *data, size_t bytes, const char *name, sg_gguf **out,
                              sg_error *err)
{
    SG_TRY(gguf_new(name, out, err));
    return gguf_finish(out, gguf_parse(*out, data, bytes, err));
}

void sg_gguf_close(sg_gguf *g)
{
    if (g == NULL) return;
    sg_map_close(&g->map);
    for (size_t i = 0; i < g->other_count; i++)
        sg_map_close(&g->others[i]);
    sg_free(g->others);
    sg_name_index_free(&g->keys);
    sg_name_index_free(&g->names);
    sg_free(g->values);
    sg_free(g->views);
    sg_arena_free(&g->arena);
    sg_free(g->name);
    sg_free(g);
}

const char *sg_gguf_name(const sg_gguf *g)
{
    return g->name;
}

uint32_t sg_gguf_version(const sg_gguf *g)
{
    return g->version;
}

int64_t sg_gguf_bytes(const sg_gguf *g, int64_t *files)
{
    int64_t bytes = (int64_t)g->map.bytes;
    *files = 1 + (int64_t)g->other_count;
    for (size_t i = 0; i < g->other_count; i++)
        bytes += (int64_t)g->others[i].bytes;
    return bytes;
}

size_t sg_gguf_count(const sg_gguf *g)
{
    return g->view_count;
}

const sg_tensor_view *sg_gguf_at(const sg_gguf *g, size_t i)
{
    return &g->views[i];
}

const sg_tensor_view *sg_gguf_find(const sg_gguf *g, const char *name)
{
    ptrdiff_t found = sg_name_index_find(&g->names, name);
    return found != SG_NAME_NONE ? &g->views[found] : NULL;
}

sg_status sg_gguf_detect(const char *path, bool *is, sg_error *err)
{
    sg_map map;
    SG_TRY(sg_map_open(path, &map, err));
    *is = map.bytes >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    sg_map_close(&map);
    return SG_OK;
}
