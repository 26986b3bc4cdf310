// Vectors of eight floats: what kernel/simd/simd.h asks for, by AVX2, FMA and F16C. The end of an
// array is read and written under a mask.
#ifndef SG_KERNEL_AVX2_LANES_H
#define SG_KERNEL_AVX2_LANES_H

#include <immintrin.h>

#define SIMD_NAME(kernel) sg_avx2_##kernel
#define SIMD_TABLE        "avx2"

typedef __m256 simd_vec;
enum { simd_width = 8, simd_registers = 16 };

typedef struct simd_pair {
    simd_vec a, b;
} simd_pair;

#define simd_set    _mm256_set1_ps
#define simd_zero   _mm256_setzero_ps
#define simd_loadu  _mm256_loadu_ps
#define simd_storeu _mm256_storeu_ps
#define simd_add    _mm256_add_ps
#define simd_sub    _mm256_sub_ps
#define simd_mul    _mm256_mul_ps
#define simd_div    _mm256_div_ps
#define simd_sqrt   _mm256_sqrt_ps
#define simd_min    _mm256_min_ps // returns its second operand when one is NaN, as max does
#define simd_max    _mm256_max_ps
#define simd_fma    _mm256_fmadd_ps
#define simd_fnma   _mm256_fnmadd_ps
#define simd_fms    _mm256_fmsub_ps

static inline __m256 simd_negate(__m256 x)
{
    return _mm256_xor_ps(x, _mm256_set1_ps(-0.0f));
}

static inline __m256 simd_abs(__m256 x)
{
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
}

static inline __m256 simd_round(__m256 x)
{
    return _mm256_round_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// ---- the end of an array ------------------------------------------------------------------------

// The first `count` of eight lanes, 0 <= count <= 8.
static inline __m256i simd_lanes(int64_t count)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), index);
}

static inline __m256 simd_load(const float *x, int64_t left)
{
    return left >= 8 ? _mm256_loadu_ps(x) : _mm256_maskload_ps(x, simd_lanes(left));
}

static inline void simd_store(float *y, __m256 value, int64_t left)
{
    if (left >= 8)
        _mm256_storeu_ps(y, value);
    else
        _mm256_maskstore_ps(y, simd_lanes(left), value);
}

// Zero in the lanes past `left`.
static inline __m256 simd_keep(__m256 value, int64_t left)
{
    return left >= 8 ? value : _mm256_and_ps(value, _mm256_castsi256_ps(simd_lanes(left)));
}

static inline __m256 simd_add_left(__m256 sum, __m256 value, int64_t left)
{
    return _mm256_add_ps(sum, simd_keep(value, left));
}

static inline __m256 simd_max_left(__m256 most, __m256 value, int64_t left)
{
    const __m256 lanes = _mm256_castsi256_ps(simd_lanes(left >= 8 ? 8 : left));
    return _mm256_max_ps(most, _mm256_blendv_ps(most, value, lanes));
}

// ---- across lanes -------------------------------------------------------------------------------

// ((0+4)+(2+6)) + ((1+5)+(3+7))
static inline float simd_sum(__m256 x)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline float simd_largest(__m256 x)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// Of each half of both the even or odd numbers, then the halves into their order.
SIMD_INLINE simd_pair simd_unzip(__m256 first, __m256 second)
{
    const __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(first, second, 0x88));
    const __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(first, second, 0xdd));
    return (simd_pair){_mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8)),
                       _mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8))};
}

SIMD_INLINE simd_pair simd_zip(__m256 even, __m256 odd)
{
    const __m256 low = _mm256_unpacklo_ps(even, odd), high = _mm256_unpackhi_ps(even, odd);
    return (simd_pair){_mm256_permute2f128_ps(low, high, 0x20),
                       _mm256_permute2f128_ps(low, high, 0x31)};
}

// ---- choices ------------------------------------------------------------------------------------

static inline __m256 simd_by_sign(__m256 x, __m256 below, __m256 above)
{
    return _mm256_blendv_ps(above, below, x);
}

static inline __m256 simd_if_greater(__m256 value, __m256 a, __m256 b)
{
    return _mm256_and_ps(value, _mm256_cmp_ps(a, b, _CMP_GT_OQ));
}

static inline __m256 simd_if_same(__m256 value, __m256 a, __m256 b)
{
    return _mm256_andnot_ps(_mm256_cmp_ps(a, b, _CMP_NEQ_OQ), value);
}

// ---- powers of two ------------------------------------------------------------------------------

// 2^n is applied in two halves, each a normal number.
static inline __m256 simd_times_power(__m256 e, __m256 n)
{
    __m256i whole = _mm256_cvtps_epi32(n);
    __m256i half = _mm256_srai_epi32(whole, 1), rest = _mm256_sub_epi32(whole, half);
    __m256i bias = _mm256_set1_epi32(127);
    __m256i scale1 = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i scale2 = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    e = _mm256_mul_ps(e, _mm256_castsi256_ps(scale1));
    return _mm256_mul_ps(e, _mm256_castsi256_ps(scale2));
}

static inline __m256 simd_low_count(__m256 x)
{
    return simd_round(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)));
}

static inline __m256 simd_low_number(__m256 n)
{
    return n;
}

// n + 127 in the place of the exponent: zero bits for n = -127.
static inline __m256 simd_low_power(__m256 n)
{
    __m256i biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
}

// ---- other types --------------------------------------------------------------------------------

// 2 * simd_width numbers: those at even and those at odd places, since 32 bits hold one of each:
// the one shifted up, the other with the lower half cut off.
SIMD_INLINE simd_pair simd_loadu_bf16_unzipped(const void *w)
{
    const __m256i bits = _mm256_loadu_si256((const __m256i *)w);
    const __m256i odd = _mm256_and_si256(bits, _mm256_set1_epi32((int32_t)0xffff0000));
    return (simd_pair){_mm256_castsi256_ps(_mm256_slli_epi32(bits, 16)), _mm256_castsi256_ps(odd)};
}

static inline __m256 simd_loadu_f16(const void *w)
{
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)w));
}

static inline __m256 simd_loadu_int8(const void *q)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)q)));
}

static inline __m256 simd_load_bf16(const sg_bf16 *w, int64_t left)
{
    sg_bf16 end[8] = {0};
    if (left < 8) w = memcpy(end, w, (size_t)left * sizeof *w);
    __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)w));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
}

static inline __m256 simd_load_f16(const uint16_t *w, int64_t left)
{
    uint16_t end[8] = {0};
    if (left < 8) w = memcpy(end, w, (size_t)left * sizeof *w);
    return simd_loadu_f16(w);
}

static inline __m256 simd_load_int8(const int8_t *q, int64_t left)
{
    int8_t end[8] = {0};
    if (left < 8) q = memcpy(end, q, (size_t)left);
    return simd_loadu_int8(q);
}

// To the nearest, of two as near the even one; a NaN is made quiet, that it may not become
// infinity.
static inline void simd_store_bf16(sg_bf16 *y, __m256 value, int64_t left)
{
    const __m256i infinity = _mm256_set1_epi32(0x7f800000), low = _mm256_set1_epi32(0x7fff);
    const __m256i one = _mm256_set1_epi32(1), quiet = _mm256_set1_epi32(0x400000);
    __m256i bits = _mm256_castps_si256(value);
    __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), one);
    __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, low), odd);
    __m256i size = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    __m256i nan = _mm256_cmpgt_epi32(size, infinity);
    rounded = _mm256_blendv_epi8(rounded, _mm256_or_si256(bits, quiet), nan);
    rounded = _mm256_srli_epi32(rounded, 16);
    __m128i eight =
        _mm_packus_epi32(_mm256_castsi256_si128(rounded), _mm256_extracti128_si256(rounded, 1));
    if (left >= 8) {
        _mm_storeu_si128((__m128i *)y, eight);
        return;
    }
    sg_bf16 end[8];
    _mm_storeu_si128((__m128i *)end, eight);
    memcpy(y, end, (size_t)left * sizeof *y);
}

// The number that simd_store_bf16 stores; not of a NaN.
static inline __m256 simd_as_bf16(__m256 value)
{
    const __m256i bits = _mm256_castps_si256(value), low = _mm256_set1_epi32(0x7fff);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, low), odd);
    return _mm256_castsi256_ps(_mm256_and_si256(rounded, _mm256_set1_epi32((int32_t)0xffff0000)));
}

static inline void simd_pair_bf16(sg_bf16 *y, const sg_bf16 *even, const sg_bf16 *odd)
{
    const __m256i low = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)even));
    const __m256i high = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)odd));
    _mm256_storeu_si256((__m256i *)y, _mm256_or_si256(low, _mm256_slli_epi32(high, 16)));
}

static inline void simd_store_bf16_two(sg_bf16 *y, __m256 a, __m256 b)
{
    simd_store_bf16(y, a, simd_width);
    simd_store_bf16(y + simd_width, b, simd_width);
}

#endif
