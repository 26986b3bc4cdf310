// Running the expressions of a chat template.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "text/chat.h"
#include "text/chat_value.h"

sg_status sg_chat_enter(sg_chat_run *r)
{
    SG_TRY(sg_chat_pay(r, SG_CHAT_STEP_COST));
    if (++r->nesting > SG_CHAT_NESTING_MAX)
        return sg_chat_refuse(r, SG_ERR_FORMAT, "nests too deep");
    return SG_OK;
}

// ---- members and items ------------------------------------------------------------------------

static int eval_shown(size_t bytes)
{
    return bytes > 60 ? 60 : (int)bytes;
}

static sg_status eval_undefined_has(sg_chat_run *r, const sg_chat_value *a, const char *name,
                                    size_t bytes)
{
    bool known = a->text != NULL;
    return sg_chat_refuse(r, SG_ERR_ARGUMENT, "%.*s is undefined and has no %.*s",
                          known ? eval_shown(a->count) : 9, known ? a->text : "the value",
                          eval_shown(bytes), name);
}

static sg_status eval_loop_member(sg_chat_run *r, sg_chat_loop *loop, const sg_chat_value *name,
                                  sg_chat_value *out)
{
    bool all =
        sg_chat_is(name, "length") || sg_chat_is(name, "revindex") || sg_chat_is(name, "revindex0");
    if (all || sg_chat_is(name, "last") || sg_chat_is(name, "nextitem"))
        SG_TRY(sg_chat_loop_look(r, loop, all ? SIZE_MAX : loop->index + 2));
    const struct {
        const char *name;
        sg_chat_value value;
    } members[] = {{"first", sg_chat_bool(loop->index == 0)},
                   {"last", sg_chat_bool(loop->index + 1 == loop->count)},
                   {"index", sg_chat_integer((int64_t)loop->index + 1)},
                   {"index0", sg_chat_integer((int64_t)loop->index)},
                   {"revindex", sg_chat_integer((int64_t)(loop->count - loop->index))},
                   {"revindex0", sg_chat_integer((int64_t)(loop->count - loop->index) - 1)},
                   {"length", sg_chat_integer((int64_t)loop->count)},
                   {"depth", sg_chat_integer(loop->depth + 1)},
                   {"depth0", sg_chat_integer(loop->depth)}};
    for (size_t i = 0; i < sizeof members / sizeof *members; i++)
        if (sg_chat_is(name, members[i].name)) *out = members[i].value;
    if (sg_chat_is(name, "previtem") && loop->index > 0) *out = loop->items[loop->index - 1];
    if (sg_chat_is(name, "nextitem") && loop->index + 1 < loop->count)
        *out = loop->items[loop->index + 1];
    return SG_OK;
}

static sg_status eval_map_member(sg_chat_run *r, const sg_chat_map *map, const char *name,
                                 size_t bytes, sg_chat_value *out)
{
    sg_chat_value key = sg_chat_string(name, bytes), *found;
    SG_TRY(sg_chat_get(r, map, &key, &found));
    if (found != NULL) *out = *found;
    return SG_OK;
}

sg_status sg_chat_attribute(sg_chat_run *r, const sg_chat_value *a, const char *name, size_t bytes,
                            sg_chat_value *out)
{
    sg_chat_value key = sg_chat_string(name, bytes);
    *out = sg_chat_undefined(name, bytes);
    if (a->type == SG_CHAT_IS_UNDEFINED) return eval_undefined_has(r, a, name, bytes);
    const sg_chat_row *row = sg_chat_method_row(a, name, bytes);
    if (row != NULL && row->required < 0) return SG_OK; // hidden by the sandbox
    if (row != NULL) {
        void *made;
        SG_TRY(sg_chat_memory(r, sizeof(sg_chat_method), &made));
        *out = (sg_chat_value){.type = SG_CHAT_IS_METHOD, .method = made};
        *out->method = (sg_chat_method){*a, row};
        return SG_OK;
    }
    if (a->type == SG_CHAT_IS_LOOP) return eval_loop_member(r, a->loop, &key, out);
    if (a->type == SG_CHAT_IS_MACRO && sg_chat_is(&key, "name"))
        *out = sg_chat_word(a->macro->name);
    if (a->type == SG_CHAT_IS_CYCLER && sg_chat_is(&key, "current"))
        *out = a->cycler->items[a->cycler->at];
    if (a->type == SG_CHAT_IS_TUPLE && a->view != 0) { // of groupby
        if (sg_chat_is(&key, "grouper")) *out = a->items[0];
        if (sg_chat_is(&key, "list")) *out = a->items[1];
    }
    // Names with two underscores are Python's own, which the sandbox hides.
    bool hidden = bytes > 2 && name[0] == '_' && name[1] == '_' && a->type != SG_CHAT_IS_NAMESPACE;
    if ((a->type == SG_CHAT_IS_MAP && !hidden) || a->type == SG_CHAT_IS_NAMESPACE)
        return eval_map_member(r, a->map, name, bytes, out);
    return SG_OK;
}

static sg_status eval_at(sg_chat_run *r, const sg_chat_value *a, int64_t at, sg_chat_value *out)
{
    size_t length;
    SG_TRY(sg_chat_length(r, a, &length));
    int64_t count = (int64_t)length;
    if (at < 0) at += count;
    if (at < 0 || at >= count) return SG_OK;
    if (a->type != SG_CHAT_IS_STRING) {
        *out = a->items[at];
        return SG_OK;
    }
    const char *text = a->text;
    uint32_t code;
    for (; at > 0; at--)
        text += sg_utf8_decode_valid(text, &code);
    *out = sg_chat_string(text, (size_t)sg_utf8_decode_valid(text, &code));
    return SG_OK;
}

sg_status sg_chat_item(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *key,
                       sg_chat_value *out)
{
    bool word = key->type == SG_CHAT_IS_STRING;
    *out = key->type == SG_CHAT_IS_STRING ? sg_chat_undefined(key->text, key->count)
                                          : sg_chat_undefined(NULL, 0);
    if (a->type == SG_CHAT_IS_UNDEFINED)
        return eval_undefined_has(r, a, word ? key->text : "item", word ? key->count : 4);
    if (a->type == SG_CHAT_IS_MAP && sg_chat_can_be_key(key)) {
        sg_chat_value *found;
        SG_TRY(sg_chat_get(r, a->map, key, &found));
        if (found != NULL) *out = *found;
        if (found != NULL || key->type != SG_CHAT_IS_STRING) return SG_OK;
    }
    if (sg_chat_is_whole(key) && (a->type == SG_CHAT_IS_STRING || a->type == SG_CHAT_IS_LIST ||
                                  a->type == SG_CHAT_IS_TUPLE || a->type == SG_CHAT_IS_RANGE))
        return eval_at(r, a, key->integer, out);
    // Python has no such item; the attribute of that name is tried then.
    if (key->type == SG_CHAT_IS_STRING) return sg_chat_attribute(r, a, key->text, key->count, out);
    return SG_OK;
}

sg_status sg_chat_path(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *path,
                       sg_chat_value *out)
{
    *out = *a;
    if (path->type != SG_CHAT_IS_STRING) {
        sg_chat_value from = *a;
        return sg_chat_item(r, &from, path, out);
    }
    for (size_t at = 0; at <= path->count;) {
        const char *dot = memchr(path->text + at, '.', path->count - at);
        size_t end = dot == NULL ? path->count : (size_t)(dot - path->text);
        int64_t number = 0;
        bool digits = end > at && end - at < 18;
        for (size_t i = at; i < end && digits; i++) {
            digits = path->text[i] >= '0' && path->text[i] <= '9';
            number = number * 10 + (path->text[i] - '0');
        }
        sg_chat_value from = *out, key = sg_chat_string(path->text + at, end - at);
        if (digits) key = sg_chat_integer(number);
        SG_TRY(sg_chat_item(r, &from, &key, out));
        at = end + 1;
    }
    return SG_OK;
}

// ---- slices -----------------------------------------------------------------------------------

// A bound of a slice, as Python clips it.
static sg_status eval_bound(sg_chat_run *r, const sg_chat_expr *e, int64_t otherwise, int64_t low,
                            int64_t high, int64_t count, int64_t *out)
{
    *out = otherwise;
    if (e == NULL) return SG_OK;
    sg_chat_value v;
    SG_TRY(sg_chat_eval(r, e, &v));
    if (v.type == SG_CHAT_IS_NONE) return SG_OK;
    if (!sg_chat_is_whole(&v))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a slice from or to %s", sg_chat_type_name(&v));
    *out = v.integer < 0 ? v.integer + count : v.integer;
    if (*out < low) *out = low;
    if (*out > high) *out = high;
    return SG_OK;
}

// The items, or characters, from begin on, `length` of them, `step` apart.
static sg_status eval_pick(sg_chat_run *r, const sg_chat_value *a, int64_t begin, int64_t step,
                           size_t length, sg_chat_value *out)
{
    const sg_chat_value *all;
    size_t count;
    sg_chat_value *items;
    SG_TRY(sg_chat_each(r, a, &all, &count));
    if (a->type == SG_CHAT_IS_STRING && step == 1) {
        const char *from = length > 0 ? all[begin].text : a->text;
        const char *to = length > 0 ? all[(size_t)begin + length - 1].text : from;
        *out = sg_chat_string(from, (size_t)(to - from) +
                                        (length > 0 ? all[(size_t)begin + length - 1].count : 0));
        return SG_OK;
    }
    SG_TRY(sg_chat_new_items(r, length, &items));
    for (size_t i = 0; i < length; i++)
        items[i] = all[begin + (int64_t)i * step];
    *out = sg_chat_list(a->type, items, length);
    if (a->type != SG_CHAT_IS_STRING) return SG_OK;
    sg_bytes made = {0};
    for (size_t i = 0; i < length; i++)
        if (!sg_bytes_add(&made, items[i].text, items[i].count)) {
            sg_free(made.data);
            return sg_fail(r->err, SG_ERR_MEMORY, "out of memory for the chat");
        }
    return sg_chat_keep(r, &made, out);
}

static sg_status eval_slice(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value a, step = sg_chat_integer(1);
    size_t length;
    SG_TRY(sg_chat_eval(r, e->a, &a));
    if (e->d != NULL) SG_TRY(sg_chat_eval(r, e->d, &step));
    if (step.type == SG_CHAT_IS_NONE) step = sg_chat_integer(1);
    r->line = e->line;
    // Jinja works out what is constant beforehand, by other rules.
    bool constant = e->a->kind >= SG_CHAT_INTEGER && e->a->kind <= SG_CHAT_NONE;
    *out = sg_chat_undefined(NULL, 0);
    if (constant) return SG_OK;
    if (a.type == SG_CHAT_IS_UNDEFINED) return eval_undefined_has(r, &a, "items", 5);
    if (a.type != SG_CHAT_IS_STRING && a.type != SG_CHAT_IS_LIST && a.type != SG_CHAT_IS_TUPLE &&
        a.type != SG_CHAT_IS_RANGE)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a slice of %s", sg_chat_type_name(&a));
    if (!sg_chat_is_whole(&step) || step.integer == 0 || step.integer == INT64_MIN)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a slice with such a step");
    SG_TRY(sg_chat_length(r, &a, &length));
    int64_t count = (int64_t)length, begin, end, by = step.integer;
    bool back = by < 0;
    SG_TRY(eval_bound(r, e->b, back ? count - 1 : 0, back ? -1 : 0, back ? count - 1 : count, count,
                      &begin));
    SG_TRY(eval_bound(r, e->c, back ? -1 : count, back ? -1 : 0, back ? count - 1 : count, count,
                      &end));
    int64_t span = back ? begin - end : end - begin, size = back ? -by : by;
    return eval_pick(r, &a, begin, by, span <= 0 ? 0 : (size_t)((span - 1) / size + 1), out);
}

// ---- operators --------------------------------------------------------------------------------

static sg_status eval_join(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b,
                           sg_chat_value *out)
{
    sg_chat_value left = *a, right = *b;
    bool markup = a->markup || b->markup;
    if (markup && !a->markup) SG_TRY(sg_chat_escape(r, a, &left));
    if (markup && !b->markup) SG_TRY(sg_chat_escape(r, b, &right));
    void *text;
    SG_TRY(sg_chat_memory(r, left.count + right.count, &text));
    memcpy(text, left.text, left.count);
    memcpy((char *)text + left.count, right.text, right.count);
    *out = sg_chat_string(text, left.count + right.count);
    out->markup = markup;
    return SG_OK;
}

static sg_status eval_append(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b,
                             sg_chat_value *out)
{
    sg_chat_value *items;
    SG_TRY(sg_chat_new_items(r, a->count + b->count, &items));
    if (a->count > 0) memcpy(items, a->items, a->count * sizeof *items);
    if (b->count > 0) memcpy(items + a->count, b->items, b->count * sizeof *items);
    *out = sg_chat_list(a->type, items, a->count + b->count);
    return SG_OK;
}

// A text, list or tuple `times` times.
static sg_status eval_repeat(sg_chat_run *r, const sg_chat_value *a, int64_t times,
                             sg_chat_value *out)
{
    size_t one = a->type == SG_CHAT_IS_STRING ? 1 : sizeof *a, bytes = a->count * one;
    if (times < 0 || bytes == 0) times = 0;
    if (bytes > 0 && times > SG_CHAT_BYTES_MAX / (int64_t)bytes)
        return sg_chat_refuse(r, SG_ERR_FORMAT, "makes too much text");
    void *made;
    SG_TRY(sg_chat_memory(r, bytes * (size_t)times, &made));
    for (int64_t i = 0; i < times; i++)
        memcpy((char *)made + (size_t)i * bytes, a->text, bytes);
    *out = *a;
    out->text = made;
    out->count = a->count * (size_t)times;
    return SG_OK;
}

static sg_status eval_real(sg_chat_run *r, sg_chat_op op, double a, double b, sg_chat_value *out)
{
    double made = 0;
    if (b == 0 && (op == SG_CHAT_DIVIDE || op == SG_CHAT_FLOOR || op == SG_CHAT_MODULO))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a division by zero");
    if (op == SG_CHAT_ADD) made = a + b;
    if (op == SG_CHAT_SUBTRACT) made = a - b;
    if (op == SG_CHAT_MULTIPLY) made = a * b;
    if (op == SG_CHAT_DIVIDE) made = a / b;
    if (op == SG_CHAT_FLOOR || op == SG_CHAT_MODULO) { // Python's float_divmod
        double rest = fmod(a, b), whole = (a - rest) / b;
        if (rest != 0 && (b < 0) != (rest < 0)) {
            rest += b;
            whole -= 1;
        }
        if (rest == 0) rest = copysign(0, b);
        double floored = whole == 0 ? copysign(0, a / b) : floor(whole);
        if (whole - floored > 0.5) floored += 1;
        made = op == SG_CHAT_MODULO ? rest : floored;
    }
    if (op == SG_CHAT_POWER) {
        if ((a == 0 && b < 0) || (a < 0 && b != floor(b)))
            return sg_chat_refuse(r, SG_ERR_ARGUMENT, "such a power");
        made = pow(a, b);
    }
    *out = sg_chat_real(made);
    return SG_OK;
}

static bool eval_power(int64_t base, int64_t exponent, int64_t *out)
{
    int64_t made = 1;
    bool over = false;
    while (exponent > 0 && !over) {
        if (exponent & 1) over = __builtin_mul_overflow(made, base, &made);
        exponent >>= 1;
        if (exponent > 0) over = over || __builtin_mul_overflow(base, base, &base);
    }
    *out = made;
    return over;
}

static sg_status eval_whole(sg_chat_run *r, sg_chat_op op, int64_t a, int64_t b, sg_chat_value *out)
{
    int64_t made = 0;
    bool over = false;
    if (b == 0 && (op == SG_CHAT_FLOOR || op == SG_CHAT_MODULO))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "a division by zero");
    if (op == SG_CHAT_DIVIDE || (op == SG_CHAT_POWER && b < 0))
        return eval_real(r, op, (double)a, (double)b, out);
    if (op == SG_CHAT_ADD) over = __builtin_add_overflow(a, b, &made);
    if (op == SG_CHAT_SUBTRACT) over = __builtin_sub_overflow(a, b, &made);
    if (op == SG_CHAT_MULTIPLY) over = __builtin_mul_overflow(a, b, &made);
    if (op == SG_CHAT_POWER) over = eval_power(a, b, &made);
    if (op == SG_CHAT_FLOOR || op == SG_CHAT_MODULO) {
        over = b == -1 && a == INT64_MIN;
        if (!over) { // Python rounds down
            int64_t rest = a % b;
            bool down = rest != 0 && (rest < 0) != (b < 0);
            made = op == SG_CHAT_MODULO ? rest + (down ? b : 0) : a / b - (down ? 1 : 0);
        }
    }
    if (over) return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "a number beyond 64 bits");
    *out = sg_chat_integer(made);
    return SG_OK;
}

static sg_status eval_operate(sg_chat_run *r, sg_chat_op op, const sg_chat_value *a,
                              const sg_chat_value *b, sg_chat_value *out)
{
    static const char *const signs[] = {"", "+", "-", "*", "/", "//", "%", "**"};
    bool row = a->type == b->type && (a->type == SG_CHAT_IS_LIST || a->type == SG_CHAT_IS_TUPLE);
    bool texts = a->type == SG_CHAT_IS_STRING && b->type == SG_CHAT_IS_STRING;
    if (a->type == SG_CHAT_IS_STRING && op == SG_CHAT_MODULO) return sg_chat_percent(r, a, b, out);
    if (texts && op == SG_CHAT_ADD) return eval_join(r, a, b, out);
    if (row && op == SG_CHAT_ADD) return eval_append(r, a, b, out);
    if (op == SG_CHAT_MULTIPLY && sg_chat_is_whole(b) && a->type >= SG_CHAT_IS_STRING &&
        a->type <= SG_CHAT_IS_TUPLE)
        return eval_repeat(r, a, b->integer, out);
    if (op == SG_CHAT_MULTIPLY && sg_chat_is_whole(a) && b->type >= SG_CHAT_IS_STRING &&
        b->type <= SG_CHAT_IS_TUPLE)
        return eval_repeat(r, b, a->integer, out);
    if (sg_chat_is_whole(a) && sg_chat_is_whole(b))
        return eval_whole(r, op, a->integer, b->integer, out);
    if (sg_chat_is_number(a) && sg_chat_is_number(b))
        return eval_real(r, op, sg_chat_number(a), sg_chat_number(b), out);
    return sg_chat_refuse(r, SG_ERR_ARGUMENT, "\"%s\" of %s and %s", signs[op],
                          sg_chat_type_name(a), sg_chat_type_name(b));
}

sg_status sg_chat_add(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b,
                      sg_chat_value *out)
{
    return eval_operate(r, SG_CHAT_ADD, a, b, out);
}

static sg_status eval_compare_two(sg_chat_run *r, sg_chat_op op, const sg_chat_value *a,
                                  const sg_chat_value *b, bool *truth)
{
    int order;
    switch (op) {
    case SG_CHAT_EQUAL:
    case SG_CHAT_UNEQUAL:
        SG_TRY(sg_chat_equal(r, a, b, truth));
        *truth = *truth == (op == SG_CHAT_EQUAL);
        return SG_OK;
    case SG_CHAT_IN:
    case SG_CHAT_NOT_IN:
        SG_TRY(sg_chat_contains(r, b, a, truth));
        *truth = *truth == (op == SG_CHAT_IN);
        return SG_OK;
    default:
        SG_TRY(sg_chat_order(r, a, b, &order));
        *truth = op == SG_CHAT_LESS         ? order == -1
                 : op == SG_CHAT_GREATER    ? order == 1
                 : op == SG_CHAT_LESS_EQUAL ? order == -1 || order == 0
                                            : order == 1 || order == 0;
        return SG_OK;
    }
}

static sg_status eval_compare(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value a, b;
    bool truth = true;
    SG_TRY(sg_chat_eval(r, e->a, &a));
    for (const sg_chat_expr *next = e->args; next != NULL && truth; next = next->next) {
        SG_TRY(sg_chat_eval(r, next, &b));
        r->line = e->line;
        SG_TRY(eval_compare_two(r, next->comparison, &a, &b, &truth));
        a = b;
    }
    *out = sg_chat_bool(truth);
    return SG_OK;
}

// a ~ b ~ c: one text of all.
static sg_status eval_concat(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value *parts;
    size_t count = 0, bytes = 0, at = 0;
    for (const sg_chat_expr *i = e->args; i != NULL; i = i->next)
        count++;
    SG_TRY(sg_chat_new_items(r, count, &parts));
    for (const sg_chat_expr *i = e->args; i != NULL; i = i->next) {
        SG_TRY(sg_chat_eval(r, i, &parts[at]));
        SG_TRY(sg_chat_str(r, &parts[at], &parts[at]));
        bytes += parts[at++].count;
    }
    void *text;
    SG_TRY(sg_chat_memory(r, bytes, &text));
    *out = sg_chat_string(text, bytes);
    for (size_t i = 0; i < count; i++) {
        memcpy(text, parts[i].text, parts[i].count);
        text = (char *)text + parts[i].count;
    }
    return SG_OK;
}

static sg_status eval_sign(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value v;
    SG_TRY(sg_chat_eval(r, e->a, &v));
    r->line = e->line;
    if (!sg_chat_is_number(&v))
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "no sign for %s", sg_chat_type_name(&v));
    bool minus = e->kind == SG_CHAT_NEGATIVE;
    if (v.type == SG_CHAT_IS_REAL) {
        *out = sg_chat_real(minus ? -v.real : v.real);
        return SG_OK;
    }
    if (v.integer == INT64_MIN && minus)
        return sg_chat_refuse(r, SG_ERR_UNSUPPORTED, "a number beyond 64 bits");
    *out = sg_chat_integer(minus ? -v.integer : v.integer);
    return SG_OK;
}

// ---- lists, calls -----------------------------------------------------------------------------

static sg_status eval_list(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    size_t count = 0;
    sg_chat_value *items;
    for (const sg_chat_expr *i = e->args; i != NULL; i = i->next)
        count++;
    SG_TRY(sg_chat_new_items(r, count, &items));
    size_t at = 0;
    for (const sg_chat_expr *i = e->args; i != NULL; i = i->next)
        SG_TRY(sg_chat_eval(r, i, &items[at++]));
    *out = sg_chat_list(e->kind == SG_CHAT_LIST ? SG_CHAT_IS_LIST : SG_CHAT_IS_TUPLE, items, count);
    return SG_OK;
}

static sg_status eval_map(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    SG_TRY(sg_chat_new_map(r, 0, out));
    for (const sg_chat_expr *i = e->args; i != NULL; i = i->next->next) {
        sg_chat_value key, value;
        SG_TRY(sg_chat_eval(r, i, &key));
        SG_TRY(sg_chat_eval(r, i->next, &value));
        r->line = e->line;
        SG_TRY(sg_chat_put(r, out->map, &key, &value));
    }
    return SG_OK;
}

// Adds the pairs of a map, as **map does.
static sg_status eval_spread(sg_chat_run *r, const sg_chat_value *from, sg_chat_map *names)
{
    if (from->type != SG_CHAT_IS_MAP)
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "** of %s", sg_chat_type_name(from));
    for (size_t i = 0; i < from->map->count; i++)
        SG_TRY(sg_chat_put(r, names, &from->map->pairs[i].key, &from->map->pairs[i].value));
    return SG_OK;
}

sg_status sg_chat_eval_args(sg_chat_run *r, const sg_chat_expr *list, sg_chat_args *out)
{
    sg_chat_value *items, names = {0}, v;
    size_t count = 0;
    for (const sg_chat_expr *e = list; e != NULL; e = e->next)
        count++;
    SG_TRY(sg_chat_new_items(r, count, &items));
    *out = (sg_chat_args){.items = items};
    for (const sg_chat_expr *e = list; e != NULL; e = e->next) {
        SG_TRY(sg_chat_eval(r, e, &v));
        if (e->stars == 1) {
            sg_chat_value so_far = sg_chat_list(SG_CHAT_IS_LIST, items, out->count), more = v;
            more.type = SG_CHAT_IS_LIST;
            SG_TRY(sg_chat_each(r, &v, &more.items, &more.count));
            SG_TRY(eval_append(r, &so_far, &more, &so_far));
            SG_TRY(sg_chat_new_items(r, so_far.count + count, &items));
            if (so_far.count > 0) memcpy(items, so_far.items, so_far.count * sizeof *items);
            out->items = items;
            out->count = so_far.count;
            continue;
        }
        if (e->stars == 0 && e->keyword == NULL) {
            items[out->count++] = v;
            continue;
        }
        if (out->names == NULL) SG_TRY(sg_chat_new_map(r, 2, &names));
        out->names = names.map;
        sg_chat_value key = sg_chat_word(e->keyword != NULL ? e->keyword : "");
        SG_TRY(e->stars == 2 ? eval_spread(r, &v, names.map) : sg_chat_put(r, names.map, &key, &v));
    }
    return SG_OK;
}

sg_status sg_chat_call(sg_chat_run *r, const sg_chat_value *callee, const sg_chat_args *args,
                       sg_chat_value *out)
{
    switch (callee->type) {
    case SG_CHAT_IS_FUNCTION:
        return sg_chat_apply(r, "function", callee->row, NULL, args, out);
    case SG_CHAT_IS_METHOD:
        return sg_chat_apply(r, "method", callee->method->row, &callee->method->self, args, out);
    case SG_CHAT_IS_MACRO:
        return sg_chat_call_macro(r, callee->macro, args, out);
    case SG_CHAT_IS_LOOP:
        if (args->count != 1 || args->names != NULL)
            return sg_chat_refuse(r, SG_ERR_ARGUMENT, "loop() of other than one list");
        return sg_chat_call_loop(r, callee->loop, &args->items[0], out);
    case SG_CHAT_IS_JOINER:
        *out = callee->cycler->at++ == 0 ? sg_chat_string("", 0) : callee->cycler->items[0];
        return SG_OK;
    case SG_CHAT_IS_UNDEFINED:
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "%.*s is undefined and cannot be called",
                              callee->text != NULL ? eval_shown(callee->count) : 9,
                              callee->text != NULL ? callee->text : "the value");
    default:
        return sg_chat_refuse(r, SG_ERR_ARGUMENT, "%s cannot be called", sg_chat_type_name(callee));
    }
}

static sg_status eval_call(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value callee;
    sg_chat_args args;
    SG_TRY(sg_chat_eval(r, e->a, &callee));
    SG_TRY(sg_chat_eval_args(r, e->args, &args));
    r->line = e->line;
    return sg_chat_call(r, &callee, &args, out);
}

static sg_status eval_applied(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value self;
    sg_chat_args args;
    SG_TRY(sg_chat_eval(r, e->a, &self));
    SG_TRY(sg_chat_eval_args(r, e->args, &args));
    r->line = e->line;
    size_t bytes = strlen(e->text);
    return e->kind == SG_CHAT_TEST ? sg_chat_apply_test(r, e->text, bytes, &self, &args, out)
                                   : sg_chat_apply_filter(r, e->text, bytes, &self, &args, out);
}

// ---- the kinds --------------------------------------------------------------------------------

static sg_status eval_name(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    const sg_chat_value *found;
    *out = sg_chat_undefined(e->text, e->bytes);
    SG_TRY(sg_chat_find(r, e->text, &found));
    const sg_chat_row *row = found == NULL ? sg_chat_global_row(e->text) : NULL;
    if (found != NULL) *out = *found;
    if (row != NULL) *out = (sg_chat_value){.type = SG_CHAT_IS_FUNCTION, .row = row};
    return SG_OK;
}

static sg_status eval_two(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value a, b;
    SG_TRY(sg_chat_eval(r, e->a, &a));
    SG_TRY(sg_chat_eval(r, e->b, &b));
    r->line = e->line;
    return e->kind == SG_CHAT_ITEM ? sg_chat_item(r, &a, &b, out)
                                   : eval_operate(r, e->op, &a, &b, out);
}

static sg_status eval_choice(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value v;
    if (e->kind == SG_CHAT_CHOICE) {
        SG_TRY(sg_chat_eval(r, e->b, &v));
        *out = sg_chat_undefined(NULL, 0);
        if (sg_chat_truth(&v)) return sg_chat_eval(r, e->a, out);
        return e->c == NULL ? SG_OK : sg_chat_eval(r, e->c, out);
    }
    SG_TRY(sg_chat_eval(r, e->a, out));
    if (e->kind == SG_CHAT_NOT) {
        *out = sg_chat_bool(!sg_chat_truth(out));
        return SG_OK;
    }
    return sg_chat_truth(out) == (e->kind == SG_CHAT_AND) ? sg_chat_eval(r, e->b, out) : SG_OK;
}

static sg_status eval_kind(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    sg_chat_value v;
    switch (e->kind) {
    case SG_CHAT_STRING:
        *out = sg_chat_string(e->text, e->bytes);
        return SG_OK;
    case SG_CHAT_INTEGER:
        *out = sg_chat_integer(e->integer);
        return SG_OK;
    case SG_CHAT_REAL:
        *out = sg_chat_real(e->real);
        return SG_OK;
    case SG_CHAT_TRUE:
    case SG_CHAT_FALSE:
        *out = sg_chat_bool(e->kind == SG_CHAT_TRUE);
        return SG_OK;
    case SG_CHAT_NONE:
        *out = sg_chat_none();
        return SG_OK;
    case SG_CHAT_NAME:
        return eval_name(r, e, out);
    case SG_CHAT_BODY:
        *out = r->body;
        return SG_OK;
    case SG_CHAT_ATTRIBUTE:
        SG_TRY(sg_chat_eval(r, e->a, &v));
        r->line = e->line;
        return sg_chat_attribute(r, &v, e->text, e->bytes, out);
    case SG_CHAT_ITEM:
    case SG_CHAT_BINARY:
        return eval_two(r, e, out);
    case SG_CHAT_SLICE:
        return eval_slice(r, e, out);
    case SG_CHAT_CALL:
        return eval_call(r, e, out);
    case SG_CHAT_FILTER:
    case SG_CHAT_TEST:
        return eval_applied(r, e, out);
    case SG_CHAT_LIST:
    case SG_CHAT_TUPLE:
        return eval_list(r, e, out);
    case SG_CHAT_MAP:
        return eval_map(r, e, out);
    case SG_CHAT_NEGATIVE:
    case SG_CHAT_POSITIVE:
        return eval_sign(r, e, out);
    case SG_CHAT_NOT:
    case SG_CHAT_AND:
    case SG_CHAT_OR:
    case SG_CHAT_CHOICE:
        return eval_choice(r, e, out);
    case SG_CHAT_COMPARE:
        return eval_compare(r, e, out);
    case SG_CHAT_CONCAT:
        return eval_concat(r, e, out);
    }
    return SG_OK;
}

sg_status sg_chat_eval(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out)
{
    r->line = e->line;
    SG_TRY(sg_chat_enter(r));
    SG_TRY(eval_kind(r, e, out));
    r->nesting--;
    return SG_OK;
}
