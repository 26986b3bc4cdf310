// Top-k selection with exactly the results of kernel/ref/select.c, ties included.
//
// The best so far are a sorted list in whole vectors, filled with -inf at first. Elements are taken in
// order of their index; eight at a time are compared with the k-th best, so that most of a long row
// costs a load and a compare. One that passes is inserted without a branch: a lane keeps its element
// when that is >= the new one (so equal elements stay in order of arrival), else takes the new one when
// the element before it is kept, else takes the element before it.
//
// NaN never passes a comparison. Where the k-th best is -inf in the end, some of the list was never
// filled, and the plain version decides which of the -inf elements stand there.
#include <string.h>

#include "kernel/avx2/kernels.h"
#include "kernel/avx2/simd.h"
#include "kernel/ref/ref.h"

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

// ---- k <= 8: the list is one register ----------------------------------------------------------

typedef struct select_eight {
    __m256 scores;
    __m256i ids;
} select_eight;

static inline void eight_insert(select_eight *list, __m256 value, __m256i id)
{
    const __m256i back = _mm256_setr_epi32(7, 0, 1, 2, 3, 4, 5, 6);
    __m256 before = _mm256_permutevar8x32_ps(list->scores, back);
    __m256i before_ids = _mm256_permutevar8x32_epi32(list->ids, back);
    before = _mm256_blend_ps(before, _mm256_set1_ps(INFINITY), 1);
    select_shift(&list->scores, &list->ids, before, before_ids, value, id);
}

static inline __m256 eight_lane(__m256 x, int64_t lane)
{
    return _mm256_permutevar8x32_ps(x, _mm256_set1_epi32((int32_t)lane));
}

// Each of eight lanes sees n/8 elements; the least of the eight lane maxima has eight elements that
// are >= it, so nothing below it is among the best eight. Returned is the next number below.
static float eight_floor(const float *x, int64_t n)
{
    __m256 m0 = _mm256_set1_ps(-INFINITY), m1 = m0;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16) {
        m0 = _mm256_max_ps(_mm256_loadu_ps(x + i), m0); // a NaN in x gives way
        m1 = _mm256_max_ps(_mm256_loadu_ps(x + i + 8), m1);
    }
    return nextafterf(simd_min(_mm256_max_ps(m0, m1)), -INFINITY);
}

static select_eight eight_scan(const float *x, int64_t n, int64_t k)
{
    select_eight list = {_mm256_set1_ps(-INFINITY), _mm256_setzero_si256()};
    const __m256 floor = _mm256_set1_ps(n >= 64 ? eight_floor(x, n) : -INFINITY);
    __m256 threshold = floor;
    for (int64_t i = 0; i < n; i += 8) {
        __m256 block = simd_load(x + i, n - i);
        unsigned mask = (unsigned)_mm256_movemask_ps(_mm256_cmp_ps(block, threshold, _CMP_GT_OQ));
        if (n - i < 8) mask &= (1u << (n - i)) - 1;
        if (mask == 0) continue;
        do {
            int lane = __builtin_ctz(mask);
            mask &= mask - 1;
            eight_insert(&list, _mm256_set1_ps(x[i + lane]), _mm256_set1_epi32((int)(i + lane)));
        } while (mask != 0);
        threshold = _mm256_max_ps(floor, eight_lane(list.scores, k - 1));
    }
    return list;
}

// ---- k > 8: the list is an array ---------------------------------------------------------------

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
    if (k <= 8) {
        select_eight list = eight_scan(x, n, k);
        _mm256_maskstore_ps(scores, simd_lanes(k), list.scores);
        _mm256_maskstore_epi32(ids, simd_lanes(k), list.ids);
    } else if (k <= SG_TOPK_MAX) {
        select_list list;
        list_scan(&list, x, n, k);
        memcpy(scores, list.scores + list_first, (size_t)k * sizeof *scores);
        memcpy(ids, list.ids + list_first, (size_t)k * sizeof *ids);
    } else {
        sg_ref_topk(ids, scores, x, n, k);
        return;
    }
    if (scores[k - 1] == -INFINITY) sg_ref_topk(ids, scores, x, n, k);
}

// With both parts sorted, only rank pairs with (r + 1)(s + 1) <= k can be among the k best sums: the
// (r + 1)(s + 1) - 1 other pairs with ranks <= r and <= s have sums at least as large (rounded addition
// is monotone) and, where equal, a lower rank in part 0, or the same and a lower one in part 1, so they
// all come first. For k = 8 that leaves 20 pairs of 64. Row 0 comes sorted and starts the list; within
// a row sums fall, and from row to row first sums fall, so one that does not pass ends the row, and
// the first of a row ends the search.
static void product_eight(int32_t *ids, float *scores, const float *s0, const float *s1, int64_t n,
                          int64_t k)
{
    select_eight part0 = eight_scan(s0, n, k), part1 = eight_scan(s1, n, k);
    const __m256i width = _mm256_set1_epi32((int32_t)n);
    float best0[8], best1[8];
    int32_t first0[8], first1[8];
    __m256i base = _mm256_mullo_epi32(part0.ids, width);
    _mm256_storeu_ps(best0, part0.scores);
    _mm256_storeu_ps(best1, part1.scores);
    _mm256_storeu_si256((__m256i *)first0, base);
    _mm256_storeu_si256((__m256i *)first1, part1.ids);
    select_eight list = {_mm256_add_ps(eight_lane(part0.scores, 0), part1.scores),
                         _mm256_add_epi32(_mm256_set1_epi32(first0[0]), part1.ids)};
    float last = best0[0] + best1[k - 1];
    for (int64_t r = 1; r < k; r++) {
        for (int64_t s = 0; s < k / (r + 1); s++) {
            float sum = best0[r] + best1[s];
            if (!(sum > last)) {
                if (s == 0) r = k;
                break;
            }
            eight_insert(&list, _mm256_set1_ps(sum), _mm256_set1_epi32(first0[r] + first1[s]));
            last = _mm256_cvtss_f32(eight_lane(list.scores, k - 1));
        }
    }
    _mm256_maskstore_ps(scores, simd_lanes(k), list.scores);
    _mm256_maskstore_epi32(ids, simd_lanes(k), list.ids);
}

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
    if (k <= 8)
        product_eight(ids, scores, s0, s1, n, k);
    else
        product_list(ids, scores, s0, s1, n, k);
    // -inf, or NaN from inf - inf: the plain version orders those.
    if (!(scores[k - 1] > -INFINITY)) sg_ref_product_topk(ids, scores, s0, s1, n, k);
}
