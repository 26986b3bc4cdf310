// The merge loop. Short words take the plain scan for the lowest rank; long ones a heap over a
// linked list. Words of a text repeat, so results go into a direct-mapped cache.
#include "text/bpe.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

// ---- strings to ids ---------------------------------------------------------------------------

bool sg_token_map_open(sg_token_map *map, size_t count)
{
    size_t slots = 16;
    while (slots / 2 < count) {
        if (slots > SIZE_MAX / 4) return false;
        slots *= 2;
    }
    map->slots = sg_alloc_zero(slots, sizeof *map->slots);
    map->mask = slots - 1;
    return map->slots != NULL;
}

void sg_token_map_close(sg_token_map *map)
{
    sg_free(map->slots);
    *map = (sg_token_map){0};
}

static struct sg_token_slot *token_map_slot(const sg_token_map *map, const char *text, size_t bytes)
{
    size_t at = (size_t)sg_hash(text, bytes) & map->mask;
    while (map->slots[at].text != NULL &&
           (map->slots[at].bytes != bytes || memcmp(map->slots[at].text, text, bytes) != 0))
        at = (at + 1) & map->mask;
    return &map->slots[at];
}

void sg_token_map_put(sg_token_map *map, const char *text, size_t bytes, int32_t id)
{
    *token_map_slot(map, text, bytes) = (struct sg_token_slot){text, bytes, id};
}

int32_t sg_token_map_get(const sg_token_map *map, const char *text, size_t bytes)
{
    if (map->slots == NULL) return -1;
    const struct sg_token_slot *slot = token_map_slot(map, text, bytes);
    return slot->text == NULL ? -1 : slot->id;
}

bool sg_ids_add(sg_ids *ids, const int32_t *more, size_t count)
{
    if (!sg_grow((void **)&ids->data, &ids->capacity, ids->count + count + 1, sizeof *ids->data))
        return false;
    if (count > 0) memcpy(ids->data + ids->count, more, count * sizeof *more);
    ids->count += count;
    return true;
}

// ---- merges -----------------------------------------------------------------------------------

#define BPE_NO_RANK UINT32_MAX

typedef struct bpe_merge {
    uint64_t pair; // left << 32 | right
    uint32_t rank; // BPE_NO_RANK: empty slot
    int32_t result;
} bpe_merge;

struct sg_bpe {
    bpe_merge *merges;
    size_t mask;
    bool byte_level;      // the symbols are bytes, spelled in the byte alphabet; else characters
    int32_t symbols[256]; // id of each byte, or of each ASCII character; -1: not in the vocabulary
    sg_token_map characters; // the other characters
    int32_t bytes[256];      // ids of <0xHH>
    bool byte_fallback;
    int32_t unk; // -1: what has no symbol vanishes
    bool fuse_unk, ignore_merges;
    sg_bytes plain;     // the tokens as bytes, for ignore_merges
    sg_token_map words; // those bytes to ids
};

static uint64_t bpe_pair(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static size_t bpe_pair_hash(uint64_t pair)
{
    pair *= 0x9E3779B97F4A7C15ULL; // Fibonacci hashing: the high bits are the good ones
    return (size_t)(pair ^ pair >> 32);
}

static const bpe_merge *bpe_find(const sg_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t pair = bpe_pair(left, right);
    size_t at = bpe_pair_hash(pair) & bpe->mask;
    while (bpe->merges[at].rank != BPE_NO_RANK && bpe->merges[at].pair != pair)
        at = (at + 1) & bpe->mask;
    return &bpe->merges[at];
}

static bool bpe_build_merges(sg_bpe *bpe, const sg_hf_tokenizer *hf)
{
    size_t slots = 16;
    while (slots < 3 * hf->merge_count)
        slots *= 2;
    bpe->merges = sg_alloc_array(slots, sizeof *bpe->merges);
    if (bpe->merges == NULL) return false;
    bpe->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        bpe->merges[i].rank = BPE_NO_RANK;
    // A pair that comes twice has the rank of its last place, as in the library.
    for (size_t rank = 0; rank < hf->merge_count; rank++) {
        const sg_hf_merge *merge = &hf->merges[rank];
        bpe_merge *slot = (bpe_merge *)bpe_find(bpe, merge->left, merge->right);
        *slot = (bpe_merge){bpe_pair(merge->left, merge->right), merge->rank, merge->result};
    }
    return true;
}

// For ignore_merges: which whole words are tokens.
static bool bpe_build_words(sg_bpe *bpe, const sg_hf_tokenizer *hf)
{
    size_t total = 0;
    for (int32_t id = 0; id < hf->vocab_size; id++)
        total += hf->tokens[id].bytes;
    // One growth now: the map points into the buffer, so it must not move.
    if (!sg_grow((void **)&bpe->plain.data, &bpe->plain.capacity, total + 1, 1)) return false;
    if (!sg_token_map_open(&bpe->words, (size_t)hf->vocab_size)) return false;
    for (int32_t id = 0; id < hf->vocab_size; id++) {
        size_t begin = bpe->plain.count;
        bool whole = true;
        if (!(bpe->byte_level
                  ? sg_bytes_unspell(hf->tokens[id].text, hf->tokens[id].bytes, &bpe->plain, &whole)
                  : sg_bytes_add(&bpe->plain, hf->tokens[id].text, hf->tokens[id].bytes)))
            return false;
        if (whole)
            sg_token_map_put(&bpe->words, bpe->plain.data + begin, bpe->plain.count - begin, id);
    }
    return true;
}

static bool bpe_build_symbols(sg_bpe *bpe, const sg_hf_tokenizer *hf)
{
    for (int b = 0; b < 256; b++)
        bpe->symbols[b] = bpe->bytes[b] = -1;
    size_t others = 0;
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1 && !sg_token_map_open(&bpe->characters, others)) return false;
        for (int32_t id = 0; id < hf->vocab_size; id++) {
            uint32_t code;
            sg_hf_string token = hf->tokens[id];
            int byte = sg_hf_fallback_byte(token.text, token.bytes);
            char name[8];
            // Only the spelling with capitals is looked for.
            snprintf(name, sizeof name, "<0x%02X>", (unsigned)byte & 0xFFU);
            if (byte >= 0 && memcmp(name, token.text, 6) == 0) bpe->bytes[byte] = id;
            if (token.bytes == 0 ||
                (size_t)sg_utf8_decode(token.text, token.bytes, &code) != token.bytes)
                continue;
            if (bpe->byte_level)
                byte = sg_char_to_byte(code);
            else
                byte = code < 0x80 ? (int)code : -1;
            if (byte >= 0) {
                bpe->symbols[byte] = id;
            } else if (!bpe->byte_level) {
                if (pass == 0)
                    others++;
                else
                    sg_token_map_put(&bpe->characters, token.text, token.bytes, id);
            }
        }
    }
    return true;
}

sg_status sg_bpe_new(const sg_hf_tokenizer *hf, sg_bpe **bpe, sg_error *err)
{
    *bpe = NULL;
    sg_bpe *made = sg_alloc_zero(1, sizeof *made);
    if (made == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    made->unk = hf->unk;
    made->fuse_unk = hf->fuse_unk;
    made->ignore_merges = hf->ignore_merges;
    made->byte_level = sg_hf_byte_level(hf) != NULL;
    made->byte_fallback = hf->byte_fallback;
    if (!bpe_build_symbols(made, hf) || !bpe_build_merges(made, hf) ||
        (hf->ignore_merges && !bpe_build_words(made, hf))) {
        sg_bpe_free(made);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory");
    }
    *bpe = made;
    return SG_OK;
}

void sg_bpe_free(sg_bpe *bpe)
{
    if (bpe == NULL) return;
    sg_free(bpe->merges);
    sg_free(bpe->plain.data);
    sg_token_map_close(&bpe->characters);
    sg_token_map_close(&bpe->words);
    sg_free(bpe);
}

// ---- one word ---------------------------------------------------------------------------------

enum {
    bpe_short = 48, // symbols up to which scanning beats the heap
    bpe_cache_slots = 1 << 14,
    bpe_cache_key = 23, // bytes of the longest word that is kept
    bpe_cache_ids = 9
};

typedef struct bpe_cached {
    uint8_t bytes; // of the word; 0: empty
    char key[bpe_cache_key];
    uint8_t count, lost;
    int32_t ids[bpe_cache_ids];
} bpe_cached;

typedef struct bpe_symbol {
    int32_t id; // -1: joined to the one before
    uint32_t previous, next;
} bpe_symbol;

typedef struct bpe_candidate {
    uint32_t rank, at;
    int32_t result;
} bpe_candidate;

struct sg_bpe_scratch {
    bpe_cached *cache;
    sg_ids first; // symbols of the word
    bpe_symbol *symbols;
    size_t symbol_capacity;
    bpe_candidate *heap;
    size_t heap_count, heap_capacity;
};

sg_bpe_scratch *sg_bpe_scratch_new(void)
{
    sg_bpe_scratch *scratch = sg_alloc_zero(1, sizeof *scratch);
    if (scratch == NULL) return NULL;
    scratch->cache = sg_alloc_zero(bpe_cache_slots, sizeof *scratch->cache);
    if (scratch->cache == NULL) {
        sg_bpe_scratch_free(scratch);
        return NULL;
    }
    return scratch;
}

void sg_bpe_scratch_free(sg_bpe_scratch *scratch)
{
    if (scratch == NULL) return;
    sg_free(scratch->cache);
    sg_free(scratch->first.data);
    sg_free(scratch->symbols);
    sg_free(scratch->heap);
    sg_free(scratch);
}

// The symbol of word[0..*length), -1 for none; sets *length.
static int32_t bpe_symbol_at(const sg_bpe *bpe, const char *word, size_t *length)
{
    unsigned char first = (unsigned char)word[0];
    uint32_t code;
    *length = 1;
    if (bpe->byte_level || first < 0x80) return bpe->symbols[first];
    *length = (size_t)sg_utf8_decode_valid(word, &code);
    return sg_token_map_get(&bpe->characters, word, *length);
}

// Appends the tokens of the bytes of a character; false when one is missing.
static bool bpe_fall_back(const sg_bpe *bpe, const char *text, size_t length, sg_ids *out)
{
    char spelled[4];
    if (!bpe->byte_fallback) return false;
    if (bpe->byte_level) { // the character is the one that spells the byte
        length = (size_t)sg_utf8_encode(sg_byte_to_char((uint8_t)text[0]), spelled);
        text = spelled;
    }
    for (size_t i = 0; i < length; i++)
        if (bpe->bytes[(unsigned char)text[i]] < 0) return false;
    for (size_t i = 0; i < length; i++)
        out->data[out->count++] = bpe->bytes[(unsigned char)text[i]];
    return true;
}

// The symbols of a word, before any merge. As in the library an unknown token is put down when the
// next known symbol comes, which is behind the tokens of bytes in between.
static bool bpe_spell(const sg_bpe *bpe, const char *word, size_t bytes, sg_ids *out, size_t *lost)
{
    out->count = 0;
    *lost = 0;
    // A byte of the alphabet is spelled in two bytes at most.
    if (!sg_grow((void **)&out->data, &out->capacity, 2 * bytes + 1, sizeof *out->data))
        return false;
    bool pending = false;
    size_t length;
    for (size_t i = 0; i < bytes; i += length) {
        int32_t id = bpe_symbol_at(bpe, word + i, &length);
        if (id >= 0) {
            if (pending) out->data[out->count++] = bpe->unk;
            pending = false;
            out->data[out->count++] = id;
        } else if (!bpe_fall_back(bpe, word + i, length, out)) {
            *lost += length;
            if (bpe->unk < 0) continue;
            if (pending && !bpe->fuse_unk) out->data[out->count++] = bpe->unk;
            pending = true;
        }
    }
    if (pending) out->data[out->count++] = bpe->unk;
    return true;
}

// Merges until nothing can be, or `least` symbols are left.
static void bpe_merge_short(const sg_bpe *bpe, int32_t *ids, size_t *count, size_t least)
{
    uint32_t ranks[bpe_short];
    int32_t results[bpe_short];
    size_t n = *count;
    for (size_t i = 0; i + 1 < n; i++) {
        const bpe_merge *merge = bpe_find(bpe, ids[i], ids[i + 1]);
        ranks[i] = merge->rank;
        results[i] = merge->result;
    }
    while (n > least) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (ranks[i] < ranks[best]) best = i;
        if (ranks[best] == BPE_NO_RANK) break;
        ids[best] = results[best];
        for (size_t i = best + 1; i + 1 < n; i++) {
            ids[i] = ids[i + 1];
            ranks[i] = ranks[i + 1];
            results[i] = results[i + 1];
        }
        n--;
        if (best + 1 < n) {
            const bpe_merge *merge = bpe_find(bpe, ids[best], ids[best + 1]);
            ranks[best] = merge->rank;
            results[best] = merge->result;
        }
        if (best > 0) {
            const bpe_merge *merge = bpe_find(bpe, ids[best - 1], ids[best]);
            ranks[best - 1] = merge->rank;
            results[best - 1] = merge->result;
        }
    }
    *count = n;
}

static bool bpe_before(const bpe_candidate *a, const bpe_candidate *b)
{
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

// Puts the pair that begins at symbol `at` on the heap if it can merge.
static bool bpe_push(const sg_bpe *bpe, sg_bpe_scratch *s, uint32_t at, uint32_t end)
{
    uint32_t next = s->symbols[at].next;
    if (next == end) return true;
    const bpe_merge *merge = bpe_find(bpe, s->symbols[at].id, s->symbols[next].id);
    if (merge->rank == BPE_NO_RANK) return true;
    if (!sg_grow((void **)&s->heap, &s->heap_capacity, s->heap_count + 1, sizeof *s->heap))
        return false;
    bpe_candidate item = {merge->rank, at, merge->result};
    size_t i = s->heap_count++;
    while (i > 0 && bpe_before(&item, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = item;
    return true;
}

static bpe_candidate bpe_pop(sg_bpe_scratch *s)
{
    bpe_candidate top = s->heap[0], item = s->heap[--s->heap_count];
    size_t i = 0, n = s->heap_count;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= n) break;
        if (child + 1 < n && bpe_before(&s->heap[child + 1], &s->heap[child])) child++;
        if (!bpe_before(&s->heap[child], &item)) break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = item;
    return top;
}

static bool bpe_merge_long(const sg_bpe *bpe, sg_bpe_scratch *s, int32_t *ids, size_t *count,
                           size_t least)
{
    if (*count >= UINT32_MAX) return false;
    uint32_t n = (uint32_t)*count;
    if (!sg_grow((void **)&s->symbols, &s->symbol_capacity, n, sizeof *s->symbols)) return false;
    for (uint32_t i = 0; i < n; i++)
        s->symbols[i] = (bpe_symbol){ids[i], i - 1, i + 1};
    s->heap_count = 0;
    for (uint32_t i = 0; i < n; i++)
        if (!bpe_push(bpe, s, i, n)) return false;
    for (size_t left_over = n; s->heap_count > 0 && left_over > least;) {
        bpe_candidate top = bpe_pop(s);
        bpe_symbol *left = &s->symbols[top.at];
        if (left->id < 0 || left->next == n) continue;
        bpe_symbol *right = &s->symbols[left->next];
        // Entries are not taken off the heap when their pair changes; they are found out here.
        const bpe_merge *merge = bpe_find(bpe, left->id, right->id);
        if (merge->rank == BPE_NO_RANK || merge->result != top.result) continue;
        left_over--;
        left->id = top.result;
        right->id = -1;
        left->next = right->next;
        if (left->next != n) s->symbols[left->next].previous = top.at;
        if (top.at > 0 && !bpe_push(bpe, s, left->previous, n)) return false;
        if (!bpe_push(bpe, s, top.at, n)) return false;
    }
    size_t kept = 0;
    for (uint32_t i = 0; i < n; i++)
        if (s->symbols[i].id >= 0) ids[kept++] = s->symbols[i].id;
    *count = kept;
    return true;
}

bool sg_bpe_word(const sg_bpe *bpe, sg_bpe_scratch *scratch, const char *word, size_t bytes,
                 sg_ids *out, int64_t *lost)
{
    size_t missing;
    bpe_cached *cached = NULL;
    if (bytes <= bpe_cache_key && bytes > 0) {
        cached = &scratch->cache[(size_t)sg_hash(word, bytes) & (bpe_cache_slots - 1)];
        if (cached->bytes == bytes && memcmp(cached->key, word, bytes) == 0) {
            *lost += cached->lost;
            return sg_ids_add(out, cached->ids, cached->count);
        }
    }
    if (bpe->ignore_merges) {
        int32_t id = sg_token_map_get(&bpe->words, word, bytes);
        if (id >= 0) return sg_ids_add(out, &id, 1);
    }
    sg_ids *ids = &scratch->first;
    if (!bpe_spell(bpe, word, bytes, ids, &missing)) return false;
    *lost += (int64_t)missing;
    if (ids->count <= bpe_short)
        bpe_merge_short(bpe, ids->data, &ids->count, 1);
    else if (!bpe_merge_long(bpe, scratch, ids->data, &ids->count, 1))
        return false;
    if (cached != NULL && ids->count <= bpe_cache_ids) {
        cached->bytes = (uint8_t)bytes;
        memcpy(cached->key, word, bytes);
        cached->count = (uint8_t)ids->count;
        cached->lost = (uint8_t)missing;
        memcpy(cached->ids, ids->data, ids->count * sizeof *cached->ids);
    }
    return sg_ids_add(out, ids->data, ids->count);
}

bool sg_bpe_last_pair(const sg_bpe *bpe, sg_bpe_scratch *scratch, const char *word, size_t bytes,
                      bool *found, int32_t pair[2])
{
    sg_ids *ids = &scratch->first;
    *found = false;
    size_t lost;
    if (!bpe_spell(bpe, word, bytes, ids, &lost)) return false;
    if (ids->count <= bpe_short)
        bpe_merge_short(bpe, ids->data, &ids->count, 2);
    else if (!bpe_merge_long(bpe, scratch, ids->data, &ids->count, 2))
        return false;
    if (ids->count != 2) return true;
    memcpy(pair, ids->data, 2 * sizeof *pair);
    *found = bpe_find(bpe, pair[0], pair[1])->rank != BPE_NO_RANK;
    return true;
}
