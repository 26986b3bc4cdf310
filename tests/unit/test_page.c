// The writer of pages: columns read back with a decoder of their own, manifests that no text of a
// token gets out of, files that are whole or not there.
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/rng.h"
#include "format/json.h"
#include "memory_disk.h"
#include "page_reading.h"
#include "probe/page_files.h"
#include "probe/page_write.h"

// ---- columns ------------------------------------------------------------------------------------

static void test_columns_read_back(void **state)
{
    (void)state;
    static const struct {
        sg_page_type type;
        const char *name;
        int width;
    } kinds[] = {{SG_PAGE_U8, "u8", 1},
                 {SG_PAGE_I8, "i8", 1},
                 {SG_PAGE_U16, "u16", 2},
                 {SG_PAGE_U32, "u32", 4}};
    int32_t values[1000];
    unsigned char out[4000];
    sg_error err = {0};
    sg_page_columns columns = {0};
    for (size_t i = 0; i < 1000; i++)
        values[i] = (int32_t)(sg_rng_u64(7, 1, i) >> 33);
    values[0] = INT32_MAX;
    values[1] = 0;
    for (size_t k = 0; k < 4; k++)
        for (int64_t count = 0; count <= 1000; count += count < 5 ? 1 : 199) {
            json_t *reference;
            must(sg_page_columns_add(&columns, kinds[k].type, values, count, &reference, &err),
                 &err);
            assert_string_equal(json_string_value(json_object_get(reference, "type")),
                                kinds[k].name);
            assert_int_equal(json_integer_value(json_object_get(reference, "count")), count);
            assert_int_equal(json_integer_value(json_object_get(reference, "column")),
                             columns.count - 1);
            json_decref(reference);
            const size_t bytes = (size_t)count * (size_t)kinds[k].width;
            const sg_page_column *column = &columns.items[columns.count - 1];
            page_inflate(column->base64, column->bytes, out, bytes);
            for (int64_t i = 0; i < count; i++)
                for (int b = 0; b < kinds[k].width; b++)
                    assert_int_equal(out[b * count + i],
                                     (unsigned char)((uint32_t)values[i] >> (8 * b)));
        }
    const int64_t before = sg_page_columns_bytes(&columns);
    sg_page_columns_drop(&columns, 1, 3);
    assert_true(sg_page_columns_bytes(&columns) < before);
    sg_page_columns_free(&columns);
}

static void test_smallest_types(void **state)
{
    (void)state;
    assert_int_equal(sg_page_type_for(255), SG_PAGE_U8);
    assert_int_equal(sg_page_type_for(256), SG_PAGE_U16);
    assert_int_equal(sg_page_type_for(65535), SG_PAGE_U16);
    assert_int_equal(sg_page_type_for(65536), SG_PAGE_U32);
}

// ---- pages --------------------------------------------------------------------------------------

static const char hostile[] = "</script><script>alert(1)</script><!--\"'&\x01\xe2\x80\xae";

static json_t *hostile_manifest(void)
{
    sg_json_setup();
    return json_pack("{s:s, s:[s, s]}", "format", "sgatlin scope", "pieces", hostile, "<b>");
}

static size_t count_of(const char *text, const char *word)
{
    size_t count = 0;
    for (const char *at = text; (at = strstr(at, word)) != NULL; at += strlen(word))
        count++;
    return count;
}

static sg_status write_page(const char *path, bool force, int64_t *bytes, sg_error *err)
{
    const int32_t values[] = {1, 2, 3, 70000};
    sg_page_columns columns = {0};
    char *text = NULL;
    json_t *reference = NULL, *manifest = hostile_manifest();
    sg_status status = manifest == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "out of memory for a manifest")
                           : sg_page_columns_add(&columns, SG_PAGE_U32, values, 4, &reference, err);
    if (status == SG_OK) status = sg_page_manifest_text(manifest, &text, err);
    if (status == SG_OK) status = sg_page_write(path, force, "scope", text, &columns, bytes, err);
    sg_free(text);
    json_decref(reference);
    json_decref(manifest);
    sg_page_columns_free(&columns);
    return status;
}

static void test_page_is_whole(void **state)
{
    (void)state;
    sg_error err = {0};
    char *page;
    size_t got, bytes = 0;
    int64_t told;
    must(write_page("/p.html", false, &told, &err), &err);
    must(sg_file_read("/p.html", 1 << 24, &page, &got, &err), &err);
    assert_int_equal(told, got);
    // Hostile text stays inside its element, and is the same when it is read again.
    const char *at = page_element(page, "scope", &bytes);
    json_t *back, *manifest = hostile_manifest();
    must(sg_json_parse(at, bytes, "page", &back, &err), &err);
    assert_true(json_equal(back, manifest));
    assert_int_equal(count_of(page, "alert(1)"), 1);
    assert_int_equal(count_of(page, "<script"), 3); // the manifest, a column, the page's own
    assert_int_equal(count_of(page, "</script"), 3);
    assert_non_null(page_element(page, "column-0", &bytes));
    // All files of its folder and of share/page are in it, none of another page's, and nothing of
    // the template is left to put in.
    for (size_t i = 0; i < sg_page_file_count; i++) {
        const sg_page_file *file = &sg_page_files[i];
        if (strcmp(file->name, "scope/scope.html") == 0) continue;
        assert_int_equal(memmem(page, got, file->data, file->bytes) != NULL,
                         strncmp(file->name, "page/", 5) == 0 ||
                             strncmp(file->name, "scope/", 6) == 0);
    }
    assert_null(strstr(page, "@data@"));
    assert_null(strstr(page, ".js@"));
    // It names no host, but in the name that elements of SVG have.
    assert_int_equal(count_of(page, "http:"), count_of(page, "http://www.w3.org/2000/svg"));
    assert_null(strstr(page, "https:"));
    assert_null(strstr(page, "//cdn"));
    json_decref(back);
    json_decref(manifest);
    sg_free(page);
}

static void test_page_is_not_overwritten(void **state)
{
    (void)state;
    sg_error err = {0};
    int64_t bytes;
    must(sg_file_write_atomic("/p.html", "mine", 4, &err), &err);
    assert_int_equal(write_page("/p.html", false, &bytes, &err), SG_ERR_ARGUMENT);
    must(sg_path_bytes("/p.html", &bytes, &err), &err);
    assert_int_equal(bytes, 4);
    must(write_page("/p.html", true, &bytes, &err), &err);
    assert_true(bytes > 4);
}

// Whichever file operation fails, what was there before is still there, or the new page is.
static void test_page_on_a_bad_disk(void **state)
{
    (void)state;
    sg_error err = {0};
    int64_t bytes, whole;
    must(write_page("/new.html", false, &whole, &err), &err);
    for (int64_t n = 0;; n++) {
        must(sg_file_write_atomic("/p.html", "mine", 4, &err), &err);
        const int64_t begun = memory_fs_operations(disk);
        memory_fs_fail(disk, begun + n, EIO, false);
        const sg_status status = write_page("/p.html", true, &bytes, &err);
        const bool reached = memory_fs_operations(disk) > begun + n;
        memory_fs_fail(disk, INT64_MAX, EIO, false);
        must(sg_path_bytes("/p.html", &bytes, &err), &err);
        assert_true(bytes == 4 || bytes == whole);
        if (status == SG_OK) assert_int_equal(bytes, whole);
        if (!reached) break;
    }
}

static sg_status page_operation(void *user, sg_error *err)
{
    int64_t bytes;
    return write_page(user, true, &bytes, err);
}

static void test_page_without_memory(void **state)
{
    (void)state;
    static char path[] = "/p.html";
    assert_true(alloc_failure_loop(page_operation, path) > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_columns_read_back),
        cmocka_unit_test(test_smallest_types),
        cmocka_unit_test_setup_teardown(test_page_is_whole, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_page_is_not_overwritten, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_page_on_a_bad_disk, disk_begin, disk_end),
        cmocka_unit_test_setup_teardown(test_page_without_memory, disk_begin, disk_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
