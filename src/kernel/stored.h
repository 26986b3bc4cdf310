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
    void *rows;      // (rows, d) of sg_real, sg_bf16 or int8_t
    float *scales;   // (rows); int8 only
} sg_stored;

// Bytes of one weight, scales not counted.
static inline size_t sg_stored_size(sg_weights type)
{
    return type == SG_WEIGHTS_BF16   ? sizeof(sg_bf16)
           : type == SG_WEIGHTS_INT8 ? 1
                                     : sizeof(sg_real);
}

// The same from row `row` on.
static inline sg_stored sg_stored_at(const sg_stored *w, int64_t row, int64_t d)
{
    sg_stored part = *w;
    if (part.rows != NULL)
        part.rows = (unsigned char *)part.rows + (size_t)(row * d) * sg_stored_size(w->type);
    if (part.scales != NULL) part.scales += row;
    return part;
}

// sg_kernels.gather_dots and gather_sum. next (count), or NULL: rows that will be read soon.
static inline void sg_gather_dots_next(const sg_kernels *kernels, sg_real *a, const sg_real *x,
                                       const sg_stored *table, const int32_t *rows,
                                       const int32_t *next, int64_t count, int64_t d)
{
    if (table->type == SG_WEIGHTS_BF16)
        kernels->gather_dots_bf16(a, x, table->rows, rows, next, count, d);
    else if (table->type == SG_WEIGHTS_INT8)
        kernels->gather_dots_int8(a, x, table->rows, table->scales, rows, next, count, d);
    else
        kernels->gather_dots(a, x, table->rows, rows, count, d);
}

static inline void sg_gather_sum_next(const sg_kernels *kernels, sg_real *y, const sg_real *z,
                                      const sg_stored *table, const int32_t *rows,
                                      const int32_t *next, int64_t count, int64_t d)
{
    if (table->type == SG_WEIGHTS_BF16)
        kernels->gather_sum_bf16(y, z, table->rows, rows, next, count, d);
    else if (table->type == SG_WEIGHTS_INT8)
        kernels->gather_sum_int8(y, z, table->rows, table->scales, rows, next, count, d);
    else
        kernels->gather_sum(y, z, table->rows, rows, count, d);
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
// nearest multiple of the row's scale, its largest magnitude / 127. A row of int8 that holds a NaN or
// an infinity becomes NaN throughout, by its scale.
void sg_stored_write(sg_pool *pool, const sg_stored *w, int64_t first, int64_t count, int64_t d,
                     const sg_real *x);

// C = alpha A W^T + beta C, W (n, k) as stored: sg_gemm with transpose_b, whose b and ldb are not
// read. Few rows of A read W once as it is; many go through pieces of W widened into scratch, of
// which each worker has sg_stored_scratch_bytes, `stride` bytes apart.
size_t sg_stored_scratch_bytes(int64_t m, int64_t n, int64_t k);
void sg_stored_product(sg_pool *pool, const sg_gemm_args *args, const sg_stored *w,
                       unsigned char *scratch, size_t stride);

#endif
