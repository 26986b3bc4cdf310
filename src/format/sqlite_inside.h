// The inside of a database, for sqlite.c and sqlite_statement.c alone.
#ifndef SG_FORMAT_SQLITE_INSIDE_H
#define SG_FORMAT_SQLITE_INSIDE_H

#include <errno.h>

#include <sqlite3.h>

#include "base/file.h"
#include "format/sqlite.h"

struct sg_database {
    sqlite3 *handle;
    bool made, force;   // by sg_database_create
    sg_file_lock *lock; // of a writer
    bool (*go_on)(void *user);
    void *user;
    char path[SG_PATH_MAX];   // what errors call it
    char making[SG_PATH_MAX]; // where it is made; "": it is at `path`
};

struct sg_statement {
    sg_database *of;
    sqlite3_stmt *handle;
    int failure; // of a binding
};

// The error of a call that answered `code`; sql: of the statement, or NULL.
sg_status sg_sqlite_fail(const sg_database *database, int code, const char *sql, sg_error *err);

#endif
