// Files for `train --config`: which kind is which, what they hold, and hostile ones.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "format/json.h"
#include "model/config.h"
#include "tiny_models.h"
#include "tiny_run.h"
#include "train/run_fields.h"
#include "train/run_settings.h"

static memory_fs *disk;

static int open_disk(void **state)
{
    (void)state;
    disk = tiny_disk();
    return 0;
}

static int close_disk(void **state)
{
    (void)state;
    tiny_disk_free(disk);
    return 0;
}

static void put(const char *text)
{
    assert_int_equal(sg_file_write_atomic("/file.json", text, strlen(text), NULL), SG_OK);
}

static sg_train_file must_read(const char *path)
{
    sg_error err;
    sg_train_file file;
    if (sg_train_file_read(path, &file, &err) != SG_OK) fail_msg("%s", err.message);
    return file;
}

static void expect_refused(const char *text, const char *words)
{
    sg_error err = {0};
    sg_train_file file;
    const int64_t live = sg_alloc_live();
    put(text);
    if (sg_train_file_read("/file.json", &file, &err) != SG_ERR_FORMAT &&
        err.code != SG_ERR_UNSUPPORTED)
        fail_msg("%s was taken: %s", text, err.message);
    if (strstr(err.message, words) == NULL || strncmp(err.message, "/file.json", 10) != 0)
        fail_msg("found %s, expected … %s …", err.message, words);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_options_by_name(void **state)
{
    (void)state;
    put("{\"lr\": 0.5, \"steps\": 12, \"schedule\": \"linear\", \"recompute\": true, \"a\": null,"
        " \"b\": NaN, \"c\": [1], \"d\": 1e999}");
    sg_train_file file = must_read("/file.json");
    static const char *const names[] = {"lr", "steps", "schedule", "recompute", "a", "b", "c", "d"};
    static const char *const values[] = {"0.5", "12", "linear", "true"};
    assert_int_equal(file.kind, SG_TRAIN_FILE_OPTIONS);
    assert_int_equal(file.count, 8);
    for (size_t i = 0; i < file.count; i++) {
        assert_string_equal(file.names[i], names[i]);
        if (i < 4)
            assert_string_equal(file.values[i], values[i]);
        else
            assert_null(file.values[i]);
    }
    assert_string_equal(file.unread, "");
    sg_train_file_clear(&file);
    assert_int_equal(file.count, 0);
}

// The text of a configuration with one member in front.
static void put_config(const sg_config *config, const char *member)
{
    char *text, *with;
    json_t *object = sg_config_json(config);
    assert_int_equal(sg_json_text(object, false, &text, NULL), SG_OK);
    const size_t room = strlen(text) + strlen(member) + 1;
    with = sg_alloc(room);
    snprintf(with, room, "{%s%s", member, text + 1);
    put(with);
    sg_free(with);
    sg_free(text);
    json_decref(object);
}

static void test_config(void **state)
{
    (void)state;
    sg_config c = tiny_config("moe", 32, 64);
    assert_int_equal(sg_config_complete(&c, NULL), SG_OK);
    put_config(&c, "\"what\": NaN, \"transformers_version\": \"5.0\", \"if\": {\"a\": [1]},");
    sg_train_file file = must_read("/file.json");
    assert_int_equal(file.kind, SG_TRAIN_FILE_CONFIG);
    assert_memory_equal(&file.options.config, &c, sizeof c);
    assert_string_equal(file.unread, "/file.json: keys that are not read here: what, if");
    assert_int_equal(file.count, 0);
    sg_train_file_clear(&file);
}

static void test_run(void **state)
{
    (void)state;
    sg_train_options o = tiny_options("sgatlin"), was;
    tiny_life life = {0};
    json_t *object;
    bool sealed;
    tiny_must(&life, "/run", &o);
    assert_int_equal(sg_train_read_options("/run", &was, NULL), SG_OK);
    sg_train_file file = must_read("/run/run.json");
    assert_int_equal(file.kind, SG_TRAIN_FILE_RUN);
    assert_memory_equal(&file.options, &was, sizeof was);
    assert_string_equal(file.unread, "");
    sg_train_file_clear(&file);
    // What a newer version may have written, at each of the three places.
    assert_int_equal(sg_run_read_json("/run", "run.json", &object, &sealed, NULL), SG_OK);
    json_t *options = json_object_get(object, "options");
    json_object_set_new(object, "mood", json_integer(1));
    json_object_set_new(options, "warm_heart", json_integer(1));
    json_object_set_new(json_object_get(options, "config"), "ffn_colour", json_integer(1));
    assert_int_equal(sg_run_write_json("/run", "run.json", object, NULL), SG_OK);
    file = must_read("/run/run.json");
    assert_non_null(strstr(file.unread, ": mood, ffn_colour, warm_heart"));
    sg_train_file_clear(&file);
    tiny_life again = {0};
    tiny_must(&again, "/run", NULL);
    assert_non_null(strstr(again.log, "keys that are not read here: mood, ffn_colour, warm_heart"));
}

static void test_hostile(void **state)
{
    (void)state;
    char large[2048];
    expect_refused("", "not valid JSON");
    expect_refused("[1]", "found no JSON object");
    expect_refused("3", "found no JSON object");
    expect_refused("{\"lr\": 1, \"lr\": 2}", "a duplicate key");
    expect_refused("{\"model_type\": 3}", "\"model_type\"");
    expect_refused("{\"model_type\": \"llama\"}", "expected \"sgatlin\"");
    expect_refused("{\"model_type\": \"sgatlin\"}", "vocab_size: found 0, expected 2 to 16777216");
    expect_refused("{\"model_type\": \"sgatlin\", \"vocab_size\": \"64\"}", "\"vocab_size\"");
    expect_refused("{\"model_type\": \"sgatlin\", \"vocab_size\": NaN}", "\"vocab_size\"");
    expect_refused("{\"model_type\": \"sgatlin\", \"vocab_size\": 99999999999999999999}",
                   "\"vocab_size\"");
    expect_refused("{\"model_type\": \"sgatlin\", \"hidden_size\": 1e3}", "\"hidden_size\"");
    expect_refused("{\"options\": {}}", "\"seed\"");
    expect_refused("{\"options\": {}, \"checksum\": \"0\"}", "checksum");
    memset(large, '[', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    large[0] = '{';
    memcpy(large + 1, "\"a\":", 4);
    expect_refused(large, "not valid JSON");
    sg_error err;
    sg_train_file file;
    assert_int_equal(sg_train_file_read("/none.json", &file, &err), SG_ERR_NOT_FOUND);
}

// One option that is wrong in a run.json, of each kind: named.
static void test_wrong_options_of_a_run(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {{"seed", "\"one\""},
                                           {"batch_size", "0"},
                                           {"batch_size", "1.5"},
                                           {"lr", "\"fast\""},
                                           {"lr", "-1"},
                                           {"schedule", "\"stairs\""},
                                           {"recompute", "1"},
                                           {"table_dtype", "\"int8\""},
                                           {"optimizer_rows", "\"most\""},
                                           {"steps", "-1"},
                                           {"sample_prompt", "[]"},
                                           {"eps", "0"},
                                           {"keep_last", "0"},
                                           {"seed", "12"},
                                           {"warmup_share", "2"},
                                           {"checkpoint_minutes", "-1"}};
    sg_train_options o = tiny_options("mlp");
    tiny_life life = {0};
    tiny_must(&life, "/run", &o);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        json_t *object, *value;
        bool sealed;
        sg_error err = {0};
        sg_train_file file;
        char quoted[64], dashed[64];
        assert_int_equal(sg_run_read_json("/run", "run.json", &object, &sealed, NULL), SG_OK);
        assert_int_equal(sg_json_parse(wrong[i][1], strlen(wrong[i][1]), "x", &value, NULL), SG_OK);
        json_object_set_new(json_object_get(object, "options"), wrong[i][0], value);
        assert_int_equal(sg_run_write_json("/", "run.json", object, NULL), SG_OK);
        assert_int_not_equal(sg_train_file_read("/run.json", &file, &err), SG_OK);
        snprintf(quoted, sizeof quoted, "%s", wrong[i][0]);
        snprintf(dashed, sizeof dashed, "%s", wrong[i][0]);
        for (char *c = dashed; *c != '\0'; c++)
            if (*c == '_') *c = '-';
        if (strstr(err.message, quoted) == NULL && strstr(err.message, dashed) == NULL)
            fail_msg("%s %s: %s", wrong[i][0], wrong[i][1], err.message);
    }
}

// Without a member that runs have always had: refused by its name. Without one that came later: as
// runs were before.
static void test_older_runs(void **state)
{
    (void)state;
    sg_train_options o = tiny_options("mlp");
    const sg_run_field *f;
    tiny_life life = {0};
    tiny_must(&life, "/run", &o);
    for (size_t i = 0; (f = sg_run_field_at(i)) != NULL; i++) {
        json_t *object;
        bool sealed;
        sg_error err = {0};
        sg_train_file file;
        sg_train_options before = {0};
        assert_int_equal(sg_run_read_json("/run", "run.json", &object, &sealed, NULL), SG_OK);
        assert_int_equal(json_object_del(json_object_get(object, "options"), f->field.name), 0);
        assert_int_equal(sg_run_write_json("/", "run.json", object, NULL), SG_OK);
        const sg_status status = sg_train_file_read("/run.json", &file, &err);
        if (f->older == NULL) {
            assert_int_equal(status, SG_ERR_FORMAT);
            if (strstr(err.message, f->field.name) == NULL) fail_msg("%s", err.message);
            continue;
        }
        if (status != SG_OK) fail_msg("%s", err.message);
        assert_int_equal(
            sg_field_set(&f->field, "x", f->older, INT64_MIN, INT64_MAX, &before, &err), SG_OK);
        assert_memory_equal(sg_field_of(&f->field, &file.options), sg_field_of(&f->field, &before),
                            f->field.bytes);
        sg_train_file_clear(&file);
    }
}

static sg_status read_once(void *user, sg_error *err)
{
    sg_train_file file;
    sg_status status = sg_train_file_read(user, &file, err);
    if (status == SG_OK) sg_train_file_clear(&file);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    char path[] = "/file.json";
    put("{\"lr\": 0.5, \"steps\": 12, \"schedule\": \"linear\"}");
    assert_true(alloc_failure_loop(read_once, path) > 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_options_by_name, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_config, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_run, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_hostile, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_wrong_options_of_a_run, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_older_runs, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_out_of_memory, open_disk, close_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
