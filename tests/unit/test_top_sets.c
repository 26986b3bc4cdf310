// CMoE's split: the strongest neurons, blocks for every token, balanced others and the neurons that
// stand for them, against sums written out here.
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
#include "sparsify/top_sets.h"

enum { tokens = 300, neurons = 40, top = 8, size = 4 };

// Neurons 3, 10, 17, 24 are strong for every token; of the others group j mod 9 for token t mod 9.
static bool always(int64_t j)
{
    return j % 7 == 3 && j < 28;
}

static sg_real *activations_new(void)
{
    sg_real *a = sg_alloc_array(tokens * neurons, sizeof *a);
    assert_non_null(a);
    int64_t number = 0;
    for (int64_t j = 0; j < neurons; j++) {
        const int64_t group = always(j) ? -1 : number++ % 9;
        for (int64_t t = 0; t < tokens; t++) {
            const int64_t at = t * neurons + j;
            const double noise = sg_rng_normal(2, 1, (uint64_t)at);
            const double size_of = always(j) ? 9 : group == t % 9 ? 4 : 0.5;
            a[at] = (sg_real)(noise > 0 ? noise * 0.2 + size_of : noise * 0.2 - size_of);
        }
    }
    return a;
}

static sg_top_sets sets_of(const sg_real *a, int threads, int64_t piece)
{
    sg_top_sets s;
    sg_error err;
    assert_int_equal(sg_top_sets_new(compute_of(threads), neurons, top, tokens, &s, &err), SG_OK);
    for (int64_t t = 0; t < tokens; t += piece)
        assert_int_equal(
            sg_top_sets_add(&s, a + t * neurons, t + piece < tokens ? piece : tokens - t, &err),
            SG_OK);
    assert_int_equal(sg_top_sets_add(&s, a, 5, &err), SG_OK); // passed over
    assert_int_equal(s.tokens, tokens);
    return s;
}

static void sets_free(sg_top_sets *s)
{
    sg_pool_free(s->compute.pool);
    sg_top_sets_free(s);
}

static bool strong(const sg_top_sets *s, int64_t t, int64_t j)
{
    for (int64_t i = 0; i < top; i++)
        if (s->ids[t * top + i] == j) return true;
    return false;
}

// Squared distance of a neuron's column to the mean of some.
static double distance(const sg_top_sets *s, int64_t neuron, const int32_t *members)
{
    double sum = 0;
    for (int64_t t = 0; t < tokens; t++) {
        double mean = 0;
        for (int64_t i = 0; i < size; i++)
            mean += (double)strong(s, t, members[i]) / size;
        sum += pow((double)strong(s, t, neuron) - mean, 2);
    }
    return sum;
}

static void test_sets(void **state)
{
    (void)state;
    const int64_t pieces[] = {tokens, 1, 37};
    sg_real *a = activations_new();
    double rates[neurons], sum = 0;
    sg_top_sets whole = sets_of(a, 1, tokens);
    for (int i = 0; i < 3; i++) {
        sg_top_sets s = sets_of(a, 1 + i, pieces[i]);
        assert_memory_equal(s.ids, whole.ids, tokens * top * sizeof *s.ids);
        sets_free(&s);
    }
    sg_top_sets_rates(&whole, rates);
    for (int64_t j = 0; j < neurons; j++) {
        int64_t count = 0;
        for (int64_t t = 0; t < tokens; t++)
            count += strong(&whole, t, j);
        assert_true(fabs(rates[j] - (double)count / tokens) < 1e-9);
        assert_true(always(j) == (count == tokens));
        sum += rates[j];
    }
    assert_true(fabs(sum - top) < 1e-9);
    sets_free(&whole);
    sg_free(a);
}

static void check_split(const sg_top_sets *s, int64_t shared)
{
    sg_partition p;
    sg_error err = {0};
    int32_t representatives[neurons];
    double objective, expected = 0;
    if (sg_partition_shared(s, size, shared, 50, 1, &p, representatives, &objective, &err) != SG_OK)
        fail_msg("%s", err.message);
    assert_int_equal(sg_partition_check(&p, &err), SG_OK);
    assert_int_equal(p.shared, shared);
    for (int64_t i = 0; i < size && shared > 0; i++)
        assert_true(always(p.order[i]));
    for (int64_t e = shared; e < p.blocks; e++) {
        const int32_t *members = p.order + e * size;
        double nearest = INFINITY, own = INFINITY;
        for (int64_t i = 0; i < size; i++) {
            const double square = distance(s, members[i], members);
            expected += square;
            nearest = fmin(nearest, square);
            if (members[i] == representatives[e - shared]) own = square;
        }
        assert_true(fabs(own - nearest) < 1e-9);
    }
    assert_true(fabs(objective - expected) < 1e-6);
    // All of a group of the made tokens lie together.
    for (int64_t e = shared; shared == 1 && e < p.blocks; e++)
        for (int64_t i = 1; i < size; i++)
            for (int64_t t = 0; t < tokens; t++)
                assert_true(strong(s, t, p.order[e * size]) == strong(s, t, p.order[e * size + i]));
    sg_partition_free(&p);
}

static void test_split(void **state)
{
    (void)state;
    sg_real *a = activations_new();
    sg_top_sets s = sets_of(a, 1, tokens);
    for (int64_t shared = 0; shared < 3; shared++)
        check_split(&s, shared);
    sg_top_sets three = sets_of(a, 3, 100);
    sg_partition p, q;
    sg_error err;
    int32_t of_p[10], of_q[10];
    assert_int_equal(sg_partition_shared(&s, size, 2, 50, 1, &p, of_p, NULL, &err), SG_OK);
    assert_int_equal(sg_partition_shared(&three, size, 2, 50, 1, &q, of_q, NULL, &err), SG_OK);
    assert_memory_equal(p.order, q.order, neurons * sizeof *p.order);
    assert_memory_equal(of_p, of_q, 8 * sizeof *of_p);
    sg_partition_free(&p);
    sg_partition_free(&q);
    sets_free(&s);
    sets_free(&three);
    sg_free(a);
}

static void test_refuses(void **state)
{
    (void)state;
    sg_real *a = activations_new();
    sg_top_sets s;
    sg_partition p;
    sg_error err;
    int32_t representatives[neurons];
    assert_int_equal(sg_top_sets_new(compute_of(1), neurons, neurons + 1, 9, &s, &err),
                     SG_ERR_ARGUMENT);
    assert_int_equal(sg_top_sets_new(compute_of(1), neurons, top, tokens, &s, &err), SG_OK);
    assert_int_equal(sg_partition_shared(&s, size, 1, 9, 1, &p, representatives, NULL, &err),
                     SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "split: found no calibration token, expected at least one");
    a[neurons + 2] = NAN;
    assert_int_equal(sg_top_sets_add(&s, a, 2, &err), SG_ERR_NUMERIC);
    assert_string_equal(err.message, "strongest neurons: token 1, neuron 2: found an activation of "
                                     "nan, expected a finite one");
    assert_int_equal(s.tokens, 0);
    assert_int_equal(sg_top_sets_add(&s, a, 1, &err), SG_OK);
    assert_int_equal(sg_partition_shared(&s, size, 10, 9, 1, &p, representatives, NULL, &err),
                     SG_ERR_ARGUMENT);
    assert_string_equal(err.message,
                        "split: shared blocks: found 10, expected 0 … 9, so that one is left");
    assert_int_equal(sg_partition_shared(&s, 7, 1, 9, 1, &p, representatives, NULL, &err),
                     SG_ERR_ARGUMENT);
    assert_int_equal(sg_partition_shared(&s, size, 1, 9, 1, &p, representatives, NULL, &err),
                     SG_OK);
    sg_partition_free(&p); // one token says little, and is enough
    sg_top_sets_free(&s);
    sg_free(a);
}

static sg_status split_once(void *user, sg_error *err)
{
    sg_top_sets s;
    sg_partition p;
    int32_t representatives[neurons];
    SG_TRY(sg_top_sets_new(compute_of(1), neurons, top, 20, &s, err));
    sg_status status = sg_top_sets_add(&s, user, 20, err);
    if (status == SG_OK)
        status = sg_partition_shared(&s, size, 1, 5, 1, &p, representatives, NULL, err);
    if (status == SG_OK) sg_partition_free(&p);
    sg_top_sets_free(&s);
    return status;
}

static void test_memory_fails(void **state)
{
    (void)state;
    sg_real *a = activations_new();
    assert_true(alloc_failure_loop(split_once, a) > 15);
    sg_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sets),
        cmocka_unit_test(test_split),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_memory_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
