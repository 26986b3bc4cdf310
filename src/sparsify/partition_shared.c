// A column is the list of the tokens for which its neuron is strong: squared distances to a mean
// are |column| - 2 sum of the mean over the list + |mean|^2.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "base/status.h"
#include "sparsify/kmeans.h"
#include "sparsify/top_sets.h"
#include "sparsify/transport.h"

typedef struct shared_work {
    const sg_top_sets *sets;
    int64_t size, shared; // blocks
    int64_t rest, blocks; // neurons and blocks that are not shared
    int64_t *begins;      // (D + 1) of the columns
    int32_t *list;        // tokens
    int32_t *ranked;      // (D) neurons, the most often strong first
    double *means;        // (blocks, tokens)
    double *costs;        // (rest, blocks)
    int32_t *labels;      // (rest) of ranked[shared * size + i]
    int32_t *before;      // (rest)
    int32_t *best;        // (rest) labels of the better of two runs
    double objective;     // of those
    double *nearest;      // (rest) squared distances to what was drawn
    int32_t *all;         // (D) labels of all neurons
} shared_work;

static int64_t shared_count(const shared_work *w, int64_t neuron)
{
    return w->begins[neuron + 1] - w->begins[neuron];
}

// ---- columns ------------------------------------------------------------------------------------

static void shared_columns(shared_work *w)
{
    const sg_top_sets *s = w->sets;
    for (int64_t i = 0; i < s->tokens * s->top; i++)
        w->begins[s->ids[i] + 1]++;
    for (int64_t j = 0; j < s->neurons; j++)
        w->begins[j + 1] += w->begins[j];
    for (int64_t i = s->tokens * s->top - 1; i >= 0; i--) // from behind: begins end as begins
        w->list[--w->begins[s->ids[i] + 1]] = (int32_t)(i / s->top);
    // begins[j + 1] is now where column j begins; its end is where the next one does.
    memmove(w->begins, w->begins + 1, (size_t)s->neurons * sizeof *w->begins);
    w->begins[s->neurons] = s->tokens * s->top;
}

// Neurons by falling counts, of equal ones in their order: by buckets of counts.
static void shared_rank(shared_work *w, int64_t *at)
{
    const int64_t D = w->sets->neurons, tokens = w->sets->tokens;
    for (int64_t j = 0; j < D; j++)
        at[tokens - shared_count(w, j) + 1]++;
    for (int64_t c = 0; c <= tokens; c++)
        at[c + 1] += at[c];
    for (int64_t j = 0; j < D; j++)
        w->ranked[at[tokens - shared_count(w, j)]++] = (int32_t)j;
}

// ---- rounds -------------------------------------------------------------------------------------

static int64_t shared_neuron(const shared_work *w, int64_t i)
{
    return w->ranked[w->shared * w->size + i];
}

static void shared_add(shared_work *w, int64_t block, int64_t neuron, double by)
{
    double *mean = w->means + block * w->sets->tokens;
    for (int64_t i = w->begins[neuron]; i < w->begins[neuron + 1]; i++)
        mean[w->list[i]] += by;
}

static void shared_means(shared_work *w)
{
    memset(w->means, 0, (size_t)(w->blocks * w->sets->tokens) * sizeof *w->means);
    for (int64_t i = 0; i < w->rest; i++)
        shared_add(w, w->labels[i], shared_neuron(w, i), 1 / (double)w->size);
}

static void shared_costs(void *context, int64_t block, int worker)
{
    shared_work *w = context;
    const double *mean = w->means + block * w->sets->tokens;
    double square = 0;
    (void)worker;
    for (int64_t t = 0; t < w->sets->tokens; t++)
        square += mean[t] * mean[t];
    for (int64_t i = 0; i < w->rest; i++) {
        const int64_t neuron = shared_neuron(w, i);
        double dot = 0;
        for (int64_t at = w->begins[neuron]; at < w->begins[neuron + 1]; at++)
            dot += mean[w->list[at]];
        const double cost = (double)shared_count(w, neuron) - 2 * dot + square;
        w->costs[i * w->blocks + block] = cost > 0 ? cost : 0;
    }
}

// The neurons that come first: those that are strong most often.
static void shared_first(shared_work *w)
{
    memset(w->means, 0, (size_t)(w->blocks * w->sets->tokens) * sizeof *w->means);
    for (int64_t e = 0; e < w->blocks; e++)
        shared_add(w, e, shared_neuron(w, e), 1);
}

static void shared_drawn(shared_work *w, uint64_t seed)
{
    const uint32_t stream = sg_rng_stream("split.shared");
    memset(w->means, 0, (size_t)(w->blocks * w->sets->tokens) * sizeof *w->means);
    for (int64_t i = 0; i < w->rest; i++)
        w->nearest[i] = 1;
    for (int64_t e = 0; e < w->blocks; e++) {
        const double uniform = sg_rng_uniform(seed, stream, (uint64_t)e);
        shared_add(w, e, shared_neuron(w, sg_kmeans_draw(w->nearest, w->rest, uniform)), 1);
        shared_costs(w, e, 0);
        for (int64_t i = 0; i < w->rest; i++)
            if (e == 0 || w->costs[i * w->blocks + e] < w->nearest[i])
                w->nearest[i] = w->costs[i * w->blocks + e];
    }
}

// Sum of squared distances to the means of the labels.
static double shared_sum(shared_work *w)
{
    double sum = 0;
    shared_means(w);
    sg_parallel_for(w->sets->compute.pool, w->blocks, shared_costs, w);
    for (int64_t i = 0; i < w->rest; i++)
        sum += w->costs[i * w->blocks + w->labels[i]];
    return sum;
}

static sg_status shared_rounds(shared_work *w, int64_t rounds, sg_error *err)
{
    const size_t bytes = (size_t)w->rest * sizeof *w->labels;
    for (int64_t round = 0; round < rounds; round++) {
        memcpy(w->before, w->labels, bytes);
        sg_parallel_for(w->sets->compute.pool, w->blocks, shared_costs, w);
        SG_TRY(sg_assign_balanced(w->costs, w->rest, w->blocks, w->size, w->labels, err));
        if (round > 0 && memcmp(w->before, w->labels, bytes) == 0) break;
        shared_means(w);
    }
    const double sum = shared_sum(w);
    if (sum >= w->objective) return SG_OK;
    w->objective = sum;
    memcpy(w->best, w->labels, bytes);
    return SG_OK;
}

static sg_status shared_search(shared_work *w, int64_t rounds, uint64_t seed, sg_error *err)
{
    w->objective = INFINITY;
    shared_first(w);
    SG_TRY(shared_rounds(w, rounds, err));
    shared_drawn(w, seed);
    SG_TRY(shared_rounds(w, rounds, err));
    memcpy(w->labels, w->best, (size_t)w->rest * sizeof *w->labels);
    shared_sum(w); // costs of these
    return SG_OK;
}

// ---- from sets to a partition -------------------------------------------------------------------

// Labels of all, and those that stand for their blocks.
static void shared_result(shared_work *w, int32_t *representatives)
{
    for (int64_t i = 0; i < w->shared * w->size; i++)
        w->all[w->ranked[i]] = (int32_t)(i / w->size);
    for (int64_t e = 0; e < w->blocks; e++)
        representatives[e] = -1;
    for (int64_t i = 0; i < w->rest; i++)
        w->all[shared_neuron(w, i)] = (int32_t)(w->shared + w->labels[i]);
    for (int64_t e = 0; e < w->blocks; e++) {
        double nearest = INFINITY;
        for (int64_t i = 0; i < w->rest; i++) { // of equal ones the one that is strong most often
            if (w->labels[i] != e || w->costs[i * w->blocks + e] >= nearest) continue;
            nearest = w->costs[i * w->blocks + e];
            representatives[e] = (int32_t)shared_neuron(w, i);
        }
    }
}

static sg_status shared_begin(shared_work *w, sg_error *err)
{
    const size_t D = (size_t)w->sets->neurons, tokens = (size_t)w->sets->tokens;
    const size_t rest = (size_t)w->rest, blocks = (size_t)w->blocks;
    w->begins = sg_alloc_zero(D + 1, sizeof *w->begins);
    w->list = sg_alloc_array(tokens, (size_t)w->sets->top * sizeof *w->list);
    w->ranked = sg_alloc_array(D, sizeof *w->ranked);
    w->means = sg_alloc_array(blocks, tokens * sizeof *w->means);
    w->costs = sg_alloc_array(rest, blocks * sizeof *w->costs);
    w->labels = sg_alloc_zero(rest, sizeof *w->labels);
    w->before = sg_alloc_zero(rest, sizeof *w->before);
    w->best = sg_alloc_zero(rest, sizeof *w->best);
    w->nearest = sg_alloc_array(rest, sizeof *w->nearest);
    w->all = sg_alloc_array(D, sizeof *w->all);
    int64_t *at = sg_alloc_zero(tokens + 2, sizeof *at);
    const bool room = w->begins && w->list && w->ranked && w->means && w->costs && w->labels &&
                      w->before && w->best && w->nearest && w->all && at;
    if (room) shared_columns(w);
    if (room) shared_rank(w, at);
    sg_free(at);
    return room ? SG_OK
                : sg_fail(err, SG_ERR_MEMORY, "out of memory for a split of %zu neurons", D);
}

static void shared_free(shared_work *w)
{
    sg_free(w->begins);
    sg_free(w->list);
    sg_free(w->ranked);
    sg_free(w->means);
    sg_free(w->costs);
    sg_free(w->labels);
    sg_free(w->before);
    sg_free(w->best);
    sg_free(w->nearest);
    sg_free(w->all);
}

static sg_status shared_check(const sg_top_sets *sets, const sg_partition *p, int64_t shared,
                              int64_t rounds, sg_error *err)
{
    if (shared < 0 || shared >= p->blocks)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "split: shared blocks: found %lld, expected 0 … %lld, so that one is left",
                       (long long)shared, (long long)p->blocks - 1);
    if (rounds < 1)
        return sg_fail(err, SG_ERR_ARGUMENT, "split: rounds: found %lld, expected 1 or more",
                       (long long)rounds);
    if (sets->tokens < 1)
        return sg_fail(err, SG_ERR_ARGUMENT,
                       "split: found no calibration token, expected at least one");
    return SG_OK;
}

sg_status sg_partition_shared(const sg_top_sets *sets, int64_t size, int64_t shared, int64_t rounds,
                              uint64_t seed, sg_partition *partition, int32_t *representatives,
                              double *objective, sg_error *err)
{
    SG_TRY(sg_partition_new(sets->neurons, size, partition, err)); // its checks
    shared_work w = {.sets = sets, .size = size, .shared = shared};
    w.blocks = partition->blocks - shared;
    w.rest = w.blocks * size;
    sg_status status = shared_check(sets, partition, shared, rounds, err);
    if (status == SG_OK) status = shared_begin(&w, err);
    if (status == SG_OK) status = shared_search(&w, rounds, seed, err);
    sg_partition_free(partition);
    if (status == SG_OK) {
        shared_result(&w, representatives);
        if (objective != NULL) *objective = w.objective;
        status = sg_partition_of_labels(w.all, sets->neurons, size, partition, err);
    }
    if (status == SG_OK) partition->shared = shared;
    shared_free(&w);
    return status;
}
