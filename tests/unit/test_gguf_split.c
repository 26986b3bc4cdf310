// A GGUF in several files: opened by its first part, whole or not at all; and files that change
// while they are read.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "format/gguf.h"
#include "memory_disk.h"

static float values[4] = {1, 2, 3, 4};

// One part with the tensors of `names`. total < 0: it does not say how many there are.
static void put_part(const char *path, uint32_t number, uint32_t count, int64_t total,
                     const char *const *names, size_t n)
{
    sg_error err = {0};
    sg_gguf_metadata *m = sg_gguf_metadata_new();
    sg_tensor_view views[4];
    assert_non_null(m);
    if (number == 0) sg_gguf_put_string(m, "general.architecture", "llama");
    sg_gguf_put_u32(m, "split.no", number);
    sg_gguf_put_u32(m, "split.count", count);
    if (total >= 0) sg_gguf_put_u32(m, "split.tensors.count", (uint32_t)total);
    for (size_t i = 0; i < n; i++)
        views[i] = sg_tensor_view_make(names[i], SG_DTYPE_F32, 1, (int64_t[]){1}, values + i);
    must(sg_gguf_write(path, SG_OUTPUT_REPLACE, m, views, n, &err), &err);
    sg_gguf_metadata_free(m);
}

static void put_all(int64_t total)
{
    static const char *const names[] = {"a", "b", "c"};
    put_part("/m-00001-of-00003.gguf", 0, 3, total, names, 1);
    put_part("/m-00002-of-00003.gguf", 1, 3, -1, names + 1, 2);
    put_part("/m-00003-of-00003.gguf", 2, 3, -1, names, 0);
}

static void expect_refused(const char *path, sg_status status, const char *words)
{
    sg_error err = {0};
    sg_gguf *file;
    assert_int_equal(sg_gguf_open(path, &file, &err), status);
    if (strstr(err.message, words) == NULL || strstr(err.message, path) == NULL)
        fail_msg("found \"%s\", expected \"%s\"", err.message, words);
}

static void test_whole(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_gguf *file;
    for (int64_t total = -1; total <= 3; total += 4) {
        put_all(total);
        must(sg_gguf_open("/m-00001-of-00003.gguf", &file, &err), &err);
        assert_int_equal(sg_gguf_count(file), 3);
        const char *const names[] = {"a", "b", "c"};
        const float expected[] = {1, 1, 2};
        for (int i = 0; i < 3; i++) {
            const sg_tensor_view *view = sg_gguf_find(file, names[i]);
            assert_non_null(view);
            assert_true(*(const float *)view->data == expected[i]);
        }
        sg_gguf_close(file);
    }
}

static void test_refused(void **state)
{
    (void)state;
    sg_error err = {0};
    static const char *const names[] = {"a", "b", "c"};
    put_all(3);
    expect_refused("/m-00002-of-00003.gguf", SG_ERR_ARGUMENT,
                   "found part 2 of 3 of a split GGUF, expected the first: /m-00001-of-00003.gguf");
    must(sg_path_remove("/m-00002-of-00003.gguf", &err), &err);
    expect_refused("/m-00001-of-00003.gguf", SG_ERR_NOT_FOUND,
                   "part 2 of 3 of a split GGUF is missing: /m-00002-of-00003.gguf");
    put_part("/m-00002-of-00003.gguf", 2, 3, -1, names + 1, 2);
    sg_gguf *file;
    assert_int_equal(sg_gguf_open("/m-00001-of-00003.gguf", &file, &err), SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "/m-00002-of-00003.gguf: key split.no: found 2 of 3"));
    put_part("/m-00002-of-00003.gguf", 1, 3, -1, names, 2);
    expect_refused("/m-00001-of-00003.gguf", SG_ERR_FORMAT, "tensor \"a\" is in two parts");
    put_all(4);
    expect_refused("/m-00001-of-00003.gguf", SG_ERR_MISMATCH,
                   "split.tensors.count: found 4, but its parts have 3 tensors");
    put_part("/other.gguf", 0, 3, 3, names, 1);
    expect_refused("/other.gguf", SG_ERR_UNSUPPORTED, "a name that ends in -00001-of-00003.gguf");
    put_part("/other.gguf", 0, 1, 1, names, 1); // one part is whole
    must(sg_gguf_open("/other.gguf", &file, &err), &err);
    sg_gguf_close(file);
}

static sg_status open_operation(void *user, sg_error *err)
{
    (void)user;
    sg_gguf *file;
    SG_TRY(sg_gguf_open("/m-00001-of-00003.gguf", &file, err));
    sg_gguf_close(file);
    return SG_OK;
}

static void test_memory(void **state)
{
    (void)state;
    put_all(3);
    assert_true(alloc_failure_loop(open_operation, NULL) > 10);
}

// The lengths of strings are read again when they are asked for: by then the file may say
// otherwise.
static void test_changed(void **state)
{
    (void)state;
    sg_error err = {0};
    sg_gguf_metadata *m = sg_gguf_metadata_new();
    static const sg_gguf_string texts[] = {{"first", 5}, {"second", 6}};
    sg_gguf_put_strings(m, "k", texts, 2);
    must(sg_gguf_write("/f", SG_OUTPUT_REPLACE, m, NULL, 0, &err), &err);
    sg_gguf_metadata_free(m);
    size_t bytes;
    unsigned char *kept = memory_fs_bytes(disk, "/f", &bytes);
    unsigned char *data = malloc(bytes); // of its own: what is read beyond is seen
    memcpy(data, kept, bytes);
    sg_gguf *file;
    must(sg_gguf_open_memory(data, bytes, "f", &file, &err), &err);
    sg_gguf_string *found;
    size_t count;
    must(sg_gguf_get_strings(file, "k", true, &found, &count, &err), &err);
    assert_int_equal(count, 2);
    sg_free(found);
    size_t at = 0;
    while (memcmp(data + at, "first", 5) != 0)
        at++;
    static const unsigned char lengths[] = {6, 17, 19, 100, 255};
    for (size_t i = 0; i < sizeof lengths; i++) {
        data[at - 8] = lengths[i];
        assert_int_equal(sg_gguf_get_strings(file, "k", true, &found, &count, &err), SG_ERR_FORMAT);
        assert_non_null(strstr(err.message, "f: key \"k\": string"));
        assert_true(found == NULL && count == 0);
    }
    sg_gguf_close(file);
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_whole, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_refused, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_memory, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_changed, disk_begin, disk_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
