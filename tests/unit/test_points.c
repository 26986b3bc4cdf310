// Points of sessions: their names and shapes, what is read in decoding against a whole pass, values
// that are written, and requests that are wrong. tests/grad/test_point_gradients.c has gradients.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/rng.h"
#include "base/status.h"
#include "context_on.h"
#include "model/model.h"
#include "tiny_models.h"
#include "sgatlin_probe.h"

enum { vocab = 60, positions = 64, tokens_count = 20, width = 16 };
static sg_context *context;
static int32_t tokens[tokens_count];

static int set_up(void **state)
{
    (void)state;
    context = context_on(2);
    for (int i = 0; i < tokens_count; i++)
        tokens[i] = (int32_t)sg_rng_below(7, 1, (uint64_t)i, vocab);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sg_context_free(context);
    return 0;
}

// other: what other checkpoints do otherwise: one stream for both layers, learned positions, norms
// that shift, keys shared by heads and a window.
static sg_model *make_model(sg_context *in, const char *kind, bool other, uint64_t seed)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, vocab, positions);
    if (other) {
        c.parallel_residual = 1;
        c.num_key_value_heads = 1;
        c.sliding_window = 6;
        c.attention_sinks = 1;
        snprintf(c.sliding_layers, sizeof c.sliding_layers, "1");
        snprintf(c.positions, sizeof c.positions, "learned");
        snprintf(c.norm, sizeof c.norm, "layernorm");
    }
    if (sg_model_new(in, &c, seed, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

// One session with points at a time: they share the list.
static sg_session *make_session(sg_model *model, const sg_point_request *items, size_t count)
{
    static sg_points points;
    sg_session_options options = sg_session_options_default();
    if (count > 0) {
        points = (sg_points){items, count};
        options.points = &points;
    }
    sg_session *session;
    sg_error err = {0};
    if (sg_session_open(model, &options, &session, &err) != SG_OK) fail_msg("%s", err.message);
    return session;
}

// ---- the list -----------------------------------------------------------------------------------

static void info_text(const sg_point_info *i, char *text, size_t capacity)
{
    int used = snprintf(text, capacity, "%s %s %u (", i->name, i->kind ? "i32" : "f32", i->can);
    for (int d = 0; d < i->rank; d++)
        used += snprintf(text + used, capacity - (size_t)used, d ? ", %lld" : "%lld",
                         (long long)i->shape[d]);
    snprintf(text + used, capacity - (size_t)used, ")");
}

static void test_list(void **state)
{
    (void)state;
    static const char *const expected[] = {
        "hook_embed f32 7 (0, 16)",
        "blocks.0.hook_resid_pre f32 7 (0, 16)",
        "blocks.0.ln1.hook_scale f32 7 (0)",
        "blocks.0.ln1.hook_normalized f32 7 (0, 16)",
        "blocks.0.attn.hook_q f32 7 (0, 2, 8)",
        "blocks.0.attn.hook_rot_q f32 7 (0, 2, 8)",
        "blocks.0.attn.hook_k f32 7 (0, 2, 8)",
        "blocks.0.attn.hook_rot_k f32 7 (0, 2, 8)",
        "blocks.0.attn.hook_v f32 7 (0, 2, 8)",
        "blocks.0.attn.hook_pattern f32 7 (0, 2, 0)",
        "blocks.0.attn.hook_z f32 7 (0, 2, 8)",
        "blocks.0.hook_attn_out f32 7 (0, 16)",
        "blocks.0.hook_resid_mid f32 7 (0, 16)",
        "blocks.0.ln2.hook_scale f32 7 (0)",
        "blocks.0.ln2.hook_normalized f32 7 (0, 16)",
        "blocks.0.mlp.hook_gate_ids i32 3 (0, 2, 3)",
        "blocks.0.mlp.hook_gate_scores f32 7 (0, 2, 3)",
        "blocks.0.mlp.hook_pre f32 7 (0, 2, 3)",
        "blocks.0.mlp.hook_post f32 7 (0, 2, 3)",
        "blocks.0.hook_mlp_out f32 7 (0, 16)",
        "blocks.0.hook_resid_post f32 7 (0, 16)",
        "blocks.1.hook_resid_pre f32 7 (0, 16)",
    };
    enum { known = sizeof expected / sizeof *expected };
    sg_model *model = make_model(context, "sgatlin", false, 1);
    sg_point_info *list;
    size_t count;
    char text[160];
    assert_int_equal(sg_points_of(model, &list, &count, NULL), SG_OK);
    for (int i = 0; i < known; i++) {
        info_text(&list[i], text, sizeof text);
        assert_string_equal(text, expected[i]);
        assert_int_equal(list[i].layer, i == 0 ? -1 : (i - 1) / (known - 2));
    }
    assert_int_equal(count, 1 + 2 * (known - 2) + 3);
    info_text(&list[count - 3], text, sizeof text);
    assert_string_equal(text, "ln_final.hook_scale f32 7 (0)");
    info_text(&list[count - 1], text, sizeof text);
    assert_string_equal(text, "logits f32 7 (0, 60)");
    sg_buffer_free(list);
    sg_model_free(model);
}

static sg_status list_once(void *user, sg_error *err)
{
    sg_point_info *list;
    size_t count;
    SG_TRY(sg_points_of(user, &list, &count, err));
    sg_buffer_free(list);
    return SG_OK;
}

static void test_list_memory(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "moe", false, 1);
    assert_true(alloc_failure_loop(list_once, model) > 5);
    sg_model_free(model);
}

// ---- reading ------------------------------------------------------------------------------------

enum { store_points = 80, store_row = 256 };

// Rows of all points by position of their token.
typedef struct store {
    char names[store_points][64];
    float values[store_points][tokens_count][store_row];
    bool seen[store_points][tokens_count];
    int count, calls;
} store;

static int store_find(store *s, const char *name)
{
    for (int i = 0; i < s->count; i++)
        if (strcmp(s->names[i], name) == 0) return i;
    assert_true(s->count < store_points);
    snprintf(s->names[s->count], sizeof s->names[0], "%s", name);
    return s->count++;
}

static int64_t row_size(const sg_point_values *p)
{
    return p->rank == 1 ? 1 : p->rank == 2 ? p->shape[1] : p->shape[1] * p->shape[2];
}

static int64_t row_position(const sg_point_values *p, int64_t i)
{
    const int64_t r = p->first_row + i * p->row_step;
    return (p->start ? p->start[r / p->length] : 0) + r % p->length;
}

static sg_status store_call(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    store *s = user;
    const int at = store_find(s, p->name);
    const int64_t n = row_size(p);
    s->calls++;
    assert_int_equal(p->use, SG_POINT_READ);
    for (int64_t i = 0; i < p->shape[0]; i++) {
        const int64_t position = row_position(p, i);
        assert_int_equal(p->tokens[p->first_row + i * p->row_step], tokens[position]);
        float *to = s->values[at][position];
        s->seen[at][position] = true;
        for (int64_t j = 0; j < n; j++)
            if (strstr(p->name, "pattern") == NULL)
                to[j] = p->kind == SG_POINT_I32 ? (float)p->ids[i * n + j] : p->values[i * n + j];
        // Keys are as many as there are: what is behind a row's own is 0.
        for (int64_t h = 0; h < p->shape[1] && strstr(p->name, "pattern") != NULL; h++) {
            const float *from = p->values + i * n + h * p->shape[2];
            for (int64_t j = position + 1; j < p->shape[2]; j++)
                assert_true(from[j] == 0);
            memcpy(to + h * tokens_count, from, (size_t)(position + 1) * sizeof *to);
        }
    }
    return SG_OK;
}

// All points in one pass with all logits, and token by token behind a prompt.
static void check_decoding(const char *kind, bool other)
{
    static store whole, steps;
    memset(&whole, 0, sizeof whole);
    memset(&steps, 0, sizeof steps);
    sg_model *model = make_model(context, kind, other, 3);
    const sg_point_request of_whole = {"*", SG_POINT_READ, store_call, &whole};
    const sg_point_request of_steps = {"*", SG_POINT_READ, store_call, &steps};
    double nll[tokens_count];
    bool likeliest[tokens_count];
    const float *logits;
    sg_session *a = make_session(model, &of_whole, 1);
    assert_int_equal(sg_session_score(a, tokens, tokens, tokens_count, nll, likeliest, NULL),
                     SG_OK);
    sg_session_free(a);
    sg_session *b = make_session(model, &of_steps, 1), *c = make_session(model, NULL, 0);
    for (int i = 0, n = 7; i < tokens_count; i += n, n = 1) {
        const float *plain;
        assert_int_equal(sg_session_feed(b, tokens + i, n, &logits, NULL), SG_OK);
        assert_int_equal(sg_session_feed(c, tokens + i, n, &plain, NULL), SG_OK);
        assert_memory_equal(logits, plain, vocab * sizeof *logits); // to the bit
    }
    sg_session_free(b);
    sg_session_free(c);
    assert_int_equal(whole.count, steps.count);
    int patterns = 0;
    for (int p = 0; p < whole.count; p++) {
        assert_string_equal(whole.names[p], steps.names[p]);
        const bool last =
            strncmp(whole.names[p], "ln_final", 8) == 0 || strcmp(whole.names[p], "logits") == 0;
        for (int t = 0; t < tokens_count; t++) {
            assert_true(whole.seen[p][t]);
            assert_int_equal(steps.seen[p][t], !last || t >= 6);
            for (int j = 0; steps.seen[p][t] && j < store_row; j++) {
                const float x = whole.values[p][t][j], y = steps.values[p][t][j];
                if (!(fabsf(x - y) <= 2e-5F * (1 + fabsf(x))))
                    fail_msg("%s, %s: %d, %d is %g and %g", kind, whole.names[p], t, j, (double)x,
                             (double)y);
            }
        }
        if (strstr(whole.names[p], "pattern") == NULL) continue;
        patterns++;
        for (int t = 0; t < tokens_count; t++) {
            double sum = 0;
            for (int j = 0; j < tokens_count; j++)
                sum += (double)whole.values[p][t][j];
            // A sink takes a share; in a window only so many keys have some.
            assert_true(other ? sum > 0 && sum < 1 : fabs(sum - 1) < 1e-6);
            for (int j = 0; other && whole.names[p][7] == '0' && j <= t - 6; j++)
                assert_true(whole.values[p][t][j] == 0);
        }
    }
    assert_int_equal(patterns, 2);
    sg_model_free(model);
}

static void test_decoding(void **state)
{
    (void)state;
    const char *kind;
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++)
        check_decoding(kind, i % 4 == 1);
}

// What the values are, held against each other.
static void test_identities(void **state)
{
    (void)state;
    static store s;
    memset(&s, 0, sizeof s);
    sg_model *model = make_model(context, "sgatlin", false, 3);
    const sg_point_request request = {"*", SG_POINT_READ, store_call, &s};
    sg_session *session = make_session(model, &request, 1);
    const float *logits;
    assert_int_equal(sg_session_feed(session, tokens, tokens_count, &logits, NULL), SG_OK);
#define AT(name) s.values[store_find(&s, name)]
    const float *norm = model->values[1];
    assert_non_null(strstr(model->params.specs[1].name, "input_layernorm"));
    for (int t = 0; t < tokens_count; t++) {
        for (int j = 0; j < width; j++) {
            const float pre = AT("blocks.1.hook_resid_pre")[t][j];
            const float mid = AT("blocks.1.hook_resid_mid")[t][j];
            assert_true(pre == AT("blocks.0.hook_resid_post")[t][j]);
            assert_true(mid == pre + AT("blocks.1.hook_attn_out")[t][j]);
            assert_true(AT("blocks.1.hook_resid_post")[t][j] ==
                        mid + AT("blocks.1.hook_mlp_out")[t][j]);
            const float x = AT("blocks.0.hook_resid_pre")[t][j];
            const float y = AT("blocks.0.ln1.hook_normalized")[t][j];
            assert_true(fabsf(x / AT("blocks.0.ln1.hook_scale")[t][0] * norm[j] - y) < 1e-5F);
        }
        // z is the sum of values with the weights of the pattern.
        for (int h = 0; h < 2; h++)
            for (int j = 0; j < 8; j++) {
                double z = 0;
                for (int key = 0; key <= t; key++)
                    z += (double)AT("blocks.0.attn.hook_pattern")[t][h * tokens_count + key] *
                         (double)AT("blocks.0.attn.hook_v")[key][h * 8 + j];
                assert_true(fabs(z - (double)AT("blocks.0.attn.hook_z")[t][h * 8 + j]) < 1e-6);
            }
    }
    assert_memory_equal(AT("logits")[tokens_count - 1], logits, vocab * sizeof *logits);
#undef AT
    sg_session_free(session);
    sg_model_free(model);
}

static void test_threads(void **state)
{
    (void)state;
    static store one, three;
    store *stores[] = {&one, &three};
    for (int i = 0; i < 2; i++) {
        memset(stores[i], 0, sizeof one);
        sg_context *in = context_on(1 + 2 * i);
        sg_model *model = make_model(in, "peer", false, 3);
        const sg_point_request request = {"*", SG_POINT_READ, store_call, stores[i]};
        sg_session *session = make_session(model, &request, 1);
        const float *logits;
        assert_int_equal(sg_session_feed(session, tokens, tokens_count, &logits, NULL), SG_OK);
        sg_session_free(session);
        sg_model_free(model);
        sg_context_free(in);
    }
    assert_memory_equal(&one, &three, sizeof one);
}

// ---- writing ------------------------------------------------------------------------------------

static float *model_values(sg_model *model, const char *name, int64_t *count)
{
    for (size_t i = 0; i < model->params.count; i++) {
        if (strcmp(model->params.specs[i].name, name) != 0) continue;
        *count = model->params.specs[i].count;
        return model->values[i];
    }
    fail_msg("there is no %s", name);
    return NULL;
}

static void feed_all(sg_session *session, float logits[vocab])
{
    const float *found;
    sg_error err = {0};
    if (sg_session_feed(session, tokens, tokens_count, &found, &err) != SG_OK)
        fail_msg("%s", err.message);
    memcpy(logits, found, vocab * sizeof *logits);
}

// Values of one point, kept in one session and put into another.
typedef struct patch {
    float values[tokens_count * 64];
    int32_t ids[tokens_count * 64];
} patch;

static sg_status patch_keep(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    patch *kept = user;
    const size_t n = (size_t)(p->shape[0] * row_size(p));
    if (p->kind == SG_POINT_I32)
        memcpy(kept->ids, p->ids, n * sizeof *kept->ids);
    else
        memcpy(kept->values, p->values, n * sizeof *kept->values);
    return SG_OK;
}

static sg_status patch_put(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    const patch *kept = user;
    const size_t n = (size_t)(p->shape[0] * row_size(p));
    assert_int_equal(p->use, SG_POINT_WRITE);
    if (p->kind == SG_POINT_I32)
        memcpy(p->ids, kept->ids, n * sizeof *kept->ids);
    else
        memcpy(p->values, kept->values, n * sizeof *kept->values);
    return SG_OK;
}

// The stream of another model, which has the same last norm and embedding, gives its logits.
static void test_patch_stream(void **state)
{
    (void)state;
    static patch kept;
    sg_model *a = make_model(context, "sgatlin", false, 3);
    sg_model *b = make_model(context, "sgatlin", false, 4);
    int64_t count;
    const float *embedding = model_values(a, "model.embed_tokens.weight", &count);
    memcpy(model_values(b, "model.embed_tokens.weight", &count), embedding,
           (size_t)count * sizeof *embedding);
    const char *name = "blocks.1.hook_resid_post";
    const sg_point_request keep = {name, SG_POINT_READ, patch_keep, &kept};
    const sg_point_request put = {name, SG_POINT_WRITE, patch_put, &kept};
    float of_a[vocab], of_b[vocab], patched[vocab];
    sg_session *plain = make_session(a, NULL, 0), *from = make_session(b, &keep, 1);
    feed_all(plain, of_a);
    feed_all(from, of_b);
    sg_session_free(from);
    sg_session *into = make_session(a, &put, 1);
    feed_all(into, patched);
    assert_memory_equal(patched, of_b, sizeof patched);
    assert_memory_not_equal(patched, of_a, sizeof patched);
    sg_session_free(into);
    sg_session_free(plain);
    sg_model_free(b);
    sg_model_free(a);
}

static sg_status put_zero(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)err;
    memset(p->values, 0, (size_t)(p->shape[0] * row_size(p)) * sizeof *p->values);
    return SG_OK;
}

// A layer whose output is zero is one that has no w_out.
static void test_zero_layer(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin", false, 3);
    const sg_point_request zero = {"blocks.0.hook_mlp_out", SG_POINT_WRITE, put_zero, NULL};
    float without[vocab], zeroed[vocab], full[vocab];
    sg_session *session = make_session(model, &zero, 1), *plain = make_session(model, NULL, 0);
    feed_all(plain, full);
    feed_all(session, zeroed);
    sg_session_free(session);
    int64_t count;
    float *w_out = model_values(model, "model.layers.0.mlp.experts.w_out.weight", &count);
    memset(w_out, 0, (size_t)count * sizeof *w_out);
    assert_int_equal(sg_session_rewind(plain, 0, NULL), SG_OK);
    feed_all(plain, without);
    assert_memory_equal(zeroed, without, sizeof zeroed);
    assert_memory_not_equal(zeroed, full, sizeof zeroed);
    sg_session_free(plain);
    sg_model_free(model);
}

static sg_status see_zero(void *user, const sg_point_values *p, sg_error *err)
{
    (void)err;
    int *calls = user;
    for (int64_t i = 0; i < p->shape[0] * row_size(p); i++)
        assert_true(p->values[i] == 0);
    ++*calls;
    return SG_OK;
}

// Nothing but what hook_post has goes out, in every family whose tokens take nothing beside.
static void test_zero_neurons(void **state)
{
    (void)state;
    const char *kind;
    int calls = 0;
    const sg_point_request requests[] = {{"*.mlp.hook_post", SG_POINT_WRITE, put_zero, NULL},
                                         {"*.hook_mlp_out", SG_POINT_READ, see_zero, &calls}};
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        if (strstr(kind, "shared_experts") != NULL || strncmp(kind, "omnimoe", 7) == 0) continue;
        sg_model *model = make_model(context, kind, false, 3);
        sg_session *session = make_session(model, requests, 2);
        float logits[vocab];
        feed_all(session, logits);
        sg_session_free(session);
        sg_model_free(model);
    }
    assert_true(calls > 40);
}

static sg_status write_first(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)err;
    memset(p->ids, 0, (size_t)(p->shape[0] * row_size(p)) * sizeof *p->ids);
    return SG_OK;
}

// A block that is selected k times by all rows, which no router does.
static void test_same_ids(void **state)
{
    (void)state;
    const char *kind;
    const sg_point_request request = {"*.hook_gate_ids", SG_POINT_WRITE, write_first, NULL};
    for (int i = 0; (kind = tiny_kind(i)) != NULL; i++) {
        if (strncmp(kind, "mlp", 3) == 0 || strcmp(kind, "glu") == 0) continue;
        sg_model *model = make_model(context, kind, false, 3);
        sg_session *session = make_session(model, &request, 1);
        float logits[vocab];
        feed_all(session, logits);
        for (int v = 0; v < vocab; v++)
            assert_true(isfinite(logits[v]));
        sg_session_free(session);
        sg_model_free(model);
    }
}

// Weights in fewer bytes are read by the steps as they are at once.
static void test_narrow(void **state)
{
    (void)state;
    static const char *const kinds[] = {"sgatlin", "moe", "avgk", "vanillam", "glu"};
    static store s;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        sg_error err = {0};
        memset(&s, 0, sizeof s);
        sg_model *model = make_model(context, kinds[i], false, 3);
        if (sg_model_narrow(model, SG_WEIGHTS_INT8, &err) != SG_OK) fail_msg("%s", err.message);
        const sg_point_request request = {"*", SG_POINT_READ, store_call, &s};
        float plain[vocab], seen[vocab];
        sg_session *a = make_session(model, NULL, 0), *b = make_session(model, &request, 1);
        feed_all(a, plain);
        feed_all(b, seen);
        assert_memory_equal(plain, seen, sizeof plain);
        assert_true(s.count > 40);
        sg_session_free(a);
        sg_session_free(b);
        sg_model_free(model);
    }
}

static sg_status reverse(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)err;
    const int64_t k = p->shape[2];
    for (int64_t run = 0; run < p->shape[0] * p->shape[1]; run++)
        for (int64_t i = 0; i < k / 2; i++) {
            const int64_t a = run * k + i, b = run * k + k - 1 - i;
            if (p->kind == SG_POINT_I32) {
                int32_t t = p->ids[a];
                p->ids[a] = p->ids[b];
                p->ids[b] = t;
            } else {
                float t = p->values[a];
                p->values[a] = p->values[b];
                p->values[b] = t;
            }
        }
    return SG_OK;
}

// The order of a selection does not matter; which neurons and which scores does. Several requests
// for one point are called in their order.
static void test_write_selection(void **state)
{
    (void)state;
    static patch ids;
    sg_model *model = make_model(context, "sgatlin", false, 3);
    const char *point_ids = "blocks.0.mlp.hook_gate_ids";
    const char *point_scores = "blocks.0.mlp.hook_gate_scores";
    const sg_point_request both[] = {{point_ids, SG_POINT_WRITE, reverse, NULL},
                                     {point_scores, SG_POINT_WRITE, reverse, NULL}};
    const sg_point_request twice[] = {{point_ids, SG_POINT_READ, patch_keep, &ids},
                                      {point_ids, SG_POINT_WRITE, reverse, NULL},
                                      {point_ids, SG_POINT_WRITE, patch_put, &ids}};
    float plain[vocab], turned[vocab], one[vocab], back[vocab];
    struct {
        const sg_point_request *items;
        size_t count;
        float *logits;
    } const runs[] = {{NULL, 0, plain}, {both, 2, turned}, {both, 1, one}, {twice, 3, back}};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) {
        sg_session *session = make_session(model, runs[i].items, runs[i].count);
        feed_all(session, runs[i].logits);
        sg_session_free(session);
    }
    assert_memory_equal(plain, back, sizeof plain);
    double largest = 0;
    for (int v = 0; v < vocab; v++) {
        assert_true(fabsf(plain[v] - turned[v]) < 1e-5F);
        largest = fmax(largest, fabs((double)plain[v] - (double)one[v]));
    }
    assert_true(largest > 1e-5);
    sg_model_free(model);
}

// ---- what is wrong ------------------------------------------------------------------------------

static sg_status do_nothing(void *user, const sg_point_values *p, sg_error *err)
{
    (void)user;
    (void)p;
    (void)err;
    return SG_OK;
}

static void expect_refused(sg_model *model, const sg_point_request *request, sg_status expected,
                           const char *message)
{
    const sg_points points = {request, 1};
    sg_session_options options = sg_session_options_default();
    options.points = &points;
    sg_session *session;
    sg_error err = {0};
    assert_int_equal(sg_session_open(model, &options, &session, &err), expected);
    assert_null(session);
    assert_string_equal(err.message, message);
}

static void test_wrong_requests(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin", false, 3);
    sg_model *parallel = make_model(context, "mlp", true, 3); // one stream
    expect_refused(model, &(sg_point_request){"blocks.0.hook_resid_pst", 1, do_nothing, NULL},
                   SG_ERR_NOT_FOUND,
                   "point \"blocks.0.hook_resid_pst\": found no such point in this model; the "
                   "nearest is \"blocks.0.hook_resid_post\"");
    expect_refused(model, &(sg_point_request){"hook_ebmed", 1, do_nothing, NULL}, SG_ERR_NOT_FOUND,
                   "point \"hook_ebmed\": found no such point in this model; the nearest "
                   "is \"hook_embed\"");
    expect_refused(parallel, &(sg_point_request){"blocks.*.hook_resid_mid", 1, do_nothing, NULL},
                   SG_ERR_NOT_FOUND,
                   "point \"blocks.*.hook_resid_mid\": found a model whose attention and "
                   "feed-forward layer read one stream, expected hook_resid_pre or "
                   "hook_resid_post");
    expect_refused(parallel, &(sg_point_request){"*.hook_gate_ids", 1, do_nothing, NULL},
                   SG_ERR_NOT_FOUND,
                   "point \"*.hook_gate_ids\": found no such point in this model; the nearest is "
                   "\"hook_embed\"");
    expect_refused(model, &(sg_point_request){"*.hook_gate_ids", 5, do_nothing, NULL},
                   SG_ERR_UNSUPPORTED,
                   "blocks.0.mlp.hook_gate_ids: found a request to read gradient, expected read "
                   "write");
    expect_refused(model, &(sg_point_request){"logits", 0, do_nothing, NULL}, SG_ERR_ARGUMENT,
                   "point \"logits\": found use 0, expected SG_POINT_READ, SG_POINT_WRITE and "
                   "SG_POINT_GRADIENT, joined");
    expect_refused(model, &(sg_point_request){"logits", 1, NULL, NULL}, SG_ERR_ARGUMENT,
                   "point 0 of the list: found no callback");
    expect_refused(model, &(sg_point_request){NULL, 1, do_nothing, NULL}, SG_ERR_ARGUMENT,
                   "point 0 of the list: found no name");
    sg_model_free(parallel);
    sg_model_free(model);
}

// Ends the pass, or writes an id, at one of its calls.
typedef struct saboteur {
    int calls, at;
    int32_t id;
    sg_status status;
    const char *message;
} saboteur;

static sg_status sabotage(void *user, const sg_point_values *p, sg_error *err)
{
    saboteur *s = user;
    if (s->calls++ != s->at) return SG_OK;
    if (s->status == SG_OK) p->ids[5 % (p->shape[0] * row_size(p))] = s->id;
    if (s->message != NULL) return sg_fail(err, s->status, "%s", s->message);
    return s->status;
}

// The call fails, the session is as it was, and goes on as if nothing had been.
static void check_sabotage(const char *name, saboteur s, int count, const char *message)
{
    sg_model *model = make_model(context, "sgatlin", false, 3);
    sg_model *same = make_model(context, "sgatlin", false, 3);
    const unsigned use = s.status == SG_OK ? SG_POINT_WRITE : SG_POINT_READ;
    const sg_point_request request = {name, use, sabotage, &s};
    sg_session *plain = make_session(same, NULL, 0), *session = make_session(model, &request, 1);
    const float *logits, *expected;
    sg_error err = {0};
    const sg_status status = s.status == SG_OK ? SG_ERR_ARGUMENT : s.status;
    assert_int_equal(sg_session_feed(session, tokens, count, &logits, &err), status);
    assert_string_equal(err.message, message);
    assert_int_equal(err.code, status);
    assert_int_equal(sg_session_length(session), 0);
    assert_int_equal(sg_session_feed(session, tokens, count, &logits, &err), SG_OK);
    assert_int_equal(sg_session_feed(plain, tokens, count, &expected, &err), SG_OK);
    assert_memory_equal(logits, expected, vocab * sizeof *logits);
    sg_session_free(session);
    sg_session_free(plain);
    sg_model_free(same);
    sg_model_free(model);
}

static void test_ended_passes(void **state)
{
    (void)state;
    check_sabotage("blocks.1.hook_resid_mid", (saboteur){.status = SG_ERR_STOPPED}, 3,
                   "blocks.1.hook_resid_mid: stopped");
    check_sabotage("blocks.*.attn.hook_pattern",
                   (saboteur){.status = SG_ERR_NUMERIC, .message = "too sharp", .at = 1}, 9,
                   "blocks.1.attn.hook_pattern: too sharp");
    check_sabotage("logits", (saboteur){.status = SG_ERR_IO, .message = "no room"}, 1,
                   "logits: no room");
    check_sabotage("blocks.0.mlp.hook_gate_ids", (saboteur){.id = 25}, 1,
                   "blocks.0.mlp.hook_gate_ids: row 0: found id 25 written at (1, 2), expected 0 "
                   "to 24");
    check_sabotage("blocks.*.mlp.hook_gate_ids", (saboteur){.id = -1, .at = 1}, 4,
                   "blocks.1.mlp.hook_gate_ids: row 0: found id -1 written at (1, 2), expected 0 "
                   "to 24");
}

static sg_status open_once(void *user, sg_error *err)
{
    static const sg_point_request requests[] = {{"*", SG_POINT_READ, do_nothing, NULL},
                                                {"*resid*", SG_POINT_WRITE, do_nothing, NULL},
                                                {"*scale", SG_POINT_WRITE, do_nothing, NULL},
                                                {"*pattern", SG_POINT_WRITE, do_nothing, NULL}};
    static const sg_points points = {requests, 4};
    sg_session_options options = sg_session_options_default();
    options.points = &points;
    sg_session *session;
    const float *logits;
    SG_TRY(sg_session_open(user, &options, &session, err));
    sg_status status = sg_session_feed(session, tokens, 3, &logits, err);
    sg_session_free(session);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    sg_model *model = make_model(context, "sgatlin", false, 3);
    assert_true(alloc_failure_loop(open_once, model) > 10);
    sg_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),           cmocka_unit_test(test_list_memory),
        cmocka_unit_test(test_decoding),       cmocka_unit_test(test_identities),
        cmocka_unit_test(test_threads),        cmocka_unit_test(test_patch_stream),
        cmocka_unit_test(test_zero_layer),     cmocka_unit_test(test_write_selection),
        cmocka_unit_test(test_wrong_requests), cmocka_unit_test(test_ended_passes),
        cmocka_unit_test(test_memory),         cmocka_unit_test(test_zero_neurons),
        cmocka_unit_test(test_narrow),         cmocka_unit_test(test_same_ids),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
