// Curves of runs as a picture: a line a curve, through means of pieces of equal numbers of points,
// so that noise does not hide the course, and dots of the same colour for its marks.
#include <math.h>

#include "base/alloc.h"
#include "base/file.h"
#include "format/chart.h"
#include "sgatlin_train.h"

enum { svg_points = 120 }; // of a line

static void svg_means(const sg_curve *c, size_t pieces, double *x, double *y)
{
    const size_t count = (size_t)c->count;
    for (size_t p = 0; p < pieces; p++) {
        const size_t first = p * count / pieces, end = (p + 1) * count / pieces;
        x[p] = y[p] = 0;
        for (size_t i = first; i < end; i++) {
            x[p] += c->x[i] / (double)(end - first);
            y[p] += c->y[i] / (double)(end - first);
        }
    }
}

sg_status sg_curves_svg(const char *path, const sg_curve *lines, const sg_curve *marks,
                        size_t count, const sg_svg_options *options, sg_error *err)
{
    sg_chart_series *series = sg_alloc_zero(2 * count + 1, sizeof *series);
    double *means = sg_alloc_array(2 * svg_points * count + 1, sizeof *means);
    sg_status status = series != NULL && means != NULL
                           ? SG_OK
                           : sg_fail(err, SG_ERR_MEMORY, "out of memory for a drawing");
    for (size_t i = 0; i < count && status == SG_OK; i++) {
        const size_t points = (size_t)lines[i].count;
        const size_t pieces = points < svg_points ? points : svg_points;
        double *x = means + 2 * svg_points * i, *y = x + svg_points;
        svg_means(&lines[i], pieces, x, y);
        series[i] = (sg_chart_series){.label = lines[i].label,
                                      .colour = (int)i,
                                      .x = x,
                                      .y = y,
                                      .count = pieces,
                                      .line = true};
        if (marks != NULL)
            series[count + i] = (sg_chart_series){.colour = (int)i,
                                                  .x = marks[i].x,
                                                  .y = marks[i].y,
                                                  .count = (size_t)marks[i].count,
                                                  .points = true,
                                                  .hollow = true};
    }
    const sg_chart_panel panel = {.series = series, .count = marks != NULL ? 2 * count : count};
    const sg_chart chart = {.title = options->title,
                            .x_label = options->x_label,
                            .y_label = options->y_label,
                            .panels = &panel,
                            .count = 1,
                            .x_from_zero = true,
                            .y_trim = 0.05};
    if (status == SG_OK) status = sg_chart_write(path, SG_OUTPUT_REPLACE, &chart, err);
    sg_free(series);
    sg_free(means);
    return status;
}
