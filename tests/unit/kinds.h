// What the tests of operations in every kind of products have in common: numbers with what they may
// be off by, the two ways of computing them, and a pass there and back.
#ifndef SG_TESTS_UNIT_KINDS_H
#define SG_TESTS_UNIT_KINDS_H

#include "unit/kernel_check.h"

#include <math.h>
#include <stdlib.h>

#include "compute_on.h"
#include "tensor/tape_inside.h"
#include "unit/engines.h"

// A number with what it may be off by.
typedef struct bounded {
    double value, off;
} bounded;

// `spare` is allowed on top.
static inline void kinds_compare(const char *what, const float *found, const bounded *expected,
                                 int64_t count, double spare)
{
    for (int64_t i = 0; i < count; i++)
        if (!(fabs((double)found[i] - expected[i].value) <= expected[i].off + spare))
            fail_msg("%s[%lld]: found %.9g, expected %.9g within %.3g", what, (long long)i,
                     (double)found[i], expected[i].value, expected[i].off);
}

static inline void *kinds_zeros(int64_t count, size_t size)
{
    void *p = calloc((size_t)count + 1, size);
    assert_non_null(p);
    return p;
}

// Runs a group of tests, an array, once for each engine but the chosen one; how many failed.
#define kinds_run_groups(tests) kinds_run_engines(tests, sizeof(tests) / sizeof *(tests))
static inline int kinds_run_engines(const struct CMUnitTest *tests, size_t count)
{
    static const char *const names[] = {"chosen", "rounded operands", "loops in place of a unit",
                                        "AVX512-BF16", "AMX"};
    sg_products_engine engines[ENGINES_MAX];
    sg_error err;
    int failed = sg_products_open(&err) == SG_OK ? 0 : 1;
    for (int i = 1, n = engines_here(engines); i < n; i++) {
        sg_products_force(engines[i]);
        failed += _cmocka_run_group_tests(names[engines[i]], tests, count, NULL, NULL);
    }
    return failed;
}

// Memory full of NaN: nothing may be read that was not written.
static inline void kinds_poison(sg_tape *tape)
{
    memset(tape->memory, 0xff, tape->memory_bytes);
}

// What was recorded, forward and backward, in poisoned memory; kernels NULL: the fastest.
static inline void kinds_run(sg_tape *tape, const sg_kernels *kernels, int threads)
{
    sg_error err;
    const sg_tape_options options = {.gradient = true, .threads = threads};
    assert_int_equal(sg_tape_finish(tape, &options, &err), SG_OK);
    assert_int_equal(sg_tape_allocate(tape, &err), SG_OK);
    kinds_poison(tape);
    sg_run run = {.compute = compute_on(NULL)};
    if (kernels != NULL) run.compute.kernels = kernels;
    if (threads > 1) assert_int_equal(sg_pool_new(threads, &run.compute.pool, &err), SG_OK);
    assert_int_equal(sg_tape_forward(tape, &run), SG_OK);
    assert_int_equal(sg_tape_backward(tape, &run), SG_OK);
    sg_pool_free(run.compute.pool);
}

#endif
