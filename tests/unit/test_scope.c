// Pages of whole records, decoded again and compared with what the records say: tokens, gates,
// predictions, what neurons read and write, maps; what does not fit; what is refused; memory that
// fails.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "alloc_failure.h"
#include "model/model.h"
#include "page_reading.h"
#include "sgatlin_scope.h"
#include "sgatlin_usage.h"
#include "system_folder.h"
#include "tiny_models.h"

enum { positions = 16, most_slots = 64 };

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static const char hostile[] = "</script><script>alert(1)</script>";
static const char story[] =
    "The lake was <b>\"clear\"</b>. </script><script>alert(1)</script> It's "
    "\xd7\xa9\xd7\x9c\xd7\x95\xd7\x9d & \xe2\x80\xae!\x01\x1b[31m\n"
    "<!-- so it was, so it was -->\n\xf0\x9f\x99\x82 The lake was clear.";
static sg_context *context;
static sg_tokenizer *tokenizer;

static sg_status one_text(void *user, const char **text, size_t *bytes, sg_error *err)
{
    (void)err;
    *text = *(int *)user == 0 ? story : NULL;
    *bytes = sizeof story - 1;
    *(int *)user = 1;
    return SG_OK;
}

static int group_end(void **state)
{
    (void)state;
    sg_tokenizer_free(tokenizer);
    sg_context_free(context);
    return 0;
}

static sg_model *make_model(const char *kind, uint64_t seed)
{
    sg_error err = {0};
    sg_model *model;
    sg_config c = tiny_config(kind, sg_tokenizer_vocab_size(tokenizer), positions);
    must(sg_model_new(context, &c, seed, &model, &err), &err);
    return model;
}

static sg_record *make_record(sg_model *model, const char *path, int64_t tokens)
{
    sg_error err = {0};
    sg_record *record;
    sg_record_options o = sg_record_options_default();
    o.path = path;
    o.text = story;
    o.text_bytes = sizeof story - 1;
    o.tokenizer = tokenizer;
    o.max_tokens = tokens;
    must(sg_probe_record(model, &o, NULL, &err), &err);
    must(sg_record_open(path, &record, &err), &err);
    return record;
}

// What is made once and kept (databases, passes) is there before a test counts memory.
static void warm_up(void)
{
    void *state = NULL;
    assert_int_equal(setup(&state), 0);
    sg_model *model = make_model("sgatlin", 3);
    sg_record_free(make_record(model, path_in(state, "a.db"), 4));
    sg_model_free(model);
    teardown(&state);
}

static int group_begin(void **state)
{
    (void)state;
    int done = 0;
    static const char *const specials[] = {"<|pad|>", "<|endoftext|>", hostile};
    sg_tokenizer_train_options train = sg_tokenizer_train_options_default();
    sg_context_options options = sg_context_options_default();
    options.threads = 2;
    train.vocab_size = 280;
    train.specials = specials;
    train.special_count = 3;
    if (sg_context_new(&options, &context, NULL) != SG_OK) return -1;
    if (sg_tokenizer_train(&train, one_text, &done, &tokenizer, NULL) != SG_OK) return -1;
    warm_up();
    return 0;
}

// A page and what it says of itself.
typedef struct page {
    char *text;
    json_t *root;
} page;

static page read_page(const char *path)
{
    sg_error err = {0};
    page p;
    size_t bytes = 0, length = 0;
    must(sg_file_read(path, 1 << 26, &p.text, &bytes, &err), &err);
    const char *scope = page_element(p.text, "scope", &length);
    assert_non_null(scope);
    must(sg_json_parse(scope, length, "page", &p.root, &err), &err);
    assert_null(strstr(p.text, hostile)); // it is there as text of JSON alone
    return p;
}

static void free_page(page *p)
{
    json_decref(p->root);
    sg_free(p->text);
}

static int64_t whole(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static double number(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

// ---- what is compared ---------------------------------------------------------------------------

static const char *piece_of(const page *p, int32_t piece)
{
    return json_string_value(json_array_get(json_object_get(p->root, "pieces"), (size_t)piece));
}

static void same_piece(const page *p, int32_t piece, sg_record *record, int32_t id)
{
    size_t bytes;
    const char *text = sg_record_text(record, id, &bytes);
    if (bytes > 0 && (unsigned char)text[0] < 0x80) // else it may be no text by itself
        assert_string_equal(piece_of(p, piece), text);
}

static void same_text(const page *p, sg_record *record)
{
    sg_error err = {0};
    int64_t count, many, run = 0;
    sg_record_token tokens[256];
    int32_t *token = page_column(p->text, json_object_get(p->root, "token"), &count);
    int32_t *next = page_column(p->text, json_object_get(p->root, "next"), &many);
    assert_int_equal(count, many);
    must(sg_record_tokens(record, 0, 256, tokens, &many, &err), &err);
    assert_int_equal(count, many);
    for (int64_t t = 0; t < count; t++) {
        same_piece(p, token[t], record, tokens[t].token);
        assert_int_equal(next[t] == 0, tokens[t].next < 0);
        if (t + 1 < count && tokens[t + 1].position > 0)
            assert_int_equal(next[t] - 1, token[t + 1]);
    }
    const json_t *sequences = json_object_get(p->root, "sequences");
    for (size_t s = 0; s < json_array_size(sequences); s++) {
        const json_t *pair = json_array_get(sequences, s);
        assert_int_equal(json_integer_value(json_array_get(pair, 0)), tokens[run].id);
        run += json_integer_value(json_array_get(pair, 1));
    }
    assert_int_equal(run, count);
    sg_free(token);
    sg_free(next);
}

static void same_predictions(const page *p, const json_t *model, sg_record *record)
{
    sg_error err = {0};
    int64_t count, many, got;
    sg_record_token tokens[256];
    sg_scored_token top[16];
    const json_t *object = json_object_get(model, "predictions");
    int32_t *loss = page_column(p->text, json_object_get(model, "loss"), &count);
    int32_t *ids = page_column(p->text, json_object_get(object, "token"), &many);
    assert_int_equal(many, count * whole(object, "count"));
    must(sg_record_tokens(record, 0, 256, tokens, &count, &err), &err);
    for (int64_t t = 0; t < count; t++) {
        if (isfinite(tokens[t].logprob))
            assert_true(fabs(loss[t] * number(model, "loss_scale") + tokens[t].logprob) < 0.04);
        must(sg_record_predictions(record, tokens[t].id, 16, top, &got, &err), &err);
        assert_int_equal(got, whole(object, "count"));
        for (int64_t i = 0; i < got; i++)
            same_piece(p, ids[t * got + i], record, top[i].id);
    }
    sg_free(loss);
    sg_free(ids);
}

// One channel: the neurons of every token, their scores and activations.
static void same_channel(const page *p, const json_t *layer, const json_t *hits, sg_record *record)
{
    sg_error err = {0};
    int64_t count, rows = 0, at = 0, got;
    sg_record_token tokens[256];
    sg_record_hit hit[most_slots];
    const int64_t slots = whole(layer, "slots");
    int32_t *neuron = page_column(p->text, json_object_get(hits, "neuron"), &count);
    int32_t *score = page_column(p->text, json_object_get(hits, "score"), &count);
    int32_t *active = page_column(p->text, json_object_get(hits, "activation"), &count);
    int32_t *counts = json_object_get(hits, "counts")
                          ? page_column(p->text, json_object_get(hits, "counts"), &rows)
                          : NULL;
    const double low = number(hits, "score_low"), high = number(hits, "score_high");
    const double most = number(hits, "activation_most");
    must(sg_record_tokens(record, 0, 256, tokens, &rows, &err), &err);
    for (int64_t t = 0; t < rows; t++) {
        must(sg_record_token_hits(record, whole(layer, "layer"), whole(hits, "channel"),
                                  tokens[t].id, most_slots, hit, &got, &err),
             &err);
        assert_int_equal(got, counts != NULL ? counts[t] : slots);
        int32_t n = 0;
        for (int64_t i = 0; i < got; i++, at++) {
            int64_t j = 0;
            n += neuron[at];
            while (j < got && hit[j].neuron != n)
                j++;
            assert_true(j < got);
            assert_true(fabs(low + (high - low) * score[at] / 63 - hit[j].score) <=
                        (high - low) / 126 + 1e-6);
            const double root = active[at] / 31.0, back = root * fabs(root) * most;
            assert_true(fabs(back - hit[j].activation) <= most / 31 + 1e-6);
        }
    }
    assert_int_equal(at, count);
    sg_free(neuron);
    sg_free(score);
    sg_free(active);
    sg_free(counts);
}

// The first token that neurons read and write is that of sg_neuron_view_of, for some of them.
static void same_lens(const page *p, const json_t *model, sg_model *of, sg_record *record)
{
    sg_error err = {0};
    size_t i;
    json_t *lens;
    sg_record_neuron neurons[4096];
    json_array_foreach(json_object_get(model, "lens"), i, lens)
    {
        int64_t count, used = 0;
        const int64_t layer = whole(lens, "layer"), channel = whole(lens, "channel");
        const sg_record_layer *l = sg_record_find_layer(record, layer);
        assert_true(l->neurons <= 4096);
        must(sg_record_neurons(record, layer, channel, neurons, &err), &err);
        const json_t *reads = json_object_get(lens, "reads"),
                     *writes = json_object_get(lens, "writes");
        int32_t *r = reads ? page_column(p->text, reads, &count) : NULL;
        int32_t *w = writes ? page_column(p->text, writes, &count) : NULL;
        for (int64_t n = 0; n < l->neurons; n++) {
            sg_neuron_view view;
            if (neurons[n].hits == 0) continue;
            if (used % 7 == 0) {
                must(sg_neuron_view_of(of, layer, channel, n, 5, &view, &err), &err);
                assert_int_equal(view.reads, r != NULL);
                assert_int_equal(view.writes, w != NULL);
                if (r != NULL) same_piece(p, r[used * 5], record, view.read_most[0].token);
                if (w != NULL) same_piece(p, w[used * 5], record, view.write_most[0].token);
                sg_neuron_view_free(&view);
            }
            used++;
        }
        sg_free(r);
        sg_free(w);
    }
}

static void same_model(const page *p, size_t index, sg_model *of, sg_record *record)
{
    size_t i, k, channels = 0;
    json_t *layer, *hits;
    const json_t *model = json_array_get(json_object_get(p->root, "models"), index);
    same_predictions(p, model, record);
    json_array_foreach(json_object_get(model, "layers"), i, layer)
    {
        json_array_foreach(json_object_get(layer, "hits"), k, hits)
        {
            same_channel(p, layer, hits, record);
            channels++;
        }
    }
    assert_int_equal(channels, sg_record_get_info(record)->channel_count);
    same_lens(p, model, of, record);
}

// ---- tests --------------------------------------------------------------------------------------

static sg_scope_options options_of(const char *path, const sg_scope_model *models, size_t count)
{
    sg_scope_options o = sg_scope_options_default();
    o.path = path;
    o.models = models;
    o.model_count = count;
    return o;
}

static void test_every_family(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    for (int k = 0; tiny_kind(k) != NULL; k++) {
        sg_scope_info info;
        char name[32];
        snprintf(name, sizeof name, "%d.db", k);
        sg_model *model = make_model(tiny_kind(k), 3);
        sg_record *record = make_record(model, path_in(f, name), 40);
        const sg_scope_model one = {.record = record, .model = model, .name = tiny_kind(k)};
        sg_scope_options o = options_of(path_in(f, "page.html"), &one, 1);
        o.force = true;
        o.maps = 0;
        must(sg_scope_write(context, &o, &info, &err), &err);
        assert_int_equal(info.channels_left_out, 0);
        page p = read_page(o.path);
        same_text(&p, record);
        same_model(&p, 0, model, record);
        free_page(&p);
        sg_buffer_free(info.left_out);
        sg_record_free(record);
        sg_model_free(model);
    }
}

// Two models beside each other, with maps, and less room than they want.
static void test_two_models(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_scope_info all, few;
    size_t i;
    json_t *model;
    sg_model *a = make_model("sgatlin", 3), *b = make_model("sgatlin", 4);
    const sg_scope_model two[] = {
        {.record = make_record(a, path_in(f, "a.db"), 40), .model = a, .name = "a"},
        {.record = make_record(b, path_in(f, "b.db"), 40), .model = b, .name = "b"}};
    sg_scope_options o = options_of(path_in(f, "page.html"), two, 2);
    must(sg_scope_write(context, &o, &all, &err), &err);
    assert_true(all.bytes <= o.max_bytes);
    page p = read_page(o.path);
    same_model(&p, 0, a, two[0].record);
    same_model(&p, 1, b, two[1].record);
    json_array_foreach(json_object_get(p.root, "models"), i, model)
    {
        size_t m;
        json_t *map;
        const json_t *maps = json_object_get(model, "maps");
        assert_int_equal(json_array_size(maps), json_array_size(json_object_get(model, "layers")));
        json_array_foreach(maps, m, map)
        {
            int64_t count;
            int32_t *x = page_column(p.text, json_object_get(map, "x"), &count), most = 0;
            assert_int_equal(count, all.tokens);
            for (int64_t t = 0; t < count; t++)
                most = x[t] > most ? x[t] : most;
            assert_int_equal(most, 65535);
            sg_free(x);
        }
    }
    free_page(&p);
    // One byte less than they take: the last channels go, which is said.
    o.force = true;
    o.max_bytes = all.bytes - 1;
    must(sg_scope_write(context, &o, &few, &err), &err);
    assert_true(few.bytes <= o.max_bytes);
    assert_true(few.channels_left_out > 0);
    assert_int_equal(few.channels + few.channels_left_out, all.channels);
    assert_non_null(strstr(few.left_out, "--max-bytes"));
    p = read_page(o.path);
    assert_true(json_array_size(json_object_get(p.root, "left_out")) > 0);
    free_page(&p);
    o.max_bytes = 1000;
    assert_int_equal(sg_scope_write(context, &o, NULL, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "max-bytes"));
    sg_buffer_free(all.left_out);
    sg_buffer_free(few.left_out);
    sg_record_free(two[0].record);
    sg_record_free(two[1].record);
    sg_model_free(a);
    sg_model_free(b);
}

static void test_refused(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_model *model = make_model("sgatlin", 3);
    sg_scope_model two[] = {{.record = make_record(model, path_in(f, "a.db"), 40)},
                            {.record = make_record(model, path_in(f, "b.db"), 39)}};
    sg_scope_options o = options_of(path_in(f, "page.html"), two, 2);
    assert_int_equal(sg_scope_write(context, &o, NULL, &err), SG_ERR_MISMATCH);
    assert_false(sg_path_exists(o.path));
    o.model_count = 1;
    o.layers = "7";
    assert_int_equal(sg_scope_write(context, &o, NULL, &err), SG_ERR_NOT_FOUND);
    o.layers = NULL;
    o.model_count = 3;
    assert_int_equal(sg_scope_write(context, &o, NULL, &err), SG_ERR_ARGUMENT);
    o.model_count = 1;
    must(sg_file_write_atomic(o.path, "mine", 4, &err), &err);
    assert_int_equal(sg_scope_write(context, &o, NULL, &err), SG_ERR_ARGUMENT);
    sg_record_free(two[0].record);
    sg_record_free(two[1].record);
    sg_model_free(model);
}

// The same bytes whatever the number of threads.
static void test_threads(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_context *alone;
    sg_context_options options = sg_context_options_default();
    uint64_t hash[2];
    int64_t bytes;
    options.threads = 1;
    must(sg_context_new(&options, &alone, &err), &err);
    sg_model *model = make_model("sgatlin", 3);
    const sg_scope_model one = {.record = make_record(model, path_in(f, "a.db"), 40),
                                .model = model};
    sg_scope_options o = options_of(path_in(f, "page.html"), &one, 1);
    o.force = true;
    for (int i = 0; i < 2; i++) {
        must(sg_scope_write(i == 0 ? context : alone, &o, NULL, &err), &err);
        must(sg_file_hash(o.path, &bytes, &hash[i], &err), &err);
    }
    assert_true(hash[0] == hash[1]);
    sg_record_free(one.record);
    sg_model_free(model);
    sg_context_free(alone);
}

typedef struct scene {
    const char *path;
    const sg_scope_model *model;
} scene;

static sg_status page_of(void *user, sg_error *err)
{
    sg_scope_options o = options_of(((scene *)user)->path, ((scene *)user)->model, 1);
    sg_scope_info info = {0};
    o.force = true;
    o.maps = 0;
    o.layers = "0";
    o.channels = "0";
    const sg_status status = sg_scope_write(context, &o, &info, err);
    sg_buffer_free(info.left_out);
    return status;
}

static void test_without_memory(void **state)
{
    const fixture *f = *state;
    sg_model *model = make_model("sgatlin", 3);
    const sg_scope_model one = {.record = make_record(model, path_in(f, "a.db"), 4),
                                .model = model};
    scene s = {path_in(f, "page.html"), &one};
    sg_error err = {0};
    must(page_of(&s, &err), &err); // what a database keeps from its first reading is there now
    assert_true(alloc_failure_loop(page_of, &s) > 20);
    sg_record_free(one.record);
    sg_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_every_family), FILE_TEST(test_two_models),     FILE_TEST(test_refused),
        FILE_TEST(test_threads),      FILE_TEST(test_without_memory),
    };
    return cmocka_run_group_tests(tests, group_begin, group_end);
}
