// The drawings of a report as files that stand alone (format/chart.h), from its tables. A
// contender's colour and shape are its place among the contenders, in every drawing.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/chart.h"
#include "sweep/report.h"

enum { svg_curve_points = 64, svg_kinds = 5 };

// A drawing while it is put together. What it holds is freed with it; a failure is kept.
typedef struct svg_work {
    const sg_report *report;
    sg_chart_panel *panels;
    size_t panel_count, panel_capacity;
    sg_chart_series *series; // of the last panel, handed over when it ends
    size_t series_count, series_capacity;
    void **owned;
    size_t owned_count, owned_capacity;
    bool failed;
} svg_work;

static void *svg_alloc(svg_work *w, size_t bytes)
{
    void *block = w->failed ? NULL : sg_alloc(bytes + 1);
    if (block == NULL ||
        !sg_grow((void **)&w->owned, &w->owned_capacity, w->owned_count + 1, sizeof *w->owned)) {
        sg_free(block);
        w->failed = true;
        return NULL;
    }
    w->owned[w->owned_count++] = block;
    return block;
}

static void svg_free(svg_work *w)
{
    for (size_t i = 0; i < w->owned_count; i++)
        sg_free(w->owned[i]);
    sg_free(w->owned);
    sg_free(w->series);
    sg_free(w->panels);
}

// A series with room for `room` points; NULL: out of memory.
static sg_chart_series *svg_series(svg_work *w, size_t contender, size_t room)
{
    double *x = svg_alloc(w, room * sizeof *x), *y = svg_alloc(w, room * sizeof *y);
    if (w->failed || !sg_grow((void **)&w->series, &w->series_capacity, w->series_count + 1,
                              sizeof *w->series)) {
        w->failed = true;
        return NULL;
    }
    sg_chart_series *s = &w->series[w->series_count++];
    const char *label = json_string_value(json_array_get(w->report->contenders, contender));
    *s = (sg_chart_series){
        .label = label, .colour = (int)contender, .shape = (int)contender, .x = x, .y = y};
    return s;
}

static void svg_point(sg_chart_series *s, double x, double y)
{
    ((double *)(uintptr_t)s->x)[s->count] = x;
    ((double *)(uintptr_t)s->y)[s->count++] = y;
}

static void svg_panel(svg_work *w, const char *title, const char *x_label)
{
    if (w->failed ||
        !sg_grow((void **)&w->panels, &w->panel_capacity, w->panel_count + 1, sizeof *w->panels)) {
        w->failed = true;
        return;
    }
    sg_chart_series *series = svg_alloc(w, w->series_count * sizeof *series);
    char *name = title != NULL ? svg_alloc(w, strlen(title) + 1) : NULL;
    if (w->failed) return;
    if (w->series_count > 0) memcpy(series, w->series, w->series_count * sizeof *series);
    if (name != NULL) memcpy(name, title, strlen(title) + 1);
    w->panels[w->panel_count++] = (sg_chart_panel){
        .title = name, .x_label = x_label, .series = series, .count = w->series_count};
    w->series_count = 0;
}

// Rows of a table with this family, and this budget where it is given (NAN: all).
static bool svg_is(const sg_report_table *t, size_t row, const char *family, double budget)
{
    if (strcmp(sg_report_text_of(t, row, "family"), family) != 0) return false;
    return isnan(budget) || sg_report_number(t, row, "budget") == budget;
}

static const char *svg_contender(const svg_work *w, size_t i)
{
    return json_string_value(json_array_get(w->report->contenders, i));
}

// A line with points through rows of a table for each contender.
static void svg_lines(svg_work *w, const sg_report_table *t, double budget, const char *x,
                      const char *y)
{
    const size_t rows = json_array_size(t->rows);
    for (size_t c = 0; c < json_array_size(w->report->contenders); c++) {
        sg_chart_series *s = svg_series(w, c, rows);
        if (s == NULL) return;
        for (size_t r = 0; r < rows; r++)
            if (svg_is(t, r, svg_contender(w, c), budget))
                svg_point(s, sg_report_number(t, r, x), sg_report_number(t, r, y));
        s->line = s->points = true;
        if (s->count == 0) w->series_count--;
    }
}

// Budgets of a table that is in their order: the next one after row *at; false: there are no more.
static bool svg_budget(const sg_report_table *t, size_t *at, double *budget)
{
    const size_t rows = json_array_size(t->rows);
    for (; *at < rows; (*at)++) {
        const double here = sg_report_number(t, *at, "budget");
        const double before = *at > 0 ? sg_report_number(t, *at - 1, "budget") : NAN;
        if (*at > 0 && (here == before || (isnan(here) && isnan(before)))) continue;
        *budget = here;
        (*at)++;
        return true;
    }
    return false;
}

static void svg_budget_title(char *out, size_t capacity, double budget)
{
    if (isfinite(budget))
        snprintf(out, capacity, "%.3g FLOPs", budget);
    else
        snprintf(out, capacity, "all budgets");
}

// ---- equal FLOPs --------------------------------------------------------------------------------

static void isoflop_parabola(svg_work *w, const sg_report_table *fits, size_t row, size_t contender,
                             double low, double high)
{
    const double a = sg_report_number(fits, row, "a"), b = sg_report_number(fits, row, "b"),
                 c = sg_report_number(fits, row, "c");
    if (!isfinite(a + b + c) || !(high > low) || !(low > 0)) return;
    sg_chart_series *s = svg_series(w, contender, svg_curve_points);
    for (int i = 0; s != NULL && i < svg_curve_points; i++) {
        const double t = (double)i / (svg_curve_points - 1);
        const double x = log(low) + t * (log(high) - log(low));
        svg_point(s, exp(x), a + b * x + c * x * x);
    }
    if (s == NULL) return;
    s->label = NULL;
    s->line = true;
    const double size = sg_report_number(fits, row, "size");
    if (!(size >= low && size <= high)) return; // beyond the points nobody knows
    s = svg_series(w, contender, 1);            // its minimum, with the interval of the loss
    double *ends = svg_alloc(w, 2 * sizeof *ends);
    if (s == NULL || ends == NULL) return;
    s->label = NULL;
    svg_point(s, size, sg_report_number(fits, row, "loss"));
    ends[0] = sg_report_number(fits, row, "loss_low");
    ends[1] = sg_report_number(fits, row, "loss_high");
    s->low = ends;
    s->high = ends + 1;
    s->points = s->hollow = true;
}

static void isoflop_contender(svg_work *w, size_t contender, double budget)
{
    const sg_report_table *points = sg_report_find(w->report, "points");
    const sg_report_table *fits = sg_report_find(w->report, "fits");
    const size_t rows = json_array_size(points->rows);
    const char *family = svg_contender(w, contender);
    double low = INFINITY, high = 0;
    sg_chart_series *s = svg_series(w, contender, rows);
    for (size_t r = 0; s != NULL && r < rows; r++) {
        if (!svg_is(points, r, family, budget)) continue;
        const double x = sg_report_number(points, r, "parameters");
        svg_point(s, x, sg_report_number(points, r, "loss"));
        low = fmin(low, x);
        high = fmax(high, x);
    }
    if (s == NULL) return;
    s->points = true;
    if (s->count == 0) {
        w->series_count--;
        return;
    }
    for (size_t r = 0; r < json_array_size(fits->rows); r++)
        if (svg_is(fits, r, family, budget)) isoflop_parabola(w, fits, r, contender, low, high);
}

static size_t draw_isoflop(svg_work *w, sg_chart *chart)
{
    const sg_report_table *points = sg_report_find(w->report, "points");
    char title[64];
    double budget;
    size_t at = 0;
    while (svg_budget(points, &at, &budget)) {
        for (size_t c = 0; c < json_array_size(w->report->contenders); c++)
            isoflop_contender(w, c, budget);
        svg_budget_title(title, sizeof title, budget);
        svg_panel(w, title, NULL);
    }
    *chart = (sg_chart){.title = "Loss at equal FLOPs: points, parabolas and their minima (hollow)",
                        .x_label = "parameters",
                        .y_label = "validation loss, nats a token",
                        .x_log = true};
    return w->panel_count;
}

// ---- seconds, costs, facts ----------------------------------------------------------------------

static size_t draw_seconds(svg_work *w, sg_chart *chart)
{
    const sg_report_table *fronts = sg_report_find(w->report, "fronts");
    svg_lines(w, fronts, NAN, "seconds", "perplexity");
    const size_t lines = w->series_count;
    svg_panel(w, NULL, NULL);
    *chart = (sg_chart){.title = "Perplexity by seconds of training, finished schedules alone",
                        .x_label = "seconds: steps by the median step of an idle machine",
                        .y_label = "validation perplexity",
                        .x_log = true};
    return lines;
}

static size_t draw_best(svg_work *w, sg_chart *chart)
{
    static const char *const x[][2] = {{"budget", "FLOPs (published count)"},
                                       {"parameters", "parameters"},
                                       {"active_parameters", "active parameters"}};
    const sg_report_table *best = sg_report_find(w->report, "best");
    size_t lines = 0;
    for (size_t i = 0; i < sizeof x / sizeof x[0]; i++) {
        svg_lines(w, best, NAN, x[i][0], "perplexity");
        lines += w->series_count;
        svg_panel(w, NULL, x[i][1]);
    }
    *chart = (sg_chart){.title = "Lowest perplexity of each budget",
                        .x_label = "",
                        .y_label = "validation perplexity",
                        .x_log = true};
    return lines;
}

static size_t draw_facts(svg_work *w, sg_chart *chart)
{
    static const char *const y[][2] = {{"share", "Share of the facts recalled"},
                                       {"bits_per_parameter", "Bits of fact a parameter"},
                                       {"bits_per_active", "Bits of fact an active parameter"}};
    const sg_report_table *facts = sg_report_find(w->report, "facts");
    size_t lines = 0;
    for (size_t i = 0; i < sizeof y / sizeof y[0]; i++) {
        svg_lines(w, facts, NAN, "neurons", y[i][0]);
        for (size_t s = 0; s < w->series_count; s++)
            w->series[s].line = false; // several budgets
        lines += w->series_count;
        svg_panel(w, y[i][1], NULL);
    }
    *chart = (sg_chart){.title = "Facts, by stored feed-forward neurons",
                        .x_label = "feed-forward neurons",
                        .y_label = "",
                        .x_log = true};
    return lines;
}

// ---- curves -------------------------------------------------------------------------------------

static void curves_add(svg_work *w, size_t contender, const double *x, const double *y,
                       size_t count, bool named)
{
    const size_t pieces = count < svg_curve_points ? count : svg_curve_points;
    sg_chart_series *s = pieces > 0 ? svg_series(w, contender, pieces) : NULL;
    for (size_t p = 0; s != NULL && p < pieces; p++) {
        const size_t first = p * count / pieces, end = (p + 1) * count / pieces;
        double mean = 0;
        for (size_t i = first; i < end; i++)
            mean += y[i] / (double)(end - first);
        svg_point(s, x[end - 1], mean);
    }
    if (s == NULL) return;
    s->line = true;
    s->faint = !named;
}

static size_t curves_contender(const svg_work *w, const sg_report_table *runs, size_t row)
{
    for (size_t c = 0; c < json_array_size(w->report->contenders); c++)
        if (strcmp(svg_contender(w, c), sg_report_text_of(runs, row, "family")) == 0) return c;
    return 0;
}

static size_t draw_curves(svg_work *w, sg_chart *chart)
{
    const sg_report *report = w->report;
    const sg_report_table *points = sg_report_find(report, "points");
    char title[64];
    double budget;
    size_t at = 0, lines = 0;
    for (size_t i = 0; i < report->run_count; i++) {
        const sg_report_run *r = &report->runs[i];
        curves_add(w, i, r->loss.x, r->loss.y, (size_t)r->loss.count, true);
    }
    if (report->run_count > 0) {
        lines = w->series_count;
        svg_panel(w, NULL, NULL);
    }
    while (points != NULL && svg_budget(points, &at, &budget)) {
        for (size_t i = 0; i < report->results.count; i++) {
            const sg_sweep_row *r = &report->results.rows[i];
            if (r->budget != budget && !(isnan(r->budget) && isnan(budget))) continue;
            curves_add(w, curves_contender(w, sg_report_find(report, "runs"), i), r->curve_step,
                       r->curve_loss, r->curve_count, false);
        }
        lines += w->series_count;
        svg_budget_title(title, sizeof title, budget);
        svg_panel(w, title, NULL);
    }
    *chart = (sg_chart){.title = "Training loss of all runs",
                        .x_label = "steps",
                        .y_label = "training loss, nats a token",
                        .x_from_zero = true,
                        .y_trim = 0.05};
    return lines;
}

// ---- the files ----------------------------------------------------------------------------------

typedef size_t svg_draw(svg_work *work, sg_chart *chart); // how much there is to see

static sg_status svg_file(const sg_report *report, svg_draw *draw, const char *path, bool force,
                          bool *written, sg_error *err)
{
    svg_work w = {.report = report};
    sg_chart chart;
    const size_t seen = draw(&w, &chart);
    chart.panels = w.panels;
    chart.count = w.panel_count;
    sg_status status = w.failed ? sg_report_memory(err) : SG_OK;
    *written = status == SG_OK && seen > 0;
    if (*written && path != NULL)
        status = sg_chart_write(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &chart, err);
    svg_free(&w);
    return status;
}

sg_status sg_report_svg(const sg_report *report, const char *folder, bool force, int64_t *files,
                        sg_error *err)
{
    static const struct {
        const char *name;
        svg_draw *draw;
    } kinds[svg_kinds] = {{"curves.svg", draw_curves},
                          {"isoflop.svg", draw_isoflop},
                          {"seconds.svg", draw_seconds},
                          {"best.svg", draw_best},
                          {"facts.svg", draw_facts}};
    const size_t count = report->is_sweep ? svg_kinds : 1;
    const char *names[svg_kinds];
    char path[SG_PATH_MAX];
    size_t there = 0;
    bool drawn[svg_kinds];
    *files = 0;
    for (size_t i = 0; i < count; i++) {
        SG_TRY(svg_file(report, kinds[i].draw, NULL, force, &drawn[i], err));
        if (drawn[i]) names[there++] = kinds[i].name;
    }
    SG_TRY(sg_report_folder(folder, names, there, force, err));
    for (size_t i = 0; i < count; i++) {
        if (!drawn[i]) continue;
        SG_TRY(sg_path_join(path, sizeof path, folder, kinds[i].name, err));
        SG_TRY(svg_file(report, kinds[i].draw, path, force, &drawn[i], err));
        (*files)++;
    }
    return SG_OK;
}
