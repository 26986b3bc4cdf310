// Reads and writes the Hugging Face library's tokenizer.json of the byte-level BPE kind, as plain
// structs: what the file says, checked, with merges resolved to ids. What the text means is the
// business of text/. Anything the reader does not know is SG_ERR_UNSUPPORTED naming the field.
#ifndef SG_FORMAT_HF_TOKENIZER_H
#define SG_FORMAT_HF_TOKENIZER_H

#include "base/arena.h"
#include "base/status.h"

enum {
    SG_HF_VOCAB_MAX = 1 << 24, // ids, model and added tokens together
    SG_HF_STEPS_MAX = 64,      // normalisers, pre-tokenizers or processors after flattening
    SG_HF_DEPTH_MAX = 8,       // sequences in sequences
    SG_HF_PATTERN_MAX = 1 << 16
};
// The most bytes a tokenizer.json may have.
#define SG_HF_FILE_MAX ((size_t)256 << 20)

typedef struct sg_hf_string {
    const char *text; // NUL-terminated too
    size_t bytes;
} sg_hf_string;

typedef struct sg_hf_merge {
    int32_t left, right, result;
} sg_hf_merge;

typedef struct sg_hf_added {
    sg_hf_string content;
    int32_t id;
    bool special, single_word, lstrip, rstrip, normalized;
} sg_hf_added;

typedef enum sg_hf_normalizer_kind {
    SG_HF_NFC,
    SG_HF_NFD,
    SG_HF_NFKC,
    SG_HF_NFKD,
    SG_HF_LOWERCASE,
    SG_HF_PREPEND, // content
    SG_HF_REPLACE, // pattern (a literal) by content
    SG_HF_STRIP    // left, right
} sg_hf_normalizer_kind;

typedef struct sg_hf_normalizer {
    sg_hf_normalizer_kind kind;
    sg_hf_string pattern, content;
    bool left, right;
} sg_hf_normalizer;

typedef enum sg_hf_pre_kind {
    SG_HF_BYTE_LEVEL,
    SG_HF_SPLIT,
    SG_HF_DIGITS,
    SG_HF_PUNCTUATION
} sg_hf_pre_kind;

typedef enum sg_hf_behavior {
    SG_HF_REMOVED,
    SG_HF_ISOLATED,
    SG_HF_MERGED_WITH_PREVIOUS,
    SG_HF_MERGED_WITH_NEXT,
    SG_HF_CONTIGUOUS
} sg_hf_behavior;

typedef struct sg_hf_pre {
    sg_hf_pre_kind kind;
    bool add_prefix_space, use_regex, trim_offsets; // byte level
    sg_hf_string pattern;                           // split
    bool is_regex, invert;
    sg_hf_behavior behavior;
    bool individual; // digits
} sg_hf_pre;

typedef struct sg_hf_tokenizer {
    sg_arena arena;       // owns everything below
    sg_hf_string *tokens; // (vocab_size), by id
    int32_t vocab_size;   // of the model, without added tokens; ids are 0 … vocab_size-1
    sg_hf_merge *merges;  // (merge_count), in order of rank
    size_t merge_count;
    sg_hf_added *added; // (added_count), in the order of the file
    size_t added_count;
    sg_hf_normalizer *normalizers;
    size_t normalizer_count;
    sg_hf_pre *pre; // one of them is the byte-level step
    size_t pre_count;
    int32_t *prefix, *suffix; // ids put around a text when special tokens are wanted
    size_t prefix_count, suffix_count;
    int32_t unk; // -1: none, unknown bytes vanish
    bool fuse_unk, ignore_merges;
    bool byte_decoder; // false: no decoder, tokens are joined by spaces as they are spelled
} sg_hf_tokenizer;

// Parses; `name` is what errors call the text. Release with sg_hf_tokenizer_free.
sg_status sg_hf_tokenizer_parse(const char *text, size_t bytes, const char *name,
                                sg_hf_tokenizer **hf, sg_error *err);
void sg_hf_tokenizer_free(sg_hf_tokenizer *hf);
// The tokenizer.json of a tokenizer, as the Hugging Face library would lay it out. The post-processor
// is byte-level (which changes no ids); prefix and suffix must be empty. *text: sg_free.
sg_status sg_hf_tokenizer_text(const sg_hf_tokenizer *hf, char **text, size_t *bytes,
                               sg_error *err);

#endif
