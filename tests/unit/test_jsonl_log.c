// A log that is cut and continued ends up as if it had never been interrupted.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "format/jsonl_log.h"
#include "memory_fs.h"

static memory_fs *fs;

static int setup(void **state)
{
    (void)state;
    fs = memory_fs_begin();
    sg_json_setup();
    return 0;
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

static void put_text(const char *text)
{
    sg_error err;
    must(sg_file_write_atomic("log", text, strlen(text), &err), &err);
}

static void expect_text(const char *expected)
{
    sg_error err;
    char *text;
    size_t bytes;
    must(sg_file_read("log", 1 << 20, &text, &bytes, &err), &err);
    assert_string_equal(text, expected);
    assert_int_equal(bytes, strlen(expected));
    sg_free(text);
}

static void put_step(sg_jsonl_log *log, int step)
{
    sg_error err;
    json_t *record = json_pack("{s:i, s:f}", "step", step, "loss", step / 8.0);
    must(sg_jsonl_log_put(log, record, &err), &err);
    json_decref(record);
}

static void open_close(int64_t last_step)
{
    sg_error err;
    sg_jsonl_log *log;
    must(sg_jsonl_log_open("log", last_step, &log, NULL, &err), &err);
    must(sg_jsonl_log_close(log, &err), &err);
}

static void test_resume_equals_uninterrupted(void **state)
{
    (void)state;
    sg_error err;
    sg_jsonl_log *log;
    char whole[1000] = "";
    for (int step = 1; step <= 9; step++)
        snprintf(whole + strlen(whole), 100, "{\"step\":%d,\"loss\":%.17g%s}\n", step, step / 8.0,
                 step % 8 ? "" : ".0");
    // Killed after step `killed`, resumed from a checkpoint at step `from`, in both ways.
    for (int killed = 0; killed <= 9; killed++)
        for (int from = 0; from <= killed; from++)
            for (int by_size = 0; by_size < 2; by_size++) {
                int64_t size = 0;
                put_text("");
                must(sg_jsonl_log_open("log", 0, &log, NULL, &err), &err);
                for (int step = 1; step <= killed; step++) {
                    put_step(log, step);
                    if (step == from) must(sg_jsonl_log_sync(log, &size, &err), &err);
                }
                must(sg_jsonl_log_close(log, &err), &err);
                must(by_size ? sg_jsonl_log_open_at("log", size, &log, &err)
                             : sg_jsonl_log_open("log", from, &log, NULL, &err),
                     &err);
                for (int step = from + 1; step <= 9; step++)
                    put_step(log, step);
                must(sg_jsonl_log_sync(log, &size, &err), &err);
                assert_int_equal(size, strlen(whole));
                must(sg_jsonl_log_close(log, &err), &err);
                expect_text(whole);
            }
}

static void test_cutting(void **state)
{
    (void)state;
    open_close(5); // made when missing
    expect_text("");
    put_text("{\"step\":1}\n{\"step\":2}\n{\"step\":");
    open_close(5);
    expect_text("{\"step\":1}\n{\"step\":2}\n");
    put_text("{\"step\":1}\n{\"step\":2}"); // without its end it may be half a number
    open_close(5);
    expect_text("{\"step\":1}\n");
    put_text("{\"start\":true}\n{\"step\":1}\n{\"step\":1,\"eval\":2}\n{\"step\":2}\n");
    open_close(1);
    expect_text("{\"start\":true}\n{\"step\":1}\n{\"step\":1,\"eval\":2}\n");
    open_close(-1);
    expect_text("{\"start\":true}\n");
    // Damage behind what is kept goes with the rest.
    put_text("{\"step\":1}\n\x01\x02\n[]\n{\"step\":\"x\"}\n{\"step\":3}\n");
    open_close(1);
    expect_text("{\"step\":1}\n");
}

static void test_damage_before_a_record(void **state)
{
    (void)state;
    sg_error err;
    sg_jsonl_log *log;
    // A log, what of it is kept after step 2, and how many lines were no record.
    static const struct {
        const char *text, *kept;
        int64_t damaged;
    } some[] = {{"{\"step\":1}\n?\n{\"step\":2}\n", "{\"step\":1}\n{\"step\":2}\n", 1},
                {"{\"step\":9}\n{\"step\":2}\n", "{\"step\":2}\n", 0},
                {"\n{\"step\":2}\n", "{\"step\":2}\n", 1},
                {"{\"st\001p\":1}\n7\n{\"eval\":2}\n[]\n{\"step\":3}\n", "{\"eval\":2}\n", 2}};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++) {
        int64_t damaged;
        put_text(some[i].text);
        must(sg_jsonl_log_open("log", 2, &log, &damaged, &err), &err);
        assert_int_equal(damaged, some[i].damaged);
        put_step(log, 3);
        must(sg_jsonl_log_close(log, &err), &err);
        char expected[100];
        snprintf(expected, sizeof expected, "%s{\"step\":3,\"loss\":0.375}\n", some[i].kept);
        expect_text(expected);
    }
}

static void test_open_at(void **state)
{
    (void)state;
    sg_error err;
    sg_jsonl_log *log;
    put_text("{\"step\":1}\n");
    assert_int_equal(sg_jsonl_log_open_at("log", 12, &log, &err), SG_ERR_MISMATCH);
    assert_int_equal(sg_jsonl_log_open_at("log", -1, &log, &err), SG_ERR_MISMATCH);
    assert_int_equal(sg_jsonl_log_open_at("none", 1, &log, &err), SG_ERR_MISMATCH);
    assert_false(sg_path_exists("none"));
    expect_text("{\"step\":1}\n");
    must(sg_jsonl_log_open_at("log", 0, &log, &err), &err);
    must(sg_jsonl_log_close(log, &err), &err);
    must(sg_jsonl_log_close(NULL, &err), &err);
    expect_text("");
}

static sg_status all_steps(void *user, sg_error *err)
{
    sg_jsonl_log *log;
    SG_TRY(sg_jsonl_log_open("log", 1, &log, NULL, err));
    sg_status status = sg_jsonl_log_put(log, user, err);
    if (status == SG_OK) status = sg_jsonl_log_sync(log, NULL, err);
    sg_status closed = sg_jsonl_log_close(log, status == SG_OK ? err : NULL);
    SG_TRY(status == SG_OK ? closed : status);
    SG_TRY(sg_jsonl_log_open_at("log", 5, &log, err));
    return sg_jsonl_log_close(log, err);
}

static void test_allocation_failures(void **state)
{
    (void)state;
    json_t *record = json_pack("{s:i, s:s}", "step", 2, "text", "x");
    put_text("{\"step\":1}\n{\"step\":2}\n");
    assert_in_range(alloc_failure_loop(all_steps, record), 5, 200);
    put_text("?\n{\"step\":1}\n{\"step\":2}\n"); // it is written anew
    assert_in_range(alloc_failure_loop(all_steps, record), 8, 200);
    json_decref(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_resume_equals_uninterrupted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cutting, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage_before_a_record, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_at, setup, teardown),
        cmocka_unit_test_setup_teardown(test_allocation_failures, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
