// Weights in blocks: each 32 become bytes, bytes floats, and these the weights, in registers. What
// comes out has the bits of the definition; products differ in the order of their sums alone.
#include "kernel/simd/kernels.h"
#include "kernel/avx2/quant_scales.h"
#include "kernel/simd/simd.h"

// Sixteen bytes of nibbles: the low ones, then the high ones.
QUANT_INLINE __m256i quant_nibbles(const unsigned char *q)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)q);
    const __m256i both = _mm256_set_m128i(_mm_srli_epi16(bytes, 4), bytes);
    return _mm256_and_si256(both, _mm256_set1_epi8(15));
}

// 16 in the bytes whose bit is set.
QUANT_INLINE __m256i quant_fifth(const unsigned char *h)
{
    uint32_t bits;
    memcpy(&bits, h, 4);
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                            2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)bits), spread);
    const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
    return _mm256_and_si256(set, _mm256_set1_epi8(16));
}

// The nibbles of MXFP4, in their order, as twice what they stand for.
QUANT_INLINE __m256i quant_fp4(const unsigned char *q)
{
    const __m128i twice = _mm_setr_epi8(0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12);
    const __m128i bytes = _mm_loadu_si128((const __m128i *)q), mask = _mm_set1_epi8(15);
    const __m128i even = _mm_shuffle_epi8(twice, _mm_and_si128(bytes, mask));
    const __m128i odd = _mm_shuffle_epi8(twice, _mm_and_si128(_mm_srli_epi16(bytes, 4), mask));
    return _mm256_set_m128i(_mm_unpackhi_epi8(even, odd), _mm_unpacklo_epi8(even, odd));
}

// The whole numbers n of weights 32 g to 32 g + 31.
QUANT_INLINE __m256i quant_numbers(sg_weights type, const unsigned char *block, int g)
{
    switch (type) {
    case SG_WEIGHTS_Q8_0:
        return _mm256_loadu_si256((const __m256i *)(block + 2));
    case SG_WEIGHTS_Q4_0:
        return _mm256_sub_epi8(quant_nibbles(block + 2), _mm256_set1_epi8(8));
    case SG_WEIGHTS_Q4_1:
        return quant_nibbles(block + 4);
    case SG_WEIGHTS_Q5_0:
        return _mm256_sub_epi8(_mm256_or_si256(quant_nibbles(block + 6), quant_fifth(block + 2)),
                               _mm256_set1_epi8(16));
    case SG_WEIGHTS_Q5_1:
        return _mm256_or_si256(quant_nibbles(block + 8), quant_fifth(block + 4));
    case SG_WEIGHTS_Q4_K:
        return quant_super_nibbles(type, block, g);
    case SG_WEIGHTS_Q5_K:
        return _mm256_or_si256(quant_super_nibbles(type, block, g),
                               quant_super_bits(type, block, g));
    case SG_WEIGHTS_Q6_K:
        return _mm256_sub_epi8(
            _mm256_or_si256(quant_super_nibbles(type, block, g), quant_super_bits(type, block, g)),
            _mm256_set1_epi8(32));
    default:
        return quant_fp4(block);
    }
}

// Weights 32 g to 32 g + 31.
QUANT_INLINE void quant_weights(__m256 w[4], sg_weights type, const unsigned char *block,
                                const quant_scales *s, int g)
{
    const __m256i numbers = quant_numbers(type, block, g);
    const __m128i half[2] = {_mm256_castsi256_si128(numbers), _mm256_extracti128_si256(numbers, 1)};
    SIMD_UNROLL
    for (int i = 0; i < 4; i++) {
        const __m128i eight = i % 2 == 0 ? half[i / 2] : _mm_srli_si128(half[i / 2], 8);
        w[i] = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight));
        if (type == SG_WEIGHTS_MXFP4) // half of a whole number, exact; so 2^-127 stays exact too
            w[i] = _mm256_mul_ps(w[i], _mm256_set1_ps(0.5f));
        const float a = type == SG_WEIGHTS_Q6_K ? s->a[2 * g + i / 2] : s->a[g];
        w[i] = _mm256_mul_ps(w[i], _mm256_set1_ps(a));
        if (quant_has_offset(type))
            w[i] = _mm256_add_ps(w[i], _mm256_set1_ps(quant_offset(type, s, g)));
    }
}

// ---- one by one -------------------------------------------------------------------------------

QUANT_INLINE void quant_from(float *y, sg_weights type, const unsigned char *block,
                             const unsigned char *exponent, int64_t n)
{
    const int groups = quant_is_super(type) ? 8 : 1;
    quant_scales s;
    __m256 w[4];
    for (int64_t i = 0; i < n; i += 32 * groups, block += quant_bytes(type)) {
        quant_prepare(&s, type, block, exponent);
        if (type == SG_WEIGHTS_MXFP4) exponent++;
        for (int g = 0; g < groups; g++) {
            quant_weights(w, type, block, &s, g);
            SIMD_UNROLL
            for (int v = 0; v < 4; v++)
                _mm256_storeu_ps(y + i + 32 * g + 8 * v, w[v]);
        }
    }
}

// ---- products ---------------------------------------------------------------------------------

// y[t][r] = x_t . row r, of `rows` rows and `tokens` vectors, constants where it is used. Each
// product is summed alike whatever they are. The rows `next` will be read soon.
QUANT_INLINE void quant_tile(float *y, int64_t ldy, const float *x, int64_t ldx,
                             const unsigned char *const row[4],
                             const unsigned char *const exponent[4],
                             const unsigned char *const next[4], int rows, int tokens,
                             sg_weights type, int64_t d)
{
    const int groups = quant_is_super(type) ? 8 : 1;
    __m256 sum[8], w[4];
    quant_scales s[4];
    SIMD_UNROLL
    for (int i = 0; i < rows * tokens; i++)
        sum[i] = _mm256_setzero_ps();
    for (int64_t b = 0; b < d / (32 * groups); b++) {
        SIMD_UNROLL
        for (int r = 0; r < rows; r++) {
            quant_prefetch(next[r] + b * quant_bytes(type), type);
            quant_prepare(&s[r], type, row[r] + b * quant_bytes(type), exponent[r] + b);
        }
        for (int g = 0; g < groups; g++) {
            const float *part = x + (b * groups + g) * 32;
            SIMD_UNROLL
            for (int r = 0; r < rows; r++) {
                quant_weights(w, type, row[r] + b * quant_bytes(type), &s[r], g);
                SIMD_UNROLL
                for (int t = 0; t < tokens; t++) {
                    const float *xt = part + t * ldx;
                    const int i = r * tokens + t;
                    SIMD_UNROLL
                    for (int v = 0; v < 4; v++)
                        sum[i] = _mm256_fmadd_ps(w[v], _mm256_loadu_ps(xt + 8 * v), sum[i]);
                }
            }
        }
    }
    SIMD_UNROLL
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < tokens; t++)
            y[t * ldy + r] = simd_sum(sum[r * tokens + t]);
}

enum { quant_batch_rows = 2 }; // that fit in the registers with four vectors

#include "kernel/avx2/quant_dots.h"

void SIMD_NAME(from_blocks)(float *y, sg_weights type, const void *blocks, const void *scales,
                            int64_t n)
{
#define QUANT_FROM(kind) quant_from(y, kind, blocks, scales, n)
    QUANT_EACH_TYPE(QUANT_FROM)
}

void SIMD_NAME(dots_blocks)(float *y, int64_t ldy, const float *x, int64_t ldx, int64_t m,
                            sg_weights type, const void *table, const void *scales,
                            const int32_t *rows, int64_t n, int64_t d)
{
#define QUANT_DOTS(kind) quant_dots(y, ldy, x, ldx, m, kind, table, scales, rows, n, d)
    QUANT_EACH_TYPE(QUANT_DOTS)
}

void SIMD_NAME(sum_blocks)(float *y, const float *z, sg_weights type, const void *table,
                           const void *scales, const int32_t *rows, int64_t count, int64_t d)
{
#define QUANT_SUM(kind) quant_sum(y, z, kind, table, scales, rows, count, d)
    QUANT_EACH_TYPE(QUANT_SUM)
}
