// What the files of circuits share: pairs that were run, jobs (runs with gates exchanged), and the
// steps: reading pairs (circuit_pairs.c), finding sets (circuit_find.c), what sets do
// (circuit_measure.c), and files of it (circuit_output.c).
#ifndef SG_PROBE_CIRCUIT_INSIDE_H
#define SG_PROBE_CIRCUIT_INSIDE_H

#include "probe/exchange.h"
#include "probe/fact_pairs.h"
#include "probe/neuron_usage.h"
#include "probe/statistics.h"
#include "sgatlin_edit.h"

enum {
    SG_CIRCUIT_BATCH = 32,        // runs of a pass, and neurons that a step of the search tries
    SG_CIRCUIT_CANDIDATES = 2048, // of a pair at most
    SG_CIRCUIT_NEAR = 24          // neurons that a random one is drawn from
};

typedef struct sg_circuit_pair {
    size_t clean, counterfactual; // prompts
    size_t facts[2];              // likewise, their facts
    size_t relation;
    int half;     // 0: found, 1: tested, 2: the facts of a tested pair, asked otherwise
    size_t of[2]; // of the latter: the prompts of that pair
    const sg_capture *from, *other; // of the clean prompt and the counterfactual one
    int64_t first, last;            // positions at which gates are exchanged
    double m_clean, m_cf;
    double all_effect; // all gates exchanged
    bool all_flips;
    // Neurons whose gates differ, by layer, channel and number, and the effect of each alone.
    sg_exchange_neuron *candidates; // (count)
    double *alone;
    size_t count;
    int64_t differ; // before they were cut to SG_CIRCUIT_CANDIDATES
} sg_circuit_pair;

typedef struct sg_circuit {
    sg_model *model;
    const sg_circuit_options *options;
    sg_circuit_result *result;
    sg_fact_pairs *prompts;
    sg_exchange *x;
    sg_neuron_usage *usage;
    sg_capture **captures;  // (prompts->prompt_count)
    sg_circuit_pair *pairs; // (count)
    size_t count, room;
    // Of one round of jobs (SG_CIRCUIT_BATCH)
    float *logits;
    sg_changes changes[SG_CIRCUIT_BATCH];
} sg_circuit;

struct sg_circuit_result {
    sg_arena arena;  // of sets and neurons
    sg_facts *facts; // whose names the sets have
    sg_circuit_counts counts;
    sg_circuit_set *sets; // (count)
    size_t count, room;
    sg_circuit_measure pairs, wordings;
};

// A run of a pair with gates of a set exchanged.
typedef struct sg_circuit_job {
    const sg_circuit_pair *pair;
    const sg_exchange_neuron *set; // (count)
    size_t count;
    size_t skip;                     // one of the set that is left out; SIZE_MAX: none
    const sg_exchange_neuron *extra; // one more; NULL: none
    bool but;                        // all gates but those of the set
    // What comes of it
    double effect;
    bool flips;
} sg_circuit_job;

// Any number of jobs; those of one pair should be neighbours.
sg_status sg_circuit_run(sg_circuit *c, sg_circuit_job *jobs, size_t count, sg_error *err);

// ---- pairs --------------------------------------------------------------------------------------

sg_status sg_circuit_read(sg_circuit *c, sg_error *err);
// The candidates of a pair and the effect of each alone.
sg_status sg_circuit_candidates(sg_circuit *c, sg_circuit_pair *pair, sg_error *err);

// ---- sets ---------------------------------------------------------------------------------------

typedef struct sg_circuit_found {
    sg_exchange_neuron *set; // (count) sg_free, as `without`
    double *without;         // mean effect without each
    size_t count;
    bool flips, minimal;
} sg_circuit_found;

// Candidates with the order in which the search tries them: the largest mean effect alone first.
typedef struct sg_circuit_order {
    sg_exchange_neuron *neurons; // (count)
    double *alone;               // (count) means over pairs, 0 of one that is no candidate there
    size_t count;
} sg_circuit_order;

void sg_circuit_order_free(sg_circuit_order *order);
sg_status sg_circuit_order_new(sg_circuit_pair *const *pairs, size_t count, sg_circuit_order *order,
                               sg_error *err);
// The smallest set that flips `share` of the pairs, greedily.
sg_status sg_circuit_find(sg_circuit *c, sg_circuit_pair *const *pairs, size_t count, double share,
                          const sg_circuit_order *order, sg_circuit_found *found, sg_error *err);

// ---- what they do -------------------------------------------------------------------------------

// A pair and the set that is exchanged in it; sets of one `key` are drawn alike.
typedef struct sg_circuit_entry {
    const sg_circuit_pair *pair;
    const sg_exchange_neuron *set; // (count)
    size_t count;
    const sg_circuit_order *like; // random neurons are of these
    uint64_t key;
} sg_circuit_entry;

// minimal is the caller's.
sg_status sg_circuit_measure_sets(sg_circuit *c, const sg_circuit_entry *entries, size_t count,
                                  sg_circuit_measure *measure, sg_error *err);

// ---- files --------------------------------------------------------------------------------------

// What writing would refuse, before long work; and the files of the options, when all is done.
sg_status sg_circuit_check_outputs(const sg_circuit_options *options, sg_error *err);
sg_status sg_circuit_write(const sg_circuit *c, sg_error *err);

#endif
