// Co-activation and the split by it: the same bits for any pieces and threads, groups that are
// found again, blocks that are even, and what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "compute_on.h"
#include "sparsify/pair_sums.h"

enum { tokens = 400, neurons = 48, groups = 6 };

// Of a token the neurons of one group (j mod 6) are active, and now and then another. Groups are of
// 8 neurons; with `uneven` some of the first group are of the second.
static sg_real *activations_new(bool uneven)
{
    sg_real *a = sg_alloc_array(tokens * neurons, sizeof *a);
    assert_non_null(a);
    for (int64_t t = 0; t < tokens; t++)
        for (int64_t j = 0; j < neurons; j++) {
            const int64_t at = t * neurons + j, group = uneven && j % 18 == 0 ? 1 : j % groups;
            const bool active = group == t % groups || sg_rng_below(1, 1, (uint64_t)at, 50) == 0;
            const double value = fabs(sg_rng_normal(1, 2, (uint64_t)at)) + 0.1;
            a[at] = (sg_real)(active ? value : -value);
        }
    return a;
}

static sg_pair_sums sums_of(const sg_real *a, sg_pair_kind kind, int threads, int64_t piece)
{
    sg_pair_sums s;
    sg_error err;
    assert_int_equal(sg_pair_sums_new(compute_of(threads), neurons, kind, 200000, &s, &err), SG_OK);
    for (int64_t t = 0; t < tokens; t += piece)
        assert_int_equal(
            sg_pair_sums_add(&s, a + t * neurons, t + piece < tokens ? piece : tokens - t, &err),
            SG_OK);
    sg_pair_sums_finish(&s);
    sg_pool_free(s.compute.pool);
    s.compute.pool = NULL;
    return s;
}

static void test_pieces(void **state)
{
    (void)state;
    const int64_t pieces[] = {400, 1, 13, 128};
    sg_real *a = activations_new(false);
    for (int kind = 0; kind < 2; kind++) {
        sg_pair_sums whole = sums_of(a, (sg_pair_kind)kind, 1, tokens);
        for (int i = 0; i < 4; i++) {
            sg_pair_sums s = sums_of(a, (sg_pair_kind)kind, 1 + i, pieces[i]);
            assert_memory_equal(s.sums, whole.sums,
                                neurons * (neurons + 1) / 2 * sizeof *whole.sums);
            sg_pair_sums_free(&s);
        }
        sg_pair_sums_free(&whole);
    }
    sg_free(a);
}

static void test_groups(void **state)
{
    (void)state;
    sg_real *a = activations_new(false);
    sg_pair_sums s = sums_of(a, SG_PAIR_CLAMPED, 1, tokens);
    sg_partition p, random, again;
    sg_error err = {0};
    double within, chance;
    if (sg_partition_graph(&s, 8, 1, &p, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(sg_partition_check(&p, &err), SG_OK);
    for (int64_t i = 0; i < neurons; i++)
        assert_int_equal(p.order[i] % groups, p.order[i / 8 * 8] % groups);
    assert_int_equal(sg_partition_random(neurons, 8, 1, &random, &err), SG_OK);
    assert_int_equal(sg_pair_within(&s, &p, &within, &err), SG_OK);
    assert_int_equal(sg_pair_within(&s, &random, &chance, &err), SG_OK);
    assert_true(within > 0.6 && within <= 1 && chance < 0.3 && chance >= 0);
    assert_int_equal(sg_partition_graph(&s, 8, 1, &again, &err), SG_OK);
    assert_memory_equal(p.order, again.order, neurons * sizeof *p.order);
    sg_partition_free(&p);
    sg_partition_free(&again);
    sg_partition_free(&random);
    sg_pair_sums_free(&s);
    sg_free(a);
}

// Parts that METIS leaves uneven become even, for any size of block.
static void test_even(void **state)
{
    (void)state;
    const int64_t sizes[] = {1, 2, 3, 4, 6, 8, 12, 16, 24, 48};
    sg_real *a = activations_new(true);
    sg_pair_sums s = sums_of(a, SG_PAIR_PRODUCTS, 1, tokens);
    sg_error err = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (uint64_t seed = 0; seed < 5; seed++) {
            sg_partition p, again;
            if (sg_partition_graph(&s, sizes[i], seed, &p, &err) != SG_OK)
                fail_msg("%s", err.message);
            assert_int_equal(sg_partition_check(&p, &err), SG_OK);
            assert_int_equal(p.size, sizes[i]);
            assert_int_equal(sg_partition_graph(&s, sizes[i], seed, &again, &err), SG_OK);
            assert_memory_equal(p.order, again.order, neurons * sizeof *p.order);
            sg_partition_free(&p);
            sg_partition_free(&again);
        }
    sg_pair_sums_free(&s);
    sg_free(a);
}

// Weights whose sum 32 bits do not hold.
static void test_large_weights(void **state)
{
    (void)state;
    sg_real *a = activations_new(false);
    for (int64_t i = 0; i < tokens * neurons; i++)
        a[i] = a[i] > 0 ? a[i] * (sg_real)1e15 : (sg_real)1e-12;
    sg_pair_sums s = sums_of(a, SG_PAIR_PRODUCTS, 1, tokens);
    sg_partition p;
    sg_error err = {0};
    if (sg_partition_graph(&s, 8, 1, &p, &err) != SG_OK) fail_msg("%s", err.message);
    for (int64_t i = 0; i < neurons; i++)
        assert_int_equal(p.order[i] % groups, p.order[i / 8 * 8] % groups);
    sg_partition_free(&p);
    sg_pair_sums_free(&s);
    sg_free(a);
}

// Sums that are all the same are not below the threshold that is made of them.
static void test_equal_sums(void **state)
{
    (void)state;
    sg_real a[8 * neurons];
    sg_pair_sums s;
    sg_partition p;
    sg_error err = {0};
    for (int64_t i = 0; i < 8 * neurons; i++)
        a[i] = (sg_real)0.3;
    assert_int_equal(sg_pair_sums_new(compute_of(1), neurons, SG_PAIR_CLAMPED, 9, &s, &err), SG_OK);
    assert_int_equal(sg_pair_sums_add(&s, a, 8, &err), SG_OK);
    sg_pair_sums_finish(&s);
    if (sg_partition_graph(&s, 8, 1, &p, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(sg_partition_check(&p, &err), SG_OK);
    sg_partition_free(&p);
    sg_pair_sums_free(&s);
}

static void test_refuses(void **state)
{
    (void)state;
    sg_real a[3 * neurons] = {0};
    sg_pair_sums s;
    sg_partition p;
    sg_error err;
    assert_int_equal(sg_pair_sums_new(compute_of(1), 0, SG_PAIR_CLAMPED, 1, &s, &err),
                     SG_ERR_ARGUMENT);
    assert_int_equal(sg_pair_sums_new(compute_of(1), neurons, SG_PAIR_CLAMPED, 9, &s, &err), SG_OK);
    assert_int_equal(sg_partition_graph(&s, 8, 1, &p, &err), SG_ERR_NUMERIC); // no token at all
    assert_null(p.order);
    assert_int_equal(sg_partition_graph(&s, 9, 1, &p, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_pair_sums_add(&s, a, 3, &err), SG_OK);
    sg_pair_sums_finish(&s);
    assert_int_equal(sg_partition_graph(&s, 8, 1, &p, &err), SG_ERR_NUMERIC);
    assert_string_equal(err.message,
                        "co-activation: found no neuron that is active in 3 tokens; a split by "
                        "co-activation needs activations that are positive now and then");
    a[7] = 1; // alone
    assert_int_equal(sg_pair_sums_add(&s, a, 3, &err), SG_OK);
    sg_pair_sums_finish(&s);
    assert_int_equal(sg_partition_graph(&s, 8, 1, &p, &err), SG_ERR_NUMERIC);
    assert_string_equal(err.message, "co-activation: found no two neurons that are active together "
                                     "in 6 tokens");
    a[2 * neurons + 9] = NAN;
    assert_int_equal(sg_pair_sums_add(&s, a, 3, &err), SG_ERR_NUMERIC);
    assert_string_equal(err.message,
                        "co-activation: token 8, neuron 9: found an activation of nan, "
                        "expected a finite one");
    assert_int_equal(sg_partition_new(7, 1, &p, &err), SG_OK);
    assert_int_equal(sg_pair_within(&s, &p, &(double){0}, &err), SG_ERR_MISMATCH);
    sg_partition_free(&p);
    sg_pair_sums_free(&s);
}

static sg_status graph_once(void *user, sg_error *err)
{
    const sg_real *a = user;
    sg_pair_sums s;
    sg_partition p;
    SG_TRY(sg_pair_sums_new(compute_of(1), neurons, SG_PAIR_CLAMPED, tokens, &s, err));
    sg_status status = sg_pair_sums_add(&s, a, tokens, err);
    sg_pair_sums_finish(&s);
    if (status == SG_OK) status = sg_partition_graph(&s, 8, 1, &p, err);
    if (status == SG_OK) sg_partition_free(&p);
    sg_pair_sums_free(&s);
    return status;
}

static void test_memory_fails(void **state)
{
    (void)state;
    sg_real *a = activations_new(false);
    assert_true(alloc_failure_loop(graph_once, a) > 8);
    sg_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),       cmocka_unit_test(test_groups),
        cmocka_unit_test(test_even),         cmocka_unit_test(test_large_weights),
        cmocka_unit_test(test_refuses),      cmocka_unit_test(test_equal_sums),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
