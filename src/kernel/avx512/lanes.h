// Vectors of sixteen floats: what kernel/simd/simd.h asks for, by AVX-512 F, BW, DQ and VL. The end
// of an array is read and written under a mask.
#ifndef SG_KERNEL_AVX512_LANES_H
#define SG_KERNEL_AVX512_LANES_H

#include <immintrin.h>

#define SIMD_NAME(kernel) sg_avx512_##kernel
#define SIMD_TABLE        "avx512"

typedef __m512 simd_vec;
enum { simd_width = 16, simd_registers = 32 };

typedef struct simd_pair {
    simd_vec a, b;
} simd_pair;

#define simd_set    _mm512_set1_ps
#define simd_zero   _mm512_setzero_ps
#define simd_loadu  _mm512_loadu_ps
#define simd_storeu _mm512_storeu_ps
#define simd_add    _mm512_add_ps
#define simd_sub    _mm512_sub_ps
#define simd_mul    _mm512_mul_ps
#define simd_div    _mm512_div_ps
#define simd_sqrt   _mm512_sqrt_ps
#define simd_min    _mm512_min_ps // returns its second operand when one is NaN, as max does
#define simd_max    _mm512_max_ps
#define simd_fma    _mm512_fmadd_ps
#define simd_fnma   _mm512_fnmadd_ps
#define simd_fms    _mm512_fmsub_ps
#define simd_abs    _mm512_abs_ps

static inline __m512 simd_negate(__m512 x)
{
    return _mm512_xor_ps(x, _mm512_set1_ps(-0.0f));
}

static inline __m512 simd_round(__m512 x)
{
    return _mm512_roundscale_ps(x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
}

// 0, 1, … 15
static inline __m512i simd_index(void)
{
    return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
}

// The first `left` of sixteen lanes; all of them where more are left.
static inline __mmask16 simd_lanes(int64_t left)
{
    return _cvtu32_mask16(left >= 16 ? 0xffffu : (1u << left) - 1);
}

// Sixteen floats, or the `left` < 16 that remain followed by zeros.
static inline __m512 simd_load(const float *x, int64_t left)
{
    return left >= 16 ? _mm512_loadu_ps(x) : _mm512_maskz_loadu_ps(simd_lanes(left), x);
}

static inline void simd_store(float *y, __m512 value, int64_t left)
{
    if (left >= 16)
        _mm512_storeu_ps(y, value);
    else
        _mm512_mask_storeu_ps(y, simd_lanes(left), value);
}

static inline __m512 simd_add_left(__m512 sum, __m512 value, int64_t left)
{
    return _mm512_mask_add_ps(sum, simd_lanes(left), sum, value);
}

static inline __m512 simd_max_left(__m512 most, __m512 value, int64_t left)
{
    return _mm512_mask_max_ps(most, simd_lanes(left), most, value);
}

// The halves of a and of b added: [a_low + a_high, b_low + b_high].
static inline __m512 simd_fold8(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
}

// The halves of the halves of a and of b added: of each 256 bits, low + high.
static inline __m512 simd_fold4(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
}

// In each 128 bits [a0 + a2, a1 + a3, b0 + b2, b1 + b3].
static inline __m512 simd_fold2(__m512 a, __m512 b)
{
    return _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
}

// Halves are added until one number is left: sixteen lanes to eight, to four, then (0+2) + (1+3).
static inline float simd_sum(__m512 x)
{
    __m512 four = simd_fold4(simd_fold8(x, x), x);
    __m128 two = _mm512_castps512_ps128(simd_fold2(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline float simd_largest(__m512 x)
{
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

SIMD_INLINE simd_pair simd_unzip(__m512 first, __m512 second)
{
    const __m512i even = _mm512_slli_epi32(simd_index(), 1);
    const __m512i odd = _mm512_or_si512(even, _mm512_set1_epi32(1));
    return (simd_pair){_mm512_permutex2var_ps(first, even, second),
                       _mm512_permutex2var_ps(first, odd, second)};
}

SIMD_INLINE simd_pair simd_zip(__m512 even, __m512 odd)
{
    const __m512i index = simd_index();
    // Place 2j is even j, place 2j + 1 odd j, which permutex2var counts as 16 + j.
    __m512i low =
        _mm512_or_si512(_mm512_srli_epi32(index, 1),
                        _mm512_slli_epi32(_mm512_and_si512(index, _mm512_set1_epi32(1)), 4));
    __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
    return (simd_pair){_mm512_permutex2var_ps(even, low, odd),
                       _mm512_permutex2var_ps(even, high, odd)};
}

// ---- choices ------------------------------------------------------------------------------------

static inline __m512 simd_by_sign(__m512 x, __m512 below, __m512 above)
{
    return _mm512_mask_mov_ps(above, _mm512_movepi32_mask(_mm512_castps_si512(x)), below);
}

static inline __m512 simd_if_greater(__m512 value, __m512 a, __m512 b)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_GT_OQ), value);
}

static inline __m512 simd_if_same(__m512 value, __m512 a, __m512 b)
{
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(a, b, _CMP_EQ_UQ), value);
}

// ---- powers of two ------------------------------------------------------------------------------

static inline __m512 simd_times_power(__m512 e, __m512 n)
{
    return _mm512_scalef_ps(e, n);
}

// Adding 1.5 x 2^23 + 127 rounds to a whole number and leaves n + 127 in the last bits, which
// shifted into the place of the exponent are 2^n, and 0 for n = -127.
static inline __m512 simd_low_magic(void)
{
    return _mm512_set1_ps(12582912.0f + 127.0f);
}

static inline __m512 simd_low_count(__m512 x)
{
    return _mm512_fmadd_ps(x, _mm512_set1_ps(0x1.715476p+0f), simd_low_magic());
}

static inline __m512 simd_low_number(__m512 n)
{
    return _mm512_sub_ps(n, simd_low_magic());
}

static inline __m512 simd_low_power(__m512 n)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_castps_si512(n), 23));
}

// ---- other types --------------------------------------------------------------------------------

static inline __m512 simd_load_bf16(const sg_bf16 *w, int64_t left)
{
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(simd_lanes(left), w));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}

static inline __m512 simd_load_f16(const uint16_t *w, int64_t left)
{
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(simd_lanes(left), w));
}

static inline __m512 simd_load_int8(const int8_t *q, int64_t left)
{
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(simd_lanes(left), q)));
}

// To the nearest, of two as near the even one; a NaN is made quiet, that it may not become
// infinity.
static inline void simd_store_bf16(sg_bf16 *y, __m512 value, int64_t left)
{
    const __m512i low = _mm512_set1_epi32(0x7fff), one = _mm512_set1_epi32(1);
    const __m512i quiet = _mm512_set1_epi32(0x400000);
    __m512i bits = _mm512_castps_si512(value);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), one);
    __m512i rounded = _mm512_add_epi32(_mm512_add_epi32(bits, low), odd);
    __mmask16 nan = _mm512_cmp_ps_mask(value, value, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, bits, quiet);
    __m256i half = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
    if (left >= 16) // what is read back soon waits for a store under a mask
        _mm256_storeu_si256((__m256i *)y, half);
    else
        _mm256_mask_storeu_epi16(y, simd_lanes(left), half);
}

static inline void simd_pair_bf16(sg_bf16 *y, const sg_bf16 *even, const sg_bf16 *odd)
{
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)even));
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)odd));
    _mm512_storeu_si512(y, _mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

// What is in the upper half of each lane then is the number rounded; not of a NaN.
static inline __m512i simd_round_bf16(__m512 value)
{
    __m512i bits = _mm512_castps_si512(value);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    return _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
}

// The number that simd_store_bf16 stores; not of a NaN.
static inline __m512 simd_as_bf16(__m512 value)
{
    const __m512i upper = _mm512_set1_epi32((int32_t)0xffff0000);
    return _mm512_castsi512_ps(_mm512_and_si512(simd_round_bf16(value), upper));
}

// Upper halves of both are brought into one register, in turns, and then into order.
static inline void simd_store_bf16_two(sg_bf16 *y, __m512 a, __m512 b)
{
    if (_mm512_cmp_ps_mask(a, b, _CMP_UNORD_Q) != 0) {
        simd_store_bf16(y, a, simd_width);
        simd_store_bf16(y + simd_width, b, simd_width);
        return;
    }
    static const uint16_t order[32] = {0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                                       1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
    __m512i turns = _mm512_mask_blend_epi16(
        (__mmask32)0xaaaaaaaau, _mm512_srli_epi32(simd_round_bf16(a), 16), simd_round_bf16(b));
    __m512i places = _mm512_loadu_si512(order);
    _mm512_storeu_si512(y, _mm512_permutexvar_epi16(places, turns));
}

#endif
