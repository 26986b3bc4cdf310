// Top-k selection with exactly the results of kernel/ref/select.c, ties included, in three ways.
//
// Up to 64 numbers are ranked: how many come before each is counted with compares alone, and the
// ranks say where each belongs. No branch depends on the data, which is what makes it fast.
//
// More are filtered first, for k <= 32: the maxima of 16 or 64 groups of elements are ranked, and
// as the k largest maxima belong to k elements, nothing below the k-th of them is among the k best.
// What is left, about 1.4 k elements of random numbers, is ranked.
//
// Otherwise the k-th largest is found by halving the range of floats, counting at each step how
// many elements reach the middle: two instructions for eight of them. What reaches it is taken in
// order of index, of those equal to it only as many as there is room for, and sorted: up to 64 by
// ranking, more by a radix sort, which keeps the order of equal ones. NaN reaches nothing; where
// fewer than k elements are above -inf, the plain version decides which of the -inf ones stand
// there.
#include <float.h>
#include <string.h>

#include "kernel/simd/kernels.h"
#include "kernel/simd/simd.h"
#include "kernel/ref/ref.h"

// ---- ranking -----------------------------------------------------------------------------------

enum { rank_max = 64 };

// Whole numbers in the same order as floats: negative ones have all bits but the sign turned round.
// Adding 0 makes one zero of the two.
static inline __m256i rank_keys(__m256 x)
{
    __m256i bits = _mm256_castps_si256(_mm256_add_ps(x, _mm256_setzero_ps()));
    return _mm256_xor_si256(bits, _mm256_srli_epi32(_mm256_srai_epi32(bits, 31), 1));
}

// The ranks of the keys in `vectors` <= 4 vectors (a constant where it is used) from `first` on,
// among all n. Before a key come the larger ones, and of the equal ones those with a lower index:
// an earlier key counts where it is > key - 1, a later one where it is > key.
static inline void rank_group(int32_t *order, const int32_t *keys, int64_t n, int64_t first,
                              int vectors)
{
    // From 7 - j on: -1 in the lanes past j.
    static const int32_t past[15] = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1};
    const __m256i one = _mm256_set1_epi32(1);
    __m256i mine[4], less[4], count[4];
    SIMD_UNROLL
    for (int t = 0; t < vectors; t++) {
        mine[t] = _mm256_loadu_si256((const __m256i *)(keys + first + 8 * t));
        less[t] = _mm256_sub_epi32(mine[t], one);
        count[t] = _mm256_setzero_si256(); // a compare that holds is -1
    }
    for (int64_t j = 0; j < first; j++) {
        const __m256i other = _mm256_set1_epi32(keys[j]);
        SIMD_UNROLL
        for (int t = 0; t < vectors; t++)
            count[t] = _mm256_sub_epi32(count[t], _mm256_cmpgt_epi32(other, less[t]));
    }
    SIMD_UNROLL
    for (int own = 0; own < vectors; own++) {
        for (int j = 0; j < 8; j++) {
            const __m256i other = _mm256_set1_epi32(keys[first + 8 * own + j]);
            const __m256i later = _mm256_loadu_si256((const __m256i *)(past + 7 - j));
            SIMD_UNROLL
            for (int t = 0; t < vectors; t++) {
                __m256i bound = t > own   ? less[t]
                                : t < own ? mine[t]
                                          : _mm256_add_epi32(mine[t], later);
                count[t] = _mm256_sub_epi32(count[t], _mm256_cmpgt_epi32(other, bound));
            }
        }
    }
    for (int64_t j = first + 8 * vectors; j < n; j++) {
        const __m256i other = _mm256_set1_epi32(keys[j]);
        SIMD_UNROLL
        for (int t = 0; t < vectors; t++)
            count[t] = _mm256_sub_epi32(count[t], _mm256_cmpgt_epi32(other, mine[t]));
    }
    int32_t rank[32];
    SIMD_UNROLL
    for (int t = 0; t < vectors; t++)
        _mm256_storeu_si256((__m256i *)(rank + 8 * t), count[t]);
    for (int i = 0; i < 8 * vectors; i++)
        order[rank[i]] = (int32_t)first + i;
}

// order[r] = index of the key of rank r; n in whole vectors.
static void rank_order(int32_t *order, const int32_t *keys, int64_t n)
{
    int64_t first = 0;
    for (; first + 32 <= n; first += 32)
        rank_group(order, keys, n, first, 4);
    if (n - first == 24)
        rank_group(order, keys, n, first, 3);
    else if (n - first == 16)
        rank_group(order, keys, n, first, 2);
    else if (n - first == 8)
        rank_group(order, keys, n, first, 1);
}

static void rank_topk(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k)
{
    const __m256 none = _mm256_set1_ps(-INFINITY);
    float v[rank_max];
    int32_t keys[rank_max], order[rank_max];
    int64_t whole = (n + 7) / 8 * 8;
    for (int64_t i = 0; i < whole; i += 8) {
        __m256 part = _mm256_max_ps(simd_load(x + i, n - i), none); // NaN gives way to -inf
        if (n - i < 8) part = _mm256_blendv_ps(none, part, _mm256_castsi256_ps(simd_lanes(n - i)));
        _mm256_storeu_ps(v + i, part);
        _mm256_storeu_si256((__m256i *)(keys + i), rank_keys(part));
    }
    rank_order(order, keys, whole);
    for (int64_t r = 0; r < k; r++) {
        ids[r] = order[r];
        scores[r] = v[order[r]];
    }
}

// ---- filtering ---------------------------------------------------------------------------------

enum { filter_max = 32 };

// The k-th largest of the maxima of 8 * vectors groups; element i belongs to group i % (8 *
// vectors), and what is left over at the end of x to none. `vectors` is a constant where it is
// used.
static inline float filter_bound(const float *x, int64_t n, int64_t k, int vectors)
{
    __m256 group[8];
    float maxima[rank_max], best[filter_max];
    int32_t ids[filter_max];
    SIMD_UNROLL
    for (int t = 0; t < vectors; t++)
        group[t] = _mm256_set1_ps(-INFINITY);
    for (int64_t i = 0; i + 8 * vectors <= n; i += 8 * vectors) {
        SIMD_UNROLL
        for (int t = 0; t < vectors; t++) // a NaN gives way
            group[t] = _mm256_max_ps(_mm256_loadu_ps(x + i + 8 * t), group[t]);
    }
    SIMD_UNROLL
    for (int t = 0; t < vectors; t++)
        _mm256_storeu_ps(maxima + 8 * t, group[t]);
    rank_topk(ids, best, maxima, 8 * vectors, k);
    return best[k - 1];
}

// False, with nothing written, where more than 64 elements pass or too few are above -inf.
static bool filter_topk(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k)
{
    float bound = k <= 8 ? filter_bound(x, n, k, 2) : filter_bound(x, n, k, 8);
    if (bound == -INFINITY) return false;
    const __m256 least = _mm256_set1_ps(bound);
    float passed[rank_max];
    int32_t places[rank_max], order[filter_max];
    int count = 0;
    for (int64_t i = 0; i < n; i += 8) {
        __m256 pass = _mm256_cmp_ps(simd_load(x + i, n - i), least, _CMP_GE_OQ);
        unsigned mask = (unsigned)_mm256_movemask_ps(simd_keep(pass, n - i));
        if (count + __builtin_popcount(mask) > rank_max) return false;
        for (; mask != 0; mask &= mask - 1) {
            places[count] = (int32_t)i + __builtin_ctz(mask);
            passed[count] = x[places[count]];
            count++;
        }
    }
    rank_topk(order, scores, passed, count, k);
    for (int64_t r = 0; r < k; r++)
        ids[r] = places[order[r]];
    return true;
}

// ---- halving -----------------------------------------------------------------------------------

static inline int32_t halve_key(float x)
{
    int32_t bits;
    x += 0.0f; // one zero of the two
    memcpy(&bits, &x, sizeof bits);
    return bits ^ (int32_t)((uint32_t)(bits >> 31) >> 1);
}

static inline float halve_float(int32_t key)
{
    int32_t bits = key ^ (int32_t)((uint32_t)(key >> 31) >> 1);
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

// How many elements are >= bound.
static int64_t halve_count_row(const float *x, int64_t n, float bound)
{
    const __m256 least = _mm256_set1_ps(bound);
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a; // a compare that holds is -1
    int64_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256 pa = _mm256_cmp_ps(_mm256_loadu_ps(x + i), least, _CMP_GE_OQ);
        __m256 pb = _mm256_cmp_ps(_mm256_loadu_ps(x + i + 8), least, _CMP_GE_OQ);
        __m256 pc = _mm256_cmp_ps(_mm256_loadu_ps(x + i + 16), least, _CMP_GE_OQ);
        __m256 pd = _mm256_cmp_ps(_mm256_loadu_ps(x + i + 24), least, _CMP_GE_OQ);
        a = _mm256_sub_epi32(a, _mm256_castps_si256(pa));
        b = _mm256_sub_epi32(b, _mm256_castps_si256(pb));
        c = _mm256_sub_epi32(c, _mm256_castps_si256(pc));
        d = _mm256_sub_epi32(d, _mm256_castps_si256(pd));
    }
    for (; i < n; i += 8) {
        __m256 pass = _mm256_cmp_ps(simd_load(x + i, n - i), least, _CMP_GE_OQ);
        a = _mm256_sub_epi32(a, _mm256_castps_si256(simd_keep(pass, n - i)));
    }
    int32_t lanes[8];
    a = _mm256_add_epi32(_mm256_add_epi32(a, b), _mm256_add_epi32(c, d));
    _mm256_storeu_si256((__m256i *)lanes, a);
    int64_t count = 0;
    for (int t = 0; t < 8; t++)
        count += lanes[t];
    return count;
}

// How many sums of two falling lists of k are >= bound; a row never has more than the one before.
static int64_t halve_count_sums(const float *best0, const float *best1, int64_t k, float bound)
{
    int64_t count = 0, width = k;
    for (int64_t r = 0; r < k && width > 0; r++) {
        if (width > k / (r + 1)) width = k / (r + 1);
        while (width > 0 && !(best0[r] + best1[width - 1] >= bound))
            width--;
        count += width;
    }
    return count;
}

// What is searched: n elements, or the sums of two falling lists of n where `other` is there.
typedef struct halve_search {
    const float *x, *other;
    int64_t n;
} halve_search;

static int64_t halve_count(const halve_search *q, float bound)
{
    return q->other ? halve_count_sums(q->x, q->other, q->n, bound)
                    : halve_count_row(q->x, q->n, bound);
}

// The largest float that at least k elements reach, and how many of those equal to it there is room
// for (k where all that reach it are k). `low` is a float that k should reach, `high` one that all
// are below or NaN; false where fewer than k reach low.
static bool halve_bound(const halve_search *q, int64_t k, float low, float high, float *bound,
                        int64_t *ties)
{
    int32_t low_key = halve_key(low), high_key = halve_key(high);
    int64_t low_count = halve_count(q, low), high_count = 0;
    if (low_count < k) return false;
    while (low_count > k && (int64_t)high_key - low_key > 1) {
        int32_t middle = (int32_t)(((int64_t)low_key + high_key) >> 1);
        int64_t count = halve_count(q, halve_float(middle));
        if (count >= k) {
            low_key = middle;
            low_count = count;
        } else {
            high_key = middle;
            high_count = count;
        }
    }
    *bound = halve_float(low_key);
    *ties = low_count == k ? k : k - high_count;
    return true;
}

// ---- sorting -----------------------------------------------------------------------------------

// Descending, equal ones in the order in which they are. Four passes of eight bits, low ones first;
// a pass that would move nothing is left out.
static void sort_radix(int32_t *ids, float *scores, int64_t k)
{
    int32_t other_ids[SG_TOPK_MAX];
    float other_scores[SG_TOPK_MAX];
    int32_t counts[4][256] = {{0}};
    for (int64_t i = 0; i < k; i++) {
        uint32_t key = ~((uint32_t)halve_key(scores[i]) ^ 0x80000000u); // rises as scores fall
        for (int pass = 0; pass < 4; pass++)
            counts[pass][key >> 8 * pass & 255]++;
    }
    int32_t *from_ids = ids, *to_ids = other_ids;
    float *from = scores, *to = other_scores;
    for (int pass = 0; pass < 4; pass++) {
        int32_t *at = counts[pass], before = 0, most = 0;
        for (int b = 0; b < 256; b++) {
            int32_t here = at[b];
            if (here > most) most = here;
            at[b] = before;
            before += here;
        }
        if (most == k) continue;
        for (int64_t i = 0; i < k; i++) {
            uint32_t key = ~((uint32_t)halve_key(from[i]) ^ 0x80000000u);
            int32_t place = at[key >> 8 * pass & 255]++;
            to[place] = from[i];
            to_ids[place] = from_ids[i];
        }
        int32_t *swap_ids = from_ids;
        float *swap = from;
        from_ids = to_ids, to_ids = swap_ids;
        from = to, to = swap;
    }
    if (from == scores) return;
    memcpy(scores, from, (size_t)k * sizeof *scores);
    memcpy(ids, from_ids, (size_t)k * sizeof *ids);
}

static void sort_selected(int32_t *ids, float *scores, int64_t k)
{
    if (k > rank_max) {
        sort_radix(ids, scores, k);
        return;
    }
    float sorted[rank_max];
    int32_t order[rank_max], sorted_ids[rank_max];
    rank_topk(order, sorted, scores, k, k);
    for (int64_t i = 0; i < k; i++)
        sorted_ids[i] = ids[order[i]];
    memcpy(scores, sorted, (size_t)k * sizeof *scores);
    memcpy(ids, sorted_ids, (size_t)k * sizeof *ids);
}

// ---- any k up to the largest
// ---------------------------------------------------------------------

static bool halve_topk(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k)
{
    float bound;
    int64_t ties, count = 0;
    if (!halve_bound(&(halve_search){.x = x, .n = n}, k, -FLT_MAX, NAN, &bound, &ties))
        return false;
    const __m256 least = _mm256_set1_ps(bound);
    for (int64_t i = 0; i < n && count < k; i += 8) {
        __m256 pass = _mm256_cmp_ps(simd_load(x + i, n - i), least, _CMP_GE_OQ);
        unsigned mask = (unsigned)_mm256_movemask_ps(simd_keep(pass, n - i));
        for (; mask != 0; mask &= mask - 1) {
            int64_t at = i + __builtin_ctz(mask);
            if (x[at] == bound && ties-- <= 0) continue;
            ids[count] = (int32_t)at;
            scores[count++] = x[at];
        }
    }
    sort_selected(ids, scores, k);
    return true;
}

static bool halve_product(int32_t *ids, float *scores, const float *s0, const float *s1, int64_t n,
                          int64_t k)
{
    int32_t ids0[SG_TOPK_MAX], ids1[SG_TOPK_MAX];
    float best0[SG_TOPK_MAX], best1[SG_TOPK_MAX], bound;
    int64_t ties, count = 0;
    SIMD_NAME(topk)(ids0, best0, s0, n, k);
    SIMD_NAME(topk)(ids1, best1, s1, n, k);
    // The square of ranks up to the root of k holds k sums or more, its last one the smallest.
    int64_t root = 1;
    while (root * root < k)
        root++;
    float low = best0[root - 1] + best1[root - 1], high = best0[0] + best1[0];
    if (!(low > -INFINITY && high < INFINITY)) return false;
    high = halve_float(halve_key(high) + 1);
    if (!halve_bound(&(halve_search){best0, best1, k}, k, low, high, &bound, &ties)) return false;
    for (int64_t r = 0; r < k && count < k; r++)
        for (int64_t s = 0; s < k / (r + 1); s++) {
            float sum = best0[r] + best1[s];
            if (!(sum >= bound)) break;
            if (sum == bound && ties-- <= 0) continue;
            ids[count] = (int32_t)(ids0[r] * n + ids1[s]);
            scores[count++] = sum;
        }
    sort_selected(ids, scores, k);
    return true;
}

// ---- the kernels -------------------------------------------------------------------------------

void SIMD_NAME(topk)(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k)
{
    if (n <= rank_max) {
        rank_topk(ids, scores, x, n, k);
        return;
    }
    if (k <= filter_max && filter_topk(ids, scores, x, n, k)) return;
    if (k <= SG_TOPK_MAX && halve_topk(ids, scores, x, n, k)) return;
    sg_ref_topk(ids, scores, x, n, k);
}

// With both parts sorted, only rank pairs with (r + 1)(s + 1) <= k can be among the k best sums:
// the (r + 1)(s + 1) - 1 other pairs with ranks <= r and <= s have sums at least as large (rounded
// addition is monotone, also with infinities when NaN counts as -inf) and, where equal, a lower
// rank in part 0, or the same and a lower one in part 1, so they all come first. For k = 8 that
// leaves 20 pairs of 64, for k = 16 there are 50. They are laid out row after row, so that the
// order of the index breaks ties as asked, and ranked.
enum { product_small = 16 };

static void product_rank(int32_t *ids, float *scores, const float *s0, const float *s1, int64_t n,
                         int64_t k)
{
    float best0[product_small], best1[product_small] = {0}, sums[rank_max + product_small];
    int32_t ids0[product_small], ids1[product_small] = {0}, pairs[rank_max + product_small];
    SIMD_NAME(topk)(ids0, best0, s0, n, k);
    SIMD_NAME(topk)(ids1, best1, s1, n, k);
    int64_t count = 0;
    for (int64_t r = 0; r < k; r++) {
        const __m256 score = _mm256_set1_ps(best0[r]);
        const __m256i base = _mm256_set1_epi32((int32_t)(ids0[r] * n));
        int64_t width = k / (r + 1);
        for (int64_t s = 0; s < width; s += 8) { // what is too much the next row writes over
            __m256i id1 = _mm256_loadu_si256((const __m256i *)(ids1 + s));
            __m256i id = _mm256_add_epi32(base, id1);
            _mm256_storeu_ps(sums + count + s, _mm256_add_ps(score, _mm256_loadu_ps(best1 + s)));
            _mm256_storeu_si256((__m256i *)(pairs + count + s), id);
        }
        count += width;
    }
    int32_t order[product_small];
    rank_topk(order, scores, sums, count, k);
    for (int64_t r = 0; r < k; r++)
        ids[r] = pairs[order[r]];
}

void SIMD_NAME(product_topk)(int32_t *ids, float *scores, const float *s0, const float *s1,
                             int64_t n, int64_t k)
{
    if (k <= product_small) {
        product_rank(ids, scores, s0, s1, n, k);
        return;
    }
    // -inf, or NaN from inf - inf: the plain version orders those.
    if (!halve_product(ids, scores, s0, s1, n, k)) sg_ref_product_topk(ids, scores, s0, s1, n, k);
}

void SIMD_NAME(product_topk_rows)(int32_t *ids, float *scores, int64_t ldy, const float *s0,
                                  const float *s1, int64_t ldx, int64_t rows, int64_t n, int64_t k)
{
    for (int64_t r = 0; r < rows; r++)
        SIMD_NAME(product_topk)(ids + r * ldy, scores + r * ldy, s0 + r * ldx, s1 + r * ldx, n, k);
}
