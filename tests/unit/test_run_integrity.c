// What a run keeps on the disk is either as it was written or said not to be: no changed setting,
// lost model or impossible number is gone on with in silence, and nothing that is whole is lost
// with what is not.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "format/json.h"
#include "format/json_seal.h"
#include "format/manifest.h"
#include "tiny_run.h"
#include "train/run_state.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

static void expect(const tiny_life *life, sg_status status, const char *words)
{
    if (life->status != status || strstr(life->err.message, words) == NULL)
        fail_msg("found %s: %s\nexpected %s: … %s …", sg_status_name(life->status),
                 life->err.message, sg_status_name(status), words);
}

// A run stopped after step 8, with checkpoints of steps 6 and 8; and how it ends when left alone.
static memory_fs *stopped(tiny_end *expected)
{
    memory_fs *fs = tiny_disk();
    sg_train_options options = tiny_options("sgatlin");
    tiny_life life = {.stop_at = 8};
    assert_int_equal(tiny_train(&life, "/run", &options), SG_ERR_STOPPED);
    memory_fs *other = memory_fs_clone(fs);
    tiny_use(other);
    life.stop_at = 0;
    tiny_must(&life, "/run", NULL);
    *expected = tiny_end_of("/run");
    tiny_disk_free(other);
    tiny_use(fs);
    return fs;
}

static void expect_end(const tiny_end *expected, const char *where)
{
    tiny_end end = tiny_end_of("/run");
    tiny_same(&end, expected, where);
    tiny_end_free(&end);
}

// ---- run.json -----------------------------------------------------------------------------------

// Every digit and letter of it, changed to another.
static void test_settings_changed_by_hand(void **state)
{
    (void)state;
    tiny_end expected;
    memory_fs *fs = stopped(&expected);
    tiny_end_free(&expected);
    size_t bytes;
    tiny_life life = {0};
    unsigned char *text = memory_fs_bytes(fs, "/run/run.json", &bytes);
    json_t *whole, *now;
    must(sg_json_parse((char *)text, bytes, "run.json", &whole, &life.err), &life.err);
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char was = text[i];
        if (was == ' ' || was == '\n') continue;
        text[i] = was == '1' ? '2' : was >= '0' && was <= '9' ? '1' : was == 'a' ? 'b' : 'a';
        // The last of 17 digits may be of the same double.
        const bool parsed = sg_json_parse((char *)text, bytes, "run.json", &now, NULL) == SG_OK;
        if (!parsed || !json_equal(now, whole)) {
            tiny_train(&life, "/run", NULL);
            expect(&life, SG_ERR_FORMAT, "/run/run.json");
        }
        if (parsed) json_decref(now);
        text[i] = was;
    }
    json_decref(whole);
    tiny_must(&life, "/run", NULL);
    text = memory_fs_bytes(fs, "/run/summary.json", &bytes);
    *(unsigned char *)memmem(text, bytes, "12", 2) = '2';
    tiny_train(&life, "/run", NULL);
    expect(&life, SG_ERR_FORMAT, "/run/summary.json");
    tiny_disk_free(fs);
}

// ---- metrics.jsonl ------------------------------------------------------------------------------

static void test_metrics_damaged(void **state)
{
    (void)state;
    tiny_end expected;
    memory_fs *fs = stopped(&expected);
    size_t bytes;
    unsigned char *text = memory_fs_bytes(fs, "/run/metrics.jsonl", &bytes);
    text[30] = 1;
    tiny_life life = {0};
    tiny_must(&life, "/run", NULL);
    assert_int_equal(life.warnings, 1);
    assert_non_null(strstr(life.log, "/run/metrics.jsonl: 1 damaged line was dropped"));
    // All lines but the first, and the same bits of everything else.
    tiny_end end = tiny_end_of("/run");
    assert_string_equal(end.metrics, strchr(expected.metrics, '\n') + 1);
    sg_free(end.metrics);
    end.metrics = sg_strdup(expected.metrics);
    tiny_same(&end, &expected, "with a damaged line");
    tiny_end_free(&end);
    tiny_end_free(&expected);
    tiny_disk_free(fs);
}

// ---- a model that is lost -----------------------------------------------------------------------

static void test_lost_model(void **state)
{
    (void)state;
    static const char *const files[] = {"/run/model.safetensors", "/run/config.json",
                                        "/run/tokenizer.json"};
    tiny_end expected;
    memory_fs *base = stopped(&expected);
    tiny_life life = {0};
    tiny_must(&life, "/run", NULL);
    for (int i = 0; i < 5; i++) {
        memory_fs *fs = memory_fs_clone(base);
        tiny_use(fs);
        if (i < 3)
            must(sg_path_remove(files[i], &life.err), &life.err);
        else
            memory_fs_resize(fs, files[0], i == 3 ? 100 : 0);
        tiny_must(&life, "/run", NULL);
        assert_int_equal(life.resumed_from, TINY_STEPS);
        assert_int_equal(life.warnings, 1);
        assert_non_null(strstr(life.log, "restoring it from the last checkpoint"));
        expect_end(&expected, files[i % 3]);
        tiny_must(&life, "/run", NULL); // and now it is whole
        assert_int_equal(life.warnings, 0);
        must(sg_path_remove(files[0], &life.err), &life.err);
        must(sg_tree_remove("/run/checkpoints", &life.err), &life.err);
        tiny_train(&life, "/run", NULL);
        expect(&life, SG_ERR_NOT_FOUND, "model.safetensors");
        tiny_disk_free(fs);
    }
    tiny_use(base);
    tiny_disk_free(base);
    tiny_end_free(&expected);
}

static void test_lost_adapter(void **state)
{
    (void)state;
    memory_fs *fs = tiny_disk();
    sg_train_options options = tiny_options("glu");
    tiny_life life = {0};
    tiny_must(&life, "/base", &options);
    must(sg_train_options_from_model("/base", &options, &life.err), &life.err);
    options.steps = 3;
    options.batch_size = 4;
    options.lora_rank = 2;
    strcpy(options.lora_targets, "q_proj");
    tiny_must(&life, "/run", &options);
    must(sg_path_remove("/run/adapter/adapter_model.safetensors", &life.err), &life.err);
    tiny_must(&life, "/run", NULL);
    assert_int_equal(life.warnings, 1);
    assert_true(sg_path_exists("/run/adapter/adapter_model.safetensors"));
    tiny_disk_free(fs);
}

// ---- numbers that cannot be ---------------------------------------------------------------------

// A member of the state of step 8 set to a number, the manifest sealed again.
static void put_state(const char *key, json_t *value)
{
    static const char path[] = "/run/checkpoints/step-8/manifest.json";
    json_t *root;
    char *text;
    sg_error err;
    must(sg_json_read(path, 1 << 20, &root, &err), &err);
    json_object_set_new(json_object_get(root, "state"), key, value);
    must(sg_json_seal(root, path, &err), &err);
    must(sg_json_text(root, true, &text, &err), &err);
    must(sg_file_write_atomic(path, text, strlen(text), &err), &err);
    sg_free(text);
    json_decref(root);
}

// Sealed and yet impossible: the run does not compute with them.
static void test_state_out_of_bounds(void **state)
{
    (void)state;
    static const struct {
        const char *key;
        int64_t value;
    } some[] = {{"step", INT64_MAX}, {"step", 7},           {"position", INT64_MAX},
                {"position", 33},    {"tokens", INT64_MAX}, {"tokens", 8 * 4 * TINY_LENGTH + 1},
                {"skipped", 1},      {"updates", 9},        {"skipped_in_a_row", 1},
                {"tail_count", 9},   {"best_step", 9},      {"best_step", -2},
                {"seconds", -1},     {"tokens", -1}};
    tiny_end expected;
    memory_fs *base = stopped(&expected);
    tiny_end_free(&expected);
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        memory_fs *fs = memory_fs_clone(base);
        tiny_use(fs);
        put_state(some[i].key, json_integer(some[i].value));
        tiny_life life = {0};
        tiny_train(&life, "/run", NULL);
        if (life.status != SG_ERR_FORMAT && life.status != SG_ERR_MISMATCH)
            fail_msg("%s %lld: %s: %s", some[i].key, (long long)some[i].value,
                     sg_status_name(life.status), life.err.message);
        assert_non_null(strstr(life.err.message, "/run/checkpoints/step-8"));
        assert_int_equal(life.events[SG_EVENT_STEP], 0);
        tiny_disk_free(fs);
    }
    tiny_use(base);
    tiny_disk_free(base);
}

// ---- checkpoints by time ------------------------------------------------------------------------

static void test_checkpoints_by_time(void **state)
{
    (void)state;
    tiny_end ends[2];
    for (int often = 0; often < 2; often++) {
        memory_fs *fs = tiny_disk();
        sg_train_options options = tiny_options("sgatlin");
        assert_true(options.checkpoint_minutes == 5); // unless told otherwise
        options.checkpoint_every = 0;
        options.eval_every = 0;
        options.checkpoint_minutes = often ? 1e-9 : 0;
        tiny_life life = {0};
        tiny_must(&life, "/run", &options);
        assert_int_equal(life.events[SG_EVENT_CHECKPOINT], often ? TINY_STEPS : 1);
        char names[128];
        tiny_names("/run/checkpoints", names, sizeof names);
        assert_string_equal(names, often ? "step-11 step-12" : "step-12");
        ends[often] = tiny_end_of("/run");
        tiny_disk_free(fs);
    }
    tiny_same(&ends[1], &ends[0], "with checkpoints by time");
    tiny_end_free(&ends[0]);
    tiny_end_free(&ends[1]);
}

// A disk that says it has no room: not begun, or gone on with until there is nothing left to do.
static void test_no_room(void **state)
{
    (void)state;
    memory_fs *fs = tiny_disk();
    sg_train_options options = tiny_options("sgatlin");
    const int64_t used = memory_fs_used(fs);
    tiny_life life = {0};
    memory_fs_limit(fs, used + 200000);
    memory_fs_show_limit(fs, true);
    tiny_train(&life, "/run", &options);
    expect(&life, SG_ERR_IO, "GB of free disk, expected");
    assert_int_equal(memory_fs_used(fs), used);
    assert_false(sg_path_exists("/run"));
    memory_fs_limit(fs, -1);
    life.stop_at = 4;
    assert_int_equal(tiny_train(&life, "/run", &options), SG_ERR_STOPPED);
    memory_fs_limit(fs, memory_fs_used(fs) + 1000);
    tiny_train(&life, "/run", NULL);
    expect(&life, SG_ERR_IO, "GB of free disk, expected");
    memory_fs_limit(fs, -1);
    life.stop_at = 0;
    tiny_must(&life, "/run", NULL);
    tiny_disk_free(fs);
}

static bool fill_up(void *user, const sg_train_event *event)
{
    memory_fs *fs = user; // full from step 4 to 10
    if (event->kind == SG_EVENT_STEP && event->step == 4)
        memory_fs_limit(fs, memory_fs_used(fs) + 4000);
    if (event->kind == SG_EVENT_STEP && event->step == 10) memory_fs_limit(fs, -1);
    return true;
}

static void keep_log(void *user, sg_log_level level, const char *message)
{
    if (level == SG_LOG_WARNING && strstr(message, "no checkpoint: found") != NULL) ++*(int *)user;
}

static void test_room_runs_out(void **state)
{
    (void)state;
    int warnings = 0;
    sg_error err = {0};
    sg_context *context;
    sg_train_result result;
    memory_fs *fs = tiny_disk();
    memory_fs_show_limit(fs, true);
    sg_train_options options = tiny_options("sgatlin");
    options.eval_every = options.sample_every = 0;
    const sg_train_hooks hooks = {.event = fill_up, .user = fs};
    must(sg_context_new(&(sg_context_options){.threads = 1, .log = keep_log, .log_user = &warnings},
                        &context, &err),
         &err);
    must(sg_train(context, "/run", TINY_CONCAT, &options, &hooks, &result, &err), &err);
    assert_int_equal(warnings, 2); // of steps 6 and 9
    char names[128];
    tiny_names("/run/checkpoints", names, sizeof names);
    assert_string_equal(names, "step-12 step-3");
    sg_context_free(context);
    tiny_disk_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings_changed_by_hand),
        cmocka_unit_test(test_metrics_damaged),
        cmocka_unit_test(test_lost_model),
        cmocka_unit_test(test_lost_adapter),
        cmocka_unit_test(test_state_out_of_bounds),
        cmocka_unit_test(test_checkpoints_by_time),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_room_runs_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
