// Influence, and what of a trace is shown.
//
// The influence of a node is the share of the logit that reaches it on all paths, every edge in
// absolute value and every target's edges together 1 (Ameisen et al. 2025, "Circuit Tracing",
// appendix on pruning; circuit-tracer):
//
//     I(logit) = 1,   I(u) = sum over targets v of I(v) |e_uv| / sum over sources w of |e_wv|
//
// computed from the logit downwards; a target with less than `floor` is not followed. The graph has
// the nodes of most influence, of their edges those of the largest I'(v) |e_uv| / sum, I' being the
// influence within these nodes. All else is one edge a target, so that its edges sum to its value.
#include "probe/trace_graph.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { graph_batch = 256, graph_batch_bytes = 64 << 20, graph_least = 16 };
static const double graph_work = 3e10; // multiplications of all rows that are followed, about

// An edge by numbers of the map.
typedef struct graph_edge {
    int64_t source, target;
    double weight, score;
    bool kept;
} graph_edge;

typedef struct graph_rank {
    int64_t number;
    double by;
} graph_rank;

// A target, its edges, and what comes from nodes that are not chosen.
typedef struct graph_target {
    int64_t node;
    size_t first, end;
    double pruned, pruned_size, size; // sums, of magnitudes, and of all magnitudes
} graph_target;

typedef struct graph {
    sg_frozen *f;
    const sg_trace_options *options;
    sg_trace *trace;
    sg_trace_map map;
    double *influence, *cumulative, *direct; // (nodes)
    graph_rank *order;                       // (ordered) falling
    int64_t ordered;
    unsigned char *chosen;          // (nodes)
    int32_t *index;                 // (nodes) in the trace; -1: not in it
    double *constants, *remainders; // (L, T) what they contribute
    // ---- rows ----
    sg_trace_row *rows;
    int64_t batch;
    int64_t *targets; // (batch) of the batch
    // ---- the chosen ----
    graph_edge *edges;
    graph_target *chosen_targets; // (target_count) ascending
    size_t edge_count, edge_capacity, target_count, target_capacity;
} graph;

static sg_status graph_memory(sg_error *err)
{
    return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
}

static sg_status graph_begin(graph *g, sg_error *err)
{
    SG_TRY(sg_trace_map_new(g->f, g->options->attention, &g->map, err));
    const int64_t n = g->map.nodes, leaves = g->f->config->num_hidden_layers * g->f->tokens;
    g->batch = graph_batch_bytes / (16 * g->map.most);
    if (g->batch < 1) g->batch = 1;
    if (g->batch > graph_batch) g->batch = graph_batch;
    g->influence = sg_frozen_array(g->f, n, sizeof(double));
    g->cumulative = sg_frozen_array(g->f, n, sizeof(double));
    g->direct = sg_frozen_array(g->f, n, sizeof(double));
    g->order = sg_frozen_array(g->f, n, sizeof *g->order);
    g->chosen = sg_frozen_array(g->f, n, 1);
    g->index = sg_frozen_array(g->f, n, sizeof(int32_t));
    g->constants = sg_frozen_array(g->f, leaves, sizeof(double));
    g->remainders = sg_frozen_array(g->f, leaves, sizeof(double));
    g->targets = sg_frozen_array(g->f, g->batch, sizeof(int64_t));
    g->rows = sg_trace_rows_new(g->f, &g->map, g->batch);
    if (g->influence && g->cumulative && g->direct && g->order && g->chosen && g->index &&
        g->constants && g->remainders && g->targets && g->rows)
        return SG_OK;
    return graph_memory(err);
}

// The largest first; of equals the lower number.
static int graph_compare(const void *a, const void *b)
{
    const graph_rank *x = a, *y = b;
    if (x->by != y->by) return x->by < y->by ? 1 : -1;
    return x->number < y->number ? -1 : x->number > y->number;
}

// ---- influence ----------------------------------------------------------------------------------

static void graph_fill(void *context, int64_t i, int worker)
{
    (void)worker;
    const graph *g = context;
    sg_trace_row_fill(&g->map, g->targets[i], &g->rows[i]);
}

static double graph_size(const sg_trace_row *row)
{
    double size = 0;
    for (int64_t i = 0; i < row->count; i++)
        size += fabs(row->weights[i]);
    return size;
}

static void graph_spread(graph *g, int64_t target, const sg_trace_row *row)
{
    const double size = graph_size(row);
    for (int64_t i = 0; size > 0 && i < row->count; i++)
        g->influence[row->nodes[i]] += g->influence[target] * fabs(row->weights[i]) / size;
}

// How many targets of a layer are followed at most, each being read against all that was written
// at its token.
static int64_t graph_most(const graph *g, int64_t layer)
{
    const sg_frozen *f = g->f;
    double sources = 2;
    for (int64_t l = 0; l <= layer; l++)
        sources += (double)(f->tokens * f->config->num_attention_heads + f->layers[l].hits);
    const double each = sources * (double)f->width;
    const double most = graph_work / (2 * (double)f->config->num_hidden_layers) / each;
    return most > graph_least ? (int64_t)most : graph_least;
}

// Passes on the influence of targets [first, end) of a layer, none of which reads another. Where
// there are more than can be followed, those with the most.
static void graph_follow(graph *g, int64_t layer, int64_t first, int64_t end)
{
    int64_t count = 0, most = graph_most(g, layer);
    for (int64_t i = first; i < end; i++)
        if (g->influence[i] > g->options->floor)
            g->order[count++] = (graph_rank){i, g->influence[i]};
        else if (g->influence[i] > 0)
            g->trace->info.unfollowed += g->influence[i];
    if (count > most) qsort(g->order, (size_t)count, sizeof *g->order, graph_compare);
    for (int64_t at = 0; at < count && at < most; at += g->batch) {
        const int64_t left = (count < most ? count : most) - at;
        const int64_t now = left < g->batch ? left : g->batch;
        for (int64_t i = 0; i < now; i++)
            g->targets[i] = g->order[at + i].number;
        sg_parallel_for(g->f->model->context->compute.pool, now, graph_fill, g);
        for (int64_t i = 0; i < now; i++)
            graph_spread(g, g->targets[i], &g->rows[i]);
    }
    for (int64_t i = most; i < count; i++)
        g->trace->info.unfollowed += g->order[i].by;
}

static sg_status graph_influence(graph *g, sg_error *err)
{
    const int64_t L = g->f->config->num_hidden_layers;
    g->targets[0] = g->map.logit;
    g->influence[g->map.logit] = 1;
    graph_fill(g, 0, 0);
    for (int64_t i = 0; i < g->rows[0].count; i++)
        g->direct[g->rows[0].nodes[i]] = g->rows[0].weights[i];
    graph_spread(g, g->map.logit, &g->rows[0]);
    for (int64_t l = L - 1; l >= 0; l--) {
        if (g->options->progress && !g->options->progress(g->options->user, L - 1 - l, L))
            return sg_fail(err, SG_ERR_STOPPED, "stopped in front of layer %lld", (long long)l);
        graph_follow(g, l, g->map.layers[l].neurons, g->map.layers[l].end);
        graph_follow(g, l, g->map.layers[l].attention, g->map.layers[l].neurons);
    }
    return SG_OK;
}

// ---- which nodes --------------------------------------------------------------------------------

// Nodes of most influence; embeddings and the logit in any case.
static void graph_choose(graph *g)
{
    const double share = g->options->node_threshold;
    double total = 0, sum = 0;
    int64_t chosen = 0;
    for (int64_t i = 0; i < g->map.logit; i++)
        if (g->influence[i] > 0) {
            g->order[g->ordered++] = (graph_rank){i, g->influence[i]};
            total += g->influence[i];
        }
    qsort(g->order, (size_t)g->ordered, sizeof *g->order, graph_compare);
    for (int64_t i = 0; i < g->ordered; i++) {
        const int64_t node = g->order[i].number;
        if ((share >= 1 || sum < share * total) && chosen < g->options->max_nodes) {
            g->chosen[node] = 1;
            chosen++;
        }
        sum += g->influence[node];
        g->cumulative[node] = sum / total;
    }
    for (int64_t t = 0; t < g->f->tokens; t++)
        g->chosen[t] = 1;
    g->chosen[g->map.logit] = 1;
    g->trace->info.all_nodes = g->ordered + 1;
}

static bool graph_is_target(sg_trace_kind kind)
{
    return kind == SG_TRACE_ATTENTION || kind == SG_TRACE_NEURON || kind == SG_TRACE_BESIDE ||
           kind == SG_TRACE_LOGIT;
}

// ---- their edges --------------------------------------------------------------------------------

static sg_status graph_add_target(graph *g, int64_t node, const sg_trace_row *row, sg_error *err)
{
    double sum = 0;
    if (!sg_grow((void **)&g->chosen_targets, &g->target_capacity, g->target_count + 1,
                 sizeof *g->chosen_targets) ||
        !sg_grow((void **)&g->edges, &g->edge_capacity, g->edge_count + (size_t)row->count,
                 sizeof *g->edges))
        return graph_memory(err);
    graph_target *t = &g->chosen_targets[g->target_count++];
    *t = (graph_target){.node = node, .first = g->edge_count, .size = graph_size(row)};
    for (int64_t i = 0; i < row->count; i++) {
        const double w = row->weights[i];
        sum += w;
        if (g->chosen[row->nodes[i]]) {
            g->edges[g->edge_count++] =
                (graph_edge){.source = row->nodes[i], .target = node, .weight = w};
        } else {
            t->pruned += w;
            t->pruned_size += fabs(w);
        }
    }
    t->end = g->edge_count;
    if (t->size > 0)
        g->trace->info.sum_error = fmax(g->trace->info.sum_error, fabs(sum - row->value) / t->size);
    return SG_OK;
}

// All edges into the chosen, in the order of their targets.
static sg_status graph_edges(graph *g, sg_error *err)
{
    for (int64_t at = 0; at < g->map.nodes;) {
        int64_t count = 0;
        for (; at < g->map.nodes && count < g->batch; at++)
            if (g->chosen[at] && graph_is_target(sg_trace_place_of(&g->map, at).kind))
                g->targets[count++] = at;
        sg_parallel_for(g->f->model->context->compute.pool, count, graph_fill, g);
        for (int64_t i = 0; i < count; i++)
            SG_TRY(graph_add_target(g, g->targets[i], &g->rows[i], err));
    }
    return SG_OK;
}

// Scores, by the influence among the chosen.
static sg_status graph_score(graph *g, sg_error *err)
{
    double *within = sg_frozen_array(g->f, g->map.nodes, sizeof *within);
    if (within == NULL) return graph_memory(err);
    within[g->map.logit] = 1;
    for (size_t i = g->target_count; i-- > 0;) {
        const graph_target *t = &g->chosen_targets[i];
        const double size = t->size - t->pruned_size;
        for (size_t e = t->first; size > 0 && e < t->end; e++) {
            g->edges[e].score = within[t->node] * fabs(g->edges[e].weight) / size;
            within[g->edges[e].source] += g->edges[e].score;
        }
    }
    return SG_OK;
}

static sg_status graph_choose_edges(graph *g, sg_error *err)
{
    const double share = g->options->edge_threshold;
    double total = 0, sum = 0;
    graph_rank *order = sg_alloc_array(g->edge_count + 1, sizeof *order);
    if (order == NULL) return graph_memory(err);
    for (size_t e = 0; e < g->edge_count; e++) {
        order[e] = (graph_rank){(int64_t)e, g->edges[e].score};
        total += g->edges[e].score;
    }
    qsort(order, g->edge_count, sizeof *order, graph_compare);
    for (size_t i = 0; i < g->edge_count && (share >= 1 || sum < share * total); i++) {
        g->edges[order[i].number].kept = true;
        sum += order[i].by;
    }
    sg_free(order);
    return SG_OK;
}

// What reaches the logit over edges that are kept stays.
static void graph_reach(graph *g)
{
    unsigned char *reached = g->chosen;
    memset(reached, 0, (size_t)g->map.nodes);
    reached[g->map.logit] = 1;
    for (size_t i = g->target_count; i-- > 0;) {
        const graph_target *t = &g->chosen_targets[i];
        for (size_t e = t->first; e < t->end; e++) {
            graph_edge *edge = &g->edges[e];
            edge->kept = edge->kept && reached[t->node];
            if (edge->kept) reached[edge->source] = 1;
        }
    }
    for (int64_t t = 0; t < g->f->tokens; t++)
        reached[t] = 1;
}

// ---- the trace ----------------------------------------------------------------------------------

static sg_status graph_leaves(graph *g, sg_error *err)
{
    const sg_frozen *f = g->f;
    const int64_t T = f->tokens, L = f->config->num_hidden_layers;
    double *leaves = g->trace->info.leaves, *pull = g->rows[0].pull, *r = g->rows[0].r;
    for (int64_t i = 0; i < T * L; i++) {
        sg_trace_leaves(&g->map, i / T, i % T, pull, r, &g->constants[i], &g->remainders[i]);
        leaves[SG_TRACE_CONSTANT] += g->constants[i];
        leaves[SG_TRACE_REMAINDER] += g->remainders[i];
    }
    leaves[SG_TRACE_CONSTANT] += f->fixed;
    for (int64_t i = 0; i < g->map.layers[0].constants; i++) {
        const sg_trace_place p = sg_trace_place_of(&g->map, i);
        leaves[p.kind] += sg_trace_value(&g->map, &p);
    }
    for (int64_t i = 0; i < g->map.logit; i++)
        if (g->direct[i] != 0)
            g->trace->info.direct[sg_trace_place_of(&g->map, i).kind] += g->direct[i];
    if (g->map.nodes < INT32_MAX) return SG_OK;
    return sg_fail(err, SG_ERR_UNSUPPORTED, "trace: found %lld nodes, expected fewer than 2^31",
                   (long long)g->map.nodes);
}

static double graph_contribution(const graph *g, const sg_trace_place *p, double value)
{
    const int64_t T = g->f->tokens, L = g->f->config->num_hidden_layers;
    if (p->layer == L) return value;
    if (p->kind == SG_TRACE_CONSTANT) return g->constants[p->layer * T + p->position];
    if (p->kind == SG_TRACE_REMAINDER) return g->remainders[p->layer * T + p->position];
    if (p->kind != SG_TRACE_NEURON) return value;
    const sg_frozen_layer *l = &g->f->layers[p->layer];
    return value * l->gradient[p->position * l->hits + p->hit];
}

static void graph_name_neuron(const sg_frozen *f, const sg_trace_place *p, sg_trace_node *node)
{
    const sg_frozen_layer *l = &f->layers[p->layer];
    const int64_t slot = p->hit / l->unit;
    node->channel = slot / (l->slots / l->channels);
    node->neuron = l->ids[p->position * l->slots + slot] * l->unit + p->hit % l->unit;
}

static void graph_put_node(graph *g, int64_t number)
{
    sg_trace *trace = g->trace;
    const sg_trace_place p = sg_trace_place_of(&g->map, number);
    const double value = sg_trace_value(&g->map, &p);
    sg_trace_node *node = &trace->nodes[trace->node_count];
    *node = (sg_trace_node){.kind = p.kind,
                            .layer = p.layer,
                            .position = p.position,
                            .source = p.source,
                            .head = p.head,
                            .channel = -1,
                            .neuron = -1,
                            .token = -1,
                            .writes = {-1, -1, -1},
                            .contribution = graph_contribution(g, &p, value),
                            .direct = g->direct[number],
                            .influence = g->influence[number],
                            .cumulative = g->cumulative[number]};
    node->value = p.kind == SG_TRACE_NEURON ? value : node->contribution;
    if (p.kind == SG_TRACE_NEURON) graph_name_neuron(g->f, &p, node);
    if (p.kind == SG_TRACE_EMBEDDING) node->token = g->f->ids[p.position];
    if (p.kind == SG_TRACE_LOGIT) node->token = trace->info.answer;
    trace->hits[trace->node_count] = p.hit;
    g->index[number] = (int32_t)trace->node_count++;
}

// What a target changes of the logit for each unit of its value.
static double graph_gradient(const graph *g, const sg_trace_place *p)
{
    const sg_frozen_layer *l = p->kind == SG_TRACE_NEURON ? &g->f->layers[p->layer] : NULL;
    return l ? l->gradient[p->position * l->hits + p->hit] : 1;
}

// The node of what is left out of targets of a layer that read at a position: of those behind the
// embeddings of the trace the one that is there, or a new one.
static size_t graph_pruned_node(graph *g, const sg_trace_place *p, size_t first)
{
    sg_trace *trace = g->trace;
    const int64_t position = p->kind == SG_TRACE_ATTENTION ? p->source : p->position;
    for (size_t i = first; i < trace->node_count; i++)
        if (trace->nodes[i].layer == p->layer && trace->nodes[i].position == position) return i;
    trace->nodes[trace->node_count] = (sg_trace_node){.kind = SG_TRACE_PRUNED,
                                                      .layer = p->layer,
                                                      .position = position,
                                                      .source = -1,
                                                      .head = -1,
                                                      .channel = -1,
                                                      .neuron = -1,
                                                      .token = -1,
                                                      .writes = {-1, -1, -1},
                                                      .cumulative = 1};
    trace->hits[trace->node_count] = -1;
    return trace->node_count++;
}

// What is left out of a target, as an edge; its target is a number of the map yet.
static void graph_put_pruned(graph *g, const graph_target *t, size_t first)
{
    sg_trace *trace = g->trace;
    const sg_trace_place p = sg_trace_place_of(&g->map, t->node);
    double weight = t->pruned, size = t->pruned_size;
    for (size_t e = t->first; e < t->end; e++)
        if (!g->edges[e].kept) {
            weight += g->edges[e].weight;
            size += fabs(g->edges[e].weight);
        }
    if (size == 0) return;
    const size_t at = graph_pruned_node(g, &p, first);
    sg_trace_node *node = &trace->nodes[at];
    node->value = node->contribution += weight * graph_gradient(g, &p);
    node->influence += g->influence[t->node] * size / t->size;
    if (p.kind == SG_TRACE_LOGIT) node->direct += weight;
    trace->edges[trace->edge_count++] = (sg_trace_edge){at, (size_t)t->node, weight};
}

static int graph_compare_edges(const void *a, const void *b)
{
    const sg_trace_edge *x = a, *y = b;
    if (x->target != y->target) return x->target < y->target ? -1 : 1;
    if (fabs(x->weight) != fabs(y->weight)) return fabs(x->weight) < fabs(y->weight) ? 1 : -1;
    return x->source < y->source ? -1 : x->source > y->source;
}

static void graph_put(graph *g)
{
    sg_trace *trace = g->trace;
    const int64_t T = g->f->tokens;
    double total = 0;
    for (int64_t i = 0; i < T; i++)
        graph_put_node(g, i);
    const size_t pruned = trace->node_count;
    for (size_t i = 0; i < g->target_count; i++)
        if (g->chosen[g->chosen_targets[i].node])
            graph_put_pruned(g, &g->chosen_targets[i], pruned);
    const size_t of_pruned = trace->edge_count;
    for (int64_t i = T; i < g->map.nodes; i++)
        if (g->chosen[i]) graph_put_node(g, i);
    for (size_t i = 0; i < of_pruned; i++)
        trace->edges[i].target = (size_t)g->index[trace->edges[i].target];
    for (size_t e = 0; e < g->edge_count; e++)
        if (g->edges[e].kept)
            trace->edges[trace->edge_count++] =
                (sg_trace_edge){(size_t)g->index[g->edges[e].source],
                                (size_t)g->index[g->edges[e].target], g->edges[e].weight};
    qsort(trace->edges, trace->edge_count, sizeof *trace->edges, graph_compare_edges);
    for (int64_t i = 0; i < g->map.logit; i++) {
        total += g->influence[i];
        if (g->chosen[i]) trace->info.node_share += g->influence[i];
    }
    trace->info.node_share /= total > 0 ? total : 1;
}

static sg_status graph_room(graph *g, sg_error *err)
{
    size_t nodes = 0;
    for (int64_t i = 0; i < g->map.nodes; i++)
        nodes += g->chosen[i];
    const size_t most = nodes + g->target_count, edges = g->edge_count + g->target_count;
    g->trace->nodes = sg_alloc_zero(most, sizeof *g->trace->nodes);
    g->trace->hits = sg_alloc_zero(most, sizeof *g->trace->hits);
    g->trace->edges = sg_alloc_zero(edges + 1, sizeof *g->trace->edges);
    return g->trace->nodes && g->trace->hits && g->trace->edges ? SG_OK : graph_memory(err);
}

static sg_status graph_run(graph *g, sg_error *err)
{
    SG_TRY(graph_begin(g, err));
    SG_TRY(graph_influence(g, err));
    SG_TRY(graph_leaves(g, err));
    graph_choose(g);
    SG_TRY(graph_edges(g, err));
    SG_TRY(graph_score(g, err));
    SG_TRY(graph_choose_edges(g, err));
    graph_reach(g);
    SG_TRY(graph_room(g, err));
    graph_put(g);
    return SG_OK;
}

sg_status sg_trace_graph(sg_frozen *f, const sg_trace_options *options, sg_trace *trace,
                         sg_error *err)
{
    graph g = {.f = f, .options = options, .trace = trace};
    sg_status status = graph_run(&g, err);
    sg_free(g.edges);
    sg_free(g.chosen_targets);
    return status;
}
