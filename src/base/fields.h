// A field of options is stated once, as one row of a table (sg_field in sgatlin.h): these read,
// set and check the member of a structure that a row is of. Tables are in ffn/family_fields.c,
// model/config_fields.c and train/run_fields.c.
#ifndef SG_BASE_FIELDS_H
#define SG_BASE_FIELDS_H

#include <stddef.h>

#include "base/status.h"

// The beginning of a row: all that the member itself says. Its type is the kind.
#define SG_FIELD_OF(structure, member)                                                             \
    .name = #member, .offset = offsetof(structure, member),                                        \
    .bytes = sizeof((structure *)0)->member,                                                       \
    .kind = _Generic(((structure *)0)->member,                                                     \
        int64_t: SG_FIELD_INT,                                                                     \
        double: SG_FIELD_NUMBER,                                                                   \
        char *: SG_FIELD_STRING,                                                                   \
        bool: SG_FIELD_BOOL,                                                                       \
        uint64_t: SG_FIELD_SEED,                                                                   \
        default: SG_FIELD_ENUM)

static inline void *sg_field_in(const sg_field *field, void *object)
{
    return (char *)object + field->offset;
}

static inline const void *sg_field_of(const sg_field *field, const void *object)
{
    return (const char *)object + field->offset;
}

// A number of 0, "" or the first choice, whatever they stand for; a negative zero is not.
bool sg_field_is_empty(const sg_field *field, const void *object);
void sg_field_clear(const sg_field *field, void *object);

// Sets a value from text, as it is on a command line; int64_t from `least` to `most`. `name` is
// what errors call the field.
sg_status sg_field_set(const sg_field *field, const char *name, const char *text, int64_t least,
                       int64_t most, void *object, sg_error *err);
// A value as messages show it: texts in quotes. Returns text.
const char *sg_field_text(const sg_field *field, const void *object, char *text, size_t capacity);
// Sets the default; a field without one stays.
void sg_field_fill(const sg_field *field, void *object);

// Compares a value with the range or the choices; the default is right. `behind` ends the message:
// " for family moe".
sg_status sg_field_check(const sg_field *field, const char *name, const char *behind,
                         const void *object, sg_error *err);

// What a field may be: "1 to 65536", "head, full, none"; "" for anything.
void sg_field_range(const sg_field *field, char *text, size_t capacity);
// A choice by its number; its length is *bytes, 0 behind the last.
const char *sg_field_choice(const sg_field *field, size_t index, size_t *bytes);
// The number of a choice; how many there are where it is none.
size_t sg_field_choice_of(const sg_field *field, const char *text);

// The name of the option: with dashes.
const char *sg_field_option(const sg_field *field, char *text, size_t capacity);

#endif
