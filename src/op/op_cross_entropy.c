// Classifier and cross-entropy in one. Of a row with target t >= 0, and n of the whole step:
//
//     l = x W^T      loss = (log(sum_j exp(l_j)) - l_t) / n
//     dl = (softmax(l) - onehot(t)) / n      dx = dl W      dW = sum over rows of dl^T x
//
// x (rows, d), W (V, d), targets (rows) -> one number. The (rows, V) logits never exist whole:
// logits, loss and both gradients of a block of rows are made before the next. The weight 1 / n is
// known before the pass, so the gradients need not wait for a backward pass, nor the logits be
// computed twice. An adapter of the classifier adds scale u B^T to the logits.
//
// In place of losses the result may be any sum of logits, of terms (r, j, w):
//
//     sum of w l_rj / n      dl_rj = sum of their w / n
#include <math.h>
#include <string.h>

#include "kernel/gemm.h"
#include "op/observe.h"

// Whoever looks at the logits.
typedef struct entropy_point {
    sg_observation observation;
    struct entropy_point *next;
} entropy_point;

typedef struct entropy_attributes {
    sg_loss_stats *stats;
    int64_t block; // rows
    bool adapted;  // in[3] u (rows, r) and in[4] B (V, r) add scale u B^T to the logits
    double scale;
    entropy_point *points; // of the logits, in the order of the requests
} entropy_attributes;

typedef struct entropy_loop {
    const sg_run *run;
    sg_real *logits; // (rows, V), turned into gradients in place
    const int32_t *targets;
    double *losses; // (rows); -1 for a target without weight
    bool *correct;
    void *deep; // for the product that is long in V
    int64_t rows, vocab;
    sg_real weight; // of one row's loss in the total
    bool gradient;
} entropy_loop;

static void entropy_row(const entropy_loop *c, int64_t r)
{
    sg_real *row = c->logits + r * c->vocab;
    int32_t target = c->targets[r];
    c->correct[r] = false;
    c->losses[r] = -1;
    if (target < 0) {
        if (c->gradient) memset(row, 0, (size_t)c->vocab * sizeof *row);
        return;
    }
    sg_real top = c->run->compute.kernels->max(row, c->vocab), own = row[target];
    if (own == top) {
        int64_t first = 0;
        while (row[first] != top)
            first++;
        c->correct[r] = first == target;
    }
    sg_real sum = c->run->compute.kernels->exp_sum(row, row, top, c->vocab);
    double loss = log((double)sum) + (double)top - (double)own;
    c->losses[r] = loss > 0 || isnan(loss) ? loss : 0;
    if (c->gradient) {
        c->run->compute.kernels->scale(row, c->weight / sum, c->vocab);
        row[target] -= c->weight;
    }
}

static void entropy_chunk(void *context, sg_range rows)
{
    const entropy_loop *c = context;
    for (int64_t r = rows.first; r < rows.end; r++)
        entropy_row(c, r);
}

// The terms of the rows of a block, whose logits become their gradients.
static void entropy_terms(const entropy_loop *c, const sg_loss_stats *stats, int64_t first,
                          double *sum)
{
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < stats->term_count; i++) {
            const sg_logit_term *t = &stats->terms[i];
            if (t->token < first || t->token >= first + c->rows) continue;
            sg_real *logit = c->logits + (t->token - first) * c->vocab + t->id;
            if (pass == 0)
                *sum += t->weight * (double)*logit;
            else
                *logit += (sg_real)(t->weight * (double)c->weight);
        }
        if (!c->gradient) return;
        if (pass == 0) memset(c->logits, 0, (size_t)(c->rows * c->vocab) * sizeof *c->logits);
    }
}

typedef struct entropy_grads {
    sg_real *dx, *dw, *du, *db;
    bool add_x, add_w, add_u, add_b;
} entropy_grads;

// What an adapter adds to the logits of a block.
static void entropy_block_adapter(const sg_run *run, const sg_node *node, const entropy_loop *c,
                                  int64_t first)
{
    const entropy_attributes *a = node->attributes;
    const int64_t r = sg_columns(node->in[3]);
    sg_gemm(run->compute, &(sg_gemm_args){.transpose_b = true,
                                          .m = c->rows,
                                          .n = c->vocab,
                                          .k = r,
                                          .alpha = (sg_real)a->scale,
                                          .a = sg_values(node->in[3]) + first * r,
                                          .lda = r,
                                          .b = sg_values(node->in[4]),
                                          .ldb = r,
                                          .beta = 1,
                                          .c = c->logits,
                                          .ldc = c->vocab});
}

// du = scale dz B, dB = scale dz^T u, z being the logits.
static void entropy_adapter_gradient(const sg_run *run, const sg_node *node, const entropy_loop *c,
                                     const entropy_grads *g, int64_t first)
{
    const entropy_attributes *a = node->attributes;
    const int64_t r = sg_columns(node->in[3]);
    sg_gemm_args args = {
        .n = r, .alpha = (sg_real)a->scale, .a = c->logits, .lda = c->vocab, .ldb = r, .ldc = r};
    if (g->du != NULL) {
        args.m = c->rows;
        args.k = c->vocab;
        args.b = sg_values(node->in[4]);
        args.beta = g->add_u ? 1 : 0;
        args.c = g->du + first * r;
        sg_gemm(run->compute, &args);
    }
    if (g->db != NULL) {
        args.transpose_a = true;
        args.m = c->vocab;
        args.k = c->rows;
        args.b = sg_values(node->in[3]) + first * r;
        args.beta = g->add_b || first > 0 ? 1 : 0;
        args.c = g->db;
        sg_gemm(run->compute, &args);
    }
}

static void entropy_block_gradient(const sg_run *run, const sg_node *node, const entropy_loop *c,
                                   const entropy_grads *g, int64_t first)
{
    int64_t d = sg_columns(node->in[0]);
    if (g->dx != NULL)
        sg_gemm_deep(run->compute,
                     &(sg_gemm_args){.m = c->rows,
                                     .n = d,
                                     .k = c->vocab,
                                     .alpha = 1,
                                     .a = c->logits,
                                     .lda = c->vocab,
                                     .b = sg_values(node->in[1]),
                                     .ldb = d,
                                     .beta = g->add_x ? 1 : 0,
                                     .c = g->dx + first * d,
                                     .ldc = d},
                     c->deep);
    if (g->dw != NULL)
        sg_gemm(run->compute, &(sg_gemm_args){.transpose_a = true,
                                              .m = c->vocab,
                                              .n = d,
                                              .k = c->rows,
                                              .alpha = 1,
                                              .a = c->logits,
                                              .lda = c->vocab,
                                              .b = sg_values(node->in[0]) + first * d,
                                              .ldb = d,
                                              .beta = g->add_w || first > 0 ? 1 : 0,
                                              .c = g->dw,
                                              .ldc = d});
}

// Calls for the logits of a block, or for their gradients. False: the pass has ended.
static bool entropy_observe(const sg_run *run, const entropy_point *points, const entropy_loop *c,
                            int64_t first, bool gradient)
{
    for (const entropy_point *p = points; p != NULL; p = p->next) {
        const unsigned asked = p->observation.request->use;
        const unsigned use = gradient                 ? asked & SG_POINT_GRADIENT
                             : asked & SG_POINT_WRITE ? SG_POINT_WRITE
                                                      : asked & SG_POINT_READ;
        if (use != 0 && !sg_observe_rows(run, &p->observation, use, first, c->rows,
                                         gradient ? NULL : c->logits, gradient ? c->logits : NULL))
            return false;
    }
    return true;
}

// Losses of a block, or its terms; the logits become gradients where these are wanted.
static void entropy_losses(const sg_run *run, sg_loss_stats *stats, entropy_loop *c, int64_t first)
{
    if (stats->terms != NULL) {
        entropy_terms(c, stats, first, &stats->loss_sum);
        return;
    }
    sg_parallel_ranges(run->compute.pool, c->rows, sg_chunk_rows(c->vocab), entropy_chunk, c);
    for (int64_t r = 0; r < c->rows; r++) {
        if (c->targets[r] < 0) continue;
        stats->loss_sum += c->losses[r];
        stats->tokens++;
        stats->correct += c->correct[r];
    }
}

// Whether a callback wants the gradients of the logits.
static bool entropy_asked(const entropy_attributes *a)
{
    for (const entropy_point *p = a->points; p != NULL; p = p->next)
        if (p->observation.request->use & SG_POINT_GRADIENT) return true;
    return false;
}

static size_t entropy_align(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

static void entropy_forward(const sg_run *run, const sg_node *node)
{
    const entropy_attributes *a = node->attributes;
    int64_t rows = sg_rows(node->in[0]), d = sg_columns(node->in[0]);
    int64_t vocab = sg_rows(node->in[1]);
    entropy_grads grads = {0};
    if (run->recording_gradient) {
        grads.dx = sg_grad_in(run, node, 0, &grads.add_x);
        grads.dw = sg_grad_in(run, node, 1, &grads.add_w);
        if (a->adapted) grads.du = sg_grad_in(run, node, 3, &grads.add_u);
        if (a->adapted) grads.db = sg_grad_in(run, node, 4, &grads.add_b);
    }
    size_t logit_bytes = entropy_align((size_t)(a->block * vocab) * sizeof(sg_real));
    size_t deep_bytes = entropy_align(sg_gemm_scratch_bytes(a->block, d, vocab));
    entropy_loop c = {.run = run,
                      .logits = (sg_real *)run->scratch,
                      .deep = run->scratch + logit_bytes,
                      .vocab = vocab,
                      .weight = (sg_real)(node->loss_weight / a->stats->normaliser),
                      .gradient = grads.dx != NULL || grads.dw != NULL || grads.du != NULL ||
                                  grads.db != NULL ||
                                  (run->recording_gradient && entropy_asked(a))};
    c.losses = (double *)(run->scratch + logit_bytes + deep_bytes);
    c.correct = (bool *)(c.losses + a->block);
    a->stats->loss_sum = 0;
    a->stats->tokens = a->stats->correct = 0;
    for (int64_t first = 0; first < rows; first += a->block) {
        c.rows = sg_min(a->block, rows - first);
        c.targets = sg_ints(node->in[2]) + first;
        sg_weights_product(run,
                           (sg_gemm_args){.m = c.rows,
                                          .n = vocab,
                                          .k = d,
                                          .alpha = 1,
                                          .a = sg_values(node->in[0]) + first * d,
                                          .lda = d,
                                          .c = c.logits,
                                          .ldc = vocab},
                           node->in[1], 0);
        if (a->adapted) entropy_block_adapter(run, node, &c, first);
        if (!entropy_observe(run, a->points, &c, first, false)) return;
        entropy_losses(run, a->stats, &c, first);
        if (c.gradient && !entropy_observe(run, a->points, &c, first, true)) return;
        if (c.gradient) entropy_block_gradient(run, node, &c, &grads, first);
        if (a->adapted && c.gradient) entropy_adapter_gradient(run, node, &c, &grads, first);
    }
    sg_values(node->out[0])[0] = (sg_real)(a->stats->loss_sum / a->stats->normaliser);
}

static double entropy_flops(const sg_node *node)
{
    const entropy_attributes *a = node->attributes;
    const double columns = (double)(a->adapted ? node->in[3]->count : 0);
    return 2.0 * ((double)node->in[0]->count + columns) * (double)sg_rows(node->in[1]);
}

static const sg_op op_cross_entropy = {
    .name = "cross_entropy",
    .forward = entropy_forward,
    .flops = entropy_flops,
    .gradient_in_forward = true,
    .forward_reads_narrow = 2, // its gradients, which count as of both passes, need them wide
};

bool sg_is_cross_entropy(const sg_node *node)
{
    return node->op == &op_cross_entropy;
}

sg_tensor *sg_cross_entropy_adapted(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *targets,
                                    sg_loss_stats *stats, sg_tensor *u, sg_tensor *b, double scale)
{
    const bool adapted = u != NULL || b != NULL;
    if (x == NULL || w == NULL || targets == NULL || (adapted && (u == NULL || b == NULL)))
        return NULL;
    if (adapted && (b->rank != 2 || sg_rows(u) != sg_rows(x) || sg_columns(u) != sg_columns(b) ||
                    sg_rows(b) != sg_rows(w)))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "cross_entropy: the adapter does not fit");
    if (sg_columns(x) != sg_columns(w) || targets->count != sg_rows(x) ||
        targets->kind != SG_KIND_INT)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "cross_entropy: shapes do not fit");
    sg_node *node = sg_tape_node(tape, &op_cross_entropy, adapted ? 5 : 3,
                                 (sg_tensor *[]){x, w, targets, u, b});
    entropy_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    int64_t vocab = sg_rows(w);
    int64_t block = ((int64_t)4 << 20) / vocab;
    block = block < 16 ? 16 : block > 1024 ? 1024 : block;
    *a = (entropy_attributes){
        .stats = stats, .block = sg_min(block, sg_rows(x)), .adapted = adapted, .scale = scale};
    node->attributes = a;
    node->scratch_bytes = entropy_align((size_t)(a->block * vocab) * sizeof(sg_real)) +
                          entropy_align(sg_gemm_scratch_bytes(a->block, sg_columns(x), vocab)) +
                          (size_t)a->block * (sizeof(double) + sizeof(bool));
    node->worker_scratch_bytes = sg_weights_scratch_bytes(w, a->block, vocab, sg_columns(x));
    return sg_node_output(tape, node, "loss", SG_KIND_REAL, 1, (int64_t[]){1});
}

sg_tensor *sg_cross_entropy(sg_tape *tape, sg_tensor *x, sg_tensor *w, sg_tensor *targets,
                            sg_loss_stats *stats)
{
    return sg_cross_entropy_adapted(tape, x, w, targets, stats, NULL, NULL, 0);
}

void sg_observe_logits(sg_tape *tape, sg_tensor *loss, const sg_observation *observation)
{
    for (int n = 0; loss != NULL && n < sg_tape_nodes(tape); n++) {
        const sg_node *node = sg_tape_node_at(tape, n);
        if (node->out[0] != loss) continue;
        entropy_attributes *a = node->attributes;
        entropy_point *point = sg_tape_memory(tape, sizeof *point), **end = &a->points;
        if (point == NULL) return;
        point->observation = *observation;
        while (*end != NULL)
            end = &(*end)->next;
        *end = point;
    }
}
