// Bootstrap, sign flips and Holm's adjustment against numpy with the same draws
// (tests/twins/patch_twin.py), and what must hold of them.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/json.h"
#include "probe/statistics.h"

enum { pairs_most = 512, members_most = 128 };

static json_t *root;

static int set_up(void **state)
{
    (void)state;
    sg_error err = {0};
    return sg_json_read(SG_TEST_DIR "/golden/patch/statistics.json", 1 << 20, &root, &err) != SG_OK;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(root);
    return 0;
}

static void near(double found, double expected, const char *what)
{
    if (!(fabs(found - expected) <= 1e-12 * fmax(1, fabs(expected))))
        fail_msg("%s: found %.17g, expected %.17g", what, found, expected);
}

static int64_t integer(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static size_t read_numbers(const json_t *object, const char *key, double *out)
{
    const json_t *array = json_object_get(object, key);
    for (size_t i = 0; i < json_array_size(array); i++) {
        const json_t *item = json_array_get(array, i);
        assert_true(i < pairs_most);
        out[i] = json_is_null(item) ? NAN : json_number_value(item);
    }
    return json_array_size(array);
}

static void interval(const json_t *c, const char *key, const sg_resamples *r,
                     const sg_pair_values *pairs)
{
    double expected[3], work[pairs_most];
    assert_int_equal(read_numbers(c, key, expected), 3);
    const sg_interval found = sg_bootstrap(r, pairs, work);
    near(found.mean, expected[0], key);
    near(found.low, expected[1], key);
    near(found.high, expected[2], key);
}

static void test_twin(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(root, "cases"), i, c)
    {
        double values[pairs_most], weights[pairs_most], members[pairs_most], sums[members_most];
        size_t first[pairs_most], second[pairs_most];
        sg_resamples r;
        const size_t count = read_numbers(c, "values", values);
        assert_int_equal(read_numbers(c, "weights", weights), count);
        read_numbers(c, "first", members);
        for (size_t n = 0; n < count; n++)
            first[n] = (size_t)members[n];
        read_numbers(c, "second", members);
        for (size_t n = 0; n < count; n++)
            second[n] = (size_t)members[n];
        const int64_t all = integer(c, "members");
        assert_int_equal(
            sg_resamples_new(integer(c, "resamples"), all, (uint64_t)integer(c, "seed"), &r, NULL),
            SG_OK);
        interval(c, "mean", &r, &(sg_pair_values){values, NULL, first, second, count});
        interval(c, "of_sums", &r, &(sg_pair_values){values, weights, first, second, count});
        near(sg_sign_flips(values, first, count, (size_t)all, integer(c, "flips"),
                           (uint64_t)integer(c, "seed"), sums),
             json_number_value(json_object_get(c, "p")), "p");
        sg_resamples_free(&r);
    }
    assert_int_equal(i, 3);
}

static void test_holm(void **state)
{
    (void)state;
    double p[8], expected[8], found[8];
    const size_t count = read_numbers(root, "p", p);
    read_numbers(root, "holm", expected);
    sg_holm(p, found, count);
    for (size_t i = 0; i < count; i++)
        near(found[i], expected[i], "holm");
    // What is not there does not count.
    const double some[] = {0.01, NAN, 0.04};
    sg_holm(some, found, 3);
    near(found[0], 0.02, "holm");
    near(found[2], 0.04, "holm");
    assert_true(isnan(found[1]));
}

// Values that are all alike have no interval, and no sign by chance.
static void test_constant(void **state)
{
    (void)state;
    const size_t first[] = {0, 1, 2, 0}, second[] = {1, 2, 0, 2};
    const double values[] = {0.5, 0.5, 0.5, 0.5};
    double work[100], sums[3];
    sg_resamples r;
    assert_int_equal(sg_resamples_new(100, 3, 1, &r, NULL), SG_OK);
    const sg_interval found =
        sg_bootstrap(&r, &(sg_pair_values){values, NULL, first, second, 4}, work);
    near(found.mean, 0.5, "mean");
    near(found.low, 0.5, "low");
    near(found.high, 0.5, "high");
    // Of eight assignments of signs the two that are all alike.
    near(sg_sign_flips(values, first, 4, 3, 100, 1, sums), 0.25, "p");
    sg_resamples_free(&r);
}

static void test_nothing(void **state)
{
    (void)state;
    const size_t member[] = {0, 1};
    const double values[] = {NAN, NAN};
    double work[10], sums[2];
    sg_resamples r;
    assert_int_equal(sg_resamples_new(10, 2, 1, &r, NULL), SG_OK);
    const sg_interval found =
        sg_bootstrap(&r, &(sg_pair_values){values, NULL, member, member, 2}, work);
    assert_true(isnan(found.mean) && isnan(found.low) && isnan(found.high));
    assert_true(isnan(sg_sign_flips(values, member, 2, 2, 100, 1, sums)));
    sg_resamples_free(&r);
}

static void test_too_large(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_resamples r;
    assert_int_equal(sg_resamples_new(10000000, 100000, 1, &r, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "bootstrap: found 10000000 resamples of 100000 facts"));
    sg_resamples_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin),      cmocka_unit_test(test_holm),
        cmocka_unit_test(test_constant),  cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_too_large),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
