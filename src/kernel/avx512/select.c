// Top-k selection with exactly the results of kernel/ref/select.c, ties included, for k <= 16; what
// is larger goes to kernel/avx2/select.c.
//
// Up to 32 numbers are sorted in two registers by a bitonic network (Batcher 1968), whose stages are
// a shuffle, a minimum and a masked maximum. What is sorted are whole numbers in the order of the
// floats, with the last five bits giving way to the place: lower places come first among equals. Two
// numbers that differ in those five bits alone may come out in the wrong order; this is seen
// afterwards, in the floats themselves, and such rare rows go to the AVX2 kernels.
//
// More numbers are filtered first: the maxima of 16 or 32 groups of elements are sorted, and as the
// k largest maxima belong to k elements, nothing below the k-th of them is among the k best.
#include "kernel/avx2/kernels.h"
#include "kernel/avx512/kernels.h"
#include "kernel/avx512/simd.h"

enum { select_max = 16, select_width = 32, select_places = select_width - 1 };

// ---- sorting -----------------------------------------------------------------------------------

// Whole numbers in the same order as floats: negative ones have all bits but the sign turned round.
// Adding 0 makes one zero of the two.
static inline __m512i select_keys(__m512 x)
{
    __m512i bits = _mm512_castps_si512(_mm512_add_ps(x, _mm512_setzero_ps()));
    return _mm512_xor_si512(bits, _mm512_srli_epi32(_mm512_srai_epi32(bits, 31), 1));
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

// Sorts what rises and then falls, or falls and then rises. `turn` is 0 for falling order, 0xffff for
// rising.
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

// Up to 32 numbers without NaN, -inf behind them, and which places hold one.
typedef struct select_numbers {
    __m512 low, high;
    __mmask16 in_low, in_high;
} select_numbers;

// Places and numbers in falling order; 16 of them, of which the first k are right.
typedef struct select_best {
    __m512i places;
    __m512 scores;
} select_best;

// Its own place in the last five bits, the lowest largest; below everything where there is no number.
static inline __m512i select_pack(__m512 x, __mmask16 in, int first)
{
    const __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i place = _mm512_sub_epi32(_mm512_set1_epi32(select_places - first), index);
    __m512i kept = _mm512_andnot_si512(_mm512_set1_epi32(select_places), select_keys(x));
    return _mm512_mask_or_epi32(_mm512_set1_epi32(INT32_MIN), in, kept, place);
}

// False where the last five bits may decide the order of the first k <= 16.
static inline bool select_sort(select_best *best, const select_numbers *x, int64_t k)
{
    __m512i keys = select_pack(x->low, x->in_low, 0);
    bool sure = true;
    if (x->in_high == 0) {
        keys = sort_sixteen(keys, 0);
    } else {
        __m512i falling = sort_sixteen(keys, 0);
        __m512i rising = sort_sixteen(select_pack(x->high, x->in_high, 16), 0xffff);
        keys = sort_bitonic(_mm512_max_epi32(falling, rising), 0);
        // Those left behind must differ from the last one taken in more than five bits.
        __m512i rest = _mm512_min_epi32(falling, rising);
        __m512i last = _mm512_permutexvar_epi32(_mm512_set1_epi32((int32_t)k - 1), keys);
        last = _mm512_andnot_si512(_mm512_set1_epi32(select_places), last);
        sure = _mm512_cmpge_epi32_mask(rest, last) == 0;
    }
    best->places = _mm512_andnot_si512(keys, _mm512_set1_epi32(select_places));
    best->scores = _mm512_permutex2var_ps(x->low, best->places, x->high);
    __m512i bits = _mm512_castps_si512(best->scores);
    __m512 next = _mm512_castsi512_ps(_mm512_alignr_epi32(bits, bits, 1));
    unsigned wrong = _mm512_cmp_ps_mask(best->scores, next, _CMP_LT_OQ);
    return sure && (wrong & 0x7fff) == 0;
}

// The first 32 of x, or the n that there are.
static inline select_numbers select_load(const float *x, int64_t n)
{
    const __m512 none = _mm512_set1_ps(-INFINITY);
    select_numbers r = {.in_low = simd_lanes(n), .in_high = n > 16 ? simd_lanes(n - 16) : 0};
    r.low = _mm512_max_ps(_mm512_mask_loadu_ps(none, r.in_low, x), none); // NaN gives way to -inf
    r.high = none;
    if (n > 16) r.high = _mm512_max_ps(_mm512_mask_loadu_ps(none, r.in_high, x + 16), none);
    return r;
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

// What reaches the bound, at most 32; its places go to `places`, which has room for 16 more. False
// where it is more than 32.
static inline bool filter_numbers(select_numbers *out, int32_t *places, const float *x, int64_t n,
                                  float bound)
{
    const __m512 least = _mm512_set1_ps(bound);
    __m512i index = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i step = _mm512_set1_epi32(16);
    int count = 0;
    for (int64_t i = 0; i < n; i += 16) {
        __mmask16 lanes = simd_lanes(n - i);
        __mmask16 pass =
            _mm512_mask_cmp_ps_mask(lanes, _mm512_maskz_loadu_ps(lanes, x + i), least, _CMP_GE_OQ);
        _mm512_storeu_si512(places + count, _mm512_maskz_compress_epi32(pass, index));
        count += __builtin_popcount(pass);
        if (count > select_width) return false;
        index = _mm512_add_epi32(index, step);
    }
    const __m512 none = _mm512_set1_ps(-INFINITY);
    out->in_low = simd_lanes(count);
    out->in_high = count > 16 ? simd_lanes(count - 16) : 0;
    out->low = _mm512_mask_i32gather_ps(none, out->in_low, _mm512_loadu_si512(places), x, 4);
    out->high = none;
    if (count > 16)
        out->high =
            _mm512_mask_i32gather_ps(none, out->in_high, _mm512_loadu_si512(places + 16), x, 4);
    return true;
}

// ---- the kernels -------------------------------------------------------------------------------

// The k <= 16 best; false where that takes another way.
static inline bool select_topk(select_best *best, const float *x, int64_t n, int64_t k)
{
    if (n <= select_width) {
        select_numbers all = select_load(x, n);
        return select_sort(best, &all, k);
    }
    float bound = filter_bound(x, n, k);
    select_numbers passed;
    int32_t places[select_width + 16];
    if (bound == -INFINITY || !filter_numbers(&passed, places, x, n, bound)) return false;
    if (!select_sort(best, &passed, k)) return false;
    best->places = _mm512_permutex2var_epi32(_mm512_loadu_si512(places), best->places,
                                             _mm512_loadu_si512(places + 16));
    return true;
}

static inline void select_store(int32_t *ids, float *scores, __m512i places, __m512 values,
                                int64_t k)
{
    _mm512_mask_storeu_epi32(ids, simd_lanes(k), places);
    _mm512_mask_storeu_ps(scores, simd_lanes(k), values);
}

void sg_avx512_topk(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k)
{
    select_best best;
    if (k <= select_max && select_topk(&best, x, n, k))
        select_store(ids, scores, best.places, best.scores, k);
    else
        sg_avx2_topk(ids, scores, x, n, k);
}

// Only pairs of ranks with (r + 1)(s + 1) <= k can be among the k best sums (see kernel/avx2/select.c),
// 20 for k = 8. They are laid out row after row, so that the order of places breaks ties as asked.
void sg_avx512_product_topk(int32_t *ids, float *scores, const float *s0, const float *s1,
                            int64_t n, int64_t k)
{
    enum { product_max = 8 };
    const __m512i r_low = _mm512_setr_epi32(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 3, 3);
    const __m512i s_low = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 0, 1, 0, 1);
    const __m512i r_high = _mm512_setr_epi32(4, 5, 6, 7, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8, 8);
    select_best part0, part1, best;
    if (k > product_max || !select_topk(&part0, s0, n, k) || !select_topk(&part1, s1, n, k)) {
        sg_avx2_product_topk(ids, scores, s0, s1, n, k);
        return;
    }
    const __m512i end = _mm512_set1_epi32((int32_t)k);
    const __m512 none = _mm512_set1_ps(-INFINITY);
    select_numbers sums;
    sums.in_low = _mm512_cmplt_epi32_mask(_mm512_max_epi32(r_low, s_low), end);
    sums.in_high = _mm512_cmplt_epi32_mask(r_high, end);
    sums.low = _mm512_add_ps(_mm512_permutexvar_ps(r_low, part0.scores),
                             _mm512_permutexvar_ps(s_low, part1.scores));
    sums.high = _mm512_add_ps(_mm512_permutexvar_ps(r_high, part0.scores),
                              _mm512_broadcastss_ps(_mm512_castps512_ps128(part1.scores)));
    sums.low = _mm512_mask_max_ps(none, sums.in_low, sums.low, none); // NaN from inf - inf is -inf
    sums.high = _mm512_mask_max_ps(none, sums.in_high, sums.high, none);
    if (!select_sort(&best, &sums, k)) {
        sg_avx2_product_topk(ids, scores, s0, s1, n, k);
        return;
    }
    __m512i r = _mm512_permutex2var_epi32(r_low, best.places, r_high);
    __m512i s = _mm512_permutex2var_epi32(s_low, best.places, _mm512_setzero_si512());
    __m512i id = _mm512_mullo_epi32(_mm512_permutexvar_epi32(r, part0.places),
                                    _mm512_set1_epi32((int32_t)n));
    id = _mm512_add_epi32(id, _mm512_permutexvar_epi32(s, part1.places));
    select_store(ids, scores, id, best.scores, k);
}
