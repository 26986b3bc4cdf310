// Chat templates that are mostly well formed: each byte of the input picks a rule of a small
// grammar, so that what is run goes deeper than bytes at random do. With few steps to spend it
// always ends, and the same way twice.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "sgatlin.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { program_max = 1 << 14, program_depth = 8 };

typedef struct program {
    const uint8_t *data; // (size)
    size_t size, at;
    char text[program_max]; // (used)
    size_t used;
} program;

static unsigned pick(program *p, unsigned most)
{
    return p->at < p->size ? p->data[p->at++] % most : 0;
}

static void put(program *p, const char *text)
{
    size_t bytes = strlen(text);
    if (p->used + bytes >= program_max) return;
    memcpy(p->text + p->used, text, bytes);
    p->used += bytes;
}

#define PICK(p, list) (list)[pick(p, sizeof(list) / sizeof *(list))]

static const char *const names[] = {"a",    "b", "c", "ns",     "messages", "tools",
                                    "loop", "f", "m", "caller", "varargs"};
static const char *const leaves[] = {"1",
                                     "0",
                                     "-7",
                                     "2.5",
                                     "1e300",
                                     "9223372036854775807",
                                     "'x'",
                                     "''",
                                     "'é\\n<'",
                                     "\"a b,c\"",
                                     "true",
                                     "none",
                                     "[]",
                                     "{}",
                                     "()",
                                     "nobody",
                                     "'%s %d'",
                                     "'{} {0[a]:>5}'",
                                     "range(5)",
                                     "messages[0].role",
                                     "messages[-1]['tool_calls'][0].function.arguments",
                                     "namespace(x=1)",
                                     "loop.index",
                                     "bos_token"};
static const char *const operators[] = {" + ",
                                        " - ",
                                        " * ",
                                        " / ",
                                        " // ",
                                        " % ",
                                        " ** ",
                                        " ~ ",
                                        " == ",
                                        " != ",
                                        " < ",
                                        " >= ",
                                        " in ",
                                        " not in ",
                                        " and ",
                                        " or ",
                                        " if ",
                                        " is eq ",
                                        " is divisibleby "};
static const char *const filters[] = {"abs",
                                      "batch(2)",
                                      "batch(3, 'f')",
                                      "capitalize",
                                      "center(9)",
                                      "default('d')",
                                      "default('d', true)",
                                      "dictsort",
                                      "escape",
                                      "first",
                                      "float",
                                      "groupby('role')",
                                      "indent(2)",
                                      "int",
                                      "items",
                                      "join('-')",
                                      "last",
                                      "length",
                                      "list",
                                      "lower",
                                      "map('upper')",
                                      "map(attribute='role')",
                                      "max",
                                      "min",
                                      "reject('string')",
                                      "rejectattr('role')",
                                      "replace('a', 'bb')",
                                      "reverse",
                                      "round(1)",
                                      "safe",
                                      "select",
                                      "selectattr('role', 'eq', 'user')",
                                      "slice(3)",
                                      "sort",
                                      "sort(attribute='role')",
                                      "string",
                                      "sum",
                                      "title",
                                      "tojson",
                                      "tojson(indent=2)",
                                      "trim",
                                      "truncate(3)",
                                      "unique",
                                      "upper",
                                      "urlencode",
                                      "wordcount",
                                      "xmlattr",
                                      "format(1)",
                                      "attr('x')"};
static const char *const methods[] = {".split()",
                                      ".split('a', 1)",
                                      ".rsplit(',')",
                                      ".strip('a')",
                                      ".lstrip()",
                                      ".replace('a', '')",
                                      ".upper()",
                                      ".title()",
                                      ".startswith('x')",
                                      ".find('b')",
                                      ".count('')",
                                      ".join(a)",
                                      ".format(a, b)",
                                      ".items()",
                                      ".keys()",
                                      ".get('a', 1)",
                                      ".values()",
                                      ".append(1)",
                                      ".splitlines()",
                                      ".partition('a')",
                                      ".zfill(9)",
                                      ".role",
                                      ".x",
                                      "[0]",
                                      "[-1]",
                                      "['role']",
                                      "[1:]",
                                      "[::-1]",
                                      "[:-1:2]",
                                      "(1, 2)",
                                      "()",
                                      ".index('a')",
                                      ".center(7, '*')",
                                      ".cycle(1, 2)",
                                      ".changed(a)",
                                      ".previtem",
                                      ".rfind('')"};
static const char *const tests[] = {"defined",       "none",        "string", "mapping",
                                    "sequence",      "iterable",    "number", "odd",
                                    "callable",      "in [1, 'x']", "lower",  "sameas none",
                                    "not undefined", "true",        "integer"};

static void expression(program *p, int depth)
{
    if (depth <= 0 || p->at >= p->size) {
        put(p, pick(p, 3) == 0 ? PICK(p, names) : PICK(p, leaves));
        return;
    }
    unsigned kind = pick(p, 9);
    if (kind == 7) put(p, pick(p, 2) ? "not " : "-");
    put(p, kind == 5 ? "[" : kind == 6 ? "{'a': " : "(");
    expression(p, depth - 1);
    if (kind <= 1) put(p, PICK(p, operators));
    if (kind == 5 || kind == 8) put(p, ", ");
    if (kind == 6) put(p, ", 'b': ");
    if (kind <= 1 || kind >= 5) expression(p, depth - 2);
    put(p, kind == 5 ? "]" : kind == 6 ? "}" : ")");
    if (kind == 2) {
        put(p, " | ");
        put(p, PICK(p, filters));
    } else if (kind == 3) {
        put(p, PICK(p, methods));
    } else if (kind == 4) {
        put(p, " is ");
        put(p, PICK(p, tests));
    }
}

static void statements(program *p, int depth);

static void tag(program *p, const char *before, const char *behind)
{
    put(p, pick(p, 3) == 0 ? "{%- " : "{% ");
    put(p, before);
    expression(p, 3);
    put(p, behind);
    put(p, pick(p, 3) == 0 ? " -%}" : " %}");
}

static void body(program *p, int depth, const char *end)
{
    statements(p, depth - 1);
    put(p, end);
}

static void statement(program *p, int depth)
{
    switch (pick(p, 12)) {
    case 0:
        tag(p, "if ", "");
        statements(p, depth - 1);
        if (pick(p, 2)) put(p, "{% else %} x ");
        put(p, "{% endif %}");
        return;
    case 1:
        tag(p, "for a in ", pick(p, 3) == 0 ? " if a" : "");
        body(p, depth, "{% endfor %}");
        return;
    case 2:
        tag(p, "for a, b in ", "");
        if (pick(p, 4) == 0) put(p, "{% if loop.last %}{% break %}{% endif %}");
        body(p, depth, "{% else %}none{% endfor %}");
        return;
    case 3:
        tag(p, "for m in ", " recursive");
        put(p, "{{ loop(m) if m is iterable and m is not string }}");
        body(p, depth, "{% endfor %}");
        return;
    case 4:
        tag(p, "set b = ", "");
        return;
    case 5:
        put(p, "{% set c | upper %}");
        body(p, depth, "{% endset %}");
        return;
    case 6:
        put(p, "{% set ns = namespace(x=[]) %}");
        tag(p, "set ns.x = [ns.x, ", "]");
        return;
    case 7:
        put(p, "{% macro f(a, b=2) %}");
        body(p, depth, "{{ caller(a) if caller }}{% endmacro %}");
        return;
    case 8:
        put(p, "{% call(c) f(1) %}");
        body(p, depth, "{% endcall %}");
        return;
    case 9:
        put(p, "{% filter trim | replace('a', 'b') %}");
        body(p, depth, "{% endfilter %}");
        return;
    case 10:
        tag(p, "with a = ", "");
        body(p, depth, "{% endwith %}");
        return;
    default:
        put(p, "{{ ");
        expression(p, 4);
        put(p, pick(p, 3) == 0 ? " -}}\n" : " }}\n ");
    }
}

static void statements(program *p, int depth)
{
    for (unsigned i = 1 + pick(p, 3); i > 0 && depth > 0 && p->at < p->size; i--)
        statement(p, depth);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const sg_chat_message messages[] = {
        {"system", " Be kind. ", NULL},
        {"user", "Why?\n", NULL},
        {NULL, NULL,
         "{\"role\":\"assistant\",\"content\":null,\"tool_calls\":[{\"function\":{\"name\":\"f\","
         "\"arguments\":{\"a\":[1,2.5,true],\"b\":null}}}]}"}};
    static program p;
    p = (program){.data = data, .size = size};
    while (p.at < p.size && p.used < program_max / 2)
        statements(&p, program_depth);
    sg_chat *chat;
    sg_error err;
    if (sg_chat_new(p.text, p.used, "input", "<s>", "</s>", &chat, &err) != SG_OK) return 0;
    sg_chat_options options = sg_chat_options_default();
    options.work = 1 << 20;
    options.tools = "[{\"name\":\"f\"}]";
    char *text, *again;
    size_t bytes, again_bytes;
    sg_status status = sg_chat_render(chat, messages, 3, &options, &text, &bytes, &err);
    if (sg_chat_render(chat, messages, 3, &options, &again, &again_bytes, &err) != status) abort();
    if (status == SG_OK && (bytes != again_bytes || memcmp(text, again, bytes) != 0)) abort();
    if (status != SG_OK && status != SG_ERR_ARGUMENT && status != SG_ERR_FORMAT &&
        status != SG_ERR_UNSUPPORTED)
        abort();
    sg_buffer_free(text);
    sg_buffer_free(again);
    sg_chat_free(chat);
    return 0;
}
