// Losses that keep a router in order. Over the rows that count, so that they do not depend on how
// many there are, p (rows, B) the scores or, as a share, p divided by its sum over the row:
//
//     balance = B sum_i f_i mean(p_i)      f_i: share of i in all selections; dp_i = B f_i / rows
//     z = mean of (log sum_i exp(x_i))^2   dx = 2 log(sum_i exp(x_i)) softmax(x) / rows
//
// -> one number each. f has no gradient (Fedus et al. 2021, eq. 4; Zoph et al. 2022, eq. 5).
#include <math.h>
#include <string.h>

#include "op/op.h"

typedef struct aux_attributes {
    int64_t k;  // selected a row
    bool share; // scores are divided by their sum over the row first
} aux_attributes;

typedef struct aux_loop {
    const sg_run *run;
    const sg_node *node;
    bool share;
    int64_t rows, width;
    sg_real *grad;
    bool add;
    sg_real weight; // of a row in the gradient
} aux_loop;

// Inputs: the scores or logits (rows, width), then what tells the rows that count, or NULL.
static bool aux_counts(const sg_node *node, int64_t row)
{
    return node->in[1] == NULL || sg_ints(node->in[1])[row] >= 0;
}

static int64_t aux_counted(const sg_node *node)
{
    int64_t count = 0;
    for (int64_t r = 0; r < sg_rows(node->in[0]); r++)
        count += aux_counts(node, r);
    return count;
}

static aux_loop aux_make(const sg_run *run, const sg_node *node)
{
    const aux_attributes *a = node->attributes;
    return (aux_loop){.run = run,
                      .node = node,
                      .share = a->share,
                      .rows = sg_rows(node->in[0]),
                      .width = sg_columns(node->in[0])};
}

static void aux_each(const aux_loop *l, sg_range_fn fn)
{
    sg_parallel_ranges(l->run->compute.pool, l->rows, sg_chunk_rows(l->width), fn,
                       (void *)(uintptr_t)l);
}

static bool aux_check(sg_tape *tape, const char *name, const sg_tensor *x, const sg_tensor *counted)
{
    if (counted == NULL || (counted->kind == SG_KIND_INT && counted->count == sg_rows(x)))
        return true;
    sg_tape_fail(tape, SG_ERR_INTERNAL, "%s: the rows that count do not fit %s", name, x->name);
    return false;
}

static sg_node *aux_node(sg_tape *tape, const sg_op *op, int n_in, sg_tensor *const *in,
                         aux_attributes attributes)
{
    sg_node *node = sg_tape_node(tape, op, n_in, in);
    aux_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = attributes;
    node->attributes = a;
    return node;
}

// ---- balance ----------------------------------------------------------------------------------
//
// loss = B sum_i f_i P_i; f_i = selections of i / all selections, P_i = mean over rows of p_i. No
// gradient reaches f. (Fedus et al. 2021, "Switch Transformers", eq. 4; for k > 1 f sums to 1 as
// there.)

// saved[0]: f (B); saved[1]: for every row f . p_r, and where p is a share its sum (rows, 2).
static void balance_frequencies(const sg_node *node)
{
    const aux_attributes *a = node->attributes;
    const int32_t *ids = sg_ints(node->in[2]);
    sg_real *f = sg_values(node->saved[0]);
    int64_t width = sg_columns(node->in[0]), rows = sg_rows(node->in[0]), all = 0;
    memset(f, 0, (size_t)width * sizeof *f);
    for (int64_t r = 0; r < rows; r++) {
        if (!aux_counts(node, r)) continue;
        int64_t count = node->in[3] != NULL ? sg_ints(node->in[3])[r] : a->k;
        all += count;
        for (int64_t i = 0; i < count; i++)
            f[ids[r * a->k + i]] += 1;
    }
    for (int64_t i = 0; i < width && all > 0; i++)
        f[i] /= (sg_real)all;
}

static void balance_forward_chunk(void *context, sg_range rows)
{
    const aux_loop *l = context;
    const sg_real *f = sg_values(l->node->saved[0]);
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *p = sg_values(l->node->in[0]) + r * l->width;
        sg_real *row = sg_values(l->node->saved[1]) + 2 * r, sum = 0;
        for (int64_t i = 0; i < l->width && l->share; i++)
            sum += p[i];
        row[1] = l->share ? sum + SG_SHARE_LEAST : 1;
        row[0] = l->run->compute.kernels->dot(f, p, l->width) / row[1];
    }
}

static void balance_forward(const sg_run *run, const sg_node *node)
{
    aux_loop l = aux_make(run, node);
    balance_frequencies(node);
    aux_each(&l, balance_forward_chunk);
    double sum = 0;
    for (int64_t r = 0; r < l.rows; r++)
        if (aux_counts(node, r)) sum += (double)sg_values(node->saved[1])[2 * r];
    int64_t counted = aux_counted(node);
    sg_values(node->out[0])[0] =
        (sg_real)(counted > 0 ? (double)l.width * sum / (double)counted : 0);
}

static void balance_backward_chunk(void *context, sg_range rows)
{
    const aux_loop *l = context;
    const sg_real *f = sg_values(l->node->saved[0]);
    for (int64_t r = rows.first; r < rows.end; r++) {
        sg_real *dp = l->grad + r * l->width;
        const sg_real *row = sg_values(l->node->saved[1]) + 2 * r;
        sg_real weight = aux_counts(l->node, r) ? l->weight / row[1] : 0;
        sg_real mean = l->share ? row[0] : 0;
        for (int64_t i = 0; i < l->width; i++)
            dp[i] = (l->add ? dp[i] : 0) + weight * (f[i] - mean);
    }
}

static void balance_backward(const sg_run *run, const sg_node *node)
{
    aux_loop l = aux_make(run, node);
    int64_t counted = aux_counted(node);
    l.grad = sg_grad_in(run, node, 0, &l.add);
    l.weight = node->out[0]->grad[0] * (sg_real)l.width / (sg_real)(counted > 0 ? counted : 1);
    if (l.grad != NULL) aux_each(&l, balance_backward_chunk);
}

static const sg_op op_balance = {
    .name = "balance_loss",
    .forward = balance_forward,
    .backward = balance_backward,
    .backward_reads_in = 2,
};

sg_tensor *sg_balance_loss(sg_tape *tape, sg_tensor *p, const sg_selection *selection, bool share,
                           sg_tensor *counted)
{
    sg_tensor *ids = selection->ids;
    if (p == NULL || ids == NULL || !aux_check(tape, "balance_loss", p, counted)) return NULL;
    if (selection->channels != 1 || ids->count != sg_rows(p) * selection->k ||
        (selection->counts != NULL && selection->counts->count != sg_rows(p)))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "balance_loss: %s does not fit %s", ids->name,
                            p->name);
    sg_node *node =
        aux_node(tape, &op_balance, 4, (sg_tensor *[]){p, counted, ids, selection->counts},
                 (aux_attributes){selection->k, share});
    if (node == NULL) return NULL;
    sg_node_save(tape, node, SG_KIND_REAL, 1, (int64_t[]){sg_columns(p)});
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){sg_rows(p), 2});
    return sg_node_output(tape, node, "balance_loss", SG_KIND_REAL, 1, (int64_t[]){1});
}

bool sg_is_balance_loss(const sg_node *node)
{
    return node->op == &op_balance;
}

// ---- z ----------------------------------------------------------------------------------------
//
// loss = mean over rows of (log sum_i exp x_i)^2 (Zoph et al. 2022, "ST-MoE", eq. 5).

// saved[0]: the largest logit of every row and the sum of exponentials above it (rows, 2).
static void z_forward_chunk(void *context, sg_range rows)
{
    const aux_loop *l = context;
    sg_real *scratch = sg_worker_scratch(l->run, rows.worker);
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *x = sg_values(l->node->in[0]) + r * l->width;
        sg_real *row = sg_values(l->node->saved[0]) + 2 * r;
        row[0] = l->run->compute.kernels->max(x, l->width);
        row[1] = l->run->compute.kernels->exp_sum(scratch, x, row[0], l->width);
    }
}

static double z_of_row(const sg_node *node, int64_t r)
{
    const sg_real *row = sg_values(node->saved[0]) + 2 * r;
    return (double)row[0] + log((double)row[1]);
}

static void z_forward(const sg_run *run, const sg_node *node)
{
    aux_loop l = aux_make(run, node);
    aux_each(&l, z_forward_chunk);
    double sum = 0;
    for (int64_t r = 0; r < l.rows; r++)
        if (aux_counts(node, r)) sum += z_of_row(node, r) * z_of_row(node, r);
    int64_t counted = aux_counted(node);
    sg_values(node->out[0])[0] = (sg_real)(counted > 0 ? sum / (double)counted : 0);
}

static void z_backward_chunk(void *context, sg_range rows)
{
    const aux_loop *l = context;
    sg_real *scratch = sg_worker_scratch(l->run, rows.worker);
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *x = sg_values(l->node->in[0]) + r * l->width;
        const sg_real *row = sg_values(l->node->saved[0]) + 2 * r;
        sg_real *dx = l->grad + r * l->width;
        if (!l->add) memset(dx, 0, (size_t)l->width * sizeof *dx);
        if (!aux_counts(l->node, r)) continue;
        l->run->compute.kernels->exp_sum(scratch, x, row[0], l->width);
        sg_real weight = l->weight * (sg_real)(2 * z_of_row(l->node, r)) / row[1];
        l->run->compute.kernels->axpy(dx, weight, scratch, l->width);
    }
}

static void z_backward(const sg_run *run, const sg_node *node)
{
    aux_loop l = aux_make(run, node);
    int64_t counted = aux_counted(node);
    l.grad = sg_grad_in(run, node, 0, &l.add);
    l.weight = node->out[0]->grad[0] / (sg_real)(counted > 0 ? counted : 1);
    if (l.grad != NULL) aux_each(&l, z_backward_chunk);
}

static const sg_op op_z = {
    .name = "z_loss",
    .forward = z_forward,
    .backward = z_backward,
    .backward_reads_in = 3,
};

sg_tensor *sg_z_loss(sg_tape *tape, sg_tensor *logits, sg_tensor *counted)
{
    if (logits == NULL || !aux_check(tape, "z_loss", logits, counted)) return NULL;
    sg_node *node = aux_node(tape, &op_z, 2, (sg_tensor *[]){logits, counted}, (aux_attributes){0});
    if (node == NULL) return NULL;
    node->worker_scratch_bytes = (size_t)sg_columns(logits) * sizeof(sg_real);
    sg_node_save(tape, node, SG_KIND_REAL, 2, (int64_t[]){sg_rows(logits), 2});
    return sg_node_output(tape, node, "z_loss", SG_KIND_REAL, 1, (int64_t[]){1});
}

bool sg_is_z_loss(const sg_node *node)
{
    return node->op == &op_z;
}
