// The regular expressions of Split pre-tokenizers. They are written for Oniguruma (Ruby syntax) and run
// here on PCRE2: a pattern is read, each construct that both engines understand alike is passed on, the
// character classes are completed where PCRE2's Unicode is older, and everything else is refused.
#ifndef SG_TEXT_PATTERN_H
#define SG_TEXT_PATTERN_H

#include "base/status.h"
#include "text/unicode.h"

// Appends the PCRE2 spelling of an Oniguruma pattern. SG_ERR_UNSUPPORTED for what differs.
sg_status sg_pattern_translate(const char *pattern, size_t bytes, sg_bytes *out, sg_error *err);

// A compiled pattern; immutable, may be shared by threads.
typedef struct sg_pattern sg_pattern;
sg_status sg_pattern_new(const char *pattern, size_t bytes, sg_pattern **made, sg_error *err);
void sg_pattern_free(sg_pattern *pattern);

// What one thread needs to match.
typedef struct sg_matcher sg_matcher;
sg_matcher *sg_matcher_new(const sg_pattern *pattern); // NULL when out of memory
void sg_matcher_free(sg_matcher *matcher);
// The leftmost match in text[from..bytes), which must be valid UTF-8: *found tells whether there is
// one, [*begin, *end) where. *steps is what is left to all matches in a text: what goes beyond the usual
// is taken off, and SG_ERR_UNSUPPORTED when none are left.
sg_status sg_matcher_find(sg_matcher *matcher, const char *text, size_t bytes, size_t from,
                          uint64_t *steps, bool *found, size_t *begin, size_t *end, sg_error *err);
// What a text of that many bytes may use.
uint64_t sg_pattern_steps(size_t bytes);
// How much text a match is shown at first. It changes no match.
void sg_matcher_set_window(sg_matcher *matcher, size_t window);

#endif
