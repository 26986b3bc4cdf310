// NumPy files: what NumPy writes, byte for byte, and what nobody should.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "format/npy.h"
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

// numpy.save(f, numpy.array([[1, -2, 3]], dtype="<i4")), NumPy 2.4.6.
static const char numpy_bytes[] =
    "\x93NUMPY\x01\x00v\x00{'descr': '<i4', 'fortran_order': False, 'shape': (1, 3), }"
    "                                                          \n"
    "\x01\x00\x00\x00\xfe\xff\xff\xff\x03\x00\x00";

static void test_like_numpy(void **state)
{
    (void)state;
    sg_error err;
    int32_t data[3] = {1, -2, 3};
    sg_tensor_view view = sg_tensor_view_make("", SG_DTYPE_I32, 2, (int64_t[]){1, 3}, data);
    must(sg_npy_write("a.npy", SG_OUTPUT_REPLACE, &view, &err), &err);
    size_t size;
    const unsigned char *bytes = memory_fs_bytes(fs, "a.npy", &size);
    assert_int_equal(size, sizeof numpy_bytes);
    assert_memory_equal(bytes, numpy_bytes, size);
    assert_false(sg_path_exists("a.npy.tmp"));
}

static void test_round_trip(void **state)
{
    (void)state;
    sg_error err;
    unsigned char data[8 * 24];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (unsigned char)(i * 31);
    static const int64_t shapes[4][8] = {{0}, {24}, {2, 3, 4}, {1, 2, 1, 3, 1, 4, 1, 1}};
    static const int ndims[4] = {0, 1, 3, 8};
    for (int type = 0; type < SG_DTYPE_PLAIN; type++)
        for (int s = 0; s < 4; s++) {
            sg_tensor_view view =
                sg_tensor_view_make("x", (sg_dtype)type, ndims[s], shapes[s], data);
            sg_npy npy;
            sg_status status = sg_npy_write("a.npy", SG_OUTPUT_REPLACE, &view, &err);
            if (type == SG_DTYPE_BF16 || type == SG_DTYPE_F8_E4M3 || type == SG_DTYPE_F8_E5M2) {
                assert_int_equal(status, SG_ERR_UNSUPPORTED);
                continue;
            }
            must(status, &err);
            must(sg_npy_open("a.npy", &npy, &err), &err);
            assert_int_equal(npy.view.dtype, type);
            assert_int_equal(npy.view.ndim, ndims[s]);
            for (int d = 0; d < ndims[s]; d++)
                assert_int_equal(npy.view.shape[d], shapes[s][d]);
            assert_int_equal(npy.view.bytes, view.bytes);
            assert_memory_equal(npy.view.data, data, view.bytes);
            sg_npy_close(&npy);
        }
    sg_tensor_view empty = sg_tensor_view_make("x", SG_DTYPE_F32, 2, (int64_t[]){0, 5}, NULL);
    sg_npy npy;
    must(sg_npy_write("a.npy", SG_OUTPUT_REPLACE, &empty, &err), &err);
    must(sg_npy_open("a.npy", &npy, &err), &err);
    assert_int_equal(npy.view.bytes, 0);
    sg_npy_close(&npy);
    empty.ndim = 9;
    assert_int_equal(sg_npy_write("a.npy", SG_OUTPUT_REPLACE, &empty, &err), SG_ERR_ARGUMENT);
    assert_int_equal(sg_npy_open("none.npy", &npy, &err), SG_ERR_NOT_FOUND);
}

static size_t make(unsigned char *out, int version, const char *header, size_t data)
{
    size_t length = strlen(header), at = version == 1 ? 10 : 12;
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (unsigned char)version;
    out[7] = 0;
    for (size_t i = 8; i < at; i++)
        out[i] = (unsigned char)(length >> 8 * (i - 8));
    memcpy(out + at, header, length);
    memset(out + at + length, 7, data);
    return at + length + data;
}

#define ORDER "'fortran_order': False"

static const struct {
    const char *header;
    size_t data;
    sg_status status;
} headers[] = {
    {"{'descr': '<f4', " ORDER ", 'shape': (2,)}", 8, SG_OK},
    {"{'shape':(2,),'descr':\"<f4\"," ORDER ",}\n", 8, SG_OK},
    {"{'descr': '<f4', 'fortran_order': True, 'shape': (2,)}", 8, SG_OK},
    {"{'descr': '<f4', " ORDER ", 'shape': ()}", 4, SG_OK},
    {"{'descr': '<f4', " ORDER ", 'shape': (0, 9223372036854775807)}", 0, SG_ERR_FORMAT},
    {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 1)}", 8, SG_ERR_UNSUPPORTED},
    {"{'descr': '>f4', " ORDER ", 'shape': (2,)}", 8, SG_ERR_UNSUPPORTED},
    {"{'descr': '|O', " ORDER ", 'shape': (2,)}", 8, SG_ERR_UNSUPPORTED},
    {"{'descr': '<f4', " ORDER ", 'shape': (1,1,1,1,1,1,1,1,1,1)}", 4, SG_ERR_UNSUPPORTED},
    {"{'descr': '<f4', " ORDER ", 'shape': (3,)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', " ORDER ", 'shape': (2)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', " ORDER ", 'shape': (-2,)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', " ORDER ", 'shape': (2,,)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', " ORDER ", 'shape': (,)}", 4, SG_ERR_FORMAT},
    {"{'descr': '<f4', " ORDER ", 'shape': (2,}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', " ORDER ", 'shape': (18446744073709551618,)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', " ORDER ", 'shape': (4294967296, 4294967296)}", 0, SG_ERR_FORMAT},
    {"{'descr': '<f4', " ORDER "}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', 'shape': (2,)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', 'descr': '<f4', " ORDER ", 'shape': (2,)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', 'more': 1, " ORDER ", 'shape': (2,)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f4', " ORDER ", 'shape': (2,)} x", 8, SG_ERR_FORMAT},
    {"{'descr': [('a', '<f4')], " ORDER ", 'shape': (2,)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f\\x34', " ORDER ", 'shape': (2,)}", 8, SG_ERR_FORMAT},
    {"{'descr': '<f444444444444444444444444444444444444444444', " ORDER ", 'shape': ()}", 4,
     SG_ERR_FORMAT},
    {"{'descr': '<f4", 8, SG_ERR_FORMAT},
    {"{", 8, SG_ERR_FORMAT},
    {"", 8, SG_ERR_FORMAT},
};

static void test_headers(void **state)
{
    (void)state;
    for (int version = 1; version <= 3; version++)
        for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
            unsigned char bytes[256];
            size_t size = make(bytes, version, headers[i].header, headers[i].data);
            unsigned char *exact = malloc(size);
            memcpy(exact, bytes, size);
            sg_tensor_view view;
            sg_error err = {0};
            sg_status status = sg_npy_parse(exact, size, "evil", &view, &err);
            if (status != headers[i].status)
                fail_msg("%s: %s: %s", headers[i].header, sg_status_name(status), err.message);
            assert_true(status == SG_OK || strncmp(err.message, "evil: ", 6) == 0);
            free(exact);
        }
}

static void test_cut_off(void **state)
{
    (void)state;
    sg_tensor_view view;
    sg_error err;
    for (size_t n = 0; n <= sizeof numpy_bytes; n++) {
        unsigned char *exact = malloc(n ? n : 1);
        memcpy(exact, numpy_bytes, n);
        sg_status expected = n == sizeof numpy_bytes ? SG_OK : SG_ERR_FORMAT;
        assert_int_equal(sg_npy_parse(exact, n, "cut", &view, &err), expected);
        free(exact);
    }
    unsigned char other[sizeof numpy_bytes];
    memcpy(other, numpy_bytes, sizeof other);
    other[6] = 4;
    assert_int_equal(sg_npy_parse(other, sizeof other, "v", &view, &err), SG_ERR_UNSUPPORTED);
}

static sg_status all_steps(void *user, sg_error *err)
{
    (void)user;
    float x = 1;
    sg_tensor_view view = sg_tensor_view_make("x", SG_DTYPE_F32, 0, NULL, &x);
    sg_npy npy;
    SG_TRY(sg_npy_write("a.npy", SG_OUTPUT_REPLACE, &view, err));
    SG_TRY(sg_npy_open("a.npy", &npy, err));
    sg_npy_close(&npy);
    return SG_OK;
}

static void test_allocation_failures(void **state)
{
    (void)state;
    assert_in_range(alloc_failure_loop(all_steps, NULL), 1, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_like_numpy, setup, teardown),
        cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
        cmocka_unit_test_setup_teardown(test_headers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_allocation_failures, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
