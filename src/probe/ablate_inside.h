// What the files of ablation share: which neurons go together (ablate_groups.c), and what the loss
// becomes without them (ablate.c).
#ifndef SG_PROBE_ABLATE_INSIDE_H
#define SG_PROBE_ABLATE_INSIDE_H

#include "model/model.h"
#include "probe/edits.h"
#include "probe/neuron_usage.h"
#include "text/batches.h"
#include "sgatlin_edit.h"

// Neurons that are ablated together.
typedef struct sg_ablate_set {
    char name[64];
    sg_edit *edits; // (count) sg_free
    size_t count, room;
    int64_t control;  // the set of its control; -1: none
    int32_t first;    // position in the sequence at work from which it changes anything
    double *changes;  // (sequences) of the sum of nats
    int64_t affected; // sequences
} sg_ablate_set;

typedef struct sg_ablate {
    sg_model *model;
    const sg_ablate_options *options;
    sg_neuron_usage *usage;
    bool counted;        // the usage of the tokens read is known
    sg_ablate_set *sets; // (count): (groups) those asked for, then controls
    size_t count, room, groups;
    bool *layers, *channels; // (num_hidden_layers), (most_channels) that are chosen
    int64_t most_channels;
    int64_t sequences, length;
    int64_t *tokens; // (sequences) that count
    double *loss;    // (sequences) sums of nats as it is
} sg_ablate;

// Whether the sets depend on usage.
bool sg_ablate_needs_usage(const sg_ablate_options *options);
// The layers and channels that are chosen, and that all is as it should be.
sg_status sg_ablate_choose_layers(sg_ablate *a, sg_error *err);
// Makes the sets.
sg_status sg_ablate_choose(sg_ablate *a, sg_error *err);

#endif
