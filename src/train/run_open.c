// Opening what a run has so far: its newest intact checkpoint is a model folder too.
#include <string.h>

#include "base/file.h"
#include "train/checkpoint.h"

// A finished run, or any model folder; a save that a crash interrupted counts.
static sg_status run_is_model(const char *path, bool *is, sg_error *err)
{
    static const char *const names[] = {"config.json", ".incoming"};
    *is = false;
    for (int i = 0; i < 2 && !*is; i++) {
        char file[SG_PATH_MAX];
        SG_TRY(sg_path_join(file, sizeof file, path, names[i], err));
        *is = sg_path_exists(file);
    }
    return SG_OK;
}

sg_status sg_train_model_folder(sg_context *context, const char *path, char *folder,
                                size_t capacity, sg_error *err)
{
    char settings[SG_PATH_MAX];
    const char *found = path;
    bool is_model;
    sg_checkpoint *checkpoint = NULL;
    SG_TRY(run_is_model(path, &is_model, err));
    SG_TRY(sg_path_join(settings, sizeof settings, path, "run.json", err));
    if (!is_model && sg_path_exists(settings)) {
        sg_status status = sg_checkpoint_find_latest(path, context, &checkpoint, err);
        if (status == SG_ERR_NOT_FOUND)
            return sg_fail(err, status, "%s: the run has no checkpoint yet", path);
        if (status != SG_OK) return status;
        found = sg_checkpoint_folder(checkpoint);
    }
    size_t length = strlen(found);
    bool fits = length < capacity;
    if (fits) memcpy(folder, found, length + 1);
    sg_checkpoint_close(checkpoint);
    return fits ? SG_OK : sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", path);
}
