// Scores into a selection: the k largest, of x, of x plus a bias, or of the sums of two parts,
//
//     ids = the k largest x_j (+ b_j)                scores = x[ids]
//     ids = i n + j of the k largest a_i + b_j       scores = a_i + b_j    (Lample et al. 2019)
//     dx[ids] = dscores      da_i = sum of dscores over the pairs of i, db_j likewise
//
// x (rows, channels * n) or (rows, 2 * channels * n) -> ids, scores (rows, channels * k). No
// gradient reaches what was not selected; the ids carry none.
#include <string.h>

#include "op/op.h"

typedef struct select_attributes {
    int64_t channels, n, k;
    bool product;
} select_attributes;

typedef struct select_loop {
    const sg_run *run;
    const sg_node *node;
    const select_attributes *a;
    sg_real *grad;
    bool add;
} select_loop;

// One channel: in[1] is the bias.
static void select_biased(const select_loop *c, int32_t *ids, sg_real *scores, const sg_real *x,
                          int worker)
{
    const select_attributes *a = c->a;
    sg_real *sum = sg_worker_scratch(c->run, worker);
    c->run->compute.kernels->add(sum, x, sg_values(c->node->in[1]), a->n);
    c->run->compute.kernels->topk(ids, scores, sum, a->n, a->k);
    for (int64_t i = 0; i < a->k; i++)
        scores[i] = x[ids[i]];
}

// A channel of several rows.
static void select_pairs(const select_loop *c, sg_range rows, int64_t ch)
{
    const select_attributes *a = c->a;
    const int64_t width = sg_columns(c->node->in[0]), hits = a->channels * a->k;
    const int64_t at = rows.first * hits + ch * a->k;
    const sg_real *part = sg_values(c->node->in[0]) + rows.first * width + ch * a->n;
    c->run->compute.kernels->product_topk_rows(
        sg_ints(c->node->out[0]) + at, sg_values(c->node->out[1]) + at, hits, part,
        part + a->channels * a->n, width, rows.end - rows.first, a->n, a->k);
}

static void select_forward_chunk(void *context, sg_range rows)
{
    const select_loop *c = context;
    const select_attributes *a = c->a;
    int64_t width = sg_columns(c->node->in[0]);
    for (int64_t ch = 0; a->product && ch < a->channels; ch++)
        select_pairs(c, rows, ch);
    for (int64_t r = rows.first; !a->product && r < rows.end; r++) {
        const sg_real *x = sg_values(c->node->in[0]) + r * width;
        int32_t *ids = sg_ints(c->node->out[0]) + r * a->channels * a->k;
        sg_real *scores = sg_values(c->node->out[1]) + r * a->channels * a->k;
        for (int64_t ch = 0; ch < a->channels; ch++) {
            const sg_real *part = x + ch * a->n;
            if (c->node->n_in > 1)
                select_biased(c, ids, scores, part, rows.worker);
            else
                c->run->compute.kernels->topk(ids + ch * a->k, scores + ch * a->k, part, a->n,
                                              a->k);
        }
    }
}

static select_loop select_make(const sg_run *run, const sg_node *node)
{
    return (select_loop){.run = run, .node = node, .a = node->attributes};
}

static void select_each(select_loop *c, sg_range_fn fn)
{
    const sg_tensor *x = c->node->in[0];
    sg_parallel_ranges(c->run->compute.pool, sg_rows(x), sg_chunk_rows(sg_columns(x)), fn, c);
}

static void select_forward(const sg_run *run, const sg_node *node)
{
    select_loop c = select_make(run, node);
    select_each(&c, select_forward_chunk);
}

// id / n of ids below n^2 < 2^32, by a multiplication in place of a division, which takes ten times
// as long: floor(id ceil(2^48 / n) / 2^48), exact as id (ceil(2^48 / n) - 2^48 / n) < 2^48 / n.
static uint64_t select_inverse(int64_t n)
{
    return ((UINT64_C(1) << 48) + (uint64_t)n - 1) / (uint64_t)n;
}

static void select_backward_row(const select_loop *c, sg_real *dx, const int32_t *ids,
                                const sg_real *ds)
{
    const select_attributes *a = c->a;
    const uint64_t inverse = select_inverse(a->n);
    for (int64_t ch = 0; ch < a->channels; ch++, dx += a->n, ids += a->k, ds += a->k) {
        if (!a->product) {
            for (int64_t i = 0; i < a->k; i++)
                dx[ids[i]] += ds[i];
            continue;
        }
        sg_real *last = dx + a->channels * a->n;
        for (int64_t i = 0; i < a->k; i++) {
            const int64_t first = (int64_t)((uint64_t)ids[i] * inverse >> 48);
            dx[first] += ds[i];
            last[ids[i] - first * a->n] += ds[i];
        }
    }
}

static void select_backward_chunk(void *context, sg_range rows)
{
    const select_loop *c = context;
    const int64_t width = sg_columns(c->node->in[0]), hits = c->a->channels * c->a->k;
    for (int64_t r = rows.first; r < rows.end; r++) {
        sg_real *dx = c->grad + r * width;
        if (!c->add) memset(dx, 0, (size_t)width * sizeof *dx);
        select_backward_row(c, dx, sg_ints(c->node->out[0]) + r * hits,
                            c->node->out[1]->grad + r * hits);
    }
}

// The statistic of the bias: how often each was selected.
static void select_count(const sg_run *run, const sg_node *node)
{
    const select_attributes *a = node->attributes;
    bool add;
    sg_real *counts = node->n_in > 1 ? sg_grad_in(run, node, 1, &add) : NULL;
    if (counts == NULL) return;
    if (!add) memset(counts, 0, (size_t)a->n * sizeof *counts);
    for (int64_t h = 0; h < node->out[0]->count; h++)
        if (node->in[2] == NULL || sg_ints(node->in[2])[h / a->k] >= 0)
            counts[sg_ints(node->out[0])[h]] += 1;
}

static void select_backward(const sg_run *run, const sg_node *node)
{
    select_loop c = select_make(run, node);
    select_count(run, node);
    c.grad = sg_grad_in(run, node, 0, &c.add);
    if (c.grad != NULL) select_each(&c, select_backward_chunk);
}

static const sg_op op_topk = {
    .name = "topk",
    .forward = select_forward,
    .backward = select_backward,
    .backward_reads_out = 1,
};

static const sg_op op_topk_biased = {
    .name = "topk_biased",
    .forward = select_forward,
    .backward = select_backward,
    .backward_reads_in = 4,
    .backward_reads_out = 1,
};

static const sg_op op_product_topk = {
    .name = "product_topk",
    .forward = select_forward,
    .backward = select_backward,
    .backward_reads_out = 1,
};

static sg_selection select_record(sg_tape *tape, const sg_op *op, int n_in, sg_tensor *const *in,
                                  int64_t channels, int64_t k)
{
    sg_selection none = {0};
    sg_tensor *x = in[0];
    if (x == NULL) return none;
    bool product = op == &op_product_topk;
    int64_t parts = product ? 2 : 1;
    int64_t n = channels > 0 ? sg_columns(x) / (parts * channels) : 0;
    if (n < 1 || sg_columns(x) != parts * channels * n || k < 1 || k > n || k > SG_TOPK_MAX) {
        sg_tape_fail(tape, SG_ERR_INTERNAL, "top-k: %lld of %s does not fit", (long long)k,
                     x->name);
        return none;
    }
    sg_node *node = sg_tape_node(tape, op, n_in, in);
    select_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return none;
    *a = (select_attributes){channels, n, k, product};
    node->attributes = a;
    if (n_in > 1) node->worker_scratch_bytes = (size_t)n * sizeof(sg_real);
    int64_t shape[] = {sg_rows(x), channels * k};
    sg_selection selection = {.channels = channels, .k = k, .unit = 1};
    selection.ids = sg_node_output(tape, node, "ids", SG_KIND_INT, 2, shape);
    selection.scores = sg_node_output(tape, node, "scores", SG_KIND_REAL, 2, shape);
    return selection;
}

sg_selection sg_topk(sg_tape *tape, sg_tensor *x, int64_t channels, int64_t k)
{
    return select_record(tape, &op_topk, 1, (sg_tensor *[]){x}, channels, k);
}

sg_selection sg_product_topk(sg_tape *tape, sg_tensor *x, int64_t channels, int64_t k)
{
    return select_record(tape, &op_product_topk, 1, (sg_tensor *[]){x}, channels, k);
}

sg_selection sg_topk_biased(sg_tape *tape, sg_tensor *x, sg_tensor *bias, int64_t k,
                            sg_tensor *counted)
{
    sg_selection none = {0};
    if (x == NULL || bias == NULL) return none;
    if (bias->count != sg_columns(x) || (counted != NULL && counted->count != sg_rows(x))) {
        sg_tape_fail(tape, SG_ERR_INTERNAL, "top-k: %s does not fit %s", bias->name, x->name);
        return none;
    }
    return select_record(tape, &op_topk_biased, 3, (sg_tensor *[]){x, bias, counted}, 1, k);
}
