// Memories in every kind of products: of single neurons, both ways of reading them, against loops
// in double; of blocks and experts against the same in f32. Checked are values and gradients within
// what the kind rounds, the same bits for any number of threads, tables in f32 and in bf16, shapes
// that fill no tile, block or vector.
#include <math.h>
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
#include "unit/engines.h"

enum { at_x, at_scores, at_in, at_out, leaves };

typedef struct kinds_case {
    int64_t rows, channels, k, pools, n, d;
    sg_gate gate;
    bool counted, narrow, result; // result: x is that of an operation, which has a form in bf16
    sg_compute_kind kind;
    sg_memory_path path;
    int threads;
    int64_t g;    // 0: single neurons; else blocks of g cells, or
    bool experts; // experts of width g
} kinds_case;

typedef struct kinds_run {
    float *y, *grads[leaves];
} kinds_run;

static int64_t leaf_count(const kinds_case *c, int leaf)
{
    const int64_t table = c->pools * c->n * c->d * (c->g > 0 ? c->g : 1) * (c->experts ? 2 : 1);
    if (leaf == at_out && c->experts) return table / 2;
    return (const int64_t[]){c->rows * c->d, c->rows * c->channels * c->k, table, table}[leaf];
}

static float leaf_value(const kinds_case *c, int leaf, int64_t i)
{
    float value = (float)(0.7 * sg_rng_normal(13, (uint32_t)leaf, (uint64_t)i));
    // What is read in bf16 is so already: then both ways read the same numbers in all kinds.
    return leaf == at_scores || !c->narrow ? value : sg_bf16_value(sg_bf16_round(value));
}

static double dy_value(int64_t i)
{
    return sg_rng_normal(77, 5, (uint64_t)i);
}

static int32_t hit_id(const kinds_case *c, int64_t i)
{
    return (int32_t)sg_rng_permute(5, (uint32_t)(i / c->k), (uint64_t)(i % c->k), (uint64_t)c->n);
}

static int64_t hit_count(const kinds_case *c, int64_t group)
{
    if (!c->counted) return c->k;
    return (int64_t)sg_rng_below(3, 4, (uint64_t)group, (uint64_t)c->k + 1);
}

// ---- the reference ------------------------------------------------------------------------------

static double *zeros(int64_t count)
{
    double *x = sg_alloc_zero((size_t)count, sizeof *x);
    assert_non_null(x);
    return x;
}

// Adds one hit's part; gates with the identity as activation.
static void reference_hit(const kinds_case *c, int64_t i, double *y, double *grads[leaves])
{
    const int64_t d = c->d, row = i / (c->channels * c->k), channel = i / c->k % c->channels;
    const int64_t at = ((c->pools == 1 ? 0 : channel) * c->n + hit_id(c, i)) * d;
    const double s = c->gate == SG_GATE_NONE ? 1 : leaf_value(c, at_scores, i);
    double a = 0, dz = 0;
    for (int64_t j = 0; j < d; j++) {
        a += (double)leaf_value(c, at_x, row * d + j) * leaf_value(c, at_in, at + j);
        dz += dy_value(row * d + j) * leaf_value(c, at_out, at + j);
    }
    const bool values = c->gate == SG_GATE_VALUE;
    const double z = values ? s : s * a, da = s * dz;
    for (int64_t j = 0; j < d; j++) {
        y[row * d + j] += z * leaf_value(c, at_out, at + j);
        grads[at_out][at + j] += z * dy_value(row * d + j);
        if (values) continue;
        grads[at_x][row * d + j] += da * leaf_value(c, at_in, at + j);
        grads[at_in][at + j] += da * leaf_value(c, at_x, row * d + j);
    }
    grads[at_scores][i] = c->gate == SG_GATE_NONE ? 0 : values ? dz : a * dz;
}

// ---- the operation ------------------------------------------------------------------------------

static void same_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    memcpy(node->out[0]->data, node->in[0]->data, (size_t)node->in[0]->count * sizeof(sg_real));
}

static void same_backward(const sg_run *run, const sg_node *node)
{
    bool add;
    sg_real *dx = sg_grad_in(run, node, 0, &add);
    if (dx != NULL)
        sg_grad_put(run->compute.kernels, dx, node->out[0]->grad, node->in[0]->count, add);
}

static const sg_op op_same = {.name = "same", .forward = same_forward, .backward = same_backward};

static void loss_forward(const sg_run *run, const sg_node *node)
{
    (void)run;
    sg_values(node->out[0])[0] = 0;
}

static void loss_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *dx = sg_grad_in(run, node, 0, &add);
    for (int64_t i = 0; i < node->in[0]->count; i++)
        dx[i] = (sg_real)dy_value(i);
}

static const sg_op op_loss = {.name = "loss", .forward = loss_forward, .backward = loss_backward};

static sg_tensor *record(const kinds_case *c, sg_tape *tape, sg_tensor **l, sg_selection *s)
{
    sg_tape_set_memory_path(tape, c->path);
    sg_tape_compute(tape, c->kind, SG_COMPUTE_F32);
    sg_tensor *x = l[at_x];
    if (c->result) {
        sg_node *node = sg_tape_node(tape, &op_same, 1, &x);
        x = sg_node_output(tape, node, "x", SG_KIND_REAL, 2, x->shape);
    }
    s->scores = l[at_scores];
    const bool values = c->gate == SG_GATE_VALUE;
    const sg_glu_form form = {.kind = SG_GLU_SILU};
    sg_tensor *y =
        c->experts ? sg_memory_experts(tape, x, s, l[at_in], NULL, l[at_out], NULL, &form)
        : c->g > 0 ? sg_memory_blocks(tape, x, s, l[at_in], l[at_out], SG_ACT_IDENTITY, c->gate)
                   : sg_memory_neurons(tape, values ? NULL : x, s, values ? NULL : l[at_in],
                                       l[at_out], SG_ACT_IDENTITY, c->gate);
    sg_tape_keep(tape, y);
    sg_node *node = sg_tape_node(tape, &op_loss, 1, &y);
    sg_tape_add_loss(tape, sg_node_output(tape, node, "loss", SG_KIND_REAL, 1, (int64_t[]){1}), 1);
    return y;
}

static kinds_run run_case(const kinds_case *c)
{
    sg_error err = {0};
    sg_tape *tape;
    sg_tensor *l[leaves];
    sg_stored narrow[leaves];
    float *data[leaves];
    kinds_run to;
    const int64_t groups[] = {c->rows, c->channels}, hits[] = {c->rows, c->channels * c->k};
    const int64_t cells = c->n * (c->g > 0 ? c->g : 1);
    const int64_t of_cells[leaves][3] = {
        {c->rows, c->d}, {hits[0], hits[1]}, {c->pools, cells, c->d}, {c->pools, cells, c->d}};
    const int64_t of_experts[leaves][3] = {
        {c->rows, c->d}, {hits[0], hits[1]}, {c->n, 2 * c->g, c->d}, {c->n, c->d, c->g}};
    const int64_t(*shapes)[3] = c->experts ? of_experts : of_cells;
    int32_t *ids = sg_alloc_array((size_t)(hits[0] * hits[1]), sizeof *ids);
    int32_t *counts = sg_alloc_array((size_t)(groups[0] * groups[1]), sizeof *counts);
    assert_true(ids != NULL && counts != NULL);
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    for (int i = 0; i < leaves; i++) {
        const int64_t count = leaf_count(c, i);
        data[i] = sg_alloc_array((size_t)count, sizeof *data[i]);
        to.grads[i] = sg_alloc_zero((size_t)count, sizeof *to.grads[i]);
        assert_true(data[i] != NULL && to.grads[i] != NULL);
        for (int64_t j = 0; j < count; j++)
            data[i][j] = leaf_value(c, i, j);
        l[i] = sg_tape_leaf(tape, "leaf", SG_KIND_REAL, i < at_in ? 2 : 3, shapes[i], data[i],
                            to.grads[i], true);
        narrow[i] = (sg_stored){.type = SG_WEIGHTS_BF16};
        if (i < at_in || !c->narrow) continue;
        narrow[i].rows = sg_alloc_array((size_t)count, sizeof(sg_bf16));
        assert_non_null(narrow[i].rows);
        sg_kernels_fastest()->to_bf16(narrow[i].rows, data[i], count);
        l[i]->narrow = &narrow[i];
        for (int64_t j = 0; j < count; j++)
            data[i][j] = NAN; // nobody may look
    }
    for (int64_t i = 0; i < groups[0] * groups[1]; i++)
        counts[i] = (int32_t)hit_count(c, i);
    for (int64_t i = 0; i < hits[0] * hits[1]; i++)
        ids[i] = i % c->k < counts[i / c->k] ? hit_id(c, i) : -1;
    sg_selection s = {.channels = c->channels, .k = c->k, .unit = c->g > 0 ? c->g : 1};
    s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, hits, ids, NULL, false);
    if (c->counted)
        s.counts = sg_tape_leaf(tape, "counts", SG_KIND_INT, 2, groups, counts, NULL, false);
    sg_tensor *y = record(c, tape, l, &s);
    sg_tape_options options = {.gradient = true, .threads = c->threads};
    if (sg_tape_finish(tape, &options, &err) != SG_OK || sg_tape_allocate(tape, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_run run = {.compute.kernels = sg_kernels_fastest()};
    assert_int_equal(sg_pool_new(c->threads, &run.compute.pool, &err), SG_OK);
    for (int pass = 0; pass < 2; pass++) { // the second over what the first left behind
        sg_tape_forward(tape, &run);
        sg_tape_backward(tape, &run);
    }
    to.y = sg_alloc_array((size_t)y->count, sizeof *to.y);
    assert_non_null(to.y);
    memcpy(to.y, y->data, (size_t)y->count * sizeof *to.y);
    sg_pool_free(run.compute.pool);
    sg_tape_free(tape);
    for (int i = 0; i < leaves; i++) {
        sg_free(data[i]);
        sg_free(narrow[i].rows);
    }
    sg_free(ids);
    sg_free(counts);
    return to;
}

static void run_free(kinds_run *r)
{
    for (int i = 0; i < leaves; i++)
        sg_free(r->grads[i]);
    sg_free(r->y);
}

// ---- comparing ----------------------------------------------------------------------------------

static void say(const kinds_case *c, const char *what, int64_t i, double found, double expected)
{
    fail_msg("%s %s, %lld rows, %lld of %lld, %lld channels, %lld pools, d %lld, gate %d, %s%s: "
             "%s %lld is %.9g, expected %.9g",
             sg_compute_kind_name(c->kind), sg_memory_path_name(c->path), (long long)c->rows,
             (long long)c->k, (long long)c->n, (long long)c->channels, (long long)c->pools,
             (long long)c->d, (int)c->gate, c->narrow ? "bf16 tables" : "f32 tables",
             c->counted ? ", counts" : "", what, (long long)i, found, expected);
}

// Each number within `bound` of the largest.
static void near(const kinds_case *c, const char *what, const float *found, const double *expected,
                 int64_t count)
{
    static const double bounds[] = {2e-6, 1e-4, 1.6e-2};
    const double bound = (c->g > 0 ? 4 : 1) * bounds[c->kind]; // f32 against roundings
    double most = 0;
    for (int64_t i = 0; i < count; i++)
        most = fmax(most, fabs(expected[i]));
    for (int64_t i = 0; i < count; i++)
        if (!(fabs(found[i] - expected[i]) <= bound * most)) say(c, what, i, found[i], expected[i]);
}

static void same(const kinds_case *c, const char *what, const float *a, const float *b,
                 int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        if (memcmp(a + i, b + i, sizeof *a) != 0) say(c, what, i, b[i], a[i]);
}

static void of_f32(kinds_case c, double *y, double *grads[leaves])
{
    c.kind = SG_COMPUTE_F32;
    c.threads = 1;
    kinds_run r = run_case(&c);
    for (int64_t i = 0; i < c.rows * c.d; i++)
        y[i] = r.y[i];
    for (int leaf = 0; leaf < leaves; leaf++)
        for (int64_t i = 0; i < leaf_count(&c, leaf); i++)
            grads[leaf][i] = r.grads[leaf][i];
    run_free(&r);
}

static void check(kinds_case c)
{
    static const char *const names[] = {"dx", "dscores", "dw_in", "dw_out"};
    static const int threads[] = {1, 2, 3, 8};
    double *y = zeros(c.rows * c.d), *grads[leaves];
    for (int i = 0; i < leaves; i++)
        grads[i] = zeros(leaf_count(&c, i));
    if (c.g > 0)
        of_f32(c, y, grads);
    else
        for (int64_t i = 0; i < c.rows * c.channels * c.k; i++)
            if (i % c.k < hit_count(&c, i / c.k)) reference_hit(&c, i, y, grads);
    kinds_run first = {0};
    for (int t = 0; t < 4; t++) {
        c.threads = threads[t];
        kinds_run r = run_case(&c);
        if (t == 0) {
            first = r;
            near(&c, "y", r.y, y, c.rows * c.d);
            for (int i = 0; i < leaves; i++)
                near(&c, names[i], r.grads[i], grads[i], leaf_count(&c, i));
            continue;
        }
        same(&c, "y, in other threads,", first.y, r.y, c.rows * c.d);
        for (int i = 0; i < leaves; i++)
            same(&c, names[i], first.grads[i], r.grads[i], leaf_count(&c, i));
        run_free(&r);
    }
    run_free(&first);
    for (int i = 0; i < leaves; i++)
        sg_free(grads[i]);
    sg_free(y);
}

static sg_products_engine engines[ENGINES_MAX];
static int engine_count;

// With products in every way; of f32 there is one.
static void check_engines(kinds_case c)
{
    for (int e = 1; e < (c.kind == SG_COMPUTE_F32 ? 2 : engine_count); e++) {
        sg_products_force(engines[e]);
        check(c);
    }
    sg_products_force(SG_ENGINE_CHOSEN);
}

static void check_all(kinds_case c)
{
    for (sg_compute_kind kind = SG_COMPUTE_F32; kind <= SG_COMPUTE_BF16; kind++)
        for (int path = SG_MEMORY_PATH_ROWS; path <= SG_MEMORY_PATH_DENSE; path++)
            for (int how = 0; how < 4; how++) {
                c.kind = (sg_compute_kind)kind;
                c.path = (sg_memory_path)path;
                c.narrow = how % 2;
                c.result = how / 2;
                check_engines(c);
            }
}

// ---- cases --------------------------------------------------------------------------------------

static void test_gates(void **state)
{
    (void)state;
    for (int gate = SG_GATE_NONE; gate <= SG_GATE_VALUE; gate++)
        for (int pools = 1; pools <= 3; pools += 2)
            check_all((kinds_case){.rows = 40,
                                   .channels = 3,
                                   .k = 4,
                                   .pools = pools,
                                   .n = 37,
                                   .d = 20,
                                   .gate = (sg_gate)gate,
                                   .counted = gate % 2});
}

// Ends of tiles, blocks and vectors; one of each; blocks that nobody hits; all selected.
static void test_shapes(void **state)
{
    (void)state;
    static const int64_t shapes[][6] = {// rows, channels, k, pools, n, d
                                        {1, 1, 1, 1, 1, 1},     {3, 2, 1, 1, 2, 1},
                                        {65, 1, 3, 1, 300, 17}, {200, 2, 2, 2, 129, 33},
                                        {130, 1, 70, 1, 70, 8}, {20, 1, 2, 1, 1500, 16}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const int64_t *s = shapes[i];
        check_all((kinds_case){s[0], s[1], s[2], s[3], s[4], s[5], .gate = SG_GATE_BEFORE});
    }
}

// Blocks of cells and experts; pieces of many rows, of few, which go cell by cell, one tile,
// several.
static void test_blocks(void **state)
{
    (void)state;
    static const int64_t shapes[][4] = {// rows, k, g, d
                                        {700, 2, 17, 20},
                                        {40, 1, 64, 33},
                                        {5, 3, 16, 20},
                                        {1, 2, 1, 8}};
    for (int i = 0; i < 16; i++) {
        const int64_t *s = shapes[i % 4];
        kinds_case c = {.rows = s[0], .channels = 1, .k = s[1], .pools = 1, .n = 4, .d = s[3]};
        c.g = s[2];
        c.experts = i / 8;
        c.gate = SG_GATE_AFTER;
        c.counted = i % 2;
        c.result = i / 4 % 2;
        for (sg_compute_kind kind = SG_COMPUTE_F32; kind <= SG_COMPUTE_BF16; kind++) {
            c.kind = (sg_compute_kind)kind;
            check_engines(c);
        }
    }
}

// In bf16 and hit often, which goes by slices: one, several, ends of them; channels that are summed
// together and in two parts; more rows than a span has; rows of x in both forms.
static void test_slices(void **state)
{
    (void)state;
    static const int64_t shapes[][6] = {// rows, channels, k, pools, n, d
                                        {300, 3, 5, 3, 70, 100},
                                        {70, 1, 9, 1, 12, 64},
                                        {40, 2, 8, 1, 31, 1},
                                        {9000, 1, 1, 1, 16, 65},
                                        {1030, 9, 4, 9, 1000, 20}};
    for (int i = 0; i < 20; i++) {
        const int64_t *s = shapes[i / 4];
        kinds_case c = {s[0], s[1], s[2], s[3], s[4], s[5], .kind = SG_COMPUTE_BF16};
        c.path = SG_MEMORY_PATH_ROWS;
        c.gate = i / 4 == 1 ? SG_GATE_AFTER : i / 4 == 3 ? SG_GATE_VALUE : SG_GATE_BEFORE;
        c.narrow = i % 2;
        c.result = i / 2 % 2;
        c.counted = i % 4 == 1 || i % 4 == 2;
        check(c);
    }
}

// What the choice is of, where it is not given: today's products of this machine.
static void test_names(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_memory_path path = SG_MEMORY_PATH_AUTO;
    assert_int_equal(sg_memory_path_parse("dense", "memory-path", &path, &err), SG_OK);
    assert_int_equal(path, SG_MEMORY_PATH_DENSE);
    assert_string_equal(sg_memory_path_name(SG_MEMORY_PATH_ROWS), "rows");
    assert_null(sg_memory_path_name((sg_memory_path)3));
    assert_int_equal(sg_memory_path_parse("row", "memory-path", &path, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "memory-path: found \"row\", expected auto, rows or dense");
}

int main(void)
{
    sg_error err = {0};
    if (sg_products_open(&err) != SG_OK) return 1;
    engine_count = engines_here(engines);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gates),  cmocka_unit_test(test_shapes), cmocka_unit_test(test_blocks),
        cmocka_unit_test(test_slices), cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
