// How many of a row's scores a rule selects. Scores s_0 >= s_1 >= … of n candidates; each rule
// takes leading ones, at least `least` of them:
//
//     above      s_i >= threshold                        (LTE: scores are sigmoids, threshold 1/2)
//     of_best    s_i >= threshold s_0                    (D2DMoE: scores are estimates of norms)
//     share      until the sum first reaches threshold times that of all, the one that crosses it
//                included, at least one                  (DSTI; negative scores count as 0)
//
// above with 0, for scores >= 0, of_best with 0 and share with 1 select all; of_best with 1 and
// share with 0 the best alone.
#ifndef SG_OP_SELECTED_COUNT_H
#define SG_OP_SELECTED_COUNT_H

#include "kernel/real.h"

typedef enum sg_count_rule { SG_COUNT_ABOVE, SG_COUNT_OF_BEST, SG_COUNT_SHARE } sg_count_rule;

static inline int64_t sg_count_of_share(const sg_real *scores, int64_t n, double share,
                                        int64_t least)
{
    if (share >= 1) return n; // whatever sums round to
    double all = 0, sum = 0;
    for (int64_t i = 0; i < n; i++)
        all += scores[i] > 0 ? (double)scores[i] : 0;
    int64_t count = 0;
    if (least < 1) least = 1;
    while (count < n && (count < least || sum < share * all)) {
        sum += scores[count] > 0 ? (double)scores[count] : 0;
        count++;
    }
    return count;
}

static inline int64_t sg_selected_count(const sg_real *scores, int64_t n, sg_count_rule rule,
                                        double threshold, int64_t least)
{
    if (rule == SG_COUNT_SHARE) return sg_count_of_share(scores, n, threshold, least);
    const double bound =
        rule == SG_COUNT_OF_BEST && n > 0 ? threshold * (double)scores[0] : threshold;
    int64_t count = 0;
    while (count < n && (count < least || (double)scores[count] >= bound))
        count++;
    return count;
}

#endif
