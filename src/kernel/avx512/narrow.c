// Weights in bf16, f16 or int8: made, widened, and multiplied with few rows.
#include "kernel/avx512/kernels.h"
#include "kernel/avx512/rows.h"

// To the nearest, of two as near the even one; a NaN is made quiet, that it may not become
// infinity.
void sg_avx512_to_bf16(sg_bf16 *y, const float *x, int64_t n)
{
    const __m512i low = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1);
    const __m512i quiet = _mm512_set1_epi32(0x400000);
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 lanes = simd_lanes(n - i);
        __m512 value = _mm512_maskz_loadu_ps(lanes, x + i);
        __m512i bits = _mm512_castps_si512(value);
        __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
        __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, low), odd);
        __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
        rounded = _mm512_mask_or_epi32(rounded, nan, bits, quiet);
        __m256i half = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
        _mm256_mask_storeu_epi16(y + i, lanes, half);
    }
}

void sg_avx512_from_bf16(float *y, const sg_bf16 *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 lanes = simd_lanes(n - i);
        __m512i bits = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, x + i));
        _mm512_mask_storeu_ps(y + i, lanes, _mm512_castsi512_ps(_mm512_slli_epi32(bits, 16)));
    }
}

void sg_avx512_from_f16(float *y, const uint16_t *x, int64_t n)
{
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 lanes = simd_lanes(n - i);
        __m512 wide = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes, x + i));
        _mm512_mask_storeu_ps(y + i, lanes, wide);
    }
}

void sg_avx512_from_int8(float *y, const int8_t *q, float scale, int64_t n)
{
    const __m512 factor = _mm512_set1_ps(scale);
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 lanes = simd_lanes(n - i);
        __m512i whole = _mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes, q + i));
        _mm512_mask_storeu_ps(y + i, lanes, _mm512_mul_ps(factor, _mm512_cvtepi32_ps(whole)));
    }
}

void sg_avx512_thin_product_bf16(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                 const sg_bf16 *w, int64_t ldw, int64_t n, int64_t d)
{
    rows_thin_product(y, ldy, x, ldx, m, w, ldw, n, ROWS_BF16, d);
}

void sg_avx512_thin_product_f16(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                const uint16_t *w, int64_t ldw, int64_t n, int64_t d)
{
    rows_thin_product(y, ldy, x, ldx, m, w, ldw, n, ROWS_F16, d);
}

void sg_avx512_thin_product_int8(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                                 const int8_t *w, int64_t ldw, const float *scales, int64_t n,
                                 int64_t d)
{
    rows_thin_product(y, ldy, x, ldx, m, w, ldw, n, ROWS_INT8, d);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++)
            y[i * ldy + j] *= scales[j];
}
