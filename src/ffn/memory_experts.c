// Reading a memory of coarse blocks: the rows of each expert are gathered behind each other and go
// through one dense product an expert, without padding or a capacity limit; then every row sums its
// experts in the order of its selection.
#include <string.h>

#include "ffn/memory.h"
#include "kernel/gemm.h"

enum { experts_chunk = 64 };

typedef struct experts_attributes {
    int64_t rows, k, experts, f, d;
} experts_attributes;

typedef struct experts_loop {
    const sg_run *run;
    const sg_node *node;
    const experts_attributes *a;
    const int32_t *place; // (rows, k): where a row's hit lies in the expert order
    const int32_t *order; // (hits): row * k + slot of the hit at a place
    sg_real *xs, *out;    // (hits, d)
    sg_real *dscores;
    bool add;
} experts_loop;

// saved[0]: u (hits, 2F); saved[1]: out (hits, d); saved[2]: place and order (2 hits);
// saved[3]: offsets (E + 1)
static void experts_sort(const sg_node *node)
{
    const experts_attributes *a = node->attributes;
    const int32_t *ids = sg_ints(node->in[1]);
    int64_t hits = a->rows * a->k;
    int32_t *place = sg_ints(node->saved[2]), *order = place + hits;
    int32_t *offsets = sg_ints(node->saved[3]);
    memset(offsets, 0, (size_t)(a->experts + 1) * sizeof *offsets);
    for (int64_t h = 0; h < hits; h++)
        offsets[ids[h] + 1]++;
    for (int64_t e = 0; e < a->experts; e++)
        offsets[e + 1] += offsets[e];
    for (int64_t h = 0; h < hits; h++) {
        place[h] = offsets[ids[h]]++;
        order[place[h]] = (int32_t)h;
    }
    memmove(offsets + 1, offsets, (size_t)a->experts * sizeof *offsets);
    offsets[0] = 0;
}

static void experts_gather_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const experts_loop *l = context;
    int64_t hits = l->a->rows * l->a->k, d = l->a->d;
    const sg_real *x = sg_values(l->node->in[0]);
    for (int64_t p = chunk * experts_chunk; p < sg_min(hits, (chunk + 1) * experts_chunk); p++)
        memcpy(l->xs + p * d, x + l->order[p] / l->a->k * d, (size_t)d * sizeof(sg_real));
}

// c = c + a W^T on the rows of one expert, W (n, k) its rows of w.
static void experts_product(const sg_run *run, int64_t m, int64_t n, int64_t k, const sg_real *a,
                            const sg_tensor *w, int64_t expert, sg_real *c)
{
    if (m == 0) return;
    sg_gemm_args args = {
        .m = m, .n = n, .k = k, .alpha = 1, .a = a, .lda = k, .beta = 1, .c = c, .ldc = n};
    sg_weights_product(run, args, w, expert * n);
}

// c = a B, B (k, n) the weights of one expert.
static void experts_product_back(const sg_run *run, int64_t m, int64_t n, int64_t k,
                                 const sg_real *a, const sg_real *b, sg_real *c)
{
    if (m == 0) return;
    sg_gemm(run->pool, &(sg_gemm_args){.m = m,
                                       .n = n,
                                       .k = k,
                                       .alpha = 1,
                                       .a = a,
                                       .lda = k,
                                       .b = b,
                                       .ldb = n,
                                       .c = c,
                                       .ldc = n});
}

typedef struct experts_rows {
    const sg_kernels *kernels;
    sg_real *y;
    const sg_real *x, *dy;
    int64_t rows, n, chunk;
} experts_rows;

static void experts_bias_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const experts_rows *c = context;
    for (int64_t r = chunk * c->chunk; r < sg_min(c->rows, (chunk + 1) * c->chunk); r++)
        memcpy(c->y + r * c->n, c->x, (size_t)c->n * sizeof(sg_real));
}

static void experts_swiglu_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const experts_rows *c = context;
    int64_t first = chunk * c->chunk, rows = sg_min(c->chunk, c->rows - first);
    c->kernels->swiglu_forward(c->y + first * c->n, c->x + 2 * first * c->n, rows, c->n);
}

static void experts_swiglu_back_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const experts_rows *c = context;
    int64_t first = chunk * c->chunk, rows = sg_min(c->chunk, c->rows - first);
    c->kernels->swiglu_backward(c->y + 2 * first * c->n, c->dy + first * c->n,
                                c->x + 2 * first * c->n, rows, c->n);
}

static void experts_each(const sg_run *run, experts_rows *c, sg_chunk_fn fn)
{
    c->kernels = run->kernels;
    c->chunk = sg_chunk_rows(c->n);
    sg_parallel_for(run->pool, sg_chunks(c->rows, c->chunk), fn, c);
}

static void experts_combine_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const experts_loop *l = context;
    const experts_attributes *a = l->a;
    const sg_real *scores = sg_values(l->node->in[2]);
    for (int64_t r = chunk * experts_chunk; r < sg_min(a->rows, (chunk + 1) * experts_chunk); r++) {
        sg_real *y = sg_values(l->node->out[0]) + r * a->d;
        memset(y, 0, (size_t)a->d * sizeof *y);
        for (int64_t i = 0; i < a->k; i++)
            l->run->kernels->axpy(y, scores[r * a->k + i], l->out + l->place[r * a->k + i] * a->d,
                                  a->d);
    }
}

static void experts_forward(const sg_run *run, const sg_node *node)
{
    const experts_attributes *a = node->attributes;
    int64_t hits = a->rows * a->k;
    experts_sort(node);
    experts_loop l = {.run = run,
                      .node = node,
                      .a = a,
                      .place = sg_ints(node->saved[2]),
                      .order = sg_ints(node->saved[2]) + hits,
                      .xs = (sg_real *)run->scratch,
                      .out = sg_values(node->saved[1])};
    sg_real *h = l.xs + hits * a->d; // (hits, F)
    const int32_t *offsets = sg_ints(node->saved[3]);
    sg_parallel_for(run->pool, sg_chunks(hits, experts_chunk), experts_gather_chunk, &l);
    for (int64_t e = 0; e < a->experts; e++) {
        int64_t first = offsets[e], rows = offsets[e + 1] - first;
        sg_real *u = sg_values(node->saved[0]) + first * 2 * a->f, *o = l.out + first * a->d;
        experts_rows up = {
            .y = u, .x = sg_values(node->in[4]) + e * 2 * a->f, .rows = rows, .n = 2 * a->f};
        experts_each(run, &up, experts_bias_chunk);
        experts_product(run, rows, 2 * a->f, a->d, l.xs + first * a->d, node->in[3], e, u);
        experts_rows act = {.y = h + first * a->f, .x = u, .rows = rows, .n = a->f};
        experts_each(run, &act, experts_swiglu_chunk);
        experts_rows down = {
            .y = o, .x = sg_values(node->in[6]) + e * a->d, .rows = rows, .n = a->d};
        experts_each(run, &down, experts_bias_chunk);
        experts_product(run, rows, a->d, a->f, h + first * a->f, node->in[5], e, o);
    }
    sg_parallel_for(run->pool, sg_chunks(a->rows, experts_chunk), experts_combine_chunk, &l);
}

// ---- backward ---------------------------------------------------------------------------------

// out's gradient for each hit, and the gradient of its score.
static void experts_spread_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const experts_loop *l = context;
    const experts_attributes *a = l->a;
    const sg_kernels *kernels = l->run->kernels;
    const sg_real *scores = sg_values(l->node->in[2]), *saved = sg_values(l->node->saved[1]);
    for (int64_t r = chunk * experts_chunk; r < sg_min(a->rows, (chunk + 1) * experts_chunk); r++) {
        const sg_real *dy = l->node->out[0]->grad + r * a->d;
        for (int64_t i = r * a->k; i < (r + 1) * a->k; i++) {
            sg_real *dout = l->out + l->place[i] * a->d;
            for (int64_t j = 0; j < a->d; j++)
                dout[j] = scores[i] * dy[j];
            if (l->dscores == NULL) continue;
            sg_real ds = kernels->dot(saved + l->place[i] * a->d, dy, a->d);
            l->dscores[i] = (l->add ? l->dscores[i] : 0) + ds;
        }
    }
}

static void experts_dx_chunk(void *context, int64_t chunk, int worker)
{
    (void)worker;
    const experts_loop *l = context;
    const experts_attributes *a = l->a;
    for (int64_t r = chunk * experts_chunk; r < sg_min(a->rows, (chunk + 1) * experts_chunk); r++) {
        sg_real *dx = l->out + r * a->d;
        if (!l->add) memset(dx, 0, (size_t)a->d * sizeof *dx);
        for (int64_t i = r * a->k; i < (r + 1) * a->k; i++)
            l->run->kernels->add(dx, dx, l->xs + l->place[i] * a->d, a->d);
    }
}

// dW = dout^T in over the rows of one expert; zeroes what no row reached.
static void experts_weight(const sg_run *run, sg_real *dw, const sg_real *dout, int64_t n,
                           const sg_real *in, int64_t k, int64_t rows, bool add)
{
    if (dw == NULL) return;
    if (rows == 0) {
        if (!add) memset(dw, 0, (size_t)(n * k) * sizeof *dw);
        return;
    }
    sg_gemm(run->pool, &(sg_gemm_args){.transpose_a = true,
                                       .m = n,
                                       .n = k,
                                       .k = rows,
                                       .alpha = 1,
                                       .a = dout,
                                       .lda = n,
                                       .b = in,
                                       .ldb = k,
                                       .beta = add ? 1 : 0,
                                       .c = dw,
                                       .ldc = k});
}

static void experts_bias(const sg_run *run, sg_real *dbias, const sg_real *dout, int64_t n,
                         int64_t rows, bool add)
{
    if (dbias == NULL) return;
    if (!add) memset(dbias, 0, (size_t)n * sizeof *dbias);
    for (int64_t r = 0; r < rows; r++)
        run->kernels->add(dbias, dbias, dout + r * n, n);
}

static sg_real *experts_part(sg_real *grad, int64_t offset)
{
    return grad ? grad + offset : NULL;
}

static void experts_backward(const sg_run *run, const sg_node *node)
{
    const experts_attributes *a = node->attributes;
    int64_t hits = a->rows * a->k, f = a->f, d = a->d;
    bool add[SG_NODE_IN + 1] = {0};
    sg_real *grad[SG_NODE_IN + 1] = {0};
    for (int i = 0; i < node->n_in; i++)
        grad[i] = sg_grad_in(run, node, i, &add[i]);
    sg_real *xs = (sg_real *)run->scratch, *h = xs + hits * d, *dout = h + hits * f;
    sg_real *dh = dout + hits * d, *du = dh + hits * f;
    experts_loop l = {.run = run,
                      .node = node,
                      .a = a,
                      .place = sg_ints(node->saved[2]),
                      .order = sg_ints(node->saved[2]) + hits,
                      .xs = xs,
                      .out = dout,
                      .dscores = grad[2],
                      .add = add[2]};
    sg_parallel_for(run->pool, sg_chunks(hits, experts_chunk), experts_gather_chunk, &l);
    sg_parallel_for(run->pool, sg_chunks(a->rows, experts_chunk), experts_spread_chunk, &l);
    const int32_t *offsets = sg_ints(node->saved[3]);
    for (int64_t e = 0; e < a->experts; e++) {
        int64_t first = offsets[e], rows = offsets[e + 1] - first;
        const sg_real *u = sg_values(node->saved[0]) + first * 2 * f;
        sg_real *he = h + first * f, *doe = dout + first * d, *due = du + first * 2 * f;
        experts_rows act = {.y = he, .x = u, .rows = rows, .n = f};
        experts_each(run, &act, experts_swiglu_chunk);
        experts_weight(run, experts_part(grad[5], e * d * f), doe, d, he, f, rows, add[5]);
        experts_bias(run, experts_part(grad[6], e * d), doe, d, rows, add[6]);
        experts_product_back(run, rows, f, d, doe, sg_values(node->in[5]) + e * d * f,
                             dh + first * f);
        experts_rows back = {.y = due, .x = u, .dy = dh + first * f, .rows = rows, .n = f};
        experts_each(run, &back, experts_swiglu_back_chunk);
        experts_weight(run, experts_part(grad[3], e * 2 * f * d), due, 2 * f, xs + first * d, d,
                       rows, add[3]);
        experts_bias(run, experts_part(grad[4], e * 2 * f), due, 2 * f, rows, add[4]);
        // The gathered rows of this expert are no longer needed: their gradient takes their place.
        experts_product_back(run, rows, d, 2 * f, due, sg_values(node->in[3]) + e * 2 * f * d,
                             xs + first * d);
    }
    if (grad[0] == NULL) return;
    l.out = grad[0];
    l.add = add[0];
    sg_parallel_for(run->pool, sg_chunks(a->rows, experts_chunk), experts_dx_chunk, &l);
}

// Selected experts only: k (2 d 2F + 2 F d) a row (spec 5.9).
static double experts_flops(const sg_node *node)
{
    const experts_attributes *a = node->attributes;
    return 6.0 * (double)(a->rows * a->k) * (double)a->d * (double)a->f;
}

static const sg_op op_experts = {
    .name = "memory_experts",
    .forward = experts_forward,
    .backward = experts_backward,
    .flops = experts_flops,
    .backward_reads_in = 127,
    .forward_reads_narrow = 1 << 3 | 1 << 5,
};

sg_tensor *sg_memory_experts(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                             sg_tensor *up, sg_tensor *up_bias, sg_tensor *down,
                             sg_tensor *down_bias)
{
    sg_tensor *ids = selection->ids, *scores = selection->scores;
    if (!x || !ids || !scores || !up || !up_bias || !down || !down_bias) return NULL;
    experts_attributes shape = {.rows = sg_rows(x),
                                .k = selection->k,
                                .experts = up->shape[0],
                                .f = up->shape[1] / 2,
                                .d = sg_columns(x)};
    if (up->rank != 3 || down->rank != 3 || up->shape[2] != shape.d || selection->channels != 1 ||
        up->shape[1] % 2 != 0 || down->count * 2 != up->count ||
        up_bias->count != shape.experts * 2 * shape.f ||
        down_bias->count != shape.experts * shape.d || ids->count != shape.rows * shape.k ||
        scores->count != ids->count || ids->count > INT32_MAX)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "experts: %s does not fit %s", up->name,
                            x->name);
    sg_node *node = sg_tape_node(tape, &op_experts, 7,
                                 (sg_tensor *[]){x, ids, scores, up, up_bias, down, down_bias});
    experts_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = shape;
    node->attributes = a;
    int64_t hits = a->rows * a->k;
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){hits, 2 * a->f});
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){hits, a->d});
    sg_node_save(tape, node, SG_KIND_INT, 1, (int64_t[]){2 * hits});
    sg_node_save(tape, node, SG_KIND_INT, 1, (int64_t[]){a->experts + 1});
    node->scratch_bytes = (size_t)(hits * (2 * a->d + 4 * a->f)) * sizeof(sg_real);
    size_t wide_up = sg_weights_scratch_bytes(up, hits, 2 * a->f, a->d);
    size_t wide_down = sg_weights_scratch_bytes(down, hits, a->d, a->f);
    node->worker_scratch_bytes = wide_up > wide_down ? wide_up : wide_down;
    return sg_node_output(tape, node, "experts", SG_KIND_REAL, 2, (int64_t[]){a->rows, a->d});
}

sg_tensor *sg_memory_cells(sg_tape *tape, sg_tensor *x, const sg_selection *selection,
                           sg_tensor *w_in, sg_tensor *w_out, int64_t g, sg_activation activation,
                           sg_gate gate)
{
    sg_selection cells = sg_expand_blocks(tape, selection, g);
    return sg_memory_neurons(tape, x, &cells, w_in, w_out, activation, gate);
}

bool sg_is_memory_experts(const sg_node *node)
{
    return node->op == &op_experts;
}
