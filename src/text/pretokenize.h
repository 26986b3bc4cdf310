// Cutting text into the words that byte-pair merges stay inside: the steps of "pre_tokenizer".
#ifndef SG_TEXT_PRETOKENIZE_H
#define SG_TEXT_PRETOKENIZE_H

#include "format/hf_tokenizer.h"
#include "text/pattern.h"
#include "text/unicode.h"

typedef struct sg_span {
    size_t begin, end;
} sg_span;

// End of the word of GPT-2's regular expression that begins at text[at], at < bytes (Radford et al.
// 2019, encoder.py): 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
// Every byte of valid UTF-8 belongs to one word.
size_t sg_gpt2_word_end(const char *text, size_t bytes, size_t at);

// The steps, with their patterns compiled. Immutable, may be shared by threads.
typedef struct sg_cutter sg_cutter;
sg_status sg_cutter_new(const sg_hf_pre *steps, size_t count, const char *name, sg_cutter **cutter,
                        sg_error *err);
void sg_cutter_free(sg_cutter *cutter);

// What one thread needs to cut; holds the result.
typedef struct sg_cutting {
    const char *text; // the text the words lie in; the caller's, or `rewritten`
    sg_span *words;
    size_t count, capacity;
    size_t removed; // bytes that lay between words and are in none
    sg_span *other; // the step before
    size_t other_capacity;
    sg_span *matches; // of one span, (begin, end) and in `is_match` whether the pattern matched
    bool *is_match;
    size_t match_count, match_capacity, flag_capacity;
    sg_bytes rewritten;
    size_t given; // bytes of the text before it was rewritten
    sg_match_budget budget;
    bool leads; // whether words[0], if it begins at 0, does so at the beginning of all text
    sg_matcher **matchers; // (steps), NULL where a step needs none
    size_t matcher_count;
} sg_cutting;

// Fails only for lack of memory. A zeroed sg_cutting may be closed.
sg_status sg_cutting_open(const sg_cutter *cutter, sg_cutting *cutting, sg_error *err);
void sg_cutting_close(sg_cutting *cutting);
// Cuts text[0..bytes), valid UTF-8, not empty: words are cutting->text[begin..end) in order.
// `leads` tells that nothing came before this text, no added token either.
sg_status sg_cutter_run(const sg_cutter *cutter, sg_cutting *cutting, const char *text,
                        size_t bytes, bool leads, sg_error *err);

#endif
