// Saving, finding and pruning checkpoints; damage of every kind to the newest one. What a power cut
// does to them is in tests/crash/test_power_cut.c.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/context.h"
#include "format/json.h"
#include "memory_fs.h"
#include "train/checkpoint.h"

static memory_fs *fs;
static char log_text[4096];
static int log_lines;

static void take_log(void *user, sg_log_level level, const char *message)
{
    (void)user;
    assert_int_equal(level, SG_LOG_WARNING);
    snprintf(log_text + strlen(log_text), sizeof log_text - strlen(log_text), "%s\n", message);
    log_lines++;
}

static sg_context context = {.log = take_log};

static int setup(void **state)
{
    (void)state;
    fs = memory_fs_begin();
    log_text[0] = '\0';
    log_lines = 0;
    return sg_folder_make("run", NULL) != SG_OK;
}

static int teardown(void **state)
{
    (void)state;
    return memory_fs_end(fs);
}

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static sg_status save(int64_t step, sg_error *err)
{
    float w[6], m[2] = {(float)step, -1};
    for (int i = 0; i < 6; i++)
        w[i] = (float)(step + i);
    sg_tensor_view model = sg_tensor_view_make("w", SG_DTYPE_F32, 2, (int64_t[]){2, 3}, w);
    sg_tensor_view optimizer = sg_tensor_view_make("m", SG_DTYPE_F32, 1, (int64_t[]){2}, m);
    sg_tensor_group groups[] = {{"model.safetensors", &model, 1},
                                {"optimizer.safetensors", &optimizer, 1}};
    sg_named_bytes file = {"config.json", "{\"d\": 3}", 8};
    sg_json_setup();
    json_t *state = json_pack("{s:I}", "cursor", (json_int_t)step * 100);
    if (state == NULL) return sg_fail(err, SG_ERR_MEMORY, "no memory for the state");
    sg_checkpoint_content content = {step, groups, 2, &file, 1, state};
    sg_status status = sg_checkpoint_save("run", &content, err);
    json_decref(state);
    return status;
}

static void must_save(int64_t step)
{
    sg_error err;
    must(save(step, &err), &err);
}

static void check_content(const sg_checkpoint *checkpoint, int64_t step)
{
    sg_error err;
    const sg_safetensors *group;
    const sg_tensor_view *view;
    char *data;
    size_t bytes;
    assert_int_equal(sg_checkpoint_step(checkpoint), step);
    assert_int_equal(json_integer_value(json_object_get(sg_checkpoint_state(checkpoint), "cursor")),
                     step * 100);
    must(sg_checkpoint_group(checkpoint, "model.safetensors", &group, &err), &err);
    must(sg_safetensors_get(group, "w", SG_DTYPE_F32, 2, (int64_t[]){2, 3}, &view, &err), &err);
    assert_true(sg_tensor_view_is_aligned(view));
    assert_true(((const float *)view->data)[5] == (float)(step + 5));
    must(sg_checkpoint_group(checkpoint, "optimizer.safetensors", &group, &err), &err);
    assert_int_equal(sg_safetensors_count(group), 1);
    must(sg_checkpoint_file(checkpoint, "config.json", &data, &bytes, &err), &err);
    assert_string_equal(data, "{\"d\": 3}");
    sg_free(data);
    assert_int_equal(sg_checkpoint_group(checkpoint, "config.json", &group, &err),
                     SG_ERR_NOT_FOUND);
    assert_int_equal(sg_checkpoint_group(checkpoint, "none", &group, &err), SG_ERR_NOT_FOUND);
    assert_int_equal(sg_checkpoint_file(checkpoint, "manifest.json", &data, &bytes, &err),
                     SG_ERR_NOT_FOUND);
}

static void expect_latest(int64_t step, int warnings)
{
    sg_error err;
    sg_checkpoint *checkpoint;
    log_lines = 0;
    log_text[0] = '\0';
    must(sg_checkpoint_find_latest("run", &context, &checkpoint, &err), &err);
    check_content(checkpoint, step);
    sg_checkpoint_close(checkpoint);
    if (log_lines != warnings) fail_msg("%d warnings: %s", log_lines, log_text);
}

static void test_none(void **state)
{
    (void)state;
    sg_error err;
    sg_checkpoint *checkpoint;
    assert_int_equal(sg_checkpoint_find_latest("run", &context, &checkpoint, &err),
                     SG_ERR_NOT_FOUND);
    assert_int_equal(sg_checkpoint_find_latest("nowhere", &context, &checkpoint, &err),
                     SG_ERR_NOT_FOUND);
    // A run that was killed while it wrote its first one.
    must(sg_folder_make("run/checkpoints/.tmp-step-5", &err), &err);
    must(sg_folder_make("run/checkpoints/.trash-step-5", &err), &err);
    must(sg_folder_make("run/checkpoints/step-", &err), &err);
    must(sg_folder_make("run/checkpoints/step-05", &err), &err);
    must(sg_folder_make("run/checkpoints/step-x", &err), &err);
    must(sg_folder_make("run/checkpoints/step-9999999999999999999", &err), &err);
    assert_int_equal(sg_checkpoint_find_latest("run", &context, &checkpoint, &err),
                     SG_ERR_NOT_FOUND);
    assert_null(checkpoint);
    assert_int_equal(log_lines, 0);
    sg_checkpoint_close(NULL);
}

static void test_newest(void **state)
{
    (void)state;
    must_save(0);
    expect_latest(0, 0);
    must_save(9);
    must_save(100); // by number, not by name
    must_save(20);
    expect_latest(100, 0);
    assert_false(sg_path_exists("run/checkpoints/.tmp-step-100"));
}

// Each kind of damage to the newest: said, and the one before it is used.
static void test_damage(void **state)
{
    (void)state;
    static const char *const files[] = {"manifest.json", "model.safetensors",
                                        "optimizer.safetensors", "config.json"};
    must_save(1);
    must_save(2);
    sg_error err;
    char path[100];
    size_t size;
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "run/checkpoints/step-2/%s", files[i]);
        unsigned char *bytes = memory_fs_bytes(fs, path, &size);
        bytes[size / 2] ^= 4;
        expect_latest(1, 1);
        assert_non_null(strstr(log_text, "step 2"));
        assert_non_null(strstr(log_text, files[i]));
        bytes[size / 2] ^= 4;
        expect_latest(2, 0);
        memory_fs_resize(fs, path, size - 2); // the last byte of the manifest is a line end
        expect_latest(1, 1);
        memory_fs_resize(fs, path, 0);
        expect_latest(1, 1);
        must(sg_path_remove(path, &err), &err);
        expect_latest(1, 1);
        must_save(2);
        expect_latest(2, 0);
    }
    // A manifest of another step, a folder that is none.
    must(sg_tree_remove("run/checkpoints/step-2", &err), &err);
    must(sg_path_rename("run/checkpoints/step-1", "run/checkpoints/step-3", &err), &err);
    must_save(1);
    must(sg_file_write_atomic("run/checkpoints/step-4", "x", 1, &err), &err);
    expect_latest(1, 2);
    assert_non_null(strstr(log_text, "its manifest is of step 1"));
}

static void test_all_damaged(void **state)
{
    (void)state;
    sg_error err;
    sg_checkpoint *checkpoint;
    must_save(1);
    must_save(2);
    must(sg_path_remove("run/checkpoints/step-1/model.safetensors", &err), &err);
    must(sg_path_remove("run/checkpoints/step-2/manifest.json", &err), &err);
    // Not NOT_FOUND: nobody starts anew over what may still be rescued.
    assert_int_equal(sg_checkpoint_find_latest("run", &context, &checkpoint, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "none of 2 checkpoints is usable"));
    assert_int_equal(log_lines, 2);
}

static void expect_names(const char *expected)
{
    sg_error err;
    char **names, text[512] = "";
    size_t count;
    must(sg_folder_list("run/checkpoints", &names, &count, &err), &err);
    for (size_t i = 0; i < count; i++) {
        strcat(text, names[i]);
        strcat(text, " ");
    }
    sg_names_free(names, count);
    assert_string_equal(text, expected);
}

static void test_prune(void **state)
{
    (void)state;
    sg_error err;
    must(sg_checkpoint_prune("run", 1, 1, -1, &err), &err); // nothing there
    for (int64_t step = 1; step <= 12; step++)
        must_save(step);
    must(sg_checkpoint_prune("run", 12, 3, 5, &err), &err);
    expect_names("step-10 step-11 step-12 step-5 ");
    must(sg_checkpoint_prune("run", 12, 3, 11, &err), &err);
    expect_names("step-10 step-11 step-12 ");
    assert_int_equal(sg_checkpoint_prune("run", 12, 0, -1, &err), SG_ERR_ARGUMENT);
    // What crashes leave.
    must(sg_folder_make("run/checkpoints/.tmp-step-13/x", &err), &err);
    must(sg_folder_make("run/checkpoints/.trash-step-3", &err), &err);
    must(sg_path_rename("run/checkpoints/step-10", "run/checkpoints/.old-step-12", &err), &err);
    must(sg_file_write_atomic("run/checkpoints/stranger", "x", 1, &err), &err);
    must(sg_checkpoint_prune("run", 12, 2, -1, &err), &err);
    expect_names("step-11 step-12 stranger ");
    // One that stepped aside for a successor that never came still counts.
    must(sg_path_rename("run/checkpoints/step-12", "run/checkpoints/.old-step-12", &err), &err);
    expect_latest(12, 0);
    must(sg_checkpoint_prune("run", 12, 1, -1, &err), &err);
    expect_names(".old-step-12 stranger ");
    expect_latest(12, 0);
    must_save(12);
    expect_names("step-12 stranger ");
}

// After a resume from before a damaged checkpoint, that one must not push out the new ones.
static void test_prune_after_fallback(void **state)
{
    (void)state;
    sg_error err;
    must_save(50);
    must_save(100);
    must(sg_path_remove("run/checkpoints/step-100/manifest.json", &err), &err);
    expect_latest(50, 1);
    must_save(60);
    must(sg_checkpoint_prune("run", 60, 1, -1, &err), &err);
    expect_names("step-100 step-60 ");
    expect_latest(60, 1);
    must_save(100);
    must(sg_checkpoint_prune("run", 100, 1, -1, &err), &err);
    expect_names("step-100 ");
    expect_latest(100, 0);
}

static void test_refuses(void **state)
{
    (void)state;
    sg_error err;
    sg_named_bytes same[] = {{"a", "", 0}, {"a", "", 0}}, outside = {"../x", "", 0},
                   manifest = {"manifest.json", "", 0};
    sg_checkpoint_content content = {.step = -1};
    assert_int_equal(sg_checkpoint_save("run", &content, &err), SG_ERR_ARGUMENT);
    content = (sg_checkpoint_content){.step = 1, .files = same, .file_count = 2};
    assert_int_equal(sg_checkpoint_save("run", &content, &err), SG_ERR_ARGUMENT);
    content = (sg_checkpoint_content){.step = 1, .files = &outside, .file_count = 1};
    assert_int_equal(sg_checkpoint_save("run", &content, &err), SG_ERR_ARGUMENT);
    content.files = &manifest;
    assert_int_equal(sg_checkpoint_save("run", &content, &err), SG_ERR_ARGUMENT);
    expect_names("");
    content = (sg_checkpoint_content){.step = 1};
    must(sg_checkpoint_save("run", &content, &err), &err); // empty, and fine
    sg_checkpoint *checkpoint;
    must(sg_checkpoint_find_latest("run", NULL, &checkpoint, &err), &err);
    assert_int_equal(json_object_size(sg_checkpoint_state(checkpoint)), 0);
    assert_string_equal(sg_checkpoint_folder(checkpoint), "run/checkpoints/step-1");
    sg_checkpoint_close(checkpoint);
}

static void test_lock(void **state)
{
    (void)state;
    sg_error err;
    sg_run_lock *first, *second;
    must(sg_run_lock_take("run", &first, &err), &err);
    assert_int_equal(sg_run_lock_take("run", &second, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "another process"));
    assert_null(second);
    sg_run_lock_release(first);
    must(sg_run_lock_take("run", &second, &err), &err);
    sg_run_lock_release(second);
    sg_run_lock_release(NULL);
    assert_int_equal(sg_run_lock_take("nowhere", &second, &err), SG_ERR_NOT_FOUND);
}

// The same on the system's files: mappings, locks and renames of folders are real here.
static void test_on_disk(void **state)
{
    (void)state;
    sg_error err;
    const char *base = getenv("TMPDIR");
    char root[256], here[4096];
    snprintf(root, sizeof root, "%s/sg_test_XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(root));
    assert_non_null(getcwd(here, sizeof here));
    sg_fs_set(NULL);
    assert_int_equal(chdir(root), 0);
    must(sg_folder_make("run", &err), &err);
    sg_run_lock *lock, *second;
    must(sg_run_lock_take("run", &lock, &err), &err);
    assert_int_equal(sg_run_lock_take("run", &second, &err), SG_ERR_IO);
    for (int64_t step = 1; step <= 3; step++)
        must_save(step);
    sg_checkpoint *held;
    must(sg_checkpoint_find_latest("run", &context, &held, &err), &err);
    must_save(3); // in the place of the one that is mapped
    must(sg_checkpoint_prune("run", 3, 1, 1, &err), &err);
    expect_names("step-1 step-3 ");
    const sg_safetensors *group;
    must(sg_checkpoint_group(held, "model.safetensors", &group, &err), &err);
    const sg_tensor_view *view = sg_safetensors_find(group, "w");
    assert_true(((const float *)view->data)[5] == 8.0f);
    sg_checkpoint_close(held);
    expect_latest(3, 0);
    assert_int_equal(truncate("run/checkpoints/step-3/model.safetensors", 9), 0);
    expect_latest(1, 1);
    sg_run_lock_release(lock);
    must(sg_run_lock_take("run", &lock, &err), &err);
    sg_run_lock_release(lock);
    assert_int_equal(chdir(here), 0);
    must(sg_tree_remove(root, &err), &err);
    sg_fs_set(memory_fs_table(fs));
}

static sg_status all_steps(void *user, sg_error *err)
{
    (void)user;
    sg_run_lock *lock;
    sg_checkpoint *checkpoint;
    // From nothing: replacing a step of that number would end with cleaning that may fail unsaid.
    SG_TRY(sg_tree_remove("run/checkpoints", err));
    SG_TRY(sg_run_lock_take("run", &lock, err));
    sg_status status = save(7, err);
    if (status == SG_OK) status = save(8, err);
    if (status == SG_OK) status = sg_checkpoint_prune("run", 8, 1, -1, err);
    if (status == SG_OK) {
        status = sg_checkpoint_find_latest("run", &context, &checkpoint, err);
        sg_checkpoint_close(checkpoint);
    }
    sg_run_lock_release(lock);
    return status;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    must_save(1);
    assert_in_range(alloc_failure_loop(all_steps, NULL), 100, 5000);
    assert_int_equal(log_lines, 0); // a lack of memory is not damage
    expect_latest(8, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newest, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_all_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune_after_fallback, setup, teardown),
        cmocka_unit_test_setup_teardown(test_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lock, setup, teardown),
        cmocka_unit_test_setup_teardown(test_on_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_allocation_failures, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
