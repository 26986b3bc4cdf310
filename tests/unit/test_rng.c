// The counter-based generator: published vectors, uniformity of the derived laws, permutations.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/rng.h"

// Known answers of Philox 4x32-10 published with the Random123 library.
static void test_known_answers(void **state)
{
    (void)state;
    uint32_t out[4];
    sg_rng_block(0, 0, 0, 0, out);
    assert_int_equal(out[0], 0x6627e8d5u);
    assert_int_equal(out[1], 0xe169c58du);
    assert_int_equal(out[2], 0xbc57ac4cu);
    assert_int_equal(out[3], 0x9b00dbd8u);
    sg_rng_block(UINT64_MAX, UINT32_MAX, UINT64_MAX, UINT32_MAX, out);
    assert_int_equal(out[0], 0x408f276du);
    assert_int_equal(out[1], 0x41c83b0eu);
    assert_int_equal(out[2], 0xa20bc7c6u);
    assert_int_equal(out[3], 0x6d5451fdu);
}

static void test_moments(void **state)
{
    (void)state;
    enum { n = 200000 };
    double sum = 0, square = 0, truncated = 0, uniform = 0;
    for (uint64_t i = 0; i < n; i++) {
        double z = sg_rng_normal(7, 1, i), t = sg_rng_truncated_normal(7, 2, i);
        sum += z;
        square += z * z;
        truncated += t * t;
        uniform += sg_rng_uniform(7, 3, i);
        assert_true(fabs(t) <= 2.0);
    }
    assert_true(fabs(sum / n) < 0.01);
    assert_true(fabs(square / n - 1.0) < 0.02);
    // Variance of a standard normal truncated to +-2: 0.8796256610342398 squared.
    assert_true(fabs(truncated / n - 0.7737413) < 0.01);
    assert_true(fabs(uniform / n - 0.5) < 0.005);
}

static void test_permutation(void **state)
{
    (void)state;
    const uint64_t sizes[] = {1, 2, 3, 4, 5, 16, 17, 1000, 65537};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
        uint64_t n = sizes[s], fixed = 0;
        char *seen = calloc(n, 1);
        assert_non_null(seen);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t j = sg_rng_permute(42, 9, i, n);
            assert_true(j < n);
            assert_false(seen[j]);
            seen[j] = 1;
            fixed += i == j;
        }
        if (n >= 1000) assert_true(fixed < 10);
        free(seen);
    }
}

static void test_below_bounds(void **state)
{
    (void)state;
    int counts[6] = {0};
    for (uint64_t i = 0; i < 60000; i++)
        counts[sg_rng_below(1, 1, i, 6)]++;
    for (int i = 0; i < 6; i++)
        assert_in_range(counts[i], 9500, 10500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known_answers),
        cmocka_unit_test(test_moments),
        cmocka_unit_test(test_permutation),
        cmocka_unit_test(test_below_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
