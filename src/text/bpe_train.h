// Learning merges from counted words, step by step as the Hugging Face library's BpeTrainer does,
// so that the same text gives the same tokenizer.
#ifndef SG_TEXT_BPE_TRAIN_H
#define SG_TEXT_BPE_TRAIN_H

#include "base/arena.h"
#include "text/bpe.h"

// Different words and how often each occurred.
typedef struct sg_word_counts {
    sg_arena arena; // the bytes of the words
    struct sg_counted_word {
        const char *text;
        uint32_t bytes;
        uint32_t hash;
        int64_t count;
    } * words; // (count), in order of first occurrence
    size_t count, capacity;
    uint32_t *table; // (mask+1) index of a word plus one, 0: empty
    size_t mask;
} sg_word_counts;

// A zeroed sg_word_counts is empty. False when out of memory.
bool sg_word_counts_add(sg_word_counts *counts, const char *word, size_t bytes);
void sg_word_counts_close(sg_word_counts *counts);

// What training makes.
typedef struct sg_learned {
    sg_arena arena;
    sg_hf_string *tokens; // (token_count), by id, spelled in the byte alphabet
    size_t token_count, token_capacity;
    sg_hf_merge *merges; // (merge_count), in order of rank
    size_t merge_count, merge_capacity;
} sg_learned;

// A zeroed sg_learned is empty; close it also when learning failed.
sg_status sg_bpe_learn(const sg_tokenizer_train_options *options, const sg_word_counts *words,
                       sg_learned *learned, sg_error *err);
void sg_learned_close(sg_learned *learned);

#endif
