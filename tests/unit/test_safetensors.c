// Weights on disk: what the Hugging Face library writes, what it must not be able to write, and
// folders of shards.
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
#include "base/hash.h"
#include "format/model_folder.h"
#include "format/safetensors.h"
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

static void put(const char *path, const void *data, size_t bytes)
{
    sg_error err;
    char folder[SG_PATH_MAX];
    sg_path_folder(folder, sizeof folder, path);
    must(sg_folder_make(folder, &err), &err);
    must(sg_file_write_atomic(path, data, bytes, &err), &err);
}

// ---- the golden file --------------------------------------------------------------------------

// The tensors of tests/twins/safetensors_twin.py, in the order in which it stores them.
static size_t golden_views(sg_tensor_view views[9])
{
    static const int64_t longs[4] = {1, -2, 3, INT64_C(1) << 62};
    static const double doubles[3] = {1.5, -2.25, 1e300};
    static float floats[6];
    static const float scalar = 7;
    static const uint16_t brain[3] = {0x3f80, 0xc040, 0x7e96};
    static const uint16_t half[4] = {0x3c00, 0xb800, 0x7bff, 0x0001};
    static const uint8_t bytes[3] = {0, 255, 3}, flags[3] = {1, 0, 1};
    for (int i = 0; i < 6; i++)
        floats[i] = (float)i / 3.0f;
    const sg_tensor_view all[9] = {
        sg_tensor_view_make("long", SG_DTYPE_I64, 2, (int64_t[]){2, 2}, longs),
        sg_tensor_view_make("double", SG_DTYPE_F64, 1, (int64_t[]){3}, doubles),
        sg_tensor_view_make("empty", SG_DTYPE_F32, 2, (int64_t[]){0, 4}, NULL),
        sg_tensor_view_make("float", SG_DTYPE_F32, 2, (int64_t[]){2, 3}, floats),
        sg_tensor_view_make("scalar", SG_DTYPE_F32, 0, NULL, &scalar),
        sg_tensor_view_make("brain", SG_DTYPE_BF16, 1, (int64_t[]){3}, brain),
        sg_tensor_view_make("half", SG_DTYPE_F16, 1, (int64_t[]){4}, half),
        sg_tensor_view_make("bytes", SG_DTYPE_U8, 1, (int64_t[]){3}, bytes),
        sg_tensor_view_make("flags", SG_DTYPE_BOOL, 1, (int64_t[]){3}, flags),
    };
    memcpy(views, all, sizeof all);
    return 9;
}

static void test_golden_read(void **state)
{
    (void)state;
    sg_error err;
    sg_fs_set(NULL);
    sg_safetensors *file;
    must(sg_safetensors_open(SG_TEST_DIR "/golden/safetensors/mixed.safetensors", &file, &err),
         &err);
    sg_tensor_view views[9];
    size_t count = golden_views(views);
    assert_int_equal(sg_safetensors_count(file), count);
    for (size_t i = 0; i < count; i++) {
        const sg_tensor_view *found;
        must(sg_safetensors_get(file, views[i].name, views[i].dtype, views[i].ndim, views[i].shape,
                                &found, &err),
             &err);
        assert_ptr_equal(found, sg_safetensors_at(file, i));
        assert_int_equal(found->bytes, views[i].bytes);
        if (found->bytes > 0) assert_memory_equal(found->data, views[i].data, found->bytes);
        assert_true(sg_tensor_view_is_aligned(found));
    }
    assert_string_equal(sg_safetensors_metadata(file, "format"), "pt");
    assert_null(sg_safetensors_metadata(file, "none"));
    assert_null(sg_safetensors_find(file, "none"));
    assert_null(sg_safetensors_find(file, ""));
    const sg_tensor_view *found;
    assert_int_equal(sg_safetensors_get(file, "none", SG_DTYPE_F32, 0, NULL, &found, &err),
                     SG_ERR_NOT_FOUND);
    assert_int_equal(
        sg_safetensors_get(file, "float", SG_DTYPE_F32, 2, (int64_t[]){3, 2}, &found, &err),
        SG_ERR_MISMATCH);
    assert_non_null(strstr(err.message, "mixed.safetensors: tensor \"float\": found F32 [2, 3], "
                                        "expected F32 [3, 2]"));
    assert_null(found);
    sg_safetensors_close(file);
    sg_safetensors_close(NULL);
}

// The same tensors written here are the same bytes.
static void test_golden_write(void **state)
{
    (void)state;
    sg_error err;
    sg_tensor_view views[9];
    size_t count = golden_views(views), bytes, written;
    sg_file_seal seal;
    must(
        sg_safetensors_write("file", views, count, &(sg_key_value){"format", "pt"}, 1, &seal, &err),
        &err);
    const unsigned char *mine = memory_fs_bytes(fs, "file", &written);
    assert_int_equal(seal.bytes, (int64_t)written);
    assert_true(seal.hash == sg_hash(mine, written));
    sg_fs_set(NULL);
    char *golden;
    must(sg_file_read(SG_TEST_DIR "/golden/safetensors/mixed.safetensors", 10000, &golden, &bytes,
                      &err),
         &err);
    assert_int_equal(written, bytes);
    assert_memory_equal(mine, golden, bytes);
    sg_free(golden);
}

// ---- conversion -------------------------------------------------------------------------------

static void test_read_f32(void **state)
{
    (void)state;
    // Every half, from an odd address, against its definition.
    enum { halves = 65536 };
    unsigned char *raw = malloc(2 * halves + 1);
    float *values = malloc(halves * sizeof *values);
    for (unsigned i = 0; i < halves; i++) {
        raw[1 + 2 * i] = (unsigned char)i;
        raw[2 + 2 * i] = (unsigned char)(i >> 8);
    }
    sg_tensor_view view = sg_tensor_view_make("h", SG_DTYPE_F16, 1, (int64_t[]){halves}, raw + 1);
    assert_false(sg_tensor_view_is_aligned(&view));
    assert_int_equal(sg_tensor_view_read_f32(&view, values, NULL), SG_OK);
    for (int i = 0; i < halves; i++) {
        int exponent = i >> 10 & 31, fraction = i & 1023;
        double expected =
            exponent == 0 ? ldexp(fraction, -24) : ldexp(1024 + fraction, exponent - 25);
        if (exponent == 31) expected = fraction ? NAN : INFINITY;
        if (i >> 15) expected = -expected;
        if (isnan(expected))
            assert_true(isnan(values[i]));
        else
            assert_true((double)values[i] == expected && !signbit(values[i]) == !(i >> 15));
    }
    view.dtype = SG_DTYPE_BF16;
    assert_int_equal(sg_tensor_view_read_f32(&view, values, NULL), SG_OK);
    assert_true(values[0x3f80] == 1.0f && values[0xc040] == -3.0f && isinf(values[0x7f80]));

    double doubles[3] = {0.1, -1e300, 1e-320};
    memcpy(raw + 3, doubles, sizeof doubles);
    view = sg_tensor_view_make("d", SG_DTYPE_F64, 1, (int64_t[]){3}, raw + 3);
    assert_int_equal(sg_tensor_view_read_f32(&view, values, NULL), SG_OK);
    assert_true(values[0] == 0.1f && values[1] == -INFINITY && values[2] == 0);
    float floats[2] = {0.1f, -7};
    memcpy(raw + 1, floats, sizeof floats);
    view = sg_tensor_view_make("f", SG_DTYPE_F32, 1, (int64_t[]){2}, raw + 1);
    assert_int_equal(sg_tensor_view_read_f32(&view, values, NULL), SG_OK);
    assert_memory_equal(values, floats, sizeof floats);
    sg_error err;
    view.dtype = SG_DTYPE_I32;
    assert_int_equal(sg_tensor_view_read_f32(&view, values, &err), SG_ERR_UNSUPPORTED);
    view = sg_tensor_view_make("e", SG_DTYPE_F32, 1, (int64_t[]){0}, NULL);
    assert_int_equal(sg_tensor_view_read_f32(&view, NULL, NULL), SG_OK);
    free(raw);
    free(values);
}

static void test_shapes(void **state)
{
    (void)state;
    assert_int_equal(sg_shape_elements(0, NULL, 4), 1);
    assert_int_equal(sg_shape_elements(2, (int64_t[]){3, 4}, 4), 12);
    assert_int_equal(sg_shape_elements(2, (int64_t[]){0, INT64_MAX}, 1), 0);
    assert_int_equal(sg_shape_elements(1, (int64_t[]){INT64_MAX}, 1), INT64_MAX);
    assert_int_equal(sg_shape_elements(1, (int64_t[]){INT64_MAX}, 2), -1);
    assert_int_equal(sg_shape_elements(3, (int64_t[]){INT64_MAX, INT64_MAX, 0}, 8), -1);
    assert_int_equal(sg_shape_elements(2, (int64_t[]){5, -1}, 8), -1);
    assert_int_equal(sg_shape_elements(2, (int64_t[]){0, -1}, 8), -1);
    sg_dtype dtype;
    for (int i = 0; i < SG_DTYPE_PLAIN; i++) {
        assert_true(sg_dtype_parse(sg_dtype_name((sg_dtype)i), &dtype));
        assert_int_equal(dtype, i);
    }
    assert_false(sg_dtype_parse("F4", &dtype));
    assert_false(sg_dtype_parse("Q8_0", &dtype)); // a name, but none of safetensors
    assert_int_equal(sg_shape_bytes(SG_DTYPE_Q8_0, 2, (int64_t[]){3, 64}), 3 * 2 * 34);
    assert_int_equal(sg_shape_bytes(SG_DTYPE_Q8_0, 2, (int64_t[]){32, 33}), -1);
    assert_int_equal(sg_shape_bytes(SG_DTYPE_Q6_K, 1, (int64_t[]){128}), -1);
    assert_int_equal(sg_shape_bytes(SG_DTYPE_Q8_0, 0, NULL), -1);
    assert_int_equal(sg_shape_bytes(SG_DTYPE_F32, 0, NULL), 4);
    assert_false(sg_dtype_parse("", &dtype));
}

// ---- hostile files ----------------------------------------------------------------------------

// A file of this header and so many bytes of data.
static size_t make_file(unsigned char *out, const char *header, size_t data_bytes)
{
    size_t length = strlen(header);
    for (int i = 0; i < 8; i++)
        out[i] = (unsigned char)((uint64_t)length >> 8 * i);
    memcpy(out + 8, header, length);
    memset(out + 8 + length, 1, data_bytes);
    return 8 + length + data_bytes;
}

static const struct {
    const char *header;
    size_t data;
    sg_status status;
    const char *says;
} hostile[] = {
    {"{}", 0, SG_OK, ""},
    {"{}      ", 0, SG_OK, ""},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, SG_OK, ""},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[1,5]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
     5, SG_OK, ""}, // unaligned
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[1,1]},"
     "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}",
     1, SG_OK, ""}, // empty at the end
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1, SG_OK, ""},
    // Members that nobody reads may hold any number, those that are read may not.
    {"{\"a\":{\"x\":[NaN,1e999],\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1],"
     "\"y\":18446744073709551616}}",
     1, SG_OK, ""},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[18446744073709551616],\"data_offsets\":[0,1]}}", 1,
     SG_ERR_FORMAT, "\"a\""},
    {"{\"a\":NaN}", 0, SG_ERR_FORMAT, "\"a\""},
    {"{}", 1, SG_ERR_FORMAT, "found 1 bytes of data, the header describes 0"},
    {" {}", 0, SG_ERR_FORMAT, "does not start with"},
    {"[]", 0, SG_ERR_FORMAT, "does not start with"},
    {"", 0, SG_ERR_FORMAT, "does not start with"},
    {"{} x", 0, SG_ERR_FORMAT, "not valid JSON"},
    {"{\"a\":1", 0, SG_ERR_FORMAT, "not valid JSON"},
    {"{\"a\":1}", 0, SG_ERR_FORMAT, "tensor \"a\": expected an object"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, SG_ERR_FORMAT, "tensor \"a\": expected"},
    {"{\"a\":{\"dtype\":\"F99\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, SG_ERR_UNSUPPORTED,
     "tensor \"a\": unknown type \"F99\""},
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
     SG_ERR_UNSUPPORTED, "found 9 dimensions"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", 8, SG_ERR_FORMAT,
     "integers >= 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", 8, SG_ERR_FORMAT,
     "integers >= 0"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}", 8,
     SG_ERR_FORMAT, "too large"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,8]}}", 8,
     SG_ERR_FORMAT, "too large"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[99999999999999999999],\"data_offsets\":[0,8]}}", 8,
     SG_ERR_FORMAT, "tensor \"a\": shape"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, SG_ERR_FORMAT,
     "found 8 bytes, its type and shape need 12"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", 8, SG_ERR_FORMAT, "range"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,16]}}", 8, SG_ERR_FORMAT,
     "found 0 to 16, expected a range in 0 to 8"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}", 8, SG_ERR_FORMAT,
     "range"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, SG_ERR_FORMAT,
     "two integers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8,8]}}", 8, SG_ERR_FORMAT,
     "two integers"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]}}",
     12, SG_ERR_FORMAT, "tensor \"b\": data start at 4, expected 8: overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
     8, SG_ERR_FORMAT, "overlaps"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[8,12]}}",
     12, SG_ERR_FORMAT, "leaves a hole"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}", 8, SG_ERR_FORMAT, "hole"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 8, SG_ERR_FORMAT,
     "found 8 bytes of data, the header describes 4"},
    {"{\"a\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[2,2]},"
     "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
     4, SG_ERR_FORMAT, "overlaps"}, // an empty tensor inside another
    {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
     "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}",
     2, SG_ERR_FORMAT, "duplicate"},
    {"{\"__metadata__\":{\"a\":1}}", 0, SG_ERR_FORMAT, "__metadata__"},
    {"{\"__metadata__\":[]}", 0, SG_ERR_FORMAT, "__metadata__"},
    {"{\"__metadata__\":{\"a\":\"x\\u0000y\"}}", 0, SG_ERR_FORMAT, "NUL"},
    {"{\"\\u0000\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1, SG_ERR_FORMAT,
     "not valid JSON"},
};

static void test_hostile(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        unsigned char bytes[512];
        size_t size = make_file(bytes, hostile[i].header, hostile[i].data);
        // An exact copy on the heap, so that a sanitizer sees every byte read beyond.
        unsigned char *exact = malloc(size);
        memcpy(exact, bytes, size);
        sg_safetensors *file;
        sg_error err = {0};
        sg_status status = sg_safetensors_open_memory(exact, size, "evil", &file, &err);
        if (status != hostile[i].status || strstr(err.message, hostile[i].says) == NULL)
            fail_msg("%s: %s: %s", hostile[i].header, sg_status_name(status), err.message);
        if (status == SG_OK)
            sg_safetensors_close(file);
        else
            assert_true(file == NULL && strncmp(err.message, "evil: ", 6) == 0);
        free(exact);
    }
}

static void test_hostile_length(void **state)
{
    (void)state;
    unsigned char bytes[64];
    size_t size = make_file(bytes, "{}", 0);
    sg_safetensors *file;
    sg_error err;
    for (size_t n = 0; n < size; n++) // cut off anywhere
        assert_int_equal(sg_safetensors_open_memory(bytes, n, "cut", &file, &err), SG_ERR_FORMAT);
    const uint64_t lengths[] = {3, 100000001, UINT64_MAX, UINT64_MAX - 7, INT64_MAX};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int k = 0; k < 8; k++)
            bytes[k] = (unsigned char)(lengths[i] >> 8 * k);
        assert_int_equal(sg_safetensors_open_memory(bytes, size, "x", &file, &err), SG_ERR_FORMAT);
        assert_non_null(strstr(err.message, "header length"));
    }
}

// A bit flipped anywhere in a file is an error or another valid file, never a crash.
static void test_bit_flips(void **state)
{
    (void)state;
    sg_error err;
    sg_tensor_view views[9];
    size_t count = golden_views(views), size;
    must(sg_safetensors_write("file", views, count, NULL, 0, NULL, &err), &err);
    unsigned char *bytes = memory_fs_bytes(fs, "file", &size);
    int refused = 0;
    for (size_t i = 0; i < 8 * size; i++) {
        sg_safetensors *file;
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
        refused += sg_safetensors_open_memory(bytes, size, "file", &file, &err) != SG_OK;
        sg_safetensors_close(file);
        bytes[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    assert_true(refused > 1000);
}

static void test_many_tensors(void **state)
{
    (void)state;
    enum { count = 20000 };
    sg_error err;
    sg_tensor_view *views = malloc(count * sizeof *views);
    char(*names)[24] = malloc(count * sizeof *names);
    uint16_t *data = malloc(count * sizeof *data);
    for (int i = 0; i < count; i++) {
        snprintf(names[i], sizeof *names, "layers.%d.w\"\\\n\xc3\xa9", i);
        data[i] = (uint16_t)i;
        views[i] = sg_tensor_view_make(names[i], SG_DTYPE_U16, 1, (int64_t[]){1}, &data[i]);
    }
    must(sg_safetensors_write("file", views, count, NULL, 0, NULL, &err), &err);
    sg_safetensors *file;
    must(sg_safetensors_open("file", &file, &err), &err);
    assert_int_equal(sg_safetensors_count(file), count);
    for (int i = 0; i < count; i++) {
        const sg_tensor_view *view = sg_safetensors_find(file, names[i]);
        assert_non_null(view);
        assert_memory_equal(view->data, &data[i], 2);
    }
    sg_safetensors_close(file);
    // The second of a name is refused by the reader.
    views[count - 1].name = names[0];
    must(sg_safetensors_write("file", views, count, NULL, 0, NULL, &err), &err);
    assert_int_equal(sg_safetensors_open("file", &file, &err), SG_ERR_FORMAT);
    free(views);
    free(names);
    free(data);
}

static void test_write_refuses(void **state)
{
    (void)state;
    sg_error err;
    float x[2] = {1, 2};
    sg_tensor_view good = sg_tensor_view_make("good", SG_DTYPE_F32, 1, (int64_t[]){2}, x);
    sg_tensor_view bad[8];
    for (int i = 0; i < 8; i++)
        bad[i] = good;
    bad[0].name = "";
    bad[1].name = "bad \xff utf-8";
    bad[2].name = "__metadata__";
    bad[3].bytes = 4;
    bad[4].data = NULL;
    bad[5].ndim = 9;
    bad[6].shape[0] = -1;
    bad[7].dtype = SG_DTYPE_COUNT;
    for (int i = 0; i < 8; i++)
        assert_int_equal(sg_safetensors_write("f", &bad[i], 1, NULL, 0, NULL, &err),
                         SG_ERR_ARGUMENT);
    assert_int_equal(
        sg_safetensors_write("f", &good, 1, &(sg_key_value){"k", "\xed\xa0\x80"}, 1, NULL, &err),
        SG_ERR_ARGUMENT);
    assert_int_equal(sg_safetensors_write("none/f", &good, 1, NULL, 0, NULL, &err),
                     SG_ERR_NOT_FOUND);
    assert_false(sg_path_exists("f"));
}

// ---- folders ----------------------------------------------------------------------------------

static void test_shards(void **state)
{
    (void)state;
    sg_error err;
    sg_tensor_view views[9];
    size_t count = golden_views(views);
    must(sg_folder_make("m", &err), &err);
    must(sg_safetensors_write_sharded("m", 40, views, count, &(sg_key_value){"format", "pt"}, 1,
                                      &err),
         &err);
    // 32 | 24 + 0 | 24 + 4 + 6 | 8 + 3 + 3
    assert_true(sg_path_exists("m/model-00001-of-00004.safetensors"));
    assert_true(sg_path_exists("m/model-00004-of-00004.safetensors"));
    char *text;
    size_t bytes;
    must(sg_file_read("m/model.safetensors.index.json", 10000, &text, &bytes, &err), &err);
    assert_non_null(strstr(text, "\"total_size\": 104"));
    assert_non_null(strstr(text, "\"scalar\": \"model-00003-of-00004.safetensors\""));
    sg_free(text);
    sg_safetensors *file;
    must(sg_safetensors_open("m", &file, &err), &err);
    assert_int_equal(sg_safetensors_count(file), count);
    for (size_t i = 0; i < count; i++) {
        const sg_tensor_view *found = sg_safetensors_at(file, i);
        assert_string_equal(found->name, views[i].name);
        assert_int_equal(found->bytes, views[i].bytes);
        if (found->bytes > 0) assert_memory_equal(found->data, views[i].data, found->bytes);
    }
    assert_string_equal(sg_safetensors_metadata(file, "format"), "pt");
    sg_safetensors_close(file);
    // One tensor is larger than the limit: it gets a shard of its own.
    must(sg_safetensors_write_sharded("m", 1, views, count, NULL, 0, &err), &err);
    must(sg_safetensors_open("m", &file, &err), &err);
    assert_int_equal(sg_safetensors_count(file), count);
    sg_safetensors_close(file);
    assert_int_equal(sg_safetensors_write_sharded("m", 0, views, count, NULL, 0, &err),
                     SG_ERR_ARGUMENT);
}

static void expect_index(const char *index, sg_status expected, const char *says)
{
    sg_error err = {0};
    sg_safetensors *file;
    put("m/model.safetensors.index.json", index, strlen(index));
    sg_status status = sg_safetensors_open("m", &file, &err);
    if (status != expected || strstr(err.message, says) == NULL)
        fail_msg("%s: %s: %s", index, sg_status_name(status), err.message);
    sg_safetensors_close(file);
}

static void test_index(void **state)
{
    (void)state;
    sg_error err;
    uint8_t x = 1;
    sg_tensor_view a = sg_tensor_view_make("a", SG_DTYPE_U8, 0, NULL, &x), b = a, both[2];
    b.name = "b";
    both[0] = a;
    both[1] = b;
    must(sg_folder_make("m", &err), &err);
    must(sg_safetensors_write("m/1.safetensors", &a, 1, NULL, 0, NULL, &err), &err);
    must(sg_safetensors_write("m/2.safetensors", &b, 1, NULL, 0, NULL, &err), &err);
    must(sg_safetensors_write("m/3.safetensors", both, 2, NULL, 0, NULL, &err), &err);
    must(sg_safetensors_write("outside", &a, 1, NULL, 0, NULL, &err), &err);
    sg_safetensors *file;
    assert_int_equal(sg_safetensors_open("m", &file, &err), SG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "neither"));
    assert_int_equal(sg_safetensors_open("none", &file, &err), SG_ERR_NOT_FOUND);

    expect_index("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"2.safetensors\"}}", SG_OK, "");
    expect_index("{\"metadata\":{\"total_size\":1e999},\"weight_map\":{\"a\":\"1.safetensors\","
                 "\"b\":\"2.safetensors\"},\"x\":NaN}",
                 SG_OK, "");
    expect_index("{\"weight_map\":NaN}", SG_ERR_FORMAT, "\"weight_map\": found NaN");
    expect_index("{\"weight_map\":{}}", SG_OK, "");
    expect_index("{", SG_ERR_FORMAT, "not valid JSON");
    expect_index("{}", SG_ERR_FORMAT, "weight_map");
    expect_index("{\"weight_map\":[]}", SG_ERR_FORMAT, "weight_map");
    expect_index("{\"weight_map\":{\"a\":7}}", SG_ERR_FORMAT, "plain name");
    expect_index("{\"weight_map\":{\"a\":\"../outside\"}}", SG_ERR_FORMAT, "plain name");
    expect_index("{\"weight_map\":{\"a\":\"/outside\"}}", SG_ERR_FORMAT, "plain name");
    expect_index("{\"weight_map\":{\"a\":\"1.safetensors\\u0000x\"}}", SG_ERR_FORMAT, "plain name");
    expect_index("{\"weight_map\":{\"a\":\"9.safetensors\"}}", SG_ERR_NOT_FOUND, "9.safetensors");
    expect_index("{\"weight_map\":{\"a\":\"1.safetensors\",\"c\":\"1.safetensors\"}}",
                 SG_ERR_MISMATCH, "tensor \"c\": is not in 1.safetensors");
    expect_index("{\"weight_map\":{\"a\":\"3.safetensors\"}}", SG_ERR_MISMATCH,
                 "tensor \"b\" is here, m/model.safetensors.index.json says nothing of it");
    expect_index("{\"weight_map\":{\"a\":\"1.safetensors\",\"b\":\"3.safetensors\"}}",
                 SG_ERR_MISMATCH, "tensor \"a\" is here");
    // model.safetensors comes before the index.
    must(sg_safetensors_write("m/model.safetensors", &b, 1, NULL, 0, NULL, &err), &err);
    must(sg_safetensors_open("m", &file, &err), &err);
    assert_non_null(sg_safetensors_find(file, "b"));
    assert_null(sg_safetensors_find(file, "a"));
    sg_safetensors_close(file);
}

static void test_model_folder(void **state)
{
    (void)state;
    sg_error err;
    sg_tensor_view views[9];
    size_t count = golden_views(views);
    sg_named_bytes config = {"config.json", "{}", 2};
    must(sg_model_folder_save("out/m", 40, views, count, NULL, 0, &config, 1, &err), &err);
    must(sg_model_folder_save("out/m", 60, views, count, NULL, 0, &config, 1, &err), &err);
    char **names;
    size_t name_count;
    must(sg_folder_list("out/m", &names, &name_count, &err), &err);
    const char *expected[] = {"config.json", "model-00001-of-00002.safetensors",
                              "model-00002-of-00002.safetensors", "model.safetensors.index.json"};
    assert_int_equal(name_count, 4); // no shard of four is left
    for (size_t i = 0; i < name_count; i++)
        assert_string_equal(names[i], expected[i]);
    sg_names_free(names, name_count);
    const char *refused[] = {"../x", "", ".x", "model.safetensors",
                             "model-00001-of-00002.safetensors"};
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        sg_named_bytes bad = {refused[i], "", 0};
        assert_int_equal(sg_model_folder_save("out/m", 0, views, count, NULL, 0, &bad, 1, &err),
                         SG_ERR_ARGUMENT);
    }
    sg_safetensors *file;
    must(sg_safetensors_open("out/m", &file, &err), &err); // as it was
    sg_safetensors_close(file);
    must(sg_model_folder_recover("out/m", &err), &err);
    must(sg_model_folder_recover("out/m/config.json", &err), &err);
    must(sg_model_folder_recover("nowhere", &err), &err);
}

// A model is opened at every moment of a save, and nothing is changed by that: before the save is
// decided it is the old one, then the new one.
static int renames_seen, new_seen;

static void look_while_saving(void)
{
    sg_safetensors *file;
    sg_error err;
    const int64_t before = memory_fs_used(fs);
    must(sg_safetensors_open("m", &file, &err), &err);
    const bool is_new = sg_safetensors_find(file, "new") != NULL;
    sg_safetensors_close(file);
    assert_int_equal(memory_fs_used(fs), before);
    assert_true(is_new || new_seen == 0);
    new_seen += is_new;
    renames_seen++;
}

static int watched_rename(void *user, const char *from, const char *to)
{
    look_while_saving();
    int result = memory_fs_table(fs)->rename(user, from, to);
    look_while_saving();
    return result;
}

static int watched_remove(void *user, const char *path)
{
    look_while_saving();
    int result = memory_fs_table(fs)->remove(user, path);
    look_while_saving();
    return result;
}

static void test_read_while_saving(void **state)
{
    (void)state;
    sg_error err;
    static const int64_t limits[] = {40, 1000}; // shards, one file
    sg_tensor_view views[9];
    size_t count = golden_views(views);
    sg_named_bytes config = {"config.json", "{}", 2};
    for (int i = 0; i < 4; i++) {
        sg_fs_set(memory_fs_table(fs));
        must(sg_tree_remove("m", &err), &err);
        views[0].name = "old";
        must(sg_model_folder_save("m", limits[i / 2], views, count, NULL, 0, &config, 1, &err),
             &err);
        sg_fs hooked = *memory_fs_table(fs);
        hooked.rename = watched_rename;
        hooked.remove = watched_remove;
        sg_fs_set(&hooked);
        renames_seen = new_seen = 0;
        views[0].name = "new";
        must(sg_model_folder_save("m", limits[i % 2], views, count, NULL, 0, &config, 1, &err),
             &err);
        assert_in_range(new_seen, 5, renames_seen - 1);
    }
}

// What nobody of this program left under those names is neither read, nor followed, nor changed.
static void test_planted_saves(void **state)
{
    (void)state;
    sg_error err;
    uint8_t x = 1;
    sg_tensor_view a = sg_tensor_view_make("a", SG_DTYPE_U8, 0, NULL, &x);
    sg_named_bytes config = {"config.json", "{}", 2};
    sg_safetensors *file;
    put("home/key", "secret", 6);
    for (int i = 0; i < 4; i++) {
        must(sg_tree_remove("m", &err), &err);
        must(sg_model_folder_save("m", 0, &a, 1, NULL, 0, &config, 1, &err), &err);
        if (i == 0) assert_true(memory_fs_link(fs, "../home", "m/.incoming"));
        if (i == 1) put("m/.incoming", "a file", 6);
        if (i == 2) put("m/.incoming/key", "another name", 12);
        if (i == 3) must(sg_folder_make("m/.incoming", &err), &err);
        if (i == 3) assert_true(memory_fs_link(fs, "../../home/key", "m/.incoming/config.json"));
        must(sg_safetensors_open("m", &file, &err), &err);
        sg_safetensors_close(file);
        assert_int_equal(sg_model_folder_save("m", 0, &a, 1, NULL, 0, &config, 1, &err),
                         SG_ERR_FORMAT);
        assert_non_null(strstr(err.message, "interrupted save"));
        assert_true(sg_path_exists("home/key") && sg_path_exists("m/config.json"));
        assert_true(i == 2 ? sg_path_exists("m/.incoming/key") : !sg_path_exists("m/key"));
    }
    // A link in the place of the folder for new files goes alone.
    must(sg_tree_remove("m", &err), &err);
    must(sg_folder_make("m", &err), &err);
    assert_true(memory_fs_link(fs, "../home", "m/.incoming.tmp"));
    must(sg_model_folder_save("m", 0, &a, 1, NULL, 0, &config, 1, &err), &err);
    assert_true(sg_path_exists("home/key") && !sg_path_exists("home/config.json"));
}

// ---- failures ---------------------------------------------------------------------------------

static sg_status save_and_open(void *user, sg_error *err)
{
    (void)user;
    sg_tensor_view views[9];
    size_t count = golden_views(views);
    sg_named_bytes config = {"config.json", "{}", 2};
    sg_key_value format = {"format", "pt"};
    for (int64_t limit = 40; limit <= 1000; limit += 960) {
        sg_safetensors *file;
        SG_TRY(sg_model_folder_save("m", limit, views, count, &format, 1, &config, 1, err));
        SG_TRY(sg_safetensors_open("m", &file, err));
        sg_safetensors_close(file);
    }
    return SG_OK;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    assert_in_range(alloc_failure_loop(save_and_open, NULL), 50, 5000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_golden_read, setup, teardown),
        cmocka_unit_test_setup_teardown(test_golden_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_f32, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hostile_length, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bit_flips, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_tensors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_refuses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_shards, setup, teardown),
        cmocka_unit_test_setup_teardown(test_index, setup, teardown),
        cmocka_unit_test_setup_teardown(test_model_folder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_read_while_saving, setup, teardown),
        cmocka_unit_test_setup_teardown(test_planted_saves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_allocation_failures, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
