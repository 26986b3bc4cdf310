// The analysis of a sweep as a whole: nothing to analyse, numbers that are none, the same numbers
// again, memory that runs out.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/rng.h"
#include "made_sweeps.h"
#include "sweep/analysis.h"

// Families x 3 budgets x 5 sizes with blocks and times; three seeds at the second and third size.
static made_sweep *whole_sweep(size_t families, size_t blocks)
{
    const uint32_t stream = sg_rng_stream("test.whole");
    const made_documents documents = {.seed = 3, .blocks = blocks, .spread = 0.2, .own = 0.02};
    made_sweep *made = made_sweep_new();
    uint64_t run = 0;
    for (size_t b = 0; b < 3; b++)
        for (size_t f = 0; f < families; f++)
            for (size_t i = 0; i < 5; i++)
                for (uint64_t s = 1; s <= (i == 1 || i == 2 ? 3 : 1); s++) {
                    const char name[] = {(char)('a' + (int)f), '\0'};
                    const double budget = 1e12 * pow(4, (double)b);
                    const double size = 1e5 * pow(2, (double)(i + b));
                    const double tokens = budget / (6 * size);
                    const double loss = 1.8 + 0.05 * (double)f + 2e3 * pow(size, -0.6) +
                                        900 * pow(tokens, -0.45) +
                                        0.005 * sg_rng_normal(1, stream, run);
                    sg_sweep_row *row =
                        made_sweep_add(made, name, (double)(i + b), budget, s, size, tokens, loss);
                    made_sweep_documents(row, &documents, run++);
                    row->step_seconds = budget / 1e14 * (1 + 0.1 * (double)f);
                    row->step_machine = 0;
                }
    return made;
}

static bool same_number(sg_sweep_number a, sg_sweep_number b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

// Twice the same is the same; another seed gives other draws.
static void test_same_again(void **state)
{
    (void)state;
    made_sweep *made = whole_sweep(3, 16);
    sg_sweep_analysis one, two, three;
    const sg_sweep_analysis_options options = {.resamples = 200, .seed = 4};
    const sg_sweep_analysis_options other = {.resamples = 200, .seed = 5};
    assert_int_equal(sg_sweep_analyse(&made->results, &options, &one, NULL), SG_OK);
    assert_int_equal(sg_sweep_analyse(&made->results, &options, &two, NULL), SG_OK);
    assert_int_equal(sg_sweep_analyse(&made->results, &other, &three, NULL), SG_OK);
    assert_int_equal(one.curve_count, 9);
    assert_int_equal(one.surface_count, 3);
    assert_int_equal(one.front_count, 3);
    assert_int_equal(one.verdict_count, two.verdict_count);
    for (size_t i = 0; i < one.curve_count; i++) {
        assert_true(same_number(one.curves[i].size, two.curves[i].size));
        assert_true(same_number(one.curves[i].loss, two.curves[i].loss));
        assert_false(same_number(one.curves[i].size, three.curves[i].size));
        assert_true(one.curves[i].documents);
        assert_int_equal(one.curves[i].freedom, 6);
    }
    for (size_t i = 0; i < one.surface_count; i++) {
        assert_true(same_number(one.surfaces[i].alpha, two.surfaces[i].alpha));
        assert_false(same_number(one.surfaces[i].alpha, three.surfaces[i].alpha));
    }
    for (size_t i = 0; i < one.verdict_count; i++)
        assert_true(same_number(one.verdicts[i].difference, two.verdicts[i].difference));
    sg_sweep_analysis_clear(&one);
    sg_sweep_analysis_clear(&two);
    sg_sweep_analysis_clear(&three);
    made_sweep_free(made);
}

static void test_nothing(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    sg_sweep_analysis a;
    assert_int_equal(sg_sweep_analyse(&made->results, NULL, &a, NULL), SG_OK);
    assert_int_equal(a.curve_count + a.surface_count + a.verdict_count + a.front_count, 0);
    assert_int_equal(a.remark_count, 1);
    assert_string_equal(a.remarks[0], "no run is finished");
    sg_sweep_analysis_clear(&a);
    made_sweep_add(made, "glu", 1, 1e12, 1, 1e5, 1e6, NAN);
    made_sweep_add(made, "glu", 1, 1e12, 1, 0, 1e6, 3);
    made_sweep_add(made, "glu", 1, 1e12, 1, 1e5, 0, 3);
    made_sweep_add(made, "glu", 1, 1e12, 1, 1e5, 1e6, INFINITY);
    assert_int_equal(sg_sweep_analyse(&made->results, NULL, &a, NULL), SG_OK);
    assert_int_equal(a.curve_count + a.surface_count + a.verdict_count + a.front_count, 0);
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

static void test_options(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    sg_sweep_analysis a;
    const int64_t wrong[] = {-1, 1, 99, 100001};
    for (size_t i = 0; i < 4; i++) {
        sg_error err = {0};
        const sg_sweep_analysis_options options = {.resamples = wrong[i]};
        assert_int_equal(sg_sweep_analyse(&made->results, &options, &a, &err), SG_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "expected 100 to 100000"));
        assert_int_equal(a.curve_count, 0);
    }
    made_sweep_free(made);
}

// One run; one size many times; blocks that are empty, unlike or no numbers: never a crash, and no
// number that is infinite.
static void test_degenerate(void **state)
{
    (void)state;
    made_sweep *made = whole_sweep(2, 4);
    sg_sweep_row *rows = made->results.rows;
    rows[0].block_loss[1] = NAN;
    rows[1].block_tokens[0] = 50;
    rows[2].block_count = 3;
    rows[3].block_tokens[0] = rows[3].block_tokens[1] = rows[3].block_tokens[2] = 0;
    rows[3].block_tokens[3] = 0;
    rows[4].step_seconds = 0;
    rows[5].step_seconds = INFINITY;
    rows[6].parameters = INT64_MAX;
    rows[7].loss = 1e300;
    rows[8].tokens = 1;
    for (size_t i = 40; i < made->results.count; i++)
        rows[i].parameters = 1000;
    sg_sweep_analysis a;
    const sg_sweep_analysis_options options = {.resamples = 100};
    assert_int_equal(sg_sweep_analyse(&made->results, &options, &a, NULL), SG_OK);
    for (size_t i = 0; i < a.curve_count; i++) {
        assert_false(isinf(a.curves[i].size.value) || isinf(a.curves[i].size.low));
        assert_false(isinf(a.curves[i].size.high) || isinf(a.curves[i].tokens.value));
        assert_false(isinf(a.curves[i].tokens.low) || isinf(a.curves[i].tokens.high));
    }
    sg_sweep_analysis_clear(&a);
    made->results.count = 1;
    assert_int_equal(sg_sweep_analyse(&made->results, &options, &a, NULL), SG_OK);
    assert_int_equal(a.curve_count, 1);
    assert_int_equal(a.curves[0].best + a.curves[0].runner_up, 0);
    made->results.count = 54;
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

static void refused(const made_sweep *made, int64_t resamples, const char *words)
{
    sg_sweep_analysis a;
    sg_error err = {0};
    const sg_sweep_analysis_options options = {.resamples = resamples};
    assert_int_equal(sg_sweep_analyse(&made->results, &options, &a, &err), SG_ERR_ARGUMENT);
    if (strstr(err.message, words) == NULL) fail_msg("found: %s", err.message);
    assert_int_equal(a.curve_count, 0);
}

// What no sweep has: families and scales without number, blocks that draws have no room for.
static void test_too_many(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    for (int i = 0; i < 4097; i++)
        snprintf(made_sweep_add(made, "", 1, 1e12, 1, 1e5, 1e6, 3)->family, SG_SWEEP_NAME, "f%d",
                 i);
    refused(made, 100, "more than 4096 curves");
    made_sweep_free(made);
    made = made_sweep_new();
    for (int i = 0; i < 513; i++)
        made_sweep_add(made, "glu", i, 1e12, 1, 1e5 + i, 1e6, 3);
    refused(made, 100, "more than 512 scales");
    made_sweep_free(made);
    made = made_sweep_new();
    const made_documents documents = {.seed = 1, .blocks = 3000};
    made_sweep_documents(made_sweep_add(made, "glu", 1, 1e12, 1, 1e5, 1e6, 3), &documents, 0);
    refused(made, 100000, "found 3000, expected at most 2684 for 100000 resamples");
    made_sweep_free(made);
}

static sg_status analyse_whole(void *user, sg_error *err)
{
    const made_sweep *made = user;
    const sg_sweep_analysis_options options = {.resamples = 100};
    sg_sweep_analysis a;
    const sg_status status = sg_sweep_analyse(&made->results, &options, &a, err);
    sg_sweep_analysis_clear(&a);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    made_sweep *made = whole_sweep(2, 4);
    assert_true(alloc_failure_loop(analyse_whole, made) > 20);
    made_sweep_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_again), cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_options),    cmocka_unit_test(test_degenerate),
        cmocka_unit_test(test_too_many),   cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
