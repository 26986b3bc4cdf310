// Rows that are updated when they are read: what they have missed taken at once against the same
// steps one by one, and whole optimisers, lazy against exact, in double precision, where what
// differs is not rounding.
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
#include "train/optimizer.h"
#include "train/row_clock.h"
#include "compute_on.h"

#ifndef SG_REAL_DOUBLE
#error "this test needs the library built with double"
#endif

// ---- the closed form ----------------------------------------------------------------------------

static double rate(int64_t update) // a warm-up, then some decay
{
    return update < 50 ? 1e-3 * (double)(update + 1) / 50 : 1e-3 / sqrt((double)update / 50);
}

// One step of AdamW without a gradient, update number t from 1.
static void step(double *p, double *m, double *v, int64_t t, const sg_row_clock *c)
{
    double lr = rate(t);
    *m *= c->beta1;
    *v *= c->beta2;
    double first = *m / (1 - pow(c->beta1, (double)t)),
           second = *v / (1 - pow(c->beta2, (double)t));
    *p -= lr * (first / (sqrt(second) + c->eps) + c->decay * *p);
}

// A row whose last step was `last` updates after `settled`, brought to `updates` after it.
static void check_clock(double beta1, double beta2, double eps, double decay, int64_t settled,
                        int64_t last, int64_t updates, double v, double tolerance)
{
    sg_row_clock *c = sg_alloc_zero(1, sizeof *c);
    assert_non_null(c);
    *c = (sg_row_clock){.beta1 = beta1,
                        .beta2 = beta2,
                        .eps = eps,
                        .decay = decay,
                        .settled = settled,
                        .built = -1};
    for (int64_t i = 0; i < updates; i++)
        sg_row_clock_advance(c, rate(settled + i + 1));
    sg_row_clock_build(c);
    double p = 0.3, m = sqrt(v) * 0.4, q = p, n = m, w = v;
    sg_kernels_ref()->adamw_idle(&p, &m, &v, 1, &c->idle[last]);
    double moved = 0;
    for (int64_t t = settled + last + 1; t <= settled + updates; t++) {
        double before = q;
        step(&q, &n, &w, t, c);
        moved += fabs(q - before);
    }
    if (!(fabs(p - q) <= tolerance * moved + 1e-15))
        fail_msg("from %lld to %lld after %lld, eps %g: found %.17g, expected %.17g, moved %g",
                 (long long)last, (long long)updates, (long long)settled, eps, p, q, moved);
    assert_true(fabs(v - w) <= 1e-11 * w);
    assert_true(fabs(m - n) <= 1e-11 * n + 1.1e-12 * 0.4 * sqrt(w));
    sg_free(c);
}

static void test_closed_form(void **state)
{
    (void)state;
    static const int64_t settled[] = {0, 7, 1000, 100000}, lasts[] = {0, 1, 5, 100, 1000};
    static const int64_t waits[] = {0, 1, 2, 3, 10, 50, 300, 1023};
    for (size_t s = 0; s < 4; s++)
        for (size_t l = 0; l < 5; l++)
            for (size_t w = 0; w < 8; w++) {
                if (lasts[l] + waits[w] > SG_ROW_PERIOD) continue;
                // A row has moments only after an update.
                if (settled[s] + lasts[l] == 0) continue;
                int64_t now = lasts[l] + waits[w];
                // eps small beside the root, large beside it: exact; alike: nearly.
                check_clock(0.9, 0.999, 1e-30, 0.1, settled[s], lasts[l], now, 1e-4, 1e-10);
                check_clock(0.9, 0.999, 1, 0.1, settled[s], lasts[l], now, 1e-24, 1e-9);
                bool early = settled[s] + lasts[l] < 20;
                check_clock(0.9, 0.999, 1e-8, 0.1, settled[s], lasts[l], now, 1e-16,
                            early ? 0.03 : 3e-4);
                check_clock(0.8, 0.95, 1e-8, 0, settled[s], lasts[l], now, 1e-8, 1e-4);
            }
    check_clock(0, 0.999, 1e-8, 0.1, 10, 3, 9, 1e-4, 1e-10); // no momentum: decay alone
    check_clock(0.9, 0, 1e-8, 0, 10, 3, 5, 1e-4, 1e-10);     // v is gone after one step
    check_clock(0, 0, 1e-8, 0.1, 10, 3, 9, 1e-4, 1e-10);
}

// ---- whole optimisers ---------------------------------------------------------------------------

enum { ROWS = 60, WIDTH = 5, DENSE = 7 };

typedef struct side {
    sg_param_list params;
    sg_real table[ROWS * WIDTH], dense[DENSE];
    sg_real *values[2];
    sg_gradients gradients;
    sg_optimizer *optimizer;
} side;

static const sg_optimizer_options adamw = {
    .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1, .clip = 0.5};

static void side_open(side *s, sg_optimizer_rows mode)
{
    sg_error err;
    *s = (side){0};
    sg_param_add(&s->params, "", "table", 2, (int64_t[]){ROWS, WIDTH}, SG_INIT_NORMAL, 1);
    sg_param_rows(&s->params, 2);
    sg_param_add(&s->params, "", "dense", 1, (int64_t[]){DENSE}, SG_INIT_NORMAL, 1);
    s->values[0] = s->table;
    s->values[1] = s->dense;
    for (int i = 0; i < 2; i++)
        sg_param_init(&s->params.specs[i], 1, NULL, s->values[i]);
    assert_int_equal(sg_gradients_new(&s->params, mode, 100, NULL, &s->gradients, &err), SG_OK);
    assert_int_equal(s->gradients.lazy_tables, mode == SG_ROWS_LAZY);
    assert_int_equal(
        sg_optimizer_new(&s->params, s->values, &s->gradients, &adamw, &s->optimizer, &err), SG_OK);
}

static void side_close(side *s)
{
    sg_optimizer_free(s->optimizer);
    sg_gradients_free(&s->gradients);
    sg_param_list_free(&s->params);
}

// A step that reads rows `ids` and has a gradient that depends on what it read.
static void side_step(side *s, const int32_t *ids, int64_t count, int64_t update)
{
    sg_row_grads *g = sg_gradients_rows(&s->gradients, 0);
    int32_t slots[ROWS];
    if (g != NULL) {
        g->before_read(g->user, compute_on(NULL), ids, count);
        assert_int_equal(sg_row_grads_open(g, ids, count, false, slots), 0);
    } else {
        memset(s->gradients.parts[0], 0, sizeof s->table);
    }
    for (int64_t i = 0; i < count; i++)
        for (int64_t j = 0; j < WIDTH; j++) {
            uint64_t at = (uint64_t)((update * ROWS + ids[i]) * WIDTH + j);
            sg_real gradient = 0.1 * s->table[ids[i] * WIDTH + j] + 0.1 * sg_rng_normal(4, 1, at);
            *(g ? g->values + slots[i] * WIDTH + j : s->gradients.parts[0] + ids[i] * WIDTH + j) =
                gradient;
        }
    for (int j = 0; j < DENSE; j++)
        s->gradients.parts[1][j] = sg_rng_normal(4, 2, (uint64_t)(update * DENSE + j));
    sg_optimizer_apply(s->optimizer, compute_on(NULL), rate(update + 1),
                       sg_optimizer_norm(s->optimizer, compute_on(NULL)));
}

static int64_t rows_of(int64_t update, double share, int32_t *ids)
{
    int64_t count = 0;
    for (int32_t row = 0; row < ROWS; row++) // some rows often, some hardly ever
        if (sg_rng_uniform(8, 3, (uint64_t)(update * ROWS + row)) < share * (1 + row % 7) / 4)
            ids[count++] = row;
    return count;
}

static double side_distance(const side *a, const side *b, int what)
{
    double largest = 0;
    for (int i = 0; i < ROWS * WIDTH; i++) {
        double x = what == 2 ? a->table[i] : sg_optimizer_moment(a->optimizer, 0, what)[i];
        double y = what == 2 ? b->table[i] : sg_optimizer_moment(b->optimizer, 0, what)[i];
        if (fabs(x - y) > largest) largest = fabs(x - y);
    }
    return largest;
}

static void test_every_row(void **state)
{
    (void)state;
    static side lazy, exact;
    int32_t ids[ROWS];
    for (int32_t i = 0; i < ROWS; i++)
        ids[i] = i;
    side_open(&lazy, SG_ROWS_LAZY);
    side_open(&exact, SG_ROWS_EXACT);
    for (int64_t u = 0; u < 1100; u++) { // over the end of a period
        side_step(&lazy, ids, ROWS, u);
        side_step(&exact, ids, ROWS, u);
        if (u != 0 && u != 500 && u != 1099) continue;
        assert_memory_equal(lazy.table, exact.table, sizeof lazy.table);
        assert_memory_equal(lazy.dense, exact.dense, sizeof lazy.dense);
        for (int which = 0; which < 2; which++)
            assert_true(side_distance(&lazy, &exact, which) == 0);
    }
    side_close(&lazy);
    side_close(&exact);
}

// Few rows a step: what is read is what AdamW over all rows would have made of it.
static void test_few_rows(void **state)
{
    (void)state;
    static side lazy, exact;
    for (double share = 0.002; share < 0.6; share *= 6) {
        int32_t ids[ROWS];
        int64_t read = 0;
        side_open(&lazy, SG_ROWS_LAZY);
        side_open(&exact, SG_ROWS_EXACT);
        for (int64_t u = 0; u < 2500; u++) {
            int64_t count = rows_of(u, share, ids);
            side_step(&lazy, ids, count, u);
            side_step(&exact, ids, count, u);
            read += count;
            for (int64_t i = 0; i < count; i++)
                for (int j = 0; j < WIDTH; j++) {
                    int64_t at = ids[i] * WIDTH + j;
                    assert_true(fabs(lazy.table[at] - exact.table[at]) < 1e-6);
                }
        }
        // Rows that wait are behind, until all are settled.
        assert_true(side_distance(&lazy, &exact, 2) > 1e-5);
        sg_optimizer_settle(lazy.optimizer, compute_on(NULL));
        assert_true(side_distance(&lazy, &exact, 2) < 1e-6);
        assert_true(side_distance(&lazy, &exact, 0) < 1e-7);
        assert_true(side_distance(&lazy, &exact, 1) < 1e-7);
        sg_optimizer_settle(lazy.optimizer, compute_on(NULL)); // nothing is left to do
        assert_true(side_distance(&lazy, &exact, 2) < 1e-6);
        assert_true(read > 0);
        side_close(&lazy);
        side_close(&exact);
    }
}

// ---- two rows by hand ---------------------------------------------------------------------------

// Row 1 is read at updates 1 and 4, row 0 at update 2.
static void test_two_rows(void **state)
{
    (void)state;
    sg_param_list list = {0};
    sg_error err;
    sg_gradients gradients;
    sg_optimizer *o;
    sg_param_add(&list, "", "table", 2, (int64_t[]){2, 1}, SG_INIT_ONE, 0);
    sg_param_rows(&list, 1);
    sg_real table[] = {1, 1}, *values[] = {table};
    assert_int_equal(sg_gradients_new(&list, SG_ROWS_LAZY, 1, NULL, &gradients, &err), SG_OK);
    sg_optimizer_options options = {.beta1 = 0.5, .beta2 = 0.75, .eps = 1e-30, .weight_decay = 0.5};
    assert_int_equal(sg_optimizer_new(&list, values, &gradients, &options, &o, &err), SG_OK);
    sg_row_grads *g = gradients.rows[0];
    static const struct {
        int32_t row;
        double gradient, lr;
    } steps[] = {{1, 2, 0.1}, {0, 1, 0.2}, {-1, 0, 0.1}, {1, -1, 0.1}};
    for (int u = 0; u < 4; u++) {
        int32_t slot;
        int64_t count = steps[u].row >= 0;
        g->before_read(g->user, compute_on(NULL), &steps[u].row, count);
        sg_row_grads_open(g, &steps[u].row, count, false, &slot);
        if (count) g->values[slot] = steps[u].gradient;
        assert_true(sg_optimizer_norm(o, compute_on(NULL)) == fabs(steps[u].gradient));
        sg_optimizer_apply(o, compute_on(NULL), steps[u].lr, 1);
    }
    // Row 1. Update 1: m = 1, v = 1; m / bias1 = 2, v / bias2 = 4: p = 1 - 0.1 (2/2 + 0.5).
    double p = 1 - 0.1 * 1.5;
    // Update 2: m = 0.5, v = 0.75, bias1 = 0.75, bias2 = 0.4375.
    p -= 0.2 * (0.5 / 0.75 / sqrt(0.75 / 0.4375) + 0.5 * p);
    // Update 3: m = 0.25, v = 0.5625, bias1 = 0.875, bias2 = 0.578125.
    p -= 0.1 * (0.25 / 0.875 / sqrt(0.5625 / 0.578125) + 0.5 * p);
    // Update 4: m = 0.125 - 0.5, v = 0.421875 + 0.25, bias1 = 0.9375, bias2 = 0.68359375.
    p -= 0.1 * (-0.375 / 0.9375 / sqrt(0.671875 / 0.68359375) + 0.5 * p);
    assert_true(fabs(table[1] - p) < 1e-15);
    assert_true(fabs(sg_optimizer_moment(o, 0, 0)[1] + 0.375) < 1e-15);
    assert_true(fabs(sg_optimizer_moment(o, 0, 1)[1] - 0.671875) < 1e-15);
    // Row 0. Update 1: decay alone. Update 2: m = 0.5, v = 0.25. Then it waits.
    double q = 1 - 0.1 * 0.5;
    q -= 0.2 * (0.5 / 0.75 / sqrt(0.25 / 0.4375) + 0.5 * q);
    assert_true(fabs(table[0] - q) < 1e-15);
    q -= 0.1 * (0.25 / 0.875 / sqrt(0.1875 / 0.578125) + 0.5 * q);
    q -= 0.1 * (0.125 / 0.9375 / sqrt(0.140625 / 0.68359375) + 0.5 * q);
    sg_optimizer_settle(o, compute_on(NULL));
    assert_true(fabs(table[0] - q) < 1e-15);
    assert_true(fabs(table[1] - p) < 1e-15);
    sg_optimizer_free(o);
    sg_gradients_free(&gradients);
    sg_param_list_free(&list);
}

// ---- which tables are lazy ----------------------------------------------------------------------

static void test_choice(void **state)
{
    (void)state;
    sg_param_list list = {0};
    sg_error err;
    sg_gradients g;
    sg_param_add(&list, "", "big", 3, (int64_t[]){2, 500, 3}, SG_INIT_ZERO, 0);
    sg_param_rows(&list, 10);
    sg_param_add(&list, "", "whole", 2, (int64_t[]){1000, 3}, SG_INIT_ZERO, 0);
    sg_param_add(&list, "", "small", 2, (int64_t[]){40, 3}, SG_INIT_ZERO, 0);
    sg_param_rows(&list, 10);
    // 10 hits a token; lazy while the hits of a step are not more than the rows of the table.
    for (int64_t tokens = 1; tokens < 130; tokens++) {
        assert_int_equal(sg_gradients_new(&list, SG_ROWS_AUTO, tokens, NULL, &g, &err), SG_OK);
        assert_true((g.rows[0] != NULL) == (tokens <= 100) && g.rows[1] == NULL);
        assert_true((g.rows[2] != NULL) == (tokens <= 4));
        for (int i = 0; i < 3; i++)
            assert_true((g.parts[i] == NULL) == (g.rows[i] != NULL));
        sg_gradients_free(&g);
    }
    assert_int_equal(sg_gradients_new(&list, SG_ROWS_LAZY, INT64_MAX / 4, NULL, &g, &err), SG_OK);
    assert_int_equal(g.lazy_tables, 2);
    sg_gradients_free(&g);
    assert_int_equal(sg_gradients_new(&list, SG_ROWS_AUTO, INT64_MAX / 4, NULL, &g, &err), SG_OK);
    assert_int_equal(g.lazy_tables, 0); // and nothing overflows
    sg_gradients_free(&g);
    sg_param_list_free(&list);
    sg_optimizer_rows mode;
    assert_int_equal(sg_optimizer_rows_parse("auto", &mode, &err), SG_OK);
    assert_int_equal(mode, SG_ROWS_AUTO);
    assert_int_equal(sg_optimizer_rows_parse("Lazy", &mode, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message,
                        "optimizer-rows: found \"Lazy\", expected one of exact, lazy, auto");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_closed_form), cmocka_unit_test(test_every_row),
        cmocka_unit_test(test_few_rows),    cmocka_unit_test(test_two_rows),
        cmocka_unit_test(test_choice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
