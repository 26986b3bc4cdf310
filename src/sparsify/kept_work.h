// Layers that are done are kept in OUT/.sparsify, so that a work that was ended, however it ended,
// goes on where it was: the same command reads them and makes the others. What the command was is
// kept beside them (plan.json), and another one is refused.
#ifndef SG_SPARSIFY_KEPT_WORK_H
#define SG_SPARSIFY_KEPT_WORK_H

#include <jansson.h>

#include "base/file.h"
#include "format/safetensors.h"
#include "sgatlin_data.h"
#include "sparsify/calibration.h"

typedef struct sg_kept_work {
    const char *out; // the folder of the model; NULL: nothing is kept, and the functions do nothing
    sg_claim *claim;
    bool fresh;   // it began here, and did not go on
    int64_t done; // layers, those from before among them: who makes them counts
} sg_kept_work;

// Claims the folder as sg_folder_claim does; one that holds an unfinished work is taken too.
sg_status sg_kept_open(const char *out, sg_kept_work *work, sg_error *err);
// Checksums for a plan, as text: of the model's configuration and weights, and of the tokens.
sg_status sg_plan_hashes(const sg_model *model, const sg_calibration *text, char of_model[17],
                         char of_text[17], sg_error *err);
// Begins, in a folder, or goes on: SG_ERR_ARGUMENT where the plan was another, naming what differs.
// plan: all that decides what layers become. It stays the caller's.
sg_status sg_kept_begin(sg_kept_work *work, const json_t *plan, sg_error *err);

// Tensors of a layer, and a checksum of them: written and synced, whole or not at all.
sg_status sg_kept_save(const sg_kept_work *work, int64_t layer, const sg_tensor_view *views,
                       size_t count, sg_error *err);
// The file of a layer, NULL where it is not there, which errors call `path`; and its tensors, into
// the memory of `views`, which say their names, types and shapes. What is damaged is SG_ERR_FORMAT
// or SG_ERR_MISMATCH.
sg_status sg_kept_file(const sg_kept_work *work, int64_t layer, char path[SG_PATH_MAX],
                       sg_safetensors **file, sg_error *err);
sg_status sg_kept_read(const sg_safetensors *file, const sg_tensor_view *views, size_t count,
                       sg_error *err);

// SG_ERR_STOPPED with words for it: what is kept, and how it goes on.
sg_status sg_kept_stopped(const sg_kept_work *work, sg_error *err);
// The model is written: takes away what was kept.
sg_status sg_kept_end(const sg_kept_work *work, sg_error *err);
// Lets go of the folder. Where a work that failed had begun here and made no layer nothing is left.
void sg_kept_close(sg_kept_work *work, sg_status status);

#endif
