// Screening of many keys (kernel/ref/screen.c), with the same bits: whole numbers add up alike in
// any order. Sixteen weights of a row are widened, multiplied and added in pairs by three
// instructions, four rows together.
#include "kernel/ref/ref.h"
#include "kernel/rows_ahead.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

enum { screen_rows = 4, screen_piece = 16 };

// Sixteen weights of a row times as many numbers of q, added in pairs.
SIMD_INLINE __m256i screen_pairs(const int8_t *w, __m256i q)
{
    return _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w)), q);
}

// Lane r is the sum of the lanes of s[r].
SIMD_INLINE __m128i screen_sums(const __m256i s[screen_rows])
{
    const __m256i pairs =
        _mm256_hadd_epi32(_mm256_hadd_epi32(s[0], s[1]), _mm256_hadd_epi32(s[2], s[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
}

// Four rows, behind which the lines `far` bytes on are asked for.
SIMD_INLINE __m128i screen_products(const int16_t *q, const int8_t *w, int64_t d, int64_t far)
{
    __m256i s[screen_rows];
    SIMD_UNROLL
    for (int r = 0; r < screen_rows; r++)
        s[r] = _mm256_setzero_si256();
    int64_t i = 0;
    for (; i + screen_piece <= d; i += screen_piece) {
        const __m256i part = _mm256_loadu_si256((const __m256i *)(q + i));
        SIMD_UNROLL
        for (int r = 0; r < screen_rows; r++) {
            const int8_t *at = w + r * d + i;
            if (i % 64 == 0) simd_prefetch(at + far);
            s[r] = _mm256_add_epi32(s[r], screen_pairs(at, part));
        }
    }
    if (i < d) {
        int16_t end[screen_piece] = {0};
        memcpy(end, q + i, (size_t)(d - i) * sizeof *q);
        const __m256i part = _mm256_loadu_si256((const __m256i *)end);
        SIMD_UNROLL
        for (int r = 0; r < screen_rows; r++) {
            int8_t padded[screen_piece] = {0};
            memcpy(padded, w + r * d + i, (size_t)(d - i));
            s[r] = _mm256_add_epi32(s[r], screen_pairs(padded, part));
        }
    }
    return screen_sums(s);
}

float SIMD_NAME(screen_scores)(float *y, const int16_t *q, float unit, const int8_t *w,
                               const float *scales, int64_t n, int64_t d)
{
    const int64_t far = sg_rows_ahead(d) * d;
    __m128 widest = _mm_setzero_ps();
    int64_t j = 0;
    for (; j + screen_rows <= n; j += screen_rows) {
        const __m128 sums = _mm_cvtepi32_ps(screen_products(q, w + j * d, d, far));
        const __m128 scale = _mm_loadu_ps(scales + j);
        widest = _mm_max_ps(scale, widest); // a NaN gives way
        _mm_storeu_ps(y + j, _mm_mul_ps(_mm_mul_ps(sums, _mm_set1_ps(unit)), scale));
    }
    float last = j < n ? sg_ref_screen_scores(y + j, q, unit, w + j * d, scales + j, n - j, d) : 0;
    widest = _mm_max_ps(widest, _mm_movehl_ps(widest, widest));
    widest = _mm_max_ss(widest, _mm_movehdup_ps(widest));
    return fmaxf(last, _mm_cvtss_f32(widest));
}

int64_t SIMD_NAME(not_below)(int32_t *places, const float *x, int64_t n, float bound)
{
    const __m256 least = _mm256_set1_ps(bound);
    int64_t count = 0;
    for (int64_t i = 0; i < n; i += 8) {
        const __m256 pass = _mm256_cmp_ps(simd_load(x + i, n - i), least, _CMP_NLT_UQ);
        unsigned mask = (unsigned)_mm256_movemask_ps(simd_keep(pass, n - i));
        for (; mask != 0; mask &= mask - 1)
            places[count++] = (int32_t)i + __builtin_ctz(mask);
    }
    return count;
}
