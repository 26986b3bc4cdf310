// Chat templates against jinja2 (tests/twins/chat_twin.py made the cases), what is refused,
// folders.
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

// A member of a case, which may be the number of one that cases share.
static json_t *member_of(const json_t *shared, const json_t *one, const char *key)
{
    json_t *value = json_object_get(one, key);
    return json_is_integer(value) ? json_array_get(shared, (size_t)json_integer_value(value))
                                  : value;
}

static char *dump_of(const json_t *shared, const json_t *one, const char *key)
{
    const json_t *value = member_of(shared, one, key);
    return value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY);
}

// What a case's template makes of its messages; *status says whether it worked. *text:
// sg_buffer_free.
static void render_case(const json_t *shared, const json_t *one, sg_status *status, char **text,
                        size_t *bytes, sg_error *err)
{
    json_t *list = member_of(shared, one, "messages"), *source = member_of(shared, one, "template");
    sg_chat_message messages[16];
    char *tools = dump_of(shared, one, "tools"), *variables = dump_of(shared, one, "variables");
    char *dumps[16];
    sg_chat_options options = sg_chat_options_default();
    size_t count = json_array_size(list);
    assert_true(count <= 16);
    for (size_t i = 0; i < count; i++) {
        dumps[i] = json_dumps(json_array_get(list, i), 0);
        messages[i] = (sg_chat_message){.json = dumps[i]};
    }
    options.answer = json_is_true(json_object_get(one, "answer"));
    options.tools = tools;
    options.variables = variables;
    options.date = "2026-03-07 08:05:09";
    sg_chat *chat;
    *text = NULL;
    *status = sg_chat_new(json_string_value(source), json_string_length(source), "case",
                          string_of(one, "bos"), string_of(one, "eos"), &chat, err);
    if (*status == SG_OK) {
        *status = sg_chat_render(chat, messages, count, &options, text, bytes, err);
        sg_chat_free(chat);
    }
    for (size_t i = 0; i < count; i++)
        free(dumps[i]);
    free(tools);
    free(variables);
}

static void test_golden(void **state)
{
    (void)state;
    char path[1024];
    snprintf(path, sizeof path, "%s/golden/chat/cases.json", SG_TEST_DIR);
    json_t *root = json_load_file(path, 0, NULL), *shared = json_object_get(root, "shared");
    json_t *cases = json_object_get(root, "cases");
    assert_true(json_array_size(cases) > 1600);
    size_t wrong = 0, failing = 0, beyond = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *one = json_array_get(cases, i), *expected = json_object_get(one, "text");
        char *text;
        size_t bytes = 0;
        sg_error err;
        sg_status status;
        render_case(shared, one, &status, &text, &bytes, &err);
        bool same = json_is_null(expected)
                        ? status != SG_OK
                        : status == SG_OK && bytes == json_string_length(expected) &&
                              memcmp(text, json_string_value(expected), bytes) == 0;
        failing += json_is_null(expected);
        // A few things of Jinja's are more than we do, if we say so.
        if (!same && status == SG_ERR_UNSUPPORTED) same = ++beyond > 0;
        if (!same && wrong++ < 8)
            fprintf(stderr, "%s\n%s\nfound    \"%s\"\nexpected \"%s\"\n", string_of(one, "name"),
                    json_string_value(member_of(shared, one, "template")),
                    status == SG_OK ? text : err.message,
                    json_is_null(expected) ? "a failure" : json_string_value(expected));
        sg_buffer_free(text);
    }
    json_decref(root);
    assert_true(failing > 150);
    assert_int_equal(beyond, 4); // numbers beyond 64 bits, block, autoescape
    if (wrong > 0) fail_msg("%zu cases differ", wrong);
}

static void check_refused_within(int64_t work, const char *source, sg_status expected,
                                 const char *part)
{
    sg_chat_options options = sg_chat_options_default();
    options.work = work;
    const sg_chat_message messages[] = {{"user", "a", NULL}, {"assistant", "b", NULL}};
    sg_chat *chat;
    sg_error err = {0};
    char *text = NULL;
    size_t bytes;
    int64_t live = sg_alloc_live();
    sg_status status = sg_chat_new(source, strlen(source), "T", NULL, NULL, &chat, &err);
    if (status == SG_OK) {
        status = sg_chat_render(chat, messages, 2, &options, &text, &bytes, &err);
        sg_chat_free(chat);
    }
    if (status != expected || strstr(err.message, part) == NULL)
        fail_msg("%s: found %s: %s; expected %s and \"%s\"", source, sg_status_name(status),
                 err.message, sg_status_name(expected), part);
    assert_null(text);
    assert_int_equal(sg_alloc_live(), live);
}

static void check_refused(const char *source, sg_status expected, const char *part)
{
    check_refused_within(1 << 26, source, expected, part);
}

static void test_refused(void **state)
{
    (void)state;
    const sg_status format = SG_ERR_FORMAT, unsupported = SG_ERR_UNSUPPORTED;
    check_refused("\n{% include 'x' %}", unsupported, "line 2: the statement include");
    check_refused("{% block a %}x{% endblock a %}", unsupported, "the statement block");
    check_refused("{{ [1] | random }}", unsupported, "the filter random");
    check_refused("{{ 'a' | urlize }}", unsupported, "the filter urlize");
    check_refused("{{ lipsum() }}", unsupported, "the function lipsum");
    check_refused("{{ 'a'.encode() }}", unsupported, "the method encode");
    check_refused("{{ 'a'.upper }}", unsupported, "the text of a method");
    check_refused("{{ 9223372036854775807 * 2 }}", unsupported, "a number beyond 64 bits");
    check_refused("{{ 'a' | nope }}", SG_ERR_ARGUMENT, "there is no filter \"nope\"");
    check_refused("{{ 'a' is nope }}", SG_ERR_ARGUMENT, "there is no test \"nope\"");
    check_refused("{{ 'a' | trim(b=1) }}", SG_ERR_ARGUMENT, "takes no \"b\"");
    check_refused("{{ strftime_now('%d') }}", SG_ERR_ARGUMENT, "today's date, and none was given");
    check_refused("{{ raise_exception('no: ' + messages[1].content) }}", SG_ERR_ARGUMENT,
                  "T: no: b");
    check_refused("{{ nobody.name }}", SG_ERR_ARGUMENT, "nobody is undefined and has no name");
    check_refused("{{ 'a b'.split()[0].nobody.name }}", SG_ERR_ARGUMENT,
                  "nobody is undefined and has no name");
    check_refused("{{ 'a' + 1 }}", SG_ERR_ARGUMENT, "a string and an integer");
    check_refused("{{ 1 // 0 }}", SG_ERR_ARGUMENT, "a division by zero");
    check_refused("{% set messages.x = 1 %}", SG_ERR_ARGUMENT, "of a namespace only");
    check_refused("{% macro f() %}{% endmacro %}{{ f(1) }}", SG_ERR_ARGUMENT, "no more than 0");
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
                                         "{{ 99999999999999999999 }}",
                                         "{{ '\\ud800' }}",
                                         "{{ '\\x4' }}",
                                         "{% %}",
                                         "{{ a b }}",
                                         "{{ a % }}",
                                         "{% for in x %}",
                                         "{% for a of x %}",
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
    const char *opens[] = {"(",
                           "[",
                           "-",
                           "{% if 1 %}",
                           "not (",
                           "1 if 1 else ",
                           "{% for a in [1] %}",
                           "f(",
                           "a[",
                           "{'a': ",
                           "{% macro f() %}",
                           "{% set a %}",
                           "{% with %}"};
    for (size_t k = 0; k < sizeof opens / sizeof *opens; k++) {
        bool block = opens[k][1] == '%';
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
    const char *chains[] = {" + 1", " and 1", ".a", " | trim", "[0]", " == 1 or 1", " - 'a'"};
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
    check_refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", SG_ERR_FORMAT,
                  "nests too deep");
    check_refused("{{ 'a' * 999999999999 }}", SG_ERR_FORMAT, "too much text");
    check_refused("{{ '%999999999d' % 1 }}", SG_ERR_FORMAT, "too much text");
    check_refused("{{ 'a'.center(99999999999) }}", SG_ERR_FORMAT, "too much text");
}

#define NEST                                                                                       \
    "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(500) %}{% for j in range(500) %}"      \
    "{% set n.a = [n.a] %}{% set n.b = [n.b] %}{% endfor %}{% endfor %}"
#define DOUBLE                                                                                     \
    "{% set n = namespace(a=[1], b=[1]) %}{% for i in range(100) %}{% set n.a = [n.a, n.a] %}"     \
    "{% set n.b = [n.b, n.b] %}{% endfor %}"

// Lists in lists without end, and shared ones that are a few in memory and very many to go through.
static void test_deep_values(void **state)
{
    (void)state;
    check_refused(NEST "{{ n.a == n.b }}", SG_ERR_FORMAT, "nest too deep");
    check_refused(NEST "{{ n.a < n.b }}", SG_ERR_FORMAT, "nest too deep");
    check_refused(NEST "{{ n.a }}", SG_ERR_FORMAT, "nest too deep");
    check_refused(NEST "{{ n.a | tojson }}", SG_ERR_FORMAT, "nest too deep");
    check_refused(NEST "{{ n.a in [n.b] }}", SG_ERR_FORMAT, "nest too deep");
    check_refused(NEST "{{ [n.a] | unique | list | length }}{{ [n.a, n.b] | sort | length }}",
                  SG_ERR_FORMAT, "nest too deep");
    check_refused(DOUBLE "{{ n.a == n.b }}", SG_ERR_FORMAT, "too many steps");
    check_refused(DOUBLE "{{ n.a < n.b }}", SG_ERR_FORMAT, "too many steps");
    check_refused(DOUBLE "{{ n.a }}", SG_ERR_FORMAT, "too m");
    check_refused(DOUBLE "{{ n.a | tojson }}", SG_ERR_FORMAT, "too m");
    check_refused("{% set n = namespace() %}{% set n.n = n %}{{ n }}", SG_ERR_FORMAT,
                  "nest too deep");
}

// Steps cost what they touch: a long text that is looked at over and over is soon too much.
static void test_hungry(void **state)
{
    (void)state;
    static const char *const looks[] = {"a|length",
                                        "a == b",
                                        "'yy' in a",
                                        "a.find('yy')",
                                        "a|upper|length",
                                        "a[5]",
                                        "a.split('y')|length",
                                        "a|replace('y', '')|length",
                                        "a.count('y')",
                                        "a|trim|length",
                                        "a.rfind('yx')",
                                        "a < b",
                                        "a|wordcount",
                                        "a is lower",
                                        "a.startswith('x', 5)",
                                        "a|list|length",
                                        "a.rsplit('yy')|length",
                                        "a|tojson|length"};
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        char source[1024];
        snprintf(source, sizeof source,
                 "{%% set a = 'xxxxxxxx' * 100000 %%}{%% set b = 'xxxxxxxx' * 100000 %%}"
                 "{%% for i in range(500) %%}{%% for j in range(500) %%}"
                 "{%% if (%s) == 1 %%}{%% endif %%}{%% endfor %%}{%% endfor %%}",
                 looks[i]);
        check_refused_within(1 << 23, source, SG_ERR_FORMAT, "too m"); // steps, or text
    }
}

static bool go_on_three_times(void *user)
{
    return ++*(int *)user < 3;
}

static void test_stopped(void **state)
{
    (void)state;
    static const char source[] = "{% for i in range(9999) %}{% for j in range(9999) %}{{ i * j }}"
                                 "{% endfor %}{% endfor %}";
    int asked = 0;
    sg_chat_options options = sg_chat_options_default();
    sg_chat *chat;
    sg_error err = {0};
    char *text;
    size_t bytes;
    options.go_on = go_on_three_times;
    options.user = &asked;
    assert_int_equal(sg_chat_new(source, sizeof source - 1, "T", NULL, NULL, &chat, &err), SG_OK);
    assert_int_equal(sg_chat_render(chat, NULL, 0, &options, &text, &bytes, &err), SG_ERR_STOPPED);
    assert_int_equal(asked, 3);
    options.go_on = NULL;
    options.work = 1000;
    assert_int_equal(sg_chat_render(chat, NULL, 0, &options, &text, &bytes, &err), SG_ERR_FORMAT);
    sg_chat_free(chat);
}

// Options and messages that are no JSON, or no such JSON.
static void test_options(void **state)
{
    (void)state;
    static const char source[] =
        "{{ tools }}{{ x }}{{ strftime_now('%j') if messages|length > 1 }}";
    const sg_chat_message one = {.json = "{\"role\":\"user\",\"content\":null}"};
    const sg_chat_message bad = {.json = "[1]"}, none = {"user", NULL, NULL};
    const sg_chat_message two[] = {one, none};
    sg_chat_options usual = sg_chat_options_default(), options = usual;
    sg_chat *chat;
    sg_error err = {0};
    char *text;
    size_t bytes;
    assert_int_equal(sg_chat_new(source, sizeof source - 1, "T", NULL, NULL, &chat, &err), SG_OK);
    options.tools = "[1, {\"a\": 2.5}]";
    options.variables = "{\"x\": \"y\"}";
    options.date = "2024-12-31T01:02:03";
    assert_int_equal(sg_chat_render(chat, two, 2, &options, &text, &bytes, &err), SG_OK);
    assert_string_equal(text, "[1, {'a': 2.5}]y366");
    sg_buffer_free(text);
    options.variables = "[1]";
    assert_int_equal(sg_chat_render(chat, two, 2, &options, &text, &bytes, &err), SG_ERR_ARGUMENT);
    options.variables = "{\"x\": [1e999, NaN, -Infinity, 2.0]}";
    assert_int_equal(sg_chat_render(chat, two, 2, &options, &text, &bytes, &err), SG_OK);
    assert_string_equal(text, "[1, {'a': 2.5}][inf, nan, -inf, 2.0]366");
    sg_buffer_free(text);
    options.variables = "{\"x\": 99999999999999999999}";
    assert_int_equal(sg_chat_render(chat, two, 2, &options, &text, &bytes, &err),
                     SG_ERR_UNSUPPORTED);
    options = usual;
    options.tools = "{";
    assert_int_equal(sg_chat_render(chat, two, 2, &options, &text, &bytes, &err), SG_ERR_FORMAT);
    assert_non_null(strstr(err.message, "tools"));
    assert_int_equal(sg_chat_render(chat, &bad, 1, &usual, &text, &bytes, &err), SG_ERR_ARGUMENT);
    static const char *const dates[] = {"2026-02-29",          "2026-13-01", "x",
                                        "2026-01-01x",         "",           "2026-1",
                                        "2026-01-01 24:00:00", "0000-01-01", "2026-01-01 10:00"};
    for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
        options = usual;
        options.date = dates[i];
        assert_int_equal(sg_chat_render(chat, two, 2, &options, &text, &bytes, &err),
                         SG_ERR_ARGUMENT);
        assert_non_null(strstr(err.message, "expected one like 2026-01-31"));
    }
    sg_chat_free(chat);
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
    const sg_chat_message message = {"user", "hi", NULL};
    sg_chat *chat;
    sg_error err;
    char *text;
    size_t bytes;
    if (sg_chat_open(folder, &chat, &err) != SG_OK) fail_msg("%s", err.message);
    assert_int_equal(sg_chat_render(chat, &message, 1, NULL, &text, &bytes, &err), SG_OK);
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
    const sg_chat_message bad = {"user", "\xff", NULL};
    char *text;
    size_t bytes;
    assert_int_equal(sg_chat_new("a", 1, "T", NULL, NULL, &chat, &err), SG_OK);
    assert_int_equal(sg_chat_render(chat, &bad, 1, NULL, &text, &bytes, &err), SG_ERR_ARGUMENT);
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
        "{% elif loop.last %}{{ m.content.strip() }}{% endif %}{% endfor %}{# c #} a"
        "{% macro f(x, y=1) %}{{ x ~ y }}{% endmacro %}{% set t %}{{ f(2) }}{% endset %}"
        "{{ t | replace('2', 'z') }}{{ [3, 1] | sort | tojson }}{{ '%d' % 5 }}"
        "{{ '{}'.format('a b'.split()) }}{{ {'k': 1}.items() | list }}{{ 'É' | lower }}";
    const sg_chat_message messages[] = {
        {"user", "a", NULL}, {"user", " b ", NULL}, {"assistant", "c", NULL}};
    sg_chat *chat;
    char *text = NULL;
    size_t bytes;
    SG_TRY(sg_chat_new(source, sizeof source - 1, "T", "<s>", NULL, &chat, err));
    sg_status status = sg_chat_render(chat, messages, 3, NULL, &text, &bytes, err);
    if (status == SG_OK) assert_string_equal(text, " B 1\nc az1[1, 3]5['a', 'b'][('k', 1)]é");
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
        cmocka_unit_test(test_golden),      cmocka_unit_test(test_refused),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_folders),
        cmocka_unit_test(test_deep_values), cmocka_unit_test(test_hungry),
        cmocka_unit_test(test_stopped),     cmocka_unit_test(test_options),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
