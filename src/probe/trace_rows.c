// The edges into one node of a trace. A target reads the stream at one position by a vector r
// (trace_frozen.c), the stream is the sum of what nodes wrote there, so that
//
//     value of the target = sum over sources u of r . (what u wrote at the position)
//                           + what biases give, + what is not linear
//
// What u wrote is W_E of a token, p out of attention, z w_out of a neuron. Attention is a vector,
// and what of it matters is its product with the gradient of the logit there: that is its value,
// and r the transposed way of that gradient through W_o, the weights p and W_v. Groups of
// attention are sums of both.
#include "probe/trace_rows.h"

#include <string.h>

// ---- numbers ------------------------------------------------------------------------------------

static int64_t rows_attention(const sg_trace_map *map)
{
    const int64_t T = map->f->tokens;
    if (map->by == SG_TRACE_BY_SOURCE) return T;
    return T * T * (map->by == SG_TRACE_BY_HEAD ? map->f->config->num_attention_heads : 1);
}

sg_status sg_trace_map_new(sg_frozen *f, sg_trace_attention by, sg_trace_map *map, sg_error *err)
{
    const int64_t T = f->tokens, L = f->config->num_hidden_layers;
    const int64_t H = by == SG_TRACE_BY_HEAD ? f->config->num_attention_heads : 1;
    *map = (sg_trace_map){.f = f, .by = by};
    map->layers = sg_frozen_array(f, L, sizeof *map->layers);
    if (map->layers == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a trace");
    int64_t at = f->positions ? 2 * T : T;
    map->most = 5;
    for (int64_t l = 0; l < L; l++) {
        sg_trace_layer_map *m = &map->layers[l];
        m->constants = at;
        m->remainders = m->constants + T;
        m->attention = m->remainders + T;
        m->neurons = m->attention + rows_attention(map);
        m->beside = m->neurons + T * f->layers[l].hits;
        at = m->end = m->beside + (f->layers[l].beside.width > 0 ? T : 0);
        map->most += H * T + f->layers[l].hits + 2;
    }
    map->constant = at;
    map->logit = at + 1;
    map->nodes = at + 2;
    return SG_OK;
}

static int64_t rows_attention_node(const sg_trace_map *map, int64_t layer, int64_t head, int64_t t,
                                   int64_t source)
{
    const int64_t T = map->f->tokens, first = map->layers[layer].attention;
    if (map->by == SG_TRACE_BY_SOURCE) return first + source;
    return first + ((map->by == SG_TRACE_BY_HEAD ? head * T : 0) + t) * T + source;
}

static void rows_place_attention(const sg_trace_map *map, int64_t i, sg_trace_place *p)
{
    const int64_t T = map->f->tokens;
    p->kind = SG_TRACE_ATTENTION;
    p->source = i % T;
    if (map->by == SG_TRACE_BY_SOURCE) return;
    p->position = i / T % T;
    if (map->by == SG_TRACE_BY_HEAD) p->head = i / T / T;
}

sg_trace_place sg_trace_place_of(const sg_trace_map *map, int64_t node)
{
    const int64_t T = map->f->tokens, L = map->f->config->num_hidden_layers;
    sg_trace_place p = {.layer = -1, .position = T - 1, .source = -1, .head = -1, .hit = -1};
    if (node >= map->constant) {
        p.kind = node == map->logit ? SG_TRACE_LOGIT : SG_TRACE_CONSTANT;
        p.layer = L;
        return p;
    }
    p.position = node % T;
    p.kind = node < T ? SG_TRACE_EMBEDDING : SG_TRACE_POSITION;
    if (node < map->layers[0].constants) return p;
    for (p.layer = 0; node >= map->layers[p.layer].end;)
        p.layer++;
    const sg_trace_layer_map *m = &map->layers[p.layer];
    p.position = -1;
    if (node >= m->beside) {
        p.kind = SG_TRACE_BESIDE;
        p.position = node - m->beside;
    } else if (node >= m->neurons) {
        p.kind = SG_TRACE_NEURON;
        p.position = (node - m->neurons) / map->f->layers[p.layer].hits;
        p.hit = (node - m->neurons) % map->f->layers[p.layer].hits;
    } else if (node >= m->attention) {
        rows_place_attention(map, node - m->attention, &p);
    } else {
        p.kind = node >= m->remainders ? SG_TRACE_REMAINDER : SG_TRACE_CONSTANT;
        p.position = (node - m->constants) % T;
    }
    return p;
}

// ---- rows ---------------------------------------------------------------------------------------

sg_trace_row *sg_trace_rows_new(sg_frozen *f, const sg_trace_map *map, int64_t count)
{
    const int64_t d = f->width, q = f->config->num_attention_heads * f->config->head_dim;
    sg_trace_row *rows = sg_frozen_array(f, count, sizeof *rows);
    for (int64_t i = 0; rows != NULL && i < count; i++) {
        rows[i].nodes = sg_frozen_array(f, map->most, sizeof(int64_t));
        rows[i].weights = sg_frozen_array(f, map->most, sizeof(double));
        rows[i].r = sg_frozen_array(f, 2 * d + q, sizeof(double));
        if (!rows[i].nodes || !rows[i].weights || !rows[i].r) return NULL;
        rows[i].own = rows[i].r + d;
        rows[i].pull = rows[i].own + d;
    }
    return rows;
}

static void rows_put(sg_trace_row *row, int64_t node, double weight)
{
    if (weight == 0) return;
    row->nodes[row->count] = node;
    row->weights[row->count++] = weight;
}

// What attention of a layer wrote at a position.
static void rows_from_attention(const sg_trace_map *map, int64_t layer, int64_t t,
                                sg_trace_row *row)
{
    const sg_frozen *f = map->f;
    const sg_frozen_layer *l = &f->layers[layer];
    const int64_t T = f->tokens, d = f->width, H = f->config->num_attention_heads;
    for (int64_t s = 0; s <= t; s++) {
        double sum = 0;
        for (int64_t h = 0; h < H; h++) {
            const double p = (double)l->pattern[(t * H + h) * T + s];
            const double w = p != 0 ? p * sg_frozen_dots(row->r, l->out + (h * T + s) * d, d) : 0;
            sum += w;
            if (map->by == SG_TRACE_BY_HEAD)
                rows_put(row, rows_attention_node(map, layer, h, t, s), w);
        }
        if (map->by != SG_TRACE_BY_HEAD)
            rows_put(row, rows_attention_node(map, layer, 0, t, s), sum);
    }
}

static void rows_from_neurons(const sg_trace_map *map, int64_t layer, int64_t t, sg_trace_row *row)
{
    const sg_frozen *f = map->f;
    const sg_frozen_layer *l = &f->layers[layer];
    const sg_trace_layer_map *m = &map->layers[layer];
    const int64_t d = f->width;
    const double *to = sg_frozen_to_values(f, l, t, row->r, row->own);
    for (int64_t i = 0; i < l->hits; i++) {
        const double z = l->value[t * l->hits + i];
        if (z == 0) continue;
        rows_put(row, m->neurons + t * l->hits + i,
                 z * sg_frozen_dot(l->w_out + sg_frozen_row(l, t, i) * d, to, d));
    }
    if (l->beside.width > 0)
        rows_put(row, m->beside + t, sg_frozen_dots(row->r, l->beside.y + t * d, d));
}

// Biases that a layer wrote there: of attention, and of the rest where that has been.
static double rows_from_biases(const sg_frozen *f, int64_t layer, int64_t t, bool whole,
                               const double *r)
{
    const sg_frozen_layer *l = &f->layers[layer];
    const int64_t d = f->width;
    double sum = l->b_o ? sg_frozen_dot(l->b_o, r, d) : 0;
    if (whole && l->biases) sum += sg_frozen_dots(r, l->biases + t * d, d);
    return sum;
}

// The weights of a target of attention, times the gradients of the heads that it goes to.
static void rows_pull(const sg_trace_map *map, const sg_trace_place *p, double *pull)
{
    const sg_frozen *f = map->f;
    const sg_frozen_layer *l = &f->layers[p->layer];
    const int64_t T = f->tokens, H = f->config->num_attention_heads, h = f->config->head_dim;
    const int64_t first = p->position >= 0 ? p->position : p->source;
    const int64_t end = p->position >= 0 ? p->position + 1 : T;
    memset(pull, 0, (size_t)(H * h) * sizeof *pull);
    for (int64_t t = first; t < end; t++)
        for (int64_t head = 0; head < H; head++) {
            if (p->head >= 0 && p->head != head) continue;
            const double weight = (double)l->pattern[(t * H + head) * T + p->source];
            for (int64_t j = 0; weight != 0 && j < h; j++)
                pull[head * h + j] += weight * l->pull[(t * H + head) * h + j];
        }
}

// r of a target, and the position that it reads at.
static int64_t rows_read(const sg_trace_map *map, const sg_trace_place *p, sg_trace_row *row,
                         double *constant, double *rest)
{
    const sg_frozen *f = map->f;
    *constant = *rest = 0;
    if (p->kind == SG_TRACE_ATTENTION) {
        rows_pull(map, p, row->pull);
        sg_frozen_read_attention(f, &f->layers[p->layer], p->source, row->pull, row->r, constant,
                                 rest);
        return p->source;
    }
    if (p->kind == SG_TRACE_NEURON) {
        sg_frozen_read_neuron(f, &f->layers[p->layer], p->position, p->hit, row->r, constant, rest);
    } else if (p->kind == SG_TRACE_BESIDE) {
        sg_frozen_read_beside(f, &f->layers[p->layer], p->position, row->r, constant, rest);
    } else {
        sg_frozen_norm_back(f, &f->last, 0, f->readout, row->r);
        *constant = f->fixed;
    }
    return p->position;
}

void sg_trace_row_fill(const sg_trace_map *map, int64_t target, sg_trace_row *row)
{
    const sg_frozen *f = map->f;
    const sg_trace_place p = sg_trace_place_of(map, target);
    const int64_t d = f->width, L = f->config->num_hidden_layers;
    const bool behind =
        p.kind != SG_TRACE_ATTENTION && p.kind != SG_TRACE_LOGIT && !f->config->parallel_residual;
    double constant, rest;
    const int64_t t = rows_read(map, &p, row, &constant, &rest);
    row->count = 0;
    row->value = sg_trace_value(map, &p);
    rows_put(row, t, sg_frozen_dot(f->embedding + t * d, row->r, d));
    if (f->positions) rows_put(row, f->tokens + t, sg_frozen_dot(f->positions + t * d, row->r, d));
    for (int64_t l = 0; l < p.layer; l++) {
        rows_put(row, map->layers[l].constants + t, rows_from_biases(f, l, t, true, row->r));
        rows_from_attention(map, l, t, row);
        rows_from_neurons(map, l, t, row);
    }
    if (p.layer == L) {
        rows_put(row, map->constant, constant);
        return;
    }
    if (behind) {
        constant += rows_from_biases(f, p.layer, t, false, row->r);
        rows_from_attention(map, p.layer, t, row);
    }
    rows_put(row, map->layers[p.layer].constants + t, constant);
    rows_put(row, map->layers[p.layer].remainders + t, rest);
}

// ---- values -------------------------------------------------------------------------------------

static double rows_attention_value(const sg_trace_map *map, const sg_trace_place *p)
{
    const sg_frozen *f = map->f;
    const sg_frozen_layer *l = &f->layers[p->layer];
    const int64_t T = f->tokens, d = f->width, H = f->config->num_attention_heads;
    const int64_t first = p->position >= 0 ? p->position : p->source;
    const int64_t end = p->position >= 0 ? p->position + 1 : T;
    double sum = 0;
    for (int64_t t = first; t < end; t++)
        for (int64_t h = 0; h < H; h++) {
            if (p->head >= 0 && p->head != h) continue;
            const double weight = (double)l->pattern[(t * H + h) * T + p->source];
            if (weight != 0)
                sum += weight * sg_frozen_dots(l->out + (h * T + p->source) * d,
                                               l->after_attention + t * d, d);
        }
    return sum;
}

double sg_trace_value(const sg_trace_map *map, const sg_trace_place *p)
{
    const sg_frozen *f = map->f;
    const int64_t d = f->width;
    const sg_frozen_layer *l =
        p->layer >= 0 && p->layer < f->config->num_hidden_layers ? &f->layers[p->layer] : NULL;
    switch (p->kind) {
    case SG_TRACE_EMBEDDING:
        return sg_frozen_dot(f->embedding + p->position * d, f->before + p->position * d, d);
    case SG_TRACE_POSITION:
        return sg_frozen_dot(f->positions + p->position * d, f->before + p->position * d, d);
    case SG_TRACE_ATTENTION:
        return rows_attention_value(map, p);
    case SG_TRACE_NEURON:
        return l->value[p->position * l->hits + p->hit];
    case SG_TRACE_BESIDE:
        return sg_frozen_dots(l->beside.y + p->position * d, l->after + p->position * d, d);
    case SG_TRACE_LOGIT:
        return f->value;
    default: // constants and remainders: sg_trace_leaves; the last norm's
        return l == NULL ? f->fixed : 0;
    }
}

void sg_trace_leaves(const sg_trace_map *map, int64_t layer, int64_t t, double *pull, double *r,
                     double *constant, double *rest)
{
    const sg_frozen *f = map->f;
    const sg_frozen_layer *l = &f->layers[layer];
    const int64_t T = f->tokens, d = f->width, H = f->config->num_attention_heads;
    const int64_t h = f->config->head_dim;
    double c, e;
    memset(pull, 0, (size_t)(H * h) * sizeof *pull);
    for (int64_t q = t; q < T; q++)
        for (int64_t i = 0; i < H * h; i++)
            pull[i] += (double)l->pattern[(q * H + i / h) * T + t] * l->pull[q * H * h + i];
    sg_frozen_read_attention(f, l, t, pull, r, constant, rest);
    if (l->b_o) *constant += sg_frozen_dot(l->b_o, l->after_attention + t * d, d);
    if (l->biases) *constant += sg_frozen_dots(l->biases + t * d, l->after + t * d, d);
    for (int64_t i = t * l->hits; i < (t + 1) * l->hits; i++) {
        *constant += l->gradient[i] * l->constant[i];
        *rest += l->gradient[i] * l->bent[i];
    }
    if (l->beside.width == 0) return;
    sg_frozen_read_beside(f, l, t, r, &c, &e);
    *constant += c;
    *rest += e;
}
