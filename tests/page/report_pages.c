// Writes pages of reports of results made by hand, for tests/page/run_report.sh: report_pages FOLDER
#include <stdio.h>

#include "report_sweep.h"
#include "sweep/report.h"
#include "sweep/results.h"

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
    return pages_write(argv[1], "whole", &(report_sweep){.facts = true, .times = true}) ||
           pages_write(argv[1], "hostile",
                       &(report_sweep){.hostile = true, .unfinished = true, .times = true}) ||
           pages_write(argv[1], "thousand", &(report_sweep){.seeds = 11, .scales = 5}) ||
           pages_write(argv[1], "small", &(report_sweep){.families = 2, .budgets = 1, .scales = 2});
}
