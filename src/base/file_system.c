// The system's side of the file seam: thin wrappers that turn errno into a return value.
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/fs.h>
#include <sys/syscall.h>
#endif

static int fs_result(int result)
{
    return result < 0 ? -errno : result;
}

// ---- opening ----------------------------------------------------------------------------------

// The descriptor that a path stands for by its name, or -1. Such a path is not opened but the
// descriptor used, which goes on where its file stands: { echo a; sgatlin ... --out /dev/stdout; }.
static int fs_descriptor(const char *path)
{
    if (strcmp(path, "/dev/stdout") == 0) return 1;
    if (strcmp(path, "/dev/stderr") == 0) return 2;
    const char *folders[] = {"/dev/fd/", "/proc/self/fd/"};
    for (int i = 0; i < 2; i++) {
        const char *digits = path + strlen(folders[i]);
        if (strncmp(path, folders[i], strlen(folders[i])) == 0 && digits[0] != '\0' &&
            strspn(digits, "0123456789") == strlen(digits) && strlen(digits) < 7)
            return atoi(digits);
    }
    return -1;
}

// Opening a FIFO waits for a reader, as long as there is none: perhaps forever. Here two seconds,
// in which a shell starts the other end of it.
static int fs_open_direct(const char *path)
{
    const int number = fs_descriptor(path);
    if (number >= 0) return fs_result(fcntl(number, F_DUPFD_CLOEXEC, 3));
    int handle = -1;
    for (int i = 0; i < 200; i++) {
        handle = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (handle >= 0 || errno != ENXIO) break;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    if (handle < 0) return -errno;
    const int flags = fcntl(handle, F_GETFL);
    if (flags >= 0 && fcntl(handle, F_SETFL, flags & ~O_NONBLOCK) == 0) return handle;
    const int result = -errno;
    close(handle);
    return result;
}

static int fs_keep_regular(int handle)
{
    struct stat st;
    int result = fs_result(fstat(handle, &st));
    if (result == 0 && !S_ISREG(st.st_mode)) result = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
    if (result == 0) return handle;
    close(handle);
    return result;
}

static int fs_open(void *user, const char *path, int mode)
{
    (void)user;
    static const int flags[] = {
        [SG_FS_READ] = O_RDONLY,
        [SG_FS_CREATE] = O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW,
        [SG_FS_APPEND] = O_WRONLY | O_CREAT | O_APPEND,
        [SG_FS_UPDATE] = O_RDWR,
        [SG_FS_NEW] = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
        [SG_FS_PRIVATE] = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
        [SG_FS_LOCK] = O_RDWR | O_CREAT | O_NOFOLLOW,
    };
    if (mode == SG_FS_STREAM) return fs_result(open(path, O_RDONLY | O_CLOEXEC));
    if (mode == SG_FS_DIRECT) return fs_open_direct(path);
    if (mode < 0 || mode >= (int)(sizeof flags / sizeof *flags)) return -EINVAL;
    // Without waiting, then looked at: a name may be anything by the time it is opened.
    const int handle = open(path, flags[mode] | O_CLOEXEC | O_NOCTTY | O_NONBLOCK,
                            mode == SG_FS_PRIVATE ? 0600 : 0666);
    if (handle >= 0) return fs_keep_regular(handle);
    return errno == ENXIO ? -EINVAL : -errno; // a FIFO without a reader, or a socket
}

// ---- a handle -----------------------------------------------------------------------------------

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

static int fs_lock(void *user, int handle)
{
    (void)user;
    return fs_result(flock(handle, LOCK_EX | LOCK_NB));
}

static int fs_is_same(void *user, int handle, const char *path)
{
    (void)user;
    struct stat a, b;
    if (fstat(handle, &a) < 0) return -errno;
    if (lstat(path, &b) < 0) return errno == ENOENT ? 0 : -errno;
    return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static int fs_copy_mode(void *user, int handle, const char *path)
{
    (void)user;
    struct stat old, own;
    if (stat(path, &old) < 0 || fstat(handle, &own) < 0) return -errno;
    mode_t mode = old.st_mode & 0777;
    if (own.st_uid != old.st_uid || own.st_gid != old.st_gid) {
        bool group = fchown(handle, old.st_uid, old.st_gid) == 0;
        group = group || fchown(handle, (uid_t)-1, old.st_gid) == 0;
        if (!group && own.st_gid != old.st_gid) mode &= (mode_t)~070;
    }
    return fs_result(fchmod(handle, mode));
}

// ---- names --------------------------------------------------------------------------------------

static int fs_fill(const struct stat *st, sg_fs_info *info)
{
    *info = (sg_fs_info){
        .bytes = st->st_size, .is_folder = S_ISDIR(st->st_mode), .is_link = S_ISLNK(st->st_mode)};
    info->is_special = !info->is_folder && !info->is_link && !S_ISREG(st->st_mode);
    return 0;
}

static int fs_info(void *user, const char *path, sg_fs_info *info)
{
    (void)user;
    struct stat st;
    return stat(path, &st) < 0 ? -errno : fs_fill(&st, info);
}

static int fs_link_info(void *user, const char *path, sg_fs_info *info)
{
    (void)user;
    struct stat st;
    return lstat(path, &st) < 0 ? -errno : fs_fill(&st, info);
}

static int64_t fs_read_link(void *user, const char *path, char *out, size_t capacity)
{
    (void)user;
    ssize_t bytes = readlink(path, out, capacity);
    return bytes < 0 ? -errno : bytes;
}

static int fs_rename(void *user, const char *from, const char *to)
{
    (void)user;
    return fs_result(rename(from, to));
}

static int fs_rename_new(void *user, const char *from, const char *to)
{
    (void)user;
#if defined(__linux__) && defined(SYS_renameat2) && defined(RENAME_NOREPLACE)
    if (syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0) return 0;
    if (errno != EINVAL && errno != ENOSYS) return -errno;
#endif
    // A second name, which is refused where one is, then the first is taken away.
    if (link(from, to) == 0) return fs_result(unlink(from));
    if (errno != EPERM && errno != EOPNOTSUPP) return -errno;
    struct stat st; // no second names here
    if (lstat(to, &st) == 0) return -EEXIST;
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

static int fs_free_space(void *user, const char *path, int64_t *bytes)
{
    (void)user;
    struct statvfs st;
    if (statvfs(path, &st) < 0) return -errno;
    *bytes = INT64_MAX;
    if (st.f_blocks == 0) return 0; // does not say
    const uint64_t size = st.f_frsize ? st.f_frsize : 1, most = (uint64_t)INT64_MAX / size;
    *bytes = (int64_t)((st.f_bavail < most ? (uint64_t)st.f_bavail : most) * size);
    return 0;
}

// ---- mappings -----------------------------------------------------------------------------------

static int fs_map(void *user, const char *path, size_t bytes, const void **view)
{
    int handle = fs_open(user, path, SG_FS_READ);
    if (handle < 0) return handle;
    struct stat st;
    int result = fs_result(fstat(handle, &st));
    // Touching what lies behind the end of a file would kill the process.
    if (result == 0 && (uint64_t)st.st_size < bytes) result = -EIO;
    if (result == 0) {
        void *pointer = mmap(NULL, bytes, PROT_READ, MAP_SHARED, handle, 0);
        result = pointer == MAP_FAILED ? -errno : 0;
        if (result == 0) *view = pointer;
    }
    close(handle);
    return result;
}

static void fs_unmap(void *user, const void *view, size_t bytes)
{
    (void)user;
    munmap((void *)(uintptr_t)view, bytes);
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
