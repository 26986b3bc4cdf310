// Reads and writes the Hugging Face library's tokenizer.json of the BPE kind (over bytes, or over
// characters with a fallback to bytes), as plain structs: what the file says, checked, with merges
// resolved to ids. What the text means is the business of text/. Anything the reader does not know
// is SG_ERR_UNSUPPORTED naming the field.
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
    uint32_t
        rank; // the lowest goes first, of equal ones the leftmost; in a file the place in its list
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
    SG_HF_PUNCTUATION,
    SG_HF_METASPACE,        // spaces become `pattern`
    SG_HF_WHITESPACE,       // words and runs of other signs, without white space
    SG_HF_WHITESPACE_SPLIT, // what is between white space
    SG_HF_FIXED_LENGTH      // `length` characters
} sg_hf_pre_kind;

typedef enum sg_hf_behavior {
    SG_HF_REMOVED,
    SG_HF_ISOLATED,
    SG_HF_MERGED_WITH_PREVIOUS,
    SG_HF_MERGED_WITH_NEXT,
    SG_HF_CONTIGUOUS
} sg_hf_behavior;

// Where Metaspace puts a space in front: of no piece, of the one at the beginning of the text, of
// all.
typedef enum sg_hf_prepend { SG_HF_NEVER, SG_HF_FIRST, SG_HF_ALWAYS } sg_hf_prepend;

typedef struct sg_hf_pre {
    sg_hf_pre_kind kind;
    bool add_prefix_space, use_regex, trim_offsets; // byte level
    sg_hf_string pattern;                           // split; metaspace: one character
    bool is_regex, invert;
    sg_hf_behavior behavior;
    bool individual;       // digits
    int64_t length;        // fixed length
    sg_hf_prepend prepend; // metaspace
    bool split;            // metaspace: a word begins at each `pattern`
} sg_hf_pre;

// Steps that make text of tokens. The library hands lists of strings from one to the next and joins
// the last one's.
typedef enum sg_hf_decoder_kind {
    SG_HF_DECODE_BYTE_LEVEL,    // undoes the byte alphabet, joins
    SG_HF_DECODE_METASPACE,     // pattern becomes a space, or nothing in the first string
    SG_HF_DECODE_REPLACE,       // pattern (a literal) by content
    SG_HF_DECODE_BYTE_FALLBACK, // runs of <0xHH> become their bytes
    SG_HF_DECODE_FUSE,          // joins
    SG_HF_DECODE_STRIP // up to `start` times pattern (one character) in front, `stop` behind
} sg_hf_decoder_kind;

typedef struct sg_hf_decoder {
    sg_hf_decoder_kind kind;
    sg_hf_string pattern, content;
    sg_hf_prepend prepend; // metaspace
    bool split;            // metaspace: changes nothing here
    int64_t start, stop;
} sg_hf_decoder;

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
    sg_hf_pre *pre; // at most one of them is the byte-level step
    size_t pre_count;
    int32_t *prefix, *suffix; // ids put around a text when special tokens are wanted
    size_t prefix_count, suffix_count;
    bool has_template; // both may be empty
    int32_t unk;       // -1: none, what is unknown vanishes
    bool fuse_unk, ignore_merges;
    bool
        byte_fallback; // unknown characters become the tokens <0xHH> of their bytes, if all are there
    bool has_decoder; // false: tokens are joined by spaces as they are spelled
    sg_hf_decoder *decoders;
    size_t decoder_count;
} sg_hf_tokenizer;

// The byte-level step of the pre-tokenizer, or NULL.
const sg_hf_pre *sg_hf_byte_level(const sg_hf_tokenizer *hf);
// The byte that a token such as "<0x0A>" stands for, or -1.
int sg_hf_fallback_byte(const char *text, size_t bytes);

// Parses; `name` is what errors call the text. Release with sg_hf_tokenizer_free.
sg_status sg_hf_tokenizer_parse(const char *text, size_t bytes, const char *name,
                                sg_hf_tokenizer **hf, sg_error *err);
void sg_hf_tokenizer_free(sg_hf_tokenizer *hf);
// The tokenizer.json of a tokenizer, as the Hugging Face library would lay it out. The
// post-processor is the template of prefix and suffix, else byte-level (which changes no ids).
// SG_ERR_UNSUPPORTED for what such a file cannot say: merges of equal rank, tokens that are there
// twice. *text: sg_free.
sg_status sg_hf_tokenizer_text(const sg_hf_tokenizer *hf, char **text, size_t *bytes,
                               sg_error *err);

#endif
