// Statements: what is bound to them, their rows, and columns that must be what they should be.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "format/sqlite_inside.h"

// ---- transactions -------------------------------------------------------------------------------

sg_status sg_database_execute(sg_database *d, const char *sql, sg_error *err)
{
    const int code = sqlite3_exec(d->handle, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? SG_OK : sg_sqlite_fail(d, code, sql, err);
}

sg_status sg_database_begin(sg_database *d, sg_error *err)
{
    return sg_database_execute(d, "BEGIN IMMEDIATE", err);
}

sg_status sg_database_commit(sg_database *d, sg_error *err)
{
    return sg_database_execute(d, "COMMIT", err);
}

void sg_database_rollback(sg_database *d)
{
    if (sqlite3_get_autocommit(d->handle) == 0)
        sqlite3_exec(d->handle, "ROLLBACK", NULL, NULL, NULL);
}

sg_status sg_database_set_cache(sg_database *d, int64_t bytes, sg_error *err)
{
    char sql[64];
    sqlite3_snprintf(sizeof sql, sql, "PRAGMA cache_size=-%lld", (long long)(bytes / 1024));
    return sg_database_execute(d, sql, err);
}

// ---- statements ---------------------------------------------------------------------------------

sg_status sg_database_prepare(sg_database *d, const char *sql, sg_statement **out, sg_error *err)
{
    *out = NULL;
    sg_statement *s = sg_alloc_zero(1, sizeof *s);
    if (s == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a statement", d->path);
    s->of = d;
    const int code =
        sqlite3_prepare_v3(d->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->handle, NULL);
    if (code != SQLITE_OK) {
        const sg_status status = sg_sqlite_fail(d, code, sql, err);
        sg_free(s);
        return status;
    }
    *out = s;
    return SG_OK;
}

void sg_statement_free(sg_statement *s)
{
    if (s == NULL) return;
    sqlite3_finalize(s->handle);
    sg_free(s);
}

static void bound(sg_statement *s, int code)
{
    if (s->failure == SQLITE_OK) s->failure = code;
}

void sg_statement_bind_int(sg_statement *s, int parameter, int64_t value)
{
    bound(s, sqlite3_bind_int64(s->handle, parameter, value));
}

void sg_statement_bind_real(sg_statement *s, int parameter, double value)
{
    bound(s, sqlite3_bind_double(s->handle, parameter, value));
}

void sg_statement_bind_text(sg_statement *s, int parameter, const char *text, size_t bytes)
{
    bound(s, sqlite3_bind_text64(s->handle, parameter, text, bytes, SQLITE_TRANSIENT, SQLITE_UTF8));
}

void sg_statement_bind_blob(sg_statement *s, int parameter, const void *data, size_t bytes)
{
    // An empty blob is one, not nothing.
    if (bytes == 0)
        bound(s, sqlite3_bind_zeroblob(s->handle, parameter, 0));
    else
        bound(s, sqlite3_bind_blob64(s->handle, parameter, data, bytes, SQLITE_TRANSIENT));
}

void sg_statement_bind_null(sg_statement *s, int parameter)
{
    bound(s, sqlite3_bind_null(s->handle, parameter));
}

sg_status sg_statement_step(sg_statement *s, bool *row, sg_error *err)
{
    *row = false;
    const int code = s->failure != SQLITE_OK ? s->failure : sqlite3_step(s->handle);
    *row = code == SQLITE_ROW;
    if (*row) return SG_OK;
    const sg_status status =
        code == SQLITE_DONE ? SG_OK : sg_sqlite_fail(s->of, code, sqlite3_sql(s->handle), err);
    sg_statement_reset(s);
    return status;
}

sg_status sg_statement_run(sg_statement *s, sg_error *err)
{
    bool row = true;
    while (row)
        SG_TRY(sg_statement_step(s, &row, err));
    return SG_OK;
}

void sg_statement_reset(sg_statement *s)
{
    sqlite3_reset(s->handle);
    s->failure = SQLITE_OK;
}

// ---- columns ------------------------------------------------------------------------------------

int sg_statement_columns(const sg_statement *s)
{
    return sqlite3_column_count(s->handle);
}

const char *sg_statement_column_name(const sg_statement *s, int column)
{
    return sqlite3_column_name(s->handle, column);
}

sg_column_type sg_statement_type(const sg_statement *s, int column)
{
    switch (sqlite3_column_type(s->handle, column)) {
    case SQLITE_INTEGER:
        return SG_COLUMN_INT;
    case SQLITE_FLOAT:
        return SG_COLUMN_REAL;
    case SQLITE_TEXT:
        return SG_COLUMN_TEXT;
    case SQLITE_BLOB:
        return SG_COLUMN_BLOB;
    default:
        return SG_COLUMN_NULL;
    }
}

bool sg_statement_is_null(const sg_statement *s, int column)
{
    return sg_statement_type(s, column) == SG_COLUMN_NULL;
}

static sg_status column_fail(const sg_statement *s, int column, const char *expected, sg_error *err)
{
    static const char *const names[] = {"nothing", "an integer", "a number", "a text", "a blob"};
    const char *name = sqlite3_column_name(s->handle, column);
    return sg_fail(err, SG_ERR_FORMAT, "%s: %.100s: found %s, expected %s, in \"%.100s\"",
                   s->of->path, name ? name : "?", names[sg_statement_type(s, column)], expected,
                   sqlite3_sql(s->handle));
}

sg_status sg_statement_int(const sg_statement *s, int column, int64_t low, int64_t high,
                           int64_t *value, sg_error *err)
{
    if (sg_statement_type(s, column) != SG_COLUMN_INT)
        return column_fail(s, column, "an integer", err);
    *value = sqlite3_column_int64(s->handle, column);
    if (*value >= low && *value <= high) return SG_OK;
    const char *name = sqlite3_column_name(s->handle, column);
    return sg_fail(err, SG_ERR_FORMAT, "%s: %.100s: found %lld, expected %lld to %lld", s->of->path,
                   name ? name : "?", (long long)*value, (long long)low, (long long)high);
}

sg_status sg_statement_real(const sg_statement *s, int column, double *value, sg_error *err)
{
    const sg_column_type type = sg_statement_type(s, column);
    if (type != SG_COLUMN_REAL && type != SG_COLUMN_INT)
        return column_fail(s, column, "a number", err);
    *value = sqlite3_column_double(s->handle, column);
    return isfinite(*value) ? SG_OK : column_fail(s, column, "a finite number", err);
}

sg_status sg_statement_text(const sg_statement *s, int column, const char **text, size_t *bytes,
                            sg_error *err)
{
    if (sg_statement_type(s, column) != SG_COLUMN_TEXT)
        return column_fail(s, column, "a text", err);
    *text = (const char *)sqlite3_column_text(s->handle, column);
    *bytes = (size_t)sqlite3_column_bytes(s->handle, column);
    if (*text != NULL) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a text", s->of->path);
}

sg_status sg_statement_blob(const sg_statement *s, int column, const void **data, size_t *bytes,
                            sg_error *err)
{
    if (sg_statement_type(s, column) != SG_COLUMN_BLOB)
        return column_fail(s, column, "a blob", err);
    *bytes = (size_t)sqlite3_column_bytes(s->handle, column);
    *data = *bytes > 0 ? sqlite3_column_blob(s->handle, column) : "";
    if (*data != NULL) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory for a blob", s->of->path);
}

// ---- small questions ----------------------------------------------------------------------------

sg_status sg_database_int(sg_database *d, const char *sql, int64_t low, int64_t high,
                          int64_t *value, sg_error *err)
{
    bool row;
    sg_statement *s;
    SG_TRY(sg_database_prepare(d, sql, &s, err));
    sg_status status = sg_statement_step(s, &row, err);
    if (status == SG_OK && !row)
        status = sg_fail(err, SG_ERR_FORMAT, "%s: found nothing, expected a row, in \"%.100s\"",
                         d->path, sql);
    if (status == SG_OK) status = sg_statement_int(s, 0, low, high, value, err);
    sg_statement_free(s);
    return status;
}

sg_status sg_database_verify(sg_database *d, sg_error *err)
{
    bool row;
    const char *text;
    size_t bytes;
    sg_statement *s;
    SG_TRY(sg_database_prepare(d, "PRAGMA quick_check(1)", &s, err));
    sg_status status = sg_statement_step(s, &row, err);
    if (status == SG_OK && row) status = sg_statement_text(s, 0, &text, &bytes, err);
    if (status == SG_OK && (!row || strcmp(text, "ok") != 0))
        status = sg_fail(err, SG_ERR_FORMAT, "%s: damaged: %.200s", d->path, row ? text : "");
    sg_statement_free(s);
    return status;
}
