// Top-k selection with exactly the results of kernel/ref/select.c, ties included, in three ways.
//
// Up to 64 numbers are ranked: how many come before each is counted with compares alone, and the
// ranks say where each belongs. No branch depends on the data, which is what makes it fast.
//
// More are filtered first, for k <= 32: the maxima of 16 or 64 groups of elements are ranked, and
// as the k largest maxima belong to k elements, nothing below the k-th of them is among the k best.
// What is left, about 1.4 k elements of random numbers, is ranked.
//
// Otherwise the best so far are a sorted list in whole vectors, filled with -inf at first. Elements
// are taken in order of their index; eight at a time are compared with the k-th best. One that
// passes is inserted without a branch: a lane keeps its element when that is >= the new one (so
// equal elements stay in order of arrival), else takes the new one when the element before it is
// kept, else takes the element before it. NaN never passes a comparison; where the k-th best is
// -inf in the end, some of the list was never filled, and the plain version decides which of the
// -inf elements stand there.
#include <string.h>

#include "kernel/avx2/kernels.h"
#include "kernel/avx2/simd.h"
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

// ---- a sorted list -----------------------------------------------------------------------------

// One vector of the list; `before` and `before_ids` are the elements one place earlier.
static inline void select_shift(__m256 *scores, __m256i *ids, __m256 before, __m256i before_ids,
                                __m256 value, __m256i id)
{
    __m256 keep = _mm256_cmp_ps(*scores, value, _CMP_GE_OQ);
    __m256 here = _mm256_cmp_ps(before, value, _CMP_GE_OQ);
    __m256 moved = _mm256_blendv_ps(before, value, here);
    __m256i moved_ids = _mm256_blendv_epi8(before_ids, id, _mm256_castps_si256(here));
    *scores = _mm256_blendv_ps(moved, *scores, keep);
    *ids = _mm256_blendv_epi8(moved_ids, *ids, _mm256_castps_si256(keep));
}

// Entries -1 … k-1 (rounded up to whole vectors) start at `list_first`; entry -1 is +inf.
enum { list_first = 8, list_size = list_first + SG_TOPK_MAX };

typedef struct select_list {
    float scores[list_size];
    int32_t ids[list_size];
} select_list;

static void list_clear(select_list *list, int64_t k)
{
    for (int64_t i = 0; i < list_first + k + 7 && i < list_size; i++) {
        list->scores[i] = i < list_first ? INFINITY : -INFINITY;
        list->ids[i] = 0;
    }
}

// From the last vector to the first, so that the element before a vector is still the old one; ends
// where a whole vector is kept, because all before it are then kept as well.
static inline void list_insert(select_list *list, int64_t k, float score, int32_t index)
{
    const __m256 value = _mm256_set1_ps(score);
    const __m256i id = _mm256_set1_epi32(index);
    for (int64_t i = (k - 1) / 8 * 8 + list_first; i >= list_first; i -= 8) {
        __m256 scores = _mm256_loadu_ps(list->scores + i);
        if (_mm256_movemask_ps(_mm256_cmp_ps(scores, value, _CMP_GE_OQ)) == 0xff) return;
        __m256i ids = _mm256_loadu_si256((const __m256i *)(list->ids + i));
        __m256i before_ids = _mm256_loadu_si256((const __m256i *)(list->ids + i - 1));
        select_shift(&scores, &ids, _mm256_loadu_ps(list->scores + i - 1), before_ids, value, id);
        _mm256_storeu_ps(list->scores + i, scores);
        _mm256_storeu_si256((__m256i *)(list->ids + i), ids);
    }
}

static void list_scan(select_list *list, const float *x, int64_t n, int64_t k)
{
    list_clear(list, k);
    const float *last = &list->scores[list_first + k - 1];
    for (int64_t i = 0; i < n; i += 8) {
        __m256 block = simd_load(x + i, n - i), threshold = _mm256_set1_ps(*last);
        unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(block, threshold, _CMP_GT_OQ));
        if (n - i < 8) mask &= (1u << (n - i)) - 1;
        for (; mask != 0; mask &= mask - 1) {
            int64_t at = i + __builtin_ctz(mask);
            if (x[at] > *last) list_insert(list, k, x[at], (int32_t)at);
        }
    }
}

// ---- the kernels -------------------------------------------------------------------------------

void sg_avx2_topk(int32_t *ids, float *scores, const float *x, int64_t n, int64_t k)
{
    if (n <= rank_max) {
        rank_topk(ids, scores, x, n, k);
        return;
    }
    if (k <= filter_max && filter_topk(ids, scores, x, n, k)) return;
    if (k <= SG_TOPK_MAX) {
        select_list list;
        list_scan(&list, x, n, k);
        memcpy(scores, list.scores + list_first, (size_t)k * sizeof *scores);
        memcpy(ids, list.ids + list_first, (size_t)k * sizeof *ids);
        if (scores[k - 1] > -INFINITY) return;
    }
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
    sg_avx2_topk(ids0, best0, s0, n, k);
    sg_avx2_topk(ids1, best1, s1, n, k);
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

// Row 0 comes sorted and starts the list; within a row sums fall, and from row to row first sums
// fall, so one that does not pass ends the row, and the first of a row ends the search.
static void product_list(int32_t *ids, float *scores, const float *s0, const float *s1, int64_t n,
                         int64_t k)
{
    int32_t ids0[SG_TOPK_MAX], ids1[SG_TOPK_MAX];
    float best0[SG_TOPK_MAX], best1[SG_TOPK_MAX];
    sg_avx2_topk(ids0, best0, s0, n, k);
    sg_avx2_topk(ids1, best1, s1, n, k);
    select_list list;
    list_clear(&list, k);
    for (int64_t s = 0; s < k; s++) {
        list.scores[list_first + s] = best0[0] + best1[s];
        list.ids[list_first + s] = (int32_t)(ids0[0] * n + ids1[s]);
    }
    const float *last = &list.scores[list_first + k - 1];
    for (int64_t r = 1; r < k; r++) {
        for (int64_t s = 0; s < k / (r + 1); s++) {
            float sum = best0[r] + best1[s];
            if (!(sum > *last)) {
                if (s == 0) r = k;
                break;
            }
            list_insert(&list, k, sum, (int32_t)(ids0[r] * n + ids1[s]));
        }
    }
    memcpy(scores, list.scores + list_first, (size_t)k * sizeof *scores);
    memcpy(ids, list.ids + list_first, (size_t)k * sizeof *ids);
}

void sg_avx2_product_topk(int32_t *ids, float *scores, const float *s0, const float *s1, int64_t n,
                          int64_t k)
{
    if (k <= product_small) {
        product_rank(ids, scores, s0, s1, n, k);
        return;
    }
    product_list(ids, scores, s0, s1, n, k);
    // -inf, or NaN from inf - inf: the plain version orders those.
    if (!(scores[k - 1] > -INFINITY)) sg_ref_product_topk(ids, scores, s0, s1, n, k);
}
