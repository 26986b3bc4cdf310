// The walk over rows in blocks that the AVX2 and AVX-512 kernels share: included where quant_tile,
// the products of a few rows, is defined.
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

// Where row j of those asked for lies, and its exponents; types without them get a place that is
// not read.
QUANT_INLINE void quant_row(const unsigned char **row, const unsigned char **exponent,
                            const void *table, const void *scales, const int32_t *rows, int64_t j,
                            sg_weights type, int64_t d)
{
    const int64_t at = rows != NULL ? rows[j] : j, blocks = d / (quant_is_super(type) ? 256 : 32);
    *row = (const unsigned char *)table + at * blocks * quant_bytes(type);
    *exponent = type == SG_WEIGHTS_MXFP4 ? (const unsigned char *)scales + at * blocks : *row;
}

// Rows j to j + count - 1 and as many behind them, of n.
typedef struct quant_group {
    const unsigned char *row[4], *exponent[4], *next[4];
} quant_group;

QUANT_INLINE void quant_rows(quant_group *g, int count, const void *table, const void *scales,
                             const int32_t *rows, int64_t j, int64_t n, sg_weights type, int64_t d)
{
    const unsigned char *unread;
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        const int64_t after = j + r + count < n ? j + r + count : j + r;
        quant_row(&g->row[r], &g->exponent[r], table, scales, rows, j + r, type, d);
        quant_row(&g->next[r], &unread, table, scales, rows, after, type, d);
    }
}

// sg_kernels.dots_blocks of one type: rows that go together, with vectors four at a time and then
// one by one; meanwhile the rows that follow are fetched.
QUANT_INLINE void quant_dots(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                             sg_weights type, const void *table, const void *scales,
                             const int32_t *rows, int64_t n, int64_t d)
{
    const int64_t batched = m / 4 * 4;
    quant_group g;
    int64_t j = 0;
    for (; j + quant_batch_rows <= n && batched > 0; j += quant_batch_rows) {
        quant_rows(&g, quant_batch_rows, table, scales, rows, j, n, type, d);
        for (int64_t t = 0; t < batched; t += 4)
            quant_tile(y + t * ldy + j, ldy, x + t * ldx, ldx, g.row, g.exponent, g.next,
                       quant_batch_rows, 4, type, d);
    }
    for (; j < n && batched > 0; j++) {
        quant_rows(&g, 1, table, scales, rows, j, n, type, d);
        for (int64_t t = 0; t < batched; t += 4)
            quant_tile(y + t * ldy + j, ldy, x + t * ldx, ldx, g.row, g.exponent, g.next, 1, 4,
                       type, d);
    }
    if (batched == m) return;
    for (j = 0; j + 4 <= n; j += 4) {
        quant_rows(&g, 4, table, scales, rows, j, n, type, d);
        for (int64_t t = batched; t < m; t++)
            quant_tile(y + t * ldy + j, ldy, x + t * ldx, ldx, g.row, g.exponent, g.next, 4, 1,
                       type, d);
    }
    for (; j < n; j++) {
        quant_rows(&g, 1, table, scales, rows, j, n, type, d);
        for (int64_t t = batched; t < m; t++)
            quant_tile(y + t * ldy + j, ldy, x + t * ldx, ldx, g.row, g.exponent, g.next, 1, 1,
                       type, d);
    }
}

#endif
