// Attention weights, for those who want to see them: op_attention.c never forms them.
//
//   p[r][h][j] = exp(s_j - m) / (sum_j' exp(s_j' - m) [+ exp(sink_h - m)]),
//   s_j = scale q[r][h] . k[j][h / (heads / kv_heads)] of the keys j that row r sees, m the largest
//
//   q (B*T, heads*head_dim), k (B*T, kv_heads*head_dim) or what a cache holds -> nothing: blocks of
//   rows (rows, heads, keys) go to a callback and are forgotten. No gradient.
#include "op/attention_weights.h"

#include <math.h>
#include <string.h>

enum { pattern_values = 1 << 20 }; // of a block, about

sg_pattern sg_pattern_of(const sg_attention_options *options, const sg_tensor *q, int64_t most)
{
    sg_pattern p = {.options = *options,
                    .head_dim = sg_columns(q) / options->heads,
                    .most = options->caches ? most : options->length};
    if (p.options.kv_heads == 0) p.options.kv_heads = options->heads;
    if (p.options.scale == 0) p.options.scale = 1 / sqrt((double)p.head_dim);
    p.block = pattern_values / (options->heads * p.most);
    p.block = p.block < 1 ? 1 : sg_min(p.block, options->length);
    return p;
}

sg_pattern_keys sg_pattern_keys_of(const sg_pattern *p, const sg_tensor *rows, bool values,
                                   int64_t sequence, int64_t key_head)
{
    const sg_attention_options *o = &p->options;
    if (o->caches != NULL) {
        const sg_kv_cache *cache = &o->caches[sequence];
        const sg_real *of = values ? cache->v : cache->k;
        return (sg_pattern_keys){of + key_head * cache->capacity * p->head_dim, p->head_dim};
    }
    const int64_t stride = o->kv_heads * p->head_dim;
    return (sg_pattern_keys){
        sg_values(rows) + sequence * o->length * stride + key_head * p->head_dim, stride};
}

sg_real sg_pattern_row(const sg_pattern_loop *l, int64_t row, int64_t head, sg_real *p)
{
    const sg_attention_options *o = &l->of->options;
    const sg_kernels *kernels = l->run->compute.kernels;
    const int64_t hd = l->of->head_dim, position = l->start + row;
    const int64_t from = o->window > 0 && position >= o->window ? position - o->window + 1 : 0;
    const int64_t seen = position + 1 - from;
    const sg_pattern_keys k = sg_pattern_keys_of(l->of, l->node->in[1], false, l->sequence,
                                                 head / (o->heads / o->kv_heads));
    const sg_real *q =
        sg_values(l->node->in[0]) + ((l->sequence * o->length + row) * o->heads + head) * hd;
    memset(p, 0, (size_t)l->keys * sizeof *p);
    kernels->thin_product(p + from, seen, q, hd, 1, k.rows + from * k.stride, k.stride, seen, hd);
    kernels->scale(p + from, (sg_real)o->scale, seen);
    sg_real top = kernels->max(p + from, seen), sink = 0;
    if (o->sinks != NULL) {
        sink = sg_values(o->sinks)[head];
        top = sink > top ? sink : top;
    }
    sg_real sum = kernels->exp_sum(p + from, p + from, top, seen), share = 0;
    if (o->sinks != NULL) sum += share = (sg_real)exp((double)(sink - top));
    kernels->scale(p + from, 1 / sum, seen);
    return share / sum;
}

typedef struct pattern_attributes {
    sg_pattern pattern;
    sg_observation observation;
} pattern_attributes;

typedef struct pattern_chunks {
    const sg_pattern_loop *loop;
    int64_t first; // row of the block in its sequence
} pattern_chunks;

static void pattern_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const pattern_chunks *c = context;
    const sg_pattern_loop *l = c->loop;
    const int64_t heads = l->of->options.heads;
    sg_pattern_row(l, c->first + chunk / heads, chunk % heads,
                   (sg_real *)l->run->scratch + chunk * l->keys);
}

static void pattern_forward(const sg_run *run, const sg_node *node)
{
    const pattern_attributes *a = node->attributes;
    const sg_attention_options *o = &a->pattern.options;
    sg_pattern_loop l = {.run = run, .node = node, .of = &a->pattern};
    sg_values(node->out[0])[0] = 0;
    for (; l.sequence < sg_rows(node->in[0]) / o->length; l.sequence++) {
        l.start = o->start ? o->start[l.sequence] : 0;
        l.keys = l.start + o->length;
        sg_observation of = a->observation;
        of.shape[2] = l.keys;
        pattern_chunks c = {&l, 0};
        for (; c.first < o->length; c.first += a->pattern.block) {
            const int64_t rows = sg_min(a->pattern.block, o->length - c.first);
            sg_parallel_for(run->compute.pool, rows * o->heads, pattern_chunk, &c);
            if (!sg_observe_rows(run, &of, SG_POINT_READ, l.sequence * o->length + c.first, rows,
                                 (sg_real *)run->scratch, NULL))
                return;
        }
    }
}

static const sg_op op_pattern = {.name = "observe", .forward = pattern_forward, .once = true};

void sg_observe_pattern(sg_tape *tape, sg_tensor *q, sg_tensor *k,
                        const sg_attention_options *options, int64_t most,
                        const sg_observation *observation)
{
    if (q == NULL || k == NULL) return;
    sg_node *node = sg_tape_node(tape, &op_pattern, 3, (sg_tensor *[]){q, k, options->sinks});
    pattern_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return;
    *a = (pattern_attributes){sg_pattern_of(options, q, most), *observation};
    node->attributes = a;
    node->scratch_bytes =
        (size_t)(a->pattern.block * options->heads * a->pattern.most) * sizeof(sg_real);
    // Nobody reads it; a node has an output.
    sg_node_output(tape, node, "pattern", SG_KIND_REAL, 1, (int64_t[]){1});
}
