// Checkpoints of a run: RUN/checkpoints/step-N/ with files of named tensors, small files and
// manifest.json. This file knows nothing of models or optimisers; it owns the promise that once
// sg_checkpoint_save has returned SG_OK, that checkpoint survives a power cut, and that a save
// which fails or is cut off leaves every earlier checkpoint as it was.
//
// Names in RUN/checkpoints: step-N (complete), .tmp-step-N (being written, worthless),
// .old-step-N (a step-N being replaced by a newer one of the same number; used when step-N is not
// there), .trash-step-N (being removed).
#ifndef SG_TRAIN_CHECKPOINT_H
#define SG_TRAIN_CHECKPOINT_H

#include <jansson.h>

#include "base/file.h"
#include "format/model_folder.h"
#include "format/safetensors.h"

// ---- one process a run ------------------------------------------------------------------------

typedef sg_file_lock sg_run_lock;

// Takes RUN/.lock for this process; the folder must exist. SG_ERR_IO, saying so, when another
// process has it. The lock ends with the process, however that ends.
sg_status sg_run_lock_take(const char *run_folder, sg_run_lock **out, sg_error *err);
void sg_run_lock_release(sg_run_lock *lock); // NULL is allowed

// ---- saving -----------------------------------------------------------------------------------

typedef struct sg_tensor_group {
    const char *file; // "model.safetensors", "optimizer.safetensors"
    const sg_tensor_view *tensors;
    size_t count;
} sg_tensor_group;

typedef struct sg_checkpoint_content {
    int64_t step; // >= 0
    const sg_tensor_group *groups;
    size_t group_count;
    const sg_named_bytes *files; // config.json, tokenizer.json: copied as they are
    size_t file_count;
    json_t *state; // an object, borrowed; NULL for an empty one
} sg_checkpoint_content;

// Writes RUN/checkpoints/step-N. One of that number from a previous life is replaced safely.
sg_status sg_checkpoint_save(const char *run_folder, const sg_checkpoint_content *content,
                             sg_error *err);

// After the save of saved_step has succeeded: removes all but the newest keep_last (>= 1) of the
// checkpoints up to saved_step and the one of best_step (-1: none), and what crashes left behind.
// Later ones stay: they can only be damaged ones of a life before this one, and must not count.
sg_status sg_checkpoint_prune(const char *run_folder, int64_t saved_step, int keep_last,
                              int64_t best_step, sg_error *err);

// ---- resuming ---------------------------------------------------------------------------------

typedef struct sg_checkpoint sg_checkpoint;

// Opens the newest intact checkpoint. A damaged one is named, with the reason, in a warning through
// the context's log (NULL: silent), and the one before it is tried. SG_ERR_NOT_FOUND when the run
// has no checkpoint at all: start anew. SG_ERR_FORMAT when it has some and all are damaged.
sg_status sg_checkpoint_find_latest(const char *run_folder, sg_context *context,
                                    sg_checkpoint **out, sg_error *err);
// Opens and verifies one: RUN/checkpoints/step-N.
sg_status sg_checkpoint_open(const char *folder, sg_checkpoint **out, sg_error *err);
void sg_checkpoint_close(sg_checkpoint *checkpoint); // NULL is allowed

int64_t sg_checkpoint_step(const sg_checkpoint *checkpoint);
// The folder it lies in.
const char *sg_checkpoint_folder(const sg_checkpoint *checkpoint);
// The state object given to save; borrowed, lives until close (or longer with json_incref).
json_t *sg_checkpoint_state(const sg_checkpoint *checkpoint);
// A group by its file name, its tensors valid until close; SG_ERR_NOT_FOUND when it has none.
sg_status sg_checkpoint_group(const sg_checkpoint *checkpoint, const char *file,
                              const sg_safetensors **group, sg_error *err);
// The bytes of one of the small files, with a NUL behind them. *data: sg_free.
sg_status sg_checkpoint_file(const sg_checkpoint *checkpoint, const char *name, char **data,
                             size_t *bytes, sg_error *err);

#endif
