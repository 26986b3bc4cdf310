// Points of several sessions in one pass, and of texts that are generated: each request sees the
// rows of its own session, what is only read changes no bit, what is written changes its own
// session alone, and a pass that is ended leaves all sessions as they were.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"
#include "model/model.h"
#include "tiny_models.h"
#include "sgatlin_probe.h"

enum { vocab = 60, positions = 64, most = 4, steps = 5 };
static sg_context *context;
static sg_tokenizer *tokenizer;

static sg_status source(void *user, const char **text, size_t *bytes, sg_error *err)
{
    (void)err;
    static const char story[] = "the cat sat on the mat and the dog sat on the log";
    int *calls = user;
    *text = (*calls)++ == 0 ? story : NULL;
    *bytes = sizeof story - 1;
    return SG_OK;
}

static int set_up(void **state)
{
    (void)state;
    int calls = 0;
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    if (sg_context_new(&options, &context, NULL) != SG_OK) return -1;
    sg_tokenizer_train_options train = sg_tokenizer_train_options_default();
    train.vocab_size = 40;
    train.full_alphabet = false;
    return sg_tokenizer_train(&train, source, &calls, &tokenizer, NULL) == SG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_tokenizer_free(tokenizer);
    sg_context_free(context);
    return 0;
}

static sg_model *make_model(const char *kind)
{
    sg_error err = {0};
    sg_model *model;
    const sg_config c = tiny_config(kind, vocab, positions);
    if (sg_model_new(context, &c, 3, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

static sg_session *make_session(sg_model *model, const sg_points *points)
{
    sg_session_options options = sg_session_options_default();
    sg_session *session;
    sg_error err = {0};
    options.capacity = 30;
    options.points = points;
    if (sg_session_open(model, &options, &session, &err) != SG_OK) fail_msg("%s", err.message);
    return session;
}

static int64_t row_size(const sg_point_values *p)
{
    int64_t columns = 1;
    for (int i = 1; i < p->rank; i++)
        columns *= p->shape[i];
    return columns;
}

// ---- several sessions ---------------------------------------------------------------------------

// What one session's callback has seen: every value of every row, in the order of the calls.
typedef struct seen {
    const int32_t *tokens; // by position
    int calls;
    int64_t count;
    float values[1 << 16];
} seen;

static sg_status see(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    seen *s = user;
    assert_int_equal(p->sequences, 1);
    assert_int_equal(p->first_sequence, 0);
    s->calls++;
    for (int64_t i = 0; i < p->shape[0]; i++)
        assert_int_equal(p->tokens[p->first_row + i * p->row_step],
                         s->tokens[p->start[0] + p->first_row + i * p->row_step]);
    for (int64_t i = 0; i < p->shape[0] * row_size(p); i++) {
        assert_true(s->count < 1 << 16);
        s->values[s->count++] = p->values ? p->values[i] : (float)p->ids[i];
    }
    return SG_OK;
}

static sg_status add_one(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)err;
    for (int64_t i = 0; i < p->shape[0] * row_size(p); i++)
        p->values[i] += 1;
    return SG_OK;
}

static void make_tokens(int32_t tokens[most][steps + most])
{
    for (int i = 0; i < most; i++)
        for (int t = 0; t < steps + most; t++)
            tokens[i][t] = (int32_t)sg_rng_below(7, (uint32_t)i, (uint64_t)t, vocab);
}

// Feeds i tokens to session i alone, then `steps` to all together.
static void feed_together(sg_model *model, sg_session *const sessions[most],
                          int32_t tokens[most][steps + most], float found[steps][most][vocab])
{
    sg_batch *batch;
    sg_error err = {0};
    const float *logits;
    for (int i = 0; i < most; i++)
        if (i > 0)
            assert_int_equal(sg_session_feed(sessions[i], tokens[i], i, &logits, NULL), SG_OK);
    assert_int_equal(sg_batch_new(model, most, &batch, NULL), SG_OK);
    for (int step = 0; step < steps; step++) {
        int32_t next[most];
        for (int i = 0; i < most; i++)
            next[i] = tokens[i][i + step];
        if (sg_batch_feed(batch, sessions, next, most, &logits, &err) != SG_OK)
            fail_msg("%s", err.message);
        memcpy(found[step], logits, sizeof found[step]);
    }
    sg_batch_free(batch);
}

static void check_together(const char *kind)
{
    static seen alone[2], together[2];
    static float plain[steps][most][vocab], read[steps][most][vocab], written[steps][most][vocab];
    static int32_t tokens[most][steps + most];
    const sg_point_request every[2] = {{"*", SG_POINT_READ, see, &together[0]},
                                       {"*", SG_POINT_READ, see, &together[1]}};
    const sg_point_request write = {"blocks.1.hook_resid_post", SG_POINT_WRITE, add_one, NULL};
    const sg_points lists[] = {{&every[0], 1}, {&every[1], 1}, {&write, 1}};
    const sg_points *const reading[most] = {NULL, &lists[0], NULL, &lists[1]};
    const sg_points *const writing[most] = {NULL, &lists[2], NULL, NULL};
    sg_model *model = make_model(kind);
    sg_session *sessions[most];
    const float *logits;
    make_tokens(tokens);
    for (int run = 0; run < 3; run++) {
        for (int i = 0; i < 2; i++)
            together[i] = (seen){.tokens = tokens[1 + 2 * i]};
        for (int i = 0; i < most; i++)
            sessions[i] = make_session(model, run == 0 ? NULL : run == 1 ? reading[i] : writing[i]);
        feed_together(model, sessions, tokens, run == 0 ? plain : run == 1 ? read : written);
        for (int i = 0; i < most; i++)
            sg_session_free(sessions[i]);
        for (int i = 0; run == 1 && i < 2; i++)
            alone[i] = together[i];
    }
    assert_memory_equal(plain, read, sizeof plain);
    for (int step = 0; step < steps; step++)
        for (int i = 0; i < most; i++)
            assert_int_equal(memcmp(plain[step][i], written[step][i], sizeof plain[0][0]) == 0,
                             i != 1);
    // What was seen is what the session sees alone, up to the rounding of another shape.
    for (int i = 0; i < 2; i++) {
        together[i] = (seen){.tokens = tokens[1 + 2 * i]};
        sg_session *session = make_session(model, &lists[i]);
        for (int t = 0; t < steps + 1 + 2 * i; t += t == 0 ? 1 + 2 * i : 1)
            assert_int_equal(sg_session_feed(session, tokens[1 + 2 * i] + t, t == 0 ? 1 + 2 * i : 1,
                                             &logits, NULL),
                             SG_OK);
        sg_session_free(session);
        assert_int_equal(alone[i].calls, together[i].calls);
        assert_int_equal(alone[i].count, together[i].count);
        assert_true(alone[i].calls > 40);
        for (int64_t j = 0; j < alone[i].count; j++) {
            const float x = alone[i].values[j], y = together[i].values[j];
            if (!(fabsf(x - y) <= 2e-5F * (1 + fabsf(x))))
                fail_msg("%s: value %lld is %g and %g", kind, (long long)j, (double)x, (double)y);
        }
    }
    sg_model_free(model);
}

static void test_together(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sgatlin", "moe", "mlp", "peer"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        check_together(kinds[i]);
}

// ---- what goes wrong ----------------------------------------------------------------------------

static sg_status end_third(void *user, const sg_point_values *p, sg_error *err)
{
    (void)p;
    int *calls = user;
    if (++*calls < 3) return SG_OK;
    return sg_fail(err, SG_ERR_NUMERIC, "enough");
}

static void test_ended(void **state)
{
    (void)state;
    static int32_t tokens[most][steps + most];
    int calls = 0;
    const sg_point_request ends = {"blocks.0.hook_resid_mid", SG_POINT_READ, end_third, &calls};
    const sg_points points = {&ends, 1};
    sg_model *model = make_model("sgatlin");
    sg_session *sessions[2] = {make_session(model, NULL), make_session(model, &points)};
    sg_batch *batch;
    const float *logits = NULL;
    sg_error err = {0};
    make_tokens(tokens);
    assert_int_equal(sg_batch_new(model, 2, &batch, NULL), SG_OK);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sg_batch_feed(batch, sessions, tokens[i], 2, &logits, &err), SG_OK);
    logits = NULL;
    assert_int_equal(sg_batch_feed(batch, sessions, tokens[2], 2, &logits, &err), SG_ERR_NUMERIC);
    assert_string_equal(err.message, "blocks.0.hook_resid_mid: enough");
    assert_null(logits);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sg_session_length(sessions[i]), 2);
    calls = -10;
    assert_int_equal(sg_batch_feed(batch, sessions, tokens[2], 2, &logits, &err), SG_OK);
    // Other sessions in the same places, and none with points.
    sg_session_free(sessions[1]);
    sessions[1] = make_session(model, &points);
    assert_int_equal(sg_batch_feed(batch, sessions, tokens[3], 2, &logits, &err), SG_OK);
    assert_int_equal(calls, -8);
    sg_session_free(sessions[1]);
    assert_int_equal(sg_batch_feed(batch, sessions, tokens[3], 1, &logits, &err), SG_OK);
    assert_int_equal(calls, -8);
    sg_batch_free(batch);
    sg_session_free(sessions[0]);
    sg_model_free(model);
}

static sg_status nothing(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)p;
    (void)err;
    return SG_OK;
}

static sg_status batch_once(void *user, sg_error *err)
{
    static const sg_point_request request = {"*resid*", SG_POINT_READ, nothing, NULL};
    static const sg_points points = {&request, 1};
    static const int32_t tokens[] = {3, 4};
    sg_session_options options = sg_session_options_default();
    options.points = &points;
    sg_session *sessions[2] = {0};
    sg_batch *batch = NULL;
    const float *logits;
    sg_status status = sg_session_open(user, &options, &sessions[0], err);
    if (status == SG_OK) status = sg_session_new(user, 5, &sessions[1], err);
    if (status == SG_OK) status = sg_batch_new(user, 2, &batch, err);
    if (status == SG_OK) status = sg_batch_feed(batch, sessions, tokens, 2, &logits, err);
    sg_batch_free(batch);
    for (int i = 0; i < 2; i++)
        sg_session_free(sessions[i]);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    sg_model *model = make_model("sgatlin");
    assert_true(alloc_failure_loop(batch_once, model) > 15);
    sg_model_free(model);
}

// ---- generation ---------------------------------------------------------------------------------

enum { prompts = 3 };

typedef struct text {
    char bytes[400];
    size_t count;
} text;

static bool hear(void *user, const char *bytes, size_t count)
{
    text *t = user;
    assert_true(t->count + count < sizeof t->bytes);
    memcpy(t->bytes + t->count, bytes, count);
    t->count += count;
    return true;
}

static bool see_logprob(void *user, const sg_scored_token *token, const sg_scored_token *top,
                        size_t count)
{
    (void)top;
    (void)count;
    text *t = user;
    memcpy(t->bytes + t->count, &token->logprob, sizeof token->logprob); // to the bit
    t->count += sizeof token->logprob;
    return true;
}

static sg_status count_rows(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    int64_t *rows = user;
    assert_in_range(p->first_sequence, 0, prompts - 1);
    rows[p->first_sequence] += p->shape[0];
    return SG_OK;
}

// The second text alone says one token for ever.
static sg_status prefer(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    if (p->first_sequence == 1) p->values[*(const int32_t *)user] = 1e4F;
    return SG_OK;
}

static void generate(sg_model *model, const sg_points *points, text texts[prompts],
                     sg_generate_result results[prompts])
{
    static const char *const list[] = {"the cat", "the dog sat", "on"};
    void *users[prompts];
    sg_error err = {0};
    sg_generate_options options = sg_generate_options_default();
    options.max_tokens = 12;
    options.ignore_eos = true;
    options.text = hear;
    options.token = see_logprob;
    options.points = points;
    for (int i = 0; i < prompts; i++) {
        texts[i] = (text){0};
        users[i] = &texts[i];
    }
    if (sg_generate_many(model, tokenizer, list, prompts, &options, users, results, &err) != SG_OK)
        fail_msg("%s", err.message);
}

static void test_generation(void **state)
{
    (void)state;
    static text plain[prompts], read[prompts], steered[prompts];
    sg_generate_result results[prompts];
    int64_t rows[prompts] = {0};
    const int32_t wanted = 9;
    const sg_point_request requests[] = {
        {"blocks.0.hook_mlp_out", SG_POINT_READ, count_rows, rows},
        {"logits", SG_POINT_WRITE, prefer, (void *)(uintptr_t)&wanted}};
    const sg_points points[] = {{&requests[0], 1}, {&requests[1], 1}};
    sg_model *model = make_model("sgatlin");
    generate(model, NULL, plain, results);
    generate(model, &points[0], read, results);
    assert_memory_equal(plain, read, sizeof plain);
    for (int i = 0; i < prompts; i++) // the last token is not fed
        assert_int_equal(rows[i], results[i].prompt_tokens + results[i].tokens - 1);
    generate(model, &points[1], steered, results);
    for (int i = 0; i < prompts; i++)
        assert_int_equal(memcmp(&plain[i], &steered[i], sizeof plain[i]) == 0, i != 1);
    const char *piece = sg_tokenizer_token_text(tokenizer, wanted);
    assert_int_equal(steered[1].count, 12 * (strlen(piece) + sizeof(double)));
    sg_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_together),
        cmocka_unit_test(test_ended),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_generation),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
