// Rotary positions (Su et al. 2021), alone or behind a norm of each head (queries and keys that are
// normed). Pair i of a head, at position p, is rotated by an angle of a table (rope_table.c), whose
// cosines and sines are c and s:
//
//     a' = a c - b s      b' = a s + b c      da = da' c + db' s      db = db' c - da' s
//
// x (rows, heads * head_dim) -> the same. The first 2 * half numbers of a head are rotated, the
// others pass. The kernel pairs number i with half + i, as the Hugging Face library does; pairs of
// neighbours, as Llama was published and GGUF and llama2.c keep it, take a plain loop.
//
// The norm is that of op_rmsnorm.c, w (head_dim), with its bits: what is between the two is in
// memory nowhere, only in a buffer of some heads.
#include "op/op.h"

#include <string.h>

typedef struct rope_attributes {
    const sg_rope_table *table;
    int64_t head_dim, length;
    const int64_t *start;
    double eps; // of the norm
} rope_attributes;

typedef struct rope_loop {
    const sg_run *run;
    const sg_node *node;
    const rope_attributes *a;
    int64_t heads; // of a row
    sg_real *dx;   // NULL: not wanted, or the forward pass
    bool add;
    sg_real *dw_parts; // of the norm: (chunks, head_dim)
} rope_loop;

static rope_loop rope_make(const sg_run *run, const sg_node *node)
{
    const rope_attributes *a = node->attributes;
    return (rope_loop){
        .run = run, .node = node, .a = a, .heads = sg_columns(node->out[0]) / a->head_dim};
}

// ---- heads --------------------------------------------------------------------------------------

static void rope_neighbours(sg_target y, sg_source x, const sg_real *cosines, const sg_real *sines,
                            int64_t heads, int64_t head_dim, int64_t half, sg_real sign)
{
    for (int64_t at = 0; at < heads * head_dim; at += head_dim) {
        for (int64_t i = 0; i < half; i++) {
            const int64_t first = at + 2 * i, second = first + 1;
            const sg_real a = sg_source_read(x, first), b = sg_source_read(x, second);
            sg_target_write(y, first, a * cosines[i] - sign * b * sines[i]);
            sg_target_write(y, second, b * cosines[i] + sign * a * sines[i]);
        }
        for (int64_t i = at + 2 * half; i < at + head_dim; i++)
            sg_target_write(y, i, sg_source_read(x, i));
    }
}

// y = x turned by +1 or -1 times its angles: heads first … end - 1, counted through all rows. Row r
// is at position r % length.
static void rope_heads(const rope_loop *c, sg_target y, sg_source x, int64_t first, int64_t end,
                       sg_real sign)
{
    const sg_rope_table *t = c->a->table;
    for (int64_t h = first, next; h < end; h = next) {
        const int64_t r = h / c->heads, at = (h - first) * c->a->head_dim;
        const int64_t start = c->a->start ? c->a->start[r / c->a->length] : 0;
        const int64_t position = start + r % c->a->length;
        next = sg_min(end, (r + 1) * c->heads);
        (t->interleaved ? rope_neighbours : c->run->compute.kernels->rope)(
            sg_target_at(y, at), sg_source_at(x, at), t->cos + position * t->half,
            t->sin + position * t->half, next - h, c->a->head_dim, t->half, sign);
    }
}

static bool rope_fits(const sg_tensor *x, const sg_rope_table *table, int64_t head_dim,
                      int64_t length)
{
    return length >= 1 && length <= table->positions && sg_rows(x) % length == 0 &&
           head_dim >= 2 * table->half && sg_columns(x) % head_dim == 0;
}

// ---- alone --------------------------------------------------------------------------------------

static void rope_forward_chunk(void *context, sg_range heads)
{
    const rope_loop *c = context;
    const int64_t at = heads.first * c->a->head_dim;
    rope_heads(c, sg_target_out(c->node, 0, at), sg_source_in(c->run, c->node, 0, at), heads.first,
               heads.end, 1);
}

static void rope_forward(const sg_run *run, const sg_node *node)
{
    rope_loop c = rope_make(run, node);
    sg_parallel_ranges(run->compute.pool, sg_rows(node->out[0]) * c.heads,
                       sg_chunk_rows(c.a->head_dim), rope_forward_chunk, &c);
}

// A rotation's transpose is the rotation back, stretched by the same factor where there is one.
static void rope_backward_chunk(void *context, sg_range heads)
{
    const rope_loop *c = context;
    const int64_t hd = c->a->head_dim, piece = c->add ? sg_piece_rows(hd) : heads.end;
    const sg_real *dy = c->node->out[0]->grad;
    for (int64_t h = heads.first, end; h < heads.end; h = end) {
        end = sg_min(heads.end, h + piece);
        sg_real *dx = c->dx + h * hd;
        sg_real *to = c->add ? sg_worker_scratch(c->run, heads.worker) : dx;
        rope_heads(c, sg_wide_target(to), sg_wide_source(dy + h * hd), h, end, -1);
        if (c->add) c->run->compute.kernels->add(dx, dx, to, (end - h) * hd);
    }
}

static void rope_backward(const sg_run *run, const sg_node *node)
{
    rope_loop c = rope_make(run, node);
    c.dx = sg_grad_in(run, node, 0, &c.add);
    if (c.dx != NULL)
        sg_parallel_ranges(run->compute.pool, sg_rows(node->out[0]) * c.heads,
                           sg_chunk_rows(c.a->head_dim), rope_backward_chunk, &c);
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
    if (!rope_fits(x, table, head_dim, length))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "rope: %s does not fit the table", x->name);
    sg_node *node = sg_tape_node(tape, &op_rope, 1, (sg_tensor *[]){x});
    rope_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (rope_attributes){.table = table, .head_dim = head_dim, .length = length, .start = start};
    node->attributes = a;
    node->worker_scratch_bytes = (size_t)(sg_piece_rows(head_dim) * head_dim) * sizeof(sg_real);
    return sg_node_output(tape, node, "rope", SG_KIND_REAL, x->rank, x->shape);
}

// ---- behind a norm ------------------------------------------------------------------------------

// With bf16 what the norm gives is rounded, as the value between two operations would be.
static void norm_rope_forward_chunk(void *context, sg_range heads)
{
    const rope_loop *c = context;
    const int64_t hd = c->a->head_dim;
    const bool half = c->node->kind == SG_COMPUTE_BF16;
    void *buffer = sg_worker_scratch(c->run, heads.worker);
    const sg_target normed = half ? (sg_target){.half = buffer} : sg_wide_target(buffer);
    for (int64_t h = heads.first, end; h < heads.end; h = end) {
        end = sg_min(heads.end, h + sg_piece_rows(hd));
        c->run->compute.kernels->rmsnorm_forward(normed, sg_values(c->node->saved[0]) + h,
                                                 sg_source_in(c->run, c->node, 0, h * hd),
                                                 sg_values(c->node->in[1]), end - h, hd, c->a->eps);
        rope_heads(c, sg_target_out(c->node, 0, h * hd), (sg_source){normed.wide, normed.half}, h,
                   end, 1);
    }
}

static void norm_rope_forward(const sg_run *run, const sg_node *node)
{
    rope_loop c = rope_make(run, node);
    sg_parallel_ranges(run->compute.pool, sg_rows(node->out[0]) * c.heads,
                       sg_chunk_rows(c.a->head_dim), norm_rope_forward_chunk, &c);
}

// A worker's buffers: of the gradient of what is normed, and of dx where only the scale is trained.
static void norm_rope_backward_chunk(void *context, sg_range heads)
{
    const rope_loop *c = context;
    const int64_t hd = c->a->head_dim, piece = sg_piece_rows(hd);
    sg_real *buffer = sg_worker_scratch(c->run, heads.worker);
    sg_real *dw = c->dw_parts + heads.chunk * hd;
    memset(dw, 0, (size_t)hd * sizeof *dw);
    for (int64_t h = heads.first, end; h < heads.end; h = end) {
        end = sg_min(heads.end, h + piece);
        rope_heads(c, sg_wide_target(buffer), sg_wide_source(c->node->out[0]->grad + h * hd), h,
                   end, -1);
        c->run->compute.kernels->rmsnorm_backward(
            c->dx ? c->dx + h * hd : buffer + piece * hd, dw, buffer,
            sg_source_in(c->run, c->node, 0, h * hd), sg_values(c->node->in[1]),
            sg_values(c->node->saved[0]) + h, end - h, hd, c->dx != NULL && c->add);
    }
}

static void norm_rope_backward(const sg_run *run, const sg_node *node)
{
    rope_loop c = rope_make(run, node);
    const int64_t count = sg_rows(node->out[0]) * c.heads, chunk = sg_chunk_rows(c.a->head_dim);
    c.dw_parts = (sg_real *)run->scratch;
    c.dx = sg_grad_in(run, node, 0, &c.add);
    sg_parallel_ranges(run->compute.pool, count, chunk, norm_rope_backward_chunk, &c);
    sg_grad_parts(run, node, 1, c.dw_parts, sg_chunks(count, chunk));
}

static const sg_op op_norm_rope = {
    .name = "norm_rope",
    .forward = norm_rope_forward,
    .backward = norm_rope_backward,
    .backward_reads_in = 3,
    .reads_half = 1,
    .reads_exact = 1,
    .writes_half = 1,
    .cheap = true,
};

sg_tensor *sg_norm_rope(sg_tape *tape, sg_tensor *x, sg_tensor *w, double eps,
                        const sg_rope_table *table, int64_t length, const int64_t *start)
{
    if (x == NULL || w == NULL) return NULL;
    const int64_t hd = w->count, heads = x->count / hd;
    if (!rope_fits(x, table, hd, length))
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "norm_rope: %s does not fit %s and the table",
                            x->name, w->name);
    sg_node *node = sg_tape_node(tape, &op_norm_rope, 2, (sg_tensor *[]){x, w});
    rope_attributes *a = sg_tape_memory(tape, sizeof *a);
    if (node == NULL || a == NULL) return NULL;
    *a = (rope_attributes){table, hd, length, start, eps};
    node->attributes = a;
    sg_node_save(tape, node, SG_KIND_REAL, 1, &heads);
    node->scratch_bytes = (size_t)(sg_chunks(heads, sg_chunk_rows(hd)) * hd) * sizeof(sg_real);
    node->worker_scratch_bytes = 2 * (size_t)(sg_piece_rows(hd) * hd) * sizeof(sg_real);
    return sg_node_output(tape, node, "norm_rope", SG_KIND_REAL, x->rank, x->shape);
}
