// The ids that end a text, from each of the places that name them; and that a model knows all of
// them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "format/end_tokens.h"
#include "format/json.h"
#include "memory_disk.h"
#include "model/model_file.h"
#include "tiny_models.h"
#include "sgatlin_convert.h"

static void put(const char *path, const char *text)
{
    sg_error err = {0};
    must(sg_file_write_atomic(path, text, strlen(text), &err), &err);
}

// Ids of a value of "ids" with a vocabulary of 100.
static sg_status read_ids(const char *text, sg_end_tokens *ends, sg_error *err)
{
    json_t *object;
    *ends = (sg_end_tokens){0};
    must(sg_json_parse(text, strlen(text), "file", &object, err), err);
    sg_status status = sg_end_tokens_of_json(object, "file", "ids", 100, ends, err);
    json_decref(object);
    return status;
}

static void expect_ids(const sg_end_tokens *ends, size_t count, const int32_t *ids)
{
    assert_int_equal(ends->count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ends->ids[i], ids[i]);
}

static void test_values(void **state)
{
    static const struct {
        const char *text;
        size_t count;
        int32_t ids[3];
    } taken[] = {{"{}", 0, {0}},
                 {"{\"ids\": null}", 0, {0}},
                 {"{\"ids\": []}", 0, {0}},
                 {"{\"ids\": -1}", 0, {0}},
                 {"{\"ids\": 0}", 1, {0}},
                 {"{\"ids\": 99}", 1, {99}},
                 {"{\"ids\": 100}", 0, {0}},
                 {"{\"ids\": [100, 7, -1, 7, 5000000000, 3]}", 2, {7, 3}}};
    static const char *const refused[] = {"[]",
                                          "7",
                                          "{\"ids\": \"7\"}",
                                          "{\"ids\": 7.0}",
                                          "{\"ids\": -2}",
                                          "{\"ids\": [1, \"2\"]}",
                                          "{\"ids\": [1, null]}",
                                          "{\"ids\": [[1]]}",
                                          "{\"ids\": 9223372036854775807}"};
    sg_error err = {0};
    sg_end_tokens ends;
    (void)state;
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++) {
        must(read_ids(taken[i].text, &ends, &err), &err);
        expect_ids(&ends, taken[i].count, taken[i].ids);
    }
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (read_ids(refused[i], &ends, &err) != SG_ERR_FORMAT) fail_msg("taken: %s", refused[i]);
        assert_non_null(strstr(err.message, "file: "));
        assert_non_null(strstr(err.message, "\"ids\""));
    }
}

// As many as there is room for, and one more.
static void test_many(void **state)
{
    char text[1024];
    sg_error err = {0};
    sg_end_tokens ends;
    (void)state;
    for (int n = SG_END_TOKENS_MOST; n <= SG_END_TOKENS_MOST + 1; n++) {
        int used = snprintf(text, sizeof text, "{\"ids\": [0, 0, 0");
        for (int i = 1; i < n; i++)
            used += snprintf(text + used, sizeof text - (size_t)used, ", %d", i);
        snprintf(text + used, sizeof text - (size_t)used, "]}");
        const sg_status status = read_ids(text, &ends, &err);
        assert_int_equal(status, n == SG_END_TOKENS_MOST ? SG_OK : SG_ERR_FORMAT);
        assert_int_equal(ends.count, SG_END_TOKENS_MOST);
        assert_true(sg_end_tokens_has(&ends, SG_END_TOKENS_MOST - 1));
        assert_false(sg_end_tokens_has(&ends, SG_END_TOKENS_MOST));
    }
    assert_non_null(strstr(err.message, "file: \"ids\": found more than 64"));
}

// ---- models -------------------------------------------------------------------------------------

static void make_folder(const char *config_ids, const char *generation)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *m;
    char text[1024];
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    sg_config c = tiny_config("glu ffn_activation=swiglu qk_norm=none", 40, 16);
    must(sg_model_new(context, &c, 1, &m, &err), &err);
    sg_convert_options o = sg_convert_options_default();
    o.model_type = "llama";
    const sg_config *k = sg_model_config(m);
    snprintf(text, sizeof text,
             "{\"model_type\": \"llama\", \"vocab_size\": 40, \"hidden_size\": %d, "
             "\"num_hidden_layers\": %d, \"num_attention_heads\": %d, \"intermediate_size\": %d, "
             "\"tie_word_embeddings\": true, \"eos_token_id\": %s}",
             (int)k->hidden_size, (int)k->num_hidden_layers, (int)k->num_attention_heads,
             (int)k->ffn_intermediate_size, config_ids);
    must(sg_tree_remove("/ours", &err), &err);
    must(sg_tree_remove("/hf", &err), &err);
    must(sg_model_save(m, NULL, "/ours", &err), &err);
    must(sg_convert(context, "/ours", &o, "/hf", NULL, &err), &err);
    put("/hf/config.json", text);
    must(sg_tree_remove("/hf/generation_config.json", &err), &err);
    if (generation != NULL) put("/hf/generation_config.json", generation);
    sg_model_free(m);
    sg_context_free(context);
}

static void expect_folder(const char *config_ids, const char *generation, int64_t first,
                          size_t count, const int32_t *ids)
{
    sg_error err = {0};
    sg_model_file *file;
    make_folder(config_ids, generation);
    must(sg_model_file_open("/hf", &file, &err), &err);
    assert_int_equal(file->config.eos_token_id, first);
    expect_ids(&file->ends, count, ids);
    sg_model_file_close(file);
}

static void refuse_folder(const char *generation, const char *words)
{
    sg_error err = {0};
    sg_model_file *file;
    make_folder("2", generation);
    assert_int_equal(sg_model_file_open("/hf", &file, &err), SG_ERR_FORMAT);
    if (strstr(err.message, "/hf/generation_config.json") == NULL ||
        strstr(err.message, words) == NULL)
        fail_msg("found \"%s\", expected \"%s\"", err.message, words);
}

static void test_folder(void **state)
{
    (void)state;
    expect_folder("2", NULL, 2, 1, (int32_t[]){2});
    expect_folder("[3, 2, 9]", NULL, 3, 3, (int32_t[]){3, 2, 9});
    expect_folder("2", "{\"eos_token_id\": [7, 2, 9], \"temperature\": 0.6}", 2, 3,
                  (int32_t[]){2, 7, 9});
    expect_folder("[4, 5]", "{\"eos_token_id\": 6}", 4, 3, (int32_t[]){4, 5, 6});
    expect_folder("null", "{\"eos_token_id\": [7, 8]}", 7, 2, (int32_t[]){7, 8});
    expect_folder("null", "{}", -1, 0, NULL);
    refuse_folder("{\"eos_token_id\": [7, \"<|eot_id|>\"]}", "\"eos_token_id\"");
    refuse_folder("[]", "\"eos_token_id\"");
    refuse_folder("{\"eos_token_id\": ", "not valid JSON");
}

// Through the model and out again: as a folder and as GGUF.
static void test_convert(void **state)
{
    sg_error err = {0};
    sg_context *context;
    sg_model *m;
    size_t count;
    static const int32_t ids[] = {2, 7, 9};
    static const char *const paths[] = {"/hf", "/again", "/ours-too", "/file.gguf", "/back"};
    (void)state;
    make_folder("[2, 7, 9]", NULL);
    must(sg_context_new(&(sg_context_options){.threads = 1}, &context, &err), &err);
    sg_convert_options o = sg_convert_options_default();
    must(sg_convert(context, "/hf", &o, "/again", NULL, &err), &err);
    o.form = SG_CONVERT_SGATLIN;
    must(sg_convert(context, "/hf", &o, "/ours-too", NULL, &err), &err);
    o.form = SG_CONVERT_GGUF;
    must(sg_convert(context, "/hf", &o, "/file.gguf", NULL, &err), &err);
    o.form = SG_CONVERT_HF;
    must(sg_convert(context, "/file.gguf", &o, "/back", NULL, &err), &err);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        must(sg_model_open(context, paths[i], &m, &err), &err);
        const int32_t *ends = sg_model_ends(m, &count);
        assert_int_equal(count, 3);
        assert_memory_equal(ends, ids, sizeof ids);
        sg_model_free(m);
    }
    // A file that says all of them goes along as it is.
    put("/hf/generation_config.json", "{\"eos_token_id\": [9, 7, 2], \"top_k\": 3}");
    must(sg_convert(context, "/hf", &o, "/kept", NULL, &err), &err);
    size_t bytes;
    const unsigned char *kept = memory_fs_bytes(disk, "/kept/generation_config.json", &bytes);
    assert_non_null(kept);
    assert_memory_equal(kept, "{\"eos_token_id\": [9, 7, 2], \"top_k\": 3}", bytes);
    // One that says fewer keeps the rest of what it says.
    put("/hf/generation_config.json", "{\"eos_token_id\": 9, \"top_k\": 3}");
    must(sg_convert(context, "/hf", &o, "/joined", NULL, &err), &err);
    kept = memory_fs_bytes(disk, "/joined/generation_config.json", &bytes);
    assert_non_null(kept);
    json_t *object;
    int64_t top_k = 0;
    sg_end_tokens said = {0};
    must(sg_json_parse((const char *)kept, bytes, "file", &object, &err), &err);
    must(sg_json_get_int(object, "file", "top_k", true, 0, 9, &top_k, &err), &err);
    must(sg_end_tokens_of_json(object, "file", "eos_token_id", 40, &said, &err), &err);
    assert_int_equal(top_k, 3);
    expect_ids(&said, 3, ids);
    json_decref(object);
    // GGUF has three keys.
    put("/hf/generation_config.json", "{\"eos_token_id\": 11}");
    o.form = SG_CONVERT_GGUF;
    assert_int_equal(sg_convert(context, "/hf", &o, "/no.gguf", NULL, &err), SG_ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "eos_token_id: found 4 ids"));
    sg_context_free(context);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_many),
        cmocka_unit_test_setup_teardown(test_folder, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_convert, disk_begin, disk_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
