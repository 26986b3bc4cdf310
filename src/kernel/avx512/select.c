// Top-k selection with exactly the results of kernel/ref/select.c, ties included, for k <= 16; what
// is larger goes to kernel/avx2/select.c.
//
// Up to 32 numbers are sorted in two registers by a bitonic network (Batcher 1968), whose stages
// are a shuffle, a minimum and a masked maximum. What is sorted are whole numbers in the order of
// the floats, with the last five bits giving way to the place: lower places come first among
// equals. Two numbers that differ in those five bits alone may come out in the wrong order; this is
// seen afterwards, in the floats themselves, and such rare rows go to the AVX2 kernels.
//
// More numbers are filtered first: the maxima of 16 or 32 groups of elements are sorted, and as the
// k largest maxima belong to k elements, nothing below the k-th of them is among the k best.
#include "kernel/avx2/select.h"
#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"

enum { select_max = 16, select_width = 32, select_places = select_width - 1 };

// ---- sorting -----------------------------------------------------------------------------------

// Whole numbers in the same order as floats: negative ones have all bits but the sign turned round.
// Adding 0 makes one zero of the two.
static inline __m512i select_keys(__m512 x)
{
    __m512i bits = _mm512_castps_si512(_mm512_add_ps(x, _mm512_setzero_ps()));
    // bits ^ (sign & 0x7fffffff)
    return _mm512_ternarylogic_epi32(bits, _mm512_srai_epi32(bits, 31),
                                     _mm512_set1_epi32(INT32_MAX), 0x78);
}

// The same backwards.
static inline __m512 select_floats(__m512i keys)
{
    return _mm512_castsi512_ps(
        _mm512_xor_si512(keys, _mm512_srli_epi32(_mm512_srai_epi32(keys, 31), 1)));
}

// Lanes of `large` take the larger of a lane and its partner, the others the smaller.
static inline __m512i sort_stage(__m512i a, __m512i partner, __mmask16 large)
{
    return _mm512_mask_max_epi32(_mm512_min_epi32(a, partner), large, a, partner);
}

static inline __m512i sort_distance1(__m512i a, __mmask16 large)
{
    return sort_stage(a, _mm512_shuffle_epi32(a, (_MM_PERM_ENUM)0xb1), large);
}

static inline __m512i sort_distance2(__m512i a, __mmask16 large)
{
    return sort_stage(a, _mm512_shuffle_epi32(a, (_MM_PERM_ENUM)0x4e), large);
}

static inline __m512i sort_distance4(__m512i a, __mmask16 large)
{
    return sort_stage(a, _mm512_shuffle_i32x4(a, a, 0xb1), large);
}

static inline __m512i sort_distance8(__m512i a, __mmask16 large)
{
    return sort_stage(a, _mm512_shuffle_i32x4(a, a, 0x4e), large);
}

// Sorts what rises and then falls, or falls and then rises. `turn` is 0 for falling order, 0xffff
// for rising.
static inline __m512i sort_bitonic(__m512i a, unsigned turn)
{
    a = sort_distance8(a, (__mmask16)(0x00ff ^ turn));
    a = sort_distance4(a, (__mmask16)(0x0f0f ^ turn));
    a = sort_distance2(a, (__mmask16)(0x3333 ^ turn));
    return sort_distance1(a, (__mmask16)(0x5555 ^ turn));
}

static inline __m512i sort_sixteen(__m512i a, unsigned turn)
{
    a = sort_distance1(a, (__mmask16)(0x9999 ^ turn));
    a = sort_distance2(a, (__mmask16)(0xc3c3 ^ turn));
    a = sort_distance1(a, (__mmask16)(0xa5a5 ^ turn));
    a = sort_distance4(a, (__mmask16)(0xf00f ^ turn));
    a = sort_distance2(a, (__mmask16)(0xcc33 ^ turn));
    a = sort_distance1(a, (__mmask16)(0xaa55 ^ turn));
    return sort_bitonic(a, turn);
}

// ---- the best of up to 32 ----------------------------------------------------------------------

// Places and numbers in falling order; 16 of them, of which the first k are right.
typedef struct select_best {
    __m512i places;
    __m512 scores;
} select_best;

// Keys with a place in the last five bits, the lowest place largest.
SIMD_INLINE __m512i select_pack(__m512 x, __m512i place)
{
    const __m512i bits = _mm512_set1_epi32(select_places);
    // (keys & ~bits) | (bits - place)
    return _mm512_ternarylogic_epi32(select_keys(x), bits, _mm512_sub_epi32(bits, place), 0xba);
}

// The 16 best of two sorted vectors, one falling and one rising. False where one that is left
// behind differs from the last one taken, the k-th, in its last five bits alone.
SIMD_INLINE bool select_merge(__m512i *keys, __m512i falling, __m512i rising, int64_t k)
{
    *keys = sort_bitonic(_mm512_max_epi32(falling, rising), 0);
    __m512i rest = _mm512_min_epi32(falling, rising);
    __m512i last = _mm512_permutexvar_epi32(_mm512_set1_epi32((int32_t)k - 1), *keys);
    last = _mm512_andnot_si512(_mm512_set1_epi32(select_places), last);
    return _mm512_cmpge_epi32_mask(rest, last) == 0;
}

SIMD_INLINE __m512i select_unpack(__m512i keys)
{
    return _mm512_andnot_si512(keys, _mm512_set1_epi32(select_places));
}

// The last five bits may have brought sorted numbers into a wrong order.
SIMD_INLINE bool select_falls(__m512 x)
{
    __m512i bits = _mm512_castps_si512(x);
    __m512 next = _mm512_castsi512_ps(_mm512_alignr_epi32(bits, bits, 1));
    return ((unsigned)_mm512_cmp_ps_mask(x, next, _CMP_LT_OQ) & 0x7fff) == 0;
}

// Of 32 numbers without NaN, -inf behind the n that there are; high is not read for n <= 16. False
// where the last five bits may decide the order of the first k <= 16.
SIMD_INLINE bool select_sort(select_best *best, __m512 low, __m512 high, int64_t n, int64_t k)
{
    const __m512i index = simd_index();
    __m512i keys = sort_sixteen(select_pack(low, index), 0);
    bool sure = true;
    if (n > 16) {
        __m512i place = _mm512_add_epi32(index, _mm512_set1_epi32(16));
        sure = select_merge(&keys, keys, sort_sixteen(select_pack(high, place), 0xffff), k);
    }
    best->places = select_unpack(keys);
    best->scores = _mm512_permutex2var_ps(low, best->places, high);
    return sure && select_falls(best->scores);
}

// The next sixteen of x or the n > 0 that there are; NaN gives way to -inf.
SIMD_INLINE __m512 select_load(const float *x, int64_t n)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    return _mm512_max_ps(_mm512_mask_loadu_ps(none, simd_lanes(n), x), none);
}

// ---- filtering ---------------------------------------------------------------------------------

// The k-th largest of the maxima of 16 groups for k <= 8, else 32; element i belongs to group
// i % 32 or, of 16, to i % 16. What is left over at the end of x belongs to none.
static inline float filter_bound(const float *x, int64_t n, int64_t k)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    __m512 a = none, b = none, c = none, d = none;
    int64_t i = 0;
    for (; i + 64 <= n; i += 64) { // a NaN gives way
        a = _mm512_max_ps(_mm512_loadu_ps(x + i), a);
        b = _mm512_max_ps(_mm512_loadu_ps(x + i + 16), b);
        c = _mm512_max_ps(_mm512_loadu_ps(x + i + 32), c);
        d = _mm512_max_ps(_mm512_loadu_ps(x + i + 48), d);
    }
    for (; i + 16 <= n; i += 16) {
        __m512 t = a;
        a = b;
        b = _mm512_max_ps(_mm512_loadu_ps(x + i), t);
    }
    a = _mm512_max_ps(a, c);
    b = _mm512_max_ps(b, d);
    __m512i keys;
    if (k <= 8)
        keys = sort_sixteen(select_keys(_mm512_max_ps(a, b)), 0);
    else
        keys = sort_bitonic(
            _mm512_max_epi32(sort_sixteen(select_keys(a), 0), sort_sixteen(select_keys(b), 0xffff)),
            0);
    keys = _mm512_permutexvar_epi32(_mm512_set1_epi32((int32_t)k - 1), keys);
    return _mm512_cvtss_f32(select_floats(keys));
}

// The places, in `places` with room for 16 more, of what reaches the bound; more than 32 where
// there is more.
static inline int filter_places(int32_t *places, const float *x, int64_t n, float bound)
{
    const __m512 least = _mm512_set1_ps(bound);
    const __m512i step = _mm512_set1_epi32(16);
    __m512i index = simd_index();
    int count = 0;
    for (int64_t i = 0; i < n && count <= select_width; i += 16) {
        __mmask16 lanes = simd_lanes(n - i);
        __m512 part = _mm512_maskz_loadu_ps(lanes, x + i);
        __mmask16 pass = _mm512_mask_cmp_ps_mask(lanes, part, least, _CMP_GE_OQ);
        _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(pass, index));
        count += __builtin_popcount(pass);
        index = _mm512_add_epi32(index, step);
    }
    return count;
}

static bool filter_topk(select_best *best, const float *x, int64_t n, int64_t k)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    int32_t places[select_width + 32] = {0};
    float bound = filter_bound(x, n, k);
    if (bound == -INFINITY) return false;
    int count = filter_places(places, x, n, bound);
    if (count > select_width) return false;
    const __m512i first = _mm512_loadu_si512(places), second = _mm512_loadu_si512(places + 16);
    __m512 low = _mm512_mask_i32gather_ps(none, simd_lanes(count), first, x, 4), high = none;
    if (count > 16) high = _mm512_mask_i32gather_ps(none, simd_lanes(count - 16), second, x, 4);
    if (!select_sort(best, low, high, count, k)) return false;
    best->places = _mm512_permutex2var_epi32(first, best->places, second);
    return true;
}

// ---- the kernels -------------------------------------------------------------------------------

// The k <= 16 best; false where that takes another way.
SIMD_INLINE bool select_topk(select_best *best, const float *x, int64_t n, int64_t k)
{
    if (n > select_width) return filter_topk(best, x, n, k);
    __m512 low = select_load(x, n), high = _mm512_set1_ps(-INFINITY);
    if (n > 16) high = select_load(x + 16, n - 16);
    return select_sort(best, low, high, n, k);
}

static inline void select_store(int32_t *ids, float *scores, const select_best *best, int64_t k)
{
    _mm512_mask_storeu_epi32(ids, simd_lanes(k), best->places);
    _mm512_mask_storeu_ps(scores, simd_lanes(k), best->scores);
}

void SIMD_NAME(topk)(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k)
{
    select_best best;
    if (k <= select_max && select_topk(&best, x, n, k))
        select_store(ids, scores, &best, k);
    else
        sg_avx2_topk(ids, scores, x, n, k);
}

// ---- products ----------------------------------------------------------------------------------

// Only pairs of ranks with (r + 1)(s + 1) <= k can be among the k best sums (see
// kernel/avx2/select.c), 20 for k = 8. They are numbered row after row, so that of equal sums the
// one asked for has the lowest number. Those of a larger k do no harm: they come after k others.
// Numbers from 20 on stand for the two lowest of the sorted scores.
enum { product_max = 8 };
static const int32_t product_r[32] = {0, 0, 0, 0, 0,  0,  0,  0,  1,  1,  1,  1,  2,  2,  3,  3,
                                      4, 5, 6, 7, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15};
static const int32_t product_s[32] = {0, 1, 2, 3, 4,  5,  6,  7,  0,  1,  2,  3,  0,  1,  0,  1,
                                      0, 0, 0, 0, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15};

// Sums fall along a row and along a column, so where the pairs stand spares most of the sorting.
// Row 0 falls, the lowest and row 1 rise:
static const int32_t product_a[16] = {0, 1, 2, 3, 4, 5, 6, 7, 23, 22, 21, 20, 11, 10, 9, 8};
// the lowest rise, the first of rows 4 to 7 fall, row 2 falls, row 3 rises.
static const int32_t product_b[16] = {31, 30, 29, 28, 27, 26, 25, 24,
                                      16, 17, 18, 19, 12, 13, 15, 14};

SIMD_INLINE __m512 product_sums(__m512i pair, __m512 part0, __m512 part1, __m512i *r, __m512i *s)
{
    const __m512i *ranks0 = (const __m512i *)product_r, *ranks1 = (const __m512i *)product_s;
    *r =
        _mm512_permutex2var_epi32(_mm512_loadu_si512(ranks0), pair, _mm512_loadu_si512(ranks0 + 1));
    *s =
        _mm512_permutex2var_epi32(_mm512_loadu_si512(ranks1), pair, _mm512_loadu_si512(ranks1 + 1));
    __m512 sum = _mm512_add_ps(_mm512_permutexvar_ps(*r, part0), _mm512_permutexvar_ps(*s, part1));
    return _mm512_max_ps(sum, _mm512_set1_ps(-INFINITY)); // NaN from inf - inf counts as -inf
}

SIMD_INLINE __m512i product_keys(const int32_t pairs[16], const select_best *part0,
                                 const select_best *part1)
{
    __m512i pair = _mm512_loadu_si512(pairs), r, s;
    return select_pack(product_sums(pair, part0->scores, part1->scores, &r, &s), pair);
}

// False where that takes another way; k <= 8.
SIMD_INLINE bool product_topk(select_best *best, const float *s0, const float *s1, int64_t n,
                              int64_t k)
{
    select_best part0, part1;
    if (!select_topk(&part0, s0, n, k) || !select_topk(&part1, s1, n, k)) return false;
    __m512i falling = sort_bitonic(product_keys(product_a, &part0, &part1), 0);
    __m512i rising = product_keys(product_b, &part0, &part1);
    rising = sort_distance2(rising, 0xc3cc); // lanes 12 to 15 rise
    rising = sort_distance1(rising, 0xa5aa);
    rising = sort_distance4(rising, 0xf0f0); // all rise
    rising = sort_distance2(rising, 0xcccc);
    rising = sort_distance1(rising, 0xaaaa);
    __m512i keys, r, s;
    bool sure = select_merge(&keys, falling, rising, k);
    best->scores = product_sums(select_unpack(keys), part0.scores, part1.scores, &r, &s);
    __m512i row = _mm512_permutexvar_epi32(r, part0.places);
    best->places = _mm512_add_epi32(_mm512_mullo_epi32(row, _mm512_set1_epi32((int32_t)n)),
                                    _mm512_permutexvar_epi32(s, part1.places));
    return sure && select_falls(best->scores);
}

void SIMD_NAME(product_topk)(int32_t *ids, float *scores, const float *s0, const float *s1,
                             int64_t n, int64_t k)
{
    select_best best;
    if (k <= product_max && product_topk(&best, s0, s1, n, k))
        select_store(ids, scores, &best, k);
    else
        sg_avx2_product_topk(ids, scores, s0, s1, n, k);
}
