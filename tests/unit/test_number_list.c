// Lists of numbers: what is one, which numbers it has, and what is said of others.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>

#include "base/number_list.h"

enum { count = 6 };

static void check(const char *list, const char *expected)
{
    bool chosen[count];
    sg_error err = {0};
    assert_int_equal(sg_list_read(list, "layers", count, chosen, &err), SG_OK);
    assert_int_equal(sg_list_read(list, "layers", count, NULL, &err), SG_OK);
    for (int i = 0; i < count; i++) {
        assert_int_equal(chosen[i], expected[i] == '1');
        assert_int_equal(sg_list_has(list, i), expected[i] == '1');
    }
}

static void test_read(void **state)
{
    (void)state;
    check(NULL, "111111");
    check("all", "111111");
    check("0", "100000");
    check("5,0", "100001");
    check("1-3", "011100");
    check("0,2-4,4", "101110");
}

static void test_refused(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        "",   "x",  "6",   "0,6",  "0-6", "3-1",   "1,",    ",1",
        "1-", "-1", "1 2", "0,,1", "+1",  "1-2-3", "every", "99999999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sg_error err = {0};
        bool chosen[count];
        assert_int_equal(sg_list_read(wrong[i], "channels", count, chosen, &err), SG_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "channels: found \""));
        assert_non_null(strstr(err.message, "0 to 5"));
    }
}

static void test_within(void **state)
{
    (void)state;
    static const int64_t there[] = {1, 2, 5};
    assert_true(sg_list_within(NULL, there, 3));
    assert_true(sg_list_within("1-2,5", there, 3));
    assert_false(sg_list_within("1-3", there, 3));
    assert_false(sg_list_within("0", there, 3));
    assert_false(sg_list_within("1-9223372036854775807", there, 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_within),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
