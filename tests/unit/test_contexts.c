// Contexts do not know of each other, and sessions of one model work on several threads: what each
// computes is what it computes alone, bit for bit.
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/rng.h"
#include "model/model.h"
#include "sgatlin.h"
#include "tiny_models.h"

enum { vocab = 60, longest = 96, tokens_max = 64, callers = 3 };

static sg_context *make_context(const char *kernel)
{
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    options.kernel = kernel;
    sg_context *context;
    sg_error err = {0};
    if (sg_context_new(&options, &context, &err) != SG_OK) fail_msg("%s", err.message);
    return context;
}

static sg_model *make_model(sg_context *context)
{
    sg_config c = tiny_config("sgatlin", vocab, longest);
    sg_model *model;
    sg_error err = {0};
    if (sg_model_new(context, &c, 3, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

// A prompt, then token by token: prefill and decoding.
typedef struct caller {
    sg_model *model;
    int32_t tokens[tokens_max];
    int64_t prompt;
    float logits[tokens_max][vocab];
    sg_status status;
} caller;

static void *feed(void *argument)
{
    caller *c = argument;
    sg_session *session;
    c->status = sg_session_new(c->model, 0, &session, NULL);
    for (int64_t i = 0, n = c->prompt; c->status == SG_OK && i < tokens_max; i += n, n = 1) {
        const float *logits;
        c->status = sg_session_feed(session, c->tokens + i, n, &logits, NULL);
        if (c->status == SG_OK) memcpy(c->logits[i], logits, sizeof c->logits[i]);
    }
    sg_session_free(session);
    return NULL;
}

static caller *make_callers(sg_model *model)
{
    caller *all = calloc(callers, sizeof *all);
    assert_non_null(all);
    for (int c = 0; c < callers; c++) {
        all[c].model = model;
        all[c].prompt = 5 + 11 * c;
        for (int i = 0; i < tokens_max; i++)
            all[c].tokens[i] =
                (int32_t)(sg_rng_uniform(8, sg_rng_stream("test"), (uint64_t)(c * tokens_max + i)) *
                          vocab);
    }
    return all;
}

// What all callers find on threads of their own, again and again, is what they found alone.
static void expect_together(sg_model *model, const caller *alone)
{
    caller *together = make_callers(model);
    for (int repeat = 0; repeat < 4; repeat++) {
        pthread_t threads[callers];
        for (int c = 0; c < callers; c++)
            assert_int_equal(pthread_create(&threads[c], NULL, feed, &together[c]), 0);
        for (int c = 0; c < callers; c++)
            pthread_join(threads[c], NULL);
        for (int c = 0; c < callers; c++) {
            assert_int_equal(alone[c].status, SG_OK);
            assert_int_equal(together[c].status, SG_OK);
            assert_memory_equal(together[c].logits, alone[c].logits, sizeof alone[c].logits);
        }
    }
    free(together);
}

static void test_sessions_on_threads(void **state)
{
    (void)state;
    sg_context *context = make_context(NULL);
    sg_model *model = make_model(context);
    caller *alone = make_callers(model);
    for (int c = 0; c < callers; c++)
        feed(&alone[c]);
    expect_together(model, alone);
    free(alone);
    sg_model_free(model);
    sg_context_free(context);
}

// Keys so many that the first session copies them: here, the first ones on all threads.
static sg_model *make_keyed_model(sg_context *context)
{
    sg_config c = tiny_keyed_config("product_dense", vocab, longest);
    sg_model *model;
    sg_error err = {0};
    if (sg_model_new(context, &c, 3, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

static void test_first_sessions_on_threads(void **state)
{
    (void)state;
    sg_context *context = make_context(NULL);
    sg_model *model = make_keyed_model(context);
    caller *alone = make_callers(model);
    for (int c = 0; c < callers; c++)
        feed(&alone[c]);
    assert_non_null(sg_model_screens(model)); // or the test shows nothing
    sg_model *same = make_keyed_model(context);
    expect_together(same, alone);
    free(alone);
    sg_model_free(same);
    sg_model_free(model);
    sg_context_free(context);
}

static void test_second_context(void **state)
{
    (void)state;
    sg_context *first = make_context(NULL);
    char name[16];
    strncpy(name, sg_context_kernel(first), sizeof name - 1);
    name[sizeof name - 1] = 0;
    sg_model *model = make_model(first);
    caller *before = make_callers(model), *after = make_callers(model);
    feed(&before[0]);
    sg_context *second = make_context("ref");
    assert_string_equal(sg_context_kernel(second), "ref");
    assert_string_equal(sg_context_kernel(first), name);
    feed(&after[0]);
    assert_memory_equal(after[0].logits, before[0].logits, sizeof before[0].logits);
    sg_model *plain = make_model(second);
    after[1] = before[0];
    after[1].model = plain;
    feed(&after[1]);
    assert_int_equal(after[1].status, SG_OK);
    // The other kernels round otherwise: had the first context changed, it would show.
    if (strcmp(name, "ref") != 0)
        assert_memory_not_equal(after[1].logits, before[0].logits, sizeof before[0].logits);
    sg_model_free(plain);
    sg_context_free(second);
    free(before);
    free(after);
    sg_model_free(model);
    sg_context_free(first);
}

// ---- memory -------------------------------------------------------------------------------------

typedef struct counter {
    atomic_llong blocks, bytes; // now
    atomic_llong left;          // blocks that it still gives
} counter;

static void *counter_alloc(void *user, size_t bytes)
{
    counter *c = user;
    if (atomic_fetch_sub(&c->left, 1) <= 0) return NULL;
    const size_t whole = (bytes + 63) / 64 * 64 + 64;
    void *block = aligned_alloc(64, whole);
    assert_non_null(block);
    memset(block, 0, whole);
    atomic_fetch_add(&c->blocks, 1);
    atomic_fetch_add(&c->bytes, (long long)bytes);
    return block;
}

static void counter_free(void *user, void *block, size_t bytes)
{
    counter *c = user;
    atomic_fetch_sub(&c->blocks, 1);
    atomic_fetch_sub(&c->bytes, (long long)bytes);
    free(block);
}

static sg_context *counted_context(counter *c)
{
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    options.allocator = (sg_allocator){counter_alloc, counter_free, c};
    sg_context *context;
    sg_error err = {0};
    if (sg_context_new(&options, &context, &err) != SG_OK) fail_msg("%s", err.message);
    return context;
}

// Weights, angles, keys and values, activations are all of the allocator, and go back to it.
static void test_allocator(void **state)
{
    (void)state;
    counter count = {.left = 1000};
    sg_context *counted = counted_context(&count), *plain = make_context(NULL);
    sg_model *other = make_model(plain);
    assert_int_equal(count.blocks, 0);
    sg_model *model = make_model(counted);
    assert_int_equal(count.blocks, 2);
    long long weights = count.bytes;
    assert_true(weights >= sg_model_weight_bytes(model));
    sg_session *session;
    const float *logits;
    assert_int_equal(sg_session_new(model, 0, &session, NULL), SG_OK);
    assert_int_equal(count.blocks, 3);
    assert_int_equal(sg_session_feed(session, (int32_t[]){1, 2, 3}, 3, &logits, NULL), SG_OK);
    assert_int_equal(count.blocks, 4);
    sg_session_free(session);
    assert_int_equal(count.bytes, weights);
    assert_int_equal(sg_model_narrow(model, SG_WEIGHTS_BF16, NULL), SG_OK);
    assert_true(count.bytes < weights);
    caller *alone = make_callers(other);
    feed(&alone[0]);
    assert_int_equal(alone[0].status, SG_OK);
    assert_int_equal(count.blocks, 3); // narrow weights, the others, angles
    free(alone);
    sg_model_free(model);
    sg_model_free(other);
    assert_int_equal(count.blocks, 0);
    assert_int_equal(count.bytes, 0);
    sg_context_free(counted);
    sg_context_free(plain);
}

// A context whose memory has an end says so; the other has its own.
static void test_short_allocator(void **state)
{
    (void)state;
    counter count = {.left = 0};
    sg_context *counted = counted_context(&count), *plain = make_context(NULL);
    const sg_config c = tiny_config("sgatlin", vocab, longest);
    sg_model *other = make_model(plain), *model;
    caller *alone = make_callers(other), *now = make_callers(NULL);
    feed(&alone[0]);
    for (int left = 0;; left++) {
        sg_error err = {0};
        atomic_store(&count.left, left);
        sg_status status = sg_model_new(counted, &c, 3, &model, &err);
        now[0].model = model;
        if (status == SG_OK) feed(&now[0]);
        if (status == SG_OK) status = now[0].status;
        sg_model_free(model);
        assert_int_equal(count.blocks, 0);
        feed(&alone[1]);
        assert_int_equal(alone[1].status, SG_OK);
        if (status == SG_OK) {
            assert_true(left > 3);
            break;
        }
        assert_int_equal(status, SG_ERR_MEMORY);
    }
    assert_memory_equal(now[0].logits, alone[0].logits, sizeof alone[0].logits);
    free(alone);
    free(now);
    sg_model_free(other);
    sg_context_free(counted);
    sg_context_free(plain);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sessions_on_threads),
        cmocka_unit_test(test_first_sessions_on_threads),
        cmocka_unit_test(test_second_context),
        cmocka_unit_test(test_allocator),
        cmocka_unit_test(test_short_allocator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
