// DIR/sweep.db: what a sweep is and what came of its runs, in SQLite. One process at a time writes
// it, in transactions; others read it at any time (results.h). docs/FORMATS.md has its tables.
//
// Results (runs, blocks, curves) and times (clock, steps) are apart: a sweep that was killed and
// went on has the same rows of results as one that was left alone.
#ifndef SG_SWEEP_STORE_H
#define SG_SWEEP_STORE_H

#include "format/sqlite.h"
#include "sweep/sweep.h"

extern const sg_database_kind sg_sweep_kind;

typedef struct sg_sweep_store sg_sweep_store;

// What a sweep is, as its one row of the table `sweep` says. Strings are the caller's; none NULL.
typedef struct sg_sweep_about {
    const char *name, *note, *data_hash, *data_path;
    const char *file; // the sweep file, whole
    const char *command;
    int64_t vocab_size, seq_len, val_tokens;
} sg_sweep_about;
// Of a sweep that was read, whose strings it borrows.
sg_sweep_about sg_sweep_about_of(const sg_sweep_results *results);

// Makes FOLDER/sweep.db, which must not be there, and opens it.
sg_status sg_sweep_store_create(const char *folder, const sg_sweep_about *about,
                                sg_sweep_store **store, sg_error *err);
// Opens it to go on. SG_ERR_NOT_FOUND: there is none, SG_ERR_IO: another process is writing it (the
// message says who).
sg_status sg_sweep_store_open(const char *folder, sg_sweep_store **store, sg_error *err);
// What is not committed is gone. NULL is allowed.
void sg_sweep_store_free(sg_sweep_store *store);

// All of it, as results.h reads it; sg_sweep_results_clear.
sg_status sg_sweep_store_read(sg_sweep_store *store, sg_sweep_results *results, sg_error *err);

// All that follows stands between these two; a failure calls for the third.
sg_status sg_sweep_store_begin(sg_sweep_store *store, sg_error *err);
sg_status sg_sweep_store_commit(sg_sweep_store *store, sg_error *err);
void sg_sweep_store_rollback(sg_sweep_store *store);

// Replaces what `sweep` says.
sg_status sg_sweep_store_about(sg_sweep_store *store, const sg_sweep_about *about, sg_error *err);
// A run by its id, with its blocks and curves: what was there of it is replaced. Times are not
// written.
sg_status sg_sweep_store_put(sg_sweep_store *store, const sg_sweep_row *row, sg_error *err);
// Forgets a run, and its times.
sg_status sg_sweep_store_remove(sg_sweep_store *store, const char *id, sg_error *err);
// The number of a machine: of the row that is equal, or of a new one.
sg_status sg_sweep_store_machine(sg_sweep_store *store, const sg_sweep_machine *machine,
                                 int64_t *number, sg_error *err);
// Seconds that a run has trained in the sweep, on a machine (-1: not known), and when it began, in
// seconds since 1970: replaced where they are there.
sg_status sg_sweep_store_clock(sg_sweep_store *store, const char *id, int64_t machine,
                               double seconds, double started, sg_error *err);
// Seconds of a step of a run's shape, measured on an idle machine in round `round`: replaced where
// they are there.
sg_status sg_sweep_store_steps(sg_sweep_store *store, const char *id, int64_t machine,
                               int64_t round, double seconds, sg_error *err);

#endif
