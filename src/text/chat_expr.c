// Reading the expressions of a chat template: tokens, then recursive descent in Jinja's order of
// precedence (jinja2/parser.py, 3.1).
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "text/chat_template.h"
#include "text/unicode.h"

// The line that reading has come to. It is asked for all the time, so the last answer is built
// upon.
size_t sg_chat_line(sg_chat_reader *r)
{
    for (; r->line_at < r->at; r->line_at++)
        r->line += r->text[r->line_at] == '\n';
    for (; r->line_at > r->at; r->line_at--)
        r->line -= r->text[r->line_at - 1] == '\n';
    return r->line + 1;
}

sg_status sg_chat_wrong(sg_chat_reader *r, const char *what)
{
    size_t show = r->bytes - r->at;
    return sg_fail(r->err, SG_ERR_FORMAT, "%s: line %zu: found \"%.*s\", expected %s", r->name,
                   sg_chat_line(r), show > 24 ? 24 : (int)show, r->text + r->at, what);
}

sg_status sg_chat_no_memory(const sg_chat_reader *r)
{
    return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory", r->name);
}

void *sg_chat_new_node(sg_chat_reader *r, size_t bytes)
{
    void *made = sg_arena_alloc(r->arena, bytes);
    if (made != NULL) memset(made, 0, bytes);
    return made;
}

// ---- tokens -----------------------------------------------------------------------------------

static bool expr_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool expr_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

void sg_chat_skip(sg_chat_reader *r)
{
    while (r->at < r->bytes && strchr(" \t\n\v\f", r->text[r->at]) != NULL)
        r->at++;
}

bool sg_chat_ahead(const sg_chat_reader *r, const char *text)
{
    size_t bytes = strlen(text);
    return r->bytes - r->at >= bytes && memcmp(r->text + r->at, text, bytes) == 0;
}

bool sg_chat_take(sg_chat_reader *r, const char *text)
{
    sg_chat_skip(r);
    size_t bytes = strlen(text);
    if (!sg_chat_ahead(r, text)) return false;
    char behind = r->text[r->at + bytes];
    if (expr_is_letter(text[0]) && (expr_is_letter(behind) || expr_is_digit(behind))) return false;
    r->at += bytes;
    return true;
}

bool sg_chat_sees(sg_chat_reader *r, const char *text)
{
    size_t before = r->at;
    bool found = sg_chat_take(r, text);
    r->at = before;
    return found;
}

sg_status sg_chat_name(sg_chat_reader *r, const char **name)
{
    sg_chat_skip(r);
    size_t end = r->at;
    *name = NULL;
    if (!expr_is_letter(r->text[end])) return SG_OK;
    while (expr_is_letter(r->text[end]) || expr_is_digit(r->text[end]))
        end++;
    *name = sg_arena_strndup(r->arena, r->text + r->at, end - r->at);
    if (*name == NULL) return sg_chat_no_memory(r);
    r->at = end;
    return SG_OK;
}

static int expr_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// The digits of an escape: \x41, \u0041, \U00000041, \101. r->at stands on the letter, or digit.
static sg_status expr_coded(sg_chat_reader *r, size_t digits, sg_bytes *out)
{
    uint32_t code = 0;
    size_t at = r->at + (digits > 0);
    for (size_t i = 0; i < digits; i++) {
        int hex = at < r->bytes ? expr_hex(r->text[at]) : -1;
        if (hex < 0) return sg_chat_wrong(r, "hexadecimal digits");
        code = code << 4 | (uint32_t)hex;
        at++;
    }
    for (int i = 0; digits == 0 && i < 3 && r->text[at] >= '0' && r->text[at] <= '7'; i++)
        code = code << 3 | (uint32_t)(r->text[at++] - '0');
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
        return sg_chat_wrong(r, "a character");
    char text[4];
    size_t bytes = (size_t)sg_utf8_encode(code, text);
    r->at = at;
    return sg_bytes_add(out, text, bytes) ? SG_OK : sg_chat_no_memory(r);
}

// One escape of a Python string; r->at stands on the letter behind the backslash.
static sg_status expr_escape(sg_chat_reader *r, sg_bytes *out)
{
    static const char plain[][2] = {{'n', '\n'}, {'t', '\t'},  {'r', '\r'}, {'\\', '\\'},
                                    {'"', '"'},  {'\'', '\''}, {'a', '\a'}, {'b', '\b'},
                                    {'f', '\f'}, {'v', '\v'}};
    char c = r->text[r->at], text[2] = {'\\', c};
    size_t bytes = 2, digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits > 0 || (c >= '0' && c <= '7')) return expr_coded(r, digits, out);
    if (c == 'N' || (unsigned char)c >= 0x80) return sg_chat_wrong(r, "another escape");
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (c != plain[i][0]) continue;
        text[0] = plain[i][1];
        bytes = 1;
    }
    if (c == '\n') bytes = 0;
    r->at++;
    return sg_bytes_add(out, text, bytes) ? SG_OK : sg_chat_no_memory(r);
}

// One literal in its quotes, added to *made.
static sg_status expr_quoted(sg_chat_reader *r, sg_bytes *made)
{
    char quote = r->text[r->at++];
    while (r->at < r->bytes && r->text[r->at] != quote) {
        if (r->text[r->at] == '\\' && r->at + 1 < r->bytes) {
            r->at++;
            SG_TRY(expr_escape(r, made));
        } else if (!sg_bytes_add(made, r->text + r->at++, 1)) {
            return sg_chat_no_memory(r);
        }
    }
    if (r->at == r->bytes) return sg_chat_wrong(r, "the end of a string");
    r->at++;
    return SG_OK;
}

// Literals side by side are one.
static sg_status expr_string(sg_chat_reader *r, sg_chat_expr *e)
{
    sg_bytes made = {0};
    sg_status status = sg_bytes_add(&made, "", 0) ? SG_OK : sg_chat_no_memory(r);
    while (status == SG_OK && r->at < r->bytes &&
           (r->text[r->at] == '\'' || r->text[r->at] == '"')) {
        status = expr_quoted(r, &made);
        sg_chat_skip(r);
    }
    if (status == SG_OK) {
        e->kind = SG_CHAT_STRING;
        e->bytes = made.count;
        e->text = sg_arena_strndup(r->arena, made.data, made.count);
        if (e->text == NULL) status = sg_chat_no_memory(r);
    }
    sg_free(made.data);
    return status;
}

// Digits of a base, with single underscores between them; *value is their number, and kept (with
// the digits in text, room bytes) for strtod.
static sg_status expr_digits(sg_chat_reader *r, int base, char *text, size_t room, int64_t *value,
                             bool *over)
{
    size_t used = strlen(text), begin = r->at;
    for (;; r->at++) {
        char c = r->text[r->at];
        if (c == '_' && r->at > begin && expr_hex(r->text[r->at + 1]) >= 0) continue;
        int digit = expr_hex(c);
        if (digit < 0 || digit >= base) break;
        if (used + 2 > room) return sg_chat_wrong(r, "a shorter number");
        text[used++] = c;
        text[used] = '\0';
        *over = *over || __builtin_mul_overflow(*value, (int64_t)base, value) ||
                __builtin_add_overflow(*value, (int64_t)digit, value);
    }
    return r->at == begin ? sg_chat_wrong(r, "digits") : SG_OK;
}

static sg_status expr_number(sg_chat_reader *r, sg_chat_expr *e)
{
    char text[400] = "", next = r->text[r->at + 1];
    bool over = false, real = false, ignored = false;
    int64_t unused = 0;
    int base = 10;
    if (r->text[r->at] == '0')
        base = next == 'x' || next == 'X'   ? 16
               : next == 'o' || next == 'O' ? 8
               : next == 'b' || next == 'B' ? 2
                                            : 10;
    if (base != 10) r->at += 2;
    SG_TRY(expr_digits(r, base, text, sizeof text - 40, &e->integer, &over));
    if (base == 10 && r->text[r->at] == '.' && expr_is_digit(r->text[r->at + 1])) {
        real = true;
        r->at++;
        strcat(text, ".");
        SG_TRY(expr_digits(r, 10, text, sizeof text - 20, &unused, &ignored));
    }
    const char *power = r->text + r->at + 1;
    bool exponent =
        (r->text[r->at] == 'e' || r->text[r->at] == 'E') && base == 10 &&
        (expr_is_digit(*power) || ((*power == '-' || *power == '+') && expr_is_digit(power[1])));
    if (exponent) {
        real = true;
        strcat(text, *power == '-' ? "e-" : "e");
        r->at += expr_is_digit(*power) ? 1 : 2;
        SG_TRY(expr_digits(r, 10, text, sizeof text - 4, &unused, &ignored));
    }
    e->kind = real ? SG_CHAT_REAL : SG_CHAT_INTEGER;
    if (real) e->real = strtod(text, NULL);
    if (over && !real) return sg_chat_wrong(r, "a number of 64 bits before it");
    return SG_OK;
}

// ---- operands ---------------------------------------------------------------------------------

static sg_status expr_postfix(sg_chat_reader *r, sg_chat_expr **e);

sg_status sg_chat_make(sg_chat_reader *r, sg_chat_kind kind, sg_chat_expr *a, sg_chat_expr *b,
                       sg_chat_expr **out)
{
    sg_chat_expr *e = sg_chat_new_node(r, sizeof *e);
    if (e == NULL) return sg_chat_no_memory(r);
    e->kind = kind;
    e->line = sg_chat_line(r);
    e->a = a;
    e->b = b;
    *out = e;
    return SG_OK;
}

// One argument of a call: value, name=value, *list or **map.
static sg_status expr_argument(sg_chat_reader *r, sg_chat_expr **out)
{
    int stars = sg_chat_take(r, "**") ? 2 : sg_chat_take(r, "*") ? 1 : 0;
    const char *keyword = NULL;
    sg_chat_skip(r);
    size_t before = r->at;
    if (stars == 0) SG_TRY(sg_chat_name(r, &keyword));
    if (keyword != NULL && (sg_chat_sees(r, "==") || !sg_chat_take(r, "="))) {
        keyword = NULL;
        r->at = before;
    }
    SG_TRY(sg_chat_expression(r, out));
    (*out)->keyword = keyword;
    (*out)->stars = stars;
    return SG_OK;
}

// Up to `close`, which is taken: the arguments of a call, or the items of a list.
static sg_status expr_list(sg_chat_reader *r, const char *close, bool call, sg_chat_expr **args)
{
    sg_chat_expr **last = args;
    *args = NULL;
    while (!sg_chat_take(r, close)) {
        if (*args != NULL && !sg_chat_take(r, ",")) return sg_chat_wrong(r, "a comma");
        if (*args != NULL && sg_chat_take(r, close)) return SG_OK;
        SG_TRY(call ? expr_argument(r, last) : sg_chat_expression(r, last));
        last = &(*last)->next;
    }
    return SG_OK;
}

static sg_status expr_map(sg_chat_reader *r, sg_chat_expr *e)
{
    sg_chat_expr **last = &e->args;
    e->kind = SG_CHAT_MAP;
    while (!sg_chat_take(r, "}")) {
        if (e->args != NULL && !sg_chat_take(r, ",")) return sg_chat_wrong(r, "a comma");
        if (e->args != NULL && sg_chat_take(r, "}")) return SG_OK;
        SG_TRY(sg_chat_expression(r, last));
        last = &(*last)->next;
        if (!sg_chat_take(r, ":")) return sg_chat_wrong(r, "a colon");
        SG_TRY(sg_chat_expression(r, last));
        last = &(*last)->next;
    }
    return SG_OK;
}

static sg_status expr_parenthesis(sg_chat_reader *r, sg_chat_expr *e, sg_chat_expr **out)
{
    if (sg_chat_take(r, ")")) {
        e->kind = SG_CHAT_TUPLE;
        return SG_OK;
    }
    SG_TRY(sg_chat_tuple(r, true, out));
    return sg_chat_take(r, ")") ? SG_OK : sg_chat_wrong(r, "\")\"");
}

static void expr_note_use(sg_chat_reader *r, const char *name)
{
    if (strcmp(name, "caller") == 0) r->uses |= SG_CHAT_USES_CALLER;
    if (strcmp(name, "varargs") == 0) r->uses |= SG_CHAT_USES_VARARGS;
    if (strcmp(name, "kwargs") == 0) r->uses |= SG_CHAT_USES_KWARGS;
}

static sg_status expr_primary(sg_chat_reader *r, sg_chat_expr **out)
{
    static const struct {
        const char *word;
        sg_chat_kind kind;
    } words[] = {{"true", SG_CHAT_TRUE},   {"True", SG_CHAT_TRUE}, {"false", SG_CHAT_FALSE},
                 {"False", SG_CHAT_FALSE}, {"none", SG_CHAT_NONE}, {"None", SG_CHAT_NONE}};
    SG_TRY(sg_chat_make(r, SG_CHAT_NAME, NULL, NULL, out));
    sg_chat_expr *e = *out;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!sg_chat_take(r, words[i].word)) continue;
        e->kind = words[i].kind;
        return SG_OK;
    }
    sg_chat_skip(r);
    char c = r->text[r->at];
    if (c == '\'' || c == '"') return expr_string(r, e);
    if (expr_is_digit(c)) return expr_number(r, e);
    if (sg_chat_take(r, "(")) return expr_parenthesis(r, e, out);
    if (sg_chat_take(r, "[")) {
        e->kind = SG_CHAT_LIST;
        return expr_list(r, "]", false, &e->args);
    }
    if (sg_chat_take(r, "{")) return expr_map(r, e);
    SG_TRY(sg_chat_name(r, &e->text));
    if (e->text == NULL) return sg_chat_wrong(r, "an expression");
    e->bytes = strlen(e->text);
    expr_note_use(r, e->text);
    return SG_OK;
}

static sg_status expr_bound(sg_chat_reader *r, sg_chat_expr **out)
{
    if (sg_chat_sees(r, ":") || sg_chat_sees(r, "]")) return SG_OK;
    return sg_chat_tuple(r, true, out);
}

// a[b], a[b:c:d], whose opening sign is taken.
static sg_status expr_subscript(sg_chat_reader *r, sg_chat_expr **e)
{
    SG_TRY(sg_chat_make(r, SG_CHAT_ITEM, *e, NULL, e));
    sg_chat_expr *item = *e;
    SG_TRY(expr_bound(r, &item->b));
    if (sg_chat_take(r, ":")) {
        item->kind = SG_CHAT_SLICE;
        SG_TRY(expr_bound(r, &item->c));
        if (sg_chat_take(r, ":")) SG_TRY(expr_bound(r, &item->d));
    } else if (item->b == NULL) {
        return sg_chat_wrong(r, "an index");
    }
    return sg_chat_take(r, "]") ? SG_OK : sg_chat_wrong(r, "\"]\"");
}

static sg_status expr_attribute(sg_chat_reader *r, sg_chat_expr **e)
{
    SG_TRY(sg_chat_make(r, SG_CHAT_ATTRIBUTE, *e, NULL, e));
    sg_chat_expr *made = *e;
    SG_TRY(sg_chat_name(r, &made->text));
    if (made->text != NULL) {
        made->bytes = strlen(made->text);
        return SG_OK;
    }
    if (!expr_is_digit(r->text[r->at])) return sg_chat_wrong(r, "a name");
    made->kind = SG_CHAT_ITEM;
    SG_TRY(sg_chat_make(r, SG_CHAT_INTEGER, NULL, NULL, &made->b));
    return expr_number(r, made->b);
}

static sg_status expr_postfix(sg_chat_reader *r, sg_chat_expr **e)
{
    for (;;) {
        if (sg_chat_take(r, ".")) {
            SG_TRY(expr_attribute(r, e));
        } else if (sg_chat_take(r, "[")) {
            SG_TRY(expr_subscript(r, e));
        } else if (sg_chat_take(r, "(")) {
            SG_TRY(sg_chat_make(r, SG_CHAT_CALL, *e, NULL, e));
            SG_TRY(expr_list(r, ")", true, &(*e)->args));
        } else {
            return SG_OK;
        }
    }
}

// A test may have one argument without parentheses.
static sg_status expr_test(sg_chat_reader *r, sg_chat_expr **e)
{
    bool negated = sg_chat_take(r, "not");
    SG_TRY(sg_chat_make(r, SG_CHAT_TEST, *e, NULL, e));
    sg_chat_expr *test = *e;
    SG_TRY(sg_chat_name(r, &test->text));
    if (test->text == NULL) return sg_chat_wrong(r, "the name of a test");
    char c = (sg_chat_skip(r), r->text[r->at]);
    if (sg_chat_take(r, "(")) {
        SG_TRY(expr_list(r, ")", true, &test->args));
    } else if ((c != '\0' && strchr("'\"[{", c) != NULL) || expr_is_digit(c) ||
               (expr_is_letter(c) && !sg_chat_sees(r, "else") && !sg_chat_sees(r, "or") &&
                !sg_chat_sees(r, "and") && !sg_chat_sees(r, "is"))) {
        SG_TRY(expr_primary(r, &test->args));
        SG_TRY(expr_postfix(r, &test->args));
    }
    if (sg_chat_sees(r, "is")) return sg_chat_wrong(r, "one test after the other in parentheses");
    return negated ? sg_chat_make(r, SG_CHAT_NOT, test, NULL, e) : SG_OK;
}

sg_status sg_chat_filters(sg_chat_reader *r, bool at_once, sg_chat_expr **e)
{
    for (;; at_once = false) {
        if (at_once || sg_chat_take(r, "|")) {
            SG_TRY(sg_chat_make(r, SG_CHAT_FILTER, *e, NULL, e));
            SG_TRY(sg_chat_name(r, &(*e)->text));
            if ((*e)->text == NULL) return sg_chat_wrong(r, "the name of a filter");
            if (sg_chat_take(r, "(")) SG_TRY(expr_list(r, ")", true, &(*e)->args));
        } else if (sg_chat_take(r, "is")) {
            SG_TRY(expr_test(r, e));
        } else if (sg_chat_sees(r, "(")) {
            SG_TRY(expr_postfix(r, e));
        } else {
            return SG_OK;
        }
    }
}

// The minus, plus or percent sign of the end of a tag is none.
static bool expr_ends(sg_chat_reader *r)
{
    sg_chat_skip(r);
    return sg_chat_ahead(r, "-}}") || sg_chat_ahead(r, "-%}") || sg_chat_ahead(r, "%}") ||
           sg_chat_ahead(r, "+%}");
}

static sg_status expr_unary(sg_chat_reader *r, bool filters, sg_chat_expr **out)
{
    if (++r->depth > SG_CHAT_DEPTH_MAX) return sg_chat_wrong(r, "less nesting");
    bool ends = expr_ends(r), minus = !ends && sg_chat_take(r, "-");
    if (minus || (!ends && sg_chat_take(r, "+"))) {
        SG_TRY(expr_unary(r, false, out));
        SG_TRY(sg_chat_make(r, minus ? SG_CHAT_NEGATIVE : SG_CHAT_POSITIVE, *out, NULL, out));
    } else {
        SG_TRY(expr_primary(r, out));
    }
    SG_TRY(expr_postfix(r, out));
    if (filters) SG_TRY(sg_chat_filters(r, false, out));
    r->depth--;
    return SG_OK;
}

// ---- operators --------------------------------------------------------------------------------

typedef struct expr_sign {
    const char *text;
    sg_chat_op op;
} expr_sign;

// Left-associative operators, one level of precedence each. Between the first and the second is ~.
static const expr_sign expr_levels[3][5] = {
    {{"+", SG_CHAT_ADD}, {"-", SG_CHAT_SUBTRACT}, {NULL, SG_CHAT_NO_OP}},
    {{"*", SG_CHAT_MULTIPLY},
     {"//", SG_CHAT_FLOOR},
     {"/", SG_CHAT_DIVIDE},
     {"%", SG_CHAT_MODULO},
     {NULL, SG_CHAT_NO_OP}},
    {{"**", SG_CHAT_POWER}, {NULL, SG_CHAT_NO_OP}}};

static sg_status expr_concat(sg_chat_reader *r, sg_chat_expr **out);

static sg_status expr_binary(sg_chat_reader *r, int level, sg_chat_expr **out);

static sg_status expr_below(sg_chat_reader *r, int level, sg_chat_expr **out)
{
    if (level == 0) return expr_concat(r, out);
    return level == 1 ? expr_binary(r, 2, out) : expr_unary(r, true, out);
}

static sg_status expr_binary(sg_chat_reader *r, int level, sg_chat_expr **out)
{
    SG_TRY(expr_below(r, level, out));
    for (;;) {
        const expr_sign *sign = expr_levels[level];
        bool ends = expr_ends(r) || (level == 1 && sg_chat_ahead(r, "**"));
        while (!ends && sign->text != NULL && !sg_chat_take(r, sign->text))
            sign++;
        if (ends || sign->text == NULL) return SG_OK;
        sg_chat_expr *right;
        SG_TRY(expr_below(r, level, &right));
        SG_TRY(sg_chat_make(r, SG_CHAT_BINARY, *out, right, out));
        (*out)->op = sign->op;
    }
}

static sg_status expr_concat(sg_chat_reader *r, sg_chat_expr **out)
{
    SG_TRY(expr_binary(r, 1, out));
    if (!sg_chat_sees(r, "~")) return SG_OK;
    sg_chat_expr *joined, *first = *out;
    SG_TRY(sg_chat_make(r, SG_CHAT_CONCAT, NULL, NULL, &joined));
    joined->args = first;
    for (sg_chat_expr **last = &first->next; sg_chat_take(r, "~"); last = &(*last)->next)
        SG_TRY(expr_binary(r, 1, last));
    *out = joined;
    return SG_OK;
}

static sg_chat_op expr_comparison(sg_chat_reader *r)
{
    static const expr_sign signs[] = {{"==", SG_CHAT_EQUAL},      {"!=", SG_CHAT_UNEQUAL},
                                      {"<=", SG_CHAT_LESS_EQUAL}, {">=", SG_CHAT_GREATER_EQUAL},
                                      {"<", SG_CHAT_LESS},        {">", SG_CHAT_GREATER},
                                      {"in", SG_CHAT_IN}};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (sg_chat_take(r, signs[i].text)) return signs[i].op;
    size_t before = r->at;
    if (sg_chat_take(r, "not") && sg_chat_take(r, "in")) return SG_CHAT_NOT_IN;
    r->at = before;
    return SG_CHAT_NO_OP;
}

static sg_status expr_compare(sg_chat_reader *r, sg_chat_expr **out)
{
    SG_TRY(expr_binary(r, 0, out));
    sg_chat_op op = expr_comparison(r);
    if (op == SG_CHAT_NO_OP) return SG_OK;
    SG_TRY(sg_chat_make(r, SG_CHAT_COMPARE, *out, NULL, out));
    for (sg_chat_expr **last = &(*out)->args; op != SG_CHAT_NO_OP; last = &(*last)->next) {
        SG_TRY(expr_binary(r, 0, last));
        (*last)->comparison = op;
        op = expr_comparison(r);
    }
    return SG_OK;
}

static sg_status expr_not(sg_chat_reader *r, sg_chat_expr **out)
{
    bool negated = false, any = false;
    while (sg_chat_take(r, "not")) {
        negated = !negated;
        any = true;
    }
    SG_TRY(expr_compare(r, out));
    if (any) SG_TRY(sg_chat_make(r, SG_CHAT_NOT, *out, NULL, out));
    // Twice not is the truth of a value, not the value.
    return any && !negated ? sg_chat_make(r, SG_CHAT_NOT, *out, NULL, out) : SG_OK;
}

static sg_status expr_logic(sg_chat_reader *r, bool is_or, sg_chat_expr **out)
{
    SG_TRY(is_or ? expr_logic(r, false, out) : expr_not(r, out));
    while (sg_chat_take(r, is_or ? "or" : "and")) {
        sg_chat_expr *right;
        SG_TRY(is_or ? expr_logic(r, false, &right) : expr_not(r, &right));
        SG_TRY(sg_chat_make(r, is_or ? SG_CHAT_OR : SG_CHAT_AND, *out, right, out));
    }
    return SG_OK;
}

sg_status sg_chat_condition(sg_chat_reader *r, sg_chat_expr **out)
{
    if (++r->depth > SG_CHAT_DEPTH_MAX) return sg_chat_wrong(r, "less nesting");
    SG_TRY(expr_logic(r, true, out));
    r->depth--;
    return SG_OK;
}

sg_status sg_chat_expression(sg_chat_reader *r, sg_chat_expr **out)
{
    if (++r->depth > SG_CHAT_DEPTH_MAX) return sg_chat_wrong(r, "less nesting");
    SG_TRY(expr_logic(r, true, out));
    while (sg_chat_take(r, "if")) {
        SG_TRY(sg_chat_make(r, SG_CHAT_CHOICE, *out, NULL, out));
        SG_TRY(expr_logic(r, true, &(*out)->b));
        if (sg_chat_take(r, "else")) SG_TRY(sg_chat_expression(r, &(*out)->c));
    }
    r->depth--;
    return SG_OK;
}

// What cannot begin an expression ends a tuple behind a comma.
static bool expr_tuple_ends(sg_chat_reader *r)
{
    return expr_ends(r) || sg_chat_ahead(r, "}}") || sg_chat_ahead(r, ")") ||
           sg_chat_ahead(r, "]") || sg_chat_sees(r, "recursive") || sg_chat_sees(r, "in") ||
           sg_chat_ahead(r, "=");
}

sg_status sg_chat_tuple(sg_chat_reader *r, bool choice, sg_chat_expr **out)
{
    SG_TRY(choice ? sg_chat_expression(r, out) : sg_chat_condition(r, out));
    if (!sg_chat_sees(r, ",")) return SG_OK;
    sg_chat_expr *tuple, **last = &(*out)->next;
    SG_TRY(sg_chat_make(r, SG_CHAT_TUPLE, NULL, NULL, &tuple));
    tuple->args = *out;
    *out = tuple;
    while (sg_chat_take(r, ",") && !expr_tuple_ends(r)) {
        SG_TRY(choice ? sg_chat_expression(r, last) : sg_chat_condition(r, last));
        last = &(*last)->next;
    }
    return SG_OK;
}

// ---- names to set -----------------------------------------------------------------------------

static sg_status expr_one_target(sg_chat_reader *r, bool attributes, sg_chat_expr **out)
{
    if (++r->depth > SG_CHAT_DEPTH_MAX) return sg_chat_wrong(r, "less nesting");
    if (sg_chat_take(r, "(")) {
        SG_TRY(sg_chat_target(r, attributes, out));
        if (!sg_chat_take(r, ")")) return sg_chat_wrong(r, "\")\"");
        r->depth--;
        return SG_OK;
    }
    SG_TRY(sg_chat_make(r, SG_CHAT_NAME, NULL, NULL, out));
    SG_TRY(sg_chat_name(r, &(*out)->text));
    if ((*out)->text == NULL) return sg_chat_wrong(r, "a name");
    if (attributes && sg_chat_take(r, ".")) {
        SG_TRY(sg_chat_make(r, SG_CHAT_ATTRIBUTE, *out, NULL, out));
        SG_TRY(sg_chat_name(r, &(*out)->text));
        if ((*out)->text == NULL) return sg_chat_wrong(r, "a name");
    }
    (*out)->bytes = strlen((*out)->text);
    r->depth--;
    return SG_OK;
}

sg_status sg_chat_target(sg_chat_reader *r, bool attributes, sg_chat_expr **out)
{
    SG_TRY(expr_one_target(r, attributes, out));
    if (!sg_chat_sees(r, ",")) return SG_OK;
    sg_chat_expr *tuple, **last = &(*out)->next;
    SG_TRY(sg_chat_make(r, SG_CHAT_TUPLE, NULL, NULL, &tuple));
    tuple->args = *out;
    *out = tuple;
    while (sg_chat_take(r, ",") && !expr_tuple_ends(r)) {
        SG_TRY(expr_one_target(r, attributes, last));
        last = &(*last)->next;
    }
    return SG_OK;
}

sg_status sg_chat_signature(sg_chat_reader *r, sg_chat_expr **out)
{
    sg_chat_expr **last = out;
    *out = NULL;
    while (!sg_chat_take(r, ")")) {
        if (*out != NULL && !sg_chat_take(r, ",")) return sg_chat_wrong(r, "a comma");
        if (*out != NULL && sg_chat_take(r, ")")) return SG_OK;
        SG_TRY(expr_one_target(r, false, last));
        if (sg_chat_take(r, "=")) SG_TRY(sg_chat_expression(r, &(*last)->a));
        last = &(*last)->next;
    }
    return SG_OK;
}
