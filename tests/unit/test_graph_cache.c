// Graphs kept by shape: recorded once, bounded, gone with the last session, and what comes out of a
// pass is the same bits whatever ran in its memory before.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "model/model.h"
#include "tiny_models.h"

enum { vocab = 60, longest = 300, prompts = 12 };

static sg_context *context;

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static int set_up(void **state)
{
    (void)state;
    return sg_context_new(&(sg_context_options){.threads = 2}, &context, NULL) == SG_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

static sg_model *make_model(const char *kind)
{
    const sg_config c = tiny_config(kind, vocab, longest);
    sg_model *m;
    sg_error err = {0};
    must(sg_model_new(context, &c, 3, &m, &err), &err);
    return m;
}

static void make_tokens(int32_t *tokens, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        tokens[i] = (int32_t)(sg_rng_uniform(4, sg_rng_stream("test"), (uint64_t)i) * vocab);
}

static int kept(const sg_model *m)
{
    int count = 0;
    for (const sg_kept_graph *k = m->graphs.graphs; k != NULL; k = k->next)
        count++;
    return count;
}

static sg_kept_graph *take(sg_model *m, int64_t batch, int64_t length)
{
    sg_kept_graph *k;
    sg_error err = {0};
    must(sg_graph_cache_take(&m->graphs, batch, length, SG_OUTPUT_LAST, &k, &err), &err);
    return k;
}

static void test_shapes(void **state)
{
    (void)state;
    sg_model *m = make_model("sgatlin");
    sg_kept_graph *a = take(m, 1, 5), *b = take(m, 1, 5), *c = take(m, 5, 1), *logits;
    assert_ptr_not_equal(a, b); // both are running
    assert_ptr_not_equal(a->block, b->block);
    assert_int_equal(c->batch, 5);
    sg_graph_cache_give(&m->graphs, a);
    assert_ptr_equal(take(m, 1, 5), a);
    must(sg_graph_cache_take(&m->graphs, 1, 5, SG_OUTPUT_LOGITS, &logits, NULL), NULL);
    assert_int_equal(kept(m), 4);
    sg_graph_cache_give(&m->graphs, a);
    sg_graph_cache_give(&m->graphs, b);
    sg_graph_cache_give(&m->graphs, c);
    sg_graph_cache_give(&m->graphs, logits);
    sg_model_free(m);
}

// The graphs that ran last are kept, and one that is held.
static void test_bound(void **state)
{
    (void)state;
    sg_model *m = make_model("sgatlin");
    sg_kept_graph *held;
    sg_error err = {0};
    must(sg_graph_cache_hold(&m->graphs, 1, 1, SG_OUTPUT_LAST, &held, &err), &err);
    for (int64_t n = 1; n <= 2 * SG_GRAPHS_KEPT; n++)
        sg_graph_cache_give(&m->graphs, take(m, 1, n));
    assert_int_equal(kept(m), SG_GRAPHS_KEPT + 1);
    for (const sg_kept_graph *k = m->graphs.graphs; k != NULL; k = k->next)
        assert_true(k == held || k->length > SG_GRAPHS_KEPT);
    sg_graph_cache_drop(&m->graphs, held);
    assert_int_equal(kept(m), SG_GRAPHS_KEPT);
    sg_graph_cache_clear(&m->graphs);
    assert_int_equal(kept(m), 0);
    assert_null(m->graphs.blocks);
    sg_model_free(m);
}

static void feed(sg_session *s, const int32_t *tokens, int64_t count, float *out)
{
    const float *logits;
    sg_error err = {0};
    must(sg_session_rewind(s, 0, &err), &err);
    must(sg_session_feed(s, tokens, count, &logits, &err), &err);
    memcpy(out, logits, vocab * sizeof *out);
}

// Prompts of many lengths through one session, and each through a model of its own.
static void test_bits(void **state)
{
    (void)state;
    static const int64_t lengths[prompts] = {7, 300, 1, 40, 7, 41, 256, 2, 299, 40, 1, 7};
    int32_t tokens[longest];
    float together[vocab], alone[vocab];
    make_tokens(tokens, longest);
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_model *m = make_model(tiny_kind(k));
        sg_session *s, *fresh;
        sg_error err = {0};
        must(sg_session_new(m, 0, &s, &err), &err);
        for (int i = 0; i < prompts; i++) {
            feed(s, tokens, lengths[i], together);
            if (k > 0 && i % 4 != 0) continue; // all of them with one family
            sg_model *own = make_model(tiny_kind(k));
            must(sg_session_new(own, 0, &fresh, &err), &err);
            feed(fresh, tokens, lengths[i], alone);
            assert_memory_equal(together, alone, sizeof alone);
            sg_session_free(fresh);
            sg_model_free(own);
        }
        sg_session_free(s);
        assert_int_equal(kept(m), 0); // with the last session
        sg_model_free(m);
    }
}

// What has run once runs again without an allocation: sessions, scores, batches.
static void test_no_allocation(void **state)
{
    (void)state;
    int32_t tokens[longest], targets[longest] = {0};
    double nll[longest];
    bool likeliest[longest];
    float logits[vocab];
    const float *found;
    sg_model *m = make_model("sgatlin");
    sg_session *s[3];
    sg_batch *b;
    sg_error err = {0};
    make_tokens(tokens, longest);
    for (int i = 0; i < 3; i++)
        must(sg_session_new(m, 0, &s[i], &err), &err);
    must(sg_batch_new(m, 3, &b, &err), &err);
    int64_t before = 0;
    for (int round = 0; round < 2; round++) {
        before = sg_alloc_count();
        feed(s[0], tokens, longest, logits);
        feed(s[1], tokens, 17, logits);
        must(sg_session_rewind(s[2], 0, &err), &err);
        must(sg_session_score(s[2], tokens, targets, 20, nll, likeliest, &err), &err);
        for (int i = 0; i < 3; i++)
            must(sg_session_rewind(s[i], 10, &err), &err);
        for (int64_t n = 3; n > 0; n--)
            must(sg_batch_feed(b, s, tokens, n, &found, &err), &err);
    }
    assert_int_equal(sg_alloc_count(), before);
    sg_batch_free(b);
    for (int i = 0; i < 3; i++)
        sg_session_free(s[i]);
    sg_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_no_allocation),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
