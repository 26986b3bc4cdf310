// A memory in three steps has the bits of the operation that does all at once: values and
// gradients, for every gate, activation and unit, in both orders of reading, through dense products
// and cell by cell, with counts, with gradients by rows, with tables in fewer bytes, computed again
// and for any number of threads. tests/grad/test_steps.c has them against differences.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "ffn/memory.h"

// Leaves; tables and what follows are those of cells or experts.
enum { at_x, at_scores, at_up, at_down, at_up_bias, at_down_bias, leaves };

typedef struct memory_case {
    int64_t rows, channels, k, pools, blocks, g, d; // blocks of a pool, of g cells
    sg_activation activation;
    sg_gate gate;
    bool experts, bare; // bare: without biases
    sg_glu_form form;
    bool counted;       // rows have counts
    bool by_row;        // tables have their gradients by rows
    sg_weights weights; // of tables; but for F32 there are no gradients of blocks
    bool recompute;
    int threads;
    bool gated; // experts: the gate is in what is summed; not the same bits
    sg_memory_path path;
    sg_compute_kind kind;
} memory_case;

typedef struct memory_run {
    sg_real *y, *grads[leaves]; // NULL: there is none
    sg_row_grads *rows[leaves];
    double flops;
} memory_run;

// ---- leaves -------------------------------------------------------------------------------------

static int64_t leaf_shape(const memory_case *c, int leaf, int64_t shape[3])
{
    const int64_t cells = c->blocks * c->g, d = c->d, E = c->blocks, F = c->g;
    const int64_t of_cells[leaves][3] = {{1, c->rows, d},
                                         {1, c->rows, c->channels * c->k},
                                         {c->pools, cells, d},
                                         {c->pools, cells, d},
                                         {0},
                                         {0}};
    const int64_t of_experts[leaves][3] = {{1, c->rows, d}, {1, c->rows, c->k}, {E, 2 * F, d},
                                           {E, d, F},       {1, E, 2 * F},      {1, E, d}};
    memcpy(shape, c->experts ? of_experts[leaf] : of_cells[leaf], 3 * sizeof *shape);
    if (c->bare && leaf >= at_up_bias) return 0;
    return shape[0] * shape[1] * shape[2];
}

static sg_real *random_values(int64_t count, uint64_t stream)
{
    sg_real *x = sg_alloc_array((size_t)count, sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (sg_real)(0.7 * sg_rng_normal(11, (uint32_t)stream, (uint64_t)i));
    return x;
}

static sg_stored stored_table(const memory_case *c, const sg_real *values, int64_t rows, int64_t d)
{
    sg_stored w = {.type = c->weights};
    w.rows = sg_alloc_zero((size_t)rows, sg_stored_row_bytes(c->weights, d));
    size_t scales = sg_stored_scale_bytes(c->weights, d);
    if (scales > 0) w.scales = sg_alloc_zero((size_t)rows, scales);
    assert_true(w.rows != NULL && (scales == 0 || w.scales != NULL));
    const sg_compute compute = {.kernels = sg_kernels_fastest()};
    sg_stored_write(compute, &w, 0, rows, d, values);
    return w;
}

static sg_selection selection_of(const memory_case *c, sg_tape *tape, int32_t *ids, int32_t *counts)
{
    const int64_t shape[] = {c->rows, c->channels * c->k}, groups[] = {c->rows, c->channels};
    sg_selection s = {.channels = c->channels, .k = c->k, .unit = c->g};
    for (int64_t i = 0; i < c->rows * c->channels; i++)
        counts[i] = (int32_t)sg_rng_below(3, 4, (uint64_t)i, (uint64_t)c->k + 1);
    for (int64_t i = 0; i < shape[0] * shape[1]; i++) {
        bool is_void = c->counted && i % c->k >= counts[i / c->k];
        ids[i] = is_void ? -1
                         : (int32_t)sg_rng_permute(5, (uint32_t)(i / c->k), (uint64_t)(i % c->k),
                                                   (uint64_t)c->blocks);
    }
    s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, shape, ids, NULL, false);
    if (c->counted)
        s.counts = sg_tape_leaf(tape, "counts", SG_KIND_INT, 2, groups, counts, NULL, false);
    return s;
}

// ---- the loss -----------------------------------------------------------------------------------

static sg_real loss_weight(int64_t i)
{
    return (sg_real)sg_rng_normal(77, 5, (uint64_t)i);
}

static void loss_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    sg_values(node->out[0])[0] = 0;
}

static void loss_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *dx = sg_grad_in(run, node, 0, &add);
    for (int64_t i = 0; dx != NULL && i < node->in[0]->count; i++)
        dx[i] = (add ? dx[i] : 0) + loss_weight(i);
}

static const sg_op op_loss = {.name = "loss", .forward = loss_forward, .backward = loss_backward};

static void add_loss(sg_tape *tape, sg_tensor *y)
{
    sg_node *node = sg_tape_node(tape, &op_loss, 1, &y);
    sg_tape_add_loss(tape, sg_node_output(tape, node, "loss", SG_KIND_REAL, 1, (int64_t[]){1}), 1);
}

// ---- both ways ----------------------------------------------------------------------------------

static sg_tensor *at_once(const memory_case *c, sg_tape *tape, sg_tensor *const *l,
                          const sg_selection *s)
{
    if (c->experts)
        return sg_memory_experts(tape, l[at_x], s, l[at_up], l[at_up_bias], l[at_down],
                                 l[at_down_bias], &c->form);
    if (c->gate == SG_GATE_VALUE || c->channels > 1)
        return sg_memory_neurons(tape, c->gate == SG_GATE_VALUE ? NULL : l[at_x], s,
                                 c->gate == SG_GATE_VALUE ? NULL : l[at_up], l[at_down],
                                 c->activation, c->gate);
    return sg_memory_cells(tape, l[at_x], s, l[at_up], l[at_down], c->activation, c->gate);
}

static sg_tensor *experts_in_steps(const memory_case *c, sg_tape *tape, sg_tensor *const *l,
                                   const sg_selection *s)
{
    const int64_t of_unit[] = {c->rows * c->k, 2 * c->g}, of_row[] = {c->rows, c->k * c->g};
    sg_tensor *u = sg_memory_experts_pre(tape, l[at_x], s, l[at_up], l[at_up_bias]), *parts[2];
    sg_glu_split(tape, sg_reshape(tape, u, 2, of_unit), c->form.interleaved, parts);
    u = sg_glu_join(tape, parts[0], parts[1], c->form.interleaved);
    sg_tensor *h = sg_reshape(tape, sg_glu(tape, u, &c->form), 2, of_row);
    if (c->gated) h = sg_memory_post(tape, h, s, SG_ACT_IDENTITY, SG_GATE_AFTER);
    return sg_memory_experts_sum(tape, h, s, l[at_down], l[at_down_bias], c->gated);
}

static sg_tensor *in_steps(const memory_case *c, sg_tape *tape, sg_tensor *const *l,
                           const sg_selection *selection)
{
    if (c->experts) return experts_in_steps(c, tape, l, selection);
    const sg_selection s = sg_memory_selection(tape, selection);
    if (c->gate == SG_GATE_VALUE) return sg_memory_sum(tape, s.scores, &s, l[at_down]);
    sg_tensor *pre = sg_memory_pre(tape, l[at_x], &s, l[at_up]);
    sg_tensor *post = sg_memory_post(tape, pre, &s, c->activation, c->gate);
    return sg_memory_sum(tape, post, &s, l[at_down]);
}

// Leaves, with places for their gradients in `to`.
static void make_leaves(const memory_case *c, sg_tape *tape, sg_tensor **l, sg_real **data,
                        sg_stored *stored, memory_run *to)
{
    static const char *const names[] = {"x", "scores", "up", "down", "up bias", "down bias"};
    for (int i = 0; i < leaves; i++) {
        int64_t shape[3], count = leaf_shape(c, i, shape);
        if (count == 0) continue;
        const bool table = i == at_up || i == at_down, narrow = table && c->weights;
        data[i] = random_values(count, (uint64_t)i);
        if (narrow) stored[i] = stored_table(c, data[i], shape[0] * shape[1], shape[2]);
        if (c->weights == SG_WEIGHTS_F32 || !table) {
            to->grads[i] = sg_alloc_zero((size_t)count, sizeof(sg_real));
            assert_non_null(to->grads[i]);
        }
        const int skip = table ? 0 : 1;
        l[i] = sg_tape_leaf(tape, names[i], SG_KIND_REAL, 3 - skip, shape + skip,
                            narrow ? NULL : data[i], to->grads[i], c->weights == SG_WEIGHTS_F32);
        if (narrow) l[i]->narrow = &stored[i];
        if (!table || !c->by_row) continue;
        sg_error err;
        assert_int_equal(sg_row_grads_new(shape[0] * shape[1], shape[2], &to->rows[i], &err),
                         SG_OK);
        l[i]->grad = NULL;
        l[i]->row_grads = to->rows[i];
    }
}

static memory_run run_memory(const memory_case *c, bool steps)
{
    sg_error err = {0};
    sg_tape *tape;
    sg_tensor *l[leaves] = {0};
    sg_real *data[leaves] = {0};
    sg_stored stored[leaves] = {{.type = SG_WEIGHTS_F32}};
    memory_run to = {0};
    const int64_t hits = c->rows * c->channels * c->k;
    int32_t *ids = sg_alloc_array((size_t)hits, sizeof *ids);
    int32_t *counts = sg_alloc_array((size_t)hits, sizeof *counts);
    assert_true(ids != NULL && counts != NULL);
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tape_set_memory_path(tape, c->path);
    sg_tape_compute(tape, c->kind, SG_COMPUTE_F32);
    make_leaves(c, tape, l, data, stored, &to);
    sg_tape_segment_begin(tape);
    sg_selection s = selection_of(c, tape, ids, counts);
    s.scores = l[at_scores];
    sg_tensor *y = (steps ? in_steps : at_once)(c, tape, l, &s);
    sg_tape_segment_end(tape);
    sg_tape_keep(tape, y);
    const bool gradient = c->weights == SG_WEIGHTS_F32;
    if (gradient) add_loss(tape, y);
    sg_tape_options options = {
        .gradient = gradient, .recompute = c->recompute, .threads = c->threads};
    if (sg_tape_finish(tape, &options, &err) != SG_OK || sg_tape_allocate(tape, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_run run = {.compute.kernels = sg_kernels_fastest()};
    assert_int_equal(sg_pool_new(c->threads, &run.compute.pool, &err), SG_OK);
    sg_tape_forward(tape, &run);
    if (gradient) sg_tape_backward(tape, &run);
    to.flops = sg_tape_flops(tape, NULL);
    to.y = sg_alloc_array((size_t)(c->rows * c->d), sizeof *to.y);
    assert_non_null(to.y);
    memcpy(to.y, y->data, (size_t)(c->rows * c->d) * sizeof *to.y);
    sg_pool_free(run.compute.pool);
    sg_tape_free(tape);
    for (int i = 0; i < leaves; i++) {
        sg_free(data[i]);
        sg_free(stored[i].rows);
        sg_free(stored[i].scales);
    }
    sg_free(ids);
    sg_free(counts);
    return to;
}

static void run_free(memory_run *r)
{
    for (int i = 0; i < leaves; i++) {
        sg_free(r->grads[i]);
        sg_row_grads_free(r->rows[i]);
    }
    sg_free(r->y);
}

// ---- comparing ----------------------------------------------------------------------------------

static void same(const memory_case *c, const char *what, const void *a, const void *b,
                 int64_t count)
{
    if (memcmp(a, b, (size_t)count * sizeof(sg_real)) == 0) return;
    for (int64_t i = 0; i < count; i++)
        if (memcmp((const sg_real *)a + i, (const sg_real *)b + i, sizeof(sg_real)) != 0)
            fail_msg("%lld rows, %lld of %lld blocks of %lld, d %lld, %s, activation %d, gate %d, "
                     "weights %d, %d threads: %s %lld is %.9g in steps, %.9g at once",
                     (long long)c->rows, (long long)c->k, (long long)c->blocks, (long long)c->g,
                     (long long)c->d, c->experts ? "experts" : "cells", (int)c->activation,
                     (int)c->gate, (int)c->weights, c->threads, what, (long long)i,
                     (double)((const sg_real *)b)[i], (double)((const sg_real *)a)[i]);
}

static void same_rows(const memory_case *c, const sg_row_grads *a, const sg_row_grads *b)
{
    assert_int_equal(a->count, b->count);
    assert_true(c->counted || a->count > 0);
    assert_memory_equal(a->ids, b->ids, (size_t)a->count * sizeof *a->ids);
    for (int64_t i = 0; i < a->count; i++)
        same(c, "a gradient by rows", a->values + a->slots[i] * a->width,
             b->values + b->slots[i] * b->width, a->width);
}

static void check(memory_case c)
{
    static const char *const names[] = {"dx", "dscores", "dup", "ddown", "dup bias", "ddown bias"};
    for (c.threads = 1; c.threads <= 4; c.threads++) {
        c.recompute = c.threads == 3;
        memory_run a = run_memory(&c, false), b = run_memory(&c, true);
        same(&c, "y", a.y, b.y, c.rows * c.d);
        assert_true(a.flops > 0 && a.flops == b.flops);
        for (int i = 0; i < leaves; i++) {
            int64_t shape[3], count = leaf_shape(&c, i, shape);
            if (a.grads[i] != NULL) same(&c, names[i], a.grads[i], b.grads[i], count);
            if (a.rows[i] != NULL) same_rows(&c, a.rows[i], b.rows[i]);
        }
        run_free(&a);
        run_free(&b);
    }
}

// ---- cases --------------------------------------------------------------------------------------

static void test_neurons(void **state)
{
    (void)state;
    for (int act = 0; act < SG_ACT_COUNT; act++)
        for (int gate = SG_GATE_NONE; gate <= SG_GATE_VALUE; gate++)
            for (int n = 0; n < 8; n++) {
                memory_case c = {.rows = 37, .channels = 3, .k = 5, .blocks = 23, .g = 1, .d = 20};
                c.pools = n % 2 ? 3 : 1;
                c.activation = (sg_activation)act;
                c.gate = (sg_gate)gate;
                c.counted = n / 2 % 2;
                c.path = n / 4 ? SG_MEMORY_PATH_DENSE : SG_MEMORY_PATH_ROWS;
                c.kind = (sg_compute_kind)(act % 3);
                check(c);
            }
}

// By rows of a tile, and table by table; tiles and spans of the reverse index; gradients by rows.
static void test_neurons_orders(void **state)
{
    (void)state;
    for (int n = 0; n < 16; n++) {
        memory_case c = {.rows = 700, .channels = 2, .k = 4, .g = 1, .d = 17};
        c.path = n / 8 ? SG_MEMORY_PATH_DENSE : SG_MEMORY_PATH_AUTO; // of whole gradients alone
        c.activation = SG_ACT_GELU;
        c.gate = n % 2 ? SG_GATE_BEFORE : SG_GATE_AFTER;
        c.pools = n % 2 ? 2 : 1;
        c.blocks = n / 2 % 2 ? 5000 : 40;
        c.by_row = n / 2 % 2;
        c.counted = n / 4 % 2;
        check(c);
    }
    memory_case one = {.rows = 1, .channels = 2, .k = 4, .pools = 2, .blocks = 40, .g = 1, .d = 17};
    check(one);
}

// Cell by cell, through thin products, through products, in several tiles.
static void test_cells(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{9, 8}, {3, 16}, {90, 16}, {700, 17}, {1, 32}};
    for (int act = 0; act < SG_ACT_COUNT; act++)
        for (size_t size = 0; size < sizeof sizes / sizeof *sizes; size++)
            for (int n = 0; n < 4; n++) {
                memory_case c = {.rows = sizes[size][0], .g = sizes[size][1], .d = 20};
                c.channels = c.pools = 1;
                c.k = 2;
                c.blocks = 5;
                c.activation = (sg_activation)act;
                c.gate = n % 2 ? SG_GATE_AFTER : SG_GATE_NONE;
                c.counted = n / 2;
                c.kind = (sg_compute_kind)((act + n) % 3);
                check(c);
            }
}

static void test_experts(void **state)
{
    (void)state;
    for (int n = 0; n < 8 * SG_GLU_COUNT; n++) {
        memory_case c = {.channels = 1, .pools = 1, .k = 3, .blocks = 4, .d = 20};
        c.experts = true;
        c.form = (sg_glu_form){(sg_glu_kind)(n / 8), n % 2};
        c.bare = n / 2 % 2;
        c.counted = n / 4 % 2;
        c.rows = n % 3 == 0 ? 600 : n % 3 == 1 ? 40 : 1;
        c.g = n % 3 == 0 ? 5 : 70;
        c.kind = (sg_compute_kind)(n / 3 % 2); // in bf16 what is between the steps is rounded
        check(c);
    }
}

// Tables in fewer bytes are read by the same kernels.
static void test_narrow(void **state)
{
    (void)state;
    static const sg_weights types[] = {SG_WEIGHTS_BF16, SG_WEIGHTS_F16, SG_WEIGHTS_INT8,
                                       SG_WEIGHTS_Q8_0};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int n = 0; n < 6; n++) {
            memory_case c = {.channels = 1, .pools = 1, .k = 3, .blocks = 4, .g = 32, .d = 64};
            c.weights = types[t];
            c.rows = n / 3 ? 40 : 1;
            c.counted = n / 3;
            c.experts = n % 3 == 2;
            c.form.kind = SG_GLU_SILU;
            if (n % 3 == 0) c.g = 1, c.blocks = 50;
            c.activation = SG_ACT_GELU;
            c.gate = SG_GATE_AFTER;
            check(c);
        }
}

// A gate before down gives the y of one behind it, but for rounding.
static void test_gated(void **state)
{
    (void)state;
    for (int n = 0; n < 4; n++) {
        memory_case c = {.channels = 1, .pools = 1, .k = 3, .blocks = 4, .g = 9, .d = 20};
        c.experts = c.gated = true;
        c.form.kind = SG_GLU_SILU;
        c.rows = 40;
        c.threads = 2;
        c.bare = n % 2;
        c.counted = n / 2;
        memory_run a = run_memory(&c, false), b = run_memory(&c, true);
        for (int i = -1; i < leaves; i++) {
            int64_t shape[3], count = i < 0 ? c.rows * c.d : leaf_shape(&c, i, shape);
            const sg_real *p = i < 0 ? a.y : a.grads[i], *q = i < 0 ? b.y : b.grads[i];
            for (int64_t j = 0; j < count; j++)
                assert_float_equal(p[j], q[j], 2e-4);
        }
        run_free(&a);
        run_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_neurons), cmocka_unit_test(test_neurons_orders),
        cmocka_unit_test(test_cells),   cmocka_unit_test(test_experts),
        cmocka_unit_test(test_narrow),  cmocka_unit_test(test_gated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
