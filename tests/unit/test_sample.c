// Drawing tokens: the likeliest one, the distributions that the steps leave, what is refused.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "sgatlin.h"

enum { vocab = 60 };

static int32_t sample(const float *logits, int64_t n, sg_sample_options o, uint64_t index)
{
    sg_error err = {0};
    int32_t token = -1;
    if (sg_sample(logits, n, &o, index, &token, &err) != SG_OK) fail_msg("%s", err.message);
    assert_in_range(token, 0, n - 1);
    return token;
}

static void test_greedy(void **state)
{
    (void)state;
    float logits[vocab];
    for (uint64_t round = 0; round < 50; round++) {
        int32_t best = 0;
        for (int v = 0; v < vocab; v++) {
            // Few different values, so that the largest often is there twice: the lower id wins.
            logits[v] =
                floorf((float)sg_rng_uniform(round, sg_rng_stream("test"), (uint64_t)v) * 12);
            if (logits[v] > logits[best]) best = v;
        }
        sg_sample_options o = sg_sample_options_default();
        o.seed = round;
        o.temperature = 0;
        assert_int_equal(sample(logits, vocab, o, round), best);
        o.temperature = 1;
        o.top_k = 1; // keeps all that are as likely
        assert_true(logits[sample(logits, vocab, o, round)] == logits[best]);
        o.top_k = 0;
        o.top_p = 1e-9;
        assert_int_equal(sample(logits, vocab, o, round), best);
        o = sg_sample_options_default();
        o.temperature = 1e-3;
        assert_true(logits[sample(logits, vocab, o, round)] == logits[best]);
    }
}

// Pearson's statistic of many draws against probabilities p (n), of which those at 0 must not come.
static void expect_distribution(const float *logits, const double *p, int n, sg_sample_options o)
{
    enum { draws = 20000 };
    int64_t counts[16] = {0};
    double statistic = 0;
    int kinds = 0;
    for (uint64_t i = 0; i < draws; i++)
        counts[sample(logits, n, o, i)]++;
    for (int v = 0; v < n; v++) {
        double expected = p[v] * draws;
        if (p[v] == 0) {
            assert_int_equal(counts[v], 0);
            continue;
        }
        kinds++;
        statistic += ((double)counts[v] - expected) * ((double)counts[v] - expected) / expected;
    }
    // Mean kinds - 1, deviation sqrt(2 (kinds - 1)): beyond five of them by chance in a million.
    double free = kinds - 1;
    if (statistic > free + 5 * sqrt(2 * free) + 5) fail_msg("chi-square %g of %g", statistic, free);
}

static void test_distribution(void **state)
{
    (void)state;
    enum { n = 8 };
    const float logits[n] = {0.5f, 2, -1, 1.25f, 2, -INFINITY, 0, -3};
    const int order[n] = {1, 4, 3, 0, 6, 2, 7, 5}; // likeliest first, ties by id
    const double temperatures[] = {1, 0.5, 3};
    for (int t = 0; t < 3; t++) {
        double p[n], total = 0;
        for (int v = 0; v < n; v++)
            total += p[v] = exp((double)logits[v] / temperatures[t]);
        for (int v = 0; v < n; v++)
            p[v] /= total;
        sg_sample_options o = sg_sample_options_default();
        o.temperature = temperatures[t];
        o.seed = 11 + (uint64_t)t;
        expect_distribution(logits, p, n, o);
        o.top_k = 1000; // more than there are
        expect_distribution(logits, p, n, o);
        for (int kept = 2; kept < 6; kept++) {
            double cut[n] = {0}, sum = 0;
            for (int i = 0; i < kept; i++)
                sum += cut[order[i]] = p[order[i]];
            double goal = sum - 0.5 * cut[order[kept - 1]]; // reached by the last one kept
            for (int v = 0; v < n; v++)
                cut[v] /= sum;
            o.top_k = kept;
            o.top_p = 1;
            expect_distribution(logits, cut, n, o);
            o.top_k = 0;
            o.top_p = goal;
            expect_distribution(logits, cut, n, o);
        }
    }
}

// The rules of the library written down once more, over all tokens and with sorting: what each step
// sets to minus infinity.
static void expected_distribution(const float *logits, int n, const sg_sample_options *o, double *p)
{
    double l[16], sorted[16];
    for (int v = 0; v < n; v++)
        l[v] = (double)logits[v];
    for (int v = 0; v < n; v++) {
        bool there = false;
        for (int64_t i = 0; i < o->history_count; i++)
            there = there || o->history[i] == v;
        if (there) l[v] = l[v] < 0 ? l[v] * o->repetition_penalty : l[v] / o->repetition_penalty;
        l[v] /= o->temperature;
    }
    if (o->top_k > 0 && o->top_k < n) {
        memcpy(sorted, l, sizeof sorted);
        for (int i = 0; i < n; i++)
            for (int j = 0; j + 1 < n; j++)
                if (sorted[j] < sorted[j + 1]) {
                    double swap = sorted[j];
                    sorted[j] = sorted[j + 1];
                    sorted[j + 1] = swap;
                }
        for (int v = 0; v < n; v++)
            if (l[v] < sorted[o->top_k - 1]) l[v] = -INFINITY;
    }
    for (int step = 0; step < 2; step++) { // top-p, then min-p
        double total = 0, best = 0;
        for (int v = 0; v < n; v++)
            total += p[v] = exp(l[v]);
        for (int v = 0; v < n; v++) {
            p[v] /= total;
            if (p[v] > best) best = p[v];
        }
        for (int v = 0; v < n; v++) {
            double before = 0; // of those that come first
            for (int w = 0; w < n; w++)
                if (p[w] > p[v] || (p[w] == p[v] && w < v)) before += p[w];
            if (step == 0 ? before >= o->top_p : p[v] < o->min_p * best) l[v] = -INFINITY;
        }
    }
    double total = 0;
    for (int v = 0; v < n; v++)
        total += p[v] = exp(l[v]);
    for (int v = 0; v < n; v++)
        p[v] /= total;
}

static void test_sample_steps(void **state)
{
    (void)state;
    enum { n = 10 };
    const float logits[n] = {0.5f, 2, -1, 1.25f, 2, -INFINITY, 0, -3, 1.5f, 0.5f};
    static const int32_t history[] = {1, 2, 1, 8, 5};
    for (uint64_t round = 0; round < 24; round++) {
        sg_sample_options o = sg_sample_options_default();
        o.seed = round;
        o.temperature = round % 2 == 0 ? 1.1 : 0.7;
        o.top_k = (int64_t[]){0, 2, 5, 6}[round % 4]; // 5 and 6 cut between tokens alike
        o.top_p = (double[]){1, 0.83, 0.4}[round % 3];
        o.min_p = (double[]){0, 0.2, 0.05, 1}[round / 3 % 4];
        o.repetition_penalty = (double[]){1, 1.7, 0.6, 0}[round / 2 % 4];
        o.history = history;
        o.history_count = o.repetition_penalty > 0 ? 5 : 0;
        double p[n];
        expected_distribution(logits, n, &o, p);
        expect_distribution(logits, p, n, o);
    }
    // The penalty counts without chance too.
    sg_sample_options o = sg_sample_options_default();
    o.temperature = 0;
    o.repetition_penalty = 1.2;
    o.history = history;
    o.history_count = 1;
    assert_int_equal(sample(logits, n, o, 0), 4);
}

static void test_sample_is_pure(void **state)
{
    (void)state;
    const float logits[4] = {0, 0, 0, 0};
    sg_sample_options o = sg_sample_options_default();
    int differ[2] = {0, 0};
    for (uint64_t i = 0; i < 100; i++) {
        o.seed = 5;
        int32_t first = sample(logits, 4, o, i);
        assert_int_equal(sample(logits, 4, o, i), first);
        differ[0] += sample(logits, 4, o, i + 1) != first;
        o.seed = 6;
        differ[1] += sample(logits, 4, o, i) != first;
    }
    assert_true(differ[0] > 40 && differ[1] > 40);
    assert_int_equal(sample(logits, 1, o, 0), 0);
}

static void expect_refused(const float *logits, int64_t n, sg_sample_options o, sg_status expected,
                           const char *message)
{
    sg_error err = {0};
    int32_t token = -7;
    assert_int_equal(sg_sample(logits, n, &o, 0, &token, &err), expected);
    if (strncmp(err.message, message, strlen(message)) != 0) fail_msg("%s", err.message);
    assert_int_equal(token, -7);
}

static void test_sample_refuses(void **state)
{
    (void)state;
    float logits[3] = {0, NAN, 0};
    sg_sample_options good = sg_sample_options_default(), o;
    expect_refused(logits, 3, good, SG_ERR_NUMERIC, "the logit of token 1 is not finite");
    logits[1] = INFINITY;
    expect_refused(logits, 3, good, SG_ERR_NUMERIC, "the logit of token 1 is not finite");
    for (int i = 0; i < 3; i++)
        logits[i] = -INFINITY;
    expect_refused(logits, 3, good, SG_ERR_NUMERIC, "all logits are minus infinity");
    logits[0] = logits[1] = logits[2] = 1;
    expect_refused(logits, 0, good, SG_ERR_ARGUMENT, "vocab: found 0");
    const double temperatures[] = {-1, NAN, INFINITY, 1e7};
    for (int i = 0; i < 4; i++) {
        o = good;
        o.temperature = temperatures[i];
        expect_refused(logits, 3, o, SG_ERR_ARGUMENT, "temperature: found");
    }
    const double shares[] = {0, -0.5, 1.01, NAN};
    for (int i = 0; i < 4; i++) {
        o = good;
        o.top_p = shares[i];
        expect_refused(logits, 3, o, SG_ERR_ARGUMENT, "top-p: found");
    }
    o = good;
    o.min_p = 1.5;
    expect_refused(logits, 3, o, SG_ERR_ARGUMENT, "min-p: found 1.5, expected 0 to 1");
    o = good;
    o.repetition_penalty = -1;
    expect_refused(logits, 3, o, SG_ERR_ARGUMENT, "repetition-penalty: found -1");
    o = good;
    const int32_t far = 3;
    o.history = &far;
    o.history_count = 1;
    expect_refused(logits, 3, o, SG_ERR_ARGUMENT, "history: token 0: found 3, expected 0 to 2");
    o = good;
    o.top_k = -1;
    expect_refused(logits, 3, o, SG_ERR_ARGUMENT, "top-k: found -1, expected at least 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy),         cmocka_unit_test(test_distribution),
        cmocka_unit_test(test_sample_steps),   cmocka_unit_test(test_sample_is_pure),
        cmocka_unit_test(test_sample_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
