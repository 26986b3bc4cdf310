// Element types, shapes and conversions shared by the file formats.
#include "format/tensor_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/block_sizes.h"
#include "base/half.h"

static const struct {
    const char *name;
    size_t bytes, block;
} view_types[SG_DTYPE_COUNT] = {
    [SG_DTYPE_BOOL] = {"BOOL", 1, 1},
    [SG_DTYPE_U8] = {"U8", 1, 1},
    [SG_DTYPE_I8] = {"I8", 1, 1},
    [SG_DTYPE_F8_E5M2] = {"F8_E5M2", 1, 1},
    [SG_DTYPE_F8_E4M3] = {"F8_E4M3", 1, 1},
    [SG_DTYPE_U16] = {"U16", 2, 1},
    [SG_DTYPE_I16] = {"I16", 2, 1},
    [SG_DTYPE_F16] = {"F16", 2, 1},
    [SG_DTYPE_BF16] = {"BF16", 2, 1},
    [SG_DTYPE_U32] = {"U32", 4, 1},
    [SG_DTYPE_I32] = {"I32", 4, 1},
    [SG_DTYPE_F32] = {"F32", 4, 1},
    [SG_DTYPE_U64] = {"U64", 8, 1},
    [SG_DTYPE_I64] = {"I64", 8, 1},
    [SG_DTYPE_F64] = {"F64", 8, 1},
    [SG_DTYPE_Q4_0] = {"Q4_0", SG_Q4_0_BYTES, SG_BLOCK_WEIGHTS},
    [SG_DTYPE_Q4_1] = {"Q4_1", SG_Q4_1_BYTES, SG_BLOCK_WEIGHTS},
    [SG_DTYPE_Q5_0] = {"Q5_0", SG_Q5_0_BYTES, SG_BLOCK_WEIGHTS},
    [SG_DTYPE_Q5_1] = {"Q5_1", SG_Q5_1_BYTES, SG_BLOCK_WEIGHTS},
    [SG_DTYPE_Q8_0] = {"Q8_0", SG_Q8_0_BYTES, SG_BLOCK_WEIGHTS},
    [SG_DTYPE_Q4_K] = {"Q4_K", SG_Q4_K_BYTES, SG_SUPERBLOCK_WEIGHTS},
    [SG_DTYPE_Q5_K] = {"Q5_K", SG_Q5_K_BYTES, SG_SUPERBLOCK_WEIGHTS},
    [SG_DTYPE_Q6_K] = {"Q6_K", SG_Q6_K_BYTES, SG_SUPERBLOCK_WEIGHTS},
};

static bool view_type_known(sg_dtype dtype)
{
    return (unsigned)dtype < SG_DTYPE_COUNT;
}

size_t sg_dtype_bytes(sg_dtype dtype)
{
    return view_type_known(dtype) ? view_types[dtype].bytes : 0;
}

size_t sg_dtype_block(sg_dtype dtype)
{
    return view_type_known(dtype) ? view_types[dtype].block : 1;
}

const char *sg_dtype_name(sg_dtype dtype)
{
    return view_type_known(dtype) ? view_types[dtype].name : "unknown";
}

bool sg_dtype_parse(const char *name, sg_dtype *dtype)
{
    for (unsigned i = 0; i < SG_DTYPE_PLAIN; i++)
        if (strcmp(name, view_types[i].name) == 0) {
            *dtype = (sg_dtype)i;
            return true;
        }
    return false;
}

int64_t sg_shape_elements(int ndim, const int64_t *shape, size_t element_bytes)
{
    int64_t limit = INT64_MAX / (int64_t)(element_bytes ? element_bytes : 1), product = 1;
    bool empty = false;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] < 0) return -1;
        // A zero dimension empties the tensor but must not hide an overflow of the others.
        if (shape[i] == 0) {
            empty = true;
            continue;
        }
        if (product > limit / shape[i]) return -1;
        product *= shape[i];
    }
    return empty ? 0 : product;
}

int64_t sg_shape_bytes(sg_dtype dtype, int ndim, const int64_t *shape)
{
    size_t bytes = sg_dtype_bytes(dtype);
    int64_t block = (int64_t)sg_dtype_block(dtype);
    int64_t elements = sg_shape_elements(ndim, shape, bytes);
    if (elements < 0 || (ndim > 0 ? shape[ndim - 1] : 1) % block != 0) return -1;
    return elements / block * (int64_t)bytes;
}

int64_t sg_tensor_view_elements(const sg_tensor_view *view)
{
    return sg_shape_elements(view->ndim, view->shape, sg_dtype_bytes(view->dtype));
}

sg_tensor_view sg_tensor_view_make(const char *name, sg_dtype dtype, int ndim, const int64_t *shape,
                                   const void *data)
{
    sg_tensor_view view = {.name = name, .dtype = dtype, .ndim = ndim, .data = data};
    if (ndim < 0 || ndim > SG_VIEW_DIMS) return view; // refused later by sg_tensor_view_check
    for (int i = 0; i < ndim; i++)
        view.shape[i] = shape[i];
    int64_t bytes = sg_shape_bytes(dtype, ndim, shape);
    if (bytes > 0) view.bytes = (size_t)bytes;
    return view;
}

bool sg_tensor_view_is_aligned(const sg_tensor_view *view)
{
    size_t size = view->dtype < SG_DTYPE_PLAIN ? sg_dtype_bytes(view->dtype) : 1; // blocks: bytes
    return size == 0 || (uintptr_t)view->data % size == 0;
}

const char *sg_tensor_view_shape_text(const sg_tensor_view *view, char *out, size_t capacity)
{
    size_t used = (size_t)snprintf(out, capacity, "[");
    for (int i = 0; i < view->ndim && used < capacity; i++)
        used += (size_t)snprintf(out + used, capacity - used, "%s%lld", i ? ", " : "",
                                 (long long)view->shape[i]);
    if (used < capacity) snprintf(out + used, capacity - used, "]");
    return out;
}

sg_status sg_tensor_view_check(const sg_tensor_view *view, sg_error *err)
{
    if (view->name == NULL || view->name[0] == '\0')
        return sg_fail(err, SG_ERR_ARGUMENT, "a tensor without a name");
    if (!view_type_known(view->dtype))
        return sg_fail(err, SG_ERR_ARGUMENT, "tensor \"%.200s\": unknown type %d", view->name,
                       (int)view->dtype);
    if (view->ndim < 0 || view->ndim > SG_VIEW_DIMS)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "tensor \"%.200s\": found %d dimensions, expected 0 to %d", view->name,
                       view->ndim, SG_VIEW_DIMS);
    int64_t need = sg_shape_bytes(view->dtype, view->ndim, view->shape);
    if (need < 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "tensor \"%.200s\": the shape is negative, too large, or rows are no whole "
                       "number of %s blocks",
                       view->name, sg_dtype_name(view->dtype));
    size_t bytes = (size_t)need;
    const bool has = view->data != NULL || view->source != NULL;
    if (view->bytes != bytes || (bytes > 0 && !has))
        return sg_fail(err, SG_ERR_ARGUMENT, "tensor \"%.200s\": found %zu bytes, expected %zu",
                       view->name, has ? view->bytes : 0, bytes);
    return SG_OK;
}

sg_status sg_tensor_view_data(const sg_tensor_view *view, const void **data, sg_error *err)
{
    *data = view->data;
    if (view->data != NULL || view->source == NULL) return SG_OK;
    return view->source->make(view->source->user, view, data, err);
}

static int view_compare(const void *a, const void *b)
{
    const sg_tensor_view *x = a, *y = b;
    uintptr_t at_x = (uintptr_t)x->data, at_y = (uintptr_t)y->data;
    if (at_x != at_y) return at_x < at_y ? -1 : 1;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

void sg_tensor_views_sort(sg_tensor_view *views, size_t count)
{
    if (count > 1) qsort(views, count, sizeof *views, view_compare);
}

sg_status sg_tensor_view_read_f32(const sg_tensor_view *view, float *dst, sg_error *err)
{
    const unsigned char *source = view->data;
    size_t size = sg_dtype_bytes(view->dtype), n = size ? view->bytes / size : 0;
    if (n == 0 && size > 0) return SG_OK;
    switch (view->dtype) {
    case SG_DTYPE_F32:
        memcpy(dst, source, view->bytes);
        return SG_OK;
    case SG_DTYPE_F64:
        for (size_t i = 0; i < n; i++) {
            double value;
            memcpy(&value, source + 8 * i, sizeof value);
            dst[i] = (float)value;
        }
        return SG_OK;
    case SG_DTYPE_F16:
        for (size_t i = 0; i < n; i++) {
            uint16_t half;
            memcpy(&half, source + 2 * i, sizeof half);
            dst[i] = sg_half_value(half);
        }
        return SG_OK;
    case SG_DTYPE_BF16:
        for (size_t i = 0; i < n; i++) {
            uint16_t upper;
            memcpy(&upper, source + 2 * i, sizeof upper);
            uint32_t bits = (uint32_t)upper << 16;
            memcpy(dst + i, &bits, sizeof bits);
        }
        return SG_OK;
    default:
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "tensor \"%.200s\": found %s, expected F32, F16, BF16 or F64", view->name,
                       sg_dtype_name(view->dtype));
    }
}
