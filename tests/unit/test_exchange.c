// Runs with parts of others put in: what must hold of any family. A run with its own values has its
// own bits, what is behind the last look of a layer changes nothing, everything of a layer put in
// is the other run, and gates of neurons one by one are the gates of the layer.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "context_on.h"
#include "probe/exchange_inside.h"
#include "tiny_models.h"

enum { vocab = 60, positions = 64, length = 7, start = 3, prompts = 5, layers = 2 };
static sg_context *context;
static int32_t tokens[prompts * length];

static int set_up(void **state)
{
    (void)state;
    context = context_on(2);
    // All prompts begin alike.
    for (int i = 0; i < prompts * length; i++)
        tokens[i] = (int32_t)sg_rng_below(7, 1, (uint64_t)(i % length < 2 ? i % length : i), vocab);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static sg_model *make_model(sg_context *in, const char *kind)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, vocab, positions);
    must(sg_model_new(in, &c, 5, &model, &err), &err);
    return model;
}

static const char *const more[] = {"hook_embed", "blocks.0.hook_resid_post",
                                   "blocks.1.hook_resid_post", "blocks.1.attn.hook_z",
                                   "blocks.0.hook_mlp_out"};

static sg_exchange *make_exchange(sg_model *model, bool neurons, int64_t batch)
{
    sg_error err = {0};
    sg_exchange *x;
    const sg_exchange_options o = {.points = more,
                                   .point_count = sizeof more / sizeof *more,
                                   .gates = true,
                                   .neurons = neurons,
                                   .batch = batch,
                                   .longest = length + 1};
    must(sg_exchange_new(model, &o, &x, &err), &err);
    return x;
}

static void capture(sg_exchange *x, int64_t from, sg_capture **captures)
{
    sg_error err = {0};
    must(sg_exchange_capture(x, tokens, prompts, length, from, captures, &err), &err);
}

static void release(sg_exchange *x, sg_capture **captures)
{
    for (int i = 0; i < prompts; i++)
        sg_capture_free(captures[i]);
    sg_exchange_free(x);
}

static void put_gates(sg_changes *c, const sg_exchange *x, const sg_capture *from, int64_t layer,
                      int64_t first, int64_t last)
{
    sg_error err = {0};
    for (int64_t p = first; p <= last; p++)
        must(sg_changes_gates(c, x, from, layer, -1, p, &err), &err);
}

static void replay(sg_exchange *x, const sg_capture *of, const sg_changes *changes, float *logits)
{
    sg_error err = {0};
    must(sg_exchange_replay(x, &(sg_replay){of, changes, logits}, 1, &err), &err);
}

static double largest_difference(const float *a, const float *b)
{
    double most = 0;
    for (int v = 0; v < vocab; v++)
        most = fmax(most, fabs((double)a[v] - (double)b[v]));
    return most;
}

static void expect_same(const char *kind, const char *what, const float *a, const float *b)
{
    if (memcmp(a, b, vocab * sizeof *a) != 0)
        fail_msg("%s: %s: found a difference of %g, expected the same bits", kind, what,
                 largest_difference(a, b));
}

// ---- captures -----------------------------------------------------------------------------------

// A capture is what a session computes, whatever its start, and what is kept is what was there.
static void test_capture(void **state)
{
    (void)state;
    sg_error err = {0};
    const char *kind;
    for (int i = 0; (kind = tiny_even_kind(&i)) != NULL; i++) {
        sg_model *model = make_model(context, kind);
        sg_exchange *x = make_exchange(model, false, 4);
        sg_capture *captures[prompts];
        sg_session *session;
        const float *logits;
        capture(x, start, captures);
        must(sg_session_new(model, 0, &session, &err), &err);
        for (int p = 0; p < prompts; p++) {
            must(sg_session_rewind(session, 0, &err), &err);
            must(sg_session_feed(session, tokens + p * length, length, &logits, &err), &err);
            assert_true(largest_difference(logits, captures[p]->logits) < 1e-4);
        }
        assert_int_equal(sg_exchange_runs(x), prompts);
        sg_session_free(session);
        release(x, captures);
        sg_model_free(model);
    }
}

// Rows of embeddings, which need no model to be known.
static void test_kept_values(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin");
    sg_exchange *x = make_exchange(model, false, 2);
    sg_capture *captures[prompts];
    float row[16];
    capture(x, start, captures);
    const int64_t embed = sg_exchange_find(x, "hook_embed");
    assert_true(embed >= 0);
    for (int i = 0; i < prompts * length; i++) {
        sg_model_rows(model, 0, tokens[i], 1, row);
        assert_memory_equal(sg_capture_row(x, captures[i / length], (size_t)embed, i % length), row,
                            sizeof row);
    }
    release(x, captures);
    sg_model_free(model);
}

// ---- identities ---------------------------------------------------------------------------------

static void check_identities(const char *kind, sg_exchange *x, sg_capture *const *c)
{
    float logits[vocab];
    sg_changes changes = {0};
    replay(x, c[0], NULL, logits);
    expect_same(kind, "no change", logits, c[0]->logits);
    for (int64_t l = 0; l < layers; l++)
        put_gates(&changes, x, c[0], l, c[0]->start, length - 1);
    replay(x, c[0], &changes, logits);
    expect_same(kind, "its own gates", logits, c[0]->logits);
    sg_changes_clear(&changes);
    put_gates(&changes, x, c[1], layers - 1, c[0]->start, length - 2);
    replay(x, c[0], &changes, logits);
    if (x->batch > 1)
        expect_same(kind, "gates of the last layer before the last token", logits, c[0]->logits);
    assert_true(largest_difference(logits, c[0]->logits) < 1e-5);
    sg_changes_clear(&changes);
    put_gates(&changes, x, c[1], layers - 1, length - 1, length - 1);
    replay(x, c[0], &changes, logits);
    // A hash of the token selects alone; then there may be nothing to exchange.
    if (strncmp(kind, "randhash", 8) != 0)
        assert_true(memcmp(logits, c[0]->logits, sizeof logits) != 0);
    sg_changes_free(&changes);
}

static void test_identities(void **state)
{
    (void)state;
    const char *kind;
    for (int i = 0; (kind = tiny_even_kind(&i)) != NULL; i++)
        for (int from = 0; from <= start; from += start) {
            sg_model *model = make_model(context, kind);
            sg_exchange *x = make_exchange(model, false, 4);
            sg_capture *captures[prompts];
            capture(x, from, captures);
            check_identities(kind, x, captures);
            release(x, captures);
            sg_model_free(model);
        }
}

// All that a layer passes on, put in, is the other run.
static void test_whole_layer(void **state)
{
    (void)state;
    sg_error err = {0};
    const char *kind;
    for (int i = 0; (kind = tiny_even_kind(&i)) != NULL; i++) {
        sg_model *model = make_model(context, kind);
        sg_exchange *x = make_exchange(model, false, 4);
        sg_capture *captures[prompts];
        float logits[vocab];
        capture(x, 0, captures);
        for (int l = 0; l < layers; l++) {
            char name[64];
            sg_changes changes = {0};
            snprintf(name, sizeof name, "blocks.%d.hook_resid_post", l);
            const size_t point = (size_t)sg_exchange_find(x, name);
            for (int p = 0; p < length; p++)
                must(sg_changes_point(&changes, x, captures[1], point, p, &err), &err);
            replay(x, captures[0], &changes, logits);
            // A hash of the token sees the tokens of the run.
            if (l == layers - 1 || strncmp(kind, "randhash", 8) != 0)
                expect_same(kind, name, logits, captures[1]->logits);
            sg_changes_free(&changes);
        }
        release(x, captures);
        sg_model_free(model);
    }
}

// Every run of a pass has the bits that it has alone, in whatever place of whatever pass.
static void test_places(void **state)
{
    (void)state;
    enum { count = 11 };
    sg_error err = {0};
    sg_model *model = make_model(context, "sgatlin");
    sg_exchange *x = make_exchange(model, true, 4);
    sg_capture *captures[prompts];
    sg_changes changes[count] = {{0}};
    sg_replay replays[count];
    float logits[count][vocab], alone[vocab];
    capture(x, start, captures);
    for (int i = 0; i < count; i++) {
        put_gates(&changes[i], x, captures[(i + 1 + i / 5) % prompts], i % layers, start + i % 3,
                  length - 1);
        replays[i] = (sg_replay){captures[i % prompts], &changes[i], logits[i]};
    }
    must(sg_exchange_replay(x, replays, count, &err), &err);
    for (int i = 0; i < count; i++) {
        replay(x, replays[i].of, &changes[i], alone);
        expect_same("sgatlin", "a run alone", logits[i], alone);
        sg_changes_free(&changes[i]);
    }
    release(x, captures);
    sg_model_free(model);
}

static void test_threads(void **state)
{
    (void)state;
    float logits[2][vocab];
    for (int i = 0; i < 2; i++) {
        sg_context *in = context_on(1 + 2 * i);
        sg_model *model = make_model(in, "sgatlin");
        sg_exchange *x = make_exchange(model, true, 4);
        sg_capture *captures[prompts];
        sg_changes changes = {0};
        capture(x, start, captures);
        put_gates(&changes, x, captures[1], 0, start, length - 1);
        replay(x, captures[0], &changes, logits[i]);
        sg_changes_free(&changes);
        release(x, captures);
        sg_model_free(model);
        sg_context_free(in);
    }
    expect_same("sgatlin", "threads", logits[0], logits[1]);
}

// ---- neurons ------------------------------------------------------------------------------------

// All neurons of a layer that either run selects at a token.
static size_t either(const sg_exchange *x, const sg_capture *a, const sg_capture *b, int64_t layer,
                     int64_t position, sg_exchange_neuron *list)
{
    const sg_exchange_gates_of *g = sg_exchange_gates(x, layer);
    size_t count = 0;
    float score;
    for (int32_t c = 0; c < g->channels; c++)
        for (int32_t n = 0; n < g->neurons; n++)
            if (sg_capture_gate(x, a, layer, c, n, position, &score) ||
                sg_capture_gate(x, b, layer, c, n, position, &score))
                list[count++] = (sg_exchange_neuron){(int32_t)layer, c, n};
    return count;
}

static bool has_neurons(const char *kind)
{
    return strncmp(kind, "moe", 3) != 0 && strncmp(kind, "memory_plus", 11) != 0;
}

// Gates neuron by neuron are the gates of the layer, up to rounding; its own are no change.
static void check_neurons(const char *kind, sg_exchange *x, sg_capture *const *c, int64_t layer)
{
    static sg_exchange_neuron list[1024];
    sg_error err = {0};
    float one[vocab], all[vocab];
    sg_changes neurons = {0}, gates = {0};
    const int64_t position = layer == 0 ? start : length - 1;
    const size_t count = either(x, c[0], c[1], layer, position, list);
    must(sg_changes_neurons(&neurons, x, c[1], list, count, position, &err), &err);
    must(sg_changes_gates(&gates, x, c[1], layer, -1, position, &err), &err);
    replay(x, c[0], &neurons, one);
    replay(x, c[0], &gates, all);
    if (largest_difference(one, all) > 1e-4 || largest_difference(one, c[0]->logits) < 1e-6)
        if (strncmp(kind, "randhash", 8) != 0)
            fail_msg("%s: layer %d: %g from the layer's gates, %g from none", kind, (int)layer,
                     largest_difference(one, all), largest_difference(one, c[0]->logits));
    sg_changes_clear(&neurons);
    must(sg_changes_neurons(&neurons, x, c[0], list, count, position, &err), &err);
    replay(x, c[0], &neurons, one);
    expect_same(kind, "its own neurons", one, c[0]->logits);
    sg_changes_free(&neurons);
    sg_changes_free(&gates);
}

static void test_neurons(void **state)
{
    (void)state;
    const char *kind;
    for (int i = 0; (kind = tiny_even_kind(&i)) != NULL; i++) {
        sg_error err = {0};
        sg_model *model = make_model(context, kind);
        const sg_exchange_options o = {.neurons = true, .longest = length};
        sg_exchange *x = NULL;
        if (has_neurons(kind)) {
            sg_capture *captures[prompts];
            x = make_exchange(model, true, 4);
            capture(x, start, captures);
            for (int64_t l = 0; l < layers; l++)
                check_neurons(kind, x, captures, l);
            release(x, captures);
        } else {
            assert_int_equal(sg_exchange_new(model, &o, &x, &err), SG_ERR_UNSUPPORTED);
            assert_non_null(strstr(err.message, "neurons: found a model of family"));
            assert_null(x);
        }
        sg_model_free(model);
    }
}

// ---- errors -------------------------------------------------------------------------------------

static void expect_refused(sg_model *model, const char *point, int64_t longest, sg_status status,
                           const char *message)
{
    sg_error err = {0};
    sg_exchange *x;
    const sg_exchange_options o = {
        .points = &point, .point_count = point != NULL, .gates = true, .longest = longest};
    assert_int_equal(sg_exchange_new(model, &o, &x, &err), status);
    if (strstr(err.message, message) == NULL) fail_msg("%s", err.message);
    assert_null(x);
}

static void test_errors(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_model *model = make_model(context, "sgatlin");
    expect_refused(model, "blocks.0.attn.hook_pattern", 5, SG_ERR_UNSUPPORTED, "of keys");
    expect_refused(model, "logits", 5, SG_ERR_UNSUPPORTED, "last token alone");
    expect_refused(model, "blocks.7.hook_mlp_out", 5, SG_ERR_NOT_FOUND, "the nearest is");
    expect_refused(model, NULL, 0, SG_ERR_ARGUMENT, "found 0 tokens");
    expect_refused(model, NULL, positions + 1, SG_ERR_ARGUMENT, "64 positions");
    sg_exchange *x = make_exchange(model, true, 4);
    sg_capture *captures[prompts];
    sg_changes changes = {0};
    float logits[vocab];
    capture(x, start, captures);
    sg_capture *none[1];
    assert_int_equal(sg_exchange_capture(x, tokens, 1, length, length, none, &err),
                     SG_ERR_ARGUMENT);
    assert_int_equal(sg_exchange_capture(x, tokens, 1, length + 2, 0, none, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_exchange_capture(x, (int32_t[]){3, vocab}, 1, 2, 0, none, &err),
                     SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "token 1: found 60"));
    assert_null(none[0]);
    put_gates(&changes, x, captures[1], 0, start - 1, start - 1);
    assert_int_equal(sg_exchange_replay(x, &(sg_replay){captures[0], &changes, logits}, 1, &err),
                     SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "change: found position 2, expected 3 to 6");
    const sg_exchange_neuron wrong[] = {{layers, 0, 0}, {0, 2, 0}, {0, 0, 25}, {-1, 0, 0}};
    for (int i = 0; i < 4; i++)
        assert_int_equal(sg_changes_neurons(&changes, x, captures[1], &wrong[i], 1, 4, &err),
                         SG_ERR_ARGUMENT);
    assert_int_equal(sg_changes_gates(&changes, x, captures[1], 0, 2, 4, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_changes_gates(&changes, x, captures[1], 0, 0, length, &err),
                     SG_ERR_ARGUMENT);
    sg_changes_free(&changes);
    release(x, captures);
    sg_model_free(model);
}

static sg_status run_once(void *user, sg_error *err)
{
    sg_exchange *x;
    sg_capture *captures[2] = {NULL, NULL};
    sg_changes changes = {0};
    float logits[vocab];
    const sg_exchange_neuron neuron = {0, 0, 3};
    const sg_exchange_options o = {.neurons = true, .batch = 2, .longest = length};
    SG_TRY(sg_exchange_new(user, &o, &x, err));
    sg_status status = sg_exchange_capture(x, tokens, 2, length, start, captures, err);
    if (status == SG_OK) status = sg_changes_gates(&changes, x, captures[1], 0, -1, start, err);
    if (status == SG_OK)
        status = sg_changes_neurons(&changes, x, captures[1], &neuron, 1, start, err);
    if (status == SG_OK)
        status = sg_exchange_replay(x, &(sg_replay){captures[0], &changes, logits}, 1, err);
    sg_changes_free(&changes);
    sg_capture_free(captures[0]);
    sg_capture_free(captures[1]);
    sg_exchange_free(x);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin");
    assert_true(alloc_failure_loop(run_once, model) > 20);
    sg_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_capture),    cmocka_unit_test(test_kept_values),
        cmocka_unit_test(test_identities), cmocka_unit_test(test_whole_layer),
        cmocka_unit_test(test_places),     cmocka_unit_test(test_threads),
        cmocka_unit_test(test_neurons),    cmocka_unit_test(test_errors),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
