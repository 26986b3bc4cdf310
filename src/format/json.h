// Reading JSON from files that may be wrong or hostile: bounded size, depth and memory, typed
// access with errors that name the file and the field. Values are jansson's json_t, used as they
// are; the parser is ours (json_parse.c).
#ifndef SG_FORMAT_JSON_H
#define SG_FORMAT_JSON_H

#include <jansson.h>

#include "base/status.h"

// Parses one JSON value. Objects and arrays are at most 2,048 deep, keys of an object differ,
// strings are UTF-8, and the values take at most 512 MiB. `name` is what errors call the text.
// Release with json_decref.
//
// Python also writes NaN, Infinity and -Infinity. These, integers beyond 64 bits and numbers beyond
// a double are no error here, for most files that hold one hold it where nobody looks. They are
// kept as an object with the single key SG_JSON_UNHELD, which no text can spell, and their digits;
// the typed access below refuses them by name, and sg_json_text writes the digits back.
sg_status sg_json_parse(const char *text, size_t bytes, const char *name, json_t **value,
                        sg_error *err);

#define SG_JSON_UNHELD "\0number"

typedef struct sg_json_options {
    const char *only;  // of the outermost object this member alone is kept, the others are checked
                       // and become null; NULL: all are kept
    bool repair;       // bytes that are not UTF-8 and unpaired surrogates become U+FFFD
    int64_t *repaired; // grows by their number in the strings that are kept; may be NULL
    size_t budget;     // most bytes of memory for values, about
} sg_json_options;
sg_json_options sg_json_options_default(void); // all, no repair, 512 MiB
sg_status sg_json_parse_as(const char *text, size_t bytes, const char *name,
                           const sg_json_options *options, json_t **value, sg_error *err);
// Reads and parses a file of at most `limit` bytes.
sg_status sg_json_read(const char *path, size_t limit, json_t **value, sg_error *err);

// Typed members of an object. Required when `required`, else *out keeps its value when the member
// is missing or null. A wrong type or range is SG_ERR_FORMAT. `name` is what errors call the file.
sg_status sg_json_get_int(const json_t *object, const char *name, const char *key, bool required,
                          int64_t low, int64_t high, int64_t *out, sg_error *err);
sg_status sg_json_get_number(const json_t *object, const char *name, const char *key, bool required,
                             double *out, sg_error *err);
sg_status sg_json_get_bool(const json_t *object, const char *name, const char *key, bool required,
                           bool *out, sg_error *err);
// *out points into the object.
sg_status sg_json_get_string(const json_t *object, const char *name, const char *key, bool required,
                             const char **out, sg_error *err);
// *out (borrowed) is NULL when not required and missing.
sg_status sg_json_get_object(const json_t *object, const char *name, const char *key, bool required,
                             json_t **out, sg_error *err);
sg_status sg_json_get_array(const json_t *object, const char *name, const char *key, bool required,
                            json_t **out, sg_error *err);

// Members of an object are of these names (NULL behind the last) alone: SG_ERR_FORMAT says which is
// not, and what may have been meant. place: what stands before its name, "FILE: edits[2].".
sg_status sg_json_only(const json_t *object, const char *place, const char *const *known,
                       sg_error *err);

// The value of a number's digits, "NaN" and "Infinity" among them, whatever the locale.
double sg_json_double(const char *digits);

// A string with what is not UTF-8 replaced: names that were cut may end within a character.
json_t *sg_json_string(const char *text);

// Text of a value (JSON_INDENT(2) when `pretty`), keys in the order of insertion. *text: sg_free.
sg_status sg_json_text(const json_t *value, bool pretty, char **text, sg_error *err);

// Makes jansson allocate through base/alloc. Called by the functions above; call it before building
// values by hand.
void sg_json_setup(void);

#endif
