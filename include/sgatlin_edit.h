// Changing single neurons while a model runs: scaled, fixed or removed, to steer what it writes and
// to find out what they are for.
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

#ifdef __cplusplus
}
#endif
#endif
