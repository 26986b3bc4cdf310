// Tapes that compute in bf16: which results have a form in bf16, that both forms hold the same
// numbers, that the sum that layers add to is never rounded, that looking changes no bit, how near
// gradients come to those in f32, and what a step takes of memory.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/config.h"
#include "model/graph.h"
#include "op/observe.h"
#include "tensor/tape_inside.h"
#include "tiny_models.h"

enum { rows = 37, width = 24, wide = 40, leaves = 6 };

// A tape over leaves: x, a second (rows, width), W (wide, width), V (width, wide), a norm's scale,
// a bias (wide).
typedef struct small {
    sg_tape *tape;
    sg_tensor *x, *y, *w, *v, *scale, *bias;
    sg_real data[leaves][rows * wide], grad[leaves][rows * wide];
    sg_tensor *loss;
    sg_pass pass;
} small;

static void sum_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    double sum = 0;
    for (int64_t i = 0; i < node->in[0]->count; i++)
        sum += (double)(sg_values(node->in[0])[i] * (sg_real)(i % 7 - 3));
    sg_values(node->out[0])[0] = (sg_real)sum;
}

static void sum_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *dx = sg_grad_in(run, node, 0, &add);
    for (int64_t i = 0; dx != NULL && i < node->in[0]->count; i++)
        dx[i] = (add ? dx[i] : 0) + node->out[0]->grad[0] * (sg_real)(i % 7 - 3);
}

static const sg_op op_sum = {.name = "sum", .forward = sum_forward, .backward = sum_backward};

// Read in f32, and made the loss.
static void small_loss(small *s, sg_tensor *t)
{
    assert_non_null(t);
    sg_node *node = sg_tape_node(s->tape, &op_sum, 1, &t);
    s->loss = sg_node_output(s->tape, node, "sum", SG_KIND_REAL, 1, (int64_t[]){1});
    sg_tape_add_loss(s->tape, s->loss, 1);
}

static small *small_new(sg_compute_kind kind)
{
    static const int64_t shapes[leaves][2] = {{rows, width}, {rows, width}, {wide, width},
                                              {width, wide}, {1, width},    {1, wide}};
    small *s = sg_alloc_zero(1, sizeof *s);
    assert_non_null(s);
    assert_int_equal(sg_tape_new(&s->tape, NULL), SG_OK);
    sg_tape_compute(s->tape, kind, SG_COMPUTE_F32);
    sg_tensor **all[] = {&s->x, &s->y, &s->w, &s->v, &s->scale, &s->bias};
    for (int i = 0; i < leaves; i++) {
        const int rank = i >= 4 ? 1 : 2;
        for (int j = 0; j < rows * wide; j++)
            s->data[i][j] = (sg_real)sg_rng_normal(4, (uint32_t)i, (uint64_t)j) / 3;
        *all[i] = sg_tape_leaf(s->tape, "leaf", SG_KIND_REAL, rank, shapes[i] + 2 - rank,
                               s->data[i], s->grad[i], true);
    }
    return s;
}

static void small_run(small *s, int threads, bool gradient)
{
    sg_error err = {0};
    if (sg_tape_finish(s->tape, &(sg_tape_options){.gradient = gradient, .threads = threads},
                       &err) != SG_OK)
        fail_msg("%s", err.message);
    assert_int_equal(sg_tape_allocate(s->tape, &err), SG_OK);
    memset(s->tape->memory, 0xff, s->tape->memory_bytes);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    if (threads > 1) assert_int_equal(sg_pool_new(threads, &run.compute.pool, &err), SG_OK);
    assert_int_equal(sg_tape_forward(s->tape, &run), SG_OK);
    if (gradient) assert_int_equal(sg_tape_backward(s->tape, &run), SG_OK);
    sg_pool_free(run.compute.pool);
}

static void small_free(small *s)
{
    sg_tape_free(s->tape);
    sg_free(s);
}

static double distance(const sg_real *a, const sg_real *b, size_t count)
{
    double apart = 0, of = 0;
    for (size_t i = 0; i < count; i++) {
        apart += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        of += (double)b[i] * (double)b[i];
    }
    return of > 0 ? sqrt(apart / of) : sqrt(apart);
}

static void assert_same_forms(const sg_tensor *t, bool rounded)
{
    for (int64_t i = 0; i < t->count; i++) {
        const float value = (float)sg_values(t)[i];
        assert_int_equal(t->half[i], sg_bf16_round(value));
        if (rounded) assert_true(sg_bf16_value(t->half[i]) == value);
    }
}

// ---- which results ------------------------------------------------------------------------------

static sg_tensor *record_mlp(small *s, sg_tensor *x, sg_tensor **between)
{
    between[0] = sg_rmsnorm(s->tape, x, s->scale, 1e-6);
    between[1] = sg_linear(s->tape, between[0], s->w, s->bias);
    between[2] = sg_activate(s->tape, between[1], SG_ACT_GELU);
    between[3] = sg_linear(s->tape, between[2], s->v, NULL);
    return between[3];
}

static void test_products_have_halves(void **state)
{
    (void)state;
    for (sg_compute_kind kind = SG_COMPUTE_F32; kind <= SG_COMPUTE_BF16; kind++) {
        small *s = small_new((sg_compute_kind)kind);
        sg_tensor *t[4];
        small_loss(s, record_mlp(s, s->x, t));
        small_run(s, 1, true);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(t[i]->has_half, kind == SG_COMPUTE_BF16);
            assert_int_equal(t[i]->half != NULL, kind == SG_COMPUTE_BF16);
            assert_int_equal(t[i]->data == NULL, kind == SG_COMPUTE_BF16);
        }
        assert_false(t[3]->has_half); // the loss reads f32
        assert_null(t[3]->half);
        assert_non_null(t[3]->data);
        small_free(s);
    }
}

static void test_both_forms_hold_the_same(void **state)
{
    (void)state;
    small *s = small_new(SG_COMPUTE_BF16);
    sg_tensor *t[4], *kept[3];
    sg_tensor *end = record_mlp(s, s->x, t);
    for (int i = 0; i < 3; i++)
        sg_tape_keep(s->tape, kept[i] = t[i]);
    small_loss(s, end);
    small_run(s, 2, true);
    for (int i = 0; i < 3; i++)
        assert_false(kept[i]->no_data);
    // What is kept is f32, and what it is rounded to is what products read.
    for (int i = 0; i < 3; i++)
        for (int64_t j = 0; j < kept[i]->count; j++) {
            const float value = (float)sg_values(kept[i])[j];
            assert_true(sg_bf16_value(sg_bf16_round(value)) == value);
        }
    small_free(s);
    // With no backward pass behind it, memory holds both forms of the last that were written.
    s = small_new(SG_COMPUTE_BF16);
    sg_tensor *n = sg_rmsnorm(s->tape, s->x, s->scale, 1e-6);
    sg_tensor *z = sg_linear(s->tape, n, s->w, NULL);
    sg_tape_keep(s->tape, n);
    sg_tape_keep(s->tape, z);
    small_run(s, 1, false);
    assert_same_forms(n, true);
    assert_null(z->half);
    small_free(s);
}

static void test_views_have_the_half_of_their_base(void **state)
{
    (void)state;
    small *s = small_new(SG_COMPUTE_BF16);
    sg_tensor *u = sg_linear(s->tape, s->x, s->w, NULL);
    sg_tensor *turned = sg_reshape(s->tape, u, 2, (int64_t[]){wide, rows});
    sg_tensor *back = sg_reshape(s->tape, turned, 2, (int64_t[]){rows, wide});
    small_loss(s, sg_linear(s->tape, back, s->v, NULL));
    small_run(s, 1, true);
    assert_true(u->has_half && u->no_data);
    assert_non_null(back->half);
    assert_ptr_equal(back->half, u->half);
    assert_ptr_equal(turned->half, u->half);
    small_free(s);
}

// ---- the sum that layers add to -----------------------------------------------------------------

static void test_sums_are_not_rounded(void **state)
{
    (void)state;
    small *s = small_new(SG_COMPUTE_BF16);
    sg_tensor *sum = sg_add(s->tape, s->x, s->y), *t[4];
    sg_tensor *next = sg_add(s->tape, sum, record_mlp(s, sum, t));
    sg_tensor *product = sg_linear(s->tape, sum, s->w, NULL); // rounds for itself
    sg_tape_keep(s->tape, sum);
    sg_tape_keep(s->tape, product);
    small_loss(s, next);
    small_run(s, 1, true);
    assert_true(sum->exact && next->exact && sum->has_half);
    for (int64_t i = 0; i < sum->count; i++)
        assert_true(sg_values(sum)[i] == s->data[0][i] + s->data[1][i]);
    small_free(s);
}

// A residual block gives the same whether a product reads the sum or not.
static void test_rounding_is_of_the_reader(void **state)
{
    (void)state;
    sg_real losses[2];
    for (int reads = 0; reads < 2; reads++) {
        small *s = small_new(SG_COMPUTE_BF16);
        sg_tensor *sum = sg_add(s->tape, s->x, s->y), *t[4];
        if (reads) sg_tape_keep(s->tape, sg_linear(s->tape, sum, s->w, NULL));
        small_loss(s, sg_add(s->tape, sum, record_mlp(s, sum, t)));
        small_run(s, 1, true);
        losses[reads] = sg_values(s->loss)[0];
        small_free(s);
    }
    assert_memory_equal(&losses[0], &losses[1], sizeof losses[0]);
}

// ---- looking ------------------------------------------------------------------------------------

static sg_status looked(void *user, const sg_point_values *values, sg_error *err)
{
    (void)err;
    ++*(int *)user;
    assert_non_null(values->values);
    return SG_OK;
}

static void test_looking_changes_no_bit(void **state)
{
    (void)state;
    static const unsigned uses[] = {0, SG_POINT_READ, SG_POINT_WRITE,
                                    SG_POINT_READ | SG_POINT_GRADIENT,
                                    SG_POINT_WRITE | SG_POINT_GRADIENT};
    small *first = NULL;
    for (size_t u = 0; u < sizeof uses / sizeof *uses; u++) {
        small *s = small_new(SG_COMPUTE_BF16);
        int calls = 0;
        const sg_point_request request = {.use = uses[u], .call = looked, .user = &calls};
        sg_tensor *h = sg_add(s->tape, s->x, s->y), *scale = s->scale, *t = h;
        for (int layer = 0; layer < 2; layer++)
            for (int at = 0; at < 5; at++) {
                t = at == 0   ? h
                    : at == 1 ? sg_rmsnorm(s->tape, h, scale, 1e-6)
                    : at == 2 ? sg_linear(s->tape, t, s->w, s->bias)
                    : at == 3 ? sg_activate(s->tape, t, SG_ACT_SWISH)
                              : sg_add(s->tape, h, sg_linear(s->tape, t, s->v, NULL));
                const sg_observation o = {.request = &request,
                                          .pass = &s->pass,
                                          .name = "point",
                                          .rank = 2,
                                          .shape = {t->shape[0], t->shape[1]},
                                          .row_step = 1};
                if (uses[u] != 0) t = sg_observe(s->tape, t, &o);
                if (at == 0 || at == 4) h = t;
            }
        small_loss(s, h);
        small_run(s, 3, true);
        assert_int_equal(calls > 0, uses[u] != 0);
        if (first == NULL) {
            first = s;
            continue;
        }
        assert_memory_equal(first->loss->data, s->loss->data, sizeof(sg_real));
        // What was written is kept for the backward pass; else norms are made again from bf16.
        if (uses[u] & SG_POINT_WRITE)
            for (int l = 0; l < leaves; l++)
                assert_true(distance(s->grad[l], first->grad[l], rows * wide) < 0x1p-8);
        else
            assert_memory_equal(first->grad, s->grad, sizeof s->grad);
        small_free(s);
    }
    small_free(first);
}

// ---- lives --------------------------------------------------------------------------------------

static size_t chain_bytes(int length)
{
    small *s = small_new(SG_COMPUTE_BF16);
    sg_tensor *t = s->x;
    for (int i = 0; i < length; i++)
        t = sg_linear(s->tape, sg_activate(s->tape, sg_linear(s->tape, t, s->w, NULL), SG_ACT_RELU),
                      s->v, NULL);
    sg_tape_keep(s->tape, t);
    small_run(s, 1, false);
    const size_t bytes = sg_tape_bytes(s->tape);
    small_free(s);
    return bytes;
}

static void test_halves_die_with_their_readers(void **state)
{
    (void)state;
    assert_int_equal(chain_bytes(3), chain_bytes(30));
}

// Weights, gradients, moments and the plan of a step of 8 sequences of 1,024 tokens.
static double step_bytes(const char *name, sg_compute_kind kind)
{
    sg_error err = {0};
    sg_preset preset;
    sg_param_list params;
    assert_int_equal(sg_preset_find(name, &preset, &err), SG_OK);
    assert_int_equal(sg_config_params(&preset.config, &params, &err), SG_OK);
    const sg_rope_table rope = {.positions = 1024,
                                .half = sg_config_rotary_dim(&preset.config) / 2};
    const sg_graph_options options = {.batch = 8,
                                      .length = 1024,
                                      .output = SG_OUTPUT_LOSS,
                                      .gradient = true,
                                      .threads = 2,
                                      .compute = kind};
    sg_graph *graph;
    preset.config.max_position_embeddings = 1024;
    if (sg_graph_new(&preset.config, &params, NULL, NULL, &rope, &options, &graph, &err) != SG_OK)
        fail_msg("%s", err.message);
    const double bytes = 16 * (double)params.total + (double)sg_tape_bytes(graph->tape);
    sg_graph_free(graph);
    sg_param_list_free(&params);
    return bytes;
}

static void test_steps_take_less(void **state)
{
    (void)state;
    static const char *const names[] = {"tinystories-mlp", "tinystories-glu", "tinystories-peer",
                                        "tinystories-sgatlin"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const double f32 = step_bytes(names[i], SG_COMPUTE_F32);
        const double bf16 = step_bytes(names[i], SG_COMPUTE_BF16);
        print_message("%s: %.0f MB in f32, %.0f in bf16: %.2f\n", names[i], f32 / 1e6, bf16 / 1e6,
                      bf16 / f32);
        assert_true(bf16 <= 0.7 * f32);
        assert_true(step_bytes(names[i], SG_COMPUTE_BF16X3) >= 0.99 * f32);
    }
}

// ---- gradients ----------------------------------------------------------------------------------

static sg_tensor *record_linear(small *s)
{
    return sg_linear(s->tape, s->x, s->w, s->bias);
}

static sg_tensor *record_groups(small *s)
{
    sg_tensor *w = sg_reshape(s->tape, s->w, 3, (int64_t[]){2, wide, width / 2});
    return sg_linear_groups(s->tape, sg_rmsnorm(s->tape, s->x, s->scale, 1e-6), w, 0.5);
}

static sg_tensor *record_low_rank(small *s)
{
    static const sg_low_rank_span spans[] = {{0, 10, 4}, {14, 6, 20}};
    sg_tensor *y = sg_linear(s->tape, s->x, s->w, NULL);
    sg_tensor *u = sg_activate(s->tape, s->y, SG_ACT_SWISH);
    return sg_add_low_rank(s->tape, y, u, s->w, 0.7, spans, 2);
}

static sg_tensor *record_block(small *s)
{
    sg_tensor *t[4], *h = sg_add(s->tape, s->x, s->y);
    return sg_add(s->tape, h, record_mlp(s, h, t));
}

static sg_tensor *record_layernorm(small *s)
{
    return sg_linear(s->tape, sg_layernorm(s->tape, s->x, s->scale, NULL, 1e-5), s->w, NULL);
}

static sg_tensor *record_gated(small *s)
{
    const sg_glu_form form = {.kind = SG_GLU_SILU};
    sg_tensor *u = sg_linear(s->tape, s->x, s->w, s->bias);
    sg_tensor *g = sg_glu(s->tape, u, &form);
    sg_tensor *l = sg_activate(s->tape, sg_glu(s->tape, u, &form), SG_ACT_GELU_ERF);
    sg_tensor *m = sg_multiply(s->tape, g, sg_clamp(s->tape, l, 0.2));
    sg_tensor *v = sg_reshape(s->tape, s->v, 2, (int64_t[]){wide * width / 20, 20});
    return sg_linear(s->tape, m, v, NULL);
}

static sg_tensor *record_keys(small *s)
{
    sg_tensor *x = sg_rmsnorm(s->tape, s->x, s->scale, 1e-6);
    return sg_key_topk(s->tape, x, s->w, SG_ACT_GELU, 1, 5).scores;
}

static const struct {
    const char *name;
    sg_tensor *(*record)(small *s);
    double bound; // of the distance of gradients, relative to their length
} cases[] = {{"linear", record_linear, 0x1p-7},
             {"groups", record_groups, 0x1p-6},
             {"low_rank", record_low_rank, 0x1p-6},
             {"block", record_block, 0x1p-6},
             {"layernorm", record_layernorm, 0x1p-6},
             {"gated", record_gated, 0x1p-5},
             {"keys", record_keys, 0.5}};

static small *case_run(size_t i, sg_compute_kind kind, int threads)
{
    small *s = small_new(kind);
    small_loss(s, cases[i].record(s));
    small_run(s, threads, true);
    return s;
}

static void test_gradients_are_near_those_in_f32(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        small *f32 = case_run(i, SG_COMPUTE_F32, 1), *x3 = case_run(i, SG_COMPUTE_BF16X3, 1);
        small *bf16 = case_run(i, SG_COMPUTE_BF16, 1);
        for (int l = 0; l < leaves; l++) {
            const double far = distance(bf16->grad[l], f32->grad[l], rows * wide);
            const double near = distance(x3->grad[l], f32->grad[l], rows * wide);
            if (far > cases[i].bound) fail_msg("%s, leaf %d: %g apart", cases[i].name, l, far);
            if (near > 0x1p-13) fail_msg("%s, leaf %d: bf16x3 %g apart", cases[i].name, l, near);
        }
        for (int threads = 2; threads <= 8; threads += threads == 3 ? 5 : 1) {
            small *other = case_run(i, SG_COMPUTE_BF16, threads);
            assert_memory_equal(bf16->grad, other->grad, sizeof other->grad);
            small_free(other);
        }
        small_free(f32);
        small_free(x3);
        small_free(bf16);
    }
}

// The loss with one number of a leaf moved.
static double moved_loss(size_t i, int leaf, int64_t at, double by)
{
    small *s = small_new(SG_COMPUTE_BF16X3);
    s->data[leaf][at] += (sg_real)by;
    small_loss(s, cases[i].record(s));
    small_run(s, 1, true);
    const double loss = (double)sg_values(s->loss)[0];
    small_free(s);
    return loss;
}

static void test_differences_of_bf16x3(void **state)
{
    (void)state;
    const double step = 1.0 / 64;
    for (size_t i = 0; i + 1 < sizeof cases / sizeof *cases; i++) { // keys select others
        small *s = case_run(i, SG_COMPUTE_BF16X3, 1);
        for (int l = 0; l < leaves; l++) {
            double largest = 0;
            for (int j = 0; j < rows * wide; j++)
                largest = fmax(largest, fabs((double)s->grad[l][j]));
            for (int64_t at = 3; at < width; at += 9) {
                const double slope =
                    (moved_loss(i, l, at, step) - moved_loss(i, l, at, -step)) / (2 * step);
                if (fabs(slope - (double)s->grad[l][at]) > 0.02 * largest + 2e-3)
                    fail_msg("%s, leaf %d, number %d: gradient %g, difference %g", cases[i].name, l,
                             (int)at, (double)s->grad[l][at], slope);
            }
        }
        small_free(s);
    }
}

// ---- families -----------------------------------------------------------------------------------

enum { vocab = 19, length = 12 };

// A step; the gradients of all parameters behind each other, the caller's.
static sg_real *family_step(const char *kind, sg_compute_kind compute, bool recompute, int threads,
                            size_t *count)
{
    sg_error err = {0};
    sg_config config = tiny_config(kind, vocab, length);
    sg_param_list params;
    sg_param_block values, grads;
    sg_rope_table rope;
    sg_graph *graph;
    int32_t ids[2 * length], targets[2 * length];
    assert_int_equal(sg_config_complete(&config, &err), SG_OK);
    assert_int_equal(sg_config_params(&config, &params, &err), SG_OK);
    assert_int_equal(sg_param_block_new(&params, "weights", NULL, NULL, &values, &err), SG_OK);
    assert_int_equal(sg_param_block_new(&params, "gradients", NULL, NULL, &grads, &err), SG_OK);
    const sg_rope_options turns = {.dim = sg_config_rotary_dim(&config), .theta = 10000};
    assert_int_equal(sg_rope_table_new(&rope, length, &turns, &err), SG_OK);
    for (size_t i = 0; i < params.count; i++)
        sg_param_init(&params.specs[i], 5, NULL, values.parts[i]);
    for (int r = 0; r < 2 * length; r++) {
        ids[r] = (int32_t)sg_rng_below(5, 1, (uint64_t)r, vocab);
        targets[r] = (int32_t)sg_rng_below(5, 2, (uint64_t)r, vocab);
    }
    const sg_graph_options options = {.batch = 2,
                                      .length = length,
                                      .output = SG_OUTPUT_LOSS,
                                      .gradient = true,
                                      .recompute = recompute,
                                      .threads = threads,
                                      .compute = compute};
    if (sg_graph_new(&config, &params, values.parts, grads.parts, &rope, &options, &graph, &err) !=
        SG_OK)
        fail_msg("%s: %s", kind, err.message);
    graph->ids->data = ids;
    graph->targets->data = targets;
    graph->stats.normaliser = 2 * length;
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    if (threads > 1) assert_int_equal(sg_pool_new(threads, &run.compute.pool, &err), SG_OK);
    memset(graph->tape->memory, 0xff, graph->tape->memory_bytes);
    assert_int_equal(sg_tape_forward(graph->tape, &run), SG_OK);
    assert_int_equal(sg_tape_backward(graph->tape, &run), SG_OK);
    *count = (size_t)params.total;
    sg_real *all = sg_alloc_zero(*count, sizeof *all), *to = all;
    for (size_t i = 0; i < params.count; i++) {
        memcpy(to, grads.parts[i], (size_t)params.specs[i].count * sizeof *to);
        to += params.specs[i].count;
    }
    sg_pool_free(run.compute.pool);
    sg_graph_free(graph);
    sg_rope_table_free(&rope);
    sg_param_block_free(&values);
    sg_param_block_free(&grads);
    sg_param_list_free(&params);
    return all;
}

static void test_families(void **state)
{
    (void)state;
    static const struct {
        int threads;
        bool recompute;
    } ways[] = {{2, false}, {3, true}, {8, false}};
    for (int f = 0; tiny_kind(f) != NULL; f++) {
        size_t count;
        sg_real *f32 = family_step(tiny_kind(f), SG_COMPUTE_F32, false, 1, &count);
        sg_real *bf16 = family_step(tiny_kind(f), SG_COMPUTE_BF16, false, 1, &count);
        const double apart = distance(bf16, f32, count);
        print_message("%s: %.3f\n", tiny_kind(f), apart);
        assert_true(apart > 0 && apart < 1);
        for (size_t w = 0; w < sizeof ways / sizeof *ways; w++) {
            sg_real *other = family_step(tiny_kind(f), SG_COMPUTE_BF16, ways[w].recompute,
                                         ways[w].threads, &count);
            if (memcmp(bf16, other, count * sizeof *other) != 0)
                fail_msg("%s: %d threads: other bits", tiny_kind(f), ways[w].threads);
            sg_free(other);
        }
        sg_free(f32);
        sg_free(bf16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_products_have_halves),
        cmocka_unit_test(test_both_forms_hold_the_same),
        cmocka_unit_test(test_views_have_the_half_of_their_base),
        cmocka_unit_test(test_sums_are_not_rounded),
        cmocka_unit_test(test_rounding_is_of_the_reader),
        cmocka_unit_test(test_looking_changes_no_bit),
        cmocka_unit_test(test_halves_die_with_their_readers),
        cmocka_unit_test(test_steps_take_less),
        cmocka_unit_test(test_gradients_are_near_those_in_f32),
        cmocka_unit_test(test_differences_of_bf16x3),
        cmocka_unit_test(test_families),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
