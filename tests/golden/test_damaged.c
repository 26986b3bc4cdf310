// The golden checkpoints, damaged in every tensor, every key of config.json and every dimension of
// GGUF's tables: each is refused with an error that names the file and the tensor or key, and never
// taken for something else. Files that are damaged as files are for test_safetensors and test_gguf.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/json.h"
#include "golden/checkpoint_names.h"
#include "memory_disk.h"
#include "model/config.h"
#include "model/model.h"

static int begin(void **state)
{
    sg_error err = {0};
    if (disk_begin(state) != 0) return -1;
    return sg_folder_make("/m", &err) == SG_OK ? 0 : -1;
}

// The bytes of a golden file. sg_free.
static char *golden(const char *name, const char *file, size_t *bytes)
{
    char path[800], *data;
    sg_error err = {0};
    snprintf(path, sizeof path, "%s/golden/checkpoints/%s/%s", SG_TEST_DIR, name, file);
    sg_fs_set(sg_fs_system());
    sg_status status = sg_file_read(path, (size_t)1 << 24, &data, bytes, &err);
    sg_fs_set(memory_fs_table(disk));
    must(status, &err);
    return data;
}

static void put(const char *path, const void *data, size_t bytes)
{
    sg_error err = {0};
    must(sg_file_write_atomic(path, data, bytes, &err), &err);
}

// All that is checked of a model before its weights are read.
static sg_status open_it(const char *path, sg_error *err)
{
    sg_model_file *file;
    sg_param_list params = {0};
    *err = (sg_error){0};
    SG_TRY(sg_model_file_open(path, &file, err));
    sg_status status = sg_config_params(&file->config, &params, err);
    if (status == SG_OK)
        status = sg_model_file_check(file->map, &file->tensors, &file->config, &params, err);
    sg_param_list_free(&params);
    sg_model_file_close(file);
    return status;
}

// What happened is told with what was done.
static void refused(const char *path, const char *name, const char *other, const char *what)
{
    sg_error err;
    sg_status status = open_it(path, &err);
    if (status == SG_OK) fail_msg("%s: %s: taken", name, what);
    const bool named =
        strstr(err.message, name) != NULL || (other != NULL && strstr(err.message, other) != NULL);
    if (!named || strstr(err.message, path) == NULL)
        fail_msg("%s: %s: the error names no file or tensor: %s", name, what, err.message);
}

// ---- tensors of folders
// ---------------------------------------------------------------------------

static void write_tensors(const sg_tensor_view *views, size_t count)
{
    sg_error err = {0};
    must(sg_safetensors_write("/m/model.safetensors", views, count, NULL, 0, NULL, &err), &err);
}

static void check_tensor(const sg_tensor_view *views, size_t count, size_t i)
{
    sg_tensor_view set[80];
    char other[300];
    const char *name = views[i].name;
    memcpy(set, views, count * sizeof *set);
    set[i] = views[count - 1];
    write_tensors(set, count - 1);
    // Blocks and scales go together: the one that is left is not part of the model, or needs the
    // other.
    snprintf(other, sizeof other, "%.*s", (int)(strrchr(name, '_') ? strrchr(name, '_') - name : 0),
             name);
    refused("/m", name, strstr(name, "_blocks") || strstr(name, "_scales") ? other : NULL,
            "left out");

    memcpy(set, views, count * sizeof *set);
    snprintf(other, sizeof other, "%s.more", name);
    set[count] = sg_tensor_view_make(other, SG_DTYPE_F32, 1, (int64_t[]){1}, views[i].data);
    write_tensors(set, count + 1);
    refused("/m", other, NULL, "another beside it");

    sg_tensor_view *view = &set[i];
    const int last = view->ndim - 1;
    if (view->shape[last] % 2 == 0) { // one dimension more, of the same bytes
        view->shape[last + 1] = 2;
        view->shape[last] /= 2;
        view->ndim++;
        write_tensors(set, count);
        refused("/m", name, NULL, "of one dimension more");
    }
    *view = views[i];
    if (last > 0 && view->shape[0] != view->shape[last]) {
        const int64_t first = view->shape[0];
        view->shape[0] = view->shape[last];
        view->shape[last] = first;
        write_tensors(set, count);
        refused("/m", name, NULL, "turned");
    }
    *view = views[i];
    view->shape[0]--; // a row less
    *view = sg_tensor_view_make(name, view->dtype, view->ndim, view->shape, view->data);
    write_tensors(set, count);
    refused("/m", name, NULL, "a row less");
    *view = views[i];
    const size_t size = sg_dtype_bytes(view->dtype);
    view->dtype = size == 1 ? SG_DTYPE_I8 : size == 2 ? SG_DTYPE_I16 : SG_DTYPE_I32;
    write_tensors(set, count);
    refused("/m", name, strstr(name, "_blocks") ? "_scales" : NULL, "of integers");
}

static void test_tensors(void **state)
{
    sg_error err = {0};
    sg_safetensors *file;
    size_t bytes;
    char *config = golden(*state, "config.json", &bytes);
    put("/m/config.json", config, bytes);
    sg_free(config);
    char *data = golden(*state, "model.safetensors", &bytes);
    put("/m/model.safetensors", data, bytes);
    must(open_it("/m", &err), &err);
    must(sg_safetensors_open_memory(data, bytes, "golden", &file, &err), &err);
    const size_t count = sg_safetensors_count(file);
    assert_true(count > 10 && count < 78);
    sg_tensor_view views[80];
    for (size_t i = 0; i < count; i++)
        views[i] = *sg_safetensors_at(file, i);
    write_tensors(views, count);
    must(open_it("/m", &err), &err);
    for (size_t i = 0; i < count; i++)
        check_tensor(views, count, i);
    sg_safetensors_close(file);
    sg_free(data);
}

// The same weights in two shards, and what can be wrong with those of a real model.
static void test_shards(void **state)
{
    sg_error err = {0};
    size_t bytes;
    char *config = golden("mixtral", "config.json", &bytes);
    put("/m/config.json", config, bytes);
    sg_free(config);
    char *data = golden("mixtral", "model.safetensors", &bytes);
    sg_safetensors *file;
    (void)state;
    must(sg_safetensors_open_memory(data, bytes, "golden", &file, &err), &err);
    sg_tensor_view views[80];
    const size_t count = sg_safetensors_count(file);
    int64_t most = 0;
    for (size_t i = 0; i < count; i++) {
        views[i] = *sg_safetensors_at(file, i);
        most += (int64_t)views[i].bytes;
    }
    must(sg_safetensors_write_sharded("/m", most / 2 + 4096, views, count, NULL, 0, &err), &err);
    must(open_it("/m", &err), &err);
    static const char second[] = "/m/model-00002-of-00002.safetensors";
    static const char index[] = "/m/model.safetensors.index.json";
    size_t whole, size;
    const unsigned char *found = memory_fs_bytes(disk, second, &whole);
    assert_non_null(found);
    char *kept = sg_alloc_array(whole, 1);
    assert_non_null(kept);
    memcpy(kept, found, whole);
    for (size_t cut = 0; cut < whole; cut += whole / 37 + 1) {
        put(second, kept, cut);
        if (open_it("/m", &err) != SG_ERR_FORMAT || strstr(err.message, second) == NULL)
            fail_msg("%zu bytes of a shard: %s", cut, err.message);
    }
    must(sg_path_remove(second, &err), &err);
    assert_int_equal(open_it("/m", &err), SG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, second));
    put(second, kept, whole);
    must(open_it("/m", &err), &err);
    // An index that leaves out a tensor, or names it twice over.
    char *text = (char *)memory_fs_bytes(disk, index, &size), *at = NULL;
    assert_non_null(text);
    char *copy = sg_strndup(text, size);
    assert_non_null(copy);
    at = strstr(copy, "\"model.norm.weight\"");
    assert_non_null(at);
    memcpy(at, "\"model.norm.wexght\"", 19);
    put(index, copy, size);
    assert_int_equal(open_it("/m", &err), SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "model.norm.weight"));
    memcpy(at, "\"lm_head.weight\"   ", 19);
    put(index, copy, size);
    assert_int_equal(open_it("/m", &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, index));
    sg_free(copy);
    sg_free(kept);
    sg_safetensors_close(file);
    sg_free(data);
}

// ---- config.json
// ----------------------------------------------------------------------------------

// An error names the folder or its file, and no value makes a crash of it: some are other models,
// which the tensors then do not fit, or the same.
static void check_value(json_t *object, const char *key, const char *value)
{
    sg_error err = {0};
    json_t *parsed = NULL, *copy = json_copy(object);
    char *text = NULL;
    must(sg_json_parse(value, strlen(value), "value", &parsed, &err), &err);
    assert_int_equal(json_object_set_new(copy, key, parsed), 0);
    must(sg_json_text(copy, false, &text, &err), &err);
    put("/m/config.json", text, strlen(text));
    if (open_it("/m", &err) != SG_OK && strncmp(err.message, "/m", 2) != 0)
        fail_msg("\"%s\" = %s: the error names no file: %s", key, value, err.message);
    sg_free(text);
    json_decref(copy);
}

static void test_config(void **state)
{
    static const char *const values[] = {"0",
                                         "-1",
                                         "1",
                                         "3",
                                         "1000000",
                                         "2147483648",
                                         "9223372036854775807",
                                         "1e308",
                                         "-1e-308",
                                         "0.5",
                                         "null",
                                         "true",
                                         "\"\"",
                                         "\"1\"",
                                         "[]",
                                         "[[]]",
                                         "{}",
                                         "{\"rope_type\": 7}",
                                         "{\"factor\": 1e308, \"rope_type\": \"llama3\"}"};
    sg_error err = {0};
    size_t bytes;
    json_t *object;
    char *data = golden(*state, "model.safetensors", &bytes);
    put("/m/model.safetensors", data, bytes);
    sg_free(data);
    data = golden(*state, "config.json", &bytes);
    must(sg_json_parse(data, bytes, "config.json", &object, &err), &err);
    const char *key;
    json_t *kept;
    json_object_foreach(object, key, kept)
    {
        for (size_t i = 0; i < sizeof values / sizeof *values; i++)
            check_value(object, key, values[i]);
    }
    json_decref(object);
    for (size_t cut = 0; cut < bytes; cut += 7) {
        put("/m/config.json", data, cut);
        if (open_it("/m", &err) == SG_OK || strstr(err.message, "/m/config.json") == NULL)
            fail_msg("%zu bytes: %s", cut, err.message);
    }
    sg_free(data);
}

// Nested without end, and larger than any.
static void test_huge(void **state)
{
    enum { deep = 1 << 20, large = (16 << 20) + 1 };
    static const char *const files[] = {"/m/config.json", "/m/generation_config.json"};
    sg_error err;
    size_t bytes;
    char *text = sg_alloc_array(large, 1);
    assert_non_null(text);
    (void)state;
    char *data = golden("llama", "config.json", &bytes);
    put("/m/config.json", data, bytes);
    sg_free(data);
    data = golden("llama", "model.safetensors", &bytes);
    put("/m/model.safetensors", data, bytes);
    sg_free(data);
    for (int i = 1; i >= 0; i--) {
        memset(text, '[', deep);
        put(files[i], text, deep);
        assert_int_equal(open_it("/m", &err), SG_ERR_FORMAT);
        assert_non_null(strstr(err.message, files[i]));
        memset(text, ' ', large);
        put(files[i], text, large);
        assert_int_not_equal(open_it("/m", &err), SG_OK);
        assert_non_null(strstr(err.message, files[i]));
    }
    sg_free(text);
}

// ---- GGUF
// -----------------------------------------------------------------------------------------

static void store(unsigned char *at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        at[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t load(const unsigned char *at, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes - 1; i >= 0; i--)
        value = value << 8 | at[i];
    return value;
}

// The description of a tensor: its name (behind its length), its dimensions.
static unsigned char *description(unsigned char *data, size_t bytes, const char *name)
{
    const size_t n = strlen(name);
    for (size_t i = 8; i + n + 32 < bytes; i++)
        if (load(data + i - 8, 8) == n && memcmp(data + i, name, n) == 0) return data + i;
    fail_msg("no description of %s", name);
    return NULL;
}

// One place of the description with another value.
static void check_place(unsigned char *data, size_t bytes, const char *name, const char *other,
                        unsigned char *at, uint64_t value, int width, const char *what)
{
    const uint64_t kept = load(at, width);
    if (kept == value) return;
    store(at, value, width);
    put("/m/model.gguf", data, bytes);
    refused("/m/model.gguf", name, other, what);
    store(at, kept, width);
}

static void check_gguf(unsigned char *data, size_t bytes, const sg_tensor_view *view, bool tied)
{
    const char *name = view->name;
    unsigned char *at = description(data, bytes, name), *dims = at + strlen(name) + 4;
    unsigned char *type = dims + 8 * view->ndim, *offset = type + 4;
    unsigned char *outermost = type - 8;
    char other[200];
    // Another name: what is missing is told (of a fused tensor its first part), or what is there
    // instead.
    snprintf(other, sizeof other, "%s", name);
    other[strlen(name) - 1]++;
    if (strstr(name, "attn_qkv") != NULL) snprintf(other, sizeof other, "%.12s", name);
    check_place(data, bytes, name, other, at + strlen(name) - 1,
                (unsigned char)name[strlen(name) - 1] + 1u, 1, "of another name");
    check_place(data, bytes, name, NULL, dims - 4, 0, 4, "of no dimensions");
    check_place(data, bytes, name, NULL, dims - 4, 5, 4, "of 5 dimensions");
    check_place(data, bytes, name, NULL, outermost, 1ull << 62, 8, "of 2^62 rows");
    check_place(data, bytes, name, NULL, outermost, UINT64_MAX, 8, "of 2^64 - 1 rows");
    // The vocabulary is as long as its table: shorter ones that nothing else contradicts are
    // models.
    if (strcmp(name, "token_embd.weight") != 0)
        check_place(data, bytes, name, NULL, outermost, load(outermost, 8) - 1, 8, "a row less");
    else if (!tied)
        check_place(data, bytes, "output.weight", NULL, outermost, load(outermost, 8) - 1, 8,
                    "a row less");
    check_place(data, bytes, name, NULL, type, 999, 4, "of an unknown type");
    check_place(data, bytes, name, NULL, type, 39, 4, "of MXFP4");
    if (view->dtype == SG_DTYPE_F32)
        check_place(data, bytes, name, NULL, type, 26, 4, "of integers");
    check_place(data, bytes, name, NULL, offset, 1, 8, "at an odd place");
    check_place(data, bytes, name, NULL, offset, bytes / 32 * 32 + 32, 8, "behind the end");
    check_place(data, bytes, name, NULL, offset, 1ull << 63, 8, "at 2^63");
}

static void test_gguf(void **state)
{
    sg_error err = {0};
    size_t bytes;
    sg_gguf *file;
    char *data = golden(*state, "model.gguf", &bytes);
    put("/m/model.gguf", data, bytes);
    must(open_it("/m/model.gguf", &err), &err);
    must(sg_gguf_open_memory(data, bytes, "golden", &file, &err), &err);
    const bool tied = sg_gguf_find(file, "output.weight") == NULL;
    const size_t count = sg_gguf_count(file);
    for (size_t i = 0; i < count; i++) {
        sg_tensor_view view = *sg_gguf_at(file, i);
        char name[200];
        snprintf(name, sizeof name, "%s", view.name);
        view.name = name;
        check_gguf((unsigned char *)data, bytes, &view, tied);
        if (i == 0) continue;
        // In the place of the one before: overlaps one of the two.
        unsigned char *at = description((unsigned char *)data, bytes, name) + strlen(name) + 8 +
                            8 * (size_t)view.ndim;
        const char *before = sg_gguf_at(file, i - 1)->name;
        const uint64_t place =
            load(at, 8) -
            (uint64_t)((const char *)view.data - (const char *)sg_gguf_at(file, i - 1)->data);
        check_place((unsigned char *)data, bytes, name, before, at, place, 8, "over another");
    }
    sg_gguf_close(file);
    sg_free(data);
}

int main(void)
{
    enum { folders = checkpoint_folder_count, files = checkpoint_gguf_count };
    struct CMUnitTest tests[2 * folders + files + 2];
    size_t n = 0;
    for (int i = 0; i < 2 * folders; i++)
        tests[n++] =
            (struct CMUnitTest){checkpoint_folders[i / 2], i % 2 ? test_config : test_tensors,
                                begin, disk_end, (void *)(uintptr_t)checkpoint_folders[i / 2]};
    for (int i = 0; i < files; i++)
        tests[n++] = (struct CMUnitTest){checkpoint_ggufs[i], test_gguf, begin, disk_end,
                                         (void *)(uintptr_t)checkpoint_ggufs[i]};
    tests[n++] = (struct CMUnitTest){"shards", test_shards, begin, disk_end, NULL};
    tests[n++] = (struct CMUnitTest){"huge", test_huge, begin, disk_end, NULL};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
