// Element types, shapes and conversions shared by the file formats.
#include "format/tensor_view.h"

#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t bytes;
} view_types[SG_DTYPE_COUNT] = {
    [SG_DTYPE_BOOL] = {"BOOL", 1},       [SG_DTYPE_U8] = {"U8", 1},
    [SG_DTYPE_I8] = {"I8", 1},           [SG_DTYPE_F8_E5M2] = {"F8_E5M2", 1},
    [SG_DTYPE_F8_E4M3] = {"F8_E4M3", 1}, [SG_DTYPE_U16] = {"U16", 2},
    [SG_DTYPE_I16] = {"I16", 2},         [SG_DTYPE_F16] = {"F16", 2},
    [SG_DTYPE_BF16] = {"BF16", 2},       [SG_DTYPE_U32] = {"U32", 4},
    [SG_DTYPE_I32] = {"I32", 4},         [SG_DTYPE_F32] = {"F32", 4},
    [SG_DTYPE_U64] = {"U64", 8},         [SG_DTYPE_I64] = {"I64", 8},
    [SG_DTYPE_F64] = {"F64", 8},
};

static bool view_type_known(sg_dtype dtype)
{
    return (unsigned)dtype < SG_DTYPE_COUNT;
}

size_t sg_dtype_bytes(sg_dtype dtype)
{
    return view_type_known(dtype) ? view_types[dtype].bytes : 0;
}

const char *sg_dtype_name(sg_dtype dtype)
{
    return view_type_known(dtype) ? view_types[dtype].name : "unknown";
}

bool sg_dtype_parse(const char *name, sg_dtype *dtype)
{
    for (unsigned i = 0; i < SG_DTYPE_COUNT; i++)
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
    int64_t elements = sg_tensor_view_elements(&view);
    if (elements > 0) view.bytes = (size_t)elements * sg_dtype_bytes(dtype);
    return view;
}

bool sg_tensor_view_is_aligned(const sg_tensor_view *view)
{
    size_t size = sg_dtype_bytes(view->dtype);
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
    int64_t elements = sg_tensor_view_elements(view);
    if (elements < 0)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "tensor \"%.200s\": the shape is negative or too large", view->name);
    size_t bytes = (size_t)elements * sg_dtype_bytes(view->dtype);
    if (view->bytes != bytes || (bytes > 0 && view->data == NULL))
        return sg_fail(err, SG_ERR_ARGUMENT, "tensor \"%.200s\": found %zu bytes, expected %zu",
                       view->name, view->data ? view->bytes : 0, bytes);
    return SG_OK;
}

// IEEE 754 half precision: 1 sign, 5 exponent (bias 15), 10 fraction bits.
static float view_half(uint16_t half)
{
    uint32_t sign = (uint32_t)(half >> 15) << 31, exponent = (half >> 10) & 31u;
    uint32_t fraction = half & 1023u, bits;
    if (exponent == 31) {
        bits = sign | 0x7f800000u | fraction << 13;
    } else if (exponent > 0) {
        bits = sign | (exponent + 112) << 23 | fraction << 13;
    } else {
        // Subnormal: fraction * 2^-24, exact in f32.
        float value = (float)fraction * 0x1p-24f;
        memcpy(&bits, &value, sizeof bits);
        bits |= sign;
    }
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
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
            dst[i] = view_half(half);
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
