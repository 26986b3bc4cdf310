// Product top-k of sixteen rows at once, with exactly the results of kernel/ref/select.c: a lane is
// a row and a vector is a rank, so that sorting networks (Batcher 1968) need no shuffles, which are
// half of the time of one row after the other (select.c).
//
// What is sorted are the numbers themselves, with the last five bits giving way to the place, so
// that of equal ones the lower place comes first. Two numbers that differ in those five bits alone
// may come out in the wrong order; this is seen afterwards, in the numbers as they were, and such
// rare rows go one by one, as do those with a number that is not finite.
#include <float.h>

#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

enum { many_rows = 16, many_best = 8, many_width = 32, many_places = many_width - 1 };

// x - x is NaN of an infinity or a NaN, else 0.
SIMD_INLINE __mmask16 many_not_finite(__m512 x)
{
    return _mm512_cmp_ps_mask(_mm512_sub_ps(x, x), _mm512_setzero_ps(), _CMP_NEQ_UQ);
}

// ---- columns -----------------------------------------------------------------------------------

// Four vectors of four numbers in each quarter, transposed within the quarters.
SIMD_INLINE void many_quarters(__m512 v[4])
{
    const __m512d a = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1]));
    const __m512d b = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
    const __m512d c = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
    const __m512d d = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));
    v[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, c));
    v[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, c));
    v[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(b, d));
    v[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(b, d));
}

// Four columns of sixteen rows: lane r of v[j] is x[r][j].
SIMD_INLINE void many_columns(__m512 v[4], const float *x, int64_t ldx)
{
    SIMD_UNROLL
    for (int r = 0; r < 4; r++) {
        __m512 t = _mm512_castps128_ps512(_mm_loadu_ps(x + r * ldx));
        t = _mm512_insertf32x4(t, _mm_loadu_ps(x + (r + 4) * ldx), 1);
        t = _mm512_insertf32x4(t, _mm_loadu_ps(x + (r + 8) * ldx), 2);
        v[r] = _mm512_insertf32x4(t, _mm_loadu_ps(x + (r + 12) * ldx), 3);
    }
    many_quarters(v);
}

// ---- numbers that hold their place --------------------------------------------------------------

// 31 where a number is negative: there the larger bits are the smaller number.
SIMD_INLINE __m512i many_turned(__m512i bits, __m512i other)
{
    // (sign & 31) ^ other
    return _mm512_ternarylogic_epi32(_mm512_srai_epi32(bits, 31), _mm512_set1_epi32(many_places),
                                     other, 0x6a);
}

SIMD_INLINE __m512 many_pack(__m512 x, int place)
{
    const __m512i bits = _mm512_castps_si512(_mm512_add_ps(x, _mm512_setzero_ps())); // one zero
    const __m512i low = many_turned(bits, _mm512_set1_epi32(many_places ^ place));
    // (bits & ~31) | low
    return _mm512_castsi512_ps(
        _mm512_ternarylogic_epi32(bits, _mm512_set1_epi32(many_places), low, 0xba));
}

SIMD_INLINE __m512i many_place(__m512 key)
{
    const __m512i bits = _mm512_castps_si512(key), last = _mm512_set1_epi32(many_places);
    return many_turned(bits, _mm512_xor_si512(_mm512_and_si512(bits, last), last));
}

SIMD_INLINE __m512 many_cut(__m512 key)
{
    return _mm512_castsi512_ps(
        _mm512_andnot_si512(_mm512_set1_epi32(many_places), _mm512_castps_si512(key)));
}

// ---- networks ----------------------------------------------------------------------------------

SIMD_INLINE void many_order(__m512 *v, int i, int j)
{
    const __m512 large = _mm512_max_ps(v[i], v[j]);
    v[j] = _mm512_min_ps(v[i], v[j]);
    v[i] = large;
}

// Eight vectors in falling order.
SIMD_INLINE void many_sort(__m512 v[8])
{
    static const unsigned char pairs[19][2] = {
        {0, 1}, {2, 3}, {4, 5}, {6, 7}, {0, 2}, {1, 3}, {4, 6}, {5, 7}, {1, 2}, {5, 6},
        {0, 4}, {1, 5}, {2, 6}, {3, 7}, {2, 4}, {3, 5}, {1, 2}, {3, 4}, {5, 6}};
#define MANY_PAIR(p) many_order(v, pairs[p][0], pairs[p][1])
    MANY_PAIR(0), MANY_PAIR(1), MANY_PAIR(2), MANY_PAIR(3), MANY_PAIR(4), MANY_PAIR(5);
    MANY_PAIR(6), MANY_PAIR(7), MANY_PAIR(8), MANY_PAIR(9), MANY_PAIR(10), MANY_PAIR(11);
    MANY_PAIR(12), MANY_PAIR(13), MANY_PAIR(14), MANY_PAIR(15), MANY_PAIR(16), MANY_PAIR(17);
    MANY_PAIR(18);
#undef MANY_PAIR
}

// The same of what falls and then rises.
SIMD_INLINE void many_bitonic(__m512 v[8])
{
    SIMD_UNROLL
    for (int i = 0; i < 4; i++)
        many_order(v, i, i + 4);
    SIMD_UNROLL
    for (int i = 0; i < 4; i++)
        many_order(v, i + i / 2 * 2, i + i / 2 * 2 + 2);
    SIMD_UNROLL
    for (int i = 0; i < 4; i++)
        many_order(v, 2 * i, 2 * i + 1);
}

// The best eight of best and the last `count` of eight places of other, both falling; of what is
// left the largest goes to rest. Count: a constant.
SIMD_INLINE void many_merge(__m512 best[8], __m512 *rest, const __m512 *other, int count)
{
    SIMD_UNROLL
    for (int i = 0; i < count; i++) {
        __m512 *b = best + 8 - count + i;
        *rest = _mm512_max_ps(*rest, _mm512_min_ps(*b, other[count - 1 - i]));
        *b = _mm512_max_ps(*b, other[count - 1 - i]);
    }
    many_bitonic(best);
}

// ---- the best of each part ----------------------------------------------------------------------

typedef struct many_part {
    __m512 scores[many_best]; // as they were
    __m512i places[many_best];
} many_part;

// Rows in which the order may be wrong: not falling, or what is left may be as large as the last.
SIMD_INLINE __mmask16 many_doubt(const __m512 scores[8], __m512 last, __m512 rest)
{
    __mmask16 doubt = _mm512_cmp_ps_mask(many_cut(rest), many_cut(last), _CMP_GE_OQ);
    SIMD_UNROLL
    for (int i = 0; i + 1 < many_best; i++)
        doubt |= _mm512_cmp_ps_mask(scores[i], scores[i + 1], _CMP_LT_OQ);
    return doubt;
}

// Eight columns from `column` on of n, a multiple of four; the least number behind the last.
SIMD_INLINE void many_eight(__m512 v[8], const float *x, int64_t ldx, int column, int64_t n,
                            __mmask16 *doubt)
{
    many_columns(v, x + column, ldx);
    if (column + 4 < n)
        many_columns(v + 4, x + column + 4, ldx);
    else
        v[4] = v[5] = v[6] = v[7] = _mm512_set1_ps(-FLT_MAX);
    SIMD_UNROLL
    for (int j = 0; j < 8; j++) {
        *doubt |= many_not_finite(v[j]);
        v[j] = many_pack(v[j], column + j);
    }
    many_sort(v);
}

static inline __mmask16 many_part_of(many_part *part, const float *x, int64_t ldx, int64_t n)
{
    __m512 best[8], more[8], rest = _mm512_set1_ps(-INFINITY);
    __mmask16 doubt = 0;
    many_eight(best, x, ldx, 0, n, &doubt);
    for (int column = 8; column < n; column += 8) {
        many_eight(more, x, ldx, column, n, &doubt);
        many_merge(best, &rest, more, 8);
    }
    const __m512i rows = _mm512_mullo_epi32(simd_index(), _mm512_set1_epi32((int32_t)ldx));
    SIMD_UNROLL
    for (int i = 0; i < many_best; i++) {
        part->places[i] = many_place(best[i]);
        part->scores[i] = _mm512_i32gather_ps(_mm512_add_epi32(rows, part->places[i]), x, 4);
    }
    return doubt | many_doubt(part->scores, best[7], rest);
}

// ---- sums --------------------------------------------------------------------------------------

// Only pairs of ranks with (r + 1)(s + 1) <= 8 can be among the best (kernel/avx2/select.c). They
// are numbered row after row, so that of equal sums the one asked for has the lowest number.
enum { many_pairs = 20 };
static const int32_t many_r[32] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3, 4, 5, 6, 7};
static const int32_t many_s[32] = {0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 0, 1, 0, 1, 0, 0, 0, 0};

// Sums fall along rows of the table of pairs and along its first column.
SIMD_INLINE void many_best_pairs(__m512 v[many_pairs], __m512 *rest)
{
    // Two and two of rows 2 and 3 (12 to 15), then four and four with row 1 (8 to 11).
    const __m512 low = _mm512_min_ps(v[12], v[14]), high = _mm512_max_ps(v[13], v[15]);
    v[12] = _mm512_max_ps(v[12], v[14]);
    v[15] = _mm512_min_ps(v[13], v[15]);
    v[13] = _mm512_max_ps(low, high);
    v[14] = _mm512_min_ps(low, high);
    __m512 few[8] = {v[8], v[9], v[10], v[11], v[15], v[14], v[13], v[12]};
    many_bitonic(few);
    many_merge(v, rest, few, 8);
    many_merge(v, rest, v + 16, 4);
}

// v[rank], each lane its own.
SIMD_INLINE __m512 many_ranked(const __m512 v[8], __mmask16 one, __mmask16 two, __mmask16 four)
{
    __m512 low = _mm512_mask_blend_ps(two, _mm512_mask_blend_ps(one, v[0], v[1]),
                                      _mm512_mask_blend_ps(one, v[2], v[3]));
    __m512 high = _mm512_mask_blend_ps(two, _mm512_mask_blend_ps(one, v[4], v[5]),
                                       _mm512_mask_blend_ps(one, v[6], v[7]));
    return _mm512_mask_blend_ps(four, low, high);
}

// Scores and places at ranks.
SIMD_INLINE void many_at(__m512 *score, __m512i *place, const many_part *part, __m512i rank)
{
    const __mmask16 one = _mm512_test_epi32_mask(rank, _mm512_set1_epi32(1));
    const __mmask16 two = _mm512_test_epi32_mask(rank, _mm512_set1_epi32(2));
    const __mmask16 four = _mm512_test_epi32_mask(rank, _mm512_set1_epi32(4));
    __m512 places[8];
    SIMD_UNROLL
    for (int i = 0; i < 8; i++)
        places[i] = _mm512_castsi512_ps(part->places[i]);
    *score = many_ranked(part->scores, one, two, four);
    *place = _mm512_castps_si512(many_ranked(places, one, two, four));
}

SIMD_INLINE void many_unpack(__m512i *id, __m512 *score, __m512 key, const many_part part[2],
                             int64_t n)
{
    const __m512i *r = (const __m512i *)many_r, *s = (const __m512i *)many_s;
    const __m512i pair = many_place(key);
    __m512 first, last;
    __m512i row, column;
    many_at(&first, &row, part,
            _mm512_permutex2var_epi32(_mm512_loadu_si512(r), pair, _mm512_loadu_si512(r + 1)));
    many_at(&last, &column, part + 1,
            _mm512_permutex2var_epi32(_mm512_loadu_si512(s), pair, _mm512_loadu_si512(s + 1)));
    *score = _mm512_add_ps(first, last);
    *id = _mm512_add_epi32(_mm512_mullo_epi32(row, _mm512_set1_epi32((int32_t)n)), column);
}

// ---- the kernel --------------------------------------------------------------------------------

// Lane r of v[0] to v[7] to y[r].
SIMD_INLINE void many_store(float y[many_rows][many_best], __m512 v[8])
{
    SIMD_UNROLL
    for (int half = 0; half < 2; half++) {
        many_quarters(v + 4 * half);
        SIMD_UNROLL
        for (int r = 0; r < 4; r++) {
            const __m512 t = v[4 * half + r];
            _mm_storeu_ps(y[r] + 4 * half, _mm512_castps512_ps128(t));
            _mm_storeu_ps(y[r + 4] + 4 * half, _mm512_extractf32x4_ps(t, 1));
            _mm_storeu_ps(y[r + 8] + 4 * half, _mm512_extractf32x4_ps(t, 2));
            _mm_storeu_ps(y[r + 12] + 4 * half, _mm512_extractf32x4_ps(t, 3));
        }
    }
}

// Sixteen rows; which of them are in doubt.
static __mmask16 many_product(float ids[many_rows][many_best], float scores[many_rows][many_best],
                              const float *s0, const float *s1, int64_t ldx, int64_t n)
{
    many_part part[2];
    __m512 v[many_pairs], found[8], at[8], rest = _mm512_set1_ps(-INFINITY);
    __mmask16 doubt = many_part_of(part, s0, ldx, n) | many_part_of(part + 1, s1, ldx, n);
    SIMD_UNROLL
    for (int p = 0; p < many_pairs; p++) {
        v[p] = _mm512_add_ps(part[0].scores[many_r[p]], part[1].scores[many_s[p]]);
        doubt |= many_not_finite(v[p]);
        v[p] = many_pack(v[p], p);
    }
    many_best_pairs(v, &rest);
    for (int i = 0; i < many_best; i++) {
        __m512i id;
        many_unpack(&id, &found[i], v[i], part, n);
        at[i] = _mm512_castsi512_ps(id);
    }
    doubt |= many_doubt(found, v[7], rest);
    many_store(ids, at);
    many_store(scores, found);
    return doubt;
}

SIMD_INLINE void many_copy(void *to, const float from[many_best], int64_t k)
{
    _mm256_mask_storeu_ps(to, (__mmask8)((1u << k) - 1), _mm256_loadu_ps(from));
}

static void many_rows_at(int32_t *ids, float *scores, int64_t ldy, const float *s0, const float *s1,
                         int64_t ldx, int64_t n, int64_t k)
{
    float id[many_rows][many_best], score[many_rows][many_best];
    const unsigned doubt = many_product(id, score, s0, s1, ldx, n);
    for (int64_t r = 0; r < many_rows; r++) {
        if (doubt >> r & 1) {
            SIMD_NAME(product_topk)
            (ids + r * ldy, scores + r * ldy, s0 + r * ldx, s1 + r * ldx, n, k);
            continue;
        }
        many_copy(ids + r * ldy, id[r], k);
        many_copy(scores + r * ldy, score[r], k);
    }
}

void SIMD_NAME(product_topk_rows)(int32_t *ids, float *scores, int64_t ldy, const float *s0,
                                  const float *s1, int64_t ldx, int64_t rows, int64_t n, int64_t k)
{
    int64_t r = 0;
    const bool fit = k <= many_best && n >= many_best && n <= many_width && n % 4 == 0 &&
                     ldx < INT32_MAX / many_rows;
    for (; fit && r + many_rows <= rows; r += many_rows)
        many_rows_at(ids + r * ldy, scores + r * ldy, ldy, s0 + r * ldx, s1 + r * ldx, ldx, n, k);
    for (; r < rows; r++)
        SIMD_NAME(product_topk)(ids + r * ldy, scores + r * ldy, s0 + r * ldx, s1 + r * ldx, n, k);
}
