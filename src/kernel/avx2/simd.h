// Small helpers over vectors of eight floats. Loads and stores are unaligned throughout, so that
// results cannot depend on where an array lies, and the end of an array is read and written under a
// mask, so that nothing beyond it is touched.
#ifndef SG_KERNEL_AVX2_SIMD_H
#define SG_KERNEL_AVX2_SIMD_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>

// Before a loop over registers: gcc at -O2 leaves such a loop standing, and an array that is
// indexed by it then lives in memory instead of registers (2.5 times slower where it was measured).
// clang unrolls them unasked.
#if defined(__clang__)
#define SIMD_UNROLL
#else
#define SIMD_UNROLL _Pragma("GCC unroll 8")
#endif

// For functions whose parameters must be constants once they are inlined: at -O2 gcc may keep one
// copy of a large function instead, which decides anew for each vector.
#define SIMD_INLINE static inline __attribute__((always_inline))

// The first `count` of eight lanes, 0 <= count <= 8.
static inline __m256i simd_lanes(int64_t count)
{
    const __m256i index = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int32_t)count), index);
}

// Eight floats, or the `left` < 8 that remain followed by zeros.
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

// ((0+4)+(2+6)) + ((1+5)+(3+7))
static inline float simd_sum(__m256 x)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

static inline float simd_max(__m256 x)
{
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// min and max return their second operand when one is NaN: x stands there, so that NaN passes.
static inline __m256 simd_clamp(__m256 x, float low, float high)
{
    return _mm256_max_ps(_mm256_set1_ps(low), _mm256_min_ps(_mm256_set1_ps(high), x));
}

// exp(x) = 2^n exp(r): x = n ln 2 + r, exp(r) = 1 + r + r^2 q(r) with q of degree 4 (a minimax fit
// on |r| <= ln(2)/2, error 0.05 ulp). Gives exp(r) and the whole number n.
static inline __m256 simd_exp_parts(__m256 x, __m256i *whole)
{
    const __m256 ln2_high = _mm256_set1_ps(0x1.62e4p-1f); // 15 bits: n * ln2_high is exact
    const __m256 ln2_low = _mm256_set1_ps(0x1.7f7d1cp-20f);
    __m256 n = _mm256_round_ps(_mm256_mul_ps(x, _mm256_set1_ps(0x1.715476p+0f)),
                               _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m256 r = _mm256_fnmadd_ps(n, ln2_low, _mm256_fnmadd_ps(n, ln2_high, x));
    __m256 q = _mm256_set1_ps(0x1.6a23cep-10f);
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.123a2p-7f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.5558f2p-5f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.555492p-3f));
    q = _mm256_fmadd_ps(q, r, _mm256_set1_ps(0x1.fffffcp-2f));
    *whole = _mm256_cvtps_epi32(n);
    return _mm256_add_ps(_mm256_fmadd_ps(q, _mm256_mul_ps(r, r), r), _mm256_set1_ps(1));
}

// exp(x) within 2 ulp, for any x. 2^n is applied in two halves, so that results below the smallest
// normal number come out rounded and those above the largest as infinity; below -104 everything is
// 0, -infinity included.
static inline __m256 simd_exp(__m256 x)
{
    __m256i whole;
    __m256 e = simd_exp_parts(simd_clamp(x, -104.0f, 89.0f), &whole);
    __m256i half = _mm256_srai_epi32(whole, 1), rest = _mm256_sub_epi32(whole, half);
    __m256i bias = _mm256_set1_epi32(127);
    __m256i scale1 = _mm256_slli_epi32(_mm256_add_epi32(half, bias), 23);
    __m256i scale2 = _mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23);
    e = _mm256_mul_ps(e, _mm256_castsi256_ps(scale1));
    return _mm256_mul_ps(e, _mm256_castsi256_ps(scale2));
}

// The same for x up to 88, a quarter faster: results below 2^-126.5 are 0, since n = -127 makes 2^n
// of zero bits. For softmax, where the largest x is 0 and such results are nothing beside 1.
static inline __m256 simd_exp_low(__m256 x)
{
    __m256i whole;
    __m256 e = simd_exp_parts(_mm256_max_ps(_mm256_set1_ps(-88.0f), x), &whole); // NaN passes
    __m256i scale = _mm256_slli_epi32(_mm256_add_epi32(whole, _mm256_set1_epi32(127)), 23);
    return _mm256_mul_ps(e, _mm256_castsi256_ps(scale));
}

// 1 / (1 + exp(-x))
static inline __m256 simd_sigmoid(__m256 x)
{
    const __m256 one = _mm256_set1_ps(1);
    __m256 e = simd_exp(_mm256_xor_ps(x, _mm256_set1_ps(-0.0f)));
    return _mm256_div_ps(one, _mm256_add_ps(one, e));
}

#endif
