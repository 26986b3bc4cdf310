// What operands of matrix units are made of: numbers split in two, rows side by side, pairs
// transposed. A pair of bf16 moves as one float would.
#include "kernel/ref/ref.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

void SIMD_NAME(split_bf16)(sg_bf16 *hi, sg_bf16 *lo, const float *x, int64_t n)
{
    // What is as large rounds to infinity; the plain kernel sees to that, to infinity and to NaN.
    const simd_vec limit = simd_set(0x1.ffp127f), one = simd_set(1);
    simd_vec fine = simd_zero();
    int64_t i = 0;
    for (; i + 2 * simd_width <= n; i += 2 * simd_width) {
        const simd_vec a = simd_loadu(x + i), b = simd_loadu(x + i + simd_width);
        const simd_vec upper_a = simd_as_bf16(a), upper_b = simd_as_bf16(b);
        fine = simd_add(fine, simd_if_greater(one, limit, simd_abs(a)));
        fine = simd_add(fine, simd_if_greater(one, limit, simd_abs(b)));
        simd_store_bf16_two(hi + i, upper_a, upper_b);
        simd_store_bf16_two(lo + i, simd_sub(a, upper_a), simd_sub(b, upper_b));
    }
    for (; i < n; i += simd_width) {
        const simd_vec value = simd_load(x + i, n - i), upper = simd_as_bf16(value);
        fine = simd_add(fine, simd_if_greater(one, limit, simd_abs(value)));
        simd_store_bf16(hi + i, upper, n - i);
        simd_store_bf16(lo + i, simd_sub(value, upper), n - i);
    }
    const int64_t lanes = (n + simd_width - 1) / simd_width * simd_width;
    if (simd_sum(fine) != (float)lanes) sg_ref_split_bf16(hi, lo, x, n);
}

void SIMD_NAME(pair_bf16)(sg_bf16 *y, const sg_bf16 *even, const sg_bf16 *odd, int64_t n)
{
    int64_t j = 0;
    for (; j + simd_width <= n; j += simd_width)
        simd_pair_bf16(y + 2 * j, even + j, odd + j);
    sg_ref_pair_bf16(y + 2 * j, even + j, odd + j, n - j);
}

// Rows i and i + half zipped, as often as it takes: each time a row's place moves by one bit from
// the rows to the lanes.
SIMD_INLINE void simd_transpose_square(float *y, int64_t ldy, const float *x, int64_t ldx)
{
    simd_vec row[simd_width], next[simd_width];
    SIMD_UNROLL
    for (int i = 0; i < simd_width; i++)
        row[i] = simd_loadu(x + i * ldx);
    SIMD_UNROLL
    for (int size = 1; size < simd_width; size *= 2) {
        SIMD_UNROLL
        for (int i = 0; i < simd_width / 2; i++) {
            const simd_pair pair = simd_zip(row[i], row[i + simd_width / 2]);
            next[2 * i] = pair.a;
            next[2 * i + 1] = pair.b;
        }
        SIMD_UNROLL
        for (int i = 0; i < simd_width; i++)
            row[i] = next[i];
    }
    SIMD_UNROLL
    for (int i = 0; i < simd_width; i++)
        simd_storeu(y + i * ldy, row[i]);
}

void SIMD_NAME(transpose_pairs)(sg_bf16 *y, int64_t ldy, const sg_bf16 *x, int64_t ldx, int64_t m,
                                int64_t n)
{
    const int64_t rows = m / simd_width * simd_width, columns = n / simd_width * simd_width;
    for (int64_t j = 0; j < columns; j += simd_width) // whole pieces of a row of y
        for (int64_t i = 0; i < rows; i += simd_width)
            simd_transpose_square((float *)(void *)(y + j * ldy + 2 * i), ldy / 2,
                                  (const float *)(const void *)(x + i * ldx + 2 * j), ldx / 2);
    if (columns < n) // what no whole square holds
        sg_ref_transpose_pairs(y + columns * ldy, ldy, x + 2 * columns, ldx, rows, n - columns);
    if (rows < m) sg_ref_transpose_pairs(y + 2 * rows, ldy, x + rows * ldx, ldx, m - rows, n);
}
