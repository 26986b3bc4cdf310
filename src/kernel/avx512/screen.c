// Screening of many keys (kernel/ref/screen.c), with the same bits: whole numbers add up alike in
// any order. 32 weights of a row are widened, multiplied and added in pairs by three instructions,
// sixteen rows together.
#include "kernel/rows_ahead.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

enum { screen_rows = 16, screen_piece = 32 };

// 32 weights of a row, or the `left` > 0 that remain and zeros.
SIMD_INLINE __m512i screen_weights(const int8_t *w, int64_t left)
{
    if (left >= screen_piece) return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)w));
    int8_t padded[screen_piece] = {0};
    memcpy(padded, w, (size_t)left);
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)padded));
}

SIMD_INLINE __m512i screen_query(const int16_t *q, int64_t left)
{
    if (left >= screen_piece) return _mm512_loadu_si512(q);
    int16_t padded[screen_piece] = {0};
    memcpy(padded, q, (size_t)left * sizeof *q);
    return _mm512_loadu_si512(padded);
}

// The lanes of each of sixteen vectors added: lane r is the sum of s[r].
SIMD_INLINE __m512i screen_sums(const __m512i s[screen_rows])
{
    __m512i four[4];
    SIMD_UNROLL
    for (int v = 0; v < 4; v++) { // a quarter each: rows 4 v, 4 v + 1, 4 v + 2, 4 v + 3
        const __m512i *r = s + 4 * v;
        const __m512i low = _mm512_add_epi32(_mm512_shuffle_i32x4(r[0], r[1], 0x44),
                                             _mm512_shuffle_i32x4(r[0], r[1], 0xee));
        const __m512i high = _mm512_add_epi32(_mm512_shuffle_i32x4(r[2], r[3], 0x44),
                                              _mm512_shuffle_i32x4(r[2], r[3], 0xee));
        four[v] = _mm512_add_epi32(_mm512_shuffle_i32x4(low, high, 0x88),
                                   _mm512_shuffle_i32x4(low, high, 0xdd));
    }
    const __m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(four[0], four[1]),
                                       _mm512_unpackhi_epi32(four[0], four[1]));
    const __m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(four[2], four[3]),
                                       _mm512_unpackhi_epi32(four[2], four[3]));
    // Lane 4 i + v is row 4 v + i.
    const __m512i sums = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, sums);
}

// Sixteen rows, behind which the lines `far` bytes on are asked for.
SIMD_INLINE __m512i screen_products(const int16_t *q, const int8_t *w, int64_t d, int64_t far)
{
    __m512i s[screen_rows];
    SIMD_UNROLL
    for (int r = 0; r < screen_rows; r++)
        s[r] = _mm512_setzero_si512();
    int64_t i = 0;
    for (; i + screen_piece <= d; i += screen_piece) {
        const __m512i part = _mm512_loadu_si512(q + i);
        SIMD_UNROLL
        for (int r = 0; r < screen_rows; r++) {
            const int8_t *at = w + r * d + i;
            if (i % 64 == 0) simd_prefetch(at + far);
            s[r] =
                _mm512_add_epi32(s[r], _mm512_madd_epi16(screen_weights(at, screen_piece), part));
        }
    }
    if (i < d) {
        const __m512i part = screen_query(q + i, d - i);
        SIMD_UNROLL
        for (int r = 0; r < screen_rows; r++)
            s[r] = _mm512_add_epi32(s[r],
                                    _mm512_madd_epi16(screen_weights(w + r * d + i, d - i), part));
    }
    return screen_sums(s);
}

float SIMD_NAME(screen_scores)(float *y, const int16_t *q, float unit, const int8_t *w,
                               const float *scales, int64_t n, int64_t d)
{
    const int64_t far = sg_rows_ahead(d) * d;
    __m512 widest = _mm512_setzero_ps();
    for (int64_t j = 0; j < n; j += screen_rows, w += screen_rows * d) {
        const int64_t left = n - j;
        __m512i sums;
        if (left >= screen_rows) {
            sums = screen_products(q, w, d, far);
        } else {
            int32_t few[screen_rows] = {0};
            for (int64_t r = 0; r < left; r++)
                for (int64_t i = 0; i < d; i++)
                    few[r] += q[i] * w[r * d + i];
            sums = _mm512_loadu_si512(few);
        }
        const __m512 scale = simd_load(scales + j, left);
        widest = _mm512_max_ps(scale, widest); // a NaN gives way
        simd_store(
            y + j,
            _mm512_mul_ps(_mm512_mul_ps(_mm512_cvtepi32_ps(sums), _mm512_set1_ps(unit)), scale),
            left);
    }
    return simd_largest(widest);
}

int64_t SIMD_NAME(not_below)(int32_t *places, const float *x, int64_t n, float bound)
{
    const __m512 least = _mm512_set1_ps(bound);
    const __m512i step = _mm512_set1_epi32(16);
    __m512i index = simd_index();
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += 16) {
        const __mmask16 lanes = simd_lanes(n - i);
        const __m512 part = _mm512_maskz_loadu_ps(lanes, x + i);
        const __mmask16 pass = _mm512_mask_cmp_ps_mask(lanes, part, least, _CMP_NLT_UQ);
        if (pass != 0)
            _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(pass, index));
        count += __builtin_popcount(pass);
        index = _mm512_add_epi32(index, step);
    }
    return count;
}
