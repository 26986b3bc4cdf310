// Writes into FOLDER, for tests/page/run_report.sh: made/sweep.db, a sweep's results as a sweep
// would have written them, and pages of other results made by hand, of curves of sparse models too.
//
//     report_pages FOLDER
#include <math.h>
#include <stdio.h>

#include "base/file.h"
#include "report_sweep.h"
#include "sgatlin_sparsify.h"
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

// ---- pages of curves ----------------------------------------------------------------------------

// A dense model and sparse ones with and without speeds and controls, and one that leaves inputs
// out; names that would break out.
static size_t pages_points(bool timed, sg_sparsify_point *points)
{
    static const char *const names[] = {"dense", "</script><b>alert(1)</b>", "a, \"b\"", "inputs"};
    size_t count = 0;
    for (int m = 0; m < 4; m++)
        for (int i = 0; i < (m > 0 ? 12 : 1); i++)
            for (int control = 0; control < (m == 1 ? (int)SG_CONTROLS : 1); control++) {
                const double read = m > 0 ? 0.05 * pow(1.3, i) : 1;
                const double more = m > 0 ? 0.02 * (m + control) / read : 0;
                const bool blocks = m == 1 || m == 2;
                const double speed = timed && control == 0 ? 1.3 / (0.3 + read) : NAN;
                points[count++] = (sg_sparsify_point){.model = names[m],
                                                      .family = blocks ? "moefied" : "mlp",
                                                      .select = blocks  ? "max"
                                                                : m > 0 ? "inputs"
                                                                        : "",
                                                      .active = NAN,
                                                      .threshold = m > 0 ? read : NAN,
                                                      .control = (sg_sparsify_control)control,
                                                      .perplexity = 5 * exp(more),
                                                      .perplexity_low = 4.8 * exp(more),
                                                      .perplexity_high = 5.3 * exp(more),
                                                      .excess = m > 0 ? more : NAN,
                                                      .excess_low = m > 0 ? 0.9 * more : NAN,
                                                      .excess_high = m > 0 ? 1.1 * more : NAN,
                                                      .blocks = blocks ? 40 * read : 0,
                                                      .read = read,
                                                      .flops = read,
                                                      .layer_flops = 0.7 * read + 0.3,
                                                      .tokens = 4096,
                                                      .windows = 16,
                                                      .tokens_per_second = 1000 * speed,
                                                      .speed = speed,
                                                      .speed_low = 0.95 * speed,
                                                      .speed_high = 1.05 * speed};
            }
    return count;
}

static int pages_curve(const char *folder, const char *name, bool timed, size_t most)
{
    static sg_sparsify_point points[100];
    char path[4096];
    sg_error err = {0};
    const size_t count = pages_points(timed, points);
    snprintf(path, sizeof path, "%s/%s.html", folder, name);
    const sg_sparsify_files files = {
        .html = path, .command = "sgatlin curve '</script>'", .text = "</script>"};
    const sg_status status = sg_sparsify_write(points, count < most ? count : most, &files, &err);
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
           pages_write(argv[1], "small",
                       &(report_sweep){.families = 2, .budgets = 1, .scales = 2}) ||
           pages_curve(argv[1], "curve", false, 100) ||
           pages_curve(argv[1], "curve_timed", true, 100) ||
           pages_curve(argv[1], "curve_dense", false, 1);
}
