// Small helpers over vectors of sixteen floats, as kernel/avx2/simd.h has them over eight. The end
// of an array is read and written under a mask, so that nothing beyond it is touched and no loop
// over single elements is needed.
#ifndef SG_KERNEL_AVX512_SIMD_H
#define SG_KERNEL_AVX512_SIMD_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>

// Before a loop over registers; see kernel/avx2/simd.h.
#if defined(__clang__)
#define SIMD_UNROLL
#else
#define SIMD_UNROLL _Pragma("GCC unroll 16")
#endif

// For functions whose parameters must be constants once they are inlined: at -O2 gcc keeps one copy
// of a large function instead, with its arrays of registers in memory.
#define SIMD_INLINE static inline __attribute__((always_inline))

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

static inline float simd_max(__m512 x)
{
    __m256 eight = _mm256_max_ps(_mm512_castps512_ps256(x), _mm512_extractf32x8_ps(x, 1));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// min and max return their second operand when one is NaN: x stands there, so that NaN passes.
static inline __m512 simd_clamp(__m512 x, float low, float high)
{
    return _mm512_max_ps(_mm512_set1_ps(low), _mm512_min_ps(_mm512_set1_ps(high), x));
}

// exp(r) for |r| <= ln(2)/2 by the polynomial of kernel/avx2/simd.h: 1 + r + r^2 q(r).
static inline __m512 simd_exp_fraction(__m512 r)
{
    __m512 q = _mm512_set1_ps(0x1.6a23cep-10f);
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0x1.123a2p-7f));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0x1.5558f2p-5f));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0x1.555492p-3f));
    q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0x1.fffffcp-2f));
    return _mm512_add_ps(_mm512_fmadd_ps(q, _mm512_mul_ps(r, r), r), _mm512_set1_ps(1));
}

// x - n ln 2 in two steps: the first product is exact, as its factor has 15 bits.
static inline __m512 simd_exp_rest(__m512 x, __m512 n)
{
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.62e4p-1f), x);
    return _mm512_fnmadd_ps(n, _mm512_set1_ps(0x1.7f7d1cp-20f), r);
}

// exp(x) within 2 ulp, for any x: 2^n exp(r), x = n ln 2 + r. scalef rounds results below the
// smallest normal number and gives infinity above the largest; below -104 everything is 0.
static inline __m512 simd_exp(__m512 x)
{
    x = simd_clamp(x, -104.0f, 89.0f);
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(0x1.715476p+0f)),
                                    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    return _mm512_scalef_ps(simd_exp_fraction(simd_exp_rest(x, n)), n);
}

// The same for x up to 88; results below 2^-126.5 are 0. Adding 1.5 x 2^23 + 127 rounds to a whole
// number and leaves n + 127 in the last bits, which shifted into the place of the exponent are 2^n,
// and 0 for n = -127.
static inline __m512 simd_exp_low(__m512 x)
{
    const __m512 magic = _mm512_set1_ps(12582912.0f + 127.0f);
    x = _mm512_max_ps(_mm512_set1_ps(-88.0f), x); // NaN passes
    __m512 shifted = _mm512_fmadd_ps(x, _mm512_set1_ps(0x1.715476p+0f), magic);
    __m512 e = simd_exp_fraction(simd_exp_rest(x, _mm512_sub_ps(shifted, magic)));
    __m512i scale = _mm512_slli_epi32(_mm512_castps_si512(shifted), 23);
    return _mm512_mul_ps(e, _mm512_castsi512_ps(scale));
}

// 1 / (1 + exp(-x))
static inline __m512 simd_sigmoid(__m512 x)
{
    const __m512 one = _mm512_set1_ps(1);
    __m512 e = simd_exp(_mm512_xor_ps(x, _mm512_set1_ps(-0.0f)));
    return _mm512_div_ps(one, _mm512_add_ps(one, e));
}

#endif
