// Writes into FOLDER, for tests/page/run_report.sh: made/sweep.db, a sweep's results as a sweep
// would have written them, and pages of other results made by hand.
//
//     report_pages FOLDER
#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "report_sweep.h"
#include "sweep/report.h"
#include "sweep/results.h"
#include "sweep/store.h"

// ---- a database ---------------------------------------------------------------------------------

static sg_status pages_rows(sg_sweep_store *store, const sg_sweep_results *r, sg_error *err)
{
    int64_t machine;
    SG_TRY(sg_sweep_store_machine(store, &r->machines[0], &machine, err));
    for (size_t i = 0; i < r->count; i++) {
        const sg_sweep_row *row = &r->rows[i];
        SG_TRY(sg_sweep_store_put(store, row, err));
        SG_TRY(sg_sweep_store_clock(store, row->id, machine, row->seconds, 1.7e9, err));
        for (int64_t round = 0; round < 3 && isfinite(row->step_seconds); round++)
            SG_TRY(sg_sweep_store_steps(store, row->id, machine, round,
                                        row->step_seconds * (1 + 0.02 * (double)(round - 1)), err));
    }
    return SG_OK;
}

static sg_status pages_store(const char *folder, const sg_sweep_results *r, sg_error *err)
{
    sg_sweep_store *store = NULL;
    const sg_sweep_about about = sg_sweep_about_of(r);
    SG_TRY(sg_folder_make(folder, err));
    SG_TRY(sg_sweep_store_create(folder, &about, &store, err));
    sg_status status = sg_sweep_store_begin(store, err);
    if (status == SG_OK) status = pages_rows(store, r, err);
    if (status == SG_OK) status = sg_sweep_store_commit(store, err);
    sg_sweep_store_free(store);
    return status;
}

static int pages_sweep(const char *folder, const report_sweep *kind)
{
    char path[4096];
    sg_error err = {0};
    sg_sweep_results results;
    if (!report_sweep_make(kind, &results)) return 1;
    snprintf(path, sizeof path, "%s/made", folder);
    const sg_status status = pages_store(path, &results, &err);
    sg_sweep_results_clear(&results);
    if (status != SG_OK) fprintf(stderr, "%s: %s\n", path, err.message);
    return status != SG_OK;
}

// ---- pages --------------------------------------------------------------------------------------

static int pages_write(const char *folder, const char *name, const report_sweep *kind)
{
    char path[4096];
    sg_error err = {0};
    sg_sweep_results results;
    sg_sweep_analysis analysis = {0};
    sg_report *report = NULL;
    const sg_sweep_analysis_options how = {.resamples = 300, .seed = 1};
    sg_report_options options = sg_report_options_default();
    options.command = "sgatlin report made --out made.html";
    if (!report_sweep_make(kind, &results)) return 1;
    sg_status status = sg_sweep_analyse(&results, &how, &analysis, &err);
    if (status == SG_OK)
        status = sg_report_of(&results, &analysis, "made", &options, &report, &err);
    snprintf(path, sizeof path, "%s/%s.html", folder, name);
    if (status == SG_OK) status = sg_report_page(report, path, true, NULL, &err);
    sg_report_free(report);
    sg_sweep_results_clear(&results);
    if (status != SG_OK) fprintf(stderr, "%s: %s\n", path, err.message);
    return status != SG_OK;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "report_pages FOLDER\n");
        return 2;
    }
    return pages_sweep(argv[1], &(report_sweep){.facts = true, .times = true}) ||
           pages_write(argv[1], "hostile",
                       &(report_sweep){.hostile = true, .unfinished = true, .times = true}) ||
           pages_write(argv[1], "thousand", &(report_sweep){.seeds = 11}) ||
           pages_write(argv[1], "plain", &(report_sweep){.plain = true, .facts = true}) ||
           pages_write(argv[1], "small", &(report_sweep){.families = 2, .budgets = 1, .scales = 2});
}
