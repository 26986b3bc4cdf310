// The one seam through which the library touches files. Above it: whole-file reads, mappings,
// buffered writers, atomic replacement. Below it: a table of operations that tests replace to fill
// the disk, refuse a call or cut the power.
#ifndef SG_BASE_FILE_H
#define SG_BASE_FILE_H

#include "base/status.h"

// ---- the seam ---------------------------------------------------------------------------------
// Every operation returns 0 or a positive value on success and -errno on failure.

// All but STREAM and DIRECT open regular files alone, and never wait: a FIFO or a device of that
// name is -EINVAL, a folder -EISDIR. Those that make a file never go through a symbolic link:
// -ELOOP, or
// -EEXIST for NEW and PRIVATE.
enum {
    SG_FS_READ = 0,    // the file must exist
    SG_FS_CREATE = 1,  // write a new, empty file; an old one of that name is emptied
    SG_FS_APPEND = 2,  // write at the end; created when missing
    SG_FS_UPDATE = 3,  // read and write an existing file in place
    SG_FS_NEW = 4,     // write a new file; -EEXIST where the name is taken
    SG_FS_PRIVATE = 5, // the same, open to its owner alone until copy_mode
    SG_FS_LOCK = 6,    // read and write; created when missing
    SG_FS_STREAM = 7,  // read what is there: a file, a pipe, a device
    SG_FS_DIRECT = 8   // write into what is there: a pipe, a device, /dev/stdout; -ENXIO for a
                       // FIFO that nobody reads
};

typedef struct sg_fs_info {
    int64_t bytes;
    bool is_folder;
    bool is_link;    // of link_info only
    bool is_special; // a pipe, a device, a socket: opening it may wait for others, or do things
} sg_fs_info;

typedef struct sg_fs {
    void *user;
    int (*open)(void *user, const char *path, int mode);           // returns a handle >= 0
    int64_t (*read)(void *user, int handle, void *data, size_t n); // bytes read, 0 at the end
    int64_t (*write)(void *user, int handle, const void *data, size_t n); // bytes written
    int64_t (*seek)(void *user, int handle, int64_t offset);              // absolute; new offset
    int (*sync)(void *user, int handle);                                  // data reaches the disk
    int (*truncate)(void *user, int handle, int64_t bytes);
    int (*close)(void *user, int handle);
    int (*info)(void *user, const char *path, sg_fs_info *info);
    // As info, but of a symbolic link itself instead of what it leads to.
    int (*link_info)(void *user, const char *path, sg_fs_info *info);
    // What a symbolic link says, without a NUL: bytes of it, -EINVAL for what is no link.
    int64_t (*read_link)(void *user, const char *path, char *out, size_t capacity);
    int (*rename)(void *user, const char *from, const char *to);     // replaces `to` atomically
    int (*rename_new)(void *user, const char *from, const char *to); // -EEXIST where `to` is taken
    int (*remove)(void *user, const char *path);                     // a file or an empty folder
    int (*make_folder)(void *user, const char *path);
    int (*sync_folder)(void *user, const char *path); // names in it reach the disk
    // Calls `each` for every entry but "." and "..", in no special order.
    int (*list)(void *user, const char *path, void (*each)(void *context, const char *name),
                void *context);
    // Read-only view of a whole file of `bytes` > 0 bytes; *view is released by unmap.
    int (*map)(void *user, const char *path, size_t bytes, const void **view);
    void (*unmap)(void *user, const void *view, size_t bytes);
    // Takes an exclusive lock that ends with close(handle); -EWOULDBLOCK when somebody has it.
    int (*lock)(void *user, int handle);
    // 1 where `path`, which is no link, names the file of the handle, 0 where it does not.
    int (*is_same)(void *user, int handle, const char *path);
    // Gives the file of the handle the mode of the one at `path`, and its owner as far as we may;
    // where its group cannot be had, the group gets no rights.
    int (*copy_mode)(void *user, int handle, const char *path);
    // Bytes that may still be written into the file system of a file or folder.
    int (*free_space)(void *user, const char *path, int64_t *bytes);
} sg_fs;

// The system's own file operations.
const sg_fs *sg_fs_system(void);
// Replaces the operations for the whole library; NULL goes back to the system's. For tests.
void sg_fs_set(const sg_fs *fs);
const sg_fs *sg_fs_get(void);

// The error of an operation that answered -errno: "PATH: cannot VERB: reason".
sg_status sg_file_fail(sg_error *err, const char *verb, const char *path, int64_t negative_errno);

// Bytes that may still be written where `path` is or will be made.
sg_status sg_file_free_space(const char *path, int64_t *bytes, sg_error *err);
// Fails where fewer than `bytes` are free there. A disk may still be filled by others later.
sg_status sg_file_need_space(const char *path, int64_t bytes, sg_error *err);

// ---- reading ----------------------------------------------------------------------------------
// Regular files only, here and in sg_map_open and sg_file_hash: what is a FIFO or a device is
// refused at once.

// Reads a whole file of at most `limit` bytes; a NUL is put behind it. *data: sg_free.
sg_status sg_file_read(const char *path, size_t limit, char **data, size_t *bytes, sg_error *err);

typedef struct sg_map {
    const unsigned char *data; // NULL for an empty file
    size_t bytes;
} sg_map;

// Maps a whole file read-only. Release with sg_map_close. Pipes and devices are refused, here and
// above.
sg_status sg_map_open(const char *path, sg_map *map, sg_error *err);
void sg_map_close(sg_map *map);
// The list behind sg_mapped_file.
void sg_mapped_add(const sg_map *map, const char *path);
void sg_mapped_remove(const sg_map *map);

bool sg_path_exists(const char *path);
bool sg_path_is_folder(const char *path);
sg_status sg_path_bytes(const char *path, int64_t *bytes, sg_error *err);
// Tells "is not there" (SG_ERR_NOT_FOUND) from "cannot be looked at" (SG_ERR_IO), as the two above
// do not.
sg_status sg_path_info(const char *path, sg_fs_info *info, sg_error *err);
// As sg_path_info, but of a symbolic link itself.
sg_status sg_path_link_info(const char *path, sg_fs_info *info, sg_error *err);
// Size and checksum (sg_hash) of a whole file, read rather than mapped: a failing disk is an error
// here, not a signal.
sg_status sg_file_hash(const char *path, int64_t *bytes, uint64_t *hash, sg_error *err);

// ---- writing ----------------------------------------------------------------------------------

// A buffered writer. The first failure is kept: later calls do nothing, close reports it.
typedef struct sg_writer sg_writer;

// mode: SG_FS_CREATE, SG_FS_NEW or SG_FS_APPEND.
sg_status sg_writer_open(const char *path, int mode, sg_writer **writer, sg_error *err);
void sg_writer_put(sg_writer *writer, const void *data, size_t bytes);
void sg_writer_printf(sg_writer *writer, const char *format, ...) SG_PRINTF(2, 3);
// Bytes put so far by this writer.
int64_t sg_writer_bytes(const sg_writer *writer);
// Checksum (sg_hash) of the bytes put so far by this writer.
uint64_t sg_writer_hash(const sg_writer *writer);
// Hands buffered bytes to the system, so that another reader sees them.
sg_status sg_writer_flush(sg_writer *writer, sg_error *err);
// As flush, and the bytes reach the disk.
sg_status sg_writer_sync(sg_writer *writer, sg_error *err);
// Flushes, syncs when asked, closes and frees; reports the first failure of the whole life.
sg_status sg_writer_close(sg_writer *writer, bool sync, sg_error *err);
// Closes and frees without a report, for error paths. NULL is allowed.
void sg_writer_abandon(sg_writer *writer);

// Every output of the program is written so: beside the file that it replaces (the one that the
// symbolic links of `path` lead to; the links stay), under a new name, with the mode of that file;
// sg_writer_replace syncs it, renames it and syncs the folder. A crash leaves the old bytes or the
// new; a failure the old. What is no regular file (a device, a FIFO, /dev/stdout) is written into.
// While the writer lives nobody else opens one to the same file: that fails, saying who has it.
enum {
    SG_OUTPUT_REPLACE = 0, // what is there is replaced
    SG_OUTPUT_NEW = 1 // a regular file that is there is SG_ERR_ARGUMENT, also when it comes later
};
// What the opening would refuse, before long work.
sg_status sg_output_check(const char *path, int mode, sg_error *err);
sg_status sg_writer_open_output(const char *path, int mode, sg_writer **writer, sg_error *err);
// Closes and frees the writer, whatever comes of it.
sg_status sg_writer_replace(sg_writer *writer, sg_error *err);
// In the place of it, for error paths: nothing of the file stays. NULL is allowed.
void sg_writer_withdraw(sg_writer *writer);

// Replaces `path` by `data` so that after a crash it holds the old or the new bytes, never a mix.
sg_status sg_file_write_atomic(const char *path, const void *data, size_t bytes, sg_error *err);

// ---- locks ------------------------------------------------------------------------------------

// Held while one process works on something; ends with the process, however it ends.
typedef struct sg_file_lock sg_file_lock;

// Takes the lock that the file `path` is, made when missing, and writes into it who has it. `what`
// is what it stands for, in the message of SG_ERR_IO when somebody else has it. Where the file
// system knows no locks, none is taken.
sg_status sg_file_lock_take(const char *path, const char *what, sg_file_lock **lock, sg_error *err);
// The file stays, or goes if `remove` and it is ours. NULL is allowed.
void sg_file_lock_release(sg_file_lock *lock, bool remove);

// ---- names and folders ------------------------------------------------------------------------

// "a" + "b" = "a/b"; fails when the result does not fit.
sg_status sg_path_join(char *out, size_t capacity, const char *folder, const char *name,
                       sg_error *err);
// The folder part of a path: "a/b" -> "a", "b" -> ".".
void sg_path_folder(char *out, size_t capacity, const char *path);

// True for what may be joined to a folder without leaving it: printable ASCII without blanks,
// slashes and backslashes, not starting with a dot, at most 200 bytes. For names found in files.
bool sg_name_is_plain(const char *name);

// Makes a folder and its parents, and syncs the names of those it made; one that is there already
// is fine.
sg_status sg_folder_make(const char *path, sg_error *err);
sg_status sg_folder_sync(const char *path, sg_error *err);
// Sorted names in a folder. *names: sg_names_free.
sg_status sg_folder_list(const char *path, char ***names, size_t *count, sg_error *err);
void sg_names_free(char **names, size_t count);
sg_status sg_path_rename(const char *from, const char *to, sg_error *err);
sg_status sg_path_remove(const char *path, sg_error *err);
// Removes a file, or a folder with all in it, without following symbolic links. A path that is not
// there is fine.
sg_status sg_tree_remove(const char *path, sg_error *err);

enum { SG_PATH_MAX = 4096 };

#endif
