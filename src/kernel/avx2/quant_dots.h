// The walk over rows in blocks that the AVX2 and AVX-512 kernels share: included where quant_tile, the
// products of a few rows, is defined.
#ifndef SG_KERNEL_AVX2_QUANT_DOTS_H
#define SG_KERNEL_AVX2_QUANT_DOTS_H

#include "kernel/avx2/quant_scales.h"

#define QUANT_EACH_TYPE(CALL)                                                                      \
    switch (type) {                                                                                \
    case SG_WEIGHTS_Q8_0:                                                                          \
        CALL(SG_WEIGHTS_Q8_0);                                                                     \
        return;                                                                                    \
    case SG_WEIGHTS_Q4_0:                                                                          \
        CALL(SG_WEIGHTS_Q4_0);                                                                     \
        return;                                                                                    \
    case SG_WEIGHTS_Q4_1:                                                                          \
        CALL(SG_WEIGHTS_Q4_1);                                                                     \
        return;                                                                                    \
    case SG_WEIGHTS_Q5_0:                                                                          \
        CALL(SG_WEIGHTS_Q5_0);                                                                     \
        return;                                                                                    \
    case SG_WEIGHTS_Q5_1:                                                                          \
        CALL(SG_WEIGHTS_Q5_1);                                                                     \
        return;                                                                                    \
    case SG_WEIGHTS_Q4_K:                                                                          \
        CALL(SG_WEIGHTS_Q4_K);                                                                     \
        return;                                                                                    \
    case SG_WEIGHTS_Q5_K:                                                                          \
        CALL(SG_WEIGHTS_Q5_K);                                                                     \
        return;                                                                                    \
    case SG_WEIGHTS_Q6_K:                                                                          \
        CALL(SG_WEIGHTS_Q6_K);                                                                     \
        return;                                                                                    \
    default:                                                                                       \
        CALL(SG_WEIGHTS_MXFP4);                                                                    \
    }

// Where row j of those asked for lies, and its exponents; types without them get a place that is not
// read.
QUANT_INLINE void quant_row(const unsigned char **row, const unsigned char **exponent,
                            const void *table, const void *scales, const int32_t *rows, int64_t j,
                            sg_weights type, int64_t d)
{
    const int64_t at = rows != NULL ? rows[j] : j, blocks = d / (quant_is_super(type) ? 256 : 32);
    *row = (const unsigned char *)table + at * blocks * quant_bytes(type);
    *exponent = type == SG_WEIGHTS_MXFP4 ? (const unsigned char *)scales + at * blocks : *row;
}

// sg_kernels.dots_blocks of one type. Rows go four together where there is one vector, vectors four
// together where there are as many.
QUANT_INLINE void quant_dots(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                             sg_weights type, const void *table, const void *scales,
                             const int32_t *rows, int64_t n, int64_t d)
{
    const unsigned char *row[4], *exponent[4];
    int64_t i = 0;
    for (; i + 4 <= m; i += 4)
        for (int64_t j = 0; j < n; j++) {
            quant_row(row, exponent, table, scales, rows, j, type, d);
            quant_tile(y + i * ldy + j, ldy, x + i * ldx, ldx, row, exponent, 1, 4, type, d);
        }
    if (i == m) return;
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        for (int r = 0; r < 4; r++)
            quant_row(row + r, exponent + r, table, scales, rows, j + r, type, d);
        for (int64_t t = i; t < m; t++)
            quant_tile(y + t * ldy + j, ldy, x + t * ldx, ldx, row, exponent, 4, 1, type, d);
    }
    for (; j < n; j++) {
        quant_row(row, exponent, table, scales, rows, j, type, d);
        for (int64_t t = i; t < m; t++)
            quant_tile(y + t * ldy + j, ldy, x + t * ldx, ldx, row, exponent, 1, 1, type, d);
    }
}

#endif
