// A report: what runs came to, as one page for a browser, as drawings, tables and text. Of a sweep
// (its folder with sweep.db, finished or not), or of plain runs beside each other.
// A companion of sgatlin_train.h. docs/REPORT.md says what is on the page and in which form.
#ifndef SGATLIN_REPORT_H
#define SGATLIN_REPORT_H

#include "sgatlin_train.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sg_report sg_report;

typedef struct sg_report_options {
    int64_t resamples;   // of the bootstrap behind intervals and verdicts; default 2,000
    uint64_t seed;       // of these; default 1
    const char *command; // that makes the report, for the page to tell; NULL: it does not
} sg_report_options;
SG_API sg_report_options sg_report_options_default(void);

// Whether `path` is a folder with a sweep.db, or a file: what sg_report_sweep takes.
SG_API bool sg_report_is_sweep(const char *path);
// Reads a sweep's folder, or its sweep.db, and computes what it says; nothing is written, and a
// sweep may be going on meanwhile. SG_ERR_NOT_FOUND: no sweep is there. options NULL: defaults.
// *report: sg_report_free.
SG_API sg_status sg_report_sweep(const char *path, const sg_report_options *options,
                                 sg_report **report, sg_error *err);
// Reads runs (count, at least 1), finished or not.
SG_API sg_status sg_report_runs(const char *const *runs, size_t count,
                                const sg_report_options *options, sg_report **report,
                                sg_error *err);
SG_API void sg_report_free(sg_report *report);

// Lines that say what limits the report: of runs that are not finished, of one seed, of other data.
SG_API size_t sg_report_remark_count(const sg_report *report);
SG_API const char *sg_report_remark(const sg_report *report, size_t index);

// Writes the page, one HTML file that asks nothing of any host, crash-safe. What is there is
// replaced with `force` alone (SG_ERR_ARGUMENT). *bytes (may be NULL): of the file.
SG_API sg_status sg_report_page(const sg_report *report, const char *path, bool force,
                                int64_t *bytes, sg_error *err);
// Drawings that stand alone (isoflop.svg, seconds.svg, best.svg, facts.svg, curves.svg: those that
// there is something for), and tables (NAME.csv, RFC 4180, numbers in full), into a folder, which
// is made where it is not there. Files of these names are replaced with `force` alone, which is
// found before any is written. *files: how many.
SG_API sg_status sg_report_svg(const sg_report *report, const char *folder, bool force,
                               int64_t *files, sg_error *err);
SG_API sg_status sg_report_csv(const sg_report *report, const char *folder, bool force,
                               int64_t *files, sg_error *err);
// The report for a terminal of so many columns (40 to 400), plain characters; *text:
// sg_buffer_free.
SG_API sg_status sg_report_text(const sg_report *report, int64_t columns, char **text,
                                sg_error *err);
// Its numbers as JSON, {"tables": {NAME: [{…}, …]}, "answers": […], "remarks": […], …}; *text:
// sg_buffer_free.
SG_API sg_status sg_report_json(const sg_report *report, char **text, sg_error *err);

// What compares runs: their costs and what they came to.
typedef struct sg_run_figure {
    const char *label, *key; // for people, for machines
    double value;            // NaN: not known
    int decimals;            // to show; -1: a short number (1.2M)
} sg_run_figure;
enum { SG_RUN_FIGURES = 10 };
SG_API sg_status sg_run_figures(const sg_train_run *run, sg_run_figure figures[SG_RUN_FIGURES],
                                sg_error *err);

#ifdef __cplusplus
}
#endif
#endif
