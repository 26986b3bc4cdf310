// Chat templates: the Jinja that comes with a model and makes one text of the messages of a chat.
// Its public face is in sgatlin.h; here is the tree between the parser (chat_parse.c, chat_expr.c)
// and the interpreter (chat_render.c, chat_eval.c). Written is what Jinja 3.1 does with
// trim_blocks, lstrip_blocks and loop controls in the immutable sandbox, as Hugging Face sets it
// up. All of the language is read; what the interpreter has not is refused when a chat comes to it.
#ifndef SG_TEXT_CHAT_TEMPLATE_H
#define SG_TEXT_CHAT_TEMPLATE_H

#include "base/arena.h"
#include "base/status.h"

enum {
    SG_CHAT_SOURCE_MAX = 1 << 20, // bytes of a template
    SG_CHAT_DEPTH_MAX = 100,      // blocks in blocks, expressions in expressions
};

typedef enum sg_chat_kind {
    SG_CHAT_STRING,  // text
    SG_CHAT_INTEGER, // integer
    SG_CHAT_REAL,    // real
    SG_CHAT_TRUE,
    SG_CHAT_FALSE,
    SG_CHAT_NONE,
    SG_CHAT_NAME,      // text
    SG_CHAT_BODY,      // what a block around it wrote
    SG_CHAT_ATTRIBUTE, // a.text
    SG_CHAT_ITEM,      // a[b]
    SG_CHAT_SLICE,     // a[b:c:d]
    SG_CHAT_CALL,      // a(args)
    SG_CHAT_FILTER,    // a | text(args)
    SG_CHAT_TEST,      // a is text args
    SG_CHAT_LIST,      // [args]
    SG_CHAT_TUPLE,     // (args)
    SG_CHAT_MAP,       // {args}: keys and values by turns
    SG_CHAT_NOT,
    SG_CHAT_NEGATIVE,
    SG_CHAT_POSITIVE,
    SG_CHAT_AND,
    SG_CHAT_OR,
    SG_CHAT_CHOICE,  // a if b else c
    SG_CHAT_BINARY,  // a op b
    SG_CHAT_COMPARE, // a < args[0] < args[1] ..., by each one's comparison
    SG_CHAT_CONCAT   // args[0] ~ args[1] ~ ...
} sg_chat_kind;

typedef enum sg_chat_op {
    SG_CHAT_NO_OP,
    SG_CHAT_ADD,
    SG_CHAT_SUBTRACT,
    SG_CHAT_MULTIPLY,
    SG_CHAT_DIVIDE,
    SG_CHAT_FLOOR,
    SG_CHAT_MODULO,
    SG_CHAT_POWER,
    SG_CHAT_EQUAL,
    SG_CHAT_UNEQUAL,
    SG_CHAT_LESS_EQUAL,
    SG_CHAT_GREATER_EQUAL,
    SG_CHAT_LESS,
    SG_CHAT_GREATER,
    SG_CHAT_IN,
    SG_CHAT_NOT_IN
} sg_chat_op;

typedef struct sg_chat_expr {
    sg_chat_kind kind;
    sg_chat_op op;         // of a binary
    sg_chat_op comparison; // in front of this operand of a comparison
    size_t line;
    const char *text; // NUL-terminated; (bytes)
    size_t bytes;
    int64_t integer;
    double real;
    struct sg_chat_expr *a, *b, *c, *d; // NULL where left out
    struct sg_chat_expr *args, *next;   // a list of arguments, or of operands
    const char *keyword;                // as an argument: its name, or NULL
    int stars;                          // as an argument: 1: *list, 2: **map
} sg_chat_expr;

typedef enum sg_chat_step_kind {
    SG_CHAT_STEP_TEXT,      // text
    SG_CHAT_STEP_PRINT,     // exprs
    SG_CHAT_STEP_IF,        // expr, body, otherwise: NULL, an IF, or the steps of else
    SG_CHAT_STEP_FOR,       // target in expr if condition, body, otherwise
    SG_CHAT_STEP_SET,       // target = expr
    SG_CHAT_STEP_SET_BLOCK, // target = expr of body
    SG_CHAT_STEP_MACRO,     // name, params, body
    SG_CHAT_STEP_CALL,      // expr with params, body as its caller
    SG_CHAT_STEP_FILTER,    // expr of body
    SG_CHAT_STEP_WITH,      // params (targets in a, values in b), body
    SG_CHAT_STEP_INLINE,    // body
    SG_CHAT_STEP_BREAK,
    SG_CHAT_STEP_CONTINUE,
    SG_CHAT_STEP_REFUSED // name: a statement that is not supported
} sg_chat_step_kind;

// Names that a macro's body uses, which decide what it can be called with.
enum { SG_CHAT_USES_CALLER = 1, SG_CHAT_USES_VARARGS = 2, SG_CHAT_USES_KWARGS = 4 };

typedef struct sg_chat_step {
    sg_chat_step_kind kind;
    size_t line;
    const char *text;
    size_t bytes;
    const char *name;
    sg_chat_expr *target; // NAME, ATTRIBUTE of a NAME, or TUPLE of targets
    sg_chat_expr *expr, *condition;
    sg_chat_expr *params; // NAMEs, their defaults in a
    bool recursive, is_else;
    int uses;
    struct sg_chat_step *body, *otherwise, *next;
} sg_chat_step;

// Parses into the arena. `name` is what errors call the template.
sg_status sg_chat_parse(const char *source, size_t bytes, const char *name, sg_arena *arena,
                        sg_chat_step **steps, sg_error *err);

// ---- the inside of the parser -----------------------------------------------------------------

typedef struct sg_chat_reader {
    const char *text; // NUL behind it
    size_t bytes, at;
    const char *name;
    sg_arena *arena;
    sg_error *err;
    int depth;
    int uses; // of the macro that is being read
    int loops;
    // White space: what the tag before asks of the text behind it.
    bool strip, trim, line_starts;
    char tag[16];         // of the block that ended a list of steps: "else", "endif", …
    size_t line, line_at; // the line, from 0, that text[line_at] is on
} sg_chat_reader;

size_t sg_chat_line(sg_chat_reader *r);
sg_status sg_chat_wrong(sg_chat_reader *r, const char *expected);
sg_status sg_chat_no_memory(const sg_chat_reader *r);
void *sg_chat_new_node(sg_chat_reader *r, size_t bytes);
void sg_chat_skip(sg_chat_reader *r);
bool sg_chat_ahead(const sg_chat_reader *r, const char *text);
// Whether a word, or sign, comes next; takes it if it does.
bool sg_chat_take(sg_chat_reader *r, const char *text);
bool sg_chat_sees(sg_chat_reader *r, const char *text);
// A name, copied; NULL in *name when there is none.
sg_status sg_chat_name(sg_chat_reader *r, const char **name);
sg_status sg_chat_make(sg_chat_reader *r, sg_chat_kind kind, sg_chat_expr *a, sg_chat_expr *b,
                       sg_chat_expr **out);
// An expression with "... if ... else ..."; one without; several with commas, which are a tuple.
sg_status sg_chat_expression(sg_chat_reader *r, sg_chat_expr **out);
sg_status sg_chat_tuple(sg_chat_reader *r, bool choice, sg_chat_expr **out);
sg_status sg_chat_condition(sg_chat_reader *r, sg_chat_expr **out);
// name, name.attribute or a list of them.
sg_status sg_chat_target(sg_chat_reader *r, bool attributes, sg_chat_expr **out);
// (a, b=1), whose opening sign is taken.
sg_status sg_chat_signature(sg_chat_reader *r, sg_chat_expr **out);
// Filters behind *e; at_once: a first one without its sign.
sg_status sg_chat_filters(sg_chat_reader *r, bool at_once, sg_chat_expr **e);

#endif
