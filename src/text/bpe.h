// Byte-pair encoding of one word (Sennrich et al. 2016): its characters become symbols, or its
// bytes in the byte-level form of Radford et al. 2019; then the adjacent pair of lowest rank,
// leftmost first, is joined until no pair of the merge list is left.
#ifndef SG_TEXT_BPE_H
#define SG_TEXT_BPE_H

#include "format/hf_tokenizer.h"
#include "text/unicode.h"

// A table from byte strings to ids.
typedef struct sg_token_map {
    struct sg_token_slot {
        const char *text; // not owned; NULL: empty
        size_t bytes;
        int32_t id;
    } * slots;
    size_t mask; // slots - 1, a power of two minus one
} sg_token_map;

// Room for `count` strings; false when out of memory.
bool sg_token_map_open(sg_token_map *map, size_t count);
void sg_token_map_close(sg_token_map *map);
// Inserts, or changes the id of a string that is there. No more strings than opened for.
void sg_token_map_put(sg_token_map *map, const char *text, size_t bytes, int32_t id);
// -1 when missing.
int32_t sg_token_map_get(const sg_token_map *map, const char *text, size_t bytes);

// Merges and symbols; immutable, may be shared by threads.
typedef struct sg_bpe sg_bpe;
// Keeps pointers into `hf`, which must outlive it.
sg_status sg_bpe_new(const sg_hf_tokenizer *hf, sg_bpe **bpe, sg_error *err);
void sg_bpe_free(sg_bpe *bpe);

// A growing list of ids.
typedef struct sg_ids {
    int32_t *data;
    size_t count, capacity;
} sg_ids;

bool sg_ids_add(sg_ids *ids, const int32_t *more, size_t count);

// What one thread needs: a cache of words and room to merge in.
typedef struct sg_bpe_scratch sg_bpe_scratch;
sg_bpe_scratch *sg_bpe_scratch_new(void); // NULL when out of memory
void sg_bpe_scratch_free(sg_bpe_scratch *scratch);
// Appends the ids of a word; false when out of memory. One scratch serves one sg_bpe only. Time is
// n log n in the length of the word. *lost grows by the bytes that have no symbol: they vanish, or
// become the unknown token, which does not say what they were.
bool sg_bpe_word(const sg_bpe *bpe, sg_bpe_scratch *scratch, const char *word, size_t bytes,
                 sg_ids *out, int64_t *lost);

// The last two symbols before a word is one: pair[2], and *found whether it ever is. False when out
// of memory.
bool sg_bpe_last_pair(const sg_bpe *bpe, sg_bpe_scratch *scratch, const char *word, size_t bytes,
                      bool *found, int32_t pair[2]);

#endif
