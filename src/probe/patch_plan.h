// What a patching run does: the list of patches that the options name, as words become layers,
// points and neurons of a model.
#ifndef SG_PROBE_PATCH_PLAN_H
#define SG_PROBE_PATCH_PLAN_H

#include "probe/exchange.h"
#include "probe/fact_pairs.h"

typedef enum sg_patch_where {
    SG_PATCH_AT_SUBJECT, // its last token
    SG_PATCH_AT_LAST,
    SG_PATCH_AT_ALL, // from the subject's first on
    SG_PATCH_AT_NUMBER
} sg_patch_where;

// One patch: the same of all pairs.
typedef struct sg_patch {
    char layers_name[64], channels_name[64], position_name[24], point_name[64];
    sg_patch_where where;
    int64_t number;
    size_t set;      // of layers, of the plan
    int64_t channel; // -1: all
    size_t point;    // of the plan's points
} sg_patch;

// What may be exchanged: gates, neurons, or a point, by its full name or in layers.
typedef enum sg_patch_kind { SG_PATCH_GATES, SG_PATCH_NEURONS, SG_PATCH_POINT } sg_patch_kind;
typedef struct sg_patch_what {
    sg_patch_kind kind;
    bool whole; // a full name: layers say nothing
    char name[64];
} sg_patch_what;

typedef struct sg_patch_plan {
    int64_t layers; // of the model
    bool *sets;     // (set_count, layers)
    size_t set_count;
    sg_patch_what *points;
    size_t point_count;
    sg_exchange_neuron *neurons;
    size_t neuron_count;
    sg_patch *items;
    size_t count;
    // Points that the exchange must keep beside gates: full names.
    const char **names;
    size_t name_count;
    bool gates;
    sg_arena arena;
} sg_patch_plan;

sg_status sg_patch_plan_new(const sg_model *model, const sg_patch_options *options,
                            sg_patch_plan *plan, sg_error *err);
void sg_patch_plan_free(sg_patch_plan *plan);

// The tokens of a patch in a prompt: *first … *last; false: the prompt has no such token.
bool sg_patch_tokens(const sg_patch *patch, const sg_fact_prompt *prompt, int64_t *first,
                     int64_t *last);
// What a patch puts in from a run, at tokens first … last.
sg_status sg_patch_changes(const sg_patch_plan *plan, const sg_patch *patch, const sg_exchange *x,
                           const sg_capture *from, int64_t first, int64_t last, sg_changes *changes,
                           sg_error *err);

#endif
