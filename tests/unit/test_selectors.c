// How many blocks a token reads, thresholds from calibration, and what training for sparse
// activations takes: identities at the ends, values against sorting, refusals.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "compute_on.h"
#include "sparsify/magnitudes.h"
#include "sparsify/selectors.h"

enum { tokens = 200, blocks = 24 };

static void expect_ok(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static void draw_scores(sg_real *scores)
{
    for (int64_t i = 0; i < tokens * blocks; i++)
        scores[i] = (sg_real)fabs(sg_rng_normal(7, 1, (uint64_t)i)) + (sg_real)1e-3;
}

// ---- selectors ----------------------------------------------------------------------------------

static void expect_counts(const sg_real *scores, sg_selector s, int64_t count)
{
    int32_t counts[tokens];
    sg_error err = {0};
    expect_ok(sg_select_blocks(compute_of(1), &s, scores, tokens, blocks, counts, NULL, &err),
              &err);
    for (int64_t t = 0; t < tokens; t++)
        assert_int_equal(counts[t], count);
}

// All or the best alone at the ends of thresholds, k of k, and none below a threshold of all.
static void test_ends(void **state)
{
    (void)state;
    static sg_real scores[tokens * blocks];
    draw_scores(scores);
    for (int64_t k = 1; k <= blocks; k++)
        expect_counts(scores, (sg_selector){.kind = SG_SELECT_TOP_K, .k = k}, k);
    expect_counts(scores, (sg_selector){.kind = SG_SELECT_OF_BEST, .threshold = 0}, blocks);
    expect_counts(scores, (sg_selector){.kind = SG_SELECT_OF_BEST, .threshold = 1}, 1);
    expect_counts(scores, (sg_selector){.kind = SG_SELECT_SHARE, .threshold = 1}, blocks);
    expect_counts(scores, (sg_selector){.kind = SG_SELECT_SHARE, .threshold = 0}, 1);
    expect_counts(scores, (sg_selector){.kind = SG_SELECT_ABOVE, .threshold = 0}, blocks);
    expect_counts(scores, (sg_selector){.kind = SG_SELECT_ABOVE, .threshold = 99}, 0);
    expect_counts(scores, (sg_selector){.kind = SG_SELECT_ABOVE, .threshold = 99, .least = 2}, 2);
    expect_counts(scores, (sg_selector){.kind = SG_SELECT_SHARE, .k = 5, .threshold = 1}, 5);
}

static int64_t naive_count(const sg_real *row, sg_selector s)
{
    int64_t count = 0;
    double best = 0, all = 0;
    for (int64_t e = 0; e < blocks; e++) {
        best = fmax(best, (double)row[e]);
        all += (double)row[e];
    }
    if (s.kind != SG_SELECT_SHARE) {
        const double bound = s.kind == SG_SELECT_OF_BEST ? s.threshold * best : s.threshold;
        for (int64_t e = 0; e < blocks; e++)
            count += (double)row[e] >= bound;
        return count;
    }
    bool used[blocks] = {0};
    for (double sum = 0; sum < s.threshold * all; count++) {
        int64_t at = -1;
        for (int64_t e = 0; e < blocks; e++)
            if (!used[e] && (at < 0 || row[e] > row[at])) at = e;
        used[at] = true;
        sum += (double)row[at];
    }
    return count;
}

// Between the ends, for any threads; the ids are those of the largest scores.
static void test_counts(void **state)
{
    (void)state;
    static sg_real scores[tokens * blocks];
    static int32_t ids[2][tokens * blocks], counts[2][tokens];
    draw_scores(scores);
    for (int kind = SG_SELECT_OF_BEST; kind <= SG_SELECT_ABOVE; kind++)
        for (double threshold = 0.1; threshold < 1; threshold += 0.2) {
            const sg_selector s = {.kind = (sg_selector_kind)kind, .threshold = threshold};
            sg_error err = {0};
            for (int n = 0; n < 2; n++) {
                const sg_compute compute = compute_of(1 + 2 * n);
                expect_ok(
                    sg_select_blocks(compute, &s, scores, tokens, blocks, counts[n], ids[n], &err),
                    &err);
                sg_pool_free(compute.pool);
            }
            assert_memory_equal(counts[0], counts[1], sizeof counts[0]);
            assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
            for (int64_t t = 0; t < tokens; t++) {
                const sg_real *row = scores + t * blocks;
                assert_int_equal(counts[0][t], naive_count(row, s));
                for (int64_t i = 1; i < blocks; i++)
                    assert_true(row[ids[0][t * blocks + i]] <= row[ids[0][t * blocks + i - 1]]);
            }
        }
}

static void test_summary(void **state)
{
    (void)state;
    const sg_real scores[] = {3, 2, 1, 0, /**/ 0, 0, 0, 5, /**/ 1, 1, 1, 1};
    const sg_real truth[] = {1, 2, 3, 4, /**/ 0, 0, 0, 0, /**/ 1, 1, 1, 1};
    const sg_selector half = {.kind = SG_SELECT_OF_BEST, .threshold = 0.5};
    sg_selection_summary s;
    sg_error err = {0};
    expect_ok(sg_selection_summarise(compute_of(1), &half, scores, truth, 3, 4, &s, &err), &err);
    assert_true(fabs(s.mean - 7.0 / 3) < 1e-12 && fabs(s.active - 7.0 / 12) < 1e-12);
    assert_true(fabs(s.deviation - sqrt(14.0 / 9)) < 1e-12);
    assert_int_equal(s.least, 1);
    assert_int_equal(s.p50, 2);
    assert_int_equal(s.most, 4);
    static sg_real falling[100 * 100]; // token t has t + 1 scores of 1
    const sg_selector ones = {.kind = SG_SELECT_ABOVE, .threshold = 1};
    for (int64_t i = 0; i < 100 * 100; i++)
        falling[i] = i % 100 <= i / 100;
    sg_selection_summary many;
    expect_ok(sg_selection_summarise(compute_of(1), &ones, falling, NULL, 100, 100, &many, &err),
              &err);
    assert_int_equal(many.p5, 5);
    assert_int_equal(many.p95, 95);
    assert_true(fabs(s.captured - (0.3 + 1) / 2) < 1e-7); // the second token has no truth
    expect_ok(sg_selection_summarise(compute_of(1), &half, scores, NULL, 3, 4, &s, &err), &err);
    assert_true(isnan(s.captured));
    assert_int_equal(sg_selection_summarise(compute_of(1), &half, scores, NULL, 0, 4, &s, &err),
                     SG_ERR_ARGUMENT);
}

static void test_refuses(void **state)
{
    (void)state;
    const sg_selector wrong[] = {
        {.kind = SG_SELECT_TOP_K},
        {.kind = SG_SELECT_TOP_K, .k = 9},
        {.kind = SG_SELECT_SHARE, .threshold = 1.5},
        {.kind = SG_SELECT_OF_BEST, .threshold = -0.1},
        {.kind = SG_SELECT_OF_BEST, .threshold = (double)NAN},
        {.kind = SG_SELECT_ABOVE, .threshold = (double)INFINITY},
        {.kind = SG_SELECT_ABOVE, .least = 9},
    };
    sg_error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_int_equal(sg_selector_check(&wrong[i], 8, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "selector: least: found 9, expected 0 … 8");
    assert_int_equal(sg_selector_check(&wrong[1], 9, &err), SG_OK);
}

// ---- thresholds ---------------------------------------------------------------------------------

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void test_thresholds(void **state)
{
    (void)state;
    enum { n = 20000, d = 10 };
    static sg_real x[n], weights[d];
    static double sorted[n];
    sg_magnitudes m;
    sg_error err = {0};
    for (int weighted = 0; weighted < 2; weighted++) {
        for (int64_t i = 0; i < n; i++) {
            x[i] = i % 10 == 3 ? 0 : (sg_real)(exp(3 * sg_rng_normal(3, 1, (uint64_t)i)) - 0.5);
            weights[i % d] = (sg_real)(1 + i % d);
            sorted[i] = fabs((double)x[i]) * (weighted ? (double)(1 + i % d) : 1);
        }
        qsort(sorted, n, sizeof *sorted, ascending);
        expect_ok(sg_magnitudes_new(&m, &err), &err);
        for (int64_t r = 0; r < n / d; r += 100)
            expect_ok(sg_magnitudes_add(&m, x + r * d, 100, d, weighted ? weights : NULL, &err),
                      &err);
        for (double share = 0.05; share < 1.01; share += 0.05) {
            double t;
            const double p = fmin(share, 1);
            const int64_t rank = (int64_t)ceil(p * n - 1e-9) - 1;
            expect_ok(sg_magnitudes_threshold(&m, p, &t, &err), &err);
            assert_true(t >= sorted[rank] && t <= sorted[rank] * (1 + 0x1p-9));
            const double below = sg_magnitudes_share(&m, t);
            assert_true(below >= p - 1e-9 && (below < p + 0.01 || t == 0));
        }
        double none;
        expect_ok(sg_magnitudes_threshold(&m, 0, &none, &err), &err);
        assert_true(none == 0);
        expect_ok(sg_magnitudes_threshold(&m, 0.1, &none, &err), &err);
        assert_true(none == 0); // a tenth are zeros
        sg_magnitudes_free(&m);
    }
}

static void test_threshold_errors(void **state)
{
    (void)state;
    const sg_real x[] = {1, 2, NAN, 4};
    sg_magnitudes m;
    sg_error err = {0};
    double t;
    expect_ok(sg_magnitudes_new(&m, &err), &err);
    assert_int_equal(sg_magnitudes_threshold(&m, 0.5, &t, &err), SG_ERR_NUMERIC);
    assert_true(isnan(sg_magnitudes_share(&m, 1)));
    assert_int_equal(sg_magnitudes_add(&m, x, 2, 2, NULL, &err), SG_ERR_NUMERIC);
    assert_string_equal(err.message,
                        "magnitudes: row 1, number 0: found nan, expected a finite number");
    assert_int_equal(sg_magnitudes_threshold(&m, 1.1, &t, &err), SG_ERR_ARGUMENT);
    sg_magnitudes_free(&m);
    const sg_real w[] = {3, 0, 4, 1};
    sg_real norms[2];
    sg_column_norms(w, 2, 2, norms);
    assert_true(norms[0] == 5 && norms[1] == 1);
}

// ---- greedy shares ------------------------------------------------------------------------------

// Matrix i costs weights[i] times its share squared: what is best has shares as 1 / weights.
static bool squares(void *user, const double *shares, double *value)
{
    const double *weights = user;
    *value = 0;
    for (int i = 0; i < 3; i++)
        *value += weights[i] * shares[i] * shares[i];
    return true;
}

static bool refuses(void *user, const double *shares, double *value)
{
    (void)user;
    (void)shares;
    *value = 0;
    return false;
}

static void test_greedy(void **state)
{
    (void)state;
    double weights[] = {1, 2, 4}, sizes[] = {10, 10, 10}, shares[3];
    sg_greedy_shares g = {.count = 3,
                          .sizes = sizes,
                          .step = 0.001,
                          .share = 0.35,
                          .error = squares,
                          .user = weights};
    sg_error err = {0};
    expect_ok(sg_greedy_shares_find(&g, shares, &err), &err);
    assert_true(fabs(shares[0] - 0.6) < 0.01 && fabs(shares[1] - 0.3) < 0.01 &&
                fabs(shares[2] - 0.15) < 0.01);
    g.share = 1;
    g.step = 0.05;
    expect_ok(sg_greedy_shares_find(&g, shares, &err), &err);
    assert_true(shares[0] == 1 && shares[1] == 1 && fabs(shares[2] - 1) < 1e-9);
    g.share = 0.6, sizes[0] = 60; // a large matrix moves by smaller steps
    expect_ok(sg_greedy_shares_find(&g, shares, &err), &err);
    assert_true(fabs((60 * shares[0] + 10 * shares[1] + 10 * shares[2]) / 80 - 0.6) < 1e-9);
    g.step = g.share = 0.1; // of 80: 8 of the first, or the smaller one nearly whole
    expect_ok(sg_greedy_shares_find(&g, shares, &err), &err);
    assert_true(fabs(shares[0] - 8.0 / 60) < 1e-12 && shares[1] == 0 && shares[2] == 0);
    weights[0] = 4; // still the best: its share moves less
    expect_ok(sg_greedy_shares_find(&g, shares, &err), &err);
    assert_true(shares[0] > 0 && shares[1] == 0);
    weights[0] = 1e3;
    expect_ok(sg_greedy_shares_find(&g, shares, &err), &err);
    assert_true(shares[0] == 0 && fabs(shares[1] - 0.8) < 1e-12 && shares[2] == 0);
    g.error = refuses;
    assert_int_equal(sg_greedy_shares_find(&g, shares, &err), SG_ERR_STOPPED);
    g.step = 0;
    assert_int_equal(sg_greedy_shares_find(&g, shares, &err), SG_ERR_ARGUMENT);
    g.step = 0.1, sizes[1] = 0;
    assert_int_equal(sg_greedy_shares_find(&g, shares, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "shares: size of matrix 1: found 0, expected one above 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ends),       cmocka_unit_test(test_counts),
        cmocka_unit_test(test_summary),    cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_thresholds), cmocka_unit_test(test_threshold_errors),
        cmocka_unit_test(test_greedy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
