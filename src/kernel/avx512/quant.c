// Weights in blocks, as kernel/avx2/quant.c has them, 32 in two registers. Four-bit weights are
// looked up: a permutation of the sixteen numbers that a block can hold takes the place of
// converting, scaling and shifting each of them.
#include "kernel/avx2/quant_scales.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

// Weights of 32 bytes n: a n + b.
QUANT_INLINE void quant_widen(__m512 w[2], __m256i bytes, float a0, float a1, float b, bool offset)
{
    const __m512i low = _mm512_cvtepi8_epi32(_mm256_castsi256_si128(bytes));
    const __m512i high = _mm512_cvtepi8_epi32(_mm256_extracti128_si256(bytes, 1));
    w[0] = _mm512_mul_ps(_mm512_cvtepi32_ps(low), _mm512_set1_ps(a0));
    w[1] = _mm512_mul_ps(_mm512_cvtepi32_ps(high), _mm512_set1_ps(a1));
    if (!offset) return;
    w[0] = _mm512_add_ps(w[0], _mm512_set1_ps(b));
    w[1] = _mm512_add_ps(w[1], _mm512_set1_ps(b));
}

// What the sixteen nibbles stand for.
QUANT_INLINE __m512 quant_lookup(sg_weights type, float a, float b)
{
    const __m512 fp4 =
        _mm512_setr_ps(0, 0.5f, 1, 1.5f, 2, 3, 4, 6, 0, -0.5f, -1, -1.5f, -2, -3, -4, -6);
    __m512 n = type == SG_WEIGHTS_MXFP4 ? fp4 : _mm512_cvtepi32_ps(simd_index());
    if (type == SG_WEIGHTS_Q4_0) n = _mm512_sub_ps(n, _mm512_set1_ps(8));
    n = _mm512_mul_ps(n, _mm512_set1_ps(a));
    return quant_has_offset(type) ? _mm512_add_ps(n, _mm512_set1_ps(b)) : n;
}

// Sixteen bytes whose nibbles are weights, in the order of the type; a permutation reads the lowest
// four bits of a lane.
QUANT_INLINE void quant_four(__m512 w[2], sg_weights type, const unsigned char *q, __m512 lookup)
{
    const __m128i bytes = _mm_loadu_si128((const __m128i *)q);
    __m512i low = _mm512_cvtepu8_epi32(bytes), high = _mm512_srli_epi32(low, 4);
    if (type == SG_WEIGHTS_MXFP4) { // each byte is two neighbours
        const __m512i shift = _mm512_set1_epi64(INT64_C(4) << 32);
        low = _mm512_srlv_epi32(_mm512_cvtepu8_epi32(_mm_unpacklo_epi8(bytes, bytes)), shift);
        high = _mm512_srlv_epi32(_mm512_cvtepu8_epi32(_mm_unpackhi_epi8(bytes, bytes)), shift);
    }
    w[0] = _mm512_permutexvar_ps(low, lookup);
    w[1] = _mm512_permutexvar_ps(high, lookup);
}

// Sixteen bytes of nibbles with fifth bits, less 16 where there is no offset.
QUANT_INLINE void quant_five(__m512 w[2], sg_weights type, const unsigned char *q,
                             const unsigned char *h, float a, float b)
{
    const bool offset = quant_has_offset(type);
    const __m512i bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)q));
    const __m512i nibble = _mm512_set1_epi32(15), sixteen = _mm512_set1_epi32(16);
    uint32_t bits;
    memcpy(&bits, h, 4);
    const __mmask16 first = _cvtu32_mask16(bits & 0xffff), last = _cvtu32_mask16(bits >> 16);
    __m512i low = _mm512_and_si512(bytes, nibble), high = _mm512_srli_epi32(bytes, 4);
    low = _mm512_mask_or_epi32(low, first, low, sixteen);
    high = _mm512_mask_or_epi32(high, last, high, sixteen);
    if (!offset) {
        low = _mm512_sub_epi32(low, sixteen);
        high = _mm512_sub_epi32(high, sixteen);
    }
    w[0] = _mm512_mul_ps(_mm512_cvtepi32_ps(low), _mm512_set1_ps(a));
    w[1] = _mm512_mul_ps(_mm512_cvtepi32_ps(high), _mm512_set1_ps(a));
    if (!offset) return;
    w[0] = _mm512_add_ps(w[0], _mm512_set1_ps(b));
    w[1] = _mm512_add_ps(w[1], _mm512_set1_ps(b));
}

QUANT_INLINE void quant_k4(__m512 w[2], const unsigned char *block, int g, __m512 lookup)
{
    const __m128i *q = (const __m128i *)(block + 16 + 32 * (g / 2));
    SIMD_UNROLL
    for (int i = 0; i < 2; i++) {
        __m512i lanes = _mm512_cvtepu8_epi32(_mm_loadu_si128(q + i));
        if (g % 2 == 1) lanes = _mm512_srli_epi32(lanes, 4);
        w[i] = _mm512_permutexvar_ps(lanes, lookup);
    }
}

// Weights 32 g to 32 g + 31.
QUANT_INLINE void quant_weights(__m512 w[2], sg_weights type, const unsigned char *block,
                                const quant_scales *s, int g)
{
    const bool offset = quant_has_offset(type);
    const float a = s->a[g], b = quant_offset(type, s, g);
    __m256i bytes;
    switch (type) {
    case SG_WEIGHTS_Q8_0:
        bytes = _mm256_loadu_si256((const __m256i *)(block + 2));
        quant_widen(w, bytes, a, a, b, false);
        return;
    case SG_WEIGHTS_Q5_0:
        quant_five(w, type, block + 6, block + 2, a, b);
        return;
    case SG_WEIGHTS_Q5_1:
        quant_five(w, type, block + 8, block + 4, a, b);
        return;
    case SG_WEIGHTS_Q4_K:
        quant_k4(w, block, g, quant_lookup(type, a, b));
        return;
    case SG_WEIGHTS_Q5_K:
        bytes =
            _mm256_or_si256(quant_super_nibbles(type, block, g), quant_super_bits(type, block, g));
        quant_widen(w, bytes, a, a, b, true);
        return;
    case SG_WEIGHTS_Q6_K:
        bytes =
            _mm256_or_si256(quant_super_nibbles(type, block, g), quant_super_bits(type, block, g));
        bytes = _mm256_sub_epi8(bytes, _mm256_set1_epi8(32));
        quant_widen(w, bytes, s->a[2 * g], s->a[2 * g + 1], 0, false);
        return;
    default:
        quant_four(w, type,
                   block + (offset                    ? 4
                            : type == SG_WEIGHTS_Q4_0 ? 2
                                                      : 0),
                   quant_lookup(type, a, b));
    }
}

// ---- one by one -------------------------------------------------------------------------------

QUANT_INLINE void quant_from(float *y, sg_weights type, const unsigned char *block,
                             const unsigned char *exponent, int64_t n)
{
    const int groups = quant_is_super(type) ? 8 : 1;
    quant_scales s;
    __m512 w[2];
    for (int64_t i = 0; i < n; i += 32 * groups, block += quant_bytes(type)) {
        quant_prepare(&s, type, block, exponent);
        if (type == SG_WEIGHTS_MXFP4) exponent++;
        SIMD_UNROLL
        for (int g = 0; g < groups; g++) {
            quant_weights(w, type, block, &s, g);
            _mm512_storeu_ps(y + i + 32 * g, w[0]);
            _mm512_storeu_ps(y + i + 32 * g + 16, w[1]);
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
    __m512 sum[16], w[2];
    quant_scales s[4];
    SIMD_UNROLL
    for (int i = 0; i < rows * tokens; i++)
        sum[i] = _mm512_setzero_ps();
    for (int64_t b = 0; b < d / (32 * groups); b++) {
        SIMD_UNROLL
        for (int r = 0; r < rows; r++) {
            quant_prefetch(next[r] + b * quant_bytes(type), type);
            quant_prepare(&s[r], type, row[r] + b * quant_bytes(type), exponent[r] + b);
        }
        SIMD_UNROLL
        for (int g = 0; g < groups; g++) {
            const float *part = x + (b * groups + g) * 32;
            SIMD_UNROLL
            for (int r = 0; r < rows; r++) {
                quant_weights(w, type, row[r] + b * quant_bytes(type), &s[r], g);
                SIMD_UNROLL
                for (int t = 0; t < tokens; t++) {
                    const float *xt = part + t * ldx;
                    const int i = r * tokens + t;
                    sum[i] = _mm512_fmadd_ps(w[0], _mm512_loadu_ps(xt), sum[i]);
                    sum[i] = _mm512_fmadd_ps(w[1], _mm512_loadu_ps(xt + 16), sum[i]);
                }
            }
        }
    }
    SIMD_UNROLL
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < tokens; t++)
            y[t * ldy + r] = simd_sum(sum[r * tokens + t]);
}

enum { quant_batch_rows = 4 }; // that fit in the registers with four vectors

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
