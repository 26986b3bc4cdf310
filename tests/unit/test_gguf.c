// GGUF files: what the Python package writes and reads, and every kind of malformed file that other
// loaders were once wrong about.
#include <math.h>
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
#include "base/half.h"
#include "format/gguf.h"
#include "memory_fs.h"

static void must(sg_status status, const sg_error *err)
{
    if (status != SG_OK) fail_msg("%s", err->message);
}

static sg_gguf *golden(const char *name)
{
    char path[512];
    sg_error err;
    sg_gguf *file;
    snprintf(path, sizeof path, "%s/golden/gguf/%s", SG_TEST_DIR, name);
    must(sg_gguf_open(path, &file, &err), &err);
    return file;
}

// ---- what the Python package writes -----------------------------------------------------------

static void test_values(void **state)
{
    (void)state;
    sg_error err;
    sg_gguf *file = golden("values.gguf");
    int64_t integer = 0, *integers;
    double number = 0;
    bool flag = false;
    const char *text = NULL;
    assert_int_equal(sg_gguf_version(file), 3);
    must(sg_gguf_get_string(file, "general.architecture", true, &text, &err), &err);
    assert_string_equal(text, "llama");
    must(sg_gguf_get_string(file, "test.string", true, &text, &err), &err);
    assert_string_equal(text, "naïve \"text\"\n");
    must(sg_gguf_get_int(file, "test.u32", true, 0, UINT32_MAX, &integer, &err), &err);
    assert_int_equal(integer, 4000000000);
    must(sg_gguf_get_number(file, "test.f32", true, &number, &err), &err);
    assert_true(number == (double)1e-5f);
    must(sg_gguf_get_bool(file, "test.true", true, &flag, &err), &err);
    assert_true(flag);
    must(sg_gguf_get_bool(file, "test.false", true, &flag, &err), &err);
    assert_false(flag);

    sg_gguf_string *strings;
    float *floats;
    size_t count;
    must(sg_gguf_get_strings(file, "test.strings", true, &strings, &count, &err), &err);
    assert_int_equal(count, 3);
    assert_int_equal(strings[1].bytes, 0);
    assert_int_equal(strings[2].bytes, strlen("Ġb"));
    assert_memory_equal(strings[2].data, "Ġb", strings[2].bytes);
    sg_free(strings);
    must(sg_gguf_get_ints(file, "test.ints", true, &integers, &count, &err), &err);
    assert_int_equal(count, 3);
    assert_int_equal(integers[1], -2);
    assert_int_equal(integers[2], INT32_MAX);
    sg_free(integers);
    must(sg_gguf_get_floats(file, "test.floats", true, &floats, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_true(floats[1] == -1.25f);
    sg_free(floats);

    // What is not there leaves what was, or is said to be missing.
    must(sg_gguf_get_int(file, "none", false, 0, 1, &integer, &err), &err);
    assert_int_equal(integer, 4000000000);
    must(sg_gguf_get_strings(file, "none", false, &strings, &count, &err), &err);
    assert_null(strings);
    assert_int_equal(count, 0);
    assert_int_equal(sg_gguf_get_number(file, "none", true, &number, &err), SG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "values.gguf: key \"none\": is missing"));
    assert_null(sg_gguf_value_find(file, "none"));
    sg_gguf_close(file);
}

// One key asked for as another type: refused in the same words by every getter.
static void test_wrong_types(void **state)
{
    (void)state;
    sg_error err;
    sg_gguf *file = golden("values.gguf");
    int64_t integer = 9, *integers;
    double number = 9;
    bool flag = true;
    const char *text = "x";
    sg_gguf_string *strings;
    float *floats;
    size_t count;
    assert_int_equal(sg_gguf_get_int(file, "test.f32", true, 0, 9, &integer, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "key \"test.f32\": found f32, expected an integer"));
    assert_int_equal(sg_gguf_get_int(file, "test.true", true, 0, 9, &integer, &err), SG_ERR_FORMAT);
    assert_int_equal(sg_gguf_get_int(file, "test.ints", true, 0, 9, &integer, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "found an array of i32, expected an integer"));
    assert_int_equal(sg_gguf_get_int(file, "test.u32", true, 0, 9, &integer, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "found 4000000000, expected 0 to 9"));
    assert_int_equal(sg_gguf_get_int(file, "test.u64", true, 0, INT64_MAX, &integer, &err),
                     SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "found 9223372036854775813, expected 0 to"));
    assert_int_equal(sg_gguf_get_number(file, "test.u32", true, &number, &err), SG_ERR_FORMAT);
    assert_int_equal(sg_gguf_get_number(file, "test.floats", true, &number, &err), SG_ERR_FORMAT);
    assert_int_equal(sg_gguf_get_bool(file, "test.u32", true, &flag, &err), SG_ERR_FORMAT);
    assert_int_equal(sg_gguf_get_string(file, "test.u32", true, &text, &err), SG_ERR_FORMAT);
    assert_int_equal(sg_gguf_get_string(file, "test.strings", true, &text, &err), SG_ERR_FORMAT);
    assert_int_equal(sg_gguf_get_strings(file, "test.string", true, &strings, &count, &err),
                     SG_ERR_FORMAT);
    assert_null(strings);
    assert_int_equal(sg_gguf_get_strings(file, "test.ints", true, &strings, &count, &err),
                     SG_ERR_FORMAT);
    assert_int_equal(sg_gguf_get_ints(file, "test.floats", true, &integers, &count, &err),
                     SG_ERR_FORMAT);
    assert_int_equal(sg_gguf_get_ints(file, "test.u32", true, &integers, &count, &err),
                     SG_ERR_FORMAT);
    assert_int_equal(sg_gguf_get_floats(file, "test.ints", true, &floats, &count, &err),
                     SG_ERR_FORMAT);
    assert_true(integer == 9 && number == 9 && flag && strcmp(text, "x") == 0);
    sg_gguf_close(file);
}

static void test_other_types(void **state)
{
    (void)state;
    sg_error err;
    sg_gguf *file = golden("types.gguf");
    static const struct {
        const char *key;
        int64_t value;
    } integers[] = {{"test.u8", 200},          {"test.i8", -100},
                    {"test.u16", 60000},       {"test.i16", -30000},
                    {"test.i32", -2000000000}, {"test.i64", -(INT64_C(1) << 62)},
                    {"general.alignment", 64}};
    int64_t integer, *flags;
    double number;
    size_t count;
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        must(sg_gguf_get_int(file, integers[i].key, true, INT64_MIN, INT64_MAX, &integer, &err),
             &err);
        assert_int_equal(integer, integers[i].value);
    }
    must(sg_gguf_get_number(file, "test.f64", true, &number, &err), &err);
    assert_true(number == 1e300);
    must(sg_gguf_get_ints(file, "test.bools", true, &flags, &count, &err), &err);
    assert_int_equal(count, 3);
    assert_true(flags[0] == 1 && flags[1] == 0 && flags[2] == 1);
    sg_free(flags);
    assert_int_equal(sg_gguf_count(file), 2);
    for (size_t i = 0; i < 2; i++)
        assert_true(sg_tensor_view_is_aligned(sg_gguf_at(file, i)));
    const sg_tensor_view *two = sg_gguf_find(file, "two");
    assert_int_equal(two->dtype, SG_DTYPE_F64);
    float values[2];
    must(sg_tensor_view_read_f32(two, values, &err), &err);
    assert_true(values[0] == 1 && values[1] == 2);
    sg_gguf_close(file);
}

static void test_tensors(void **state)
{
    (void)state;
    sg_gguf *file = golden("values.gguf");
    assert_int_equal(sg_gguf_count(file), 4);
    for (size_t i = 0; i < 4; i++)
        assert_ptr_equal(sg_gguf_find(file, sg_gguf_at(file, i)->name), sg_gguf_at(file, i));
    const sg_tensor_view *matrix = sg_gguf_find(file, "matrix");
    assert_int_equal(matrix->ndim, 2); // rows first, though the file says columns first
    assert_int_equal(matrix->shape[0], 2);
    assert_int_equal(matrix->shape[1], 3);
    assert_true(((const float *)matrix->data)[5] == 5.0f / 3.0f);
    const sg_tensor_view *ids = sg_gguf_find(file, "ids");
    assert_int_equal(ids->ndim, 4);
    assert_int_equal(ids->shape[0], 3);
    assert_int_equal(ids->shape[3], 2);
    assert_int_equal(((const int32_t *)ids->data)[5], 6);
    const sg_tensor_view *eights = sg_gguf_find(file, "eights");
    assert_int_equal(eights->dtype, SG_DTYPE_Q8_0);
    assert_int_equal(eights->shape[1], 32);
    assert_int_equal(eights->bytes, 2 * 34);
    assert_null(sg_gguf_find(file, "none"));
    sg_gguf_close(file);
    sg_gguf_close(NULL);
}

// ---- writing ----------------------------------------------------------------------------------

static sg_gguf_metadata *golden_metadata(void)
{
    static const sg_gguf_string strings[] = {{"a", 1},
                                             {"", 0},
                                             {"\xc4\xa0"
                                              "b",
                                              3}};
    sg_gguf_metadata *m = sg_gguf_metadata_new();
    assert_non_null(m);
    sg_gguf_put_string(m, "general.architecture", "llama");
    sg_gguf_put_u32(m, "test.u32", 4000000000);
    sg_gguf_put_u64(m, "test.u64", (UINT64_C(1) << 63) + 5);
    sg_gguf_put_f32(m, "test.f32", 1e-5f);
    sg_gguf_put_bool(m, "test.true", true);
    sg_gguf_put_bool(m, "test.false", false);
    sg_gguf_put_string(m, "test.string", "naïve \"text\"\n");
    sg_gguf_put_strings(m, "test.strings", strings, 3);
    sg_gguf_put_ints(m, "test.ints", (int32_t[]){1, -2, INT32_MAX}, 3);
    sg_gguf_put_floats(m, "test.floats", (float[]){0.5f, -1.25f}, 2);
    return m;
}

// What was read, written again, is the file that the Python package wrote.
static void test_write_golden(void **state)
{
    (void)state;
    sg_error err;
    sg_gguf *file = golden("values.gguf");
    sg_tensor_view views[4];
    for (size_t i = 0; i < 4; i++)
        views[i] = *sg_gguf_at(file, i);
    sg_gguf_metadata *m = golden_metadata();
    memory_fs *fs = memory_fs_begin();
    must(sg_gguf_write("out.gguf", SG_OUTPUT_REPLACE, m, views, 4, &err), &err);
    assert_false(sg_path_exists("out.gguf.tmp"));
    char *written, *expected;
    size_t bytes, expected_bytes;
    must(sg_file_read("out.gguf", 1 << 20, &written, &bytes, &err), &err);
    sg_fs_set(NULL);
    must(sg_file_read(SG_TEST_DIR "/golden/gguf/values.gguf", 1 << 20, &expected, &expected_bytes,
                      &err),
         &err);
    assert_int_equal(bytes, expected_bytes);
    assert_memory_equal(written, expected, bytes);
    sg_free(written);
    sg_free(expected);
    assert_int_equal(memory_fs_end(fs), 0);
    sg_gguf_metadata_free(m);
    sg_gguf_metadata_free(NULL);
    sg_gguf_close(file);
}

static void test_write_refuses(void **state)
{
    (void)state;
    sg_error err;
    memory_fs *fs = memory_fs_begin();
    static const float x[2] = {1, 2};
    char longest[65];
    memset(longest, 'n', 64);
    longest[64] = '\0';
    const sg_tensor_view good = sg_tensor_view_make("good", SG_DTYPE_F32, 1, (int64_t[]){2}, x);
    sg_tensor_view bad[6];
    for (int i = 0; i < 6; i++)
        bad[i] = good;
    bad[0].name = "";
    bad[1].name = longest;
    bad[2] = sg_tensor_view_make("scalar", SG_DTYPE_F32, 0, NULL, x);
    bad[3] = sg_tensor_view_make("deep", SG_DTYPE_F32, 5, (int64_t[]){1, 1, 1, 1, 2}, x);
    bad[4].bytes = 4;
    bad[5] = sg_tensor_view_make("unsigned", SG_DTYPE_U8, 1, (int64_t[]){2}, x);
    for (int i = 0; i < 6; i++)
        assert_int_equal(sg_gguf_write("f", SG_OUTPUT_REPLACE, NULL, &bad[i], 1, &err),
                         i < 5 ? SG_ERR_ARGUMENT : SG_ERR_UNSUPPORTED);
    const sg_tensor_view twice[2] = {good, good};
    assert_int_equal(sg_gguf_write("f", SG_OUTPUT_REPLACE, NULL, twice, 2, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "f: tensor \"good\" is given twice"));
    static const char *const keys[] = {"general.alignment", ""};
    for (int i = 0; i < 2; i++) {
        sg_gguf_metadata *m = sg_gguf_metadata_new();
        sg_gguf_put_u32(m, keys[i], 8);
        sg_gguf_put_u32(m, "fine", 8);
        assert_int_equal(sg_gguf_write("f", SG_OUTPUT_REPLACE, m, &good, 1, &err), SG_ERR_ARGUMENT);
        sg_gguf_metadata_free(m);
    }
    sg_gguf_metadata *m = sg_gguf_metadata_new();
    sg_gguf_put_u32(m, "k", 8);
    sg_gguf_put_bool(m, "k", true);
    assert_int_equal(sg_gguf_write("f", SG_OUTPUT_REPLACE, m, &good, 1, &err), SG_ERR_ARGUMENT);
    assert_non_null(strstr(err.message, "f: key \"k\" is given twice"));
    sg_gguf_metadata_free(m);
    assert_int_equal(sg_gguf_write("none/f", SG_OUTPUT_REPLACE, NULL, &good, 1, &err),
                     SG_ERR_NOT_FOUND);
    assert_false(sg_path_exists("f"));
    must(sg_gguf_write("f", SG_OUTPUT_REPLACE, NULL, NULL, 0, &err), &err); // nothing is a file too
    sg_gguf *file;
    must(sg_gguf_open("f", &file, &err), &err);
    assert_int_equal(sg_gguf_count(file) + sg_gguf_value_count(file), 0);
    sg_gguf_close(file);
    assert_int_equal(memory_fs_end(fs), 0);
}

// ---- hostile files ----------------------------------------------------------------------------

typedef struct bytes {
    unsigned char data[4096];
    size_t used;
} bytes;

static void add(bytes *b, uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        b->data[b->used++] = (unsigned char)(value >> 8 * i);
}

static void add_text(bytes *b, const char *text)
{
    add(b, strlen(text), 8);
    memcpy(b->data + b->used, text, strlen(text));
    b->used += strlen(text);
}

static void begin(bytes *b, uint64_t tensors, uint64_t keys)
{
    b->used = 0;
    add(b, 0x46554747, 4);
    add(b, 3, 4);
    add(b, tensors, 8);
    add(b, keys, 8);
}

static void add_key(bytes *b, const char *key, uint32_t type)
{
    add_text(b, key);
    add(b, type, 4);
}

static void add_u32_key(bytes *b, const char *key, uint32_t value)
{
    add_key(b, key, SG_GGUF_U32);
    add(b, value, 4);
}

// A matrix (rows, columns) of a type at an offset.
static void add_tensor(bytes *b, const char *name, uint64_t rows, uint64_t columns, uint32_t type,
                       uint64_t offset)
{
    add_text(b, name);
    add(b, 2, 4);
    add(b, columns, 8);
    add(b, rows, 8);
    add(b, type, 4);
    add(b, offset, 8);
}

static void add_data(bytes *b, size_t alignment, size_t count)
{
    while (b->used % alignment != 0)
        add(b, 0, 1);
    for (size_t i = 0; i < count; i++)
        add(b, i, 1);
}

static sg_status open_bytes(const bytes *b, sg_gguf **file, sg_error *err)
{
    // A copy of exactly that size, so that reading beyond it is seen.
    unsigned char *exact = malloc(b->used > 0 ? b->used : 1);
    assert_non_null(exact);
    memcpy(exact, b->data, b->used);
    sg_status status = sg_gguf_open_memory(exact, b->used, "file", file, err);
    if (status == SG_OK) sg_gguf_close(*file);
    free(exact);
    return status;
}

static void refused(const bytes *b, sg_status expected, const char *message)
{
    sg_error err = {0};
    sg_gguf *file;
    sg_status status = open_bytes(b, &file, &err);
    if (status != expected || strstr(err.message, message) == NULL)
        fail_msg("status %d: %s; expected %d: %s", (int)status, err.message, (int)expected,
                 message);
    assert_null(file);
}

static void accepted(const bytes *b)
{
    sg_error err;
    sg_gguf *file;
    must(open_bytes(b, &file, &err), &err);
}

static void good_file(bytes *b)
{
    begin(b, 2, 2);
    add_u32_key(b, "general.alignment", 8);
    add_key(b, "names", SG_GGUF_ARRAY);
    add(b, SG_GGUF_STRING, 4);
    add(b, 2, 8);
    add_text(b, "x");
    add_text(b, "");
    add_tensor(b, "a", 1, 2, 0, 0);
    add_tensor(b, "b", 1, 32, 8, 8);
    add_data(b, 8, 8 + 34);
}

// A file that is cut anywhere is refused, and so is one whose numbers are each set to extremes, or
// opens: nothing else happens.
static void test_cut_and_flipped(void **state)
{
    (void)state;
    bytes whole, part;
    sg_error err;
    sg_gguf *file;
    good_file(&whole);
    accepted(&whole);
    part = whole;
    for (part.used = 0; part.used < whole.used; part.used++)
        if (open_bytes(&part, &file, &err) == SG_OK) fail_msg("opens cut to %zu", part.used);
    static const uint64_t values[] = {
        0, 1, 0x7fffffff, 0xffffffff, UINT64_C(1) << 61, INT64_MAX, UINT64_MAX - 31, UINT64_MAX};
    for (size_t at = 0; at + 8 <= whole.used; at++)
        for (size_t v = 0; v < sizeof values / sizeof *values; v++)
            for (size_t size = 1; size <= 8; size *= 2) {
                part = whole;
                part.used = at;
                add(&part, values[v], size);
                part.used = whole.used;
                open_bytes(&part, &file, &err);
            }
}

static void test_header(void **state)
{
    (void)state;
    bytes b;
    good_file(&b);
    b.data[0] = 'g';
    refused(&b, SG_ERR_FORMAT, "file: does not start with \"GGUF\"");
    good_file(&b);
    for (unsigned version = 0; version < 6; version++) {
        b.data[4] = (unsigned char)version;
        if (version == 2 || version == 3)
            accepted(&b);
        else
            refused(&b, SG_ERR_UNSUPPORTED, "expected 2 or 3");
    }
    good_file(&b);
    memcpy(b.data + 4, "\0\0\0\3", 4);
    refused(&b, SG_ERR_UNSUPPORTED, "found 50331648, expected 2 or 3: a big-endian file");
    // Counts that no file of this size can hold are refused before memory is asked for.
    begin(&b, UINT64_MAX, 0);
    refused(&b, SG_ERR_FORMAT, "number of tensors: found 18446744073709551615, the file has room");
    begin(&b, 0, UINT64_MAX / 2);
    refused(&b, SG_ERR_FORMAT, "number of keys: found 9223372036854775807, the file has room");
    begin(&b, 1, 0);
    add(&b, 0, 8);
    refused(&b, SG_ERR_FORMAT, "number of tensors: found 1, the file has room for at most 0");
}

static void test_metadata(void **state)
{
    (void)state;
    bytes b;
    begin(&b, 0, 1);
    add(&b, UINT64_MAX - 7, 8); // a length that wraps around when added to the position
    add_data(&b, 1, 64);
    refused(&b, SG_ERR_FORMAT, "key 0: name: found 18446744073709551608 bytes, expected 1 to");
    begin(&b, 0, 1);
    add_key(&b, "", SG_GGUF_U32);
    add_data(&b, 1, 8);
    refused(&b, SG_ERR_FORMAT, "key 0: name: found 0 bytes");
    begin(&b, 0, 1);
    add(&b, 3, 8);
    add(&b, 0x610061, 3); // "a\0a"
    add_data(&b, 1, 16);
    refused(&b, SG_ERR_FORMAT, "key 0: name: found a NUL byte inside");
    begin(&b, 0, 1);
    add_key(&b, "k", 13);
    add_data(&b, 1, 16);
    refused(&b, SG_ERR_UNSUPPORTED, "key \"k\": type: found 13, expected 0 to 12");
    begin(&b, 0, 1);
    add_key(&b, "k", SG_GGUF_ARRAY);
    add(&b, SG_GGUF_ARRAY, 4);
    add(&b, 1, 8);
    add_data(&b, 1, 16);
    refused(&b, SG_ERR_UNSUPPORTED, "key \"k\": found an array of arrays");
    for (int type = 0; type < SG_GGUF_TYPE_COUNT; type++) {
        if (type == SG_GGUF_ARRAY) continue;
        begin(&b, 0, 1); // count * size wraps to something small
        add_key(&b, "k", SG_GGUF_ARRAY);
        add(&b, (uint64_t)type, 4);
        add(&b, (UINT64_C(1) << 61) + 1, 8);
        add_data(&b, 1, 16);
        refused(&b, SG_ERR_FORMAT, "key \"k\": found 2305843009213693953 of ");
    }
    begin(&b, 0, 1);
    add_key(&b, "k", SG_GGUF_STRING);
    add(&b, 9, 8);
    add_data(&b, 1, 8);
    refused(&b, SG_ERR_FORMAT, "key \"k\": string 0: found 9 bytes, the file has 8 left");
    begin(&b, 0, 1);
    add_key(&b, "k", SG_GGUF_ARRAY);
    add(&b, SG_GGUF_STRING, 4);
    add(&b, 2, 8);
    add_text(&b, "x");
    add(&b, UINT64_MAX, 8);
    refused(&b, SG_ERR_FORMAT, "key \"k\": string 1: found 18446744073709551615 bytes");
    begin(&b, 0, 1);
    add_key(&b, "k", SG_GGUF_BOOL);
    add(&b, 2, 1);
    refused(&b, SG_ERR_FORMAT, "key \"k\": found a bool of 2, expected 0 or 1");
    begin(&b, 0, 3);
    add_u32_key(&b, "k", 1);
    add_u32_key(&b, "j", 1);
    add_u32_key(&b, "k", 2);
    refused(&b, SG_ERR_FORMAT, "key \"k\" occurs twice");
}

static void test_alignment(void **state)
{
    (void)state;
    bytes b;
    static const uint32_t wrong[] = {0, 3, 24, 33, UINT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        begin(&b, 0, 1);
        add_u32_key(&b, "general.alignment", wrong[i]);
        refused(&b, SG_ERR_FORMAT, "key \"general.alignment\": found");
    }
    begin(&b, 0, 1); // not an integer
    add_key(&b, "general.alignment", SG_GGUF_STRING);
    add_text(&b, "32");
    refused(&b, SG_ERR_FORMAT, "key \"general.alignment\": found string, expected an integer");
    begin(&b, 0, 1); // larger than the file: fine where nothing is stored
    add_u32_key(&b, "general.alignment", UINT32_C(1) << 31);
    accepted(&b);
    begin(&b, 1, 0);
    add_tensor(&b, "t", 1, 1, 0, 4);
    add_data(&b, 32, 32);
    refused(&b, SG_ERR_FORMAT, "tensor \"t\": offset: found 4, expected a multiple of 32");
}

static void test_tensor_errors(void **state)
{
    (void)state;
    bytes b;
    for (uint32_t ndim = 0; ndim < 7; ndim++) {
        if (ndim > 0 && ndim < 5) continue;
        begin(&b, 1, 0);
        add_text(&b, "t");
        add(&b, ndim, 4);
        add_data(&b, 1, 96);
        refused(&b, SG_ERR_FORMAT, "dimensions, expected 1 to 4");
    }
    begin(&b, 1, 0);
    add_tensor(&b, "t", UINT64_MAX, 1, 0, 0);
    add_data(&b, 32, 32);
    refused(&b, SG_ERR_FORMAT, "found a dimension of 18446744073709551615");
    begin(&b, 1, 0); // 2^32 * 2^32 elements wrap to 0, and 2^31 * 2^31 * 4 bytes too
    add_tensor(&b, "t", UINT64_C(1) << 32, UINT64_C(1) << 32, 0, 0);
    add_data(&b, 32, 32);
    refused(&b, SG_ERR_FORMAT, "tensor \"t\": shape: found [4294967296, 4294967296]");
    begin(&b, 1, 0);
    add_tensor(&b, "t", UINT64_C(1) << 31, UINT64_C(1) << 31, 0, 0);
    add_data(&b, 32, 32);
    refused(&b, SG_ERR_FORMAT, "tensor \"t\": shape: found");
    begin(&b, 1, 0); // 64 elements, but no row is a whole number of blocks
    add_tensor(&b, "t", 4, 16, 8, 0);
    add_data(&b, 32, 68);
    refused(&b, SG_ERR_FORMAT, "shape: found [4, 16], expected rows of a multiple of 32 (Q8_0)");
    static const struct {
        uint32_t type;
        const char *message;
    } types[] = {{4, "type: found 4 (unknown)"},
                 {10, "type: found 10 (Q2_K)"},
                 {39, "type: found 39 (MXFP4)"},
                 {40, "type: found 40 (unknown)"},
                 {0x80000000u, "(unknown)"}};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        begin(&b, 1, 0);
        add_tensor(&b, "t", 1, 256, types[i].type, 0);
        add_data(&b, 32, 512);
        refused(&b, SG_ERR_UNSUPPORTED, types[i].message);
    }
    begin(&b, 2, 0);
    add_tensor(&b, "t", 1, 1, 0, 0);
    add_tensor(&b, "t", 1, 1, 0, 32);
    add_data(&b, 32, 64);
    refused(&b, SG_ERR_FORMAT, "tensor \"t\" occurs twice");
}

static void test_places(void **state)
{
    (void)state;
    bytes b;
    begin(&b, 1, 0);
    add_tensor(&b, "t", 2, 8, 0, 0);
    add_data(&b, 32, 63);
    refused(&b, SG_ERR_FORMAT, "found 64 bytes from offset 0, the file has 63 bytes of data");
    begin(&b, 1, 0);
    add_tensor(&b, "t", 2, 8, 0, 32);
    add_data(&b, 32, 95);
    refused(&b, SG_ERR_FORMAT, "found 64 bytes from offset 32, the file has 95");
    begin(&b, 1, 0);
    add_tensor(&b, "t", 2, 8, 0, UINT64_MAX - 31); // offset + bytes wraps
    add_data(&b, 32, 64);
    refused(&b, SG_ERR_FORMAT, "offset: found 18446744073709551584");
    begin(&b, 1, 0); // inside the file but behind its data
    add_tensor(&b, "t", 1, 1, 0, 64);
    add_data(&b, 32, 64);
    refused(&b, SG_ERR_FORMAT, "found 4 bytes from offset 64, the file has 64 bytes of data");
    begin(&b, 2, 0);
    add_tensor(&b, "second", 1, 1, 0, 32);
    add_tensor(&b, "first", 3, 3, 0, 0);
    add_data(&b, 32, 64);
    refused(&b, SG_ERR_FORMAT,
            "tensor \"second\": offset: found 32, expected at least 36: overlaps "
            "\"first\"");
    begin(&b, 2, 0);
    add_tensor(&b, "a", 1, 1, 0, 0);
    add_tensor(&b, "b", 1, 1, 0, 0);
    add_data(&b, 32, 64);
    refused(&b, SG_ERR_FORMAT, "overlaps \"a\"");
    begin(&b, 3, 0); // empty ones, space between and bytes behind are fine
    add_tensor(&b, "late", 1, 1, 0, 64);
    add_tensor(&b, "empty", 0, 5, 0, 64);
    add_tensor(&b, "early", 1, 1, 0, 0);
    add_data(&b, 32, 100);
    accepted(&b);
}

static void test_nul_in_text(void **state)
{
    (void)state;
    bytes b;
    sg_error err;
    sg_gguf *file;
    begin(&b, 0, 1);
    add_key(&b, "k", SG_GGUF_STRING);
    add(&b, 3, 8);
    add(&b, 0x620061, 3); // "a\0b"
    must(sg_gguf_open_memory(b.data, b.used, "file", &file, &err), &err);
    const char *text = NULL;
    assert_int_equal(sg_gguf_get_string(file, "k", true, &text, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "file: key \"k\": found a NUL byte inside"));
    assert_int_equal(sg_gguf_value_find(file, "k")->bytes, 8 + 3);
    sg_gguf_close(file);
}

// ---- memory -----------------------------------------------------------------------------------

static sg_status open_golden(void *user, sg_error *err)
{
    (void)user;
    sg_gguf *file;
    SG_TRY(sg_gguf_open(SG_TEST_DIR "/golden/gguf/values.gguf", &file, err));
    sg_gguf_string *strings;
    size_t count;
    sg_status status = sg_gguf_get_strings(file, "test.strings", true, &strings, &count, err);
    sg_free(strings);
    sg_gguf_close(file);
    return status;
}

static sg_status write_small(void *user, sg_error *err)
{
    (void)user;
    static const float x[2] = {1, 2};
    const sg_tensor_view view = sg_tensor_view_make("x", SG_DTYPE_F32, 1, (int64_t[]){2}, x);
    sg_gguf_metadata *m = sg_gguf_metadata_new();
    if (m == NULL) return sg_fail(err, SG_ERR_MEMORY, "metadata");
    sg_gguf_put_u32(m, "k", 1);
    sg_gguf_put_string(m, "s", "text");
    sg_status status = sg_gguf_write("out.gguf", SG_OUTPUT_REPLACE, m, &view, 1, err);
    sg_gguf_metadata_free(m);
    return status;
}

static void test_memory(void **state)
{
    (void)state;
    assert_true(alloc_failure_loop(open_golden, NULL) > 5);
    memory_fs *fs = memory_fs_begin();
    assert_true(alloc_failure_loop(write_small, NULL) > 5);
    assert_int_equal(memory_fs_end(fs), 0);
}

// ---- halves -----------------------------------------------------------------------------------

// Every half comes back, and what lies between two goes to the nearer, ties to the even one.
static void test_halves(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 0x7c00; bits++) {
        float low = sg_half_value((uint16_t)bits), high = sg_half_value((uint16_t)(bits + 1));
        assert_int_equal(sg_half_round(low), bits);
        assert_int_equal(sg_half_round(-low), bits | 0x8000);
        if (bits == 0x7bff) high = 65536;
        float middle = low + (high - low) / 2; // exact in f32
        assert_int_equal(sg_half_round(middle), bits % 2 == 0 ? bits : bits + 1);
        assert_int_equal(sg_half_round(nextafterf(middle, 0)), bits);
        assert_int_equal(sg_half_round(nextafterf(middle, INFINITY)), bits + 1);
    }
    assert_int_equal(sg_half_round(INFINITY), 0x7c00);
    assert_int_equal(sg_half_round(-1e30f), 0xfc00);
    assert_true(isnan(sg_half_value(sg_half_round(NAN))));
    assert_true(isinf(sg_half_value(0x7c00)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),          cmocka_unit_test(test_wrong_types),
        cmocka_unit_test(test_other_types),     cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_write_golden),    cmocka_unit_test(test_write_refuses),
        cmocka_unit_test(test_cut_and_flipped), cmocka_unit_test(test_header),
        cmocka_unit_test(test_metadata),        cmocka_unit_test(test_alignment),
        cmocka_unit_test(test_tensor_errors),   cmocka_unit_test(test_places),
        cmocka_unit_test(test_nul_in_text),     cmocka_unit_test(test_memory),
        cmocka_unit_test(test_halves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
