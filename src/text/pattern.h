// The regular expressions of Split pre-tokenizers. They are written for Oniguruma (Ruby syntax) and
// run here on PCRE2: a pattern is read, each construct that both engines understand alike is passed
// on, the character classes are completed where PCRE2's Unicode is older, and everything else is
// refused.
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
// What all matches in a text use up.
typedef struct sg_match_budget {
    size_t bytes;   // of the whole text; the rest begins as zeros
    uint64_t reads; // bytes that may have been read since the clock was last looked at
    double until;
} sg_match_budget;

// The leftmost match in text[from..bytes), which must be valid UTF-8: *found tells whether there is
// one, [*begin, *end) where. SG_ERR_UNSUPPORTED when the pattern needs absurdly many steps on the
// text.
sg_status sg_matcher_find(sg_matcher *matcher, const char *text, size_t bytes, size_t from,
                          sg_match_budget *budget, bool *found, size_t *begin, size_t *end,
                          sg_error *err);

#endif
