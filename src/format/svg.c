// A line chart as SVG, written by hand: axes with round numbers, a line a curve in colours that
// stay apart for most eyes (Okabe and Ito), the names at the ends of the lines' colours on the
// right.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "sgatlin_train.h"

enum {
    svg_width = 800,
    svg_height = 480,
    svg_left = 64,
    svg_right = 600,
    svg_top = 44,
    svg_bottom = 424,
    svg_points = 120 // of a line
};

static const char *const svg_colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                          "#e69f00", "#56b4e9", "#000000", "#7f7f7f"};
enum { svg_colour_count = sizeof svg_colours / sizeof *svg_colours };

typedef struct svg_frame {
    double x0, x1, y0, y1; // what is shown
    sg_writer *writer;
} svg_frame;

// ---- ranges -------------------------------------------------------------------------------------

static int svg_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// All of x; of y all but the highest twentieth, which is the first steps.
static sg_status svg_range(const sg_curve *curves, size_t count, svg_frame *f, sg_error *err)
{
    size_t all = 0, at = 0;
    for (size_t i = 0; i < count; i++)
        all += (size_t)curves[i].count;
    double *y = sg_alloc_array(all + 1, sizeof *y);
    if (y == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a drawing");
    f->x0 = 0;
    f->x1 = 0;
    for (size_t i = 0; i < count; i++)
        for (int64_t n = 0; n < curves[i].count; n++) {
            y[at++] = curves[i].y[n];
            f->x1 = fmax(f->x1, curves[i].x[n]);
        }
    if (all > 1) qsort(y, all, sizeof *y, svg_compare);
    f->y0 = all > 0 ? y[0] : 0;
    f->y1 = all > 0 ? y[(all - 1) - (all - 1) / 20] : 1;
    sg_free(y);
    const double room = f->y1 > f->y0 ? 0.04 * (f->y1 - f->y0) : 0.5;
    f->y0 -= room;
    f->y1 += room;
    if (!(f->x1 > 0)) f->x1 = 1;
    return SG_OK;
}

static double svg_x(const svg_frame *f, double x)
{
    return svg_left + (svg_right - svg_left) * (x - f->x0) / (f->x1 - f->x0);
}

static double svg_y(const svg_frame *f, double y)
{
    return svg_bottom - (svg_bottom - svg_top) * (y - f->y0) / (f->y1 - f->y0);
}

// 1, 2 or 5 times a power of ten: about `parts` of them in the range.
static double svg_step(double range, int parts)
{
    const double raw = range / parts, power = pow(10, floor(log10(raw))), lead = raw / power;
    return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

// ---- text ---------------------------------------------------------------------------------------

static void svg_escape(sg_writer *w, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        const unsigned char byte = (unsigned char)*c;
        if (*c == '<' || *c == '>' || *c == '&' || *c == '"')
            sg_writer_printf(w, "&#%d;", *c);
        else
            sg_writer_put(w, byte < ' ' ? " " : c, 1);
    }
}

static void svg_text(sg_writer *w, double x, double y, const char *anchor, const char *more,
                     const char *text)
{
    sg_writer_printf(w, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, more);
    svg_escape(w, text);
    sg_writer_printf(w, "</text>\n");
}

// 4e12 -> "4T": as the command writes numbers.
static void svg_number(char *out, size_t capacity, double value)
{
    static const char letters[] = " kMGTPE";
    int power = 0;
    while (fabs(value) >= 999.5 && power < 6) {
        value /= 1000;
        power++;
    }
    snprintf(out, capacity, power > 0 ? "%.4g %c" : "%.4g", value, letters[power]);
}

// ---- parts --------------------------------------------------------------------------------------

static void svg_axes(const svg_frame *f, const sg_svg_options *o)
{
    char number[32];
    const double dx = svg_step(f->x1 - f->x0, 6), dy = svg_step(f->y1 - f->y0, 6);
    for (double x = 0; x <= f->x1 * (1 + 1e-9); x += dx) {
        svg_number(number, sizeof number, x);
        sg_writer_printf(f->writer, "<path d=\"M%.1f %d V%d\" stroke=\"#ddd\"/>\n", svg_x(f, x),
                         svg_top, svg_bottom);
        svg_text(f->writer, svg_x(f, x), svg_bottom + 18, "middle", "", number);
    }
    for (double y = ceil(f->y0 / dy) * dy; y <= f->y1; y += dy) {
        snprintf(number, sizeof number, "%.4g", fabs(y) < dy / 1e6 ? 0 : y);
        sg_writer_printf(f->writer, "<path d=\"M%d %.1f H%d\" stroke=\"#ddd\"/>\n", svg_left,
                         svg_y(f, y), svg_right);
        svg_text(f->writer, svg_left - 8, svg_y(f, y) + 4, "end", "", number);
    }
    sg_writer_printf(f->writer, "<path d=\"M%d %d V%d H%d\" stroke=\"#444\" fill=\"none\"/>\n",
                     svg_left, svg_top, svg_bottom, svg_right);
    svg_text(f->writer, svg_left, 24, "start", " font-size=\"15\" font-weight=\"bold\"", o->title);
    svg_text(f->writer, (svg_left + svg_right) / 2.0, svg_bottom + 42, "middle", "", o->x_label);
    svg_text(f->writer, 18, (svg_top + svg_bottom) / 2.0, "middle",
             " transform=\"rotate(-90 18 234)\"", o->y_label);
}

// Means of pieces of equal numbers of points, so that noise does not hide the course.
static void svg_line(const svg_frame *f, const sg_curve *c, const char *colour)
{
    const int64_t pieces = c->count < svg_points ? c->count : svg_points;
    if (c->count < 2) return;
    sg_writer_printf(f->writer,
                     "<path clip-path=\"url(#plot)\" fill=\"none\" stroke=\"%s\" "
                     "stroke-width=\"1.6\" stroke-linejoin=\"round\" d=\"",
                     colour);
    for (int64_t p = 0; p < pieces; p++) {
        const int64_t first = p * c->count / pieces, end = (p + 1) * c->count / pieces;
        double x = 0, y = 0;
        for (int64_t i = first; i < end; i++) {
            x += c->x[i] / (double)(end - first);
            y += c->y[i] / (double)(end - first);
        }
        sg_writer_printf(f->writer, "%s%.1f %.1f", p == 0 ? "M" : " L", svg_x(f, x), svg_y(f, y));
    }
    sg_writer_printf(f->writer, "\"/>\n");
}

static void svg_dots(const svg_frame *f, const sg_curve *c, const char *colour)
{
    for (int64_t i = 0; i < c->count; i++)
        sg_writer_printf(f->writer,
                         "<circle clip-path=\"url(#plot)\" cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\" "
                         "fill=\"white\" stroke=\"%s\" stroke-width=\"1.6\"/>\n",
                         svg_x(f, c->x[i]), svg_y(f, c->y[i]), colour);
}

static void svg_draw(const svg_frame *f, const sg_curve *lines, const sg_curve *marks, size_t count,
                     const sg_svg_options *o)
{
    sg_writer_printf(f->writer,
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" "
                     "viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n"
                     "<rect width=\"%d\" height=\"%d\" fill=\"white\"/>\n<clipPath id=\"plot\">"
                     "<rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\"/></clipPath>\n",
                     svg_width, svg_height, svg_width, svg_height, svg_width, svg_height, svg_left,
                     svg_top - 4, svg_right - svg_left + 4, svg_bottom - svg_top + 4);
    svg_axes(f, o);
    for (size_t i = 0; i < count; i++)
        svg_line(f, &lines[i], svg_colours[i % svg_colour_count]);
    for (size_t i = 0; marks != NULL && i < count; i++)
        svg_dots(f, &marks[i], svg_colours[i % svg_colour_count]);
    for (size_t i = 0; i < count; i++) {
        const int y = svg_top + 8 + 20 * (int)i;
        sg_writer_printf(f->writer, "<path d=\"M%d %d h22\" stroke=\"%s\" stroke-width=\"3\"/>\n",
                         svg_right + 14, y, svg_colours[i % svg_colour_count]);
        svg_text(f->writer, svg_right + 42, y + 4, "start", "", lines[i].label);
    }
    sg_writer_printf(f->writer, "</svg>\n");
}

sg_status sg_curves_svg(const char *path, const sg_curve *lines, const sg_curve *marks,
                        size_t count, const sg_svg_options *options, sg_error *err)
{
    svg_frame f;
    SG_TRY(svg_range(lines, count, &f, err));
    SG_TRY(sg_writer_open_output(path, SG_OUTPUT_REPLACE, &f.writer, err));
    svg_draw(&f, lines, marks, count, options);
    return sg_writer_replace(f.writer, err);
}
