// Event files against bytes made from the specifications by tests/twins/tfevents_twin.py.
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "format/tfevents.h"
#include "memory_fs.h"

static memory_fs *fs;

static int setup(void **state)
{
    (void)state;
    fs = memory_fs_begin();
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

static void test_crc32c(void **state)
{
    (void)state;
    // RFC 3720, B.4, and the check value of the published catalogue.
    unsigned char bytes[32] = {0};
    assert_int_equal(sg_crc32c(bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, 32);
    assert_int_equal(sg_crc32c(bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++)
        bytes[i] = (unsigned char)i;
    assert_int_equal(sg_crc32c(bytes, 32), 0x46dd794eu);
    assert_int_equal(sg_crc32c("123456789", 9), 0xe3069283u);
    assert_int_equal(sg_crc32c("", 0), 0);
}

// The events of the twin.
static sg_status write_events(void *user, sg_error *err)
{
    (void)user;
    char text[20 * 24 + 1] = "";
    for (int i = 0; i < 20; i++)
        strcat(text, "Once upon a time … ");
    sg_tfevents *file;
    SG_TRY(sg_tfevents_open("run/events", 1700000000.25, "host", 101, &file, err));
    sg_status status = sg_tfevents_scalar(file, 1700000001.5, 101, "train/loss", 2.5f, err);
    if (status == SG_OK)
        status = sg_tfevents_scalar(file, 1700000002.5, 300, "train/loss", NAN, err);
    if (status == SG_OK)
        status = sg_tfevents_text(file, 1700000003.5, INT64_C(1) << 40, "sample", text, err);
    if (status == SG_OK) status = sg_tfevents_flush(file, err);
    sg_status closed = sg_tfevents_close(file, status == SG_OK ? err : NULL);
    return status == SG_OK ? closed : status;
}

static void test_golden(void **state)
{
    (void)state;
    sg_error err;
    size_t written, bytes;
    must(write_events(NULL, &err), &err);
    const unsigned char *mine =
        memory_fs_bytes(fs, "run/events/events.out.tfevents.1700000000.host", &written);
    assert_non_null(mine);
    sg_fs_set(NULL);
    char *golden;
    must(sg_file_read(SG_TEST_DIR "/golden/tfevents/expected.bin", 10000, &golden, &bytes, &err),
         &err);
    assert_int_equal(written, bytes);
    assert_memory_equal(mine, golden, bytes);
    sg_free(golden);
}

static void test_names(void **state)
{
    (void)state;
    sg_error err;
    sg_tfevents *a, *b, *c;
    must(sg_tfevents_open("run", 12, "host", 0, &a, &err), &err);
    must(sg_tfevents_open("run", 12.9, "host", 0, &b, &err), &err); // the same second
    assert_true(sg_path_exists("run/events.out.tfevents.0000000012.host"));
    assert_true(sg_path_exists("run/events.out.tfevents.0000000012.host.1"));
    must(sg_tfevents_close(a, &err), &err);
    // Started anew: START at step 0, which voids the events of an earlier life.
    size_t size;
    const unsigned char *bytes =
        memory_fs_bytes(fs, "run/events.out.tfevents.0000000012.host", &size);
    assert_memory_equal(bytes + size - 8, "\x3a\x02\x08\x01", 4);
    must(sg_tfevents_close(b, &err), &err);
    must(sg_tfevents_close(NULL, &err), &err);
    assert_int_equal(sg_tfevents_open("run", -1, "host", 0, &c, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_tfevents_open("run", NAN, "host", 0, &c, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_tfevents_open("run", 1, "../x", 0, &c, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_tfevents_open("run", 1, "x", -1, &c, &err), SG_ERR_ARGUMENT);
    assert_null(c);
}

// What was flushed before a crash is whole records.
static void test_full_disk(void **state)
{
    (void)state;
    sg_error err;
    sg_tfevents *file;
    must(sg_tfevents_open("run", 12, "host", 0, &file, &err), &err);
    memory_fs_limit(fs, memory_fs_used(fs) + 10);
    must(sg_tfevents_scalar(file, 13, 1, "loss", 1, &err), &err);
    assert_int_equal(sg_tfevents_flush(file, &err), SG_ERR_IO);
    assert_int_equal(sg_tfevents_close(file, &err), SG_ERR_IO);
    assert_non_null(strstr(err.message, "No space left"));
}

static void test_allocation_failures(void **state)
{
    (void)state;
    assert_in_range(alloc_failure_loop(write_events, NULL), 10, 200);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc32c),
        cmocka_unit_test_setup_teardown(test_golden, setup, teardown),
        cmocka_unit_test_setup_teardown(test_names, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(test_allocation_failures, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
