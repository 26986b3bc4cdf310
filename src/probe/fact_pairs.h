// Facts as prompts in tokens, and pairs of them whose runs can be exchanged: of one relation and
// one prompt, with as many tokens and the subjects at the same ones, and answers that begin with
// different tokens.
#ifndef SG_PROBE_FACT_PAIRS_H
#define SG_PROBE_FACT_PAIRS_H

#include "probe/facts.h"
#include "sgatlin_patch.h"

enum { SG_PROMPT_ANSWERS = 64 };

// One fact asked by one prompt of its relation. The prompt ends before " {answer}"; what is scored
// is the first token of the answer with its space.
typedef struct sg_fact_prompt {
    size_t fact, prompt; // of the facts; of the relation's prompts
    int32_t *tokens;     // (length), with what begins a text
    int64_t length;
    int64_t subject_first, subject_last; // tokens
    int32_t *answers;                    // (answer_count) first tokens, ascending, each once
    size_t answer_count;
    size_t group; // prompts of one group can be paired
} sg_fact_prompt;

// An ordered pair of prompts. Pairs 2 i and 2 i + 1 are the two orders of one pair.
typedef struct sg_fact_pair {
    size_t clean, counterfactual;
} sg_fact_pair;

typedef struct sg_fact_pairs {
    sg_fact_prompt *prompts; // (prompt_count) those that can be used, group by group
    size_t prompt_count;
    size_t *groups; // (group_count + 1) where each group begins
    size_t group_count;
    sg_fact_pair *pairs;
    size_t count;
    sg_patch_counts counts;
    sg_arena arena;
} sg_fact_pairs;

// most: ordered pairs at most, 0: all; drawn by seed where there are more. SG_ERR_MISMATCH where no
// pair is left, with the reasons. *pairs: sg_fact_pairs_free.
sg_status sg_fact_pairs_new(const sg_model *model, const sg_tokenizer *tokenizer,
                            const sg_facts *facts, int64_t most, uint64_t seed,
                            sg_fact_pairs **pairs, sg_error *err);
void sg_fact_pairs_free(sg_fact_pairs *pairs); // NULL is allowed
// Whether the answers of two prompts have no first token in common.
bool sg_fact_prompts_differ(const sg_fact_prompt *a, const sg_fact_prompt *b);

#endif
