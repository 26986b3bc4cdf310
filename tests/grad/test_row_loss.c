// Losses that are means over rows: gradients in double, values against sums written out here, and
// what the published formulas come to at their ends. Beside them the share of a selection.
#include "grad/counts.h"
#include "op/selected_count.h"

typedef struct loss_user {
    sg_row_loss_kind kind;
    int64_t rows, n;
    bool masked, clamped;
    double floor, centre, least;
    sg_real *targets;
} loss_user;

static sg_tensor *build_loss(const gc_case *c, sg_tape *tape, sg_tensor *const *in)
{
    const loss_user *u = c->user;
    static int32_t counted[64];
    sg_row_loss_options o = {
        .clamped = u->clamped, .floor = u->floor, .centre = u->centre, .least = u->least};
    for (int64_t r = 0; r < u->rows; r++)
        counted[r] = r % 3 == 1 ? -1 : 7;
    if (u->masked)
        o.counted = sg_tape_leaf(tape, "counted", SG_KIND_INT, 1, &u->rows, counted, NULL, false);
    if (u->targets != NULL)
        o.targets = sg_tape_leaf(tape, "targets", SG_KIND_REAL, 2, (int64_t[]){u->rows, u->n},
                                 u->targets, NULL, false);
    return sg_row_loss(tape, u->kind, in[0], &o);
}

static double naive_row(const loss_user *u, const sg_real *x, const sg_real *t)
{
    double l1 = 0, l2 = 0, sum = 0;
    for (int64_t i = 0; i < u->n; i++) {
        const double v = u->clamped ? fmax(x[i], u->floor) - u->floor : x[i];
        const double s = 1 / (1 + exp(-x[i])), d = x[i] - u->centre;
        l1 += fabs(v);
        l2 += v * v;
        if (u->kind == SG_ROW_CROSS_ENTROPY) sum -= t[i] * log(s) + (1 - t[i]) * log(1 - s);
        if (u->kind == SG_ROW_SQUARES) sum += pow(x[i] - t[i], 2);
        if (u->kind == SG_ROW_EFFICIENCY) sum += x[i] * x[i];
        if (u->kind == SG_ROW_SEPARABILITY) sum += 1 / fmax(d * d, u->least * u->least);
    }
    if (u->kind == SG_ROW_L1) return l1;
    return u->kind == SG_ROW_HOYER ? l1 * l1 / l2 : sum / (double)u->n;
}

static double loss_value(const gc_case *c)
{
    sg_real loss;
    gc_forward(c, &loss, 1);
    return loss;
}

static void expect_near(const char *what, double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * (1 + fabs(expected))))
        fail_msg("%s: found %.17g, expected %.17g", what, found, expected);
}

static void check_loss(loss_user u)
{
    gc_case c = {.name = "row_loss", .build = build_loss, .user = &u, .own_loss = true};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){u.rows, u.n}, 1, 3 + (uint64_t)u.kind);
    const int64_t all = u.rows * u.n;
    for (int64_t i = 0; i < all;
         i++) { // away from the kinks at 0, at the floor and where it is cut
        if (fabs(x[i]) < 1e-3 || fabs(x[i] - u.floor) < 1e-3) x[i] += 5e-3;
        if (u.least > 0 && fabs(fabs(x[i] - u.centre) - u.least) < 1e-3) x[i] += 5e-3;
    }
    u.targets = NULL;
    if (u.kind == SG_ROW_CROSS_ENTROPY || u.kind == SG_ROW_SQUARES) {
        u.targets = gc_room(all);
        for (int64_t i = 0; i < all; i++)
            u.targets[i] = sg_rng_uniform(8, 8, (uint64_t)i);
    }
    gc_check(&c);
    double sum = 0, rows = 0;
    for (int64_t r = 0; r < u.rows; r++) {
        if (u.masked && r % 3 == 1) continue;
        sum += naive_row(&u, x + r * u.n, u.targets != NULL ? u.targets + r * u.n : NULL);
        rows++;
    }
    expect_near("a loss of rows", loss_value(&c), rows > 0 ? sum / rows : 0, 1e-12);
    sg_free(u.targets);
    gc_free(&c);
}

static void test_losses(void **state)
{
    (void)state;
    for (int kind = SG_ROW_L1; kind <= SG_ROW_SEPARABILITY; kind++)
        for (int masked = 0; masked < 2; masked++) {
            loss_user u = {.kind = (sg_row_loss_kind)kind, .rows = 12, .n = 7, .masked = masked};
            if (kind == SG_ROW_SEPARABILITY) u.centre = 0.5, u.least = 0.3;
            check_loss(u);
            u.rows = 2, u.n = 1;
            check_loss(u);
        }
    for (int kind = SG_ROW_L1; kind <= SG_ROW_HOYER; kind++)
        check_loss((loss_user){
            .kind = (sg_row_loss_kind)kind, .rows = 12, .n = 9, .clamped = true, .floor = -0.7});
}

// Several chunks, in which differences would have no digits left: the same bits by 1 and 3 threads.
static void test_threads(void **state)
{
    (void)state;
    for (int kind = SG_ROW_L1; kind <= SG_ROW_HOYER; kind++) {
        loss_user u = {.kind = (sg_row_loss_kind)kind, .rows = 60, .n = 2000};
        gc_case c = {.name = "row_loss", .build = build_loss, .user = &u, .own_loss = true};
        gc_add(&c, "x", 2, (int64_t[]){u.rows, u.n}, 1, 3);
        gc_pass p = {.threads = 1};
        gc_pass_new(&c, &p, NAN);
        gc_run(&c, &p);
        gc_variant(&c, &p, (gc_pass){.threads = 3}, "3 threads");
        gc_pass_free(&c, &p);
        gc_free(&c);
    }
}

// The share of zeros, of the rows that count: at the floor and below, or below the centre.
static void test_zeros(void **state)
{
    (void)state;
    static sg_real x[] = {0, 1, -1, -3, /* does not count */ 0, 0, 0, 0, 0.5, 0.2, -2, 0};
    static int32_t counted[] = {3, -1, 0};
    const struct {
        sg_row_loss_kind kind;
        bool clamped;
        double floor, centre, zeros;
    } cases[] = {{SG_ROW_L1, false, 0, 0, 2},
                 {SG_ROW_HOYER, true, -1, 0, 3},
                 {SG_ROW_L1, true, 0, 0, 5},
                 {SG_ROW_EFFICIENCY, false, 0, 0.5, 6},
                 {SG_ROW_SEPARABILITY, false, 0, 0, 3}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sg_tape *tape;
        sg_error err = {0};
        assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
        const int64_t shape[] = {3, 4};
        sg_row_loss_options o = {.clamped = cases[i].clamped,
                                 .floor = cases[i].floor,
                                 .centre = cases[i].centre,
                                 .least = 0.1};
        o.counted = sg_tape_leaf(tape, "counted", SG_KIND_INT, 1, shape, counted, NULL, false);
        sg_tensor *in = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, shape, x, NULL, false);
        sg_tape_add_loss(tape, sg_row_loss(tape, cases[i].kind, in, &o), 1);
        assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){.threads = 1}, &err), SG_OK);
        assert_int_equal(sg_tape_allocate(tape, &err), SG_OK);
        assert_true(isnan(sg_row_loss_zeros(sg_tape_node_at(tape, 0))));
        sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
        sg_tape_forward(tape, &run);
        assert_true(sg_row_loss_zeros(sg_tape_node_at(tape, 0)) == cases[i].zeros / 8);
        sg_tape_free(tape);
    }
}

// ---- ends ---------------------------------------------------------------------------------------

// Square Hoyer is 1 with one non-zero, their number with equal ones, does not depend on the scale,
// and its gradient is orthogonal to the values; a row of zeros has value and gradient 0.
static void test_hoyer_ends(void **state)
{
    (void)state;
    enum { n = 10 };
    loss_user u = {.kind = SG_ROW_HOYER, .rows = 1, .n = n};
    gc_case c = {.name = "hoyer", .build = build_loss, .user = &u, .own_loss = true};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){1, n}, 1, 3);
    gc_pass p = {.threads = 1};
    gc_pass_new(&c, &p, NAN);
    gc_run(&c, &p);
    double along = 0, was = p.loss;
    for (int i = 0; i < n; i++)
        along += x[i] * p.grads[0][i];
    expect_near("a Hoyer gradient along the values", along, 0, 1e-12);
    for (int i = 0; i < n; i++)
        x[i] *= -30;
    expect_near("Hoyer of scaled values", loss_value(&c), was, 1e-12);
    for (int i = 0; i < n; i++)
        x[i] = i == 4 ? 3 : 0;
    expect_near("Hoyer of one number", loss_value(&c), 1, 1e-12);
    for (int i = 0; i < n; i++)
        x[i] = i < 6 ? -2 : 0;
    expect_near("Hoyer of six equal numbers", loss_value(&c), 6, 1e-12);
    memset(x, 0, n * sizeof *x);
    gc_run(&c, &p);
    expect_near("Hoyer of nothing", p.loss, 0, 0);
    for (int i = 0; i < n; i++)
        assert_true(p.grads[0][i] == 0);
    gc_pass_free(&c, &p);
    gc_free(&c);
}

// LTE's separability: 4 where gates are 0 or 1, finite at W = 0, and on gates of logits drawn from
// N(0, 1.28^2) about 93 with a least distance of 0.05 and 490 with 0.01.
static void test_separability_ends(void **state)
{
    (void)state;
    enum { rows = 40, n = 25000 };
    loss_user u = {.kind = SG_ROW_SEPARABILITY, .rows = rows, .n = n, .centre = 0.5, .least = 0.05};
    gc_case c = {.name = "separability", .build = build_loss, .user = &u, .own_loss = true};
    sg_real *x = gc_add(&c, "x", 2, (int64_t[]){rows, n}, 1.28, 3);
    for (int64_t i = 0; i < rows * n; i++)
        x[i] = 1 / (1 + exp(-x[i]));
    expect_near("the mean with 0.05", loss_value(&c), 93, 0.01);
    u.least = 0.01;
    expect_near("the mean with 0.01", loss_value(&c), 490, 0.03);
    for (int64_t i = 0; i < rows * n; i++)
        x[i] = (sg_real)(i % 2);
    expect_near("the floor", loss_value(&c), 4, 1e-12);
    for (int64_t i = 0; i < rows * n; i++)
        x[i] = 0.5;
    gc_pass p = {.threads = 1};
    gc_pass_new(&c, &p, NAN);
    gc_run(&c, &p);
    expect_near("the value on the pole", p.loss, 1e4, 1e-12);
    for (int64_t i = 0; i < rows * n; i++)
        assert_true(p.grads[0][i] == 0);
    gc_pass_free(&c, &p);
    gc_free(&c);
}

static void test_wrong_shapes(void **state)
{
    (void)state;
    sg_tape *tape;
    sg_error err;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    const int64_t shape[] = {2, 3}, other[] = {2, 4};
    sg_tensor *x = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, shape, NULL, NULL, true);
    sg_tensor *t = sg_tape_leaf(tape, "t", SG_KIND_REAL, 2, other, NULL, NULL, false);
    assert_null(sg_row_loss(tape, SG_ROW_SQUARES, x, NULL)); // without targets
    assert_null(sg_row_loss(tape, SG_ROW_SQUARES, x, &(sg_row_loss_options){.targets = t}));
    assert_null(sg_row_loss(tape, SG_ROW_L1, x, &(sg_row_loss_options){.targets = t}));
    assert_null(sg_row_loss(tape, SG_ROW_SEPARABILITY, x, NULL)); // a pole
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){0}, &err), SG_ERR_INTERNAL);
    sg_tape_free(tape);
}

// ---- a share ------------------------------------------------------------------------------------

static void test_counts(void **state)
{
    (void)state;
    const sg_real s[] = {0.5, 0.25, 0.125, 0.125, 0}, none[] = {0, 0, 0}, mixed[] = {3, 1, -9};
    const struct {
        double threshold;
        int64_t least, share, of_best, above;
    } rows[] = {{0, 0, 1, 5, 5},    {0.25, 0, 1, 4, 2}, {0.5, 0, 1, 2, 1},
                {0.51, 0, 2, 1, 0}, {0.75, 0, 2, 1, 0}, {0.76, 0, 3, 1, 0},
                {0.76, 4, 4, 4, 4}, {1, 0, 5, 1, 0},    {2, 0, 5, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const double t = rows[i].threshold;
        const int64_t l = rows[i].least;
        assert_int_equal(sg_selected_count(s, 5, SG_COUNT_SHARE, t, l), rows[i].share);
        assert_int_equal(sg_selected_count(s, 5, SG_COUNT_OF_BEST, t, l), rows[i].of_best);
        assert_int_equal(sg_selected_count(s, 5, SG_COUNT_ABOVE, t, l), rows[i].above);
    }
    assert_int_equal(sg_selected_count(none, 3, SG_COUNT_SHARE, 0.5, 0), 1); // never none
    assert_int_equal(sg_selected_count(mixed, 3, SG_COUNT_SHARE, 0.8, 0), 2);
    assert_int_equal(sg_selected_count(s, 0, SG_COUNT_OF_BEST, 0.5, 0), 0);
}

// The operation counts as the rule does, and no count goes up.
static void test_share(void **state)
{
    (void)state;
    sg_real x[] = {1, 5, 2, 2, /**/ 0, 0, 9, 1};
    sg_tape *tape;
    sg_error err;
    assert_int_equal(sg_tape_new(&tape, &err), SG_OK);
    sg_tensor *in = sg_tape_leaf(tape, "x", SG_KIND_REAL, 2, (int64_t[]){2, 4}, x, NULL, false);
    sg_selection all = sg_topk(tape, in, 1, 4), s = sg_select_share(tape, &all, 0.6, 0);
    sg_selection less = sg_select_above(tape, &s, 5, false, 0);
    sg_selection again = sg_select_share(tape, &less, 1, 0);
    sg_tape_keep(tape, s.counts);
    sg_tape_keep(tape, again.counts);
    assert_int_equal(sg_tape_finish(tape, &(sg_tape_options){.threads = 1}, &err), SG_OK);
    assert_int_equal(sg_tape_allocate(tape, &err), SG_OK);
    sg_run run = {.compute = {.kernels = sg_kernels_fastest()}};
    sg_tape_forward(tape, &run);
    assert_int_equal(sg_ints(s.counts)[0], 2); // 5 of 10, then 7
    assert_int_equal(sg_ints(s.counts)[1], 1);
    assert_int_equal(sg_ints(again.counts)[0], 1);
    assert_int_equal(sg_ints(again.counts)[1], 1);
    sg_tape_free(tape);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),       cmocka_unit_test(test_threads),
        cmocka_unit_test(test_zeros),        cmocka_unit_test(test_hoyer_ends),
        cmocka_unit_test(test_wrong_shapes), cmocka_unit_test(test_separability_ends),
        cmocka_unit_test(test_counts),       cmocka_unit_test(test_share),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
