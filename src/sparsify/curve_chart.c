// A line a model, and one a control of it in its colour: dashed, with open marks. What is near the
// first model, a dense one as a rule, is what is looked for, so points far above it leave the
// picture; bars are intervals of the difference to it, which are much narrower than those of
// perplexities, since the text does most to all of them alike.
#include "sparsify/curve_chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/status.h"
#include "format/chart.h"

enum { chart_values = 5, chart_label = 160 }; // FLOPs, speed, perplexity and the ends of its bar

static const double chart_reach = 1.5; // times the perplexity of the first point
static const double chart_wide = 6;    // shares of FLOPs so far apart want a logarithmic axis

typedef struct drawing {
    const sg_sparsify_point *points; // (count)
    size_t count;
    double *values; // (chart_values, count), line by line
    sg_chart_series *series;
    char (*labels)[chart_label];
    size_t lines;
    bool timed, paired; // speeds, differences are there
} drawing;

static bool drawing_same(const sg_sparsify_point *a, const sg_sparsify_point *b)
{
    return a->control == b->control && strcmp(a->model, b->model) == 0;
}

static int drawing_by_flops(const void *a, const void *b)
{
    const sg_sparsify_point *x = *(const sg_sparsify_point *const *)a;
    const sg_sparsify_point *y = *(const sg_sparsify_point *const *)b;
    return x->flops != y->flops ? (x->flops > y->flops) - (x->flops < y->flops) : (x > y) - (x < y);
}

static void drawing_put(const drawing *d, const sg_sparsify_point *p, size_t at)
{
    const double first = d->points[0].perplexity;
    const double values[chart_values] = {p->flops, p->speed, p->perplexity,
                                         d->paired ? first * exp(p->excess_low) : p->perplexity_low,
                                         d->paired ? first * exp(p->excess_high)
                                                   : p->perplexity_high};
    for (size_t v = 0; v < chart_values; v++)
        d->values[v * d->count + at] = values[v];
}

// ---- lines --------------------------------------------------------------------------------------

static const char *drawing_control(sg_sparsify_control control)
{
    static const char *const words[SG_CONTROLS] = {"", ", random blocks", ", oracle",
                                                   ", oracle by norms"};
    return words[control];
}

// Number of a model among those that come before its first point.
static int drawing_model(const drawing *d, const char *model)
{
    int number = 0;
    for (size_t i = 0; strcmp(d->points[i].model, model) != 0; i++) {
        bool first = true;
        for (size_t j = 0; j < i; j++)
            first = first && strcmp(d->points[i].model, d->points[j].model) != 0;
        number += first;
    }
    return number;
}

// Whether all of the model is read: a level that others are measured by.
static bool drawing_is_whole(const sg_sparsify_point *p)
{
    return p->blocks <= 0 && strcmp(p->select, "inputs") != 0;
}

// Points of a line in ascending order of FLOPs, behind those of the lines before it; `at` is behind
// them then. room (count).
static void drawing_line(drawing *d, const sg_sparsify_point *own, const sg_sparsify_point **room,
                         size_t *at)
{
    const size_t begin = *at, n = d->count;
    const bool control = own->control != SG_CONTROL_NONE;
    const int model = drawing_model(d, own->model);
    size_t count = 0;
    for (size_t i = 0; i < n; i++)
        if (drawing_same(&d->points[i], own)) room[count++] = &d->points[i];
    qsort(room, count, sizeof *room, drawing_by_flops);
    for (size_t i = 0; i < count; i++)
        drawing_put(d, room[i], (*at)++);
    char *label = d->labels[d->lines];
    snprintf(label, chart_label, "%.100s%s", own->model, drawing_control(own->control));
    d->series[d->lines++] = (sg_chart_series){.label = label,
                                              .colour = model,
                                              .shape = model + (int)own->control,
                                              .x = d->values + begin,
                                              .y = d->values + 2 * n + begin,
                                              .low = d->values + 3 * n + begin,
                                              .high = d->values + 4 * n + begin,
                                              .count = count,
                                              .line = count > 1,
                                              .level = count == 1 && drawing_is_whole(own),
                                              .points = true,
                                              .hollow = control,
                                              .dashed = control};
}

static void drawing_lines(drawing *d, const sg_sparsify_point **room)
{
    size_t at = 0;
    for (size_t i = 0; i < d->count; i++) {
        bool first = true;
        for (size_t j = 0; j < i; j++)
            first = first && !drawing_same(&d->points[i], &d->points[j]);
        if (first) drawing_line(d, &d->points[i], room, &at);
    }
    // The same by speed, in the second half of the series.
    for (size_t i = 0; i < d->lines; i++) {
        d->series[d->lines + i] = d->series[i];
        d->series[d->lines + i].x += d->count;
    }
}

// ---- the picture --------------------------------------------------------------------------------

// The highest perplexity that is shown: of each line one point at least.
static double drawing_most(const drawing *d)
{
    double most = chart_reach * d->points[0].perplexity;
    for (size_t i = 0; i < d->lines; i++) {
        double least = INFINITY;
        for (size_t p = 0; p < d->series[i].count; p++)
            least = fmin(least, d->series[i].y[p]);
        if (isfinite(least)) most = fmax(most, least);
    }
    return most;
}

static void drawing_range(const drawing *d, int value, double most, double *low, double *high)
{
    *low = INFINITY;
    *high = 0;
    for (size_t i = 0; i < d->count; i++) {
        if (!(d->values[2 * d->count + i] <= most)) continue;
        *low = fmin(*low, d->values[(size_t)value * d->count + i]);
        *high = fmax(*high, d->values[(size_t)value * d->count + i]);
    }
}

static sg_status drawing_write(const drawing *d, const char *path, int mode, sg_error *err)
{
    char title[256];
    double low, high, least, highest = 0;
    const double most = drawing_most(d);
    const sg_chart_panel panels[] = {
        {.x_label = "FLOPs of feed-forward layers, of all their blocks = 1",
         .series = d->series,
         .count = d->lines},
        {.x_label = "speed of decoding, of the first model = 1",
         .x_linear = true,
         .series = d->series + d->lines,
         .count = d->lines}};
    for (size_t i = 0; i < d->count; i++)
        highest = fmax(highest, d->points[i].perplexity);
    drawing_range(d, 0, most, &low, &high);
    snprintf(title, sizeof title, "What is lost by what is left out%s%.60s",
             d->paired ? "; bars: 95 % of the difference to " : "",
             d->paired ? d->points[0].model : "");
    sg_chart chart = {.title = title,
                      .x_label = "",
                      .y_label = highest > most ? "perplexity (much higher ones are left out)"
                                                : "perplexity",
                      .panels = panels,
                      .count = d->timed ? 2 : 1,
                      .x_log = high > chart_wide * low,
                      .y_most = most};
    drawing_range(d, 2, most, &least, &high);
    chart.y_log = high > chart_wide * least;
    return sg_chart_write(path, mode, &chart, err);
}

sg_status sg_curve_chart(const sg_sparsify_point *points, size_t count, const char *path, int mode,
                         sg_error *err)
{
    drawing d = {.points = points, .count = count};
    const sg_sparsify_point **room = sg_alloc_array(count + 1, sizeof *room);
    d.values = sg_alloc_array(chart_values * count + 1, sizeof *d.values);
    d.series = sg_alloc_zero(2 * count + 1, sizeof *d.series);
    d.labels = sg_alloc_zero(count + 1, sizeof *d.labels);
    for (size_t i = 0; i < count; i++) {
        d.timed = d.timed || !isnan(points[i].speed);
        d.paired = d.paired || !isnan(points[i].excess);
    }
    sg_status status = room != NULL && d.values != NULL && d.series != NULL && d.labels != NULL
                           ? SG_OK
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for a drawing");
    if (status == SG_OK && count > 0) {
        drawing_lines(&d, room);
        status = drawing_write(&d, path, mode, err);
    }
    sg_free(room);
    sg_free(d.values);
    sg_free(d.series);
    sg_free(d.labels);
    return status;
}
