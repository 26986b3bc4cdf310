// Dense layers in blocks, to the bit: all blocks selected is the dense layer in the order of sums
// that is stated (ffn/moefied_few.c), whatever the size of blocks; the same for any number of
// threads, in steps, with a threshold of activations, and in tables of fewer bytes.
// tests/grad/test_moefied.c has values and gradients.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "ffn/moefied.h"

typedef struct layer {
    int64_t rows, d, D, g, k; // neurons, of a block; blocks that a row selects
    bool glu, biased, averaged, counted, steps;
    double trim;
    sg_activation activation;
    sg_glu_kind kind;
    sg_weights weights;
    int threads;
} layer;

static sg_real *values(int64_t count, const char *name)
{
    sg_real *x = sg_alloc_array((size_t)count, sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < count; i++)
        x[i] = (sg_real)(0.7 * sg_rng_normal(5, sg_rng_stream(name), (uint64_t)i));
    return x;
}

// Rows of gates and of linear parts (D, n) as blocks (E, 2g, n).
static sg_real *in_blocks(const layer *c, const sg_real *gates, const sg_real *linear, int64_t n)
{
    sg_real *all = sg_alloc_array((size_t)(2 * c->D * n), sizeof *all);
    assert_non_null(all);
    for (int64_t b = 0; b < c->D / c->g; b++) {
        const size_t bytes = (size_t)(c->g * n) * sizeof *all;
        memcpy(all + 2 * b * c->g * n, gates + b * c->g * n, bytes);
        memcpy(all + (2 * b + 1) * c->g * n, linear + b * c->g * n, bytes);
    }
    return all;
}

static sg_real *first_table(const layer *c, int64_t n)
{
    sg_real *gates = values(c->D * n, n > 1 ? "gates" : "gate biases");
    if (!c->glu) return gates;
    sg_real *linear = values(c->D * n, n > 1 ? "linear" : "linear biases");
    sg_real *all = in_blocks(c, gates, linear, n);
    sg_free(gates);
    sg_free(linear);
    return all;
}

static sg_stored stored(const layer *c, const sg_real *x, int64_t rows)
{
    sg_stored w = {.type = c->weights};
    w.rows = sg_alloc_zero((size_t)rows, sg_stored_row_bytes(w.type, c->d));
    const size_t scales = sg_stored_scale_bytes(w.type, c->d);
    if (scales > 0) w.scales = sg_alloc_zero((size_t)rows, scales);
    assert_true(w.rows != NULL && (scales == 0 || w.scales != NULL));
    sg_stored_write((sg_compute){.kernels = sg_kernels_fastest()}, &w, 0, rows, c->d, x);
    return w;
}

// ---- running it ---------------------------------------------------------------------------------

typedef struct layer_memory {
    sg_real *x, *up, *up_bias, *down, *down_bias, *mean;
    sg_stored narrow[2];
    int32_t *ids, *counts;
} layer_memory;

static layer_memory memory_of(const layer *c)
{
    layer_memory m = {.x = values(c->rows * c->d, "x"), .up = first_table(c, c->d)};
    m.down = values(c->D * c->d, "down");
    if (c->biased) {
        m.up_bias = first_table(c, 1);
        m.down_bias = values(c->d, "down bias");
    }
    if (c->averaged) m.mean = values(c->D, "mean");
    if (c->weights != SG_WEIGHTS_F32) {
        m.narrow[0] = stored(c, m.up, c->D * (c->glu ? 2 : 1));
        m.narrow[1] = stored(c, m.down, c->D);
    }
    m.ids = sg_alloc_array((size_t)(c->rows * c->k), sizeof *m.ids);
    m.counts = sg_alloc_array((size_t)c->rows, sizeof *m.counts);
    assert_true(m.ids != NULL && m.counts != NULL);
    for (int64_t i = 0; i < c->rows * c->k; i++)
        m.ids[i] = (int32_t)sg_rng_permute(3, (uint32_t)(i / c->k), (uint64_t)(i % c->k),
                                           (uint64_t)(c->D / c->g));
    for (int64_t r = 0; r < c->rows; r++)
        m.counts[r] = (int32_t)sg_rng_below(3, 9, (uint64_t)r, (uint64_t)c->k + 1);
    return m;
}

static void memory_free(layer_memory *m)
{
    void *const all[] = {m->x,         m->up,     m->up_bias,          m->down,
                         m->mean,      m->ids,    m->narrow[0].rows,   m->narrow[1].rows,
                         m->down_bias, m->counts, m->narrow[0].scales, m->narrow[1].scales};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        sg_free(all[i]);
}

static sg_tensor *leaf(sg_tape *tape, const char *name, int rank, const int64_t *shape, void *data)
{
    return data == NULL ? NULL
                        : sg_tape_leaf(tape, name, SG_KIND_REAL, rank, shape, data, NULL, false);
}

static sg_tensor *record(const layer *c, sg_tape *tape, layer_memory *m)
{
    const int64_t x[] = {c->rows, c->d}, ids[] = {c->rows, c->k}, one[] = {c->rows, 1};
    const int64_t E = c->D / c->g, width = c->glu ? 2 * c->g : c->g;
    const int64_t up[] = {E, width, c->d}, down[] = {1, c->D, c->d}, plain[] = {1, c->D, c->d};
    sg_selection s = {.channels = 1, .k = c->k, .unit = c->g};
    s.ids = sg_tape_leaf(tape, "ids", SG_KIND_INT, 2, ids, m->ids, NULL, false);
    if (c->counted)
        s.counts = sg_tape_leaf(tape, "counts", SG_KIND_INT, 2, one, m->counts, NULL, false);
    sg_moefied of = {
        .glu = c->glu, .form.kind = c->kind, .activation = c->activation, .trim = c->trim};
    if (c->glu && c->trim > 0) of.activation = sg_glu_activation(c->kind);
    of.up = leaf(tape, "up", 3, c->glu ? up : plain, m->up);
    of.up_bias = leaf(tape, "up bias", 2, (int64_t[]){E, width}, m->up_bias);
    of.down = leaf(tape, "down", 3, down, m->down);
    of.down_bias = leaf(tape, "down bias", 1, &c->d, m->down_bias);
    of.mean = leaf(tape, "mean", 1, &c->D, m->mean);
    if (c->weights != SG_WEIGHTS_F32) {
        of.up->narrow = &m->narrow[0];
        of.down->narrow = &m->narrow[1];
    }
    sg_tensor *in = leaf(tape, "x", 2, x, m->x);
    if (!c->steps) return sg_memory_moefied(tape, in, &s, &of);
    sg_tensor *u = sg_memory_moefied_pre(tape, in, &s, &of);
    if (c->glu) {
        u = sg_reshape(tape, u, 2, (int64_t[]){c->rows * c->k, 2 * c->g});
        sg_tensor *z = sg_trim_gated(tape, sg_glu(tape, u, &of.form), u, of.activation, c->trim);
        u = sg_reshape(tape, z, 2, (int64_t[]){c->rows, c->k * c->g});
    } else {
        u = sg_memory_post(tape, u, &s, c->activation, SG_GATE_NONE);
        u = sg_trim(tape, u, NULL, c->trim);
    }
    return sg_memory_moefied_sum(tape, u, &s, &of);
}

// y (rows, d): sg_free.
static sg_real *run_layer(const layer *c)
{
    sg_error err = {0};
    sg_tape *tape;
    layer_memory m = memory_of(c);
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *y = record(c, tape, &m);
    if (y != NULL) sg_tape_keep(tape, y);
    if (sg_tape_finish(tape, &(sg_tape_options){.threads = c->threads}, &err) != SG_OK ||
        sg_tape_allocate(tape, &err) != SG_OK)
        fail_msg("%s", err.message);
    sg_run run = {.compute.kernels = sg_kernels_fastest()};
    assert_int_equal(sg_pool_new(c->threads, &run.compute.pool, &err), SG_OK);
    sg_tape_forward(tape, &run);
    sg_real *out = sg_alloc_array((size_t)(c->rows * c->d), sizeof *out);
    assert_non_null(out);
    memcpy(out, y->data, (size_t)(c->rows * c->d) * sizeof *out);
    sg_pool_free(run.compute.pool);
    sg_tape_free(tape);
    memory_free(&m);
    return out;
}

static void expect_same(const layer *c, const sg_real *found, const sg_real *expected,
                        const char *what)
{
    for (int64_t i = 0; i < c->rows * c->d; i++)
        if (memcmp(found + i, expected + i, sizeof *found) != 0)
            fail_msg("%s (%lld rows, g %lld, glu %d, threads %d): number %lld is %.9g, not %.9g",
                     what, (long long)c->rows, (long long)c->g, c->glu, c->threads, (long long)i,
                     (double)found[i], (double)expected[i]);
}

// ---- the dense layer ----------------------------------------------------------------------------

enum { run_neurons = 32 };

// Row r of the dense layer: u = x up + b, z = act(u), y = c + the sums of 32 neurons each.
static void dense_row(const layer *c, const layer_memory *m, int64_t r, sg_real *y)
{
    const sg_kernels *kernels = sg_kernels_fastest();
    const sg_stored up = {.type = SG_WEIGHTS_F32, .rows = m->up};
    const int64_t width = c->glu ? 2 * c->D : c->D;
    sg_real *u = sg_alloc_array((size_t)width, sizeof *u), *z = values(c->D, "z");
    sg_real *sum = sg_alloc_array((size_t)c->d, sizeof *sum);
    assert_true(u != NULL && sum != NULL);
    sg_stored_dots(kernels, u, width, m->x + r * c->d, c->d, 1, &up, 0, width, c->d);
    for (int64_t j = 0; c->biased && j < width; j++)
        u[j] += m->up_bias[j];
    if (c->glu)
        kernels->glu_forward(z, u, 1, c->D, &(sg_glu_form){.kind = c->kind});
    else
        kernels->act_forward(z, u, c->activation, c->D);
    for (int64_t i = 0; i < c->d; i++)
        y[i] = c->biased ? m->down_bias[i] : 0;
    for (int64_t from = 0; from < c->D; from += run_neurons) {
        memset(sum, 0, (size_t)c->d * sizeof *sum);
        for (int64_t j = from; j < from + run_neurons && j < c->D; j++)
            kernels->axpy(sum, z[j], m->down + j * c->d, c->d);
        kernels->add(y, y, sum, c->d);
    }
    sg_free(u);
    sg_free(z);
    sg_free(sum);
}

static void check_dense(layer c)
{
    layer whole = c; // as one block, whose table is the dense layer's
    whole.g = c.D;
    whole.k = 1;
    layer_memory m = memory_of(&whole);
    sg_real *expected = sg_alloc_array((size_t)(c.rows * c.d), sizeof *expected);
    assert_non_null(expected);
    for (int64_t r = 0; r < c.rows; r++)
        dense_row(&whole, &m, r, expected + r * c.d);
    for (c.g = 4; c.g <= c.D; c.g *= 2)
        for (c.threads = 1; c.threads <= 4; c.threads += 3) {
            c.k = c.D / c.g;
            sg_real *y = run_layer(&c);
            expect_same(&c, y, expected, "all blocks");
            sg_free(y);
        }
    memory_free(&m);
    sg_free(expected);
}

static void test_all_blocks(void **state)
{
    (void)state;
    static const sg_activation plain[] = {SG_ACT_RELU, SG_ACT_RELU2, SG_ACT_GELU, SG_ACT_SWISH};
    for (int64_t rows = 1; rows <= 16; rows += 15)
        for (int biased = 0; biased < 2; biased++) {
            for (size_t i = 0; i < 4; i++)
                check_dense((layer){
                    .rows = rows, .d = 40, .D = 256, .biased = biased, .activation = plain[i]});
            for (int kind = SG_GLU_SILU; kind <= SG_GLU_RELU; kind++)
                check_dense((layer){.rows = rows,
                                    .d = 40,
                                    .D = 256,
                                    .biased = biased,
                                    .glu = true,
                                    .kind = (sg_glu_kind)kind});
        }
}

// ---- threads and steps --------------------------------------------------------------------------

static void check_same(layer c)
{
    c.threads = 1;
    c.steps = false;
    sg_real *expected = run_layer(&c);
    for (c.threads = 1; c.threads <= 4; c.threads++)
        for (int steps = 0; steps < 2; steps++) {
            c.steps = steps;
            sg_real *y = run_layer(&c);
            expect_same(&c, y, expected, steps ? "in steps" : "threads");
            sg_free(y);
        }
    sg_free(expected);
}

static void test_threads(void **state)
{
    (void)state;
    static const int64_t sizes[][3] = {{4, 40, 9}, {32, 12, 5}, {100, 6, 4}, {7, 400, 333}};
    static const int64_t rows[] = {1, 5, 16, 17, 300};
    for (size_t s = 0; s < 4; s++)
        for (size_t r = 0; r < 5; r++)
            for (int n = 0; n < (r == 4 ? 2 : 8); n += 1 + (int)(r % 2))
                check_same((layer){.rows = s == 3 && r > 2 ? 2 : rows[r],
                                   .d = 40,
                                   .g = sizes[s][0],
                                   .D = sizes[s][0] * sizes[s][1],
                                   .k = sizes[s][2],
                                   .glu = n % 2,
                                   .biased = n / 2 % 2,
                                   .averaged = n == 6 || n == 3,
                                   .counted = n / 4,
                                   .activation = SG_ACT_RELU,
                                   .kind = SG_GLU_SILU});
}

static void test_thresholds(void **state)
{
    (void)state;
    for (int n = 0; n < 24; n++)
        check_same((layer){.rows = n % 3 == 0   ? 1
                                   : n % 3 == 1 ? 7
                                                : 70,
                           .d = 40,
                           .g = n % 2 ? 300 : 60,
                           .D = 300,
                           .k = n % 2 ? 1 : 4,
                           .glu = n / 4 % 2,
                           .biased = n / 8 % 2,
                           .counted = n % 5 == 1,
                           .trim = n % 7 == 6 ? 100 : 0.3,
                           .activation = n % 2 ? SG_ACT_RELU : SG_ACT_GELU,
                           .kind = n % 2 ? SG_GLU_SILU : SG_GLU_RELU});
}

// Row r of the layer with a threshold, by plain loops: what is left out is 0, nothing else changes.
static void trimmed_row(const layer *c, const layer_memory *m, int64_t r, double *y)
{
    memset(y, 0, (size_t)c->d * sizeof *y);
    for (int64_t j = 0; j < c->D; j++) {
        double dots[2] = {0, 0};
        for (int part = 0; part < 1 + c->glu; part++)
            for (int64_t i = 0; i < c->d; i++)
                dots[part] +=
                    (double)m->x[r * c->d + i] * (double)m->up[(part * c->D + j) * c->d + i];
        const double act = c->glu || c->activation == SG_ACT_SWISH ? dots[0] / (1 + exp(-dots[0]))
                                                                   : fmax(0, dots[0]);
        if (fabs(act) <= c->trim) continue;
        for (int64_t i = 0; i < c->d; i++)
            y[i] += act * (c->glu ? dots[1] : 1) * (double)m->down[j * c->d + i];
    }
}

static void test_trimmed(void **state)
{
    (void)state;
    double expected[40];
    for (int n = 0; n < 6; n++) {
        layer c = {.rows = n % 2 ? 40 : 3, .d = 40, .g = 96, .D = 96, .k = 1, .threads = 2};
        c.glu = n / 2 == 0;
        c.activation = n / 2 == 1 ? SG_ACT_SWISH : SG_ACT_RELU;
        c.kind = SG_GLU_SILU;
        c.trim = 0.25;
        layer_memory m = memory_of(&c);
        sg_real *y = run_layer(&c);
        for (int64_t r = 0; r < c.rows; r++) {
            trimmed_row(&c, &m, r, expected);
            for (int64_t i = 0; i < c.d; i++)
                if (fabs((double)y[r * c.d + i] - expected[i]) > 2e-4)
                    fail_msg("row %lld, number %lld: %g, expected %g", (long long)r, (long long)i,
                             (double)y[r * c.d + i], expected[i]);
        }
        sg_free(y);
        memory_free(&m);
    }
}

// ---- narrow tables ------------------------------------------------------------------------------

static void expect_near(const layer *c, const sg_real *found, const sg_real *expected, double by)
{
    double largest = 0;
    for (int64_t i = 0; i < c->rows * c->d; i++)
        largest = fmax(largest, fabs((double)expected[i]));
    for (int64_t i = 0; i < c->rows * c->d; i++)
        if (!(fabs((double)found[i] - (double)expected[i]) <= by * largest))
            fail_msg("%s: number %lld is %.9g, expected %.9g", sg_weights_name(c->weights),
                     (long long)i, (double)found[i], (double)expected[i]);
}

static void test_narrow(void **state)
{
    (void)state;
    static const struct {
        sg_weights type;
        double by;
    } types[] = {{SG_WEIGHTS_F16, 0.002},
                 {SG_WEIGHTS_BF16, 0.02},
                 {SG_WEIGHTS_INT8, 0.05},
                 {SG_WEIGHTS_Q8_0, 0.05}};
    for (size_t t = 0; t < 4; t++)
        for (int64_t rows = 1; rows <= 64; rows *= 4)
            for (int glu = 0; glu < 2; glu++) {
                layer c = {.rows = rows,
                           .d = 64,
                           .D = 320,
                           .g = 16,
                           .k = 7,
                           .glu = glu,
                           .counted = rows > 1,
                           .threads = 2,
                           .activation = SG_ACT_GELU,
                           .kind = SG_GLU_GELU};
                sg_real *expected = run_layer(&c);
                c.weights = types[t].type;
                sg_real *y = run_layer(&c);
                expect_near(&c, y, expected, types[t].by);
                check_same(c);
                c.trim = 0.2;
                check_same(c);
                sg_free(y);
                sg_free(expected);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_blocks), cmocka_unit_test(test_threads),
        cmocka_unit_test(test_thresholds), cmocka_unit_test(test_trimmed),
        cmocka_unit_test(test_narrow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
