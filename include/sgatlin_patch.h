// Which parts of a run an answer is made by: pairs of prompts that differ in a fact are run with
// parts of each other put in (activation patching), and what that does to the answer is measured,
// beside controls and with intervals over facts.
// A companion of sgatlin_probe.h, whose points it exchanges.
//
// A prompt asks for a fact ("The lake was"); its clean answer is its own (" icy"), the
// counterfactual answer that of the other prompt of the pair ("The mum was", " proud"). With the
// logits z behind the last token,
//
//     m = logsumexp of z of the clean answers - logsumexp of z of the counterfactual ones
//
// and m_clean, m_cf, m_patched those of the three runs, the effect of a patch is the share
// (m_clean - m_patched) / (m_clean - m_cf + 1e-8) of the difference that is gone: 0: nothing
// changed, 1: the run answers as the other one does. Only first tokens of answers are scored.
#ifndef SGATLIN_PATCH_H
#define SGATLIN_PATCH_H

#include "sgatlin_probe.h"

#ifdef __cplusplus
extern "C" {
#endif

// What is measured of a patched run, and what it is without a patch (the value before).
typedef enum sg_patch_metric {
    SG_PATCH_EFFECT,           // as above; before: 0. The published one: its mean is one of ratios
    SG_PATCH_LOGIT_DIFFERENCE, // m_patched; before: m_clean
    SG_PATCH_LOGPROB,          // ln p of the clean answers; before: likewise
    SG_PATCH_LOGPROB_CF,       // ln p of the counterfactual answers
    SG_PATCH_KL,               // of the patched distribution from that before, in nats; before: 0
    SG_PATCH_RANK,             // of the likeliest clean answer among all tokens, from 1
    SG_PATCH_FLIP,             // 1: a counterfactual answer has a higher logit than all clean ones
    SG_PATCH_METRICS
} sg_patch_metric;
// "effect", "logit_difference", "logprob", "logprob_counterfactual", "kl", "rank", "flip".
SG_API const char *sg_patch_metric_name(sg_patch_metric metric);

// What a patch is compared with.
typedef enum sg_patch_control {
    SG_PATCH_ITSELF,     // no control: the patch
    SG_PATCH_RANDOM,     // as many other neurons, matched in usage and contribution norm; there is
                         // none of points and of gates of dense layers
    SG_PATCH_MISMATCHED, // the same parts of the run of a third fact
    SG_PATCH_POSITION,   // the same parts at another token that the prompts may differ at
    SG_PATCH_UNTRAINED,  // the same patch in a model of the same shape with fresh weights
    SG_PATCH_CONTROLS
} sg_patch_control;
// "patch", "random", "mismatched", "position", "untrained".
SG_API const char *sg_patch_control_name(sg_patch_control control);

typedef enum sg_patch_direction {
    // Parts of the counterfactual run are put into the clean one: what does an answer need?
    SG_PATCH_NOISE = 1,
    // Parts of the clean run are put into the counterfactual one: what suffices for an answer? The
    // effect is then the share (m_patched - m_cf) / (m_clean - m_cf + 1e-8) that is restored, and
    // the run before the patch is the counterfactual one. Since each pair is taken in both orders,
    // this is the noising of the other order, with the answers' parts exchanged.
    SG_PATCH_DENOISE = 2,
    SG_PATCH_BOTH = 3
} sg_patch_direction;

// "noise", "denoise".
SG_API const char *sg_patch_direction_name(sg_patch_direction direction);

// Where the pairs of a file of facts come from and what is left out.
typedef struct sg_patch_counts {
    int64_t relations, facts; // of the file
    int64_t prompts;          // facts times prompts of their relations
    // Prompts that are left out: bytes that no token stands for; the subject, or the answer, does
    // not begin or end where a token does; longer than the model's positions.
    int64_t lost, subject_not_found, answer_not_found, too_long;
    int64_t several_tokens; // answers of several tokens, of which the first is scored
    int64_t groups;         // of prompts that have as many tokens, and the subject at the same ones
    // Unordered pairs of prompts of one relation and wording, those of prompts in different
    // groups, and, of the pairs that were looked at, those whose answers begin alike.
    int64_t candidates, unequal, looked_at, alike;
    int64_t pairs;  // ordered pairs that are used
    int64_t used;   // facts in them
    bool drawn;     // a part of the pairs was drawn
    int64_t unsure; // left out with known_only: the model prefers the wrong answer to one of them
} sg_patch_counts;

typedef struct sg_patch_options {
    const char *facts; // path of the file
    const sg_tokenizer *tokenizer;
    // Sets of layers, joined by +: all, each (every layer for itself), or lists such as 0,2-4.
    const char *layers; // default "all+each"
    // Tokens: subject (its last), last, all (from the subject's first on), or numbers from 0,
    // joined by commas.
    const char *positions; // default "subject,last"
    // What is exchanged: gates, or names of points, joined by commas; a name without "blocks.L."
    // is taken in the layers above.
    const char *points;   // default "gates"
    const char *channels; // of gates: all (the default), each, or numbers joined by commas
    const char *neurons;  // layer:channel:neuron joined by commas, in place of all that; or NULL
    sg_patch_direction direction; // default SG_PATCH_NOISE
    unsigned controls;            // 1 << sg_patch_control, joined; default: all
    int64_t pairs;                // ordered pairs at most; default 1000, 0: all
    bool known_only;              // pairs whose both answers the model prefers
    int64_t bootstrap;            // resamples; default 10,000
    int64_t permutations;         // default 10,000
    uint64_t seed;                // default 1
    int64_t batch;                // runs of a pass; 0: 16
    const char *out;              // SQLite; NULL: none
    const char *csv;              // NULL: none
    bool force;                   // what is there is replaced
    const char *model, *command;  // what the files call them; NULL: nothing
    sg_progress_fn progress;      // in runs; may be NULL
    void *user;
} sg_patch_options;
SG_API sg_patch_options sg_patch_options_default(void);

// One patch, control and metric over all pairs.
typedef struct sg_patch_summary {
    char layers[64];   // "all", "2", "0,2-4"; of neurons "neurons"
    char channels[64]; // "all", "3"
    char position[24]; // "subject", "last", "all", "4"
    char point[64];    // "gates", "neurons", a name
    int64_t patch;     // its number, from 0
    sg_patch_direction direction;
    sg_patch_metric metric;
    sg_patch_control control;
    int64_t pairs, facts;   // that it is over
    double mean, low, high; // with its 95 % interval by bootstrap over facts
    // Of the effect: sum of (m_clean - m_patched) over sum of (m_clean - m_cf), which pairs with a
    // small difference do not rule; else NAN.
    double of_sums, of_sums_low, of_sums_high;
    // Of a patch, that its value is that before; of a control, that the patch's is the control's;
    // two-sided, by flips of sign of all pairs of a clean fact. NAN where there is none (KL).
    double p, p_holm; // the latter by Holm over the layers
} sg_patch_summary;

typedef struct sg_patch_result {
    sg_patch_summary *items; // (count); sg_buffer_free
    size_t count;
    sg_patch_counts counts;
    double correct_clean;          // share of pairs with m_clean > 0
    double correct_counterfactual; // with m_cf < 0
    double recalled;               // share of prompts whose likeliest next token begins an answer
    int64_t patches, runs;         // runs of the models
    double seconds;
} sg_patch_result;

// Rows into `out` are one a patch, pair, control and metric (docs/PROBE.md has the tables). Files
// appear when all is done: a failure, or a stop (SG_ERR_STOPPED), leaves what was there before. No
// pairs left is SG_ERR_MISMATCH, with the reasons.
SG_API sg_status sg_probe_patch(sg_model *model, const sg_patch_options *options,
                                sg_patch_result *result, sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
