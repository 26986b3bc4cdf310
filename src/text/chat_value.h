// Values of a chat template while it runs, and what can be done with them alone.
#ifndef SG_TEXT_CHAT_VALUE_H
#define SG_TEXT_CHAT_VALUE_H

#include "base/arena.h"
#include "base/status.h"

typedef enum sg_chat_type {
    SG_CHAT_IS_UNDEFINED,
    SG_CHAT_IS_NONE,
    SG_CHAT_IS_BOOL, // integer, 0 or 1
    SG_CHAT_IS_INTEGER,
    SG_CHAT_IS_STRING,
    SG_CHAT_IS_LIST,
    SG_CHAT_IS_MAP,
    SG_CHAT_IS_NAMESPACE, // a map whose members can be set
    SG_CHAT_IS_LOOP       // a map that knows only what it has
} sg_chat_type;

typedef struct sg_chat_value {
    sg_chat_type type;
    int64_t integer;
    const char *text; // (bytes)
    size_t bytes;
    const struct sg_chat_value *items; // (count)
    size_t count;
    struct sg_chat_member *members; // of a map
} sg_chat_value;

typedef struct sg_chat_member {
    const char *name;
    sg_chat_value value;
    struct sg_chat_member *next;
} sg_chat_member;

// What the type is called in errors.
const char *sg_chat_type_name(sg_chat_type type);
bool sg_chat_truth(const sg_chat_value *value);
// Python's ==: numbers and bools by value, strings by text, others only with themselves.
bool sg_chat_equal(const sg_chat_value *a, const sg_chat_value *b);
// NULL when the map has no such member.
sg_chat_member *sg_chat_find(const sg_chat_value *map, const char *name, size_t bytes);
// Text less the white space (Python's) at either end.
sg_chat_value sg_chat_stripped(const sg_chat_value *text, bool left, bool right);
bool sg_chat_space_at(const char *text, size_t *length);

#endif
