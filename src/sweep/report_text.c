// A report for a terminal: what it answers, drawings of plain characters, its tables.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/report.h"

enum { text_cell = 512, text_height = 14 };

typedef struct text_work {
    const sg_report *report;
    sg_bytes out;
    int columns;
} text_work;

static bool text_add(text_work *w, const char *text)
{
    return sg_bytes_add(&w->out, text, strlen(text));
}

static sg_status text_put(text_work *w, const char *text, sg_error *err)
{
    return text_add(w, text) ? SG_OK : sg_report_memory(err);
}

// Characters, not bytes: names may be of any language. Control characters become blanks.
static size_t text_columns(const char *text)
{
    size_t columns = 0;
    for (const char *c = text; *c != '\0'; c++)
        columns += ((unsigned char)*c & 0xc0) != 0x80;
    return columns;
}

static void text_tame(char *text)
{
    for (char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 127) *c = ' ';
}

// Lines broken at blanks, `indent` blanks before all but the first.
static sg_status text_wrapped(text_work *w, const char *text, size_t indent, sg_error *err)
{
    char line[1200];
    snprintf(line, sizeof line, "%s", text);
    text_tame(line);
    size_t used = 0;
    bool fresh = true; // nothing but the indent is on the line
    for (char *word = line; *word != '\0';) {
        char *end = strchr(word, ' ');
        if (end != NULL) *end = '\0';
        const size_t width = text_columns(word);
        if (!fresh && used + 1 + width > (size_t)w->columns) {
            SG_TRY(text_put(w, "\n", err));
            for (used = 0; used < indent; used++)
                SG_TRY(text_put(w, " ", err));
        } else if (!fresh) {
            SG_TRY(text_put(w, " ", err));
            used++;
        }
        SG_TRY(text_put(w, word, err));
        used += width;
        fresh = false;
        if (end == NULL) break;
        word = end + 1;
    }
    return text_put(w, "\n", err);
}

static sg_status text_lines(text_work *w, const char *title, const json_t *lines, sg_error *err)
{
    char line[1200];
    if (json_array_size(lines) == 0) return SG_OK;
    if (title != NULL) {
        SG_TRY(text_put(w, title, err));
        SG_TRY(text_put(w, "\n", err));
    }
    for (size_t i = 0; i < json_array_size(lines); i++) {
        snprintf(line, sizeof line, "%s%s", title != NULL ? "- " : "",
                 json_string_value(json_array_get(lines, i)));
        SG_TRY(text_wrapped(w, line, title != NULL ? 2 : 0, err));
    }
    return text_put(w, "\n", err);
}

// ---- tables -------------------------------------------------------------------------------------

static bool text_left(sg_report_form form)
{
    return form == SG_FORM_TEXT || form == SG_FORM_LIST;
}

static void text_cell_of(const sg_report_table *t, size_t row, size_t column, char *out)
{
    const json_t *cell = json_array_get(json_array_get(t->rows, row), column);
    sg_report_show(cell, t->columns[column].form, out, text_cell);
    text_tame(out);
    if (out[0] == '\0' && !text_left(t->columns[column].form) &&
        t->columns[column].form != SG_FORM_FLAG)
        snprintf(out, text_cell, "-");
}

// Columns that are brief, and have something in some row; their widths.
static size_t text_widths(const sg_report_table *t, size_t *shown, size_t *widths)
{
    char cell[text_cell];
    size_t count = 0;
    for (size_t c = 0; c < t->count; c++) {
        bool any = false;
        size_t width = strlen(t->columns[c].title);
        if (!t->columns[c].brief) continue;
        for (size_t r = 0; r < json_array_size(t->rows); r++) {
            any = any || !json_is_null(json_array_get(json_array_get(t->rows, r), c));
            text_cell_of(t, r, c, cell);
            const size_t here = text_columns(cell);
            width = here > width ? here : width;
        }
        if (!any) continue;
        shown[count] = c;
        widths[count++] = width;
    }
    return count;
}

static sg_status text_padded(text_work *w, const char *text, size_t width, bool left, bool last,
                             sg_error *err)
{
    const size_t columns = text_columns(text), room = width > columns ? width - columns : 0;
    for (size_t i = 0; !left && i < room; i++)
        SG_TRY(text_put(w, " ", err));
    SG_TRY(text_put(w, text, err));
    for (size_t i = 0; left && !last && i < room; i++)
        SG_TRY(text_put(w, " ", err));
    return text_put(w, last ? "\n" : "  ", err);
}

static sg_status text_table(text_work *w, const char *name, sg_error *err)
{
    const sg_report_table *t = sg_report_find(w->report, name);
    size_t shown[64], widths[64];
    char cell[text_cell];
    if (t == NULL || json_array_size(t->rows) == 0 || t->count > 64) return SG_OK;
    const size_t count = text_widths(t, shown, widths);
    SG_TRY(text_put(w, t->title, err));
    SG_TRY(text_put(w, "\n", err));
    for (size_t c = 0; c < count; c++)
        SG_TRY(text_padded(w, t->columns[shown[c]].title, widths[c],
                           text_left(t->columns[shown[c]].form), c + 1 == count, err));
    for (size_t r = 0; r < json_array_size(t->rows); r++)
        for (size_t c = 0; c < count; c++) {
            text_cell_of(t, r, shown[c], cell);
            SG_TRY(text_padded(w, cell, widths[c], text_left(t->columns[shown[c]].form),
                               c + 1 == count, err));
        }
    return text_put(w, "\n", err);
}

// ---- drawings -----------------------------------------------------------------------------------

static char text_mark(size_t contender)
{
    static const char marks[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    return marks[contender % (sizeof marks - 1)];
}

// One drawing: rows of a table of one budget (NAN: all), a series for each contender.
static sg_status text_drawing(text_work *w, const sg_report_table *t, double budget, const char *x,
                              const char *y, const char *title, sg_error *err)
{
    const size_t rows = json_array_size(t->rows), n = json_array_size(w->report->contenders);
    double *numbers = sg_alloc_array(2 * rows * n + 1, sizeof *numbers);
    sg_plot_series *series = sg_alloc_zero(n + 1, sizeof *series);
    sg_status status = numbers != NULL && series != NULL ? SG_OK : sg_report_memory(err);
    for (size_t c = 0; status == SG_OK && c < n; c++) {
        const char *name = json_string_value(json_array_get(w->report->contenders, c));
        double *at = numbers + 2 * rows * c;
        series[c] = (sg_plot_series){.mark = text_mark(c), .x = at, .y = at + rows, .line = true};
        for (size_t r = 0; r < rows; r++) {
            if (strcmp(sg_report_text_of(t, r, "family"), name) != 0 ||
                (!isnan(budget) && sg_report_number(t, r, "budget") != budget))
                continue;
            at[series[c].count] = sg_report_number(t, r, x);
            at[rows + series[c].count++] = sg_report_number(t, r, y);
        }
    }
    if (status == SG_OK) status = text_put(w, title, err);
    if (status == SG_OK) status = text_put(w, "\n", err);
    const int width = w->columns - 14 < 90 ? w->columns - 14 : 90;
    if (status == SG_OK) status = sg_report_plot(&w->out, series, n, true, width, text_height, err);
    if (status == SG_OK) status = text_put(w, "\n", err);
    sg_free(numbers);
    sg_free(series);
    return status;
}

static sg_status text_legend(text_work *w, sg_error *err)
{
    char line[1200] = "";
    for (size_t c = 0; c < json_array_size(w->report->contenders); c++) {
        const size_t used = strlen(line);
        snprintf(line + used, sizeof line - used, "%s%c %s", c > 0 ? "   " : "", text_mark(c),
                 json_string_value(json_array_get(w->report->contenders, c)));
    }
    SG_TRY(text_wrapped(w, line, 0, err));
    return text_put(w, "\n", err);
}

static sg_status text_drawings(text_work *w, sg_error *err)
{
    const sg_report_table *points = sg_report_find(w->report, "points");
    const sg_report_table *fronts = sg_report_find(w->report, "fronts");
    char title[96];
    if (json_array_size(points->rows) > 0) SG_TRY(text_legend(w, err));
    for (size_t r = 0; r < json_array_size(points->rows); r++) {
        const double budget = sg_report_number(points, r, "budget");
        const double before = r > 0 ? sg_report_number(points, r - 1, "budget") : NAN;
        if (r > 0 && (budget == before || (isnan(budget) && isnan(before)))) continue;
        if (isnan(budget))
            snprintf(title, sizeof title, "Loss over parameters");
        else
            snprintf(title, sizeof title, "Loss over parameters at %.3g FLOPs", budget);
        SG_TRY(text_drawing(w, points, budget, "parameters", "loss", title, err));
    }
    if (json_array_size(fronts->rows) > 0)
        SG_TRY(text_drawing(w, fronts, NAN, "seconds", "perplexity",
                            "Perplexity over seconds of training", err));
    return SG_OK;
}

static sg_status text_run_curves(text_work *w, sg_error *err)
{
    const size_t n = w->report->run_count;
    sg_plot_series *series = sg_alloc_zero(n + 1, sizeof *series);
    if (series == NULL) return sg_report_memory(err);
    for (size_t i = 0; i < n; i++) {
        const sg_curve *c = &w->report->runs[i].loss;
        series[i] =
            (sg_plot_series){.mark = text_mark(i), .x = c->x, .y = c->y, .count = (size_t)c->count};
    }
    sg_status status = text_legend(w, err);
    if (status == SG_OK) status = text_put(w, "Training loss over steps\n", err);
    const int width = w->columns - 14 < 90 ? w->columns - 14 : 90;
    if (status == SG_OK)
        status = sg_report_plot(&w->out, series, n, false, width, text_height, err);
    if (status == SG_OK) status = text_put(w, "\n", err);
    sg_free(series);
    return status;
}

// ---- the whole ----------------------------------------------------------------------------------

static sg_status text_sweep(text_work *w, sg_error *err)
{
    static const char *const tables[] = {"best",   "verdicts", "fits", "surfaces",
                                         "fronts", "search",   "facts"};
    char head[256];
    const sg_sweep_results *r = &w->report->results;
    snprintf(head, sizeof head, "%s: %zu runs", r->name[0] != '\0' ? r->name : "A sweep", r->count);
    SG_TRY(text_wrapped(w, head, 0, err));
    if (r->note[0] != '\0') SG_TRY(text_wrapped(w, r->note, 0, err));
    SG_TRY(text_put(w, "\n", err));
    SG_TRY(text_lines(w, NULL, w->report->answers, err));
    SG_TRY(text_drawings(w, err));
    for (size_t i = 0; i < sizeof tables / sizeof *tables; i++)
        SG_TRY(text_table(w, tables[i], err));
    return SG_OK;
}

sg_status sg_report_text(const sg_report *report, int64_t columns, char **text, sg_error *err)
{
    text_work w = {.report = report,
                   .columns = (int)(columns < 40    ? 40
                                    : columns > 400 ? 400
                                                    : columns)};
    *text = NULL;
    sg_status status = SG_OK;
    if (report->is_sweep) {
        status = text_sweep(&w, err);
    } else {
        status = text_run_curves(&w, err);
        if (status == SG_OK) status = text_table(&w, "runs", err);
        if (status == SG_OK) status = text_lines(&w, NULL, report->answers, err);
    }
    if (status == SG_OK) status = text_lines(&w, "Remarks", report->remarks, err);
    // An empty line at the end is none of the report's.
    while (status == SG_OK && w.out.count > 1 && w.out.data[w.out.count - 1] == '\n' &&
           w.out.data[w.out.count - 2] == '\n')
        w.out.count--;
    if (status == SG_OK && !sg_bytes_add(&w.out, "", 1)) status = sg_report_memory(err);
    if (status != SG_OK) {
        sg_free(w.out.data);
        return status;
    }
    *text = w.out.data;
    return SG_OK;
}
