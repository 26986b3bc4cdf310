// Reading sweep.db: one consistent state of it, each value with the type and the range that it must
// have.
#include "sweep/results.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/utf8.h"
#include "probe/statistics.h"
#include "sweep/columns.h"
#include "sweep/store.h"

// ---- values -------------------------------------------------------------------------------------

// A text of a fixed room: longer ones, and bytes behind a NUL, are refused.
static sg_status read_text(const sg_statement *s, int column, char *out, size_t room, sg_error *err)
{
    const char *text;
    size_t bytes;
    SG_TRY(sg_statement_text(s, column, &text, &bytes, err));
    if (bytes >= room || strlen(text) != bytes)
        return sg_fail(err, SG_ERR_FORMAT, "sweep.db: %s: found %zu bytes, expected at most %zu%s",
                       sg_statement_column_name(s, column), bytes, room - 1,
                       bytes < room ? " without a NUL" : "");
    memcpy(out, text, bytes + 1);
    return SG_OK;
}

static sg_status read_real(const sg_statement *s, int column, double *out, sg_error *err)
{
    *out = NAN;
    return sg_statement_is_null(s, column) ? SG_OK : sg_statement_real(s, column, out, err);
}

static sg_status read_word(const sg_statement *s, int column, const sg_sweep_column *of,
                           sg_sweep_row *row, sg_error *err)
{
    char word[16];
    SG_TRY(read_text(s, column, word, sizeof word, err));
    const bool fine = of->kind == SG_SWEEP_COLUMN_STATE
                          ? sg_sweep_state_find(word, &row->state)
                          : sg_sweep_purpose_find(word, &row->purpose);
    return fine ? SG_OK
                : sg_fail(err, SG_ERR_FORMAT, "sweep.db: %s: found \"%s\", expected %s", of->name,
                          word,
                          of->kind == SG_SWEEP_COLUMN_STATE ? "waiting, running, finished or failed"
                                                            : "search, point, seed or extension");
}

static sg_status read_column(const sg_statement *s, int column, const sg_sweep_column *of,
                             sg_sweep_row *row, sg_error *err)
{
    void *at = sg_sweep_column_in(of, row);
    int64_t number = 0;
    switch (of->kind) {
    case SG_SWEEP_COLUMN_TEXT:
        return read_text(s, column, at, of->bytes, err);
    case SG_SWEEP_COLUMN_INT:
        return sg_statement_int(s, column, of->least, INT64_MAX, at, err);
    case SG_SWEEP_COLUMN_SEED:
        SG_TRY(sg_statement_int(s, column, INT64_MIN, INT64_MAX, &number, err));
        *(uint64_t *)at = (uint64_t)number;
        return SG_OK;
    case SG_SWEEP_COLUMN_REAL:
        return read_real(s, column, at, err);
    default:
        return read_word(s, column, of, row, err);
    }
}

// ---- runs ---------------------------------------------------------------------------------------

// Room for one more of several arrays of doubles.
static bool read_room(double **a, double **b, size_t *capacity, size_t count)
{
    size_t other = *capacity;
    return sg_grow((void **)a, &other, count + 1, sizeof **a) &&
           sg_grow((void **)b, capacity, count + 1, sizeof **b);
}

static sg_status read_blocks(sg_statement *s, sg_sweep_row *row, sg_error *err)
{
    bool more = true;
    size_t capacity = 0, tokens_capacity = 0;
    int64_t block;
    sg_statement_bind_text(s, 1, row->id, strlen(row->id));
    for (;;) {
        SG_TRY(sg_statement_step(s, &more, err));
        if (!more) return SG_OK;
        const size_t i = row->block_count;
        SG_TRY(sg_statement_int(s, 0, (int64_t)i, (int64_t)i, &block, err));
        if (i >= SG_SWEEP_BLOCKS_MAX)
            return sg_fail(err, SG_ERR_FORMAT, "sweep.db: blocks of %s: found more than %d",
                           row->id, SG_SWEEP_BLOCKS_MAX);
        if (!sg_grow((void **)&row->block_loss, &capacity, i + 1, sizeof(double)) ||
            !sg_grow((void **)&row->block_tokens, &tokens_capacity, i + 1, sizeof(int64_t)))
            return sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory for blocks");
        SG_TRY(sg_statement_real(s, 1, &row->block_loss[i], err));
        SG_TRY(sg_statement_int(s, 2, 0, INT64_MAX, &row->block_tokens[i], err));
        row->block_count++;
    }
}

static sg_status read_curve(sg_statement *s, const char *id, const char *kind, double **step,
                            double **loss, size_t *count, sg_error *err)
{
    bool more = true;
    size_t capacity = 0;
    sg_statement_bind_text(s, 1, id, strlen(id));
    sg_statement_bind_text(s, 2, kind, strlen(kind));
    for (;;) {
        SG_TRY(sg_statement_step(s, &more, err));
        if (!more) return SG_OK;
        if (*count >= SG_SWEEP_CURVE_MAX)
            return sg_fail(err, SG_ERR_FORMAT, "sweep.db: curves of %s: found more than %d points",
                           id, SG_SWEEP_CURVE_MAX);
        if (!read_room(step, loss, &capacity, *count))
            return sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory for curves");
        SG_TRY(sg_statement_real(s, 0, &(*step)[*count], err));
        SG_TRY(sg_statement_real(s, 1, &(*loss)[*count], err));
        ++*count;
    }
}

static sg_status read_clock(sg_statement *s, int64_t machines, sg_sweep_row *row, sg_error *err)
{
    bool found;
    sg_statement_bind_text(s, 1, row->id, strlen(row->id));
    SG_TRY(sg_statement_step(s, &found, err));
    if (!found) return SG_OK;
    sg_status status = sg_statement_int(s, 0, -1, machines - 1, &row->machine, err);
    if (status == SG_OK) status = sg_statement_real(s, 1, &row->seconds, err);
    sg_statement_reset(s);
    return status;
}

typedef struct step_times {
    double *seconds; // (count), of one machine
    size_t count, capacity;
    int64_t machine;
} step_times;

// Keeps what is known of a machine where no other has more rounds.
static void steps_take(step_times *t, sg_sweep_row *row)
{
    const int64_t count = (int64_t)t->count;
    t->count = 0;
    if (count <= row->step_rounds) return;
    row->step_rounds = count;
    row->step_machine = t->machine;
    row->step_seconds = sg_quantile(t->seconds, count, 0.5);
    row->step_low = sg_quantile(t->seconds, count, 0.1);
    row->step_high = sg_quantile(t->seconds, count, 0.9);
}

static sg_status read_steps(sg_statement *s, int64_t machines, step_times *t, sg_sweep_row *row,
                            sg_error *err)
{
    bool more = true;
    int64_t machine;
    t->count = 0;
    sg_statement_bind_text(s, 1, row->id, strlen(row->id));
    for (;;) {
        SG_TRY(sg_statement_step(s, &more, err));
        if (!more) break;
        SG_TRY(sg_statement_int(s, 0, -1, machines - 1, &machine, err));
        if (t->count > 0 && machine != t->machine) steps_take(t, row);
        t->machine = machine;
        if (!sg_grow((void **)&t->seconds, &t->capacity, t->count + 1, sizeof *t->seconds))
            return sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory for times");
        SG_TRY(sg_statement_real(s, 1, &t->seconds[t->count], err));
        t->count++;
    }
    if (t->count > 0) steps_take(t, row);
    return SG_OK;
}

// The statements that are asked for each run.
typedef struct reader {
    sg_statement *runs, *blocks, *curves, *clock, *steps;
    step_times times;
} reader;

static void reader_free(reader *r)
{
    sg_statement_free(r->runs);
    sg_statement_free(r->blocks);
    sg_statement_free(r->curves);
    sg_statement_free(r->clock);
    sg_statement_free(r->steps);
    sg_free(r->times.seconds);
}

static sg_status reader_runs(sg_database *d, reader *r, sg_error *err)
{
    const sg_sweep_column *column;
    sg_bytes sql = {0};
    static const char order[] =
        " FROM runs ORDER BY cell<0, cell, lr, beta2, warmup_steps, seed, id";
    bool fine = sg_bytes_add(&sql, "SELECT ", 7);
    for (size_t i = 0; (column = sg_sweep_column_at(i)) != NULL && fine; i++)
        fine = sg_bytes_add(&sql, ",", i > 0) &&
               sg_bytes_add(&sql, column->name, strlen(column->name));
    fine = fine && sg_bytes_add(&sql, order, sizeof order);
    const sg_status status = fine ? sg_database_prepare(d, sql.data, &r->runs, err)
                                  : sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory");
    sg_free(sql.data);
    return status;
}

static sg_status reader_open(sg_database *d, reader *r, sg_error *err)
{
    SG_TRY(reader_runs(d, r, err));
    SG_TRY(sg_database_prepare(d,
                               "SELECT block, loss, tokens FROM blocks WHERE id=?1 ORDER BY "
                               "block",
                               &r->blocks, err));
    SG_TRY(sg_database_prepare(d,
                               "SELECT step, loss FROM curves WHERE id=?1 AND kind=?2 ORDER BY "
                               "step",
                               &r->curves, err));
    SG_TRY(
        sg_database_prepare(d, "SELECT machine, seconds FROM clock WHERE id=?1", &r->clock, err));
    return sg_database_prepare(d,
                               "SELECT machine, seconds FROM steps WHERE id=?1 ORDER BY machine, "
                               "seconds",
                               &r->steps, err);
}

// An id is the name of a folder too.
static bool id_is_plain(const char *id)
{
    return strlen(id) == SG_SWEEP_ID - 1 && strspn(id, "0123456789abcdef") == SG_SWEEP_ID - 1;
}

static sg_status read_run(reader *r, int64_t machines, sg_sweep_row *row, sg_error *err)
{
    const sg_sweep_column *column;
    for (size_t i = 0; (column = sg_sweep_column_at(i)) != NULL; i++)
        SG_TRY(read_column(r->runs, (int)i, column, row, err));
    if (!id_is_plain(row->id))
        return sg_fail(err, SG_ERR_FORMAT, "sweep.db: id: found \"%s\", expected 32 hex digits",
                       row->id);
    SG_TRY(read_blocks(r->blocks, row, err));
    SG_TRY(read_curve(r->curves, row->id, "train", &row->curve_step, &row->curve_loss,
                      &row->curve_count, err));
    SG_TRY(read_curve(r->curves, row->id, "val", &row->val_step, &row->val_loss, &row->val_count,
                      err));
    SG_TRY(read_clock(r->clock, machines, row, err));
    SG_TRY(read_steps(r->steps, machines, &r->times, row, err));
    if (row->state != SG_SWEEP_FINISHED || isfinite(row->loss)) return SG_OK;
    return sg_fail(err, SG_ERR_FORMAT, "sweep.db: run %s: is finished, but has no loss", row->id);
}

static sg_status read_runs(sg_database *d, sg_sweep_results *out, sg_error *err)
{
    reader r = {0};
    bool more = true;
    size_t capacity = 0;
    sg_status status = reader_open(d, &r, err);
    while (status == SG_OK) {
        status = sg_statement_step(r.runs, &more, err);
        if (status != SG_OK || !more) break;
        if (out->count >= SG_SWEEP_ROWS_MAX)
            status = sg_fail(err, SG_ERR_FORMAT, "sweep.db: runs: found more than %d",
                             SG_SWEEP_ROWS_MAX);
        else if (!sg_grow((void **)&out->rows, &capacity, out->count + 1, sizeof *out->rows))
            status = sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory for runs");
        if (status != SG_OK) break;
        sg_sweep_row *row = &out->rows[out->count++];
        *row = sg_sweep_row_empty();
        status = read_run(&r, (int64_t)out->machine_count, row, err);
    }
    reader_free(&r);
    return status;
}

// ---- the rest -----------------------------------------------------------------------------------

static sg_status read_machine(sg_statement *s, size_t number, sg_sweep_machine *m, sg_error *err)
{
    int64_t machine;
    SG_TRY(sg_statement_int(s, 0, (int64_t)number, (int64_t)number, &machine, err));
    SG_TRY(read_text(s, 1, m->processor, sizeof m->processor, err));
    SG_TRY(read_text(s, 2, m->kernels, sizeof m->kernels, err));
    SG_TRY(read_text(s, 3, m->library, sizeof m->library, err));
    SG_TRY(read_text(s, 4, m->program, sizeof m->program, err));
    SG_TRY(sg_statement_int(s, 5, 0, INT32_MAX, &m->cores, err));
    SG_TRY(sg_statement_int(s, 6, 0, INT32_MAX, &m->threads, err));
    return sg_statement_int(s, 7, 0, INT32_MAX, &m->jobs, err);
}

static sg_status read_machines(sg_database *d, sg_sweep_results *out, sg_error *err)
{
    sg_statement *s;
    size_t capacity = 0;
    bool more = true;
    SG_TRY(sg_database_prepare(d,
                               "SELECT machine, processor, kernels, library, program, cores, "
                               "threads, jobs FROM machines ORDER BY machine",
                               &s, err));
    sg_status status = SG_OK;
    while (status == SG_OK) {
        status = sg_statement_step(s, &more, err);
        if (status != SG_OK || !more) break;
        if (out->machine_count >= SG_SWEEP_ROWS_MAX)
            status = sg_fail(err, SG_ERR_FORMAT, "sweep.db: machines: found more than %d",
                             SG_SWEEP_ROWS_MAX);
        else if (!sg_grow((void **)&out->machines, &capacity, out->machine_count + 1,
                          sizeof *out->machines))
            status = sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory for machines");
        if (status == SG_OK)
            status = read_machine(s, out->machine_count, &out->machines[out->machine_count], err);
        out->machine_count += status == SG_OK;
    }
    sg_statement_free(s);
    return status;
}

static sg_status read_about_row(sg_statement *s, sg_sweep_results *out, sg_error *err)
{
    const char *text;
    size_t bytes;
    SG_TRY(read_text(s, 0, out->name, sizeof out->name, err));
    SG_TRY(read_text(s, 1, out->note, sizeof out->note, err));
    SG_TRY(read_text(s, 2, out->data_hash, sizeof out->data_hash, err));
    SG_TRY(read_text(s, 3, out->data_path, sizeof out->data_path, err));
    SG_TRY(read_text(s, 4, out->command, sizeof out->command, err));
    SG_TRY(sg_statement_int(s, 5, 0, INT32_MAX, &out->vocab_size, err));
    SG_TRY(sg_statement_int(s, 6, 0, INT32_MAX, &out->seq_len, err));
    SG_TRY(sg_statement_int(s, 7, 0, INT64_MAX, &out->val_tokens, err));
    SG_TRY(sg_statement_text(s, 8, &text, &bytes, err));
    out->file = sg_strndup(text, bytes);
    return out->file != NULL ? SG_OK
                             : sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory for its file");
}

static sg_status read_about(sg_database *d, sg_sweep_results *out, sg_error *err)
{
    sg_statement *s;
    bool found;
    SG_TRY(sg_database_prepare(d,
                               "SELECT name, note, data_hash, data_path, command, vocab_size, "
                               "seq_len, val_tokens, file FROM sweep",
                               &s, err));
    sg_status status = sg_statement_step(s, &found, err);
    if (status == SG_OK && !found)
        status = sg_fail(err, SG_ERR_FORMAT, "sweep.db: sweep: found no row, expected one");
    if (status == SG_OK) status = read_about_row(s, out, err);
    sg_statement_free(s);
    return status;
}

// A view could be anything, and take for ever.
static sg_status read_check(sg_database *d, sg_error *err)
{
    int64_t tables;
    return sg_database_int(d,
                           "SELECT count(*) AS tables FROM sqlite_master WHERE type='table' AND "
                           "name IN ('sweep','machines','runs','blocks','curves','clock','steps')",
                           7, 7, &tables, err);
}

static sg_status read_all(sg_database *d, sg_sweep_results *out, sg_error *err)
{
    SG_TRY(read_check(d, err));
    SG_TRY(read_about(d, out, err));
    SG_TRY(read_machines(d, out, err));
    return read_runs(d, out, err);
}

sg_status sg_sweep_results_read(sg_database *d, sg_sweep_results *out, sg_error *err)
{
    *out = (sg_sweep_results){0};
    SG_TRY(sg_database_execute(d, "BEGIN", err)); // what follows sees one state
    const sg_status status = read_all(d, out, err);
    sg_database_rollback(d);
    if (status != SG_OK) sg_sweep_results_clear(out);
    return status;
}

sg_status sg_sweep_results_open(const char *path, sg_sweep_results *out, sg_error *err)
{
    char file[SG_PATH_MAX];
    sg_database *d;
    *out = (sg_sweep_results){0};
    if (sg_path_is_folder(path)) {
        SG_TRY(sg_path_join(file, sizeof file, path, "sweep.db", err));
        path = file;
    }
    SG_TRY(sg_database_open(path, &sg_sweep_kind, &d, err));
    const sg_status status = sg_sweep_results_read(d, out, err);
    sg_database_free(d);
    return status;
}

void sg_sweep_results_clear(sg_sweep_results *r)
{
    for (size_t i = 0; i < r->count; i++)
        sg_sweep_row_clear(&r->rows[i]);
    sg_free(r->rows);
    sg_free(r->machines);
    sg_free(r->file);
    *r = (sg_sweep_results){0};
}

// ---- which is which -----------------------------------------------------------------------------

bool sg_sweep_same_cell(const sg_sweep_row *a, const sg_sweep_row *b)
{
    return strcmp(a->family, b->family) == 0 && sg_sweep_same_number(a->scale, b->scale) &&
           sg_sweep_same_number(a->budget, b->budget) && strcmp(a->settings, b->settings) == 0;
}

bool sg_sweep_same_values(const sg_sweep_row *a, const sg_sweep_row *b)
{
    return sg_sweep_same_number(a->lr, b->lr) && sg_sweep_same_number(a->beta2, b->beta2) &&
           sg_sweep_same_number(a->warmup_steps, b->warmup_steps);
}

const sg_sweep_row *sg_sweep_find(const sg_sweep_results *r, const char *id)
{
    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->rows[i].id, id) == 0) return &r->rows[i];
    return NULL;
}

static bool best_counts(const sg_sweep_row *row, const sg_sweep_row *of)
{
    return row->state == SG_SWEEP_FINISHED && sg_sweep_same_cell(row, of);
}

// The seed that most values of a cell were run with, of several the lowest: the first of the file.
static uint64_t best_seed(const sg_sweep_results *r, const sg_sweep_row *of)
{
    uint64_t seed = UINT64_MAX;
    size_t most = 0;
    for (size_t i = 0; i < r->count; i++) {
        size_t count = 0;
        if (!best_counts(&r->rows[i], of)) continue;
        for (size_t k = 0; k < r->count; k++)
            count += r->rows[k].seed == r->rows[i].seed && best_counts(&r->rows[k], of);
        if (count < most || (count == most && r->rows[i].seed > seed)) continue;
        most = count;
        seed = r->rows[i].seed;
    }
    return seed;
}

size_t sg_sweep_best(const sg_sweep_results *r, size_t of)
{
    const uint64_t seed = best_seed(r, &r->rows[of]);
    size_t best = SIZE_MAX;
    for (size_t i = 0; i < r->count; i++) {
        const sg_sweep_row *row = &r->rows[i];
        if (!best_counts(row, &r->rows[of]) || row->seed != seed) continue;
        if (best == SIZE_MAX || row->loss < r->rows[best].loss) best = i;
    }
    return best;
}
