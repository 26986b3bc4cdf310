// Locks of outputs: an exclusive lock of the system on a small file. The file says who has it, and
// is removed with the lock. Between the opening of a file and its lock the one who had it may have
// removed it: then the name is of another file or of none, and it is tried anew.
#include "base/file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

static const char lock_mark[] = "sgatlin, process ";

enum { lock_text = 160, lock_tries = 100 };

struct sg_file_lock {
    const sg_fs *fs;
    int handle;
    bool ours; // the file is: empty, or begins with our mark
    char path[SG_PATH_MAX];
};

// What the file says, up to the end of its first line; "" when that is not ours.
static void lock_read(const sg_fs *fs, int handle, char text[lock_text], bool *ours)
{
    int64_t bytes = fs->read(fs->user, handle, text, lock_text - 1);
    text[bytes > 0 ? bytes : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    // A crash may have torn it.
    const size_t length = strlen(text), whole = strlen(lock_mark);
    *ours = bytes >= 0 && strncmp(text, lock_mark, length < whole ? length : whole) == 0;
    if (!*ours || length < whole) text[0] = '\0';
    for (char *c = text; *c != '\0'; c++)
        if (*c < ' ' || *c > '~') *c = '?';
}

// For people alone: a failure changes nothing.
static void lock_say(const sg_file_lock *lock)
{
    char host[64] = "", text[lock_text];
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    int bytes = snprintf(text, sizeof text, "%s%ld on %s\n", lock_mark, (long)getpid(), host);
    if (lock->fs->truncate(lock->fs->user, lock->handle, 0) == 0 &&
        lock->fs->seek(lock->fs->user, lock->handle, 0) == 0)
        lock->fs->write(lock->fs->user, lock->handle, text, (size_t)bytes);
}

static bool lock_unknown(int result)
{
    return result == -ENOSYS || result == -EOPNOTSUPP || result == -ENOLCK;
}

static sg_status lock_busy(const sg_fs *fs, int handle, const char *what, sg_error *err)
{
    char who[lock_text];
    bool ours;
    lock_read(fs, handle, who, &ours);
    return sg_fail(err, SG_ERR_IO, "%s: another process is working on this: %s", what,
                   who[0] != '\0' ? who : "it does not say which");
}

// One try; *again when the file was removed in between.
static sg_status lock_try(sg_file_lock *lock, const char *what, bool *again, sg_error *err)
{
    const sg_fs *fs = lock->fs;
    char text[lock_text];
    *again = false;
    lock->handle = fs->open(fs->user, lock->path, SG_FS_LOCK);
    if (lock->handle < 0) {
        const char *slash = strrchr(lock->path, '/');
        snprintf(text, sizeof text, "open its lock %.100s", slash ? slash + 1 : lock->path);
        return sg_file_fail(err, lock->handle == -ENOENT ? "open for writing" : text, what,
                            lock->handle);
    }
    int result = fs->lock(fs->user, lock->handle);
    sg_status status = SG_OK;
    if (result == -EWOULDBLOCK)
        status = lock_busy(fs, lock->handle, what, err);
    else if (result < 0 && !lock_unknown(result))
        status = sg_file_fail(err, "lock", lock->path, result);
    if (status == SG_OK) {
        result = fs->is_same(fs->user, lock->handle, lock->path);
        if (result < 0) status = sg_file_fail(err, "lock", lock->path, result);
        *again = result == 0;
    }
    if (status != SG_OK || *again) {
        fs->close(fs->user, lock->handle);
        return status;
    }
    lock_read(fs, lock->handle, text, &lock->ours);
    if (lock->ours) lock_say(lock);
    return SG_OK;
}

sg_status sg_file_lock_take(const char *path, const char *what, sg_file_lock **out, sg_error *err)
{
    *out = NULL;
    if (strlen(path) >= SG_PATH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", path);
    sg_file_lock *lock = sg_alloc(sizeof *lock);
    if (lock == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a lock", what);
    lock->fs = sg_fs_get();
    memcpy(lock->path, path, strlen(path) + 1);
    bool again = true;
    sg_status status = SG_OK;
    for (int i = 0; i < lock_tries && again && status == SG_OK; i++)
        status = lock_try(lock, what, &again, err);
    if (status == SG_OK && again)
        status = sg_fail(err, SG_ERR_IO, "%s: cannot lock: others keep taking it", path);
    if (status == SG_OK)
        *out = lock;
    else
        sg_free(lock);
    return status;
}

void sg_file_lock_release(sg_file_lock *lock, bool remove)
{
    if (lock == NULL) return;
    // First the name, then the lock: who opened the file meanwhile finds that it is gone.
    if (remove && lock->ours) lock->fs->remove(lock->fs->user, lock->path);
    lock->fs->close(lock->fs->user, lock->handle);
    sg_free(lock);
}
