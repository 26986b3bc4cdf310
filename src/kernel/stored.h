// Rows of weights in any type of storage, and the kernels that read rows, by that type. What reads
// weights through these need not know what they are stored in.
#ifndef SG_KERNEL_STORED_H
#define SG_KERNEL_STORED_H

#include "base/parallel.h"
#include "kernel/gemm.h"
#include "kernel/kernel.h"
#include "sgatlin.h"

typedef struct sg_stored {
    sg_weights type; // SG_WEIGHTS_F32: sg_real
    void *rows;      // (rows, d), each row contiguous: sg_stored_row_bytes
    void *scales;    // int8: float, one a row; MXFP4: bytes, one a block; else NULL
    // Rows in several places, `part_rows` in each, as files keep matrices that are one here; rows
    // is where row 0 lies, of which `part_first` come before it in its part. NULL: all in one
    // place.
    const void *const *parts;
    int64_t part_rows, part_first;
    // Rows from one to the next, where those of another table lie between that is read together
    // with this one; 0 or 1: none. Of bf16 alone.
    int64_t step;
} sg_stored;

// A copy of a matrix W (n, k) by its columns, in slices of `width` of its rows (the last may have
// fewer) one behind the other: slice s is (k, rows of it), its row i column i of those of W. In the
// type of W: f32, bf16, f16, or int8 with the scales of rows of W.
typedef struct sg_stored_columns {
    sg_weights type;
    int64_t n, k, width;
    void *slices;        // NULL: there is no copy
    const float *scales; // (n) of int8, else NULL
    const float *ones;   // (k) of int8: what columns are scaled by
} sg_stored_columns;

// Weights that a row must be a multiple of: 1, or those of a block (kernel/quant.h).
int64_t sg_stored_block(sg_weights type);
// Bytes of a row of d weights, and of its scales where those lie elsewhere.
size_t sg_stored_row_bytes(sg_weights type, int64_t d);
size_t sg_stored_scale_bytes(sg_weights type, int64_t d);
// Whether rows of any length can be stored so: what sg_weights_parse knows.
static inline bool sg_stored_is_choice(sg_weights type)
{
    return type == SG_WEIGHTS_F32 || type == SG_WEIGHTS_BF16 || type == SG_WEIGHTS_INT8;
}

// The same from row `row` on.
static inline sg_stored sg_stored_at(const sg_stored *w, int64_t row, int64_t d)
{
    sg_stored part = *w;
    if (part.parts != NULL) {
        part.parts += (w->part_first + row) / w->part_rows;
        part.part_first = (w->part_first + row) % w->part_rows;
        part.rows = (unsigned char *)(uintptr_t)part.parts[0] +
                    (size_t)part.part_first * sg_stored_row_bytes(w->type, d);
        return part;
    }
    if (part.step > 1) row *= part.step;
    if (part.rows != NULL)
        part.rows = (unsigned char *)part.rows + (size_t)row * sg_stored_row_bytes(w->type, d);
    if (part.scales != NULL)
        part.scales =
            (unsigned char *)part.scales + (size_t)row * sg_stored_scale_bytes(w->type, d);
    return part;
}

// Whether rows are anything but sg_real behind each other.
static inline bool sg_stored_is_narrow(const sg_stored *w)
{
    return w->type != SG_WEIGHTS_F32 || w->parts != NULL;
}

// How many of `count` rows lie behind each other from row 0 on.
static inline int64_t sg_stored_run(const sg_stored *w, int64_t count)
{
    if (w->step > 1) return 1;
    if (w->parts == NULL || w->part_rows - w->part_first >= count) return count;
    return w->part_rows - w->part_first;
}

// The two below for rows that lie apart (step).
void sg_gather_dots_apart(const sg_kernels *kernels, sg_real *a, const sg_real *x,
                          const sg_stored *table, const int32_t *rows, const int32_t *next,
                          int64_t count, int64_t d);
void sg_gather_sum_apart(const sg_kernels *kernels, sg_real *y, const sg_real *z,
                         const sg_stored *table, const int32_t *rows, const int32_t *next,
                         int64_t count, int64_t d);

// sg_kernels.gather_dots and gather_sum, of rows in one place. next (count), or NULL: rows that
// will be read soon.
static inline void sg_gather_dots_next(const sg_kernels *kernels, sg_real *a, const sg_real *x,
                                       const sg_stored *table, const int32_t *rows,
                                       const int32_t *next, int64_t count, int64_t d)
{
    switch (table->type) {
    case SG_WEIGHTS_F32:
        kernels->gather_dots(a, x, table->rows, rows, count, d);
        return;
    case SG_WEIGHTS_BF16:
        if (table->step > 1)
            sg_gather_dots_apart(kernels, a, x, table, rows, next, count, d);
        else
            kernels->gather_dots_bf16(a, x, table->rows, rows, next, count, d);
        return;
    case SG_WEIGHTS_F16:
        kernels->gather_dots_f16(a, x, table->rows, rows, next, count, d);
        return;
    case SG_WEIGHTS_INT8:
        kernels->gather_dots_int8(a, x, table->rows, table->scales, rows, next, count, d);
        return;
    default:
        kernels->dots_blocks(a, count, x, d, 1, table->type, table->rows, table->scales, rows,
                             count, d);
    }
}

static inline void sg_gather_sum_next(const sg_kernels *kernels, sg_real *y, const sg_real *z,
                                      const sg_stored *table, const int32_t *rows,
                                      const int32_t *next, int64_t count, int64_t d)
{
    switch (table->type) {
    case SG_WEIGHTS_F32:
        kernels->gather_sum(y, z, table->rows, rows, count, d);
        return;
    case SG_WEIGHTS_BF16:
        if (table->step > 1)
            sg_gather_sum_apart(kernels, y, z, table, rows, next, count, d);
        else
            kernels->gather_sum_bf16(y, z, table->rows, rows, next, count, d);
        return;
    case SG_WEIGHTS_F16:
        kernels->gather_sum_f16(y, z, table->rows, rows, next, count, d);
        return;
    case SG_WEIGHTS_INT8:
        kernels->gather_sum_int8(y, z, table->rows, table->scales, rows, next, count, d);
        return;
    default:
        kernels->sum_blocks(y, z, table->type, table->rows, table->scales, rows, count, d);
    }
}

static inline void sg_gather_dots(const sg_kernels *kernels, sg_real *a, const sg_real *x,
                                  const sg_stored *table, const int32_t *rows, int64_t count,
                                  int64_t d)
{
    sg_gather_dots_next(kernels, a, x, table, rows, NULL, count, d);
}

static inline void sg_gather_sum(const sg_kernels *kernels, sg_real *y, const sg_real *z,
                                 const sg_stored *table, const int32_t *rows, int64_t count,
                                 int64_t d)
{
    sg_gather_sum_next(kernels, y, z, table, rows, NULL, count, d);
}

// Rows [first, first + count) as sg_real, contiguous in y.
void sg_stored_read(const sg_kernels *kernels, sg_real *y, const sg_stored *w, int64_t first,
                    int64_t count, int64_t d);
// Rounds x (count, d) into the rows [first, first + count): bf16 as sg_bf16_round; int8 to the
// nearest multiple of the row's scale, its largest magnitude / 127. A row of int8 that holds a NaN
// or an infinity becomes NaN throughout, by its scale. f16 is rounded to nearest. Q8_0 takes d =
// largest magnitude of the block / 127 and q = x / d to nearest, ties away from 0, d then rounded
// to a half (a block with a NaN or an infinity becomes NaN, one beyond 127 times the largest half
// infinite): the bytes that other programs write. Other types are not made here.
void sg_stored_write(sg_compute compute, const sg_stored *w, int64_t first, int64_t count,
                     int64_t d, const sg_real *x);

// y[i][j] = x_i . w_(first + j) for i < m, j < n, on one thread: rows of w as they are stored, each
// read once for the few rows of x. y (m, n), x (m, d) with row strides.
void sg_stored_dots(const sg_kernels *kernels, sg_real *y, int64_t ldy, const sg_real *x,
                    int64_t ldx, int64_t m, const sg_stored *w, int64_t first, int64_t n,
                    int64_t d);

// C = alpha A W^T + beta C, W (n, k) as stored: sg_gemm with transpose_b, whose b and ldb are not
// read. Few rows of A read W once as it is; many go through pieces of W widened into scratch, of
// which each worker has sg_stored_scratch_bytes, `stride` bytes apart. Of other kinds than f32 the
// few rows of A and W itself are read as they are; args->room as for sg_gemm.
size_t sg_stored_scratch_bytes(int64_t m, int64_t n, int64_t k);
void sg_stored_product(sg_compute compute, const sg_gemm_args *args, const sg_stored *w,
                       unsigned char *scratch, size_t stride);

#endif
