// Messages and lists for chat templates from JSON files: what is kept of them, and wrong ones.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include "alloc_failure.h"
#include "base/alloc.h"
#include "base/file.h"
#include "memory_fs.h"

static memory_fs *disk;

static int open_disk(void **state)
{
    (void)state;
    disk = memory_fs_new();
    sg_fs_set(memory_fs_table(disk));
    return 0;
}

static int close_disk(void **state)
{
    (void)state;
    sg_fs_set(NULL);
    memory_fs_free(disk);
    return 0;
}

static void put(const char *text)
{
    assert_int_equal(sg_file_write_atomic("/file.json", text, strlen(text), NULL), SG_OK);
}

static void test_messages(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "[{\"role\": \"user\", \"content\": \"a\", \"at\": 1e999},"
        " {\"role\": \"tool\", \"content\": \"b\"}]",
        "{\"odd\": NaN, \"messages\": [{\"role\": \"user\", \"content\": \"a\", \"at\": 1e999},"
        " {\"role\": \"tool\", \"content\": \"b\"}]}"};
    for (size_t i = 0; i < 2; i++) {
        sg_chat_messages m;
        sg_error err;
        put(forms[i]);
        if (sg_chat_messages_read("/file.json", &m, &err) != SG_OK) fail_msg("%s", err.message);
        assert_int_equal(m.count, 2);
        assert_string_equal(m.items[0].json, "{\"role\":\"user\",\"content\":\"a\",\"at\":1e999}");
        assert_string_equal(m.items[1].json, "{\"role\":\"tool\",\"content\":\"b\"}");
        assert_string_equal(m.last, "b");
        sg_chat_messages_clear(&m);
        sg_chat_messages_clear(&m);
    }
}

// The last message need not have a text.
static void test_last_without_text(void **state)
{
    (void)state;
    sg_chat_messages m;
    put("[{\"role\": \"user\", \"content\": [{\"type\": \"text\"}]}]");
    assert_int_equal(sg_chat_messages_read("/file.json", &m, NULL), SG_OK);
    assert_string_equal(m.last, "");
    sg_chat_messages_clear(&m);
}

static void test_wrong_messages(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {
        {"", "not valid JSON"},
        {"3", "found no list of messages"},
        {"[]", "found no list of messages"},
        {"{\"messages\": {}}", "found no list of messages"},
        {"[{\"role\": \"user\"}, {\"content\": \"a\"}]", "message 2: expected an object"},
        {"[{\"role\": \"user\"}, \"a\"]", "message 2: expected an object"},
        {"[{\"role\": 3}]", "message 1: expected an object"},
        {"[{\"role\": \"user\", \"role\": \"user\"}]", "a duplicate key"}};
    const int64_t live = sg_alloc_live();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        sg_chat_messages m;
        sg_error err = {0};
        put(wrong[i][0]);
        assert_int_equal(sg_chat_messages_read("/file.json", &m, &err), SG_ERR_FORMAT);
        if (strstr(err.message, wrong[i][1]) == NULL || strncmp(err.message, "/file.json", 10) != 0)
            fail_msg("%s: %s", wrong[i][0], err.message);
        assert_null(m.items);
    }
    assert_int_equal(sg_alloc_live(), live);
}

static void test_lists(void **state)
{
    (void)state;
    char *text;
    sg_error err;
    put("[{\"name\": \"f\", \"least\": -Infinity}]");
    assert_int_equal(sg_chat_list_read("/file.json", &text, &err), SG_OK);
    assert_string_equal(text, "[{\"name\":\"f\",\"least\":-Infinity}]");
    sg_buffer_free(text);
    put("{}");
    assert_int_equal(sg_chat_list_read("/file.json", &text, &err), SG_ERR_FORMAT);
    assert_string_equal(err.message, "/file.json: expected a JSON list");
    assert_null(text);
    assert_int_equal(sg_chat_list_read("/none.json", &text, &err), SG_ERR_NOT_FOUND);
}

static sg_status read_once(void *user, sg_error *err)
{
    sg_chat_messages m;
    (void)user;
    const sg_status status = sg_chat_messages_read("/file.json", &m, err);
    if (status == SG_OK) sg_chat_messages_clear(&m);
    return status;
}

static void test_out_of_memory(void **state)
{
    (void)state;
    put("[{\"role\": \"user\", \"content\": \"a\"}, {\"role\": \"tool\", \"content\": \"b\"}]");
    assert_true(alloc_failure_loop(read_once, NULL) > 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_messages, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_last_without_text, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_wrong_messages, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_lists, open_disk, close_disk),
        cmocka_unit_test_setup_teardown(test_out_of_memory, open_disk, close_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
