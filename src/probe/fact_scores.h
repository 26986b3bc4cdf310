// How likely a model finds each answer of a relation behind each prompt of a fact, and what that
// says of the fact. Answers are whole: ln p of one is the sum over its tokens of ln p of each
// behind the prompt and those before it.
#ifndef SG_PROBE_FACT_SCORES_H
#define SG_PROBE_FACT_SCORES_H

#include "model/model.h"
#include "probe/facts.h"

// Of n different answers of a relation, m are right for a fact (mostly one).
typedef struct sg_known_fact {
    int64_t prompts;  // that were asked
    int64_t recalled; // of them: a right answer is likelier than each wrong one
    int64_t greedy;   // of them: the likeliest tokens, one after the other, spell a right answer
    double bits;      // sum over them of log2(n / m) + log2 p(right | one of the n)
    double possible;  // log2(n / m)
} sg_known_fact;

typedef struct sg_fact_scores {
    sg_known_fact *facts; // (facts->count)
    size_t *answers;      // (relations) n
    // Prompts that were not asked: bytes that no token stands for; longer with its answer than the
    // model's positions; an answer of the relation does not begin where a token does, or the fact's
    // own is cut otherwise than behind other subjects; every answer of the relation is right.
    int64_t lost, too_long, answer_not_found, no_choice;
} sg_fact_scores;

typedef struct sg_fact_scores_options {
    int64_t batch;           // prompts of a pass; 0: 128, fewer where keys and values are large
    sg_progress_fn progress; // in prompts; may be NULL
    void *user;
} sg_fact_scores_options;

// The bits depend on the batch, not on threads. *out: sg_fact_scores_clear, empty on failure.
sg_status sg_fact_scores_new(sg_model *model, const sg_tokenizer *tokenizer, const sg_facts *facts,
                             const sg_fact_scores_options *options, sg_fact_scores *out,
                             sg_error *err);
void sg_fact_scores_clear(sg_fact_scores *scores);

#endif
