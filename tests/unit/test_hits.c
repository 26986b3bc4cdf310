// The order of hits by neuron against the plainest way to it, on shapes of one and of several
// passes, parts and pools.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "ffn/hits.h"

typedef struct shape {
    int64_t channels, rows, k, pools, n;
    int64_t few;    // ids are drawn from this many neurons
    int64_t counts; // 1: every row has a count, drawn from 0 … k; 2: all are 0
} shape;

static int32_t *draw_counts(const shape *s)
{
    int32_t *counts = calloc((size_t)(s->rows * s->channels), sizeof *counts);
    assert_non_null(counts);
    for (int64_t i = 0; s->counts == 1 && i < s->rows * s->channels; i++)
        counts[i] = (int32_t)sg_rng_below(4, 9, (uint64_t)i, (uint64_t)s->k + 1);
    return counts;
}

static void check(const shape *s, sg_pool *pool)
{
    sg_hits h = sg_hits_plan(s->channels, s->rows, s->k, s->pools, s->n);
    int64_t count = s->channels * s->rows * s->k;
    assert_int_equal(h.count, count);
    assert_true((int64_t)1 << (h.bits * h.digits) >= s->n);
    int32_t *ids = calloc((size_t)count, sizeof *ids);
    int32_t *result = calloc((size_t)sg_hits_result(&h), sizeof *result);
    int32_t *scratch = calloc((size_t)sg_hits_scratch(&h), sizeof *scratch);
    int32_t *counts = s->counts ? draw_counts(s) : NULL;
    assert_true(ids && result && scratch);
    for (int64_t i = 0; i < count; i++)
        ids[i] = (int32_t)(sg_rng_uniform(3, 9, (uint64_t)i) * (double)s->few *
                           ((double)s->n / (double)s->few));
    for (int64_t i = 0; i < count; i++) // the last neuron too
        if (ids[i] >= s->n - s->n / s->few) ids[i] = (int32_t)(s->n - 1);
    sg_hit_order order = sg_hits_view(&h, result);
    int64_t hits = count, neurons = 0;
    for (int64_t i = 0; counts != NULL && i < count; i++)
        if (i % s->k >= counts[i / s->k]) {
            ids[i] = -7; // void
            hits--;
        }
    sg_hits_sort(&h, pool, ids, counts, &order, scratch);
    for (int64_t i = 0; i < hits; i++) {
        int64_t hit = order.order[i];
        assert_in_range(hit, 0, count - 1);
        int64_t row = hit / s->k % s->rows, channel = hit / s->k / s->rows;
        int32_t id = ids[(row * s->channels + channel) * s->k + hit % s->k];
        int64_t key = (s->pools == 1 ? 0 : channel * s->n) + id;
        bool begins = neurons == 0 || order.ids[neurons - 1] != key;
        if (begins) { // ascending
            assert_true(neurons == 0 || order.ids[neurons - 1] < key);
            assert_int_equal(order.ids[neurons], key);
            assert_int_equal(order.starts[neurons++], i);
        } else { // the hits of a neuron in their own order, each once
            assert_true(order.order[i - 1] < hit);
        }
    }
    assert_int_equal(*order.neurons, neurons);
    assert_int_equal(order.starts[neurons], hits);
    free(counts);
    free(ids);
    free(result);
    free(scratch);
}

static void test_shapes(void **state)
{
    (void)state;
    static const shape shapes[] = {
        {1, 1, 1, 1, 1, 1, 0},
        {1, 1, 1, 1, 1 << 30, 1, 0},
        {1, 3, 2, 1, 2, 2, 0},
        {3, 5, 2, 3, 7, 7, 0},
        {3, 5, 2, 1, 7, 7, 0},
        {2, 64, 8, 2, 4096, 4096, 0},
        {2, 2000, 8, 2, 1000003, 500, 0},
        {4, 3000, 8, 1, 1 << 20, 1 << 20, 0},
        {2, 9000, 4, 1, 31, 31, 0},
        {1, 9000, 3, 1, 5000000, 9, 0},
        {5, 777, 3, 5, 2049, 2049, 0},
    };
    sg_error err;
    sg_pool *pool;
    for (int threads = 1; threads < 4; threads += 2) {
        assert_int_equal(sg_pool_new(threads, &pool, &err), SG_OK);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            for (int counts = 0; counts < 3; counts++) {
                shape s = shapes[i];
                s.counts = counts;
                check(&s, pool);
            }
        sg_pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shapes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
