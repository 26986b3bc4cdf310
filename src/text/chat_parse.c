// Reading a chat template: text and tags with Jinja's rules for white space, then expressions by
// recursive descent in Jinja's order of precedence.
#include <string.h>

#include "base/alloc.h"
#include "text/chat_template.h"
#include "text/chat_value.h"
#include "text/unicode.h"

typedef struct chat_reader {
    const char *text; // NUL behind it
    size_t bytes, at;
    const char *name;
    sg_arena *arena;
    sg_error *err;
    int depth;
    // White space: what the tag before asks of the text behind it.
    bool strip, trim, line_starts;
    char tag[16];         // of the block that ended a list of steps: "else", "endif", …
    size_t line, line_at; // the line, from 0, that text[line_at] is on
} chat_reader;

// The line that reading has come to. It is asked for all the time, so the last answer is built upon.
static size_t chat_line(chat_reader *r)
{
    for (; r->line_at < r->at; r->line_at++)
        r->line += r->text[r->line_at] == '\n';
    for (; r->line_at > r->at; r->line_at--)
        r->line -= r->text[r->line_at - 1] == '\n';
    return r->line + 1;
}

static sg_status chat_wrong(chat_reader *r, const char *what)
{
    size_t show = r->bytes - r->at;
    return sg_fail(r->err, SG_ERR_FORMAT, "%s: line %zu: found \"%.*s\", expected %s", r->name,
                   chat_line(r), show > 24 ? 24 : (int)show, r->text + r->at, what);
}

static sg_status chat_no_memory(const chat_reader *r)
{
    return sg_fail(r->err, SG_ERR_MEMORY, "%s: out of memory", r->name);
}

static void *chat_new(chat_reader *r, size_t bytes)
{
    void *made = sg_arena_alloc(r->arena, bytes);
    if (made != NULL) memset(made, 0, bytes);
    return made;
}

// ---- tokens -----------------------------------------------------------------------------------

static bool chat_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

static bool chat_is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool chat_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static void chat_skip(chat_reader *r)
{
    while (r->at < r->bytes && chat_is_blank(r->text[r->at]))
        r->at++;
}

static bool chat_ahead(const chat_reader *r, const char *text)
{
    size_t bytes = strlen(text);
    return r->bytes - r->at >= bytes && memcmp(r->text + r->at, text, bytes) == 0;
}

// Whether a word, or sign, comes next; takes it if it does.
static bool chat_take(chat_reader *r, const char *text)
{
    chat_skip(r);
    size_t bytes = strlen(text);
    if (!chat_ahead(r, text)) return false;
    char behind = r->text[r->at + bytes];
    if (chat_is_letter(text[0]) && (chat_is_letter(behind) || chat_is_digit(behind))) return false;
    r->at += bytes;
    return true;
}

static bool chat_sees(chat_reader *r, const char *text)
{
    chat_skip(r);
    size_t before = r->at;
    bool found = chat_take(r, text);
    r->at = before;
    return found;
}

// A name, copied; NULL in *name when there is none.
static sg_status chat_name(chat_reader *r, const char **name)
{
    chat_skip(r);
    size_t end = r->at;
    *name = NULL;
    if (!chat_is_letter(r->text[end])) return SG_OK;
    while (chat_is_letter(r->text[end]) || chat_is_digit(r->text[end]))
        end++;
    *name = sg_arena_strndup(r->arena, r->text + r->at, end - r->at);
    if (*name == NULL) return chat_no_memory(r);
    r->at = end;
    return SG_OK;
}

static int chat_hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

// One escape of a Python string; r->at stands on the letter behind the backslash.
static sg_status chat_escape(chat_reader *r, sg_bytes *out)
{
    static const char plain[][2] = {{'n', '\n'}, {'t', '\t'},  {'r', '\r'}, {'\\', '\\'},
                                    {'"', '"'},  {'\'', '\''}, {'a', '\a'}, {'b', '\b'},
                                    {'f', '\f'}, {'v', '\v'}};
    char c = r->text[r->at], text[4] = {'\\', c};
    size_t bytes = 2;
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        if (c != plain[i][0]) continue;
        text[0] = plain[i][1];
        bytes = 1;
    }
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (chat_is_digit(c) || c == 'N' || c == '\n' || (unsigned char)c >= 0x80)
        return chat_wrong(r, "another escape");
    if (digits > 0) {
        uint32_t code = 0;
        for (size_t i = 1; i <= digits; i++) {
            int hex = r->at + i < r->bytes ? chat_hex(r->text[r->at + i]) : -1;
            if (hex < 0) return chat_wrong(r, "hexadecimal digits");
            code = code << 4 | (uint32_t)hex;
        }
        if (code == 0 || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
            return chat_wrong(r, "a character");
        bytes = (size_t)sg_utf8_encode(code, text);
    }
    r->at += 1 + digits;
    return sg_bytes_add(out, text, bytes) ? SG_OK : chat_no_memory(r);
}

static sg_status chat_string(chat_reader *r, sg_chat_expr *e)
{
    char quote = r->text[r->at++];
    sg_bytes made = {0};
    sg_status status = sg_bytes_add(&made, "", 0) ? SG_OK : chat_no_memory(r);
    while (status == SG_OK && r->at < r->bytes && r->text[r->at] != quote) {
        if (r->text[r->at] == '\\' && r->at + 1 < r->bytes) {
            r->at++;
            status = chat_escape(r, &made);
        } else if (!sg_bytes_add(&made, r->text + r->at++, 1)) {
            status = chat_no_memory(r);
        }
    }
    if (status == SG_OK && r->at == r->bytes) status = chat_wrong(r, "the end of a string");
    if (status == SG_OK) {
        r->at++;
        e->kind = SG_CHAT_STRING;
        e->bytes = made.count;
        e->text = sg_arena_strndup(r->arena, made.data, made.count);
        if (e->text == NULL) status = chat_no_memory(r);
    }
    sg_free(made.data);
    return status;
}

// ---- expressions ------------------------------------------------------------------------------

static sg_status chat_expression(chat_reader *r, sg_chat_expr **out);
static sg_status chat_unary(chat_reader *r, bool filters, sg_chat_expr **out);

static sg_status chat_make(chat_reader *r, sg_chat_kind kind, sg_chat_expr *a, sg_chat_expr *b,
                           sg_chat_expr **out)
{
    sg_chat_expr *e = chat_new(r, sizeof *e);
    if (e == NULL) return chat_no_memory(r);
    e->kind = kind;
    e->line = chat_line(r);
    e->a = a;
    e->b = b;
    *out = e;
    return SG_OK;
}

// Arguments up to `close`, which is taken. Each may be NAME=VALUE.
static sg_status chat_arguments(chat_reader *r, const char *close, bool keywords,
                                sg_chat_expr **args)
{
    sg_chat_expr **last = args;
    *args = NULL;
    while (!chat_take(r, close)) {
        if (*args != NULL && !chat_take(r, ",")) return chat_wrong(r, "a comma");
        if (*args != NULL && chat_take(r, close)) return SG_OK;
        const char *keyword = NULL;
        size_t before = r->at;
        if (keywords) SG_TRY(chat_name(r, &keyword));
        if (keyword != NULL && (chat_sees(r, "==") || !chat_take(r, "="))) {
            keyword = NULL;
            r->at = before;
        }
        SG_TRY(chat_expression(r, last));
        (*last)->keyword = keyword;
        last = &(*last)->next;
    }
    return SG_OK;
}

static sg_status chat_primary(chat_reader *r, sg_chat_expr **out)
{
    static const struct {
        const char *word;
        sg_chat_kind kind;
    } words[] = {{"true", SG_CHAT_TRUE},   {"True", SG_CHAT_TRUE}, {"false", SG_CHAT_FALSE},
                 {"False", SG_CHAT_FALSE}, {"none", SG_CHAT_NONE}, {"None", SG_CHAT_NONE}};
    SG_TRY(chat_make(r, SG_CHAT_NAME, NULL, NULL, out));
    sg_chat_expr *e = *out;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (!chat_take(r, words[i].word)) continue;
        e->kind = words[i].kind;
        return SG_OK;
    }
    chat_skip(r);
    char c = r->text[r->at];
    if (c == '\'' || c == '"') {
        SG_TRY(chat_string(r, e));
        chat_skip(r);
        if (r->text[r->at] == '\'' || r->text[r->at] == '"')
            return chat_wrong(r, "an operator between strings");
        return SG_OK;
    }
    if (chat_is_digit(c)) {
        e->kind = SG_CHAT_INTEGER;
        while (chat_is_digit(r->text[r->at]))
            if (__builtin_mul_overflow(e->integer, 10, &e->integer) ||
                __builtin_add_overflow(e->integer, r->text[r->at++] - '0', &e->integer))
                return chat_wrong(r, "a smaller number");
        if (r->text[r->at] == '.' || chat_is_letter(r->text[r->at]))
            return chat_wrong(r, "an integer");
        return SG_OK;
    }
    if (chat_take(r, "(")) {
        SG_TRY(chat_expression(r, out));
        return chat_take(r, ")") ? SG_OK : chat_wrong(r, "a closing parenthesis");
    }
    if (chat_take(r, "[")) {
        e->kind = SG_CHAT_LIST;
        return chat_arguments(r, "]", false, &e->args);
    }
    SG_TRY(chat_name(r, &e->text));
    return e->text != NULL ? SG_OK : chat_wrong(r, "an expression");
}

// [b] or [b:c:d]; the bracket is taken.
static sg_status chat_subscript(chat_reader *r, sg_chat_expr **e)
{
    SG_TRY(chat_make(r, SG_CHAT_ITEM, *e, NULL, e));
    sg_chat_expr **parts[3] = {&(*e)->b, &(*e)->c, &(*e)->d};
    for (int i = 0; i < 3; i++) {
        if (!chat_sees(r, ":") && !chat_sees(r, "]")) SG_TRY(chat_expression(r, parts[i]));
        if (chat_take(r, "]"))
            return (*e)->kind == SG_CHAT_SLICE || (*e)->b != NULL ? SG_OK
                                                                  : chat_wrong(r, "an index");
        if (i == 2 || !chat_take(r, ":")) break;
        (*e)->kind = SG_CHAT_SLICE;
    }
    return chat_wrong(r, "a closing bracket");
}

static sg_status chat_postfix(chat_reader *r, sg_chat_expr **e)
{
    for (;;) {
        if (chat_take(r, ".")) {
            SG_TRY(chat_make(r, SG_CHAT_ATTRIBUTE, *e, NULL, e));
            SG_TRY(chat_name(r, &(*e)->text));
            if ((*e)->text == NULL) return chat_wrong(r, "a name");
        } else if (chat_take(r, "[")) {
            SG_TRY(chat_subscript(r, e));
        } else if (chat_take(r, "(")) {
            SG_TRY(chat_make(r, SG_CHAT_CALL, *e, NULL, e));
            SG_TRY(chat_arguments(r, ")", true, &(*e)->args));
        } else {
            return SG_OK;
        }
    }
}

// A test may have one argument without parentheses.
static sg_status chat_test(chat_reader *r, sg_chat_expr **e)
{
    bool negated = chat_take(r, "not");
    SG_TRY(chat_make(r, SG_CHAT_TEST, *e, NULL, e));
    sg_chat_expr *test = *e;
    SG_TRY(chat_name(r, &test->text));
    if (test->text == NULL) return chat_wrong(r, "the name of a test");
    char c = (chat_skip(r), r->text[r->at]);
    if (chat_take(r, "(")) {
        SG_TRY(chat_arguments(r, ")", true, &test->args));
    } else if (c == '\'' || c == '"' || c == '[' || chat_is_digit(c) ||
               (chat_is_letter(c) && !chat_sees(r, "else") && !chat_sees(r, "or") &&
                !chat_sees(r, "and") && !chat_sees(r, "is"))) {
        SG_TRY(chat_primary(r, &test->args));
        SG_TRY(chat_postfix(r, &test->args));
    }
    if (chat_sees(r, "is")) return chat_wrong(r, "one test after the other in parentheses");
    return negated ? chat_make(r, SG_CHAT_NOT, test, NULL, e) : SG_OK;
}

static sg_status chat_filters(chat_reader *r, sg_chat_expr **e)
{
    for (;;) {
        if (chat_take(r, "|")) {
            SG_TRY(chat_make(r, SG_CHAT_FILTER, *e, NULL, e));
            SG_TRY(chat_name(r, &(*e)->text));
            if ((*e)->text == NULL) return chat_wrong(r, "the name of a filter");
            if (chat_take(r, "(")) SG_TRY(chat_arguments(r, ")", true, &(*e)->args));
        } else if (chat_take(r, "is")) {
            SG_TRY(chat_test(r, e));
        } else if (chat_sees(r, "(")) {
            SG_TRY(chat_postfix(r, e));
        } else {
            return SG_OK;
        }
    }
}

static sg_status chat_unary(chat_reader *r, bool filters, sg_chat_expr **out)
{
    if (++r->depth > SG_CHAT_DEPTH_MAX) return chat_wrong(r, "less nesting");
    if (!chat_sees(r, "-}}") && !chat_sees(r, "-%}") && chat_take(r, "-")) {
        SG_TRY(chat_unary(r, false, out));
        SG_TRY(chat_make(r, SG_CHAT_NEGATIVE, *out, NULL, out));
    } else {
        SG_TRY(chat_primary(r, out));
    }
    SG_TRY(chat_postfix(r, out));
    if (filters) SG_TRY(chat_filters(r, out));
    r->depth--;
    return SG_OK;
}

// Left-associative operators, one level of precedence each; NULL ends a level.
static const char *const chat_levels[3][6] = {
    {"+", "-", NULL}, {"~", NULL}, {"*", "//", "/", "%", NULL}};

static sg_status chat_binary(chat_reader *r, int level, sg_chat_expr **out)
{
    if (level == 3) return chat_unary(r, true, out);
    SG_TRY(chat_binary(r, level + 1, out));
    for (;;) {
        const char *const *sign = chat_levels[level];
        chat_skip(r);
        // The minus or percent sign of the end of a tag is none.
        bool ends = chat_ahead(r, "-}}") || chat_ahead(r, "-%}") || chat_ahead(r, "%}") ||
                    chat_ahead(r, "+%}");
        while (!ends && *sign != NULL && !chat_take(r, *sign))
            sign++;
        if (ends || *sign == NULL) return SG_OK;
        sg_chat_expr *right;
        SG_TRY(chat_binary(r, level + 1, &right));
        SG_TRY(chat_make(r, SG_CHAT_BINARY, *out, right, out));
        (*out)->text = *sign;
    }
}

static const char *chat_comparison(chat_reader *r)
{
    static const char *const signs[] = {"==", "!=", "<=", ">=", "<", ">", "in"};
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (chat_take(r, signs[i])) return signs[i];
    size_t before = r->at;
    if (chat_take(r, "not") && chat_take(r, "in")) return "not in";
    r->at = before;
    return NULL;
}

static sg_status chat_compare(chat_reader *r, sg_chat_expr **out)
{
    SG_TRY(chat_binary(r, 0, out));
    const char *sign = chat_comparison(r);
    if (sign == NULL) return SG_OK;
    sg_chat_expr *right;
    SG_TRY(chat_binary(r, 0, &right));
    SG_TRY(chat_make(r, SG_CHAT_BINARY, *out, right, out));
    (*out)->text = sign;
    if (chat_comparison(r) != NULL)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: line %zu: a chain of comparisons is not supported", r->name,
                       chat_line(r));
    return SG_OK;
}

static sg_status chat_not(chat_reader *r, sg_chat_expr **out)
{
    bool negated = false, any = false;
    while (chat_take(r, "not")) {
        negated = !negated;
        any = true;
    }
    SG_TRY(chat_compare(r, out));
    if (any) SG_TRY(chat_make(r, SG_CHAT_NOT, *out, NULL, out));
    // Twice not is the truth of a value, not the value.
    return any && !negated ? chat_make(r, SG_CHAT_NOT, *out, NULL, out) : SG_OK;
}

static sg_status chat_logic(chat_reader *r, bool is_or, sg_chat_expr **out)
{
    SG_TRY(is_or ? chat_logic(r, false, out) : chat_not(r, out));
    while (chat_take(r, is_or ? "or" : "and")) {
        sg_chat_expr *right;
        SG_TRY(is_or ? chat_logic(r, false, &right) : chat_not(r, &right));
        SG_TRY(chat_make(r, is_or ? SG_CHAT_OR : SG_CHAT_AND, *out, right, out));
    }
    return SG_OK;
}

static sg_status chat_expression(chat_reader *r, sg_chat_expr **out)
{
    if (++r->depth > SG_CHAT_DEPTH_MAX) return chat_wrong(r, "less nesting");
    SG_TRY(chat_logic(r, true, out));
    while (chat_take(r, "if")) {
        SG_TRY(chat_make(r, SG_CHAT_CHOICE, *out, NULL, out));
        SG_TRY(chat_logic(r, true, &(*out)->b));
        if (chat_take(r, "else")) SG_TRY(chat_expression(r, &(*out)->c));
    }
    r->depth--;
    return SG_OK;
}

// ---- text -------------------------------------------------------------------------------------

// Where the next tag begins, or the end.
static size_t chat_next_tag(const chat_reader *r)
{
    for (size_t i = r->at; i + 1 < r->bytes; i++)
        if (r->text[i] == '{' && strchr("{%#", r->text[i + 1]) != NULL) return i;
    return r->bytes;
}

// Where the text [begin, end) ends without the white space behind it.
static size_t chat_strip_end(const chat_reader *r, size_t begin, size_t end)
{
    sg_chat_value text = {.text = r->text + begin, .bytes = end - begin};
    return begin + sg_chat_stripped(&text, false, true).bytes;
}

// The text up to the tag at `tag`, less the white space that the tags around it take.
static sg_status chat_text(chat_reader *r, size_t tag, sg_chat_step ***last)
{
    size_t begin = r->at, end = tag, length;
    while (r->strip && begin < end && sg_chat_space_at(r->text + begin, &length))
        begin += length;
    if (r->trim && begin < end && r->text[begin] == '\n') begin++;
    if (begin > r->at) r->line_starts = r->text[begin - 1] == '\n';
    if (tag < r->bytes && r->text[tag + 2] == '-') {
        end = chat_strip_end(r, begin, end);
    } else if (tag < r->bytes && r->text[tag + 1] != '{' && r->text[tag + 2] != '+') {
        size_t line = end;
        while (line > begin && r->text[line - 1] != '\n')
            line--;
        if ((line > begin || r->line_starts) && chat_strip_end(r, line, end) == line) end = line;
    }
    r->at = tag;
    if (begin == end) return SG_OK;
    sg_chat_step *step = chat_new(r, sizeof *step);
    if (step == NULL) return chat_no_memory(r);
    step->text = sg_arena_strndup(r->arena, r->text + begin, end - begin);
    step->bytes = end - begin;
    if (step->text == NULL) return chat_no_memory(r);
    **last = step;
    *last = &step->next;
    return SG_OK;
}

// Takes the end of a tag, which says what becomes of the text behind it.
static sg_status chat_close(chat_reader *r, const char *end)
{
    chat_skip(r);
    char sign = r->text[r->at];
    r->strip = sign == '-';
    r->trim = end[0] != '}' && sign != '-' && sign != '+';
    r->line_starts = false;
    if (sign == '-' || (sign == '+' && end[0] != '}')) r->at++;
    if (!chat_ahead(r, end)) return chat_wrong(r, end);
    r->at += 2;
    return SG_OK;
}

static sg_status chat_comment(chat_reader *r)
{
    const char *begin = r->text + r->at + 2;
    if (*begin == '-' || *begin == '+') begin++;
    const char *end = strstr(begin, "#}");
    if (end == NULL) return chat_wrong(r, "the end of the comment");
    if (end > begin && (end[-1] == '-' || end[-1] == '+')) end--;
    r->at = (size_t)(end - r->text);
    return chat_close(r, "#}");
}

// ---- statements -------------------------------------------------------------------------------

static sg_status chat_steps(chat_reader *r, const char *const *ends, sg_chat_step **out);

static sg_status chat_if(chat_reader *r, sg_chat_step *step)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif",
                                                                                        NULL};
    step->kind = SG_CHAT_IF;
    SG_TRY(chat_expression(r, &step->expr));
    SG_TRY(chat_close(r, "%}"));
    SG_TRY(chat_steps(r, ends, &step->body));
    if (strcmp(r->tag, "elif") == 0) {
        step->otherwise = chat_new(r, sizeof *step);
        if (step->otherwise == NULL) return chat_no_memory(r);
        step->otherwise->line = chat_line(r);
        if (++r->depth > SG_CHAT_DEPTH_MAX) return chat_wrong(r, "less nesting");
        SG_TRY(chat_if(r, step->otherwise));
        r->depth--;
        return SG_OK;
    }
    if (strcmp(r->tag, "else") == 0) {
        SG_TRY(chat_close(r, "%}"));
        SG_TRY(chat_steps(r, last, &step->otherwise));
    }
    return chat_close(r, "%}");
}

static sg_status chat_for(chat_reader *r, sg_chat_step *step)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    step->kind = SG_CHAT_FOR;
    SG_TRY(chat_name(r, &step->name));
    if (step->name == NULL) return chat_wrong(r, "a name");
    if (chat_sees(r, ","))
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: line %zu: \"for\" with more than one name is not supported", r->name,
                       chat_line(r));
    if (!chat_take(r, "in")) return chat_wrong(r, "\"in\"");
    // Not an expression with "if", which in a loop would leave items out.
    SG_TRY(chat_logic(r, true, &step->expr));
    if (chat_sees(r, "if") || chat_sees(r, "recursive"))
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: line %zu: \"for\" with \"%s\" is not supported", r->name, chat_line(r),
                       chat_sees(r, "if") ? "if" : "recursive");
    SG_TRY(chat_close(r, "%}"));
    SG_TRY(chat_steps(r, ends, &step->body));
    if (strcmp(r->tag, "else") == 0)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: line %zu: \"else\" of a \"for\" is not supported", r->name,
                       chat_line(r));
    return chat_close(r, "%}");
}

static sg_status chat_set(chat_reader *r, sg_chat_step *step)
{
    step->kind = SG_CHAT_SET;
    SG_TRY(chat_name(r, &step->name));
    if (step->name == NULL) return chat_wrong(r, "a name");
    if (chat_take(r, ".")) {
        SG_TRY(chat_name(r, &step->attribute));
        if (step->attribute == NULL) return chat_wrong(r, "a name");
    }
    if (!chat_take(r, "="))
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: line %zu: \"set\" of a block or of several names is not supported",
                       r->name, chat_line(r));
    SG_TRY(chat_expression(r, &step->expr));
    return chat_close(r, "%}");
}

// A tag whose opening sign is taken. *done: it ended the list of steps.
static sg_status chat_block(chat_reader *r, const char *const *ends, sg_chat_step ***last,
                            bool *done)
{
    const char *word;
    size_t line = chat_line(r);
    SG_TRY(chat_name(r, &word));
    if (word == NULL) return chat_wrong(r, "a statement");
    for (; ends != NULL && *ends != NULL; ends++) {
        if (strcmp(word, *ends) != 0) continue;
        strcpy(r->tag, word);
        *done = true;
        return SG_OK;
    }
    sg_status (*parse)(chat_reader *, sg_chat_step *) = strcmp(word, "if") == 0    ? chat_if
                                                        : strcmp(word, "for") == 0 ? chat_for
                                                        : strcmp(word, "set") == 0 ? chat_set
                                                                                   : NULL;
    if (parse == NULL)
        return sg_fail(r->err, SG_ERR_UNSUPPORTED,
                       "%s: line %zu: the statement \"%.60s\" is not supported here", r->name, line,
                       word);
    sg_chat_step *step = chat_new(r, sizeof *step);
    if (step == NULL) return chat_no_memory(r);
    step->line = line;
    **last = step;
    *last = &step->next;
    if (++r->depth > SG_CHAT_DEPTH_MAX) return chat_wrong(r, "less nesting");
    SG_TRY(parse(r, step));
    r->depth--;
    return SG_OK;
}

// Steps up to one of the tags `ends` (NULL: to the end of the template), whose name is taken.
static sg_status chat_steps(chat_reader *r, const char *const *ends, sg_chat_step **out)
{
    sg_chat_step **last = out;
    bool done = false;
    *out = NULL;
    while (!done) {
        SG_TRY(chat_text(r, chat_next_tag(r), &last));
        if (r->at == r->bytes) return ends == NULL ? SG_OK : chat_wrong(r, ends[0]);
        char kind = r->text[r->at + 1];
        if (kind == '#') {
            SG_TRY(chat_comment(r));
            continue;
        }
        r->at += 2;
        if (r->text[r->at] == '-' || (r->text[r->at] == '+' && kind == '%')) r->at++;
        if (kind == '%') {
            SG_TRY(chat_block(r, ends, &last, &done));
            continue;
        }
        sg_chat_step *step = chat_new(r, sizeof *step);
        if (step == NULL) return chat_no_memory(r);
        step->kind = SG_CHAT_PRINT;
        step->line = chat_line(r);
        *last = step;
        last = &step->next;
        SG_TRY(chat_expression(r, &step->expr));
        SG_TRY(chat_close(r, "}}"));
    }
    return SG_OK;
}

sg_status sg_chat_parse(const char *source, size_t bytes, const char *name, sg_arena *arena,
                        sg_chat_step **steps, sg_error *err)
{
    *steps = NULL;
    if (bytes > SG_CHAT_SOURCE_MAX)
        return sg_fail(err, SG_ERR_FORMAT, "%s: found %zu bytes, expected at most %d", name, bytes,
                       SG_CHAT_SOURCE_MAX);
    if (memchr(source, 0, bytes) != NULL || sg_utf8_valid_prefix(source, bytes) != bytes)
        return sg_fail(err, SG_ERR_FORMAT, "%s: holds NUL or is not UTF-8", name);
    // Line ends become "\n", and one at the end of the template does not count.
    char *text = sg_arena_alloc(arena, bytes + 1);
    if (text == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (source[i] == '\r' && i + 1 < bytes && source[i + 1] == '\n') continue;
        text[count++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (count > 0 && text[count - 1] == '\n') count--;
    text[count] = '\0';
    chat_reader reader = {.text = text,
                          .bytes = count,
                          .name = name,
                          .arena = arena,
                          .err = err,
                          .line_starts = true};
    return chat_steps(&reader, NULL, steps);
}
