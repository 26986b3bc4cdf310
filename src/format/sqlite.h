// SQLite databases: the one way in which the library makes, continues and reads them.
//
// A database is of a kind (its application_id) in a version of its tables (its user_version). It is
// made beside its place, under a name of its own, and published by a rename; from then on it is
// continued by one writer at a time, in transactions that a crash ends before or behind; and it is
// read without a byte written, in it or beside it. Hostile ones are normal: SQLite is opened
// defensively (nothing of the file runs: no extension, no trusted schema, no mapped memory), what
// it finds damaged is SG_ERR_FORMAT, and columns are read with the type and the range they must
// have.
//
// SQLite reads and writes the database by itself: base/file sees what is around it (locks, names,
// renames, the first bytes), base/alloc the wrapper's own memory. Sorting for an index that does
// not fit in memory takes files in SQLite's temporary folder.
//
// A database is used by one thread at a time.
#ifndef SG_FORMAT_SQLITE_H
#define SG_FORMAT_SQLITE_H

#include "base/status.h"

typedef struct sg_database sg_database;
typedef struct sg_statement sg_statement;

typedef struct sg_database_kind {
    const char *name;    // what errors call it: "a record of gates"
    int32_t application; // application_id
    int32_t version;     // user_version, at least 1
} sg_database_kind;

// Whether a file begins as an SQLite database of any kind does.
bool sg_database_is(const char *path);

// ---- making, continuing, reading ----------------------------------------------------------------

// A new one, empty, beside `path`. What is at `path` is SG_ERR_ARGUMENT, or with `force`, where it
// is a file, replaced by sg_database_publish. Nobody else makes or continues one there meanwhile
// (SG_ERR_IO says who does).
sg_status sg_database_create(const char *path, const sg_database_kind *kind, bool force,
                             sg_database **database, sg_error *err);
// Puts what was made in its place: syncs it, renames it, syncs the folder. Frees the database in
// any case; on failure nothing of it stays, and what was there before does.
sg_status sg_database_publish(sg_database *database, sg_error *err);
// Goes on with one that is there, whatever its last writer's end was: what that had not committed
// is undone first. SG_ERR_MISMATCH: another version, SG_ERR_FORMAT: not of the kind.
sg_status sg_database_continue(const char *path, const sg_database_kind *kind,
                               sg_database **database, sg_error *err);
// To read it, also while a writer is at work: a commit is waited for, up to ten seconds. One whose
// writer died in a commit is refused (SG_ERR_IO): only a writer can undo what that left.
sg_status sg_database_open(const char *path, const sg_database_kind *kind, sg_database **database,
                           sg_error *err);
// Statements must have been freed. What is not committed, or not published, is gone. NULL is
// allowed.
void sg_database_free(sg_database *database);
// As it was opened, for errors.
const char *sg_database_path(const sg_database *database);
// Asked now and then while statements run; false ends them with SG_ERR_STOPPED. NULL: goes on.
void sg_database_set_go_on(sg_database *database, bool (*go_on)(void *user), void *user);
// Reads all of it and finds what is damaged (SG_ERR_FORMAT). Minutes, where it is large.
sg_status sg_database_verify(sg_database *database, sg_error *err);
// Pages in memory, in bytes, before others are written out or forgotten; 2 MiB unless set.
sg_status sg_database_set_cache(sg_database *database, int64_t bytes, sg_error *err);

// ---- statements ---------------------------------------------------------------------------------

// Statements without results, joined by semicolons.
sg_status sg_database_execute(sg_database *database, const char *sql, sg_error *err);
// What is between the two is written as a whole or not at all. A failure within calls for
// sg_database_rollback.
sg_status sg_database_begin(sg_database *database, sg_error *err);
sg_status sg_database_commit(sg_database *database, sg_error *err);
void sg_database_rollback(sg_database *database);

// One statement with parameters ?1, ?2, …
sg_status sg_database_prepare(sg_database *database, const char *sql, sg_statement **statement,
                              sg_error *err);
void sg_statement_free(sg_statement *statement); // NULL is allowed
// The value of a parameter, from 1. A failure is kept for the next step. Texts and blobs are
// copied.
void sg_statement_bind_int(sg_statement *statement, int parameter, int64_t value);
void sg_statement_bind_real(sg_statement *statement, int parameter, double value);
void sg_statement_bind_text(sg_statement *statement, int parameter, const char *text, size_t bytes);
void sg_statement_bind_blob(sg_statement *statement, int parameter, const void *data, size_t bytes);
void sg_statement_bind_null(sg_statement *statement, int parameter);
// The next row: *row says whether there is one; behind the last the statement begins anew.
sg_status sg_statement_step(sg_statement *statement, bool *row, sg_error *err);
// All of it, for one that has no rows; values stay bound.
sg_status sg_statement_run(sg_statement *statement, sg_error *err);
// Begins anew before its end.
void sg_statement_reset(sg_statement *statement);

// ---- columns of a row, from 0 -------------------------------------------------------------------

int sg_statement_columns(const sg_statement *statement);
const char *sg_statement_column_name(const sg_statement *statement, int column);
bool sg_statement_is_null(const sg_statement *statement, int column);
// An integer in low … high, a finite number, a text or blob: SG_ERR_FORMAT says what else there
// was. Texts (UTF-8, or whatever was written; NUL behind) and blobs are valid until the next call.
sg_status sg_statement_int(const sg_statement *statement, int column, int64_t low, int64_t high,
                           int64_t *value, sg_error *err);
sg_status sg_statement_real(const sg_statement *statement, int column, double *value,
                            sg_error *err);
sg_status sg_statement_text(const sg_statement *statement, int column, const char **text,
                            size_t *bytes, sg_error *err);
sg_status sg_statement_blob(const sg_statement *statement, int column, const void **data,
                            size_t *bytes, sg_error *err);
// Whatever it is.
typedef enum sg_column_type {
    SG_COLUMN_NULL,
    SG_COLUMN_INT,
    SG_COLUMN_REAL,
    SG_COLUMN_TEXT,
    SG_COLUMN_BLOB
} sg_column_type;
sg_column_type sg_statement_type(const sg_statement *statement, int column);

// One statement with one integer as its result, such as a count.
sg_status sg_database_int(sg_database *database, const char *sql, int64_t low, int64_t high,
                          int64_t *value, sg_error *err);

#endif
