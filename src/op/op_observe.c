// Hands out a tensor: y = x, or what a callback makes of it.
//
//   x, y   any shape, real or int32
//   dx     dy, or what the callback makes of it: y counts as x plus a constant
//
// A tensor that is only read is an output in the memory of the input, so that nothing is copied and
// no bit can change; its gradient then lies in one place too. One that may be written is a copy,
// since the operation that made it may read it in its backward pass. Both run once a pass: where
// values are computed again, nobody is called, and what was written has been kept.
#include "op/observe.h"

#include <string.h>

bool sg_observe_rows(const sg_run *run, const sg_observation *o, unsigned use, int64_t first,
                     int64_t rows, sg_real *values, sg_real *gradient)
{
    const sg_pass *pass = o->pass;
    sg_point_values v = {
        .name = o->name,
        .layer = o->layer,
        .use = use,
        .rank = o->rank,
        .shape = {rows, o->shape[1], o->shape[2]},
        // The library is of float, but for the tests' build of double, whose tests know.
        .values = (void *)values,
        .gradient = (void *)gradient,
        .counts = o->counts ? sg_ints(o->counts) : NULL,
        .first_row = first * o->row_step + o->row_step - 1,
        .row_step = o->row_step,
        .sequences = pass->sequences,
        .length = pass->length,
        .tokens = pass->tokens ? sg_ints(pass->tokens) : NULL,
        .targets = pass->targets ? sg_ints(pass->targets) : NULL,
        .start = pass->start,
        .first_sequence = pass->first_sequence,
    };
    if (o->ids_end > 0) {
        v.kind = SG_POINT_I32;
        v.ids = (void *)values;
        v.values = NULL;
    }
    sg_error err = {0};
    sg_status status = o->request->call(o->request->user, &v, &err);
    if (status == SG_OK) return true;
    sg_run_end(run, status, "%s: %s", o->name,
               err.message[0] != '\0' ? err.message : sg_status_name(status));
    return false;
}

static bool observe_asked(const sg_observation *o, unsigned use)
{
    return (o->request->use & use) != 0;
}

static void observe_read(const sg_run *run, const sg_node *node)
{
    const sg_observation *o = node->attributes;
    if (observe_asked(o, SG_POINT_READ))
        sg_observe_rows(run, o, SG_POINT_READ, 0, o->shape[0], node->out[0]->data, NULL);
}

// Ids that were written must be of blocks that there are.
static void observe_check_ids(const sg_run *run, const sg_node *node)
{
    const sg_observation *o = node->attributes;
    const int32_t *ids = sg_ints(node->out[0]);
    const int64_t row = sg_columns(node->out[0]), k = o->shape[2];
    for (int64_t i = 0; i < node->out[0]->count; i++) {
        if (o->counts != NULL && i % k >= sg_ints(o->counts)[i / k]) continue; // void
        if (ids[i] >= 0 && ids[i] < o->ids_end) continue;
        sg_run_end(run, SG_ERR_ARGUMENT,
                   "%s: row %lld: found id %d written at (%lld, %lld), expected 0 to %lld", o->name,
                   (long long)(i / row), ids[i], (long long)(i % row / k), (long long)(i % k),
                   (long long)o->ids_end - 1);
        return;
    }
}

static void observe_write(const sg_run *run, const sg_node *node)
{
    const sg_observation *o = node->attributes;
    const sg_tensor *out = node->out[0];
    const size_t width = out->kind == SG_KIND_INT ? sizeof(int32_t) : sizeof(sg_real);
    memcpy(out->data, node->in[0]->data, (size_t)out->count * width);
    if (sg_observe_rows(run, o, SG_POINT_WRITE, 0, o->shape[0], out->data, NULL) &&
        out->kind == SG_KIND_INT)
        observe_check_ids(run, node);
}

static void observe_gradient(const sg_run *run, const sg_node *node)
{
    const sg_observation *o = node->attributes;
    const sg_tensor *out = node->out[0];
    sg_observe_rows(run, o, SG_POINT_GRADIENT, 0, o->shape[0], sg_values(out), out->grad);
}

static void observe_write_backward(const sg_run *run, const sg_node *node)
{
    bool add;
    sg_real *grad = sg_grad_in(run, node, 0, &add);
    if (observe_asked(node->attributes, SG_POINT_GRADIENT)) observe_gradient(run, node);
    if (grad != NULL)
        sg_grad_put(run->compute.kernels, grad, node->out[0]->grad, node->out[0]->count, add);
}

static const sg_op op_read = {.name = "observe", .forward = observe_read, .once = true};
static const sg_op op_read_gradient = {
    .name = "observe",
    .forward = observe_read,
    .backward = observe_gradient,
    .backward_reads_out = 1,
    .once = true,
};
static const sg_op op_write = {
    .name = "observe",
    .forward = observe_write,
    .backward = observe_write_backward,
    .once = true,
    .copies = true,
};
static const sg_op op_write_gradient = {
    .name = "observe",
    .forward = observe_write,
    .backward = observe_write_backward,
    .backward_reads_out = 1,
    .once = true,
    .copies = true,
};

sg_tensor *sg_observe(sg_tape *tape, sg_tensor *t, const sg_observation *observation)
{
    if (t == NULL) return NULL;
    sg_observation *o = sg_tape_memory(tape, sizeof *o);
    if (o == NULL) return NULL;
    *o = *observation;
    const bool gradient = observe_asked(o, SG_POINT_GRADIENT);
    const bool write = observe_asked(o, SG_POINT_WRITE);
    // Whoever asks for a gradient wants it, also where nothing in front of the point does.
    if (gradient && t->kind == SG_KIND_REAL) t->wants_grad = t->base->wants_grad = true;
    const sg_op *op = write      ? gradient ? &op_write_gradient : &op_write
                      : gradient ? &op_read_gradient
                                 : &op_read;
    sg_node *node = sg_tape_node(tape, op, 2, (sg_tensor *[]){t, o->counts});
    if (node == NULL) return NULL;
    node->attributes = o;
    return write ? sg_node_output(tape, node, t->name, t->kind, t->rank, t->shape)
                 : sg_node_view(tape, node, t);
}

bool sg_is_observation(const sg_node *node)
{
    return node->op->once;
}
