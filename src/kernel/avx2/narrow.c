// Weights in bf16, f16 or int8: widened in registers, sixteen at a time, then used as the wide
// kernels use theirs. What a weight is made of is a constant where these are used, so each pair of
// kernels is one loop written once. From memory these wait for the first lines of each row above
// all: the rows that come next, in the same call or the next, are prefetched.
#include <string.h>

#include "kernel/avx2/kernels.h"
#include "kernel/avx2/simd.h"
#include "kernel/rows_ahead.h"

// Always inlined, so that constants given to them are constants in them.
#define NARROW_INLINE static inline __attribute__((always_inline))

typedef enum narrow_kind { NARROW_BF16, NARROW_F16, NARROW_INT8 } narrow_kind;

NARROW_INLINE int64_t narrow_bytes(narrow_kind kind)
{
    return kind == NARROW_INT8 ? 1 : 2;
}

NARROW_INLINE __m256 narrow_widen_bf16(__m128i w)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(w), 16));
}

NARROW_INLINE __m256 narrow_widen_int8(__m128i q)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
}

// Sixteen numbers: the first and the last eight, but of a bf16 row, and of what it meets, those at
// even and those at odd places, since 32 bits hold one of each: the one shifted up, the other with
// the lower half cut off.
typedef struct narrow_piece {
    __m256 a, b;
} narrow_piece;

NARROW_INLINE narrow_piece narrow_weights(const void *w, narrow_kind kind)
{
    if (kind == NARROW_BF16) {
        const __m256i bits = _mm256_loadu_si256(w);
        const __m256i odd = _mm256_and_si256(bits, _mm256_set1_epi32((int32_t)0xffff0000));
        return (narrow_piece){_mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)),
                              _mm256_castsi256_ps(odd)};
    }
    if (kind == NARROW_F16)
        return (narrow_piece){_mm256_cvtph_ps(_mm_loadu_si128(w)),
                              _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w + 1))};
    return (narrow_piece){
        narrow_widen_int8(_mm_loadl_epi64(w)),
        narrow_widen_int8(_mm_loadl_epi64((const __m128i *)((const char *)w + 8)))};
}

NARROW_INLINE narrow_piece narrow_vector(const float *x, narrow_kind kind)
{
    const __m256 x0 = _mm256_loadu_ps(x), x1 = _mm256_loadu_ps(x + 8);
    if (kind != NARROW_BF16) return (narrow_piece){x0, x1};
    const __m256 low = _mm256_permute2f128_ps(x0, x1, 0x20);  // 0-3, 8-11
    const __m256 high = _mm256_permute2f128_ps(x0, x1, 0x31); // 4-7, 12-15
    return (narrow_piece){_mm256_shuffle_ps(low, high, 0x88), _mm256_shuffle_ps(low, high, 0xdd)};
}

NARROW_INLINE void narrow_store(float *y, narrow_piece p, narrow_kind kind)
{
    if (kind == NARROW_BF16) {
        const __m256 low = _mm256_unpacklo_ps(p.a, p.b), high = _mm256_unpackhi_ps(p.a, p.b);
        p = (narrow_piece){_mm256_permute2f128_ps(low, high, 0x20),
                           _mm256_permute2f128_ps(low, high, 0x31)};
    }
    _mm256_storeu_ps(y, p.a);
    _mm256_storeu_ps(y + 8, p.b);
}

// The `left` < 16 that remain, followed by zeros; nothing beyond them is read.
NARROW_INLINE narrow_piece narrow_weights_end(const void *w, int64_t left, narrow_kind kind)
{
    char bytes[32] = {0};
    memcpy(bytes, w, (size_t)(left * narrow_bytes(kind)));
    return narrow_weights(bytes, kind);
}

NARROW_INLINE narrow_piece narrow_vector_end(const float *x, int64_t left, narrow_kind kind)
{
    float padded[16] = {0};
    memcpy(padded, x, (size_t)left * sizeof *x);
    return narrow_vector(padded, kind);
}

NARROW_INLINE void narrow_store_end(float *y, narrow_piece p, int64_t left, narrow_kind kind)
{
    float padded[16];
    narrow_store(padded, p, kind);
    memcpy(y, padded, (size_t)left * sizeof *y);
}

NARROW_INLINE const void *narrow_row(const void *table, int64_t row, int64_t stride,
                                     narrow_kind kind)
{
    return (const char *)table + row * stride * narrow_bytes(kind);
}

// ---- one by one -------------------------------------------------------------------------------

void sg_avx2_to_bf16(sg_bf16 *y, const float *x, int64_t n)
{
    const __m256i infinity = _mm256_set1_epi32(0x7f800000), low = _mm256_set1_epi32(0x7fff);
    const __m256i one = _mm256_set1_epi32(1), quiet = _mm256_set1_epi32(0x400000);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m256i bits = _mm256_castps_si256(_mm256_loadu_ps(x + i));
        __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
        __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, low), odd);
        __m256i size = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
        __m256i nan = _mm256_cmpgt_epi32(size, infinity);
        rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, quiet), nan);
        rounded = _mm256_srli_epi32(rounded, 16);
        __m128i eight =
            _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
        _mm_storeu_si128((__m128i *)(y + i), eight);
    }
    for (; i < n; i++)
        y[i] = sg_bf16_round(x[i]);
}

void sg_avx2_from_bf16(float *y, const sg_bf16 *x, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, narrow_widen_bf16(_mm_loadu_si128((const __m128i *)(x + i))));
    for (; i < n; i++)
        y[i] = sg_bf16_value(x[i]);
}

void sg_avx2_from_f16(float *y, const uint16_t *x, int64_t n)
{
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + i))));
    for (; i < n; i++)
        y[i] = _cvtsh_ss(x[i]);
}

void sg_avx2_from_int8(float *y, const int8_t *q, float scale, int64_t n)
{
    const __m256 factor = _mm256_set1_ps(scale);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(
            y + i,
            _mm256_mul_ps(factor, narrow_widen_int8(_mm_loadl_epi64((const __m128i *)(q + i)))));
    for (; i < n; i++)
        y[i] = scale * q[i];
}

// ---- products ---------------------------------------------------------------------------------

// A line of a row that comes later, once for each line.
NARROW_INLINE void narrow_prefetch(const void *row, int64_t i, narrow_kind kind)
{
    if (i % (64 / narrow_bytes(kind)) == 0)
        _mm_prefetch((const char *)narrow_row(row, i, 1, kind), _MM_HINT_T0);
}

// As simd_dots: up to four rows at once, two sums each; next[r] is prefetched where `ahead`.
NARROW_INLINE void narrow_dots(float *a, const float *x, const void *const row[4],
                               const void *const next[4], int count, bool ahead, narrow_kind kind,
                               int64_t d)
{
    __m256 s[4], t[4];
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        s[r] = t[r] = _mm256_setzero_ps();
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        const narrow_piece part = narrow_vector(x + i, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            if (ahead) narrow_prefetch(next[r], i, kind);
            const narrow_piece w = narrow_weights(narrow_row(row[r], i, 1, kind), kind);
            s[r] = _mm256_fmadd_ps(w.a, part.a, s[r]);
            t[r] = _mm256_fmadd_ps(w.b, part.b, t[r]);
        }
    }
    if (i < d) {
        const narrow_piece part = narrow_vector_end(x + i, d - i, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            const narrow_piece w = narrow_weights_end(narrow_row(row[r], i, 1, kind), d - i, kind);
            s[r] = _mm256_fmadd_ps(w.a, part.a, s[r]);
            t[r] = _mm256_fmadd_ps(w.b, part.b, t[r]);
        }
    }
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        a[r] = simd_sum(_mm256_add_ps(s[r], t[r]));
}

NARROW_INLINE void narrow_thin_product(float *y, int64_t ldy, const float *x, int64_t ldx,
                                       int64_t m, const void *w, int64_t ldw, const float *scales,
                                       int64_t n, narrow_kind kind, int64_t d)
{
    const int64_t far = sg_rows_ahead(ldw * narrow_bytes(kind));
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        const void *row[4], *next[4];
        for (int r = 0; r < 4; r++) {
            row[r] = narrow_row(w, j + r, ldw, kind);
            next[r] = narrow_row(row[r], far, ldw, kind);
        }
        narrow_dots(y + j, x, row, next, 4, true, kind, d);
        for (int64_t i = 1; i < m; i++)
            narrow_dots(y + i * ldy + j, x + i * ldx, row, row, 4, false, kind, d);
    }
    for (; j < n; j++) {
        const void *row[4] = {narrow_row(w, j, ldw, kind)};
        for (int64_t i = 0; i < m; i++)
            narrow_dots(y + i * ldy + j, x + i * ldx, row, row, 1, false, kind, d);
    }
    if (kind != NARROW_INT8) return;
    for (int64_t i = 0; i < m; i++)
        for (j = 0; j < n; j++)
            y[i * ldy + j] *= scales[j];
}

void sg_avx2_thin_product_bf16(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                               const sg_bf16 *w, int64_t ldw, int64_t n, int64_t d)
{
    narrow_thin_product(y, ldy, x, ldx, m, w, ldw, NULL, n, NARROW_BF16, d);
}

void sg_avx2_thin_product_f16(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                              const uint16_t *w, int64_t ldw, int64_t n, int64_t d)
{
    narrow_thin_product(y, ldy, x, ldx, m, w, ldw, NULL, n, NARROW_F16, d);
}

void sg_avx2_thin_product_int8(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                               const int8_t *w, int64_t ldw, const float *scales, int64_t n,
                               int64_t d)
{
    narrow_thin_product(y, ldy, x, ldx, m, w, ldw, scales, n, NARROW_INT8, d);
}

// ---- rows by index ----------------------------------------------------------------------------

// The rows that are read behind the `group` from j on: those of the list, then those of `next` (as
// many as the list, or NULL). False where there are none to know of.
NARROW_INLINE bool narrow_following(const void *following[8], const void *table,
                                    const int32_t *rows, const int32_t *next, int64_t j, int group,
                                    int64_t count, narrow_kind kind, int64_t d)
{
    const int32_t *from = j + 2 * group <= count ? rows + j + group : next;
    if (from == NULL) return false;
    SIMD_UNROLL
    for (int r = 0; r < group; r++)
        following[r] = narrow_row(table, from[r], d, kind);
    return true;
}

NARROW_INLINE void narrow_gather_dots(float *a, const float *x, const void *table,
                                      const float *scales, const int32_t *rows, const int32_t *next,
                                      int64_t count, narrow_kind kind, int64_t d)
{
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const void *row[4], *following[8];
        SIMD_UNROLL
        for (int r = 0; r < 4; r++)
            row[r] = narrow_row(table, rows[j + r], d, kind);
        if (narrow_following(following, table, rows, next, j, 4, count, kind, d))
            narrow_dots(a + j, x, row, following, 4, true, kind, d);
        else
            narrow_dots(a + j, x, row, row, 4, false, kind, d);
    }
    for (; j < count; j++) {
        const void *row[4] = {narrow_row(table, rows[j], d, kind)};
        narrow_dots(a + j, x, row, row, 1, false, kind, d);
    }
    if (kind != NARROW_INT8) return;
    for (j = 0; j < count; j++)
        a[j] *= scales[rows[j]];
}

void sg_avx2_gather_dots_bf16(float *a, const float *x, const sg_bf16 *table, const int32_t *rows,
                              const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_dots(a, x, table, NULL, rows, next, count, NARROW_BF16, d);
}

void sg_avx2_gather_dots_f16(float *a, const float *x, const uint16_t *table, const int32_t *rows,
                             const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_dots(a, x, table, NULL, rows, next, count, NARROW_F16, d);
}

void sg_avx2_gather_dots_int8(float *a, const float *x, const int8_t *table, const float *scales,
                              const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_dots(a, x, table, scales, rows, next, count, NARROW_INT8, d);
}

// As sum_rows of gather.c: y is read and written once for `count` rows.
NARROW_INLINE void narrow_sum_rows(float *y, const float *z, const void *table, const float *scales,
                                   const int32_t *rows, const void *const following[8], int count,
                                   bool ahead, narrow_kind kind, int64_t d)
{
    const void *row[8];
    __m256 scale[8];
    SIMD_UNROLL
    for (int r = 0; r < count; r++) {
        row[r] = narrow_row(table, rows[r], d, kind);
        scale[r] = _mm256_set1_ps(kind == NARROW_INT8 ? z[r] * scales[rows[r]] : z[r]);
    }
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        narrow_piece sum = narrow_vector(y + i, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            if (ahead) narrow_prefetch(following[r], i, kind);
            const narrow_piece w = narrow_weights(narrow_row(row[r], i, 1, kind), kind);
            sum.a = _mm256_fmadd_ps(scale[r], w.a, sum.a);
            sum.b = _mm256_fmadd_ps(scale[r], w.b, sum.b);
        }
        narrow_store(y + i, sum, kind);
    }
    if (i < d) {
        narrow_piece sum = narrow_vector_end(y + i, d - i, kind);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            const narrow_piece w = narrow_weights_end(narrow_row(row[r], i, 1, kind), d - i, kind);
            sum.a = _mm256_fmadd_ps(scale[r], w.a, sum.a);
            sum.b = _mm256_fmadd_ps(scale[r], w.b, sum.b);
        }
        narrow_store_end(y + i, sum, d - i, kind);
    }
}

NARROW_INLINE void narrow_sum_group(float *y, const float *z, const void *table,
                                    const float *scales, const int32_t *rows, const int32_t *next,
                                    int64_t j, int group, int64_t count, narrow_kind kind,
                                    int64_t d)
{
    const void *following[8];
    if (narrow_following(following, table, rows, next, j, group, count, kind, d))
        narrow_sum_rows(y, z + j, table, scales, rows + j, following, group, true, kind, d);
    else
        narrow_sum_rows(y, z + j, table, scales, rows + j, NULL, group, false, kind, d);
}

NARROW_INLINE void narrow_gather_sum(float *y, const float *z, const void *table,
                                     const float *scales, const int32_t *rows, const int32_t *next,
                                     int64_t count, narrow_kind kind, int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        narrow_sum_group(y, z, table, scales, rows, next, j, 8, count, kind, d);
    if (j + 4 <= count) {
        narrow_sum_group(y, z, table, scales, rows, next, j, 4, count, kind, d);
        j += 4;
    }
    for (; j < count; j++)
        narrow_sum_rows(y, z + j, table, scales, rows + j, NULL, 1, false, kind, d);
}

void sg_avx2_gather_sum_bf16(float *y, const float *z, const sg_bf16 *table, const int32_t *rows,
                             const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_sum(y, z, table, NULL, rows, next, count, NARROW_BF16, d);
}

void sg_avx2_gather_sum_f16(float *y, const float *z, const uint16_t *table, const int32_t *rows,
                            const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_sum(y, z, table, NULL, rows, next, count, NARROW_F16, d);
}

void sg_avx2_gather_sum_int8(float *y, const float *z, const int8_t *table, const float *scales,
                             const int32_t *rows, const int32_t *next, int64_t count, int64_t d)
{
    narrow_gather_sum(y, z, table, scales, rows, next, count, NARROW_INT8, d);
}
