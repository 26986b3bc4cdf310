// Chat templates against jinja2 (tests/twins/chat_twin.py made the cases), what is refused, folders.
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "alloc_failure.h"
#include "base/status.h"
#include "base/alloc.h"
#include "sgatlin.h"

static const char *string_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

// What a case's template makes of its messages; *status says whether it worked. *text: sg_buffer_free.
static void render_case(const json_t *one, sg_status *status, char **text, size_t *bytes,
                        sg_error *err)
{
    json_t *list = json_object_get(one, "messages"), *source = json_object_get(one, "template");
    sg_chat_message messages[16];
    size_t count = json_array_size(list);
    assert_true(count <= 16);
    for (size_t i = 0; i < count; i++)
        messages[i] = (sg_chat_message){string_of(json_array_get(list, i), "role"),
                                        string_of(json_array_get(list, i), "content")};
    sg_chat *chat;
    *text = NULL;
    *status = sg_chat_new(json_string_value(source), json_string_length(source), "case",
                          string_of(one, "bos"), string_of(one, "eos"), &chat, err);
    if (*status != SG_OK) return;
    *status = sg_chat_render(chat, messages, count, json_is_true(json_object_get(one, "answer")),
                             text, bytes, err);
    sg_chat_free(chat);
}

static void test_golden(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/golden/chat/cases.json", SG_TEST_DIR);
    json_t *cases = json_load_file(path, 0, NULL);
    assert_true(json_array_size(cases) > 400);
    size_t wrong = 0, failing = 0, beyond = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i), *expected = json_object_get(one, "text");
        char *text;
        size_t bytes = 0;
        sg_error err;
        sg_status status;
        int64_t live = sg_alloc_live();
        render_case(one, &status, &text, &bytes, &err);
        bool same = json_is_null(expected)
                        ? status != SG_OK
                        : status == SG_OK && bytes == json_string_length(expected) &&
                              memcmp(text, json_string_value(expected), bytes) == 0;
        failing += json_is_null(expected);
        // Expressions drawn at random may be more than we do, if we say so.
        if (!same && status == SG_ERR_UNSUPPORTED &&
            strncmp(string_of(one, "name"), "value", 5) == 0)
            same = ++beyond > 0;
        if (!same && wrong++ < 8)
            fprintf(stderr, "%s\n%s\nfound    \"%s\"\nexpected \"%s\"\n", string_of(one, "name"),
                    string_of(one, "template"), status == SG_OK ? text : err.message,
                    json_is_null(expected) ? "a failure" : json_string_value(expected));
        sg_buffer_free(text);
        assert_int_equal(sg_alloc_live(), live);
    }
    json_decref(cases);
    assert_true(failing > 20 && beyond < 30);
    if (wrong > 0) fail_msg("%zu cases differ", wrong);
}

static void check_refused(const char *source, sg_status expected, const char *part)
{
    const sg_chat_message messages[] = {{"user", "a"}, {"assistant", "b"}};
    sg_chat *chat;
    sg_error err = {0};
    char *text = NULL;
    size_t bytes;
    int64_t live = sg_alloc_live();
    sg_status status = sg_chat_new(source, strlen(source), "T", NULL, NULL, &chat, &err);
    if (status == SG_OK) {
        status = sg_chat_render(chat, messages, 2, true, &text, &bytes, &err);
        sg_chat_free(chat);
    }
    if (status != expected || strstr(err.message, part) == NULL)
        fail_msg("%s: found %s: %s; expected %s and \"%s\"", source, sg_status_name(status),
                 err.message, sg_status_name(expected), part);
    assert_null(text);
    assert_int_equal(sg_alloc_live(), live);
}

static void test_refused(void **state)
{
    (void)state;
    const sg_status format = SG_ERR_FORMAT, unsupported = SG_ERR_UNSUPPORTED;
    check_refused("\n{% macro f() %}{% endmacro %}", unsupported,
                  "line 2: the statement \"macro\"");
    check_refused("{% raw %}{% endraw %}", unsupported, "\"raw\"");
    check_refused("{% for a, b in messages %}{% endfor %}", unsupported, "more than one name");
    check_refused("{% for a in messages if a %}{% endfor %}", unsupported, "\"for\" with \"if\"");
    check_refused("{% for a in messages %}{% else %}{% endfor %}", unsupported, "\"else\" of a");
    check_refused("{% for a in messages %}{% break %}{% endfor %}", unsupported, "\"break\"");
    check_refused("{% set a %}x{% endset %}", unsupported, "\"set\" of a block");
    check_refused("{{ 1 < 2 < 3 }}", unsupported, "chain of comparisons");
    check_refused("{{ messages | tojson }}", unsupported, "the filter tojson");
    check_refused("{{ 'a' | trim('b') }}", unsupported, "an argument of the filter trim");
    check_refused("{{ messages is sequence }}", unsupported, "the test sequence");
    check_refused("{{ strftime_now('%d') }}", unsupported, "the function strftime_now");
    check_refused("{{ 'a'.split('b') }}", unsupported, "the method split");
    check_refused("{{ 'a'.strip('b') }}", unsupported, "an argument of the method strip");
    check_refused("{{ messages }}", unsupported, "the text of a list");
    check_refused("{{ messages[0] }}", unsupported, "the text of a map");
    check_refused("{% for m in messages %}{{ loop.previtem }}{% endfor %}", unsupported,
                  "loop.previtem");
    check_refused("{{ 'abc'[1:] }}", unsupported, "a slice of a string");
    check_refused("{{ 3 / 2 }}", unsupported, "the operator /");
    check_refused("{{ raise_exception('no: ' + messages[1].content) }}", SG_ERR_ARGUMENT,
                  "T: no: b");
    check_refused("{{ nobody.name }}", SG_ERR_ARGUMENT, "an undefined value has no name");
    check_refused("{{ 'a' + 1 }}", SG_ERR_ARGUMENT, "a string and a number");
    check_refused("{{ 1 // 0 }}", SG_ERR_ARGUMENT, "no such number");
    check_refused("{% set messages.x = 1 %}", SG_ERR_ARGUMENT, "of a namespace only");
    static const char *const broken[] = {"{{",
                                         "{{ }}",
                                         "{{ 'a }}",
                                         "{% if %}{% endif %}",
                                         "{% if true %}",
                                         "{% endif %}",
                                         "{# a",
                                         "{{ a. }}",
                                         "{{ a[ }}",
                                         "{{ a[] }}",
                                         "{{ (a }}",
                                         "{{ f(1 2) }}",
                                         "{{ 1.5 }}",
                                         "{{ 99999999999999999999 }}",
                                         "{{ 'a' 'b' }}",
                                         "{{ '\\ud800' }}",
                                         "{{ '\\x4' }}",
                                         "{% %}",
                                         "{{ a b }}",
                                         "{{ a % }}",
                                         "{% for in x %}",
                                         "{% for a of x %}",
                                         "{{ '\\1' }}",
                                         "{{ a | }}"};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        sg_chat *chat = NULL;
        sg_error err = {0};
        sg_status status = sg_chat_new(broken[i], strlen(broken[i]), "T", NULL, NULL, &chat, &err);
        if ((status != format && status != unsupported) ||
            strncmp(err.message, "T: line 1", 9) != 0)
            fail_msg("%s: %s", broken[i], err.message);
    }
    sg_chat *chat;
    assert_int_equal(sg_chat_new("a\0b", 3, "T", NULL, NULL, &chat, NULL), format);
    assert_int_equal(sg_chat_new("\xff", 1, "T", NULL, NULL, &chat, NULL), format);
}

// Templates that nest, loop or grow without end.
static void test_limits(void **state)
{
    (void)state;
    static char deep[1 << 20], loops[4096];
    const char *opens[] = {
        "(", "[", "-", "{% if 1 %}", "not (", "1 if 1 else ", "{% for a in [1] %}", "f(", "a["};
    for (size_t k = 0; k < 9; k++) {
        bool block = opens[k][0] == '{';
        strcpy(deep, block ? "" : "{{ ");
        char *at = deep + strlen(deep);
        for (int i = 0; i < 20000; i++)
            at = stpcpy(at, opens[k]);
        sg_chat *chat;
        sg_error err = {0};
        assert_int_equal(sg_chat_new(deep, strlen(deep), "T", NULL, NULL, &chat, &err),
                         SG_ERR_FORMAT);
        assert_non_null(strstr(err.message, "less nesting"));
    }
    const char *chains[] = {" + 1", " and 1", ".a", " | trim", "[0]", " == 1 or 1", " ~ 'a'"};
    for (size_t k = 0; k < 7; k++) {
        char *at = stpcpy(deep, "{{ messages");
        for (int i = 0; i < 20000; i++)
            at = stpcpy(at, chains[k]);
        stpcpy(at, " }}");
        check_refused(deep, SG_ERR_FORMAT, "nests too deep");
    }
    char *at = stpcpy(loops, "{% set a = [1,1,1,1,1,1,1,1,1,1] %}");
    for (int i = 0; i < 30; i++)
        at = stpcpy(at, "{% for x in a %}");
    at = stpcpy(at, "{{ x }}");
    for (int i = 0; i < 30; i++)
        at = stpcpy(at, "{% endfor %}");
    check_refused(loops, SG_ERR_FORMAT, "too m"); // steps, or text
    check_refused(
        "{% set n = namespace(x='aaaaaaaaaa') %}{% set a = [1,1,1,1,1,1,1,1] %}"
        "{% for i in a %}{% for j in a %}{% set n.x = n.x + n.x %}{% endfor %}{% endfor %}",
        SG_ERR_FORMAT, "too much text");
}

static void write_file(const char *folder, const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

static void check_open(const char *folder, const char *expected, const char *eos)
{
    const sg_chat_message message = {"user", "hi"};
    sg_chat *chat;
    sg_error err;
    char *text;
    size_t bytes;
    if (sg_chat_open(folder, &chat, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(sg_chat_render(chat, &message, 1, false, &text, &bytes, &err), SG_OK);
    assert_string_equal(text, expected);
    if (eos == NULL)
        assert_null(sg_chat_eos(chat));
    else
        assert_string_equal(sg_chat_eos(chat), eos);
    sg_buffer_free(text);
    sg_chat_free(chat);
}

static void test_folders(void **state)
{
    (void)state;
    char folder[] = "/tmp/sg_chat_XXXXXX", path[64];
    assert_non_null(mkdtemp(folder));
    sg_chat *chat;
    sg_error err;
    assert_int_equal(sg_chat_open(folder, &chat, &err), SG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "no chat template"));
    write_file(folder, "tokenizer_config.json",
               "{\"bos_token\":{\"content\":\"<b>\"},\"eos_token\":\"<e>\",\"chat_template\":"
               "\"{{ bos_token + messages[0].content + eos_token }}\"}");
    check_open(folder, "<b>hi<e>", "<e>");
    write_file(folder, "tokenizer_config.json",
               "{\"bos_token\":null,\"chat_template\":[{\"name\":\"rag\",\"template\":\"x\"},"
               "{\"name\":\"default\",\"template\":\"[{{ messages[0].content }}]\"}]}");
    check_open(folder, "[hi]", NULL);
    write_file(folder, "chat_template.jinja", "{{ messages|length }}\n");
    check_open(folder, "1", NULL); // the file goes first
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    remove(path);
    check_open(folder, "1", NULL);
    snprintf(path, sizeof path, "%s/chat_template.jinja", folder);
    remove(path);
    write_file(folder, "tokenizer_config.json", "{\"chat_template\":7}");
    assert_int_equal(sg_chat_open(folder, &chat, &err), SG_ERR_FORMAT);
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    remove(path);
    remove(folder);
    const sg_chat_message bad = {"user", "\xff"};
    char *text;
    size_t bytes;
    assert_int_equal(sg_chat_new("a", 1, "T", NULL, NULL, &chat, &err), SG_OK);
    assert_int_equal(sg_chat_render(chat, &bad, 1, true, &text, &bytes, &err), SG_ERR_ARGUMENT);
    assert_null(text);
    sg_chat_free(chat);
}

static sg_status render_some(void *user, sg_error *err)
{
    (void)user;
    static const char source[] =
        "{% set ns = namespace(a=1, b='x') %}{% for m in messages[1:] %}{% set ns.c = m.content ~ "
        "1 %}"
        "{% if m.role in ['user', 'system'] and not ns.b is none %}{{ (ns.c + '\\n') | upper }}"
        "{% elif loop.last %}{{ m.content.strip() }}{% endif %}{% endfor %}{# c #} a";
    const sg_chat_message messages[] = {{"user", "a"}, {"user", " b "}, {"assistant", "c"}};
    sg_chat *chat;
    char *text = NULL;
    size_t bytes;
    SG_TRY(sg_chat_new(source, sizeof source - 1, "T", "<s>", NULL, &chat, err));
    sg_status status = sg_chat_render(chat, messages, 3, true, &text, &bytes, err);
    if (status == SG_OK) assert_string_equal(text, " B 1\nc a");
    sg_buffer_free(text);
    sg_chat_free(chat);
    return status;
}

static void test_no_memory(void **state)
{
    (void)state;
    assert_true(alloc_failure_loop(render_some, NULL) > 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),    cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),    cmocka_unit_test(test_folders),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
