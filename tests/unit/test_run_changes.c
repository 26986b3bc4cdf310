// Runs that go on otherwise than they began: longer, with another rate, on other kernels. It is
// recorded where that holds from, and to the bit they are the runs that were changed alike there.
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
#include "tiny_run.h"
#include "train/run_changes.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s: %s", sg_status_name(status), err->message);
}

typedef struct life {
    int64_t stop_at;
    const char *kernel;
    sg_error err;
    sg_train_result result;
    int64_t resumed_from;
    int warnings;
} life;

static bool look(void *user, const sg_train_event *event)
{
    life *l = user;
    l->resumed_from = event->resumed_from;
    return !(event->kind == SG_EVENT_STEP && event->step == l->stop_at);
}

static void warned(void *user, sg_log_level level, const char *message)
{
    (void)message;
    ((life *)user)->warnings += level == SG_LOG_WARNING;
}

static sg_status changed(life *l, const sg_train_change *changes, size_t count)
{
    sg_context *context;
    sg_context_options options = sg_context_options_default();
    options.threads = 1;
    options.kernel = l->kernel;
    options.log = warned;
    options.log_user = l;
    l->warnings = 0;
    const sg_train_hooks hooks = {.event = look, .user = l};
    const int64_t live = sg_alloc_live();
    must(sg_context_new(&options, &context, &l->err), &l->err);
    const sg_status status =
        sg_train_resume_changed(context, "/run", NULL, changes, count, &hooks, &l->result, &l->err);
    sg_context_free(context);
    assert_int_equal(sg_alloc_live(), live);
    return status;
}

// The recorded changes, as compact text; and another member.
static void expect_record(const char *changes, int64_t steps)
{
    json_t *root;
    char *text;
    int64_t found = 0;
    sg_error err;
    must(sg_json_read("/run/run.json", 1 << 20, &root, &err), &err);
    must(sg_json_get_int(root, "run.json", "total_steps", true, 0, 1000, &found, &err), &err);
    assert_int_equal(found, steps);
    json_t *list = json_object_get(root, "changes");
    if (list == NULL) list = json_object_get(root, "no such thing");
    if (changes[0] == '\0') {
        assert_null(list);
    } else {
        must(sg_json_text(list, false, &text, &err), &err);
        assert_string_equal(text, changes);
        sg_free(text);
    }
    json_decref(root);
}

static memory_fs *a_run(int64_t stop_at)
{
    memory_fs *fs = tiny_disk();
    sg_train_options options = tiny_options("sgatlin");
    tiny_life first = {.stop_at = stop_at};
    const sg_status status = tiny_train(&first, "/run", &options);
    assert_int_equal(status, stop_at > 0 ? SG_ERR_STOPPED : SG_OK);
    return fs;
}

static void test_longer(void **state)
{
    (void)state;
    const sg_train_change more = {"steps", "20"};
    tiny_end ends[2];
    char folder[SG_PATH_MAX];
    sg_error err;
    for (int cut = 0; cut < 2; cut++) { // at once, and with a stop on the way
        memory_fs *fs = a_run(0);
        life l = {.stop_at = cut ? 15 : 0};
        assert_int_equal(changed(&l, &more, 1), cut ? SG_ERR_STOPPED : SG_OK);
        assert_int_equal(l.resumed_from, TINY_STEPS);
        expect_record("[{\"step\":12,\"field\":\"steps\",\"old\":12,\"new\":20}]", 20);
        if (cut) { // the model in the folder is of step 12: what the run has now is asked for
            must(sg_train_model_folder(NULL, "/run", folder, sizeof folder, &err), &err);
            assert_string_equal(folder, "/run/checkpoints/step-15");
            l.stop_at = 0;
            must(changed(&l, NULL, 0), &l.err);
            assert_int_equal(l.resumed_from, 15);
        }
        must(sg_train_model_folder(NULL, "/run", folder, sizeof folder, &err), &err);
        assert_string_equal(folder, "/run");
        assert_int_equal(l.result.steps, 20);
        ends[cut] = tiny_end_of("/run");
        must(changed(&l, NULL, 0), &l.err); // it has ended
        expect_record("[{\"step\":12,\"field\":\"steps\",\"old\":12,\"new\":20}]", 20);
        tiny_disk_free(fs);
    }
    tiny_same(&ends[1], &ends[0], "longer, with a stop");
    tiny_end_free(&ends[0]);
    tiny_end_free(&ends[1]);
}

// A run that is made longer before anything has come of its length is the longer run. The rate is:
// its warm-up and decay are of all steps.
static void test_longer_from_the_start(void **state)
{
    (void)state;
    const sg_train_change more = {"steps", "20"};
    memory_fs *fs = a_run(1);
    life l = {0};
    must(changed(&l, &more, 1), &l.err);
    tiny_end end = tiny_end_of("/run");
    sg_train_options options = tiny_options("sgatlin");
    options.steps = 20;
    tiny_life whole = {0};
    tiny_must(&whole, "/whole", &options);
    tiny_end expected = tiny_end_of("/whole");
    tiny_same(&end, &expected, "longer from step 1 on");
    tiny_end_free(&end);
    tiny_end_free(&expected);
    tiny_disk_free(fs);
}

static void test_other_rate(void **state)
{
    (void)state;
    const sg_train_change some[] = {
        {"lr", "0.02"}, {"checkpoint_every", "2"}, {"keep_last", "2"}, {"sample_prompt", "A"}};
    memory_fs *fs = a_run(8);
    life l = {.stop_at = 10};
    assert_int_equal(changed(&l, some, 4), SG_ERR_STOPPED);
    // What is the same is no change.
    const char record[] = "[{\"step\":8,\"field\":\"lr\",\"old\":0.01,\"new\":0.02},"
                          "{\"step\":8,\"field\":\"checkpoint_every\",\"old\":3,\"new\":2},"
                          "{\"step\":8,\"field\":\"sample_prompt\",\"old\":\"The\",\"new\":\"A\"}]";
    json_t *root;
    must(sg_json_read("/run/run.json", 1 << 20, &root, &l.err), &l.err);
    const json_t *lr = json_object_get(json_object_get(root, "options"), "lr");
    assert_true(json_real_value(lr) == 0.02);
    json_decref(root);
    l.stop_at = 0;
    must(changed(&l, NULL, 0), &l.err);
    expect_record(record, TINY_STEPS);
    tiny_disk_free(fs);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        sg_train_change change;
        const char *words;
    } some[] = {{{"batch_size", "8"},
                 "batch-size: cannot be changed once a run has begun, expected "
                 "one of force-tokenizer, steps, tokens"},
                {{"seed", "8"}, "seed: cannot be changed"},
                {{"weight_decay", "0"}, "weight-decay: cannot be changed"},
                {{"config", "{}"}, "config: cannot be changed"},
                {{"lr", "-1"}, "lr: found -1"},
                {{"lr", "fast"}, "lr: found \"fast\""},
                {{"schedule", "stairs"}, "schedule: found \"stairs\""},
                {{"steps", "4"}, "is of step 8, but the run has 4"}};
    memory_fs *fs = a_run(8);
    life l = {0};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        assert_int_not_equal(changed(&l, &some[i].change, 1), SG_OK);
        if (strstr(l.err.message, some[i].words) == NULL)
            fail_msg("found %s, expected … %s …", l.err.message, some[i].words);
    }
    expect_record("", TINY_STEPS); // nothing of it is kept
    must(changed(&l, NULL, 0), &l.err);
    const sg_train_change rate = {"lr", "1"};
    assert_int_equal(changed(&l, &rate, 1), SG_ERR_ARGUMENT);
    assert_non_null(strstr(l.err.message, "the run has ended after 12"));
    tiny_disk_free(fs);
}

static void test_other_kernels(void **state)
{
    (void)state;
    memory_fs *fs = a_run(8);
    json_t *root;
    sg_error err;
    must(sg_json_read("/run/run.json", 1 << 20, &root, &err), &err);
    char began[32], record[160];
    snprintf(began, sizeof began, "%s", json_string_value(json_object_get(root, "kernel")));
    json_decref(root);
    const bool fast = strcmp(began, "ref") != 0;
    life l = {.kernel = "ref", .stop_at = 10};
    assert_int_equal(changed(&l, NULL, 0), SG_ERR_STOPPED);
    assert_int_equal(l.warnings, fast);
    snprintf(record, sizeof record,
             "[{\"step\":8,\"field\":\"kernel\",\"old\":\"%s\",\"new\":\"ref\"}]", began);
    expect_record(fast ? record : "", TINY_STEPS);
    l.stop_at = 0;
    must(changed(&l, NULL, 0), &l.err); // the same as before: nothing to say
    assert_int_equal(l.warnings, 0);
    expect_record(fast ? record : "", TINY_STEPS);
    tiny_disk_free(fs);
}

// ---- failing memory -----------------------------------------------------------------------------

static sg_status change_and_record(void *user, sg_error *err)
{
    static const sg_train_change some[] = {{"lr", "0.5"}, {"schedule", "linear"}, {"steps", "30"}};
    sg_run_settings settings;
    json_t *list = NULL;
    (void)user;
    SG_TRY(sg_run_settings_read("/run", &settings, err));
    settings.options.lr = 0.25; // what the last round recorded
    sg_status status = sg_run_changes_apply(&settings.options, some, 3, &list, err);
    if (status == SG_OK) status = sg_run_changes_add(list, "kernel", "a", "b", err);
    if (status == SG_OK) status = sg_run_changes_record("/run", &settings, 30, 8, list, err);
    json_decref(list);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    memory_fs *fs = a_run(8);
    assert_true(alloc_failure_loop(change_and_record, NULL) > 50);
    sg_run_settings settings;
    sg_error err;
    must(sg_run_settings_read("/run", &settings, &err), &err);
    assert_true(settings.options.lr == 0.5 && settings.changed_at == 8 && settings.steps == 30);
    assert_string_equal(settings.options.schedule, "linear");
    tiny_disk_free(fs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_longer),        cmocka_unit_test(test_longer_from_the_start),
        cmocka_unit_test(test_other_rate),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_other_kernels), cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
