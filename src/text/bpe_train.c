// The merge loop of training. Pairs wait in a heap, most frequent first, of equals the one with the
// smaller ids; a merge touches only the words its pair is in and changes only the counts of the
// pairs next to it. Two habits of the library's trainer are kept, because they show in the result:
// the count of a merged pair is not reset, and a pair that comes to life again later waits a second
// time.
#include "text/bpe_train.h"

#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

// ---- counting words ---------------------------------------------------------------------------

static bool counts_rehash(sg_word_counts *counts)
{
    size_t slots = counts->mask == 0 ? 1 << 12 : (counts->mask + 1) * 2;
    uint32_t *table = sg_alloc_zero(slots, sizeof *table);
    if (table == NULL) return false;
    for (size_t i = 0; i < counts->count; i++) {
        size_t at = counts->words[i].hash & (slots - 1);
        while (table[at] != 0)
            at = (at + 1) & (slots - 1);
        table[at] = (uint32_t)i + 1;
    }
    sg_free(counts->table);
    counts->table = table;
    counts->mask = slots - 1;
    return true;
}

bool sg_word_counts_add(sg_word_counts *counts, const char *word, size_t bytes)
{
    if (bytes >= UINT32_MAX || counts->count >= INT32_MAX) return false;
    if (counts->table == NULL || counts->count * 2 > counts->mask)
        if (!counts_rehash(counts)) return false;
    uint32_t hash = (uint32_t)sg_hash(word, bytes);
    size_t at = hash & counts->mask;
    for (; counts->table[at] != 0; at = (at + 1) & counts->mask) {
        struct sg_counted_word *old = &counts->words[counts->table[at] - 1];
        if (old->hash != hash || old->bytes != bytes || memcmp(old->text, word, bytes) != 0)
            continue;
        old->count++;
        return true;
    }
    if (!sg_grow((void **)&counts->words, &counts->capacity, counts->count + 1,
                 sizeof *counts->words))
        return false;
    char *copy = sg_arena_strndup(&counts->arena, word, bytes);
    if (copy == NULL) return false;
    counts->words[counts->count++] = (struct sg_counted_word){copy, (uint32_t)bytes, hash, 1};
    counts->table[at] = (uint32_t)counts->count;
    return true;
}

void sg_word_counts_close(sg_word_counts *counts)
{
    sg_arena_free(&counts->arena);
    sg_free(counts->words);
    sg_free(counts->table);
    *counts = (sg_word_counts){0};
}

void sg_learned_close(sg_learned *learned)
{
    sg_arena_free(&learned->arena);
    sg_free(learned->tokens);
    sg_free(learned->merges);
    *learned = (sg_learned){0};
}

// ---- the state --------------------------------------------------------------------------------

typedef struct train_word {
    int32_t *symbols;
    uint32_t length;
} train_word;

// A set of word indices, growing.
typedef struct train_places {
    uint32_t *words;
    size_t count, capacity;
} train_places;

typedef struct train_pair {
    uint64_t key; // left << 32 | right
    int64_t count;
    train_places fresh; // words the pair appeared in since it was last put on the heap
} train_pair;

typedef struct train_entry {
    uint64_t key; // ordered as (left, right) are
    int64_t count;
    train_places places;
} train_entry;

typedef struct train_state {
    const sg_word_counts *counts;
    sg_learned *learned;
    sg_token_map ids; // token spellings to ids
    size_t ids_room;
    train_word *words;
    int32_t *symbols; // of all words
    train_pair *pairs;
    size_t pair_count, pair_capacity;
    uint32_t *table; // (mask+1) index of a pair plus one
    size_t mask;
    uint32_t *touched; // pairs with fresh places
    size_t touched_count, touched_capacity;
    train_entry *heap;
    size_t heap_count, heap_capacity;
    sg_bytes scratch;
} train_state;

static uint64_t train_key(int32_t left, int32_t right)
{
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

static size_t train_slot(const train_state *s, uint64_t key)
{
    uint64_t mixed = key * 0x9E3779B97F4A7C15ULL;
    size_t at = (size_t)(mixed ^ mixed >> 32) & s->mask;
    while (s->table[at] != 0 && s->pairs[s->table[at] - 1].key != key)
        at = (at + 1) & s->mask;
    return at;
}

static bool train_rehash(train_state *s)
{
    size_t slots = s->mask == 0 ? 1 << 12 : (s->mask + 1) * 2;
    uint32_t *table = sg_alloc_zero(slots, sizeof *table);
    if (table == NULL) return false;
    sg_free(s->table);
    s->table = table;
    s->mask = slots - 1;
    for (size_t i = 0; i < s->pair_count; i++)
        s->table[train_slot(s, s->pairs[i].key)] = (uint32_t)i + 1;
    return true;
}

// Finds or makes the pair; its index, or UINT32_MAX when out of memory.
static uint32_t train_pair_index(train_state *s, uint64_t key)
{
    if (s->pair_count * 2 >= s->mask)
        if (s->pair_count >= UINT32_MAX - 2 || !train_rehash(s)) return UINT32_MAX;
    size_t at = train_slot(s, key);
    if (s->table[at] != 0) return s->table[at] - 1;
    if (!sg_grow((void **)&s->pairs, &s->pair_capacity, s->pair_count + 1, sizeof *s->pairs))
        return UINT32_MAX;
    s->pairs[s->pair_count] = (train_pair){.key = key};
    s->table[at] = (uint32_t)++s->pair_count;
    return s->table[at] - 1;
}

// The pair gains `count` in a word; words come in ascending order within one round.
static bool train_gain(train_state *s, int32_t left, int32_t right, int64_t count, uint32_t word)
{
    uint32_t index = train_pair_index(s, train_key(left, right));
    if (index == UINT32_MAX) return false;
    train_pair *pair = &s->pairs[index];
    pair->count += count;
    train_places *fresh = &pair->fresh;
    if (fresh->count > 0 && fresh->words[fresh->count - 1] == word) return true;
    if (fresh->count == 0) {
        if (!sg_grow((void **)&s->touched, &s->touched_capacity, s->touched_count + 1,
                     sizeof *s->touched))
            return false;
        s->touched[s->touched_count++] = index;
    }
    if (!sg_grow((void **)&fresh->words, &fresh->capacity, fresh->count + 1, sizeof *fresh->words))
        return false;
    fresh->words[fresh->count++] = word;
    return true;
}

static void train_lose(train_state *s, int32_t left, int32_t right, int64_t count)
{
    size_t at = train_slot(s, train_key(left, right));
    if (s->table[at] != 0) s->pairs[s->table[at] - 1].count -= count;
}

// ---- the heap ---------------------------------------------------------------------------------

static bool train_before(const train_entry *a, const train_entry *b)
{
    return a->count != b->count ? a->count > b->count : a->key < b->key;
}

static void train_sift_up(train_state *s, size_t i, train_entry entry)
{
    while (i > 0 && train_before(&entry, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = entry;
}

static void train_sift_down(train_state *s, train_entry entry)
{
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= s->heap_count) break;
        if (child + 1 < s->heap_count && train_before(&s->heap[child + 1], &s->heap[child]))
            child++;
        if (!train_before(&s->heap[child], &entry)) break;
        s->heap[i] = s->heap[child];
        i = child;
    }
    s->heap[i] = entry;
}

// Puts the pairs of the round on the heap, with the places they appeared in.
static bool train_flush(train_state *s)
{
    if (!sg_grow((void **)&s->heap, &s->heap_capacity, s->heap_count + s->touched_count + 1,
                 sizeof *s->heap))
        return false;
    for (size_t i = 0; i < s->touched_count; i++) {
        train_pair *pair = &s->pairs[s->touched[i]];
        if (pair->count > 0)
            train_sift_up(s, s->heap_count++, (train_entry){pair->key, pair->count, pair->fresh});
        else
            sg_free(pair->fresh.words);
        pair->fresh = (train_places){0};
    }
    s->touched_count = 0;
    return true;
}

// ---- tokens -----------------------------------------------------------------------------------

// The id of a spelling, which becomes a new token when it is none yet; -1 when out of memory.
static int32_t train_token(train_state *s, const char *text, size_t bytes)
{
    sg_learned *learned = s->learned;
    int32_t id = sg_token_map_get(&s->ids, text, bytes);
    if (id >= 0) return id;
    if (learned->token_count == s->ids_room ||
        !sg_grow((void **)&learned->tokens, &learned->token_capacity, learned->token_count + 1,
                 sizeof *learned->tokens))
        return -1;
    char *copy = sg_arena_strndup(&learned->arena, text, bytes);
    if (copy == NULL) return -1;
    id = (int32_t)learned->token_count++;
    learned->tokens[id] = (sg_hf_string){copy, bytes};
    sg_token_map_put(&s->ids, copy, bytes, id);
    return id;
}

// Special tokens first, then the bytes in the order of their characters; fills symbols[256].
static bool train_alphabet(train_state *s, const sg_tokenizer_train_options *options,
                           int32_t symbols[256])
{
    bool seen[256];
    memset(seen, options->full_alphabet, sizeof seen);
    for (size_t i = 0; i < s->counts->count; i++)
        for (uint32_t b = 0; b < s->counts->words[i].bytes; b++)
            seen[(unsigned char)s->counts->words[i].text[b]] = true;
    for (size_t i = 0; i < options->special_count; i++)
        if (train_token(s, options->specials[i], strlen(options->specials[i])) < 0) return false;
    for (uint32_t code = 0; code <= 0x143; code++) {
        int byte = sg_char_to_byte(code);
        if (byte < 0 || !seen[byte]) continue;
        char text[4];
        symbols[byte] = train_token(s, text, (size_t)sg_utf8_encode(code, text));
        if (symbols[byte] < 0) return false;
    }
    return true;
}

static bool train_spell(train_state *s, const int32_t symbols[256])
{
    size_t total = 0, count = s->counts->count;
    for (size_t i = 0; i < count; i++)
        total += s->counts->words[i].bytes;
    s->words = sg_alloc_array(count + 1, sizeof *s->words);
    s->symbols = sg_alloc_array(total + 1, sizeof *s->symbols);
    if (s->words == NULL || s->symbols == NULL) return false;
    int32_t *next = s->symbols;
    for (size_t i = 0; i < count; i++) {
        const struct sg_counted_word *word = &s->counts->words[i];
        s->words[i] = (train_word){next, word->bytes};
        for (uint32_t b = 0; b < word->bytes; b++)
            *next++ = symbols[(unsigned char)word->text[b]];
    }
    return true;
}

static bool train_count_pairs(train_state *s)
{
    for (size_t i = 0; i < s->counts->count; i++) {
        const train_word *word = &s->words[i];
        for (uint32_t k = 0; k + 1 < word->length; k++)
            if (!train_gain(s, word->symbols[k], word->symbols[k + 1], s->counts->words[i].count,
                            (uint32_t)i))
                return false;
    }
    return train_flush(s);
}

// ---- merging ----------------------------------------------------------------------------------

// Joins (left, right) to `made` all over one word, from the left.
static bool train_merge_word(train_state *s, uint32_t index, int32_t left, int32_t right,
                             int32_t made)
{
    train_word *word = &s->words[index];
    int32_t *symbols = word->symbols;
    int64_t count = s->counts->words[index].count;
    uint32_t out = 0;
    for (uint32_t i = 0; i < word->length;) {
        if (symbols[i] != left || i + 1 >= word->length || symbols[i + 1] != right) {
            symbols[out++] = symbols[i++];
            continue;
        }
        if (out > 0) {
            train_lose(s, symbols[out - 1], left, count);
            if (!train_gain(s, symbols[out - 1], made, count, index)) return false;
        }
        i += 2;
        if (i < word->length) {
            train_lose(s, right, symbols[i], count);
            if (!train_gain(s, made, symbols[i], count, index)) return false;
        }
        symbols[out++] = made;
    }
    word->length = out;
    return true;
}

static bool train_add_merge(train_state *s, uint64_t key, int32_t *made)
{
    sg_learned *learned = s->learned;
    int32_t left = (int32_t)(key >> 32), right = (int32_t)(key & UINT32_MAX);
    sg_hf_string a = learned->tokens[left], b = learned->tokens[right];
    s->scratch.count = 0;
    if (!sg_bytes_add(&s->scratch, a.text, a.bytes) || !sg_bytes_add(&s->scratch, b.text, b.bytes))
        return false;
    *made = train_token(s, s->scratch.data, s->scratch.count);
    if (*made < 0 || !sg_grow((void **)&learned->merges, &learned->merge_capacity,
                              learned->merge_count + 1, sizeof *learned->merges))
        return false;
    uint32_t rank = (uint32_t)learned->merge_count;
    learned->merges[learned->merge_count++] = (sg_hf_merge){left, right, *made, rank};
    return true;
}

static sg_status train_no_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory while training the tokenizer");
}

static bool train_report(const train_state *s, const sg_tokenizer_train_options *options)
{
    return options->progress == NULL ||
           options->progress(options->progress_user, (int32_t)s->learned->token_count,
                             options->vocab_size);
}

static sg_status train_merges(train_state *s, const sg_tokenizer_train_options *options,
                              sg_error *err)
{
    while (s->learned->token_count < (size_t)options->vocab_size && s->heap_count > 0) {
        train_entry top = s->heap[0];
        int64_t count = s->pairs[s->table[train_slot(s, top.key)] - 1].count;
        if (count != top.count) {
            top.count = count;
            train_sift_down(s, top);
            continue;
        }
        if (count < 1 || count < options->min_frequency) break;
        train_entry last = s->heap[--s->heap_count];
        if (s->heap_count > 0) train_sift_down(s, last);
        int32_t made;
        bool fine = train_add_merge(s, top.key, &made);
        int32_t left = (int32_t)(top.key >> 32), right = (int32_t)(top.key & UINT32_MAX);
        for (size_t i = 0; fine && i < top.places.count; i++)
            fine = train_merge_word(s, top.places.words[i], left, right, made);
        sg_free(top.places.words);
        if (!fine || !train_flush(s)) return train_no_memory(err);
        if (s->learned->merge_count % 256 == 0 && !train_report(s, options))
            return sg_fail(err, SG_ERR_STOPPED, "training the tokenizer was stopped");
    }
    return SG_OK;
}

// A pair that was merged twice has the rank of its last merge, as in the library.
static sg_status train_drop_repeats(sg_learned *learned, sg_error *err)
{
    size_t count = learned->merge_count, slots = 16;
    while (slots / 2 < count)
        slots *= 2;
    uint64_t *seen = sg_alloc_zero(slots, sizeof *seen);
    if (seen == NULL) return train_no_memory(err);
    size_t kept = count;
    for (size_t i = count; i-- > 0;) {
        uint64_t key = train_key(learned->merges[i].left, learned->merges[i].right) + 1;
        size_t at = (size_t)(key * 0x9E3779B97F4A7C15ULL >> 20) & (slots - 1);
        while (seen[at] != 0 && seen[at] != key)
            at = (at + 1) & (slots - 1);
        if (seen[at] == key) continue;
        seen[at] = key;
        learned->merges[--kept] = learned->merges[i];
    }
    sg_free(seen);
    memmove(learned->merges, learned->merges + kept, (count - kept) * sizeof *learned->merges);
    learned->merge_count = count - kept;
    return SG_OK;
}

static void train_close(train_state *s)
{
    for (size_t i = 0; i < s->pair_count; i++)
        sg_free(s->pairs[i].fresh.words);
    for (size_t i = 0; i < s->heap_count; i++)
        sg_free(s->heap[i].places.words);
    sg_free(s->pairs);
    sg_free(s->heap);
    sg_free(s->table);
    sg_free(s->touched);
    sg_free(s->words);
    sg_free(s->symbols);
    sg_free(s->scratch.data);
    sg_token_map_close(&s->ids);
}

sg_status sg_bpe_learn(const sg_tokenizer_train_options *options, const sg_word_counts *words,
                       sg_learned *learned, sg_error *err)
{
    train_state s = {.counts = words, .learned = learned};
    int32_t symbols[256];
    // Special tokens and bytes come in even when the vocabulary asked for is smaller than they are.
    s.ids_room = (size_t)options->vocab_size + options->special_count + 256;
    bool fine = sg_token_map_open(&s.ids, s.ids_room) && train_rehash(&s) &&
                train_alphabet(&s, options, symbols) && train_spell(&s, symbols) &&
                train_count_pairs(&s);
    sg_status status = fine ? train_merges(&s, options, err) : train_no_memory(err);
    if (status == SG_OK && learned->merge_count > 0) status = train_drop_repeats(learned, err);
    train_close(&s);
    return status;
}
