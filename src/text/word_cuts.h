// How vocabularies with a list of merges cut words, by the names that GGUF has for it
// (tokenizer.ggml.pre). The names and what they mean are llama.cpp's; where that only comes near
// the expression of the tokenizer.json that a name stands for, here is the expression.
#ifndef SG_TEXT_WORD_CUTS_H
#define SG_TEXT_WORD_CUTS_H

#include "format/hf_tokenizer.h"
#include "text/unicode.h"

enum { SG_WORDS_STEPS = 8 };

// The steps of a name; returns their number, 0 where it is unknown. *whole_words: a word that is a
// token is that token, whatever the merges say.
size_t sg_words_steps(const char *name, sg_hf_pre pre[SG_WORDS_STEPS], bool *whole_words);
// Whether texts begin with the begin token where the file does not say. NULL: false.
bool sg_words_begin(const char *name);
// The name of the way in which a byte-level tokenizer cuts words, or NULL.
const char *sg_words_name(const sg_hf_tokenizer *hf);
// Appends all names with commas between them; false when out of memory.
bool sg_words_names(sg_bytes *out);

#endif
