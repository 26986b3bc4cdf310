// Databases of SQLite as files: made, continued, read; and the errors of SQLite in words of ours.
// Statements are in sqlite_statement.c.
//
// Those that are continued keep a rollback journal beside them while a transaction is open: a
// reader then writes nothing (with a write-ahead log it would), and rows that are only added cost
// no second writing.
#include "format/sqlite.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/sqlite_inside.h"

enum {
    header_bytes = 100,
    header_write_version = 18,
    header_read_version = 19,
    header_user_version = 60,
    header_application = 68,
    wait_for_others = 10000,   // ms that a writer waits for those who read, and they for a commit
    steps_between_asks = 20000 // of SQLite's machine
};
static const char header_magic[] = "SQLite format 3"; // with its NUL

// ---- errors -------------------------------------------------------------------------------------

static sg_status sqlite_status(const sg_database *d, int code)
{
    switch (code & 0xff) {
    case SQLITE_NOMEM:
        return SG_ERR_MEMORY;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
    case SQLITE_TOOBIG:
        return SG_ERR_FORMAT;
    case SQLITE_INTERRUPT:
        return SG_ERR_STOPPED;
    case SQLITE_ERROR:
    case SQLITE_SCHEMA:
    case SQLITE_MISMATCH:
    case SQLITE_CONSTRAINT:
        return d->made ? SG_ERR_INTERNAL : SG_ERR_FORMAT;
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
        return SG_ERR_INTERNAL;
    default:
        return SG_ERR_IO;
    }
}

// What SQLite says is made for programmers: where the cause is one that a user can do something
// about, say that.
static const char *sqlite_reason(const sg_database *d, int code)
{
    if (code == SQLITE_READONLY_ROLLBACK || code == SQLITE_READONLY_CANTLOCK ||
        code == SQLITE_READONLY_RECOVERY)
        return "its writer ended in the middle of a change, which only a writer can undo";
    switch (code & 0xff) {
    case SQLITE_FULL:
        return "no space left on the disk";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another program is at work on it";
    case SQLITE_READONLY:
        return "cannot write to it";
    case SQLITE_INTERRUPT:
        return "stopped";
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN: {
        const int system = d->handle != NULL ? sqlite3_system_errno(d->handle) : 0;
        return system != 0 ? strerror(system) : sqlite3_errstr(code);
    }
    default:
        return d->handle != NULL ? sqlite3_errmsg(d->handle) : sqlite3_errstr(code);
    }
}

sg_status sg_sqlite_fail(const sg_database *d, int code, const char *sql, sg_error *err)
{
    const char *reason = sqlite_reason(d, code);
    const sg_status status = sqlite_status(d, code);
    const bool damaged = (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
    if (sql == NULL || status == SG_ERR_STOPPED)
        return sg_fail(err, status, "%s: %s%s", d->path, damaged ? "damaged: " : "", reason);
    return sg_fail(err, status, "%s: %s%s, in \"%.100s%s\"", d->path, damaged ? "damaged: " : "",
                   reason, sql, strlen(sql) > 100 ? "…" : "");
}

// ---- the first bytes ----------------------------------------------------------------------------

// *bytes: how many there were, at most header_bytes.
static sg_status header_read(const char *path, unsigned char header[header_bytes], int64_t *bytes,
                             sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    sg_fs_info info;
    SG_TRY(sg_path_info(path, &info, err));
    if (info.is_folder || info.is_special)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: is a %s, expected a file", path,
                       info.is_folder ? "folder" : "pipe or a device");
    const int handle = fs->open(fs->user, path, SG_FS_READ);
    if (handle < 0) return sg_file_fail(err, "open", path, handle);
    int64_t got = 1;
    for (*bytes = 0; *bytes < header_bytes && got > 0; *bytes += got > 0 ? got : 0)
        got = fs->read(fs->user, handle, header + *bytes, (size_t)(header_bytes - *bytes));
    fs->close(fs->user, handle);
    return got < 0 ? sg_file_fail(err, "read", path, got) : SG_OK;
}

static bool header_is(const unsigned char header[header_bytes], int64_t bytes)
{
    return bytes == header_bytes && memcmp(header, header_magic, sizeof header_magic) == 0;
}

static int32_t header_int(const unsigned char *at)
{
    return (int32_t)((uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3]);
}

bool sg_database_is(const char *path)
{
    unsigned char header[header_bytes];
    int64_t bytes;
    return header_read(path, header, &bytes, NULL) == SG_OK && header_is(header, bytes);
}

static sg_status header_check(const char *path, const sg_database_kind *kind, sg_error *err)
{
    unsigned char header[header_bytes];
    int64_t bytes;
    SG_TRY(header_read(path, header, &bytes, err));
    if (!header_is(header, bytes))
        return sg_fail(err, SG_ERR_FORMAT, "%s: is no SQLite database, expected %s", path,
                       kind->name);
    const int32_t application = header_int(header + header_application);
    const int32_t version = header_int(header + header_user_version);
    if (application != kind->application)
        return sg_fail(err, SG_ERR_FORMAT,
                       "%s: application_id: found %d, expected %d: it is not %s", path,
                       (int)application, (int)kind->application, kind->name);
    if (version != kind->version)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: user_version: found %d, expected %d: %s of another version", path,
                       (int)version, (int)kind->version, kind->name);
    if (header[header_write_version] == 1 && header[header_read_version] == 1) return SG_OK;
    return sg_fail(err, SG_ERR_UNSUPPORTED,
                   "%s: has a write-ahead log, with which reading would write: "
                   "sqlite3 FILE 'PRAGMA journal_mode=delete' changes that",
                   path);
}

// ---- opening ------------------------------------------------------------------------------------

static int sqlite_ask(void *user)
{
    const sg_database *d = user;
    return !d->go_on(d->user);
}

void sg_database_set_go_on(sg_database *d, bool (*go_on)(void *user), void *user)
{
    d->go_on = go_on;
    d->user = user;
    sqlite3_progress_handler(d->handle, go_on != NULL ? steps_between_asks : 0,
                             go_on != NULL ? sqlite_ask : NULL, d);
}

// Nothing that a file could bring along runs, and no value is larger than any of ours.
static void sqlite_defend(sqlite3 *handle)
{
    sqlite3_extended_result_codes(handle, 1);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0, NULL);
    sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, NULL);
    sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(handle, SQLITE_LIMIT_LENGTH, 1 << 26);
    sqlite3_limit(handle, SQLITE_LIMIT_SQL_LENGTH, 1 << 20);
}

// `path` is what errors say, `file` what is opened: never one of SQLite's names that are no files.
static sg_status sqlite_open(const char *path, const char *file, int flags, sg_database **out,
                             sg_error *err)
{
    char name[SG_PATH_MAX + 2];
    if (strlen(path) >= SG_PATH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", path);
    sg_database *d = sg_alloc_zero(1, sizeof *d);
    if (d == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a database", path);
    snprintf(d->path, sizeof d->path, "%s", path);
    snprintf(name, sizeof name, "%s%s", file[0] == '/' ? "" : "./", file);
    int code = sqlite3_open_v2(name, &d->handle, flags | SQLITE_OPEN_NOMUTEX, NULL);
    if (d->handle != NULL) sqlite_defend(d->handle);
    if (code == SQLITE_OK)
        code = sqlite3_exec(d->handle, "PRAGMA cell_size_check=1;PRAGMA mmap_size=0", NULL, NULL,
                            NULL);
    sg_status status = code == SQLITE_OK ? SG_OK : sg_sqlite_fail(d, code, NULL, err);
    if (status == SG_OK) *out = d;
    if (status != SG_OK) sg_database_free(d);
    return status;
}

sg_status sg_database_open(const char *path, const sg_database_kind *kind, sg_database **out,
                           sg_error *err)
{
    *out = NULL;
    SG_TRY(header_check(path, kind, err));
    SG_TRY(sqlite_open(path, path, SQLITE_OPEN_READONLY, out, err));
    sqlite3_busy_timeout((*out)->handle, wait_for_others);
    int64_t version; // the first reading: finds a journal that a writer has left
    sg_status status =
        sg_database_int(*out, "PRAGMA schema_version", INT32_MIN, INT32_MAX, &version, err);
    if (status == SG_OK) return SG_OK;
    sg_database_free(*out);
    *out = NULL;
    return status;
}

// ---- one writer ---------------------------------------------------------------------------------

// ".NAME.ending" in the folder of the file.
static sg_status beside(const char *path, const char *ending, char out[SG_PATH_MAX], sg_error *err)
{
    char folder[SG_PATH_MAX], name[256];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    if (base[0] == '\0') return sg_fail(err, SG_ERR_ARGUMENT, "%s: is no name of a file", path);
    sg_path_folder(folder, sizeof folder, path);
    snprintf(name, sizeof name, ".%.160s.%s", base, ending);
    return sg_path_join(out, SG_PATH_MAX, folder, name, err);
}

static sg_status take_lock(const char *path, sg_file_lock **lock, sg_error *err)
{
    char name[SG_PATH_MAX];
    if (strlen(path) >= SG_PATH_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "%.64s…: path is too long", path);
    SG_TRY(beside(path, "lock", name, err));
    return sg_file_lock_take(name, path, lock, err);
}

sg_status sg_database_continue(const char *path, const sg_database_kind *kind, sg_database **out,
                               sg_error *err)
{
    sg_file_lock *lock;
    *out = NULL;
    SG_TRY(header_check(path, kind, err));
    SG_TRY(take_lock(path, &lock, err));
    sg_status status = header_check(path, kind, err); // now that nobody else changes it
    if (status == SG_OK) status = sqlite_open(path, path, SQLITE_OPEN_READWRITE, out, err);
    if (status != SG_OK) {
        sg_file_lock_release(lock, true);
        return status;
    }
    (*out)->lock = lock;
    sqlite3_busy_timeout((*out)->handle, wait_for_others);
    // A cache (KiB, below 0) that holds what a transaction changes, so that it is written once.
    status = sg_database_execute(
        *out, "PRAGMA journal_mode=delete;PRAGMA synchronous=full;PRAGMA cache_size=-32768", err);
    // A commit without a change: what a writer has left is undone here rather than later.
    if (status == SG_OK) status = sg_database_begin(*out, err);
    if (status == SG_OK) status = sg_database_commit(*out, err);
    if (status == SG_OK) return SG_OK;
    sg_database_free(*out);
    *out = NULL;
    return status;
}

static sg_status create_check(const char *path, bool force, sg_error *err)
{
    sg_fs_info info;
    const sg_status status = sg_path_info(path, &info, err);
    if (sg_ignored(status, SG_ERR_NOT_FOUND, err)) return SG_OK;
    SG_TRY(status);
    if (info.is_folder || info.is_special)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: is a %s, expected a file", path,
                       info.is_folder ? "folder" : "pipe or a device");
    return force ? SG_OK : sg_fail(err, SG_ERR_ARGUMENT, "%s: is there already", path);
}

static sg_status create_begin(sg_database *d, const sg_database_kind *kind, sg_error *err)
{
    char sql[160];
    // Nothing is undone in what is not published, and all of it is synced at the end. Large pages:
    // what is written are long runs of rows.
    snprintf(sql, sizeof sql,
             "PRAGMA page_size=16384;PRAGMA journal_mode=off;PRAGMA synchronous=off;"
             "PRAGMA application_id=%d;PRAGMA user_version=%d",
             (int)kind->application, (int)kind->version);
    return sg_database_execute(d, sql, err);
}

sg_status sg_database_create(const char *path, const sg_database_kind *kind, bool force,
                             sg_database **out, sg_error *err)
{
    sg_file_lock *lock;
    char making[SG_PATH_MAX];
    *out = NULL;
    SG_TRY(create_check(path, force, err));
    SG_TRY(take_lock(path, &lock, err));
    sg_status status = create_check(path, force, err); // by the one who had the lock before?
    if (status == SG_OK) status = beside(path, "making.tmp", making, err);
    if (status == SG_OK) status = sg_tree_remove(making, err); // of one that died
    if (status == SG_OK)
        status = sqlite_open(path, making, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, out, err);
    if (status != SG_OK) {
        sg_file_lock_release(lock, true);
        return status;
    }
    (*out)->lock = lock;
    (*out)->made = true;
    (*out)->force = force;
    snprintf((*out)->making, sizeof(*out)->making, "%s", making);
    status = create_begin(*out, kind, err);
    if (status == SG_OK) return SG_OK;
    sg_database_free(*out);
    *out = NULL;
    return status;
}

// ---- the end ------------------------------------------------------------------------------------

static sg_status publish_sync(const sg_database *d, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    const int handle = fs->open(fs->user, d->making, SG_FS_UPDATE);
    if (handle < 0) return sg_file_fail(err, "open", d->making, handle);
    const int result = fs->sync(fs->user, handle);
    fs->close(fs->user, handle);
    return result < 0 ? sg_file_fail(err, "sync", d->path, result) : SG_OK;
}

static sg_status publish_rename(sg_database *d, sg_error *err)
{
    const sg_fs *fs = sg_fs_get();
    char folder[SG_PATH_MAX];
    const int result = d->force ? fs->rename(fs->user, d->making, d->path)
                                : fs->rename_new(fs->user, d->making, d->path);
    if (result == -EEXIST)
        return sg_fail(err, SG_ERR_ARGUMENT, "%s: is there already, made by somebody else since",
                       d->path);
    if (result < 0) return sg_file_fail(err, "make", d->path, result);
    d->making[0] = '\0';
    sg_path_folder(folder, sizeof folder, d->path);
    return sg_folder_sync(folder, err);
}

sg_status sg_database_publish(sg_database *d, sg_error *err)
{
    const int code = sqlite3_close(d->handle);
    sg_status status = code == SQLITE_OK ? SG_OK : sg_sqlite_fail(d, code, NULL, err);
    if (code == SQLITE_OK) d->handle = NULL;
    if (status == SG_OK) status = publish_sync(d, err);
    if (status == SG_OK) status = publish_rename(d, err);
    sg_database_free(d);
    return status;
}

void sg_database_free(sg_database *d)
{
    if (d == NULL) return;
    sqlite3_close(d->handle);
    if (d->making[0] != '\0') sg_path_remove(d->making, NULL);
    sg_file_lock_release(d->lock, true);
    sg_free(d);
}

const char *sg_database_path(const sg_database *d)
{
    return d->path;
}
