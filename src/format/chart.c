// Charts as SVG, written by hand: round numbers at the axes, colours that stay apart for most eyes
// (Okabe and Ito), and a shape for each, for the others.
#include "format/chart.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"

static const char *const chart_colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                            "#e69f00", "#56b4e9", "#000000", "#7f7f7f"};
enum {
    chart_colour_count = sizeof chart_colours / sizeof *chart_colours,
    chart_shapes = 6,
    chart_left = 64, // of a panel, beside its plot
    chart_between = 28,
    chart_head = 44, // above the first row of panels
    chart_foot = 56, // below a plot: numbers and the label
    chart_ticks = 12
};

typedef struct chart_axis {
    double low, high; // what is shown; logarithms where log
    bool log;
} chart_axis;

// A panel while it is drawn.
typedef struct chart_frame {
    chart_axis x, y;
    double left, top, width, height; // of its plot
    size_t number;
    sg_writer *writer;
} chart_frame;

// ---- ranges -------------------------------------------------------------------------------------

static int chart_compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static bool chart_shows(const chart_axis *axis, double value)
{
    return isfinite(value) && (!axis->log || value > 0);
}

static double chart_on(const chart_axis *axis, double value)
{
    return axis->log ? log10(value) : value;
}

static void chart_room(chart_axis *axis, double share, bool from_zero)
{
    if (from_zero) {
        axis->low = 0;
        if (!(axis->high > 0)) axis->high = 1;
        return;
    }
    if (!(axis->high >= axis->low)) axis->low = axis->high = 0;
    const double range = axis->high - axis->low;
    const double room = range > 0 ? share * range : axis->log ? 0.15 : 0.5;
    axis->low -= room;
    axis->high += room;
}

static void chart_widen(chart_axis *axis, double value)
{
    axis->low = fmin(axis->low, chart_on(axis, value));
    axis->high = fmax(axis->high, chart_on(axis, value));
}

static bool chart_leaves(const sg_chart *chart, double y)
{
    return chart->y_most > 0 && y > chart->y_most;
}

static void chart_x_range(const sg_chart *chart, const sg_chart_panel *panel, chart_axis *x)
{
    for (size_t s = 0; s < panel->count; s++) {
        const sg_chart_series *one = &panel->series[s];
        for (size_t i = 0; i < one->count; i++)
            if (chart_shows(x, one->x[i]) && !chart_leaves(chart, one->y[i]))
                chart_widen(x, one->x[i]);
    }
    chart_room(x, 0.06, chart->x_from_zero);
}

// All values but the highest so many, which are the first steps of curves; intervals too.
static sg_status chart_y_range(const sg_chart *chart, const sg_chart_panel *panel, chart_axis *y,
                               sg_error *err)
{
    size_t all = 0, at = 0;
    for (size_t s = 0; s < panel->count; s++)
        all += panel->series[s].count;
    double *values = sg_alloc_array(all + 1, sizeof *values);
    if (values == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a drawing");
    for (size_t s = 0; s < panel->count; s++) {
        const sg_chart_series *one = &panel->series[s];
        for (size_t i = 0; i < one->count; i++) {
            if (!isfinite(one->x[i]) || chart_leaves(chart, one->y[i])) continue;
            if (chart_shows(y, one->y[i])) values[at++] = one->y[i];
            if (one->low != NULL && chart_shows(y, one->low[i])) chart_widen(y, one->low[i]);
            if (one->high != NULL && chart_shows(y, one->high[i])) chart_widen(y, one->high[i]);
        }
    }
    if (at > 1) qsort(values, at, sizeof *values, chart_compare);
    if (at > 0) {
        chart_widen(y, values[0]);
        chart_widen(y, values[(at - 1) - (size_t)((double)(at - 1) * chart->y_trim)]);
    }
    sg_free(values);
    chart_room(y, 0.05, false);
    return SG_OK;
}

static double chart_x(const chart_frame *f, double value)
{
    return f->left + f->width * (chart_on(&f->x, value) - f->x.low) / (f->x.high - f->x.low);
}

static double chart_y(const chart_frame *f, double value)
{
    return f->top + f->height -
           f->height * (chart_on(&f->y, value) - f->y.low) / (f->y.high - f->y.low);
}

// ---- round numbers ------------------------------------------------------------------------------

// 1, 2 or 5 times a power of ten: about `parts` of them in the range.
static double chart_step(double range, int parts)
{
    const double raw = range / parts, power = pow(10, floor(log10(raw))), lead = raw / power;
    return power * (lead < 1.5 ? 1 : lead < 3.5 ? 2 : lead < 7.5 ? 5 : 10);
}

static size_t chart_linear_ticks(double low, double high, int parts, double *out)
{
    const double step = chart_step(high - low, parts);
    size_t count = 0;
    for (double v = ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step)
        if (count < chart_ticks) out[count++] = fabs(v) < step / 1e6 ? 0 : v;
    return count;
}

// So many of each power of ten, from `leads`; how many there are.
static size_t chart_powers(const chart_axis *axis, const double *leads, size_t each, double skip,
                           double *out)
{
    size_t count = 0;
    for (double p = skip * floor(axis->low / skip); p <= axis->high; p += skip)
        for (size_t l = 0; l < each; l++) {
            const double v = leads[l] * pow(10, p);
            if (log10(v) < axis->low - 1e-9 || log10(v) > axis->high + 1e-9) continue;
            if (count < chart_ticks) out[count] = v;
            count++;
        }
    return count;
}

// 1, 2 and 5 of each power of ten, or 1 and 3, or powers alone, as there is room; or round steps.
static size_t chart_log_ticks(const chart_axis *axis, int parts, double *out)
{
    static const double leads[][3] = {{1, 2, 5}, {1, 3}, {1}};
    const size_t most = (size_t)parts + 3;
    for (size_t i = 0; i < 3; i++) {
        const double skip = i < 2 ? 1 : ceil((axis->high - axis->low) / (double)most);
        const size_t count = chart_powers(axis, leads[i], 3 - i, skip, out);
        if (count < 3) break;
        if (count <= most) return count;
    }
    return chart_linear_ticks(pow(10, axis->low), pow(10, axis->high), parts, out);
}

static size_t chart_ticks_of(const chart_axis *axis, int parts, double *out)
{
    return axis->log ? chart_log_ticks(axis, parts, out)
                     : chart_linear_ticks(axis->low, axis->high, parts, out);
}

// 4e12 -> "4 T": as the command writes numbers. Beyond that as a power.
static void chart_number(char *out, size_t capacity, double value)
{
    static const char letters[] = " kMGT";
    double rest = value;
    int power = 0;
    while (fabs(rest) >= 999.5 && power < 4) {
        rest /= 1000;
        power++;
    }
    if (fabs(rest) >= 999.5)
        snprintf(out, capacity, "%.4g", value);
    else
        snprintf(out, capacity, power > 0 ? "%.4g %c" : "%.4g", rest, letters[power]);
}

// ---- text ---------------------------------------------------------------------------------------

static void chart_escape(sg_writer *w, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        const unsigned char byte = (unsigned char)*c;
        if (*c == '<' || *c == '>' || *c == '&' || *c == '"')
            sg_writer_printf(w, "&#%d;", *c);
        else
            sg_writer_put(w, byte < ' ' || byte == 127 ? " " : c, 1);
    }
}

static void chart_text(sg_writer *w, double x, double y, const char *anchor, const char *more,
                       const char *text)
{
    sg_writer_printf(w, "<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\"%s>", x, y, anchor, more);
    chart_escape(w, text);
    sg_writer_printf(w, "</text>\n");
}

// ---- a panel ------------------------------------------------------------------------------------

static void chart_axes(const chart_frame *f, const sg_chart *chart, const sg_chart_panel *panel)
{
    char number[32], turn[64];
    double ticks[chart_ticks];
    const double bottom = f->top + f->height, right = f->left + f->width;
    size_t count = chart_ticks_of(&f->x, f->width > 400 ? 6 : 4, ticks);
    for (size_t i = 0; i < count; i++) {
        chart_number(number, sizeof number, ticks[i]);
        sg_writer_printf(f->writer, "<path d=\"M%.1f %.1f V%.1f\" stroke=\"#ddd\"/>\n",
                         chart_x(f, ticks[i]), f->top, bottom);
        chart_text(f->writer, chart_x(f, ticks[i]), bottom + 18, "middle", "", number);
    }
    count = chart_ticks_of(&f->y, 6, ticks);
    for (size_t i = 0; i < count; i++) {
        chart_number(number, sizeof number, ticks[i]);
        sg_writer_printf(f->writer, "<path d=\"M%.1f %.1f H%.1f\" stroke=\"#ddd\"/>\n", f->left,
                         chart_y(f, ticks[i]), right);
        chart_text(f->writer, f->left - 8, chart_y(f, ticks[i]) + 4, "end", "", number);
    }
    sg_writer_printf(f->writer,
                     "<path d=\"M%.1f %.1f V%.1f H%.1f\" stroke=\"#444\" fill=\"none\"/>\n",
                     f->left, f->top, bottom, right);
    if (panel->title != NULL)
        chart_text(f->writer, f->left + f->width / 2, f->top - 8, "middle", " font-weight=\"bold\"",
                   panel->title);
    chart_text(f->writer, f->left + f->width / 2, bottom + 40, "middle", "",
               panel->x_label ? panel->x_label : chart->x_label);
    snprintf(turn, sizeof turn, " transform=\"rotate(-90 %.1f %.1f)\"", f->left - 46,
             f->top + f->height / 2);
    chart_text(f->writer, f->left - 46, f->top + f->height / 2, "middle", turn, chart->y_label);
}

static bool chart_has(const chart_frame *f, const sg_chart_series *s, size_t i)
{
    return chart_shows(&f->x, s->x[i]) && chart_shows(&f->y, s->y[i]);
}

static void chart_level(const chart_frame *f, const sg_chart_series *s, const char *colour)
{
    if (s->count > 0 && chart_shows(&f->y, s->y[0]))
        sg_writer_printf(f->writer,
                         "<path clip-path=\"url(#plot%zu)\" stroke=\"%s\" stroke-width=\"1.2\" "
                         "stroke-dasharray=\"2 3\" d=\"M%.1f %.1f H%.1f\"/>\n",
                         f->number, colour, f->left, chart_y(f, s->y[0]), f->left + f->width);
}

static void chart_line(const chart_frame *f, const sg_chart_series *s, const char *colour)
{
    size_t drawn = 0;
    if (s->level) chart_level(f, s, colour);
    if (s->count < 2) return;
    sg_writer_printf(f->writer,
                     "<path clip-path=\"url(#plot%zu)\" fill=\"none\" stroke=\"%s\" "
                     "stroke-width=\"%s\"%s%s stroke-linejoin=\"round\" d=\"",
                     f->number, colour, s->faint ? "1" : "1.6",
                     s->dashed ? " stroke-dasharray=\"4 3\"" : "",
                     s->faint ? " opacity=\"0.5\"" : "");
    for (size_t i = 0; i < s->count; i++) {
        if (!chart_has(f, s, i)) continue;
        const double x = chart_x(f, s->x[i]), y = chart_y(f, s->y[i]);
        sg_writer_printf(f->writer, "%s%.1f %.1f", drawn == 0 ? "M" : " L", x, y);
        drawn++;
    }
    sg_writer_printf(f->writer, "\"/>\n");
}

// A mark around (x, y): circle, square, triangle, diamond, the triangle turned, a cross.
static void chart_mark(sg_writer *w, int shape, double x, double y, const char *style)
{
    static const char *const paths[chart_shapes] = {"",
                                                    "m-3 -3 h6 v6 h-6 z",
                                                    "m0 -4 l4 7 h-8 z",
                                                    "m0 -4.4 l4.4 4.4 l-4.4 4.4 l-4.4 -4.4 z",
                                                    "m0 4 l4 -7 h-8 z",
                                                    "m-3 -3 l6 6 m0 -6 l-6 6"};
    if (shape % chart_shapes == 0)
        sg_writer_printf(w, "<circle %s cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\"/>\n", style, x, y);
    else
        sg_writer_printf(w, "<path %s d=\"M%.1f %.1f%s\"/>\n", style, x, y,
                         paths[shape % chart_shapes]);
}

static void chart_points(const chart_frame *f, const sg_chart_series *s, const char *colour)
{
    char style[160];
    snprintf(style, sizeof style,
             "clip-path=\"url(#plot%zu)\" fill=\"%s\" stroke=\"%s\" stroke-width=\"%s\"%s",
             f->number, s->hollow ? "white" : colour, colour, s->faint ? "1" : "1.6",
             s->faint ? " opacity=\"0.6\"" : "");
    for (size_t i = 0; i < s->count; i++) {
        if (!chart_has(f, s, i)) continue;
        const double x = chart_x(f, s->x[i]);
        if (s->low != NULL && s->high != NULL && chart_shows(&f->y, s->low[i]) &&
            chart_shows(&f->y, s->high[i])) {
            const double low = chart_y(f, s->low[i]), high = chart_y(f, s->high[i]);
            sg_writer_printf(f->writer,
                             "<path clip-path=\"url(#plot%zu)\" stroke=\"%s\" stroke-width=\"1.2\" "
                             "d=\"M%.1f %.1f V%.1f m-3 0 h6 M%.1f %.1f h6\"/>\n",
                             f->number, colour, x, low, high, x - 3, low);
        }
        chart_mark(f->writer, s->shape, x, chart_y(f, s->y[i]), style);
    }
}

static sg_status chart_panel(chart_frame *f, const sg_chart *chart, const sg_chart_panel *panel,
                             sg_error *err)
{
    f->x =
        (chart_axis){.low = INFINITY, .high = -INFINITY, .log = chart->x_log && !panel->x_linear};
    f->y = (chart_axis){.low = INFINITY, .high = -INFINITY, .log = chart->y_log};
    chart_x_range(chart, panel, &f->x);
    SG_TRY(chart_y_range(chart, panel, &f->y, err));
    sg_writer_printf(f->writer,
                     "<clipPath id=\"plot%zu\"><rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" "
                     "height=\"%.1f\"/></clipPath>\n",
                     f->number, f->left, f->top - 4, f->width + 4, f->height + 4);
    chart_axes(f, chart, panel);
    for (size_t s = 0; s < panel->count; s++)
        if (panel->series[s].line || panel->series[s].level)
            chart_line(f, &panel->series[s],
                       chart_colours[panel->series[s].colour % chart_colour_count]);
    for (size_t s = 0; s < panel->count; s++)
        if (panel->series[s].points)
            chart_points(f, &panel->series[s],
                         chart_colours[panel->series[s].colour % chart_colour_count]);
    return SG_OK;
}

// ---- the whole ----------------------------------------------------------------------------------

// The n-th series that has a label which none before it has; NULL: there are no more.
static const sg_chart_series *chart_named(const sg_chart *chart, size_t n)
{
    for (size_t p = 0; p < chart->count; p++)
        for (size_t s = 0; s < chart->panels[p].count; s++) {
            const sg_chart_series *one = &chart->panels[p].series[s];
            bool known = one->label == NULL || one->label[0] == '\0';
            for (size_t q = 0; q <= p && !known; q++)
                for (size_t t = 0; t < (q < p ? chart->panels[q].count : s) && !known; t++) {
                    const char *label = chart->panels[q].series[t].label;
                    known = label != NULL && strcmp(label, one->label) == 0;
                }
            if (!known && n-- == 0) return one;
        }
    return NULL;
}

static void chart_legend(const sg_chart *chart, sg_writer *w, double x)
{
    const sg_chart_series *s;
    for (size_t n = 0; (s = chart_named(chart, n)) != NULL; n++) {
        const char *colour = chart_colours[s->colour % chart_colour_count];
        const double y = chart_head + 8 + 20 * (double)n;
        char style[96];
        if (s->line || s->level)
            sg_writer_printf(w,
                             "<path d=\"M%.1f %.1f h22\" stroke=\"%s\" stroke-width=\"%s\"%s/>\n",
                             x, y, colour, s->level ? "1.2" : "2",
                             s->level    ? " stroke-dasharray=\"2 3\""
                             : s->dashed ? " stroke-dasharray=\"4 3\""
                                         : "");
        snprintf(style, sizeof style, "fill=\"%s\" stroke=\"%s\" stroke-width=\"%s\"",
                 s->hollow ? "white" : colour, colour, s->hollow ? "1.6" : "1");
        if (s->points) chart_mark(w, s->shape, x + 11, y, style);
        chart_text(w, x + 28, y + 4, "start", "", s->label);
    }
}

static double chart_legend_width(const sg_chart *chart)
{
    const sg_chart_series *s;
    size_t longest = 12;
    for (size_t n = 0; (s = chart_named(chart, n)) != NULL; n++)
        longest = strlen(s->label) > longest ? strlen(s->label) : longest;
    return 44 + 7.2 * (double)(longest < 40 ? longest : 40);
}

static sg_status chart_draw(const sg_chart *chart, sg_writer *w, sg_error *err)
{
    const size_t columns = chart->count < 3 ? chart->count : 3;
    const size_t rows = columns > 0 ? (chart->count + columns - 1) / columns : 0;
    const bool single = chart->count <= 1, pair = chart->count == 2;
    chart_frame f = {.width = single ? 536
                              : pair ? 430
                                     : 300,
                     .height = single ? 380
                               : pair ? 350
                                      : 250,
                     .writer = w};
    const double across = f.width + chart_left + chart_between;
    const double down = f.height + chart_foot + (single ? 0 : 26);
    const double inside = across * (double)(columns > 0 ? columns : 1);
    const double named = 20 * 2 + 20; // the legend may be longer than the panels
    size_t names = 0;
    while (chart_named(chart, names) != NULL)
        names++;
    const double width = inside + chart_legend_width(chart);
    const double height =
        fmax(chart_head + down * (double)rows + (single ? 0 : 18), named + 20 * (double)names);
    sg_writer_printf(w,
                     "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                     "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\" font-size=\"12\">\n"
                     "<rect width=\"%.0f\" height=\"%.0f\" fill=\"white\"/>\n",
                     width, height, width, height, width, height);
    chart_text(w, chart_left, 24, "start", " font-size=\"15\" font-weight=\"bold\"", chart->title);
    for (size_t p = 0; p < chart->count; p++) {
        f.number = p;
        f.left = chart_left + across * (double)(p % columns);
        f.top = chart_head + (single ? 0 : 18) + down * (double)(p / columns);
        SG_TRY(chart_panel(&f, chart, &chart->panels[p], err));
    }
    chart_legend(chart, w, inside - (single ? 14 : 4));
    sg_writer_printf(w, "</svg>\n");
    return SG_OK;
}

sg_status sg_chart_write(const char *path, int mode, const sg_chart *chart, sg_error *err)
{
    sg_writer *writer;
    SG_TRY(sg_writer_open_output(path, mode, &writer, err));
    sg_status status = chart_draw(chart, writer, err);
    if (status != SG_OK) {
        sg_writer_withdraw(writer);
        return status;
    }
    return sg_writer_replace(writer, err);
}
