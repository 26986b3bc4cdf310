// Weights in bf16 or int8: widened to eight floats in registers, then used as the wide kernels use
// theirs. What a weight is made of is a constant where these are used, so each pair of kernels is
// one loop written once.
#include <string.h>

#include "kernel/avx2/kernels.h"
#include "kernel/avx2/simd.h"

typedef enum narrow_kind { NARROW_BF16, NARROW_INT8 } narrow_kind;

static inline __m256 narrow_widen_bf16(__m128i w)
{
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(w), 16));
}

static inline __m256 narrow_widen_int8(__m128i q)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q));
}

// Eight weights from element i on.
static inline __m256 narrow_load(const void *w, int64_t i, narrow_kind kind)
{
    if (kind == NARROW_BF16)
        return narrow_widen_bf16(_mm_loadu_si128((const __m128i *)((const sg_bf16 *)w + i)));
    return narrow_widen_int8(_mm_loadl_epi64((const __m128i *)((const int8_t *)w + i)));
}

// The `left` < 8 that remain, followed by zeros; nothing beyond them is read.
static inline __m256 narrow_load_end(const void *w, int64_t i, int64_t left, narrow_kind kind)
{
    __m128i bytes = _mm_setzero_si128();
    if (kind == NARROW_BF16) {
        memcpy(&bytes, (const sg_bf16 *)w + i, (size_t)left * sizeof(sg_bf16));
        return narrow_widen_bf16(bytes);
    }
    memcpy(&bytes, (const int8_t *)w + i, (size_t)left);
    return narrow_widen_int8(bytes);
}

static inline const void *narrow_row(const void *table, int64_t row, int64_t stride,
                                     narrow_kind kind)
{
    return (const char *)table + row * stride * (kind == NARROW_BF16 ? 2 : 1);
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
        _mm256_storeu_ps(y + i, narrow_load(x, i, NARROW_BF16));
    for (; i < n; i++)
        y[i] = sg_bf16_value(x[i]);
}

void sg_avx2_from_int8(float *y, const int8_t *q, float scale, int64_t n)
{
    const __m256 factor = _mm256_set1_ps(scale);
    int64_t i = 0;
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_mul_ps(factor, narrow_load(q, i, NARROW_INT8)));
    for (; i < n; i++)
        y[i] = scale * q[i];
}

// ---- products ---------------------------------------------------------------------------------

// As simd_dots: up to four rows at once, two sums each; next[r] is prefetched where `ahead`.
static inline void narrow_dots(float *a, const float *x, const void *const row[4],
                               const void *const next[4], int count, bool ahead, narrow_kind kind,
                               int64_t d)
{
    const int line = kind == NARROW_BF16 ? 32 : 64; // weights of a line of the cache
    __m256 even[4], odd[4];
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        even[r] = odd[r] = _mm256_setzero_ps();
    int64_t i = 0;
    for (; i + 16 <= d; i += 16) {
        const __m256 x0 = _mm256_loadu_ps(x + i), x1 = _mm256_loadu_ps(x + i + 8);
        if (ahead && i % line == 0) {
            SIMD_UNROLL
            for (int r = 0; r < count; r++)
                _mm_prefetch((const char *)narrow_row(next[r], i, 1, kind), _MM_HINT_T0);
        }
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            even[r] = _mm256_fmadd_ps(narrow_load(row[r], i, kind), x0, even[r]);
            odd[r] = _mm256_fmadd_ps(narrow_load(row[r], i + 8, kind), x1, odd[r]);
        }
    }
    if (i + 8 <= d) {
        const __m256 part = _mm256_loadu_ps(x + i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            even[r] = _mm256_fmadd_ps(narrow_load(row[r], i, kind), part, even[r]);
        i += 8;
    }
    if (i < d) {
        const __m256 part = simd_load(x + i, d - i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            odd[r] = _mm256_fmadd_ps(narrow_load_end(row[r], i, d - i, kind), part, odd[r]);
    }
    SIMD_UNROLL
    for (int r = 0; r < count; r++)
        a[r] = simd_sum(_mm256_add_ps(even[r], odd[r]));
}

static inline void narrow_thin_product(float *y, int64_t ldy, const float *x, int64_t ldx,
                                       int64_t m, const void *w, int64_t ldw, const float *scales,
                                       int64_t n, narrow_kind kind, int64_t d)
{
    int64_t j = 0;
    for (; j + 4 <= n; j += 4) {
        const void *row[4];
        for (int r = 0; r < 4; r++)
            row[r] = narrow_row(w, j + r, ldw, kind);
        for (int64_t i = 0; i < m; i++)
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

void sg_avx2_thin_product_int8(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                               const int8_t *w, int64_t ldw, const float *scales, int64_t n,
                               int64_t d)
{
    narrow_thin_product(y, ldy, x, ldx, m, w, ldw, scales, n, NARROW_INT8, d);
}

// ---- rows by index ----------------------------------------------------------------------------

static inline void narrow_gather_dots(float *a, const float *x, const void *table,
                                      const float *scales, const int32_t *rows, int64_t count,
                                      narrow_kind kind, int64_t d)
{
    int64_t j = 0;
    for (; j + 4 <= count; j += 4) {
        const void *row[4], *next[4];
        bool ahead = j + 8 <= count;
        SIMD_UNROLL
        for (int r = 0; r < 4; r++) {
            row[r] = narrow_row(table, rows[j + r], d, kind);
            next[r] = ahead ? narrow_row(table, rows[j + 4 + r], d, kind) : NULL;
        }
        if (ahead)
            narrow_dots(a + j, x, row, next, 4, true, kind, d);
        else
            narrow_dots(a + j, x, row, next, 4, false, kind, d);
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
                              int64_t count, int64_t d)
{
    narrow_gather_dots(a, x, table, NULL, rows, count, NARROW_BF16, d);
}

void sg_avx2_gather_dots_int8(float *a, const float *x, const int8_t *table, const float *scales,
                              const int32_t *rows, int64_t count, int64_t d)
{
    narrow_gather_dots(a, x, table, scales, rows, count, NARROW_INT8, d);
}

// As sum_rows of gather.c: y is read and written once for `count` rows.
static inline void narrow_sum_rows(float *y, const float *z, const void *table, const float *scales,
                                   const int32_t *rows, int count, narrow_kind kind, int64_t d)
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
        __m256 s0 = _mm256_loadu_ps(y + i), s1 = _mm256_loadu_ps(y + i + 8);
        SIMD_UNROLL
        for (int r = 0; r < count; r++) {
            s0 = _mm256_fmadd_ps(scale[r], narrow_load(row[r], i, kind), s0);
            s1 = _mm256_fmadd_ps(scale[r], narrow_load(row[r], i + 8, kind), s1);
        }
        _mm256_storeu_ps(y + i, s0);
        _mm256_storeu_ps(y + i + 8, s1);
    }
    if (i + 8 <= d) {
        __m256 s = _mm256_loadu_ps(y + i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            s = _mm256_fmadd_ps(scale[r], narrow_load(row[r], i, kind), s);
        _mm256_storeu_ps(y + i, s);
        i += 8;
    }
    if (i < d) {
        __m256 s = simd_load(y + i, d - i);
        SIMD_UNROLL
        for (int r = 0; r < count; r++)
            s = _mm256_fmadd_ps(scale[r], narrow_load_end(row[r], i, d - i, kind), s);
        simd_store(y + i, s, d - i);
    }
}

static inline void narrow_gather_sum(float *y, const float *z, const void *table,
                                     const float *scales, const int32_t *rows, int64_t count,
                                     narrow_kind kind, int64_t d)
{
    int64_t j = 0;
    for (; j + 8 <= count; j += 8)
        narrow_sum_rows(y, z + j, table, scales, rows + j, 8, kind, d);
    if (j + 4 <= count) {
        narrow_sum_rows(y, z + j, table, scales, rows + j, 4, kind, d);
        j += 4;
    }
    for (; j < count; j++)
        narrow_sum_rows(y, z + j, table, scales, rows + j, 1, kind, d);
}

void sg_avx2_gather_sum_bf16(float *y, const float *z, const sg_bf16 *table, const int32_t *rows,
                             int64_t count, int64_t d)
{
    narrow_gather_sum(y, z, table, NULL, rows, count, NARROW_BF16, d);
}

void sg_avx2_gather_sum_int8(float *y, const float *z, const int8_t *table, const float *scales,
                             const int32_t *rows, int64_t count, int64_t d)
{
    narrow_gather_sum(y, z, table, scales, rows, count, NARROW_INT8, d);
}
