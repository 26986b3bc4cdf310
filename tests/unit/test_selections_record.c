// The selections of a record: those that were collected from the model, rows that not all channels
// have, what is damaged, memory that fails.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/file.h"
#include "model/model.h"
#include "sgatlin_usage.h"
#include "text_record.h"
#include "tiny_models.h"

enum { positions = 64, channels = 2, layers = 2 };
static sg_context *context;
static sg_model *model;
static sg_tokenizer *tokenizer;
static char folder[64] = "/tmp/sg-selections-XXXXXX", path[96];
static const char text[] = "abc dab cad bad abc cab dab abc bad dad";

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static int set_up(void **state)
{
    (void)state;
    sg_error err = {0};
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/scope.db", folder);
    must(sg_context_new(NULL, &context, &err), &err);
    must(sg_tokenizer_open(SG_TEST_DIR "/golden/tokenizer/nfkc.json", &tokenizer, &err), &err);
    sg_config c = tiny_config("sgatlin", sg_tokenizer_vocab_size(tokenizer), positions);
    must(sg_model_new(context, &c, 3, &model, &err), &err);
    assert_int_equal(model->config.num_hidden_layers, layers);
    assert_int_equal(model->config.ffn_channels, channels);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    sg_tokenizer_free(tokenizer);
    sg_model_free(model);
    sg_context_free(context);
    return sg_tree_remove(folder, NULL) == SG_OK ? 0 : -1;
}

static sg_record *record_with(const char *changes)
{
    return text_record(model, tokenizer, text, path, changes);
}

// The ids that the record holds, read by the model once more.
static sg_selections *collect(sg_record *record)
{
    sg_error err = {0};
    sg_selections *s;
    sg_session *session;
    sg_record_token tokens[positions];
    int32_t ids[positions];
    int64_t count;
    const float *logits;
    must(sg_record_tokens(record, 0, positions, tokens, &count, &err), &err);
    for (int64_t i = 0; i < count; i++)
        ids[i] = tokens[i].token;
    must(sg_selections_new(model, NULL, NULL, &s, &err), &err);
    sg_session_options o = sg_session_options_default();
    o.points = sg_selections_points(s);
    must(sg_session_open(model, &o, &session, &err), &err);
    must(sg_session_feed(session, ids, count, &logits, &err), &err);
    sg_session_free(session);
    return s;
}

static void test_as_collected(void **state)
{
    (void)state;
    sg_record *record = record_with(NULL);
    sg_selections *all = collect(record);
    sg_error err = {0};
    for (int64_t l = 0; l < layers; l++) {
        sg_selections *s;
        must(sg_selections_read(record, l, NULL, &s, &err), &err);
        const sg_layer_selections a = sg_selections_layer(s, 0), b = sg_selections_layer(all, l);
        assert_int_equal(sg_selections_count(s), 1);
        assert_int_equal(a.layer, l);
        assert_int_equal(a.rows, b.rows);
        assert_true(a.rows > 8);
        assert_int_equal(a.neurons, b.neurons);
        assert_int_equal(a.channels, channels);
        assert_int_equal(a.sub_keys, b.sub_keys);
        assert_true(a.sub_keys > 0);
        assert_memory_equal(a.tokens, b.tokens, (size_t)a.rows * sizeof *a.tokens);
        for (int64_t c = 0; c < channels; c++) {
            const sg_selection_rows *x = &a.gates[c], *y = &b.gates[c];
            const size_t hits = (size_t)x->begins[a.rows];
            assert_int_equal(a.channel_numbers[c], c);
            assert_memory_equal(x->begins, y->begins, (size_t)(a.rows + 1) * sizeof *x->begins);
            assert_memory_equal(x->neurons, y->neurons, hits * sizeof *x->neurons);
        }
        sg_selections_free(s);
    }
    sg_selections_free(all);
    sg_record_free(record);
}

// Rows are the tokens that any channel has: here of layer 0 (channels 0 and 1 of 4) channel 1 lacks
// token 3, channel 0 lacks token 4, and both lack token 5; token 7 is gone with its gates.
static void test_rows_of_any(void **state)
{
    (void)state;
    sg_record *record =
        record_with("DELETE FROM gate WHERE id IN (3 * 4 + 1, 4 * 4, 5 * 4, 5 * 4 + 1);"
                    "DELETE FROM token WHERE id = 7");
    sg_error err = {0};
    sg_selections *s;
    must(sg_selections_read(record, 0, NULL, &s, &err), &err);
    const sg_layer_selections l = sg_selections_layer(s, 0);
    sg_record_token tokens[positions];
    int64_t count;
    must(sg_record_tokens(record, 0, positions, tokens, &count, &err), &err);
    assert_int_equal(l.rows, count - 1);
    for (int64_t r = 0; r < l.rows; r++) {
        assert_int_equal(l.tokens[r], tokens[r + (r >= 5)].token);
        for (int64_t c = 0; c < channels; c++) {
            const int64_t hits = l.gates[c].begins[r + 1] - l.gates[c].begins[r];
            assert_true((hits == 0) == ((r == 3 && c == 1) || (r == 4 && c == 0)));
        }
    }
    sg_selections_free(s);
    sg_record_free(record);
}

static void expect(const char *changes, int64_t layer, const char *list, sg_status status,
                   const char *word)
{
    sg_record *record = record_with(changes);
    sg_error err = {0};
    sg_selections *s;
    assert_int_equal(sg_selections_read(record, layer, list, &s, &err), status);
    assert_null(s);
    if (strstr(err.message, word) == NULL) fail_msg("%s is not in: %s", word, err.message);
    sg_record_free(record);
}

static void test_refused(void **state)
{
    (void)state;
    expect(NULL, 5, NULL, SG_ERR_NOT_FOUND, "5");
    expect(NULL, 0, "2", SG_ERR_ARGUMENT, "channels: found \"2\"");
    expect(NULL, 0, "0-", SG_ERR_ARGUMENT, "channels");
    // A neuron that there is not.
    expect("UPDATE gate SET n0 = 1000000 WHERE id = 8", 0, NULL, SG_ERR_FORMAT, path);
}

static void test_lists(void **state)
{
    (void)state;
    sg_record *record = record_with(NULL);
    sg_error err = {0};
    int64_t found[layers], count;
    must(sg_selections_layers(record, NULL, found, &count, &err), &err);
    assert_int_equal(count, layers);
    must(sg_selections_layers(record, "1", found, &count, &err), &err);
    assert_true(count == 1 && found[0] == 1);
    // What is not there is not passed over.
    assert_int_equal(sg_selections_layers(record, "1-7", found, &count, &err), SG_ERR_NOT_FOUND);
    assert_int_equal(sg_selections_layers(record, "0,2", found, &count, &err), SG_ERR_NOT_FOUND);
    assert_int_equal(sg_selections_layers(record, "3", found, &count, &err), SG_ERR_NOT_FOUND);
    assert_int_equal(sg_selections_layers(record, "3-", found, &count, &err), SG_ERR_ARGUMENT);
    sg_record_free(record);
}

static sg_status read_once(void *user, sg_error *err)
{
    sg_selections *s;
    SG_TRY(sg_selections_read(user, 1, NULL, &s, err));
    sg_selections_free(s);
    return SG_OK;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    sg_record *record = record_with(NULL);
    assert_true(alloc_failure_loop(read_once, record) > 8);
    sg_record_free(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_as_collected),
        cmocka_unit_test(test_rows_of_any),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
