// Copies by blocks of values, whatever the type; and the conditions for reading rows where they
// lie.
#include "model/tensor_read.h"

#include <stdint.h>

#include "base/alloc.h"
#include "kernel/stored.h"

enum { read_piece = 1 << 16 }; // values that are converted at a time

bool sg_weights_of_dtype(sg_dtype dtype, sg_weights *weights)
{
    static const struct {
        sg_dtype dtype;
        sg_weights weights;
    } same[] = {{SG_DTYPE_F32, SG_WEIGHTS_F32},   {SG_DTYPE_BF16, SG_WEIGHTS_BF16},
                {SG_DTYPE_F16, SG_WEIGHTS_F16},   {SG_DTYPE_Q8_0, SG_WEIGHTS_Q8_0},
                {SG_DTYPE_Q4_0, SG_WEIGHTS_Q4_0}, {SG_DTYPE_Q4_1, SG_WEIGHTS_Q4_1},
                {SG_DTYPE_Q5_0, SG_WEIGHTS_Q5_0}, {SG_DTYPE_Q5_1, SG_WEIGHTS_Q5_1},
                {SG_DTYPE_Q4_K, SG_WEIGHTS_Q4_K}, {SG_DTYPE_Q5_K, SG_WEIGHTS_Q5_K},
                {SG_DTYPE_Q6_K, SG_WEIGHTS_Q6_K}};
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        if (same[i].dtype != dtype) continue;
        *weights = same[i].weights;
        return true;
    }
    return false;
}

// ---- copies -------------------------------------------------------------------------------------

static int64_t read_width(const sg_tensor_view *view)
{
    return view->ndim > 1 ? view->shape[view->ndim - 1] : 1;
}

// Elements [first, first + count) of a tensor, whole blocks of them.
static sg_status read_values(const sg_tensor_view *view, int64_t first, int64_t count, sg_real *to,
                             sg_error *err)
{
    const int64_t block = (int64_t)sg_dtype_block(view->dtype);
    const char *at =
        (const char *)view->data + (size_t)(first / block) * sg_dtype_bytes(view->dtype);
    const sg_kernels *kernels = sg_kernels_fastest();
    sg_weights type;
    if (block > 1 && sg_weights_of_dtype(view->dtype, &type)) {
        kernels->from_blocks(to, type, at, NULL, count);
        return SG_OK;
    }
    const sg_tensor_view part = sg_tensor_view_make(view->name, view->dtype, 1, &count, at);
#ifdef SG_REAL_DOUBLE
    float narrow[256];
    for (int64_t i = 0; i < count; i += 256) {
        const int64_t n = count - i < 256 ? count - i : 256;
        const sg_tensor_view some = sg_tensor_view_make(
            view->name, view->dtype, 1, &n, at + (size_t)i * sg_dtype_bytes(view->dtype));
        SG_TRY(sg_tensor_view_read_f32(&some, narrow, err));
        for (int64_t j = 0; j < n; j++)
            to[i + j] = narrow[j];
    }
    (void)part;
    return SG_OK;
#else
    return sg_tensor_view_read_f32(&part, to, err);
#endif
}

// Columns of the tensor as our rows, `count` from `first` of the piece on: a block of its rows is
// converted at a time.
static sg_status read_transposed(const sg_piece *piece, int64_t first, int64_t count, int64_t k,
                                 sg_real *to, sg_error *err)
{
    const int64_t width = read_width(piece->view);
    const int64_t most = width < read_piece ? read_piece / width : 1;
    sg_real *wide = sg_alloc_array((size_t)(most * width), sizeof *wide);
    if (wide == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for %s", piece->view->name);
    sg_status status = SG_OK;
    for (int64_t i = 0; i < k && status == SG_OK; i += most) {
        const int64_t n = k - i < most ? k - i : most;
        status = read_values(piece->view, (piece->row + i) * width, n * width, wide, err);
        for (int64_t r = 0; r < count && status == SG_OK; r++)
            for (int64_t j = 0; j < n; j++)
                to[r * k + i + j] = wide[j * width + piece->column + first + r];
    }
    sg_free(wide);
    return status;
}

// Rows of bytes of two weights each, with scales elsewhere.
static void read_mxfp4(const sg_piece *piece, int64_t first, int64_t count, int64_t k, sg_real *to)
{
    const int64_t block = 32, at = (piece->row + first) * (k / block);
    sg_kernels_fastest()->from_blocks(to, SG_WEIGHTS_MXFP4,
                                      (const unsigned char *)piece->view->data + at * 16,
                                      (const unsigned char *)piece->scales->data + at, count * k);
}

sg_status sg_pieces_read_rows(const sg_pieces *pieces, const sg_param_spec *spec, int64_t first,
                              int64_t count, sg_real *to, sg_error *err)
{
    const int64_t k = spec->rank > 1 ? spec->shape[spec->rank - 1] : 1;
    for (size_t i = 0; i < pieces->count; i++) {
        const sg_piece *piece = &pieces->items[i];
        const int64_t last = first + count, piece_last = piece->first + piece->count;
        const int64_t from = first > piece->first ? first : piece->first;
        const int64_t end = last < piece_last ? last : piece_last;
        if (from >= end) continue;
        sg_real *rows = to + (from - first) * k;
        const int64_t skipped = from - piece->first;
        if (piece->scales != NULL)
            read_mxfp4(piece, skipped, end - from, k, rows);
        else if (piece->transposed)
            SG_TRY(read_transposed(piece, skipped, end - from, k, rows, err));
        else
            SG_TRY(
                read_values(piece->view, (piece->row + skipped) * k, (end - from) * k, rows, err));
    }
    return SG_OK;
}

sg_status sg_pieces_read(const sg_pieces *pieces, const sg_param_spec *spec, sg_real *to,
                         sg_error *err)
{
    const int64_t k = spec->rank > 1 ? spec->shape[spec->rank - 1] : 1;
    return sg_pieces_read_rows(pieces, spec, 0, spec->count / k, to, err);
}

// ---- in place -----------------------------------------------------------------------------------

// Elements are read through pointers of their type; blocks byte by byte.
static bool read_is_aligned(const sg_tensor_view *view, const void *at)
{
    if (sg_dtype_block(view->dtype) > 1) return true;
    return (uintptr_t)at % sg_dtype_bytes(view->dtype) == 0;
}

bool sg_pieces_in_place(const sg_pieces *pieces, const sg_param_spec *spec, const void **parts,
                        sg_stored *stored)
{
    const int64_t k = spec->shape[spec->rank - 1];
    const sg_piece *one = &pieces->items[0];
    *stored = (sg_stored){0};
    if (one->scales != NULL) {
        *stored = (sg_stored){.type = SG_WEIGHTS_MXFP4,
                              .rows = (void *)(uintptr_t)one->view->data,
                              .scales = (void *)(uintptr_t)one->scales->data};
        return true;
    }
    if (spec->rank < 2 || !sg_weights_of_dtype(one->view->dtype, &stored->type)) return false;
#ifdef SG_REAL_DOUBLE
    if (stored->type == SG_WEIGHTS_F32) return false;
#endif
    if (k % sg_stored_block(stored->type) != 0) return false;
    for (size_t i = 0; i < pieces->count; i++) {
        const sg_piece *piece = &pieces->items[i];
        const void *at = (const char *)piece->view->data +
                         (size_t)piece->row * sg_stored_row_bytes(stored->type, k);
        if (piece->transposed || piece->view->dtype != one->view->dtype ||
            piece->count != one->count || !read_is_aligned(piece->view, at))
            return false;
        if (i == 0) stored->rows = (void *)(uintptr_t)at;
        if (parts != NULL) parts[i] = at;
    }
    if (pieces->count == 1) return true;
    stored->parts = parts;
    stored->part_rows = one->count;
    return true;
}
