// Maps: the parts of UMAP one after the other. Exact neighbours, their graph (umap_graph.c), first
// places (umap_spectrum.c), layout (umap_layout.c), and what the map is worth (map_quality.c).
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "probe/scan.h"
#include "probe/umap_layout.h"
#include "probe/umap_spectrum.h"

enum { map_many = 10000, map_epochs = 500, map_epochs_many = 200 };

sg_umap_options sg_umap_options_default(void)
{
    return (sg_umap_options){.neighbours = 15,
                             .min_dist = 0.1,
                             .spread = 1,
                             .negative_samples = 5,
                             .rate = 1,
                             .components = 2,
                             .quality_neighbours = 15,
                             .quality_rows = 10000};
}

sg_status sg_metric_parse(const char *name, const char *field, sg_metric *metric, sg_error *err)
{
    for (*metric = SG_METRIC_COSINE; *metric <= SG_METRIC_EUCLIDEAN; ++*metric)
        if (strcmp(name, sg_metric_name(*metric)) == 0) return SG_OK;
    *metric = SG_METRIC_COSINE;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found \"%.40s\", expected cosine or euclidean", field,
                   name);
}

const char *sg_metric_name(sg_metric metric)
{
    return metric == SG_METRIC_EUCLIDEAN ? "euclidean" : "cosine";
}

// ---- options ------------------------------------------------------------------------------------

static sg_status map_whole(const char *name, int64_t found, int64_t low, int64_t high,
                           sg_error *err)
{
    if (found >= low && found <= high) return SG_OK;
    return sg_fail(err, SG_ERR_ARGUMENT, "%s: found %lld, expected %lld to %lld", name,
                   (long long)found, (long long)low, (long long)high);
}

static sg_status map_check(const sg_umap_options *o, sg_error *err)
{
    SG_TRY(map_whole("neighbors", o->neighbours, 2, 10000, err));
    SG_TRY(map_whole("components", o->components, 2, 3, err));
    SG_TRY(map_whole("epochs", o->epochs, 0, 100000, err));
    SG_TRY(map_whole("negative-samples", o->negative_samples, 0, 1000, err));
    SG_TRY(map_whole("metric", o->metric, SG_METRIC_COSINE, SG_METRIC_EUCLIDEAN, err));
    SG_TRY(map_whole("quality-neighbors", o->quality_neighbours, 1, 10000, err));
    SG_TRY(map_whole("quality-rows", o->quality_rows, 1, INT32_MAX, err));
    if (!(o->spread > 0 && o->spread <= 1e6))
        return sg_fail(err, SG_ERR_ARGUMENT, "spread: found %s, expected more than 0",
                       SG_NUMBER(o->spread));
    if (!(o->min_dist >= 0 && o->min_dist <= o->spread))
        return sg_fail(err, SG_ERR_ARGUMENT, "min-dist: found %s, expected 0 to the spread, %s",
                       SG_NUMBER(o->min_dist), SG_NUMBER(o->spread));
    if (!(o->rate > 0 && o->rate <= 1e6))
        return sg_fail(err, SG_ERR_ARGUMENT, "rate: found %s, expected more than 0",
                       SG_NUMBER(o->rate));
    return SG_OK;
}

static void map_part(const sg_umap_options *o, const char *name)
{
    if (o->part != NULL) o->part(o->user, name);
}

// ---- the graph ----------------------------------------------------------------------------------

// Rows that are at no distance from one before them that is among their neighbours.
static int64_t map_duplicates(int64_t rows, int64_t count, const int32_t *ids,
                              const double *distances)
{
    int64_t duplicates = 0;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t j = 0; j < count; j++)
            if (distances[r * count + j] == 0 && ids[r * count + j] < r) {
                duplicates++;
                break;
            }
    return duplicates;
}

static sg_status map_graph(sg_context *context, const sg_vectors *rows, const sg_umap_options *o,
                           sg_umap *map, sg_graph_edges *graph, sg_error *err)
{
    const int64_t n = rows->rows, count = map->neighbours - 1;
    sg_neighbours_options near = sg_neighbours_options_default();
    near.count = count;
    near.metric = o->metric;
    near.progress = o->progress;
    near.user = o->user;
    int32_t *ids = sg_alloc_array((size_t)(n * count), sizeof *ids);
    double *distances = sg_alloc_array((size_t)(n * count), sizeof *distances);
    sg_status status = ids == NULL || distances == NULL
                           ? sg_fail(err, SG_ERR_MEMORY, "out of memory for neighbours")
                           : sg_neighbours(context, rows, NULL, &near, ids, distances, err);
    if (status == SG_OK) {
        map->duplicates = map_duplicates(n, count, ids, distances);
        status = sg_umap_graph(n, count, ids, distances, graph, err);
    }
    if (status == SG_OK) map->edges = graph->begins[n] / 2;
    sg_free(ids);
    sg_free(distances);
    return status;
}

// ---- all ----------------------------------------------------------------------------------------

static sg_status map_run(sg_context *context, const sg_vectors *rows, const sg_umap_options *o,
                         sg_umap *map, sg_error *err)
{
    sg_graph_edges graph = {0};
    map_part(o, "neighbours");
    SG_TRY(map_graph(context, rows, o, map, &graph, err));
    map_part(o, "spectrum");
    sg_status status = sg_umap_places(context->compute, &graph, o, map->positions, map, err);
    if (status == SG_OK) {
        map_part(o, "layout");
        status = sg_umap_layout(context->compute, &graph, o, map, map->positions, err);
    }
    sg_umap_graph_free(&graph);
    if (status != SG_OK) return status;
    map_part(o, "quality");
    return sg_umap_quality(context, rows, map->positions, o, map, err);
}

sg_status sg_umap_make(sg_context *context, const sg_vectors *rows, const sg_umap_options *o,
                       sg_umap **made, sg_error *err)
{
    SG_TRY(map_check(o, err));
    SG_TRY(sg_vectors_check(rows, "rows", err));
    if (rows->rows < 1) return sg_fail(err, SG_ERR_ARGUMENT, "map: found no rows, expected some");
    sg_umap *map = sg_alloc_zero(1, sizeof *map);
    float *positions = sg_alloc_zero((size_t)(rows->rows * o->components), sizeof *positions);
    if (map == NULL || positions == NULL) {
        sg_free(map);
        sg_free(positions);
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a map");
    }
    map->rows = rows->rows;
    map->components = o->components;
    map->positions = positions;
    map->neighbours = o->neighbours < rows->rows ? o->neighbours : rows->rows;
    map->epochs = o->epochs > 0 ? o->epochs : rows->rows > map_many ? map_epochs_many : map_epochs;
    map->zeros = sg_vectors_zeros(rows);
    map->parts = 1;
    map->trustworthiness = map->overlap = NAN;
    sg_umap_curve(o->min_dist, o->spread, &map->a, &map->b);
    sg_status status = rows->rows > 1 ? map_run(context, rows, o, map, err) : SG_OK;
    if (status == SG_OK)
        *made = map;
    else
        sg_umap_free(map);
    return status;
}

void sg_umap_free(sg_umap *map)
{
    if (map == NULL) return;
    sg_free(map->positions);
    sg_free(map);
}
