// The analysis of a sweep against numpy, scipy and statsmodels (tests/twins/sweep_twin.py).
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "format/json.h"
#include "made_sweeps.h"
#include "sweep/analysis.h"

static json_t *root;

static int set_up(void **state)
{
    (void)state;
    sg_error err = {0};
    return sg_json_read(SG_TEST_DIR "/golden/sweep/analysis.json", 1 << 20, &root, &err) != SG_OK;
}

static int tear_down(void **state)
{
    (void)state;
    json_decref(root);
    return 0;
}

static double number(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static double item(const json_t *object, const char *key, size_t index)
{
    const json_t *value = json_array_get(json_object_get(object, key), index);
    assert_true(json_is_number(value));
    return json_number_value(value);
}

static size_t length(const json_t *object, const char *key)
{
    return json_array_size(json_object_get(object, key));
}

// Within `relative` of what is expected.
static void near(double found, double expected, double relative, const char *what)
{
    if (!(fabs(found - expected) <= relative * fabs(expected)))
        fail_msg("%s: found %.17g, expected %.17g", what, found, expected);
}

static sg_sweep_analysis analyse_case(const json_t *c, int64_t resamples, uint64_t seed)
{
    made_sweep *made = made_sweep_new();
    const bool tokens = json_object_get(c, "tokens") != NULL;
    for (size_t i = 0; i < length(c, "sizes"); i++) {
        const double size = item(c, "sizes", i);
        const double of = tokens ? item(c, "tokens", i) : 1e12 / size;
        // Five sizes a budget.
        made_sweep_add(made, "glu", (double)i, tokens ? 1e12 * pow(4, (double)(i / 5)) : 1e12, 1,
                       size, of, item(c, "losses", i));
    }
    sg_sweep_analysis a = made_sweep_analyse(made, resamples, seed);
    made_sweep_free(made);
    return a;
}

static void test_parabolas(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(root, "parabolas"), i, c)
    {
        sg_sweep_analysis a = analyse_case(c, 100, 1);
        const json_t *expected = json_object_get(c, "expected");
        assert_int_equal(a.curve_count, 1);
        const sg_sweep_curve *curve = &a.curves[0];
        near(curve->a, number(expected, "a"), 1e-8, "a");
        near(curve->b, number(expected, "b"), 1e-8, "b");
        near(curve->c, number(expected, "c"), 1e-8, "c");
        near(curve->size.value, number(expected, "size"), 1e-8, "size");
        near(curve->loss.value, number(expected, "loss"), 1e-10, "loss");
        if (i > 0) near(curve->residual, number(expected, "residual"), 1e-8, "residual");
        sg_sweep_analysis_clear(&a);
    }
    assert_int_equal(i, 4);
}

static void test_drawn_parabola(void **state)
{
    (void)state;
    const json_t *c = json_object_get(root, "drawn_parabola");
    const size_t blocks = length(c, "tokens");
    made_sweep *made = made_sweep_new();
    size_t i;
    json_t *r;
    json_array_foreach(json_object_get(c, "rows"), i, r)
    {
        const double size = number(r, "size");
        sg_sweep_row *row = made_sweep_add(made, "glu", size, 1e12, (uint64_t)number(r, "seed"),
                                           size, 1e12 / size, 0);
        int64_t tokens = 0;
        row->block_count = blocks;
        row->block_loss = calloc(blocks, sizeof *row->block_loss);
        row->block_tokens = calloc(blocks, sizeof *row->block_tokens);
        assert_true(row->block_loss != NULL && row->block_tokens != NULL);
        for (size_t b = 0; b < blocks; b++) {
            row->block_loss[b] = item(r, "blocks", b);
            row->block_tokens[b] = (int64_t)item(c, "tokens", b);
            row->loss += row->block_loss[b];
            tokens += row->block_tokens[b];
        }
        row->loss /= (double)tokens;
    }
    sg_sweep_analysis a =
        made_sweep_analyse(made, (int64_t)number(c, "resamples"), (uint64_t)number(c, "seed"));
    const sg_sweep_curve *curve = &a.curves[0];
    assert_true(curve->documents);
    assert_int_equal(curve->freedom, (int64_t)number(c, "freedom"));
    near(curve->noise, number(c, "noise"), 1e-10, "noise");
    near(log(curve->size.low), item(c, "size", 0), 1e-9, "low size");
    near(log(curve->size.high), item(c, "size", 1), 1e-9, "high size");
    near(curve->loss.low, item(c, "loss", 0), 1e-9, "low loss");
    near(curve->loss.high, item(c, "loss", 1), 1e-9, "high loss");
    sg_sweep_analysis_clear(&a);
    made_sweep_free(made);
}

static void compare_surface(const sg_sweep_surface *s, const json_t *expected, double relative)
{
    near(s->E.value, number(expected, "E"), relative, "E");
    near(s->A.value, number(expected, "A"), 10 * relative, "A");
    near(s->B.value, number(expected, "B"), 10 * relative, "B");
    near(s->alpha.value, number(expected, "alpha"), relative, "alpha");
    near(s->beta.value, number(expected, "beta"), relative, "beta");
    near(s->exponent.value, number(expected, "exponent"), relative, "exponent");
}

static void test_surfaces(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(root, "surfaces"), i, c)
    {
        sg_sweep_analysis a = analyse_case(c, 100, 1);
        const json_t *expected = json_object_get(c, "expected");
        assert_int_equal(a.surface_count, 1);
        const sg_sweep_surface *s = &a.surfaces[0];
        assert_true(s->fitted && s->exponents);
        assert_int_equal(s->points, 15);
        assert_int_equal(s->sizes, 5);
        compare_surface(s, expected, 1e-5);
        const double residual = sqrt(number(expected, "squares") / 15);
        if (!(fabs(s->residual - residual) <= 1e-9))
            fail_msg("residual: found %g, expected %g", s->residual, residual);
        sg_sweep_analysis_clear(&a);
    }
    assert_int_equal(i, 3);
}

static void test_drawn_surface(void **state)
{
    (void)state;
    const json_t *c = json_object_get(root, "drawn_surface");
    const json_t *intervals = json_object_get(c, "intervals");
    sg_sweep_analysis a =
        analyse_case(c, (int64_t)number(c, "resamples"), (uint64_t)number(c, "seed"));
    const sg_sweep_surface *s = &a.surfaces[0];
    compare_surface(s, json_object_get(c, "expected"), 1e-5);
    near(s->noise, number(c, "noise"), 1e-6, "noise");
    assert_int_equal(s->freedom, (int64_t)number(c, "freedom"));
    const struct {
        const char *name;
        sg_sweep_number number;
    } numbers[] = {{"E", s->E}, {"alpha", s->alpha}, {"beta", s->beta}, {"exponent", s->exponent}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        near(numbers[i].number.low, item(intervals, numbers[i].name, 0), 1e-5, numbers[i].name);
        near(numbers[i].number.high, item(intervals, numbers[i].name, 1), 1e-5, numbers[i].name);
    }
    sg_sweep_analysis_clear(&a);
}

// Student's p within four standard errors of so many resamples; the interval within a twentieth: of
// two seeds it ends where few resamples are.
static void test_verdicts(void **state)
{
    (void)state;
    const double resamples = 100000;
    size_t i;
    json_t *c;
    json_array_foreach(json_object_get(root, "verdicts"), i, c)
    {
        made_sweep *made = made_sweep_new();
        for (size_t f = 0; f < length(c, "runs"); f++) {
            const json_t *runs = json_array_get(json_object_get(c, "runs"), f);
            const char name[] = {(char)('0' + (int)f), '\0'};
            for (size_t s = 0; s < json_array_size(runs); s++)
                made_sweep_add(made, name, 1, 1e12, s + 1, 1e5, 1e7,
                               json_number_value(json_array_get(runs, s)));
        }
        sg_sweep_analysis a = made_sweep_analyse(made, (int64_t)resamples, 3);
        assert_int_equal(a.verdict_count, length(c, "others"));
        for (size_t v = 0; v < a.verdict_count; v++) {
            const sg_sweep_verdict *found = &a.verdicts[v];
            const json_t *interval = json_array_get(json_object_get(c, "intervals"), v);
            const double p = item(c, "p", v), holm = item(c, "holm", v);
            const double low = json_number_value(json_array_get(interval, 0));
            const double high = json_number_value(json_array_get(interval, 1));
            assert_int_equal(found->best[0] - '0', (int)number(c, "best"));
            assert_int_equal(found->other[0] - '0', (int)item(c, "others", v));
            near(found->difference.value, item(c, "difference", v), 1e-12, "difference");
            const double wrong = 4 * sqrt(2 * p / resamples) + 3 / resamples;
            if (!(fabs(found->p - p) <= wrong)) fail_msg("p: found %g, expected %g", found->p, p);
            if (!(fabs(found->p_holm - holm) <= 3 * wrong))
                fail_msg("Holm: found %g, expected %g", found->p_holm, holm);
            if (!(fabs(found->difference.low - low) <= 0.05 * (high - low)) ||
                !(fabs(found->difference.high - high) <= 0.05 * (high - low)))
                fail_msg("interval: found %g to %g, expected %g to %g", found->difference.low,
                         found->difference.high, low, high);
        }
        sg_sweep_analysis_clear(&a);
        made_sweep_free(made);
    }
    assert_int_equal(i, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parabolas), cmocka_unit_test(test_drawn_parabola),
        cmocka_unit_test(test_surfaces),  cmocka_unit_test(test_drawn_surface),
        cmocka_unit_test(test_verdicts),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
