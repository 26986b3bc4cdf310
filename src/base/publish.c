// See publish.h for the promise. Each step is made durable before the next begins:
//   1. all new files are written into .incoming.tmp
//   2. which is renamed to .incoming: decided
//   3. old files that would be taken for new ones are removed
//   4. the files move up, one named file last
//   5. old files that belong to nothing are removed, then .incoming
#include "base/publish.h"

#include <string.h>

#include "base/alloc.h"

static const char publish_staging[] = ".incoming.tmp", publish_decided[] = ".incoming",
                  publish_lock[] = ".lock";

// ---- finishing what is decided ----------------------------------------------------------------

static sg_status publish_refuse(const char *path, const char *found, sg_error *err)
{
    return sg_fail(
        err, SG_ERR_FORMAT,
        "%s: found %s, expected the files that an interrupted save left: look at it, and "
        "take it away",
        path, found);
}

// Plain files of expected names alone: whatever else is there, somebody else put there.
static sg_status publish_check(const sg_publication *kind, const char *decided, char **names,
                               size_t count, sg_error *err)
{
    for (size_t i = 0; i < count; i++) {
        char path[SG_PATH_MAX];
        sg_fs_info info;
        SG_TRY(sg_path_join(path, sizeof path, decided, names[i], err));
        if (!kind->expects(names[i])) return publish_refuse(path, "another name", err);
        SG_TRY(sg_path_link_info(path, &info, err));
        if (info.is_folder || info.is_link || info.is_special)
            return publish_refuse(path, "no plain file", err);
    }
    return SG_OK;
}

static sg_status publish_move(const char *from, const char *to, const char *name, sg_error *err)
{
    char source[SG_PATH_MAX], target[SG_PATH_MAX];
    SG_TRY(sg_path_join(source, sizeof source, from, name, err));
    SG_TRY(sg_path_join(target, sizeof target, to, name, err));
    return sg_path_rename(source, target, err);
}

static sg_status publish_move_up(const sg_publication *kind, const char *folder,
                                 const char *decided, char **names, size_t count, sg_error *err)
{
    bool has_last = false;
    if (kind->before != NULL) SG_TRY(kind->before(folder, names, count, err));
    SG_TRY(sg_folder_sync(folder, err));
    for (size_t i = 0; i < count; i++) {
        const bool last = strcmp(names[i], kind->last) == 0;
        has_last = has_last || last;
        if (!last) SG_TRY(publish_move(decided, folder, names[i], err));
    }
    SG_TRY(sg_folder_sync(folder, err));
    if (has_last) SG_TRY(publish_move(decided, folder, kind->last, err));
    SG_TRY(sg_folder_sync(folder, err));
    return sg_folder_sync(decided, err);
}

static sg_status publish_finish(const sg_publication *kind, const char *folder, const char *decided,
                                sg_error *err)
{
    char **names;
    size_t count;
    SG_TRY(sg_folder_list(decided, &names, &count, err));
    sg_status status = publish_check(kind, decided, names, count, err);
    if (status == SG_OK) status = publish_move_up(kind, folder, decided, names, count, err);
    sg_names_free(names, count);
    if (status == SG_OK && kind->after != NULL) status = kind->after(folder, err);
    if (status == SG_OK) status = sg_path_remove(decided, err);
    return status == SG_OK ? sg_folder_sync(folder, err) : status;
}

// Whether FOLDER/.incoming is there, and a folder; what else has that name is not ours.
static sg_status publish_find(const char *folder, char decided[SG_PATH_MAX], sg_fs_info *info,
                              bool *there, sg_error *err)
{
    SG_TRY(sg_path_join(decided, SG_PATH_MAX, folder, publish_decided, err));
    sg_status status = sg_path_link_info(decided, info, err);
    *there = status == SG_OK;
    return sg_ignored(status, SG_ERR_NOT_FOUND, err) ? SG_OK : status;
}

bool sg_publish_is_interrupted(const char *folder)
{
    char decided[SG_PATH_MAX];
    sg_fs_info info;
    bool there;
    return publish_find(folder, decided, &info, &there, NULL) == SG_OK && there && info.is_folder;
}

sg_status sg_publish_recover(const sg_publication *kind, const char *folder, sg_error *err)
{
    char decided[SG_PATH_MAX];
    sg_fs_info info;
    bool there;
    SG_TRY(publish_find(folder, decided, &info, &there, err));
    if (!there) return SG_OK;
    if (!info.is_folder) return publish_refuse(decided, "no folder", err);
    sg_status status = publish_finish(kind, folder, decided, err);
    if (status == SG_OK) return SG_OK;
    return sg_fail_context(err, status, "%s: cannot finish an interrupted save", folder);
}

// ---- publishing -------------------------------------------------------------------------------

sg_status sg_publish_begin(const sg_publication *kind, const char *folder,
                           char staging[SG_PATH_MAX], sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    SG_TRY(sg_path_join(staging, SG_PATH_MAX, folder, publish_staging, err));
    SG_TRY(sg_folder_make(folder, err));
    SG_TRY(sg_publish_recover(kind, folder, err));
    SG_TRY(sg_tree_remove(staging, err));
    // New, and therefore no link.
    int result = fs->make_folder(fs->user, staging);
    return result < 0 ? sg_file_fail(err, "make the folder", staging, result) : SG_OK;
}

// A lock of an output that could not be removed is all that may be there beside the files.
static sg_status publish_tidy(const sg_publication *kind, const char *staging, sg_error *err)
{
    char path[SG_PATH_MAX], **names;
    size_t count;
    SG_TRY(sg_folder_list(staging, &names, &count, err));
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        if (kind->expects(names[i])) continue;
        status = sg_path_join(path, sizeof path, staging, names[i], err);
        if (status == SG_OK) status = sg_path_remove(path, err);
    }
    sg_names_free(names, count);
    return status;
}

sg_status sg_publish_end(const sg_publication *kind, const char *folder, sg_error *err)
{
    char staging[SG_PATH_MAX], decided[SG_PATH_MAX];
    SG_TRY(sg_path_join(staging, sizeof staging, folder, publish_staging, err));
    SG_TRY(sg_path_join(decided, sizeof decided, folder, publish_decided, err));
    sg_status status = publish_tidy(kind, staging, err);
    if (status == SG_OK) status = sg_folder_sync(staging, err);
    if (status == SG_OK) status = sg_path_rename(staging, decided, err);
    if (status != SG_OK) {
        sg_publish_abandon(folder);
        return status;
    }
    SG_TRY(sg_folder_sync(folder, err));
    return publish_finish(kind, folder, decided, err);
}

void sg_publish_abandon(const char *folder)
{
    char staging[SG_PATH_MAX];
    if (sg_path_join(staging, sizeof staging, folder, publish_staging, NULL) == SG_OK)
        sg_tree_remove(staging, NULL);
}

// ---- reading ----------------------------------------------------------------------------------

sg_status sg_published_path(char *out, size_t capacity, const char *folder, const char *name,
                            bool *moving, sg_error *err)
{
    char decided[SG_PATH_MAX];
    sg_fs_info info;
    bool there;
    if (moving != NULL) *moving = false;
    SG_TRY(publish_find(folder, decided, &info, &there, err));
    if (there && info.is_folder) {
        SG_TRY(sg_path_join(out, capacity, decided, name, err));
        sg_status status = sg_path_link_info(out, &info, err);
        if (moving != NULL) *moving = status == SG_OK;
        if (!sg_ignored(status, SG_ERR_NOT_FOUND, err)) return status;
    }
    return sg_path_join(out, capacity, folder, name, err);
}

// ---- claims -------------------------------------------------------------------------------------

struct sg_claim {
    sg_file_lock *lock;
    bool made; // the folder is
    char folder[SG_PATH_MAX];
};

static sg_status claim_check_empty(const char *folder, sg_error *err)
{
    char **names;
    size_t count;
    const char *found = NULL;
    sg_status status = sg_folder_list(folder, &names, &count, err);
    if (sg_ignored(status, SG_ERR_NOT_FOUND, err)) return SG_OK;
    SG_TRY(status);
    for (size_t i = 0; i < count && found == NULL; i++)
        if (strcmp(names[i], publish_staging) != 0 && strcmp(names[i], publish_lock) != 0)
            found = names[i];
    if (found != NULL)
        status = sg_fail(err, SG_ERR_ARGUMENT,
                         "%s: found a folder with files in it (%.100s), "
                         "expected an empty or a new one",
                         folder, found);
    sg_names_free(names, count);
    return status;
}

static sg_status claim_take(sg_claim *claim, bool any, sg_error *err)
{
    char lock[SG_PATH_MAX];
    sg_fs_info info;
    SG_TRY(sg_path_join(lock, sizeof lock, claim->folder, publish_lock, err));
    if (!any) SG_TRY(claim_check_empty(claim->folder, err));
    sg_status status = sg_path_info(claim->folder, &info, err);
    claim->made = sg_ignored(status, SG_ERR_NOT_FOUND, err);
    if (status != SG_OK && !claim->made) return status;
    SG_TRY(sg_folder_make(claim->folder, err));
    SG_TRY(sg_file_lock_take(lock, claim->folder, &claim->lock, err));
    // The one who had it before may have filled the folder.
    return any ? SG_OK : claim_check_empty(claim->folder, err);
}

sg_status sg_folder_claim(const char *folder, bool any, sg_claim **out, sg_error *err)
{
    *out = NULL;
    if (strlen(folder) >= SG_PATH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", folder);
    sg_claim *claim = sg_alloc_zero(1, sizeof *claim);
    if (claim == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", folder);
    memcpy(claim->folder, folder, strlen(folder) + 1);
    sg_status status = claim_take(claim, any, err);
    if (status == SG_OK)
        *out = claim;
    else
        sg_folder_release(claim);
    return status;
}

void sg_folder_release(sg_claim *claim)
{
    if (claim == NULL) return;
    sg_file_lock_release(claim->lock, true);
    // Fails, as it should, where anything is in it.
    if (claim->made) sg_path_remove(claim->folder, NULL);
    sg_free(claim);
}
