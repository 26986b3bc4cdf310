// JSON as files have it: what is refused and where, numbers that no type holds, memory, and
// repairs.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "format/json.h"

static json_t *parsed(const char *text)
{
    sg_error err = {0};
    json_t *value;
    if (sg_json_parse(text, strlen(text), "f", &value, &err) != SG_OK) fail_msg("%s", err.message);
    return value;
}

static void refuses_bytes(const char *text, size_t bytes, const char *message)
{
    sg_error err = {0};
    json_t *value = (json_t *)&err;
    assert_int_equal(sg_json_parse(text, bytes, "f", &value, &err), SG_ERR_FORMAT);
    assert_null(value);
    assert_string_equal(err.message, message);
}

static void refuses(const char *text, const char *message)
{
    refuses_bytes(text, strlen(text), message);
}

static void test_refused_with_its_place(void **state)
{
    (void)state;
#define AT(line, column) "f: not valid JSON: line " #line ", column " #column ": "
    refuses("", AT(1, 1) "the text ends, expected a value");
    refuses("{\n \"a\": }", AT(2, 7) "found '}', expected a value");
    refuses("{\"\xc3\xa9\": x", AT(1, 7) "found 'x', expected a value");
    refuses("[1, 2", AT(1, 6) "the text ends, expected ',' or ']' behind an element");
    refuses("[1,]", AT(1, 4) "found ']', expected a value");
    refuses("{\"a\":1,}", AT(1, 8) "found '}', expected a key in quotes");
    refuses("{\"a\" 1}", AT(1, 6) "found '1', expected ':' behind a key");
    refuses("[\"abc", AT(1, 2) "a string that does not end");
    refuses("[\"a\nb\"]",
            AT(1, 4) "found byte 0x0a, expected an escape: control characters need one");
    refuses("\"\\x\"", AT(1, 2) "an escape that JSON does not have");
    refuses("\"\\u12\"", AT(1, 2) "\\u without four hexadecimal digits");
    refuses("\"\\ud83d.\"", AT(1, 2) "an unpaired surrogate, which is no character");
    refuses("\"\\udc00\"", AT(1, 2) "an unpaired surrogate, which is no character");
    refuses("\"caf\xe9\"", AT(1, 5) "a byte that is not UTF-8");
    refuses("{\"a\":1,\"\\u0061\":2}", AT(1, 8) "a duplicate key");
    refuses("{\"a\\u0000\":1}", AT(1, 2) "a key with NUL in it");
    refuses("{} {}", AT(1, 4) "found '{', expected the end of the text");
    refuses("01", AT(1, 2) "found '1', expected the end of the text");
    refuses("[-]", AT(1, 2) "found '-', expected a value");
    refuses("[1.]", AT(1, 2) "found '1', expected a value");
    refuses("[1e]", AT(1, 2) "found '1', expected a value");
    refuses("[Inf]", AT(1, 2) "found 'I', expected a value");
    refuses("[nan]", AT(1, 2) "found 'n', expected a value");
    refuses_bytes("[\0]", 3, AT(1, 2) "found byte 0x00, expected a value");
#undef AT
}

static char *nested(size_t depth)
{
    char *text = malloc(2 * depth + 1);
    assert_non_null(text);
    memset(text, '[', depth);
    memset(text + depth, ']', depth);
    text[2 * depth] = '\0';
    return text;
}

static void test_depth_is_limited(void **state)
{
    (void)state;
    char *text = nested(2048);
    json_decref(parsed(text));
    free(text);
    text = nested(2049);
    refuses(text,
            "f: not valid JSON: line 1, column 2049: more than 2048 objects and arrays in one "
            "another");
    free(text);
}

// Nobody reads them, so nobody minds; who asks is told the name and the digits.
static void test_numbers_that_no_type_holds(void **state)
{
    (void)state;
    static const char text[] = "{\"max\":1000000000000000019884624838656,\"nan\":NaN,"
                               "\"list\":[-Infinity,Infinity],\"huge\":-1e999,"
                               "\"hash\":18446744073709551615,\"least\":-9223372036854775808,"
                               "\"text\":\"\\u0000number\",\"fine\":1.5}";
    json_t *object = parsed(text);
    sg_error err = {0};
    int64_t integer = 7;
    double number = 7;
    bool flag;
    const char *string;
    json_t *child;
    assert_int_equal(sg_json_get_number(object, "f", "fine", true, &number, &err), SG_OK);
    assert_true(number == 1.5);
    assert_int_equal(sg_json_get_int(object, "f", "least", true, INT64_MIN, 0, &integer, &err),
                     SG_OK);
    assert_true(integer == INT64_MIN);
    // A double holds these, about.
    assert_int_equal(sg_json_get_number(object, "f", "max", true, &number, &err), SG_OK);
    assert_true(number == 1e30);
    assert_int_equal(sg_json_get_number(object, "f", "hash", true, &number, &err), SG_OK);
    assert_true(number == 18446744073709551616.0);
#define TOLD(call, words)                                                                          \
    do {                                                                                           \
        assert_int_equal(call, SG_ERR_FORMAT);                                                     \
        assert_string_equal(err.message, words);                                                   \
    } while (0)
    TOLD(sg_json_get_int(object, "f", "hash", true, 0, 5, &integer, &err),
         "f: \"hash\": found 18446744073709551615, expected an integer from 0 to 5");
    TOLD(sg_json_get_number(object, "f", "huge", true, &number, &err),
         "f: \"huge\": found -1e999, expected a number that a double holds");
    TOLD(sg_json_get_number(object, "f", "nan", true, &number, &err),
         "f: \"nan\": found NaN, expected a number that a double holds");
    TOLD(sg_json_get_bool(object, "f", "nan", true, &flag, &err),
         "f: \"nan\": found NaN, expected true or false");
    TOLD(sg_json_get_string(object, "f", "nan", true, &string, &err),
         "f: \"nan\": found NaN, expected a string");
    TOLD(sg_json_get_object(object, "f", "nan", false, &child, &err),
         "f: \"nan\": found NaN, expected an object");
    TOLD(sg_json_get_array(object, "f", "nan", false, &child, &err),
         "f: \"nan\": found NaN, expected an array");
#undef TOLD
    // What is written is what was read, digit by digit.
    char *written;
    assert_int_equal(sg_json_text(object, false, &written, &err), SG_OK);
    assert_string_equal(written, text);
    sg_free(written);
    assert_int_equal(sg_json_text(object, true, &written, &err), SG_OK);
    json_t *again = parsed(written);
    sg_free(written);
    assert_int_equal(sg_json_text(again, false, &written, &err), SG_OK);
    assert_string_equal(written, text);
    sg_free(written);
    json_decref(again);
    json_decref(object);
}

static void test_one_member_is_kept(void **state)
{
    (void)state;
    static const char text[] =
        "{\"a\":[{},{\"text\":1},NaN,\"x\"],\"text\":{\"deep\":[1]},\"b\":2}";
    sg_json_options o = sg_json_options_default();
    sg_error err = {0};
    json_t *value, *all = parsed(text);
    o.only = "text";
    assert_int_equal(sg_json_parse_as(text, strlen(text), "f", &o, &value, &err), SG_OK);
    assert_true(json_equal(json_object_get(value, "text"), json_object_get(all, "text")));
    assert_true(json_is_null(json_object_get(value, "a")));
    json_decref(value);
    json_decref(all);
    // What is passed over is as strict as what is kept.
    static const char *const bad[] = {
        "{\"a\":{\"k\":1,\"k\":2},\"text\":\"\"}", "{\"a\":[1,],\"text\":\"\"}",
        "{\"a\":\"\xe9\",\"text\":\"\"}",          "{\"a\":\"\\ud800\",\"text\":\"\"}",
        "{\"text\":\"\",\"a\":1,\"a\":1}",         "{\"a\":{\"k\\u0000\":1},\"text\":\"\"}"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(sg_json_parse_as(bad[i], strlen(bad[i]), "f", &o, &value, &err),
                         SG_ERR_FORMAT);
}

static void test_bad_text_is_repaired_and_counted(void **state)
{
    (void)state;
    static const char text[] = "{\"text\":\"a\xe9z \xf0\x9f\x98 \\ud83d\\ud83d\\ude00\\udc00\","
                               "\"other\":\"\xff\\ud800\",\"\xfe\":1,\"\xff\":2}";
    sg_json_options o = sg_json_options_default();
    sg_error err = {0};
    json_t *value;
    int64_t repaired = 0;
    o.only = "text";
    o.repair = true;
    o.repaired = &repaired;
    assert_int_equal(sg_json_parse_as(text, strlen(text), "f", &o, &value, &err), SG_OK);
#define BAD "\xef\xbf\xbd"
    assert_string_equal(json_string_value(json_object_get(value, "text")),
                        "a" BAD "z " BAD " " BAD "\xf0\x9f\x98\x80" BAD);
    assert_int_equal(repaired, 4); // those that nobody reads are not counted
    json_decref(value);
}

// Twenty million empty objects are a few bytes each in the text, and two hundred in memory.
static void test_memory_is_limited(void **state)
{
    (void)state;
    enum { count = 100000 };
    static char text[3 * count + 64];
    size_t used = (size_t)sprintf(text, "{\"text\":\"x\",\"a\":[{\"k\":{}}");
    for (int i = 0; i < count; i++)
        used += (size_t)sprintf(text + used, ",{}");
    used += (size_t)sprintf(text + used, "]}");
    sg_json_options o = sg_json_options_default();
    sg_error err = {0};
    json_t *value;
    o.budget = (size_t)1 << 20;
    int64_t before = sg_alloc_count();
    assert_int_equal(sg_json_parse_as(text, used, "f", &o, &value, &err), SG_ERR_FORMAT);
    assert_string_equal(err.message, "f: its JSON values take more than 1 MiB of memory, the most "
                                     "that is given to a file");
    assert_true(sg_alloc_count() - before < 20000);
    // What is passed over takes none.
    o.only = "text";
    before = sg_alloc_count();
    assert_int_equal(sg_json_parse_as(text, used, "f", &o, &value, &err), SG_OK);
    assert_true(sg_alloc_count() - before < 100);
    json_decref(value);
}

static sg_status parse_and_print(void *user, sg_error *err)
{
    static const char text[] = "{\"long\":\"0123456789012345678901234567890123456789\\u00e9\","
                               "\"\\u0061\":[1,2.5,NaN,{\"k\":{\"l\":\"\"}},[],true,null,1e400],"
                               "\"0\":0,\"1\":0,\"2\":0,\"3\":0,\"4\":0,\"5\":0,\"6\":0,\"7\":0}";
    json_t *value;
    (void)user;
    sg_status status = sg_json_parse(text, strlen(text), "f", &value, err);
    if (status != SG_OK) return status;
    char *printed = NULL;
    status = sg_json_text(value, true, &printed, err);
    sg_free(printed);
    json_decref(value);
    return status;
}

static void test_failing_memory(void **state)
{
    (void)state;
    assert_true(alloc_failure_loop(parse_and_print, NULL) > 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused_with_its_place),
        cmocka_unit_test(test_depth_is_limited),
        cmocka_unit_test(test_numbers_that_no_type_holds),
        cmocka_unit_test(test_one_member_is_kept),
        cmocka_unit_test(test_bad_text_is_repaired_and_counted),
        cmocka_unit_test(test_memory_is_limited),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
