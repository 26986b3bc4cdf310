// What sg_session_gradient leaves alone and refuses: the tokens of its session, ended passes, wrong
// objectives, narrow weights, memory that is short; and the same bits for any number of threads.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/rng.h"
#include "base/status.h"
#include "context_on.h"
#include "model/model.h"
#include "tiny_models.h"
#include "sgatlin_probe.h"

enum { vocab = 60, positions = 40, count = 20, width = 16 };
static int32_t tokens[count];
static const sg_logit_term difference[] = {{count - 1, 3, 1}, {count - 1, 8, -1}};
static const sg_objective objective = {difference, 2, NULL};

typedef struct keeper {
    float gradient[count * width];
    int calls, end_at; // 0: never
} keeper;

static sg_status keep(void *user, const sg_point_values *p, sg_error *err)
{
    keeper *k = user;
    if (p->use != SG_POINT_GRADIENT) return SG_OK;
    assert_null(p->targets);
    if (++k->calls == k->end_at) return sg_fail(err, SG_ERR_STOPPED, "enough");
    memcpy(k->gradient, p->gradient, (size_t)(p->shape[0] * p->shape[1]) * sizeof *k->gradient);
    return SG_OK;
}

static sg_model *make_model(sg_context *context)
{
    for (int i = 0; i < count; i++)
        tokens[i] = (int32_t)sg_rng_below(7, 1, (uint64_t)i, vocab);
    sg_error err = {0};
    sg_model *model;
    const sg_config c = tiny_config("sgatlin", vocab, positions);
    if (sg_model_new(context, &c, 3, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

static sg_session *make_session(sg_model *model, const sg_points *points)
{
    sg_session_options options = sg_session_options_default();
    sg_session *session;
    sg_error err = {0};
    options.points = points;
    if (sg_session_open(model, &options, &session, &err) != SG_OK) fail_msg("%s", err.message);
    return session;
}

// The session goes on as if there had been no gradient, and another gradient is the same.
static void test_session_stays(void **state)
{
    (void)state;
    static keeper k, plain;
    k = plain = (keeper){0};
    sg_context *context = context_on(2);
    sg_model *model = make_model(context);
    const sg_point_request request = {"blocks.0.hook_mlp_out", SG_POINT_GRADIENT, keep, &k};
    const sg_point_request again = {"blocks.0.hook_mlp_out", SG_POINT_GRADIENT, keep, &plain};
    const sg_points points = {&request, 1}, others = {&again, 1};
    sg_session *session = make_session(model, &points), *same = make_session(model, NULL);
    sg_session *whole = make_session(model, &others);
    const float *found, *expected;
    double value = 7, first;
    sg_error err = {0};
    assert_int_equal(sg_session_gradient(whole, tokens, count, &objective, &first, &err), SG_OK);
    assert_int_equal(sg_session_feed(session, tokens, 5, &found, &err), SG_OK);
    assert_int_equal(k.calls, 0); // feeding has none
    k.end_at = 1;
    assert_int_equal(sg_session_gradient(session, tokens, count, &objective, &value, &err),
                     SG_ERR_STOPPED);
    assert_string_equal(err.message, "blocks.0.hook_mlp_out: enough");
    assert_true(value == 7);
    assert_int_equal(sg_session_gradient(session, tokens, count, &objective, &value, &err), SG_OK);
    assert_true(value == first);
    assert_int_equal(k.calls, 2);
    assert_memory_equal(k.gradient, plain.gradient, sizeof k.gradient);
    assert_int_equal(sg_session_length(session), 5);
    assert_int_equal(sg_session_feed(session, tokens + 5, 3, &found, &err), SG_OK);
    assert_int_equal(sg_session_feed(same, tokens, 5, &expected, &err), SG_OK);
    assert_int_equal(sg_session_feed(same, tokens + 5, 3, &expected, &err), SG_OK);
    assert_memory_equal(found, expected, vocab * sizeof *found);
    // The value is that of the logits of a session.
    assert_int_equal(sg_session_rewind(same, 0, &err), SG_OK);
    assert_int_equal(sg_session_feed(same, tokens, count, &expected, &err), SG_OK);
    assert_true(fabs(value - (double)(expected[3] - expected[8])) < 1e-5);
    sg_session_free(session);
    sg_session_free(same);
    sg_session_free(whole);
    sg_model_free(model);
    sg_context_free(context);
}

static void test_threads(void **state)
{
    (void)state;
    static keeper k[2];
    double values[2];
    for (int i = 0; i < 2; i++) {
        k[i] = (keeper){0};
        sg_context *context = context_on(1 + 2 * i);
        sg_model *model = make_model(context);
        const sg_point_request request = {"hook_embed", SG_POINT_GRADIENT, keep, &k[i]};
        const sg_points points = {&request, 1};
        sg_session *session = make_session(model, &points);
        assert_int_equal(sg_session_gradient(session, tokens, count, &objective, &values[i], NULL),
                         SG_OK);
        sg_session_free(session);
        sg_model_free(model);
        sg_context_free(context);
    }
    assert_true(values[0] == values[1]);
    assert_memory_equal(&k[0], &k[1], sizeof k[0]);
}

static void expect_refused(sg_session *session, const int32_t *ids, int64_t n,
                           const sg_objective *of, const char *message)
{
    double value = 7;
    sg_error err = {0};
    assert_int_equal(sg_session_gradient(session, ids, n, of, &value, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, message);
    assert_true(value == 7);
}

static void test_refused(void **state)
{
    (void)state;
    static keeper k;
    k = (keeper){0};
    static const int32_t wrong[] = {1, 60}, ends[] = {-1, 60}, fine[] = {5, -1};
    static const sg_logit_term late = {2, 0, 1}, none = {1, 60, 1};
    sg_context *context = context_on(2);
    sg_model *model = make_model(context);
    const sg_point_request request = {"hook_embed", SG_POINT_GRADIENT, keep, &k};
    const sg_points points = {&request, 1};
    sg_session *session = make_session(model, &points);
    expect_refused(session, tokens, 0, &objective, "gradient: found 0 tokens, expected 1 to 40");
    expect_refused(session, tokens, 41, &objective, "gradient: found 41 tokens, expected 1 to 40");
    expect_refused(session, wrong, 2, &(sg_objective){.targets = fine},
                   "token 1: found 60, expected 0 to 59");
    expect_refused(session, fine, 1, &(sg_objective){0},
                   "objective: found neither, expected terms or targets");
    expect_refused(session, fine, 1, &(sg_objective){&late, 1, fine},
                   "objective: found both, expected terms or targets");
    expect_refused(session, tokens, 2, &(sg_objective){.targets = ends},
                   "target 1: found 60, expected less than 60");
    expect_refused(session, tokens, 2, &(sg_objective){&late, 1, NULL},
                   "term 0: found token 2, expected 0 to 1");
    expect_refused(session, tokens, 2, &(sg_objective){&none, 1, NULL},
                   "term 0: found id 60, expected 0 to 59");
    sg_session_free(session);
    assert_int_equal(sg_model_narrow(model, SG_WEIGHTS_BF16, NULL), SG_OK);
    session = make_session(model, &points);
    expect_refused(session, tokens, 2, &(sg_objective){.targets = fine},
                   "model.embed_tokens.weight: found narrow weights, which have no gradients, "
                   "expected f32: open the model in f32");
    assert_int_equal(k.calls, 0);
    sg_session_free(session);
    sg_model_free(model);
    sg_context_free(context);
}

static sg_status gradient_once(void *user, sg_error *err)
{
    static keeper k;
    static const sg_point_request request = {"*resid*", SG_POINT_GRADIENT, keep, &k};
    static const sg_points points = {&request, 1};
    sg_session_options options = sg_session_options_default();
    sg_session *session;
    double value;
    options.points = &points;
    SG_TRY(sg_session_open(user, &options, &session, err));
    sg_status status = sg_session_gradient(session, tokens, count, &objective, &value, err);
    sg_session_free(session);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    sg_context *context = context_on(2);
    sg_model *model = make_model(context);
    assert_true(alloc_failure_loop(gradient_once, model) > 20);
    sg_model_free(model);
    sg_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_session_stays),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
