// Learning rates: golden values of spec 5.7 of the published recipe, shapes, and rules.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "train/schedule.h"

static void near(double found, double expected, double tolerance)
{
    if (!(fabs(found - expected) <= tolerance * fabs(expected)))
        fail_msg("found %.12g, expected %.12g", found, expected);
}

// n = 8280, W = 100, peak 1e-3, and so D = 1656.
static void test_sqrt(void **state)
{
    (void)state;
    const sg_schedule s = {SG_SCHEDULE_SQRT, 1e-3, 100, 8280, 0.2};
    assert_int_equal(sg_schedule_check(&s, NULL), SG_OK);
    assert_true(sg_schedule_at(&s, 0) == 0);
    near(sg_schedule_at(&s, 1), 1e-5, 1e-12);
    near(sg_schedule_at(&s, 50), 5e-4, 1e-12);
    assert_true(sg_schedule_at(&s, 100) == 1e-3);
    assert_true(sg_schedule_at(&s, 5000) == 1e-3);
    assert_true(sg_schedule_at(&s, 6624) == 1e-3);
    near(sg_schedule_at(&s, 6625), 9.7542634e-4, 1e-8);
    near(sg_schedule_at(&s, 7038), 5e-4, 1e-12);
    near(sg_schedule_at(&s, 8279), 3.0198e-7, 1e-4);
    assert_true(sg_schedule_at(&s, 8280) == 0);
    assert_true(sg_schedule_at(&s, 9000) == 0);
}

// 100 steps of warm-up, 200 flat, 300 of decay.
static void test_segments(void **state)
{
    (void)state;
    sg_schedule s = {SG_SCHEDULE_SQRT, 0.01, 100, 600, 0.5};
    for (int kind = SG_SCHEDULE_SQRT; kind <= SG_SCHEDULE_LINEAR; kind++) {
        s.kind = (sg_schedule_kind)kind;
        assert_true(sg_schedule_at(&s, 0) == 0);
        near(sg_schedule_at(&s, 100), 0.01, 1e-12);
        near(sg_schedule_at(&s, 300), 0.01, 1e-12);
        assert_true(sg_schedule_at(&s, 600) == 0);
    }
    near(sg_schedule_at(&s, 450), 0.005, 1e-12); // linear, half way
    near(sg_schedule_at(&s, 599), 0.01 / 300, 1e-9);
    s.kind = SG_SCHEDULE_SQRT;
    near(sg_schedule_at(&s, 375), 0.005, 1e-12); // a quarter of the way
}

static void test_cosine_and_constant(void **state)
{
    (void)state;
    sg_schedule s = {SG_SCHEDULE_COSINE, 2e-3, 100, 1100, 0.2};
    near(sg_schedule_at(&s, 25), 5e-4, 1e-12);
    near(sg_schedule_at(&s, 100), 2e-3, 1e-12);
    near(sg_schedule_at(&s, 600), 2e-3 * 0.55, 1e-12);
    near(sg_schedule_at(&s, 1100), 2e-4, 1e-12);
    near(sg_schedule_at(&s, 5000), 2e-4, 1e-12);
    s.kind = SG_SCHEDULE_CONSTANT;
    near(sg_schedule_at(&s, 99), 2e-3 * 0.99, 1e-12);
    assert_true(sg_schedule_at(&s, 100) == 2e-3);
    assert_true(sg_schedule_at(&s, 1099) == 2e-3);
    s.warmup = 0; // then the first update has the whole rate
    assert_true(sg_schedule_at(&s, 0) == 2e-3);
    s.kind = SG_SCHEDULE_COSINE;
    s.warmup = s.steps = 10; // nothing left to fall on
    near(sg_schedule_at(&s, 10), 2e-4, 1e-12);
}

// The reference's own cosine, which is over W updates before ours: values of that program.
static void test_cosine_reference(void **state)
{
    (void)state;
    sg_schedule s = {SG_SCHEDULE_COSINE_REFERENCE, 3e-3, 10, 200, 0};
    near(sg_schedule_at(&s, 5), 1.5e-3, 1e-12);
    near(sg_schedule_at(&s, 10), 3e-3, 1e-12);
    near(sg_schedule_at(&s, 129), 9.955e-4, 1e-4);
    near(sg_schedule_at(&s, 190), 3e-4, 1e-9);
    near(sg_schedule_at(&s, 199), 3e-4, 1e-9);
    s.kind = SG_SCHEDULE_COSINE;
    near(sg_schedule_at(&s, 129), 1.128e-3, 1e-3);
    assert_int_equal(sg_schedule_check(&s, NULL), SG_OK);
    s = (sg_schedule){SG_SCHEDULE_COSINE_REFERENCE, 3e-3, 10, 20, 0}; // nothing is left to span
    assert_int_equal(sg_schedule_check(&s, NULL), SG_ERR_ARGUMENT);
    sg_schedule_kind kind;
    assert_int_equal(sg_schedule_parse("cosine_reference", &kind, NULL), SG_OK);
    assert_int_equal(kind, SG_SCHEDULE_COSINE_REFERENCE);
}

// Up in the warm-up, never up again, never outside 0 … peak.
static void test_shape(void **state)
{
    (void)state;
    for (int kind = SG_SCHEDULE_CONSTANT; kind <= SG_SCHEDULE_COSINE_REFERENCE; kind++)
        for (int64_t n = 1; n < 60; n++)
            for (int64_t w = 0; w <= n; w += 7) {
                sg_schedule s = {(sg_schedule_kind)kind, 0.3, w, n, 0.2};
                if (sg_schedule_check(&s, NULL) != SG_OK) continue;
                for (int64_t i = 0; i + 1 < n; i++) {
                    double now = sg_schedule_at(&s, i), then = sg_schedule_at(&s, i + 1);
                    assert_true(now >= 0 && now <= 0.3);
                    assert_true(i < w ? then > now : then <= now);
                }
            }
}

static void refused(sg_schedule s, const char *word)
{
    sg_error err = {0};
    assert_int_equal(sg_schedule_check(&s, &err), SG_ERR_ARGUMENT);
    if (strstr(err.message, word) == NULL) fail_msg("\"%s\" lacks \"%s\"", err.message, word);
}

static void test_rules(void **state)
{
    (void)state;
    refused((sg_schedule){SG_SCHEDULE_CONSTANT, 1, -1, 10, 0.2}, "warmup-steps: found -1");
    refused((sg_schedule){SG_SCHEDULE_CONSTANT, 1, 11, 10, 0.2}, "warmup-steps: found 11");
    refused((sg_schedule){SG_SCHEDULE_SQRT, 1, 9, 10, 0.2}, "do not fit into 10");
    refused((sg_schedule){SG_SCHEDULE_LINEAR, 1, 0, 10, 1.1}, "decay-fraction: found 1.1");
    refused((sg_schedule){SG_SCHEDULE_LINEAR, 1, 0, 10, -0.1}, "decay-fraction");
    refused((sg_schedule){SG_SCHEDULE_LINEAR, 1, 0, 10, NAN}, "decay-fraction");
    const sg_schedule tight = {SG_SCHEDULE_SQRT, 1, 8, 10, 0.2};
    assert_int_equal(sg_schedule_check(&tight, NULL), SG_OK);
    const sg_schedule flat = {SG_SCHEDULE_COSINE, 1, 10, 10, 0.9}; // has no such decay
    assert_int_equal(sg_schedule_check(&flat, NULL), SG_OK);
}

static void test_names(void **state)
{
    (void)state;
    sg_error err;
    sg_schedule_kind kind;
    static const char *const names[] = {[SG_SCHEDULE_CONSTANT] = "constant",
                                        [SG_SCHEDULE_SQRT] = "sqrt",
                                        [SG_SCHEDULE_LINEAR] = "linear",
                                        [SG_SCHEDULE_COSINE] = "cosine",
                                        [SG_SCHEDULE_COSINE_REFERENCE] = "cosine_reference"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(sg_schedule_parse(names[i], &kind, &err), SG_OK);
        assert_int_equal(kind, i);
    }
    assert_int_equal(sg_schedule_parse("square", &kind, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "found \"square\", expected one of constant, sqrt"));
    assert_int_equal(sg_schedule_parse("", &kind, &err), SG_ERR_ARGUMENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sqrt),
        cmocka_unit_test(test_segments),
        cmocka_unit_test(test_cosine_and_constant),
        cmocka_unit_test(test_cosine_reference),
        cmocka_unit_test(test_shape),
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
