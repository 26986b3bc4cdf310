// Operations that treat every element, or every short group, alone:
//
//     add          z = a + b                  da = dz, db = dz
//     activate     y = act(x)                 dx = act'(x) dy
//     glu          y = act(g) v               dg = act'(g) v dy, dv = act(g) dy; x (rows, 2f): g, v
//     clamp        y = x within +-limit       dx = dy there, else 0
//     scale_rows   y_r = s_r x_r              dx_r = s_r dy_r, ds_r = x_r . dy_r
//     softmax      y = exp(x) / sum exp(x)    dx = y (dy - y . dy), in groups of `width`
//
// Activations: kernel/ref/activation.c. One loop shape serves them all. Inputs and outputs in bf16
// go through buffers of a few rows.
#include <string.h>

#include "op/op.h"

typedef struct rows_loop {
    const sg_run *run;
    const sg_node *node;
    int64_t columns;
    sg_real *grad;
    bool add;
} rows_loop;

static void rows_run(const sg_run *run, const sg_node *node, int64_t columns, sg_real *grad,
                     bool add, sg_range_fn fn)
{
    rows_loop c = {run, node, columns, grad, add};
    sg_parallel_ranges(run->compute.pool, node->out[0]->count / columns, sg_chunk_rows(columns), fn,
                       &c);
}

// The end of the rows that are widened at a time.
static int64_t rows_end(const rows_loop *c, int64_t first, int64_t end)
{
    return sg_piece_end(c->node, c->columns, first, end);
}

// ---- sg_add -----------------------------------------------------------------------------------

static void add_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    const int64_t at = rows.first * c->columns, n = (rows.end - rows.first) * c->columns;
    c->run->compute.kernels->add_forward(sg_target_out(c->node, 0, at),
                                         sg_values(c->node->in[0]) + at,
                                         sg_values(c->node->in[1]) + at, n);
}

static void add_forward(const sg_run *run, const sg_node *node)
{
    rows_run(run, node, sg_columns(node->out[0]), NULL, false, add_chunk);
}

static void add_backward_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    const int64_t at = rows.first * c->columns, n = (rows.end - rows.first) * c->columns;
    sg_grad_put(c->run->compute.kernels, c->grad + at, c->node->out[0]->grad + at, n, c->add);
}

static void add_backward(const sg_run *run, const sg_node *node)
{
    for (int i = 0; i < 2; i++) {
        bool add = false;
        sg_real *grad = sg_grad_in(run, node, i, &add);
        if (grad != NULL && grad != node->out[0]->grad)
            rows_run(run, node, sg_columns(node->out[0]), grad, add, add_backward_chunk);
    }
}

static const sg_op op_add = {
    .name = "add",
    .forward = add_forward,
    .backward = add_backward,
    .passes_gradient = 3,
    .exact = true,
    .writes_half = 1,
};

sg_tensor *sg_add(sg_tape *tape, sg_tensor *a, sg_tensor *b)
{
    if (a == NULL || b == NULL) return NULL;
    if (a->count != b->count)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "add: %s and %s differ in shape", a->name,
                            b->name);
    sg_node *node = sg_tape_node(tape, &op_add, 2, (sg_tensor *[]){a, b});
    return sg_node_output(tape, node, "add", SG_KIND_REAL, a->rank, a->shape);
}

// ---- sg_activate ------------------------------------------------------------------------------

static sg_activation activate_kind(const sg_node *node)
{
    return *(const sg_activation *)node->attributes;
}

static void activate_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    sg_real *buffer = sg_worker_scratch(c->run, rows.worker);
    for (int64_t r = rows.first, end; r < rows.end; r = end) {
        end = rows_end(c, r, rows.end);
        const int64_t at = r * c->columns, n = (end - r) * c->columns;
        sg_real *y = sg_put_begin(c->node, 0, at, buffer); // y may be x
        c->run->compute.kernels->act_forward(y, sg_get_in(c->run, c->node, 0, at, n, buffer),
                                             activate_kind(c->node), n);
        sg_put_end(c->run, c->node, 0, at, n, y);
    }
}

static void activate_forward(const sg_run *run, const sg_node *node)
{
    rows_run(run, node, sg_columns(node->out[0]), NULL, false, activate_chunk);
}

static void activate_backward_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    sg_real *buffer = sg_worker_scratch(c->run, rows.worker);
    for (int64_t r = rows.first, end; r < rows.end; r = end) {
        end = rows_end(c, r, rows.end);
        const int64_t at = r * c->columns, n = (end - r) * c->columns;
        c->run->compute.kernels->act_backward(c->grad + at, c->node->out[0]->grad + at,
                                              sg_get_in(c->run, c->node, 0, at, n, buffer),
                                              activate_kind(c->node), n, c->add);
    }
}

static void activate_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *grad = sg_grad_in(run, node, 0, &add);
    if (grad != NULL)
        rows_run(run, node, sg_columns(node->out[0]), grad, add, activate_backward_chunk);
}

static const sg_op op_activate = {
    .name = "activate",
    .forward = activate_forward,
    .backward = activate_backward,
    .backward_reads_in = 1,
    .reads_half = 1,
    .writes_half = 1,
    .cheap = true,
};

sg_tensor *sg_activate(sg_tape *tape, sg_tensor *x, sg_activation activation)
{
    if (x == NULL || activation == SG_ACT_IDENTITY) return x;
    sg_node *node = sg_tape_node(tape, &op_activate, 1, (sg_tensor *[]){x});
    sg_activation *kind = sg_tape_memory(tape, sizeof *kind);
    if (node == NULL || kind == NULL) return NULL;
    *kind = activation;
    node->attributes = kind;
    node->worker_scratch_bytes = sg_piece_bytes(node->kind, sg_columns(x));
    return sg_node_output(tape, node, "activate", SG_KIND_REAL, x->rank, x->shape);
}

// ---- sg_glu -----------------------------------------------------------------------------------

// A worker's buffers: of what goes in, twice as much as this, then of what comes out or of a
// gradient.
static int64_t glu_piece(const sg_node *node, int64_t f)
{
    return node->kind == SG_COMPUTE_BF16 ? sg_piece_rows(f) * f : 0;
}

static void glu_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    sg_real *in = sg_worker_scratch(c->run, rows.worker);
    sg_real *out = in + 2 * glu_piece(c->node, c->columns);
    for (int64_t r = rows.first, end; r < rows.end; r = end) {
        end = rows_end(c, r, rows.end);
        const int64_t at = r * c->columns, n = (end - r) * c->columns;
        sg_real *y = sg_put_begin(c->node, 0, at, out);
        c->run->compute.kernels->glu_forward(y, sg_get_in(c->run, c->node, 0, 2 * at, 2 * n, in),
                                             end - r, c->columns, c->node->attributes);
        sg_put_end(c->run, c->node, 0, at, n, y);
    }
}

static void glu_forward(const sg_run *run, const sg_node *node)
{
    rows_run(run, node, sg_columns(node->out[0]), NULL, false, glu_chunk);
}

static void glu_backward_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    sg_real *in = sg_worker_scratch(c->run, rows.worker);
    sg_real *sum = in + 2 * glu_piece(c->node, c->columns);
    for (int64_t r = rows.first, end; r < rows.end; r = end) {
        end = rows_end(c, r, rows.end);
        const int64_t at = r * c->columns, n = (end - r) * c->columns;
        sg_real *du = c->add ? sum : c->grad + 2 * at;
        c->run->compute.kernels->glu_backward(du, c->node->out[0]->grad + at,
                                              sg_get_in(c->run, c->node, 0, 2 * at, 2 * n, in),
                                              end - r, c->columns, c->node->attributes);
        if (c->add) c->run->compute.kernels->add(c->grad + 2 * at, c->grad + 2 * at, du, 2 * n);
    }
}

static void glu_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *grad = sg_grad_in(run, node, 0, &add);
    if (grad != NULL) rows_run(run, node, sg_columns(node->out[0]), grad, add, glu_backward_chunk);
}

static const sg_op op_glu = {
    .name = "glu",
    .forward = glu_forward,
    .backward = glu_backward,
    .backward_reads_in = 1,
    .reads_half = 1,
    .writes_half = 1,
    .cheap = true,
};

sg_tensor *sg_glu(sg_tape *tape, sg_tensor *x, const sg_glu_form *form)
{
    if (x == NULL) return NULL;
    if (sg_columns(x) % 2 != 0)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "glu: %s has an odd width", x->name);
    int64_t f = sg_columns(x) / 2;
    sg_node *node = sg_tape_node(tape, &op_glu, 1, (sg_tensor *[]){x});
    sg_glu_form *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return NULL;
    *attribute = *form;
    node->attributes = attribute;
    const int64_t piece = node->kind == SG_COMPUTE_BF16 ? sg_piece_rows(f) : sg_chunk_rows(f);
    node->worker_scratch_bytes = (size_t)(glu_piece(node, f) + piece * f) * 2 * sizeof(sg_real);
    return sg_node_output(tape, node, "glu", SG_KIND_REAL, 2, (int64_t[]){sg_rows(x), f});
}

// ---- sg_clamp ---------------------------------------------------------------------------------

static sg_real clamp_limit(const sg_node *node)
{
    return (sg_real) * (const double *)node->attributes;
}

static void clamp_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    const sg_real limit = clamp_limit(c->node);
    sg_real *buffer = sg_worker_scratch(c->run, rows.worker);
    for (int64_t r = rows.first, end; r < rows.end; r = end) {
        end = rows_end(c, r, rows.end);
        const int64_t at = r * c->columns, n = (end - r) * c->columns;
        const sg_real *x = sg_get_in(c->run, c->node, 0, at, n, buffer);
        sg_real *y = sg_put_begin(c->node, 0, at, buffer);
        for (int64_t i = 0; i < n; i++)
            y[i] = x[i] > limit ? limit : x[i] < -limit ? -limit : x[i];
        sg_put_end(c->run, c->node, 0, at, n, y);
    }
}

static void clamp_forward(const sg_run *run, const sg_node *node)
{
    rows_run(run, node, sg_columns(node->out[0]), NULL, false, clamp_chunk);
}

static void clamp_backward_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    const sg_real limit = clamp_limit(c->node);
    sg_real *buffer = sg_worker_scratch(c->run, rows.worker);
    for (int64_t r = rows.first, end; r < rows.end; r = end) {
        end = rows_end(c, r, rows.end);
        const int64_t at = r * c->columns, n = (end - r) * c->columns;
        const sg_real *x = sg_get_in(c->run, c->node, 0, at, n, buffer);
        const sg_real *dy = c->node->out[0]->grad + at;
        sg_real *dx = c->grad + at;
        for (int64_t i = 0; i < n; i++) {
            sg_real value = x[i] > limit || x[i] < -limit ? 0 : dy[i];
            dx[i] = c->add ? dx[i] + value : value;
        }
    }
}

static void clamp_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *grad = sg_grad_in(run, node, 0, &add);
    if (grad != NULL)
        rows_run(run, node, sg_columns(node->out[0]), grad, add, clamp_backward_chunk);
}

static const sg_op op_clamp = {
    .name = "clamp",
    .forward = clamp_forward,
    .backward = clamp_backward,
    .backward_reads_in = 1,
    .reads_half = 1,
    .writes_half = 1,
    .cheap = true,
};

sg_tensor *sg_clamp(sg_tape *tape, sg_tensor *x, double limit)
{
    if (x == NULL) return NULL;
    if (!(limit >= 0))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "clamp: %s to a limit of %g", x->name, limit);
    sg_node *node = sg_tape_node(tape, &op_clamp, 1, (sg_tensor *[]){x});
    double *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return NULL;
    *attribute = limit;
    node->attributes = attribute;
    node->worker_scratch_bytes = sg_piece_bytes(node->kind, sg_columns(x));
    return sg_node_output(tape, node, "clamp", SG_KIND_REAL, x->rank, x->shape);
}

// ---- sg_scale_rows ----------------------------------------------------------------------------

static void scale_rows_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    const int64_t d = c->columns;
    const sg_real *s = sg_values(c->node->in[1]);
    sg_real *buffer = sg_worker_scratch(c->run, rows.worker);
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *x = sg_get_in(c->run, c->node, 0, r * d, d, buffer);
        sg_real *y = sg_put_begin(c->node, 0, r * d, buffer);
        if (y != x) memcpy(y, x, (size_t)d * sizeof *y);
        c->run->compute.kernels->scale(y, s[r], d);
        sg_put_end(c->run, c->node, 0, r * d, d, y);
    }
}

static void scale_rows_forward(const sg_run *run, const sg_node *node)
{
    rows_run(run, node, sg_columns(node->out[0]), NULL, false, scale_rows_chunk);
}

// dx = s dy
static void scale_rows_x_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    const int64_t first = rows.first, d = c->columns;
    const sg_real *s = sg_values(c->node->in[1]), *dy = c->node->out[0]->grad;
    if (!c->add) memset(c->grad + first * d, 0, (size_t)((rows.end - first) * d) * sizeof(sg_real));
    for (int64_t r = first; r < rows.end; r++)
        c->run->compute.kernels->axpy(c->grad + r * d, s[r], dy + r * d, d);
}

// ds = x . dy
static void scale_rows_s_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    const int64_t d = c->columns;
    const sg_real *dy = c->node->out[0]->grad;
    sg_real *buffer = sg_worker_scratch(c->run, rows.worker);
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *x = sg_get_in(c->run, c->node, 0, r * d, d, buffer);
        c->grad[r] = (c->add ? c->grad[r] : 0) + c->run->compute.kernels->dot(x, dy + r * d, d);
    }
}

static void scale_rows_backward(const sg_run *run, const sg_node *node)
{
    const sg_range_fn fns[] = {scale_rows_x_chunk, scale_rows_s_chunk};
    for (int i = 0; i < 2; i++) {
        bool add = false;
        sg_real *grad = sg_grad_in(run, node, i, &add);
        if (grad != NULL) rows_run(run, node, sg_columns(node->out[0]), grad, add, fns[i]);
    }
}

static const sg_op op_scale_rows = {
    .name = "scale_rows",
    .forward = scale_rows_forward,
    .backward = scale_rows_backward,
    .backward_reads_in = 3,
    .reads_half = 1,
    .writes_half = 1,
    .cheap = true,
};

sg_tensor *sg_scale_rows(sg_tape *tape, sg_tensor *x, sg_tensor *s)
{
    if (x == NULL || s == NULL) return NULL;
    if (s->count != sg_rows(x))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "scale_rows: %s does not fit %s", s->name,
                            x->name);
    sg_node *node = sg_tape_node(tape, &op_scale_rows, 2, (sg_tensor *[]){x, s});
    if (node == NULL) return NULL;
    node->worker_scratch_bytes = sg_piece_bytes(node->kind, sg_columns(x));
    return sg_node_output(tape, node, "scale_rows", SG_KIND_REAL, x->rank, x->shape);
}

// ---- sg_softmax -------------------------------------------------------------------------------

static int64_t softmax_width(const sg_node *node)
{
    return *(const int64_t *)node->attributes;
}

static void softmax_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    const int64_t at = rows.first * c->columns;
    c->run->compute.kernels->softmax_forward(sg_values(c->node->out[0]) + at,
                                             sg_values(c->node->in[0]) + at, rows.end - rows.first,
                                             c->columns);
}

static void softmax_forward(const sg_run *run, const sg_node *node)
{
    rows_run(run, node, softmax_width(node), NULL, false, softmax_chunk);
}

static void softmax_backward_chunk(void *context, sg_range rows)
{
    const rows_loop *c = context;
    const int64_t at = rows.first * c->columns;
    c->run->compute.kernels->softmax_backward(c->grad + at, c->node->out[0]->grad + at,
                                              sg_values(c->node->out[0]) + at,
                                              rows.end - rows.first, c->columns, c->add);
}

static void softmax_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *grad = sg_grad_in(run, node, 0, &add);
    if (grad != NULL) rows_run(run, node, softmax_width(node), grad, add, softmax_backward_chunk);
}

static const sg_op op_softmax = {
    .name = "softmax",
    .forward = softmax_forward,
    .backward = softmax_backward,
    .backward_reads_out = 1,
};

sg_tensor *sg_softmax(sg_tape *tape, sg_tensor *x, int64_t width)
{
    if (x == NULL) return NULL;
    if (width < 1 || sg_columns(x) % width != 0)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "softmax: width %lld does not divide %s",
                            (long long)width, x->name);
    sg_node *node = sg_tape_node(tape, &op_softmax, 1, (sg_tensor *[]){x});
    int64_t *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return NULL;
    *attribute = width;
    node->attributes = attribute;
    return sg_node_output(tape, node, "softmax", SG_KIND_REAL, x->rank, x->shape);
}
