// What Python's str does, for the methods and the filters of chat templates. Places in a text are
// counted in characters, texts are UTF-8.
#ifndef SG_TEXT_CHAT_STRINGS_H
#define SG_TEXT_CHAT_STRINGS_H

#include "text/chat_value.h"

// Text less the characters of `chars` (none, or absent: white space) at its ends.
sg_status sg_chat_trimmed(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *chars,
                          bool left, bool right, sg_chat_value *out);
// The first `most` places of old are new; negative: all.
sg_status sg_chat_replaced(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *old,
                           const sg_chat_value *made, int64_t most, sg_chat_value *out);
// A list of parts: separator none or absent: at white space. most: cuts, negative: all.
sg_status sg_chat_split(sg_chat_run *r, const sg_chat_value *text, const sg_chat_value *separator,
                        int64_t most, bool from_right, sg_chat_value *out);
sg_status sg_chat_lines(sg_chat_run *r, const sg_chat_value *text, bool keep_ends,
                        sg_chat_value *out);
// The items, as text, with `between` between them.
sg_status sg_chat_joined(sg_chat_run *r, const sg_chat_value *between, const sg_chat_value *items,
                         size_t count, bool strings_only, sg_chat_value *out);
// Filled up to `width` characters at the left, the right or both sides (align '>', '<', '^').
sg_status sg_chat_padded(sg_chat_run *r, const sg_chat_value *text, int64_t width,
                         const char *filler, char align, sg_chat_value *out);
// An argument that must be a whole number; absent or none: otherwise.
sg_status sg_chat_whole(sg_chat_run *r, const sg_chat_value *v, int64_t otherwise, int64_t *out);
// One that must be a string.
sg_status sg_chat_must_be_string(sg_chat_run *r, const sg_chat_value *v);
// Adds to a text that is being made; what fails sets *status.
bool sg_chat_grow(sg_chat_run *r, sg_bytes *made, const char *text, size_t bytes,
                  sg_status *status);
// The text made, or what went wrong.
sg_status sg_chat_grown(sg_chat_run *r, sg_bytes *made, sg_status status, sg_chat_value *out);

#endif
