// The system's side of the file seam: thin wrappers that turn errno into a return value.
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

static int fs_result(int result)
{
    return result < 0 ? -errno : result;
}

static int fs_open(void *user, const char *path, int mode)
{
    (void)user;
    int flags = O_CLOEXEC;
    switch (mode) {
    case SG_FS_READ:
        flags |= O_RDONLY;
        break;
    case SG_FS_CREATE:
        flags |= O_WRONLY | O_CREAT | O_TRUNC;
        break;
    case SG_FS_APPEND:
        flags |= O_WRONLY | O_CREAT | O_APPEND;
        break;
    case SG_FS_UPDATE:
        flags |= O_RDWR;
        break;
    default:
        return -EINVAL;
    }
    return fs_result(open(path, flags, 0666));
}

static int64_t fs_read(void *user, int handle, void *data, size_t n)
{
    (void)user;
    ssize_t got;
    do
        got = read(handle, data, n);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static int64_t fs_write(void *user, int handle, const void *data, size_t n)
{
    (void)user;
    ssize_t put;
    do
        put = write(handle, data, n);
    while (put < 0 && errno == EINTR);
    return put < 0 ? -errno : put;
}

static int64_t fs_seek(void *user, int handle, int64_t offset)
{
    (void)user;
    off_t at = lseek(handle, offset, SEEK_SET);
    return at < 0 ? -errno : at;
}

static int fs_sync(void *user, int handle)
{
    (void)user;
    return fs_result(fsync(handle));
}

static int fs_truncate(void *user, int handle, int64_t bytes)
{
    (void)user;
    return fs_result(ftruncate(handle, bytes));
}

static int fs_close(void *user, int handle)
{
    (void)user;
    return fs_result(close(handle));
}

static int fs_info(void *user, const char *path, sg_fs_info *info)
{
    (void)user;
    struct stat st;
    if (stat(path, &st) < 0) return -errno;
    info->bytes = st.st_size;
    info->is_folder = S_ISDIR(st.st_mode);
    info->is_special = !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode);
    return 0;
}

static int fs_link_info(void *user, const char *path, sg_fs_info *info)
{
    (void)user;
    struct stat st;
    if (lstat(path, &st) < 0) return -errno;
    info->bytes = st.st_size;
    info->is_folder = S_ISDIR(st.st_mode);
    info->is_special = !S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode);
    return 0;
}

static int fs_rename(void *user, const char *from, const char *to)
{
    (void)user;
    return fs_result(rename(from, to));
}

static int fs_remove(void *user, const char *path)
{
    (void)user;
    return fs_result(remove(path));
}

static int fs_make_folder(void *user, const char *path)
{
    (void)user;
    return fs_result(mkdir(path, 0777));
}

static int fs_sync_folder(void *user, const char *path)
{
    (void)user;
    int handle = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle < 0) return -errno;
    int result = fs_result(fsync(handle));
    close(handle);
    // Some file systems do not sync folders and say EINVAL; there is nothing more to do there.
    return result == -EINVAL ? 0 : result;
}

static int fs_list(void *user, const char *path, void (*each)(void *, const char *), void *context)
{
    (void)user;
    DIR *folder = opendir(path);
    if (folder == NULL) return -errno;
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(folder);
        if (entry == NULL) break;
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            each(context, entry->d_name);
    }
    int result = -errno;
    closedir(folder);
    return result;
}

static int fs_map(void *user, const char *path, size_t bytes, const void **view)
{
    (void)user;
    int handle =
        open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); // a pipe in its place cannot be mapped
    if (handle < 0) return -errno;
    void *pointer = mmap(NULL, bytes, PROT_READ, MAP_SHARED, handle, 0);
    int result = pointer == MAP_FAILED ? -errno : 0;
    close(handle);
    if (result == 0) *view = pointer;
    return result;
}

static void fs_unmap(void *user, const void *view, size_t bytes)
{
    (void)user;
    munmap((void *)(uintptr_t)view, bytes);
}

static int fs_lock(void *user, int handle)
{
    (void)user;
    return fs_result(flock(handle, LOCK_EX | LOCK_NB));
}

static int64_t fs_free_space(void *user, const char *path)
{
    (void)user;
    struct statvfs disk;
    if (statvfs(path, &disk) != 0) return -errno;
    const uint64_t block = disk.f_frsize ? disk.f_frsize : disk.f_bsize;
    if (block > 0 && disk.f_bavail > (uint64_t)INT64_MAX / block) return INT64_MAX;
    return (int64_t)(disk.f_bavail * block);
}

static const sg_fs fs_system = {
    .open = fs_open,
    .read = fs_read,
    .write = fs_write,
    .seek = fs_seek,
    .sync = fs_sync,
    .truncate = fs_truncate,
    .close = fs_close,
    .info = fs_info,
    .link_info = fs_link_info,
    .rename = fs_rename,
    .remove = fs_remove,
    .make_folder = fs_make_folder,
    .sync_folder = fs_sync_folder,
    .list = fs_list,
    .map = fs_map,
    .unmap = fs_unmap,
    .lock = fs_lock,
    .free_space = fs_free_space,
};

static _Atomic(const sg_fs *) fs_current = &fs_system;

const sg_fs *sg_fs_system(void)
{
    return &fs_system;
}

void sg_fs_set(const sg_fs *fs)
{
    atomic_store(&fs_current, fs ? fs : &fs_system);
}

const sg_fs *sg_fs_get(void)
{
    return atomic_load(&fs_current);
}
