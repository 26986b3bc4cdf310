// Decoding equals the full forward pass however the tokens are fed; generated and evaluated text.
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
#include "model/graph.h"
#include "model/model.h"
#include "tiny_models.h"

enum { vocab = 60, positions = 600 };
static sg_context *context;
static sg_tokenizer *tokenizer;
static sg_status source(void *user, const char **text, size_t *bytes, sg_error *err)
{
    (void)err;
    int *calls = user;
    static const char story[] = "the cat sat on the mat and the dog sat on the log; "
                                "na\303\257ve caf\303\251 \360\237\230\200 \342\202\254";
    *text = (*calls)++ == 0 ? story : NULL;
    *bytes = sizeof story - 1;
    return SG_OK;
}

// What an encoder takes at its first use it keeps with the tokenizer.
static sg_status warm_up(void)
{
    int32_t *ids;
    size_t count;
    sg_status status = sg_tokenizer_encode(tokenizer, "the cat\n", 8, NULL, &ids, &count, NULL);
    sg_buffer_free(ids);
    return status;
}

static int set_up(void **state)
{
    (void)state;
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    if (sg_context_new(&options, &context, NULL) != SG_OK) return -1;
    sg_tokenizer_train_options train = sg_tokenizer_train_options_default();
    train.vocab_size = vocab;
    train.full_alphabet = false; // bytes can be lost
    int calls = 0;
    if (sg_tokenizer_train(&train, source, &calls, &tokenizer, NULL) != SG_OK) return -1;
    if (warm_up() != SG_OK) return -1;
    return sg_tokenizer_vocab_size(tokenizer) == vocab ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    sg_tokenizer_free(tokenizer);
    sg_context_free(context);
    return 0;
}

static sg_model *make_model_of(const char *kind, int64_t size, int64_t longest)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, size, longest);
    if (sg_model_new(context, &c, 3, &model, &err) != SG_OK) fail_msg("%s", err.message);
    return model;
}

static sg_model *make_model(const char *kind, int64_t longest)
{
    return make_model_of(kind, vocab, longest);
}

static void make_tokens(int32_t *tokens, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        tokens[i] = (int32_t)(sg_rng_uniform(8, sg_rng_stream("test"), (uint64_t)i) * vocab);
}

// ---- decoding ---------------------------------------------------------------------------------

// Logits of all positions in one pass, (count, vocab).
static float *full_forward(sg_model *m, int32_t *tokens, int64_t count)
{
    sg_error err = {0};
    sg_graph_options options = {
        .batch = 1, .length = count, .output = SG_OUTPUT_LOGITS, .threads = 2};
    sg_graph *graph;
    if (sg_graph_new(&m->config, &m->params, m->values, NULL, &m->rope, &options, &graph, &err) !=
        SG_OK)
        fail_msg("%s", err.message);
    graph->ids->data = tokens;
    sg_run run = {.compute = context->compute};
    sg_tape_forward(graph->tape, &run);
    float *logits = sg_alloc_array((size_t)(count * vocab), sizeof *logits);
    memcpy(logits, sg_values(graph->logits), (size_t)(count * vocab) * sizeof *logits);
    sg_graph_free(graph);
    return logits;
}

static void expect_logits(const float *found, const float *expected, const char *what, int64_t at)
{
    for (int64_t v = 0; v < vocab; v++)
        if (!(fabs((double)found[v] - (double)expected[v]) <= 1e-4))
            fail_msg("%s, position %lld, token %lld: found %g, expected %g", what, (long long)at,
                     (long long)v, (double)found[v], (double)expected[v]);
}

// Feeds the tokens in pieces of `piece` and compares the logits behind each.
static void expect_decoding(sg_model *m, const int32_t *tokens, int64_t count, int64_t piece,
                            const float *full, const char *what)
{
    sg_error err = {0};
    sg_session *s;
    const float *logits;
    if (sg_session_new(m, 0, &s, &err) != SG_OK) fail_msg("%s", err.message);
    for (int64_t i = 0; i < count; i += piece) {
        int64_t n = sg_min(piece, count - i);
        if (sg_session_feed(s, tokens + i, n, &logits, &err) != SG_OK) fail_msg("%s", err.message);
        assert_int_equal(sg_session_length(s), i + n);
        expect_logits(logits, full + (i + n - 1) * vocab, what, i + n - 1);
    }
    sg_session_free(s);
}

static void test_decoding(void **state)
{
    (void)state;
    enum { count = 41 };
    int32_t tokens[count];
    make_tokens(tokens, count);
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_model *m = make_model(tiny_kind(k), count);
        float *full = full_forward(m, tokens, count);
        const int64_t pieces[] = {1, 2, 7, 40, count};
        for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
            expect_decoding(m, tokens, count, pieces[p], full, tiny_kind(k));
        sg_free(full);
        sg_model_free(m);
    }
}

// Longer than one internal piece, up to the model's end.
static void test_long_prompts(void **state)
{
    (void)state;
    static int32_t tokens[positions];
    make_tokens(tokens, positions);
    sg_model *m = make_model("sgatlin", positions);
    float *full = full_forward(m, tokens, positions);
    const int64_t pieces[] = {255, 256, 257, 512, 513, positions};
    for (size_t p = 0; p < sizeof pieces / sizeof *pieces; p++)
        expect_decoding(m, tokens, positions, pieces[p], full, "long");
    sg_free(full);
    sg_model_free(m);
}

// ---- batches ----------------------------------------------------------------------------------

// Sessions of different lengths, some of which end before the others, fed together: each token's
// logits are those of its own full forward pass.
static void test_batch(void **state)
{
    (void)state;
    enum { count = 23, most = 5 };
    const int64_t ends[most] = {23, 9, 23, 14, 10}, begins[most] = {0, 3, 7, 1, 9};
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_model *m = make_model(tiny_kind(k), count);
        sg_session *sessions[most];
        sg_batch *batch;
        int32_t tokens[most][count];
        float *full[most];
        const float *logits;
        assert_int_equal(sg_batch_new(m, most, &batch, NULL), SG_OK);
        for (int i = 0; i < most; i++) {
            for (int t = 0; t < count; t++)
                tokens[i][t] = (int32_t)((7 * i + 3 * t * (i + 1)) % vocab);
            full[i] = full_forward(m, tokens[i], count);
            assert_int_equal(sg_session_new(m, ends[i], &sessions[i], NULL), SG_OK);
            if (begins[i] > 0)
                assert_int_equal(sg_session_feed(sessions[i], tokens[i], begins[i], &logits, NULL),
                                 SG_OK);
        }
        for (bool going = true; going;) {
            sg_session *now[most];
            int32_t next[most];
            int who[most], n = 0;
            for (int i = 0; i < most; i++) {
                int64_t at = sg_session_length(sessions[i]);
                if (at == ends[i]) continue;
                now[n] = sessions[i];
                next[n] = tokens[i][at];
                who[n++] = i;
            }
            going = n > 0;
            if (going) assert_int_equal(sg_batch_feed(batch, now, next, n, &logits, NULL), SG_OK);
            for (int j = 0; j < n; j++) {
                int64_t at = sg_session_length(now[j]) - 1;
                expect_logits(logits + j * vocab, full[who[j]] + at * vocab, tiny_kind(k), at);
            }
        }
        for (int i = 0; i < most; i++) {
            assert_int_equal(sg_session_length(sessions[i]), ends[i]);
            sg_session_free(sessions[i]);
            sg_free(full[i]);
        }
        sg_batch_free(batch);
        sg_model_free(m);
    }
}

static void test_batch_refused(void **state)
{
    (void)state;
    sg_error err;
    sg_batch *batch;
    sg_session *s[3];
    const float *logits;
    int32_t tokens[3] = {1, 2, vocab};
    sg_model *m = make_model("sgatlin", 20), *other = make_model("sgatlin", 20);
    assert_int_equal(sg_batch_new(m, 0, &batch, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "batch: found 0, expected 1 to 4096 sessions");
    assert_int_equal(sg_batch_new(m, SG_BATCH_MAX + 1, &batch, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_batch_new(m, 3, &batch, &err), SG_OK);
    assert_int_equal(sg_session_new(m, 2, &s[0], NULL), SG_OK);
    assert_int_equal(sg_session_new(m, 20, &s[1], NULL), SG_OK);
    assert_int_equal(sg_session_new(other, 20, &s[2], NULL), SG_OK);
    assert_int_equal(sg_batch_feed(batch, s, tokens, 0, &logits, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_batch_feed(batch, s, tokens, 4, &logits, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_batch_feed(batch, s, tokens, 3, &logits, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "session 2: found one of another model");
    sg_session *twice[2] = {s[1], s[1]};
    assert_int_equal(sg_batch_feed(batch, twice, tokens, 2, &logits, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "session 1: found session 0 again");
    assert_int_equal(sg_batch_feed(batch, s, tokens + 1, 2, &logits, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "token 0: found 60, expected 0 to 59");
    assert_int_equal(sg_session_length(s[0]) + sg_session_length(s[1]), 0);
    for (int i = 0; i < 2; i++)
        assert_int_equal(sg_batch_feed(batch, s, tokens, 2, &logits, &err), SG_OK);
    assert_int_equal(sg_batch_feed(batch, s, tokens, 2, &logits, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_session_length(s[1]), 2);
    for (int i = 0; i < 3; i++)
        sg_session_free(s[i]);
    sg_batch_free(batch);
    sg_batch_free(NULL);
    sg_model_free(m);
    sg_model_free(other);
}

static sg_status batch_alloc(void *user, sg_error *err)
{
    sg_batch *batch = NULL;
    sg_session *s = NULL;
    const float *logits;
    const int32_t token = 3;
    sg_status status = sg_session_new(user, 4, &s, err);
    if (status == SG_OK) status = sg_batch_new(user, 2, &batch, err);
    if (status == SG_OK) status = sg_batch_feed(batch, &s, &token, 1, &logits, err);
    if (s != NULL) assert_int_equal(sg_session_length(s), status == SG_OK);
    sg_batch_free(batch);
    sg_session_free(s);
    return status;
}

static void test_batch_alloc(void **state)
{
    (void)state;
    sg_model *m = make_model("sgatlin", 20);
    assert_true(alloc_failure_loop(batch_alloc, m) > 10);
    sg_model_free(m);
}

static void test_rewind(void **state)
{
    (void)state;
    enum { count = 20 };
    int32_t tokens[count], other[count];
    make_tokens(tokens, count);
    for (int i = 0; i < count; i++)
        other[i] = i < 9 ? tokens[i] : (tokens[i] + 1) % vocab;
    sg_model *m = make_model("sgatlin", count);
    float *full = full_forward(m, tokens, count), *full_other = full_forward(m, other, count);
    sg_session *s;
    const float *logits;
    assert_int_equal(sg_session_new(m, 0, &s, NULL), SG_OK);
    assert_int_equal(sg_session_feed(s, other, count, &logits, NULL), SG_OK);
    expect_logits(logits, full_other + (count - 1) * vocab, "other", count - 1);
    assert_int_equal(sg_session_rewind(s, 9, NULL), SG_OK);
    assert_int_equal(sg_session_length(s), 9);
    assert_int_equal(sg_session_feed(s, tokens + 9, count - 9, &logits, NULL), SG_OK);
    expect_logits(logits, full + (count - 1) * vocab, "after the rewind", count - 1);
    assert_int_equal(sg_session_rewind(s, 0, NULL), SG_OK);
    assert_int_equal(sg_session_feed(s, tokens, 3, &logits, NULL), SG_OK);
    expect_logits(logits, full + 2 * vocab, "from the start", 2);
    sg_error err = {0};
    assert_int_equal(sg_session_rewind(s, 4, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "rewind: found 4, expected 0 to 3 tokens");
    assert_int_equal(sg_session_rewind(s, -1, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_session_length(s), 3);
    sg_session_free(s);
    sg_free(full);
    sg_free(full_other);
    sg_model_free(m);
}

static void test_session_limits(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_model *m = make_model("sgatlin", 20);
    sg_session *s;
    const float *logits = NULL;
    int32_t tokens[20] = {2, 3, 4, 5, 6, 7};
    assert_int_equal(sg_session_new(m, 21, &s, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "capacity: found 21, expected 1 to 20 tokens");
    assert_null(s);
    assert_int_equal(sg_session_new(m, -1, &s, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_session_new(m, 5, &s, &err), SG_OK);
    assert_int_equal(sg_session_feed(s, tokens, 0, &logits, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_session_feed(s, tokens, 6, &logits, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "the session holds 5 tokens and has 0; 6 more do not fit");
    tokens[1] = vocab;
    assert_int_equal(sg_session_feed(s, tokens, 3, &logits, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "token 1: found 60, expected 0 to 59");
    tokens[1] = -1;
    assert_int_equal(sg_session_feed(s, tokens, 3, &logits, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_session_length(s), 0);
    assert_null(logits);
    tokens[1] = 3;
    assert_int_equal(sg_session_feed(s, tokens, 5, &logits, &err), SG_OK);
    assert_int_equal(sg_session_feed(s, tokens, 1, &logits, &err), SG_ERR_ARGUMENT);
    sg_session_free(s);
    sg_session_free(NULL);
    sg_model_free(m);
}

static sg_status feed_operation(void *user, sg_error *err)
{
    sg_session *s;
    const float *logits;
    static int32_t tokens[300];
    SG_TRY(sg_session_new(user, 0, &s, err));
    sg_status status = sg_session_feed(s, tokens, 300, &logits, err);
    // All or nothing, also when a later piece fails.
    assert_int_equal(sg_session_length(s), status == SG_OK ? 300 : 0);
    sg_session_free(s);
    return status;
}

static void test_failing_allocations(void **state)
{
    (void)state;
    sg_model *m = make_model("sgatlin", 300);
    assert_true(alloc_failure_loop(feed_operation, m) > 20);
    sg_model_free(m);
}

// ---- text -------------------------------------------------------------------------------------

typedef struct heard {
    char text[8192];
    size_t bytes;
    int calls, stop_at; // stop_at > 0: says stop at that call
} heard;

static bool is_utf8(const unsigned char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t more = s[i] < 0x80 ? 0 : s[i] < 0xe0 ? 1 : s[i] < 0xf0 ? 2 : 3;
        if (s[i] >= 0x80 && s[i] < 0xc2) return false;
        if (i + more >= n) return false;
        for (size_t j = 1; j <= more; j++)
            if ((s[i + j] & 0xc0) != 0x80) return false;
        i += more + 1;
    }
    return true;
}

static bool hear(void *user, const char *text, size_t bytes)
{
    heard *h = user;
    assert_true(bytes > 0 && h->bytes + bytes < sizeof h->text);
    assert_true(is_utf8((const unsigned char *)text, bytes)); // each piece by itself
    memcpy(h->text + h->bytes, text, bytes);
    h->bytes += bytes;
    return ++h->calls != h->stop_at;
}

static sg_generate_result generate(sg_model *m, const char *prompt, sg_generate_options o, heard *h)
{
    sg_error err = {0};
    sg_generate_result result;
    h->bytes = 0;
    h->calls = 0;
    o.text = hear;
    o.text_user = h;
    int64_t live = sg_alloc_live();
    if (sg_generate(m, tokenizer, prompt, &o, &result, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(sg_alloc_live(), live);
    h->text[h->bytes] = '\0';
    return result;
}

static char *decoded(const int32_t *ids, int64_t count, size_t *bytes)
{
    char *text;
    assert_int_equal(sg_tokenizer_decode(tokenizer, ids, (size_t)count, NULL, &text, bytes, NULL),
                     SG_OK);
    return text;
}

// The same by hand: session, sampling and decoding of the whole, of which the prompt is the
// beginning.
static void expect_by_hand(sg_model *m, const char *prompt, const sg_generate_options *o,
                           const heard *h, const sg_generate_result *result)
{
    int32_t tokens[positions], *ids;
    size_t count;
    assert_int_equal(
        sg_tokenizer_encode(tokenizer, prompt, strlen(prompt), NULL, &ids, &count, NULL), SG_OK);
    int64_t n = 0, generated = 0;
    tokens[n++] = 1;
    for (size_t i = 0; i < count; i++)
        tokens[n++] = ids[i];
    sg_buffer_free(ids);
    assert_int_equal(result->prompt_tokens, n);
    sg_session *s;
    const float *logits;
    int64_t from = n;
    assert_int_equal(sg_session_new(m, 0, &s, NULL), SG_OK);
    assert_int_equal(sg_session_feed(s, tokens, n, &logits, NULL), SG_OK);
    while (generated < o->max_tokens) {
        int32_t token;
        sg_sample_options how = o->sample;
        how.history = tokens;
        how.history_count = n;
        assert_int_equal(
            sg_sample(logits, m->config.vocab_size, &how, (uint64_t)generated, &token, NULL),
            SG_OK);
        if (token == 1 && !o->ignore_eos) break;
        tokens[n++] = token;
        generated++;
        if (n == positions) break;
        assert_int_equal(sg_session_feed(s, &token, 1, &logits, NULL), SG_OK);
    }
    sg_session_free(s);
    assert_int_equal(result->tokens, generated);
    size_t bytes, before;
    char *text = decoded(tokens, n, &bytes), *said = decoded(tokens, from, &before);
    assert_true(before <= bytes && memcmp(text, said, before) == 0);
    if (bytes - before != h->bytes)
        fail_msg("found \"%s\", expected \"%s\"", h->text, text + before);
    assert_memory_equal(text + before, h->text, h->bytes);
    sg_buffer_free(said);
    sg_buffer_free(text);
}

static void test_generate(void **state)
{
    (void)state;
    static heard h, again;
    sg_model *m = make_model("sgatlin", positions);
    int stopped = 0;
    for (uint64_t seed = 0; seed < 12; seed++) {
        sg_generate_options o = sg_generate_options_default();
        o.sample.seed = seed;
        o.sample.temperature = seed == 0 ? 0 : 1.5;
        o.sample.repetition_penalty = seed % 3 == 0 ? 1.3 : 1;
        o.ignore_eos = seed >= 6;
        o.max_tokens = 150;
        sg_generate_result result = generate(m, "the cat \342\202\254", o, &h);
        expect_by_hand(m, "the cat \342\202\254", &o, &h, &result);
        stopped += result.tokens < o.max_tokens;
        if (o.ignore_eos) assert_int_equal(result.tokens, o.max_tokens);
        sg_generate_result same = generate(m, "the cat \342\202\254", o, &again);
        assert_int_equal(same.tokens, result.tokens);
        assert_string_equal(again.text, h.text);
    }
    assert_true(stopped > 0); // some document ended
    sg_model_free(m);
}

// With tokens in the SentencePiece style the first word drawn keeps its space, and what the end of
// the prompt held back (the byte of its line end, which might begin a character) is not said again.
static void test_generate_keeps_spaces(void **state)
{
    (void)state;
    static const char *const names[] = {"llama2", "mistral", "metaspace"};
    static heard h;
    sg_tokenizer *plain = tokenizer;
    int spaces = 0;
    for (size_t i = 0; i < 3; i++) {
        char path[1024];
        snprintf(path, sizeof path, "%s/golden/tokenizer/%s.json", SG_TEST_DIR, names[i]);
        assert_int_equal(sg_tokenizer_open(path, &tokenizer, NULL), SG_OK);
        assert_int_equal(warm_up(), SG_OK);
        sg_model *m = make_model_of("sgatlin", sg_tokenizer_vocab_size(tokenizer), positions);
        for (uint64_t seed = 0; seed < 20; seed++) {
            sg_generate_options o = sg_generate_options_default();
            const char *prompt = seed % 2 == 0 ? "the cat" : "the cat\n";
            o.sample.seed = seed;
            o.sample.temperature = 1.5;
            o.ignore_eos = true;
            o.max_tokens = 12;
            sg_generate_result result = generate(m, prompt, o, &h);
            expect_by_hand(m, prompt, &o, &h, &result);
            spaces += h.text[0] == ' ';
        }
        sg_model_free(m);
        sg_tokenizer_free(tokenizer);
    }
    assert_true(spaces > 10);
    tokenizer = plain;
}

// Stops, cut anywhere: for every place in a text, what stands there as a stop ends the text there.
static void test_generate_stops(void **state)
{
    (void)state;
    static heard h, cut;
    sg_model *m = make_model("sgatlin", positions);
    sg_generate_options o = sg_generate_options_default();
    o.sample.temperature = 1.5;
    o.ignore_eos = true;
    o.max_tokens = 60;
    generate(m, "the cat", o, &h);
    assert_true(h.bytes > 40);
    for (size_t at = 0; at + 8 < h.bytes; at += 3) {
        for (size_t length = 1; length < 8; length += 3) {
            // A string with the end of a character it does not begin is none a user would type.
            if (!is_utf8((const unsigned char *)h.text + at, length)) continue;
            char word[16] = "", never[] = "\x01 never", longer[20];
            memcpy(word, h.text + at, length);
            snprintf(longer, sizeof longer, "%s\x01", word);
            const char *stops[] = {never, longer, word};
            o.stops = stops;
            o.stop_count = 3;
            sg_generate_result result = generate(m, "the cat", o, &cut);
            assert_int_equal(cut.bytes, strstr(h.text, word) - h.text);
            assert_memory_equal(cut.text, h.text, cut.bytes);
            assert_true(result.tokens <= 60);
        }
    }
    // Of stops that end together the longer one counts; of others the one that ends first.
    char both[16] = "", tail[16] = "";
    memcpy(both, h.text + 20, 6);
    memcpy(tail, h.text + 23, 3);
    if (is_utf8((unsigned char *)both, 6) && is_utf8((unsigned char *)tail, 3) &&
        strstr(h.text, tail) == h.text + 23) {
        const char *stops[] = {tail, both};
        o.stops = stops;
        o.stop_count = 2;
        generate(m, "the cat", o, &cut);
        assert_int_equal(cut.bytes, 20);
    }
    sg_model_free(m);
}

// More prompts than go at once, of different lengths and ends: each as if it were alone.
static void test_generate_many(void **state)
{
    (void)state;
    enum { prompts = 40 };
    static heard alone[prompts], together[prompts];
    char text[prompts][48];
    const char *list[prompts];
    void *users[prompts];
    sg_generate_result results[prompts];
    sg_model *m = make_model("sgatlin", positions);
    sg_generate_options o = sg_generate_options_default();
    o.sample.temperature = 1.2;
    o.sample.repetition_penalty = 1.1;
    o.max_tokens = 25;
    const int32_t ends[] = {7, 9};
    o.ends = ends;
    o.end_count = 2;
    for (int i = 0; i < prompts; i++) {
        snprintf(text[i], sizeof text[i], "%.*sthe %d cat", i % 7, "on a mat", i);
        list[i] = text[i];
        users[i] = &together[i];
        together[i] = (heard){.stop_at = i == 11 ? 3 : 0};
        alone[i].stop_at = together[i].stop_at;
        o.sample.seed = 4;
    }
    o.text = hear;
    sg_error err;
    int64_t live = sg_alloc_live();
    if (sg_generate_many(m, tokenizer, list, prompts, &o, users, results, &err) != SG_OK)
        fail_msg("%s", err.message);
    assert_int_equal(sg_alloc_live(), live);
    int64_t shortest = 1000;
    for (int i = 0; i < prompts; i++) {
        sg_generate_result result = generate(m, list[i], o, &alone[i]);
        together[i].text[together[i].bytes] = '\0';
        assert_string_equal(together[i].text, alone[i].text);
        assert_int_equal(results[i].tokens, result.tokens);
        assert_int_equal(results[i].prompt_tokens, result.prompt_tokens);
        if (result.tokens < shortest) shortest = result.tokens;
    }
    assert_true(shortest < 25); // texts ended at different times
    list[5] =
        "sat on the mat and the dog sat on the mat and the dog sat on the mat and the dog sat on";
    sg_model *small = make_model("sgatlin", 16);
    assert_int_equal(sg_generate_many(small, tokenizer, list, 8, &o, users, NULL, &err),
                     SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "prompt 6"));
    sg_model_free(small);
    sg_model_free(m);
}

// The sliding window by hand: each window from nothing, token by token, its new tokens summed up.
static void text_by_hand(sg_model *m, const char *text, int64_t width, int64_t stride, double *loss,
                         int64_t *tokens, int64_t *correct)
{
    int32_t *ids, all[512];
    size_t count;
    assert_int_equal(sg_tokenizer_encode(tokenizer, text, strlen(text), NULL, &ids, &count, NULL),
                     SG_OK);
    assert_true(count < 511);
    all[0] = 1;
    memcpy(all + 1, ids, count * sizeof *ids);
    sg_buffer_free(ids);
    int64_t n = (int64_t)count + 1, seen = 0;
    *loss = 0;
    *tokens = *correct = 0;
    for (int64_t begin = 0; begin < n; begin += stride) {
        int64_t end = begin + width < n ? begin + width : n;
        sg_session *s;
        const float *logits;
        assert_int_equal(sg_session_new(m, width, &s, NULL), SG_OK);
        for (int64_t i = begin; i + 1 < end; i++) {
            assert_int_equal(sg_session_feed(s, &all[i], 1, &logits, NULL), SG_OK);
            if (i + 1 < seen) continue;
            double sum = 0;
            int32_t best = 0;
            for (int v = 0; v < vocab; v++) {
                sum += exp((double)logits[v]);
                if (logits[v] > logits[best]) best = v;
            }
            *loss += log(sum) - (double)logits[all[i + 1]];
            *correct += best == all[i + 1];
            ++*tokens;
        }
        sg_session_free(s);
        seen = end;
        if (end == n) break;
    }
    *loss /= (double)*tokens;
}

static void test_evaluate_text(void **state)
{
    (void)state;
    char text[1200] = "";
    for (int i = 0; strlen(text) < 900; i++)
        sprintf(text + strlen(text), "the %s sat on %s mat; ", i * i % 5 ? "cat" : "dog log",
                i % 3 ? "the" : "a");
    // Without overlap the first of each window is not predicted, and is left out.
    static const int64_t shapes[][2] = {{32, 16}, {32, 31},       {32, 1},  {17, 5}, {2, 1},
                                        {32, 32}, {positions, 7}, {17, 17}, {2, 2}};
    int64_t all = 0; // tokens of the text, which overlapping windows predict to the last
    sg_model *m = make_model("sgatlin", positions);
    sg_error err;
    sg_eval_text_result r;
    sg_eval_text_options o = sg_eval_text_options_default();
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        double loss;
        int64_t tokens, correct;
        o.context = shapes[i][0];
        o.stride = shapes[i][1];
        int64_t live = sg_alloc_live();
        if (sg_evaluate_text(m, tokenizer, text, strlen(text), &o, &r, &err) != SG_OK)
            fail_msg("%s", err.message);
        assert_int_equal(sg_alloc_live(), live);
        text_by_hand(m, text, o.context, o.stride, &loss, &tokens, &correct);
        assert_int_equal(r.tokens, tokens);
        assert_true(fabs(r.loss - loss) <= 1e-5);
        assert_true(fabs(r.perplexity - exp(loss)) <= 1e-4 * exp(loss));
        assert_true(fabs(r.accuracy - (double)correct / (double)tokens) <= 1e-12);
        assert_int_equal(r.bytes, strlen(text));
        if (i == 0) all = tokens;
        assert_true(o.stride < o.context ? tokens == all : tokens < all);
        double bits = loss / log(2) * (double)all / (double)r.bytes;
        assert_true(fabs(r.bits_per_byte - bits) <= 1e-5);
        assert_int_equal(r.context, o.context);
        assert_int_equal(r.stride, o.stride);
    }
    o = sg_eval_text_options_default();
    assert_int_equal(sg_evaluate_text(m, tokenizer, text, strlen(text), &o, &r, &err), SG_OK);
    assert_true(r.context == positions && r.stride == positions / 2);
    o.max_tokens = 20;
    assert_int_equal(sg_evaluate_text(m, tokenizer, text, strlen(text), &o, &r, &err), SG_OK);
    assert_true(r.tokens == 19 && r.windows == 1);
    const int64_t wrong[][2] = {{1, 0}, {positions + 1, 0}, {-1, 0}, {16, 17}, {16, -1}};
    for (size_t i = 0; i < 5; i++) {
        o.context = wrong[i][0];
        o.stride = wrong[i][1];
        assert_int_equal(sg_evaluate_text(m, tokenizer, text, 9, &o, &r, &err), SG_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, i < 3 ? "context: found" : "stride: found"));
    }
    o = sg_eval_text_options_default();
    assert_int_equal(sg_evaluate_text(m, tokenizer, "", 0, &o, &r, &err), SG_ERR_ARGUMENT);
    sg_model_free(m);
}

static void test_score_refuses(void **state)
{
    (void)state;
    sg_model *m = make_model("sgatlin", positions);
    sg_error err;
    sg_session *s;
    double nll;
    bool likeliest;
    const int32_t tokens[] = {1, vocab};
    assert_int_equal(sg_session_new(m, 1, &s, &err), SG_OK);
    assert_int_equal(sg_session_score(s, tokens, tokens + 1, 1, &nll, &likeliest, &err),
                     SG_ERR_ARGUMENT);
    assert_int_equal(sg_session_score(s, tokens, tokens, 0, &nll, &likeliest, &err),
                     SG_ERR_ARGUMENT);
    assert_int_equal(sg_session_score(s, tokens, tokens, 1, &nll, &likeliest, &err), SG_OK);
    assert_int_equal(sg_session_score(s, tokens, tokens, 1, &nll, &likeliest, &err),
                     SG_ERR_ARGUMENT); // it is full
    sg_session_free(s);
    sg_model_free(m);
}

// Replacing letters by bytes that have no token took bits away and left the bytes; now it never
// pays.
static void test_lost_bytes_are_charged(void **state)
{
    (void)state;
    sg_model *m = make_model("sgatlin", positions);
    static const char honest[] = "the cat sat on the mat and the dog sat on the log";
    char text[sizeof honest];
    const sg_eval_text_options o = sg_eval_text_options_default();
    const double n = sizeof honest - 1;
    sg_eval_text_result plain, r;
    sg_error err;
    assert_int_equal(sg_evaluate_text(m, tokenizer, honest, sizeof honest - 1, &o, &plain, &err),
                     SG_OK);
    assert_int_equal(plain.lost_bytes, 0);
    assert_true(plain.reversible);
    for (size_t step = 2; step < 12; step++) {
        double lost = 0;
        strcpy(text, honest);
        for (size_t i = 0; i < sizeof honest - 1; i += step, lost++)
            text[i] = '@'; // never seen by the tokenizer
        assert_int_equal(sg_evaluate_text(m, tokenizer, text, sizeof text - 1, &o, &r, &err),
                         SG_OK);
        assert_true((double)r.lost_bytes == lost);
        assert_int_equal(r.bytes, sizeof text - 1);
        assert_false(r.reversible);
        double places = lost * log2(n / lost) + (n - lost) * log2(n / (n - lost));
        double bits = r.loss * (double)r.tokens / log(2) + 8 * lost + places;
        assert_true(fabs(r.bits_per_byte - bits / n) <= 1e-9);
        assert_true(r.bits_per_byte >= (8 * lost + places) / n);
    }
    // Of a part of such a text nobody knows what is lost.
    const sg_eval_text_options part = {.max_tokens = 5};
    assert_int_equal(sg_evaluate_text(m, tokenizer, text, sizeof text - 1, &part, &r, &err), SG_OK);
    assert_true(isnan(r.bits_per_byte));
    assert_int_equal(sg_evaluate_text(m, tokenizer, honest, sizeof text - 1, &part, &r, &err),
                     SG_OK);
    assert_true(r.bits_per_byte > 0 && r.bytes > 5 && r.bytes < 40 && r.reversible);
    // A normal form that is shorter, or longer, is not counted as if it were the text.
    static const char wide[] =
        "the \357\275\203\357\275\201\357\275\224 sat on"; // full-width "cat"
    assert_int_equal(sg_evaluate_text(m, tokenizer, wide, sizeof wide - 1, &o, &r, &err), SG_OK);
    assert_false(r.reversible);
    assert_int_equal(r.lost_bytes, 0);
    assert_int_equal(r.bytes, sizeof wide - 1 - 6 + 1); // with the space in front
    sg_model_free(m);
}

static sg_status evaluate_operation(void *user, sg_error *err)
{
    sg_eval_text_options o = {.context = 8, .stride = 4};
    sg_eval_text_result r;
    return sg_evaluate_text(user, tokenizer, "the cat sat on", 14, &o, &r, err);
}

static void test_failing_evaluation(void **state)
{
    (void)state;
    sg_model *m = make_model("sgatlin", 40);
    assert_true(alloc_failure_loop(evaluate_operation, m) > 20);
    sg_model_free(m);
}

static void test_generate_to_the_end(void **state)
{
    (void)state;
    static heard h;
    sg_model *m = make_model("sgatlin", 30);
    sg_generate_options o = sg_generate_options_default();
    o.ignore_eos = true;
    o.max_tokens = INT64_MAX;
    sg_generate_result result = generate(m, "", o, &h); // only BOS
    assert_int_equal(result.prompt_tokens, 1);
    assert_int_equal(result.tokens, 29);
    o.max_tokens = 0;
    result = generate(m, "the", o, &h);
    assert_true(result.tokens == 0 && h.calls == 0 && result.prompt_tokens > 1);
    o.max_tokens = 20;
    h.stop_at = 2;
    result = generate(m, "the", o, &h);
    assert_int_equal(h.calls, 2);
    assert_true(result.tokens >= 2 && result.tokens < 20);
    h.stop_at = 0;
    sg_model_free(m);
}

static void test_generate_refuses(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_generate_options o = sg_generate_options_default();
    sg_model *m = make_model("sgatlin", 8), *wrong, *no_bos, *wide;
    o.max_tokens = -1;
    assert_int_equal(sg_generate(m, tokenizer, "a", &o, NULL, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "max-tokens: found -1, expected at least 0");
    o.max_tokens = 5;
    o.sample.top_p = 2;
    assert_int_equal(sg_generate(m, tokenizer, "a", &o, NULL, &err), SG_ERR_ARGUMENT);
    o.sample.top_p = 1;
    assert_int_equal(sg_generate(m, tokenizer, "sat on the mat and the dog", &o, NULL, &err),
                     SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "expected less than the model's 8 positions"));
    sg_config c = tiny_config("sgatlin", vocab - 1, 8);
    assert_int_equal(sg_model_new(context, &c, 3, &wrong, NULL), SG_OK);
    assert_int_equal(sg_generate(wrong, tokenizer, "a", &o, NULL, &err), SG_ERR_MISMATCH);
    assert_string_equal(
        err.message, "the tokenizer has 60 tokens, expected at most the model's vocabulary of 59");
    const char *empty = "";
    o.stops = &empty;
    o.stop_count = 1;
    assert_int_equal(sg_generate(m, tokenizer, "a", &o, NULL, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message, "stop 1: found an empty one, expected text");
    o.stop_count = 0;
    c = tiny_config("sgatlin", vocab, 8);
    c.bos_token_id = -1;
    assert_int_equal(sg_model_new(context, &c, 3, &no_bos, NULL), SG_OK);
    // A tokenizer that learned an end of text begins with it; one without has nothing to begin
    // with.
    sg_tokenizer *bare;
    sg_tokenizer_train_options train = sg_tokenizer_train_options_default();
    train.vocab_size = 257;
    train.special_count = 0;
    int calls = 0;
    assert_int_equal(sg_tokenizer_train(&train, source, &calls, &bare, &err), SG_OK);
    c.vocab_size = 257;
    assert_int_equal(sg_model_new(context, &c, 3, &wide, NULL), SG_OK);
    assert_int_equal(sg_generate(wide, bare, "", &o, NULL, &err), SG_ERR_ARGUMENT);
    assert_string_equal(err.message,
                        "prompt: found an empty one, expected text: the model has no BOS");
    assert_int_equal(sg_generate(no_bos, tokenizer, "a", &o, NULL, &err), SG_OK);
    sg_model_free(m);
    sg_model_free(wrong);
    sg_model_free(no_bos);
    sg_model_free(wide);
    sg_tokenizer_free(bare);
}

static sg_status generate_operation(void *user, sg_error *err)
{
    sg_generate_options o = sg_generate_options_default();
    o.max_tokens = 3;
    o.ignore_eos = true;
    return sg_generate(user, tokenizer, "the cat", &o, NULL, err);
}

static void test_failing_generation(void **state)
{
    (void)state;
    sg_model *m = make_model("sgatlin", 40);
    assert_true(alloc_failure_loop(generate_operation, m) > 20);
    sg_model_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decoding),
        cmocka_unit_test(test_long_prompts),
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_batch_refused),
        cmocka_unit_test(test_batch_alloc),
        cmocka_unit_test(test_rewind),
        cmocka_unit_test(test_session_limits),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_generate_keeps_spaces),
        cmocka_unit_test(test_generate_stops),
        cmocka_unit_test(test_generate_many),
        cmocka_unit_test(test_evaluate_text),
        cmocka_unit_test(test_lost_bytes_are_charged),
        cmocka_unit_test(test_score_refuses),
        cmocka_unit_test(test_failing_evaluation),
        cmocka_unit_test(test_generate_to_the_end),
        cmocka_unit_test(test_generate_refuses),
        cmocka_unit_test(test_failing_generation),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
