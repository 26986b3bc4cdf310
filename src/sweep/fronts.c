// Fronts: a contender's losses over seconds. Of its points those that no faster one undercuts; a
// point is a finished schedule, at the rate that was found, over its seeds, so that no lucky seed
// and no run that was cut is on it.
#include <stdlib.h>
#include <string.h>

#include "sweep/analysis_inside.h"

typedef struct front_point {
    double seconds, loss;
    size_t row;
} front_point;

static int front_order(const void *one, const void *other)
{
    const front_point *a = one, *b = other;
    if (a->seconds < b->seconds || a->seconds > b->seconds) return a->seconds < b->seconds ? -1 : 1;
    if (a->loss < b->loss || a->loss > b->loss) return a->loss < b->loss ? -1 : 1;
    return (a->row > b->row) - (a->row < b->row);
}

static size_t front_points(const sg_sweep_analysis *a, const sg_sweep_curve *of, front_point *out)
{
    size_t count = 0, kept = 0;
    for (size_t i = 0; i < a->curve_count; i++) {
        const sg_sweep_curve *curve = &a->curves[i];
        if (!sg_sweep_same_contender(curve, of)) continue;
        for (size_t p = 0; p < curve->point_count; p++)
            if (!isnan(curve->points[p].seconds))
                out[count++] = (front_point){curve->points[p].seconds, curve->points[p].loss,
                                             curve->points[p].best_row};
    }
    qsort(out, count, sizeof *out, front_order);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || out[i].loss < out[kept - 1].loss) out[kept++] = out[i];
    return kept;
}

// False: out of memory.
static bool front_add(const sg_sweep_curve *of, const front_point *points, size_t count,
                      sg_sweep_analysis *out)
{
    sg_sweep_front *front = &out->fronts[out->front_count++];
    memcpy(front->family, of->family, sizeof front->family);
    memcpy(front->settings, of->settings, sizeof front->settings);
    front->seconds = sg_alloc_array(count, sizeof *front->seconds);
    front->loss = sg_alloc_array(count, sizeof *front->loss);
    front->row = sg_alloc_array(count, sizeof *front->row);
    if (front->seconds == NULL || front->loss == NULL || front->row == NULL) return false;
    front->count = count;
    for (size_t i = 0; i < count; i++) {
        front->seconds[i] = points[i].seconds;
        front->loss[i] = points[i].loss;
        front->row[i] = points[i].row;
    }
    return true;
}

sg_status sg_sweep_make_fronts(sg_sweep_analysis *out, sg_error *err)
{
    size_t all = 0;
    for (size_t i = 0; i < out->curve_count; i++)
        all += out->curves[i].point_count;
    front_point *points = sg_alloc_array(all, sizeof *points);
    out->fronts = sg_alloc_zero(out->curve_count, sizeof *out->fronts);
    bool memory = points != NULL && out->fronts != NULL;
    for (size_t i = 0; memory && i < out->curve_count; i++) {
        const sg_sweep_curve *of = &out->curves[i];
        if (sg_sweep_front_of(out, of) != NULL) continue;
        const size_t count = front_points(out, of, points);
        if (count > 0) memory = front_add(of, points, count, out);
    }
    sg_free(points);
    return memory ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for curves over seconds");
}

const sg_sweep_front *sg_sweep_front_of(const sg_sweep_analysis *a, const sg_sweep_curve *of)
{
    for (size_t i = 0; i < a->front_count; i++)
        if (strcmp(a->fronts[i].family, of->family) == 0 &&
            strcmp(a->fronts[i].settings, of->settings) == 0)
            return &a->fronts[i];
    return NULL;
}
