// Control neurons: as many others, matched in usage and size, so that what a patch does is not what
// any neurons of that kind would do.
//
// Of single neurons. A neuron n of a patch has at a token, in the two runs of a pair, the gates s_a
// and s_b (or is not selected), and what it may at most take away or bring is
//
//     size(n) = max(|z_a|, |z_b|) |w_out|,   z: hook_post, 0 where it is not selected.
//
// Its control is another neuron of the same layer and channel that is selected in the same ones of
// the two runs: one of the three nearest in |ln size ratio| + |ln usage ratio|, drawn by the seed.
// A neuron that neither run selects changes nothing, and has its like as a control.
//
// Of gates. The scores of the other run, slot by slot, with ids of neurons that neither run selects
// there: of 64 that are drawn the nearest in |ln usage ratio| + |ln ratio of |w_in| |w_out||, which
// a score multiplies. (Of blocks in usage alone.)
//
// Usage is the share of the tokens of all captured runs that select a neuron, at least half of one.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "probe/exchange_inside.h"
#include "probe/patch_inside.h"

enum { match_nearest = 3, match_draws = 64, match_tries = 512 };

static sg_status match_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for neurons that match");
}

// Counts what a run selects at its tokens from `start` on.
static void match_count(const sg_exchange_gates_of *g, const sg_exchange *x, const sg_capture *c,
                        float *usage)
{
    for (int64_t p = c->start; p < c->length; p++) {
        const int32_t *ids = (const void *)sg_capture_row(x, c, (size_t)g->ids, p);
        for (int64_t i = 0; i < g->channels * g->selected; i++)
            for (int64_t j = 0; j < g->block; j++)
                usage[i / g->selected * g->neurons + ids[i] * g->block + j] += 1;
    }
}

static void match_usage(sg_patch_matcher *m, int64_t layer, sg_capture *const *captures,
                        size_t count)
{
    const sg_exchange_gates_of *g = sg_exchange_gates(m->x, layer);
    double tokens = 0;
    for (size_t i = 0; i < count; i++) {
        if (captures[i] == NULL) continue;
        tokens += (double)(captures[i]->length - captures[i]->start);
        if (g->ids >= 0) match_count(g, m->x, captures[i], m->usage[layer]);
    }
    for (int64_t i = 0; i < g->channels * g->neurons; i++) {
        float *usage = &m->usage[layer][i];
        if (g->ids < 0) *usage = (float)tokens; // a dense layer has them all
        *usage = (float)(fmax((double)*usage, 0.5) / fmax(tokens, 1));
    }
}

// Lengths of w_out times those of w_in.
static sg_status match_sizes(sg_patch_matcher *m, int64_t layer, sg_error *err)
{
    const sg_neuron_table *table = &m->tables[layer];
    const size_t all = (size_t)(table->pools * table->neurons);
    m->sizes[layer] = sg_alloc_array(all, sizeof(float));
    float *row = sg_alloc_array((size_t)table->width, sizeof *row);
    sg_status status = m->sizes[layer] == NULL || row == NULL ? match_memory(err) : SG_OK;
    for (size_t i = 0; status == SG_OK && i < all; i++) {
        double sum = 1;
        if (table->in != SG_NEURON_NO_TABLE) {
            status = sg_neuron_in(table, (int64_t)i / table->neurons, (int64_t)i % table->neurons,
                                  row, err);
            sum = 0;
            for (int64_t k = 0; status == SG_OK && k < table->width; k++)
                sum += (double)row[k] * (double)row[k];
        }
        m->sizes[layer][i] = (float)(sqrt(sum) * (double)m->norms[layer][i]);
    }
    sg_free(row);
    return status;
}

static sg_status match_layer(sg_patch_matcher *m, int64_t layer, bool gates,
                             sg_capture *const *captures, size_t count, sg_error *err)
{
    const sg_exchange_gates_of *g = sg_exchange_gates(m->x, layer);
    const sg_neuron_table *table = &m->tables[layer];
    if (m->usage[layer] != NULL) return SG_OK;
    m->usage[layer] = sg_alloc_zero((size_t)(g->channels * g->neurons), sizeof(float));
    m->norms[layer] = sg_alloc_zero((size_t)(table->pools * table->neurons), sizeof(float));
    if (m->usage[layer] == NULL || m->norms[layer] == NULL) return match_memory(err);
    match_usage(m, layer, captures, count);
    SG_TRY(sg_neuron_out_norms(table, m->norms[layer], err));
    return gates && g->ids >= 0 && g->block == 1 ? match_sizes(m, layer, err) : SG_OK;
}

sg_status sg_patch_matcher_new(const sg_patch_plan *plan, const sg_exchange *x,
                               const sg_model *model, sg_capture *const *captures, size_t count,
                               sg_patch_matcher *m, sg_error *err)
{
    const size_t layers = (size_t)plan->layers;
    *m = (sg_patch_matcher){.x = x, .layers = plan->layers};
    m->tables = sg_alloc_zero(layers, sizeof *m->tables);
    m->usage = sg_alloc_zero(layers, sizeof *m->usage);
    m->norms = sg_alloc_zero(layers, sizeof *m->norms);
    m->sizes = sg_alloc_zero(layers, sizeof *m->sizes);
    if (!m->tables || !m->usage || !m->norms || !m->sizes) return match_memory(err);
    for (int64_t l = 0; l < plan->layers; l++)
        SG_TRY(sg_neuron_table_of(model, l, &m->tables[l], err));
    for (size_t i = 0; i < plan->neuron_count; i++)
        SG_TRY(match_layer(m, plan->neurons[i].layer, false, captures, count, err));
    for (int64_t l = 0; plan->gates && l < plan->layers; l++)
        SG_TRY(match_layer(m, l, true, captures, count, err));
    return SG_OK;
}

static void match_free(float **arrays, int64_t layers)
{
    for (int64_t l = 0; arrays != NULL && l < layers; l++)
        sg_free(arrays[l]);
    sg_free(arrays);
}

void sg_patch_matcher_free(sg_patch_matcher *m)
{
    match_free(m->usage, m->layers);
    match_free(m->norms, m->layers);
    match_free(m->sizes, m->layers);
    sg_free(m->tables);
    *m = (sg_patch_matcher){0};
}

// ---- one neuron ---------------------------------------------------------------------------------

// |z| of a neuron in a run; *selected: whether the run selects it.
static double match_post(const sg_patch_matcher *m, const sg_capture *c,
                         const sg_exchange_neuron *n, int64_t position, bool *selected)
{
    const sg_exchange_gates_of *g = sg_exchange_gates(m->x, n->layer);
    char name[64];
    float score;
    *selected = sg_capture_gate(m->x, c, n->layer, n->channel, n->neuron, position, &score);
    if (!*selected || g->post >= 0) return fabs((double)score);
    snprintf(name, sizeof name, "blocks.%d.mlp.hook_post", n->layer);
    const float *post = sg_capture_row(m->x, c, (size_t)sg_exchange_find(m->x, name), position);
    const int32_t *ids = (const void *)sg_capture_row(m->x, c, (size_t)g->ids, position);
    const int64_t first = n->channel * g->selected;
    for (int64_t i = 0; i < g->selected; i++)
        if (ids[first + i] == n->neuron / g->block)
            return fabs((double)post[(first + i) * g->block + n->neuron % g->block]);
    return 0;
}

typedef struct match_place {
    int in; // which runs select it: 1 | 2
    double size, usage;
} match_place;

static match_place match_look(const sg_patch_matcher *m, const sg_capture *a, const sg_capture *b,
                              const sg_exchange_neuron *n, int64_t position)
{
    bool in[2];
    const sg_neuron_table *table = &m->tables[n->layer];
    const int64_t pool = table->pools > 1 ? n->channel : 0;
    const double z =
        fmax(match_post(m, a, n, position, &in[0]), match_post(m, b, n, position, &in[1]));
    const int64_t neurons = sg_exchange_gates(m->x, n->layer)->neurons;
    return (match_place){.in = in[0] + 2 * in[1],
                         .size = z * (double)m->norms[n->layer][pool * table->neurons + n->neuron],
                         .usage = (double)m->usage[n->layer][n->channel * neurons + n->neuron]};
}

static double match_distance(const match_place *a, const match_place *b)
{
    const double least = 1e-12;
    return fabs(log((a->size + least) / (b->size + least))) + fabs(log(a->usage / b->usage));
}

static bool match_taken(const sg_exchange_neuron *list, size_t count, const sg_exchange_neuron *n)
{
    for (size_t i = 0; i < count; i++)
        if (list[i].layer == n->layer && list[i].channel == n->channel &&
            list[i].neuron == n->neuron)
            return true;
    return false;
}

// Puts a candidate among the nearest, ascending.
static size_t match_insert(sg_exchange_neuron *nearest, double *distances, size_t count,
                           const sg_exchange_neuron *n, double distance)
{
    size_t at = count;
    while (at > 0 && distances[at - 1] > distance)
        at--;
    if (at == match_nearest) return count;
    const size_t end = count < match_nearest ? count : match_nearest - 1;
    memmove(nearest + at + 1, nearest + at, (end - at) * sizeof *nearest);
    memmove(distances + at + 1, distances + at, (end - at) * sizeof *distances);
    nearest[at] = *n;
    distances[at] = distance;
    return end + 1;
}

// matched (plan->neuron_count); false: there are not enough.
static bool match_neurons(const sg_patch_matcher *m, const sg_patch_plan *plan,
                          const sg_capture *clean, const sg_capture *other, int64_t position,
                          uint64_t seed, uint64_t draw, sg_exchange_neuron *matched)
{
    const uint32_t stream = sg_rng_stream("probe.patch.random");
    for (size_t i = 0; i < plan->neuron_count; i++) {
        const sg_exchange_neuron *of = &plan->neurons[i];
        const match_place place = match_look(m, clean, other, of, position);
        sg_exchange_neuron nearest[match_nearest], n = *of;
        double distances[match_nearest];
        size_t count = 0;
        for (n.neuron = 0; n.neuron < sg_exchange_gates(m->x, of->layer)->neurons; n.neuron++) {
            const match_place next = match_look(m, clean, other, &n, position);
            if (next.in != place.in || match_taken(plan->neurons, plan->neuron_count, &n) ||
                match_taken(matched, i, &n))
                continue;
            count = match_insert(nearest, distances, count, &n, match_distance(&place, &next));
        }
        if (count == 0) return false;
        matched[i] = nearest[sg_rng_below(seed, stream, draw * plan->neuron_count + i, count)];
    }
    return true;
}

// ---- gates --------------------------------------------------------------------------------------

static bool match_has(const int32_t *ids, int64_t count, int32_t id)
{
    for (int64_t i = 0; i < count; i++)
        if (ids[i] == id) return true;
    return false;
}

// Usage and size of a block of a channel.
static match_place match_block(const sg_patch_matcher *m, int64_t layer, int64_t channel,
                               int32_t id)
{
    const sg_exchange_gates_of *g = sg_exchange_gates(m->x, layer);
    const sg_neuron_table *table = &m->tables[layer];
    const int64_t neuron = id * g->block, pool = table->pools > 1 ? channel : 0;
    match_place place = {.size = 1,
                         .usage = (double)m->usage[layer][channel * g->neurons + neuron]};
    if (m->sizes[layer] != NULL)
        place.size = (double)m->sizes[layer][pool * table->neurons + neuron];
    return place;
}

// ids (k) for the slots of one channel: neither run selects them there, none is there twice.
static bool match_channel(const sg_patch_matcher *m, int64_t layer, int64_t channel,
                          const int32_t *clean, const int32_t *other, sg_rng *rng, int32_t *ids)
{
    const sg_exchange_gates_of *g = sg_exchange_gates(m->x, layer);
    const int64_t k = g->selected, blocks = g->neurons / g->block;
    for (int64_t i = 0; i < k; i++) {
        const match_place place = match_block(m, layer, channel, other[i]);
        double nearest = INFINITY;
        int32_t best = -1;
        for (int draws = 0, tries = 0; draws < match_draws && tries < match_tries; tries++) {
            const int32_t id = (int32_t)sg_rng_next_below(rng, (uint64_t)blocks);
            if (match_has(clean, k, id) || match_has(other, k, id) || match_has(ids, i, id))
                continue;
            const match_place next = match_block(m, layer, channel, id);
            const double distance = match_distance(&place, &next);
            if (distance < nearest) best = id;
            nearest = fmin(nearest, distance);
            draws++;
        }
        if (best < 0) return false;
        ids[i] = best;
    }
    return true;
}

// Gates of one layer at one token: the other run's scores, ids that match its own.
static sg_status match_gates(const sg_patch_matcher *m, const sg_patch *patch, int64_t layer,
                             const sg_capture *clean, const sg_capture *other, int64_t position,
                             sg_rng *rng, sg_changes *changes, bool *has, sg_error *err)
{
    const sg_exchange_gates_of *g = sg_exchange_gates(m->x, layer);
    *has = g->ids >= 0;
    if (!*has || patch->channel >= g->channels) return SG_OK;
    const size_t point = (size_t)g->ids;
    const int32_t *a = (const void *)sg_capture_row(m->x, clean, point, position);
    const int32_t *b = (const void *)sg_capture_row(m->x, other, point, position);
    int32_t *ids = sg_alloc_array((size_t)g->selected, sizeof *ids);
    sg_status status = ids == NULL ? match_memory(err) : SG_OK;
    for (int64_t c = 0; status == SG_OK && *has && c < g->channels; c++) {
        const int64_t at = c * g->selected;
        if (patch->channel >= 0 && patch->channel != c) continue;
        *has = match_channel(m, layer, c, a + at, b + at, rng, ids);
        if (*has)
            status = sg_changes_numbers(changes, m->x, point, position, at, g->selected, ids, err);
        if (*has && status == SG_OK && g->scores >= 0)
            status = sg_changes_numbers(
                changes, m->x, (size_t)g->scores, position, at, g->selected,
                sg_capture_row(m->x, other, (size_t)g->scores, position) + at, err);
    }
    sg_free(ids);
    return status;
}

sg_status sg_patch_random(const sg_patch_matcher *m, const sg_patch_plan *plan,
                          const sg_patch *patch, const sg_capture *clean, const sg_capture *other,
                          int64_t first, int64_t last, uint64_t seed, uint64_t draw,
                          sg_changes *changes, bool *has, sg_error *err)
{
    const sg_patch_kind kind = plan->points[patch->point].kind;
    const bool *set = plan->sets + patch->set * (size_t)plan->layers;
    // Every run has numbers of its own.
    sg_rng rng = {.seed = seed, .stream = sg_rng_stream("probe.patch.gates"), .next = draw << 32};
    sg_exchange_neuron *matched = sg_alloc_zero(plan->neuron_count + 1, sizeof *matched);
    sg_status status = matched == NULL ? match_memory(err) : SG_OK;
    *has = kind != SG_PATCH_POINT;
    for (int64_t p = first; status == SG_OK && *has && p <= last; p++) {
        for (int64_t l = 0; kind == SG_PATCH_GATES && status == SG_OK && *has && l < plan->layers;
             l++)
            if (set[l]) status = match_gates(m, patch, l, clean, other, p, &rng, changes, has, err);
        if (kind != SG_PATCH_NEURONS) continue;
        *has = match_neurons(m, plan, clean, other, p, seed,
                             draw * (uint64_t)clean->length + (uint64_t)p, matched);
        if (*has)
            status = sg_changes_neurons(changes, m->x, other, matched, plan->neuron_count, p, err);
    }
    sg_free(matched);
    return status;
}
