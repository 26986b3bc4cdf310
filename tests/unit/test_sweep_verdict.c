// Verdicts of a sweep: what is compared with what, how often one is wrong, and how many seeds are
// said to be needed.
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

static void add(made_sweep *made, const char *family, double budget, const double *losses,
                size_t seeds)
{
    for (size_t s = 0; s < seeds; s++)
        made_sweep_add(made, family, 2, budget, 1 + s, 1e5, 1e6, losses[s]);
}

// The differences are those of scipy.stats.ttest_rel, p and interval too: without documents the
// bootstrap is Student's.
static void test_student(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    add(made, "glu", 1e12, (double[]){3.012, 3.001, 3.022, 3.007}, 4);
    add(made, "mlp", 1e12, (double[]){3.025, 3.019, 3.020, 3.031}, 4);
    sg_sweep_analysis a = made_sweep_analyse(made, 100000, 7);
    assert_int_equal(a.verdict_count, 1);
    const sg_sweep_verdict *v = &a.verdicts[0];
    assert_string_equal(v->best, "glu");
    assert_string_equal(v->other, "mlp");
    assert_int_equal(v->seeds, 4);
    assert_true(v->paired && !v->documents && !v->equal_seconds);
    near(v->difference.value, 0.01325, 1e-12, "difference");
    near(v->p, 0.09728550, 0.004, "p");
    near(v->p_holm, v->p, 1e-15, "p of one comparison");
    near(v->difference.low, -0.00443932, 0.0006, "low");
    near(v->difference.high, 0.03093932, 0.0006, "high");
    assert_false(v->separable);
    // (1.959964 + 0.841621)^2 times the variance over the square of the difference: 5.53.
    assert_int_equal(v->seeds_needed, 6);
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

static void test_one_seed(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    const made_documents documents = {.seed = 5, .blocks = 32, .spread = 0.2, .own = 0.001};
    made_sweep_documents(made_sweep_add(made, "mlp", 2, 1e12, 1, 1e5, 1e6, 4), &documents, 0);
    made_sweep_documents(made_sweep_add(made, "glu", 2, 1e12, 1, 1e5, 1e6, 3), &documents, 1);
    // A second seed of one of them is no common one.
    made_sweep_documents(made_sweep_add(made, "glu", 2, 1e12, 2, 1e5, 1e6, 3), &documents, 2);
    sg_sweep_analysis a = made_sweep_analyse(made, 500, 1);
    assert_int_equal(a.verdict_count, 1);
    const sg_sweep_verdict *v = &a.verdicts[0];
    assert_string_equal(v->best, "glu");
    assert_int_equal(v->seeds, 1);
    near(v->difference.value, 1, 0.01, "difference");
    assert_true(isnan(v->p) && isnan(v->p_holm) && isnan(v->difference.low));
    assert_true(!v->separable && v->documents);
    assert_int_equal(v->seeds_needed, 0); // nothing is known of mlp's seeds
    sg_sweep_analysis_clear(&a);
    // What is known at another budget tells.
    add(made, "mlp", 4e12, (double[]){3.5, 3.6}, 2);
    add(made, "glu", 4e12, (double[]){2.5, 2.6}, 2);
    a = made_sweep_analyse(made, 500, 1);
    assert_int_equal(a.verdicts[0].seeds, 1);
    assert_int_equal(a.verdicts[0].seeds_needed, 2);
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

// Four contenders: the smallest p times three, and so on; equal to Holm of the p by hand.
static void test_adjusted(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    add(made, "a", 1e12, (double[]){3.00, 3.01, 3.02}, 3);
    add(made, "b", 1e12, (double[]){3.05, 3.07, 3.065}, 3);
    add(made, "c", 1e12, (double[]){3.30, 3.31, 3.325}, 3);
    add(made, "d", 1e12, (double[]){3.01, 3.00, 3.03}, 3);
    sg_sweep_analysis a = made_sweep_analyse(made, 20000, 1);
    assert_int_equal(a.verdict_count, 3);
    const sg_sweep_verdict *b = &a.verdicts[0], *c = &a.verdicts[1], *d = &a.verdicts[2];
    assert_true(c->p < b->p && b->p < d->p);
    near(c->p_holm, 3 * c->p, 1e-15, "c");
    near(b->p_holm, fmax(3 * c->p, 2 * b->p), 1e-15, "b");
    near(d->p_holm, fmax(b->p_holm, d->p), 1e-15, "d");
    assert_true(c->separable && b->separable && !d->separable);
    assert_true(c->seeds_needed == 0 && b->seeds_needed == 0 && d->seeds_needed > 3);
    assert_true(b->difference.low > 0 && d->difference.low < 0);
    // Other settings of the best are contenders too.
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

// Documents that differ by more than the difference of two models: no number of seeds is enough.
static void test_documents_limit(void **state)
{
    (void)state;
    made_sweep *made = made_sweep_new();
    const made_documents documents = {.seed = 5, .blocks = 16, .own = 0.2};
    for (uint64_t s = 1; s <= 3; s++)
        for (uint64_t f = 0; f < 2; f++) {
            const double loss = 3 + 0.001 * (double)s;
            sg_sweep_row *row =
                made_sweep_add(made, f == 0 ? "glu" : "mlp", 2, 1e12, s, 1e5, 1e6, loss);
            made_sweep_documents(row, &documents, f); // what the family is good at, for all seeds
        }
    sg_sweep_analysis a = made_sweep_analyse(made, 2000, 1);
    const sg_sweep_verdict *v = &a.verdicts[0];
    assert_true(!v->separable && v->documents);
    assert_true(v->difference.value > 0 && v->difference.low < 0);
    assert_int_equal(v->seeds_needed, SG_SWEEP_SEEDS_MOST);
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

// ---- how often it is wrong ----------------------------------------------------------------------

typedef struct trial {
    size_t families, seeds;
    double gap; // of the others above the first
    double noise, common;
    made_documents documents;
} trial;

enum { trial_sets = 400 };

static sg_sweep_analysis trial_of(const trial *t, uint64_t set)
{
    const uint32_t stream = sg_rng_stream("test.seeds");
    const made_documents documents = {.seed = set,
                                      .blocks = t->documents.blocks,
                                      .spread = t->documents.spread,
                                      .own = t->documents.own};
    made_sweep *made = made_sweep_new();
    for (uint64_t f = 0; f < t->families; f++)
        for (uint64_t s = 0; s < t->seeds; s++) {
            const char name[] = {(char)('a' + (int)f), '\0'};
            const double loss = 3 + (f > 0 ? t->gap : 0) +
                                t->common * sg_rng_normal(set, stream, 1000 + s) +
                                t->noise * sg_rng_normal(set, stream, f * 100 + s);
            sg_sweep_row *row = made_sweep_add(made, name, 2, 1e12, 1 + s, 1e5, 1e6, loss);
            if (documents.blocks > 0) made_sweep_documents(row, &documents, f * 100 + s);
        }
    sg_sweep_analysis a = made_sweep_analyse(made, 500, set);
    made_sweep_free(made);
    return a;
}

// The interval of the difference of two holds the truth, whichever is the best of them.
static void test_coverage(void **state)
{
    (void)state;
    const trial trials[] = {
        {.families = 2, .seeds = 2, .gap = 0.02, .noise = 0.01, .common = 0.05},
        {.families = 2, .seeds = 3, .gap = 0.02, .noise = 0.01, .common = 0.05},
        {.families = 2,
         .seeds = 3,
         .noise = 0.01,
         .documents = {.blocks = 32, .spread = 0.3, .own = 0.05}},
        {.families = 2, .seeds = 8, .gap = 0.02, .noise = 0.02},
    };
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        int64_t held = 0;
        for (uint64_t set = 0; set < trial_sets; set++) {
            sg_sweep_analysis a = trial_of(&trials[i], set);
            const sg_sweep_verdict *v = &a.verdicts[0];
            const double truth = strcmp(v->best, "a") == 0 ? trials[i].gap : -trials[i].gap;
            held += v->difference.low <= truth && truth <= v->difference.high;
            sg_sweep_analysis_clear(&a);
        }
        const double percent = 100 * (double)held / trial_sets;
        print_message("%d seeds: %.1f %%\n", (int)trials[i].seeds, percent);
        if (percent < 92 || percent > 98.5) fail_msg("trial %d: %.1f %%", (int)i, percent);
    }
}

// No difference at all: a winner below every other one is declared in at most 5 of 100; one
// separable difference or more, the best being chosen by the same data, in about 5 with three
// seeds, and in about 10 with many.
static void test_false_winners(void **state)
{
    (void)state;
    const trial trials[] = {{.families = 2, .seeds = 3, .noise = 0.01},
                            {.families = 4, .seeds = 3, .noise = 0.01},
                            {.families = 6, .seeds = 3, .noise = 0.01},
                            {.families = 6, .seeds = 10, .noise = 0.01}};
    for (size_t i = 0; i < sizeof trials / sizeof *trials; i++) {
        int64_t any = 0, winner = 0;
        for (uint64_t set = 0; set < trial_sets; set++) {
            sg_sweep_analysis a = trial_of(&trials[i], set);
            size_t found = 0;
            for (size_t v = 0; v < a.verdict_count; v++)
                found += a.verdicts[v].separable;
            any += found > 0;
            winner += found == a.verdict_count;
            sg_sweep_analysis_clear(&a);
        }
        const double anys = 100 * (double)any / trial_sets;
        const double winners = 100 * (double)winner / trial_sets;
        print_message("%d families, %d seeds: any %.1f %%, winner %.1f %%\n",
                      (int)trials[i].families, (int)trials[i].seeds, anys, winners);
        if (winners > 7.5) fail_msg("a winner in %.1f %%", winners);
        if (anys > (trials[i].seeds > 3 ? 14 : 8)) fail_msg("a difference in %.1f %%", anys);
    }
}

// A difference of many deviations is found.
static void test_power(void **state)
{
    (void)state;
    const trial t = {.families = 4, .seeds = 3, .gap = 0.3, .noise = 0.01};
    int64_t found = 0;
    for (uint64_t set = 0; set < 100; set++) {
        sg_sweep_analysis a = trial_of(&t, set);
        assert_int_equal(a.verdict_count, 3);
        for (size_t v = 0; v < 3; v++)
            found += a.verdicts[v].separable;
        sg_sweep_analysis_clear(&a);
    }
    if (found < 285) fail_msg("found %d of 300", (int)found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_student),  cmocka_unit_test(test_one_seed),
        cmocka_unit_test(test_adjusted), cmocka_unit_test(test_documents_limit),
        cmocka_unit_test(test_coverage), cmocka_unit_test(test_false_winners),
        cmocka_unit_test(test_power),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
