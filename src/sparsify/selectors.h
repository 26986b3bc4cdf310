// How many blocks a token reads, from the scores of a router or of an oracle: by a count, or by a
// threshold that can be moved without training anything again (op/selected_count.h has the rules,
// which decoding applies too). Thresholds here are as of papers: D2DMoE's code counts tau the other
// way, 1 - threshold.
#ifndef SG_SPARSIFY_SELECTORS_H
#define SG_SPARSIFY_SELECTORS_H

#include "base/status.h"
#include "kernel/kernel.h"
#include "op/selected_count.h"

typedef enum sg_selector_kind {
    SG_SELECT_TOP_K,   // k
    SG_SELECT_OF_BEST, // D2DMoE's dynamic k: scores >= threshold times the best
    // DSTI's: the best until their sum reaches threshold times that of all, or of the k best where
    // there is a k.
    SG_SELECT_SHARE,
    SG_SELECT_ABOVE // LTE's: scores >= threshold
} sg_selector_kind;
typedef struct sg_selector {
    sg_selector_kind kind;
    int64_t k;        // of top-k; of the others the most that a token reads, 0: all
    double threshold; // of the others
    int64_t least;    // that a token reads whatever its scores
} sg_selector;

// Whether the selector fits so many blocks: k, least, and a threshold in 0 … 1 where it is a share.
sg_status sg_selector_check(const sg_selector *selector, int64_t blocks, sg_error *err);

// counts (tokens), and, where not NULL, ids (tokens, room) best first, room = k or, where that is
// 0, the blocks; what is behind a count is void. scores (tokens, E): a NaN counts as the least.
sg_status sg_select_blocks(sg_compute compute, const sg_selector *selector, const sg_real *scores,
                           int64_t tokens, int64_t blocks, int32_t *counts, int32_t *ids,
                           sg_error *err);

// What a selection comes to over tokens: counts, and how much of a truth it captures.
typedef struct sg_selection_summary {
    double mean, deviation;            // of counts
    int64_t least, p5, p50, p95, most; // counts at these shares of the tokens
    double active;                     // mean count / E
    double captured;                   // of the truth: mean share over tokens that have any; NaN
} sg_selection_summary;
// truth (tokens, E) >= 0, or NULL.
sg_status sg_selection_summarise(sg_compute compute, const sg_selector *selector,
                                 const sg_real *scores, const sg_real *truth, int64_t tokens,
                                 int64_t blocks, sg_selection_summary *summary, sg_error *err);

#endif
