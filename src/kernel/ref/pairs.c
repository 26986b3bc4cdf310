// What operands of matrix units are made of: numbers split in two, rows side by side, pairs
// transposed.
#include "kernel/ref/ref.h"

#include <math.h>

void sg_ref_split_bf16(sg_bf16 *hi, sg_bf16 *lo, const sg_real *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const float value = (float)x[i];
        hi[i] = sg_bf16_round(value);
        if (isinf(sg_bf16_value(hi[i])) && isfinite(value)) hi[i]--; // the largest number
        const float upper = sg_bf16_value(hi[i]);
        lo[i] = isfinite(upper) ? sg_bf16_round(value - upper) : 0;
    }
}

void sg_ref_pair_bf16(sg_bf16 *y, const sg_bf16 *even, const sg_bf16 *odd, int64_t n)
{
    for (int64_t j = 0; j < n; j++) {
        y[2 * j] = even[j];
        y[2 * j + 1] = odd[j];
    }
}

void sg_ref_transpose_pairs(sg_bf16 *y, int64_t ldy, const sg_bf16 *x, int64_t ldx, int64_t m,
                            int64_t n)
{
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < m; i++) {
            y[j * ldy + 2 * i] = x[i * ldx + 2 * j];
            y[j * ldy + 2 * i + 1] = x[i * ldx + 2 * j + 1];
        }
}
