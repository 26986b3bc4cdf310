// Top-k selection by a heap of the k best so far, the last of them at its root, then sorted in
// place: n log k steps and no memory but the result. "Before" is a total order: the larger score,
// and of equal ones the one that came earlier.
#include "kernel/real_math.h"
#include "kernel/ref/ref.h"

static bool select_before(sg_real a, int32_t a_id, sg_real b, int32_t b_id)
{
    return a > b || (a == b && a_id < b_id);
}

// Lets the element at `at` sink until none below it comes after it.
static void select_sink(int32_t *ids, sg_real *scores, int64_t count, int64_t at)
{
    const int32_t id = ids[at];
    const sg_real score = scores[at];
    for (int64_t child = 2 * at + 1; child < count; child = 2 * at + 1) {
        if (child + 1 < count &&
            select_before(scores[child], ids[child], scores[child + 1], ids[child + 1]))
            child++;
        if (!select_before(score, id, scores[child], ids[child])) break;
        ids[at] = ids[child];
        scores[at] = scores[child];
        at = child;
    }
    ids[at] = id;
    scores[at] = score;
}

// Offers one more element, those before it having lower ids; returns the new count.
static int64_t select_offer(int32_t *ids, sg_real *scores, int64_t count, int64_t k, int32_t id,
                            sg_real score)
{
    if (isnan(score)) score = -INFINITY;
    if (count < k) {
        ids[count] = id;
        scores[count] = score;
        if (++count == k)
            for (int64_t at = k / 2 - 1; at >= 0; at--)
                select_sink(ids, scores, k, at);
    } else if (score > scores[0]) {
        ids[0] = id;
        scores[0] = score;
        select_sink(ids, scores, k, 0);
    }
    return count;
}

// The last of the heap goes to the end, again and again.
static void select_sort(int32_t *ids, sg_real *scores, int64_t k)
{
    for (int64_t end = k - 1; end > 0; end--) {
        int32_t id = ids[0];
        sg_real score = scores[0];
        ids[0] = ids[end];
        scores[0] = scores[end];
        ids[end] = id;
        scores[end] = score;
        select_sink(ids, scores, end, 0);
    }
}

void sg_ref_topk(int32_t *ids, sg_real *scores, const sg_real *x, int64_t n, int64_t k)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count = select_offer(ids, scores, count, k, (int32_t)i, x[i]);
    select_sort(ids, scores, k);
}

// The pair of ranks r, s has at least (r + 1)(s + 1) - 1 others before it: those of no larger
// ranks, whose sums are no smaller. Pairs are known by their place r k + s until they are sorted.
void sg_ref_product_topk(int32_t *ids, sg_real *scores, const sg_real *s0, const sg_real *s1,
                         int64_t n, int64_t k)
{
    int32_t ids0[SG_TOPK_MAX], ids1[SG_TOPK_MAX];
    sg_real best0[SG_TOPK_MAX], best1[SG_TOPK_MAX];
    sg_ref_topk(ids0, best0, s0, n, k);
    sg_ref_topk(ids1, best1, s1, n, k);
    int64_t count = 0;
    for (int64_t r = 0; r < k; r++)
        for (int64_t s = 0; s < k / (r + 1); s++)
            count = select_offer(ids, scores, count, k, (int32_t)(r * k + s), best0[r] + best1[s]);
    select_sort(ids, scores, k);
    for (int64_t i = 0; i < k; i++)
        ids[i] = (int32_t)(ids0[ids[i] / k] * n + ids1[ids[i] % k]);
}

void sg_ref_product_topk_rows(int32_t *ids, sg_real *scores, int64_t ldy, const sg_real *s0,
                              const sg_real *s1, int64_t ldx, int64_t rows, int64_t n, int64_t k)
{
    for (int64_t r = 0; r < rows; r++)
        sg_ref_product_topk(ids + r * ldy, scores + r * ldy, s0 + r * ldx, s1 + r * ldx, n, k);
}
