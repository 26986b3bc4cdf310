// Opening what a run has so far: its newest intact checkpoint is a model folder too.
#include <string.h>

#include "base/file.h"
#include "format/json.h"
#include "base/publish.h"
#include "model/adapter_files.h"
#include "train/checkpoint.h"
#include "train/run_settings.h"
#include "sgatlin_train.h"

// A finished run, or any model folder; a save that a crash interrupted counts.
static sg_status run_is_model(const char *path, bool *is, sg_error *err)
{
    char file[SG_PATH_MAX];
    SG_TRY(sg_published_path(file, sizeof file, path, "config.json", NULL, err));
    *is = sg_path_exists(file);
    return SG_OK;
}

static int64_t run_number(const char *path, const char *file, const char *key)
{
    json_t *object;
    bool sealed;
    int64_t value = -1;
    if (sg_run_read_json(path, file, &object, &sealed, NULL) != SG_OK) return -1;
    sg_json_get_int(object, file, key, false, 0, INT64_MAX, &value, NULL);
    json_decref(object);
    return value;
}

// Whether a run goes on beyond the end that its model is of.
static bool run_was_extended(const char *path)
{
    const int64_t steps = run_number(path, "run.json", "total_steps");
    const int64_t done = run_number(path, "summary.json", "steps");
    return steps > 0 && done > 0 && done < steps;
}

// The newest intact checkpoint of a run; NULL where `path` is none.
static sg_status run_newest(sg_context *context, const char *path, sg_checkpoint **checkpoint,
                            sg_error *err)
{
    char settings[SG_PATH_MAX];
    *checkpoint = NULL;
    SG_TRY(sg_path_join(settings, sizeof settings, path, "run.json", err));
    if (!sg_path_exists(settings)) return SG_OK;
    sg_status status = sg_checkpoint_find_latest(path, context, checkpoint, err);
    if (status == SG_ERR_NOT_FOUND)
        return sg_fail(err, status, "%s: the run has no checkpoint yet", path);
    return status;
}

static sg_status run_give(const char *found, char *folder, size_t capacity, sg_error *err)
{
    size_t length = strlen(found);
    if (length >= capacity) return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", found);
    memcpy(folder, found, length + 1);
    return SG_OK;
}

sg_status sg_train_model_folder(sg_context *context, const char *path, char *folder,
                                size_t capacity, sg_error *err)
{
    const char *found = path;
    bool is_model, whole = true;
    sg_checkpoint *checkpoint = NULL;
    SG_TRY(run_is_model(path, &is_model, err));
    is_model = is_model && !run_was_extended(path);
    if (!is_model) SG_TRY(run_newest(context, path, &checkpoint, err));
    if (checkpoint != NULL) found = sg_checkpoint_folder(checkpoint);
    sg_status status = SG_OK;
    if (checkpoint != NULL) status = sg_run_has(found, "config.json", &whole, err);
    if (status == SG_OK && !whole)
        status =
            sg_fail(err, SG_ERR_MISMATCH,
                    "%s: the run trains adapters and holds no model: open the model it goes on "
                    "from, with this folder as its adapter",
                    path);
    if (status == SG_OK) status = run_give(found, folder, capacity, err);
    sg_checkpoint_close(checkpoint);
    return status;
}

sg_status sg_train_adapter_folder(sg_context *context, const char *path, char *folder,
                                  size_t capacity, sg_error *err)
{
    char inside[SG_PATH_MAX];
    bool there;
    sg_checkpoint *checkpoint = NULL;
    SG_TRY(sg_run_has(path, SG_ADAPTER_CONFIG, &there, err));
    if (there) return run_give(path, folder, capacity, err);
    SG_TRY(sg_path_join(inside, sizeof inside, path, "adapter", err));
    SG_TRY(sg_run_has(inside, SG_ADAPTER_CONFIG, &there, err));
    if (there) return run_give(inside, folder, capacity, err);
    SG_TRY(run_newest(context, path, &checkpoint, err));
    sg_status status = SG_OK;
    const char *found = checkpoint ? sg_checkpoint_folder(checkpoint) : path;
    if (checkpoint != NULL) status = sg_run_has(found, SG_ADAPTER_CONFIG, &there, err);
    if (status == SG_OK && !there)
        status = sg_fail(err, SG_ERR_NOT_FOUND, "%s: holds no adapter (there is no %s)", found,
                         SG_ADAPTER_CONFIG);
    if (status == SG_OK) status = run_give(found, folder, capacity, err);
    sg_checkpoint_close(checkpoint);
    return status;
}
