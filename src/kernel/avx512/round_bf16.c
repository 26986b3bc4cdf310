// Rounding to bf16 by VCVTNE2PS2BF16, where the processor has it: half the instructions of
// integers. It takes denormals for 0, which is not what these kernels are to give; so pieces that
// have some, or NaN, or infinities, are done anew by the others.
#if defined(__AVX512BF16__)

#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"
#include "kernel/simd/tables.h"

enum {
    round_piece = 1024, // numbers that are looked through before any is done anew
    round_step = 32,    // of two vectors
    round_nan = 0x81,   // classes of numbers, as VFPCLASSPS has them: both kinds of NaN,
    round_infinite = 0x18,
    round_denormal = 0x20
};

SIMD_INLINE __m512i round_two(__m512 a, __m512 b)
{
    return (__m512i)_mm512_cvtne2ps_pbh(b, a);
}

SIMD_INLINE __m512 round_widened(__m256i half)
{
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
}

void sg_avx512_round_to_bf16(sg_bf16 *y, const float *x, int64_t n)
{
    for (int64_t end, i = 0; i < n; i = end) {
        end = i + round_piece < n ? i + round_piece : n;
        const int64_t whole = i + (end - i) / round_step * round_step, first = i;
        __mmask16 odd = 0;
        for (; i < whole; i += round_step) {
            const __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + simd_width);
            odd |= _mm512_fpclass_ps_mask(a, round_nan | round_denormal) |
                   _mm512_fpclass_ps_mask(b, round_nan | round_denormal);
            _mm512_storeu_si512(y + i, round_two(a, b));
        }
        if (odd != 0) i = first;
        SIMD_NAME(to_bf16)(y + i, x + i, end - i);
    }
}

// What is left of a number that is NaN, infinite or rounds to infinity is no number either.
void sg_avx512_round_split_bf16(sg_bf16 *hi, sg_bf16 *lo, const float *x, int64_t n)
{
    for (int64_t end, i = 0; i < n; i = end) {
        end = i + round_piece < n ? i + round_piece : n;
        const int64_t whole = i + (end - i) / round_step * round_step, first = i;
        __mmask16 odd = 0;
        for (; i < whole; i += round_step) {
            const __m512 a = _mm512_loadu_ps(x + i), b = _mm512_loadu_ps(x + i + simd_width);
            const __m512i upper = round_two(a, b);
            const __m512 low_a = _mm512_sub_ps(a, round_widened(_mm512_castsi512_si256(upper)));
            const __m512 low_b =
                _mm512_sub_ps(b, round_widened(_mm512_extracti64x4_epi64(upper, 1)));
            odd |= _mm512_fpclass_ps_mask(low_a, round_nan | round_infinite | round_denormal) |
                   _mm512_fpclass_ps_mask(low_b, round_nan | round_infinite | round_denormal);
            _mm512_storeu_si512(hi + i, upper);
            _mm512_storeu_si512(lo + i, round_two(low_a, low_b));
        }
        if (odd != 0) i = first;
        SIMD_NAME(split_bf16)(hi + i, lo + i, x + i, end - i);
    }
}

#endif
