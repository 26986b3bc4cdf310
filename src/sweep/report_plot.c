// Drawings of plain characters, for terminals: a frame, the numbers at its corners, a letter a
// series.
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "sweep/report.h"

typedef struct plot_frame {
    double x0, x1, y0, y1;
    bool x_log;
    int width, height;
    char *cells; // (height, width)
} plot_frame;

static double plot_on(const plot_frame *f, double x)
{
    return f->x_log ? log(x) : x;
}

static bool plot_shows(const plot_frame *f, double x, double y)
{
    return isfinite(x) && isfinite(y) && (!f->x_log || x > 0);
}

static void plot_range(plot_frame *f, const sg_plot_series *series, size_t count)
{
    f->x0 = f->y0 = INFINITY;
    f->x1 = f->y1 = -INFINITY;
    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < series[s].count; i++) {
            if (!plot_shows(f, series[s].x[i], series[s].y[i])) continue;
            f->x0 = fmin(f->x0, series[s].x[i]);
            f->x1 = fmax(f->x1, series[s].x[i]);
            f->y0 = fmin(f->y0, series[s].y[i]);
            f->y1 = fmax(f->y1, series[s].y[i]);
        }
}

static void plot_put(const plot_frame *f, double x, double y, char mark)
{
    if (!plot_shows(f, x, y)) return;
    const double x0 = plot_on(f, f->x0), x1 = plot_on(f, f->x1);
    const double at = x1 > x0 ? (plot_on(f, x) - x0) / (x1 - x0) : 0.5;
    const double up = f->y1 > f->y0 ? (y - f->y0) / (f->y1 - f->y0) : 0.5;
    if (at < 0 || at > 1 || up < 0 || up > 1) return;
    const int column = (int)lround(at * (f->width - 1));
    const int row = (int)lround((1 - up) * (f->height - 1));
    char *cell = &f->cells[(size_t)row * (size_t)f->width + (size_t)column];
    if (mark == '.' && *cell != ' ') return;
    *cell = mark != '.' && *cell != ' ' && *cell != '.' && *cell != mark ? '*' : mark;
}

static void plot_lines(const plot_frame *f, const sg_plot_series *s)
{
    for (size_t i = 1; s->line && i < s->count; i++) {
        if (!plot_shows(f, s->x[i - 1], s->y[i - 1]) || !plot_shows(f, s->x[i], s->y[i])) continue;
        const double a = plot_on(f, s->x[i - 1]), b = plot_on(f, s->x[i]);
        for (int n = 1; n < f->width; n++) {
            const double t = (double)n / f->width, x = a + t * (b - a);
            plot_put(f, f->x_log ? exp(x) : x, s->y[i - 1] + t * (s->y[i] - s->y[i - 1]), '.');
        }
    }
}

static bool plot_write(const plot_frame *f, sg_bytes *out)
{
    char number[32], other[32], line[512];
    bool done = true;
    for (int r = 0; r < f->height; r++) {
        number[0] = '\0';
        if (r == 0) snprintf(number, sizeof number, "%.4g", f->y1);
        if (r == f->height - 1) snprintf(number, sizeof number, "%.4g", f->y0);
        const int used = snprintf(line, sizeof line, "%9s |%.*s", number, f->width,
                                  f->cells + (size_t)r * (size_t)f->width);
        size_t length = used > 0 ? (size_t)used : 0;
        while (length > 0 && line[length - 1] == ' ')
            length--;
        done = done && sg_bytes_add(out, line, length) && sg_bytes_add(out, "\n", 1);
    }
    sg_report_short(number, sizeof number, f->x0);
    sg_report_short(other, sizeof other, f->x1);
    int used = snprintf(line, sizeof line, "%9s +", "");
    for (int c = 0; c < f->width && used + c < (int)sizeof line - 1; c++)
        line[used + c] = '-';
    done = done && sg_bytes_add(out, line, (size_t)(used + f->width)) && sg_bytes_add(out, "\n", 1);
    used = snprintf(line, sizeof line, "%11s%-*s%s\n", "", f->width - (int)strlen(other), number,
                    other);
    return done && sg_bytes_add(out, line, (size_t)used);
}

sg_status sg_report_plot(sg_bytes *out, const sg_plot_series *series, size_t count, bool x_log,
                         int width, int height, sg_error *err)
{
    plot_frame f = {.x_log = x_log,
                    .width = width < 20    ? 20
                             : width > 400 ? 400
                                           : width,
                    .height = height < 4 ? 4 : height};
    plot_range(&f, series, count);
    if (!(f.x1 >= f.x0)) return SG_OK;
    const size_t cells = (size_t)f.width * (size_t)f.height;
    f.cells = sg_alloc(cells);
    if (f.cells == NULL) return sg_report_memory(err);
    memset(f.cells, ' ', cells);
    for (size_t s = 0; s < count; s++)
        plot_lines(&f, &series[s]);
    for (size_t s = 0; s < count; s++)
        for (size_t i = 0; i < series[s].count; i++)
            plot_put(&f, series[s].x[i], series[s].y[i], series[s].mark);
    const bool done = plot_write(&f, out);
    sg_free(f.cells);
    return done ? SG_OK : sg_report_memory(err);
}
