// Selections with a count for each row and channel, for checks of what reads them: counts drawn or
// all zero, ids that nobody may look at behind them, and what must be true of void scores.
#ifndef SG_GRAD_COUNTS_H
#define SG_GRAD_COUNTS_H

#include "grad/gradcheck.h"

typedef enum gc_counting {
    COUNT_ALL,  // no counts
    COUNT_SOME, // 0 … k of each row and channel
    COUNT_NONE  // all counts are 0
} gc_counting;

// Whether hit i, of groups of k, is selected.
static inline bool gc_selected(const int32_t *counts, int64_t k, int64_t i)
{
    return counts == NULL || i % k < counts[i / k];
}

// Counts of so many groups of k ids; makes the ids behind them such as crash who reads by them.
// Ownership: sg_free.
static inline int32_t *gc_counts(gc_counting counting, int64_t groups, int64_t k, int32_t *ids)
{
    if (counting == COUNT_ALL) return NULL;
    int32_t *counts = sg_alloc_zero((size_t)groups, sizeof *counts);
    assert_non_null(counts);
    for (int64_t i = 0; counting == COUNT_SOME && i < groups; i++)
        counts[i] = (int32_t)sg_rng_below(6, 7, (uint64_t)i, (uint64_t)k + 1);
    for (int64_t i = 0; i < groups * k; i++)
        if (!gc_selected(counts, k, i)) ids[i] = -1234567;
    return counts;
}

static inline sg_tensor *gc_counts_leaf(sg_tape *tape, int32_t *counts, int64_t rows,
                                        int64_t channels)
{
    if (counts == NULL) return NULL;
    return sg_tape_leaf(tape, "counts", SG_KIND_INT, 2, (int64_t[]){rows, channels}, counts, NULL,
                        false);
}

// What is void of an input of `width` numbers for each id, scores say, is not looked at, and has a
// gradient of zero.
static inline void gc_check_void(gc_case *c, int input, int64_t width, const int32_t *counts,
                                 int64_t k)
{
    gc_pass base = {.threads = 1};
    gc_pass_new(c, &base, NAN);
    gc_run(c, &base);
    for (int64_t i = 0; i < c->in[input].count; i++) {
        if (gc_selected(counts, k, i / width)) continue;
        assert_true(base.grads[input][i] == 0);
        c->in[input].data[i] = NAN;
    }
    for (int threads = 1; threads <= 4; threads++)
        gc_variant(c, &base, (gc_pass){.threads = threads}, "what is void");
    gc_pass_free(c, &base);
}

#endif
