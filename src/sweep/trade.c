// Runs of sweeps from one place to another: all of a sweep as CSV, and what another sweep has made
// into this one's database.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "sgatlin_sweep.h"
#include "sweep/results.h"
#include "sweep/runs_csv.h"
#include "sweep/spec.h"
#include "sweep/store.h"

// ---- out ----------------------------------------------------------------------------------------

static sg_status export_write(const sg_sweep_bundle *b, const char *out, bool force,
                              sg_sweep_exported *exported, sg_error *err)
{
    sg_bytes text = {0};
    sg_writer *writer;
    size_t runs;
    sg_status status = sg_sweep_csv_text(b, &text, &runs, err);
    if (status == SG_OK)
        status =
            sg_writer_open_output(out, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &writer, err);
    if (status == SG_OK) {
        sg_writer_put(writer, text.data, text.count);
        status = sg_writer_replace(writer, err);
    }
    sg_free(text.data);
    *exported = (sg_sweep_exported){(int64_t)runs, (int64_t)(b->results.count - runs)};
    return status;
}

sg_status sg_sweep_export(const char *path, const char *out, bool force,
                          sg_sweep_exported *exported, sg_error *err)
{
    sg_sweep_bundle bundle;
    *exported = (sg_sweep_exported){0};
    SG_TRY(sg_output_check(out, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, err));
    SG_TRY(sg_sweep_bundle_open(path, &bundle, err));
    const sg_status status = export_write(&bundle, out, force, exported, err);
    sg_sweep_bundle_clear(&bundle);
    return status;
}

// ---- in -----------------------------------------------------------------------------------------

typedef struct import_work {
    const char *folder, *path;
    sg_sweep_bundle from, here;
    const sg_sweep_row **by_id; // (here.results.count) ascending
    sg_sweep_spec spec;         // of the folder's own file
    sg_sweep_store *store;
    int64_t *machines; // (from.results.machine_count) their numbers here; -1: not asked for yet
    void (*said)(void *user, const char *line);
    void *user;
    sg_sweep_imported counts;
} import_work;

static int import_by_id(const void *a, const void *b)
{
    const sg_sweep_row *const *x = a, *const *y = b;
    return strcmp((*x)->id, (*y)->id);
}

// The row here with this id; NULL: none.
static const sg_sweep_row *import_find(const import_work *m, const sg_sweep_row *row)
{
    const sg_sweep_row *const *found =
        m->here.results.count == 0
            ? NULL
            : bsearch(&row, m->by_id, m->here.results.count, sizeof *m->by_id, import_by_id);
    return found != NULL ? *found : NULL;
}

// The place of a run in the folder's own file; -1: it has no such cell.
static int64_t import_cell(const import_work *m, const sg_sweep_row *row)
{
    for (size_t i = 0; i < m->spec.cell_count; i++) {
        const sg_sweep_cell *cell = &m->spec.cells[i];
        if (strcmp(cell->family, row->family) == 0 && strcmp(cell->settings, row->settings) == 0 &&
            sg_sweep_same_number(cell->scale, row->scale) &&
            sg_sweep_same_number(cell->budget, row->budget))
            return (int64_t)i;
    }
    return -1;
}

static sg_status import_machine(import_work *m, int64_t machine, int64_t *number, sg_error *err)
{
    *number = -1;
    if (machine < 0) return SG_OK;
    if (m->machines[machine] < 0)
        SG_TRY(sg_sweep_store_machine(m->store, &m->from.results.machines[machine],
                                      &m->machines[machine], err));
    *number = m->machines[machine];
    return SG_OK;
}

static sg_status import_clock(import_work *m, const sg_sweep_row *row, sg_error *err)
{
    int64_t machine;
    const double started = m->from.started[row - m->from.results.rows];
    if (!isfinite(row->seconds)) return SG_OK;
    SG_TRY(import_machine(m, row->machine, &machine, err));
    return sg_sweep_store_clock(m->store, row->id, machine, row->seconds,
                                isfinite(started) ? started : 0, err);
}

// Whether steps of a run were timed here on that machine.
static bool import_timed(const import_work *m, const sg_sweep_row *row, int64_t machine)
{
    for (size_t i = 0; row != NULL && i < m->here.round_count; i++)
        if (&m->here.results.rows[m->here.rounds[i].row] == row &&
            m->here.rounds[i].machine == machine)
            return true;
    return false;
}

static sg_status import_rounds(import_work *m, sg_error *err)
{
    const sg_sweep_row *here = NULL;
    for (size_t i = 0; i < m->from.round_count; i++) {
        const sg_sweep_round *round = &m->from.rounds[i];
        const sg_sweep_row *row = &m->from.results.rows[round->row];
        int64_t machine;
        if (row->state != SG_SWEEP_FINISHED) continue;
        if (i == 0 || round->row != m->from.rounds[i - 1].row) here = import_find(m, row);
        SG_TRY(import_machine(m, round->machine, &machine, err));
        if (import_timed(m, here, machine)) continue;
        SG_TRY(sg_sweep_store_steps(m->store, row->id, machine, round->round, round->seconds, err));
        m->counts.rounds++;
    }
    return SG_OK;
}

static void import_differs(const import_work *m, const sg_sweep_row *row, const sg_sweep_row *here)
{
    char line[512], scale[48] = "", budget[48] = "";
    if (m->said == NULL) return;
    if (!isnan(row->scale)) snprintf(scale, sizeof scale, ", scale %s", SG_NUMBER(row->scale));
    if (!isnan(row->budget)) snprintf(budget, sizeof budget, ", %s FLOPs", SG_NUMBER(row->budget));
    snprintf(line, sizeof line,
             "%s: %s%s%s, lr %s, seed %llu: loss %s here, %s in %.200s: what is here stays",
             row->id, row->family, scale, budget, SG_NUMBER(row->lr), (unsigned long long)row->seed,
             SG_NUMBER(here->loss), SG_NUMBER(row->loss), m->path);
    m->said(m->user, line);
}

static sg_status import_run(import_work *m, const sg_sweep_row *row, sg_error *err)
{
    const sg_sweep_row *here = import_find(m, row);
    if (row->state != SG_SWEEP_FINISHED) return SG_OK;
    m->counts.runs++;
    if (here != NULL && here->state == SG_SWEEP_FINISHED) {
        const bool same = here->loss == row->loss;
        m->counts.known += same;
        m->counts.different += !same;
        if (!same) import_differs(m, row, here);
        return SG_OK;
    }
    sg_sweep_row taken = *row; // borrows its blocks and curves
    taken.cell = import_cell(m, row);
    if (taken.origin[0] == '\0')
        snprintf(taken.origin, sizeof taken.origin, "%s", m->from.results.name);
    SG_TRY(sg_sweep_store_put(m->store, &taken, err));
    SG_TRY(import_clock(m, row, err));
    m->counts.added++;
    m->counts.elsewhere += taken.cell < 0;
    return SG_OK;
}

static sg_status import_all(import_work *m, sg_error *err)
{
    for (size_t i = 0; i < m->from.results.count; i++)
        SG_TRY(import_run(m, &m->from.results.rows[i], err));
    return import_rounds(m, err);
}

// ---- the folder ---------------------------------------------------------------------------------

// A sweep of the file that the runs are of.
static sg_status import_begin(import_work *m, sg_error *err)
{
    char path[SG_PATH_MAX];
    const sg_sweep_results *r = &m->from.results;
    const sg_sweep_about about = sg_sweep_about_of(r);
    // What could not be gone on with is not begun.
    SG_TRY(sg_sweep_spec_parse(r->file, strlen(r->file), m->path, NULL, &m->spec, err));
    sg_sweep_spec_clear(&m->spec);
    SG_TRY(sg_folder_make(m->folder, err));
    SG_TRY(sg_sweep_store_create(m->folder, &about, &m->store, err));
    m->counts.made = true;
    SG_TRY(sg_path_join(path, sizeof path, m->folder, "sweep.json", err));
    return sg_file_write_atomic(path, r->file, strlen(r->file), err);
}

static sg_status import_open(import_work *m, sg_error *err)
{
    char path[SG_PATH_MAX];
    SG_TRY(sg_path_join(path, sizeof path, m->folder, "sweep.db", err));
    SG_TRY(sg_path_exists(path) ? sg_sweep_store_open(m->folder, &m->store, err)
                                : import_begin(m, err));
    // The writer keeps others from writing, and lets read.
    SG_TRY(sg_sweep_bundle_open(m->folder, &m->here, err));
    const sg_sweep_results *here = &m->here.results;
    if (strcmp(here->data_hash, m->from.results.data_hash) != 0)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "%s: its runs are of data with checksum %s (%s), expected %s (%s), as in %s",
                       m->path, m->from.results.data_hash, m->from.results.data_path,
                       here->data_hash, here->data_path, m->folder);
    m->by_id = sg_alloc_array(here->count, sizeof *m->by_id);
    m->machines = sg_alloc_array(m->from.results.machine_count, sizeof *m->machines);
    if (m->by_id == NULL || m->machines == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "%s: out of memory", m->path);
    for (size_t i = 0; i < here->count; i++)
        m->by_id[i] = &here->rows[i];
    if (here->count > 0) qsort(m->by_id, here->count, sizeof *m->by_id, import_by_id);
    for (size_t i = 0; i < m->from.results.machine_count; i++)
        m->machines[i] = -1;
    return sg_sweep_spec_parse(here->file, strlen(here->file), m->folder, NULL, &m->spec, err);
}

static sg_status import_make(import_work *m, sg_error *err)
{
    SG_TRY(sg_sweep_bundle_open(m->path, &m->from, err));
    SG_TRY(import_open(m, err));
    SG_TRY(sg_sweep_store_begin(m->store, err));
    sg_status status = import_all(m, err);
    if (status == SG_OK) status = sg_sweep_store_commit(m->store, err);
    if (status != SG_OK) sg_sweep_store_rollback(m->store);
    return status;
}

sg_status sg_sweep_import(const char *folder, const char *path,
                          void (*said)(void *user, const char *line), void *user,
                          sg_sweep_imported *imported, sg_error *err)
{
    import_work m = {.folder = folder, .path = path, .said = said, .user = user};
    const sg_status status = import_make(&m, err);
    sg_sweep_spec_clear(&m.spec);
    sg_sweep_store_free(m.store);
    sg_free(m.by_id);
    sg_free(m.machines);
    sg_sweep_bundle_clear(&m.here);
    sg_sweep_bundle_clear(&m.from);
    *imported = status == SG_OK ? m.counts : (sg_sweep_imported){0};
    return status;
}
