// The manifest sees every flipped bit, of the files it lists and of itself.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/hash.h"
#include "format/json.h"
#include "format/manifest.h"
#include "memory_fs.h"

static memory_fs *fs;

static int setup(void **state)
{
    (void)state;
    fs = memory_fs_begin();
    return sg_folder_make("c", NULL) != SG_OK;
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

static json_t *state_object(void)
{
    sg_json_setup();
    json_t *state = json_pack("{s:f, s:i, s:s, s:[b, n], s:f, s:f}", "lr", 0.1, "seed", 7, "text",
                              "\xc3\xa9 \"x\" \n", "list", 1, "tiny", 5e-324, "whole", 3.0);
    assert_non_null(state);
    return state;
}

// Writes two files and their manifest into c/.
static void make_folder(void)
{
    sg_error err;
    sg_manifest *manifest;
    json_t *state = state_object();
    must(sg_file_write_atomic("c/a.bin", "0123456789", 10, &err), &err);
    must(sg_file_write_atomic("c/empty", "", 0, &err), &err);
    must(sg_manifest_new(42, state, &manifest, &err), &err);
    json_decref(state);
    must(sg_manifest_add(manifest, "a.bin", 10, sg_hash("0123456789", 10), &err), &err);
    must(sg_manifest_add(manifest, "empty", 0, sg_hash("", 0), &err), &err);
    must(sg_manifest_write(manifest, "c", &err), &err);
    sg_manifest_free(manifest);
}

static void test_round_trip(void **state)
{
    (void)state;
    sg_error err;
    sg_manifest *manifest;
    make_folder();
    must(sg_manifest_read("c", &manifest, &err), &err);
    assert_int_equal(manifest->step, 42);
    assert_int_equal(manifest->count, 2);
    assert_string_equal(manifest->files[0].name, "a.bin");
    assert_int_equal(manifest->files[0].bytes, 10);
    json_t *expected = state_object();
    assert_true(json_equal(manifest->state, expected));
    assert_true(json_real_value(json_object_get(manifest->state, "lr")) == 0.1);
    json_decref(expected);
    must(sg_manifest_verify(manifest, "c", &err), &err);
    // Files that are not listed do not matter.
    must(sg_file_write_atomic("c/other", "x", 1, &err), &err);
    must(sg_manifest_verify(manifest, "c", &err), &err);
    sg_manifest_free(manifest);
    sg_manifest_free(NULL);
}

static void expect_damage(const sg_manifest *manifest, sg_status status, const char *says)
{
    sg_error err = {0};
    assert_int_equal(sg_manifest_verify(manifest, "c", &err), status);
    if (strstr(err.message, says) == NULL) fail_msg("%s", err.message);
}

static void test_damaged_files(void **state)
{
    (void)state;
    sg_error err;
    sg_manifest *manifest;
    make_folder();
    must(sg_manifest_read("c", &manifest, &err), &err);
    size_t size;
    unsigned char *bytes = memory_fs_bytes(fs, "c/a.bin", &size);
    for (size_t i = 0; i < 8 * size; i++) {
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        expect_damage(manifest, SG_ERR_FORMAT, "c/a.bin: damaged");
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    must(sg_manifest_verify(manifest, "c", &err), &err);
    memory_fs_resize(fs, "c/a.bin", 9);
    expect_damage(manifest, SG_ERR_FORMAT, "c/a.bin: found 9 bytes, expected 10");
    memory_fs_resize(fs, "c/a.bin", 11);
    expect_damage(manifest, SG_ERR_FORMAT, "c/a.bin: found 11 bytes, expected 10");
    memory_fs_resize(fs, "c/empty", 1);
    must(sg_file_write_atomic("c/a.bin", "0123456789", 10, &err), &err);
    expect_damage(manifest, SG_ERR_FORMAT, "c/empty: found 1 bytes");
    must(sg_path_remove("c/a.bin", &err), &err);
    expect_damage(manifest, SG_ERR_NOT_FOUND, "c/a.bin");
    must(sg_folder_make("c/a.bin", &err), &err);
    assert_int_not_equal(sg_manifest_verify(manifest, "c", &err), SG_OK);
    sg_manifest_free(manifest);
}

// A flipped bit of the manifest is an error, or it changed nothing (white space for white space).
static void test_damaged_self(void **state)
{
    (void)state;
    sg_error err;
    sg_manifest *intact, *manifest;
    make_folder();
    must(sg_manifest_read("c", &intact, &err), &err);
    size_t size, same = 0;
    char *text = (char *)memory_fs_bytes(fs, "c/manifest.json", &size);
    for (size_t i = 0; i < 8 * size; i++) {
        text[i / 8] ^= (char)(1 << i % 8);
        sg_status status = sg_manifest_parse(text, size, "m", &manifest, &err);
        if (status == SG_OK) {
            assert_int_equal(manifest->step, intact->step);
            assert_int_equal(manifest->count, intact->count);
            assert_true(json_equal(manifest->state, intact->state));
            assert_true(manifest->files[0].hash == intact->files[0].hash);
            same++;
        }
        sg_manifest_free(manifest);
        text[i / 8] ^= (char)(1 << i % 8);
    }
    assert_true(same < size);
    for (size_t n = 0; n + 1 < size; n++) { // without the last line end it is whole
        assert_int_not_equal(sg_manifest_parse(text, n, "m", &manifest, &err), SG_OK);
        assert_null(manifest);
    }
    sg_manifest_free(intact);
}

// Puts the right checksum on a text, so that what comes after the check is tested.
static void expect_parse(const char *json, sg_status expected, const char *says)
{
    sg_error err = {0};
    json_t *root;
    char *text, *sealed;
    must(sg_json_parse(json, strlen(json), "test", &root, &err), &err);
    must(sg_json_text(root, false, &text, &err), &err);
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)sg_hash(text, strlen(text)));
    json_object_set_new(root, "checksum", json_string(hash));
    must(sg_json_text(root, true, &sealed, &err), &err);
    json_decref(root);
    sg_manifest *manifest;
    sg_status status = sg_manifest_parse(sealed, strlen(sealed), "m", &manifest, &err);
    if (status != expected || strstr(err.message, says) == NULL)
        fail_msg("%s: %s: %s", json, sg_status_name(status), err.message);
    sg_manifest_free(manifest);
    sg_free(text);
    sg_free(sealed);
}

#define HEAD          "{\"version\":1,\"step\":1,\"state\":{},\"files\":["
#define FILE_OF(name) "{\"name\":\"" name "\",\"bytes\":1,\"xxh3\":\"0123456789abcdef\"}"

static void test_hostile(void **state)
{
    (void)state;
    expect_parse(HEAD FILE_OF("a") "]}", SG_OK, "");
    expect_parse(HEAD "]}", SG_OK, "");
    expect_parse(HEAD FILE_OF("../a") "]}", SG_ERR_FORMAT, "../a: not a name");
    expect_parse(HEAD FILE_OF("/etc/passwd") "]}", SG_ERR_FORMAT, "not a name");
    expect_parse(HEAD FILE_OF("a\\\\b") "]}", SG_ERR_FORMAT, "not a name");
    expect_parse(HEAD FILE_OF("") "]}", SG_ERR_FORMAT, "not a name");
    expect_parse(HEAD FILE_OF("manifest.json") "]}", SG_ERR_FORMAT, "not a name");
    expect_parse(HEAD FILE_OF("a") "," FILE_OF("a") "]}", SG_ERR_FORMAT, "already");
    expect_parse(HEAD "7]}", SG_ERR_FORMAT, "an integer where an object");
    expect_parse(HEAD "{\"name\":\"a\",\"bytes\":-1,\"xxh3\":\"0123456789abcdef\"}]}",
                 SG_ERR_FORMAT, "bytes");
    expect_parse(HEAD "{\"name\":\"a\",\"bytes\":1,\"xxh3\":\"0123456789ABCDEF\"}]}", SG_ERR_FORMAT,
                 "16 hexadecimal");
    expect_parse(HEAD "{\"name\":\"a\",\"bytes\":1,\"xxh3\":\"123\"}]}", SG_ERR_FORMAT, "16 hex");
    expect_parse("{\"version\":2,\"step\":1,\"state\":{},\"files\":[]}", SG_ERR_UNSUPPORTED,
                 "\"version\": found 2, expected 1");
    expect_parse("{\"version\":1,\"step\":-1,\"state\":{},\"files\":[]}", SG_ERR_FORMAT, "step");
    expect_parse("{\"version\":1,\"step\":1,\"state\":[],\"files\":[]}", SG_ERR_FORMAT, "state");
    expect_parse("{\"version\":1,\"step\":1,\"state\":{},\"files\":{}}", SG_ERR_FORMAT, "files");
    expect_parse("{\"step\":1}", SG_ERR_FORMAT, "version");
    sg_error err;
    sg_manifest *manifest;
    static const char wrong[] = "{\"version\":1,\"step\":1,\"state\":{},\"files\":[],"
                                "\"checksum\":\"0123456789abcdef\"}";
    const char *texts[] = {"", "7", "[]", "{}", "null", "{\"version\":1}", wrong};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(sg_manifest_parse(texts[i], strlen(texts[i]), "m", &manifest, &err),
                         SG_ERR_FORMAT);
    assert_int_equal(sg_manifest_read("c", &manifest, &err), SG_ERR_NOT_FOUND);
}

static void test_add_refuses(void **state)
{
    (void)state;
    sg_error err;
    sg_manifest *manifest;
    sg_json_setup();
    json_t *array = json_array();
    assert_int_equal(sg_manifest_new(1, array, &manifest, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_manifest_new(-1, NULL, &manifest, &err), SG_ERR_ARGUMENT);
    json_decref(array);
    must(sg_manifest_new(1, NULL, &manifest, &err), &err);
    for (int i = 0; i < SG_MANIFEST_FILES; i++) {
        char name[16];
        snprintf(name, sizeof name, "f%d", i);
        must(sg_manifest_add(manifest, name, 0, 0, &err), &err);
    }
    assert_int_equal(sg_manifest_add(manifest, "f0", 0, 0, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_manifest_add(manifest, "one-more", 0, 0, &err), SG_ERR_ARGUMENT);
    sg_manifest_free(manifest);
}

static sg_status all_steps(void *user, sg_error *err)
{
    sg_manifest *manifest;
    SG_TRY(sg_manifest_new(42, user, &manifest, err));
    sg_status status = sg_manifest_add(manifest, "a.bin", 10, sg_hash("0123456789", 10), err);
    if (status == SG_OK) status = sg_manifest_write(manifest, "c", err);
    sg_manifest_free(manifest);
    SG_TRY(status);
    SG_TRY(sg_manifest_read("c", &manifest, err));
    status = sg_manifest_verify(manifest, "c", err);
    sg_manifest_free(manifest);
    return status;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    make_folder();
    json_t *object = state_object();
    assert_in_range(alloc_failure_loop(all_steps, object), 30, 2000);
    json_decref(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damaged_self, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_add_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_allocation_failures, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
