// Changing single neurons while a model runs: scaled, fixed or removed, to steer what it writes and
// to find out what they are for; and which neurons make an answer.
// A companion of sgatlin.h and sgatlin_probe.h, whose conventions hold here too.
//
// A neuron is named by its layer, its channel and its number, all from 0 (docs/PROBE.md): of a
// sparse layer the number in the channel's pool, in blocks of g neurons (experts) b g + j for the
// j-th of block b; a dense layer is one channel. Its coefficient z is what multiplies its row of
// w_out (hook_post), 0 at a token where it is not selected.
#ifndef SGATLIN_EDIT_H
#define SGATLIN_EDIT_H

#include "sgatlin_probe.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- edits --------------------------------------------------------------------------------------

typedef enum sg_edit_kind {
    SG_EDIT_SCALE = 0, // z becomes value z
    SG_EDIT_FIX = 1,   // z becomes value, at every token, selected or not
    SG_EDIT_REMOVE = 2 // z becomes 0
} sg_edit_kind;

typedef struct sg_edit {
    int64_t layer, channel, neuron; // channel -1: of every channel of the layer
    sg_edit_kind kind;
    double value;
    int64_t first, last; // positions in the sequence, from 0, at which it works; last -1: all
                         // behind first
} sg_edit;

// Edits of one model, ready to work. Where several are of one neuron, they work one after the
// other, each on what the one before it made. A neuron that is fixed where it is not selected is
// added to what the layer writes (hook_mlp_out): the other neurons stay as they are, and the sum is
// that of a layer which had selected it with this coefficient.
//
// Passes without anything to change have not a bit changed: edits by 1 ask for no point, and
// neurons that are not edited keep their bits (of experts those of their order of computation with
// points, see sgatlin_probe.h).
typedef struct sg_edits sg_edits;

// The model must outlive them. A layer, channel or neuron that there is not is SG_ERR_ARGUMENT; so
// is a neuron that is fixed in every channel of several. To fix a neuron of memory_plus, which goes
// on computing with the sum of its values, is SG_ERR_UNSUPPORTED.
SG_API sg_status sg_edits_new(const sg_model *model, const sg_edit *list, size_t count,
                              sg_edits **edits, sg_error *err);
// From a file of edits (docs/FORMATS.md): JSON; what is wrong with it is SG_ERR_FORMAT, what does
// not fit the model as above.
SG_API sg_status sg_edits_open(const sg_model *model, const char *path, sg_edits **edits,
                               sg_error *err);
// The same from the bytes of the file; `name` is what errors call it.
SG_API sg_status sg_edits_from_memory(const sg_model *model, const void *data, size_t bytes,
                                      const char *name, sg_edits **edits, sg_error *err);
SG_API void sg_edits_free(sg_edits *edits);
// What sessions, an evaluation or sg_generate_options take; valid as long as the edits. They keep
// notes of a pass, so that passes that use them are not to run at the same time on several threads.
// No items where nothing is changed.
SG_API const sg_points *sg_edits_points(const sg_edits *edits);

// The list, a channel of -1 and positions of a file written out, in order.
SG_API const sg_edit *sg_edits_list(const sg_edits *edits, size_t *count);

// What became of one neuron in all passes so far.
typedef struct sg_edit_use {
    int64_t layer, channel, neuron;
    int64_t tokens;   // at which it was to be edited
    int64_t selected; // of these, at which it was selected
} sg_edit_use;
// The neurons that are edited, by layer, channel and number; those of edits that change nothing are
// not among them. i < sg_edits_neurons.
SG_API size_t sg_edits_neurons(const sg_edits *edits);
SG_API sg_edit_use sg_edits_use(const sg_edits *edits, size_t i);

// ---- ablation -----------------------------------------------------------------------------------

typedef struct sg_ablate_options {
    const sg_data *data;
    sg_split split;     // default SG_SPLIT_VAL
    int64_t max_tokens; // the first so many, whole sequences; default 16,384; 0: all
    // What is ablated, one of: neurons "layer:channel:neuron,…"; the `top` neurons by contribution
    // (sum of |z| times the length of the row of w_out) or, with by_usage, by how often they are
    // selected; `random` neurons; or, with none of these (the default), layers as a whole, or each
    // of their channels where `channels` is given.
    const char *neurons;
    int64_t top, random;
    bool by_usage;
    const char *layers, *channels; // "0,2-4", "all": what top and random choose from, or what is
                                   // ablated as a whole; NULL: all layers, all channels together
    const char *records; // path of a record (sgatlin_record.h) whose usage `top`, `random` and
                         // controls go by, in place of counting that of the data; NULL: none
    bool mean;     // z becomes its mean over the tokens read, 0 where it is not selected counted,
                   // at every token; else 0
    bool together; // several neurons at once only, not also each alone
    bool control;  // beside neurons as many random ones; default true
    int64_t bootstrap;       // resamples of sequences; default 2,000
    uint64_t seed;           // default 1
    sg_progress_fn progress; // in sequences, of all passes; may be NULL
    void *user;
} sg_ablate_options;
SG_API sg_ablate_options sg_ablate_options_default(void);

// A mean over all tokens that count, in nats, with its 95 % interval by bootstrap over sequences.
typedef struct sg_ablate_change {
    double mean, low, high;
} sg_ablate_change;

typedef struct sg_ablate_group {
    char name[64]; // "2:0:17", "layer 2", "layer 2 channel 1", "all of these"
    int64_t neurons;
    double usage;        // selections of its neurons a token and neuron; NAN: not counted
    double contribution; // mean length of what a neuron adds where it is selected; likewise
    int64_t sequences;   // in which anything changed
    double loss, perplexity;
    sg_ablate_change change; // of the loss
    // As many random neurons of the same layers and channels, matched in usage and contribution
    // norm: one for each, drawn from the 16 nearest. NAN where there are none.
    char control_name[64];                // of one neuron
    sg_ablate_change control, difference; // difference: change - control
} sg_ablate_group;

typedef struct sg_ablate_result {
    sg_ablate_group *groups; // (count); sg_buffer_free
    size_t count;
    double loss, perplexity; // of the model as it is
    int64_t tokens, sequences;
} sg_ablate_result;

// What the loss of packed data becomes without neurons. Each sequence is read once as it is; an
// ablation that changes nothing in it, since no token selects its neurons, is not run and changes
// exactly nothing; else it is read again from the first token that does. Differences below 1e-6
// nats a token are rounding.
SG_API sg_status sg_probe_ablate(sg_model *model, const sg_ablate_options *options,
                                 sg_ablate_result *result, sg_error *err);

// ---- circuits -----------------------------------------------------------------------------------
//
// The smallest set of neurons, found greedily, that flips an answer: in the run of a prompt ("The
// lake was") the gates of these neurons become what they are in the run of another ("The mum was"),
// and the model then prefers the other's answer. Pairs of prompts, their answers, m and effects are
// those of sgatlin_patch.h; gates of single neurons are exchanged exactly (docs/PROBE.md).

// Where gates are exchanged: from the first token of the subject to the last of the prompt, at the
// last token of the subject, or at the last of the prompt.
typedef enum sg_circuit_position {
    SG_CIRCUIT_ALL = 0,
    SG_CIRCUIT_SUBJECT = 1,
    SG_CIRCUIT_LAST = 2
} sg_circuit_position;

typedef struct sg_circuit_options {
    const char *facts; // path of the file (docs/FORMATS.md)
    const sg_tokenizer *tokenizer;
    sg_circuit_position position;
    int64_t most;                // neurons of a set at most; default 32
    int64_t pairs;               // ordered pairs of each half at most; default 32
    double share;                // of the pairs that a shared set is to flip; default 0.5
    int64_t random;              // random sets that a set is compared with; default 1,000
    int64_t bootstrap;           // resamples; default 10,000
    uint64_t seed;               // default 1
    int64_t batch;               // runs of a pass; default 0: 32
    const char *out;             // SQLite; NULL: none
    const char *csv;             // NULL: none
    bool force;                  // what is there is replaced
    const char *model, *command; // what the file calls them; NULL: nothing
    sg_progress_fn progress;     // in runs, of a number that is not known; may be NULL
    void *user;
} sg_circuit_options;
SG_API sg_circuit_options sg_circuit_options_default(void);

typedef struct sg_circuit_interval {
    double mean, low, high; // 95 %, by bootstrap over facts
} sg_circuit_interval;

// What one set, or each pair's own, does to pairs.
typedef struct sg_circuit_measure {
    int64_t pairs, facts; // that it is over
    // Sufficiency: the set alone is exchanged. Share of pairs that flip; mean effect.
    sg_circuit_interval flips, effect;
    // Beside it: all gates are exchanged.
    sg_circuit_interval all_flips, all_effect;
    // Necessity: all gates but those of the set are exchanged. What is left of the effect of all,
    // subtracted from it; and the share of pairs that still flip.
    sg_circuit_interval lost, still_flips;
    // Minimality: the share of sets of which no neuron can be left out: of a pair's own set it
    // then flips no longer, of a shared one it flips less than `share` of the pairs that it was
    // found on. Of tested pairs NAN.
    double minimal;
    // Against random sets of the same size, matched in layer, usage and contribution norm: their
    // means, and the share of them that do as much, (1 + as many) / (1 + random). NAN without.
    double random_flips, random_effect, p_flips, p_effect;
} sg_circuit_measure;

typedef struct sg_circuit_neuron {
    int64_t layer, channel, neuron;
    double alone;   // mean effect when it alone is exchanged
    double without; // mean effect of the set without it
} sg_circuit_neuron;

typedef struct sg_circuit_set {
    // Valid as long as the result. counterfactual NULL: of a relation, one set for all its pairs.
    const char *relation, *clean, *counterfactual;
    const sg_circuit_neuron *neurons; // (count) in the order in which they were found
    size_t count;
    bool flips;         // of a pair: it does; of a relation: `share` of the pairs it was found on
    int64_t candidates; // neurons whose gates differ
    sg_circuit_measure found; // on the pair, or the pairs, that it was found on
    // Of a relation: on the pairs of the other half of the facts. Of a pair: on the same two facts
    // asked by the other prompts of the relation, where the model knows both answers.
    sg_circuit_measure tested;
} sg_circuit_set;

typedef struct sg_circuit_result sg_circuit_result;
// What was read, and the pairs that were used.
typedef struct sg_circuit_counts {
    int64_t facts, prompts;   // of the file; those that can be used
    int64_t looked_at, known; // pairs that were run; those whose two answers the model knows:
                              // m_clean > 0 > m_cf. Others cannot flip, and are left out
    int64_t found_facts, tested_facts; // the two halves
    int64_t found_pairs, tested_pairs; // with both facts in one half
    int64_t other_wordings; // pairs of the same facts as the tested pairs, asked by other prompts
    int64_t runs;
} sg_circuit_counts;

// Facts are cut in two halves by the seed, relation by relation. For each relation one set is found
// on pairs of the first half and tested on pairs of the second; and each pair of the second half
// gets a set of its own. Files appear when all is done: a failure, or a stop, leaves what was there
// before. SG_ERR_MISMATCH where the model knows no pair of either half;
// SG_ERR_UNSUPPORTED for experts and memory_plus, whose neurons have no gates of their own.
SG_API sg_status sg_probe_circuit(sg_model *model, const sg_circuit_options *options,
                                  sg_circuit_result **result, sg_error *err);
SG_API void sg_circuit_result_free(sg_circuit_result *result);
SG_API const sg_circuit_counts *sg_circuit_result_counts(const sg_circuit_result *result);
// Sets of relations, then those of pairs.
SG_API const sg_circuit_set *sg_circuit_result_sets(const sg_circuit_result *result, size_t *count);
// All pairs' own sets together, those that do not flip included: on the pairs, and on the same
// facts asked by other prompts (pairs 0: there are none).
SG_API const sg_circuit_measure *sg_circuit_result_pairs(const sg_circuit_result *result);
SG_API const sg_circuit_measure *sg_circuit_result_wordings(const sg_circuit_result *result);

#ifdef __cplusplus
}
#endif
#endif
