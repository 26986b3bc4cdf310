// A token's scores are put in order, and a rule takes the first so many.
#include "sparsify/selectors.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"

enum { select_chunk = 32 };

static int64_t select_room(const sg_selector *s, int64_t blocks)
{
    return s->k > 0 ? s->k : blocks;
}

sg_status sg_selector_check(const sg_selector *s, int64_t blocks, sg_error *err)
{
    const bool top = s->kind == SG_SELECT_TOP_K;
    if (blocks < 1 || blocks > SG_TOPK_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "selector: blocks: found %lld, expected 1 … %d",
                       (long long)blocks, SG_TOPK_MAX);
    if (s->k < (top ? 1 : 0) || s->k > blocks)
        return sg_fail(err, SG_ERR_ARGUMENT, "selector: k: found %lld, expected %d … %lld",
                       (long long)s->k, top ? 1 : 0, (long long)blocks);
    if (s->least < 0 || s->least > select_room(s, blocks))
        return sg_fail(err, SG_ERR_ARGUMENT, "selector: least: found %lld, expected 0 … %lld",
                       (long long)s->least, (long long)select_room(s, blocks));
    const bool share = s->kind == SG_SELECT_OF_BEST || s->kind == SG_SELECT_SHARE;
    if (top || (share ? s->threshold >= 0 && s->threshold <= 1 : isfinite(s->threshold)))
        return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "selector: threshold: found %g, expected %s", s->threshold,
                   share ? "0 … 1" : "a finite number");
}

typedef struct select_loop {
    const sg_selector *selector;
    const sg_kernels *kernels;
    const sg_real *scores;
    int64_t blocks, room;
    int32_t *counts, *ids;
    sg_real *best;    // (workers, room)
    int32_t *own_ids; // likewise, where the caller wants none
} select_loop;

static int64_t select_count(const sg_selector *s, const sg_real *best, int64_t room)
{
    switch (s->kind) {
    case SG_SELECT_TOP_K:
        return s->k;
    case SG_SELECT_OF_BEST:
        return sg_selected_count(best, room, SG_COUNT_OF_BEST, s->threshold, s->least);
    case SG_SELECT_SHARE:
        return sg_selected_count(best, room, SG_COUNT_SHARE, s->threshold, s->least);
    default:
        return sg_selected_count(best, room, SG_COUNT_ABOVE, s->threshold, s->least);
    }
}

static void select_tokens(void *context, sg_range tokens)
{
    const select_loop *l = context;
    sg_real *best = l->best + tokens.worker * l->room;
    for (int64_t t = tokens.first; t < tokens.end; t++) {
        int32_t *ids = l->ids != NULL ? l->ids + t * l->room : l->own_ids + tokens.worker * l->room;
        l->kernels->topk(ids, best, l->scores + t * l->blocks, l->blocks, l->room);
        l->counts[t] = (int32_t)select_count(l->selector, best, l->room);
    }
}

sg_status sg_select_blocks(sg_compute compute, const sg_selector *selector, const sg_real *scores,
                           int64_t tokens, int64_t blocks, int32_t *counts, int32_t *ids,
                           sg_error *err)
{
    SG_TRY(sg_selector_check(selector, blocks, err));
    const size_t workers = (size_t)sg_pool_threads(compute.pool);
    select_loop l = {.selector = selector,
                     .kernels = compute.kernels,
                     .scores = scores,
                     .blocks = blocks,
                     .room = select_room(selector, blocks),
                     .counts = counts,
                     .ids = ids};
    l.best = sg_alloc_array(workers, (size_t)l.room * sizeof *l.best);
    l.own_ids = sg_alloc_array(workers, (size_t)l.room * sizeof *l.own_ids);
    const bool room = l.best != NULL && l.own_ids != NULL;
    if (room) sg_parallel_ranges(compute.pool, tokens, select_chunk, select_tokens, &l);
    sg_free(l.best);
    sg_free(l.own_ids);
    return room ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for a selection");
}

// ---- a summary ----------------------------------------------------------------------------------

static int select_compare(const void *a, const void *b)
{
    const int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

static double select_captured(const sg_real *truth, const int32_t *counts, const int32_t *ids,
                              int64_t tokens, int64_t blocks, int64_t room)
{
    double shares = 0;
    int64_t some = 0;
    for (int64_t t = 0; t < tokens; t++) {
        double all = 0, caught = 0;
        for (int64_t e = 0; e < blocks; e++)
            all += (double)truth[t * blocks + e];
        if (!(all > 0)) continue;
        for (int64_t i = 0; i < counts[t]; i++)
            caught += (double)truth[t * blocks + ids[t * room + i]];
        shares += caught / all;
        some++;
    }
    return some > 0 ? shares / (double)some : NAN;
}

// Counts are put in order.
static void select_counts(int32_t *counts, int64_t tokens, int64_t blocks, sg_selection_summary *s)
{
    double sum = 0, squares = 0;
    qsort(counts, (size_t)tokens, sizeof *counts, select_compare);
    for (int64_t t = 0; t < tokens; t++)
        sum += (double)counts[t];
    s->mean = sum / (double)tokens;
    for (int64_t t = 0; t < tokens; t++)
        squares += ((double)counts[t] - s->mean) * ((double)counts[t] - s->mean);
    s->deviation = sqrt(squares / (double)tokens);
    s->active = s->mean / (double)blocks;
    s->least = counts[0];
    s->p5 = counts[(tokens - 1) * 5 / 100];
    s->p50 = counts[(tokens - 1) / 2];
    s->p95 = counts[(tokens - 1) * 95 / 100];
    s->most = counts[tokens - 1];
}

sg_status sg_selection_summarise(sg_compute compute, const sg_selector *selector,
                                 const sg_real *scores, const sg_real *truth, int64_t tokens,
                                 int64_t blocks, sg_selection_summary *summary, sg_error *err)
{
    SG_TRY(sg_selector_check(selector, blocks, err));
    if (tokens < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "selection: found no token, expected at least one");
    const int64_t room = select_room(selector, blocks);
    int32_t *counts = sg_alloc_array((size_t)tokens, sizeof *counts);
    int32_t *ids = sg_alloc_array((size_t)tokens, (size_t)room * sizeof *ids);
    sg_status status =
        counts != NULL && ids != NULL
            ? sg_select_blocks(compute, selector, scores, tokens, blocks, counts, ids, err)
            : sg_fail(err, SG_ERR_MEMORY, "out of memory for a selection");
    if (status == SG_OK) {
        *summary = (sg_selection_summary){.captured = NAN};
        if (truth != NULL)
            summary->captured = select_captured(truth, counts, ids, tokens, blocks, room);
        select_counts(counts, tokens, blocks, summary);
    }
    sg_free(counts);
    sg_free(ids);
    return status;
}
