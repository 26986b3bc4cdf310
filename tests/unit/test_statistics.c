// Bootstrap, sign flips and Holm's adjustment against numpy with the same draws
// (tests/twins/patch_twin.py), and what must hold of them; intervals of medians.
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
    assert_non_null(strstr(err.message, "bootstrap: found 10000000 resamples of 100000 members"));
    sg_resamples_free(&r);
}

// Members alone count as often as they are drawn.
static void test_alone(void **state)
{
    (void)state;
    enum { members = 5, resamples = 40 };
    const double values[members] = {1, 4, 2, NAN, 8}, weights[members] = {1, 2, 1, 5, 3};
    double work[resamples], means[resamples];
    sg_resamples r;
    assert_int_equal(sg_resamples_new(resamples, members, 7, &r, NULL), SG_OK);
    const sg_interval found =
        sg_bootstrap(&r, &(sg_pair_values){values, weights, NULL, NULL, members}, work);
    for (int i = 0; i < resamples; i++) {
        double sum = 0, over = 0;
        for (int m = 0; m < members; m++) {
            if (m == 3) continue;
            sum += r.times[i * members + m] * values[m];
            over += r.times[i * members + m] * weights[m];
        }
        means[i] = sum / over;
    }
    near(found.mean, 15.0 / 7, "mean");
    for (int i = 0; i < resamples; i++) // sorted by insertion
        for (int j = i; j > 0 && means[j] < means[j - 1]; j--) {
            const double other = means[j];
            means[j] = means[j - 1];
            means[j - 1] = other;
        }
    near(found.low, sg_quantile(means, resamples, 0.025), "low");
    near(found.high, sg_quantile(means, resamples, 0.975), "high");
    sg_resamples_free(&r);
}

// By the table of any book: of n values the 1st and last of 6 to 8, the 2nd of 9 to 11, the 3rd of
// 12 to 14, the 6th of 20 to 22, the 40th of 100; and the chances of exactly these.
static void test_median(void **state)
{
    (void)state;
    static const int table[][2] = {{5, 0},  {6, 1},  {8, 1},  {9, 2},  {11, 2},
                                   {12, 3}, {14, 3}, {20, 6}, {22, 6}, {100, 40}};
    double values[1000];
    for (int i = 0; i < 1000; i++)
        values[i] = i + 1;
    for (size_t t = 0; t < sizeof table / sizeof *table; t++) {
        const int n = table[t][0], rank = table[t][1];
        const sg_interval found = sg_median_interval(values, n);
        near(found.mean, (n + 1) / 2.0, "median");
        if (rank == 0) {
            assert_true(isnan(found.low) && isnan(found.high));
            continue;
        }
        near(found.low, rank, "low");
        near(found.high, n + 1 - rank, "high");
    }
    const sg_interval most = sg_median_interval(values, 1000);
    near(most.low, 469, "low"); // 500 - 1.96 sqrt(1000) / 2, rounded
    near(most.high, 532, "high");
    assert_true(isnan(sg_median_interval(values, 0).mean));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_twin),      cmocka_unit_test(test_holm),
        cmocka_unit_test(test_constant),  cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_too_large), cmocka_unit_test(test_alone),
        cmocka_unit_test(test_median),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
