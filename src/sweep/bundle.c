// Reading what goes to another sweep: results, as results.c reads them, and beside them the times
// that it sums up.
#include "sweep/bundle.h"

#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "sweep/results.h"
#include "sweep/runs_csv.h"
#include "sweep/store.h"

static sg_status bundle_started(sg_statement *s, const char *id, double *started, sg_error *err)
{
    bool found;
    sg_statement_bind_text(s, 1, id, strlen(id));
    SG_TRY(sg_statement_step(s, &found, err));
    if (!found) return SG_OK;
    SG_TRY(sg_statement_real(s, 0, started, err));
    sg_statement_reset(s);
    return SG_OK;
}

// Rounds on machines that came after the results were read are left for the next time.
static sg_status bundle_rounds(sg_statement *s, sg_sweep_bundle *b, size_t row, size_t *capacity,
                               sg_error *err)
{
    const char *id = b->results.rows[row].id;
    bool more;
    sg_statement_bind_text(s, 1, id, strlen(id));
    for (;;) {
        sg_sweep_round round = {.row = row};
        SG_TRY(sg_statement_step(s, &more, err));
        if (!more) return SG_OK;
        SG_TRY(sg_statement_int(s, 0, -1, INT64_MAX, &round.machine, err));
        SG_TRY(sg_statement_int(s, 1, 0, INT64_MAX, &round.round, err));
        SG_TRY(sg_statement_real(s, 2, &round.seconds, err));
        if (round.machine >= (int64_t)b->results.machine_count) continue;
        if (!sg_grow((void **)&b->rounds, capacity, b->round_count + 1, sizeof *b->rounds))
            return sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory for times");
        b->rounds[b->round_count++] = round;
    }
}

static sg_status bundle_times(sg_database *d, sg_sweep_bundle *b, sg_error *err)
{
    sg_statement *clock = NULL, *steps = NULL;
    size_t capacity = 0;
    b->started = sg_alloc_array(b->results.count, sizeof *b->started);
    if (b->started == NULL) return sg_fail(err, SG_ERR_MEMORY, "sweep.db: out of memory for times");
    sg_status status = sg_database_prepare(d, "SELECT started FROM clock WHERE id=?1", &clock, err);
    if (status == SG_OK)
        status = sg_database_prepare(
            d, "SELECT machine, round, seconds FROM steps WHERE id=?1 ORDER BY machine, round",
            &steps, err);
    for (size_t i = 0; i < b->results.count && status == SG_OK; i++) {
        b->started[i] = NAN;
        status = bundle_started(clock, b->results.rows[i].id, &b->started[i], err);
        if (status == SG_OK) status = bundle_rounds(steps, b, i, &capacity, err);
    }
    sg_statement_free(clock);
    sg_statement_free(steps);
    return status;
}

static sg_status bundle_of_database(const char *path, sg_sweep_bundle *b, sg_error *err)
{
    sg_database *d;
    SG_TRY(sg_database_open(path, &sg_sweep_kind, &d, err));
    sg_status status = sg_sweep_results_read(d, &b->results, err);
    if (status == SG_OK) status = bundle_times(d, b, err);
    sg_database_free(d);
    return status;
}

sg_status sg_sweep_bundle_open(const char *path, sg_sweep_bundle *bundle, sg_error *err)
{
    char file[SG_PATH_MAX];
    *bundle = (sg_sweep_bundle){0};
    if (sg_path_is_folder(path)) {
        SG_TRY(sg_path_join(file, sizeof file, path, "sweep.db", err));
        path = file;
    }
    if (path != file && !sg_database_is(path)) return sg_sweep_csv_read(path, bundle, err);
    const sg_status status = bundle_of_database(path, bundle, err);
    if (status != SG_OK) sg_sweep_bundle_clear(bundle);
    return status;
}

void sg_sweep_bundle_clear(sg_sweep_bundle *bundle)
{
    sg_sweep_results_clear(&bundle->results);
    sg_free(bundle->started);
    sg_free(bundle->rounds);
    *bundle = (sg_sweep_bundle){0};
}
