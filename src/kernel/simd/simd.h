// Kernels written once for vectors of any width. A file of this folder is compiled once for each
// table: with SIMD_AVX2, SIMD_AVX512 or SIMD_NEON defined, which chooses the lanes.h that says what
// a vector is there. What is made of its operations alone stands here.
//
// lanes.h gives, besides SIMD_NAME(kernel), the name of a kernel of that table:
//   simd_vec, simd_width         a vector, and how many floats it holds
//   simd_registers               vectors that fit in the registers
//   simd_set, simd_zero          one number in all lanes
//   simd_loadu, simd_storeu      a whole vector, at any address, so that results cannot depend on
//                                where an array lies
//   simd_load, simd_store        the same, or the `left` > 0 numbers that remain: zeros are loaded
//                                for the others, and nothing beyond the end of an array is touched
//   simd_add_left, simd_max_left(s, v, left)  s and v joined in the first `left` lanes, s elsewhere
//   simd_add, _sub, _mul, _div, _sqrt, _abs, _negate
//   simd_min, simd_max           where b is NaN they give NaN; where a is, either
//   simd_fma(a, b, c)            a b + c, rounded once; simd_fnma: c - a b; simd_fms: a b - c
//   simd_round                   to the nearest whole number, of two as near the even one
//   simd_sum, simd_largest       of all lanes; the sum by halves: the upper half is added to the
//                                lower one until one number is left
//   simd_by_sign(x, below, above)     below where the sign of x is set, -0 included, else above
//   simd_if_greater(v, a, b)     v where a > b, else 0
//   simd_if_same(v, a, b)        v where a = b or one of them is NaN, else 0
//   simd_unzip, simd_zip         two vectors: their numbers at even and at odd places, and back
//   simd_times_power(e, n)       e 2^n, rounded where that is no normal number, n whole, |n| <= 150
//   simd_low_count(x)            n = x / ln 2 as a whole number, in a form of its own; of it
//   simd_low_number, _power      n itself, and 2^n, 0 where n is -127
//   simd_load_bf16, _f16, _int8(p, left), simd_store_bf16(p, v, left)   other types, widened
//   simd_store_bf16_two(p, a, b)   two whole vectors behind each other
//   simd_as_bf16(v)              rounded to bf16, as floats; what a NaN gives is not said
//   simd_pair_bf16(y, even, odd)   y[2j] = even[j], y[2j + 1] = odd[j] for simd_width numbers
#ifndef SG_KERNEL_SIMD_SIMD_H
#define SG_KERNEL_SIMD_SIMD_H

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "kernel/bf16.h"

// Before a loop over registers: gcc at -O2 leaves such a loop standing, and an array that is
// indexed by it then lives in memory instead of registers (2.5 times slower where it was measured).
// clang unrolls them unasked.
#if defined(__clang__)
#define SIMD_UNROLL
#else
#define SIMD_UNROLL _Pragma("GCC unroll 16")
#endif

// For functions whose parameters must be constants once they are inlined: at -O2 gcc may keep one
// copy of a large function instead, which decides anew for each vector.
#define SIMD_INLINE static inline __attribute__((always_inline))

// Into the second cache: the first one can wait for a dozen lines at a time only, which the loads
// need themselves (docs/SPEED.md).
static inline void simd_prefetch(const void *at)
{
    __builtin_prefetch(at, 0, 2);
}

#if defined(SIMD_AVX2)
#include "kernel/avx2/lanes.h"
#elif defined(SIMD_AVX512)
#include "kernel/avx512/lanes.h"
#elif defined(SIMD_NEON)
#include "kernel/neon/lanes.h"
#else
#error "expected SIMD_AVX2, SIMD_AVX512 or SIMD_NEON to be defined"
#endif

static inline simd_vec simd_clamp(simd_vec x, float low, float high) // NaN passes
{
    return simd_max(simd_set(low), simd_min(simd_set(high), x));
}

// exp(r) - 1 = r + r^2 q(r) with q of degree 4 (a minimax fit on |r| <= ln(2)/2, error 0.05 ulp).
static inline simd_vec simd_exp_less_one(simd_vec r)
{
    simd_vec q = simd_set(0x1.6a23cep-10f);
    q = simd_fma(q, r, simd_set(0x1.123a2p-7f));
    q = simd_fma(q, r, simd_set(0x1.5558f2p-5f));
    q = simd_fma(q, r, simd_set(0x1.555492p-3f));
    q = simd_fma(q, r, simd_set(0x1.fffffcp-2f));
    return simd_fma(q, simd_mul(r, r), r);
}

// x - n ln 2 in two steps: the first product is exact, as its factor has 15 bits.
static inline simd_vec simd_exp_rest(simd_vec x, simd_vec n)
{
    return simd_fnma(n, simd_set(0x1.7f7d1cp-20f), simd_fnma(n, simd_set(0x1.62e4p-1f), x));
}

// exp(x) within 2 ulp, for any x: 2^n exp(r), x = n ln 2 + r. Results below the smallest normal
// number come out rounded and those above the largest as infinity; below -104 everything is 0,
// -infinity included.
static inline simd_vec simd_exp(simd_vec x)
{
    x = simd_clamp(x, -104.0f, 89.0f);
    simd_vec n = simd_round(simd_mul(x, simd_set(0x1.715476p+0f)));
    simd_vec e = simd_add(simd_exp_less_one(simd_exp_rest(x, n)), simd_set(1));
    return simd_times_power(e, n);
}

// The same for x up to 88, a quarter faster: results below 2^-126.5 are 0. For softmax, where the
// largest x is 0 and such results are nothing beside 1.
static inline simd_vec simd_exp_low(simd_vec x)
{
    x = simd_max(simd_set(-88.0f), x); // NaN passes
    const simd_vec n = simd_low_count(x), power = simd_low_power(n);
    simd_vec e = simd_exp_less_one(simd_exp_rest(x, simd_low_number(n)));
    return simd_fma(e, power, power);
}

// 1 / (1 + exp(-x))
static inline simd_vec simd_sigmoid(simd_vec x)
{
    const simd_vec one = simd_set(1);
    return simd_div(one, simd_add(one, simd_exp(simd_negate(x))));
}

#endif
