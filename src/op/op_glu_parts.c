// The two parts of what a gated linear unit is made of, apart and together: u (rows, 2f) as halves
// (gate, linear), or interleaved as pairs of neighbours.
//
//     split: gate[r, i] = u[r, i]    linear[r, i] = u[r, f + i]     or u[r, 2 i], u[r, 2 i + 1]
//     join:  the other way round
//
// u (rows, 2f) <-> gate, linear (rows, f). Each is the gradient of the other. Values are copied, so
// that sg_glu of what was split and joined again has the same bits.
#include "op/op.h"

typedef struct parts_loop {
    const sg_run *run;
    int64_t f;
    bool interleaved, join, add[2], add_u;
    sg_real *u, *parts[2]; // NULL: nobody wants it; in joining gradients: it has none
} parts_loop;

static void parts_row(const parts_loop *l, int64_t row, int part)
{
    sg_real *u = l->u + row * 2 * l->f + (l->interleaved ? part : part * l->f);
    sg_real *x = l->parts[part] != NULL ? l->parts[part] + row * l->f : NULL;
    const int64_t step = l->interleaved ? 2 : 1;
    for (int64_t i = 0; i < l->f; i++)
        if (l->join)
            u[i * step] = (l->add_u ? u[i * step] : 0) + (x != NULL ? x[i] : 0);
        else
            x[i] = (l->add[part] ? x[i] : 0) + u[i * step];
}

static void parts_rows(void *context, sg_range rows)
{
    const parts_loop *l = context;
    for (int64_t r = rows.first; r < rows.end; r++)
        for (int part = 0; part < 2; part++)
            if (l->join || l->parts[part] != NULL) parts_row(l, r, part);
}

static void parts_run(const sg_node *node, parts_loop *l, int64_t rows)
{
    l->interleaved = *(const bool *)node->attributes;
    sg_parallel_ranges(l->run->compute.pool, rows, sg_chunk_rows(2 * l->f), parts_rows, l);
}

// ---- split --------------------------------------------------------------------------------------

static void split_forward(const sg_run *run, const sg_node *node)
{
    parts_loop l = {.run = run, .f = sg_columns(node->out[0]), .u = sg_values(node->in[0])};
    for (int i = 0; i < 2; i++)
        l.parts[i] = sg_values(node->out[i]);
    parts_run(node, &l, sg_rows(node->out[0]));
}

static void split_backward(const sg_run *run, const sg_node *node)
{
    parts_loop l = {.run = run, .f = sg_columns(node->out[0]), .join = true};
    l.u = sg_grad_in(run, node, 0, &l.add_u);
    for (int i = 0; i < 2; i++)
        l.parts[i] = node->out[i]->grad;
    if (l.u != NULL) parts_run(node, &l, sg_rows(node->out[0]));
}

static const sg_op op_split = {
    .name = "glu_split", .forward = split_forward, .backward = split_backward};

bool sg_glu_split(sg_tape *tape, sg_tensor *u, bool interleaved, sg_tensor *parts[2])
{
    parts[0] = parts[1] = NULL;
    if (u == NULL) return false;
    if (sg_columns(u) % 2 != 0) {
        sg_tape_fail(tape, SG_ERR_INTERNAL, "glu_split: %s has an odd width", u->name);
        return false;
    }
    sg_node *node = sg_tape_node(tape, &op_split, 1, &u);
    bool *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return false;
    *attribute = interleaved;
    node->attributes = attribute;
    const int64_t shape[] = {sg_rows(u), sg_columns(u) / 2};
    parts[0] = sg_node_output(tape, node, "gate", SG_KIND_REAL, 2, shape);
    parts[1] = sg_node_output(tape, node, "linear", SG_KIND_REAL, 2, shape);
    return parts[0] != NULL && parts[1] != NULL;
}

// ---- join ---------------------------------------------------------------------------------------

static void join_forward(const sg_run *run, const sg_node *node)
{
    parts_loop l = {.run = run, .f = sg_columns(node->in[0]), .join = true};
    l.u = sg_values(node->out[0]);
    for (int i = 0; i < 2; i++)
        l.parts[i] = sg_values(node->in[i]);
    parts_run(node, &l, sg_rows(node->in[0]));
}

static void join_backward(const sg_run *run, const sg_node *node)
{
    parts_loop l = {.run = run, .f = sg_columns(node->in[0]), .u = node->out[0]->grad};
    for (int i = 0; i < 2; i++)
        l.parts[i] = sg_grad_in(run, node, i, &l.add[i]);
    parts_run(node, &l, sg_rows(node->in[0]));
}

static const sg_op op_join = {
    .name = "glu_join", .forward = join_forward, .backward = join_backward};

sg_tensor *sg_glu_join(sg_tape *tape, sg_tensor *gate, sg_tensor *linear, bool interleaved)
{
    if (gate == NULL || linear == NULL) return NULL;
    if (gate->count != linear->count || sg_columns(gate) != sg_columns(linear))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "glu_join: %s does not fit %s", linear->name,
                            gate->name);
    sg_node *node = sg_tape_node(tape, &op_join, 2, (sg_tensor *[]){gate, linear});
    bool *attribute = sg_tape_memory(tape, sizeof *attribute);
    if (node == NULL || attribute == NULL) return NULL;
    *attribute = interleaved;
    node->attributes = attribute;
    return sg_node_output(tape, node, "glu_join", SG_KIND_REAL, 2,
                          (int64_t[]){sg_rows(gate), 2 * sg_columns(gate)});
}
