// Causal softmax attention. Of each head, query i and the keys j <= i that it sees (with a window
// the last of them, with caches those of former passes too):
//
//     s_ij = scale q_i . k_j      p_i = softmax(s_i)      o_i = sum_j p_ij v_j
//     dv_j = sum_i p_ij do_i      ds_ij = p_ij (do_i . v_j - do_i . o_i)
//     dq_i = scale sum_j ds_ij k_j      dk_j = scale sum_i ds_ij q_i
//
// q, o (rows, heads * h), k, v (rows, kv_heads * h). A sink is one more score of a head, without a
// value. Work is in tiles with running maxima, after FlashAttention-2 (Dao 2023): forward keeps one
// number a row and head, the logarithm of the softmax's denominator; backward computes p again from
// it. The products inside a tile are dense ones. Tiles are as large as a second cache allows, for
// the sake of the products; on the diagonal, and where a window ends, they are worked on in blocks
// of rows, each with the keys that any of its rows sees, so that little of what is masked is
// computed.
#include <math.h>
#include <string.h>

#include "kernel/gemm.h"
#include "op/attention.h"

enum { attention_tile = 256, attention_block = 64, attention_small = 1 << 14 };
enum { attention_few = 16 }; // rows of one pass that caches serve in f32 whatever the kind
enum { attention_thin = 4 }; // rows of queries that a product takes without copying the keys

typedef struct attention_loop {
    const sg_run *run;
    const sg_node *node;
    const sg_attention_shape *a;
    int64_t tiles; // query tiles of one sequence
    int64_t group; // heads of one chunk, which share their keys
    sg_attention_grads grads;
} attention_loop;

static int64_t attention_max(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

// ---- forward ----------------------------------------------------------------------------------

// A tile of queries against all keys that they see: rows of one head, at positions after each
// other; or, decoding, one row of each of some heads that share their keys, at one position.
typedef struct attention_query {
    const sg_real *q, *k, *v; // first query row of the tile, first key row
    sg_real *o, *lse;         // lse may be NULL
    const sg_real *sinks;     // of the first row; may be NULL
    sg_real *top, *sum;       // of each row so far
    int64_t rows;             // queries here
    int64_t position, step;   // of the first query, from each to the next
    int64_t width, key_width; // row strides of q and o, of k and v
    int64_t head_dim, lse_stride, sink_stride, window;
    sg_real scale;
} attention_query;

static int64_t attention_position(const attention_query *t, int64_t r)
{
    return t->position + r * t->step;
}

// s (rows, keys) = scale q k^T. Heads at one position go through the keys a few at a time, as the
// keys of a tile stay in the cache.
static void attention_products(const sg_kernels *kernels, const attention_query *t,
                               int64_t first_key, int64_t keys, sg_real *s)
{
    const int64_t most = t->step == 0 ? attention_thin : t->rows;
    for (int64_t r = 0; r < t->rows; r += most)
        sg_gemm_serial(kernels, &(sg_gemm_args){.transpose_b = true,
                                                .m = sg_min(most, t->rows - r),
                                                .n = keys,
                                                .k = t->head_dim,
                                                .alpha = t->scale,
                                                .a = t->q + r * t->width,
                                                .lda = t->width,
                                                .b = t->k + first_key * t->key_width,
                                                .ldb = t->key_width,
                                                .c = s + r * attention_tile,
                                                .ldc = attention_tile});
}

// Scores of one row turned into weights of the values, with a new maximum where these keys have it.
// `first`: o holds nothing yet.
static void attention_query_row(const sg_kernels *kernels, const attention_query *t, int64_t r,
                                int64_t first_key, int64_t keys, bool first, sg_real *row)
{
    const int64_t position = attention_position(t, r);
    int64_t from = attention_max(0, sg_attention_first_key(t->window, position) - first_key);
    int64_t to = sg_min(keys, position + 1 - first_key), seen = to - from;
    if (seen <= 0) {
        memset(row, 0, (size_t)keys * sizeof *row);
        return;
    }
    sg_real here_top = kernels->max(row + from, seen), old_top = t->top[r];
    sg_real top = here_top > old_top ? here_top : old_top;
    sg_real here = kernels->exp_sum(row + from, row + from, top, seen);
    memset(row, 0, (size_t)from * sizeof *row);
    memset(row + to, 0, (size_t)(keys - to) * sizeof *row);
    if (t->sum[r] != 0 && top > old_top) {
        sg_real shrink = (sg_real)exp((double)(old_top - top));
        if (!first) kernels->scale(t->o + r * t->width, shrink, t->head_dim);
        t->sum[r] *= shrink;
    }
    t->sum[r] += here;
    t->top[r] = top;
}

// o += s v of few rows: a dense product would copy the values first.
static void attention_few_values(const sg_kernels *kernels, const attention_query *t,
                                 int64_t first_key, int64_t keys, bool first, const sg_real *s)
{
    for (int64_t r = 0; first && r < t->rows; r++)
        memset(t->o + r * t->width, 0, (size_t)t->head_dim * sizeof *t->o);
    kernels->thin_sum(t->o, t->width, s, attention_tile, t->rows, t->v + first_key * t->key_width,
                      t->key_width, keys, t->head_dim);
}

// Asks memory for a tile of rows at once. One query passes them faster than they come, and a
// processor that looks ahead by itself starts anew with every page.
static void attention_fetch(const sg_real *rows, int64_t count)
{
    const int64_t line = 64 / (int64_t)sizeof *rows;
    for (int64_t i = 0; i < count; i += line)
        __builtin_prefetch(rows + i, 0, 2);
}

static void attention_query_block(const sg_kernels *kernels, const attention_query *t,
                                  int64_t first_key, int64_t keys, sg_real *s)
{
    if (t->key_width == t->head_dim && (t->step == 0 || t->rows == 1)) {
        attention_fetch(t->k + first_key * t->key_width, keys * t->key_width);
        attention_fetch(t->v + first_key * t->key_width, keys * t->key_width);
    }
    const bool first = first_key == sg_attention_first_key(t->window, t->position);
    attention_products(kernels, t, first_key, keys, s);
    for (int64_t r = 0; r < t->rows; r++)
        attention_query_row(kernels, t, r, first_key, keys, first, s + r * attention_tile);
    if (t->step == 0 || t->rows == 1) {
        attention_few_values(kernels, t, first_key, keys, first, s);
        return;
    }
    sg_gemm_serial(kernels, &(sg_gemm_args){.m = t->rows,
                                            .n = t->head_dim,
                                            .k = keys,
                                            .alpha = 1,
                                            .a = s,
                                            .lda = attention_tile,
                                            .b = t->v + first_key * t->key_width,
                                            .ldb = t->key_width,
                                            .beta = first ? 0 : 1,
                                            .c = t->o,
                                            .ldc = t->width});
}

// The rows of a tile against the keys from `key` on: all at once where all see all of them.
static void attention_query_keys(const sg_kernels *kernels, const attention_query *t, int64_t key,
                                 sg_real *s)
{
    const int64_t last = attention_position(t, t->rows - 1);
    const bool whole =
        key + attention_tile <= t->position && key >= sg_attention_first_key(t->window, last);
    const int64_t step = whole ? attention_tile : attention_block;
    for (int64_t r = 0; r < t->rows; r += step) {
        attention_query block = *t;
        block.q += r * t->width;
        block.o += r * t->width;
        block.top += r;
        block.sum += r;
        block.rows = sg_min(step, t->rows - r);
        block.position = attention_position(t, r);
        int64_t from = attention_max(key, sg_attention_first_key(t->window, block.position));
        int64_t to = sg_min(key + attention_tile, attention_position(&block, block.rows - 1) + 1);
        if (to > from) attention_query_block(kernels, &block, from, to - from, s);
    }
}

static void attention_query_tile(const sg_kernels *kernels, const attention_query *t, sg_real *s)
{
    // A sink is a score that has been met before all keys.
    for (int64_t r = 0; r < t->rows; r++) {
        t->top[r] = t->sinks ? t->sinks[r * t->sink_stride] : -INFINITY;
        t->sum[r] = t->sinks ? 1 : 0;
    }
    const int64_t end = attention_position(t, t->rows - 1) + 1;
    for (int64_t key = sg_attention_first_key(t->window, t->position); key < end;
         key += attention_tile)
        attention_query_keys(kernels, t, key, s);
    for (int64_t r = 0; r < t->rows; r++) {
        kernels->scale(t->o + r * t->width, 1 / t->sum[r], t->head_dim);
        if (t->lse != NULL) t->lse[r * t->lse_stride] = t->top[r] + (sg_real)log((double)t->sum[r]);
    }
}

// Heads that share their keys read them together where each has one query.
static int64_t attention_together(const sg_attention_shape *a)
{
    const int64_t shared = sg_attention_shared(a);
    return a->length == 1 && shared <= attention_block ? shared : 1;
}

static void attention_forward_chunk(void *context, int64_t chunk, int worker)
{
    const attention_loop *c = context;
    const sg_attention_shape *a = c->a;
    const sg_node *node = c->node;
    // Later query tiles see more keys: they come first, so that the threads end together.
    int64_t tile = c->tiles - 1 - chunk % c->tiles, unit = chunk / c->tiles;
    int64_t units = a->heads / c->group, head = unit % units * c->group, sequence = unit / units;
    int64_t width = sg_attention_width(a), key_width = sg_attention_key_width(a);
    int64_t first = tile * attention_tile, row = sequence * a->length + first;
    int64_t at = row * width + head * a->head_dim;
    int64_t key_column = head / sg_attention_shared(a) * a->head_dim;
    int64_t key_at = sequence * a->length * key_width + key_column;
    const bool together = c->group > 1;
    attention_query t = {.q = sg_values(node->in[SG_ATTENTION_Q]) + at,
                         .k = sg_values(node->in[SG_ATTENTION_K]) + key_at,
                         .v = sg_values(node->in[SG_ATTENTION_V]) + key_at,
                         .o = sg_values(node->out[0]) + at,
                         .sinks = node->in[SG_ATTENTION_SINKS]
                                      ? sg_values(node->in[SG_ATTENTION_SINKS]) + head
                                      : NULL,
                         .rows = together ? c->group : sg_min(attention_tile, a->length - first),
                         .position = first,
                         .step = together ? 0 : 1,
                         .width = together ? a->head_dim : width,
                         .key_width = key_width,
                         .head_dim = a->head_dim,
                         .lse_stride = together ? 1 : a->heads,
                         .sink_stride = together ? 1 : 0,
                         .window = a->window,
                         .scale = a->scale};
    t.top = sg_worker_scratch(c->run, worker);
    t.sum = t.top + attention_tile;
    if (a->caches != NULL) {
        const sg_kv_cache *cache = &a->caches[sequence];
        t.k = cache->k + key_column * cache->capacity;
        t.v = cache->v + key_column * cache->capacity;
        t.key_width = a->head_dim;
        t.position = a->start[sequence] + first;
    } else {
        t.lse = sg_values(node->saved[0]) + row * a->heads + head;
    }
    attention_query_tile(c->run->compute.kernels, &t, t.sum + attention_tile);
}

// Rows of all heads into runs of one head each.
static void attention_fill_cache(sg_real *to, const sg_real *from, int64_t length, int64_t width,
                                 int64_t hd, int64_t start, int64_t capacity)
{
    for (int64_t h = 0; h < width / hd; h++)
        for (int64_t r = 0; r < length; r++)
            memcpy(to + (h * capacity + start + r) * hd, from + r * width + h * hd,
                   (size_t)hd * sizeof *to);
}

void sg_fill_caches(const sg_kv_cache *caches, const int64_t *start, int64_t length,
                    int64_t head_dim, const sg_tensor *k, const sg_tensor *v)
{
    const int64_t width = sg_columns(k);
    for (int64_t b = 0; b < sg_rows(k) / length; b++) {
        const int64_t from = b * length * width;
        attention_fill_cache(caches[b].k, sg_values(k) + from, length, width, head_dim, start[b],
                             caches[b].capacity);
        attention_fill_cache(caches[b].v, sg_values(v) + from, length, width, head_dim, start[b],
                             caches[b].capacity);
    }
}

static void attention_forward(const sg_run *run, const sg_node *node)
{
    const sg_attention_shape *a = node->attributes;
    if (a->caches != NULL)
        sg_fill_caches(a->caches, a->start, a->length, a->head_dim, node->in[SG_ATTENTION_K],
                       node->in[SG_ATTENTION_V]);
    attention_loop c = {.run = run,
                        .node = node,
                        .a = a,
                        .tiles = sg_chunks(a->length, attention_tile),
                        .group = attention_together(a)};
    int64_t sequences = sg_rows(node->in[SG_ATTENTION_Q]) / a->length;
    // Waking threads takes longer than one token's attention to a short past.
    int64_t keys = a->length;
    for (int64_t b = 0; a->caches != NULL && b < sequences; b++)
        keys = attention_max(keys, a->start[b] + a->length);
    if (a->window > 0) keys = sg_min(keys, a->window);
    bool small = sg_rows(node->in[SG_ATTENTION_Q]) * sg_attention_width(a) * keys < attention_small;
    sg_parallel_for(small ? NULL : run->compute.pool, sequences * a->heads / c.group * c.tiles,
                    attention_forward_chunk, &c);
}

// ---- backward ---------------------------------------------------------------------------------

// The pointers of one head of one sequence.
typedef struct attention_head {
    const sg_real *q, *k, *v, *o, *dout;
    const sg_real *lse; // stride heads
    sg_real *dq, *dk, *dv;
    int64_t width, key_width; // row strides of q, o and their gradients, of k, v and theirs
    int64_t length, head_dim, heads, window;
    bool fresh; // the keys have had no gradient from another head
    sg_real scale;
} attention_head;

// C = alpha op(A) op(B) + beta C with A a (rows x keys) tile.
static void tile_gemm(const sg_kernels *kernels, bool transpose, int64_t m, int64_t n, int64_t k,
                      sg_real alpha, const sg_real *tile, const sg_real *b, int64_t ldb, bool add,
                      sg_real *c, int64_t ldc)
{
    sg_gemm_serial(kernels, &(sg_gemm_args){.transpose_a = transpose,
                                            .m = m,
                                            .n = n,
                                            .k = k,
                                            .alpha = alpha,
                                            .a = tile,
                                            .lda = attention_tile,
                                            .b = b,
                                            .ldb = ldb,
                                            .beta = add ? 1 : 0,
                                            .c = c,
                                            .ldc = ldc});
}

// p = softmax probabilities, ds = p * (dP - delta), for queries i … and keys j ….
static void attention_tile_gradient(const sg_kernels *kernels, const attention_head *h, int64_t i,
                                    int64_t rows, int64_t j, int64_t keys, const sg_real *delta,
                                    sg_real *p, sg_real *ds)
{
    attention_query t = {.q = h->q + i * h->width,
                         .k = h->k,
                         .rows = rows,
                         .step = 1,
                         .width = h->width,
                         .key_width = h->key_width,
                         .head_dim = h->head_dim,
                         .scale = h->scale};
    attention_products(kernels, &t, j, keys, p);
    t.q = h->dout + i * h->width;
    t.k = h->v;
    t.scale = 1;
    attention_products(kernels, &t, j, keys, ds);
    for (int64_t r = 0; r < rows; r++) {
        sg_real *prow = p + r * attention_tile, *drow = ds + r * attention_tile;
        int64_t from = sg_min(keys, attention_max(0, sg_attention_first_key(h->window, i + r) - j));
        int64_t to = attention_max(from, sg_min(keys, i + r + 1 - j));
        kernels->attention_row(prow + from, drow + from, h->lse[(i + r) * h->heads], delta[i + r],
                               to - from);
        memset(prow, 0, (size_t)from * sizeof *prow);
        memset(drow, 0, (size_t)from * sizeof *drow);
        memset(prow + to, 0, (size_t)(keys - to) * sizeof *prow);
        memset(drow + to, 0, (size_t)(keys - to) * sizeof *drow);
    }
}

// What queries i … and keys j … give to the gradients; `first` where these keys have had none yet
// from this head.
static void attention_block_gradient(const attention_loop *c, const attention_head *h, int64_t i,
                                     int64_t rows, int64_t j, int64_t keys, bool first,
                                     const sg_real *delta, sg_real *p)
{
    sg_real *ds = p + attention_tile * attention_tile;
    const int64_t w = h->width, kw = h->key_width, dim = h->head_dim;
    const bool write = first && h->fresh;
    attention_tile_gradient(c->run->compute.kernels, h, i, rows, j, keys, delta, p, ds);
    if (h->dv != NULL)
        tile_gemm(c->run->compute.kernels, true, keys, dim, rows, 1, p, h->dout + i * w, w,
                  !write || c->grads.add_v, h->dv + j * kw, kw);
    if (h->dk != NULL)
        tile_gemm(c->run->compute.kernels, true, keys, dim, rows, h->scale, ds, h->q + i * w, w,
                  !write || c->grads.add_k, h->dk + j * kw, kw);
    if (h->dq != NULL)
        tile_gemm(c->run->compute.kernels, false, rows, dim, keys, h->scale, ds, h->k + j * kw, kw,
                  j > 0 || c->grads.add_q, h->dq + i * w, w);
}

// The queries behind a tile of keys [j, end): tiles of them, but blocks where the window ends.
static void attention_later_queries(const attention_loop *c, const attention_head *h, int64_t j,
                                    int64_t end, const sg_real *delta, sg_real *p)
{
    const int64_t stop = h->window > 0 ? sg_min(h->length, end + h->window - 1) : h->length;
    for (int64_t i = end, rows; i < stop; i += rows) {
        rows = sg_min(attention_tile, stop - i);
        if (sg_attention_first_key(h->window, i + rows - 1) > j)
            rows = sg_min(attention_block, rows);
        int64_t from = attention_max(j, sg_attention_first_key(h->window, i));
        attention_block_gradient(c, h, i, rows, from, end - from, false, delta, p);
    }
}

static void attention_head_gradient(const attention_loop *c, const attention_head *h,
                                    const sg_real *delta, sg_real *p)
{
    for (int64_t j = 0; j < h->length; j += attention_tile) {
        int64_t end = sg_min(h->length, j + attention_tile);
        // On the diagonal the last block comes first: without a window it alone sees all keys of
        // the tile. With one, all blocks add.
        for (int64_t i = j + (end - j - 1) / attention_block * attention_block; i >= j;
             i -= attention_block) {
            int64_t stop = sg_min(end, i + attention_block);
            int64_t from = attention_max(j, sg_attention_first_key(h->window, i));
            attention_block_gradient(c, h, i, stop - i, from, stop - from, stop == end, delta, p);
        }
        attention_later_queries(c, h, j, end, delta, p);
    }
}

// A sink has a score and no value: its gradient is the sum over rows of p (0 - delta).
static double attention_sink_gradient(const attention_head *h, sg_real sink, const sg_real *delta)
{
    double sum = 0;
    for (int64_t r = 0; r < h->length; r++)
        sum -= exp((double)sink - (double)h->lse[r * h->heads]) * (double)delta[r];
    return sum;
}

static void attention_one_head(const attention_loop *c, int64_t sequence, int64_t head,
                               sg_real *scratch)
{
    const sg_attention_shape *a = c->a;
    const sg_node *node = c->node;
    const int64_t width = sg_attention_width(a), key_width = sg_attention_key_width(a);
    const int64_t first = sequence * a->length, at = first * width + head * a->head_dim;
    const int64_t key_at = first * key_width + head / sg_attention_shared(a) * a->head_dim;
    attention_head h = {.q = sg_values(node->in[SG_ATTENTION_Q]) + at,
                        .k = sg_values(node->in[SG_ATTENTION_K]) + key_at,
                        .v = sg_values(node->in[SG_ATTENTION_V]) + key_at,
                        .o = sg_values(node->out[0]) + at,
                        .dout = node->out[0]->grad + at,
                        .lse = sg_values(node->saved[0]) + first * a->heads + head,
                        .dq = c->grads.dq ? c->grads.dq + at : NULL,
                        .dk = c->grads.dk ? c->grads.dk + key_at : NULL,
                        .dv = c->grads.dv ? c->grads.dv + key_at : NULL,
                        .width = width,
                        .key_width = key_width,
                        .length = a->length,
                        .head_dim = a->head_dim,
                        .heads = a->heads,
                        .window = a->window,
                        .fresh = head % sg_attention_shared(a) == 0,
                        .scale = a->scale};
    sg_real *delta = scratch; // sum of dO * O, by row
    for (int64_t r = 0; r < h.length; r++)
        delta[r] = c->run->compute.kernels->dot(h.dout + r * width, h.o + r * width, h.head_dim);
    if (h.dq || h.dk || h.dv) attention_head_gradient(c, &h, delta, delta + h.length);
    if (c->grads.sink_sums != NULL)
        c->grads.sink_sums[sequence * a->heads + head] =
            attention_sink_gradient(&h, sg_values(node->in[SG_ATTENTION_SINKS])[head], delta);
}

// The heads that share their keys are one thread's, which adds up what they give to them.
static void attention_backward_chunk(void *context, int64_t chunk, int worker)
{
    const attention_loop *c = context;
    const int64_t kv_heads = c->a->kv_heads, first = chunk % kv_heads * c->group;
    for (int64_t head = first; head < first + c->group; head++)
        attention_one_head(c, chunk / kv_heads, head, sg_worker_scratch(c->run, worker));
}

static void attention_same_place(sg_attention_grads *g, int64_t count)
{
    sg_real *grad[] = {g->dq, g->dk, g->dv};
    bool *add[] = {&g->add_q, &g->add_k, &g->add_v};
    for (int i = 0; i < 3; i++)
        for (int j = i + 1; j < 3; j++) {
            if (grad[i] == NULL || grad[i] != grad[j]) continue;
            if (!*add[i]) memset(grad[i], 0, (size_t)count * sizeof(sg_real));
            *add[i] = *add[j] = true;
        }
}

sg_attention_grads sg_attention_grads_of(const sg_run *run, const sg_node *node)
{
    sg_attention_grads g = {0};
    g.dq = sg_grad_in(run, node, SG_ATTENTION_Q, &g.add_q);
    g.dk = sg_grad_in(run, node, SG_ATTENTION_K, &g.add_k);
    g.dv = sg_grad_in(run, node, SG_ATTENTION_V, &g.add_v);
    g.dsinks = sg_grad_in(run, node, SG_ATTENTION_SINKS, &g.add_sinks);
    if (g.dsinks != NULL) g.sink_sums = (double *)run->scratch;
    attention_same_place(&g, node->in[SG_ATTENTION_K]->count);
    return g;
}

void sg_attention_sinks_end(const sg_attention_grads *g, const sg_node *node)
{
    const sg_attention_shape *a = node->attributes;
    const int64_t sequences = sg_rows(node->in[SG_ATTENTION_Q]) / a->length;
    for (int64_t h = 0; g->dsinks != NULL && h < a->heads; h++) {
        double sum = 0;
        for (int64_t b = 0; b < sequences; b++)
            sum += g->sink_sums[b * a->heads + h];
        g->dsinks[h] = (g->add_sinks ? g->dsinks[h] : 0) + (sg_real)sum;
    }
}

// With a window no block need see all keys of a tile, or the first ones: all add.
static void attention_window_adds(attention_loop *c)
{
    sg_attention_grads *g = &c->grads;
    sg_real *grad[] = {g->dq, g->dk, g->dv};
    bool *add[] = {&g->add_q, &g->add_k, &g->add_v};
    for (int i = 0; i < 3; i++) {
        if (grad[i] != NULL && !*add[i])
            memset(grad[i], 0, (size_t)c->node->in[i]->count * sizeof(sg_real));
        *add[i] = true;
    }
}

static void attention_backward(const sg_run *run, const sg_node *node)
{
    attention_loop c = {.run = run, .node = node, .a = node->attributes};
    c.group = sg_attention_shared(c.a);
    c.grads = sg_attention_grads_of(run, node);
    if (c.a->window > 0) attention_window_adds(&c);
    int64_t sequences = sg_rows(node->in[SG_ATTENTION_Q]) / c.a->length;
    sg_parallel_for(run->compute.pool, sequences * c.a->kv_heads, attention_backward_chunk, &c);
    sg_attention_sinks_end(&c.grads, node);
}

double sg_attention_flops(const sg_node *node)
{
    const sg_attention_shape *a = node->attributes;
    int64_t keys = a->window > 0 ? sg_min(a->window, a->length) : a->length;
    return 4.0 * (double)node->in[SG_ATTENTION_Q]->count * (double)keys;
}

static const sg_op op_attention = {
    .name = "attention",
    .forward = attention_forward,
    .backward = attention_backward,
    .flops = sg_attention_flops,
    .backward_reads_in = (1 << SG_ATTENTION_INPUTS) - 1,
    .backward_reads_out = 1,
};

static const sg_op op_attention_cached = {
    .name = "attention_cached",
    .forward = attention_forward,
    .flops = sg_attention_flops,
};

static bool attention_fits(const sg_tensor *q, const sg_tensor *k, const sg_tensor *v,
                           const sg_attention_options *o, int64_t kv_heads)
{
    if (o->length < 1 || o->heads < 1 || kv_heads < 1 || o->window < 0 || !(o->scale >= 0))
        return false;
    if (sg_rows(q) % o->length != 0 || sg_columns(q) % o->heads != 0 || o->heads % kv_heads != 0)
        return false;
    const int64_t keys = q->count / o->heads * kv_heads;
    return k->count == keys && v->count == keys &&
           (o->sinks == NULL || o->sinks->count == o->heads) &&
           (o->caches == NULL || o->start != NULL);
}

static void attention_in_f32(sg_tape *tape, sg_node *node, const sg_attention_shape *shape)
{
    sg_attention_shape *a = sg_tape_memory(tape, sizeof *a);
    if (a == NULL) return;
    *a = *shape;
    node->attributes = a;
    // Forward: two numbers a row and one tile of scores; backward: one number a row and two tiles.
    int64_t tile =
        attention_max(sg_min(attention_tile, a->length), attention_together(a)) * attention_tile;
    int64_t forward = 2 * attention_tile + tile;
    int64_t backward = node->op->backward ? a->length + attention_tile * attention_tile + tile : 0;
    node->worker_scratch_bytes = (size_t)attention_max(forward, backward) * sizeof(sg_real);
}

sg_tensor *sg_attention(sg_tape *tape, sg_tensor *q, sg_tensor *k, sg_tensor *v,
                        const sg_attention_options *options)
{
    if (q == NULL || k == NULL || v == NULL) return NULL;
    const sg_attention_options *o = options;
    const int64_t kv_heads = o->kv_heads ? o->kv_heads : o->heads;
    if (!attention_fits(q, k, v, o, kv_heads))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "attention: shapes do not fit");
    const int64_t rows = sg_rows(q), head_dim = sg_columns(q) / o->heads;
    const sg_attention_shape shape = {
        .length = o->length,
        .heads = o->heads,
        .kv_heads = kv_heads,
        .head_dim = head_dim,
        .window = o->window,
        .scale = (sg_real)(o->scale > 0 ? o->scale : 1.0 / sqrt((double)head_dim)),
        .caches = o->caches,
        .start = o->start};
    const bool gradient = o->caches == NULL;
    sg_node *node = sg_tape_node(tape, gradient ? &op_attention : &op_attention_cached,
                                 SG_ATTENTION_INPUTS, (sg_tensor *[]){q, k, v, o->sinks});
    if (node == NULL) return NULL;
    // Few rows against what a cache holds are no work for matrix units.
    if (node->kind != SG_COMPUTE_F32 && (gradient || o->length >= attention_few))
        sg_attention_tile(tape, node, &shape);
    else
        attention_in_f32(tape, node, &shape);
    if (gradient && o->sinks != NULL)
        node->scratch_bytes = (size_t)(rows / shape.length * shape.heads) * sizeof(double);
    if (gradient) sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){rows, shape.heads});
    return sg_node_output(tape, node, node->op->name, SG_KIND_REAL, 2,
                          (int64_t[]){rows, sg_columns(q)});
}
