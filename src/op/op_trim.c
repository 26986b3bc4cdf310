// Numbers that are small in size are left out, by their own size or by that of a gate:
//
//     trim          y = x where not |x| <= t, else 0        or not |x s| <= t
//     trim_gated    y = x where not |act(g)| <= t, else 0        g the first half of u
//
// x (rows, n), s (n), u (rows, 2n) -> y (rows, n). dx = dy where y is x, else 0; none reaches s and
// u. (TEAL, Liu et al. 2024: inputs of products; WINA, Chen et al. 2025: times the norm of the
// column of the matrix; CATS, Lee et al. 2024: by the gates of a layer.)
#include <string.h>

#include "op/op.h"
#include "op/trim.h"

enum { TRIM_X, TRIM_GATES, TRIM_SCALES, TRIM_INPUTS }; // the last two may be NULL

typedef struct trim_attributes {
    double threshold;
    sg_activation activation;
} trim_attributes;

typedef struct trim_loop {
    const sg_run *run;
    const sg_node *node;
    const trim_attributes *a;
    int64_t n;
    const sg_real *from; // x, or dy
    sg_real *to;         // y, or dx
    bool add;
} trim_loop;

// What decides of row r, made in `room` (n) where it is not x.
static const sg_real *trim_sizes(const trim_loop *l, int64_t r, sg_real *room)
{
    const sg_tensor *u = l->node->in[TRIM_GATES], *s = l->node->in[TRIM_SCALES];
    const sg_real *x = sg_values(l->node->in[TRIM_X]) + r * l->n;
    if (u == NULL && s == NULL) return x;
    for (int64_t i = 0; u == NULL && i < l->n; i++)
        room[i] = x[i] * sg_values(s)[i];
    if (u == NULL) return room;
    l->run->compute.kernels->act_forward(room, sg_values(u) + r * 2 * l->n, l->a->activation, l->n);
    return room;
}

static void trim_rows(void *context, sg_range rows)
{
    const trim_loop *l = context;
    sg_real *room = sg_worker_scratch(l->run, rows.worker);
    for (int64_t r = rows.first; r < rows.end; r++) {
        const sg_real *sizes = trim_sizes(l, r, room), *from = l->from + r * l->n;
        sg_real *to = l->to + r * l->n;
        if (!l->add) sg_trim_values(to, from, sizes, l->n, l->a->threshold);
        for (int64_t i = 0; l->add && i < l->n; i++)
            to[i] += sg_trim_takes(sizes[i], l->a->threshold) ? 0 : from[i];
    }
}

static trim_loop trim_make(const sg_run *run, const sg_node *node)
{
    return (trim_loop){
        .run = run, .node = node, .a = node->attributes, .n = sg_columns(node->in[0])};
}

static void trim_run(trim_loop *l)
{
    sg_parallel_ranges(l->run->compute.pool, sg_rows(l->node->in[0]), sg_chunk_rows(l->n),
                       trim_rows, l);
}

static void trim_forward(const sg_run *run, const sg_node *node)
{
    trim_loop l = trim_make(run, node);
    l.from = sg_values(node->in[0]);
    l.to = sg_values(node->out[0]);
    trim_run(&l);
}

static void trim_backward(const sg_run *run, const sg_node *node)
{
    trim_loop l = trim_make(run, node);
    l.from = node->out[0]->grad;
    l.to = sg_grad_in(run, node, TRIM_X, &l.add);
    if (l.to != NULL) trim_run(&l);
    for (int i = TRIM_GATES; i < TRIM_INPUTS; i++) {
        bool add = false;
        sg_real *none = sg_grad_in(run, node, i, &add);
        if (none != NULL && !add) memset(none, 0, (size_t)node->in[i]->count * sizeof *none);
    }
}

static const sg_op op_trim = {
    .name = "trim",
    .forward = trim_forward,
    .backward = trim_backward,
    .backward_reads_in = (1 << TRIM_INPUTS) - 1,
    .cheap = true,
};

static sg_tensor *trim_record(sg_tape *tape, sg_tensor *const in[TRIM_INPUTS],
                              trim_attributes attributes)
{
    sg_tensor *x = in[TRIM_X], *u = in[TRIM_GATES], *s = in[TRIM_SCALES];
    const int64_t n = sg_columns(x);
    if (!(attributes.threshold >= 0) || (s != NULL && s->count != n) ||
        (u != NULL && (sg_columns(u) != 2 * n || sg_rows(u) != sg_rows(x))))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "trim: %s by %g, or by sizes that do not fit",
                            x->name, attributes.threshold);
    sg_node *node = sg_tape_node(tape, &op_trim, TRIM_INPUTS, in);
    trim_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = attributes;
    node->attributes = a;
    if (u != NULL || s != NULL) node->worker_scratch_bytes = (size_t)n * sizeof(sg_real);
    return sg_node_output(tape, node, "trim", SG_KIND_REAL, x->rank, x->shape);
}

sg_tensor *sg_trim(sg_tape *tape, sg_tensor *x, sg_tensor *scales, double threshold)
{
    if (x == NULL || threshold == 0) return x;
    return trim_record(tape, (sg_tensor *[]){x, NULL, scales},
                       (trim_attributes){.threshold = threshold});
}

sg_tensor *sg_trim_gated(sg_tape *tape, sg_tensor *x, sg_tensor *u, sg_activation activation,
                         double threshold)
{
    if (x == NULL || u == NULL) return NULL;
    if (threshold == 0) return x;
    return trim_record(tape, (sg_tensor *[]){x, u, NULL}, (trim_attributes){threshold, activation});
}
