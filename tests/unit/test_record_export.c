// Texts and excerpts of records, tables as files, and the queries of docs/PROBE.md.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/utf8.h"
#include "format/json.h"
#include "record_helpers.h"

static sg_context *context;
static sg_model *model;

static int group_begin(void **state)
{
    (void)state;
    context = context_on(2);
    model = model_of(context, "sgatlin", 3);
    return 0;
}

static int group_end(void **state)
{
    (void)state;
    sg_model_free(model);
    sg_context_free(context);
    return 0;
}

static const char text[] = "one \"two\", three\nfour \xc3\xa9t\xc3\xa9 \xf0\x9f\x8c\x8d five";

static sg_status text_once(void *user, const char **document, size_t *bytes, sg_error *err)
{
    (void)err;
    *document = (*(int *)user)++ == 0 ? text : NULL;
    *bytes = sizeof text - 1;
    return SG_OK;
}

// All bytes are among its tokens, whatever characters they are parts of.
static sg_tokenizer *bytes_tokenizer(void)
{
    sg_tokenizer *tokenizer;
    sg_error err = {0};
    int calls = 0;
    sg_tokenizer_train_options o = sg_tokenizer_train_options_default();
    o.vocab_size = 260;
    o.nfkc = false;
    must(sg_tokenizer_train(&o, text_once, &calls, &tokenizer, &err), &err);
    return tokenizer;
}

// The text above, read by a model that has the tokenizer's vocabulary.
static sg_record *record_text(const fixture *f, const sg_tokenizer *tokenizer, const char *name)
{
    sg_error err = {0};
    sg_model *own;
    const sg_config c = tiny_config("sgatlin", sg_tokenizer_vocab_size(tokenizer), 64);
    must(sg_model_new(context, &c, 3, &own, &err), &err);
    sg_record_options o = options_of(path_in(f, name), NULL);
    o.text = text;
    o.text_bytes = strlen(text);
    o.tokenizer = tokenizer;
    o.context = 16;
    o.source = "a text";
    must(sg_probe_record(own, &o, NULL, &err), &err);
    sg_model_free(own);
    return open_of(o.path);
}

// Texts of tokens joined are the text; excerpts are parts of it, in whole characters.
static void test_text(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_tokenizer *tokenizer = bytes_tokenizer();
    sg_record *record = record_text(f, tokenizer, "r.db");
    const sg_record_info *info = sg_record_get_info(record);
    sg_record_token tokens[64];
    int64_t count;
    char joined[256] = "";
    assert_string_equal(info->source, "a text");
    must(sg_record_tokens(record, 0, 64, tokens, &count, &err), &err);
    assert_true(count == info->tokens && count > 16);
    for (int64_t i = 1; i < count; i++) { // the first begins a text
        size_t bytes;
        const char *word = sg_record_text(record, tokens[i].token, &bytes);
        strncat(joined, word, bytes);
        assert_int_equal(tokens[i - 1].next, tokens[i].token);
        assert_int_equal(tokens[i].id, i);
        assert_int_equal(tokens[i].position, i % 16);
    }
    assert_int_equal(tokens[count - 1].next, -1);
    const char *found = joined[0] == ' ' ? joined + 1 : joined; // the tokenizer's own space
    assert_string_equal(found, text);
    for (int64_t i = 0; i < count; i++) {
        sg_record_excerpt e;
        must(sg_record_excerpt_of(record, i, 4, 4, &e, &err), &err);
        assert_int_equal(sg_utf8_valid_prefix(e.before, strlen(e.before)), strlen(e.before));
        assert_int_equal(sg_utf8_valid_prefix(e.token, strlen(e.token)), strlen(e.token));
        if (tokens[i].position == 0) assert_string_equal(e.before, "");
        if (tokens[i].position == 15) assert_string_equal(e.after, "");
        sg_record_excerpt_clear(&e);
    }
    sg_record_excerpt e;
    assert_int_equal(sg_record_excerpt_of(record, 9999, 4, 4, &e, &err), SG_ERR_NOT_FOUND);
    sg_record_free(record);
    sg_tokenizer_free(tokenizer);
}

// ---- files --------------------------------------------------------------------------------------

static int64_t export_table(sg_record *record, const char *table, sg_export_format format,
                            const char *path)
{
    sg_error err = {0};
    int64_t rows;
    const sg_export_options o = {.table = table, .format = format, .path = path, .force = true};
    must(sg_record_export(record, &o, &rows, &err), &err);
    return rows;
}

static char *read_text(const char *path, size_t *bytes)
{
    char *data;
    sg_error err = {0};
    must(sg_file_read(path, 1 << 24, &data, bytes, &err), &err);
    return data;
}

// The next field of CSV into `out`; *at is behind it and what ends it.
static void csv_field(const char **at, char *out, size_t capacity)
{
    size_t n = 0;
    const bool quoted = **at == '"';
    *at += quoted;
    while (quoted ? **at != '"' || (*at)[1] == '"' : **at != ',' && **at != '\r') {
        assert_true(**at != '\0' && n + 1 < capacity);
        *at += quoted && **at == '"';
        out[n++] = *(*at)++;
    }
    out[n] = '\0';
    *at += quoted;
    *at += **at == ',' ? 1 : 2;
}

// Texts of the vocabulary come back from CSV and from JSON, those that are no UTF-8 as their bytes.
static void test_vocabulary(void **state)
{
    const fixture *f = *state;
    sg_tokenizer *tokenizer = bytes_tokenizer();
    sg_record *record = record_text(f, tokenizer, "r.db");
    const char *csv_path = path_in(f, "v.csv"), *json_path = path_in(f, "v.jsonl");
    const int64_t rows = export_table(record, "vocabulary", SG_EXPORT_CSV, csv_path);
    assert_int_equal(rows, sg_record_get_info(record)->vocabulary);
    assert_int_equal(export_table(record, "vocabulary", SG_EXPORT_JSONL, json_path), rows);
    size_t bytes;
    char *csv = read_text(csv_path, &bytes), *json = read_text(json_path, &bytes), *line = json;
    assert_int_equal(sg_utf8_valid_prefix(csv, strlen(csv)), strlen(csv));
    const char *at = strchr(csv, '\n') + 1;
    int broken = 0;
    for (int64_t id = 0; id < rows; id++) {
        char number[32], word[256], hex[512], expected[512] = "";
        size_t length;
        const char *own = sg_record_text(record, (int32_t)id, &length);
        csv_field(&at, number, sizeof number);
        csv_field(&at, word, sizeof word);
        csv_field(&at, hex, sizeof hex);
        assert_int_equal(atoll(number), id);
        const bool whole = sg_utf8_valid_prefix(own, length) == length && strlen(own) == length;
        if (whole) assert_string_equal(word, own);
        for (size_t i = 0; i < length && !whole; i++)
            snprintf(expected + 2 * i, 3, "%02x", (unsigned char)own[i]);
        assert_string_equal(hex, expected);
        broken += !whole;
        line[strcspn(line, "\n")] = '\0';
        json_t *object = json_loads(line, 0, NULL);
        assert_non_null(object);
        assert_string_equal(json_string_value(json_object_get(object, "text")), word);
        assert_true(json_is_null(json_object_get(object, "bytes")) == whole);
        json_decref(object);
        line += strlen(line) + 1;
    }
    assert_true(broken > 50);
    sg_free(csv);
    sg_free(json);
    sg_record_free(record);
    sg_tokenizer_free(tokenizer);
}

static sg_record *record_data(const fixture *f, const char *name)
{
    sg_error err = {0};
    sg_data *data = data_of(f, 40, 16, false);
    sg_record_options o = options_of(path_in(f, name), data);
    must(sg_probe_record(model, &o, NULL, &err), &err);
    sg_data_free(data);
    return open_of(o.path);
}

// Rows of hits are those of the record, in all three forms.
static void test_hits(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_record *record = record_data(f, "r.db");
    const char *csv_path = path_in(f, "h.csv"), *npy_path = path_in(f, "h.npy");
    const int64_t rows = export_table(record, "hits", SG_EXPORT_CSV, csv_path);
    assert_int_equal(rows, sg_record_get_info(record)->tokens * 2 * 2 * 3);
    assert_int_equal(export_table(record, "hits", SG_EXPORT_NPY, npy_path), rows);
    size_t bytes, others;
    char *csv = read_text(csv_path, &others), *npy = read_text(npy_path, &bytes);
    const size_t row = 5 * 8 + 3 * 4, header = bytes - (size_t)rows * row;
    assert_true(header % 64 == 0 && header < 512);
    assert_non_null(strstr(npy + 10, "('token', '<i8'), ('layer', '<i8'), ('channel', '<i8'), "));
    const char *at = strchr(csv, '\n') + 1;
    for (int64_t i = 0; i < rows; i++) {
        char field[64];
        sg_record_hit hits[8];
        int64_t number[5], count;
        float real[3];
        memcpy(number, npy + header + (size_t)i * row, sizeof number);
        memcpy(real, npy + header + (size_t)i * row + sizeof number, sizeof real);
        must(sg_record_token_hits(record, number[1], number[2], number[0], 8, hits, &count, &err),
             &err);
        assert_true(number[3] < count);
        assert_int_equal(hits[number[3]].neuron, number[4]);
        assert_true(hits[number[3]].score == real[0] && hits[number[3]].activation == real[1]);
        for (int c = 0; c < 8; c++) {
            csv_field(&at, field, sizeof field);
            if (c < 5)
                assert_int_equal(atoll(field), number[c]);
            else
                assert_true(strtof(field, NULL) == real[c - 5]);
        }
    }
    assert_int_equal(*at, '\0');
    sg_free(csv);
    sg_free(npy);
    sg_record_free(record);
}

static void expect_fail(sg_record *record, const sg_export_options *o, sg_status expected,
                        const char *says)
{
    sg_error err = {0};
    const sg_status status = sg_record_export(record, o, NULL, &err);
    if (status != expected || strstr(err.message, says) == NULL)
        fail_msg("found %s: \"%s\"", sg_status_name(status), err.message);
}

static void test_refused(void **state)
{
    const fixture *f = *state;
    sg_record *record = record_data(f, "r.db");
    const char *path = path_in(f, "x");
    expect_fail(record, &(sg_export_options){.table = "other", .path = path}, SG_ERR_ARGUMENT,
                "table: found other");
    expect_fail(record, &(sg_export_options){.table = "tokens", .path = path, .layers = "0"},
                SG_ERR_ARGUMENT, "layers or channels");
    expect_fail(record, &(sg_export_options){.table = "hits", .path = path, .layers = "7"},
                SG_ERR_ARGUMENT, "layers: found \"7\"");
    expect_fail(record,
                &(sg_export_options){.table = "vocabulary", .path = path, .format = SG_EXPORT_NPY},
                SG_ERR_UNSUPPORTED, "are texts");
    assert_false(sg_path_exists(path));
    put(path, "there");
    expect_fail(record, &(sg_export_options){.table = "tokens", .path = path}, SG_ERR_ARGUMENT,
                "is there already");
    expect(path, "there");
    sg_record_free(record);
}

// ---- the queries of the documentation -----------------------------------------------------------

static void run_query(sg_database *d, const char *sql)
{
    sg_statement *s;
    sg_error err = {0};
    bool row;
    must(sg_database_prepare(d, sql, &s, &err), &err);
    must(sg_statement_step(s, &row, &err), &err);
    if (!row) fail_msg("no row: %s", sql);
    sg_statement_free(s);
}

static void test_queries(void **state)
{
    const fixture *f = *state;
    sg_record *record = record_data(f, "r.db");
    size_t bytes;
    char *page = read_text(SG_TEST_DIR "/../docs/PROBE.md", &bytes);
    char *at = strstr(page, "\n## Recording"), *end = at != NULL ? strstr(at + 4, "\n## ") : NULL;
    int queries = 0;
    assert_non_null(end);
    *end = '\0';
    while ((at = strstr(at, "\n    SELECT ")) != NULL) {
        char *last = strchr(at, ';');
        assert_non_null(last);
        *last = '\0';
        run_query(sg_record_database(record), at + 5);
        at = last + 1;
        queries++;
    }
    assert_true(queries >= 6);
    sg_free(page);
    sg_record_free(record);
}

// What views say is what the library says.
static void test_views(void **state)
{
    const fixture *f = *state;
    sg_error err = {0};
    sg_record *record = record_data(f, "r.db");
    sg_database *d = sg_record_database(record);
    int64_t all, same;
    must(sg_database_int(d, "SELECT count(*) FROM hits", 0, 1 << 30, &all, &err), &err);
    assert_int_equal(all, sg_record_get_info(record)->gates * 3);
    must(
        sg_database_int(d,
                        "SELECT count(*) FROM hits h JOIN neuron_hits n ON n.layer = h.layer AND "
                        "n.channel = h.channel AND n.neuron = h.neuron AND n.token = h.token WHERE "
                        "n.score = h.score AND n.activation = h.activation AND n.contribution = "
                        "h.contribution",
                        0, 1 << 30, &same, &err),
        &err);
    assert_int_equal(same, all);
    must(sg_database_int(d, "SELECT sum(hits) FROM neurons", 0, 1 << 30, &same, &err), &err);
    assert_int_equal(same, all);
    must(sg_database_int(d, "SELECT count(*) FROM tokens WHERE id <> sequence * 16 + position", 0,
                         1 << 30, &same, &err),
         &err);
    assert_int_equal(same, 0);
    must(sg_database_int(d, "SELECT count(*) FROM predictions", 0, 1 << 30, &same, &err), &err);
    assert_int_equal(same, 5 * sg_record_get_info(record)->tokens);
    sg_record_free(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FILE_TEST(test_text),    FILE_TEST(test_vocabulary), FILE_TEST(test_hits),
        FILE_TEST(test_refused), FILE_TEST(test_queries),    FILE_TEST(test_views),
    };
    return cmocka_run_group_tests_name("record_export", tests, group_begin, group_end);
}
