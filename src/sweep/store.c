// The tables of sweep.db, and what is written into them. A rollback journal keeps a transaction
// whole: whatever kills the process, what was committed is there.
#include "sweep/store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/utf8.h"
#include "sweep/columns.h"
#include "sweep/results.h"

const sg_database_kind sg_sweep_kind = {
    .name = "a sweep", .application = 0x73677377, .version = 1}; // "sgsw"

struct sg_sweep_store {
    sg_database *database;
    // Prepared with the store.
    sg_statement *run, *forget_blocks, *forget_curves, *block, *curve, *clock, *steps;
};

// ---- tables -------------------------------------------------------------------------------------

static const char store_tables[] =
    "CREATE TABLE sweep(one INTEGER PRIMARY KEY CHECK(one=1), name TEXT NOT NULL, note TEXT NOT "
    "NULL, file TEXT NOT NULL, data_hash TEXT NOT NULL, data_path TEXT NOT NULL, command TEXT NOT "
    "NULL, vocab_size INTEGER NOT NULL, seq_len INTEGER NOT NULL, val_tokens INTEGER NOT NULL);"
    "CREATE TABLE machines(machine INTEGER PRIMARY KEY, processor TEXT NOT NULL, kernels TEXT NOT "
    "NULL, library TEXT NOT NULL, program TEXT NOT NULL, cores INTEGER NOT NULL, threads INTEGER "
    "NOT NULL, jobs INTEGER NOT NULL);"
    "CREATE TABLE blocks(id TEXT NOT NULL, block INTEGER NOT NULL, loss REAL NOT NULL, tokens "
    "INTEGER NOT NULL, PRIMARY KEY(id, block)) WITHOUT ROWID;"
    "CREATE TABLE curves(id TEXT NOT NULL, kind TEXT NOT NULL, step REAL NOT NULL, loss REAL NOT "
    "NULL, PRIMARY KEY(id, kind, step)) WITHOUT ROWID;"
    "CREATE TABLE clock(id TEXT PRIMARY KEY, machine INTEGER NOT NULL, seconds REAL NOT NULL, "
    "started REAL NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE steps(id TEXT NOT NULL, machine INTEGER NOT NULL, round INTEGER NOT NULL, "
    "seconds REAL NOT NULL, PRIMARY KEY(id, machine, round)) WITHOUT ROWID;";

static bool store_add(sg_bytes *sql, const char *text)
{
    return sg_bytes_add(sql, text, strlen(text));
}

static const char *store_type(const sg_sweep_column *column)
{
    switch (column->kind) {
    case SG_SWEEP_COLUMN_INT:
    case SG_SWEEP_COLUMN_SEED:
        return " INTEGER NOT NULL";
    case SG_SWEEP_COLUMN_REAL:
        return " REAL";
    default:
        return " TEXT NOT NULL";
    }
}

// "CREATE TABLE runs(…)" or "INSERT OR REPLACE INTO runs VALUES(…)", with its NUL.
static sg_status store_sql(bool create, sg_bytes *sql, sg_error *err)
{
    const sg_sweep_column *column;
    char piece[24];
    bool fine =
        store_add(sql, create ? "CREATE TABLE runs(" : "INSERT OR REPLACE INTO runs VALUES(");
    for (size_t i = 0; (column = sg_sweep_column_at(i)) != NULL && fine; i++) {
        snprintf(piece, sizeof piece, "%s?%zu", i > 0 ? "," : "", i + 1);
        if (!create) fine = store_add(sql, piece);
        if (create)
            fine = store_add(sql, i > 0 ? ", " : "") && store_add(sql, column->name) &&
                   store_add(sql, store_type(column)) &&
                   store_add(sql, i == 0 ? " PRIMARY KEY" : "");
    }
    if (fine && store_add(sql, ")") && sg_bytes_add(sql, "", 1)) return SG_OK;
    return sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory");
}

// ---- opening ------------------------------------------------------------------------------------

static sg_status store_prepare(sg_sweep_store *s, sg_error *err)
{
    sg_database *d = s->database;
    sg_bytes sql = {0};
    sg_status status = store_sql(false, &sql, err);
    if (status == SG_OK) status = sg_database_prepare(d, sql.data, &s->run, err);
    sg_free(sql.data);
    SG_TRY(status);
    SG_TRY(sg_database_prepare(d, "DELETE FROM blocks WHERE id=?1", &s->forget_blocks, err));
    SG_TRY(sg_database_prepare(d, "DELETE FROM curves WHERE id=?1", &s->forget_curves, err));
    SG_TRY(sg_database_prepare(d, "INSERT INTO blocks VALUES(?1,?2,?3,?4)", &s->block, err));
    SG_TRY(sg_database_prepare(d, "INSERT OR REPLACE INTO curves VALUES(?1,?2,?3,?4)", &s->curve,
                               err));
    SG_TRY(
        sg_database_prepare(d, "INSERT OR REPLACE INTO clock VALUES(?1,?2,?3,?4)", &s->clock, err));
    return sg_database_prepare(d, "INSERT OR REPLACE INTO steps VALUES(?1,?2,?3,?4)", &s->steps,
                               err);
}

void sg_sweep_store_free(sg_sweep_store *s)
{
    if (s == NULL) return;
    sg_statement *const statements[] = {s->run,   s->forget_blocks, s->forget_curves, s->block,
                                        s->curve, s->clock,         s->steps};
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        sg_statement_free(statements[i]);
    sg_database_free(s->database);
    sg_free(s);
}

sg_status sg_sweep_store_open(const char *folder, sg_sweep_store **out, sg_error *err)
{
    char path[SG_PATH_MAX];
    *out = NULL;
    SG_TRY(sg_path_join(path, sizeof path, folder, "sweep.db", err));
    sg_sweep_store *s = sg_alloc_zero(1, sizeof *s);
    if (s == NULL) return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", path);
    sg_status status = sg_database_continue(path, &sg_sweep_kind, &s->database, err);
    if (status == SG_OK) status = store_prepare(s, err);
    if (status == SG_OK) *out = s;
    if (status != SG_OK) sg_sweep_store_free(s);
    return status;
}

static sg_status about_check(const sg_sweep_about *about, sg_error *err)
{
    const struct {
        const char *name, *text;
        size_t most;
    } texts[] = {
        {"name", about->name, sizeof((sg_sweep_results *)0)->name - 1},
        {"note", about->note, sizeof((sg_sweep_results *)0)->note - 1},
        {"data_hash", about->data_hash, sizeof((sg_sweep_results *)0)->data_hash - 1},
        {"data", about->data_path, sizeof((sg_sweep_results *)0)->data_path - 1},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (strlen(texts[i].text) > texts[i].most)
            return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %zu bytes, expected at most %zu",
                           texts[i].name, strlen(texts[i].text), texts[i].most);
    return SG_OK;
}

// Command lines may be longer than what is kept of them, which then ends in "…".
static void about_bind_command(sg_statement *s, int parameter, const char *command)
{
    static const char more[] = "…";
    char kept[sizeof((sg_sweep_results *)0)->command];
    const size_t bytes = strlen(command), most = sizeof kept - sizeof more;
    if (bytes < sizeof kept) {
        sg_statement_bind_text(s, parameter, command, bytes);
        return;
    }
    size_t end = most;
    while (end > 0 && ((unsigned char)command[end] & 0xc0) == 0x80)
        end--;
    memcpy(kept, command, end);
    memcpy(kept + end, more, sizeof more);
    sg_statement_bind_text(s, parameter, kept, strlen(kept));
}

static sg_status about_write(sg_database *d, const sg_sweep_about *about, sg_error *err)
{
    sg_statement *s;
    SG_TRY(about_check(about, err));
    SG_TRY(sg_database_prepare(
        d, "INSERT OR REPLACE INTO sweep VALUES(1,?1,?2,?3,?4,?5,?6,?7,?8,?9)", &s, err));
    sg_statement_bind_text(s, 1, about->name, strlen(about->name));
    sg_statement_bind_text(s, 2, about->note, strlen(about->note));
    sg_statement_bind_text(s, 3, about->file, strlen(about->file));
    sg_statement_bind_text(s, 4, about->data_hash, strlen(about->data_hash));
    sg_statement_bind_text(s, 5, about->data_path, strlen(about->data_path));
    about_bind_command(s, 6, about->command);
    sg_statement_bind_int(s, 7, about->vocab_size);
    sg_statement_bind_int(s, 8, about->seq_len);
    sg_statement_bind_int(s, 9, about->val_tokens);
    const sg_status status = sg_statement_run(s, err);
    sg_statement_free(s);
    return status;
}

sg_sweep_about sg_sweep_about_of(const sg_sweep_results *r)
{
    return (sg_sweep_about){.name = r->name,
                            .note = r->note,
                            .data_hash = r->data_hash,
                            .data_path = r->data_path,
                            .file = r->file,
                            .command = r->command,
                            .vocab_size = r->vocab_size,
                            .seq_len = r->seq_len,
                            .val_tokens = r->val_tokens};
}

sg_status sg_sweep_store_create(const char *folder, const sg_sweep_about *about,
                                sg_sweep_store **out, sg_error *err)
{
    char path[SG_PATH_MAX];
    sg_database *d;
    sg_bytes sql = {0};
    *out = NULL;
    SG_TRY(sg_path_join(path, sizeof path, folder, "sweep.db", err));
    SG_TRY(sg_database_create(path, &sg_sweep_kind, false, &d, err));
    sg_status status = sg_database_execute(d, store_tables, err);
    if (status == SG_OK) status = store_sql(true, &sql, err);
    if (status == SG_OK) status = sg_database_execute(d, sql.data, err);
    if (status == SG_OK) status = about_write(d, about, err);
    sg_free(sql.data);
    if (status != SG_OK) {
        sg_database_free(d);
        return status;
    }
    SG_TRY(sg_database_publish(d, err));
    return sg_sweep_store_open(folder, out, err);
}

// ---- writing ------------------------------------------------------------------------------------

sg_status sg_sweep_store_read(sg_sweep_store *s, sg_sweep_results *results, sg_error *err)
{
    return sg_sweep_results_read(s->database, results, err);
}

sg_status sg_sweep_store_begin(sg_sweep_store *s, sg_error *err)
{
    return sg_database_begin(s->database, err);
}

sg_status sg_sweep_store_commit(sg_sweep_store *s, sg_error *err)
{
    return sg_database_commit(s->database, err);
}

void sg_sweep_store_rollback(sg_sweep_store *s)
{
    sg_database_rollback(s->database);
}

sg_status sg_sweep_store_about(sg_sweep_store *s, const sg_sweep_about *about, sg_error *err)
{
    return about_write(s->database, about, err);
}

static void put_text(sg_statement *s, int parameter, const char *text)
{
    sg_statement_bind_text(s, parameter, text, strlen(text));
}

static void put_column(sg_statement *s, int parameter, const sg_sweep_column *column,
                       const sg_sweep_row *row)
{
    const void *at = sg_sweep_column_of(column, row);
    switch (column->kind) {
    case SG_SWEEP_COLUMN_TEXT:
        put_text(s, parameter, at);
        break;
    case SG_SWEEP_COLUMN_INT:
        sg_statement_bind_int(s, parameter, *(const int64_t *)at);
        break;
    case SG_SWEEP_COLUMN_SEED:
        sg_statement_bind_int(s, parameter, (int64_t) * (const uint64_t *)at);
        break;
    case SG_SWEEP_COLUMN_REAL:
        if (isfinite(*(const double *)at))
            sg_statement_bind_real(s, parameter, *(const double *)at);
        else
            sg_statement_bind_null(s, parameter);
        break;
    case SG_SWEEP_COLUMN_PURPOSE:
        put_text(s, parameter, sg_sweep_purpose_word(*(const sg_sweep_purpose *)at));
        break;
    case SG_SWEEP_COLUMN_STATE:
        put_text(s, parameter, sg_sweep_state_word(*(const sg_sweep_state *)at));
        break;
    }
}

static sg_status put_curve(sg_statement *s, const char *id, const char *kind, const double *step,
                           const double *loss, size_t count, sg_error *err)
{
    for (size_t i = 0; i < count; i++) {
        put_text(s, 1, id);
        put_text(s, 2, kind);
        sg_statement_bind_real(s, 3, step[i]);
        sg_statement_bind_real(s, 4, loss[i]);
        SG_TRY(sg_statement_run(s, err));
    }
    return SG_OK;
}

sg_status sg_sweep_store_put(sg_sweep_store *s, const sg_sweep_row *row, sg_error *err)
{
    const sg_sweep_column *column;
    for (size_t i = 0; (column = sg_sweep_column_at(i)) != NULL; i++)
        put_column(s->run, (int)i + 1, column, row);
    SG_TRY(sg_statement_run(s->run, err));
    put_text(s->forget_blocks, 1, row->id);
    put_text(s->forget_curves, 1, row->id);
    SG_TRY(sg_statement_run(s->forget_blocks, err));
    SG_TRY(sg_statement_run(s->forget_curves, err));
    for (size_t i = 0; i < row->block_count; i++) {
        put_text(s->block, 1, row->id);
        sg_statement_bind_int(s->block, 2, (int64_t)i);
        sg_statement_bind_real(s->block, 3, row->block_loss[i]);
        sg_statement_bind_int(s->block, 4, row->block_tokens[i]);
        SG_TRY(sg_statement_run(s->block, err));
    }
    SG_TRY(put_curve(s->curve, row->id, "train", row->curve_step, row->curve_loss, row->curve_count,
                     err));
    return put_curve(s->curve, row->id, "val", row->val_step, row->val_loss, row->val_count, err);
}

sg_status sg_sweep_store_remove(sg_sweep_store *s, const char *id, sg_error *err)
{
    static const char *const deletions[] = {
        "DELETE FROM runs WHERE id=?1", "DELETE FROM blocks WHERE id=?1",
        "DELETE FROM curves WHERE id=?1", "DELETE FROM clock WHERE id=?1",
        "DELETE FROM steps WHERE id=?1"};
    for (size_t i = 0; i < sizeof deletions / sizeof deletions[0]; i++) {
        sg_statement *deletion;
        SG_TRY(sg_database_prepare(s->database, deletions[i], &deletion, err));
        put_text(deletion, 1, id);
        const sg_status status = sg_statement_run(deletion, err);
        sg_statement_free(deletion);
        SG_TRY(status);
    }
    return SG_OK;
}

sg_status sg_sweep_store_clock(sg_sweep_store *s, const char *id, int64_t machine, double seconds,
                               double started, sg_error *err)
{
    put_text(s->clock, 1, id);
    sg_statement_bind_int(s->clock, 2, machine);
    sg_statement_bind_real(s->clock, 3, seconds);
    sg_statement_bind_real(s->clock, 4, started);
    return sg_statement_run(s->clock, err);
}

sg_status sg_sweep_store_steps(sg_sweep_store *s, const char *id, int64_t machine, int64_t round,
                               double seconds, sg_error *err)
{
    put_text(s->steps, 1, id);
    sg_statement_bind_int(s->steps, 2, machine);
    sg_statement_bind_int(s->steps, 3, round);
    sg_statement_bind_real(s->steps, 4, seconds);
    return sg_statement_run(s->steps, err);
}

// ---- machines -----------------------------------------------------------------------------------

static void machine_bind(sg_statement *s, const sg_sweep_machine *m)
{
    put_text(s, 1, m->processor);
    put_text(s, 2, m->kernels);
    put_text(s, 3, m->library);
    put_text(s, 4, m->program);
    sg_statement_bind_int(s, 5, m->cores);
    sg_statement_bind_int(s, 6, m->threads);
    sg_statement_bind_int(s, 7, m->jobs);
}

// Machines are numbered from 0 in the order of their first run.
sg_status sg_sweep_store_machine(sg_sweep_store *store, const sg_sweep_machine *machine,
                                 int64_t *number, sg_error *err)
{
    sg_statement *s;
    bool found;
    SG_TRY(sg_database_prepare(
        store->database,
        "SELECT machine FROM machines WHERE processor=?1 AND kernels=?2 AND library=?3 AND "
        "program=?4 AND cores=?5 AND threads=?6 AND jobs=?7",
        &s, err));
    machine_bind(s, machine);
    sg_status status = sg_statement_step(s, &found, err);
    if (status == SG_OK && found) status = sg_statement_int(s, 0, 0, INT64_MAX, number, err);
    sg_statement_free(s);
    if (status != SG_OK || found) return status;
    SG_TRY(sg_database_int(store->database, "SELECT count(*) FROM machines", 0, INT64_MAX, number,
                           err));
    SG_TRY(sg_database_prepare(store->database,
                               "INSERT INTO machines VALUES(?8,?1,?2,?3,?4,?5,?6,?7)", &s, err));
    machine_bind(s, machine);
    sg_statement_bind_int(s, 8, *number);
    status = sg_statement_run(s, err);
    sg_statement_free(s);
    return status;
}
