// Splits of neurons, routers and terms of sparsity against numpy, scipy and PyTorch
// (tests/twins/sparsify_twin.py). tests/golden/README.md says what the files hold.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "compute_on.h"
#include "format/safetensors.h"
#include "op/op.h"
#include "sparsify/auction.h"
#include "sparsify/block_targets.h"
#include "sparsify/pair_sums.h"
#include "sparsify/router_train.h"
#include "sparsify/transport.h"

typedef struct golden {
    sg_safetensors *file;
} golden;

static golden golden_open(const char *name)
{
    char path[512];
    sg_error err = {0};
    golden g;
    snprintf(path, sizeof path, "%s/golden/sparsify/%s.safetensors", SG_TEST_DIR, name);
    if (sg_safetensors_open(path, &g.file, &err) != SG_OK) fail_msg("%s", err.message);
    return g;
}

static void golden_close(golden g)
{
    sg_safetensors_close(g.file);
}

static const sg_tensor_view *golden_view(golden g, const char *name, sg_dtype dtype)
{
    const sg_tensor_view *view = sg_safetensors_find(g.file, name);
    if (view == NULL) fail_msg("the golden file has no %s", name);
    assert_int_equal(view->dtype, dtype);
    assert_true(sg_tensor_view_is_aligned(view));
    return view;
}

static const float *golden_floats(golden g, const char *name)
{
    return golden_view(g, name, SG_DTYPE_F32)->data;
}

static const int32_t *golden_ints(golden g, const char *name)
{
    return golden_view(g, name, SG_DTYPE_I32)->data;
}

static int64_t golden_size(golden g, const char *name, int dimension)
{
    return golden_view(g, name, SG_DTYPE_F32)->shape[dimension];
}

static void expect_close(const char *what, double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * (1 + fabs(expected))))
        fail_msg("%s: found %.9g, expected %.9g", what, found, expected);
}

static void expect_all_close(const char *what, const float *found, const float *expected,
                             int64_t count, double tolerance)
{
    for (int64_t i = 0; i < count; i++)
        expect_close(what, (double)found[i], (double)expected[i], tolerance);
}

static void expect_ok(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

// ---- splits -------------------------------------------------------------------------------------

static void check_auction(const char *name)
{
    char scores[32], expected[32];
    snprintf(scores, sizeof scores, "%s.scores", name);
    snprintf(expected, sizeof expected, "%s.labels", name);
    golden g = golden_open("splits");
    const int64_t n = golden_size(g, scores, 0), rows = golden_size(g, scores, 1), m = rows / n;
    for (int threads = 1; threads <= 3; threads += 2) {
        int32_t labels[256];
        sg_error err = {0};
        const sg_compute compute = compute_of(threads);
        expect_ok(
            sg_assign_auction(compute, golden_floats(g, scores), rows, n, m, 2 * m, labels, &err),
            &err);
        assert_memory_equal(labels, golden_ints(g, expected), (size_t)rows * sizeof *labels);
        sg_pool_free(compute.pool);
    }
    golden_close(g);
}

static void test_auction(void **state)
{
    (void)state;
    check_auction("auction");
    check_auction("contest");
}

static void test_transport(void **state)
{
    (void)state;
    golden g = golden_open("splits");
    const int64_t rows = golden_size(g, "exact.costs", 0),
                  blocks = golden_size(g, "exact.costs", 1);
    const float *costs = golden_floats(g, "exact.costs");
    double *wide = sg_alloc_array((size_t)(rows * blocks), sizeof *wide), sum = 0;
    int32_t labels[256];
    sg_error err = {0};
    for (int64_t i = 0; i < rows * blocks; i++)
        wide[i] = (double)costs[i];
    expect_ok(sg_assign_balanced(wide, rows, blocks, rows / blocks, labels, &err), &err);
    for (int64_t i = 0; i < rows; i++)
        sum += wide[i * blocks + labels[i]];
    expect_close("the least sum", sum, (double)golden_floats(g, "exact.sum")[0], 1e-7);
    assert_memory_equal(labels, golden_ints(g, "exact.labels"), (size_t)rows * sizeof *labels);
    sg_free(wide);
    golden_close(g);
}

// From the same labelling: the exact form ends where scipy's rounds end. The auction's rounds too,
// but there plain k-means comes first, and once more from scratch: it is to be no worse.
static void test_kmeans(void **state)
{
    (void)state;
    golden g = golden_open("splits");
    const int64_t rows = golden_size(g, "vectors", 0), d = golden_size(g, "vectors", 1), size = 8;
    const float *vectors = golden_floats(g, "vectors");
    const sg_compute compute = compute_of(1);
    sg_kmeans_options o = sg_kmeans_options_default();
    sg_partition exact, auction;
    sg_error err = {0};
    double objective, again;
    int32_t labels[256];
    o.start = golden_ints(g, "start");
    expect_ok(sg_partition_kmeans(compute, vectors, rows, d, size, &o, &exact, &objective, &err),
              &err);
    expect_close("the objective", objective, (double)golden_floats(g, "exact.objective")[0], 1e-6);
    sg_partition_labels(&exact, labels);
    assert_memory_equal(labels, golden_ints(g, "exact.split"), (size_t)rows * sizeof *labels);
    expect_ok(sg_partition_distance(compute, &exact, vectors, d, &again, &err), &err);
    expect_close("the distance", again, objective, 1e-12);
    o.kind = SG_KMEANS_AUCTION;
    expect_ok(sg_partition_kmeans(compute, vectors, rows, d, size, &o, &auction, &again, &err),
              &err);
    assert_true(again <= 1.02 * (double)golden_floats(g, "auction.objective")[0]);
    sg_partition_free(&exact);
    sg_partition_free(&auction);
    golden_close(g);
}

// ---- pairs --------------------------------------------------------------------------------------

static void check_pairs(golden g, sg_pair_kind kind, int threads, int64_t piece)
{
    const float *a = golden_floats(g, "activations");
    const float *expected = golden_floats(g, kind == SG_PAIR_CLAMPED ? "clamped" : "products");
    const int64_t rows = golden_size(g, "activations", 0), n = golden_size(g, "activations", 1);
    const sg_compute compute = compute_of(threads);
    sg_pair_sums sums;
    sg_error err = {0};
    double value;
    expect_ok(sg_pair_sums_new(compute, n, kind, rows, &sums, &err), &err);
    for (int64_t r = 0; r < rows; r += piece)
        expect_ok(sg_pair_sums_add(&sums, a + r * n, r + piece < rows ? piece : rows - r, &err),
                  &err);
    expect_ok(sg_pair_sums_add(&sums, a, rows, &err), &err); // is passed over
    sg_pair_sums_finish(&sums);
    assert_int_equal(sums.tokens, rows);
    for (int64_t i = 0; i < n; i++)
        expect_all_close("sums of pairs", sg_pair_row(&sums, i), expected + i * n + i, n - i, 2e-6);
    for (int i = 0; kind == SG_PAIR_CLAMPED && i < 5; i++) {
        expect_ok(sg_pair_percentile(&sums, (double)golden_floats(g, "percents")[i], &value, &err),
                  &err);
        expect_close("a percentile", value, (double)golden_floats(g, "percentiles")[i], 2e-6);
    }
    sg_pair_sums_free(&sums);
    sg_pool_free(compute.pool);
}

static void test_pairs(void **state)
{
    (void)state;
    golden g = golden_open("pairs");
    for (int kind = 0; kind < 2; kind++) {
        check_pairs(g, (sg_pair_kind)kind, 1, 300);
        check_pairs(g, (sg_pair_kind)kind, 3, 7);
    }
    golden_close(g);
}

// ---- routers ------------------------------------------------------------------------------------

enum { tokens = 60, width = 12, neurons = 24, blocks = 6, size = 4 };

static sg_partition golden_partition(golden g)
{
    sg_partition p;
    sg_error err = {0};
    expect_ok(sg_partition_of_labels(golden_ints(g, "labels"), neurons, size, &p, &err), &err);
    return p;
}

static void test_targets(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        sg_block_target kind;
    } kinds[] = {{"positive", SG_TARGET_POSITIVE},
                 {"deviations", SG_TARGET_DEVIATION},
                 {"absolutes", SG_TARGET_ABSOLUTE},
                 {"norms", SG_TARGET_NORM}};
    golden g = golden_open("routers");
    sg_partition p = golden_partition(g);
    float values[tokens * blocks], means[neurons], folded[width];
    sg_error err = {0};
    for (size_t i = 0; i < 4; i++)
        for (int threads = 1; threads <= 3; threads += 2) {
            const sg_target_source source = {.partition = &p,
                                             .kind = kinds[i].kind,
                                             .means = golden_floats(g, "means"),
                                             .w_out = golden_floats(g, "w_out"),
                                             .d = width};
            const sg_compute compute = compute_of(threads);
            expect_ok(
                sg_block_targets(compute, &source, golden_floats(g, "relu"), tokens, values, &err),
                &err);
            expect_all_close(kinds[i].name, values, golden_floats(g, kinds[i].name),
                             tokens * blocks, 3e-6);
            sg_pool_free(compute.pool);
        }
    sg_activation_means m;
    expect_ok(sg_activation_means_new(neurons, &m, &err), &err);
    for (int64_t t = 0; t < tokens; t += 7)
        expect_ok(sg_activation_means_add(&m, golden_floats(g, "relu") + t * neurons,
                                          tokens - t < 7 ? tokens - t : 7, &err),
                  &err);
    expect_ok(sg_activation_means_read(&m, means, &err), &err);
    expect_all_close("means", means, golden_floats(g, "means"), neurons, 1e-6);
    sg_fold_means(golden_floats(g, "means"), golden_floats(g, "w_out"), neurons, width,
                  golden_floats(g, "bias"), folded);
    expect_all_close("folded", folded, golden_floats(g, "folded"), width, 1e-6);
    sg_activation_means_free(&m);
    sg_partition_free(&p);
    golden_close(g);
}

static void check_scores(golden g, const char *name, const sg_router_net *net, int64_t piece)
{
    float scores[tokens * blocks];
    sg_error err = {0};
    const float *x = golden_floats(g, "x");
    for (int64_t t = 0; t < tokens; t += piece)
        expect_ok(
            sg_router_scores(compute_of(1), net, x + t * width, piece, scores + t * blocks, &err),
            &err);
    expect_all_close(name, scores, golden_floats(g, name), tokens * blocks, 3e-6);
}

static void copy(float *to, golden g, const char *name)
{
    const sg_tensor_view *view = golden_view(g, name, SG_DTYPE_F32);
    memcpy(to, view->data, (size_t)(view->shape[0] * view->shape[1]) * sizeof *to);
}

static void test_scores(void **state)
{
    (void)state;
    golden g = golden_open("routers");
    const float *vectors = golden_floats(g, "vectors");
    sg_partition p = golden_partition(g);
    sg_router_net net;
    sg_error err = {0};
    for (int control = 0; control < 2; control++) {
        expect_ok(sg_router_of_centres(&p, vectors, width, control, &net, &err), &err);
        check_scores(g, control ? "control" : "centroid", &net, tokens);
        sg_router_net_free(&net);
    }
    expect_ok(sg_router_mlp_start(&p, vectors, width, &net, &err), &err);
    check_scores(g, "mlp", &net, 1);
    sg_router_net_free(&net);
    expect_ok(sg_router_random_start(SG_ROUTER_NORM, width, 5, blocks, 1, &net, &err), &err);
    copy(net.hidden, g, "hidden");
    copy(net.weight, g, "weight");
    check_scores(g, "norm", &net, 20);
    sg_router_net_free(&net);
    int32_t first[blocks];
    for (int64_t e = 0; e < blocks; e++)
        first[e] = p.order[e * size];
    const sg_neuron_rows rows = {.neurons = p.neurons,
                                 .d = width,
                                 .gate = vectors,
                                 .up = golden_floats(g, "up"),
                                 .glu = SG_GLU_SILU};
    expect_ok(sg_router_of_neurons(first, blocks, &rows, &net, &err), &err);
    check_scores(g, "representative", &net, tokens);
    sg_router_net_free(&net);
    for (int64_t k = 1; k <= blocks; k++)
        expect_close("captured",
                     sg_captured_share(sg_kernels_fastest(), golden_floats(g, "centroid"),
                                       golden_floats(g, "positive"), tokens, blocks, k, NULL),
                     (double)golden_floats(g, "captured")[k - 1], 1e-6);
    sg_partition_free(&p);
    golden_close(g);
}

typedef struct epochs {
    const float *losses;
    int64_t seen;
} epochs;

static bool epoch_is(void *user, int64_t epoch, double loss, double captured)
{
    epochs *e = user;
    assert_true(isnan(captured));
    assert_int_equal(epoch, e->seen++);
    expect_close("the loss of an epoch", loss, (double)e->losses[epoch], 2e-6);
    return true;
}

// All tokens are one batch, so that their order does not matter.
static void check_training(golden g, sg_router_net *net, const char *targets, const char *name,
                           int threads)
{
    char entry[32];
    sg_error err = {0};
    snprintf(entry, sizeof entry, "%s.losses", name);
    epochs e = {.losses = golden_floats(g, entry)};
    sg_router_training o = sg_router_training_default(net->form);
    sg_router_trained trained;
    const sg_compute compute = compute_of(threads);
    o.batch = tokens, o.epochs = 12, o.held_out = 0, o.progress = epoch_is, o.user = &e;
    expect_ok(sg_router_train(compute, net, golden_floats(g, "x"), golden_floats(g, targets),
                              tokens, &o, &trained, &err),
              &err);
    assert_int_equal(trained.epoch, 11);
    snprintf(entry, sizeof entry, "%s.hidden", name);
    expect_all_close(entry, net->hidden, golden_floats(g, entry), net->width * width, 2e-5);
    snprintf(entry, sizeof entry, "%s.weight", name);
    expect_all_close(entry, net->weight, golden_floats(g, entry), blocks * net->width, 2e-5);
    sg_pool_free(compute.pool);
}

static void test_training(void **state)
{
    (void)state;
    golden g = golden_open("routers");
    sg_partition p = golden_partition(g);
    sg_router_net net;
    sg_error err = {0};
    for (int threads = 1; threads <= 3; threads += 2) {
        expect_ok(sg_router_mlp_start(&p, golden_floats(g, "vectors"), width, &net, &err), &err);
        check_training(g, &net, "positive", "mlp", threads);
        sg_router_net_free(&net);
        expect_ok(sg_router_random_start(SG_ROUTER_NORM, width, 5, blocks, 1, &net, &err), &err);
        copy(net.hidden, g, "hidden");
        copy(net.weight, g, "weight");
        check_training(g, &net, "norms", "norm", threads);
        sg_router_net_free(&net);
    }
    sg_partition_free(&p);
    golden_close(g);
}

// ---- terms --------------------------------------------------------------------------------------

typedef struct term {
    const char *name, *x;
    sg_row_loss_kind kind;
    bool relu, targets;
    sg_row_loss_options options;
} term;

static void check_term(golden g, const term *t, int threads)
{
    const int64_t shape[] = {golden_size(g, t->x, 0), golden_size(g, t->x, 1)};
    const int64_t count = shape[0] * shape[1];
    char name[64];
    sg_error err = {0};
    sg_tape *tape;
    sg_row_loss_options o = t->options;
    float *grad = sg_alloc_array((size_t)count, sizeof *grad);
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, shape,
                                (void *)(uintptr_t)golden_floats(g, t->x), grad, true);
    if (t->targets)
        o.targets = sg_tape_leaf(tape, "targets", SG_KIND_REAL, 2, shape,
                                 (void *)(uintptr_t)golden_floats(g, "targets"), NULL, false);
    sg_tensor *loss =
        sg_row_loss(tape, t->kind, t->relu ? sg_activate(tape, x, SG_ACT_RELU) : x, &o);
    sg_tape_add_loss(tape, loss, 1);
    expect_ok(sg_tape_finish(tape, &(sg_tape_options){.gradient = true, .threads = threads}, &err),
              &err);
    expect_ok(sg_tape_allocate(tape, &err), &err);
    sg_run run = {.compute = compute_of(threads)};
    sg_tape_forward(tape, &run);
    sg_tape_backward(tape, &run);
    expect_close(t->name, (double)sg_values(loss)[0], (double)golden_floats(g, t->name)[0], 2e-6);
    snprintf(name, sizeof name, "grad.%s", t->name);
    expect_all_close(name, grad, golden_floats(g, name), count, 2e-6);
    sg_pool_free(run.compute.pool);
    sg_tape_free(tape);
    sg_free(grad);
}

static void test_terms(void **state)
{
    (void)state;
    static const sg_row_loss_options none = {0}, floor = {.clamped = true, .floor = -2.5},
                                     pole = {.centre = 0.5, .least = 0.05};
    const term terms[] = {
        {"l1", "x", SG_ROW_L1, true, false, none},
        {"hoyer", "x", SG_ROW_HOYER, true, false, none},
        {"l1_clamped", "x", SG_ROW_L1, false, false, floor},
        {"hoyer_clamped", "x", SG_ROW_HOYER, false, false, floor},
        {"cross_entropy", "x", SG_ROW_CROSS_ENTROPY, false, true, none},
        {"squares", "x", SG_ROW_SQUARES, false, true, none},
        {"efficiency", "gates", SG_ROW_EFFICIENCY, false, false, none},
        {"separability", "gates", SG_ROW_SEPARABILITY, false, false, pole},
    };
    golden g = golden_open("terms");
    for (size_t i = 0; i < sizeof terms / sizeof *terms; i++)
        for (int threads = 1; threads <= 3; threads += 2)
            check_term(g, &terms[i], threads);
    golden_close(g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auction),  cmocka_unit_test(test_transport),
        cmocka_unit_test(test_kmeans),   cmocka_unit_test(test_pairs),
        cmocka_unit_test(test_targets),  cmocka_unit_test(test_scores),
        cmocka_unit_test(test_training), cmocka_unit_test(test_terms),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
