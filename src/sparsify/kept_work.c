// A layer is a safetensors file with a checksum of its tensors in its metadata, the plan is JSON
// with one of its own.
#include "sparsify/kept_work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/hash.h"
#include "format/json.h"
#include "format/json_seal.h"

static const char kept_folder[] = ".sparsify", kept_plan[] = "plan.json";
enum { kept_plan_most = 1 << 16, kept_name = 32 };

static sg_status kept_path(char path[SG_PATH_MAX], const char *out, const char *name, sg_error *err)
{
    char folder[SG_PATH_MAX];
    SG_TRY(sg_path_join(folder, sizeof folder, out, kept_folder, err));
    return sg_path_join(path, SG_PATH_MAX, folder, name, err);
}

static void kept_layer_name(char name[kept_name], int64_t index)
{
    snprintf(name, kept_name, "layer-%05lld.safetensors", (long long)index);
}

// ---- the plan -----------------------------------------------------------------------------------

sg_status sg_kept_open(const char *out, sg_kept_work *work, sg_error *err)
{
    char plan[SG_PATH_MAX], folder[SG_PATH_MAX];
    sg_claim **claim = &work->claim;
    *work = (sg_kept_work){.out = out};
    if (out == NULL) return SG_OK;
    SG_TRY(kept_path(plan, out, kept_plan, err));
    SG_TRY(sg_path_join(folder, sizeof folder, out, kept_folder, err));
    if (sg_path_exists(plan)) return sg_folder_claim(out, true, claim, err);
    if (sg_path_is_folder(folder)) {
        // Ended before the plan was there, or behind it: what is in it is of no use. Where nobody
        // else is at work.
        SG_TRY(sg_folder_claim(out, true, claim, err));
        const sg_status status = sg_tree_remove(folder, err);
        sg_folder_release(*claim);
        *claim = NULL;
        SG_TRY(status);
    }
    return sg_folder_claim(out, false, claim, err);
}

// A value as a message shows it.
static const char *kept_text(const json_t *value, char text[64])
{
    if (json_is_real(value)) return sg_number_text(json_real_value(value), text);
    char *dumped = value != NULL ? json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    snprintf(text, 64, "%.60s", dumped != NULL ? dumped : "none");
    free(dumped);
    return text;
}

static sg_status kept_compare(const char *path, const json_t *found, const json_t *plan,
                              sg_error *err)
{
    const char *key;
    json_t *value;
    char was[64], is[64];
    json_object_foreach((json_t *)(uintptr_t)plan, key, value)
    {
        const json_t *other = json_object_get(found, key);
        if (json_equal(value, other)) continue;
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "%s: found a work that was begun with %s %s, expected %s; finish it with "
                       "the command that began it, or choose another folder",
                       path, key, kept_text(other, was), kept_text(value, is));
    }
    if (json_object_size(found) == json_object_size(plan)) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "%s: found %zu members, expected %zu", path,
                   json_object_size(found), json_object_size(plan));
}

static sg_status kept_plan_write(const char *path, const json_t *plan, sg_error *err)
{
    char *text = NULL;
    json_t *sealed = json_copy((json_t *)(uintptr_t)plan);
    sg_status status =
        sealed != NULL ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    if (status == SG_OK) status = sg_json_seal(sealed, path, err);
    if (status == SG_OK) status = sg_json_text(sealed, true, &text, err);
    if (status == SG_OK) status = sg_file_write_atomic(path, text, strlen(text), err);
    sg_free(text);
    json_decref(sealed);
    return status;
}

static sg_status kept_go_on(const char *path, const json_t *plan, sg_error *err)
{
    json_t *found = NULL;
    SG_TRY(sg_json_read(path, kept_plan_most, &found, err));
    sg_status status = json_is_object(found)
                           ? sg_json_check_seal(found, path, err)
                           : sg_fail(err, SG_ERR_FORMAT, "%s: expected an object", path);
    if (status == SG_OK) status = kept_compare(path, found, plan, err);
    json_decref(found);
    return status;
}

sg_status sg_kept_begin(sg_kept_work *w, const json_t *plan, sg_error *err)
{
    char path[SG_PATH_MAX], folder[SG_PATH_MAX];
    SG_TRY(kept_path(path, w->out, kept_plan, err));
    if (sg_path_exists(path)) return kept_go_on(path, plan, err);
    w->fresh = true;
    sg_path_folder(folder, sizeof folder, path);
    SG_TRY(sg_folder_make(folder, err));
    return kept_plan_write(path, plan, err);
}

sg_status sg_kept_stopped(const sg_kept_work *w, sg_error *err)
{
    if (w->out == NULL) return sg_fail(err, SG_ERR_STOPPED, "stopped");
    return sg_fail(err, SG_ERR_STOPPED,
                   "stopped after %lld layers, which %s keeps: the same command goes on there",
                   (long long)w->done, w->out);
}

// The plan goes last: without it layers would be nobody's.
sg_status sg_kept_end(const sg_kept_work *w, sg_error *err)
{
    char folder[SG_PATH_MAX], path[SG_PATH_MAX], **names;
    size_t count;
    if (w->out == NULL) return SG_OK;
    SG_TRY(sg_path_join(folder, sizeof folder, w->out, kept_folder, err));
    SG_TRY(sg_folder_list(folder, &names, &count, err));
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        if (strcmp(names[i], kept_plan) == 0) continue;
        status = sg_path_join(path, sizeof path, folder, names[i], err);
        if (status == SG_OK) status = sg_tree_remove(path, err);
    }
    sg_names_free(names, count);
    if (status == SG_OK) status = sg_folder_sync(folder, err);
    return status == SG_OK ? sg_tree_remove(folder, err) : status;
}

void sg_kept_close(sg_kept_work *w, sg_status status)
{
    if (status != SG_OK && w->fresh && w->done == 0) sg_kept_end(w, NULL);
    sg_folder_release(w->claim);
    *w = (sg_kept_work){0};
}

// ---- a layer ------------------------------------------------------------------------------------

static void kept_checksum(const sg_tensor_view *views, size_t count, char text[17])
{
    uint64_t all = 0;
    for (size_t i = 0; i < count; i++) {
        const uint64_t two[] = {all, sg_hash(views[i].data, views[i].bytes)};
        all = sg_hash(two, sizeof two);
    }
    snprintf(text, 17, "%016" PRIx64, all);
}

sg_status sg_kept_save(const sg_kept_work *w, int64_t layer, const sg_tensor_view *views,
                       size_t count, sg_error *err)
{
    char path[SG_PATH_MAX], name[kept_name], checksum[17];
    if (w->out == NULL) return SG_OK;
    kept_checksum(views, count, checksum);
    kept_layer_name(name, layer);
    SG_TRY(kept_path(path, w->out, name, err));
    return sg_safetensors_replace(path, views, count,
                                  &(sg_key_value){.key = "checksum", .value = checksum}, 1, err);
}

sg_status sg_kept_read(const sg_safetensors *file, const sg_tensor_view *views, size_t count,
                       sg_error *err)
{
    char checksum[17];
    const char *said = sg_safetensors_metadata(file, "checksum");
    if (sg_safetensors_count(file) != count)
        return sg_fail(err, SG_ERR_MISMATCH, "found %zu tensors, expected %zu",
                       sg_safetensors_count(file), count);
    for (size_t i = 0; i < count; i++) {
        const sg_tensor_view *from;
        SG_TRY(sg_safetensors_get(file, views[i].name, views[i].dtype, views[i].ndim,
                                  views[i].shape, &from, err));
        memcpy((void *)(uintptr_t)views[i].data, from->data, from->bytes);
    }
    kept_checksum(views, count, checksum);
    if (said != NULL && strcmp(said, checksum) == 0) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "found the checksum %.20s, expected %s",
                   said != NULL ? said : "(none)", checksum);
}

sg_status sg_kept_file(const sg_kept_work *w, int64_t layer, char path[SG_PATH_MAX],
                       sg_safetensors **file, sg_error *err)
{
    char name[kept_name];
    *file = NULL;
    if (w->out == NULL) return SG_OK;
    kept_layer_name(name, layer);
    SG_TRY(kept_path(path, w->out, name, err));
    return sg_path_exists(path) ? sg_safetensors_open(path, file, err) : SG_OK;
}
