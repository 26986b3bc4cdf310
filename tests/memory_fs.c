// Files and folders are nodes; a folder has two lists of names, the one programs see and the one on
// the disk. What has been done and not synced waits in lists: changes of names in one for the whole
// file system, writes in one for each file. A crash decides which of them happened.
#include "memory_fs.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/hash.h"

typedef struct fs_buffer {
    unsigned char *data;
    size_t size;
} fs_buffer;

typedef struct fs_write {
    size_t offset; // a truncation when data is NULL: the new size
    size_t bytes;
    unsigned char *data;
} fs_write;

typedef struct fs_names {
    struct {
        char *name;
        int node;
    } * list;
    size_t count;
} fs_names;

typedef struct fs_node {
    bool folder, other;         // other: a pipe
    char *link;                 // of a symbolic link: what it says
    int locked_by;              // handle, or -1
    fs_buffer current, durable; // of a file
    fs_write *writes;
    size_t write_count;
    fs_names names, durable_names; // of a folder
} fs_node;

// From (folder, name), when that is given, to (folder, name), when that is given.
typedef struct fs_change {
    int from, to; // nodes of folders, or -1
    char *from_name, *to_name;
    int node;
} fs_change;

typedef struct fs_handle {
    int node; // -1: closed
    int mode;
    size_t offset;
} fs_handle;

struct memory_fs {
    sg_fs table;
    fs_node *nodes; // 0 is the root
    size_t node_count;
    fs_change *changes;
    size_t change_count;
    fs_handle *handles;
    size_t handle_count;
    int maps;
    int64_t operations, fail_at, cut_at, limit;
    bool limit_seen;
    int64_t live; // library allocations when the test began
    int fail_error;
    bool fail_on;
};

// ---- small pieces -----------------------------------------------------------------------------

// The library's allocator is under test, so this uses the system's, and gives up without it.
static void *fs_grow(void *old, size_t count, size_t size)
{
    void *grown = realloc(old, count > 0 ? count * size : 1);
    if (grown == NULL) abort();
    return grown;
}

static char *fs_text(const char *text)
{
    return text ? strcpy(fs_grow(NULL, strlen(text) + 1, 1), text) : NULL;
}

static void fs_resize(fs_buffer *buffer, size_t size)
{
    buffer->data = fs_grow(buffer->data, size, 1);
    if (size > buffer->size) memset(buffer->data + buffer->size, 0, size - buffer->size);
    buffer->size = size;
}

static void fs_patch(fs_buffer *buffer, size_t offset, const void *data, size_t bytes)
{
    if (offset + bytes > buffer->size) fs_resize(buffer, offset + bytes);
    if (bytes > 0) memcpy(buffer->data + offset, data, bytes);
}

static fs_buffer fs_copy(const fs_buffer *buffer)
{
    fs_buffer copy = {0};
    fs_patch(&copy, 0, buffer->data, buffer->size);
    return copy;
}

static int fs_name_find(const fs_names *names, const char *name)
{
    for (size_t i = 0; i < names->count; i++)
        if (strcmp(names->list[i].name, name) == 0) return (int)i;
    return -1;
}

static void fs_name_set(fs_names *names, const char *name, int node)
{
    int at = fs_name_find(names, name);
    if (at < 0) {
        at = (int)names->count++;
        names->list = fs_grow(names->list, names->count, sizeof *names->list);
        names->list[at].name = fs_text(name);
    }
    names->list[at].node = node;
}

static void fs_name_drop(fs_names *names, const char *name)
{
    int at = fs_name_find(names, name);
    if (at < 0) return;
    free(names->list[at].name);
    names->list[at] = names->list[--names->count];
}

static fs_names fs_names_copy(const fs_names *names)
{
    fs_names copy = {0};
    for (size_t i = 0; i < names->count; i++)
        fs_name_set(&copy, names->list[i].name, names->list[i].node);
    return copy;
}

static void fs_names_clear(fs_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->list[i].name);
    free(names->list);
    *names = (fs_names){0};
}

static int fs_node_new(memory_fs *fs, bool folder)
{
    fs->nodes = fs_grow(fs->nodes, fs->node_count + 1, sizeof *fs->nodes);
    fs->nodes[fs->node_count] = (fs_node){.folder = folder, .locked_by = -1};
    return (int)fs->node_count++;
}

// ---- paths and changes ------------------------------------------------------------------------

static int fs_above(const memory_fs *fs, int node)
{
    for (size_t i = 0; i < fs->node_count; i++)
        for (size_t k = 0; k < fs->nodes[i].names.count; k++)
            if (fs->nodes[i].names.list[k].node == node) return (int)i;
    return 0;
}

// The node that a folder has under a name, or -errno; "" is the folder itself.
static int fs_child(const memory_fs *fs, int folder, const char *name)
{
    if (name[0] == '\0') return folder;
    int found = fs_name_find(&fs->nodes[folder].names, name);
    return found < 0 ? -ENOENT : fs->nodes[folder].names.list[found].node;
}

// Finds the folder a path is in and copies the last part of it; the root has none. Links on the way
// are gone through, the last one if `follow`.
static int fs_walk(const memory_fs *fs, int from, const char *path, bool follow, int depth,
                   char name[256], int *folder)
{
    int node = path[0] == '/' ? 0 : from;
    name[0] = '\0';
    for (const char *at = path;;) {
        size_t length = strcspn(at, "/");
        if (length >= 256) return -ENAMETOOLONG;
        const bool skip = length == 0 ? *at != '\0' : length == 1 && *at == '.';
        if (!skip) {
            int child = fs_child(fs, node, name);
            if (child >= 0 && fs->nodes[child].link != NULL && (*at != '\0' || follow)) {
                if (depth > 20) return -ELOOP;
                int result = fs_walk(fs, node, fs->nodes[child].link, true, depth + 1, name, &node);
                if (result < 0) return result;
                child = fs_child(fs, node, name);
            }
            if (*at == '\0') break;
            if (child < 0) return child;
            if (!fs->nodes[child].folder) return -ENOTDIR;
            node = child;
            memcpy(name, at, length);
            name[length] = '\0';
            if (strcmp(name, "..") == 0) {
                node = fs_above(fs, node);
                name[0] = '\0';
            }
        }
        at += length + (at[length] == '/');
    }
    *folder = node;
    return 0;
}

static int fs_parent(const memory_fs *fs, const char *path, char name[256], int *folder)
{
    return fs_walk(fs, 0, path, false, 0, name, folder);
}

// The node of a path, or -errno.
static int fs_find(const memory_fs *fs, const char *path, bool follow)
{
    char name[256];
    int folder, result = fs_walk(fs, 0, path, follow, 0, name, &folder);
    return result < 0 ? result : fs_child(fs, folder, name);
}

static int fs_lookup(const memory_fs *fs, const char *path)
{
    return fs_find(fs, path, true);
}

static void fs_apply(fs_names *from, const char *from_name, fs_names *to, const char *to_name,
                     int node)
{
    if (from != NULL) {
        int at = fs_name_find(from, from_name);
        if (at >= 0 && from->list[at].node == node) fs_name_drop(from, from_name);
    }
    if (to != NULL) fs_name_set(to, to_name, node);
}

static void fs_apply_durable(memory_fs *fs, const fs_change *change)
{
    fs_apply(change->from < 0 ? NULL : &fs->nodes[change->from].durable_names, change->from_name,
             change->to < 0 ? NULL : &fs->nodes[change->to].durable_names, change->to_name,
             change->node);
}

// Does a change now and notes that the disk has not seen it.
static void fs_change_names(memory_fs *fs, int from, const char *from_name, int to,
                            const char *to_name, int node)
{
    fs_apply(from < 0 ? NULL : &fs->nodes[from].names, from_name,
             to < 0 ? NULL : &fs->nodes[to].names, to_name, node);
    fs->changes = fs_grow(fs->changes, fs->change_count + 1, sizeof *fs->changes);
    fs->changes[fs->change_count++] =
        (fs_change){from, to, fs_text(from_name), fs_text(to_name), node};
}

static void fs_note_write(fs_node *node, size_t offset, const void *data, size_t bytes)
{
    fs_write write = {.offset = offset, .bytes = bytes};
    if (data != NULL) write.data = memcpy(fs_grow(NULL, bytes, 1), data, bytes);
    node->writes = fs_grow(node->writes, node->write_count + 1, sizeof *node->writes);
    node->writes[node->write_count++] = write;
}

static void fs_forget_writes(fs_node *node)
{
    for (size_t i = 0; i < node->write_count; i++)
        free(node->writes[i].data);
    free(node->writes);
    node->writes = NULL;
    node->write_count = 0;
}

static void fs_forget_change(fs_change *change)
{
    free(change->from_name);
    free(change->to_name);
}

// ---- the operations ---------------------------------------------------------------------------

static int fs_begin(memory_fs *fs)
{
    int64_t n = fs->operations++;
    if (fs->cut_at >= 0 && n >= fs->cut_at) return -EIO;
    if (fs->fail_at >= 0 && (n == fs->fail_at || (fs->fail_on && n > fs->fail_at)))
        return -fs->fail_error;
    return 0;
}

static fs_handle *fs_handle_of(memory_fs *fs, int handle)
{
    if (handle < 0 || (size_t)handle >= fs->handle_count) return NULL;
    return fs->handles[handle].node < 0 ? NULL : &fs->handles[handle];
}

static int fs_open(void *user, const char *path, int mode)
{
    memory_fs *fs = user;
    char name[256];
    const bool exclusive = mode == SG_FS_NEW || mode == SG_FS_PRIVATE;
    const bool plain = exclusive || mode == SG_FS_CREATE || mode == SG_FS_LOCK;
    int folder, result = fs_begin(fs);
    if (result == 0) result = fs_walk(fs, 0, path, !plain, 0, name, &folder);
    if (result < 0) return result;
    int node = fs_child(fs, folder, name);
    if (node >= 0 && exclusive) return -EEXIST;
    if (node == -ENOENT && (plain || mode == SG_FS_APPEND)) {
        node = fs_node_new(fs, false);
        fs_change_names(fs, -1, NULL, folder, name, node);
    }
    if (node < 0) return node;
    if (fs->nodes[node].link != NULL) return -ELOOP;
    if (fs->nodes[node].folder && mode != SG_FS_STREAM) return -EISDIR;
    if (fs->nodes[node].other && mode != SG_FS_STREAM && mode != SG_FS_DIRECT) return -EINVAL;
    if (mode == SG_FS_CREATE && fs->nodes[node].current.size > 0) {
        fs_note_write(&fs->nodes[node], 0, NULL, 0);
        fs_resize(&fs->nodes[node].current, 0);
    }
    fs->handles = fs_grow(fs->handles, fs->handle_count + 1, sizeof *fs->handles);
    fs->handles[fs->handle_count] = (fs_handle){node, mode, 0};
    return (int)fs->handle_count++;
}

static bool fs_reads(int mode)
{
    return mode == SG_FS_READ || mode == SG_FS_STREAM;
}

static int64_t fs_read(void *user, int number, void *data, size_t n)
{
    memory_fs *fs = user;
    int result = fs_begin(fs);
    fs_handle *handle = fs_handle_of(fs, number);
    if (result < 0) return result;
    if (handle == NULL ||
        (!fs_reads(handle->mode) && handle->mode != SG_FS_UPDATE && handle->mode != SG_FS_LOCK))
        return -EBADF;
    const fs_buffer *file = &fs->nodes[handle->node].current;
    size_t left = handle->offset < file->size ? file->size - handle->offset : 0;
    if (n > left) n = left;
    if (n > 0) memcpy(data, file->data + handle->offset, n);
    handle->offset += n;
    return (int64_t)n;
}

int64_t memory_fs_used(const memory_fs *fs)
{
    int64_t used = 0;
    for (size_t i = 0; i < fs->node_count; i++) // a name counts its file once: there are no links
        for (size_t k = 0; k < fs->nodes[i].names.count; k++)
            used += (int64_t)fs->nodes[fs->nodes[i].names.list[k].node].current.size;
    return used;
}

static int64_t fs_write_bytes(void *user, int number, const void *data, size_t n)
{
    memory_fs *fs = user;
    int result = fs_begin(fs);
    fs_handle *handle = fs_handle_of(fs, number);
    if (result < 0) return result;
    if (handle == NULL || fs_reads(handle->mode)) return -EBADF;
    fs_node *node = &fs->nodes[handle->node];
    if (handle->mode == SG_FS_APPEND) handle->offset = node->current.size;
    if (fs->limit >= 0) {
        int64_t room = fs->limit - memory_fs_used(fs);
        if (room <= 0 && n > 0) return -ENOSPC;
        if ((int64_t)n > room) n = (size_t)room;
    }
    fs_note_write(node, handle->offset, data, n);
    fs_patch(&node->current, handle->offset, data, n);
    handle->offset += n;
    return (int64_t)n;
}

static int64_t fs_seek(void *user, int number, int64_t offset)
{
    memory_fs *fs = user;
    int result = fs_begin(fs);
    fs_handle *handle = fs_handle_of(fs, number);
    if (result < 0) return result;
    if (handle == NULL) return -EBADF;
    if (offset < 0) return -EINVAL;
    handle->offset = (size_t)offset;
    return offset;
}

static int fs_sync(void *user, int number)
{
    memory_fs *fs = user;
    int result = fs_begin(fs);
    fs_handle *handle = fs_handle_of(fs, number);
    if (result < 0) return result;
    if (handle == NULL) return -EBADF;
    fs_node *node = &fs->nodes[handle->node];
    free(node->durable.data);
    node->durable = fs_copy(&node->current);
    fs_forget_writes(node);
    return 0;
}

static int fs_truncate(void *user, int number, int64_t bytes)
{
    memory_fs *fs = user;
    int result = fs_begin(fs);
    fs_handle *handle = fs_handle_of(fs, number);
    if (result < 0) return result;
    if (handle == NULL || fs_reads(handle->mode)) return -EBADF;
    fs_note_write(&fs->nodes[handle->node], (size_t)bytes, NULL, 0);
    fs_resize(&fs->nodes[handle->node].current, (size_t)bytes);
    return 0;
}

static int fs_close(void *user, int number)
{
    memory_fs *fs = user;
    int result = fs_begin(fs);
    fs_handle *handle = fs_handle_of(fs, number);
    if (handle == NULL) return -EBADF;
    // As with the system's close, the handle is gone whatever the result.
    if (fs->nodes[handle->node].locked_by == number) fs->nodes[handle->node].locked_by = -1;
    handle->node = -1;
    return result;
}

static int fs_tell(void *user, const char *path, bool follow, sg_fs_info *info)
{
    memory_fs *fs = user;
    int node = fs_begin(fs);
    if (node == 0) node = fs_find(fs, path, follow);
    if (node < 0) return node;
    const fs_node *n = &fs->nodes[node];
    *info = (sg_fs_info){(int64_t)n->current.size, n->folder, n->link != NULL, n->other};
    return 0;
}

static int fs_info(void *user, const char *path, sg_fs_info *info)
{
    return fs_tell(user, path, true, info);
}

static int fs_link_info(void *user, const char *path, sg_fs_info *info)
{
    return fs_tell(user, path, false, info);
}

static int64_t fs_read_link(void *user, const char *path, char *out, size_t capacity)
{
    memory_fs *fs = user;
    int node = fs_begin(fs);
    if (node == 0) node = fs_find(fs, path, false);
    if (node < 0) return node;
    const char *text = fs->nodes[node].link;
    if (text == NULL) return -EINVAL;
    size_t bytes = strlen(text) < capacity ? strlen(text) : capacity;
    memcpy(out, text, bytes);
    return (int64_t)bytes;
}

static int fs_rename_over(memory_fs *fs, const char *from, const char *to, bool keep_old)
{
    char from_name[256], to_name[256];
    int from_folder, to_folder, result = fs_begin(fs);
    if (result == 0) result = fs_parent(fs, from, from_name, &from_folder);
    if (result == 0) result = fs_parent(fs, to, to_name, &to_folder);
    if (result < 0) return result;
    int node = fs_find(fs, from, false), old = fs_find(fs, to, false);
    if (node < 0) return node;
    if (old == node) return 0;
    if (old >= 0 && keep_old) return -EEXIST;
    if (old >= 0 && fs->nodes[old].folder != fs->nodes[node].folder)
        return fs->nodes[old].folder ? -EISDIR : -ENOTDIR;
    if (old >= 0 && fs->nodes[old].names.count > 0) return -ENOTEMPTY;
    fs_change_names(fs, from_folder, from_name, to_folder, to_name, node);
    return 0;
}

static int fs_rename(void *user, const char *from, const char *to)
{
    return fs_rename_over(user, from, to, false);
}

static int fs_rename_new(void *user, const char *from, const char *to)
{
    return fs_rename_over(user, from, to, true);
}

static int fs_remove(void *user, const char *path)
{
    memory_fs *fs = user;
    char name[256];
    int folder, result = fs_begin(fs);
    if (result == 0) result = fs_parent(fs, path, name, &folder);
    if (result < 0) return result;
    int node = fs_find(fs, path, false);
    if (node < 0) return node;
    if (fs->nodes[node].names.count > 0) return -ENOTEMPTY;
    fs_change_names(fs, folder, name, -1, NULL, node);
    return 0;
}

static int fs_make_folder(void *user, const char *path)
{
    memory_fs *fs = user;
    char name[256];
    int folder, result = fs_begin(fs);
    if (result == 0) result = fs_parent(fs, path, name, &folder);
    if (result < 0) return result;
    if (fs_find(fs, path, false) >= 0) return -EEXIST;
    int node = fs_node_new(fs, true);
    fs_change_names(fs, -1, NULL, folder, name, node);
    return 0;
}

static int fs_sync_folder(void *user, const char *path)
{
    memory_fs *fs = user;
    int node = fs_begin(fs);
    if (node == 0) node = fs_lookup(fs, path);
    if (node < 0) return node;
    if (!fs->nodes[node].folder) return -ENOTDIR;
    size_t kept = 0;
    for (size_t i = 0; i < fs->change_count; i++) {
        fs_change *change = &fs->changes[i];
        if (change->from == node || change->to == node) {
            fs_apply_durable(fs, change);
            fs_forget_change(change);
        } else {
            fs->changes[kept++] = *change;
        }
    }
    fs->change_count = kept;
    return 0;
}

static int fs_list(void *user, const char *path, void (*each)(void *, const char *), void *context)
{
    memory_fs *fs = user;
    int node = fs_begin(fs);
    if (node == 0) node = fs_lookup(fs, path);
    if (node < 0) return node;
    if (!fs->nodes[node].folder) return -ENOTDIR;
    for (size_t i = 0; i < fs->nodes[node].names.count; i++)
        each(context, fs->nodes[node].names.list[i].name);
    return 0;
}

static int fs_map(void *user, const char *path, size_t bytes, const void **view)
{
    memory_fs *fs = user;
    int node = fs_begin(fs);
    if (node == 0) node = fs_lookup(fs, path);
    if (node < 0) return node;
    if (fs->nodes[node].folder || fs->nodes[node].other) return -EINVAL;
    if (fs->nodes[node].current.size < bytes) return -EIO;
    fs_buffer copy = fs_copy(&fs->nodes[node].current);
    *view = copy.data;
    fs->maps++;
    return 0;
}

static void fs_unmap(void *user, const void *view, size_t bytes)
{
    (void)bytes;
    ((memory_fs *)user)->maps--;
    free((void *)(uintptr_t)view);
}

static int fs_lock(void *user, int number)
{
    memory_fs *fs = user;
    int result = fs_begin(fs);
    fs_handle *handle = fs_handle_of(fs, number);
    if (result < 0) return result;
    if (handle == NULL) return -EBADF;
    fs_node *node = &fs->nodes[handle->node];
    if (node->locked_by >= 0 && node->locked_by != number) return -EWOULDBLOCK;
    node->locked_by = number;
    return 0;
}

static int fs_is_same(void *user, int number, const char *path)
{
    memory_fs *fs = user;
    int result = fs_begin(fs);
    fs_handle *handle = fs_handle_of(fs, number);
    if (result < 0) return result;
    return handle == NULL ? -EBADF : handle->node == fs_find(fs, path, false);
}

static int fs_copy_mode(void *user, int number, const char *path)
{
    memory_fs *fs = user;
    int result = fs_begin(fs);
    if (result < 0) return result;
    if (fs_handle_of(fs, number) == NULL) return -EBADF;
    int node = fs_lookup(fs, path);
    return node < 0 ? node : 0;
}

// A question, which is no operation: nothing changes. Of a disk that fails from then on it is one.
static int fs_free_space(void *user, const char *path, int64_t *bytes)
{
    memory_fs *fs = user;
    if (fs->fail_on && fs->fail_at >= 0 && fs->operations >= fs->fail_at) return fs_begin(fs);
    int node = fs_lookup(fs, path);
    if (node < 0) return node;
    const int64_t room = fs->limit - memory_fs_used(fs);
    *bytes = fs->limit < 0 || !fs->limit_seen ? INT64_MAX : room > 0 ? room : 0;
    return 0;
}

// ---- making, copying, crashing ----------------------------------------------------------------

static memory_fs *fs_bare(void)
{
    memory_fs *fs = fs_grow(NULL, 1, sizeof *fs);
    *fs = (memory_fs){.fail_at = -1, .cut_at = -1, .limit = -1};
    fs->table = (sg_fs){
        .user = fs,
        .open = fs_open,
        .read = fs_read,
        .write = fs_write_bytes,
        .seek = fs_seek,
        .sync = fs_sync,
        .truncate = fs_truncate,
        .close = fs_close,
        .info = fs_info,
        .link_info = fs_link_info,
        .read_link = fs_read_link,
        .rename = fs_rename,
        .rename_new = fs_rename_new,
        .remove = fs_remove,
        .make_folder = fs_make_folder,
        .sync_folder = fs_sync_folder,
        .list = fs_list,
        .map = fs_map,
        .unmap = fs_unmap,
        .lock = fs_lock,
        .is_same = fs_is_same,
        .copy_mode = fs_copy_mode,
        .free_space = fs_free_space,
    };
    return fs;
}

memory_fs *memory_fs_new(void)
{
    memory_fs *fs = fs_bare();
    fs_node_new(fs, true);
    return fs;
}

memory_fs *memory_fs_begin(void)
{
    int64_t live = sg_alloc_live();
    memory_fs *fs = memory_fs_new();
    fs->live = live;
    sg_fs_set(memory_fs_table(fs));
    return fs;
}

bool memory_fs_end(memory_fs *fs)
{
    int64_t memory = sg_alloc_live() - fs->live;
    int handles = memory_fs_open_handles(fs), maps = memory_fs_open_maps(fs);
    sg_fs_set(NULL);
    memory_fs_free(fs);
    if (memory == 0 && handles == 0 && maps == 0) return false;
    fprintf(stderr, "left behind: %lld allocations, %d handles, %d mappings\n", (long long)memory,
            handles, maps);
    return true;
}

memory_fs *memory_fs_clone(const memory_fs *fs)
{
    memory_fs *copy = fs_bare();
    for (size_t i = 0; i < fs->node_count; i++) {
        const fs_node *from = &fs->nodes[i];
        int node = fs_node_new(copy, from->folder); // moves the array
        fs_node *to = &copy->nodes[node];
        to->other = from->other;
        to->link = fs_text(from->link);
        to->current = fs_copy(&from->current);
        to->durable = fs_copy(&from->durable);
        to->names = fs_names_copy(&from->names);
        to->durable_names = fs_names_copy(&from->durable_names);
        for (size_t k = 0; k < from->write_count; k++)
            fs_note_write(to, from->writes[k].offset, from->writes[k].data, from->writes[k].bytes);
    }
    copy->changes = fs_grow(NULL, fs->change_count, sizeof *copy->changes);
    for (; copy->change_count < fs->change_count; copy->change_count++) {
        fs_change change = fs->changes[copy->change_count];
        change.from_name = fs_text(change.from_name);
        change.to_name = fs_text(change.to_name);
        copy->changes[copy->change_count] = change;
    }
    return copy;
}

void memory_fs_free(memory_fs *fs)
{
    if (fs == NULL) return;
    for (size_t i = 0; i < fs->node_count; i++) {
        fs_forget_writes(&fs->nodes[i]);
        fs_names_clear(&fs->nodes[i].names);
        fs_names_clear(&fs->nodes[i].durable_names);
        free(fs->nodes[i].link);
        free(fs->nodes[i].current.data);
        free(fs->nodes[i].durable.data);
    }
    for (size_t i = 0; i < fs->change_count; i++)
        fs_forget_change(&fs->changes[i]);
    free(fs->nodes);
    free(fs->changes);
    free(fs->handles);
    free(fs);
}

static int fs_special(memory_fs *fs, const char *path)
{
    char name[256];
    int folder;
    if (fs_parent(fs, path, name, &folder) < 0 || fs_child(fs, folder, name) >= 0) return -1;
    int node = fs_node_new(fs, false);
    fs_change_names(fs, -1, NULL, folder, name, node);
    return node;
}

bool memory_fs_link(memory_fs *fs, const char *target, const char *path)
{
    int node = fs_special(fs, path);
    if (node >= 0) fs->nodes[node].link = fs_text(target);
    return node >= 0;
}

bool memory_fs_pipe(memory_fs *fs, const char *path)
{
    int node = fs_special(fs, path);
    if (node >= 0) fs->nodes[node].other = true;
    return node >= 0;
}

void memory_fs_settle(memory_fs *fs)
{
    for (size_t i = 0; i < fs->node_count; i++) {
        fs_node *node = &fs->nodes[i];
        fs_forget_writes(node);
        free(node->durable.data);
        node->durable = fs_copy(&node->current);
        fs_names_clear(&node->durable_names);
        node->durable_names = fs_names_copy(&node->names);
    }
    for (size_t i = 0; i < fs->change_count; i++)
        fs_forget_change(&fs->changes[i]);
    fs->change_count = 0;
}

// splitmix64
static uint64_t fs_random(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

// What the disk has of a file when only some of its writes arrived: the first of them, a torn one,
// and now and then the full length without the bytes.
static void fs_tear(fs_node *node, uint64_t *random)
{
    if (node->write_count == 0) return;
    size_t whole = fs_random(random) % (node->write_count + 1), size = node->current.size;
    fs_buffer *disk = &node->durable;
    for (size_t i = 0; i < node->write_count && i <= whole; i++) {
        const fs_write *write = &node->writes[i];
        size_t bytes = write->bytes;
        if (i == whole) bytes = fs_random(random) % (bytes + 1);
        if (write->data != NULL)
            fs_patch(disk, write->offset, write->data, bytes);
        else if (i < whole)
            fs_resize(disk, write->offset);
    }
    if (fs_random(random) % 4 == 0 && disk->size < size) fs_resize(disk, size);
}

memory_fs *memory_fs_reboot(const memory_fs *fs, memory_crash kind, uint64_t seed)
{
    memory_fs *after = memory_fs_clone(fs);
    bool all_names = kind == MEMORY_CRASH_ISSUED || kind == MEMORY_CRASH_NAMES;
    bool all_bytes = kind == MEMORY_CRASH_ISSUED || kind == MEMORY_CRASH_BYTES;
    uint64_t random = seed;
    for (size_t i = 0; i < after->change_count; i++)
        if (all_names || (kind == MEMORY_CRASH_MIXED && fs_random(&random) % 2 == 0))
            fs_apply_durable(after, &after->changes[i]);
    for (size_t i = 0; i < after->node_count; i++) {
        fs_node *node = &after->nodes[i];
        if (kind == MEMORY_CRASH_MIXED) fs_tear(node, &random);
        if (!all_bytes) {
            free(node->current.data);
            node->current = fs_copy(&node->durable);
        }
        fs_names_clear(&node->names);
        node->names = fs_names_copy(&node->durable_names);
    }
    memory_fs_settle(after);
    return after;
}

const sg_fs *memory_fs_table(memory_fs *fs)
{
    return &fs->table;
}

int64_t memory_fs_operations(const memory_fs *fs)
{
    return fs->operations;
}

void memory_fs_fail(memory_fs *fs, int64_t n, int error, bool from_then_on)
{
    fs->fail_at = n;
    fs->fail_error = error;
    fs->fail_on = from_then_on;
}

void memory_fs_show_limit(memory_fs *fs, bool seen)
{
    fs->limit_seen = seen;
}

void memory_fs_limit(memory_fs *fs, int64_t bytes)
{
    fs->limit = bytes;
}

void memory_fs_cut_power(memory_fs *fs, int64_t n)
{
    fs->cut_at = n;
}

static uint64_t fs_digest(const memory_fs *fs, int node, uint64_t above)
{
    const fs_node *n = &fs->nodes[node];
    const char kind = n->folder ? 'd' : n->link != NULL ? 'l' : n->other ? 'p' : 'f';
    uint64_t sum = above * 31 + (uint64_t)kind;
    if (n->link != NULL) sum += sg_hash(n->link, strlen(n->link));
    if (n->current.size > 0) sum += sg_hash(n->current.data, n->current.size);
    // The order of the names means nothing.
    for (size_t i = 0; i < n->names.count; i++) {
        const char *name = n->names.list[i].name;
        sum += fs_digest(fs, n->names.list[i].node, above ^ sg_hash(name, strlen(name)));
    }
    return sg_hash(&sum, sizeof sum);
}

uint64_t memory_fs_digest(const memory_fs *fs, const char *folder)
{
    int node = fs_find(fs, folder, false);
    return node < 0 ? 0 : fs_digest(fs, node, 1);
}

int memory_fs_open_handles(const memory_fs *fs)
{
    int open = 0;
    for (size_t i = 0; i < fs->handle_count; i++)
        open += fs->handles[i].node >= 0;
    return open;
}

int memory_fs_open_maps(const memory_fs *fs)
{
    return fs->maps;
}

unsigned char *memory_fs_bytes(memory_fs *fs, const char *path, size_t *bytes)
{
    int node = fs_lookup(fs, path);
    if (node < 0) return NULL;
    if (fs->nodes[node].current.size == 0) fs_resize(&fs->nodes[node].current, 0);
    *bytes = fs->nodes[node].current.size;
    return fs->nodes[node].current.data;
}

void memory_fs_resize(memory_fs *fs, const char *path, size_t bytes)
{
    int node = fs_lookup(fs, path);
    if (node >= 0) fs_resize(&fs->nodes[node].current, bytes);
    memory_fs_settle(fs);
}
