// The walk over rows in blocks that the AVX2 and AVX-512 kernels share: included where quant_tile,
// the products of a few rows, and quant_weights, the weights of a block, are defined.
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

// Rows j to j + count - 1, and as many behind them, which are fetched meanwhile: of a whole table
// also behind its last row, where the next call often goes on.
typedef struct quant_group {
    const unsigned char *row[4], *exponent[4], *next[4];
} quant_group;

QUANT_INLINE void quant_rows(quant_group *g, int count, const void *table, const void *scales,
                             const int32_t *rows, int64_t j, int64_t n, sg_weights type, int64_t d)
{
    const unsigned char *unread;
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        const bool any = rows == NULL || j + r + count < n;
        const int64_t after = any ? j + r + count : j + r;
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

// y += sum of z[r] row r over `count` rows at once, a constant where it is used: y is read and
// written once for all of them. Each element of y takes the rows in order whatever the grouping.
QUANT_INLINE void quant_sum_rows(float *y, const float *z, const quant_group *at, int count,
                                 sg_weights type, int64_t d)
{
    enum { vectors = 32 / simd_width };
    const int groups = quant_is_super(type) ? 8 : 1;
    quant_scales s[4];
    simd_vec w[vectors], sum[vectors];
    for (int64_t b = 0; b < d / (32 * groups); b++) {
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            quant_prefetch(at->next[r] + b * quant_bytes(type), type);
            quant_prepare(&s[r], type, at->row[r] + b * quant_bytes(type), at->exponent[r] + b);
        }
        SIMD_UNROLL
        for (int g = 0; g < groups; g++) {
            float *part = y + (b * groups + g) * 32;
            SIMD_UNROLL
            for (int v = 0; v < vectors; v++)
                sum[v] = simd_loadu(part + v * simd_width);
            SIMD_UNROLL
            for (int r = 0; r < count; r++) {
                quant_weights(w, type, at->row[r] + b * quant_bytes(type), &s[r], g);
                SIMD_UNROLL
                for (int v = 0; v < vectors; v++)
                    sum[v] = simd_fma(simd_set(z[r]), w[v], sum[v]);
            }
            SIMD_UNROLL
            for (int v = 0; v < vectors; v++)
                simd_storeu(part + v * simd_width, sum[v]);
        }
    }
}

// sg_kernels.sum_blocks of one type.
QUANT_INLINE void quant_sum(float *y, const float *z, sg_weights type, const void *table,
                            const void *scales, const int32_t *rows, int64_t n, int64_t d)
{
    quant_group g;
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        quant_rows(&g, 4, table, scales, rows, j, n, type, d);
        quant_sum_rows(y, z + j, &g, 4, type, d);
    }
    for (; j < n; j++) {
        quant_rows(&g, 1, table, scales, rows, j, n, type, d);
        quant_sum_rows(y, z + j, &g, 1, type, d);
    }
}

#endif
