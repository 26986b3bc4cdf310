// Chat templates: the Jinja that comes with a model and makes one text of the messages of a chat. Its
// public face is in sgatlin.h; here is the tree between the parser (chat_parse.c) and the evaluator
// (chat_render.c). Written is what Jinja 3 does with trim_blocks and lstrip_blocks, as Hugging Face
// sets it up. Statements that are not known are refused when a template is read, functions, filters,
// tests and methods when a chat comes to them, so that parts for tools, which are full of them, do not
// stand in the way of chats without.
#ifndef SG_TEXT_CHAT_TEMPLATE_H
#define SG_TEXT_CHAT_TEMPLATE_H

#include "base/arena.h"
#include "base/status.h"

enum {
    SG_CHAT_SOURCE_MAX = 1 << 20, // bytes of a template
    SG_CHAT_DEPTH_MAX = 64,       // blocks in blocks, expressions in expressions
};

typedef enum sg_chat_kind {
    SG_CHAT_STRING,  // text
    SG_CHAT_INTEGER, // integer
    SG_CHAT_TRUE,
    SG_CHAT_FALSE,
    SG_CHAT_NONE,
    SG_CHAT_NAME,      // text
    SG_CHAT_ATTRIBUTE, // a.text
    SG_CHAT_ITEM,      // a[b]
    SG_CHAT_SLICE,     // a[b:c:d]
    SG_CHAT_CALL,      // a(args)
    SG_CHAT_FILTER,    // a | text(args)
    SG_CHAT_TEST,      // a is text args
    SG_CHAT_LIST,      // [args]
    SG_CHAT_NOT,
    SG_CHAT_NEGATIVE,
    SG_CHAT_AND,
    SG_CHAT_OR,
    SG_CHAT_CHOICE, // a if b else c
    SG_CHAT_BINARY  // a text b
} sg_chat_kind;

typedef struct sg_chat_expr {
    sg_chat_kind kind;
    size_t line;
    const char *text; // NUL-terminated; strings of a template hold no NUL
    size_t bytes;
    int64_t integer;
    struct sg_chat_expr *a, *b, *c, *d; // NULL where left out
    struct sg_chat_expr *args, *next;   // a list of arguments
    const char *keyword;                // as an argument: its name, or NULL
} sg_chat_expr;

typedef enum sg_chat_step_kind {
    SG_CHAT_TEXT,  // text
    SG_CHAT_PRINT, // expr
    SG_CHAT_IF,    // expr, body, otherwise
    SG_CHAT_FOR,   // name in expr, body
    SG_CHAT_SET    // name, or name.attribute, to expr
} sg_chat_step_kind;

typedef struct sg_chat_step {
    sg_chat_step_kind kind;
    size_t line;
    const char *text;
    size_t bytes;
    const char *name, *attribute;
    sg_chat_expr *expr;
    struct sg_chat_step *body, *otherwise, *next;
} sg_chat_step;

// Parses into the arena. `name` is what errors call the template.
sg_status sg_chat_parse(const char *source, size_t bytes, const char *name, sg_arena *arena,
                        sg_chat_step **steps, sg_error *err);

#endif
