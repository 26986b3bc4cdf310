// What the files of sg_probe_patch share: what was measured, pair by pair, and what is made of it.
#ifndef SG_PROBE_PATCH_INSIDE_H
#define SG_PROBE_PATCH_INSIDE_H

#include "probe/neuron_tables.h"
#include "probe/patch_plan.h"
#include "probe/statistics.h"

// Of one run, patched or not, with the answers of a pair: [0] those of the prompt that was run, [1]
// of the other one.
typedef struct sg_patch_measure {
    double m; // logsumexp of the logits of answers [0] less that of answers [1]; NAN: there is none
    double logprob[2], rank[2];
    double kl;   // from the run without a patch
    double flip; // 1: the likeliest of answers [1] has a higher logit than all of answers [0]
} sg_patch_measure;

typedef struct sg_patch_run {
    sg_model *model;
    const sg_patch_options *options;
    sg_facts *facts;
    sg_fact_pairs *pairs;
    sg_patch_plan plan;
    sg_patch_measure *base[2]; // (pairs) without a patch: of the model, of an untrained one
    sg_patch_measure *patched; // (patches, SG_PATCH_CONTROLS, pairs): parts of the other run put in
    size_t *members;           // (prompts) numbers of the facts that are used, from 0
    sg_patch_result *result;
    int64_t total; // runs that there will be
} sg_patch_run;

static inline sg_patch_measure *sg_patch_measured(const sg_patch_run *r, size_t patch,
                                                  sg_patch_control control)
{
    return r->patched + (patch * SG_PATCH_CONTROLS + control) * r->pairs->count;
}

// logits, before (vocab): of the run, and of the same prompt without a patch.
sg_patch_measure sg_patch_measure_of(const float *logits, const float *before, int64_t vocab,
                                     const sg_fact_prompt *own, const sg_fact_prompt *other);
// The value of a metric of a pair, and that before. NAN: there is none.
double sg_patch_value(const sg_patch_run *r, size_t patch, sg_patch_control control,
                      sg_patch_direction direction, sg_patch_metric metric, size_t pair,
                      double *before);
// Of the effect: what is gone, and all that could be.
double sg_patch_gone(const sg_patch_run *r, size_t patch, sg_patch_control control,
                     sg_patch_direction direction, size_t pair, double *all);

// All runs of one model: captures, then every patch with every control that is of that model.
sg_status sg_patch_run_model(sg_patch_run *r, sg_model *model, bool untrained, sg_error *err);

// For the control by random neurons, matched in usage and size (patch_match.c).
typedef struct sg_patch_matcher {
    const sg_exchange *x;
    sg_neuron_table *tables; // (layers)
    float **usage; // (layers) of (channels, neurons): share of tokens; NULL: not looked at
    float **norms; // (layers) of (pools, neurons): lengths of w_out
    float **sizes; // (layers) likewise, times lengths of w_in; NULL without gates
    int64_t layers;
} sg_patch_matcher;
// Of the layers that the plan's neurons or gates are in; usage over the captures (count, some
// NULL).
sg_status sg_patch_matcher_new(const sg_patch_plan *plan, const sg_exchange *x,
                               const sg_model *model, sg_capture *const *captures, size_t count,
                               sg_patch_matcher *matcher, sg_error *err);
void sg_patch_matcher_free(sg_patch_matcher *matcher);
// Of a patch at tokens first … last of two runs. *has: there are enough neurons that match.
sg_status sg_patch_random(const sg_patch_matcher *matcher, const sg_patch_plan *plan,
                          const sg_patch *patch, const sg_capture *clean, const sg_capture *other,
                          int64_t first, int64_t last, uint64_t seed, uint64_t draw,
                          sg_changes *changes, bool *has, sg_error *err);

// Means, intervals and p of all that was measured, into r->result.
sg_status sg_patch_summarise(sg_patch_run *r, sg_error *err);
// The files of the options; and before long work, that they can be made.
sg_status sg_patch_write(const sg_patch_run *r, sg_error *err);
sg_status sg_patch_check_outputs(const sg_patch_options *options, sg_error *err);

#endif
