// The co-activation graph in METIS's form (rows of neighbours, both ways), its parts, and parts
// made even (MoEfication: adj.py, trans_gp.py of its code). METIS counts weights in 32 bits: where
// their sum would not fit, all are scaled down.
#include <math.h>
#include <metis.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"
#include "sparsify/pair_sums.h"

typedef struct graph {
    const sg_pair_sums *sums;
    double unit;    // a sum of so much is a weight of 1
    int64_t edges;  // in one direction
    idx_t *begins;  // (D + 1)
    idx_t *ends;    // (2 edges) neighbours
    idx_t *weights; // (2 edges)
    double scale;   // of weights
    idx_t *part;    // (D)
} graph;

// ---- the graph ----------------------------------------------------------------------------------

static double graph_weight(const graph *g, float sum)
{
    return floor((double)sum / g->unit);
}

static sg_status graph_threshold(graph *g, sg_error *err)
{
    double t = 0;
    for (int percent = 10; percent <= 100 && t == 0; percent += 10)
        SG_TRY(sg_pair_percentile(g->sums, percent, &t, err));
    if (t > 0) {
        g->unit = 0.99 * t;
        return SG_OK;
    }
    return sg_fail(err, SG_ERR_NUMERIC,
                   "co-activation: found no neuron that is active in %lld tokens; a split by "
                   "co-activation needs activations that are positive now and then",
                   (long long)g->sums->tokens);
}

// Counts edges and their weights: begins[n + 1] is how many neighbours n has.
static sg_status graph_count(graph *g, sg_error *err)
{
    const int64_t D = g->sums->neurons;
    double weight = 0;
    int64_t most = 0;
    for (int64_t n = 0; n < D; n++) {
        const float *row = sg_pair_row(g->sums, n);
        for (int64_t m = 1; m < D - n; m++) {
            const double w = graph_weight(g, row[m]);
            if (w < 1) continue;
            weight += w;
            g->edges++;
            g->begins[n + 1]++;
            g->begins[n + m + 1]++;
        }
    }
    for (int64_t n = 0; n < D; n++)
        most = g->begins[n + 1] > most ? g->begins[n + 1] : most;
    if (g->edges == 0)
        return sg_fail(
            err, SG_ERR_NUMERIC,
            "co-activation: found no two neurons that are active together in %lld tokens",
            (long long)g->sums->tokens);
    if (2 * g->edges > INT32_MAX)
        return sg_fail(err, SG_ERR_UNSUPPORTED,
                       "co-activation: found %lld pairs of neurons, more than METIS can count",
                       (long long)g->edges);
    const double room = (1 << 30) - (double)g->edges; // each is rounded up to 1
    g->scale = weight > room ? room / weight : 1;
    return SG_OK;
}

static void graph_join(graph *g, idx_t *next, int64_t n, int64_t m, double weight)
{
    const idx_t at = next[n]++;
    const double scaled = floor(weight * g->scale);
    g->ends[at] = (idx_t)m;
    g->weights[at] = scaled < 1 ? 1 : (idx_t)scaled;
}

static void graph_fill(graph *g, idx_t *next)
{
    const int64_t D = g->sums->neurons;
    for (int64_t n = 0; n < D; n++)
        g->begins[n + 1] += g->begins[n];
    memcpy(next, g->begins, (size_t)D * sizeof *next);
    for (int64_t n = 0; n < D; n++) {
        const float *row = sg_pair_row(g->sums, n);
        for (int64_t m = 1; m < D - n; m++) {
            const double w = graph_weight(g, row[m]);
            if (w < 1) continue;
            graph_join(g, next, n, n + m, w);
            graph_join(g, next, n + m, n, w);
        }
    }
}

static sg_status graph_make(graph *g, sg_error *err)
{
    const size_t D = (size_t)g->sums->neurons;
    g->begins = sg_alloc_zero(D + 1, sizeof *g->begins);
    g->part = sg_alloc_zero(D, sizeof *g->part);
    if (g->begins == NULL || g->part == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a graph of %zu neurons", D);
    SG_TRY(graph_threshold(g, err));
    SG_TRY(graph_count(g, err));
    g->ends = sg_alloc_array((size_t)g->edges, 2 * sizeof *g->ends);
    g->weights = sg_alloc_array((size_t)g->edges, 2 * sizeof *g->weights);
    if (g->ends == NULL || g->weights == NULL)
        return sg_fail(err, SG_ERR_MEMORY, "out of memory for a graph of %lld edges",
                       (long long)g->edges);
    graph_fill(g, g->part); // which is free until METIS fills it
    return SG_OK;
}

static void graph_free(graph *g)
{
    sg_free(g->begins);
    sg_free(g->ends);
    sg_free(g->weights);
    sg_free(g->part);
}

// ---- its parts ----------------------------------------------------------------------------------

static sg_status graph_cut(graph *g, int64_t blocks, uint64_t seed, sg_error *err)
{
    idx_t options[METIS_NOPTIONS], neurons = (idx_t)g->sums->neurons, constraints = 1;
    idx_t parts = (idx_t)blocks, cut = 0;
    METIS_SetDefaultOptions(options);
    options[METIS_OPTION_SEED] = (idx_t)(sg_rng_u64(seed, sg_rng_stream("split.metis"), 0) >> 34);
    const int found = METIS_PartGraphKway(&neurons, &constraints, g->begins, g->ends, NULL, NULL,
                                          g->weights, &parts, NULL, NULL, options, &cut, g->part);
    if (found == METIS_OK) return SG_OK;
    if (found == METIS_ERROR_MEMORY)
        return sg_fail(err, SG_ERR_MEMORY, "METIS: out of memory for a graph of %lld edges",
                       (long long)g->edges);
    return sg_fail(err, SG_ERR_INTERNAL, "METIS: found status %d, expected %d", found, METIS_OK);
}

// A random order of the first `count` numbers, drawn from one stream after what was drawn before.
static void even_shuffle(int32_t *list, int64_t count, sg_rng *rng)
{
    for (int64_t i = count - 1; i > 0; i--) {
        const int64_t j = (int64_t)sg_rng_next_below(rng, (uint64_t)i + 1);
        const int32_t at = list[i];
        list[i] = list[j];
        list[j] = at;
    }
}

typedef struct even_work {
    int64_t neurons, size, blocks;
    int32_t *labels;         // (D)
    int32_t *pool, *members; // (D) each
    int64_t *counts;         // (blocks)
    sg_rng rng;
} even_work;

// Takes what a part has too much, drawn by chance, into the pool; returns how many are there.
static int64_t even_take(even_work *w, int64_t block, int64_t pooled)
{
    int64_t count = 0;
    if (w->counts[block] <= w->size) return pooled;
    for (int64_t j = 0; j < w->neurons; j++)
        if (w->labels[j] == block) w->members[count++] = (int32_t)j;
    even_shuffle(w->members, count, &w->rng);
    for (int64_t i = w->size; i < count; i++)
        w->pool[pooled++] = w->members[i];
    w->counts[block] = w->size;
    return pooled;
}

static void even_parts(even_work *w)
{
    int64_t pooled = 0, next = 0;
    for (int64_t j = 0; j < w->neurons; j++)
        w->counts[w->labels[j]]++;
    for (int64_t e = 0; e < w->blocks; e++)
        pooled = even_take(w, e, pooled);
    even_shuffle(w->pool, pooled, &w->rng);
    for (int64_t e = 0; e < w->blocks; e++)
        for (; w->counts[e] < w->size; w->counts[e]++)
            w->labels[w->pool[next++]] = (int32_t)e;
}

static sg_status graph_even(const graph *g, const sg_partition *p, uint64_t seed, int32_t *labels,
                            sg_error *err)
{
    const size_t D = (size_t)p->neurons;
    even_work w = {.neurons = p->neurons, .size = p->size, .blocks = p->blocks, .labels = labels};
    w.rng = (sg_rng){.seed = seed, .stream = sg_rng_stream("split.even")};
    w.pool = sg_alloc_array(D, sizeof *w.pool);
    w.members = sg_alloc_array(D, sizeof *w.members);
    w.counts = sg_alloc_zero((size_t)p->blocks, sizeof *w.counts);
    const bool room = w.pool != NULL && w.members != NULL && w.counts != NULL;
    for (int64_t j = 0; j < p->neurons; j++)
        labels[j] = (int32_t)g->part[j];
    if (room) even_parts(&w);
    sg_free(w.pool);
    sg_free(w.members);
    sg_free(w.counts);
    return room ? SG_OK : sg_fail(err, SG_ERR_MEMORY, "out of memory for even parts");
}

sg_status sg_partition_graph(const sg_pair_sums *sums, int64_t size, uint64_t seed,
                             sg_partition *partition, sg_error *err)
{
    SG_TRY(sg_partition_new(sums->neurons, size, partition, err)); // its checks
    graph g = {.sums = sums};
    int32_t *labels = sg_alloc_array((size_t)sums->neurons, sizeof *labels);
    sg_status status = labels != NULL ? graph_make(&g, err)
                                      : sg_fail(err, SG_ERR_MEMORY, "out of memory for labels");
    // METIS's parts of one neuron need not be that, and one part is what there is.
    if (status == SG_OK && partition->blocks > 1 && size > 1) {
        status = graph_cut(&g, partition->blocks, seed, err);
        if (status == SG_OK) status = graph_even(&g, partition, seed, labels, err);
        sg_partition_free(partition);
        if (status == SG_OK)
            status = sg_partition_of_labels(labels, sums->neurons, size, partition, err);
    }
    if (status != SG_OK) sg_partition_free(partition);
    graph_free(&g);
    sg_free(labels);
    return status;
}
