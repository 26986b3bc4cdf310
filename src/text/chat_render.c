// Running a chat template over messages. Everything it makes lies in one arena, whose size and the number
// of steps are bounded, so that no template can take for ever.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/chat.h"
#include "text/chat_value.h"
#include "text/unicode.h"

enum {
    chat_steps_max = 4 * 1000 * 1000,
    chat_bytes_max = 256 << 20,
    chat_nesting_max = 1000 // expressions in expressions while they are evaluated
};

// Names of one scope. A loop has its own: what is set in it is gone with the round.
typedef struct chat_scope {
    struct chat_scope *outer;
    sg_chat_value names; // a map
} chat_scope;

typedef struct chat_run {
    const sg_chat *chat;
    sg_arena arena;
    chat_scope *scope;
    sg_bytes out;
    size_t steps, bytes;
    int nesting;
    sg_error *err;
} chat_run;

static sg_status run_no_memory(chat_run *r)
{
    return sg_fail(r->err, SG_ERR_MEMORY, "out of memory for the chat");
}

// What a template cannot do, or should not have done.
static sg_status run_refuse(chat_run *r, sg_status code, size_t line, const char *what,
                            const char *name)
{
    return sg_fail(r->err, code, "%s: line %zu: %s%.60s%s", r->chat->name, line, what, name,
                   code == SG_ERR_UNSUPPORTED ? " is not supported" : "");
}

static sg_status run_count(chat_run *r, size_t line)
{
    if (++r->steps <= chat_steps_max) return SG_OK;
    return run_refuse(r, SG_ERR_FORMAT, line, "takes too many steps", "");
}

static sg_status run_alloc(chat_run *r, size_t bytes, size_t line, void **out)
{
    if (bytes > chat_bytes_max || (r->bytes += bytes) > chat_bytes_max)
        return run_refuse(r, SG_ERR_FORMAT, line, "makes too much text", "");
    *out = sg_arena_alloc(&r->arena, bytes + 1);
    return *out == NULL ? run_no_memory(r) : SG_OK;
}

static sg_chat_value run_bool(bool truth)
{
    return (sg_chat_value){.type = SG_CHAT_IS_BOOL, .integer = truth};
}

static sg_chat_value run_string(const char *text, size_t bytes)
{
    return (sg_chat_value){.type = SG_CHAT_IS_STRING, .text = text, .bytes = bytes};
}

// Sets a member of a map, a new one or one that is there.
static sg_status run_put(chat_run *r, sg_chat_value *map, const char *name, sg_chat_value value)
{
    sg_chat_member *member = sg_chat_find(map, name, strlen(name));
    if (member == NULL) {
        void *made;
        SG_TRY(run_alloc(r, sizeof *member, 0, &made));
        member = made;
        *member = (sg_chat_member){.name = name, .next = map->members};
        map->members = member;
    }
    member->value = value;
    return SG_OK;
}

static sg_chat_value run_name(const chat_run *r, const char *name)
{
    for (const chat_scope *s = r->scope; s != NULL; s = s->outer) {
        const sg_chat_member *member = sg_chat_find(&s->names, name, strlen(name));
        if (member != NULL) return member->value;
    }
    return (sg_chat_value){.type = SG_CHAT_IS_UNDEFINED};
}

// ---- text of values ---------------------------------------------------------------------------

// What {{ }} and ~ write.
static sg_status run_text(chat_run *r, const sg_chat_value *v, size_t line, sg_chat_value *out)
{
    char *text;
    switch (v->type) {
    case SG_CHAT_IS_STRING:
        *out = *v;
        return SG_OK;
    case SG_CHAT_IS_UNDEFINED:
        *out = run_string("", 0);
        return SG_OK;
    case SG_CHAT_IS_NONE:
        *out = run_string("None", 4);
        return SG_OK;
    case SG_CHAT_IS_BOOL:
        *out = v->integer ? run_string("True", 4) : run_string("False", 5);
        return SG_OK;
    case SG_CHAT_IS_INTEGER:
        SG_TRY(run_alloc(r, 24, line, (void **)&text));
        *out = run_string(text, (size_t)snprintf(text, 24, "%lld", (long long)v->integer));
        return SG_OK;
    case SG_CHAT_IS_LIST:
    case SG_CHAT_IS_MAP:
    case SG_CHAT_IS_NAMESPACE:
    case SG_CHAT_IS_LOOP:
        break;
    }
    return run_refuse(r, SG_ERR_UNSUPPORTED, line, "the text of ", sg_chat_type_name(v->type));
}

static sg_status run_join(chat_run *r, const sg_chat_value *a, const sg_chat_value *b, size_t line,
                          sg_chat_value *out)
{
    char *text;
    SG_TRY(run_alloc(r, a->bytes + b->bytes, line, (void **)&text));
    memcpy(text, a->text, a->bytes);
    memcpy(text + a->bytes, b->text, b->bytes);
    *out = run_string(text, a->bytes + b->bytes);
    return SG_OK;
}

// ---- expressions ------------------------------------------------------------------------------

static sg_status run_eval(chat_run *r, const sg_chat_expr *e, sg_chat_value *out);

static sg_status run_member(chat_run *r, const sg_chat_value *map, const char *name, size_t bytes,
                            size_t line, sg_chat_value *out)
{
    *out = (sg_chat_value){.type = SG_CHAT_IS_UNDEFINED};
    if (map->type < SG_CHAT_IS_MAP) {
        if (map->type == SG_CHAT_IS_UNDEFINED)
            return run_refuse(r, SG_ERR_ARGUMENT, line, "an undefined value has no ", name);
        return SG_OK; // what Jinja gives too
    }
    const sg_chat_member *member = sg_chat_find(map, name, bytes);
    if (member != NULL) *out = member->value;
    if (member == NULL && map->type == SG_CHAT_IS_LOOP)
        return run_refuse(r, SG_ERR_UNSUPPORTED, line, "loop.", name);
    return SG_OK;
}

static sg_status run_item(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value a, b;
    SG_TRY(run_eval(r, e->a, &a));
    SG_TRY(run_eval(r, e->b, &b));
    if (b.type == SG_CHAT_IS_STRING) return run_member(r, &a, b.text, b.bytes, e->line, out);
    *out = (sg_chat_value){.type = SG_CHAT_IS_UNDEFINED};
    if (a.type == SG_CHAT_IS_UNDEFINED)
        return run_refuse(r, SG_ERR_ARGUMENT, e->line, "an undefined value has no items", "");
    if (a.type != SG_CHAT_IS_LIST || b.type != SG_CHAT_IS_INTEGER)
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "an index into ",
                          sg_chat_type_name(a.type));
    int64_t count = (int64_t)a.count, at = b.integer < 0 ? b.integer + count : b.integer;
    if (at >= 0 && at < count) *out = a.items[at];
    return SG_OK;
}

// A bound of a slice, as Python clips it.
static sg_status run_bound(chat_run *r, const sg_chat_expr *e, int64_t otherwise, int64_t low,
                           int64_t high, int64_t count, int64_t *out)
{
    *out = otherwise;
    if (e == NULL) return SG_OK;
    sg_chat_value v;
    SG_TRY(run_eval(r, e, &v));
    if (v.type == SG_CHAT_IS_NONE) return SG_OK;
    if (v.type != SG_CHAT_IS_INTEGER)
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "a slice from or to ",
                          sg_chat_type_name(v.type));
    *out = v.integer < 0 ? v.integer + count : v.integer;
    if (*out < low) *out = low;
    if (*out > high) *out = high;
    return SG_OK;
}

static sg_status run_slice(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value list, step = {.type = SG_CHAT_IS_INTEGER, .integer = 1};
    SG_TRY(run_eval(r, e->a, &list));
    if (e->d != NULL) SG_TRY(run_eval(r, e->d, &step));
    bool back = step.integer == -1;
    if (list.type != SG_CHAT_IS_LIST)
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "a slice of ",
                          sg_chat_type_name(list.type));
    if (step.type != SG_CHAT_IS_INTEGER || (step.integer != 1 && !back))
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "a slice with this step", "");
    int64_t count = (int64_t)list.count, begin, end;
    SG_TRY(run_bound(r, e->b, back ? count - 1 : 0, back ? -1 : 0, back ? count - 1 : count, count,
                     &begin));
    SG_TRY(run_bound(r, e->c, back ? -1 : count, back ? -1 : 0, back ? count - 1 : count, count,
                     &end));
    int64_t length = back ? begin - end : end - begin;
    if (length < 0) length = 0;
    void *items;
    SG_TRY(run_alloc(r, (size_t)length * sizeof list, e->line, &items));
    for (int64_t i = 0; i < length; i++)
        ((sg_chat_value *)items)[i] = list.items[back ? begin - i : begin + i];
    *out = (sg_chat_value){.type = SG_CHAT_IS_LIST, .items = items, .count = (size_t)length};
    return SG_OK;
}

static sg_status run_list(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    size_t count = 0;
    for (const sg_chat_expr *i = e->args; i != NULL; i = i->next)
        count++;
    void *items;
    SG_TRY(run_alloc(r, count * sizeof *out, e->line, &items));
    count = 0;
    for (const sg_chat_expr *i = e->args; i != NULL; i = i->next)
        SG_TRY(run_eval(r, i, (sg_chat_value *)items + count++));
    *out = (sg_chat_value){.type = SG_CHAT_IS_LIST, .items = items, .count = count};
    return SG_OK;
}

static sg_status run_contains(chat_run *r, const sg_chat_value *a, const sg_chat_value *b,
                              size_t line, bool *found)
{
    *found = false;
    if (b->type == SG_CHAT_IS_STRING && a->type == SG_CHAT_IS_STRING) {
        *found = a->bytes == 0 || memmem(b->text, b->bytes, a->text, a->bytes) != NULL;
    } else if (b->type == SG_CHAT_IS_LIST) {
        for (size_t i = 0; i < b->count && !*found; i++)
            *found = sg_chat_equal(a, &b->items[i]);
    } else if (b->type == SG_CHAT_IS_MAP) {
        *found = a->type == SG_CHAT_IS_STRING && sg_chat_find(b, a->text, a->bytes) != NULL;
    } else if (b->type != SG_CHAT_IS_UNDEFINED) {
        return run_refuse(r, SG_ERR_UNSUPPORTED, line, "\"in\" ", sg_chat_type_name(b->type));
    }
    return SG_OK;
}

static sg_status run_arithmetic(chat_run *r, const sg_chat_expr *e, int64_t a, int64_t b,
                                sg_chat_value *out)
{
    int64_t made = 0;
    bool over = false;
    if (strcmp(e->text, "+") == 0) {
        over = __builtin_add_overflow(a, b, &made);
    } else if (strcmp(e->text, "-") == 0) {
        over = __builtin_sub_overflow(a, b, &made);
    } else if (strcmp(e->text, "*") == 0) {
        over = __builtin_mul_overflow(a, b, &made);
    } else if (strcmp(e->text, "//") == 0 || strcmp(e->text, "%") == 0) {
        over = b == 0 || (b == -1 && a == INT64_MIN);
        if (!over) { // Python rounds down
            int64_t rest = a % b;
            bool down = rest != 0 && (rest < 0) != (b < 0);
            made = e->text[0] == '%' ? rest + (down ? b : 0) : a / b - (down ? 1 : 0);
        }
    } else {
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "the operator ", e->text);
    }
    if (over) return run_refuse(r, SG_ERR_ARGUMENT, e->line, "no such number: ", e->text);
    *out = (sg_chat_value){.type = SG_CHAT_IS_INTEGER, .integer = made};
    return SG_OK;
}

static bool run_is_number(const sg_chat_value *v)
{
    return v->type == SG_CHAT_IS_INTEGER || v->type == SG_CHAT_IS_BOOL;
}

static sg_status run_order(chat_run *r, const sg_chat_expr *e, const sg_chat_value *a,
                           const sg_chat_value *b, sg_chat_value *out)
{
    int order;
    if (run_is_number(a) && run_is_number(b)) {
        order = a->integer < b->integer ? -1 : a->integer > b->integer;
    } else if (a->type == SG_CHAT_IS_STRING && b->type == SG_CHAT_IS_STRING) {
        // The order of UTF-8 is that of code points.
        order = memcmp(a->text, b->text, a->bytes < b->bytes ? a->bytes : b->bytes);
        if (order == 0) order = a->bytes < b->bytes ? -1 : a->bytes > b->bytes;
    } else {
        return run_refuse(r, SG_ERR_ARGUMENT, e->line, "no order between such values: ", e->text);
    }
    bool equal = e->text[1] == '=' && order == 0;
    *out = run_bool(equal || (e->text[0] == '<' ? order < 0 : order > 0));
    return SG_OK;
}

static sg_status run_binary(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value a, b;
    bool found;
    SG_TRY(run_eval(r, e->a, &a));
    SG_TRY(run_eval(r, e->b, &b));
    if (strcmp(e->text, "==") == 0 || strcmp(e->text, "!=") == 0) {
        *out = run_bool(sg_chat_equal(&a, &b) == (e->text[0] == '='));
        return SG_OK;
    }
    if (strcmp(e->text, "in") == 0 || strcmp(e->text, "not in") == 0) {
        SG_TRY(run_contains(r, &a, &b, e->line, &found));
        *out = run_bool(found == (e->text[0] == 'i'));
        return SG_OK;
    }
    if (e->text[0] == '<' || e->text[0] == '>') return run_order(r, e, &a, &b, out);
    if (e->text[0] == '~') {
        SG_TRY(run_text(r, &a, e->line, &a));
        SG_TRY(run_text(r, &b, e->line, &b));
        return run_join(r, &a, &b, e->line, out);
    }
    if (e->text[0] == '+' && a.type == SG_CHAT_IS_STRING && b.type == SG_CHAT_IS_STRING)
        return run_join(r, &a, &b, e->line, out);
    if (run_is_number(&a) && run_is_number(&b))
        return run_arithmetic(r, e, a.integer, b.integer, out);
    char what[100];
    snprintf(what, sizeof what, "\"%s\" of %s and ", e->text, sg_chat_type_name(a.type));
    // Python repeats and formats strings, and joins lists; the rest it refuses too.
    bool python = a.type == SG_CHAT_IS_LIST || b.type == SG_CHAT_IS_LIST || e->text[0] == '*' ||
                  e->text[0] == '%';
    return run_refuse(r, python ? SG_ERR_UNSUPPORTED : SG_ERR_ARGUMENT, e->line, what,
                      sg_chat_type_name(b.type));
}

// ---- filters, tests, calls --------------------------------------------------------------------

static sg_status run_filter(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value v;
    SG_TRY(run_eval(r, e->a, &v));
    bool upper = strcmp(e->text, "upper") == 0;
    if (e->args != NULL) {
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "an argument of the filter ", e->text);
    } else if (strcmp(e->text, "trim") == 0) {
        SG_TRY(run_text(r, &v, e->line, &v));
        *out = sg_chat_stripped(&v, true, true);
    } else if (strcmp(e->text, "string") == 0) {
        SG_TRY(run_text(r, &v, e->line, out));
    } else if (upper || strcmp(e->text, "lower") == 0) {
        SG_TRY(run_text(r, &v, e->line, &v));
        char *text;
        SG_TRY(run_alloc(r, v.bytes, e->line, (void **)&text));
        for (size_t i = 0; i < v.bytes; i++) {
            char c = v.text[i], from = upper ? 'a' : 'A';
            if ((unsigned char)c >= 0x80)
                return run_refuse(r, SG_ERR_UNSUPPORTED, e->line,
                                  "other letters than ASCII in the filter ", e->text);
            text[i] = c >= from && c <= from + 25 ? (char)(c ^ 0x20) : c;
        }
        *out = run_string(text, v.bytes);
    } else if (strcmp(e->text, "length") == 0 || strcmp(e->text, "count") == 0) {
        int64_t count = (int64_t)v.count;
        for (size_t i = 0; v.type == SG_CHAT_IS_STRING && i < v.bytes; i++)
            count += ((unsigned char)v.text[i] & 0xC0) != 0x80;
        for (const sg_chat_member *m = v.members; v.type == SG_CHAT_IS_MAP && m; m = m->next)
            count++;
        bool has = v.type == SG_CHAT_IS_STRING || v.type == SG_CHAT_IS_LIST ||
                   v.type == SG_CHAT_IS_MAP || v.type == SG_CHAT_IS_UNDEFINED;
        if (!has)
            return run_refuse(r, SG_ERR_ARGUMENT, e->line, "no length has ",
                              sg_chat_type_name(v.type));
        *out = (sg_chat_value){.type = SG_CHAT_IS_INTEGER, .integer = count};
    } else {
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "the filter ", e->text);
    }
    return SG_OK;
}

static sg_status run_test(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value v;
    SG_TRY(run_eval(r, e->a, &v));
    const struct {
        const char *name;
        bool truth;
    } tests[] = {
        {"defined", v.type != SG_CHAT_IS_UNDEFINED},
        {"undefined", v.type == SG_CHAT_IS_UNDEFINED},
        {"none", v.type == SG_CHAT_IS_NONE},
        {"string", v.type == SG_CHAT_IS_STRING},
        {"mapping", v.type == SG_CHAT_IS_MAP},
        {"boolean", v.type == SG_CHAT_IS_BOOL},
        {"number", v.type == SG_CHAT_IS_INTEGER || v.type == SG_CHAT_IS_BOOL},
        {"iterable", v.type == SG_CHAT_IS_STRING || v.type == SG_CHAT_IS_LIST ||
                         v.type == SG_CHAT_IS_MAP || v.type == SG_CHAT_IS_UNDEFINED},
        {"true", v.type == SG_CHAT_IS_BOOL && v.integer == 1},
        {"false", v.type == SG_CHAT_IS_BOOL && v.integer == 0},
    };
    if (e->args != NULL)
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "an argument of the test ", e->text);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        if (strcmp(tests[i].name, e->text) != 0) continue;
        *out = run_bool(tests[i].truth);
        return SG_OK;
    }
    return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "the test ", e->text);
}

static sg_status run_method(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value v, part;
    const char *name = e->a->text;
    SG_TRY(run_eval(r, e->a->a, &v));
    bool left = strcmp(name, "strip") == 0 || strcmp(name, "lstrip") == 0;
    bool right = strcmp(name, "strip") == 0 || strcmp(name, "rstrip") == 0;
    bool starts = strcmp(name, "startswith") == 0, ends = strcmp(name, "endswith") == 0;
    if (v.type == SG_CHAT_IS_UNDEFINED)
        return run_refuse(r, SG_ERR_ARGUMENT, e->line, "an undefined value has no ", name);
    if (v.type != SG_CHAT_IS_STRING || !(left || right || starts || ends))
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "the method ", name);
    bool one = e->args != NULL && e->args->next == NULL && e->args->keyword == NULL;
    if (left || right) {
        if (e->args != NULL)
            return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "an argument of the method ", name);
        *out = sg_chat_stripped(&v, left, right);
        return SG_OK;
    }
    if (one) SG_TRY(run_eval(r, e->args, &part));
    if (!one || part.type != SG_CHAT_IS_STRING)
        return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "other than a string for the method ",
                          name);
    *out = run_bool(part.bytes <= v.bytes && memcmp(starts ? v.text : v.text + v.bytes - part.bytes,
                                                    part.text, part.bytes) == 0);
    return SG_OK;
}

static sg_status run_call(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    if (e->a->kind == SG_CHAT_ATTRIBUTE) return run_method(r, e, out);
    const char *name = e->a->kind == SG_CHAT_NAME ? e->a->text : "";
    if (strcmp(name, "namespace") == 0) {
        *out = (sg_chat_value){.type = SG_CHAT_IS_NAMESPACE};
        // The members are behind a first one, so that copies of the value share them.
        SG_TRY(run_put(r, out, "", (sg_chat_value){.type = SG_CHAT_IS_NONE}));
        sg_chat_member *shared = out->members;
        for (const sg_chat_expr *a = e->args; a != NULL; a = a->next) {
            sg_chat_value v, rest = {.members = shared->next};
            if (a->keyword == NULL)
                return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "an argument without a name of ",
                                  name);
            SG_TRY(run_eval(r, a, &v));
            SG_TRY(run_put(r, &rest, a->keyword, v));
            shared->next = rest.members;
        }
        return SG_OK;
    }
    if (strcmp(name, "raise_exception") == 0 && e->args != NULL && e->args->next == NULL) {
        sg_chat_value words;
        SG_TRY(run_eval(r, e->args, &words));
        SG_TRY(run_text(r, &words, e->line, &words));
        return sg_fail(r->err, SG_ERR_ARGUMENT, "%s: %.*s", r->chat->name,
                       words.bytes > 300 ? 300 : (int)words.bytes, words.text);
    }
    return run_refuse(r, SG_ERR_UNSUPPORTED, e->line, "the function ", name);
}

static sg_status run_short(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    SG_TRY(run_eval(r, e->a, out));
    return sg_chat_truth(out) == (e->kind == SG_CHAT_AND) ? run_eval(r, e->b, out) : SG_OK;
}

static sg_status run_kind(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value v;
    *out = (sg_chat_value){.type = SG_CHAT_IS_UNDEFINED};
    switch (e->kind) {
    case SG_CHAT_STRING:
        *out = run_string(e->text, e->bytes);
        return SG_OK;
    case SG_CHAT_INTEGER:
        *out = (sg_chat_value){.type = SG_CHAT_IS_INTEGER, .integer = e->integer};
        return SG_OK;
    case SG_CHAT_TRUE:
    case SG_CHAT_FALSE:
        *out = run_bool(e->kind == SG_CHAT_TRUE);
        return SG_OK;
    case SG_CHAT_NONE:
        out->type = SG_CHAT_IS_NONE;
        return SG_OK;
    case SG_CHAT_NAME:
        *out = run_name(r, e->text);
        return SG_OK;
    case SG_CHAT_ATTRIBUTE:
        SG_TRY(run_eval(r, e->a, &v));
        return run_member(r, &v, e->text, strlen(e->text), e->line, out);
    case SG_CHAT_ITEM:
        return run_item(r, e, out);
    case SG_CHAT_SLICE:
        return run_slice(r, e, out);
    case SG_CHAT_CALL:
        return run_call(r, e, out);
    case SG_CHAT_FILTER:
        return run_filter(r, e, out);
    case SG_CHAT_TEST:
        return run_test(r, e, out);
    case SG_CHAT_LIST:
        return run_list(r, e, out);
    case SG_CHAT_NOT:
        SG_TRY(run_eval(r, e->a, &v));
        *out = run_bool(!sg_chat_truth(&v));
        return SG_OK;
    case SG_CHAT_NEGATIVE:
        SG_TRY(run_eval(r, e->a, &v));
        if (v.type != SG_CHAT_IS_INTEGER || v.integer == INT64_MIN)
            return run_refuse(r, SG_ERR_ARGUMENT, e->line, "no negative of ",
                              sg_chat_type_name(v.type));
        *out = (sg_chat_value){.type = SG_CHAT_IS_INTEGER, .integer = -v.integer};
        return SG_OK;
    case SG_CHAT_AND:
    case SG_CHAT_OR:
        return run_short(r, e, out);
    case SG_CHAT_CHOICE:
        SG_TRY(run_eval(r, e->b, &v));
        if (sg_chat_truth(&v)) return run_eval(r, e->a, out);
        return e->c == NULL ? SG_OK : run_eval(r, e->c, out);
    case SG_CHAT_BINARY:
        return run_binary(r, e, out);
    }
    return SG_OK;
}

static sg_status run_eval(chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    SG_TRY(run_count(r, e->line));
    if (++r->nesting > chat_nesting_max)
        return run_refuse(r, SG_ERR_FORMAT, e->line, "nests too deep", "");
    SG_TRY(run_kind(r, e, out));
    r->nesting--;
    return SG_OK;
}

// ---- statements -------------------------------------------------------------------------------

static sg_status run_steps(chat_run *r, const sg_chat_step *step);

static sg_status run_set(chat_run *r, const sg_chat_step *step)
{
    sg_chat_value value;
    SG_TRY(run_eval(r, step->expr, &value));
    if (step->attribute == NULL) return run_put(r, &r->scope->names, step->name, value);
    sg_chat_value space = run_name(r, step->name);
    if (space.type != SG_CHAT_IS_NAMESPACE)
        return run_refuse(r, SG_ERR_ARGUMENT, step->line,
                          "attributes are set of a namespace only, not of ", step->name);
    sg_chat_value rest = {.members = space.members->next};
    SG_TRY(run_put(r, &rest, step->attribute, value));
    space.members->next = rest.members;
    return SG_OK;
}

static sg_status run_loop_state(chat_run *r, size_t index, size_t count, sg_chat_value *loop)
{
    const struct {
        const char *name;
        sg_chat_type type;
        int64_t value;
    } members[] = {{"first", SG_CHAT_IS_BOOL, index == 0},
                   {"last", SG_CHAT_IS_BOOL, index + 1 == count},
                   {"index", SG_CHAT_IS_INTEGER, (int64_t)index + 1},
                   {"index0", SG_CHAT_IS_INTEGER, (int64_t)index},
                   {"revindex", SG_CHAT_IS_INTEGER, (int64_t)(count - index)},
                   {"revindex0", SG_CHAT_IS_INTEGER, (int64_t)(count - index) - 1},
                   {"length", SG_CHAT_IS_INTEGER, (int64_t)count}};
    *loop = (sg_chat_value){.type = SG_CHAT_IS_LOOP};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        SG_TRY(run_put(r, loop, members[i].name,
                       (sg_chat_value){.type = members[i].type, .integer = members[i].value}));
    return SG_OK;
}

static sg_status run_for(chat_run *r, const sg_chat_step *step)
{
    sg_chat_value list, loop;
    SG_TRY(run_eval(r, step->expr, &list));
    if (list.type == SG_CHAT_IS_UNDEFINED) return SG_OK;
    if (list.type != SG_CHAT_IS_LIST)
        return run_refuse(r, SG_ERR_UNSUPPORTED, step->line, "\"for\" over ",
                          sg_chat_type_name(list.type));
    for (size_t i = 0; i < list.count; i++) {
        chat_scope scope = {.outer = r->scope};
        r->scope = &scope;
        sg_status status = run_loop_state(r, i, list.count, &loop);
        if (status == SG_OK) status = run_put(r, &scope.names, "loop", loop);
        if (status == SG_OK) status = run_put(r, &scope.names, step->name, list.items[i]);
        if (status == SG_OK) status = run_steps(r, step->body);
        r->scope = scope.outer;
        SG_TRY(status);
    }
    return SG_OK;
}

static sg_status run_write(chat_run *r, const char *text, size_t bytes, size_t line)
{
    if ((r->bytes += bytes) > chat_bytes_max)
        return run_refuse(r, SG_ERR_FORMAT, line, "makes too much text", "");
    return sg_bytes_add(&r->out, text, bytes) ? SG_OK : run_no_memory(r);
}

static sg_status run_step(chat_run *r, const sg_chat_step *step)
{
    sg_chat_value v;
    SG_TRY(run_count(r, step->line));
    switch (step->kind) {
    case SG_CHAT_TEXT:
        return run_write(r, step->text, step->bytes, step->line);
    case SG_CHAT_PRINT:
        SG_TRY(run_eval(r, step->expr, &v));
        SG_TRY(run_text(r, &v, step->line, &v));
        return run_write(r, v.text, v.bytes, step->line);
    case SG_CHAT_IF:
        SG_TRY(run_eval(r, step->expr, &v));
        return run_steps(r, sg_chat_truth(&v) ? step->body : step->otherwise);
    case SG_CHAT_FOR:
        return run_for(r, step);
    case SG_CHAT_SET:
        return run_set(r, step);
    }
    return SG_OK;
}

static sg_status run_steps(chat_run *r, const sg_chat_step *step)
{
    for (; step != NULL; step = step->next)
        SG_TRY(run_step(r, step));
    return SG_OK;
}

// ---- the whole --------------------------------------------------------------------------------

static sg_status run_messages(chat_run *r, const sg_chat_message *messages, size_t count,
                              sg_chat_value *out)
{
    void *items;
    SG_TRY(run_alloc(r, count * sizeof *out, 0, &items));
    for (size_t i = 0; i < count; i++) {
        const char *parts[2][2] = {{"role", messages[i].role}, {"content", messages[i].content}};
        sg_chat_value map = {.type = SG_CHAT_IS_MAP};
        for (int p = 0; p < 2; p++) {
            size_t bytes = strlen(parts[p][1]);
            if (sg_utf8_valid_prefix(parts[p][1], bytes) != bytes)
                return sg_fail(r->err, SG_ERR_ARGUMENT, "message %zu: \"%s\" is not UTF-8", i + 1,
                               parts[p][0]);
            SG_TRY(run_put(r, &map, parts[p][0], run_string(parts[p][1], bytes)));
        }
        ((sg_chat_value *)items)[i] = map;
    }
    *out = (sg_chat_value){.type = SG_CHAT_IS_LIST, .items = items, .count = count};
    return SG_OK;
}

// The names that Hugging Face gives a template: without tools and documents these are none.
static sg_status run_names(chat_run *r, const sg_chat_message *messages, size_t count, bool answer)
{
    sg_chat_value list, *names = &r->scope->names, none = {.type = SG_CHAT_IS_NONE};
    SG_TRY(run_messages(r, messages, count, &list));
    SG_TRY(run_put(r, names, "messages", list));
    SG_TRY(run_put(r, names, "add_generation_prompt", run_bool(answer)));
    SG_TRY(run_put(r, names, "tools", none));
    SG_TRY(run_put(r, names, "documents", none));
    const char *tokens[2][2] = {{"bos_token", r->chat->bos}, {"eos_token", r->chat->eos}};
    for (int i = 0; i < 2; i++)
        if (tokens[i][1] != NULL)
            SG_TRY(run_put(r, names, tokens[i][0], run_string(tokens[i][1], strlen(tokens[i][1]))));
    return SG_OK;
}

sg_status sg_chat_render(const sg_chat *chat, const sg_chat_message *messages, size_t count,
                         bool answer, char **text, size_t *bytes, sg_error *err)
{
    *text = NULL;
    *bytes = 0;
    chat_scope scope = {0};
    chat_run run = {.chat = chat, .scope = &scope, .err = err};
    sg_status status = run_names(&run, messages, count, answer);
    if (status == SG_OK) status = run_steps(&run, chat->steps);
    if (status == SG_OK && !sg_bytes_add(&run.out, "", 1)) status = run_no_memory(&run);
    sg_arena_free(&run.arena);
    if (status != SG_OK) {
        sg_free(run.out.data);
        return status;
    }
    *text = run.out.data;
    *bytes = run.out.count - 1;
    return SG_OK;
}
