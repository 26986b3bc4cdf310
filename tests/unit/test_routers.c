// Routers of blocks: an oracle is never beaten, training beats likeness beats chance, what they
// cost, folded means, the same bits for any threads, and what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "compute_on.h"
#include "sparsify/block_targets.h"
#include "sparsify/router_train.h"

enum { tokens = 1200, d = 16, neurons = 64, size = 4, blocks = 16 };

static void expect_ok(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

// A layer of neurons in 16 groups, and what it does for tokens.
typedef struct layer {
    sg_real vectors[neurons * d], w_out[neurons * d];
    sg_real x[tokens * d], activations[tokens * neurons];
    sg_real positive[tokens * blocks], norms[tokens * blocks];
    sg_partition partition;
} layer;

static sg_real drawn(uint32_t stream, int64_t i)
{
    return (sg_real)sg_rng_normal(6, stream, (uint64_t)i);
}

static void layer_activate(layer *l)
{
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t j = 0; j < neurons; j++) {
            double h = -1;
            for (int64_t i = 0; i < d; i++)
                h += (double)l->x[t * d + i] * (double)l->vectors[j * d + i];
            l->activations[t * neurons + j] = (sg_real)(h > 0 ? h : 0);
        }
}

static layer *layer_new(void)
{
    sg_error err = {0};
    layer *l = sg_alloc(sizeof *l);
    int32_t labels[neurons];
    assert_non_null(l);
    for (int64_t i = 0; i < neurons * d; i++) {
        l->vectors[i] =
            drawn(1, i / d % blocks * d + i % d) * (sg_real)0.25 + drawn(2, i) * (sg_real)0.15;
        l->w_out[i] = drawn(3, i);
    }
    for (int64_t j = 0; j < neurons; j++)
        labels[j] = (int32_t)(j % blocks);
    for (int64_t i = 0; i < tokens * d; i++)
        l->x[i] = drawn(4, i) * (sg_real)(1 + i / d % 3);
    layer_activate(l);
    expect_ok(sg_partition_of_labels(labels, neurons, size, &l->partition, &err), &err);
    sg_target_source source = {
        .partition = &l->partition, .kind = SG_TARGET_POSITIVE, .w_out = l->w_out, .d = d};
    expect_ok(sg_block_targets(compute_of(1), &source, l->activations, tokens, l->positive, &err),
              &err);
    source.kind = SG_TARGET_NORM;
    expect_ok(sg_block_targets(compute_of(1), &source, l->activations, tokens, l->norms, &err),
              &err);
    return l;
}

static void layer_free(layer *l)
{
    sg_partition_free(&l->partition);
    sg_free(l);
}

// Of the tokens that training holds out, the share of the truth in the k best by the router.
static double share_of(const layer *l, const sg_router_net *net, const sg_real *truth, int64_t k)
{
    static sg_real scores[tokens * blocks];
    const int64_t first = tokens / 10 * 9;
    sg_error err = {0};
    expect_ok(sg_router_scores(compute_of(1), net, l->x + first * d, tokens - first, scores, &err),
              &err);
    return sg_captured_share(sg_kernels_fastest(), scores, truth + first * blocks, tokens - first,
                             blocks, k, NULL);
}

// ---- quality ------------------------------------------------------------------------------------

static void test_order(void **state)
{
    (void)state;
    layer *l = layer_new();
    sg_router_net chance, likeness, mlp, norm;
    sg_router_trained trained;
    sg_error err = {0};
    sg_router_training o = sg_router_training_default(SG_ROUTER_MLP);
    o.batch = 120;
    expect_ok(sg_router_of_centres(&l->partition, l->vectors, d, true, &chance, &err), &err);
    expect_ok(sg_router_of_centres(&l->partition, l->vectors, d, false, &likeness, &err), &err);
    expect_ok(sg_router_mlp_start(&l->partition, l->vectors, d, &mlp, &err), &err);
    expect_ok(sg_router_train(compute_of(1), &mlp, l->x, l->positive, tokens, &o, &trained, &err),
              &err);
    assert_true(trained.captured == share_of(l, &mlp, l->positive, 3)); // of the epoch that stays
    o = sg_router_training_default(SG_ROUTER_NORM);
    o.batch = 120, o.learning_rate = 1e-2;
    expect_ok(sg_router_random_start(SG_ROUTER_NORM, d, 32, blocks, 1, &norm, &err), &err);
    expect_ok(sg_router_train(compute_of(1), &norm, l->x, l->norms, tokens, &o, &trained, &err),
              &err);
    for (int64_t k = 2; k <= 5; k += 3) {
        const int64_t first = tokens / 10 * 9;
        const double best =
            sg_captured_share(sg_kernels_fastest(), l->positive + first * blocks,
                              l->positive + first * blocks, tokens - first, blocks, k, NULL);
        const double by_chance = share_of(l, &chance, l->positive, k);
        const double by_likeness = share_of(l, &likeness, l->positive, k);
        const double by_mlp = share_of(l, &mlp, l->positive, k);
        const double by_norm = share_of(l, &norm, l->norms, k);
        print_message("k %d: oracle %.3f, mlp %.3f, centroid %.3f, control %.3f, norm %.3f\n",
                      (int)k, best, by_mlp, by_likeness, by_chance, by_norm);
        assert_true(best >= by_mlp && by_mlp > by_likeness && by_likeness > by_chance);
        assert_true(by_chance > (double)k / blocks);
        assert_true(by_norm > (double)k / blocks + 0.1);
    }
    sg_router_net_free(&chance);
    sg_router_net_free(&likeness);
    sg_router_net_free(&mlp);
    sg_router_net_free(&norm);
    layer_free(l);
}

// No order of blocks captures more than that of the truth itself; all blocks capture all; tokens
// without a truth do not count.
static void test_oracle(void **state)
{
    (void)state;
    layer *l = layer_new();
    const sg_kernels *kernels = sg_kernels_fastest();
    int64_t counted;
    memset(l->positive, 0, 3 * blocks * sizeof *l->positive);
    sg_captured_share(kernels, l->norms, l->positive, tokens, blocks, 1, &counted);
    assert_in_range(counted, tokens / 2, tokens - 3);
    for (int64_t k = 1; k <= blocks; k++) {
        const double best =
            sg_captured_share(kernels, l->positive, l->positive, tokens, blocks, k, NULL);
        assert_true(best >=
                    sg_captured_share(kernels, l->norms, l->positive, tokens, blocks, k, NULL));
        if (k == blocks) assert_true(fabs(best - 1) < 1e-12);
    }
    assert_true(isnan(sg_captured_share(kernels, l->norms, l->positive, 3, blocks, 2, &counted)));
    assert_int_equal(counted, 0);
    layer_free(l);
}

// A router of MoEfication begins with the order of likeness: tanh of x' . c.
static void test_start(void **state)
{
    (void)state;
    layer *l = layer_new();
    sg_router_net net;
    sg_error err = {0};
    sg_real scores[blocks], centres[blocks * d];
    expect_ok(sg_router_mlp_start(&l->partition, l->vectors, d, &net, &err), &err);
    expect_ok(sg_block_centres(&l->partition, l->vectors, d, centres, &err), &err);
    expect_ok(sg_router_scores(compute_of(1), &net, l->x, 1, scores, &err), &err);
    double length = 0;
    for (int64_t i = 0; i < d; i++)
        length += (double)l->x[i] * (double)l->x[i];
    for (int64_t e = 0; e < blocks; e++) {
        double like = 0;
        for (int64_t i = 0; i < d; i++)
            like += (double)l->x[i] / sqrt(length) * (double)centres[e * d + i];
        assert_true(fabs((double)scores[e] - 1 / (1 + exp(-tanh(like)))) < 1e-6);
    }
    sg_router_net_free(&net);
    layer_free(l);
}

// What published routers cost of their layers.
static void test_cost(void **state)
{
    (void)state;
    const struct {
        int64_t d, width, blocks, neurons;
        bool gated;
        double share;
    } rows[] = {{768, 96, 96, 3072, false, 0.0176},     // MoEfication, blocks of 32
                {768, 128, 768, 3072, false, 0.042},    // D2DMoE: GPT-2
                {768, 128, 512, 3072, false, 0.035},    // ViT-B
                {2048, 512, 2048, 16384, true, 0.021}}; // Gemma 2B
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const sg_router_net net = {.d = rows[i].d,
                                   .width = rows[i].width,
                                   .blocks = rows[i].blocks,
                                   .rows = rows[i].blocks};
        assert_true(fabs(sg_router_share(&net, rows[i].neurons, rows[i].gated) - rows[i].share) <
                    0.0005);
    }
}

// ---- folded means -------------------------------------------------------------------------------

// bias + sum over the selected of (block - its mean), with all means in the bias, is what one gets
// when blocks that are not selected give their means; with all of them selected, the dense layer.
static void test_folding(void **state)
{
    (void)state;
    layer *l = layer_new();
    sg_error err = {0};
    sg_activation_means m;
    sg_real means[neurons], bias[d], folded[d];
    int32_t block_of[neurons];
    expect_ok(sg_activation_means_new(neurons, &m, &err), &err);
    assert_int_equal(sg_activation_means_read(&m, means, &err), SG_ERR_NUMERIC);
    expect_ok(sg_activation_means_add(&m, l->activations, tokens, &err), &err);
    expect_ok(sg_activation_means_read(&m, means, &err), &err);
    sg_partition_labels(&l->partition, block_of);
    for (int64_t i = 0; i < d; i++)
        bias[i] = drawn(9, i);
    sg_fold_means(means, l->w_out, neurons, d, bias, folded);
    for (int64_t t = 0; t < 20; t++)
        for (int64_t i = 0; i < d; i++) {
            const sg_real *a = l->activations + t * neurons;
            double dense = (double)bias[i], some = dense;
            double all_folded = (double)folded[i], some_folded = all_folded;
            for (int64_t j = 0; j < neurons; j++) {
                const double w = (double)l->w_out[j * d + i], mean = (double)means[j];
                const bool selected = (block_of[j] + t) % 3 == 0;
                dense += (double)a[j] * w;
                some += (selected ? (double)a[j] : mean) * w;
                all_folded += ((double)a[j] - mean) * w;
                some_folded += selected ? ((double)a[j] - mean) * w : 0;
            }
            assert_true(fabs(dense - all_folded) < 1e-5 && fabs(some - some_folded) < 1e-5);
        }
    sg_activation_means_free(&m);
    layer_free(l);
}

// ---- bits and refusals --------------------------------------------------------------------------

static void test_threads(void **state)
{
    (void)state;
    layer *l = layer_new();
    sg_router_net net[2];
    sg_router_trained trained[2];
    sg_real *scores[2];
    sg_error err = {0};
    sg_router_training o = sg_router_training_default(SG_ROUTER_MLP);
    o.batch = 250, o.epochs = 3;
    for (int n = 0; n < 2; n++) {
        const sg_compute compute = compute_of(1 + 2 * n);
        expect_ok(sg_router_mlp_start(&l->partition, l->vectors, d, &net[n], &err), &err);
        expect_ok(
            sg_router_train(compute, &net[n], l->x, l->positive, tokens, &o, &trained[n], &err),
            &err);
        scores[n] = sg_alloc_zero(tokens * blocks, sizeof *scores[n]);
        expect_ok(sg_router_scores(compute, &net[n], l->x, tokens, scores[n], &err), &err);
        sg_pool_free(compute.pool);
    }
    assert_memory_equal(net[0].weight, net[1].weight, blocks * blocks * sizeof(sg_real));
    assert_memory_equal(net[0].hidden, net[1].hidden, blocks * d * sizeof(sg_real));
    assert_memory_equal(scores[0], scores[1], tokens * blocks * sizeof(sg_real));
    assert_memory_equal(&trained[0].captured, &trained[1].captured, sizeof(double));
    for (int n = 0; n < 2; n++) {
        sg_router_net_free(&net[n]);
        sg_free(scores[n]);
    }
    layer_free(l);
}

static bool stop(void *user, int64_t epoch, double loss, double captured)
{
    (void)user;
    (void)loss;
    (void)captured;
    return epoch < 1;
}

static void expect_refusal(layer *l, sg_router_net *net, const sg_router_training *o, int64_t count,
                           sg_status status, const char *message)
{
    sg_error err = {0};
    sg_router_trained trained;
    assert_int_equal(
        sg_router_train(compute_of(1), net, l->x, l->positive, count, o, &trained, &err), status);
    if (message != NULL) assert_string_equal(err.message, message);
}

static void test_refuses(void **state)
{
    (void)state;
    layer *l = layer_new();
    sg_router_net net, plain;
    sg_error err = {0};
    sg_router_training o = sg_router_training_default(SG_ROUTER_MLP);
    expect_ok(sg_router_mlp_start(&l->partition, l->vectors, d, &net, &err), &err);
    expect_ok(sg_router_of_centres(&l->partition, l->vectors, d, false, &plain, &err), &err);
    expect_refusal(l, &plain, &o, tokens, SG_ERR_ARGUMENT,
                   "router: found one that is not trained, expected mlp, norm or sigmoid");
    expect_refusal(l, &net, &o, 500, SG_ERR_ARGUMENT,
                   "router: found 500 calibration tokens, expected at least 569: a batch, and what "
                   "is held out");
    expect_refusal(l, &net, &o, 0, SG_ERR_ARGUMENT, NULL);
    o.held_out = 0.6;
    expect_refusal(l, &net, &o, tokens, SG_ERR_ARGUMENT,
                   "router: held out: found 0.6, expected 0 … 0.5");
    o.held_out = 0.1, o.kept = 0;
    expect_refusal(l, &net, &o, tokens, SG_ERR_ARGUMENT, NULL);
    o.kept = 0.2, o.progress = stop;
    expect_refusal(l, &net, &o, tokens, SG_ERR_STOPPED, NULL);
    o.progress = NULL, o.learning_rate = 1e38, o.weight_decay = 1e9;
    expect_refusal(l, &net, &o, tokens, SG_ERR_NUMERIC, NULL);
    l->positive[5] = -1;
    expect_refusal(l, &net, &o, tokens, SG_ERR_NUMERIC,
                   "router: token 0, target 5: found -1, expected a finite number that is not "
                   "below 0");
    memset(l->positive, 0, sizeof l->positive);
    expect_refusal(l, &net, &o, tokens, SG_ERR_NUMERIC,
                   "router: found no target above 0 in 1080 tokens: no block does anything");
    l->x[d + 3] = NAN;
    expect_refusal(l, &net, &o, tokens, SG_ERR_NUMERIC,
                   "router: token 1, input 3: found nan, expected a finite number");
    assert_int_equal(sg_router_scores(compute_of(1), &net, l->x, 2, l->norms, &err),
                     SG_ERR_NUMERIC);
    l->activations[neurons + 2] = INFINITY;
    const sg_target_source source = {.partition = &l->partition};
    assert_int_equal(
        sg_block_targets(compute_of(1), &source, l->activations, tokens, l->positive, &err),
        SG_ERR_NUMERIC);
    assert_string_equal(err.message,
                        "activations: token 1, neuron 2: found inf, expected a finite number");
    sg_router_net_free(&net);
    assert_int_equal(sg_router_random_start(SG_ROUTER_NORM, d, 0, blocks, 1, &net, &err),
                     SG_ERR_ARGUMENT);
    assert_int_equal(sg_router_random_start(SG_ROUTER_CENTROID, d, 0, blocks, 1, &net, &err),
                     SG_ERR_ARGUMENT);
    memset(l->vectors, 0, sizeof l->vectors);
    assert_int_equal(sg_router_mlp_start(&l->partition, l->vectors, d, &net, &err), SG_ERR_NUMERIC);
    assert_null(net.hidden);
    sg_router_net_free(&plain);
    layer_free(l);
}

static sg_status train_once(void *user, sg_error *err)
{
    const layer *l = user;
    sg_router_training o = sg_router_training_default(SG_ROUTER_MLP);
    sg_router_trained trained;
    sg_router_net net;
    o.batch = 16, o.epochs = 1;
    SG_TRY(sg_router_mlp_start(&l->partition, l->vectors, d, &net, err));
    sg_status status =
        sg_router_train(compute_of(1), &net, l->x, l->positive, 20, &o, &trained, err);
    sg_router_net_free(&net);
    return status;
}

static sg_status targets_once(void *user, sg_error *err)
{
    layer *l = user;
    const sg_target_source source = {
        .partition = &l->partition, .kind = SG_TARGET_NORM, .w_out = l->w_out, .d = d};
    return sg_block_targets(compute_of(1), &source, l->activations, 9, l->norms, err);
}

static void test_memory_fails(void **state)
{
    (void)state;
    layer *l = layer_new();
    assert_true(alloc_failure_loop(train_once, l) > 15);
    assert_true(alloc_failure_loop(targets_once, l) == 3);
    layer_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),   cmocka_unit_test(test_oracle),
        cmocka_unit_test(test_start),   cmocka_unit_test(test_cost),
        cmocka_unit_test(test_folding), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refuses), cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
