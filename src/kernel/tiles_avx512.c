// Products by AVX512-BF16's dot products. See tiles.h.
//
//     C[i][j] += A[i][p] B[p][j] + A[i][p + 1] B[p + 1][j]        for each two p
//
// 8 x 32 numbers of C lie in sixteen vectors; two rows of B are two vectors, and two numbers of A
// are read into all lanes of one for each row. So 32 columns of B pass by once for all of A, out of
// the second cache, while eight rows of A stay in the first.
#include "kernel/tiles_units.h"

#if defined(SG_AVX512_BF16)

#include <immintrin.h>
#include <string.h>

#include "base/cpu.h"
#include "kernel/panels.h"

enum {
    dots_rows = 8,                 // of C at once
    dots_lanes = 16,               // numbers of a vector
    dots_columns = 2 * dots_lanes, // of C at once
    dots_pair = 2 * SG_PANEL_BLOCK // numbers of two rows of B
};

#define DOTS_INLINE static inline __attribute__((always_inline))

bool sg_tiles_have_avx512(void)
{
    return sg_cpu_detect().avx512_bf16;
}

DOTS_INLINE __m512bh dots_a(const sg_bf16 *a)
{
    int pair;
    memcpy(&pair, a, sizeof pair);
    return (__m512bh)_mm512_set1_epi32(pair);
}

DOTS_INLINE __m512bh dots_b(const sg_bf16 *b)
{
    return (__m512bh)_mm512_loadu_si512(b);
}

typedef __m512 dots_sums[dots_rows][2];

DOTS_INLINE void dots_multiply(dots_sums sum, const sg_bf16 *a, int64_t lda, const sg_bf16 *b,
                               int64_t k)
{
    for (int64_t p = 0; p < k; p += 2) {
        const __m512bh b0 = dots_b(b), b1 = dots_b(b + 2 * dots_lanes);
#pragma GCC unroll 8
        for (int r = 0; r < dots_rows; r++) {
            const __m512bh pair = dots_a(a + r * lda + p);
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], pair, b0);
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], pair, b1);
        }
        b += dots_pair;
    }
}

// The square of C whose first number is (i, j): `rows` rows, columns where the masks say.
typedef struct dots_square {
    int64_t i, j, rows;
    __mmask16 columns[2];
} dots_square;

DOTS_INLINE __mmask16 dots_mask_of(const dots_square *s, int r, int v, bool wanted)
{
    return wanted && r < s->rows ? s->columns[v] : 0;
}

// What the mask leaves out is 0 and is not read.
DOTS_INLINE void dots_begin(dots_sums sum, const sg_tiles_args *g, const dots_square *s)
{
    const float *c = g->c + s->i * g->ldc + s->j;
    const bool reads = g->add && g->chained;
#pragma GCC unroll 8
    for (int r = 0; r < dots_rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++)
            sum[r][v] = _mm512_maskz_loadu_ps(dots_mask_of(s, r, v, reads),
                                              c + r * g->ldc + v * dots_lanes);
}

DOTS_INLINE void dots_end(dots_sums sum, const sg_tiles_args *g, const dots_square *s)
{
    float *c = g->c + s->i * g->ldc + s->j;
    const bool adds = g->add && !g->chained;
#pragma GCC unroll 8
    for (int r = 0; r < dots_rows; r++)
#pragma GCC unroll 2
        for (int v = 0; v < 2; v++) {
            const __mmask16 mask = dots_mask_of(s, r, v, true);
            float *to = c + r * g->ldc + v * dots_lanes;
            __m512 x = sum[r][v];
            if (adds) x = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), x);
            _mm512_mask_storeu_ps(to, mask, x);
        }
}

DOTS_INLINE void dots_of(const sg_tiles_args *g, const dots_square *s, bool split)
{
    const int64_t row = s->i * g->lda;
    const int64_t at = s->j / SG_PANEL_BLOCK * g->b_block + s->j % SG_PANEL_BLOCK * 2;
    dots_sums sum;
    dots_begin(sum, g, s);
    if (split) {
        dots_multiply(sum, g->a_low + row, g->lda, g->b + at, g->k);
        dots_multiply(sum, g->a + row, g->lda, g->b_low + at, g->k);
    }
    dots_multiply(sum, g->a + row, g->lda, g->b + at, g->k);
    dots_end(sum, g, s);
}

// As the compiler knows that nothing is left out, it leaves out masks and branches.
static void dots_whole(const sg_tiles_args *g, int64_t i, int64_t j)
{
    dots_of(g, &(dots_square){i, j, dots_rows, {0xffff, 0xffff}}, false);
}

static __mmask16 dots_mask(int64_t columns)
{
    const unsigned whole = 0xffff;
    return (__mmask16)(columns >= dots_lanes ? whole : columns <= 0 ? 0 : (1u << columns) - 1);
}

static dots_square dots_square_at(const sg_tiles_args *g, int64_t i, int64_t j)
{
    const int64_t rows = g->m - i < dots_rows ? g->m - i : dots_rows;
    return (dots_square){i, j, rows, {dots_mask(g->n - j), dots_mask(g->n - j - dots_lanes)}};
}

static void dots_part(const sg_tiles_args *g, int64_t i, int64_t j)
{
    const dots_square s = dots_square_at(g, i, j);
    dots_of(g, &s, false);
}

static void dots_split(const sg_tiles_args *g, int64_t i, int64_t j)
{
    const dots_square s = dots_square_at(g, i, j);
    dots_of(g, &s, true);
}

void sg_tiles_by_avx512(const sg_tiles_args *g)
{
    for (int64_t j = 0; j < g->n; j += dots_columns)
        for (int64_t i = 0; i < g->m; i += dots_rows)
            if (g->a_low != NULL)
                dots_split(g, i, j);
            else if (g->m - i >= dots_rows && g->n - j >= dots_columns)
                dots_whole(g, i, j);
            else
                dots_part(g, i, j);
}

#else

bool sg_tiles_have_avx512(void)
{
    return false;
}

void sg_tiles_by_avx512(const sg_tiles_args *args)
{
    (void)args;
}

#endif
