// A report while it is made: tables of cells, from which the page, CSV, text and JSON are all
// written, so that a number is computed and rounded in one place alone.
#ifndef SG_SWEEP_REPORT_H
#define SG_SWEEP_REPORT_H

#include <jansson.h>

#include "base/utf8.h"
#include "sweep/analysis.h"
#include "sgatlin_report.h"

// How a column's cells read on a terminal and on the page. In files they are in full.
typedef enum sg_report_form {
    SG_FORM_TEXT = 0,
    SG_FORM_COUNT, // 12,345
    SG_FORM_SHORT, // 12.3M
    SG_FORM_LOSS,  // 3.1416
    SG_FORM_FINE,  // 0.0312, of differences and probabilities
    SG_FORM_PLAIN, // 3 or 4 figures
    SG_FORM_FLOPS, // 1e+15
    SG_FORM_TIME,  // 12.3 s
    SG_FORM_FLAG,  // yes, or nothing
    SG_FORM_LIST   // several numbers
} sg_report_form;

typedef struct sg_report_column {
    const char *key, *title;
    sg_report_form form;
    bool brief; // among those that a terminal shows
} sg_report_column;

typedef struct sg_report_table {
    const char *name, *title; // "fits", for people
    const sg_report_column *columns;
    size_t count;
    json_t *rows; // arrays of `count` cells: a string, a number, true, an array of numbers, or null
} sg_report_table;

enum { SG_REPORT_TABLES = 10, SG_REPORT_LABEL = 160 };

struct sg_report {
    sg_sweep_results results;
    sg_sweep_analysis analysis;
    bool is_sweep;
    char folder[4096]; // of the sweep
    char *command;     // that makes the report; NULL
    sg_report_table tables[SG_REPORT_TABLES];
    size_t table_count;
    json_t *answers, *remarks; // lines
    json_t *contenders;        // labels in their order
    json_t *labels;            // {family and settings: label}
    json_t *varied;            // {setting: …}, those in which rows differ
    // Of plain runs.
    struct sg_report_run *runs;
    size_t run_count;
};

// A plain run.
typedef struct sg_report_run {
    char name[64];
    char *path;
    char data[4096]; // folder of the data
    sg_train_run run;
    sg_run_figure figures[SG_RUN_FIGURES];
    sg_curve loss, val_loss; // over steps
} sg_report_run;

// ---- report.c -----------------------------------------------------------------------------------

// An empty report.
sg_status sg_report_new(const sg_report_options *options, sg_report **report, sg_error *err);

// A contender's name: its family, and behind it those of its settings in which contenders differ.
const char *sg_report_label(const sg_report *report, const char *family, const char *settings);
// The same of a curve of the analysis.
const char *sg_report_curve_label(const sg_report *report, size_t curve);

// ---- report_rows.c: tables and cells ------------------------------------------------------------

sg_status sg_report_memory(sg_error *err); // fails: out of memory
// A new table at the end; its rows are empty.
sg_status sg_report_add(sg_report *report, const char *name, const char *title,
                        const sg_report_column *columns, size_t count, sg_report_table **table,
                        sg_error *err);
const sg_report_table *sg_report_find(const sg_report *report, const char *name);
// A row in the making: cells are added in the order of the columns; a failure is kept, and told by
// sg_row_end, which takes the row over.
typedef struct sg_report_row {
    json_t *cells;
    bool failed;
} sg_report_row;
sg_report_row sg_row_begin(void);
void sg_row_text(sg_report_row *row, const char *text); // NULL or "": null
void sg_row_number(sg_report_row *row, double value);   // not finite: null
void sg_row_count(sg_report_row *row, int64_t value);
void sg_row_flag(sg_report_row *row, bool value);
void sg_row_value(sg_report_row *row, const sg_sweep_number *number); // value, low, high
void sg_row_json(sg_report_row *row, json_t *cell);                   // taken over
sg_status sg_row_end(sg_report_row *row, sg_report_table *table, sg_error *err);

const json_t *sg_report_cell(const sg_report_table *table, size_t row, const char *key);
double sg_report_number(const sg_report_table *table, size_t row, const char *key); // NAN: none
const char *sg_report_text_of(const sg_report_table *table, size_t row, const char *key); // ""

// 12345678 -> "12.3M".
void sg_report_short(char *out, size_t capacity, double value);
// A cell as people read it; "" of null.
void sg_report_show(const json_t *cell, sg_report_form form, char *out, size_t capacity);
// A line at the end of a list of lines.
sg_status sg_report_line(json_t *lines, sg_error *err, const char *format, ...) SG_PRINTF(3, 4);

// ---- report_tables.c, report_answers.c: a sweep's -----------------------------------------------

sg_status sg_report_tables(sg_report *report, sg_error *err);
sg_status sg_report_answers(sg_report *report, sg_error *err);
// A report of results and their analysis, both taken over, also on a failure.
sg_status sg_report_of(sg_sweep_results *results, sg_sweep_analysis *analysis, const char *folder,
                       const sg_report_options *options, sg_report **report, sg_error *err);

// ---- report_json.c ------------------------------------------------------------------------------

// The options of runs, a list of objects (taken over), as root.options: {"shared": …, "own": […]}.
sg_status sg_report_share_options(json_t *root, json_t *list, sg_error *err);
sg_status sg_report_run_options(const sg_report *report, json_t *root, sg_error *err); // of runs

// ---- report_csv.c -------------------------------------------------------------------------------

// Makes a folder, and finds before anything is written whether files of these names may be.
sg_status sg_report_folder(const char *folder, const char *const *names, size_t count, bool force,
                           sg_error *err);

// ---- report_plot.c ------------------------------------------------------------------------------

typedef struct sg_plot_series {
    char mark;
    const double *x, *y; // (count)
    size_t count;
    bool line; // joined, by dots
} sg_plot_series;
// A drawing of plain characters, `width` x `height` of them besides the axes, at the end of `out`.
sg_status sg_report_plot(sg_bytes *out, const sg_plot_series *series, size_t count, bool x_log,
                         int width, int height, sg_error *err);

#endif
