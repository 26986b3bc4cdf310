// Recording and replaying. Planning (lifetimes and places in memory) is in plan.c.
#include "tensor/tape.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "kernel/gemm_tiles.h"
#include "tensor/tape_inside.h"

sg_status sg_tape_new(sg_tape **out, sg_error *err)
{
    *out = sg_alloc_zero(1, sizeof **out);
    if (*out == NULL) return sg_fail(err, SG_ERR_MEMORY, "out of memory for a tape");
    return SG_OK;
}

// What f32 computes is recorded as f32, whose operations have less to prepare.
static sg_compute_kind tape_kind(sg_compute_kind kind)
{
    const bool split = kind == SG_COMPUTE_BF16X3;
    return split && sg_gemm_unit(kind) == SG_TILES_NONE ? SG_COMPUTE_F32 : kind;
}

void sg_tape_compute(sg_tape *tape, sg_compute_kind kind, sg_compute_kind logits)
{
    tape->kind = tape_kind(kind);
    tape->logits_kind = tape_kind(logits);
}

sg_compute_kind sg_tape_kind(const sg_tape *tape)
{
    return tape->kind;
}

sg_compute_kind sg_tape_logits_kind(const sg_tape *tape)
{
    return tape->logits_kind;
}

void sg_tape_set_memory_path(sg_tape *tape, sg_memory_path path)
{
    tape->memory_path = path;
}

sg_memory_path sg_tape_memory_path(const sg_tape *tape)
{
    return tape->memory_path;
}

void sg_tape_free(sg_tape *tape)
{
    if (tape == NULL) return;
    sg_free_to(tape->options.allocator, tape->own, tape->memory_bytes);
    sg_free(tape->tensors);
    sg_free(tape->nodes);
    sg_free(tape->steps);
    sg_free(tape->keep);
    sg_arena_free(&tape->arena);
    sg_free(tape);
}

void *sg_tape_fail(sg_tape *tape, sg_status status, const char *format, ...)
{
    if (tape->error.code != SG_OK) return NULL;
    va_list args;
    va_start(args, format);
    vsnprintf(tape->error.message, sizeof tape->error.message, format, args);
    va_end(args);
    tape->error.code = status;
    return NULL;
}

void *sg_tape_memory(sg_tape *tape, size_t bytes)
{
    void *pointer = sg_arena_alloc(&tape->arena, bytes);
    if (pointer == NULL) return sg_tape_fail(tape, SG_ERR_MEMORY, "out of memory for a tape");
    memset(pointer, 0, bytes);
    return pointer;
}

static bool tensor_shape(sg_tape *tape, sg_tensor *tensor, int rank, const int64_t *shape)
{
    tensor->rank = rank;
    tensor->count = 1;
    for (int i = 0; i < SG_RANK_MAX; i++) {
        tensor->shape[i] = i < rank ? shape[i] : 1;
        if (tensor->shape[i] < 1 ||
            __builtin_mul_overflow(tensor->count, tensor->shape[i], &tensor->count) ||
            tensor->count > (int64_t)1 << 48) {
            sg_tape_fail(tape, SG_ERR_ARGUMENT, "%s: dimension %d is %lld: out of range",
                         tensor->name, i, (long long)tensor->shape[i]);
            return false;
        }
    }
    return true;
}

static sg_tensor *tape_tensor(sg_tape *tape, const char *name, sg_kind kind, int rank,
                              const int64_t *shape)
{
    if (tape->error.code != SG_OK) return NULL;
    sg_tensor *tensor = sg_tape_memory(tape, sizeof *tensor);
    if (tensor == NULL) return NULL;
    tensor->name = sg_arena_strndup(&tape->arena, name, strlen(name));
    if (tensor->name == NULL || !sg_grow((void **)&tape->tensors, &tape->tensor_capacity,
                                         (size_t)tape->n_tensors + 1, sizeof *tape->tensors))
        return sg_tape_fail(tape, SG_ERR_MEMORY, "out of memory for a tape");
    tensor->kind = kind;
    tensor->base = tensor;
    tensor->index = tape->n_tensors;
    if (!tensor_shape(tape, tensor, rank, shape)) return NULL;
    tape->tensors[tape->n_tensors++] = tensor;
    return tensor;
}

sg_tensor *sg_tape_leaf(sg_tape *tape, const char *name, sg_kind kind, int rank,
                        const int64_t *shape, void *data, sg_real *grad, bool wants_grad)
{
    sg_tensor *tensor = tape_tensor(tape, name, kind, rank, shape);
    if (tensor == NULL) return NULL;
    tensor->leaf = true;
    tensor->data = data;
    tensor->grad = grad;
    tensor->wants_grad = wants_grad;
    return tensor;
}

sg_tensor *sg_reshape(sg_tape *tape, sg_tensor *tensor, int rank, const int64_t *shape)
{
    if (tensor == NULL) return NULL;
    sg_tensor *view = tape_tensor(tape, tensor->name, tensor->kind, rank, shape);
    if (view == NULL) return NULL;
    if (view->count != tensor->count)
        return sg_tape_fail(tape, SG_ERR_INTERNAL, "%s: reshape from %lld to %lld elements",
                            tensor->name, (long long)tensor->count, (long long)view->count);
    view->base = tensor->base;
    view->narrow = tensor->narrow;
    view->screen = tensor->screen;
    view->columns = tensor->columns;
    view->leaf = tensor->leaf;
    view->wants_grad = tensor->wants_grad;
    return view;
}

sg_node *sg_tape_node(sg_tape *tape, const sg_op *op, int n_in, sg_tensor *const *in)
{
    if (tape->error.code != SG_OK) return NULL;
    sg_node *node = sg_tape_memory(tape, sizeof *node);
    if (node == NULL) return NULL;
    if (!sg_grow((void **)&tape->nodes, &tape->node_capacity, (size_t)tape->n_nodes + 1,
                 sizeof *tape->nodes))
        return sg_tape_fail(tape, SG_ERR_MEMORY, "out of memory for a tape");
    node->op = op;
    node->n_in = n_in;
    for (int i = 0; i < n_in; i++)
        node->in[i] = in[i];
    node->segment = tape->segment;
    node->kind = tape->kind;
    tape->nodes[tape->n_nodes++] = node;
    return node;
}

sg_tensor *sg_node_output(sg_tape *tape, sg_node *node, const char *name, sg_kind kind, int rank,
                          const int64_t *shape)
{
    if (node == NULL) return NULL;
    sg_tensor *tensor = tape_tensor(tape, name, kind, rank, shape);
    if (tensor == NULL) return NULL;
    if (kind == SG_KIND_REAL && (node->op->backward != NULL || node->op->gradient_in_forward))
        for (int i = 0; i < node->n_in; i++)
            if (node->in[i] != NULL && node->in[i]->wants_grad) tensor->wants_grad = true;
    node->out[node->n_out++] = tensor;
    return tensor;
}

sg_tensor *sg_node_view(sg_tape *tape, sg_node *node, sg_tensor *input)
{
    if (node == NULL) return NULL;
    sg_tensor *view = sg_reshape(tape, input, input->rank, input->shape);
    if (view != NULL) node->out[node->n_out++] = view;
    return view;
}

sg_tensor *sg_node_save(sg_tape *tape, sg_node *node, sg_kind kind, int rank, const int64_t *shape)
{
    if (node == NULL) return NULL;
    sg_tensor *tensor = tape_tensor(tape, node->op->name, kind, rank, shape);
    if (tensor == NULL) return NULL;
    node->saved[node->n_saved++] = tensor;
    return tensor;
}

void sg_tape_add_loss(sg_tape *tape, sg_tensor *loss, double weight)
{
    if (loss == NULL) return;
    for (int i = 0; i < tape->n_nodes; i++)
        if (tape->nodes[i]->out[0] == loss && loss->count == 1) {
            tape->nodes[i]->loss = true;
            tape->nodes[i]->loss_weight = weight;
            return;
        }
    sg_tape_fail(tape, SG_ERR_INTERNAL, "%s: a loss must be the scalar output of a node",
                 loss->name);
}

void sg_tape_weigh_loss(sg_tape *tape, int node, double weight)
{
    tape->nodes[node]->loss_weight = weight;
}

void sg_tape_keep(sg_tape *tape, sg_tensor *tensor)
{
    if (tensor == NULL) return;
    if (!sg_grow((void **)&tape->keep, &tape->keep_capacity, (size_t)tape->n_keep + 1,
                 sizeof *tape->keep)) {
        sg_tape_fail(tape, SG_ERR_MEMORY, "out of memory for a tape");
        return;
    }
    tape->keep[tape->n_keep++] = tensor->base;
}

void sg_tape_segment_begin(sg_tape *tape)
{
    tape->segment = ++tape->n_segments;
}

void sg_tape_segment_end(sg_tape *tape)
{
    tape->segment = 0;
}

// ---- running ----------------------------------------------------------------------------------

static void tape_views(sg_tape *tape)
{
    for (int i = 0; i < tape->n_tensors; i++) {
        sg_tensor *t = tape->tensors[i];
        if (t->base == t) continue;
        t->data = t->base->data;
        t->grad = t->base->grad;
        t->half = t->base->half;
        t->narrow = t->base->narrow;
    }
}

static void tape_scratch(const sg_tape *tape, sg_run *run)
{
    run->scratch = tape->memory + tape->scratch_offset;
    run->worker_scratch = tape->memory + tape->worker_offset;
    run->worker_stride = tape->worker_stride;
}

typedef struct tape_rounding {
    const sg_kernels *kernels;
    const sg_tensor *tensor;
} tape_rounding;

static void tape_round_chunk(void *context, sg_range range)
{
    const tape_rounding *c = context;
    sg_bf16 *half = c->tensor->half + range.first;
    c->kernels->to_bf16(half, sg_values(c->tensor) + range.first, range.end - range.first);
    if (!c->tensor->no_data && !c->tensor->exact)
        c->kernels->from_bf16(sg_values(c->tensor) + range.first, half, range.end - range.first);
}

// What an operation left in data alone, put into half.
static void tape_round(const sg_run *run, const sg_node *node)
{
    for (int i = 0; i < node->n_out; i++) {
        const sg_tensor *t = node->out[i];
        if (!t->has_half || t->base != t || (node->op->writes_half >> i & 1)) continue;
        tape_rounding c = {run->compute.kernels, t};
        sg_parallel_ranges(run->compute.pool, t->count, 32768, tape_round_chunk, &c);
    }
}

static void tape_steps(sg_tape *tape, sg_run *run, int begin, int end)
{
    for (int i = begin; i < end && *run->status == SG_OK; i++) {
        const sg_step *step = &tape->steps[i];
        const sg_node *node = tape->nodes[step->node];
        double start = run->seconds ? sg_clock_seconds() : 0;
        run->again = step->backward || step->again;
        (step->backward ? node->op->backward : node->op->forward)(run, node);
        if (!step->backward) tape_round(run, node);
        if (run->seconds)
            run->seconds[2 * step->node + step->backward] += sg_clock_seconds() - start;
    }
}

void sg_run_end(const sg_run *run, sg_status status, const char *format, ...)
{
    if (*run->status != SG_OK) return;
    *run->status = status;
    if (run->err == NULL) return;
    va_list args;
    va_start(args, format);
    vsnprintf(run->err->message, sizeof run->err->message, format, args);
    va_end(args);
    run->err->code = status;
}

sg_status sg_tape_forward(sg_tape *tape, sg_run *run)
{
    sg_status status = SG_OK;
    run->status = &status;
    tape_views(tape);
    tape_scratch(tape, run);
    run->recording_gradient = tape->options.gradient;
    tape_steps(tape, run, 0, tape->forward_steps);
    run->status = NULL;
    return status;
}

sg_status sg_tape_backward(sg_tape *tape, sg_run *run)
{
    sg_status status = SG_OK;
    run->status = &status;
    tape_scratch(tape, run);
    run->recording_gradient = true;
    for (int i = 0; i < tape->n_nodes; i++) {
        const sg_node *node = tape->nodes[i];
        if (node->loss && node->out[0]->grad != NULL)
            node->out[0]->grad[0] = (sg_real)node->loss_weight;
    }
    tape_steps(tape, run, tape->forward_steps, tape->n_steps);
    run->status = NULL;
    return status;
}

bool sg_tape_reads_narrow(const sg_tensor *leaf, bool both)
{
    return !(both ? leaf->not_narrow_both : leaf->not_narrow);
}

double sg_tape_flops(const sg_tape *tape, bool (*only)(const sg_node *node))
{
    double sum = 0;
    for (int i = 0; i < tape->n_nodes; i++) {
        const sg_node *node = tape->nodes[i];
        if (node->op->flops != NULL && (only == NULL || only(node))) sum += node->op->flops(node);
    }
    return sum;
}

int sg_tape_nodes(const sg_tape *tape)
{
    return tape->n_nodes;
}

const sg_node *sg_tape_node_at(const sg_tape *tape, int index)
{
    return tape->nodes[index];
}
