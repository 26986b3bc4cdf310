// See checkpoint.h for the promise. The order is: write everything into .tmp-step-N, sync every
// file and the folder, rename, sync the parent. Only a rename makes a checkpoint visible, and
// nothing is renamed before it is on the disk.
#include "train/checkpoint.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "format/manifest.h"

// ---- names ------------------------------------------------------------------------------------

static const char ck_final[] = "step-", ck_temporary[] = ".tmp-step-", ck_replaced[] = ".old-step-",
                  ck_trash[] = ".trash-step-";

typedef struct ck_paths {
    char folder[SG_PATH_MAX]; // RUN/checkpoints
    char final[SG_PATH_MAX];
    char temporary[SG_PATH_MAX];
    char replaced[SG_PATH_MAX];
} ck_paths;

static sg_status ck_name(char *out, size_t capacity, const char *folder, const char *prefix,
                         int64_t step, sg_error *err)
{
    char name[64];
    snprintf(name, sizeof name, "%s%" PRId64, prefix, step);
    return sg_path_join(out, capacity, folder, name, err);
}

static sg_status ck_paths_make(const char *run_folder, int64_t step, ck_paths *paths, sg_error *err)
{
    const char *folder = paths->folder;
    SG_TRY(sg_path_join(paths->folder, sizeof paths->folder, run_folder, "checkpoints", err));
    SG_TRY(ck_name(paths->final, sizeof paths->final, folder, ck_final, step, err));
    SG_TRY(ck_name(paths->temporary, sizeof paths->temporary, folder, ck_temporary, step, err));
    return ck_name(paths->replaced, sizeof paths->replaced, folder, ck_replaced, step, err);
}

// The number of a name such as "step-12": canonical decimal, or -1.
static int64_t ck_step_of(const char *name, const char *prefix)
{
    size_t length = strlen(prefix);
    if (strncmp(name, prefix, length) != 0) return -1;
    const char *digits = name + length;
    size_t count = strlen(digits);
    if (count == 0 || count > 18 || strspn(digits, "0123456789") != count) return -1;
    if (digits[0] == '0' && count > 1) return -1;
    return strtoll(digits, NULL, 10);
}

static bool ck_starts(const char *name, const char *prefix)
{
    return strncmp(name, prefix, strlen(prefix)) == 0;
}

static sg_status ck_exists(const char *path, bool *exists, sg_error *err)
{
    sg_fs_info info;
    sg_status status = sg_path_info(path, &info, err);
    *exists = status == SG_OK;
    return sg_ignored(status, SG_ERR_NOT_FOUND, err) ? SG_OK : status;
}

// ---- the lock ---------------------------------------------------------------------------------

sg_status sg_run_lock_take(const char *run_folder, sg_run_lock **out, sg_error *err)
{
    char path[SG_PATH_MAX];
    *out = NULL;
    SG_TRY(sg_path_join(path, sizeof path, run_folder, ".lock", err));
    return sg_file_lock_take(path, run_folder, out, err);
}

void sg_run_lock_release(sg_run_lock *lock)
{
    sg_file_lock_release(lock, false);
}

// ---- saving -----------------------------------------------------------------------------------

static sg_status ck_write_bytes(const char *path, const sg_named_bytes *file, sg_file_seal *seal,
                                sg_error *err)
{
    sg_writer *writer;
    SG_TRY(sg_writer_open(path, SG_FS_CREATE, &writer, err));
    sg_writer_put(writer, file->data, file->bytes);
    *seal = (sg_file_seal){sg_writer_bytes(writer), sg_writer_hash(writer)};
    return sg_writer_close(writer, true, err);
}

// Writes all files of a checkpoint into `folder`; each is named in the manifest before it is
// written, which refuses bad and repeated names.
static sg_status ck_write_files(const char *folder, const sg_checkpoint_content *content,
                                sg_manifest *manifest, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_file_seal seal;
    for (size_t i = 0; i < content->group_count; i++) {
        const sg_tensor_group *group = &content->groups[i];
        SG_TRY(sg_manifest_add(manifest, group->file, 0, 0, err));
        SG_TRY(sg_path_join(path, sizeof path, folder, group->file, err));
        SG_TRY(sg_safetensors_write(path, group->tensors, group->count, NULL, 0, &seal, err));
        manifest->files[manifest->count - 1].bytes = seal.bytes;
        manifest->files[manifest->count - 1].hash = seal.hash;
    }
    for (size_t i = 0; i < content->file_count; i++) {
        SG_TRY(sg_manifest_add(manifest, content->files[i].name, 0, 0, err));
        SG_TRY(sg_path_join(path, sizeof path, folder, content->files[i].name, err));
        SG_TRY(ck_write_bytes(path, &content->files[i], &seal, err));
        manifest->files[manifest->count - 1].bytes = seal.bytes;
        manifest->files[manifest->count - 1].hash = seal.hash;
    }
    SG_TRY(sg_manifest_write(manifest, folder, err));
    return sg_folder_sync(folder, err);
}

static sg_status ck_write(const char *folder, const sg_checkpoint_content *content, sg_error *err)
{
    sg_manifest *manifest;
    SG_TRY(sg_manifest_new(content->step, content->state, &manifest, err));
    sg_status status = sg_folder_make(folder, err);
    if (status == SG_OK) status = ck_write_files(folder, content, manifest, err);
    sg_manifest_free(manifest);
    return status;
}

// Puts the finished temporary folder in its place.
static sg_status ck_publish(const ck_paths *paths, sg_error *err)
{
    bool replaces;
    SG_TRY(ck_exists(paths->final, &replaces, err));
    if (replaces) {
        // A rename cannot replace a folder that is not empty, so the old one steps aside. Until
        // the new one is in place it is found under its other name.
        SG_TRY(sg_tree_remove(paths->replaced, err));
        SG_TRY(sg_path_rename(paths->final, paths->replaced, err));
        SG_TRY(sg_folder_sync(paths->folder, err));
    }
    sg_status status = sg_path_rename(paths->temporary, paths->final, err);
    if (status != SG_OK) {
        if (replaces) sg_path_rename(paths->replaced, paths->final, NULL);
        return status;
    }
    return sg_folder_sync(paths->folder, err);
}

sg_status sg_checkpoint_save(const char *run_folder, const sg_checkpoint_content *content,
                             sg_error *err)
{
    if (content->step < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: step %" PRId64 ", expected at least 0",
                       run_folder, content->step);
    ck_paths paths;
    SG_TRY(ck_paths_make(run_folder, content->step, &paths, err));
    SG_TRY(sg_folder_make(paths.folder, err));
    // A life before this one may have made it and been cut off before syncing its name.
    SG_TRY(sg_folder_sync(run_folder, err));
    SG_TRY(sg_tree_remove(paths.temporary, err));
    sg_status status = ck_write(paths.temporary, content, err);
    if (status == SG_OK) status = ck_publish(&paths, err);
    // Cleaning is best effort: what stays is never taken for a checkpoint while step-N is there,
    // and the next prune removes it.
    sg_tree_remove(status == SG_OK ? paths.replaced : paths.temporary, NULL);
    if (status != SG_OK)
        return sg_fail_context(err, status, "checkpoint of step %" PRId64 " was not saved",
                               content->step);
    return SG_OK;
}

// ---- listing ----------------------------------------------------------------------------------

typedef struct ck_entry {
    int64_t step;
    bool replaced; // a .old-step-N
} ck_entry;

// Newest first; of one step, the complete one first.
static int ck_compare(const void *a, const void *b)
{
    const ck_entry *x = a, *y = b;
    if (x->step != y->step) return x->step > y->step ? -1 : 1;
    return (int)x->replaced - (int)y->replaced;
}

// Candidates among the names of RUN/checkpoints. *entries: sg_free.
static sg_status ck_candidates(const char *folder, char **names, size_t count, ck_entry **entries,
                               size_t *entry_count, sg_error *err)
{
    ck_entry *list = sg_alloc_array(count, sizeof *list);
    if (list == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", folder);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        int64_t step = ck_step_of(names[i], ck_final), old = ck_step_of(names[i], ck_replaced);
        if (step >= 0 || old >= 0) list[kept++] = (ck_entry){step >= 0 ? step : old, step < 0};
    }
    if (kept > 1) qsort(list, kept, sizeof *list, ck_compare);
    *entries = list;
    *entry_count = kept;
    return SG_OK;
}

// ---- pruning ----------------------------------------------------------------------------------

// Removes step-N. It loses its name first: half a checkpoint is not to be found under it.
static sg_status ck_discard(const char *folder, const char *prefix, int64_t step, sg_error *err)
{
    char path[SG_PATH_MAX], trash[SG_PATH_MAX];
    SG_TRY(ck_name(path, sizeof path, folder, prefix, step, err));
    SG_TRY(ck_name(trash, sizeof trash, folder, ck_trash, step, err));
    SG_TRY(sg_tree_remove(trash, err));
    SG_TRY(sg_path_rename(path, trash, err));
    SG_TRY(sg_folder_sync(folder, err));
    return sg_tree_remove(trash, err);
}

static sg_status ck_prune_entries(const char *folder, const ck_entry *entries, size_t count,
                                  int64_t saved_step, int keep_last, int64_t best_step,
                                  sg_error *err)
{
    size_t first = 0; // of the ones to go; a replaced one does not count apart from its step
    int64_t newer = -1;
    for (int kept = 0; first < count; first++) {
        bool counts = entries[first].step <= saved_step && entries[first].step != newer;
        if (counts && kept == keep_last) break;
        kept += counts;
        newer = entries[first].step;
    }
    // The oldest goes first, so that a crash leaves the newest.
    for (size_t i = count; i-- > 0;) {
        bool succeeded = entries[i].replaced && i > 0 && entries[i - 1].step == entries[i].step;
        if (succeeded || (i >= first && entries[i].step != best_step))
            SG_TRY(ck_discard(folder, entries[i].replaced ? ck_replaced : ck_final, entries[i].step,
                              err));
    }
    return SG_OK;
}

static sg_status ck_prune_rest(const char *folder, char **names, size_t count, sg_error *err)
{
    for (size_t i = 0; i < count; i++)
        if (ck_starts(names[i], ck_temporary) || ck_starts(names[i], ck_trash)) {
            char path[SG_PATH_MAX];
            SG_TRY(sg_path_join(path, sizeof path, folder, names[i], err));
            SG_TRY(sg_tree_remove(path, err));
        }
    return sg_folder_sync(folder, err);
}

sg_status sg_checkpoint_prune(const char *run_folder, int64_t saved_step, int keep_last,
                              int64_t best_step, sg_error *err)
{
    if (keep_last < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: keep the last %d checkpoints, expected >= 1",
                       run_folder, keep_last);
    char folder[SG_PATH_MAX], **names;
    size_t count, entry_count = 0;
    ck_entry *entries = NULL;
    SG_TRY(sg_path_join(folder, sizeof folder, run_folder, "checkpoints", err));
    sg_status status = sg_folder_list(folder, &names, &count, err);
    if (sg_ignored(status, SG_ERR_NOT_FOUND, err)) return SG_OK;
    SG_TRY(status);
    status = ck_candidates(folder, names, count, &entries, &entry_count, err);
    if (status == SG_OK)
        status =
            ck_prune_entries(folder, entries, entry_count, saved_step, keep_last, best_step, err);
    if (status == SG_OK) status = ck_prune_rest(folder, names, count, err);
    sg_free(entries);
    sg_names_free(names, count);
    return status;
}

// ---- opening ----------------------------------------------------------------------------------

struct sg_checkpoint {
    char folder[SG_PATH_MAX];
    sg_manifest *manifest;
    sg_safetensors **groups; // by place in the manifest, NULL for other files
};

static bool ck_is_group(const char *name)
{
    const char *dot = strrchr(name, '.');
    return dot != NULL && strcmp(dot, ".safetensors") == 0;
}

static sg_status ck_open_groups(sg_checkpoint *checkpoint, sg_error *err)
{
    const sg_manifest *manifest = checkpoint->manifest;
    checkpoint->groups = sg_alloc_zero(manifest->count, sizeof *checkpoint->groups);
    if (checkpoint->groups == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", checkpoint->folder);
    for (size_t i = 0; i < manifest->count; i++) {
        char path[SG_PATH_MAX];
        if (!ck_is_group(manifest->files[i].name)) continue;
        SG_TRY(sg_path_join(path, sizeof path, checkpoint->folder, manifest->files[i].name, err));
        SG_TRY(sg_safetensors_open(path, &checkpoint->groups[i], err));
    }
    return SG_OK;
}

sg_status sg_checkpoint_open(const char *folder, sg_checkpoint **out, sg_error *err)
{
    *out = NULL;
    sg_checkpoint *checkpoint = sg_alloc_zero(1, sizeof *checkpoint);
    if (checkpoint == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", folder);
    sg_status status = SG_OK;
    if (strlen(folder) >= sizeof checkpoint->folder)
        status = sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", folder);
    else
        memcpy(checkpoint->folder, folder, strlen(folder) + 1);
    if (status == SG_OK) status = sg_manifest_read(folder, &checkpoint->manifest, err);
    if (status == SG_OK) status = sg_manifest_verify(checkpoint->manifest, folder, err);
    if (status == SG_OK) status = ck_open_groups(checkpoint, err);
    if (status == SG_OK)
        *out = checkpoint;
    else
        sg_checkpoint_close(checkpoint);
    return status;
}

void sg_checkpoint_close(sg_checkpoint *checkpoint)
{
    if (checkpoint == NULL) return;
    if (checkpoint->groups != NULL)
        for (size_t i = 0; i < checkpoint->manifest->count; i++)
            sg_safetensors_close(checkpoint->groups[i]);
    sg_free(checkpoint->groups);
    sg_manifest_free(checkpoint->manifest);
    sg_free(checkpoint);
}

static sg_status ck_open_entry(const char *folder, const ck_entry *entry, sg_checkpoint **out,
                               sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(ck_name(path, sizeof path, folder, entry->replaced ? ck_replaced : ck_final, entry->step,
                   err));
    SG_TRY(sg_checkpoint_open(path, out, err));
    int64_t found = sg_checkpoint_step(*out);
    if (found == entry->step) return SG_OK;
    sg_checkpoint_close(*out);
    *out = NULL;
    return sg_fail(err, SG_ERR_FORMAT, "%s: its manifest is of step %" PRId64, path, found);
}

static sg_status ck_try_entries(const char *folder, const ck_entry *entries, size_t count,
                                sg_context *context, sg_checkpoint **out, sg_error *err)
{
    if (count == 0) return sg_fail(err, SG_ERR_NOT_FOUND, "%s: there is no checkpoint", folder);
    sg_error problem;
    for (size_t i = 0; i < count; i++) {
        sg_status status = ck_open_entry(folder, &entries[i], out, &problem);
        if (status == SG_OK) return SG_OK;
        // A lack of memory says nothing about the checkpoint.
        if (status == SG_ERR_MEMORY) return sg_fail(err, status, "%s", problem.message);
        sg_log(context, SG_LOG_WARNING, "checkpoint of step %" PRId64 " is not usable: %s; %s",
               entries[i].step, problem.message,
               i + 1 < count ? "trying the one before it" : "there is none before it");
    }
    return sg_fail(err, SG_ERR_FORMAT, "%s: none of %zu checkpoints is usable; the last tried: %s",
                   folder, count, problem.message);
}

sg_status sg_checkpoint_find_latest(const char *run_folder, sg_context *context,
                                    sg_checkpoint **out, sg_error *err)
{
    *out = NULL;
    char folder[SG_PATH_MAX], **names;
    size_t count, entry_count = 0;
    ck_entry *entries = NULL;
    SG_TRY(sg_path_join(folder, sizeof folder, run_folder, "checkpoints", err));
    SG_TRY(sg_folder_list(folder, &names, &count, err));
    sg_status status = ck_candidates(folder, names, count, &entries, &entry_count, err);
    sg_names_free(names, count);
    if (status == SG_OK) status = ck_try_entries(folder, entries, entry_count, context, out, err);
    sg_free(entries);
    return status;
}

int64_t sg_checkpoint_step(const sg_checkpoint *checkpoint)
{
    return checkpoint->manifest->step;
}

const char *sg_checkpoint_folder(const sg_checkpoint *checkpoint)
{
    return checkpoint->folder;
}

json_t *sg_checkpoint_state(const sg_checkpoint *checkpoint)
{
    return checkpoint->manifest->state;
}

sg_status sg_checkpoint_group(const sg_checkpoint *checkpoint, const char *file,
                              const sg_safetensors **group, sg_error *err)
{
    *group = NULL;
    const sg_manifest *manifest = checkpoint->manifest;
    for (size_t i = 0; i < manifest->count; i++)
        if (checkpoint->groups[i] != NULL && strcmp(manifest->files[i].name, file) == 0) {
            *group = checkpoint->groups[i];
            return SG_OK;
        }
    return sg_fail(err, SG_ERR_NOT_FOUND, "%s: has no %s", checkpoint->folder, file);
}

sg_status sg_checkpoint_file(const sg_checkpoint *checkpoint, const char *name, char **data,
                             size_t *bytes, sg_error *err)
{
    *data = NULL;
    *bytes = 0;
    const sg_manifest *manifest = checkpoint->manifest;
    for (size_t i = 0; i < manifest->count; i++)
        if (strcmp(manifest->files[i].name, name) == 0) {
            char path[SG_PATH_MAX];
            SG_TRY(sg_path_join(path, sizeof path, checkpoint->folder, name, err));
            return sg_file_read(path, (size_t)manifest->files[i].bytes, data, bytes, err);
        }
    return sg_fail(err, SG_ERR_NOT_FOUND, "%s: has no %s", checkpoint->folder, name);
}
