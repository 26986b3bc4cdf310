// The walk over the values of a search: which are tried, in what order, and which is the best.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "sweep/search.h"

typedef struct valley {
    double at, diverges;
    bool by_memory; // of beta2
    size_t known;   // so many answers, then none
    size_t asked;
} valley;

static sg_status valley_ask(void *user, double value, double *loss, sg_error *err)
{
    valley *v = user;
    const double w = v->by_memory ? (1 - value) / (1 - v->at) : value / v->at;
    (void)err;
    *loss = v->diverges > 0 && value > v->diverges ? INFINITY : log(w) * log(w);
    if (v->asked++ >= v->known) *loss = NAN;
    return SG_OK;
}

static sg_sweep_searched walk(const sg_sweep_search *search, valley v)
{
    sg_sweep_searched found;
    sg_error err = {0};
    if (v.known == 0) v.known = SIZE_MAX;
    if (sg_sweep_search_walk(search, valley_ask, &v, &found, &err) != SG_OK)
        fail_msg("%s", err.message);
    return found;
}

static void assert_tried(const sg_sweep_searched *found, const double *values, size_t count)
{
    assert_int_equal(found->count, count);
    for (size_t i = 0; i < count; i++)
        if (!(found->values[i] == values[i]))
            fail_msg("%zu: found %.17g, expected %.17g", i, found->values[i], values[i]);
}

static const sg_sweep_search rates = {
    .field = "lr", .values = {1e-3, 2e-3, 4e-3}, .count = 3, .halvings = 1, .extend = 2};

static void test_search_inside(void **state)
{
    (void)state;
    sg_sweep_searched found = walk(&rates, (valley){.at = 2.2e-3});
    assert_tried(&found, (double[]){1e-3, 2e-3, 4e-3, 1.414e-3, 2.828e-3}, 5);
    assert_true(found.settled && !found.edge);
    assert_int_equal(found.extra, 0);
    assert_true(found.values[found.best] == 2e-3);
    found = walk(&rates, (valley){.at = 2.7e-3});
    assert_true(found.values[found.best] == 2.828e-3);
    sg_sweep_search twice = rates;
    twice.halvings = 2;
    found = walk(&twice, (valley){.at = 2.7e-3});
    assert_tried(&found, (double[]){1e-3, 2e-3, 4e-3, 1.414e-3, 2.828e-3, 2.378e-3, 3.363e-3}, 7);
}

static void test_search_edge(void **state)
{
    (void)state;
    sg_sweep_searched found = walk(&rates, (valley){.at = 8e-3}); // inside after two
    assert_tried(&found, (double[]){1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 5.657e-3, 1.131e-2}, 7);
    assert_int_equal(found.extra, 2);
    assert_false(found.edge);
    found = walk(&rates, (valley){.at = 1e-1}); // beyond all; as many halvings as inside
    assert_tried(&found, (double[]){1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 1.131e-2, 2.263e-2}, 7);
    assert_true(found.edge && found.values[found.best] == 2.263e-2);
    found = walk(&rates, (valley){.at = 5e-4}); // down
    assert_tried(&found, (double[]){1e-3, 2e-3, 4e-3, 5e-4, 2.5e-4, 3.536e-4, 7.071e-4}, 7);
    assert_true(!found.edge && found.values[found.best] == 5e-4);
    sg_sweep_search fixed = rates;
    fixed.extend = 0;
    found = walk(&fixed, (valley){.at = 1e-1});
    assert_int_equal(found.count, 5);
    assert_true(found.edge);
}

static void test_search_diverging(void **state)
{
    (void)state;
    sg_sweep_searched found = walk(&rates, (valley){.at = 8e-3, .diverges = 3e-3});
    assert_tried(&found, (double[]){1e-3, 2e-3, 4e-3, 1.414e-3, 2.828e-3}, 5);
    assert_true(found.values[found.best] == 2.828e-3 && !found.edge);
    found = walk(&rates, (valley){.at = 8e-3, .diverges = 6e-4}); // all: lower ones
    assert_tried(&found, (double[]){1e-3, 2e-3, 4e-3, 5e-4, 2.5e-4, 3.536e-4, 7.071e-4}, 7);
    assert_true(found.values[found.best] == 5e-4);
    found = walk(&rates, (valley){.at = 8e-3, .diverges = 1e-9});
    assert_true(found.settled && isinf(found.losses[found.best]));
}

static void test_search_waits(void **state)
{
    (void)state;
    sg_sweep_searched found = walk(&rates, (valley){.at = 8e-3, .known = 2});
    assert_int_equal(found.count, 3);
    assert_false(found.settled);
    assert_int_equal(found.expected, 2);
    found = walk(&rates, (valley){.at = 8e-3, .known = 3});
    assert_int_equal(found.count, 4);
    assert_int_equal(found.expected, 2);
    found = walk(&rates, (valley){.at = 2e-3, .known = 3});
    assert_int_equal(found.count, 5);
    assert_false(found.settled);
    assert_int_equal(found.expected, 0);
}

static void test_search_fields(void **state)
{
    (void)state;
    const sg_sweep_search memory = {
        .field = "beta2", .values = {0.9, 0.99, 0.999}, .count = 3, .halvings = 1, .extend = 2};
    sg_sweep_searched found = walk(&memory, (valley){.at = 0.999, .by_memory = true});
    assert_tried(&found, (double[]){0.9, 0.99, 0.999, 0.9999, 0.996838, 0.9996838}, 6);
    assert_true(found.values[found.best] == 0.999 && !found.edge);
}

static void test_search_whole_numbers(void **state)
{
    (void)state;
    const sg_sweep_search steps = {
        .field = "warmup_steps", .values = {1, 2, 4}, .count = 3, .halvings = 1, .extend = 3};
    // sqrt(1 2) is 1 and sqrt(2 4) is 3: what was tried is not tried again.
    sg_sweep_searched found = walk(&steps, (valley){.at = 2});
    assert_tried(&found, (double[]){1, 2, 4, 3}, 4);
    // There is no half step.
    found = walk(&steps, (valley){.at = 0.1});
    assert_true(found.edge && found.values[found.best] == 1);
    assert_int_equal(found.extra, 0);
}

static void test_search_alone(void **state)
{
    (void)state;
    const sg_sweep_search one = {
        .field = "lr", .values = {3e-3}, .count = 1, .halvings = 1, .extend = 2};
    const sg_sweep_searched found = walk(&one, (valley){.at = 2e-3});
    assert_tried(&found, (double[]){3e-3}, 1);
    assert_true(found.settled && !found.edge);
}

static void assert_refused(sg_sweep_search search, const char *part)
{
    sg_error err = {0};
    assert_int_equal(sg_sweep_search_check(&search, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, part));
}

static void test_search_refused(void **state)
{
    (void)state;
    sg_sweep_search search = rates;
    search.field = "clip";
    assert_refused(search, "clip");
    search = rates;
    search.count = 0;
    assert_refused(search, "expected 1 to 16");
    search = rates;
    search.extend = 17;
    assert_refused(search, "search.lr.extend");
    search = rates;
    search.halvings = -1;
    assert_refused(search, "search.lr.halvings");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_search_inside),    cmocka_unit_test(test_search_edge),
        cmocka_unit_test(test_search_diverging), cmocka_unit_test(test_search_waits),
        cmocka_unit_test(test_search_fields),    cmocka_unit_test(test_search_whole_numbers),
        cmocka_unit_test(test_search_alone),     cmocka_unit_test(test_search_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
