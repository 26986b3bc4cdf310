// The GGUF writer. Metadata are encoded as they are put, tensors go from their memory to the file:
// nothing of the size of the data is ever held.
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/name_index.h"
#include "format/gguf.h"

enum { ggufw_name_most = 63 }; // readers keep names of tensors in 64 bytes

struct sg_gguf_metadata {
    unsigned char *data; // encoded
    size_t used, capacity;
    char **keys;
    size_t count, key_capacity;
    sg_status failure;
    char failed_key[64]; // for the message
};

// ---- metadata ---------------------------------------------------------------------------------

sg_gguf_metadata *sg_gguf_metadata_new(void)
{
    return sg_alloc_zero(1, sizeof(sg_gguf_metadata));
}

void sg_gguf_metadata_free(sg_gguf_metadata *m)
{
    if (m == NULL) return;
    for (size_t i = 0; i < m->count; i++)
        sg_free(m->keys[i]);
    sg_free(m->keys);
    sg_free(m->data);
    sg_free(m);
}

static void ggufw_fail(sg_gguf_metadata *m, sg_status status)
{
    if (m->failure == SG_OK) m->failure = status;
}

static void ggufw_add(sg_gguf_metadata *m, const void *data, size_t bytes)
{
    if (m->failure != SG_OK || bytes == 0) return;
    if (bytes > SIZE_MAX / 2 - m->used ||
        !sg_grow((void **)&m->data, &m->capacity, m->used + bytes, 1)) {
        ggufw_fail(m, SG_ERR_MEMORY);
        return;
    }
    memcpy(m->data + m->used, data, bytes);
    m->used += bytes;
}

static void ggufw_number(unsigned char *out, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        out[i] = (unsigned char)(value >> 8 * i);
}

static void ggufw_u32(sg_gguf_metadata *m, uint32_t value)
{
    unsigned char bytes[4];
    ggufw_number(bytes, value, sizeof bytes);
    ggufw_add(m, bytes, sizeof bytes);
}

static void ggufw_u64(sg_gguf_metadata *m, uint64_t value)
{
    unsigned char bytes[8];
    ggufw_number(bytes, value, sizeof bytes);
    ggufw_add(m, bytes, sizeof bytes);
}

static void ggufw_text(sg_gguf_metadata *m, const char *data, size_t bytes)
{
    ggufw_u64(m, bytes);
    ggufw_add(m, data, bytes);
}

static void ggufw_key(sg_gguf_metadata *m, const char *key, sg_gguf_type type)
{
    if (m->failure != SG_OK) return;
    size_t length = strlen(key);
    if (length == 0 || length > 65535 || strcmp(key, "general.alignment") == 0) {
        memcpy(m->failed_key, key, length < 63 ? length + 1 : 63);
        ggufw_fail(m, SG_ERR_ARGUMENT);
        return;
    }
    char *copy = NULL;
    if (sg_grow((void **)&m->keys, &m->key_capacity, m->count + 1, sizeof *m->keys))
        copy = sg_strdup(key);
    if (copy == NULL) {
        ggufw_fail(m, SG_ERR_MEMORY);
        return;
    }
    m->keys[m->count++] = copy;
    ggufw_text(m, key, length);
    ggufw_u32(m, (uint32_t)type);
}

static void ggufw_array(sg_gguf_metadata *m, const char *key, sg_gguf_type type, size_t count)
{
    ggufw_key(m, key, SG_GGUF_ARRAY);
    ggufw_u32(m, (uint32_t)type);
    ggufw_u64(m, count);
}

void sg_gguf_put_u32(sg_gguf_metadata *m, const char *key, uint32_t value)
{
    ggufw_key(m, key, SG_GGUF_U32);
    ggufw_u32(m, value);
}

void sg_gguf_put_u64(sg_gguf_metadata *m, const char *key, uint64_t value)
{
    ggufw_key(m, key, SG_GGUF_U64);
    ggufw_u64(m, value);
}

void sg_gguf_put_f32(sg_gguf_metadata *m, const char *key, float value)
{
    ggufw_key(m, key, SG_GGUF_F32);
    ggufw_add(m, &value, sizeof value);
}

void sg_gguf_put_bool(sg_gguf_metadata *m, const char *key, bool value)
{
    ggufw_key(m, key, SG_GGUF_BOOL);
    ggufw_add(m, value ? "\1" : "\0", 1);
}

void sg_gguf_put_string(sg_gguf_metadata *m, const char *key, const char *value)
{
    ggufw_key(m, key, SG_GGUF_STRING);
    ggufw_text(m, value, strlen(value));
}

void sg_gguf_put_strings(sg_gguf_metadata *m, const char *key, const sg_gguf_string *values,
                         size_t count)
{
    ggufw_array(m, key, SG_GGUF_STRING, count);
    for (size_t i = 0; i < count; i++)
        ggufw_text(m, values[i].data, values[i].bytes);
}

void sg_gguf_put_ints(sg_gguf_metadata *m, const char *key, const int32_t *values, size_t count)
{
    ggufw_array(m, key, SG_GGUF_I32, count);
    ggufw_add(m, values, count * sizeof *values);
}

void sg_gguf_put_floats(sg_gguf_metadata *m, const char *key, const float *values, size_t count)
{
    ggufw_array(m, key, SG_GGUF_F32, count);
    ggufw_add(m, values, count * sizeof *values);
}

// ---- checks -----------------------------------------------------------------------------------

// Refuses names that occur twice, of `count` structs that start with theirs.
static sg_status ggufw_check_names(const char *path, const char *what, const void *items,
                                   size_t stride, size_t count, sg_error *err)
{
    sg_name_index index;
    if (!sg_name_index_build(&index, items, stride, count))
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    ptrdiff_t repeated = sg_name_index_repeated(&index);
    sg_name_index_free(&index);
    if (repeated == SG_NAME_NONE) return SG_OK;
    const char *const *name = (const void *)((const char *)items + (size_t)repeated * stride);
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: %s \"%.200s\" is given twice", path, what, *name);
}

static sg_status ggufw_check_metadata(const char *path, const sg_gguf_metadata *m, sg_error *err)
{
    if (m == NULL) return SG_OK;
    if (m->failure == SG_ERR_ARGUMENT)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: key \"%s\": expected 1 to 65535 bytes, and not the writer's own", path,
                       m->failed_key);
    if (m->failure != SG_OK)
        return sg_fail(err, m->failure, "%s: out of memory for metadata", path);
    return ggufw_check_names(path, "key", m->keys, sizeof *m->keys, m->count, err);
}

static sg_status ggufw_check_tensor(const char *path, const sg_tensor_view *view, sg_error *err)
{
    sg_status status = sg_tensor_view_check(view, err);
    if (status != SG_OK) return sg_fail_context(err, status, "%s", path);
    if (strlen(view->name) > ggufw_name_most)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: tensor \"%.200s\": found a name of %zu bytes, expected at most %d",
                       path, view->name, strlen(view->name), ggufw_name_most);
    if (view->ndim < 1 || view->ndim > 4)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: tensor \"%.200s\": found %d dimensions, expected 1 to 4", path,
                       view->name, view->ndim);
    if (sg_gguf_tensor_type(view->dtype) < 0)
        return sg_fail(err, SG_ERR_UNSUPPORTED, "%s: tensor \"%.200s\": GGUF has no type %s", path,
                       view->name, sg_dtype_name(view->dtype));
    return SG_OK;
}

static uint64_t ggufw_padded(uint64_t bytes)
{
    return (bytes + SG_GGUF_ALIGNMENT - 1) / SG_GGUF_ALIGNMENT * SG_GGUF_ALIGNMENT;
}

static sg_status ggufw_check(const char *path, const sg_gguf_metadata *metadata,
                             const sg_tensor_view *tensors, size_t count, sg_error *err)
{
    SG_TRY(ggufw_check_metadata(path, metadata, err));
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++) {
        SG_TRY(ggufw_check_tensor(path, &tensors[i], err));
        uint64_t bytes = ggufw_padded(tensors[i].bytes);
        if (bytes > (uint64_t)INT64_MAX / 2 - total)
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: the tensors are too large together", path);
        total += bytes;
    }
    return ggufw_check_names(path, "tensor", tensors, sizeof *tensors, count, err);
}

// ---- the file ---------------------------------------------------------------------------------

static void ggufw_put(sg_writer *writer, uint64_t value, size_t bytes)
{
    unsigned char out[8];
    ggufw_number(out, value, bytes);
    sg_writer_put(writer, out, bytes);
}

static void ggufw_pad(sg_writer *writer)
{
    static const unsigned char zeros[SG_GGUF_ALIGNMENT] = {0};
    uint64_t bytes = (uint64_t)sg_writer_bytes(writer);
    sg_writer_put(writer, zeros, (size_t)(ggufw_padded(bytes) - bytes));
}

static void ggufw_put_description(sg_writer *writer, const sg_tensor_view *view, uint64_t offset)
{
    size_t length = strlen(view->name);
    ggufw_put(writer, length, 8);
    sg_writer_put(writer, view->name, length);
    ggufw_put(writer, (uint64_t)view->ndim, 4);
    for (int i = view->ndim - 1; i >= 0; i--)
        ggufw_put(writer, (uint64_t)view->shape[i], 8);
    ggufw_put(writer, (uint64_t)sg_gguf_tensor_type(view->dtype), 4);
    ggufw_put(writer, offset, 8);
}

sg_status sg_gguf_write(const char *path, int mode, const sg_gguf_metadata *metadata,
                        const sg_tensor_view *tensors, size_t count, sg_error *err)
{
    SG_TRY(ggufw_check(path, metadata, tensors, count, err));
    sg_writer *writer;
    SG_TRY(sg_writer_open_output(path, mode, &writer, err));
    sg_writer_put(writer, "GGUF", 4);
    ggufw_put(writer, 3, 4);
    ggufw_put(writer, count, 8);
    ggufw_put(writer, metadata != NULL ? metadata->count : 0, 8);
    if (metadata != NULL) sg_writer_put(writer, metadata->data, metadata->used);
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        ggufw_put_description(writer, &tensors[i], offset);
        offset += ggufw_padded(tensors[i].bytes);
    }
    ggufw_pad(writer);
    for (size_t i = 0; i < count; i++) {
        const void *data;
        sg_status status = sg_tensor_view_data(&tensors[i], &data, err);
        if (status != SG_OK) {
            sg_writer_withdraw(writer);
            return status;
        }
        sg_writer_put(writer, data, tensors[i].bytes);
        ggufw_pad(writer);
    }
    return sg_writer_replace(writer, err);
}
