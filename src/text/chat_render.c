// Running a chat template over messages: statements, scopes, macros. Everything it makes lies in
// one arena; what it may cost is bounded, so that no template can run forever.
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "text/chat.h"
#include "text/chat_value.h"

typedef struct sg_chat_variable {
    const char *name;
    sg_chat_value value;
    struct sg_chat_variable *next;
} sg_chat_variable;

// ---- scopes -----------------------------------------------------------------------------------

sg_status sg_chat_new_scope(sg_chat_run *r, sg_chat_scope *outer, sg_chat_scope **scope)
{
    void *made;
    SG_TRY(sg_chat_memory(r, sizeof **scope, &made));
    *scope = made;
    **scope = (sg_chat_scope){.outer = outer};
    return SG_OK;
}

sg_status sg_chat_find(sg_chat_run *r, const char *name, const sg_chat_value **value)
{
    size_t looked_at = 0;
    *value = NULL;
    for (const sg_chat_scope *s = r->scope; s != NULL && *value == NULL; s = s->outer)
        for (const sg_chat_variable *v = s->first; v != NULL && *value == NULL; v = v->next) {
            if (strcmp(v->name, name) == 0) *value = &v->value;
            looked_at++;
        }
    return sg_chat_pay(r, looked_at);
}

sg_status sg_chat_set(sg_chat_run *r, sg_chat_scope *scope, const char *name,
                      const sg_chat_value *value)
{
    size_t looked_at = 1;
    for (sg_chat_variable *v = scope->first; v != NULL; v = v->next, looked_at++)
        if (strcmp(v->name, name) == 0) {
            v->value = *value;
            return sg_chat_pay(r, looked_at);
        }
    void *made;
    SG_TRY(sg_chat_pay(r, looked_at));
    SG_TRY(sg_chat_memory(r, sizeof(sg_chat_variable), &made));
    *(sg_chat_variable *)made = (sg_chat_variable){name, *value, scope->first};
    scope->first = made;
    return SG_OK;
}

// Sets name, name.attribute, or several of them to the items of the value.
static sg_status run_assign(sg_chat_run *r, sg_chat_scope *scope, const sg_chat_expr *target,
                            const sg_chat_value *value)
{
    r->line = target->line;
    if (target->kind == SG_CHAT_NAME) return sg_chat_set(r, scope, target->text, value);
    if (target->kind == SG_CHAT_ATTRIBUTE) {
        const sg_chat_value *space;
        SG_TRY(sg_chat_find(r, target->a->text, &space));
        if (space == NULL || space->type != SG_CHAT_IS_NAMESPACE)
            return sg_chat_refuse(r, SG_ERR_ARGUMENT,
                                  "attributes are set of a namespace only, not of %.60s",
                                  target->a->text);
        sg_chat_value key = sg_chat_string(target->text, target->bytes);
        return sg_chat_put(r, space->map, &key, value);
    }
    const sg_chat_value *items;
    size_t count, wanted = 0, at = 0;
    SG_TRY(sg_chat_each(r, value, &items, &count));
    for (const sg_chat_expr *t = target->args; t != NULL; t = t->next)
        wanted++;
    if (count != wanted)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "%zu values for %zu names", count, wanted);
    for (const sg_chat_expr *t = target->args; t != NULL; t = t->next)
        SG_TRY(run_assign(r, scope, t, &items[at++]));
    return SG_OK;
}

// ---- steps ------------------------------------------------------------------------------------

static sg_status run_steps(sg_chat_run *r, const sg_chat_step *step);

static sg_status run_write(sg_chat_run *r, const char *text, size_t bytes)
{
    if ((r->bytes += bytes) > SG_CHAT_BYTES_MAX)
        return sg_chat_refuse(r, SG_ERR_FORMAT, "makes too much text");
    SG_TRY(sg_chat_pay_bytes(r, bytes));
    if (sg_bytes_add(&r->out, text, bytes)) return SG_OK;
    return sg_fail(r->err, SG_ERR_MEMORY, "out of memory for the chat");
}

// Runs steps in a scope; what they write becomes *out instead.
static sg_status run_captured(sg_chat_run *r, const sg_chat_step *steps, sg_chat_scope *scope,
                              sg_chat_value *out)
{
    size_t begin = r->out.count, bytes;
    sg_chat_scope *before = r->scope;
    void *text;
    SG_TRY(sg_chat_enter(r));
    r->scope = scope;
    SG_TRY(run_steps(r, steps));
    r->scope = before;
    r->nesting--;
    bytes = r->out.count - begin;
    SG_TRY(sg_chat_memory(r, bytes, &text));
    if (bytes > 0) memcpy(text, r->out.data + begin, bytes);
    r->out.count = begin;
    *out = sg_chat_string(text, bytes);
    return SG_OK;
}

// Runs the body of a block, then what the block's filters make of it.
static sg_status run_filtered(sg_chat_run *r, const sg_chat_step *step, sg_chat_value *out)
{
    sg_chat_scope *scope;
    SG_TRY(sg_chat_new_scope(r, r->scope, &scope));
    SG_TRY(run_captured(r, step->body, scope, &r->body));
    return r->jump == SG_CHAT_GOES_ON ? sg_chat_eval(r, step->expr, out) : SG_OK;
}

static sg_status run_print(sg_chat_run *r, const sg_chat_value *value)
{
    sg_chat_value text;
    SG_TRY(sg_chat_str(r, value, &text));
    return run_write(r, text.text, text.count);
}

static sg_status run_if(sg_chat_run *r, const sg_chat_step *step)
{
    sg_chat_value v;
    while (step != NULL && step->kind == SG_CHAT_STEP_IF) {
        SG_TRY(sg_chat_eval(r, step->expr, &v));
        if (sg_chat_truth(&v)) return run_steps(r, step->body);
        if (step->otherwise == NULL || step->is_else) {
            step = step->otherwise;
            break;
        }
        step = step->otherwise;
    }
    return run_steps(r, step);
}

// ---- loops ------------------------------------------------------------------------------------

sg_status sg_chat_loop_look(sg_chat_run *r, sg_chat_loop *loop, size_t wanted)
{
    while (loop->count < wanted && loop->looked_at < loop->source_count) {
        const sg_chat_value *item = &loop->source[loop->looked_at++];
        sg_chat_value truth;
        sg_chat_scope *scope, *before = r->scope;
        size_t line = r->line;
        SG_TRY(sg_chat_new_scope(r, loop->scope, &scope));
        SG_TRY(run_assign(r, scope, loop->step->target, item));
        r->scope = scope;
        SG_TRY(sg_chat_eval(r, loop->step->condition, &truth));
        r->scope = before;
        r->line = line;
        if (sg_chat_truth(&truth)) loop->items[loop->count++] = *item;
    }
    return SG_OK;
}

static sg_status run_new_loop(sg_chat_run *r, const sg_chat_step *step, sg_chat_scope *outer,
                              const sg_chat_value *list, int64_t depth, sg_chat_loop **out)
{
    void *made;
    SG_TRY(sg_chat_memory(r, sizeof **out, &made));
    sg_chat_loop *loop = *out = made;
    *loop = (sg_chat_loop){.depth = depth, .step = step, .scope = outer};
    SG_TRY(sg_chat_each(r, list, &loop->source, &loop->source_count));
    SG_TRY(sg_chat_new_items(r, loop->source_count, &loop->items));
    if (step->condition != NULL) return SG_OK;
    if (loop->source_count > 0)
        memcpy(loop->items, loop->source, loop->source_count * sizeof *loop->items);
    loop->count = loop->looked_at = loop->source_count;
    return SG_OK;
}

static sg_status run_loop(sg_chat_run *r, const sg_chat_step *step, sg_chat_scope *outer,
                          const sg_chat_value *list, int64_t depth)
{
    sg_chat_loop *loop;
    sg_chat_scope *scope, *before = r->scope;
    bool whole = false;
    SG_TRY(run_new_loop(r, step, outer, list, depth, &loop));
    for (;; loop->index++) {
        SG_TRY(sg_chat_loop_look(r, loop, loop->index + 1));
        if (loop->index == loop->count) break;
        sg_chat_value state = {.type = SG_CHAT_IS_LOOP, .loop = loop};
        SG_TRY(sg_chat_new_scope(r, outer, &scope));
        SG_TRY(sg_chat_set(r, scope, "loop", &state));
        SG_TRY(run_assign(r, scope, step->target, &loop->items[loop->index]));
        r->scope = scope;
        SG_TRY(run_steps(r, step->body));
        r->scope = before;
        bool breaks = r->jump == SG_CHAT_BREAKS;
        whole = whole || r->jump == SG_CHAT_GOES_ON;
        r->jump = SG_CHAT_GOES_ON;
        if (breaks) break;
    }
    // Jinja's else runs where no round came to its end.
    if (whole || step->otherwise == NULL) return SG_OK;
    SG_TRY(sg_chat_new_scope(r, outer, &r->scope));
    SG_TRY(run_steps(r, step->otherwise));
    r->scope = before;
    return SG_OK;
}

static sg_status run_for(sg_chat_run *r, const sg_chat_step *step)
{
    sg_chat_value list;
    SG_TRY(sg_chat_eval(r, step->expr, &list));
    return run_loop(r, step, r->scope, &list, 0);
}

sg_status sg_chat_call_loop(sg_chat_run *r, sg_chat_loop *loop, const sg_chat_value *items,
                            sg_chat_value *out)
{
    size_t begin = r->out.count, bytes;
    void *text;
    if (!loop->step->recursive)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "loop() in a loop that is not recursive");
    SG_TRY(sg_chat_enter(r));
    SG_TRY(run_loop(r, loop->step, loop->scope, items, loop->depth + 1));
    r->nesting--;
    bytes = r->out.count - begin;
    SG_TRY(sg_chat_memory(r, bytes, &text));
    if (bytes > 0) memcpy(text, r->out.data + begin, bytes);
    r->out.count = begin;
    *out = sg_chat_string(text, bytes);
    return SG_OK;
}

// ---- macros -----------------------------------------------------------------------------------

// Gives the parameters their values: by place, by name, or the default, which sees those before it.
// *used: how many names were.
static sg_status run_parameters(sg_chat_run *r, const sg_chat_macro *macro,
                                const sg_chat_args *args, sg_chat_scope *scope, size_t *used)
{
    size_t at = 0;
    *used = 0;
    for (const sg_chat_expr *p = macro->step->params; p != NULL; p = p->next, at++) {
        sg_chat_value value = sg_chat_undefined(p->text, p->bytes), *named = NULL,
                      key = sg_chat_string(p->text, p->bytes);
        if (at < args->count) {
            value = args->items[at];
        } else if (args->names != NULL) {
            SG_TRY(sg_chat_get(r, args->names, &key, &named));
            if (named != NULL) value = *named;
            *used += named != NULL;
        }
        if (at >= args->count && named == NULL && p->a != NULL) {
            sg_chat_scope *before = r->scope;
            r->scope = scope;
            SG_TRY(sg_chat_eval(r, p->a, &value));
            r->scope = before;
        }
        SG_TRY(sg_chat_set(r, scope, p->text, &value));
    }
    return SG_OK;
}

// What is left of the names when the parameters and the caller have taken theirs.
static sg_status run_rest(sg_chat_run *r, const sg_chat_macro *macro, const sg_chat_args *args,
                          sg_chat_value *out)
{
    SG_TRY(sg_chat_new_map(r, 0, out));
    for (size_t i = 0; args->names != NULL && i < args->names->count; i++) {
        const sg_chat_pair *pair = &args->names->pairs[i];
        bool taken = sg_chat_is(&pair->key, "caller");
        for (const sg_chat_expr *p = macro->step->params; p != NULL && !taken; p = p->next)
            taken = sg_chat_is(&pair->key, p->text);
        if (!taken) SG_TRY(sg_chat_put(r, out->map, &pair->key, &pair->value));
    }
    return SG_OK;
}

static sg_status run_bind(sg_chat_run *r, const sg_chat_macro *macro, const sg_chat_args *args,
                          sg_chat_scope *scope)
{
    int uses = macro->step->uses;
    size_t used, params = 0, names = args->names == NULL ? 0 : args->names->count;
    sg_chat_value caller_key = sg_chat_word("caller"), *caller = NULL, rest;
    SG_TRY(run_parameters(r, macro, args, scope, &used));
    for (const sg_chat_expr *p = macro->step->params; p != NULL; p = p->next)
        params++;
    if (uses & SG_CHAT_USES_CALLER) {
        sg_chat_value none = sg_chat_undefined("caller", 6);
        if (args->names != NULL) SG_TRY(sg_chat_get(r, args->names, &caller_key, &caller));
        SG_TRY(sg_chat_set(r, scope, "caller", caller != NULL ? caller : &none));
        used += caller != NULL;
    }
    if (uses & SG_CHAT_USES_KWARGS) {
        SG_TRY(run_rest(r, macro, args, &rest));
        SG_TRY(sg_chat_set(r, scope, "kwargs", &rest));
    } else if (used < names) {
        return sg_chat_refuse(r, SG_ERR_ARGUMENT,
                              "the macro %.60s was given a name that it does not take, or twice",
                              macro->name);
    }
    size_t more = args->count > params ? args->count - params : 0;
    rest = sg_chat_list(SG_CHAT_IS_TUPLE, more > 0 ? &args->items[params] : NULL, more);
    if (uses & SG_CHAT_USES_VARARGS) return sg_chat_set(r, scope, "varargs", &rest);
    if (more == 0) return SG_OK;
    return sg_chat_refuse(r, SG_ERR_ARGUMENT, "the macro %.60s takes no more than %zu arguments",
                          macro->name, params);
}

sg_status sg_chat_call_macro(sg_chat_run *r, const sg_chat_macro *macro, const sg_chat_args *args,
                             sg_chat_value *out)
{
    sg_chat_scope *scope;
    size_t line = r->line;
    SG_TRY(sg_chat_new_scope(r, macro->scope, &scope));
    SG_TRY(run_bind(r, macro, args, scope));
    SG_TRY(run_captured(r, macro->step->body, scope, out));
    r->line = line;
    return SG_OK;
}

static sg_status run_new_macro(sg_chat_run *r, const sg_chat_step *step, const char *name,
                               sg_chat_value *out)
{
    void *made;
    SG_TRY(sg_chat_memory(r, sizeof(sg_chat_macro), &made));
    *out = (sg_chat_value){.type = SG_CHAT_IS_MACRO, .macro = made};
    *out->macro = (sg_chat_macro){name, step, r->scope};
    return SG_OK;
}

static sg_status run_macro(sg_chat_run *r, const sg_chat_step *step)
{
    sg_chat_value macro;
    SG_TRY(run_new_macro(r, step, step->name, &macro));
    return sg_chat_set(r, r->scope, step->name, &macro);
}

// {% call f(x) %}: f gets the body as the macro `caller`.
static sg_status run_call(sg_chat_run *r, const sg_chat_step *step)
{
    sg_chat_value callee, caller, names, key = sg_chat_word("caller"), out;
    sg_chat_args args;
    SG_TRY(sg_chat_eval(r, step->expr->a, &callee));
    SG_TRY(sg_chat_eval_args(r, step->expr->args, &args));
    SG_TRY(run_new_macro(r, step, "caller", &caller));
    SG_TRY(sg_chat_new_map(r, 2, &names));
    for (size_t i = 0; args.names != NULL && i < args.names->count; i++)
        SG_TRY(sg_chat_put(r, names.map, &args.names->pairs[i].key, &args.names->pairs[i].value));
    SG_TRY(sg_chat_put(r, names.map, &key, &caller));
    args.names = names.map;
    r->line = step->line;
    SG_TRY(sg_chat_call(r, &callee, &args, &out));
    return run_print(r, &out);
}

// ---- other blocks -----------------------------------------------------------------------------

static sg_status run_with(sg_chat_run *r, const sg_chat_step *step)
{
    sg_chat_scope *scope, *before = r->scope;
    sg_chat_value value;
    SG_TRY(sg_chat_new_scope(r, r->scope, &scope));
    for (const sg_chat_expr *p = step->params; p != NULL; p = p->next) {
        SG_TRY(sg_chat_eval(r, p->b, &value));
        SG_TRY(run_assign(r, scope, p->a, &value));
    }
    r->scope = scope;
    SG_TRY(run_steps(r, step->body));
    r->scope = before;
    return SG_OK;
}

static sg_status run_step(sg_chat_run *r, const sg_chat_step *step)
{
    sg_chat_value v;
    switch (step->kind) {
    case SG_CHAT_STEP_TEXT:
        return run_write(r, step->text, step->bytes);
    case SG_CHAT_STEP_PRINT:
        SG_TRY(sg_chat_eval(r, step->expr, &v));
        return run_print(r, &v);
    case SG_CHAT_STEP_IF:
        return run_if(r, step);
    case SG_CHAT_STEP_FOR:
        return run_for(r, step);
    case SG_CHAT_STEP_SET:
        SG_TRY(sg_chat_eval(r, step->expr, &v));
        return run_assign(r, r->scope, step->target, &v);
    case SG_CHAT_STEP_SET_BLOCK:
        SG_TRY(run_filtered(r, step, &v));
        return r->jump == SG_CHAT_GOES_ON ? run_assign(r, r->scope, step->target, &v) : SG_OK;
    case SG_CHAT_STEP_MACRO:
        return run_macro(r, step);
    case SG_CHAT_STEP_CALL:
        return run_call(r, step);
    case SG_CHAT_STEP_FILTER:
        SG_TRY(run_filtered(r, step, &v));
        return r->jump == SG_CHAT_GOES_ON ? run_print(r, &v) : SG_OK;
    case SG_CHAT_STEP_WITH:
        return run_with(r, step);
    case SG_CHAT_STEP_INLINE:
        return run_steps(r, step->body);
    case SG_CHAT_STEP_BREAK:
    case SG_CHAT_STEP_CONTINUE:
        r->jump = step->kind == SG_CHAT_STEP_BREAK ? SG_CHAT_BREAKS : SG_CHAT_CONTINUES;
        return SG_OK;
    case SG_CHAT_STEP_REFUSED:
        break;
    }
    return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "the statement %.60s", step->name);
}

static sg_status run_steps(sg_chat_run *r, const sg_chat_step *step)
{
    SG_TRY(sg_chat_enter(r));
    for (; step != NULL && r->jump == SG_CHAT_GOES_ON; step = step->next) {
        r->line = step->line;
        SG_TRY(sg_chat_pay(r, SG_CHAT_STEP_COST));
        SG_TRY(run_step(r, step));
    }
    r->nesting--;
    return SG_OK;
}

// ---- the whole --------------------------------------------------------------------------------

static sg_status run_message(sg_chat_run *r, const sg_chat_message *message, size_t number,
                             sg_chat_value *out)
{
    char name[48];
    snprintf(name, sizeof name, "message %zu", number);
    if (message->json != NULL) {
        SG_TRY(sg_chat_from_json(r, message->json, name, out));
        return out->type == SG_CHAT_IS_MAP
                   ? SG_OK
                   : sg_fail(r->err, SG_ERR_ARGUMENT, "%s: expected an object", name);
    }
    const char *parts[2][2] = {{"role", message->role}, {"content", message->content}};
    SG_TRY(sg_chat_new_map(r, 2, out));
    for (int p = 0; p < 2; p++) {
        size_t bytes = parts[p][1] == NULL ? 0 : strlen(parts[p][1]);
        if (bytes > 0 && sg_utf8_valid_prefix(parts[p][1], bytes) != bytes)
            return sg_fail(r->err, SG_ERR_ARGUMENT, "%s: \"%s\" is not UTF-8", name, parts[p][0]);
        sg_chat_value key = sg_chat_word(parts[p][0]), value = sg_chat_none();
        if (parts[p][1] != NULL) value = sg_chat_string(parts[p][1], bytes);
        SG_TRY(sg_chat_put(r, out->map, &key, &value));
    }
    return SG_OK;
}

// A name whose value is JSON, or none.
static sg_status run_given(sg_chat_run *r, const char *name, const char *json)
{
    sg_chat_value value = sg_chat_none();
    if (json != NULL) SG_TRY(sg_chat_from_json(r, json, name, &value));
    return sg_chat_set(r, r->scope, name, &value);
}

// Every member of a JSON object as a variable.
static sg_status run_variables(sg_chat_run *r, const char *json, const char *name)
{
    sg_chat_value map;
    if (json == NULL) return SG_OK;
    SG_TRY(sg_chat_from_json(r, json, name, &map));
    if (map.type != SG_CHAT_IS_MAP)
        return sg_fail(r->err, SG_ERR_ARGUMENT, "%s: expected a JSON object", name);
    for (size_t i = 0; i < map.map->count; i++) // keys of JSON have a NUL behind them
        SG_TRY(sg_chat_set(r, r->scope, map.map->pairs[i].key.text, &map.map->pairs[i].value));
    return SG_OK;
}

// The names that Hugging Face gives a template.
static sg_status run_names(sg_chat_run *r, const sg_chat_message *messages, size_t count)
{
    sg_chat_value *items, list, answer = sg_chat_bool(r->options->answer);
    SG_TRY(sg_chat_new_scope(r, NULL, &r->scope));
    SG_TRY(sg_chat_new_items(r, count, &items));
    for (size_t i = 0; i < count; i++)
        SG_TRY(run_message(r, &messages[i], i + 1, &items[i]));
    list = sg_chat_list(SG_CHAT_IS_LIST, items, count);
    SG_TRY(run_variables(r, r->chat->tokens, "special tokens"));
    const char *tokens[2][2] = {{"bos_token", r->chat->bos}, {"eos_token", r->chat->eos}};
    for (int i = 0; i < 2; i++) {
        if (tokens[i][1] == NULL) continue;
        sg_chat_value token = sg_chat_word(tokens[i][1]);
        SG_TRY(sg_chat_set(r, r->scope, tokens[i][0], &token));
    }
    SG_TRY(sg_chat_set(r, r->scope, "messages", &list));
    SG_TRY(sg_chat_set(r, r->scope, "add_generation_prompt", &answer));
    SG_TRY(run_given(r, "tools", r->options->tools));
    SG_TRY(run_given(r, "documents", r->options->documents));
    return run_variables(r, r->options->variables, "variables");
}

sg_chat_options sg_chat_options_default(void)
{
    // Some seconds at most; a long chat with tools takes a thousandth of it.
    return (sg_chat_options){.answer = true, .work = 1 << 27};
}

sg_status sg_chat_render(const sg_chat *chat, const sg_chat_message *messages, size_t count,
                         const sg_chat_options *options, char **text, size_t *bytes, sg_error *err)
{
    const sg_chat_options usual = sg_chat_options_default();
    if (options == NULL) options = &usual;
    *text = NULL;
    *bytes = 0;
    sg_chat_run run = {.chat = chat, .options = options, .err = err, .line = 1};
    run.work = run.next_stop = options->work;
    sg_status status = run_names(&run, messages, count);
    if (status == SG_OK) status = run_steps(&run, chat->steps);
    if (status == SG_OK && !sg_bytes_add(&run.out, "", 1))
        status = sg_fail(err, SG_ERR_MEMORY, "out of memory for the chat");
    sg_arena_free(&run.arena);
    if (status != SG_OK) {
        sg_free(run.out.data);
        return status;
    }
    *text = run.out.data;
    *bytes = run.out.count - 1;
    return SG_OK;
}
