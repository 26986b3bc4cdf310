// Fronts over seconds, verdicts at equal seconds, and the remarks on what limits an analysis.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "made_sweeps.h"
#include "sweep/analysis.h"

static void near(double found, double expected, double tolerance, const char *what)
{
    if (!(fabs(found - expected) <= tolerance))
        fail_msg("%s: found %.17g, expected %.17g", what, found, expected);
}

static void remarked(const sg_sweep_analysis *a, const char *words)
{
    for (size_t i = 0; i < a->remark_count; i++)
        if (strstr(a->remarks[i], words) != NULL) return;
    for (size_t i = 0; i < a->remark_count; i++)
        print_message("%s\n", a->remarks[i]);
    fail_msg("no remark says: %s", words);
}

static void not_remarked(const sg_sweep_analysis *a, const char *words)
{
    for (size_t i = 0; i < a->remark_count; i++)
        if (strstr(a->remarks[i], words) != NULL) fail_msg("remarked: %s", a->remarks[i]);
}

// A row of 100 steps that take `seconds` in all.
static sg_sweep_row *timed(made_sweep *made, const char *family, double scale, double budget,
                           uint64_t seed, double seconds, double loss)
{
    sg_sweep_row *row = made_sweep_add(made, family, scale, budget, seed, 1e5 * scale, 1e6, loss);
    row->step_seconds = seconds / 100;
    row->step_machine = 0;
    return row;
}

static void test_front(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    timed(made, "glu", 3, 4e12, 1, 40, 2.7);
    timed(made, "glu", 1, 1e12, 1, 10, 3.2);
    timed(made, "glu", 2, 1e12, 1, 12, 3.3); // slower and higher
    timed(made, "glu", 3, 1e12, 1, 20, 3.0);
    timed(made, "glu", 3, 1e12, 2, NAN, 3.1); // its cell has a time
    timed(made, "glu", 4, 1e12, 1, NAN, 2.0); // no time: nowhere
    timed(made, "glu", 4, 4e12, 1, 1, 2.0)->step_machine = 1;
    made_sweep_add(made, "mlp", 1, 1e12, 1, 1e5, 1e6, 3.0);
    sg_sweep_machine machines[2] = {{.cores = 2}, {.cores = 64}};
    made->results.machines = machines;
    made->results.machine_count = 2;
    sg_sweep_analysis a = made_sweep_analyse(made, 100, 1);
    assert_int_equal(a.front_count, 1);
    const sg_sweep_front *front = &a.fronts[0];
    const double seconds[] = {10, 20, 40}, loss[] = {3.2, 3.05, 2.7};
    const size_t rows[] = {1, 3, 0};
    assert_string_equal(front->family, "glu");
    assert_int_equal(front->count, 3);
    for (size_t i = 0; i < 3; i++) {
        near(front->seconds[i], seconds[i], 1e-12, "seconds");
        near(front->loss[i], loss[i], 1e-12, "loss");
        assert_int_equal(front->row[i], rows[i]);
    }
    remarked(&a, "step times of 1 runs are of other machines");
    remarked(&a, "3 of 8 finished runs have no step time");
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

// Two seeds a cell; b is lower at equal FLOPs, a at equal seconds since it is twice as fast.
static made_sweep *fast_and_slow(void)
{
    made_sweep *made = made_sweep_new();
    for (uint64_t s = 1; s <= 3; s++) {
        const double away = 0.002 * ((double)s - 2);
        for (size_t b = 0; b < 3; b++) {
            const double budget = 1e12 * pow(4, (double)b), loss = 3.4 - 0.3 * (double)b;
            timed(made, "a", 1, budget, s, 10 * pow(4, (double)b), loss + away);
            timed(made, "b", 1, budget, s, 20 * pow(4, (double)b), loss - 0.05 - away / 2);
        }
    }
    return made;
}

static void test_equal_seconds(void **state)
{
    (void)state;
    made_sweep *made = fast_and_slow();
    sg_sweep_analysis a = made_sweep_analyse(made, 40000, 1);
    assert_int_equal(a.verdict_count, 6);
    for (size_t i = 0; i < 3; i++) {
        assert_false(a.verdicts[i].equal_seconds);
        assert_string_equal(a.verdicts[i].best, "b");
        assert_true(a.verdicts[i].paired && isnan(a.verdicts[i].seconds));
    }
    const sg_sweep_verdict *middle = &a.verdicts[4];
    assert_true(middle->equal_seconds && !middle->paired);
    assert_string_equal(middle->best, "a");
    near(middle->budget, 4e12, 0, "budget");
    near(middle->seconds, 60, 1e-9, "seconds"); // between 40 and 80
    // Logarithms are read between neighbours: a between 40 and 160 s, b between 20 and 80 s.
    const double at_a = log(60.0 / 40) / log(4), at_b = log(60.0 / 20) / log(4);
    double b2 = 0, b3 = 0;
    for (size_t i = 0; i < a.curve_count; i++) {
        if (a.curves[i].family[0] != 'b') continue;
        if (a.curves[i].budget < 2e12) b2 = a.curves[i].points[0].loss;
        if (a.curves[i].budget > 2e12 && a.curves[i].budget < 5e12) b3 = a.curves[i].points[0].loss;
    }
    const double one = exp((1 - at_a) * log(3.1) + at_a * log(2.8));
    const double two = exp((1 - at_b) * log(b2) + at_b * log(b3));
    near(middle->difference.value, two - one, 1e-12, "difference");
    // Errors of a run are 0.002 and 0.001, by six degrees of freedom each; three seeds a reading of
    // two points; Welch's degrees are taken as 9, whole ones.
    const double of_a = pow(one * 0.002, 2) / 3 * (pow((1 - at_a) / 3.1, 2) + pow(at_a / 2.8, 2));
    const double of_b = pow(two * 0.001, 2) / 3 * (pow((1 - at_b) / b2, 2) + pow(at_b / b3, 2));
    const double half = 2.262157 * sqrt(of_a + of_b);
    assert_int_equal(6 * pow(of_a + of_b, 2) / (of_a * of_a + of_b * of_b), 9);
    near(middle->difference.high - middle->difference.value, half, 0.03 * half, "high");
    near(middle->difference.value - middle->difference.low, half, 0.03 * half, "low");
    assert_int_equal(middle->seeds, 3);
    assert_true(middle->separable && middle->difference.low > 0 && middle->p < 0.05);
    // The first is read at 20 s, from where both fronts reach on; the last at 160, up to where.
    near(a.verdicts[3].seconds, 20, 1e-9, "first");
    near(a.verdicts[5].seconds, 160, 1e-9, "last");
    remarked(&a, "comparisons at equal seconds are not paired by seeds");
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

// One seed everywhere: nothing is separable, and it is said.
static void test_one_seed(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    for (size_t b = 0; b < 2; b++) {
        timed(made, "a", 1, 1e12 * (double)(b + 1), 1, 10 + 10 * (double)b, 3 - 0.2 * (double)b);
        timed(made, "b", 1, 1e12 * (double)(b + 1), 1, 11 + 10 * (double)b, 4 - 0.2 * (double)b);
    }
    sg_sweep_analysis a = made_sweep_analyse(made, 500, 1);
    assert_int_equal(a.verdict_count, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(isnan(a.verdicts[i].p) && !a.verdicts[i].separable);
        assert_true(isnan(a.verdicts[i].difference.low));
        assert_int_equal(a.verdicts[i].seeds_needed, 0);
    }
    remarked(&a, "2 of 2 comparisons at equal FLOPs have fewer than two common seeds");
    remarked(&a, "2 of 2 comparisons at equal seconds are of families without any cell of two");
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

// Fronts that do not overlap.
static void test_apart(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    timed(made, "a", 1, 1e12, 1, 10, 3);
    timed(made, "b", 1, 1e12, 1, 100, 3);
    timed(made, "c", 1, 1e12, 1, 1000, 3);
    sg_sweep_analysis a = made_sweep_analyse(made, 100, 1);
    assert_int_equal(a.front_count, 3);
    assert_int_equal(a.verdict_count, 2); // at equal FLOPs
    remarked(&a, "equal seconds, 100 s: a has no finished runs on both sides");
    remarked(&a, "equal seconds, 100 s: c has");
    not_remarked(&a, "equal seconds, 100 s: b has");
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

// No difference at equal seconds is found in few of many sweeps.
static void test_false_seconds(void **state)
{
    (void)state;
    const uint32_t stream = sg_rng_stream("test.seconds");
    int64_t found = 0, all = 0;
    for (uint64_t set = 0; set < 300; set++) {
        made_sweep *made = made_sweep_new();
        for (uint64_t i = 0; i < 18; i++) { // family, budget, seed
            const size_t budget = i / 2 % 3;
            const double seconds = 10 * pow(4, (double)budget) * (i % 2 == 0 ? 1 : 1.3);
            const double loss = 3 * pow(seconds, -0.05) + 0.01 * sg_rng_normal(set, stream, i);
            timed(made, i % 2 == 0 ? "a" : "b", 1, 1e12 * pow(4, (double)budget), 1 + i / 6,
                  seconds, loss);
        }
        sg_sweep_analysis a = made_sweep_analyse(made, 300, set);
        for (size_t v = 0; v < a.verdict_count; v++)
            if (a.verdicts[v].equal_seconds && fabs(a.verdicts[v].budget - 4e12) < 1) {
                found += a.verdicts[v].separable;
                all++;
            }
        sg_sweep_analysis_clear(&a);
        made_sweep_free(made);
    }
    const double percent = 100 * (double)found / (double)all;
    print_message("found in %.1f %% of %d\n", percent, (int)all);
    assert_int_equal(all, 300);
    if (percent > 8 || percent < 1) fail_msg("found in %.1f %%", percent);
}

// ---- remarks ------------------------------------------------------------------------------------

static void test_remarks(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    const made_documents documents = {.seed = 1, .blocks = 8, .spread = 0.1};
    const double losses[] = {3.3, 3.1, 3.0, 2.95};
    for (size_t i = 0; i < 4; i++) { // the minimum is at the edge
        made_sweep_documents(made_sweep_add(made, "glu", (double)(i + 1), 1e12, 1,
                                            1e5 * (double)(i + 1), 1e6, losses[i]),
                             &documents, i);
        made_sweep_add(made, "glu", (double)(i + 1), 1e12, 1, 1e5 * (double)(i + 1), 1e6, 4)->lr =
            0.002; // less than the best rate
    }
    made_sweep_add(made, "mlp", 1, 1e12, 1, 1e5, 1e6, 3.2);
    made_sweep_add(made, "mlp", 2, 1e12, 1, 2e5, 1e6, 3.2);
    made_sweep_add(made, "mlp", 3, 1e12, 1, 3e5, 1e6, NAN);
    made_sweep_add(made, "mlp", 3, 1e12, 1, 3e5, 1e6, 3)->state = SG_SWEEP_RUNNING;
    made_sweep_add(made, "mlp", 3, 1e12, 1, 3e5, 1e6, 3)->state = SG_SWEEP_FAILED;
    sg_sweep_row *from = made_sweep_add(made, "moe", 1, 1e12, 1, 1e5, 1e6, 3.2);
    snprintf(from->origin, sizeof from->origin, "other");
    sg_sweep_analysis a = made_sweep_analyse(made, 100, 1);
    remarked(&a, "1 of 14 runs are not finished and 1 failed: left out");
    remarked(&a, "1 finished runs have no loss, size or tokens");
    remarked(&a, "1 of 12 finished runs were made elsewhere");
    remarked(&a, "8 of 12 finished runs have no sums by blocks");
    remarked(&a, "8 blocks of documents: fewer than 20");
    remarked(&a, "no step was timed");
    remarked(&a, "the minimum is among the outermost sizes, more are wanted: glu at 1e+12 FLOPs");
    remarked(&a, "glu at 1e+12 FLOPs: the best learning rate of 4 of 4 points is the last of those "
                 "that were tried of scale 1, 2, 3, 4");
    remarked(&a, "fewer than 3 sizes, no parabola: mlp at 1e+12 FLOPs");
    remarked(&a, "glu at 1e+12 FLOPs: 8 runs of the first seed, moe 1: unequal effort");
    remarked(&a, "2 of 2 comparisons at equal FLOPs have fewer than two");
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_front),         cmocka_unit_test(test_equal_seconds),
        cmocka_unit_test(test_one_seed),      cmocka_unit_test(test_apart),
        cmocka_unit_test(test_false_seconds), cmocka_unit_test(test_remarks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
