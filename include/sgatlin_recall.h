// Which facts a model knows, and how many bits of them it has learned.
//
// A fact of a file (docs/FORMATS.md, "Facts") is asked by each prompt of its relation, and of every
// answer that the relation has in the file the model says how likely it is there: the whole answer,
// the product of its tokens' probabilities. With n different answers, of which m are right (mostly
// one), and p the share that right ones have in the probability of all n:
//
//     recalled   a right answer is likelier than each wrong one
//     greedy     the likeliest tokens, one after the other, spell a right answer
//     bits       log2(n / m) + log2 p: what the model says of the answer beyond a guess;
//                log2(n / m) where it is sure and right, 0 where it knows nothing, below where it
//                is wrong
//
// Of a relation's facts bits are a mean over their prompts, then over facts, at least 0, times the
// number of facts: a model that is surer than right has learned nothing. This is the value term of
// the bit complexity of Allen-Zhu and Li 2024 (arXiv 2404.05405, "Physics of language models: part
// 3.3"), whose N facts with loss l nats among n equally likely answers count N (log2 n - l / ln 2)
// bits. What differs: p is among the relation's answers and not among all texts, so that a model
// need not be sure that an answer comes; n is counted in the file; names, which their first term
// counts, and lists of answers, which the third does, are left out.
#ifndef SGATLIN_RECALL_H
#define SGATLIN_RECALL_H

#include "sgatlin.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_recall_options {
    const char *facts; // path of the file
    const sg_tokenizer *tokenizer;
    int64_t bootstrap; // resamples of the subjects for intervals; default 1,000; 0: none
    uint64_t seed;     // of these; default 1
    int64_t batch;     // prompts of a pass; 0: 128, fewer where keys and values are large. Changes
                       // roundings
    const char *csv;   // a row a fact; NULL: none
    bool force;        // what is there is replaced
    sg_progress_fn progress; // in prompts; may be NULL
    void *user;
} sg_recall_options;
SG_API sg_recall_options sg_recall_options_default(void);

// With its 95 % interval over subjects, a percentile one by bootstrap: people are drawn, all facts
// of one together. NAN: there is none.
typedef struct sg_recall_number {
    double value, low, high;
} sg_recall_number;

// Of a relation, or of all together.
typedef struct sg_recall_row {
    const char *relation; // "": all
    int64_t answers;      // different ones in the file; 0 of all
    int64_t facts;        // that at least one prompt asked
    int64_t prompts;      // that were asked
    int64_t recalled;     // facts, in more than half of their prompts
    int64_t prompts_recalled, prompts_greedy;
    double possible;         // bits: the sum of log2(n / m) over facts
    sg_recall_number share;  // recalled / facts
    sg_recall_number greedy; // prompts_greedy / prompts
    sg_recall_number bits;   // learned
} sg_recall_row;

typedef struct sg_recall_result {
    sg_recall_row *rows; // (count) relations in the file's order, those without a fact left out;
                         // with their names one block of memory: sg_buffer_free
    size_t count;
    sg_recall_row all;
    int64_t subjects; // of the facts that were asked
    // Prompts that were not asked: bytes that no token stands for; longer with its answer than the
    // model's positions; an answer of the relation does not begin where a token does; all answers
    // of the relation are right.
    int64_t lost, too_long, answer_not_found, no_choice;
} sg_recall_result;

// Asks all facts of a file. The same bits for any number of threads. SG_ERR_MISMATCH where no
// prompt can be asked, with the reasons; SG_ERR_STOPPED where progress says so. On failure *result
// is zeroed, and a file at options->csv as it was.
SG_API sg_status sg_probe_recall(sg_model *model, const sg_recall_options *options,
                                 sg_recall_result *result, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
