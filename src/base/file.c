// Files above the seam: reading, names and folders. file_writer.c writes, file_output.c replaces.
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

sg_status sg_file_fail(sg_error *err, const char *verb, const char *path, int64_t negative_errno)
{
    int code = (int)-negative_errno;
    char text[128];
    // GNU strerror_r may return a static string instead of filling the buffer.
    const char *reason = strerror_r(code, text, sizeof text);
    sg_status status = code == ENOENT || code == ENOTDIR ? SG_ERR_NOT_FOUND
                       : code == ENOMEM                  ? SG_ERR_MEMORY
                                                         : SG_ERR_IO;
    return sg_fail(err, status, "%s: cannot %s: %s", path, verb, reason);
}

// ---- reading ----------------------------------------------------------------------------------

sg_status sg_path_info(const char *path, sg_fs_info *info, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    int result = fs->info(fs->user, path, info);
    return result < 0 ? sg_file_fail(err, "open", path, result) : SG_OK;
}

sg_status sg_path_link_info(const char *path, sg_fs_info *info, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    int result = fs->link_info(fs->user, path, info);
    return result < 0 ? sg_file_fail(err, "open", path, result) : SG_OK;
}

// Of a file that is to be read as a whole.
static sg_status file_info(const char *path, sg_fs_info *info, sg_error *err)
{
    SG_TRY(sg_path_info(path, info, err));
    if (!info->is_folder && !info->is_special) return SG_OK;
    return sg_fail(err, SG_ERR_IO, "%s: is a %s, expected a file", path,
                   info->is_folder ? "folder" : "pipe or a device");
}

sg_status sg_file_read(const char *path, size_t limit, char **data, size_t *bytes, sg_error *err)
{
    *data = NULL;
    *bytes = 0;
    const sg_fs *fs = sg_fs_get();
    sg_fs_info info;
    SG_TRY(file_info(path, &info, err));
    if ((uint64_t)info.bytes > limit)
        return sg_fail(err, SG_ERR_FORMAT, "%s: %lld bytes, expected at most %zu", path,
                       (long long)info.bytes, limit);
    int handle = fs->open(fs->user, path, SG_FS_READ);
    if (handle < 0) return sg_file_fail(err, "open", path, handle);
    size_t size = (size_t)info.bytes;
    char *buffer = sg_alloc(size + 1);
    if (buffer == NULL) {
        fs->close(fs->user, handle);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for %zu bytes", path, size);
    }
    size_t got = 0;
    int64_t result = 0;
    while (got < size && (result = fs->read(fs->user, handle, buffer + got, size - got)) > 0)
        got += (size_t)result;
    fs->close(fs->user, handle);
    if (result < 0) {
        sg_free(buffer);
        return sg_file_fail(err, "read", path, result);
    }
    buffer[got] = '\0';
    *data = buffer;
    *bytes = got;
    return SG_OK;
}

sg_status sg_map_open(const char *path, sg_map *map, sg_error *err)
{
    *map = (sg_map){0};
    const sg_fs *fs = sg_fs_get();
    sg_fs_info info;
    SG_TRY(file_info(path, &info, err));
    if (info.bytes == 0) return SG_OK;
    const void *view;
    int result = fs->map(fs->user, path, (size_t)info.bytes, &view);
    if (result < 0) return sg_file_fail(err, "map", path, result);
    map->data = view;
    map->bytes = (size_t)info.bytes;
    sg_mapped_add(map, path);
    return SG_OK;
}

void sg_map_close(sg_map *map)
{
    const sg_fs *fs = sg_fs_get();
    if (map->data != NULL) sg_mapped_remove(map);
    if (map->data != NULL) fs->unmap(fs->user, map->data, map->bytes);
    *map = (sg_map){0};
}

sg_status sg_file_free_space(const char *path, int64_t *bytes, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    char at[SG_PATH_MAX], above[SG_PATH_MAX];
    snprintf(at, sizeof at, "%s", path);
    for (;;) {
        int result = fs->free_space(fs->user, at, bytes);
        if (result >= 0) return SG_OK;
        sg_path_folder(above, sizeof above, at);
        // What is not there yet will be made in the nearest folder above that is.
        if (result != -ENOENT || strcmp(above, at) == 0)
            return sg_file_fail(err, "ask for free space", path, result);
        memcpy(at, above, strlen(above) + 1);
    }
}

static const char *file_size_text(int64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    int unit = 0;
    for (; value >= 1000 && unit < 6; unit++)
        value /= 1000;
    snprintf(out, 32, "%.3g %s", value, units[unit]);
    return out;
}

sg_status sg_file_need_space(const char *path, int64_t bytes, sg_error *err)
{
    int64_t free;
    char found[32], expected[32];
    SG_TRY(sg_file_free_space(path, &free, err));
    if (free >= bytes) return SG_OK;
    return sg_fail(err, SG_ERR_IO, "%s: found %s free on the disk, expected %s", path,
                   file_size_text(free, found), file_size_text(bytes, expected));
}

bool sg_path_exists(const char *path)
{
    const sg_fs *fs = sg_fs_get();
    sg_fs_info info;
    return fs->info(fs->user, path, &info) >= 0;
}

bool sg_path_is_folder(const char *path)
{
    const sg_fs *fs = sg_fs_get();
    sg_fs_info info;
    return fs->info(fs->user, path, &info) >= 0 && info.is_folder;
}

sg_status sg_path_bytes(const char *path, int64_t *bytes, sg_error *err)
{
    sg_fs_info info;
    SG_TRY(sg_path_info(path, &info, err));
    *bytes = info.bytes;
    return SG_OK;
}

enum { hash_chunk_bytes = 1 << 18 };

sg_status sg_file_hash(const char *path, int64_t *bytes, uint64_t *hash, sg_error *err)
{
    *bytes = 0;
    *hash = 0;
    const sg_fs *fs = sg_fs_get();
    sg_fs_info info;
    SG_TRY(file_info(path, &info, err));
    sg_hasher *hasher = sg_hasher_new();
    char *chunk = sg_alloc(hash_chunk_bytes);
    int handle = -1;
    int64_t got = 0;
    sg_status status = SG_OK;
    if (hasher == NULL || chunk == NULL)
        status = sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a checksum", path);
    else if ((handle = fs->open(fs->user, path, SG_FS_READ)) < 0)
        status = sg_file_fail(err, "open", path, handle);
    while (status == SG_OK && (got = fs->read(fs->user, handle, chunk, hash_chunk_bytes)) > 0) {
        sg_hasher_add(hasher, chunk, (size_t)got);
        *bytes += got;
    }
    if (status == SG_OK && got < 0) status = sg_file_fail(err, "read", path, got);
    if (status == SG_OK) *hash = sg_hasher_value(hasher);
    if (handle >= 0) fs->close(fs->user, handle);
    sg_hasher_free(hasher);
    sg_free(chunk);
    return status;
}

// ---- names and folders ------------------------------------------------------------------------

sg_status sg_path_join(char *out, size_t capacity, const char *folder, const char *name,
                       sg_error *err)
{
    size_t length = strlen(folder);
    const char *slash = length > 0 && folder[length - 1] == '/' ? "" : "/";
    int need = snprintf(out, capacity, "%s%s%s", folder, slash, name);
    if (need < 0 || (size_t)need >= capacity)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", folder);
    return SG_OK;
}

void sg_path_folder(char *out, size_t capacity, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL)
        snprintf(out, capacity, ".");
    else
        snprintf(out, capacity, "%.*s", slash == path ? 1 : (int)(slash - path), path);
}

bool sg_name_is_plain(const char *name)
{
    size_t length = strlen(name);
    if (length == 0 || length > 200 || name[0] == '.') return false;
    for (size_t i = 0; i < length; i++)
        if (name[i] <= ' ' || name[i] > '~' || name[i] == '/' || name[i] == '\\') return false;
    return true;
}

static sg_status folder_make_one(const char *path, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    sg_fs_info info;
    int result = fs->info(fs->user, path, &info);
    if (result == -ENOENT) {
        result = fs->make_folder(fs->user, path);
        if (result >= 0) {
            char parent[SG_PATH_MAX];
            sg_path_folder(parent, sizeof parent, path);
            return sg_folder_sync(parent, err);
        }
        // Somebody else may have made it in between.
        if (result == -EEXIST) result = fs->info(fs->user, path, &info);
    }
    if (result < 0) return sg_file_fail(err, "make the folder", path, result);
    if (!info.is_folder) return sg_fail(err, SG_ERR_IO, "%s: is a file, expected a folder", path);
    return SG_OK;
}

sg_status sg_folder_make(const char *path, sg_error *err)
{
    char prefix[SG_PATH_MAX];
    size_t length = strlen(path);
    if (length >= sizeof prefix)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", path);
    memcpy(prefix, path, length + 1);
    while (length > 1 && prefix[length - 1] == '/')
        prefix[--length] = '\0';
    const sg_fs *fs = sg_fs_get();
    sg_fs_info info;
    int result = fs->info(fs->user, prefix, &info);
    if (result < 0 && result != -ENOENT) return sg_file_fail(err, "make the folder", path, result);
    if (result == 0 && info.is_folder) return SG_OK;
    // Only where the folder is missing are its parents looked at: some may be closed to us.
    for (size_t i = 1; i < length; i++) {
        if (prefix[i] != '/' || prefix[i - 1] == '/') continue;
        prefix[i] = '\0';
        SG_TRY(folder_make_one(prefix, err));
        prefix[i] = '/';
    }
    return folder_make_one(prefix, err);
}

sg_status sg_folder_sync(const char *path, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    int result = fs->sync_folder(fs->user, path);
    return result < 0 ? sg_file_fail(err, "sync the folder", path, result) : SG_OK;
}

typedef struct name_list {
    char **names;
    size_t count;
    size_t capacity;
    bool failed;
} name_list;

static void name_add(void *context, const char *name)
{
    name_list *list = context;
    if (list->failed) return;
    char *copy = NULL;
    if (!sg_grow((void **)&list->names, &list->capacity, list->count + 1, sizeof *list->names) ||
        (copy = sg_strdup(name)) == NULL) {
        list->failed = true;
        return;
    }
    list->names[list->count++] = copy;
}

static int name_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

sg_status sg_folder_list(const char *path, char ***names, size_t *count, sg_error *err)
{
    *names = NULL;
    *count = 0;
    const sg_fs *fs = sg_fs_get();
    name_list list = {0};
    int result = fs->list(fs->user, path, name_add, &list);
    if (result < 0 || list.failed) {
        sg_names_free(list.names, list.count);
        if (result < 0) return sg_file_fail(err, "list the folder", path, result);
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for its names", path);
    }
    if (list.count > 1) qsort(list.names, list.count, sizeof *list.names, name_compare);
    *names = list.names;
    *count = list.count;
    return SG_OK;
}

void sg_names_free(char **names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sg_free(names[i]);
    sg_free(names);
}

sg_status sg_path_rename(const char *from, const char *to, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    int result = fs->rename(fs->user, from, to);
    return result < 0 ? sg_file_fail(err, "rename", from, result) : SG_OK;
}

sg_status sg_path_remove(const char *path, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    int result = fs->remove(fs->user, path);
    return result < 0 ? sg_file_fail(err, "remove", path, result) : SG_OK;
}

static sg_status tree_remove(const char *path, int depth, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    sg_fs_info info;
    int result = fs->link_info(fs->user, path, &info);
    if (result == -ENOENT) return SG_OK;
    if (result < 0) return sg_file_fail(err, "remove", path, result);
    if (!info.is_folder) return sg_path_remove(path, err);
    if (depth > 16) return sg_fail(err, SG_ERR_IO, "%s: folders are nested too deep", path);
    char **names;
    size_t count;
    SG_TRY(sg_folder_list(path, &names, &count, err));
    sg_status status = SG_OK;
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        char child[SG_PATH_MAX];
        status = sg_path_join(child, sizeof child, path, names[i], err);
        if (status == SG_OK) status = tree_remove(child, depth + 1, err);
    }
    sg_names_free(names, count);
    return status == SG_OK ? sg_path_remove(path, err) : status;
}

sg_status sg_tree_remove(const char *path, sg_error *err)
{
    return tree_remove(path, 0, err);
}
