// Tokenizers from plain arrays, which is how GGUF files and llama2.c keep them: tokens with scores
// (SentencePiece's BPE) or with a list of merges (byte-level BPE).
#ifndef SG_TEXT_VOCAB_H
#define SG_TEXT_VOCAB_H

#include "format/gguf.h"
#include "format/hf_tokenizer.h"

// As SentencePiece and GGUF number them.
typedef enum sg_token_type {
    SG_TOKEN_NORMAL = 1,
    SG_TOKEN_UNKNOWN = 2,
    SG_TOKEN_CONTROL = 3, // special: matched in text where special tokens are, left out in decoding
    SG_TOKEN_USER = 4,    // always matched in text, before anything else
    SG_TOKEN_UNUSED = 5,  // never comes out
    SG_TOKEN_BYTE = 6     // <0xHH>
} sg_token_type;

typedef struct sg_vocab {
    const char *model;          // "llama": merges by score; "gpt2": byte-level, merges in a list
    const sg_hf_string *tokens; // (count) by id, valid UTF-8, each once; need not end in NUL
    size_t count;
    const int32_t *types; // (count) of sg_token_type; NULL: all normal
    // llama: of two pairs the one that makes the token of higher score merges first, of equal ones
    // the leftmost.
    const float *scores;   // (count)
    const char *space;     // how tokens spell a space: "\u2581" or " "
    bool add_space_prefix; // a space in front of every stretch of text
    // gpt2: "left right" in order of rank, and the name that GGUF gives to the way words are cut
    // (tokenizer.ggml.pre), see word_cuts.h. NULL is default.
    const sg_hf_string *merges;
    size_t merge_count;
    const char *pre;
    int32_t bos, eos, pad, unk; // -1: none
    bool add_bos, add_eos;      // put around a text when special tokens are wanted
} sg_vocab;

// Copies what it needs. `name` is what errors call the vocabulary. The tokenizer can be saved as
// tokenizer.json unless tokens that merge have the same score.
sg_status sg_tokenizer_from_vocab(const sg_vocab *vocab, const char *name, sg_tokenizer **tokenizer,
                                  sg_error *err);

// A tokenizer.bin of llama2.c (Karpathy 2023): the longest token's length as int32, then for each
// token its score (float), length (int32) and bytes, little-endian. Ids 0 to 2 are <unk>, <s> and
// </s>, 3 to 258 the bytes.
sg_status sg_tokenizer_from_llama2c(const void *data, size_t bytes, const char *name,
                                    sg_tokenizer **tokenizer, sg_error *err);

// The tokenizer of an open GGUF file: tokenizer.ggml.model, tokens, token_type, scores, merges,
// pre, the ids of its roles, add_bos_token, add_eos_token and add_space_prefix.
sg_status sg_tokenizer_from_gguf(const sg_gguf *file, sg_tokenizer **tokenizer, sg_error *err);
// Puts the tokenizer of a model the same way: kind "gpt2" of a byte-level one, "llama" of one over
// characters with a fallback to bytes; the ids of roles are the caller's to put, but that of the
// unknown. Ids up to the model's vocabulary that no token has are there as unused ones. What the
// format cannot say is SG_ERR_UNSUPPORTED (but NFC, for which it has no word: that is left out, as
// it is by everyone), and so is a tokenizer that would give other ids once read back.
sg_status sg_gguf_vocab_put(const sg_tokenizer *tokenizer, const sg_config *config,
                            sg_gguf_metadata *metadata, sg_error *err);

// Sets hf->merges, in the arena, to those that scores imply. tokens are hf's, each there once;
// types as above. See score_merges.c.
sg_status sg_merges_from_scores(sg_hf_tokenizer *hf, const float *scores, const int32_t *types,
                                const char *name, sg_error *err);

#endif
