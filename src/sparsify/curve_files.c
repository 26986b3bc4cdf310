// Points of curves as CSV, a row each, and as a drawing.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "format/chart.h"
#include "probe/result_files.h"
#include "sgatlin_sparsify.h"

typedef struct points {
    const sg_sparsify_point *items;
    size_t count;
} points;

// ---- CSV ----------------------------------------------------------------------------------------

static const char csv_header[] =
    "model,family,select,control,active,threshold,perplexity,perplexity_low,perplexity_high,loss,"
    "loss_low,loss_high,excess,excess_low,excess_high,blocks,read,flops,router,tokens,windows,"
    "tokens_per_second,speed,speed_low,speed_high\n";

static void csv_number(sg_writer *w, double value, const char *behind)
{
    if (isnan(value))
        sg_writer_printf(w, "%s", behind);
    else
        sg_writer_printf(w, "%.9g%s", value, behind);
}

static sg_status csv_rows(const void *results, sg_writer *w, sg_error *err)
{
    const points *all = results;
    (void)err;
    for (size_t i = 0; i < all->count; i++) {
        const sg_sparsify_point *p = &all->items[i];
        const double before[] = {
            p->active,      p->threshold, p->perplexity, p->perplexity_low, p->perplexity_high,
            p->loss,        p->loss_low,  p->loss_high,  p->excess,         p->excess_low,
            p->excess_high, p->blocks,    p->read,       p->flops,          p->router};
        const double behind[] = {p->tokens_per_second, p->speed, p->speed_low, p->speed_high};
        sg_result_csv_text(w, p->model);
        sg_result_csv_text(w, p->family);
        sg_result_csv_text(w, p->select);
        sg_result_csv_text(w, p->random ? "random" : "");
        for (size_t n = 0; n < sizeof before / sizeof *before; n++)
            csv_number(w, before[n], ",");
        sg_writer_printf(w, "%lld,%lld,", (long long)p->tokens, (long long)p->windows);
        for (size_t n = 0; n < sizeof behind / sizeof *behind; n++)
            csv_number(w, behind[n], n + 1 < sizeof behind / sizeof *behind ? "," : "\n");
    }
    return SG_OK;
}

// ---- the drawing --------------------------------------------------------------------------------

enum { chart_values = 5, chart_label = 128 }; // FLOPs, speed, perplexity and its ends

typedef struct drawing {
    double *values; // (chart_values, points)
    size_t count;   // points
    sg_chart_series *series;
    char (*labels)[chart_label];
    size_t lines;
} drawing;

static bool drawing_same(const sg_sparsify_point *a, const sg_sparsify_point *b)
{
    return a->random == b->random && strcmp(a->model, b->model) == 0;
}

// Points of a line in their order behind those of the lines before it; `at` is behind them then.
static void drawing_line(drawing *d, const points *all, size_t first, size_t *at, int colour)
{
    const sg_sparsify_point *own = &all->items[first];
    const size_t begin = *at, n = d->count;
    for (size_t i = first; i < n; i++) {
        const sg_sparsify_point *p = &all->items[i];
        if (!drawing_same(p, own)) continue;
        const double values[chart_values] = {p->flops, p->speed, p->perplexity, p->perplexity_low,
                                             p->perplexity_high};
        for (size_t v = 0; v < chart_values; v++)
            d->values[v * n + *at] = values[v];
        ++*at;
    }
    char *label = d->labels[d->lines];
    snprintf(label, chart_label, "%.100s%s", own->model, own->random ? ", at random" : "");
    d->series[d->lines++] = (sg_chart_series){.label = label,
                                              .colour = colour,
                                              .shape = colour,
                                              .x = d->values + begin,
                                              .y = d->values + 2 * n + begin,
                                              .low = d->values + 3 * n + begin,
                                              .high = d->values + 4 * n + begin,
                                              .count = *at - begin,
                                              .line = true,
                                              .points = true,
                                              .hollow = own->random,
                                              .dashed = own->random};
}

// The first of the points before it that has the name is where a model's colour comes from.
static int drawing_colour(const points *all, size_t point)
{
    int colour = 0;
    for (size_t i = 0; i < point; i++) {
        size_t j = 0;
        if (strcmp(all->items[i].model, all->items[point].model) == 0) return -1;
        while (strcmp(all->items[j].model, all->items[i].model) != 0)
            j++;
        colour += i == j;
    }
    return colour;
}

static void drawing_lines(drawing *d, const points *all)
{
    size_t at = 0;
    for (size_t i = 0; i < d->count; i++) {
        bool first = true;
        for (size_t j = 0; j < i; j++)
            first = first && !drawing_same(&all->items[i], &all->items[j]);
        if (!first) continue;
        size_t model = i; // the first of it
        while (drawing_colour(all, model) < 0)
            model--;
        drawing_line(d, all, i, &at, drawing_colour(all, model));
    }
}

// The same lines by speed, in the second half of the series.
static void drawing_by_speed(drawing *d)
{
    for (size_t i = 0; i < d->lines; i++) {
        d->series[d->lines + i] = d->series[i];
        d->series[d->lines + i].x += d->count;
    }
}

static bool drawing_is_wide(const points *all)
{
    double least = INFINITY, most = 0;
    for (size_t i = 0; i < all->count; i++) {
        least = fmin(least, all->items[i].perplexity);
        most = fmax(most, all->items[i].perplexity);
    }
    return most > 5 * least;
}

static sg_status drawing_write(drawing *d, const points *all, const char *path, bool force,
                               sg_error *err)
{
    bool timed = false;
    for (size_t i = 0; i < all->count; i++)
        timed = timed || !isnan(all->items[i].speed);
    const sg_chart_panel panels[] = {
        {.x_label = "FLOPs of feed-forward layers, of all their blocks = 1",
         .series = d->series,
         .count = d->lines},
        {.x_label = "speed of decoding, of the first model = 1",
         .series = d->series + d->lines,
         .count = d->lines}};
    const sg_chart chart = {.title = "What is lost by what is left out",
                            .x_label = "",
                            .y_label = "perplexity",
                            .panels = panels,
                            .count = timed ? 2 : 1,
                            .y_log = drawing_is_wide(all)};
    return sg_chart_write(path, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, &chart, err);
}

static sg_status drawing_of(const points *all, const char *path, bool force, sg_error *err)
{
    drawing d = {.count = all->count};
    d.values = sg_alloc_array(chart_values * all->count + 1, sizeof *d.values);
    d.series = sg_alloc_zero(2 * all->count + 1, sizeof *d.series);
    d.labels = sg_alloc_zero(all->count + 1, sizeof *d.labels);
    sg_status status = d.values != NULL && d.series != NULL && d.labels != NULL
                           ? SG_OK
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for a drawing");
    if (status == SG_OK) {
        drawing_lines(&d, all);
        drawing_by_speed(&d);
        status = drawing_write(&d, all, path, force, err);
    }
    sg_free(d.values);
    sg_free(d.series);
    sg_free(d.labels);
    return status;
}

sg_status sg_sparsify_write(const sg_sparsify_point *items, size_t count, const char *csv,
                            const char *svg, bool force, sg_error *err)
{
    static const sg_result_form form = {.header = csv_header, .csv = csv_rows};
    const points all = {items, count};
    const sg_result_files files = {.csv = csv, .force = force};
    if (items == NULL) {
        SG_TRY(sg_result_files_check(&files, err));
        if (svg == NULL) return SG_OK;
        return sg_output_check(svg, force ? SG_OUTPUT_REPLACE : SG_OUTPUT_NEW, err);
    }
    SG_TRY(sg_result_files_write(&files, &form, &all, err));
    return svg != NULL ? drawing_of(&all, svg, force, err) : SG_OK;
}
