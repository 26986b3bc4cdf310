// Outputs: a file is replaced by writing beside it, syncing, renaming and syncing the folder, in
// that order, so that after a power cut either the old or the new one is there, whole.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file_writer.h"

enum { output_links = 40, output_name = 160, output_tries = 100 };

struct sg_output {
    bool direct; // into what is there
    bool is_new; // nothing may be there
    sg_file_lock *lock;
    char target[SG_PATH_MAX];
    char folder[SG_PATH_MAX]; // of target
    char temporary[SG_PATH_MAX];
};

// ---- where to ---------------------------------------------------------------------------------

static sg_status output_follow(char target[SG_PATH_MAX], const char *link, size_t bytes,
                               sg_error *err)
{
    char text[SG_PATH_MAX], folder[SG_PATH_MAX];
    snprintf(text, sizeof text, "%.*s", (int)bytes, link);
    if (text[0] == '/') {
        memcpy(target, text, bytes + 1);
        return SG_OK;
    }
    sg_path_folder(folder, sizeof folder, target);
    return sg_path_join(target, SG_PATH_MAX, folder, text, err);
}

// What stands for an open descriptor by its name: whatever that is, a shell has more to say about
// it.
static bool output_is_descriptor(const char *path)
{
    return strcmp(path, "/dev/stdout") == 0 || strcmp(path, "/dev/stderr") == 0 ||
           strncmp(path, "/dev/fd/", 8) == 0 || strncmp(path, "/proc/self/fd/", 14) == 0;
}

// Puts the end of the symbolic links of `path` into o->target; the file need not be there. A link
// to a descriptor is that.
static sg_status output_resolve(sg_output *o, const char *path, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    char link[SG_PATH_MAX];
    memcpy(o->target, path, strlen(path) + 1);
    for (int i = 0; i < output_links; i++) {
        o->direct = o->direct || output_is_descriptor(o->target);
        if (o->direct) return SG_OK;
        int64_t bytes = fs->read_link(fs->user, o->target, link, sizeof link);
        if (bytes == -EINVAL || bytes == -ENOENT) return SG_OK; // no link, or nothing
        if (bytes < 0) return sg_file_fail(err, "open for writing", path, bytes);
        if (bytes == 0 || bytes >= SG_PATH_MAX)
            return sg_fail(err, SG_ERR_IO, "%s: a link that leads nowhere", path);
        SG_TRY(output_follow(o->target, link, (size_t)bytes, err));
    }
    return sg_fail(err, SG_ERR_IO, "%s: cannot open for writing: more than %d links", path,
                   output_links);
}

static sg_status output_place(sg_output *o, const char *path, bool *there, sg_error *err)
{
    sg_fs_info info;
    sg_status status = sg_path_info(path, &info, err);
    *there = status == SG_OK;
    if (status != SG_OK && !sg_ignored(status, SG_ERR_NOT_FOUND, err)) return status;
    if (*there && info.is_folder)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: is a folder, expected a file", path);
    o->direct = *there && info.is_special;
    SG_TRY(output_resolve(o, path, err));
    if (o->direct) return SG_OK;
    if (*there && o->is_new) return sg_fail(err, SG_ERR_ARGUMENT, "%s: is there already", path);
    sg_path_folder(o->folder, sizeof o->folder, o->target);
    return SG_OK;
}

// ---- names beside it --------------------------------------------------------------------------

static const char *output_base(const sg_output *o)
{
    const char *slash = strrchr(o->target, '/');
    return slash ? slash + 1 : o->target;
}

// ".NAME." in the folder of the target, and what follows it. A long name is cut: then two outputs
// may have one lock, and one waits for the other without need.
static sg_status output_beside(const sg_output *o, const char *ending, char *out, sg_error *err)
{
    char name[256];
    snprintf(name, sizeof name, ".%.*s.%s", output_name, output_base(o), ending);
    return sg_path_join(out, SG_PATH_MAX, o->folder, name, err);
}

static bool output_is_left(const char *name, const char *start)
{
    const size_t length = strlen(start);
    return strncmp(name, start, length) == 0 && strlen(name) == length + 20 &&
           strspn(name + length, "0123456789abcdef") == 16 &&
           strcmp(name + length + 16, ".tmp") == 0;
}

// The holder of the lock may remove files of writers that died: nobody writes them any more.
static sg_status output_clean(const sg_output *o, sg_error *err)
{
    char start[256], path[SG_PATH_MAX], **names;
    size_t count;
    snprintf(start, sizeof start, ".%.*s.", output_name, output_base(o));
    SG_TRY(sg_folder_list(o->folder, &names, &count, err));
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        sg_fs_info info;
        if (!output_is_left(names[i], start)) continue;
        status = sg_path_join(path, sizeof path, o->folder, names[i], err);
        if (status == SG_OK) status = sg_path_link_info(path, &info, err);
        if (status == SG_OK && !info.is_folder) status = sg_path_remove(path, err);
        if (sg_ignored(status, SG_ERR_NOT_FOUND, err)) status = SG_OK;
    }
    sg_names_free(names, count);
    return status;
}

// A name that nobody can know before: the time, the process, and where the writer lies.
static uint64_t output_unique(const sg_writer *w, int attempt)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const uint64_t parts[] = {(uint64_t)now.tv_sec, (uint64_t)now.tv_nsec, (uint64_t)getpid(),
                              (uint64_t)(uintptr_t)w, (uint64_t)attempt};
    return sg_hash(parts, sizeof parts);
}

static sg_status output_create(sg_writer *w, bool there, sg_error *err)
{
    sg_output *o = w->output;
    int result = -EEXIST;
    for (int i = 0; i < output_tries && result == -EEXIST; i++) {
        char ending[32];
        snprintf(ending, sizeof ending, "%016llx.tmp", (unsigned long long)output_unique(w, i));
        SG_TRY(output_beside(o, ending, o->temporary, err));
        result = w->fs->open(w->fs->user, o->temporary, there ? SG_FS_PRIVATE : SG_FS_NEW);
    }
    if (result < 0) return sg_file_fail(err, "open for writing", w->path, result);
    w->handle = result;
    if (there) result = w->fs->copy_mode(w->fs->user, w->handle, o->target);
    if (result >= 0) return SG_OK;
    w->fs->close(w->fs->user, w->handle);
    sg_path_remove(o->temporary, NULL);
    return sg_file_fail(err, "set the mode of", w->path, result);
}

// ---- the whole --------------------------------------------------------------------------------

sg_status sg_output_check(const char *path, int mode, sg_error *err)
{
    sg_output o = {.is_new = mode == SG_OUTPUT_NEW};
    bool there;
    if (strlen(path) >= SG_PATH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", path);
    return output_place(&o, path, &there, err);
}

static sg_status output_open(sg_writer *w, sg_error *err)
{
    sg_output *o = w->output;
    bool there;
    char path[SG_PATH_MAX];
    SG_TRY(output_place(o, w->path, &there, err));
    if (o->direct) {
        w->handle = w->fs->open(w->fs->user, o->target, SG_FS_DIRECT);
        if (w->handle == -ENXIO)
            return sg_fail(err, SG_ERR_IO, "%s: a pipe that nobody reads", w->path);
        return w->handle < 0 ? sg_file_fail(err, "open for writing", w->path, w->handle) : SG_OK;
    }
    if (output_base(o)[0] == '\0')
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: is no name of a file", w->path);
    SG_TRY(output_beside(o, "lock", path, err));
    SG_TRY(sg_file_lock_take(path, w->path, &o->lock, err));
    // The one who had the lock before may have made it.
    SG_TRY(output_place(o, w->path, &there, err));
    SG_TRY(output_clean(o, err));
    return output_create(w, there, err);
}

static void output_end(sg_output *o)
{
    sg_file_lock_release(o->lock, true);
    sg_free(o);
}

sg_status sg_writer_open_output(const char *path, int mode, sg_writer **writer, sg_error *err)
{
    SG_TRY(sg_writer_new(path, writer, err));
    sg_output *o = sg_alloc_zero(1, sizeof *o);
    sg_status status = SG_OK;
    (*writer)->output = o;
    if (o == NULL) status = sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    if (o != NULL) {
        o->is_new = mode == SG_OUTPUT_NEW;
        status = output_open(*writer, err);
    }
    if (status == SG_OK) return SG_OK;
    if (o != NULL) output_end(o);
    sg_writer_free(*writer);
    *writer = NULL;
    return status;
}

static sg_status output_publish(const sg_output *o, const char *path, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    int result = o->is_new ? fs->rename_new(fs->user, o->temporary, o->target)
                           : fs->rename(fs->user, o->temporary, o->target);
    if (result == -EEXIST)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: is there already, made by somebody else since",
                       path);
    return result < 0 ? sg_file_fail(err, "replace", path, result) : SG_OK;
}

sg_status sg_writer_replace(sg_writer *writer, sg_error *err)
{
    sg_output *o = writer->output;
    char path[SG_PATH_MAX];
    memcpy(path, writer->path, strlen(writer->path) + 1);
    sg_status status = sg_writer_close(writer, !o->direct, err);
    if (!o->direct) {
        if (status == SG_OK) status = output_publish(o, path, err);
        if (status == SG_OK)
            status = sg_folder_sync(o->folder, err);
        else
            sg_path_remove(o->temporary, NULL);
    }
    output_end(o);
    return status;
}

void sg_writer_withdraw(sg_writer *writer)
{
    if (writer == NULL) return;
    sg_output *o = writer->output;
    sg_writer_abandon(writer);
    if (!o->direct) sg_path_remove(o->temporary, NULL);
    output_end(o);
}

sg_status sg_file_write_atomic(const char *path, const void *data, size_t bytes, sg_error *err)
{
    sg_writer *writer;
    SG_TRY(sg_writer_open_output(path, SG_OUTPUT_REPLACE, &writer, err));
    sg_writer_put(writer, data, bytes);
    return sg_writer_replace(writer, err);
}
