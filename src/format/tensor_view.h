// A named, typed, shaped piece of memory: what the file formats read and write. It knows nothing of
// the tensors of the model, which live in a room above.
#ifndef SG_FORMAT_TENSOR_VIEW_H
#define SG_FORMAT_TENSOR_VIEW_H

#include "base/status.h"

// What tensors are made of: the element types of the safetensors format, then the blocks of GGUF,
// in which several neighbours of a row share a scale (kernel/quant.h says how). Little-endian in
// files and, on the machines this library supports, in memory.
typedef enum sg_dtype {
    SG_DTYPE_BOOL,
    SG_DTYPE_U8,
    SG_DTYPE_I8,
    SG_DTYPE_F8_E5M2,
    SG_DTYPE_F8_E4M3,
    SG_DTYPE_U16,
    SG_DTYPE_I16,
    SG_DTYPE_F16,
    SG_DTYPE_BF16,
    SG_DTYPE_U32,
    SG_DTYPE_I32,
    SG_DTYPE_F32,
    SG_DTYPE_U64,
    SG_DTYPE_I64,
    SG_DTYPE_F64,
    SG_DTYPE_Q4_0,
    SG_DTYPE_Q4_1,
    SG_DTYPE_Q5_0,
    SG_DTYPE_Q5_1,
    SG_DTYPE_Q8_0,
    SG_DTYPE_Q4_K,
    SG_DTYPE_Q5_K,
    SG_DTYPE_Q6_K,
    SG_DTYPE_COUNT,
    SG_DTYPE_PLAIN = SG_DTYPE_Q4_0 // types below this one are elements
} sg_dtype;

enum { SG_VIEW_DIMS = 8 };

typedef struct sg_tensor_view sg_tensor_view;

// Makes the bytes of tensors when they are written, so that never more than one of them is held.
typedef struct sg_tensor_source {
    // view: an element of the array that the writer was given. *data is valid until the next call.
    sg_status (*make)(void *user, const sg_tensor_view *view, const void **data, sg_error *err);
    void *user;
} sg_tensor_source;

// Row-major and dense; `shape` counts elements. A scalar has ndim 0. `data` may be NULL when
// `bytes` is 0, and in what is to be written where `source` makes it.
struct sg_tensor_view {
    const char *name;
    sg_dtype dtype;
    int ndim;
    int64_t shape[SG_VIEW_DIMS];
    const void *data; // possibly unaligned when it comes from a file: see sg_tensor_view_is_aligned
    size_t bytes;
    const sg_tensor_source *source; // of writers alone; else NULL
};

// Bytes of one element or block, elements in it, and the name ("F32", as in safetensors headers).
size_t sg_dtype_bytes(sg_dtype dtype);
size_t sg_dtype_block(sg_dtype dtype);
const char *sg_dtype_name(sg_dtype dtype);
// The plain type of that name; false when there is none.
bool sg_dtype_parse(const char *name, sg_dtype *dtype);

// Fills in a view of memory; bytes follow from type and shape. shape (ndim).
sg_tensor_view sg_tensor_view_make(const char *name, sg_dtype dtype, int ndim, const int64_t *shape,
                                   const void *data);
// Number of elements of a shape, or -1 when a dimension is negative or the product times
// element_bytes does not fit in INT64_MAX.
int64_t sg_shape_elements(int ndim, const int64_t *shape, size_t element_bytes);
// Bytes of a tensor, or -1 when they do not fit in INT64_MAX or rows are no whole number of blocks.
int64_t sg_shape_bytes(sg_dtype dtype, int ndim, const int64_t *shape);
int64_t sg_tensor_view_elements(const sg_tensor_view *view);
// True when `data` may be read through a pointer to its element type.
bool sg_tensor_view_is_aligned(const sg_tensor_view *view);
// "[2, 3]" into `out`, for messages. Returns out.
const char *sg_tensor_view_shape_text(const sg_tensor_view *view, char *out, size_t capacity);
// Checks a view that a caller made: a name, a type, a shape, and bytes that fit both.
sg_status sg_tensor_view_check(const sg_tensor_view *view, sg_error *err);
// The bytes of a view that is written: those it has, or those that its source makes.
sg_status sg_tensor_view_data(const sg_tensor_view *view, const void **data, sg_error *err);
// Sorts views of one memory by where they lie; an empty one before that which starts there.
void sg_tensor_views_sort(sg_tensor_view *views, size_t count);

// Copies the elements of an F32, F16, BF16 or F64 view, aligned or not, into dst (elements) as f32.
// F64 is rounded to nearest. Other types are SG_ERR_UNSUPPORTED.
sg_status sg_tensor_view_read_f32(const sg_tensor_view *view, float *dst, sg_error *err);

#endif
