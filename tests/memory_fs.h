// A file system in memory for tests: it counts its operations, fails the ones it is told to, fills
// up, and loses power. It is as forgetful as POSIX allows: the bytes of a file are durable only
// after sync, its name only after sync_folder of the folder it is in.
#ifndef SG_TESTS_MEMORY_FS_H
#define SG_TESTS_MEMORY_FS_H

#include "base/file.h"

typedef struct memory_fs memory_fs;

memory_fs *memory_fs_new(void);
// A copy of all files, durable or not, without handles, failures and limits.
memory_fs *memory_fs_clone(const memory_fs *fs);
void memory_fs_free(memory_fs *fs);
// Around a test: a new one in the place of the real one; and its end, which is true, with a
// message, when the test leaves library memory, handles or mappings behind.
memory_fs *memory_fs_begin(void);
bool memory_fs_end(memory_fs *fs);
// For sg_fs_set; lives as long as fs.
const sg_fs *memory_fs_table(memory_fs *fs);

// Operations since it was made (or cloned). All of the table count but unmap and free_space.
int64_t memory_fs_operations(const memory_fs *fs);
// Makes operation number n (from 0) fail with an errno, once or together with all after it.
void memory_fs_fail(memory_fs *fs, int64_t n, int error, bool from_then_on);
// Bytes that fit in all files together; writes beyond are cut short, then fail with ENOSPC.
void memory_fs_limit(memory_fs *fs, int64_t bytes);
// Whether the limit is seen by those who ask for free space, as that of a disk is and a quota is
// not.
void memory_fs_show_limit(memory_fs *fs, bool seen);
// Operations before number n happen; n and all after it fail with EIO.
void memory_fs_cut_power(memory_fs *fs, int64_t n);

typedef enum memory_crash {
    MEMORY_CRASH_DURABLE, // exactly what was synced
    MEMORY_CRASH_ISSUED,  // everything that was issued
    MEMORY_CRASH_NAMES,   // all names, but bytes only as far as synced
    MEMORY_CRASH_BYTES,   // all bytes, but names only as far as synced
    MEMORY_CRASH_MIXED,   // any unsynced names (seeded); of each file a torn prefix of writes
    MEMORY_CRASH_KINDS
} memory_crash;

// What is found after the power comes back: a new file system.
memory_fs *memory_fs_reboot(const memory_fs *fs, memory_crash kind, uint64_t seed);

// Handles and mappings not yet given back.
int memory_fs_open_handles(const memory_fs *fs);
int memory_fs_open_maps(const memory_fs *fs);
// Sum of the sizes of all files.
int64_t memory_fs_used(const memory_fs *fs);
// Makes a symbolic link, or a pipe (its bytes stay to be looked at); false where the name is taken.
bool memory_fs_link(memory_fs *fs, const char *target, const char *path);
bool memory_fs_pipe(memory_fs *fs, const char *path);
// A checksum of all names below a folder, what they are, and what is in them; links are not
// followed.
uint64_t memory_fs_digest(const memory_fs *fs, const char *folder);
// For damaging a file behind the library's back: its bytes and size; NULL when it is not there.
unsigned char *memory_fs_bytes(memory_fs *fs, const char *path, size_t *bytes);
void memory_fs_resize(memory_fs *fs, const char *path, size_t bytes);
// Forgets that anything is unsynced.
void memory_fs_settle(memory_fs *fs);

#endif
