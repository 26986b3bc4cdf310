// Top-k selection by insertion into a list kept in order: an element enters before the first one
// that is smaller, so equal elements stay in the order in which they came.
#include "kernel/real_math.h"
#include "kernel/ref/ref.h"

// Inserts into the `count` best so far, at most k; returns the new count.
static int64_t select_insert(int32_t *ids, sg_real *scores, int64_t count, int64_t k, int32_t id,
                             sg_real score)
{
    if (isnan(score)) score = -INFINITY;
    if (count == k && !(score > scores[k - 1])) return count;
    int64_t at = count < k ? count : k - 1;
    for (; at > 0 && score > scores[at - 1]; at--) {
        ids[at] = ids[at - 1];
        scores[at] = scores[at - 1];
    }
    ids[at] = id;
    scores[at] = score;
    return count < k ? count + 1 : k;
}

void sg_ref_topk(int32_t *ids, sg_real *scores, const sg_real *x, int64_t n, int64_t k)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++)
        count = select_insert(ids, scores, count, k, (int32_t)i, x[i]);
}

void sg_ref_product_topk(int32_t *ids, sg_real *scores, const sg_real *s0, const sg_real *s1,
                         int64_t n, int64_t k)
{
    int32_t ids0[SG_TOPK_MAX], ids1[SG_TOPK_MAX];
    sg_real best0[SG_TOPK_MAX], best1[SG_TOPK_MAX];
    sg_ref_topk(ids0, best0, s0, n, k);
    sg_ref_topk(ids1, best1, s1, n, k);
    int64_t count = 0;
    for (int64_t r = 0; r < k; r++) {
        for (int64_t s = 0; s < k; s++) {
            int32_t id = (int32_t)(ids0[r] * n + ids1[s]);
            count = select_insert(ids, scores, count, k, id, best0[r] + best1[s]);
        }
    }
}
