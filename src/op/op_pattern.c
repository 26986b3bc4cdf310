// Attention weights, for those who want to see them: op_attention.c never forms them.
//
//   p[r][h][j] = exp(s_j - m) / (sum_j' exp(s_j' - m) [+ exp(sink_h - m)]),
//   s_j = scale q[r][h] . k[j][h / (heads / kv_heads)] of the keys j that row r sees, m the largest
//
//   q (B*T, heads*head_dim), k (B*T, kv_heads*head_dim) or what a cache holds -> nothing: blocks of
//   rows (rows, heads, keys) go to a callback and are forgotten. No gradient.
#include <math.h>
#include <string.h>

#include "op/observe.h"

enum { pattern_values = 1 << 20 }; // of a block, about

typedef struct pattern_attributes {
    sg_attention_options options; // kv_heads and scale filled in
    sg_observation observation;
    int64_t head_dim, most, block; // most: keys; block: rows
} pattern_attributes;

typedef struct pattern_loop {
    const sg_run *run;
    const sg_node *node;
    const pattern_attributes *a;
    int64_t sequence, first, start, keys; // first row of the block in its sequence
} pattern_loop;

// One row of one head, into `keys` numbers.
static void pattern_row(const pattern_loop *l, int64_t r, int64_t head, sg_real *p)
{
    const pattern_attributes *a = l->a;
    const sg_attention_options *o = &a->options;
    const sg_kernels *kernels = l->run->compute.kernels;
    const int64_t row = l->sequence * o->length + l->first + r, hd = a->head_dim;
    const int64_t key_head = head / (o->heads / o->kv_heads);
    const int64_t position = l->start + l->first + r;
    const int64_t from = o->window > 0 && position >= o->window ? position - o->window + 1 : 0;
    const int64_t seen = position + 1 - from;
    const sg_kv_cache *cache = o->caches ? &o->caches[l->sequence] : NULL;
    const int64_t stride = cache ? hd : o->kv_heads * hd;
    const sg_real *k =
        cache ? cache->k + key_head * cache->capacity * hd
              : sg_values(l->node->in[1]) + l->sequence * o->length * stride + key_head * hd;
    memset(p, 0, (size_t)l->keys * sizeof *p);
    kernels->thin_product(p + from, seen, sg_values(l->node->in[0]) + (row * o->heads + head) * hd,
                          hd, 1, k + from * stride, stride, seen, hd);
    kernels->scale(p + from, (sg_real)o->scale, seen);
    sg_real top = kernels->max(p + from, seen), sink = 0;
    if (o->sinks != NULL) {
        sink = sg_values(o->sinks)[head];
        top = sink > top ? sink : top;
    }
    sg_real sum = kernels->exp_sum(p + from, p + from, top, seen);
    if (o->sinks != NULL) sum += (sg_real)exp((double)(sink - top));
    kernels->scale(p + from, 1 / sum, seen);
}

static void pattern_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const pattern_loop *l = context;
    const int64_t heads = l->a->options.heads;
    pattern_row(l, chunk / heads, chunk % heads, (sg_real *)l->run->scratch + chunk * l->keys);
}

static void pattern_forward(const sg_run *run, const sg_node *node)
{
    const pattern_attributes *a = node->attributes;
    const sg_attention_options *o = &a->options;
    pattern_loop l = {.run = run, .node = node, .a = a};
    sg_values(node->out[0])[0] = 0;
    for (; l.sequence < sg_rows(node->in[0]) / o->length; l.sequence++) {
        l.start = o->start ? o->start[l.sequence] : 0;
        l.keys = l.start + o->length;
        sg_observation of = a->observation;
        of.shape[2] = l.keys;
        for (l.first = 0; l.first < o->length; l.first += a->block) {
            const int64_t rows = sg_min(a->block, o->length - l.first);
            sg_parallel_for(run->compute.pool, rows * o->heads, pattern_chunk, &l);
            if (!sg_observe_rows(run, &of, SG_POINT_READ, l.sequence * o->length + l.first, rows,
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
    *a = (pattern_attributes){.options = *options,
                              .observation = *observation,
                              .head_dim = sg_columns(q) / options->heads,
                              .most = options->caches ? most : options->length};
    if (a->options.kv_heads == 0) a->options.kv_heads = options->heads;
    if (a->options.scale == 0) a->options.scale = 1 / sqrt((double)a->head_dim);
    a->block = pattern_values / (options->heads * a->most);
    a->block = a->block < 1 ? 1 : sg_min(a->block, options->length);
    node->attributes = a;
    node->scratch_bytes = (size_t)(a->block * options->heads * a->most) * sizeof(sg_real);
    // Nobody reads it; a node has an output.
    sg_node_output(tape, node, "pattern", SG_KIND_REAL, 1, (int64_t[]){1});
}
