// Finding added tokens ("<|endoftext|>" and the like) in text before it is cut into words, by the
// rules of the Hugging Face library: leftmost, then longest, with the flags single_word, lstrip and
// rstrip.
#ifndef SG_TEXT_ADDED_TOKENS_H
#define SG_TEXT_ADDED_TOKENS_H

#include "format/hf_tokenizer.h"
#include "text/unicode.h"

// A set of added tokens; immutable, may be shared by threads.
typedef struct sg_added_set sg_added_set;

// contents[i] is what tokens[i] looks like in the text to search (its normal form, say); both must
// outlive the set, contents only this call. Contents must not be empty.
sg_status sg_added_set_new(const sg_hf_added *const *tokens, const sg_hf_string *contents,
                           size_t count, sg_added_set **set, sg_error *err);
void sg_added_set_free(sg_added_set *set);

// A stretch of text: plain (token NULL) or one added token with the white space it takes along.
typedef struct sg_added_piece {
    const sg_hf_added *token;
    size_t begin, end;
} sg_added_piece;

typedef struct sg_added_pieces {
    sg_added_piece *data;
    size_t count, capacity;
} sg_added_pieces;

// Appends the pieces of valid UTF-8; empty plain pieces are left out. With `skip_special`, special
// tokens are text like any other. False when out of memory.
bool sg_added_set_split(const sg_added_set *set, const char *text, size_t bytes, bool skip_special,
                        sg_added_pieces *out);

#endif
