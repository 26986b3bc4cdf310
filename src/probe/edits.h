// Edits whose list may change while a session that has their points is open: ablations go through
// many sets of neurons on one recorded graph.
#ifndef SG_PROBE_EDITS_H
#define SG_PROBE_EDITS_H

#include "probe/neuron_tables.h"
#include "sgatlin_edit.h"

enum {
    SG_EDITS_MOST = 1 << 20,      // of one list
    SG_EDIT_FILE_MOST = 256 << 20 // bytes
};

// Edits that may be of any of the layers (num_hidden_layers), none so far. fixes: also such that
// fix neurons.
sg_status sg_edits_room(const sg_model *model, const bool *layers, bool fixes, sg_edits **edits,
                        sg_error *err);
// Replaces the list, and sets all counts of use to 0. Between passes. On failure there is none.
sg_status sg_edits_set(sg_edits *edits, const sg_edit *list, size_t count, sg_error *err);

// Reads a file of edits. *list (*count): sg_free.
sg_status sg_edit_file_parse(const sg_model *model, const void *data, size_t bytes,
                             const char *name, sg_edit **list, size_t *count, sg_error *err);

#endif
