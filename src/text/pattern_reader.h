// What the files that translate patterns share: the pattern as it is read, and single characters
// and classes of it.
#ifndef SG_TEXT_PATTERN_READER_H
#define SG_TEXT_PATTERN_READER_H

#include "text/pattern.h"

enum { SG_PATTERN_DEPTH_MAX = 64 }; // groups in groups, classes in classes

typedef struct sg_pattern_reader {
    const char *text;
    size_t bytes, at;
    sg_bytes *out;
    sg_error *err;
    bool no_memory;
    bool fold;        // inside (?i
    bool lines;       // inside (?m: a dot takes line ends too
    bool borders;     // \b or \B was met
    bool can_repeat;  // the item before may take a quantifier
    char last_letter; // the last literal inside (?i, for multi-character folds
} sg_pattern_reader;

sg_status sg_pattern_refuse(sg_pattern_reader *r, const char *what);
// Whether the pattern goes on with `text`.
bool sg_pattern_ahead(const sg_pattern_reader *r, const char *text);
// Appends to `to`, noting in the reader when memory runs out.
void sg_pattern_add(sg_pattern_reader *r, sg_bytes *to, const char *text, size_t bytes);
void sg_pattern_adds(sg_pattern_reader *r, sg_bytes *to, const char *text);

// Reads one character or escape that stands outside of classes, and puts it.
sg_status sg_pattern_character(sg_pattern_reader *r);
// Reads a class, [ ] included, and puts it.
sg_status sg_pattern_class(sg_pattern_reader *r);
// Appends the class of \w as \b sees it.
void sg_pattern_word(sg_pattern_reader *r, sg_bytes *to);

#endif
