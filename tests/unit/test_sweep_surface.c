// The surface of a contender over all budgets: when there is one, whether its intervals cover, and
// what the check of both ways of finding the best size says.
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
#include "sweep/surface_values.h"

static const double sizes[] = {1e5, 2e5, 4e5, 8e5, 1.6e6, 3.2e6, 6.4e6};
static const double budgets[] = {1e12, 4e12, 1.6e13};
static const sg_surface_values truth = {.E = 2, .A = 3e3, .B = 900, .alpha = 0.6, .beta = 0.45};
static const double flops = 6; // of a parameter and token

static made_sweep *sweep_of(const sg_surface_values *v, size_t size_count, size_t budget_count,
                            double noise, uint64_t set)
{
    made_sweep *made = made_sweep_new();
    for (size_t b = 0; b < budget_count; b++)
        for (size_t i = 0; i < size_count; i++) {
            const double tokens = round(budgets[b] / (flops * sizes[i]));
            const double away =
                noise * sg_rng_normal(set, sg_rng_stream("test.surface"), b * 100 + i);
            made_sweep_add(made, "glu", (double)i, budgets[b], 1, sizes[i], tokens,
                           sg_surface_at(v, sizes[i], tokens) + away);
        }
    return made;
}

static void near(double found, double expected, double relative, const char *what)
{
    if (!(fabs(found - expected) <= relative * fabs(expected)))
        fail_msg("%s: found %.17g, expected %.17g", what, found, expected);
}

static bool remarked(const sg_sweep_analysis *a, const char *words)
{
    for (size_t i = 0; i < a->remark_count; i++)
        if (strstr(a->remarks[i], words) != NULL) return true;
    return false;
}

// The best size at a budget C: N^(alpha + beta) = alpha A / (beta B) (C / 6)^beta.
static double best_size(const sg_surface_values *v, double budget)
{
    const double power = v->alpha * v->A / (v->beta * v->B) * pow(budget / flops, v->beta);
    return pow(power, 1 / (v->alpha + v->beta));
}

static void test_exact(void **state)
{
    (void)state;
    made_sweep *made = sweep_of(&truth, 7, 3, 0, 1);
    sg_sweep_analysis a = made_sweep_analyse(made, 100, 1);
    assert_int_equal(a.surface_count, 1);
    const sg_sweep_surface *s = &a.surfaces[0];
    assert_true(s->fitted && s->exponents);
    assert_int_equal(s->points, 21);
    assert_int_equal(s->sizes, 7);
    near(s->E.value, truth.E, 1e-6, "E");
    near(s->A.value, truth.A, 1e-5, "A");
    near(s->B.value, truth.B, 1e-5, "B");
    near(s->alpha.value, truth.alpha, 1e-6, "alpha");
    near(s->beta.value, truth.beta, 1e-6, "beta");
    near(s->exponent.value, truth.beta / (truth.alpha + truth.beta), 1e-6, "exponent");
    assert_true(s->residual < 1e-8);
    near(s->middle_budget, 4e12, 0, "middle budget");
    // The surface finds its own best size; the parabola misses it by what it cannot bend to.
    assert_true(fabs(s->bias_surface) < 1e-4 && fabs(s->bias_surface_noise) < 1e-4);
    const double size = a.curves[1].size.value / best_size(&truth, 4e12) - 1;
    assert_true(fabs(size) > 0.01);
    if (!(fabs(s->bias_parabola - size) <= 1e-4))
        fail_msg("bias of the parabola: found %g, expected %g", s->bias_parabola, size);
    assert_true(remarked(&a, "glu at 4e+12 FLOPs: on the fitted surface a parabola misses"));
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

// Runs that scatter so much that the parabola's form is the least of it.
static void test_small_bias(void **state)
{
    (void)state;
    made_sweep *made = sweep_of(&truth, 5, 3, 0.05, 2);
    sg_sweep_analysis a = made_sweep_analyse(made, 100, 1);
    assert_false(remarked(&a, "misses the best size"));
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

static void expect(size_t size_count, size_t budget_count, bool fitted, bool exponents)
{
    made_sweep *made = sweep_of(&truth, size_count, budget_count, 0.003, 1);
    sg_sweep_analysis a = made_sweep_analyse(made, 100, 1);
    const sg_sweep_surface *s = &a.surfaces[0];
    assert_int_equal(s->fitted, fitted);
    assert_int_equal(s->exponents, exponents);
    assert_int_equal(!isnan(s->alpha.value), fitted);
    assert_int_equal(!isnan(s->E.low), fitted);
    if (!fitted) assert_true(isnan(s->middle_budget) && isnan(s->bias_parabola));
    assert_int_equal(remarked(&a, "fewer than 5: no exponents"), fitted && !exponents);
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

static void test_when(void **state)
{
    (void)state;
    expect(7, 1, false, false);
    expect(2, 3, false, false);
    expect(3, 2, true, false);
    expect(4, 3, true, false);
    expect(5, 2, true, true);
}

// No coefficient is below 0: where more tokens would harm, they do nothing.
static void test_not_below_zero(void **state)
{
    (void)state;
    sg_surface_work work;
    double size[9], tokens[9], loss[9];
    for (size_t i = 0; i < 9; i++) {
        size[i] = sizes[i % 3];
        tokens[i] = 1e6 * (double)(1 + i / 3);
        loss[i] = 2 + 3e3 * pow(size[i], -0.6) - 40 * pow(tokens[i], -0.4);
    }
    assert_true(sg_surface_work_new(size, tokens, 9, &work));
    const sg_surface_values v = sg_surface_fit(&work, loss, NULL);
    assert_true(v.E >= 0 && v.A > 0 && !(fabs(v.B) > 0));
    double squares = 0;
    for (size_t i = 0; i < 9; i++)
        squares += pow(loss[i] - sg_surface_at(&v, size[i], tokens[i]), 2);
    near(v.squares, squares, 1e-6, "squares");
    for (size_t i = 0; i < 9; i++)
        loss[i] = -1;
    assert_true(isinf(sg_surface_fit(&work, loss, NULL).squares));
    sg_surface_work_free(&work);
}

enum { coverage_sets = 200 };

// What 200 noisy sweeps say of the truth: intervals hold it in 90 to 98 of 100, and the median
// error of both ways of finding the best size is what their check says it is.
static void test_coverage(void **state)
{
    (void)state;
    const char *names[] = {"E", "alpha", "beta", "exponent"};
    const double right[] = {truth.E, truth.alpha, truth.beta,
                            truth.beta / (truth.alpha + truth.beta)};
    int held[4] = {0};
    double bias = 0, seen = 0;
    for (uint64_t set = 0; set < coverage_sets; set++) {
        made_sweep *made = sweep_of(&truth, 5, 3, 0.006, set);
        sg_sweep_analysis a = made_sweep_analyse(made, 200, set);
        const sg_sweep_surface *s = &a.surfaces[0];
        const sg_sweep_number found[] = {s->E, s->alpha, s->beta, s->exponent};
        for (size_t i = 0; i < 4; i++)
            held[i] += found[i].low <= right[i] && right[i] <= found[i].high;
        bias += s->bias_parabola / coverage_sets;
        seen += (log(a.curves[1].size.value) - log(best_size(&truth, 4e12))) / coverage_sets;
        sg_sweep_analysis_clear(&a);
        made_sweep_free(made);
    }
    for (size_t i = 0; i < 4; i++) {
        const double percent = 100.0 * held[i] / coverage_sets;
        print_message("%s: %.1f %%\n", names[i], percent);
        if (percent < 90 || percent > 98.5) fail_msg("%s is covered in %.1f %%", names[i], percent);
    }
    print_message("bias of the parabola: %.4f, seen %.4f\n", bias, seen);
    if (!(fabs(bias - seen) < 0.02)) fail_msg("bias: said %g, seen %g", bias, seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exact),    cmocka_unit_test(test_small_bias),
        cmocka_unit_test(test_when),     cmocka_unit_test(test_not_below_zero),
        cmocka_unit_test(test_coverage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
