// Attention whose weights exist, so that somebody may change them or have their gradients. p is as
// in op_pattern.c; of what a callback makes of it, P,
//
//     o[r][h] = sum_j P[r][h][j] v[j]
//     dP[r][h][j] = do[r][h] . v[j]      dv[j] = sum over r, h of P[r][h][j] do[r][h]
//     ds = p (dP - sum_j p_j dP_j)       dq = scale sum_j ds_j k_j      dk_j = scale sum_r ds_j q_r
//     dsink[h] = - sum_r share[r][h] sum_j p_j dP_j, the share of the sink in the sum
//
// P counts as p plus a constant: a callback that gets dP and has written P may change dP to what is
// passed on to p. Weights that are written behind a row's own position count like all others.
//
// q, o (rows, heads * h), k, v (rows, kv_heads * h); p and P (rows, heads, T) are kept for the
// backward pass. With caches there is none, and they exist block by block. Takes T x T numbers a
// head, and other roundings than op_attention.c.
#include <string.h>

#include "op/attention_weights.h"

// Whoever looks, in the order of the requests.
typedef struct open_point {
    sg_observation observation;
    struct open_point *next, *before;
} open_point;

typedef struct open_attributes {
    sg_pattern pattern;
    open_point *points, *last;
} open_attributes;

enum { in_q, in_k, in_v, in_sinks, open_inputs };
enum { saved_p, saved_changed, saved_share };

typedef struct open_loop {
    sg_pattern_loop pattern;
    const open_attributes *a;
    const sg_node *node;
    int64_t first; // row of a block in its sequence
    // Of the block, or in a backward pass of the sequence: (rows, heads, keys).
    sg_real *p, *changed;
    sg_real *dp;           // (T, heads, T), which becomes ds
    sg_real *share, *sums; // (T, heads): of the sink; sum_j p_j dP_j
    sg_real *dq, *dk, *dv;
} open_loop;

static open_loop open_make(const sg_run *run, const sg_node *node)
{
    const open_attributes *a = node->attributes;
    return (open_loop){
        .pattern = {.run = run, .node = node, .of = &a->pattern}, .a = a, .node = node};
}

static void open_sequence(open_loop *l, int64_t sequence)
{
    const sg_attention_options *o = &l->a->pattern.options;
    l->pattern.sequence = sequence;
    l->pattern.start = o->start ? o->start[sequence] : 0;
    l->pattern.keys = l->pattern.start + o->length;
}

static int64_t open_key_head(const open_loop *l, int64_t head)
{
    const sg_attention_options *o = &l->a->pattern.options;
    return head / (o->heads / o->kv_heads);
}

// Where row `row` of the sequence has its numbers of a head in q, o and their gradients.
static int64_t open_at(const open_loop *l, int64_t row, int64_t head)
{
    const sg_attention_options *o = &l->a->pattern.options;
    return ((l->pattern.sequence * o->length + row) * o->heads + head) * l->a->pattern.head_dim;
}

// ---- forward ------------------------------------------------------------------------------------

static void open_weights_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const open_loop *l = context;
    const int64_t heads = l->a->pattern.options.heads, row = l->first + chunk / heads;
    const sg_real share =
        sg_pattern_row(&l->pattern, row, chunk % heads, l->p + chunk * l->pattern.keys);
    if (l->share != NULL) l->share[chunk] = share;
}

static void open_sum_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const open_loop *l = context;
    const int64_t heads = l->a->pattern.options.heads, hd = l->a->pattern.head_dim;
    const int64_t row = l->first + chunk / heads, head = chunk % heads, keys = l->pattern.keys;
    const sg_pattern_keys v = sg_pattern_keys_of(&l->a->pattern, l->node->in[in_v], true,
                                                 l->pattern.sequence, open_key_head(l, head));
    sg_real *out = sg_values(l->node->out[0]) + open_at(l, row, head);
    memset(out, 0, (size_t)hd * sizeof *out);
    l->pattern.run->compute.kernels->thin_sum(out, hd, l->changed + chunk * keys, keys, 1, v.rows,
                                              v.stride, keys, hd);
}

static bool open_call(const open_loop *l, const open_point *point, unsigned use, int64_t rows,
                      sg_real *values, sg_real *gradient)
{
    sg_observation of = point->observation;
    of.shape[2] = l->pattern.keys;
    return sg_observe_rows(l->pattern.run, &of, use,
                           l->pattern.sequence * l->a->pattern.options.length + l->first, rows,
                           values, gradient);
}

// False: the pass has ended.
static bool open_call_forward(const open_loop *l, int64_t rows)
{
    for (const open_point *point = l->a->points; point != NULL; point = point->next) {
        const unsigned asked = point->observation.request->use;
        const unsigned use = asked & SG_POINT_WRITE ? SG_POINT_WRITE : asked & SG_POINT_READ;
        if (use != 0 && !open_call(l, point, use, rows, l->changed, NULL)) return false;
    }
    return true;
}

static void open_forward(const sg_run *run, const sg_node *node)
{
    open_loop l = open_make(run, node);
    const sg_pattern *of = &l.a->pattern;
    const sg_attention_options *o = &of->options;
    const int64_t sequences = sg_rows(node->in[in_q]) / o->length;
    if (o->caches != NULL)
        sg_fill_caches(o->caches, o->start, o->length, of->head_dim, node->in[in_k],
                       node->in[in_v]);
    for (int64_t sequence = 0; sequence < sequences; sequence++) {
        open_sequence(&l, sequence);
        for (l.first = 0; l.first < o->length; l.first += of->block) {
            const int64_t rows = sg_min(of->block, o->length - l.first);
            const int64_t runs = rows * o->heads, numbers = runs * l.pattern.keys;
            const int64_t at = (sequence * o->length + l.first) * o->heads;
            l.p = l.changed = (sg_real *)run->scratch;
            if (node->n_saved > 0) {
                l.p = sg_values(node->saved[saved_p]) + at * l.pattern.keys;
                l.changed = sg_values(node->saved[saved_changed]) + at * l.pattern.keys;
                l.share = sg_values(node->saved[saved_share]) + at;
            }
            sg_parallel_for(run->compute.pool, runs, open_weights_chunk, &l);
            if (l.changed != l.p) memcpy(l.changed, l.p, (size_t)numbers * sizeof *l.p);
            if (!open_call_forward(&l, rows)) return;
            sg_parallel_for(run->compute.pool, runs, open_sum_chunk, &l);
        }
    }
}

// ---- backward -----------------------------------------------------------------------------------

static void open_dp_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const open_loop *l = context;
    const int64_t heads = l->a->pattern.options.heads, hd = l->a->pattern.head_dim;
    const int64_t head = chunk % heads, keys = l->pattern.keys;
    const sg_pattern_keys v = sg_pattern_keys_of(&l->a->pattern, l->node->in[in_v], true,
                                                 l->pattern.sequence, open_key_head(l, head));
    l->pattern.run->compute.kernels->thin_product(
        l->dp + chunk * keys, keys, l->node->out[0]->grad + open_at(l, chunk / heads, head), hd, 1,
        v.rows, v.stride, keys, hd);
}

// Those that see the values last get the gradient first.
static bool open_call_backward(open_loop *l)
{
    const sg_pattern *of = &l->a->pattern;
    for (const open_point *point = l->a->last; point != NULL; point = point->before) {
        if (!(point->observation.request->use & SG_POINT_GRADIENT)) continue;
        for (l->first = 0; l->first < of->options.length; l->first += of->block) {
            const int64_t at = l->first * of->options.heads * l->pattern.keys;
            if (!open_call(l, point, SG_POINT_GRADIENT,
                           sg_min(of->block, of->options.length - l->first), l->changed + at,
                           l->dp + at))
                return false;
        }
    }
    return true;
}

// dP becomes ds, which gives dq.
static void open_ds_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const open_loop *l = context;
    const sg_kernels *kernels = l->pattern.run->compute.kernels;
    const sg_attention_options *o = &l->a->pattern.options;
    const int64_t head = chunk % o->heads, keys = l->pattern.keys, hd = l->a->pattern.head_dim;
    const sg_real *p = l->p + chunk * keys;
    sg_real *ds = l->dp + chunk * keys;
    const sg_real sum = kernels->dot(p, ds, keys);
    l->sums[chunk] = sum;
    for (int64_t j = 0; j < keys; j++)
        ds[j] = (sg_real)o->scale * (p[j] * (ds[j] - sum));
    if (l->dq == NULL) return;
    const sg_pattern_keys k = sg_pattern_keys_of(&l->a->pattern, l->node->in[in_k], false,
                                                 l->pattern.sequence, open_key_head(l, head));
    kernels->thin_sum(l->dq + open_at(l, chunk / o->heads, head), hd, ds, keys, 1, k.rows, k.stride,
                      keys, hd);
}

// What all rows, and the heads that share a key, give to it and its value.
static void open_keys_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const open_loop *l = context;
    const sg_kernels *kernels = l->pattern.run->compute.kernels;
    const sg_attention_options *o = &l->a->pattern.options;
    const int64_t key_head = chunk % o->kv_heads, j = chunk / o->kv_heads,
                  hd = l->a->pattern.head_dim;
    const int64_t shared = o->heads / o->kv_heads;
    const int64_t at = ((l->pattern.sequence * o->length + j) * o->kv_heads + key_head) * hd;
    for (int64_t row = 0; row < o->length; row++)
        for (int64_t head = key_head * shared; head < (key_head + 1) * shared; head++) {
            const int64_t weight = (row * o->heads + head) * l->pattern.keys + j;
            const int64_t from = open_at(l, row, head);
            if (l->dk != NULL)
                kernels->axpy(l->dk + at, l->dp[weight], sg_values(l->node->in[in_q]) + from, hd);
            if (l->dv != NULL)
                kernels->axpy(l->dv + at, l->changed[weight], l->node->out[0]->grad + from, hd);
        }
}

static void open_sinks(const open_loop *l, sg_real *dsinks)
{
    const sg_attention_options *o = &l->a->pattern.options;
    for (int64_t head = 0; head < o->heads; head++) {
        double sum = 0;
        for (int64_t row = 0; row < o->length; row++)
            sum += (double)l->share[row * o->heads + head] * (double)l->sums[row * o->heads + head];
        dsinks[head] -= (sg_real)sum;
    }
}

// The gradient of input i, to be added to.
static sg_real *open_grad(const sg_run *run, const sg_node *node, int i)
{
    bool add = false;
    sg_real *grad = sg_grad_in(run, node, i, &add);
    if (grad != NULL && !add) memset(grad, 0, (size_t)node->in[i]->count * sizeof *grad);
    return grad;
}

static void open_backward(const sg_run *run, const sg_node *node)
{
    open_loop l = open_make(run, node);
    const sg_attention_options *o = &l.a->pattern.options;
    const int64_t runs = o->length * o->heads;
    l.dq = open_grad(run, node, in_q);
    l.dk = open_grad(run, node, in_k);
    l.dv = open_grad(run, node, in_v);
    sg_real *dsinks = open_grad(run, node, in_sinks);
    l.dp = (sg_real *)run->scratch;
    l.sums = l.dp + runs * o->length;
    for (int64_t sequence = 0; sequence < sg_rows(node->in[in_q]) / o->length; sequence++) {
        open_sequence(&l, sequence);
        l.p = sg_values(node->saved[saved_p]) + sequence * runs * o->length;
        l.changed = sg_values(node->saved[saved_changed]) + sequence * runs * o->length;
        l.share = sg_values(node->saved[saved_share]) + sequence * runs;
        sg_parallel_for(run->compute.pool, runs, open_dp_chunk, &l);
        if (!open_call_backward(&l)) return;
        sg_parallel_for(run->compute.pool, runs, open_ds_chunk, &l);
        if (l.dk != NULL || l.dv != NULL)
            sg_parallel_for(run->compute.pool, o->length * o->kv_heads, open_keys_chunk, &l);
        if (dsinks != NULL) open_sinks(&l, dsinks);
    }
}

static double open_flops(const sg_node *node)
{
    const open_attributes *a = node->attributes;
    return 4.0 * (double)node->in[in_q]->count * (double)a->pattern.options.length;
}

static const sg_op op_open = {
    .name = "attention_open",
    .forward = open_forward,
    .backward = open_backward,
    .flops = open_flops,
    .backward_reads_in = (1 << in_q) | (1 << in_k) | (1 << in_v),
    .once = true,
};

static const sg_op op_open_cached = {
    .name = "attention_open",
    .forward = open_forward,
    .flops = open_flops,
    .once = true,
};

sg_tensor *sg_attention_open(sg_tape *tape, sg_tensor *q, sg_tensor *k, sg_tensor *v,
                             const sg_attention_options *options, int64_t most)
{
    if (q == NULL || k == NULL || v == NULL) return NULL;
    sg_node *node = sg_tape_node(tape, options->caches ? &op_open_cached : &op_open, open_inputs,
                                 (sg_tensor *[]){q, k, v, options->sinks});
    open_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    a->pattern = sg_pattern_of(options, q, most);
    node->attributes = a;
    const int64_t rows = sg_rows(q), heads = options->heads, length = options->length;
    node->scratch_bytes = (size_t)(a->pattern.block * heads * a->pattern.most) * sizeof(sg_real);
    if (options->caches == NULL) {
        sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){rows, heads * length});
        sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){rows, heads * length});
        sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){rows, heads});
        node->scratch_bytes = (size_t)(length * heads * (length + 1)) * sizeof(sg_real);
    }
    return sg_node_output(tape, node, "attention", SG_KIND_REAL, 2,
                          (int64_t[]){rows, sg_columns(q)});
}

void sg_observe_weights(sg_tape *tape, sg_tensor *attention, const sg_observation *observation)
{
    for (int n = 0; attention != NULL && n < sg_tape_nodes(tape); n++) {
        const sg_node *node = sg_tape_node_at(tape, n);
        if (node->out[0] != attention) continue;
        open_attributes *a = node->attributes;
        open_point *point = sg_tape_memory(tape, sizeof *point);
        if (point == NULL) return;
        *point = (open_point){.observation = *observation, .before = a->last};
        *(a->last ? &a->last->next : &a->points) = point;
        a->last = point;
        // Whoever asks for a gradient wants it, also where nothing in front of the weights does.
        if (observation->request->use & SG_POINT_GRADIENT) {
            node->in[in_v]->wants_grad = node->in[in_v]->base->wants_grad = true;
            attention->wants_grad = node->op->backward != NULL;
        }
        return;
    }
}
