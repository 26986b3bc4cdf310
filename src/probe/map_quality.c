// How far a map is to be believed. Of rows i, all or some that are drawn, with k neighbours j each
// on the map and n rows in all, r_ij being j's rank among all rows by distance from i before the
// map:
//
//     trustworthiness = 1 - 2 / (m k (2 n - 3 k - 1)) * sum over i, j of max(0, r_ij - k)
//     overlap         = mean over i of (how many j have r_ij <= k) / k
//
// m rows are looked at. With m = n these are the formula of Venna and Kaski (2001) as scikit-learn
// has it. Equally distant rows rank by their numbers.
#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/context.h"
#include "base/rng.h"
#include "probe/scan.h"

enum { quality_chunk = 16, quality_wave = 64 };

typedef struct quality_near {
    double key;
    int32_t row;
    int64_t rank;
} quality_near;

typedef struct quality_scratch {
    double *keys; // (rows)
    sg_scan_query query;
    quality_near *near; // (k)
} quality_scratch;

typedef struct quality {
    const sg_vectors *rows;
    const sg_umap_options *options;
    int64_t k, count;    // neighbours; rows looked at
    int64_t *chosen;     // (count)
    int32_t *ids;        // (count, k): their neighbours on the map
    double *distances;   // likewise
    float *places;       // (count, components)
    int64_t *own;        // (rows): each row's number
    int64_t *far, *kept; // (count): sums of one row
    sg_scan scan;
    quality_scratch *scratch; // (threads)
    int threads;
    int64_t first; // of this wave
} quality;

// ---- ranks --------------------------------------------------------------------------------------

static int quality_order(const void *a, const void *b)
{
    const quality_near *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? 1 : -1;
    return (x->row > y->row) - (x->row < y->row);
}

static bool quality_before(double key, int64_t row, const quality_near *than)
{
    return key > than->key || (key == than->key && row < than->row);
}

// Ranks from 1: each row is counted at the first of `near` that is behind it, or is it.
static void quality_rank(const double *keys, int64_t rows, int64_t self, quality_near *near,
                         int64_t k)
{
    for (int64_t r = 0; r < rows; r++) {
        if (!quality_before(keys[r], r, &near[k - 1]) || r == self) continue;
        int64_t low = 0, high = k - 1;
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (quality_before(keys[r], r, &near[middle]))
                high = middle;
            else
                low = middle + 1;
        }
        near[low].rank++;
    }
    for (int64_t j = 0, sum = 0; j < k; j++) {
        sum += near[j].rank;
        near[j].rank = sum + 1;
    }
}

static void quality_rows(void *context, sg_range range)
{
    const quality *q = context;
    quality_scratch *s = &q->scratch[range.worker];
    for (int64_t i = q->first + range.first; i < q->first + range.end; i++) {
        const int64_t row = q->chosen[i];
        sg_scan_query_set(&q->scan, q->rows, row, &s->query);
        for (int64_t b = 0; b < q->scan.blocks; b++)
            sg_scan_keys(&q->scan, &s->query, b, s->keys + b * q->scan.block);
        for (int64_t j = 0; j < q->k; j++) {
            const int32_t id = q->ids[i * q->k + j];
            s->near[j] = (quality_near){s->keys[id], id, 0};
        }
        qsort(s->near, (size_t)q->k, sizeof *s->near, quality_order);
        quality_rank(s->keys, q->rows->rows, row, s->near, q->k);
        for (int64_t j = 0; j < q->k; j++) {
            q->far[i] += s->near[j].rank > q->k ? s->near[j].rank - q->k : 0;
            q->kept[i] += s->near[j].rank <= q->k;
        }
    }
}

// ---- which rows, and their neighbours on the map ------------------------------------------------

static sg_status quality_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for the quality of a map");
}

static sg_status quality_choose(quality *q, const float *positions, sg_error *err)
{
    const int64_t rows = q->rows->rows, dims = q->options->components;
    const uint32_t stream = sg_rng_stream("map quality");
    q->chosen = sg_alloc_array((size_t)q->count, sizeof *q->chosen);
    q->places = sg_alloc_array((size_t)(q->count * dims), sizeof *q->places);
    q->own = sg_alloc_array((size_t)rows, sizeof *q->own);
    if (q->chosen == NULL || q->places == NULL || q->own == NULL) return quality_memory(err);
    for (int64_t i = 0; i < q->count; i++) {
        q->chosen[i] = q->count == rows ? i
                                        : (int64_t)sg_rng_permute(q->options->seed, stream,
                                                                  (uint64_t)i, (uint64_t)rows);
        for (int64_t d = 0; d < dims; d++)
            q->places[i * dims + d] = positions[q->chosen[i] * dims + d];
    }
    for (int64_t r = 0; r < rows; r++)
        q->own[r] = r;
    return SG_OK;
}

static sg_status quality_near_on_map(quality *q, sg_context *context, const float *positions,
                                     sg_error *err)
{
    const int64_t dims = q->options->components;
    const sg_vectors all = {.rows = q->rows->rows, .columns = dims, .values = positions};
    const sg_vectors some = {.rows = q->count, .columns = dims, .values = q->places};
    sg_neighbours_options o = sg_neighbours_options_default();
    o.count = q->k;
    o.metric = SG_METRIC_EUCLIDEAN;
    o.groups = q->own; // a row is no neighbour of itself
    o.query_groups = q->chosen;
    q->ids = sg_alloc_array((size_t)(q->count * q->k), sizeof *q->ids);
    q->distances = sg_alloc_array((size_t)(q->count * q->k), sizeof *q->distances);
    if (q->ids == NULL || q->distances == NULL) return quality_memory(err);
    return sg_neighbours(context, &all, &some, &o, q->ids, q->distances, err);
}

static sg_status quality_prepare(quality *q, sg_error *err)
{
    const size_t longest = (size_t)sg_vectors_longest(q->rows);
    SG_TRY(sg_scan_begin(q->rows, (int)q->options->metric, &q->scan, err));
    q->far = sg_alloc_zero((size_t)q->count, sizeof *q->far);
    q->kept = sg_alloc_zero((size_t)q->count, sizeof *q->kept);
    q->scratch = sg_alloc_zero((size_t)q->threads, sizeof *q->scratch);
    bool got = q->far != NULL && q->kept != NULL && q->scratch != NULL;
    for (int t = 0; got && t < q->threads; t++) {
        quality_scratch *s = &q->scratch[t];
        s->keys = sg_alloc_array((size_t)q->rows->rows, sizeof *s->keys);
        s->near = sg_alloc_array((size_t)q->k, sizeof *s->near);
        s->query.columns = sg_alloc_array(longest, sizeof *s->query.columns);
        s->query.weights = sg_alloc_array(longest, sizeof *s->query.weights);
        got = s->keys != NULL && s->near != NULL && s->query.columns != NULL &&
              s->query.weights != NULL;
    }
    return got ? SG_OK : quality_memory(err);
}

static void quality_free(quality *q)
{
    for (int t = 0; q->scratch != NULL && t < q->threads; t++) {
        sg_free(q->scratch[t].keys);
        sg_free(q->scratch[t].near);
        sg_free(q->scratch[t].query.columns);
        sg_free(q->scratch[t].query.weights);
    }
    sg_free(q->scratch);
    sg_free(q->chosen);
    sg_free(q->places);
    sg_free(q->own);
    sg_free(q->ids);
    sg_free(q->distances);
    sg_free(q->far);
    sg_free(q->kept);
    sg_scan_end(&q->scan);
}

// ---- all ----------------------------------------------------------------------------------------

static sg_status quality_run(quality *q, sg_context *context, const float *positions, sg_umap *map,
                             sg_error *err)
{
    const sg_umap_options *o = q->options;
    const int64_t wave = quality_chunk * quality_wave, n = q->rows->rows;
    int64_t far = 0, kept = 0;
    SG_TRY(quality_choose(q, positions, err));
    SG_TRY(quality_near_on_map(q, context, positions, err));
    SG_TRY(quality_prepare(q, err));
    for (; q->first < q->count; q->first += wave) {
        if (o->progress != NULL && !o->progress(o->user, q->first, q->count))
            return sg_fail(err, SG_ERR_STOPPED, "stopped at row %lld", (long long)q->first);
        sg_parallel_ranges(context->compute.pool,
                           q->count - q->first < wave ? q->count - q->first : wave, quality_chunk,
                           quality_rows, q);
    }
    for (int64_t i = 0; i < q->count; i++) {
        far += q->far[i];
        kept += q->kept[i];
    }
    const double pairs = (double)(q->count * q->k);
    map->trustworthiness = 1 - 2 * (double)far / (pairs * (double)(2 * n - 3 * q->k - 1));
    map->overlap = (double)kept / pairs;
    return SG_OK;
}

sg_status sg_umap_quality(sg_context *context, const sg_vectors *rows, const float *positions,
                          const sg_umap_options *options, sg_umap *map, sg_error *err)
{
    const int64_t n = rows->rows;
    quality q = {.rows = rows,
                 .options = options,
                 .k = options->quality_neighbours,
                 .count = options->quality_rows < n ? options->quality_rows : n,
                 .threads = sg_pool_threads(context->compute.pool)};
    if (q.k < 1 || q.count < 0)
        return sg_fail(err, SG_ERR_ARGUMENT, "quality: found %lld neighbours of %lld rows",
                       (long long)q.k, (long long)q.count);
    SG_TRY(sg_vectors_check(rows, "rows", err));
    if (q.k >= (n + 1) / 2) q.k = (n + 1) / 2 - 1; // the formula is for fewer than half of the rows
    map->quality_neighbours = q.k > 0 ? q.k : 0;
    map->quality_rows = q.k > 0 ? q.count : 0;
    map->trustworthiness = map->overlap = NAN;
    if (q.k < 1 || q.count < 1) return SG_OK;
    sg_status status = quality_run(&q, context, positions, map, err);
    quality_free(&q);
    return status;
}
