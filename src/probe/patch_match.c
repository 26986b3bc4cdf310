// Control neurons. A neuron n of a patch has at a token, in the two runs of a pair, the gates s_a
// and s_b (or is not selected), and what it may at most take away or bring is
//
//     size(n) = max(|z_a|, |z_b|) |w_out|,   z: hook_post, 0 where it is not selected.
//
// Its control is another neuron of the same layer and channel that is selected in the same ones of
// the two runs: one of the three nearest in |ln size ratio| + |ln usage ratio|, drawn by the seed;
// usage is the share of the tokens of all captured runs that select it, at least half of one. A
// neuron that neither run selects changes nothing, and has its like as a control.
#include <math.h>
#include <string.h>

#include "base/alloc.h"
#include "base/rng.h"
#include "probe/exchange_inside.h"
#include "probe/patch_inside.h"

enum { match_nearest = 3 };

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

static sg_status match_layer(sg_patch_matcher *m, int64_t layer, sg_capture *const *captures,
                             size_t count, sg_error *err)
{
    const sg_exchange_gates_of *g = sg_exchange_gates(m->x, layer);
    const sg_neuron_table *table = &m->x->tables[layer];
    const size_t all = (size_t)(g->channels * g->neurons);
    double tokens = 0;
    m->usage[layer] = sg_alloc_zero(all, sizeof(float));
    m->norms[layer] = sg_alloc_zero((size_t)(table->pools * table->neurons), sizeof(float));
    if (m->usage[layer] == NULL || m->norms[layer] == NULL) return match_memory(err);
    for (size_t i = 0; i < count; i++) {
        if (captures[i] == NULL) continue;
        tokens += (double)(captures[i]->length - captures[i]->start);
        if (g->ids >= 0) match_count(g, m->x, captures[i], m->usage[layer]);
    }
    for (size_t i = 0; i < all; i++) {
        if (g->ids < 0) m->usage[layer][i] = (float)tokens; // a dense layer has them all
        m->usage[layer][i] = (float)(fmax((double)m->usage[layer][i], 0.5) / fmax(tokens, 1));
    }
    return sg_neuron_out_norms(table, m->norms[layer], err);
}

sg_status sg_patch_matcher_new(const sg_patch_plan *plan, const sg_exchange *x,
                               const sg_model *model, sg_capture *const *captures, size_t count,
                               sg_patch_matcher *m, sg_error *err)
{
    *m = (sg_patch_matcher){.x = x, .model = model, .layers = plan->layers};
    m->usage = sg_alloc_zero((size_t)plan->layers, sizeof *m->usage);
    m->norms = sg_alloc_zero((size_t)plan->layers, sizeof *m->norms);
    if (m->usage == NULL || m->norms == NULL) return match_memory(err);
    for (size_t i = 0; i < plan->neuron_count; i++) {
        const int64_t layer = plan->neurons[i].layer;
        if (m->usage[layer] == NULL) SG_TRY(match_layer(m, layer, captures, count, err));
    }
    return SG_OK;
}

void sg_patch_matcher_free(sg_patch_matcher *m)
{
    for (int64_t l = 0; l < m->layers; l++) {
        if (m->usage != NULL) sg_free(m->usage[l]);
        if (m->norms != NULL) sg_free(m->norms[l]);
    }
    sg_free(m->usage);
    sg_free(m->norms);
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
    const sg_neuron_table *table = &m->x->tables[n->layer];
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

bool sg_patch_match(const sg_patch_matcher *m, const sg_patch_plan *plan, const sg_capture *clean,
                    const sg_capture *other, int64_t position, uint64_t seed, uint64_t draw,
                    sg_exchange_neuron *matched)
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
