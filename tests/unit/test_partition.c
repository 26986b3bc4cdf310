// Splits of neurons into blocks: what every splitter holds to, refusals, the same for any threads.
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
#include "sparsify/auction.h"
#include "sparsify/kmeans.h"
#include "sparsify/partition.h"
#include "sparsify/transport.h"

static sg_real *vectors_new(int64_t rows, int64_t d, uint64_t seed)
{
    sg_real *x = sg_alloc_array((size_t)(rows * d), sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < rows * d; i++)
        x[i] = (sg_real)sg_rng_normal(seed, 1, (uint64_t)i);
    return x;
}

static void expect_partition(const sg_partition *p, int64_t neurons, int64_t size)
{
    sg_error err = {0};
    assert_int_equal(p->neurons, neurons);
    assert_int_equal(p->size, size);
    if (sg_partition_check(p, &err) != SG_OK) fail_msg("%s", err.message);
    for (int64_t i = 1; i < neurons; i++) // in rising order within a block
        assert_true(i % size == 0 || p->order[i] > p->order[i - 1]);
}

// ---- the permutation ----------------------------------------------------------------------------

static void test_labels(void **state)
{
    (void)state;
    const int32_t labels[] = {2, 0, 1, 1, 2, 0}, many[] = {0, 0, 0, 1, 1, 2}, wild[] = {0, 3};
    int32_t back[6];
    sg_partition p;
    sg_error err;
    assert_int_equal(sg_partition_of_labels(labels, 6, 2, &p, &err), SG_OK);
    const int32_t order[] = {1, 5, 2, 3, 0, 4};
    assert_memory_equal(p.order, order, sizeof order);
    sg_partition_labels(&p, back);
    assert_memory_equal(back, labels, sizeof labels);
    const sg_real rows[] = {0, 1, 10, 11, 20, 21, 30, 31, 40, 41, 50, 51};
    sg_real to[12];
    sg_partition_rows(&p, to, rows, 2);
    for (int i = 0; i < 6; i++)
        assert_true(to[2 * i] == (sg_real)(10 * order[i]) && to[2 * i + 1] == to[2 * i] + 1);
    p.order[3] = 5;
    assert_int_equal(sg_partition_check(&p, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "split: place 3: found neuron 5, expected each of 6 once");
    p.order[3] = 3, p.shared = 4;
    assert_int_equal(sg_partition_check(&p, &err), SG_ERR_ARGUMENT);
    sg_partition_free(&p);
    assert_int_equal(sg_partition_of_labels(many, 6, 2, &p, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "split: block 0: found more than 2 neurons, expected so many");
    assert_int_equal(sg_partition_of_labels(wild, 2, 1, &p, &err), SG_ERR_ARGUMENT);
    assert_null(p.order);
}

static void test_sizes(void **state)
{
    (void)state;
    sg_partition p;
    sg_error err;
    assert_int_equal(sg_partition_new(100, 32, &p, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "block_size: found 32, expected a divisor of the "
                                     "100 neurons of a layer; near it are 25 and 50");
    assert_int_equal(sg_partition_new(100, 101, &p, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_partition_new(100, 0, &p, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_partition_new(0, 1, &p, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_partition_random(100, 33, 1, &p, &err), SG_ERR_ARGUMENT);
    assert_null(p.order);
    // T5: blocks of 32.
    assert_int_equal(sg_partition_new(3072, 32, &p, &err), SG_OK);
    assert_int_equal(p.blocks, 96);
    sg_partition_free(&p);
    assert_int_equal(sg_partition_new(4096, 32, &p, &err), SG_OK);
    assert_int_equal(p.blocks, 128);
    sg_partition_free(&p);
}

static void test_random(void **state)
{
    (void)state;
    sg_partition a, b, c;
    sg_error err;
    assert_int_equal(sg_partition_random(120, 8, 1, &a, &err), SG_OK);
    assert_int_equal(sg_partition_random(120, 8, 1, &b, &err), SG_OK);
    assert_int_equal(sg_partition_random(120, 8, 2, &c, &err), SG_OK);
    expect_partition(&a, 120, 8);
    expect_partition(&c, 120, 8);
    assert_memory_equal(a.order, b.order, 120 * sizeof *a.order);
    assert_memory_not_equal(a.order, c.order, 120 * sizeof *a.order);
    sg_partition_free(&a);
    sg_partition_free(&b);
    sg_partition_free(&c);
}

// ---- assignment ---------------------------------------------------------------------------------

// All ways to give each of two blocks half of the rows.
static double cheapest_of_all(const double *cost, int64_t rows)
{
    double best = INFINITY;
    for (unsigned set = 0; set < 1u << rows; set++) {
        double sum = 0;
        int64_t count = 0;
        for (int64_t i = 0; i < rows; i++) {
            sum += cost[2 * i + (set >> i & 1)];
            count += set >> i & 1;
        }
        if (2 * count == rows && sum < best) best = sum;
    }
    return best;
}

static double sum_of(const double *cost, const int32_t *labels, int64_t rows, int64_t blocks)
{
    double sum = 0;
    for (int64_t i = 0; i < rows; i++)
        sum += cost[i * blocks + labels[i]];
    return sum;
}

static void test_assignment(void **state)
{
    (void)state;
    sg_error err;
    int32_t labels[10];
    double cost[20];
    for (uint64_t seed = 0; seed < 200; seed++) {
        for (uint64_t i = 0; i < 20; i++) // some of them equal
            cost[i] = (double)sg_rng_below(seed, 1, i, seed % 2 ? 1000 : 4) - 2;
        assert_int_equal(sg_assign_balanced(cost, 10, 2, 5, labels, &err), SG_OK);
        assert_true(fabs(sum_of(cost, labels, 10, 2) - cheapest_of_all(cost, 10)) < 1e-9);
    }
    cost[7] = NAN;
    assert_int_equal(sg_assign_balanced(cost, 10, 2, 5, labels, &err), SG_ERR_NUMERIC);
    assert_string_equal(err.message, "assignment: cost of row 3 and block 1: found nan, expected a "
                                     "finite number");
    assert_int_equal(sg_assign_balanced(cost, 10, 2, 4, labels, &err), SG_ERR_INTERNAL);
}

// Whether no exchange between blocks makes the sum less: none of the cycles of cheapest moves is
// below 0.
static bool cheapest(const double *cost, const int32_t *labels, int64_t rows, int64_t blocks)
{
    double far[16][16];
    for (int64_t e = 0; e < blocks; e++)
        for (int64_t f = 0; f < blocks; f++)
            far[e][f] = INFINITY;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t f = 0; f < blocks; f++)
            far[labels[i]][f] =
                fmin(far[labels[i]][f], cost[i * blocks + f] - cost[i * blocks + labels[i]]);
    for (int64_t via = 0; via < blocks; via++)
        for (int64_t e = 0; e < blocks; e++)
            for (int64_t f = 0; f < blocks; f++)
                far[e][f] = fmin(far[e][f], far[e][via] + far[via][f]);
    for (int64_t e = 0; e < blocks; e++)
        if (far[e][e] < -1e-9) return false;
    return true;
}

static void test_many_blocks(void **state)
{
    (void)state;
    enum { blocks = 16, size = 6, rows = blocks * size };
    static double cost[rows * blocks];
    int32_t labels[rows];
    sg_error err;
    for (uint64_t seed = 0; seed < 40; seed++) {
        for (uint64_t i = 0; i < rows * blocks; i++) // blocks that most rows want, and others
            cost[i] = sg_rng_uniform(seed, 1, i) + (double)(i % blocks) * (double)(seed % 3) * 0.1;
        assert_int_equal(sg_assign_balanced(cost, rows, blocks, size, labels, &err), SG_OK);
        assert_true(cheapest(cost, labels, rows, blocks));
    }
}

// Equal rows, which an auction has to tell apart, and one block, and blocks of one.
static void test_auction_ends(void **state)
{
    (void)state;
    enum { rows = 24 };
    sg_error err;
    int32_t labels[rows], count[rows];
    sg_real scores[rows * rows];
    for (int64_t blocks = 1; blocks <= rows; blocks++) {
        if (rows % blocks != 0) continue;
        for (int kind = 0; kind < 3; kind++) {
            for (int64_t i = 0; i < blocks * rows; i++)
                scores[i] = kind == 0   ? -1
                            : kind == 1 ? (sg_real)(i % rows) // all want the same
                                        : (sg_real)sg_rng_normal(5, 1, (uint64_t)i);
            const int64_t size = rows / blocks;
            const sg_status status = sg_assign_auction(compute_of(1), scores, rows, blocks, size,
                                                       2 * size, labels, &err);
            if (status != SG_OK) fail_msg("%s", err.message);
            memset(count, 0, sizeof count);
            for (int64_t j = 0; j < rows; j++)
                count[labels[j]]++;
            for (int64_t e = 0; e < blocks; e++)
                assert_int_equal(count[e], size);
        }
    }
    scores[9] = INFINITY;
    assert_int_equal(sg_assign_auction(compute_of(1), scores, rows, 2, 12, 24, labels, &err),
                     SG_ERR_NUMERIC);
}

// ---- k-means ------------------------------------------------------------------------------------

static sg_kmeans_options options_of(sg_kmeans_kind kind)
{
    sg_kmeans_options o = sg_kmeans_options_default();
    o.kind = kind;
    return o;
}

// Neurons in clear groups are found again; the same for any number of threads.
static void check_groups(sg_kmeans_kind kind)
{
    enum { rows = 96, d = 16, size = 8 };
    sg_real *x = vectors_new(rows, d, 3);
    for (int64_t i = 0; i < rows; i++) // group i mod 12, any length
        for (int64_t j = 0; j < d; j++)
            x[i * d + j] =
                (sg_real)(1 + i) * ((sg_real)sg_rng_normal(9, 1, (uint64_t)(i % 12 * d + j)) +
                                    (sg_real)0.02 * x[i * d + j]);
    sg_partition p[2], again;
    double objective[2], distance, random;
    sg_error err;
    const sg_kmeans_options o = options_of(kind);
    for (int t = 0; t < 2; t++) {
        sg_compute compute = compute_of(1 + 2 * t);
        assert_int_equal(
            sg_partition_kmeans(compute, x, rows, d, size, &o, &p[t], &objective[t], &err), SG_OK);
        expect_partition(&p[t], rows, size);
        sg_pool_free(compute.pool);
    }
    assert_memory_equal(p[0].order, p[1].order, rows * sizeof *p[0].order);
    assert_true(objective[0] == objective[1]);
    for (int64_t e = 0; e < p[0].blocks; e++)
        for (int64_t i = 1; i < size; i++)
            assert_int_equal(p[0].order[e * size + i] % 12, p[0].order[e * size] % 12);
    assert_int_equal(sg_partition_random(rows, size, 1, &again, &err), SG_OK);
    assert_int_equal(sg_partition_distance(compute_of(1), &p[0], x, d, &distance, &err), SG_OK);
    assert_int_equal(sg_partition_distance(compute_of(1), &again, x, d, &random, &err), SG_OK);
    assert_true(fabs(distance - objective[0]) < 1e-9 && distance < random / 10);
    for (int t = 0; t < 2; t++)
        sg_partition_free(&p[t]);
    sg_partition_free(&again);
    sg_free(x);
}

static void test_groups(void **state)
{
    (void)state;
    check_groups(SG_KMEANS_EXACT);
    check_groups(SG_KMEANS_AUCTION);
}

static bool falls(void *user, int64_t round, double objective)
{
    double *last = user;
    assert_true(round == 0 || objective <= *last);
    *last = objective;
    return true;
}

static void test_draw(void **state)
{
    (void)state;
    const double weights[] = {0, 1, 0, 3, 0}, none[] = {0, 0};
    assert_int_equal(sg_kmeans_draw(weights, 5, 0), 1);
    assert_int_equal(sg_kmeans_draw(weights, 5, 0.24), 1);
    assert_int_equal(sg_kmeans_draw(weights, 5, 0.26), 3);
    assert_int_equal(sg_kmeans_draw(weights, 5, 0.9999999), 3);
    assert_int_equal(sg_kmeans_draw(none, 2, 0.6), 1);
}

// Centres that are all the same: the clusters that are left empty get rows.
static void test_empty_clusters(void **state)
{
    (void)state;
    enum { rows = 20, d = 3, clusters = 5 };
    sg_real *x = vectors_new(rows, d, 3);
    int64_t counts[clusters] = {0};
    sg_kmeans k;
    sg_error err;
    assert_int_equal(sg_kmeans_new(compute_of(1), x, rows, d, clusters, &k, &err), SG_OK);
    for (int64_t i = 0; i < clusters * d; i++)
        k.centres[i] = 100;
    sg_kmeans_plain(&k, 20);
    for (int64_t i = 0; i < rows; i++)
        counts[k.labels[i]]++;
    for (int64_t e = 0; e < clusters; e++)
        assert_true(counts[e] > 0);
    sg_kmeans_free(&k);
    sg_free(x);
}

// What is kept is the best of all rounds, also where a round makes it worse.
static void test_best_round(void **state)
{
    (void)state;
    enum { rows = 120, d = 4 };
    sg_partition p;
    sg_error err;
    double last;
    for (uint64_t seed = 0; seed < 8; seed++) {
        sg_real *x = vectors_new(rows, d, seed);
        sg_kmeans_options o = options_of(SG_KMEANS_AUCTION);
        o.progress = falls, o.user = &last;
        assert_int_equal(sg_partition_kmeans(compute_of(1), x, rows, d, 6, &o, &p, NULL, &err),
                         SG_OK);
        sg_partition_free(&p);
        sg_free(x);
    }
}

static bool stops(void *user, int64_t round, double objective)
{
    (void)user;
    (void)objective;
    return round < 1;
}

// Sizes at the ends, equal neurons, an objective that falls, a stop.
static void test_kmeans_ends(void **state)
{
    (void)state;
    enum { rows = 48, d = 5 };
    const int64_t sizes[] = {1, 2, 24, 48};
    sg_real *x = vectors_new(rows, d, 3);
    sg_partition p;
    sg_error err;
    double last;
    for (int kind = 0; kind < 2; kind++) {
        sg_kmeans_options o = options_of((sg_kmeans_kind)kind);
        o.progress = falls, o.user = &last;
        for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++) {
            assert_int_equal(
                sg_partition_kmeans(compute_of(1), x, rows, d, sizes[s], &o, &p, NULL, &err),
                SG_OK);
            expect_partition(&p, rows, sizes[s]);
            sg_partition_free(&p);
        }
        o.progress = stops;
        assert_int_equal(sg_partition_kmeans(compute_of(1), x, rows, d, 4, &o, &p, NULL, &err),
                         SG_ERR_STOPPED);
    }
    for (int64_t i = 0; i < rows * d; i++)
        x[i] = 1;
    for (int kind = 0; kind < 2; kind++) {
        const sg_kmeans_options o = options_of((sg_kmeans_kind)kind);
        assert_int_equal(sg_partition_kmeans(compute_of(1), x, rows, d, 6, &o, &p, &last, &err),
                         SG_OK);
        expect_partition(&p, rows, 6);
        assert_true(last < 1e-9);
        sg_partition_free(&p);
    }
    sg_free(x);
}

static void test_kmeans_refuses(void **state)
{
    (void)state;
    enum { rows = 12, d = 3 };
    sg_real *x = vectors_new(rows, d, 3);
    int32_t start[rows] = {0};
    sg_kmeans_options o = sg_kmeans_options_default();
    sg_partition p;
    sg_error err;
    assert_int_equal(sg_partition_kmeans(compute_of(1), x, rows, d, 5, &o, &p, NULL, &err),
                     SG_ERR_ARGUMENT);
    o.rounds = 0;
    assert_int_equal(sg_partition_kmeans(compute_of(1), x, rows, d, 4, &o, &p, NULL, &err),
                     SG_ERR_ARGUMENT);
    o.rounds = 9, o.start = start, start[7] = 3;
    assert_int_equal(sg_partition_kmeans(compute_of(1), x, rows, d, 4, &o, &p, NULL, &err),
                     SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "split: earlier block of neuron 7: found 3, expected 0 … 2");
    start[7] = 0; // empty blocks at first: they keep a centre of zeros
    assert_int_equal(sg_partition_kmeans(compute_of(1), x, rows, d, 4, &o, &p, NULL, &err), SG_OK);
    sg_partition_free(&p);
    x[4] = NAN;
    assert_int_equal(sg_partition_kmeans(compute_of(1), x, rows, d, 4, &o, &p, NULL, &err),
                     SG_ERR_NUMERIC);
    assert_string_equal(err.message, "split: vector of neuron 1: found a length of nan, expected "
                                     "one above 0 that is finite");
    memset(x, 0, 3 * sizeof *x);
    assert_int_equal(sg_partition_kmeans(compute_of(1), x, rows, d, 4, &o, &p, NULL, &err),
                     SG_ERR_NUMERIC);
    assert_null(p.order);
    sg_free(x);
}

static sg_status split_once(void *user, sg_error *err)
{
    const sg_kmeans_options o = options_of(*(const sg_kmeans_kind *)user);
    sg_real x[24];
    sg_partition p;
    for (uint64_t i = 0; i < 24; i++)
        x[i] = (sg_real)sg_rng_normal(4, 1, i);
    sg_status status = sg_partition_kmeans(compute_of(1), x, 12, 2, 3, &o, &p, NULL, err);
    if (status == SG_OK) sg_partition_free(&p);
    return status;
}

static void test_memory_fails(void **state)
{
    (void)state;
    sg_kmeans_kind kinds[] = {SG_KMEANS_EXACT, SG_KMEANS_AUCTION};
    for (int i = 0; i < 2; i++)
        assert_true(alloc_failure_loop(split_once, &kinds[i]) > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),         cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_random),         cmocka_unit_test(test_assignment),
        cmocka_unit_test(test_auction_ends),   cmocka_unit_test(test_groups),
        cmocka_unit_test(test_many_blocks),    cmocka_unit_test(test_draw),
        cmocka_unit_test(test_empty_clusters), cmocka_unit_test(test_best_round),
        cmocka_unit_test(test_memory_fails),   cmocka_unit_test(test_kmeans_ends),
        cmocka_unit_test(test_kmeans_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
