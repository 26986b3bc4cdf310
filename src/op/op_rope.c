// Rotary positions (Su et al. 2021). Pair i of a head, at position p, is rotated by an angle of a
// table (rope_table.c), whose cosines and sines are c and s:
//
//     a' = a c - b s      b' = a s + b c      da = da' c + db' s      db = db' c - da' s
//
// x (rows, heads * head_dim) -> the same. The first 2 * half numbers of a head are rotated, the
// others pass. The kernel pairs number i with half + i, as the Hugging Face library does; pairs of
// neighbours, as Llama was published and GGUF and llama2.c keep it, take a plain loop.
#include "op/op.h"

typedef struct rope_attributes {
    const sg_rope_table *table;
    int64_t head_dim, length;
    const int64_t *start;
} rope_attributes;

typedef struct rope_loop {
    const sg_run *run;
    const sg_node *node;
    const rope_attributes *a;
    sg_real *dx; // NULL: the forward pass
    int64_t width;
    bool add;
} rope_loop;

// One row of heads; y may not be x.
static void rope_neighbours(sg_real *y, const sg_real *x, const sg_real *cosines,
                            const sg_real *sines, int64_t heads, int64_t head_dim, int64_t half,
                            sg_real sign)
{
    for (int64_t h = 0; h < heads; h++, x += head_dim, y += head_dim) {
        for (int64_t i = 0; i < half; i++) {
            const sg_real a = x[2 * i], b = x[2 * i + 1];
            y[2 * i] = a * cosines[i] - sign * b * sines[i];
            y[2 * i + 1] = b * cosines[i] + sign * a * sines[i];
        }
        for (int64_t i = 2 * half; i < head_dim; i++)
            y[i] = x[i];
    }
}

// The row of position r % length: y = x turned by +1 or -1 times its angles.
static void rope_row(const rope_loop *c, sg_real *y, const sg_real *x, int64_t r, sg_real sign)
{
    const sg_rope_table *t = c->a->table;
    const int64_t start = c->a->start ? c->a->start[r / c->a->length] : 0;
    const int64_t position = start + r % c->a->length;
    (t->interleaved ? rope_neighbours : c->run->compute.kernels->rope)(
        y, x, t->cos + position * t->half, t->sin + position * t->half, c->width / c->a->head_dim,
        c->a->head_dim, t->half, sign);
}

// A worker's buffers: of a row that comes, then of one that goes.
static void rope_forward_chunk(void *context, sg_range rows)
{
    const rope_loop *c = context;
    const int64_t n = c->width;
    sg_real *buffer = sg_worker_scratch(c->run, rows.worker);
    for (int64_t r = rows.first; r < rows.end; r++) {
        sg_real *y = sg_put_begin(c->node, 0, r * n, buffer + n);
        rope_row(c, y, sg_get_in(c->run, c->node, 0, r * n, n, buffer), r, 1);
        sg_put_end(c->run, c->node, 0, r * n, n, y);
    }
}

// A rotation's transpose is the rotation back, stretched by the same factor where there is one.
static void rope_backward_chunk(void *context, sg_range rows)
{
    const rope_loop *c = context;
    const int64_t n = c->width;
    for (int64_t r = rows.first; r < rows.end; r++) {
        sg_real *dx = c->dx + r * n;
        sg_real *to = c->add ? sg_worker_scratch(c->run, rows.worker) : dx;
        rope_row(c, to, c->node->out[0]->grad + r * n, r, -1);
        if (c->add) c->run->compute.kernels->add(dx, dx, to, n);
    }
}

static void rope_run(const sg_run *run, const sg_node *node, sg_real *dx, bool add)
{
    const int64_t width = sg_columns(node->out[0]);
    rope_loop c = {run, node, node->attributes, dx, width, add};
    sg_parallel_ranges(run->compute.pool, sg_rows(node->out[0]), sg_chunk_rows(width),
                       dx ? rope_backward_chunk : rope_forward_chunk, &c);
}

static void rope_forward(const sg_run *run, const sg_node *node)
{
    rope_run(run, node, NULL, false);
}

static void rope_backward(const sg_run *run, const sg_node *node)
{
    bool add = false;
    sg_real *dx = sg_grad_in(run, node, 0, &add);
    if (dx != NULL) rope_run(run, node, dx, add);
}

static const sg_op op_rope = {
    .name = "rope",
    .forward = rope_forward,
    .backward = rope_backward,
    .reads_half = 1,
    .writes_half = 1,
    .cheap = true,
};

sg_tensor *sg_rope(sg_tape *tape, sg_tensor *x, const sg_rope_table *table, int64_t head_dim,
                   int64_t length, const int64_t *start)
{
    if (x == NULL) return NULL;
    if (length < 1 || length > table->positions || sg_rows(x) % length != 0 ||
        head_dim < 2 * table->half || sg_columns(x) % head_dim != 0)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "rope: %s does not fit the table", x->name);
    sg_node *node = sg_tape_node(tape, &op_rope, 1, (sg_tensor *[]){x});
    rope_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (rope_attributes){table, head_dim, length, start};
    node->attributes = a;
    node->worker_scratch_bytes = 2 * (size_t)sg_columns(x) * sizeof(sg_real);
    return sg_node_output(tape, node, "rope", SG_KIND_REAL, x->rank, x->shape);
}
