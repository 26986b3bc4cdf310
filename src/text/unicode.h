// UTF-8 and character classes. The classes are those the Hugging Face library uses (each of its parts
// knows a Unicode of its own age, see unicode_tables.c), because token ids follow from them.
#ifndef SG_TEXT_UNICODE_H
#define SG_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// A growing byte buffer; zeroed is empty. Release with sg_free(data).
typedef struct sg_bytes {
    char *data;
    size_t count, capacity;
} sg_bytes;

// Appends; false when out of memory, the buffer is then unchanged.
bool sg_bytes_add(sg_bytes *bytes, const void *data, size_t count);

// Appends text with every `pattern` (not empty; leftmost first, not overlapping) replaced by `content`.
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
// Length of the maximal subpart of an ill-formed sequence at text[0..bytes) (Unicode 15, section 3.9,
// table 3-8): what one U+FFFD stands for. 1 to 3. *incomplete tells that the text ends inside it.
size_t sg_utf8_bad_length(const char *text, size_t bytes, bool *incomplete);
// Appends the text with every maximal ill-formed subpart replaced by U+FFFD, as Python's
// decode(errors="replace") and Rust's from_utf8_lossy do.
bool sg_utf8_repair(const char *text, size_t bytes, sg_bytes *out);

// ---- character classes ------------------------------------------------------------------------

enum { SG_CLASS_OTHER = 0, SG_CLASS_LETTER = 1, SG_CLASS_NUMBER = 2, SG_CLASS_SPACE = 3 };

// \p{L}, \p{N}, \s or none of these.
int sg_char_class(uint32_t code);
bool sg_char_is_space(uint32_t code);
// \w: what a single-word added token must not touch.
bool sg_char_is_word(uint32_t code);
// What the Digits pre-tokenizer takes for a digit.
bool sg_char_is_numeric(uint32_t code);
// What the Punctuation pre-tokenizer takes for punctuation.
bool sg_char_is_punctuation(uint32_t code);
// Too new for the normaliser, which leaves it alone.
bool sg_char_is_inert(uint32_t code);
// A starter that may join the character before it when text is composed.
bool sg_char_is_second(uint32_t code);
// Lower case of one character: 1 or 2 code points.
int sg_char_lower(uint32_t code, uint32_t out[2]);

// ---- the byte alphabet ------------------------------------------------------------------------
// GPT-2 spells each byte as a printable character (Radford et al. 2019, encoder.py): printable
// Latin-1 stands for itself, the other 68 bytes are U+0100 … U+0143 in order.

uint32_t sg_byte_to_char(uint8_t byte);
// The byte a character spells, or -1.
int sg_char_to_byte(uint32_t code);
// Appends the spelling of bytes.
bool sg_bytes_spell(const char *data, size_t count, sg_bytes *out);
// Appends the bytes a spelling stands for and sets *whole; *whole is false, and nothing appended,
// when some character spells no byte. `text` must be valid UTF-8.
bool sg_bytes_unspell(const char *text, size_t count, sg_bytes *out, bool *whole);

#endif
