// Values of a chat template while it runs, and the run itself: what it may still cost, where it is.
// Lists and maps never change once they are made (the sandbox forbids it), so values share them; a
// namespace alone can be written to. Everything lies in the arena of the run.
#ifndef SG_TEXT_CHAT_VALUE_H
#define SG_TEXT_CHAT_VALUE_H

#include "base/arena.h"
#include "base/status.h"
#include "text/chat_template.h"
#include "text/unicode.h"

typedef enum sg_chat_type {
    SG_CHAT_IS_ABSENT, // an argument that was not given
    SG_CHAT_IS_UNDEFINED,
    SG_CHAT_IS_NONE,
    SG_CHAT_IS_BOOL, // integer, 0 or 1
    SG_CHAT_IS_INTEGER,
    SG_CHAT_IS_REAL,
    SG_CHAT_IS_STRING,
    SG_CHAT_IS_LIST,
    SG_CHAT_IS_TUPLE,
    SG_CHAT_IS_RANGE,
    SG_CHAT_IS_VIEW,     // keys(), values(), items() of a map
    SG_CHAT_IS_ITERATOR, // what map, select and the like give: gone through once
    SG_CHAT_IS_MAP,
    SG_CHAT_IS_NAMESPACE, // a map whose members can be set
    SG_CHAT_IS_LOOP,
    SG_CHAT_IS_MACRO,
    SG_CHAT_IS_FUNCTION, // of the table in chat_globals.c
    SG_CHAT_IS_METHOD,   // of a value
    SG_CHAT_IS_CYCLER,
    SG_CHAT_IS_JOINER
} sg_chat_type;

typedef enum sg_chat_view { SG_CHAT_ITEMS, SG_CHAT_KEYS, SG_CHAT_VALUES } sg_chat_view;

typedef struct sg_chat_value {
    sg_chat_type type;
    unsigned char markup; // of a string: safe or escape made it
    unsigned char view;   // of a view: sg_chat_view
    union {
        int64_t integer;
        double real;
        const char *
            text; // (count bytes) of a string, no NUL behind it; of an undefined value its name, or
                  // NULL
        const struct sg_chat_value *items; // list, tuple, range, view (count)
        struct sg_chat_map *map;           // map, namespace
        struct sg_chat_iterator *iterator;
        struct sg_chat_loop *loop;
        struct sg_chat_macro *macro;
        const struct sg_chat_row *row; // function
        struct sg_chat_method *method;
        struct sg_chat_cycler *cycler; // joiner too
    };
    size_t count;
} sg_chat_value;

typedef struct sg_chat_pair {
    sg_chat_value key, value;
} sg_chat_pair;

typedef struct sg_chat_map {
    sg_chat_pair *pairs; // (count) in order of insertion
    size_t count, capacity;
} sg_chat_map;

typedef struct sg_chat_iterator {
    const sg_chat_value *items;
    size_t count, at;
} sg_chat_iterator;

// What passes the condition of the loop is found when it is asked for, since rounds may change what
// the condition sees.
typedef struct sg_chat_loop {
    const sg_chat_value *source; // (source_count), of which looked_at were looked at
    size_t source_count, looked_at;
    sg_chat_value *items; // (count) those that passed
    size_t count, index;
    int64_t depth; // of recursion, from 0
    const struct sg_chat_step *step;
    struct sg_chat_scope *scope; // around the loop
    sg_chat_value changed;       // what loop.changed was last called with; absent: never
} sg_chat_loop;

typedef struct sg_chat_macro {
    const char *name;
    const struct sg_chat_step *step;
    struct sg_chat_scope *scope; // where it was defined
} sg_chat_macro;

typedef struct sg_chat_method {
    sg_chat_value self;
    const struct sg_chat_row *row;
} sg_chat_method;

typedef struct sg_chat_cycler {
    const sg_chat_value *items; // of a joiner: the one it gives from the second time on
    size_t count, at;
} sg_chat_cycler;

// Names. A loop's round, a macro and some blocks have their own: what is set there is gone with
// them.
typedef struct sg_chat_scope {
    struct sg_chat_scope *outer;
    struct sg_chat_variable *first;
} sg_chat_scope;

typedef enum sg_chat_jump { SG_CHAT_GOES_ON, SG_CHAT_BREAKS, SG_CHAT_CONTINUES } sg_chat_jump;

typedef struct sg_chat_run {
    const struct sg_chat *chat;
    const struct sg_chat_options *options;
    sg_arena arena;
    sg_chat_scope *scope;
    sg_chat_scope *global;
    sg_bytes out;
    int64_t work, next_stop; // units left, and those at which the caller is asked whether to stop
    size_t bytes;
    int nesting;
    sg_chat_jump jump;
    sg_chat_value body; // what SG_CHAT_BODY stands for
    size_t line;
    sg_error *err;
} sg_chat_run;

// ---- what a run may cost (chat_value.c) -------------------------------------------------------

// Steps are paid by what they touch: a unit is some nanoseconds.
enum {
    SG_CHAT_STEP_COST = 16,
    SG_CHAT_ITEM_COST = 4,
    SG_CHAT_BYTES_PER_UNIT = 4,
    SG_CHAT_BYTES_MAX = 256 << 20, // that a run makes, all in all
    SG_CHAT_NESTING_MAX = 500,     // expressions and blocks in one another while they run
    SG_CHAT_VALUE_DEPTH_MAX = 200, // lists in lists
};
sg_status sg_chat_pay(sg_chat_run *r, size_t units);
sg_status sg_chat_pay_bytes(sg_chat_run *r, size_t bytes);
sg_status sg_chat_pay_items(sg_chat_run *r, size_t items);
// Memory of the run, paid for. Of texts: bytes + 1.
sg_status sg_chat_memory(sg_chat_run *r, size_t bytes, void **out);
sg_status sg_chat_new_items(sg_chat_run *r, size_t count, sg_chat_value **items);

// What the template should not have done (SG_ERR_ARGUMENT), or we cannot (SG_ERR_UNSUPPORTED, which
// puts "is not supported" behind); begins with the template's name and the line.
sg_status sg_chat_refuse(sg_chat_run *r, sg_status code, const char *format, ...) SG_PRINTF(3, 4);

// ---- values (chat_value.c) --------------------------------------------------------------------

sg_chat_value sg_chat_undefined(const char *name, size_t bytes); // name: NULL: none
sg_chat_value sg_chat_none(void);
sg_chat_value sg_chat_bool(bool truth);
sg_chat_value sg_chat_integer(int64_t integer);
sg_chat_value sg_chat_real(double real);
sg_chat_value sg_chat_string(const char *text, size_t bytes);
sg_chat_value sg_chat_word(const char *text); // a string
sg_chat_value sg_chat_list(sg_chat_type type, const sg_chat_value *items, size_t count);
sg_status sg_chat_iterator_of(sg_chat_run *r, const sg_chat_value *items, size_t count,
                              sg_chat_value *out);
// A copy of text made with malloc's like.
sg_status sg_chat_keep(sg_chat_run *r, sg_bytes *made, sg_chat_value *out);

// What the type is called in errors.
const char *sg_chat_type_name(const sg_chat_value *value);
bool sg_chat_truth(const sg_chat_value *value);
bool sg_chat_is_number(const sg_chat_value *value); // a bool is one
bool sg_chat_is_whole(const sg_chat_value *value);  // an integer or a bool
double sg_chat_number(const sg_chat_value *value);
bool sg_chat_is(const sg_chat_value *value, const char *text); // that string
// Characters of a text.
size_t sg_chat_characters(const char *text, size_t bytes);
// Python's == and < (-1, 0, 1; refused where there is no order).
sg_status sg_chat_equal(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b, bool *out);
sg_status sg_chat_order(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b, int *out);
sg_status sg_chat_contains(sg_chat_run *r, const sg_chat_value *whole, const sg_chat_value *part,
                           bool *out);
// The items of whatever can be gone through. An iterator is then used up.
sg_status sg_chat_each(sg_chat_run *r, const sg_chat_value *value, const sg_chat_value **items,
                       size_t *count);
// len(): of undefined 0.
sg_status sg_chat_length(sg_chat_run *r, const sg_chat_value *value, size_t *count);

bool sg_chat_can_be_key(const sg_chat_value *key);
// *value is NULL when there is no such key.
sg_status sg_chat_get(sg_chat_run *r, const sg_chat_map *map, const sg_chat_value *key,
                      sg_chat_value **value);
sg_status sg_chat_put(sg_chat_run *r, sg_chat_map *map, const sg_chat_value *key,
                      const sg_chat_value *value);
sg_status sg_chat_new_map(sg_chat_run *r, size_t capacity, sg_chat_value *out);
sg_status sg_chat_view_of(sg_chat_run *r, const sg_chat_map *map, sg_chat_view view,
                          sg_chat_value *out);

// White space (Python's) taken from the ends of a text: returns where it then begins.
const char *sg_chat_strip(const char *text, size_t *bytes, bool left, bool right);
bool sg_chat_space_at(const char *text, size_t *length);

// ---- text of values (chat_text.c) -------------------------------------------------------------

// Python's str() and repr().
sg_status sg_chat_str(sg_chat_run *r, const sg_chat_value *value, sg_chat_value *out);
sg_status sg_chat_repr(sg_chat_run *r, const sg_chat_value *value, sg_chat_value *out);
typedef struct sg_chat_json_form {
    bool ascii, sort;
    const char *indent; // (indent_bytes) NULL: on one line
    size_t indent_bytes;
    sg_chat_value item_separator, key_separator;
} sg_chat_json_form;
sg_status sg_chat_json(sg_chat_run *r, const sg_chat_value *value, const sg_chat_json_form *form,
                       sg_chat_value *out);
// Python's repr of a double; text holds 40 bytes.
void sg_chat_real_text(double real, char *text);
// A value read from JSON. name: what errors call it.
sg_status sg_chat_from_json(sg_chat_run *r, const char *json, const char *name, sg_chat_value *out);
// <, >, &, quotes as HTML has them.
sg_status sg_chat_escape(sg_chat_run *r, const sg_chat_value *text, sg_chat_value *out);

// ---- upper and lower case (chat_case.c) -------------------------------------------------------

typedef enum sg_chat_case { SG_CHAT_LOWER, SG_CHAT_UPPER, SG_CHAT_TITLE } sg_chat_case;
// A text in the case `first` for its first character and `rest` for the others.
sg_status sg_chat_recase(sg_chat_run *r, const sg_chat_value *text, sg_chat_case first,
                         sg_chat_case rest, sg_chat_value *out);
// Letters with two cases: which one this is. 0: neither.
int sg_chat_case_of(uint32_t code); // 1: lower, 2: upper or title

// ---- formats (chat_format.c) ------------------------------------------------------------------

// text % values, text.format(values, names).
sg_status sg_chat_percent(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *values,
                          sg_chat_value *out);
sg_status sg_chat_format(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *values,
                         const sg_chat_map *names, sg_chat_value *out);

// ---- functions --------------------------------------------------------------------------------

enum { SG_CHAT_ARGUMENTS = 8 }; // of a function, with the value it works on

// v[0] is what a filter, test or method works on (absent for a function), v[1] … its arguments in
// the order of the row's parameters, absent where not given.
typedef sg_status (*sg_chat_function)(sg_chat_run *r, const sg_chat_value *v, sg_chat_value *out);
typedef struct sg_chat_row {
    const char *name;
    int required; // arguments that must be given
    const char
        *params; // names, a space between; * takes all that are left (a tuple), ** those with
                 // names (a map); / at the end: by place only
    sg_chat_function run; // NULL: known to Jinja, not to us
} sg_chat_row;

typedef struct sg_chat_args {
    const sg_chat_value *items; // (count) by place
    size_t count;
    const sg_chat_map *names; // NULL: none
} sg_chat_args;

const sg_chat_row *sg_chat_filter_row(const char *name, size_t bytes); // NULL: unknown
const sg_chat_row *sg_chat_test_row(const char *name, size_t bytes);
const sg_chat_row *sg_chat_method_row(const sg_chat_value *self, const char *name, size_t bytes);
const sg_chat_row *sg_chat_global_row(const char *name);
// kind: "filter", "test", … for errors.
sg_status sg_chat_apply(sg_chat_run *r, const char *kind, const sg_chat_row *row,
                        const sg_chat_value *self, const sg_chat_args *args, sg_chat_value *out);
// By name, as map('upper') does.
sg_status sg_chat_apply_filter(sg_chat_run *r, const char *name, size_t bytes,
                               const sg_chat_value *self, const sg_chat_args *args,
                               sg_chat_value *out);
sg_status sg_chat_apply_test(sg_chat_run *r, const char *name, size_t bytes,
                             const sg_chat_value *self, const sg_chat_args *args,
                             sg_chat_value *out);

// ---- evaluation (chat_eval.c, chat_render.c) --------------------------------------------------

sg_status sg_chat_eval(sg_chat_run *r, const sg_chat_expr *e, sg_chat_value *out);
sg_status sg_chat_eval_args(sg_chat_run *r, const sg_chat_expr *list, sg_chat_args *out);
sg_status sg_chat_call(sg_chat_run *r, const sg_chat_value *callee, const sg_chat_args *args,
                       sg_chat_value *out);
sg_status sg_chat_call_macro(sg_chat_run *r, const sg_chat_macro *macro, const sg_chat_args *args,
                             sg_chat_value *out);
sg_status sg_chat_call_loop(sg_chat_run *r, sg_chat_loop *loop, const sg_chat_value *items,
                            sg_chat_value *out);
// a.name and a[key], as the sandbox's getattr and getitem.
sg_status sg_chat_attribute(sg_chat_run *r, const sg_chat_value *a, const char *name, size_t bytes,
                            sg_chat_value *out);
sg_status sg_chat_item(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *key,
                       sg_chat_value *out);
// Makes items be known up to the number wanted, or all there are.
sg_status sg_chat_loop_look(sg_chat_run *r, sg_chat_loop *loop, size_t wanted);
// "a.b.0" step by step, or a key: what selectattr and the like look up.
sg_status sg_chat_path(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *path,
                       sg_chat_value *out);
sg_status sg_chat_add(sg_chat_run *r, const sg_chat_value *a, const sg_chat_value *b,
                      sg_chat_value *out);
// A variable; NULL: none of that name.
sg_status sg_chat_find(sg_chat_run *r, const char *name, const sg_chat_value **value);
sg_status sg_chat_set(sg_chat_run *r, sg_chat_scope *scope, const char *name,
                      const sg_chat_value *value);
sg_status sg_chat_new_scope(sg_chat_run *r, sg_chat_scope *outer, sg_chat_scope **scope);
sg_status sg_chat_enter(sg_chat_run *r); // one deeper; left by r->nesting--

#endif
