// Character classes, on top of base/utf8.h. They are those the Hugging Face library uses (each of
// its parts knows a Unicode of its own age, see unicode_tables.c), because token ids follow from
// them.
#ifndef SG_TEXT_UNICODE_H
#define SG_TEXT_UNICODE_H

#include "base/utf8.h"

// What the steps of a tokenizer may make of so many bytes. The most that normalisation forms make
// of a character is 11 times its bytes, and of a space a mark of three: 16 times is more than any
// honest tokenizer wants, and the rest is for texts of a few letters.
size_t sg_bytes_limit(size_t bytes);

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
