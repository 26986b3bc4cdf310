// UTF-8, and a growing buffer of bytes.
#ifndef SG_BASE_UTF8_H
#define SG_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A growing byte buffer; zeroed is empty. Release with sg_free(data).
typedef struct sg_bytes {
    char *data;
    size_t count, capacity;
    size_t most; // how many it may hold; 0: any number
    bool full;   // more were wanted
} sg_bytes;

// Appends; false when out of memory or full, the buffer is then unchanged.
bool sg_bytes_add(sg_bytes *bytes, const void *data, size_t count);

// Appends text with every `pattern` (not empty; leftmost first, not overlapping) replaced by
// `content`.
bool sg_bytes_add_replaced(sg_bytes *bytes, const char *text, size_t count, const char *pattern,
                           size_t pattern_bytes, const char *content, size_t content_bytes);

// ---- UTF-8 ------------------------------------------------------------------------------------

// Length of the well-formed character at text[0..bytes), 1 to 4, with *code set; or 0 when there is
// none. Surrogates, overlong forms and values above U+10FFFF are not well formed. bytes >= 1.
int sg_utf8_decode(const char *text, size_t bytes, uint32_t *code);
// The same for text known to be valid and not empty: no checks.
int sg_utf8_decode_valid(const char *text, uint32_t *code);
// Writes the character (1 to 4 bytes) to out; returns its length. code must be a scalar value.
int sg_utf8_encode(uint32_t code, char out[4]);
// Bytes of the longest valid prefix: `bytes` when all is valid.
size_t sg_utf8_valid_prefix(const char *text, size_t bytes);
// Length of the maximal subpart of an ill-formed sequence at text[0..bytes) (Unicode 15, section
// 3.9, table 3-8): what one U+FFFD stands for. 1 to 3. *incomplete tells that the text ends inside
// it.
size_t sg_utf8_bad_length(const char *text, size_t bytes, bool *incomplete);
// Appends the text with every maximal ill-formed subpart replaced by U+FFFD, as Python's
// decode(errors="replace") and Rust's from_utf8_lossy do. *replaced, where given, grows by their
// number.
bool sg_utf8_repair(const char *text, size_t bytes, sg_bytes *out, int64_t *replaced);

#endif
