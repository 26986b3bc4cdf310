// Reading a chat template: text and tags with Jinja's rules for white space, and the statements.
#include <string.h>

#include "base/alloc.h"
#include "text/chat_template.h"
#include "text/chat_value.h"
#include "text/unicode.h"

// ---- text -------------------------------------------------------------------------------------

// Where the next tag begins, or the end.
static size_t parse_next_tag(const sg_chat_reader *r)
{
    for (size_t i = r->at; i + 1 < r->bytes; i++)
        if (r->text[i] == '{' && strchr("{%#", r->text[i + 1]) != NULL) return i;
    return r->bytes;
}

// Where the text [begin, end) ends without the white space behind it.
static size_t parse_strip_end(const sg_chat_reader *r, size_t begin, size_t end)
{
    size_t length = end - begin;
    sg_chat_strip(r->text + begin, &length, false, true);
    return begin + length;
}

static sg_status parse_add(sg_chat_reader *r, sg_chat_step_kind kind, sg_chat_step ***last,
                           sg_chat_step **out)
{
    sg_chat_step *step = sg_chat_new_node(r, sizeof *step);
    if (step == NULL) return sg_chat_no_memory(r);
    step->kind = kind;
    step->line = sg_chat_line(r);
    **last = step;
    *last = &step->next;
    *out = step;
    return SG_OK;
}

// The text up to the tag at `tag`, less the white space that the tags around it take.
static sg_status parse_text(sg_chat_reader *r, size_t tag, sg_chat_step ***last)
{
    size_t begin = r->at, end = tag, length;
    while (r->strip && begin < end && sg_chat_space_at(r->text + begin, &length))
        begin += length;
    if (r->trim && begin < end && r->text[begin] == '\n') begin++;
    if (begin > r->at) r->line_starts = r->text[begin - 1] == '\n';
    if (tag < r->bytes && r->text[tag + 2] == '-') {
        end = parse_strip_end(r, begin, end);
    } else if (tag < r->bytes && r->text[tag + 1] != '{' && r->text[tag + 2] != '+') {
        size_t line = end;
        while (line > begin && r->text[line - 1] != '\n')
            line--;
        if ((line > begin || r->line_starts) && parse_strip_end(r, line, end) == line) end = line;
    }
    r->at = tag;
    if (begin == end) return SG_OK;
    sg_chat_step *step = NULL;
    SG_TRY(parse_add(r, SG_CHAT_STEP_TEXT, last, &step));
    step->text = sg_arena_strndup(r->arena, r->text + begin, end - begin);
    step->bytes = end - begin;
    return step->text == NULL ? sg_chat_no_memory(r) : SG_OK;
}

// Takes the end of a tag, which says what becomes of the text behind it.
static sg_status parse_close(sg_chat_reader *r, const char *end)
{
    sg_chat_skip(r);
    char sign = r->text[r->at];
    r->strip = sign == '-';
    r->trim = end[0] != '}' && sign != '-' && sign != '+';
    r->line_starts = false;
    if (sign == '-' || (sign == '+' && end[0] != '}')) r->at++;
    if (!sg_chat_ahead(r, end)) return sg_chat_wrong(r, end);
    r->at += 2;
    return SG_OK;
}

static sg_status parse_comment(sg_chat_reader *r)
{
    const char *begin = r->text + r->at + 2;
    if (*begin == '-' || *begin == '+') begin++;
    const char *end = strstr(begin, "#}");
    if (end == NULL) return sg_chat_wrong(r, "the end of the comment");
    if (end > begin && (end[-1] == '-' || end[-1] == '+')) end--;
    r->at = (size_t)(end - r->text);
    return parse_close(r, "#}");
}

// {% raw %}, whose end is not taken yet, its text and {% endraw %}.
static sg_status parse_raw(sg_chat_reader *r, sg_chat_step ***last)
{
    SG_TRY(parse_close(r, "%}"));
    r->trim = false;
    size_t begin = r->at;
    bool strip = r->strip;
    for (size_t tag = begin; tag + 1 < r->bytes; tag++) {
        if (r->text[tag] != '{' || r->text[tag + 1] != '%') continue;
        char sign = r->text[tag + 2];
        r->at = tag + 2 + (sign == '-' || sign == '+');
        if (!sg_chat_take(r, "endraw")) continue;
        sg_chat_skip(r);
        if (!sg_chat_ahead(r, "%}") && !sg_chat_ahead(r, "-%}") && !sg_chat_ahead(r, "+%}"))
            continue;
        size_t behind = r->at;
        r->at = begin;
        r->strip = strip;
        SG_TRY(parse_text(r, tag, last));
        r->at = behind;
        return parse_close(r, "%}");
    }
    r->at = begin;
    return sg_chat_wrong(r, "endraw");
}

// ---- statements -------------------------------------------------------------------------------

static sg_status parse_steps(sg_chat_reader *r, const char *const *ends, sg_chat_step **out);

// The steps up to the tag `end`, which is taken.
static sg_status parse_body(sg_chat_reader *r, const char *end, sg_chat_step **out)
{
    const char *const ends[] = {end, NULL};
    SG_TRY(parse_close(r, "%}"));
    SG_TRY(parse_steps(r, ends, out));
    return parse_close(r, "%}");
}

// An elif is an IF of its own in `otherwise`.
static sg_status parse_if(sg_chat_reader *r, sg_chat_step *step)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL};
    for (;;) {
        SG_TRY(sg_chat_tuple(r, false, &step->expr));
        SG_TRY(parse_close(r, "%}"));
        SG_TRY(parse_steps(r, ends, &step->body));
        if (strcmp(r->tag, "elif") != 0) break;
        sg_chat_step *made = NULL, **last = &step->otherwise;
        SG_TRY(parse_add(r, SG_CHAT_STEP_IF, &last, &made));
        step = made;
    }
    step->is_else = strcmp(r->tag, "else") == 0;
    return step->is_else ? parse_body(r, "endif", &step->otherwise) : parse_close(r, "%}");
}

static sg_status parse_for(sg_chat_reader *r, sg_chat_step *step)
{
    static const char *const ends[] = {"endfor", "else", NULL};
    SG_TRY(sg_chat_target(r, false, &step->target));
    if (step->target->kind == SG_CHAT_NAME && strcmp(step->target->text, "loop") == 0)
        return sg_chat_wrong(r, "another name than loop before it");
    if (!sg_chat_take(r, "in")) return sg_chat_wrong(r, "\"in\"");
    SG_TRY(sg_chat_tuple(r, false, &step->expr));
    if (sg_chat_take(r, "if")) SG_TRY(sg_chat_expression(r, &step->condition));
    step->recursive = sg_chat_take(r, "recursive");
    SG_TRY(parse_close(r, "%}"));
    r->loops++;
    SG_TRY(parse_steps(r, ends, &step->body));
    r->loops--;
    return strcmp(r->tag, "else") == 0 ? parse_body(r, "endfor", &step->otherwise)
                                       : parse_close(r, "%}");
}

static sg_status parse_set(sg_chat_reader *r, sg_chat_step *step)
{
    SG_TRY(sg_chat_target(r, true, &step->target));
    if (sg_chat_take(r, "=")) {
        SG_TRY(sg_chat_tuple(r, true, &step->expr));
        return parse_close(r, "%}");
    }
    step->kind = SG_CHAT_STEP_SET_BLOCK;
    SG_TRY(sg_chat_make(r, SG_CHAT_BODY, NULL, NULL, &step->expr));
    SG_TRY(sg_chat_filters(r, false, &step->expr));
    return parse_body(r, "endset", &step->body);
}

static sg_status parse_macro(sg_chat_reader *r, sg_chat_step *step)
{
    SG_TRY(sg_chat_name(r, &step->name));
    if (step->name == NULL || !sg_chat_take(r, "(")) return sg_chat_wrong(r, "a name and \"(\"");
    SG_TRY(sg_chat_signature(r, &step->params));
    int uses = r->uses, loops = r->loops;
    r->uses = r->loops = 0;
    SG_TRY(parse_body(r, "endmacro", &step->body));
    step->uses = r->uses;
    r->uses |= uses;
    r->loops = loops;
    return SG_OK;
}

static sg_status parse_call(sg_chat_reader *r, sg_chat_step *step)
{
    if (sg_chat_take(r, "(")) SG_TRY(sg_chat_signature(r, &step->params));
    SG_TRY(sg_chat_expression(r, &step->expr));
    if (step->expr->kind != SG_CHAT_CALL) return sg_chat_wrong(r, "a call before it");
    int uses = r->uses, loops = r->loops;
    r->uses = r->loops = 0;
    SG_TRY(parse_body(r, "endcall", &step->body));
    step->uses = r->uses;
    r->uses |= uses;
    r->loops = loops;
    return SG_OK;
}

static sg_status parse_filter(sg_chat_reader *r, sg_chat_step *step)
{
    SG_TRY(sg_chat_make(r, SG_CHAT_BODY, NULL, NULL, &step->expr));
    SG_TRY(sg_chat_filters(r, true, &step->expr));
    return parse_body(r, "endfilter", &step->body);
}

static sg_status parse_with(sg_chat_reader *r, sg_chat_step *step)
{
    sg_chat_expr **last = &step->params;
    while (!sg_chat_sees(r, "%}") && !sg_chat_sees(r, "-%}") && !sg_chat_sees(r, "+%}")) {
        if (step->params != NULL && !sg_chat_take(r, ",")) return sg_chat_wrong(r, "a comma");
        SG_TRY(sg_chat_make(r, SG_CHAT_NAME, NULL, NULL, last));
        SG_TRY(sg_chat_target(r, false, &(*last)->a));
        if (!sg_chat_take(r, "=")) return sg_chat_wrong(r, "\"=\"");
        SG_TRY(sg_chat_expression(r, &(*last)->b));
        last = &(*last)->next;
    }
    return parse_body(r, "endwith", &step->body);
}

// {% print a, b %} writes one behind the other.
static sg_status parse_print(sg_chat_reader *r, sg_chat_step *step)
{
    SG_TRY(sg_chat_make(r, SG_CHAT_CONCAT, NULL, NULL, &step->expr));
    sg_chat_expr **last = &step->expr->args;
    do {
        SG_TRY(sg_chat_expression(r, last));
        last = &(*last)->next;
    } while (sg_chat_take(r, ","));
    return parse_close(r, "%}");
}

static sg_status parse_jump(sg_chat_reader *r, sg_chat_step *step)
{
    (void)step;
    if (r->loops == 0) return sg_chat_wrong(r, "a loop around break or continue");
    return parse_close(r, "%}");
}

static sg_status parse_generation(sg_chat_reader *r, sg_chat_step *step)
{
    return parse_body(r, "endgeneration", &step->body);
}

// Up to the end of a tag whose inside does not matter.
static sg_status parse_pass(sg_chat_reader *r)
{
    while (r->at < r->bytes && !sg_chat_ahead(r, "-%}") && !sg_chat_ahead(r, "%}"))
        r->at++;
    return SG_OK;
}

// Statements that need other templates, or write HTML: refused where a chat comes to them.
static sg_status parse_refused(sg_chat_reader *r, sg_chat_step *step)
{
    static const struct {
        const char *word, *end;
    } blocks[] = {{"block", "endblock"}, {"autoescape", "endautoescape"}};
    SG_TRY(parse_pass(r));
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++)
        if (strcmp(step->name, blocks[i].word) == 0) {
            const char *const ends[] = {blocks[i].end, NULL};
            SG_TRY(parse_close(r, "%}"));
            SG_TRY(parse_steps(r, ends, &step->body));
            SG_TRY(parse_pass(r)); // {% endblock name %}
        }
    return parse_close(r, "%}");
}

static const struct parse_statement {
    const char *word;
    sg_chat_step_kind kind;
    sg_status (*parse)(sg_chat_reader *, sg_chat_step *);
} parse_statements[] = {{"if", SG_CHAT_STEP_IF, parse_if},
                        {"for", SG_CHAT_STEP_FOR, parse_for},
                        {"set", SG_CHAT_STEP_SET, parse_set},
                        {"macro", SG_CHAT_STEP_MACRO, parse_macro},
                        {"call", SG_CHAT_STEP_CALL, parse_call},
                        {"filter", SG_CHAT_STEP_FILTER, parse_filter},
                        {"with", SG_CHAT_STEP_WITH, parse_with},
                        {"print", SG_CHAT_STEP_PRINT, parse_print},
                        {"break", SG_CHAT_STEP_BREAK, parse_jump},
                        {"continue", SG_CHAT_STEP_CONTINUE, parse_jump},
                        {"generation", SG_CHAT_STEP_INLINE, parse_generation},
                        {"include", SG_CHAT_STEP_REFUSED, parse_refused},
                        {"import", SG_CHAT_STEP_REFUSED, parse_refused},
                        {"from", SG_CHAT_STEP_REFUSED, parse_refused},
                        {"extends", SG_CHAT_STEP_REFUSED, parse_refused},
                        {"block", SG_CHAT_STEP_REFUSED, parse_refused},
                        {"autoescape", SG_CHAT_STEP_REFUSED, parse_refused}};

static const struct parse_statement *parse_find(const char *word)
{
    for (size_t i = 0; i < sizeof parse_statements / sizeof *parse_statements; i++)
        if (strcmp(parse_statements[i].word, word) == 0) return &parse_statements[i];
    return NULL;
}

// A tag whose opening sign is taken. *done: it ended the list of steps.
static sg_status parse_block(sg_chat_reader *r, const char *const *ends, sg_chat_step ***last,
                             bool *done)
{
    const char *word;
    size_t before = (sg_chat_skip(r), r->at);
    SG_TRY(sg_chat_name(r, &word));
    if (word == NULL) return sg_chat_wrong(r, "a statement");
    for (; ends != NULL && *ends != NULL; ends++) {
        if (strcmp(word, *ends) != 0) continue;
        strcpy(r->tag, word);
        *done = true;
        return SG_OK;
    }
    if (strcmp(word, "raw") == 0) return parse_raw(r, last);
    const struct parse_statement *statement = parse_find(word);
    if (statement == NULL) {
        r->at = before;
        return sg_chat_wrong(r, "a statement of Jinja that may stand here");
    }
    sg_chat_step *step = NULL;
    SG_TRY(parse_add(r, statement->kind, last, &step));
    if (statement->kind == SG_CHAT_STEP_REFUSED) step->name = word;
    if (++r->depth > SG_CHAT_DEPTH_MAX) return sg_chat_wrong(r, "less nesting");
    SG_TRY(statement->parse(r, step));
    r->depth--;
    return SG_OK;
}

// Steps up to one of the tags `ends` (NULL: to the end of the template), whose name is taken.
static sg_status parse_steps(sg_chat_reader *r, const char *const *ends, sg_chat_step **out)
{
    sg_chat_step **last = out;
    bool done = false;
    *out = NULL;
    while (!done) {
        SG_TRY(parse_text(r, parse_next_tag(r), &last));
        if (r->at == r->bytes) return ends == NULL ? SG_OK : sg_chat_wrong(r, ends[0]);
        char kind = r->text[r->at + 1];
        if (kind == '#') {
            SG_TRY(parse_comment(r));
            continue;
        }
        r->at += 2;
        if (r->text[r->at] == '-' || (r->text[r->at] == '+' && kind == '%')) r->at++;
        if (kind == '%') {
            SG_TRY(parse_block(r, ends, &last, &done));
            continue;
        }
        sg_chat_step *step = NULL;
        SG_TRY(parse_add(r, SG_CHAT_STEP_PRINT, &last, &step));
        SG_TRY(sg_chat_tuple(r, true, &step->expr));
        SG_TRY(parse_close(r, "}}"));
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
    char *text = sg_arena_alloc(arena, bytes + 4);
    if (text == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", name);
    size_t count = 0;
    for (size_t i = 0; i < bytes; i++) {
        if (source[i] == '\r' && i + 1 < bytes && source[i + 1] == '\n') continue;
        text[count++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (count > 0 && text[count - 1] == '\n') count--;
    memset(text + count, 0, 4);
    sg_chat_reader reader = {.text = text,
                             .bytes = count,
                             .name = name,
                             .arena = arena,
                             .err = err,
                             .line_starts = true};
    return parse_steps(&reader, NULL, steps);
}
