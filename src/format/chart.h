// A chart as an SVG file that stands alone: one or several panels with axes, lines, points with
// intervals, a legend. It is the one way in which the program draws files; curves of runs (svg.c)
// and the figures of a report (sweep/report_svg.c) say what, this says how.
#ifndef SG_FORMAT_CHART_H
#define SG_FORMAT_CHART_H

#include "base/status.h"

typedef struct sg_chart_series {
    const char *label; // in the legend, once for all panels; "" or NULL: not there
    int colour, shape; // numbers, from 0; they go round
    // x, y (count); what is not finite is not drawn, nor what is <= 0 on a logarithmic axis. low,
    // high (count), NULL: no intervals of y.
    const double *x, *y, *low, *high;
    size_t count;
    bool line, points; // joined in order; a mark each
    bool level;        // a line across the panel at y[0]
    bool hollow;       // marks that are not filled
    bool dashed, faint;
} sg_chart_series;

typedef struct sg_chart_panel {
    const char *title;             // NULL: none
    const char *x_label;           // NULL: the chart's
    bool x_linear;                 // though the chart's are logarithmic
    const sg_chart_series *series; // (count)
    size_t count;
} sg_chart_panel;

typedef struct sg_chart {
    const char *title, *x_label, *y_label;
    const sg_chart_panel *panels; // (count), in rows of three at most
    size_t count;
    bool x_log, y_log;
    bool x_from_zero;
    double y_trim; // share of the highest values that may leave a panel; 0: none
    double y_most; // points above this leave it, too; 0: none
} sg_chart;

// mode: SG_OUTPUT_REPLACE or SG_OUTPUT_NEW (base/file.h).
sg_status sg_chart_write(const char *path, int mode, const sg_chart *chart, sg_error *err);

#endif
