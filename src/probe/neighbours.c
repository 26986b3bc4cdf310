// Exact nearest neighbours: each query is compared with all rows (probe/scan.h), and the best are
// kept in a heap. Queries are taken some at a time, so that a block of the rows serves them all
// from the cache. Rows come in order of their numbers, so that of equally near ones the first stay.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/context.h"
#include "probe/scan.h"

enum { neighbours_chunk = 32, neighbours_wave = 64 }; // queries of a chunk, chunks between reports

typedef struct near_row {
    double key;
    int32_t row;
} near_row;

typedef struct near_heap {
    near_row *items; // the worst first
    int64_t count;
} near_heap;

// What a thread works in.
typedef struct near_scratch {
    double *keys;           // (block)
    sg_scan_query *queries; // (chunk)
    near_heap *heaps;       // (chunk)
    near_row *items;        // theirs
    int32_t *columns;       // of the queries
    double *weights;
} near_scratch;

typedef struct near_work {
    const sg_vectors *rows, *queries;
    const sg_neighbours_options *options;
    bool own;     // queries are the rows
    int64_t most; // that a query can have
    sg_scan scan;
    near_scratch *scratch; // (threads)
    int threads;
    int64_t first; // query of this wave
    int32_t *ids;
    double *distances;
} near_work;

sg_neighbours_options sg_neighbours_options_default(void)
{
    return (sg_neighbours_options){.count = 10};
}

// ---- the best so far ----------------------------------------------------------------------------

static bool near_worse(near_row a, near_row b)
{
    return a.key < b.key || (a.key == b.key && a.row > b.row);
}

static void near_sink(near_row *items, int64_t count, int64_t at)
{
    const near_row item = items[at];
    for (int64_t child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && near_worse(items[child + 1], items[child])) child++;
        if (!near_worse(items[child], item)) break;
        items[at] = items[child];
    }
    items[at] = item;
}

static void near_add(near_heap *h, int64_t most, near_row item)
{
    if (h->count == most) {
        if (!near_worse(h->items[0], item)) return;
        h->items[0] = item;
        near_sink(h->items, most, 0);
        return;
    }
    int64_t at = h->count++;
    for (; at > 0 && near_worse(item, h->items[(at - 1) / 2]); at = (at - 1) / 2)
        h->items[at] = h->items[(at - 1) / 2];
    h->items[at] = item;
}

// ---- one chunk of queries -----------------------------------------------------------------------

static bool near_may(const near_work *w, int64_t query, int64_t row)
{
    const sg_neighbours_options *o = w->options;
    if (w->own && row == query) return o->self;
    if (o->groups == NULL) return true;
    if (w->own) return o->groups[row] != o->groups[query];
    return o->query_groups == NULL || o->query_groups[query] < 0 ||
           o->groups[row] != o->query_groups[query];
}

// Those of a block that are nearer than the worst that is kept; eight are looked at together.
static void near_take(const near_work *w, int64_t query, int64_t first, const double *keys,
                      int64_t rows, near_heap *h)
{
    const int64_t most = w->most;
    for (int64_t r = 0; r < rows; r += 8) {
        const int64_t end = r + 8 < rows ? r + 8 : rows;
        const double worst = h->count == most ? h->items[0].key : -INFINITY;
        if (end == r + 8) {
            const double *k = keys + r;
            const int any = (k[0] > worst) | (k[1] > worst) | (k[2] > worst) | (k[3] > worst) |
                            (k[4] > worst) | (k[5] > worst) | (k[6] > worst) | (k[7] > worst);
            if (!any) continue;
        }
        for (int64_t i = r; i < end; i++)
            if ((h->count < most || keys[i] > h->items[0].key) && near_may(w, query, first + i))
                near_add(h, most, (near_row){keys[i], (int32_t)(first + i)});
    }
}

// The heap in order, the nearest first.
static void near_write(const near_work *w, int64_t query, const sg_scan_query *q, near_heap *h)
{
    const int64_t most = w->options->count;
    int32_t *ids = w->ids + query * most;
    double *distances = w->distances + query * most;
    for (int64_t i = h->count; i < most; i++) {
        ids[i] = -1;
        distances[i] = INFINITY;
    }
    while (h->count > 0) {
        const near_row worst = h->items[0];
        ids[--h->count] = worst.row;
        distances[h->count] = sg_scan_distance(&w->scan, q, worst.key);
        h->items[0] = h->items[h->count];
        near_sink(h->items, h->count, 0);
    }
}

static void near_chunk(void *context, sg_range range)
{
    const near_work *w = context;
    near_scratch *s = &w->scratch[range.worker];
    const int64_t first = w->first + range.first, count = range.end - range.first;
    for (int64_t i = 0; i < count; i++) {
        sg_scan_query_set(&w->scan, w->queries, first + i, &s->queries[i]);
        s->heaps[i].count = 0;
    }
    for (int64_t b = 0; b < w->scan.blocks; b++)
        for (int64_t i = 0; i < count; i++) {
            const int64_t rows = sg_scan_keys(&w->scan, &s->queries[i], b, s->keys);
            near_take(w, first + i, b * w->scan.block, s->keys, rows, &s->heaps[i]);
        }
    for (int64_t i = 0; i < count; i++)
        near_write(w, first + i, &s->queries[i], &s->heaps[i]);
}

// ---- all ----------------------------------------------------------------------------------------

static void near_free(near_work *w)
{
    for (int t = 0; w->scratch != NULL && t < w->threads; t++) {
        near_scratch *s = &w->scratch[t];
        sg_free(s->keys);
        sg_free(s->queries);
        sg_free(s->heaps);
        sg_free(s->items);
        sg_free(s->columns);
        sg_free(s->weights);
    }
    sg_free(w->scratch);
    sg_scan_end(&w->scan);
}

static sg_status near_prepare(near_work *w, sg_error *err)
{
    const size_t longest = (size_t)sg_vectors_longest(w->queries);
    const size_t most = (size_t)w->most;
    SG_TRY(sg_scan_begin(w->rows, (int)w->options->metric, &w->scan, err));
    w->scratch = sg_alloc_zero((size_t)w->threads, sizeof *w->scratch);
    bool got = w->scratch != NULL;
    for (int t = 0; got && t < w->threads; t++) {
        near_scratch *s = &w->scratch[t];
        s->keys = sg_alloc_array((size_t)w->scan.block, sizeof *s->keys);
        s->queries = sg_alloc_zero(neighbours_chunk, sizeof *s->queries);
        s->heaps = sg_alloc_zero(neighbours_chunk, sizeof *s->heaps);
        s->items = sg_alloc_array(neighbours_chunk * most, sizeof *s->items);
        s->columns = sg_alloc_array(neighbours_chunk * longest, sizeof *s->columns);
        s->weights = sg_alloc_array(neighbours_chunk * longest, sizeof *s->weights);
        got = s->keys != NULL && s->queries != NULL && s->heaps != NULL && s->items != NULL &&
              s->columns != NULL && s->weights != NULL;
        for (size_t i = 0; got && i < neighbours_chunk; i++) {
            s->queries[i].columns = s->columns + i * longest;
            s->queries[i].weights = s->weights + i * longest;
            s->heaps[i].items = s->items + i * most;
        }
    }
    return got ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for neighbours");
}

static sg_status near_check(const near_work *w, sg_error *err)
{
    const sg_neighbours_options *o = w->options;
    if (o->count < 1 || o->count > INT32_MAX)
        return sg_fail(err, SG_ERR_ARGUMENT, "neighbours: found %lld, expected at least 1",
                       (long long)o->count);
    if (o->metric != SG_METRIC_COSINE && o->metric != SG_METRIC_EUCLIDEAN)
        return sg_fail(err, SG_ERR_ARGUMENT, "metric: found %d, expected 0 or 1", (int)o->metric);
    if (w->queries->columns != w->rows->columns)
        return sg_fail(err, SG_ERR_MISMATCH,
                       "neighbours: found queries of %lld columns, expected the %lld of the rows",
                       (long long)w->queries->columns, (long long)w->rows->columns);
    SG_TRY(sg_vectors_check(w->rows, "rows", err));
    return w->own ? SG_OK : sg_vectors_check(w->queries, "queries", err);
}

sg_status sg_neighbours(sg_context *context, const sg_vectors *rows, const sg_vectors *queries,
                        const sg_neighbours_options *options, int32_t *ids, double *distances,
                        sg_error *err)
{
    near_work w = {.rows = rows,
                   .queries = queries != NULL ? queries : rows,
                   .own = queries == NULL,
                   .options = options,
                   .threads = sg_pool_threads(context->compute.pool),
                   .ids = ids,
                   .distances = distances};
    SG_TRY(near_check(&w, err));
    w.most = rows->rows < options->count ? rows->rows : options->count;
    sg_status status = near_prepare(&w, err);
    const int64_t all = w.queries->rows, wave = neighbours_chunk * neighbours_wave;
    for (; status == SG_OK && w.first < all; w.first += wave) {
        if (options->progress != NULL && !options->progress(options->user, w.first, all))
            status = sg_fail(err, SG_ERR_STOPPED, "stopped at row %lld", (long long)w.first);
        const int64_t count = all - w.first < wave ? all - w.first : wave;
        if (status == SG_OK)
            sg_parallel_ranges(context->compute.pool, count, neighbours_chunk, near_chunk, &w);
    }
    near_free(&w);
    return status;
}
