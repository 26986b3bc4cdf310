// Maps of gates on the page: UMAP of the first channels of each layer, places in 65535ths of the
// range of each axis.
#include <math.h>

#include "base/alloc.h"
#include "format/json.h"
#include "probe/records.h"
#include "probe/scope_page.h"
#include "sgatlin_gates.h"

// Positions of one axis in 65535ths of its range, as a column; *range.
static sg_status map_axis(sg_scope_page *page, const sg_umap *map, int axis, int32_t *values,
                          json_t **reference, double *range, sg_error *err)
{
    double low = INFINITY, high = -INFINITY;
    for (int64_t r = 0; r < map->rows; r++) {
        low = fmin(low, map->positions[r * map->components + axis]);
        high = fmax(high, map->positions[r * map->components + axis]);
    }
    *range = high - low;
    for (int64_t r = 0; r < map->rows; r++) {
        const double x = map->positions[r * map->components + axis];
        values[r] = *range > 0 ? (int32_t)lround((x - low) / *range * UINT16_MAX) : 0;
    }
    return sg_page_columns_add(&page->columns, SG_PAGE_U16, values, map->rows, reference, err);
}

// Which token of the text each row of the map is, where they are not the first ones.
static sg_status map_rows(sg_scope_page *page, const sg_gate_rows *gates, int64_t rows,
                          int32_t *values, json_t *object, sg_error *err)
{
    json_t *reference;
    bool first = true;
    int64_t t = 0;
    for (int64_t r = 0; r < rows; r++) {
        while (t + 1 < page->count && page->tokens[t].id < gates->tokens[r])
            t++;
        values[r] = (int32_t)t;
        first = first && t == r;
    }
    if (first && rows == page->count) return SG_OK;
    SG_TRY(sg_page_columns_add(&page->columns, SG_PAGE_U32, values, rows, &reference, err));
    return sg_scope_set(object, "rows", reference, err);
}

static sg_status map_columns(sg_scope_page *page, const sg_scope_pool *pool,
                             const sg_gate_rows *gates, const sg_umap *map, json_t *object,
                             sg_error *err)
{
    json_t *reference;
    double width, height;
    int32_t *values = sg_alloc_array((size_t)map->rows, sizeof *values);
    if (values == NULL) return sg_scope_memory(err);
    sg_status status = map_axis(page, map, 0, values, &reference, &width, err);
    if (status == SG_OK) status = sg_scope_set(object, "x", reference, err);
    if (status == SG_OK) status = map_axis(page, map, 1, values, &reference, &height, err);
    if (status == SG_OK) status = sg_scope_set(object, "y", reference, err);
    if (status == SG_OK) status = map_rows(page, gates, map->rows, values, object, err);
    sg_free(values);
    SG_TRY(status);
    SG_TRY(sg_scope_set(object, "layer", json_integer(pool->layer), err));
    SG_TRY(sg_scope_set(object, "channel", json_integer(pool->channel), err));
    SG_TRY(sg_scope_set(object, "aspect", json_real(height > 0 ? width / height : 1), err));
    SG_TRY(sg_scope_set(object, "neighbours", json_integer(map->neighbours), err));
    SG_TRY(sg_scope_set(object, "quality_neighbours", json_integer(map->quality_neighbours), err));
    SG_TRY(sg_scope_set(object, "seed", json_integer((json_int_t)page->options->seed), err));
    if (!isfinite(map->trustworthiness)) return SG_OK;
    SG_TRY(sg_scope_set(object, "trustworthiness", json_real(map->trustworthiness), err));
    return sg_scope_set(object, "overlap", json_real(map->overlap), err);
}

// *fewer: rows of a map that does not have all tokens.
static sg_status map_make(sg_scope_page *page, const sg_scope_pool *pool, int64_t *fewer,
                          sg_error *err)
{
    const sg_scope_options *o = page->options;
    sg_gate_rows gates = {0};
    sg_umap *map = NULL;
    sg_umap_options options = sg_umap_options_default();
    options.seed = o->seed;
    sg_status status = sg_record_gates(o->models[pool->model].record, pool->layer, pool->channel,
                                       o->map_tokens, &gates, err);
    const sg_vectors vectors = {.rows = gates.rows,
                                .columns = gates.columns,
                                .begins = gates.begins,
                                .neurons = gates.neurons,
                                .scores = gates.scores};
    if (status == SG_OK && gates.rows < 3) { // nothing to map
        sg_gate_rows_free(&gates);
        return SG_OK;
    }
    if (status == SG_OK) status = sg_umap_make(page->context, &vectors, &options, &map, err);
    if (status == SG_OK) {
        json_t *object = json_object();
        status = json_array_append_new(page->maps[pool->model], object) != 0
                     ? sg_scope_memory(err)
                     : map_columns(page, pool, &gates, map, object, err);
        page->info.maps++;
    }
    if (status == SG_OK && map->rows < page->count) *fewer = map->rows;
    sg_umap_free(map);
    sg_gate_rows_free(&gates);
    return status;
}

sg_status sg_scope_maps(sg_scope_page *page, sg_error *err)
{
    const sg_scope_options *o = page->options;
    int64_t count = 0, done = 0, fewer = 0;
    for (size_t i = 0; i < page->pool_count; i++)
        count += page->pools[i].rank < o->maps;
    if (count > 0 && o->part != NULL) o->part(o->user, "maps");
    for (size_t i = 0; i < page->pool_count; i++) {
        if (page->pools[i].rank >= o->maps) continue;
        if (o->progress != NULL && !o->progress(o->user, done++, count))
            return sg_fail(err, SG_ERR_STOPPED, "stopped before the page was written");
        SG_TRY(map_make(page, &page->pools[i], &fewer, err));
    }
    if (fewer == 0) return SG_OK;
    return sg_scope_leave_out(page, err, "Maps: the first %lld tokens alone (--map-tokens).",
                              (long long)fewer);
}
