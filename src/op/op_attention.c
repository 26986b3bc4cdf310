// Causal softmax attention in tiles with running maxima, after FlashAttention-2 (Dao 2023): forward
// keeps one number a row and head, the logarithm of the softmax's denominator; backward computes the
// probabilities again from it. The products inside a tile are the BLAS's. Tiles are as large as a
// second cache allows, for the sake of the BLAS; on the diagonal they are worked on in blocks of
// rows, each with the keys that its last row sees, so that little of the masked half is computed.
#include <math.h>
#include <string.h>

#include "kernel/gemm.h"
#include "op/op.h"

enum { attention_tile = 256, attention_block = 64, attention_small = 1 << 18 };

typedef struct attention_attributes {
    int64_t length, heads, head_dim;
    const sg_kv_cache *caches; // by sequence; NULL: keys and values are this pass's own
    const int64_t *start;      // likewise
} attention_attributes;

typedef struct attention_loop {
    const sg_run *run;
    const sg_node *node;
    const attention_attributes *a;
    int64_t tiles; // query tiles of one sequence
    sg_real *dq, *dk, *dv;
    bool add_q, add_k, add_v;
} attention_loop;

static int64_t attention_width(const attention_attributes *a)
{
    return a->heads * a->head_dim;
}

static sg_real attention_scale(const attention_attributes *a)
{
    return (sg_real)(1.0 / sqrt((double)a->head_dim));
}

// ---- forward ----------------------------------------------------------------------------------

// One tile of queries of one head against all keys up to their own positions.
typedef struct attention_query {
    const sg_real *q, *k, *v; // first query row of the tile, first key row
    sg_real *o, *lse;         // lse may be NULL
    sg_real *top, *sum;       // of each row so far
    int64_t rows;             // queries here
    int64_t position;         // of the first query; query r sees keys 0 … position + r
    int64_t width, head_dim, lse_stride;
    sg_real scale;
} attention_query;

static void attention_products(const attention_query *t, int64_t first_key, int64_t keys,
                               sg_real *s)
{
    sg_gemm_serial(&(sg_gemm_args){.transpose_b = true,
                                   .m = t->rows,
                                   .n = keys,
                                   .k = t->head_dim,
                                   .alpha = t->scale,
                                   .a = t->q,
                                   .lda = t->width,
                                   .b = t->k + first_key * t->width,
                                   .ldb = t->width,
                                   .c = s,
                                   .ldc = attention_tile});
}

// Scores of one row turned into weights of the values, with a new maximum where these keys have it.
static void attention_query_row(const sg_kernels *kernels, const attention_query *t, int64_t r,
                                int64_t first_key, int64_t keys, sg_real *row)
{
    int64_t seen = sg_min(keys, t->position + r + 1 - first_key);
    if (seen <= 0) {
        memset(row, 0, (size_t)keys * sizeof *row);
        return;
    }
    sg_real here_top = kernels->max(row, seen), old_top = t->top[r];
    sg_real top = here_top > old_top ? here_top : old_top;
    sg_real here = kernels->exp_sum(row, row, top, seen);
    memset(row + seen, 0, (size_t)(keys - seen) * sizeof *row);
    if (first_key > 0 && top > old_top) {
        sg_real shrink = (sg_real)exp((double)(old_top - top));
        kernels->scale(t->o + r * t->width, shrink, t->head_dim);
        t->sum[r] *= shrink;
    }
    t->sum[r] += here;
    t->top[r] = top;
}

static void attention_query_block(const sg_kernels *kernels, const attention_query *t,
                                  int64_t first_key, int64_t keys, sg_real *s)
{
    attention_products(t, first_key, keys, s);
    for (int64_t r = 0; r < t->rows; r++)
        attention_query_row(kernels, t, r, first_key, keys, s + r * attention_tile);
    if (t->rows == 1) { // decoding: a BLAS would copy the values first
        if (first_key == 0) memset(t->o, 0, (size_t)t->head_dim * sizeof *t->o);
        for (int64_t i = 0; i < keys; i++)
            kernels->axpy(t->o, s[i], t->v + (first_key + i) * t->width, t->head_dim);
        return;
    }
    sg_gemm_serial(&(sg_gemm_args){.m = t->rows,
                                   .n = t->head_dim,
                                   .k = keys,
                                   .alpha = 1,
                                   .a = s,
                                   .lda = attention_tile,
                                   .b = t->v + first_key * t->width,
                                   .ldb = t->width,
                                   .beta = first_key > 0 ? 1 : 0,
                                   .c = t->o,
                                   .ldc = t->width});
}

static void attention_query_tile(const sg_kernels *kernels, const attention_query *t, sg_real *s)
{
    int64_t last = t->position + t->rows; // keys seen by the last query
    for (int64_t r = 0; r < t->rows; r++) {
        t->top[r] = -INFINITY;
        t->sum[r] = 0;
    }
    for (int64_t key = 0; key < last; key += attention_tile) {
        int64_t step = key + attention_tile <= t->position ? attention_tile : attention_block;
        for (int64_t r = 0; r < t->rows; r += step) {
            attention_query block = *t;
            block.q += r * t->width;
            block.o += r * t->width;
            block.top += r;
            block.sum += r;
            block.rows = sg_min(step, t->rows - r);
            block.position += r;
            int64_t keys = sg_min(attention_tile, block.position + block.rows - key);
            if (keys > 0) attention_query_block(kernels, &block, key, keys, s);
        }
    }
    for (int64_t r = 0; r < t->rows; r++) {
        kernels->scale(t->o + r * t->width, 1 / t->sum[r], t->head_dim);
        if (t->lse != NULL) t->lse[r * t->lse_stride] = t->top[r] + (sg_real)log((double)t->sum[r]);
    }
}

static void attention_forward_chunk(void *context, int64_t chunk, int worker)
{
    const attention_loop *c = context;
    const attention_attributes *a = c->a;
    // Later query tiles see more keys: they come first, so that the threads end together.
    int64_t tile = c->tiles - 1 - chunk % c->tiles;
    int64_t head = chunk / c->tiles % a->heads, sequence = chunk / c->tiles / a->heads;
    int64_t width = attention_width(a), first = tile * attention_tile;
    int64_t row = sequence * a->length + first, column = head * a->head_dim;
    attention_query t = {.q = sg_values(c->node->in[0]) + row * width + column,
                         .k = sg_values(c->node->in[1]) + sequence * a->length * width + column,
                         .v = sg_values(c->node->in[2]) + sequence * a->length * width + column,
                         .o = sg_values(c->node->out[0]) + row * width + column,
                         .rows = sg_min(attention_tile, a->length - first),
                         .position = first,
                         .width = width,
                         .head_dim = a->head_dim,
                         .lse_stride = a->heads,
                         .scale = attention_scale(a)};
    t.top = sg_worker_scratch(c->run, worker);
    t.sum = t.top + attention_tile;
    if (a->caches != NULL) {
        t.k = a->caches[sequence].k + column;
        t.v = a->caches[sequence].v + column;
        t.position = a->start[sequence] + first;
    } else {
        t.lse = sg_values(c->node->saved[0]) + row * a->heads + head;
    }
    attention_query_tile(c->run->kernels, &t, t.sum + attention_tile);
}

static void attention_fill_caches(const sg_node *node, const attention_attributes *a)
{
    int64_t width = attention_width(a), sequences = sg_rows(node->in[0]) / a->length;
    size_t bytes = (size_t)(a->length * width) * sizeof(sg_real);
    for (int64_t b = 0; b < sequences; b++) {
        int64_t to = a->start[b] * width, from = b * a->length * width;
        memcpy(a->caches[b].k + to, sg_values(node->in[1]) + from, bytes);
        memcpy(a->caches[b].v + to, sg_values(node->in[2]) + from, bytes);
    }
}

static void attention_forward(const sg_run *run, const sg_node *node)
{
    const attention_attributes *a = node->attributes;
    if (a->caches != NULL) attention_fill_caches(node, a);
    attention_loop c = {
        .run = run, .node = node, .a = a, .tiles = sg_chunks(a->length, attention_tile)};
    int64_t sequences = sg_rows(node->in[0]) / a->length;
    // Waking threads takes longer than one token's attention to a short past.
    int64_t keys = a->length;
    for (int64_t b = 0; a->caches != NULL && b < sequences; b++)
        if (keys < a->start[b] + a->length) keys = a->start[b] + a->length;
    bool small = sg_rows(node->in[0]) * attention_width(a) * keys < attention_small;
    sg_parallel_for(small ? NULL : run->pool, sequences * a->heads * c.tiles,
                    attention_forward_chunk, &c);
}

// ---- backward ---------------------------------------------------------------------------------

// The pointers of one head of one sequence, each with row stride `width`.
typedef struct attention_head {
    const sg_real *q, *k, *v, *o, *dout;
    const sg_real *lse; // stride heads
    sg_real *dq, *dk, *dv;
    int64_t width, length, head_dim, heads;
    sg_real scale;
} attention_head;

// C = alpha op(A) op(B) + beta C with A a (rows x keys) tile.
static void tile_gemm(bool transpose, int64_t m, int64_t n, int64_t k, sg_real alpha,
                      const sg_real *tile, const sg_real *b, int64_t width, bool add, sg_real *c)
{
    sg_gemm_serial(&(sg_gemm_args){.transpose_a = transpose,
                                   .m = m,
                                   .n = n,
                                   .k = k,
                                   .alpha = alpha,
                                   .a = tile,
                                   .lda = attention_tile,
                                   .b = b,
                                   .ldb = width,
                                   .beta = add ? 1 : 0,
                                   .c = c,
                                   .ldc = width});
}

// p = softmax probabilities, ds = p * (dP - delta), for queries i … and keys j ….
static void attention_tile_gradient(const sg_kernels *kernels, const attention_head *h, int64_t i,
                                    int64_t rows, int64_t j, int64_t keys, const sg_real *delta,
                                    sg_real *p, sg_real *ds)
{
    attention_query t = {.q = h->q + i * h->width,
                         .k = h->k,
                         .rows = rows,
                         .width = h->width,
                         .head_dim = h->head_dim,
                         .scale = h->scale};
    attention_products(&t, j, keys, p);
    t.q = h->dout + i * h->width;
    t.k = h->v;
    t.scale = 1;
    attention_products(&t, j, keys, ds);
    for (int64_t r = 0; r < rows; r++) {
        sg_real *prow = p + r * attention_tile, *drow = ds + r * attention_tile;
        int64_t seen = sg_min(keys, i + r + 1 - j);
        if (seen < 0) seen = 0;
        kernels->attention_row(prow, drow, h->lse[(i + r) * h->heads], delta[i + r], seen);
        memset(prow + seen, 0, (size_t)(keys - seen) * sizeof *prow);
        memset(drow + seen, 0, (size_t)(keys - seen) * sizeof *drow);
    }
}

// What queries i … and keys j … give to the gradients; `first` where these keys have had none yet.
static void attention_block_gradient(const attention_loop *c, const attention_head *h, int64_t i,
                                     int64_t rows, int64_t j, int64_t keys, bool first,
                                     const sg_real *delta, sg_real *p)
{
    sg_real *ds = p + attention_tile * attention_tile;
    int64_t w = h->width, dim = h->head_dim;
    attention_tile_gradient(c->run->kernels, h, i, rows, j, keys, delta, p, ds);
    if (h->dv != NULL)
        tile_gemm(true, keys, dim, rows, 1, p, h->dout + i * w, w, !first || c->add_v,
                  h->dv + j * w);
    if (h->dk != NULL)
        tile_gemm(true, keys, dim, rows, h->scale, ds, h->q + i * w, w, !first || c->add_k,
                  h->dk + j * w);
    if (h->dq != NULL)
        tile_gemm(false, rows, dim, keys, h->scale, ds, h->k + j * w, w, j > 0 || c->add_q,
                  h->dq + i * w);
}

static void attention_head_gradient(const attention_loop *c, const attention_head *h,
                                    sg_real *scratch)
{
    sg_real *delta = scratch, *p = delta + h->length; // delta: sum of dO * O, by row
    for (int64_t r = 0; r < h->length; r++)
        delta[r] = c->run->kernels->dot(h->dout + r * h->width, h->o + r * h->width, h->head_dim);
    for (int64_t j = 0; j < h->length; j += attention_tile) {
        int64_t end = sg_min(h->length, j + attention_tile);
        // On the diagonal the last block comes first: it alone sees all keys of the tile.
        for (int64_t i = j + (end - j - 1) / attention_block * attention_block; i >= j;
             i -= attention_block) {
            int64_t stop = sg_min(end, i + attention_block);
            attention_block_gradient(c, h, i, stop - i, j, stop - j, stop == end, delta, p);
        }
        for (int64_t i = end; i < h->length; i += attention_tile)
            attention_block_gradient(c, h, i, sg_min(attention_tile, h->length - i), j, end - j,
                                     false, delta, p);
    }
}

static void attention_backward_chunk(void *context, int64_t chunk, int worker)
{
    const attention_loop *c = context;
    const attention_attributes *a = c->a;
    int64_t head = chunk % a->heads, sequence = chunk / a->heads, width = attention_width(a);
    int64_t at = sequence * a->length * width + head * a->head_dim;
    attention_head h = {.q = sg_values(c->node->in[0]) + at,
                        .k = sg_values(c->node->in[1]) + at,
                        .v = sg_values(c->node->in[2]) + at,
                        .o = sg_values(c->node->out[0]) + at,
                        .dout = c->node->out[0]->grad + at,
                        .lse =
                            sg_values(c->node->saved[0]) + sequence * a->length * a->heads + head,
                        .dq = c->dq ? c->dq + at : NULL,
                        .dk = c->dk ? c->dk + at : NULL,
                        .dv = c->dv ? c->dv + at : NULL,
                        .width = width,
                        .length = a->length,
                        .head_dim = a->head_dim,
                        .heads = a->heads,
                        .scale = attention_scale(a)};
    attention_head_gradient(c, &h, sg_worker_scratch(c->run, worker));
}

// Where one tensor is two of query, key and value, its gradients meet in one place. They are written
// tile by tile and not one after the other, so all of them have to add, to zeros.
static void attention_same_place(attention_loop *c, int64_t count)
{
    sg_real *grad[] = {c->dq, c->dk, c->dv};
    bool *add[] = {&c->add_q, &c->add_k, &c->add_v};
    for (int i = 0; i < 3; i++)
        for (int j = i + 1; j < 3; j++) {
            if (grad[i] == NULL || grad[i] != grad[j]) continue;
            if (!*add[i]) memset(grad[i], 0, (size_t)count * sizeof(sg_real));
            *add[i] = *add[j] = true;
        }
}

static void attention_backward(const sg_run *run, const sg_node *node)
{
    attention_loop c = {.run = run, .node = node, .a = node->attributes};
    c.dq = sg_grad_in(run, node, 0, &c.add_q);
    c.dk = sg_grad_in(run, node, 1, &c.add_k);
    c.dv = sg_grad_in(run, node, 2, &c.add_v);
    attention_same_place(&c, node->in[0]->count);
    int64_t sequences = sg_rows(node->in[0]) / c.a->length;
    sg_parallel_for(run->pool, sequences * c.a->heads, attention_backward_chunk, &c);
}

// Counted as published: the full T x T square, no causal halving (spec 5.9).
static double attention_flops(const sg_node *node)
{
    const attention_attributes *a = node->attributes;
    return 4.0 * (double)node->in[0]->count * (double)a->length;
}

static const sg_op op_attention = {
    .name = "attention",
    .forward = attention_forward,
    .backward = attention_backward,
    .flops = attention_flops,
    .backward_reads_in = 7,
    .backward_reads_out = 1,
};

static const sg_op op_attention_cached = {
    .name = "attention_cached",
    .forward = attention_forward,
    .flops = attention_flops,
};

static sg_tensor *attention_record(sg_tape *tape, sg_tensor *const *qkv, const sg_op *op,
                                   const attention_attributes *attributes)
{
    if (qkv[0] == NULL || qkv[1] == NULL || qkv[2] == NULL) return NULL;
    int64_t rows = sg_rows(qkv[0]), width = sg_columns(qkv[0]);
    const attention_attributes *from = attributes;
    if (from->length < 1 || from->heads < 1 || rows % from->length != 0 ||
        width % from->heads != 0 || qkv[1]->count != qkv[0]->count ||
        qkv[2]->count != qkv[0]->count)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "attention: shapes do not fit");
    sg_node *node = sg_tape_node(tape, op, 3, qkv);
    attention_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = *from;
    a->head_dim = width / a->heads;
    node->attributes = a;
    // Forward: two numbers a row and one tile of scores; backward: one number a row and two tiles.
    int64_t tile = sg_min(attention_tile, a->length) * attention_tile, forward, backward = 0;
    forward = 2 * attention_tile + tile;
    if (op->backward != NULL) backward = a->length + attention_tile * attention_tile + tile;
    node->worker_scratch_bytes =
        (size_t)(forward > backward ? forward : backward) * sizeof(sg_real);
    if (op->backward != NULL)
        sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){rows, a->heads});
    return sg_node_output(tape, node, op->name, SG_KIND_REAL, 2, (int64_t[]){rows, width});
}

sg_tensor *sg_attention(sg_tape *tape, sg_tensor *q, sg_tensor *k, sg_tensor *v, int64_t length,
                        int64_t heads)
{
    return attention_record(tape, (sg_tensor *[]){q, k, v}, &op_attention,
                            &(attention_attributes){.length = length, .heads = heads});
}

sg_tensor *sg_attention_cached(sg_tape *tape, sg_tensor *q, sg_tensor *k, sg_tensor *v,
                               int64_t length, int64_t heads, const sg_kv_cache *caches,
                               const int64_t *start)
{
    return attention_record(
        tape, (sg_tensor *[]){q, k, v}, &op_attention_cached,
        &(attention_attributes){
            .length = length, .heads = heads, .caches = caches, .start = start});
}
