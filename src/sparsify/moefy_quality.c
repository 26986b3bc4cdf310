// What a split and a router are worth on tokens that neither has seen: how much of what neurons do
// together lies within blocks; how much of the truth the blocks have that the router would read,
// beside as many blocks of the truth itself (an oracle) and of the control; how many those are.
#include <math.h>

#include "base/alloc.h"
#include "base/status.h"
#include "sparsify/moefy_layer.h"
#include "sparsify/pair_sums.h"

typedef struct moefy_test {
    const sg_moefy_source *s;
    sg_moefy_layer *l;
    int64_t rows, blocks;     // blocks: that the router has scores for
    sg_real *positive, *norm; // (rows, blocks) truths
    sg_real *scores, *random; // (rows, blocks) of the router, and of the control
} moefy_test;

static sg_status quality_pairs_add(void *user, int64_t first, int64_t count, const sg_real *a,
                                   sg_error *err)
{
    (void)first;
    return sg_pair_sums_add(user, a, count, err);
}

static sg_status quality_within(const moefy_test *t, const sg_real *x, sg_error *err)
{
    const sg_dense_layer *dense = t->s->dense;
    sg_pair_sums sums;
    SG_TRY(sg_pair_sums_new(t->s->compute, dense->neurons, SG_PAIR_PRODUCTS, t->rows, &sums, err));
    sg_status status =
        sg_dense_layer_activate(t->s->compute, dense, x, t->rows, quality_pairs_add, &sums, err);
    if (status == SG_OK) {
        sg_pair_sums_finish(&sums);
        status = sg_pair_within(&sums, &t->l->split, &t->l->quality.within, err);
    }
    sg_pair_sums_free(&sums);
    return status;
}

static sg_status quality_scores(const moefy_test *t, const sg_real *x, sg_error *err)
{
    const sg_dense_layer *dense = t->s->dense;
    const sg_partition routed = sg_moefy_routed(&t->l->split);
    sg_router_net control;
    SG_TRY(sg_router_scores(t->s->compute, &t->l->net, x, t->rows, t->scores, err));
    SG_TRY(sg_router_of_centres(&routed, dense->gate, dense->d, true, &control, err));
    sg_status status = sg_router_scores(t->s->compute, &control, x, t->rows, t->random, err);
    sg_router_net_free(&control);
    return status;
}

static sg_selector quality_selector(const sg_config *c)
{
    sg_selector s = {.kind = SG_SELECT_TOP_K, .k = c->ffn_top_k, .threshold = c->ffn_threshold};
    if (sg_moefy_is(c->ffn_select, "max")) s.kind = SG_SELECT_OF_BEST;
    if (sg_moefy_is(c->ffn_select, "share")) s.kind = SG_SELECT_SHARE;
    if (sg_moefy_is(c->ffn_select, "threshold")) s.kind = SG_SELECT_ABOVE;
    s.least = s.kind == SG_SELECT_OF_BEST || s.kind == SG_SELECT_SHARE;
    return s;
}

static sg_status quality_selection(const moefy_test *t, sg_error *err)
{
    const sg_selector selector = quality_selector(t->s->config);
    sg_sparsify_layer *q = &t->l->quality;
    sg_selection_summary read;
    SG_TRY(sg_selection_summarise(t->s->compute, &selector, t->scores, NULL, t->rows, t->blocks,
                                  &read, err));
    q->mean = read.mean;
    q->deviation = read.deviation;
    q->least = read.least;
    q->p5 = read.p5;
    q->p50 = read.p50;
    q->p95 = read.p95;
    q->most = read.most;
    return SG_OK;
}

// All at the count that the selection has in the mean, as a whole number of 1 or more.
static void quality_captured(const moefy_test *t)
{
    const sg_kernels *kernels = t->s->compute.kernels;
    sg_sparsify_layer *q = &t->l->quality;
    q->compared = llround(q->mean) > 1 ? llround(q->mean) : 1;
    const sg_real *const truths[] = {t->positive, t->norm};
    sg_sparsify_captured *const to[] = {&q->positive, &q->norm};
    for (int i = 0; i < 2; i++) {
        const sg_real *truth = truths[i];
        to[i]->router =
            sg_captured_share(kernels, t->scores, truth, t->rows, t->blocks, q->compared, NULL);
        to[i]->oracle =
            sg_captured_share(kernels, truth, truth, t->rows, t->blocks, q->compared, NULL);
        to[i]->random =
            sg_captured_share(kernels, t->random, truth, t->rows, t->blocks, q->compared, NULL);
    }
}

static sg_status quality_run(moefy_test *t, sg_error *err)
{
    const sg_real *x = t->s->x + t->s->text->parts[SG_USE_TEST].row * t->s->dense->d;
    SG_TRY(quality_within(t, x, err));
    SG_TRY(sg_moefy_targets(t->s, t->l, SG_USE_TEST, SG_TARGET_POSITIVE, false, t->positive, err));
    SG_TRY(sg_moefy_targets(t->s, t->l, SG_USE_TEST, SG_TARGET_NORM, false, t->norm, err));
    SG_TRY(quality_scores(t, x, err));
    SG_TRY(quality_selection(t, err));
    quality_captured(t);
    return SG_OK;
}

sg_status sg_moefy_quality(const sg_moefy_source *s, sg_moefy_layer *l, sg_error *err)
{
    const sg_sparsify_captured none = {NAN, NAN, NAN};
    moefy_test t = {.s = s, .l = l, .rows = s->text->parts[SG_USE_TEST].rows};
    l->quality.within = NAN;
    l->quality.mean = l->quality.deviation = NAN;
    l->quality.positive = l->quality.norm = none;
    if (t.rows == 0) return SG_OK;
    t.blocks = l->net.blocks;
    const size_t numbers = (size_t)t.rows * (size_t)t.blocks;
    sg_real *all = sg_alloc_array(4 * numbers, sizeof *all);
    if (all == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a test");
    t.positive = all;
    t.norm = all + numbers;
    t.scores = all + 2 * numbers;
    t.random = all + 3 * numbers;
    sg_status status = quality_run(&t, err);
    sg_free(all);
    return status;
}
