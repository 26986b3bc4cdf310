// Layer norm and batch norm: against plain loops, by differences, and what batch norm leaves for
// its running averages.
#include "grad/gradcheck.h"
#include "op/observe.h"

static const double eps = 0.1;

// Mean and variance of n values `stride` apart.
static void moments(const sg_real *x, int64_t n, int64_t stride, double *mean, double *variance)
{
    *mean = *variance = 0;
    for (int64_t i = 0; i < n; i++)
        *mean += x[i * stride] / (double)n;
    for (int64_t i = 0; i < n; i++)
        *variance += (x[i * stride] - *mean) * (x[i * stride] - *mean) / (double)n;
}

// ---- layer norm -------------------------------------------------------------------------------

static sg_tensor *build_layernorm(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    return sg_layernorm(tape, in[0], in[1], c->n_in > 2 ? in[2] : NULL, eps);
}

// The same in two halves, which are to be seen; without a mean, the root mean square norm.
static sg_tensor *build_divided(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const bool shifts = *(const bool *)c->user;
    sg_tensor *s = sg_norm_scale(tape, in[0], shifts, eps);
    return sg_norm_divide(tape, in[0], s, in[1], c->n_in > 2 ? in[2] : NULL, shifts);
}

static sg_tensor *build_rmsnorm(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    (void)c;
    return sg_rmsnorm(tape, in[0], in[1], eps);
}

static void test_halves(void **state)
{
    (void)state;
    const int64_t shapes[][2] = {{1, 1}, {9, 2}, {5, 24}, {40, 130}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
        for (int kind = 0; kind < 3; kind++) {
            const bool shifts = kind > 0;
            const int64_t rows = shapes[s][0], d = shapes[s][1];
            gc_case c = {.name = "norm in halves", .build = build_divided, .user = &shifts};
            sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, d}, 2, 1);
            gc_add(&c, "w", 1, &d, 1, 2);
            if (kind == 2) gc_add(&c, "shift", 1, &d, 1, 3);
            sg_real *y = gc_room(rows * d), *expected = gc_room(rows * d);
            for (int64_t i = 0; i < rows * d; i++)
                x[i] += 3; // the mean counts
            gc_forward(&c, y, rows * d);
            gc_check(&c);
            c.build = shifts ? build_layernorm : build_rmsnorm;
            gc_forward(&c, expected, rows * d);
            gc_expect_close("norm in halves", y, expected, rows * d);
            sg_free(y);
            sg_free(expected);
            gc_free(&c);
        }
}

static void check_layernorm(bool shifted)
{
    const int64_t shapes[][2] = {{1, 1}, {1, 7}, {9, 2}, {5, 24}, {4000, 9}};
    for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++) {
        int64_t rows = shapes[s][0], d = shapes[s][1];
        gc_case c = {.name = "layernorm", .build = build_layernorm};
        sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, d}, 2, 1);
        const sg_real *w = gc_add(&c, "w", 1, &d, 1, 2);
        const sg_real *shift = shifted ? gc_add(&c, "shift", 1, &d, 1, 3) : NULL;
        sg_real *y = gc_room(rows * d), *expected = gc_room(rows * d);
        for (int64_t i = 0; i < rows * d; i++)
            x[i] += 3; // the mean counts
        for (int64_t r = 0; r < rows; r++) {
            double mean, variance;
            moments(x + r * d, d, 1, &mean, &variance);
            for (int64_t i = 0; i < d; i++)
                expected[r * d + i] =
                    (x[r * d + i] - mean) / sqrt(variance + eps) * w[i] + (shift ? shift[i] : 0);
        }
        gc_forward(&c, y, rows * d);
        gc_expect_close("layernorm", y, expected, rows * d);
        gc_check(&c);
        sg_free(y);
        sg_free(expected);
        gc_free(&c);
    }
}

static void test_layernorm(void **state)
{
    (void)state;
    check_layernorm(false);
    check_layernorm(true);
}

// ---- batch norm -------------------------------------------------------------------------------

typedef struct bn_user {
    bool training;
    int64_t d;
    sg_real *mean, *variance;
} bn_user;

static sg_tensor *build_batchnorm(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const bn_user *u = c->user;
    sg_tensor *mean = sg_tape_leaf(tape, "mean", SG_KIND_REAL, 1, &u->d, u->mean, NULL, false);
    sg_tensor *variance =
        sg_tape_leaf(tape, "variance", SG_KIND_REAL, 1, &u->d, u->variance, NULL, false);
    return sg_batchnorm(tape, in[0], in[1], in[2], mean, variance, eps, u->training);
}

static void check_batchnorm(int64_t rows, int64_t d, bool training)
{
    bn_user u = {training, d, gc_room(d), gc_room(d)};
    gc_case c = {.name = "batchnorm", .build = build_batchnorm, .user = &u};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, d}, 2, 1);
    const sg_real *scale = gc_add(&c, "scale", 1, &d, 1, 2);
    const sg_real *shift = gc_add(&c, "shift", 1, &d, 1, 3);
    sg_real *y = gc_room(rows * d), *expected = gc_room(rows * d);
    for (int64_t j = 0; j < d; j++) {
        double mean, variance;
        u.mean[j] = sg_rng_normal(4, 4, (uint64_t)j);
        u.variance[j] = 0.5 + (double)j;
        for (int64_t r = 0; r < rows; r++)
            x[r * d + j] += 5 * (double)(j % 4);
        moments(x + j, rows, d, &mean, &variance);
        if (!training) mean = u.mean[j], variance = u.variance[j];
        for (int64_t r = 0; r < rows; r++)
            expected[r * d + j] =
                (x[r * d + j] - mean) / sqrt(variance + eps) * scale[j] + shift[j];
    }
    gc_forward(&c, y, rows * d);
    gc_expect_close("batchnorm", y, expected, rows * d);
    gc_check(&c);
    sg_free(y);
    sg_free(expected);
    sg_free(u.mean);
    sg_free(u.variance);
    gc_free(&c);
}

static void test_batchnorm(void **state)
{
    (void)state;
    for (int training = 0; training < 2; training++) {
        check_batchnorm(1, 3, training);
        check_batchnorm(2, 1, training);
        check_batchnorm(9, 5, training);
        check_batchnorm(80, 900, training); // several chunks of rows
    }
}

// ---- running averages -------------------------------------------------------------------------

// What a pass leaves where the gradients of the averages would be.
static void statistics(bool training, bool recompute, bool accumulate, sg_real *x, sg_real *ones,
                       int64_t rows, int64_t d, sg_real *mean, sg_real *variance)
{
    sg_tape *tape;
    sg_error err = {0};
    sg_real *averages = gc_room(2 * d), *dscale = gc_room(2 * d);
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *in = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){rows, d}, x, NULL, false);
    sg_tensor *scale = sg_tape_leaf(tape, "scale", SG_KIND_REAL, 1, &d, ones, dscale, true);
    sg_tensor *shift = sg_tape_leaf(tape, "shift", SG_KIND_REAL, 1, &d, ones, dscale + d, true);
    sg_tensor *m = sg_tape_leaf(tape, "mean", SG_KIND_REAL, 1, &d, averages, mean, true);
    sg_tensor *v = sg_tape_leaf(tape, "variance", SG_KIND_REAL, 1, &d, ones, variance, true);
    sg_tape_segment_begin(tape);
    sg_tensor *y = sg_batchnorm(tape, in, scale, shift, m, v, eps, training);
    y = sg_linear(tape, y, y, NULL); // its backward pass needs y: a recomputed one runs twice
    sg_tape_segment_end(tape);
    gc_sum(tape, y, 1);
    sg_tape_options options = {.gradient = true, .recompute = recompute, .threads = 1};
    assert_int_equal(sg_tape_finish(tape, &options, &err), SG_OK);
    assert_int_equal(sg_tape_allocate(tape, &err), SG_OK);
    gc_poison(tape);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}, .accumulate = accumulate};
    sg_tape_forward(tape, &run);
    sg_tape_backward(tape, &run);
    for (int64_t j = 0; j < d; j++)
        assert_true(averages[j] == 0); // no pass moves the averages themselves
    sg_tape_free(tape);
    sg_free(averages);
    sg_free(dscale);
}

static void test_statistics(void **state)
{
    (void)state;
    const int64_t rows = 12, d = 4;
    sg_real x[48], ones[] = {1, 1, 1, 1}, mean[4], variance[4], expected[2][4];
    for (int64_t i = 0; i < rows * d; i++)
        x[i] = sg_rng_normal(3, 3, (uint64_t)i) + 2 * (double)(i % d);
    for (int64_t j = 0; j < d; j++) {
        moments(x + j, rows, d, &expected[0][j], &expected[1][j]);
        expected[1][j] *= (double)rows / (double)(rows - 1);
    }
    for (int recompute = 0; recompute < 2; recompute++) {
        for (int i = 0; i < 4; i++)
            mean[i] = variance[i] = NAN;
        statistics(true, recompute, false, x, ones, rows, d, mean, variance);
        gc_expect_close("mean", mean, expected[0], d);
        gc_expect_close("variance", variance, expected[1], d);
        statistics(true, recompute, true, x, ones, rows, d, mean, variance); // a second micro-batch
        for (int i = 0; i < 4; i++)
            mean[i] /= 2, variance[i] /= 2;
        gc_expect_close("mean of two", mean, expected[0], d);
        gc_expect_close("variance of two", variance, expected[1], d);
    }
    // One row has no spread.
    statistics(true, false, false, x, ones, 1, d, mean, variance);
    gc_expect_close("mean of a row", mean, x, d);
    for (int i = 0; i < 4; i++)
        assert_true(variance[i] == 0);
}

static void test_refuses(void **state)
{
    (void)state;
    for (int bad = 0; bad < 7; bad++) {
        sg_tape *tape;
        sg_error err = {0};
        const int64_t shape[] = {3, 4}, four = 4, three = 3;
        sg_tensor *in[5];
        assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
        in[0] = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, shape, NULL, NULL, true);
        for (int i = 1; i < 5; i++)
            in[i] = sg_tape_leaf(tape, "w", SG_KIND_REAL, 1, i == bad ? &three : &four, NULL, NULL,
                                 true);
        sg_tensor *y = bad == 5 ? sg_layernorm(tape, in[0], in[0], NULL, eps)
                       : bad == 6
                           ? sg_layernorm(tape, in[0], in[1], in[0], eps)
                           : sg_batchnorm(tape, in[0], in[1], in[2], in[3], in[4], eps, true);
        assert_int_equal(y == NULL, bad > 0);
        assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){0}, &err),
                         bad > 0 ? SG_ERR_INTERNAL : SG_OK);
        sg_tape_free(tape);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_layernorm), cmocka_unit_test(test_halves),
        cmocka_unit_test(test_batchnorm), cmocka_unit_test(test_statistics),
        cmocka_unit_test(test_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
