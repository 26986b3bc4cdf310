// What the AVX2 and AVX-512 kernels over blocks share before they differ: the scales of a block in
// floats, and the bytes of the larger blocks. Types are constants where these are used, so that
// each becomes a loop of its own. quant_dots.h has what they share behind that.
#ifndef SG_KERNEL_AVX2_QUANT_SCALES_H
#define SG_KERNEL_AVX2_QUANT_SCALES_H

#include <immintrin.h>
#include <stdbool.h>

#include "kernel/quant.h"
#include "kernel/stored.h"

#define QUANT_INLINE static inline __attribute__((always_inline))

// w = a n + b: a and b of each 32 weights of a block, but a of each 16 of Q6_K; b only where
// quant_has_offset, and a[1] in blocks of 32 (quant_offset).
typedef struct quant_scales {
    float a[16], b[8];
} quant_scales;

QUANT_INLINE bool quant_has_offset(sg_weights type)
{
    return type == SG_WEIGHTS_Q4_1 || type == SG_WEIGHTS_Q5_1 || type == SG_WEIGHTS_Q4_K ||
           type == SG_WEIGHTS_Q5_K;
}

QUANT_INLINE bool quant_is_super(sg_weights type)
{
    return type == SG_WEIGHTS_Q4_K || type == SG_WEIGHTS_Q5_K || type == SG_WEIGHTS_Q6_K;
}

QUANT_INLINE int quant_bytes(sg_weights type)
{
    switch (type) {
    case SG_WEIGHTS_Q8_0:
        return SG_Q8_0_BYTES;
    case SG_WEIGHTS_Q4_0:
        return SG_Q4_0_BYTES;
    case SG_WEIGHTS_Q4_1:
        return SG_Q4_1_BYTES;
    case SG_WEIGHTS_Q5_0:
        return SG_Q5_0_BYTES;
    case SG_WEIGHTS_Q5_1:
        return SG_Q5_1_BYTES;
    case SG_WEIGHTS_Q4_K:
        return SG_Q4_K_BYTES;
    case SG_WEIGHTS_Q5_K:
        return SG_Q5_K_BYTES;
    case SG_WEIGHTS_Q6_K:
        return SG_Q6_K_BYTES;
    default:
        return SG_MXFP4_BYTES;
    }
}

// The lines in which a block ends that will be read soon. Left alone, the processor has to find out
// anew in every row and page where the reading goes on, which costs a third of the rate.
QUANT_INLINE void quant_prefetch(const unsigned char *block, sg_weights type)
{
    for (int at = 63; at < quant_bytes(type); at += 64)
        _mm_prefetch((const char *)block + at, _MM_HINT_T0);
    if (quant_bytes(type) % 64 != 0)
        _mm_prefetch((const char *)block + quant_bytes(type) - 1, _MM_HINT_T0);
}

QUANT_INLINE float quant_half(const unsigned char *at)
{
    return _cvtsh_ss((unsigned short)(at[0] | at[1] << 8));
}

QUANT_INLINE __m256 quant_bytes_to_floats(uint64_t eight)
{
    return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128((long long)eight)));
}

// sg_quant_factors four bytes at a time, times their scales; b = -(e t), so that adding it rounds
// as subtracting e t does.
QUANT_INLINE void quant_factors(quant_scales *s, const unsigned char *block)
{
    uint32_t low, high, rest;
    memcpy(&low, block + 4, 4);
    memcpy(&high, block + 8, 4);
    memcpy(&rest, block + 12, 4);
    const uint64_t factors =
        (low & 0x3f3f3f3fu) | (uint64_t)((rest & 0x0f0f0f0fu) | (low >> 2 & 0x30303030u)) << 32;
    const uint64_t offsets =
        (high & 0x3f3f3f3fu) | (uint64_t)((rest >> 4 & 0x0f0f0f0fu) | (high >> 2 & 0x30303030u))
                                   << 32;
    const __m256 d = _mm256_set1_ps(quant_half(block)), e = _mm256_set1_ps(quant_half(block + 2));
    const __m256 sign = _mm256_set1_ps(-0.0f);
    _mm256_storeu_ps(s->a, _mm256_mul_ps(d, quant_bytes_to_floats(factors)));
    _mm256_storeu_ps(s->b, _mm256_xor_ps(sign, _mm256_mul_ps(e, quant_bytes_to_floats(offsets))));
}

QUANT_INLINE void quant_prepare(quant_scales *s, sg_weights type, const unsigned char *block,
                                const unsigned char *exponent)
{
    if (type == SG_WEIGHTS_MXFP4) {
        s->a[0] = sg_quant_power(*exponent);
    } else if (type == SG_WEIGHTS_Q6_K) {
        const __m256 d = _mm256_set1_ps(quant_half(block + 208));
        const __m128i factors = _mm_loadu_si128((const __m128i *)(block + 192));
        const __m256i low = _mm256_cvtepi8_epi32(factors);
        const __m256i high = _mm256_cvtepi8_epi32(_mm_srli_si128(factors, 8));
        _mm256_storeu_ps(s->a, _mm256_mul_ps(d, _mm256_cvtepi32_ps(low)));
        _mm256_storeu_ps(s->a + 8, _mm256_mul_ps(d, _mm256_cvtepi32_ps(high)));
    } else if (quant_is_super(type)) {
        quant_factors(s, block);
    } else {
        // Four halves, of which one or two are scales; the rest of the block that is read as such
        // does not matter. They go through memory: loads spread them over a register for nothing,
        // while the one port that moves lanes has the weights to do. The compiler must not know
        // better.
        const __m128i halves = _mm_loadl_epi64((const __m128i *)block);
        _mm_storeu_ps(s->a, _mm_cvtph_ps(halves));
        __asm__("" : "+m"(*s));
    }
}

QUANT_INLINE float quant_offset(sg_weights type, const quant_scales *s, int g)
{
    return !quant_has_offset(type) ? 0 : quant_is_super(type) ? s->b[g] : s->a[1];
}

// The 32 bytes of nibbles in which Q4_K, Q5_K and Q6_K have weights 32 g to 32 g + 31, shifted so
// that these are the low ones.
QUANT_INLINE __m256i quant_super_nibbles(sg_weights type, const unsigned char *block, int g)
{
    const bool six = type == SG_WEIGHTS_Q6_K;
    const unsigned char *q = block + (six ? 0 : type == SG_WEIGHTS_Q5_K ? 48 : 16);
    q += six ? 64 * (g / 4) + 32 * (g % 2) : 32 * (g / 2);
    const bool high = six ? g % 4 >= 2 : g % 2 == 1;
    __m256i bytes = _mm256_loadu_si256((const __m256i *)q);
    if (high) bytes = _mm256_srli_epi16(bytes, 4);
    return _mm256_and_si256(bytes, _mm256_set1_epi8(15));
}

// The bits above the nibbles of Q5_K and Q6_K, in their place.
QUANT_INLINE __m256i quant_super_bits(sg_weights type, const unsigned char *block, int g)
{
    if (type == SG_WEIGHTS_Q5_K) {
        const __m256i h = _mm256_loadu_si256((const __m256i *)(block + 16));
        const __m256i bit = _mm256_set1_epi8((char)(1 << g));
        const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(h, bit), bit);
        return _mm256_and_si256(set, _mm256_set1_epi8(16));
    }
    const __m256i h = _mm256_loadu_si256((const __m256i *)(block + 128 + 32 * (g / 4)));
    const __m256i pair = _mm256_and_si256(_mm256_srli_epi16(h, 2 * (g % 4)), _mm256_set1_epi8(3));
    return _mm256_slli_epi16(pair, 4);
}

#endif
